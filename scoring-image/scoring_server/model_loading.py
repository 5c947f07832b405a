"""Which models to serve without code, loaded and warmed up, as one scorer with its description."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from scoring_server import errors, termination
from scoring_server.engine import Engine
from scoring_server.loaders import onnx
from scoring_server.metrics import Metrics
from scoring_server.model_scoring import Cost, ModelScorer
from scoring_server.protocols import swagger, tabular
from scoring_server.settings import ModelEntry, Settings
from scoring_server.signature import Signature, Tensor

logger = logging.getLogger("scoring_server.start")

_WARM_UPS = 3


def load(settings: Settings, engine: Engine, metrics: Metrics, cpus: int) -> ModelScorer:
    """Every model, or StartError for the first that cannot be served."""
    models: dict[str, tuple[onnx.OnnxModel, Cost]] = {}
    for entry in _entries(settings):
        began = time.perf_counter()
        model = _load(entry, cpus)
        metrics.load_seconds[entry.name] = time.perf_counter() - began
        models[entry.name] = (model, _warm_up(model))
    service = swagger.Service(settings.service_name, settings.service_version, settings.path_prefix, "error")
    request, answer = _schemas([model for model, _ in models.values()])
    described = swagger.Described(service, request, answer, several_models=len(models) > 1)
    return ModelScorer(models, swagger.documents(described, {}), engine)


def sample(signature: Signature) -> dict[str, Any]:
    """A request that the model takes, as a user would write it."""
    if len(signature.inputs) == 1 and not signature.columns:
        return {"data": _example(signature.inputs[0])}
    if len(signature.inputs) == 1:
        rows = _example(signature.inputs[0])
        return {"data": [dict(zip(signature.columns, row, strict=False)) for row in rows]}
    return {"inputs": {tensor.name: _example(tensor) for tensor in signature.inputs}}


def _entries(settings: Settings) -> Sequence[ModelEntry]:
    if settings.models:
        return settings.models
    if settings.model_dir is None:
        message = "There is nothing to serve: give --entry-script, or --model NAME=PATH, or SCORING_MODELS."
        raise termination.StartError(termination.Failure("Environment", "NothingToServe", message))
    path = onnx.find(settings.model_dir)
    return (ModelEntry(path.stem, "1", "ONNX", path),)


def _load(entry: ModelEntry, cpus: int) -> onnx.OnnxModel:
    if entry.format not in ("ONNX", ""):
        message = (
            f"Model {entry.name!r} has the format {entry.format}; without a script only ONNX is served. "
            "Give a scoring script: spec.code.entryScript."
        )
        raise termination.StartError(termination.Failure("Load", "ModelUnsupported", message))
    if not entry.path.exists():
        message = f"Model {entry.name!r} is not at {entry.path}."
        listing = termination.listing(entry.path.parent)
        raise termination.StartError(termination.Failure("Load", "ModelInvalid", message, listing=listing))
    return onnx.load(entry.name, onnx.find(entry.path), cpus)


def _warm_up(model: onnx.OnnxModel) -> Cost:
    """Run once for the allocations, and then to learn what a run costs."""
    names = tuple(output.name for output in model.signature.outputs)
    body_bytes = len(json.dumps(sample(model.signature)))
    seconds = float("inf")
    try:
        for _ in range(_WARM_UPS):
            began = time.perf_counter()
            values = model.run(model.zeros(), names, onnx.run_options())
            tabular.answer(values, names, model.signature)
            seconds = min(seconds, time.perf_counter() - began)
    except errors.ScoringError as error:
        # Not every model takes zeros. It is loaded, and until we know better its runs count as long.
        logger.warning("The warm-up of %s failed: %s", model.name, error)
        return Cost(1.0, body_bytes)
    logger.info("Loaded %s", model.name, extra={"inputs": [str(tensor) for tensor in model.signature.inputs]})
    return Cost(seconds, body_bytes)


def _schemas(models: Sequence[onnx.OnnxModel]) -> tuple[dict[str, Any], dict[str, Any]]:
    first = models[0].signature
    properties: dict[str, Any] = {
        "data": {"type": "array", "items": {}, "description": _described(models)},
        "proba": {"type": "boolean", "description": "Classifiers: answer the probabilities too."},
    }
    example = sample(first)
    if len(models) > 1:
        properties["model"] = {"type": "string", "enum": [model.name for model in models]}
        example = {"model": models[0].name, **example}
    accepted = ", ".join(tabular.PAYLOADS)
    request = {
        "type": "object",
        "description": f"Exactly one of {accepted}: rows, records, a pandas split, or values by input name.",
        "properties": properties,
        "example": example,
    }
    answer = {"type": "object", "properties": _answer(first), "required": ["result"]}
    return request, answer


def _described(models: Sequence[onnx.OnnxModel]) -> str:
    lines: list[str] = []
    for model in models:
        inputs = ", ".join(map(str, model.signature.inputs))
        outputs = ", ".join(map(str, model.signature.outputs))
        lines.append(f"{model.name} takes {inputs} and gives {outputs}.")
    return " ".join(lines)


def _answer(signature: Signature) -> dict[str, Any]:
    if signature.label is not None:
        return {
            "result": {"type": "array", "items": _item(signature.outputs[0]), "description": "One label a row."},
            "proba": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
            "classes": {"type": "array", "items": _item(signature.outputs[0])},
        }
    if len(signature.outputs) == 1:
        return {"result": {"type": "array", "items": {}, "description": str(signature.outputs[0])}}
    by_name: Mapping[str, Any] = {
        output.name: {"type": "array", "items": {}, "description": str(output)} for output in signature.outputs
    }
    return {"result": {"type": "object", "properties": dict(by_name)}}


def _item(tensor: Tensor) -> dict[str, str]:
    if tensor.dtype == "object":
        return {"type": "string"}
    return {"type": "integer" if "int" in tensor.dtype else "number"}


def _example(tensor: Tensor) -> Any:
    value: Any = {"object": "", "bool": False}.get(tensor.dtype, 0 if "int" in tensor.dtype else 0.0)
    # A picture's millions of zeros would help nobody: long dimensions are shown by one value.
    for size in reversed(tensor.shape):
        value = [value] * (size if size is not None and size <= 100 else 1)
    return value
