"""The application in this process, asked over ASGI: everything but the socket and the signals."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from scoring_server import loading, settings
from scoring_server.app import Application
from scoring_server.auth import Keys
from scoring_server.engine import Engine
from scoring_server.engine.admission import Admission
from scoring_server.engine.workers import Worker, Workers
from scoring_server.metrics import Metrics


@dataclass(frozen=True)
class Served:
    """`post` and `get` go to the application; the parts are there to look at."""

    client: httpx.AsyncClient
    application: Application
    engine: Engine
    metrics: Metrics

    async def score(self, body: Any, **options: Any) -> httpx.Response:
        return await self.client.post("/score", json=body, **options)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.client.get(path, **options)


@asynccontextmanager
async def served(
    folder: Path,
    *,
    script: str | None = None,
    models: Sequence[str] = (),
    keys: Keys | None = None,
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[Served]:
    """Serve the text of a script, or `NAME=PATH` models, from `folder`."""
    variables = {"AML_APP_ROOT": str(folder), "SCORING_MODELS_ROOT": str(folder / "models"), **(environ or {})}
    if script is not None:
        (folder / "score.py").write_text(script)
        variables["AZUREML_ENTRY_SCRIPT"] = "score.py"
    configured = settings.from_environ(variables, models=models, server_version="test/1", cwd=folder)
    main = Worker()
    threading.Thread(target=main.work, daemon=True).start()
    workers = Workers(main)
    admission = Admission(configured.max_concurrent_requests, configured.max_queue_wait_seconds)
    engine = Engine(admission, workers, configured.timeout_seconds)
    metrics = Metrics(time.time())
    application = Application(
        metrics=metrics,
        keys=keys,
        server_version=configured.server_version,
        left_behind=lambda: workers.left_behind,
    )
    application.scorer = loading.load(configured, engine, metrics, cpus=1, expire=_never)
    transport = httpx.ASGITransport(app=application)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield Served(client, application, engine, metrics)
    workers.stop()
    main.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread or task brings about."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  what is waited for has no event to wait on
            await asyncio.sleep(0.005)


def _never(failure: object) -> None:
    raise AssertionError(f"init() timed out: {failure}")
