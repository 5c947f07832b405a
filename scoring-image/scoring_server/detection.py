"""Which format a model has: ONNX, Sklearn, MLflow or Custom, by its files' names and first bytes.

Nothing is unpickled and nothing is run. What the user declares wins; where it can be checked (ONNX, MLflow) it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Literal, get_args

from scoring_server import onnx_graph
from scoring_server.source_errors import SourceError

Format = Literal["ONNX", "Sklearn", "MLflow", "Custom"]

HEAD_BYTES = 64
_PICKLES = frozenset({".joblib", ".pkl", ".pickle"})
_FORMATS: tuple[Format, ...] = get_args(Format)

Opener = Callable[[str], AbstractContextManager[BinaryIO]]


@dataclass(frozen=True)
class Detected:
    """The format, and for ONNX the signature: `{"inputs": [{"name", "dtype", "shape"}], "outputs": […]}`."""

    format: Format
    signature: dict[str, Any] | None = None


def declared(text: object) -> Format | None:
    """The format that the user declared, if any."""
    if text in (None, ""):
        return None
    for known in _FORMATS:
        if text == known:
            return known
    raise SourceError("SourceInvalid", f"The format {str(text)[:40]!r} is not known; write {', '.join(_FORMATS)}.")


def needs_file(name: str, head: bytes, wanted: Format | None) -> bool:
    """Whether a single file must be kept to look into it. False spares a 10 GB pickle the way over the disk."""
    if wanted is not None:
        return wanted == "ONNX"
    suffix = PurePosixPath(name).suffix.lower()
    return suffix == ".onnx" or (suffix not in _PICKLES and onnx_graph.looks_like_onnx(head))


def of_file(source: str, name: str, head: bytes, wanted: Format | None, opener: Opener) -> Detected:
    """The format of one file. `opener("")` opens it, and is called only where `needs_file` says so."""
    suffix = PurePosixPath(name).suffix.lower()
    if wanted == "MLflow":
        raise SourceError("SourceInvalid", f"{source} is one file, but a model of MLflow is a folder with MLmodel.")
    if needs_file(name, head, wanted):
        try:
            return Detected("ONNX", _onnx(source, name, opener, siblings=None))
        except SourceError:
            if wanted == "ONNX" or suffix == ".onnx":
                raise
    if wanted is not None:
        return Detected(wanted)
    return Detected("Sklearn" if suffix in _PICKLES else "Custom")


def of_folder(source: str, names: Sequence[str], wanted: Format | None, opener: Opener) -> Detected:
    """The format of a folder with these files (relative posix paths); `opener` opens one of them."""
    has_card = "MLmodel" in names
    graphs = [name for name in names if PurePosixPath(name).suffix.lower() == ".onnx"]
    if wanted == "MLflow" and not has_card:
        raise SourceError("SourceInvalid", f"{source} is declared as MLflow but has no file MLmodel at its top.")
    if wanted == "ONNX" and len(graphs) != 1:
        raise SourceError(
            "SourceInvalid", f"{source} is declared as ONNX but holds {len(graphs)} files that end in .onnx, not one."
        )
    if wanted == "ONNX" or (wanted is None and not has_card and len(graphs) == 1):
        return Detected("ONNX", _onnx(f"{source}/{graphs[0]}", graphs[0], opener, siblings=frozenset(names)))
    return Detected(wanted or ("MLflow" if has_card else "Custom"))


def _onnx(source: str, name: str, opener: Opener, siblings: frozenset[str] | None) -> dict[str, Any]:
    with opener(name if siblings is not None else "") as stream:
        try:
            graph = onnx_graph.read(stream)
        except onnx_graph.OnnxError as error:
            stream.seek(0)
            raise SourceError(
                "SourceInvalid", f"{source} is no ONNX model: {_guess(stream.read(HEAD_BYTES)) or error}."
            ) from error
    for location in graph.external_files:
        _check_external(source, name, location, siblings)
    return graph.signature()


def _check_external(source: str, name: str, location: str, siblings: frozenset[str] | None) -> None:
    """Weights kept outside the ONNX file must lie beside it, among the files of the same source."""
    path = PurePosixPath(location)
    if not location or path.is_absolute() or ".." in path.parts or "\\" in location:
        raise SourceError(
            "SourceInvalid",
            f"{source} keeps weights in {location[:120]!r}, outside its own folder; save them beside the model.",
        )
    if siblings is None:
        raise SourceError(
            "SourceInvalid",
            f"{source} keeps its weights in a second file, {location[:120]!r}, which one file does not bring; register "
            "the folder of both (pvc://claim/folder), or save the model as one file.",
        )
    if (PurePosixPath(name).parent / path).as_posix() not in siblings:
        raise SourceError(
            "SourceInvalid", f"{source} keeps weights in {location[:120]!r}, which is not in the folder; add the file."
        )


def _guess(head: bytes) -> str | None:
    """What is often served in place of a model."""
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, as a login or an error page would be"
    if text.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file that it points to"
    return None
