"""An ONNX file as something that runs: checked, loaded by onnxruntime, with its signature. Knows no wire shape."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from scoring_server import errors, termination
from scoring_server.loaders import external_data
from scoring_server.signature import Signature, Tensor

_SILENT = 4

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}
# What classifiers give beside the label: a row of probabilities, or a map from class to probability.
_PROBABILITIES = ("tensor(float)", "tensor(double)", "seq(map(int64,tensor(float)))", "seq(map(string,tensor(float)))")

Feeds = Mapping[str, "np.ndarray[Any, Any]"]


@dataclass(frozen=True)
class OnnxModel:
    name: str
    signature: Signature
    session: ort.InferenceSession

    def run(self, feeds: Feeds, outputs: Sequence[str], options: ort.RunOptions) -> list[Any]:
        """The outputs asked for. InputInvalid where onnxruntime blames the input, else RunFailed."""
        try:
            return list(self.session.run(outputs, feeds, options))
        except ort_errors.InvalidArgument as error:
            raise errors.InputInvalid(f"The model refuses this input: {error}") from error
        except Exception as error:
            raise errors.RunFailed(f"The model could not be run: {error}") from error

    def zeros(self) -> dict[str, np.ndarray[Any, Any]]:
        """The smallest plausible input: one row of zeros or empty texts."""
        return {tensor.name: _zeros(tensor) for tensor in self.signature.inputs}


def run_options() -> ort.RunOptions:
    """For one run; setting its `terminate` from any thread ends that run."""
    options = ort.RunOptions()
    options.log_severity_level = _SILENT
    return options


def find(folder: Path) -> Path:
    """The one ONNX file at or below `folder`. Raises StartError naming what there is instead."""
    if folder.is_file():
        return folder
    found = sorted(folder.rglob("*.onnx"))
    named = [path for path in found if path.name == "model.onnx"]
    if len(found) == 1 or len(named) == 1:
        return (named or found)[0]
    what = "no .onnx file" if not found else f"{len(found)} .onnx files and none (or several) called model.onnx"
    message = f"{folder} holds {what}."
    raise termination.StartError(
        termination.Failure("Load", "ModelInvalid", message, listing=termination.listing(folder))
    )


def load(name: str, path: Path, threads: int) -> OnnxModel:
    """The model of the file at `path`. Raises StartError with onnxruntime's own words."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Everything it would write to stderr comes as an exception too, and our log is JSON lines.
    options.log_severity_level = _SILENT
    # Threads that spin while they wait use up a container's CPU quota and get it throttled.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        external_data.check(path)
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except external_data.ExternalDataRefused as error:
        raise _failure("ModelInvalid", f"Model {name!r} cannot be loaded: {error}.", path, error) from error
    except ort_errors.NotImplemented as error:
        message = f"Model {name!r} needs what onnxruntime {ort.__version__} cannot do: {error}"
        raise _failure("ModelUnsupported", message, path, error) from error
    except Exception as error:
        raise _failure("ModelInvalid", f"Model {name!r} cannot be loaded: {error}", path, error) from error
    return OnnxModel(name, _signature(name, session, path), session)


def _signature(name: str, session: ort.InferenceSession, path: Path) -> Signature:
    inputs = []
    for node in session.get_inputs():
        if node.type not in _DTYPES:
            message = f"Input {node.name!r} of model {name!r} is a {node.type}, which cannot be given as JSON."
            raise _failure("ModelUnsupported", message, path, None)
        inputs.append(Tensor(node.name, _DTYPES[node.type], _shape(node.shape)))
    nodes = session.get_outputs()
    outputs = tuple(Tensor(node.name, _DTYPES.get(node.type, node.type), _shape(node.shape)) for node in nodes)
    columns = _columns(session.get_modelmeta().custom_metadata_map.get("feature_names", ""))
    if _is_classifier(nodes):
        return Signature(tuple(inputs), outputs, columns, nodes[0].name, nodes[1].name)
    return Signature(tuple(inputs), outputs, columns)


def _is_classifier(nodes: Sequence[Any]) -> bool:
    """As converters write them: first the label of each row, then its probabilities."""
    return (
        len(nodes) == 2
        and nodes[0].type in ("tensor(int64)", "tensor(string)")
        and len(nodes[0].shape or ()) == 1
        and nodes[1].type in _PROBABILITIES
        and len(nodes[1].shape or (0, 0)) in (0, 2)
    )


def _columns(text: str) -> tuple[str, ...]:
    """The features' names from the model's metadata: a JSON list, or names with commas between them."""
    if not text:
        return ()
    try:
        names = json.loads(text)
    except ValueError:
        names = text.split(",")
    return tuple(str(name).strip() for name in names) if isinstance(names, list) else ()


def _shape(shape: Sequence[Any] | None) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) and size >= 0 else None for size in shape or ())


def _zeros(tensor: Tensor) -> np.ndarray[Any, Any]:
    shape = [1 if size is None else size for size in tensor.shape]
    return np.full(shape, "", dtype=object) if tensor.dtype == "object" else np.zeros(shape, dtype=tensor.dtype)


def _failure(reason: str, message: str, path: Path, error: Exception | None) -> termination.StartError:
    exception = None if error is None else f"{type(error).__name__}: {error}"
    listing = termination.listing(path.parent)
    return termination.StartError(termination.Failure("Load", reason, message, exception, listing=listing))
