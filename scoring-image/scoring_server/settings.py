"""Settings of `serve`, read once from the environment into a frozen value. The only reader of variable names.

The names are shared with the operator, which sets them, and partly with Azure ML's own server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

AuthMode = Literal["Key", "None"]


class SettingInvalid(ValueError):
    """A variable or option has a value that cannot be used; the message says what to write instead."""


@dataclass(frozen=True)
class ModelEntry:
    """One model to serve without code: `path` is its file or its folder."""

    name: str
    version: str
    format: str
    path: Path


@dataclass(frozen=True)
class Settings:
    host: str
    port: int
    entry_script: str | None
    app_root: Path
    model_dir: Path | None
    models: tuple[ModelEntry, ...]
    models_root: Path
    timeout_seconds: float
    max_concurrent_requests: int
    max_queue_wait_seconds: float
    init_timeout_seconds: float
    auth_mode: AuthMode
    key_dir: Path | None
    max_body_bytes: int
    drain_seconds: float
    log_level: str
    service_name: str
    service_version: str
    path_prefix: str
    server_version: str
    termination_log: Path | None


def from_environ(environ: Mapping[str, str], *, models: Sequence[str], server_version: str, cwd: Path) -> Settings:
    """Settings from `environ` and the `NAME=PATH` options in `models`. Raises SettingInvalid."""
    read = _Reader(environ)
    models_root = Path(environ.get("SCORING_MODELS_ROOT") or "/models")
    key_dir = read.path("SCORING_KEY_DIR")
    return Settings(
        host=environ.get("SCORING_HOST") or "0.0.0.0",  # noqa: S104  a container's port is reached from outside it
        port=read.integer("SCORING_PORT", 5001, minimum=0, maximum=65535),
        entry_script=environ.get("AZUREML_ENTRY_SCRIPT") or None,
        app_root=(read.path("AML_APP_ROOT") or cwd).absolute(),
        model_dir=read.path("AZUREML_MODEL_DIR"),
        models=_local_models(models) or _declared_models(environ.get("SCORING_MODELS", ""), models_root),
        models_root=models_root,
        timeout_seconds=read.integer("SCORING_TIMEOUT_MS", 60_000, minimum=1) / 1000,
        max_concurrent_requests=read.integer("SCORING_MAX_CONCURRENT_REQUESTS", 8, minimum=1, maximum=1024),
        max_queue_wait_seconds=read.integer("SCORING_MAX_QUEUE_WAIT_MS", 500, minimum=0) / 1000,
        init_timeout_seconds=float(read.integer("SCORING_INIT_TIMEOUT_SECONDS", 300, minimum=1)),
        auth_mode=_auth_mode(environ.get("SCORING_AUTH_MODE", ""), key_dir),
        key_dir=key_dir,
        max_body_bytes=read.integer("SCORING_MAX_BODY_BYTES", 100 * 1024 * 1024, minimum=1),
        drain_seconds=float(read.integer("SCORING_DRAIN_SECONDS", 25, minimum=0)),
        log_level=_log_level(environ.get("SCORING_LOG_LEVEL") or "info"),
        service_name=environ.get("SERVICE_NAME") or "ML service",
        service_version=environ.get("SERVICE_VERSION") or "1.0",
        path_prefix=environ.get("SERVICE_PATH_PREFIX", "").strip("/"),
        server_version=environ.get("HTTP_X_MS_SERVER_VERSION") or server_version,
        termination_log=_termination_log(environ.get("SCORING_TERMINATION_LOG", "")),
    )


@dataclass(frozen=True)
class _Reader:
    environ: Mapping[str, str]

    def integer(self, name: str, default: int, *, minimum: int, maximum: int | None = None) -> int:
        text = self.environ.get(name) or str(default)
        bounds = f"{minimum} or more" if maximum is None else f"{minimum} to {maximum}"
        try:
            value = int(text)
        except ValueError:
            raise SettingInvalid(f"{name} is {text!r}; write a whole number, {bounds}.") from None
        if value < minimum or (maximum is not None and value > maximum):
            raise SettingInvalid(f"{name} is {value}; write a whole number, {bounds}.")
        return value

    def path(self, name: str) -> Path | None:
        text = self.environ.get(name)
        return Path(text) if text else None


def _auth_mode(text: str, key_dir: Path | None) -> AuthMode:
    match text:
        case "":
            return "None" if key_dir is None else "Key"
        case "Key" if key_dir is None:
            raise SettingInvalid("SCORING_AUTH_MODE is Key, but SCORING_KEY_DIR (--key-dir) names no folder with keys.")
        case "Key":
            return "Key"
        case "None":
            return "None"
        case _:
            raise SettingInvalid(f"SCORING_AUTH_MODE is {text!r}; write Key or None.")


def _log_level(text: str) -> str:
    if text.lower() not in ("debug", "info", "warning", "error"):
        raise SettingInvalid(f"SCORING_LOG_LEVEL is {text!r}; write debug, info, warning or error.")
    return text.lower()


def _termination_log(text: str) -> Path | None:
    if text:
        return Path(text)
    # Kubernetes creates the file before the container starts; on a laptop there is none, and none is made.
    default = Path("/dev/termination-log")
    return default if default.is_file() else None


def _local_models(options: Sequence[str]) -> tuple[ModelEntry, ...]:
    entries: list[ModelEntry] = []
    for option in options:
        name, equals, path = option.partition("=")
        if not (name and equals and path):
            raise SettingInvalid(f"--model {option!r}; write NAME=PATH, such as weather=models/weather.onnx.")
        entries.append(ModelEntry(name, "1", "ONNX", Path(path)))
    return _unique(entries)


def _declared_models(text: str, root: Path) -> tuple[ModelEntry, ...]:
    if not text.strip():
        return ()
    expected = 'SCORING_MODELS must be a JSON list of objects with "name", "version" and "format"'
    try:
        items: Any = json.loads(text)
    except ValueError as error:
        raise SettingInvalid(f"{expected}; it is not JSON: {error}.") from None
    if not isinstance(items, list):
        raise SettingInvalid(f"{expected}; it is a {type(items).__name__}.")
    entries: list[ModelEntry] = []
    for item in items:
        if not isinstance(item, dict) or not item.get("name") or not item.get("version"):
            raise SettingInvalid(f"{expected}; one entry is {json.dumps(item)}.")
        name, version = str(item["name"]), str(item["version"])
        entries.append(ModelEntry(name, version, str(item.get("format") or ""), root / name / version))
    return _unique(entries)


def _unique(entries: Sequence[ModelEntry]) -> tuple[ModelEntry, ...]:
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise SettingInvalid(f"Two models have the name {name!r}; each needs a name of its own.")
    return tuple(entries)
