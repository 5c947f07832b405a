"""Starts the operator: environment in, signals in, exit code out."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys

import structlog
from pydantic import ValidationError

from modeldeploy_operator import composition, logs
from modeldeploy_operator.settings import Settings

log = structlog.get_logger(__name__)


def main() -> None:
    """The command `modeldeploy-operator`."""
    try:
        settings = Settings()  # type: ignore[call-arg]
    except ValidationError as error:
        for problem in error.errors():
            print(f"MODELDEPLOY_{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg']}", file=sys.stderr)
        sys.exit(2)
    logs.configure(settings.log_level)
    # Documents come and go by the thousand and hold no cycles: looking for some at each 700th costs a tenth of the CPU.
    gc.set_threshold(50_000, 20, 20)
    code = asyncio.run(_run(settings))
    sys.stderr.flush()
    # At once: threads of libraries must not keep a replica alive that has lost the Lease.
    os._exit(code)


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    log.info("operator.starting", namespaces=settings.watch_namespaces or "all", workers=settings.workers)
    code = await composition.run(settings, stop)
    log.info("operator.ended", code=code)
    return code


if __name__ == "__main__":
    main()
