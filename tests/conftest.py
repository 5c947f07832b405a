"""What every test may ask for: a cluster, and the rule that nothing is skipped in CI."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent

# In CI the same examples every time, so that a change is judged by itself; elsewhere each run looks for new ones.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") == "true" else "here")


@pytest.fixture(scope="session")
def kubeconfig() -> str:
    """The path of a kubeconfig: that of $KUBECONFIG, or of the devcluster in this checkout."""
    given = os.environ.get("KUBECONFIG")
    if given:
        return given
    own = ROOT / ".devcluster" / "kubeconfig"
    if not own.exists():
        pytest.skip("no cluster: set KUBECONFIG, or run `make cluster-up`")
    return str(own)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run see."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def operator(kubeconfig: str, shared_folder: Path) -> None:
    """The chart with its CRDs on the shared cluster, installed once in a run by whichever worker comes first."""
    from tests.e2e import install

    install.once(kubeconfig, shared_folder)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """With CI=true a skipped test is a failed one: on a machine that has everything nothing may be left out."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI=true: {report.longrepr}"
