"""Every test there is, on one devcluster: what `make test` runs.

Third-party programs are compiled and images built while the tests that need neither run. The parts run one after
the other, a failed one does not stop the next, and the last line counts what passed and failed.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
DEVCLUSTER = (sys.executable, "-m", "devcluster")
NEEDS_HELM = "tests/charts"


@dataclass(frozen=True)
class Part:
    """The outcome of one part: counts of tests, or of one failed command."""

    name: str
    seconds: float
    passed: int = 0
    failed: int = 0
    skipped: int = 0


def counts(report: Path) -> tuple[int, int, int]:
    """Passed, failed and skipped tests of a JUnit file; a missing or empty file is one failure."""
    if not report.exists() or not report.stat().st_size:
        return 0, 1, 0
    suites = ElementTree.parse(report).getroot().iter("testsuite")
    total = failed = skipped = 0
    for suite in suites:
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    return total - failed - skipped, failed, skipped


def tests(name: str, *arguments: str) -> Part:
    """Run pytest and read its counts. No test collected is a failure: then this list is wrong."""
    print(f"\n=== {name}", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        passed, failed, skipped = counts(report)
    if code != 0 and failed == 0:
        failed = 1
    seconds = time.monotonic() - started
    print(f"=== {name}: {seconds:.0f} s", flush=True)
    return Part(name, seconds, passed, failed, skipped)


def command(name: str, *arguments: str) -> Part:
    """Run one command; its failure counts as one failed test."""
    print(f"\n=== {name}", flush=True)
    started = time.monotonic()
    code = subprocess.run([*DEVCLUSTER, *arguments], cwd=ROOT, check=False).returncode
    return Part(name, time.monotonic() - started, failed=int(code != 0))


class Background:
    """Commands of the devcluster that run one after the other while tests do; their output is shown at the end."""

    def __init__(self, name: str, *verbs: str) -> None:
        self._name = name
        self._log: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        line = " && ".join(shlex.join([*DEVCLUSTER, verb]) for verb in verbs)
        self._process = subprocess.Popen(["sh", "-c", line], cwd=ROOT, stdout=self._log, stderr=self._log)

    def wait(self) -> Part:
        """What is left of it."""
        print(f"\n=== {self._name}: waiting for the rest of it", flush=True)
        started = time.monotonic()
        code = self._process.wait()
        self._log.seek(0)
        print(self._log.read(), flush=True)
        self._log.close()
        return Part(f"{self._name}, the rest of it", time.monotonic() - started, failed=int(code != 0))


def run() -> list[Part]:
    """All parts, in the order in which what they need becomes ready."""
    if os.geteuid() != 0:
        print("make test starts a devcluster, which needs root; `make test-fast` does not", file=sys.stderr)
        return [Part("root", 0, failed=1)]
    build = Background("compile and build", "build", "images")
    parts = [tests("without a cluster", "-m", "not cluster", "-n", "2", "--dist=loadgroup", f"--ignore={NEEDS_HELM}")]
    parts.append(build.wait())
    parts.append(command("devcluster up", "up"))
    if parts[-1].failed:
        return parts
    parts.append(command("load the images", "images"))
    parts.append(tests("the chart", "-n", "2", NEEDS_HELM))
    parts.append(tests("on the cluster", "-m", "cluster and not exclusive", "-n", "3", "--dist=loadgroup"))
    parts.append(tests("alone on the cluster", "-m", "exclusive"))
    return parts


def summary(parts: Sequence[Part]) -> str:
    """A table of the parts and the line that counts."""
    total = Part(
        "total",
        sum(part.seconds for part in parts),
        sum(part.passed for part in parts),
        sum(part.failed for part in parts),
        sum(part.skipped for part in parts),
    )
    rows = [f"{'part':34} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}"]
    rows += [f"{p.name:34} {p.passed:7} {p.failed:7} {p.skipped:8} {p.seconds:8.0f}" for p in (*parts, total)]
    counted = f"{total.passed} passed, {total.failed} failed" + (f", {total.skipped} skipped" if total.skipped else "")
    return "\n".join([*rows, "", counted])


def main() -> int:
    """Run everything, leave no cluster behind where CI=true, and print what came of it."""
    try:
        parts = run()
    finally:
        if os.environ.get("CI") == "true":
            subprocess.run([*DEVCLUSTER, "down"], cwd=ROOT, check=False)
    print()
    if os.environ.get("CI") != "true":
        print("The devcluster still runs; `make cluster-down` ends it.\n")
    print(summary(parts))
    return int(any(part.failed for part in parts))


if __name__ == "__main__":
    raise SystemExit(main())
