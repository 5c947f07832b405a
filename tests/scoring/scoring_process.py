"""A real `scoring-server` process on a free port, for what only a process shows: start, signals, exit, output."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

_PATIENCE_SECONDS = 30.0


class ScoringProcess:
    def __init__(self, process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._folder = folder

    @property
    def output(self) -> str:
        return (self._folder / "output.log").read_text()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.splitlines()]

    def termination(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self._folder / "termination").read_text())
        return document

    def wait_until_ready(self) -> None:
        self.wait_for(lambda: self.status("/healthz/ready") == 200, "ready")

    def wait_for(self, condition: Any, what: str) -> None:
        end = time.monotonic() + _PATIENCE_SECONDS
        while not condition():
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.output}"
            assert time.monotonic() < end, f"not {what} within {_PATIENCE_SECONDS} s: {self.output}"
            time.sleep(0.02)

    def status(self, path: str) -> int:
        """The status code of a GET, or 0 while nobody listens."""
        try:
            return httpx.get(self.url + path, timeout=5).status_code
        except httpx.TransportError:
            return 0

    def score(self, body: Any, **options: Any) -> httpx.Response:
        return httpx.post(self.url + "/score", json=body, timeout=_PATIENCE_SECONDS, **options)

    def connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port))
        client.settimeout(_PATIENCE_SECONDS)
        return client

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        return self.process.wait(timeout=_PATIENCE_SECONDS)


@contextmanager
def scoring_process(folder: Path, *options: str, **environ: str) -> Iterator[ScoringProcess]:
    """Started in `folder`; killed at the end, whatever happened."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SCORING_", "AZUREML_"))}
    variables = {
        **inherited,
        "SCORING_TERMINATION_LOG": str(folder / "termination"),
        "SCORING_HOST": "127.0.0.1",
        "SCORING_PORT": str(port),
        **environ,
    }
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "scoring_server", *options],
            cwd=folder,
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield ScoringProcess(process, port, folder)
    finally:
        process.kill()
        process.wait()
