"""The composition root of `serve`: settings, listener, loading, then the main thread becomes the first worker."""

from __future__ import annotations

import faulthandler
import gc
import importlib.metadata
import logging
import os
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scoring_server import cpu, listener, loading, logs, settings, termination
from scoring_server.app import Application
from scoring_server.auth import Keys
from scoring_server.engine import Engine
from scoring_server.engine.admission import Admission
from scoring_server.engine.workers import Worker, Workers
from scoring_server.limits import Limits
from scoring_server.metrics import Metrics
from scoring_server.scoring import Scorer

logger = logging.getLogger("scoring_server.start")

_KEYS_WAIT_SECONDS = 10.0
_KEYS_REFRESH_SECONDS = 1.0


def main(environ: Mapping[str, str], models: Sequence[str]) -> int:
    """Serve until SIGTERM. The exit code; a failed start has left its termination message."""
    started = time.time()
    version = importlib.metadata.version("modeldeploy-scoring-server")
    try:
        configured = settings.from_environ(
            environ, models=models, server_version=f"modeldeploy-scoring-server/{version}", cwd=Path.cwd()
        )
    except settings.SettingInvalid as error:
        logs.configure("info")
        log = environ.get("SCORING_TERMINATION_LOG")
        return _fail(termination.Failure("Environment", "SettingInvalid", str(error)), Path(log) if log else None)
    logs.configure(configured.log_level)
    # A crash in native code leaves at least the Python lines that led to it.
    faulthandler.enable(sys.__stderr__ or 2)
    logs.capture_prints()
    try:
        return _serve(configured, started)
    except termination.StartError as error:
        return _fail(error.failure, configured.termination_log)
    finally:
        logs.release_prints()


@dataclass(frozen=True)
class _Parts:
    """What the main thread builds and the loop's thread uses."""

    metrics: Metrics
    keys: Keys | None
    engine: Engine
    main: Worker
    application: Application
    listener: listener.Listener


def _serve(configured: settings.Settings, started: float) -> int:
    cpus = cpu.limit(len(os.sched_getaffinity(0)))
    _set_environment(configured, cpus)
    parts = _build(configured, started)
    parts.listener.start(on_drain=lambda: _on_drain(parts), on_end=lambda: _on_end(parts))
    if parts.keys is not None:
        _wait_for_keys(parts.keys, configured)
        parts.listener.every(_KEYS_REFRESH_SECONDS, parts.keys.refresh)
    try:
        scorer = loading.load(
            configured,
            parts.engine,
            parts.metrics,
            cpus=cpus,
            expire=lambda failure: _end_now(_fail(failure, configured.termination_log)),
        )
    except termination.StartError as error:
        # The loop's thread ends with the process: nothing was promised to anybody yet.
        _end_now(_fail(error.failure, configured.termination_log))
    _open(parts, scorer, started)
    parts.main.work()
    logger.info("Stopped")
    if parts.engine.workers.left_behind:
        _end_now(0)
    return 0


def _build(configured: settings.Settings, started: float) -> _Parts:
    try:
        sock = listener.bind(configured.host, configured.port)
    except OSError as error:
        message = f"Cannot listen on {configured.host}:{configured.port}: {error.strerror}. Choose another --port."
        raise termination.StartError(termination.Failure("Environment", "PortUnavailable", message)) from error
    metrics = Metrics(started)
    keys = Keys(configured.key_dir) if configured.auth_mode == "Key" and configured.key_dir is not None else None
    main = Worker()
    workers = Workers(main)
    admission = Admission(configured.max_concurrent_requests, configured.max_queue_wait_seconds)
    application = Application(
        metrics=metrics,
        keys=keys,
        server_version=configured.server_version,
        left_behind=lambda: workers.left_behind,
    )
    limits = Limits(body_bytes=configured.max_body_bytes, connections=_connection_cap())
    door = listener.Listener(application, sock, limits, configured.drain_seconds)
    metrics.gauges.update(
        {
            "scoring_requests_in_flight": ("Scoring requests running now.", lambda: admission.running),
            "scoring_requests_waiting": ("Scoring requests waiting for a place.", lambda: admission.waiting),
            "scoring_runs_left_behind": ("Runs past their timeout that go on.", lambda: workers.left_behind),
            "scoring_connections": ("Open client connections.", lambda: door.connections),
            "scoring_ready": ("1 while requests are welcome.", lambda: application.scorer is not None),
        }
    )
    engine = Engine(admission, workers, configured.timeout_seconds)
    return _Parts(metrics, keys, engine, main, application, door)


def _open(parts: _Parts, scorer: Scorer, started: float) -> None:
    # What was loaded stays: keep the garbage collector from walking through it at every full collection.
    gc.collect()
    gc.freeze()
    parts.application.scorer = scorer
    host, port = parts.listener.address
    shown = "localhost" if host in ("0.0.0.0", "::") else host  # noqa: S104  compared, not bound
    fields = {"models": list(scorer.models), "startSeconds": round(time.time() - started, 3)}
    logger.info("Ready: http://%s:%d/score", shown, port, extra=fields)


def _on_drain(parts: _Parts) -> None:
    parts.application.draining = True
    if parts.application.scorer is None:
        # Told to stop while loading: there is nothing to finish, and the main thread cannot be interrupted.
        logger.info("Stopped before the model was loaded")
        _end_now(0)


def _on_end(parts: _Parts) -> None:
    parts.engine.workers.stop()
    parts.main.stop()
    if parts.engine.workers.left_behind or parts.engine.admission.running:
        # Threads inside a run that overran do not come back, and one of them may be the main thread.
        logger.info("Stopped")
        _end_now(0)


def _wait_for_keys(keys: Keys, configured: settings.Settings) -> None:
    """Serve nobody rather than everybody: without a key the start fails."""
    end = time.monotonic() + _KEYS_WAIT_SECONDS
    while not keys.refresh():
        if time.monotonic() > end:
            message = (
                f"No key in {configured.key_dir}: one of the files primaryKey and secondaryKey must hold a key. "
                "To serve without keys set SCORING_AUTH_MODE to None."
            )
            raise termination.StartError(termination.Failure("Environment", "KeysMissing", message))
        time.sleep(0.1)


def _set_environment(configured: settings.Settings, cpus: int) -> None:
    """What scripts and their libraries read from the environment."""
    os.environ["AML_APP_ROOT"] = str(configured.app_root)
    if configured.model_dir is not None:
        os.environ["AZUREML_MODEL_DIR"] = str(configured.model_dir)
    if configured.entry_script is not None:
        os.environ["AZUREML_ENTRY_SCRIPT"] = configured.entry_script
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        # Numerical libraries count the node's cores; more threads than quota means being throttled.
        os.environ.setdefault(name, str(cpus))


def _connection_cap() -> int:
    """As many connections as file descriptors allow, with room for the model's and script's own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 65_536
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(64, min(10_240, wanted - 256))


def _fail(failure: termination.Failure, path: Path | None) -> int:
    logger.critical("Start failed: %s", failure.message, extra={"phase": failure.phase, "reason": failure.reason})
    if path is not None:
        try:
            termination.write(failure, path)
        except OSError as error:
            logger.warning("The termination message could not be written to %s: %s", path, error.strerror)
    return failure.exit_code


def _end_now(code: int) -> None:
    logging.shutdown()
    if sys.__stdout__ is not None:
        sys.__stdout__.flush()
    os._exit(code)
