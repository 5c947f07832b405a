"""What a failed start leaves behind: one JSON document in the container's termination message, and an exit code.

The operator reads the document and puts it into status, so its field names are a contract between the two images.
Nothing here decides what went wrong: the phases do, and raise or return a `Failure`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

Phase = Literal["Fetch", "Environment", "Load", "Init", "Verification"]

EXIT_CODES: dict[Phase, int] = {"Fetch": 10, "Environment": 11, "Load": 12, "Init": 13, "Verification": 14}

# Kubernetes cuts the message of one container at this many bytes; cut JSON is no JSON, so we stay below by ourselves.
LIMIT_BYTES = 4096

_ELLIPSIS = "…"


@dataclass(frozen=True)
class Failure:
    """Why a start failed: `reason` is one CamelCase word, `message` a sentence for the person who must act."""

    phase: Phase
    reason: str
    message: str
    exception: str | None = None
    script: str | None = None
    line: int | None = None
    listing: Sequence[str] = ()

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.phase]


class StartError(Exception):
    """A start that cannot go on, with the failure that explains it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def encode(document: Failure | Mapping[str, Any]) -> bytes:
    """The document as JSON of at most `LIMIT_BYTES` bytes. The listing gives way first, then the longest texts."""
    fields: dict[str, Any] = asdict(document) if isinstance(document, Failure) else dict(document)
    if isinstance(fields.get("listing"), Sequence):
        fields["listing"] = list(fields["listing"])
    encoded = _json(fields)
    while len(encoded) > LIMIT_BYTES:
        fields = _shorter(fields, len(encoded) - LIMIT_BYTES)
        encoded = _json(fields)
    return encoded


def write(document: Failure | Mapping[str, Any], path: Path | str) -> None:
    """Write the document where Kubernetes picks it up. A missing folder is an error of the caller's."""
    Path(path).write_bytes(encode(document))


def with_listing(failure: Failure, root: Path, limit: int = 100) -> Failure:
    """The failure with the files below `root`, each with its size, as the start found them."""
    return replace(failure, listing=listing(root, limit))


def listing(root: Path, limit: int = 100) -> tuple[str, ...]:
    if not root.is_dir():
        return (f"{root} does not exist",)
    lines: list[str] = []
    for path in sorted(root.rglob("*")):
        if path.is_dir():
            continue
        if len(lines) == limit:
            return (*lines, f"{_ELLIPSIS} and more")
        size = path.stat().st_size if path.exists() else 0
        lines.append(f"{path.relative_to(root).as_posix()} ({size} bytes)")
    return tuple(lines) or (f"{root} is empty",)


def _json(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"), default=str).encode("utf-8", "replace")


def _shorter(fields: dict[str, Any], excess: int) -> dict[str, Any]:
    entries = fields.get("listing")
    if entries:
        kept = entries[: len(entries) // 2]
        return {**fields, "listing": [*kept[:-1], _ELLIPSIS] if len(kept) > 1 else []}
    sizes = {name: len(_json({name: value})) for name, value in fields.items()}
    longest = max(sizes, key=lambda name: sizes[name])
    value = fields[longest]
    if isinstance(value, str) and value:
        # A character takes up to six bytes in JSON; one too few a round is found by the next round.
        keep = max(0, len(value) - max(1, excess // 6) - len(_ELLIPSIS))
        return {**fields, longest: value[:keep] + _ELLIPSIS if keep else ""}
    # What is neither text nor listing (a model's signature) cannot be cut in half: leave it out.
    return {**fields, longest: None}
