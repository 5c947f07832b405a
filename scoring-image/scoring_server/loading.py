"""From settings to a scorer that is ready: the script or the models loaded, `init()` done, one warm-up run.

Runs on the main thread while the listener already answers health. Raises StartError for everything a user can mend.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scoring_server import shims, termination
from scoring_server.engine import Engine
from scoring_server.loaders import script as scripts
from scoring_server.metrics import Metrics
from scoring_server.protocols import swagger
from scoring_server.scoring import Scorer
from scoring_server.script_scoring import ScriptScorer
from scoring_server.settings import Settings

logger = logging.getLogger("scoring_server.start")


def load(
    settings: Settings, engine: Engine, metrics: Metrics, *, cpus: int, expire: Callable[[termination.Failure], None]
) -> Scorer:
    """The scorer. `expire` is called on another thread when `init()` takes too long."""
    if settings.entry_script is not None:
        return _load_script(settings, settings.entry_script, engine, metrics, expire)
    # Imports numpy and onnxruntime, which a script may do without.
    from scoring_server import model_loading

    return model_loading.load(settings, engine, metrics, cpus)


def _load_script(
    settings: Settings,
    entry_script: str,
    engine: Engine,
    metrics: Metrics,
    expire: Callable[[termination.Failure], None],
) -> Scorer:
    shims.install(settings.models_root, settings.model_dir)
    main_thread = threading.get_ident()
    path = settings.app_root / entry_script

    def too_long() -> None:
        expire(_timed_out(settings, path, main_thread))

    timer = threading.Timer(settings.init_timeout_seconds, too_long)
    timer.daemon = True
    timer.start()
    began = time.perf_counter()
    try:
        script = scripts.load(entry_script, settings.app_root)
        scripts.initialise(script, settings.model_dir)
    finally:
        timer.cancel()
        sys.stdout.flush()
    metrics.load_seconds[script.path.stem] = time.perf_counter() - began
    service = swagger.Service(settings.service_name, settings.service_version, settings.path_prefix)
    described = swagger.Described(service, swagger.ANYTHING, swagger.ANYTHING)
    documents = swagger.documents(described, _own_swagger(settings.app_root))
    return ScriptScorer(script, documents, engine)


def _own_swagger(folder: Path) -> dict[str, Any]:
    """The user's own documents, by version. A file that is not JSON stops the start: silence would hide it."""
    found: dict[str, Any] = {}
    for version, names in swagger.FILES.items():
        for name in names:
            path = folder / name
            if version in found or not path.is_file():
                continue
            try:
                found[version] = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                message = f"{name} beside the script is not valid JSON: {error}."
                raise termination.StartError(
                    termination.Failure("Init", "ScriptInvalid", message, script=name)
                ) from error
    return found


def _timed_out(settings: Settings, path: Path, thread: int) -> termination.Failure:
    frame = sys._current_frames().get(thread)
    line = None
    while frame is not None:
        if frame.f_code.co_filename == str(path):
            line = frame.f_lineno
            break
        frame = frame.f_back
    where = f" It was at line {line}." if line else ""
    message = f"init() of {path.name} did not return within {settings.init_timeout_seconds:g} s.{where}"
    listing = termination.listing(settings.model_dir) if settings.model_dir is not None else ()
    return termination.Failure("Init", "InitTimeout", message, None, path.name, line, listing)
