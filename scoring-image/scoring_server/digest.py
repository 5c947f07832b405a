"""Content digests: what makes two models the same.

Of one file: `sha256:` and the SHA-256 of its bytes. Of a folder: the SHA-256 over one line per file, sorted by path,
each `<sha256 of the file>  <relative posix path>` and a line end, as `sha256sum` prints them. Reads only what it is
given.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, Protocol

from scoring_server.source_errors import SourceError

CHUNK_BYTES = 1 << 20
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})", re.ASCII | re.IGNORECASE)


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Counted:
    """A stream that counts what is read of it, and refuses to go on past a limit."""

    def __init__(self, stream: BinaryIO, limit: int, source: str) -> None:
        self._stream = stream
        self._limit = limit
        self._source = source
        self.count = 0

    def read(self, size: int, /) -> bytes:
        chunk = self._stream.read(size)
        self.count += len(chunk)
        if self.count > self._limit:
            raise too_large(self._source)
        return chunk


def too_large(source: str) -> SourceError:
    return SourceError("SourceInvalid", f"{source} has more bytes than SCORING_SOURCE_MAX_BYTES allows.")


def parse(text: str) -> str:
    """The digest in its one form, `sha256:` and 64 small hexadecimal digits."""
    match = _DIGEST.fullmatch(text.strip())
    if match is None:
        raise SourceError(
            "SourceInvalid", f"'{text[:80]}' is no digest; write sha256: and the 64 hexadecimal digits of sha256sum."
        )
    return f"sha256:{match[1].lower()}"


def of_stream(stream: Readable, each: Callable[[bytes], object] | None = None) -> str:
    """The digest of what is left in the stream; `each` sees every chunk on its way."""
    state = hashlib.sha256()
    while chunk := stream.read(CHUNK_BYTES):
        state.update(chunk)
        if each is not None:
            each(chunk)
    return f"sha256:{state.hexdigest()}"


def of_file(path: Path) -> str:
    with path.open("rb") as stream:
        return of_stream(stream)


def of_folder(files: Iterable[tuple[str, str]]) -> str:
    """The digest of a folder from (relative posix path, digest) of each of its files."""
    lines = sorted((path, digest.removeprefix("sha256:")) for path, digest in files)
    text = "".join(f"{digest}  {path}\n" for path, digest in lines)
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()}"


def of_tree(root: Path) -> str:
    """The digest of a file, or of a folder of plain files as `fetch` leaves it."""
    if not root.is_dir():
        return of_file(root)
    return of_folder((path.relative_to(root).as_posix(), of_file(path)) for path in root.rglob("*") if path.is_file())


def verify(expected: str, actual: str, source: str) -> None:
    """Raise DigestMismatch unless both are the same; `source` is the URI as it may be shown."""
    if expected != actual:
        raise SourceError(
            "DigestMismatch",
            f"{source} has the digest {actual}, but {expected} was expected: these are not the bytes asked for. "
            "If they changed on purpose, give the new sha256 or none.",
        )
