"""Runs an example as its README does: train.py, then the scoring server in front of score.py."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
START_SECONDS = 240


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any


@dataclass(frozen=True)
class Server:
    """A scoring server that has finished init()."""

    address: str
    log: Path

    def ask(self, request: Any) -> Answer:
        headers = {"Content-Type": "application/json"}
        sent = urllib.request.Request(f"{self.address}/score", json.dumps(request).encode(), headers)
        try:
            with urllib.request.urlopen(sent, timeout=30) as answer:
                return Answer(answer.status, json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read().decode())


def train(example: str, output: Path, runs: int = 1) -> list[str]:
    """Run train.py as a user does, so many times at once, each with other hashes of strings; what each printed."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / example / "train.py"), "--output", str(output)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONHASHSEED": str(seed)})
        for seed in range(runs)
    ]
    printed = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * runs
    return printed


def training(example: str) -> ModuleType:
    """train.py as a module, for what it does not print."""
    spec = importlib.util.spec_from_file_location(f"train_{example}", EXAMPLES / example / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sample(example: str, name: str) -> Any:
    return json.loads((EXAMPLES / example / name).read_text())


@contextmanager
def served(example: str, model_dir: Path, log: Path) -> Iterator[Server]:
    """The real scoring server in front of the example's score.py."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "scoring_server", "serve", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--entry-script", "score.py", "--app-root", str(EXAMPLES / example), "--model-dir", str(model_dir)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AZUREML", "AML", "SCORING"))}
    with log.open("w") as file, subprocess.Popen(command, env=environ, stdout=file, stderr=file) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_ready(process, address, log)
            yield Server(address, log)
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{address}/healthz/ready", timeout=5):
                return
        except urllib.error.HTTPError as error:
            error.close()
        except urllib.error.URLError:
            pass  # it does not listen yet; the loop's deadline judges
        time.sleep(0.05)
    raise AssertionError(f"not ready within {START_SECONDS} s:\n{log.read_text()}")
