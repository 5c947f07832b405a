"""The helm program, and what the chart renders to. No cluster is asked for anything."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "modeldeploy"
KUBERNETES = "1.34.0"

Document = dict[str, Any]


def _find_helm() -> str | None:
    """The devcluster's helm, the one in its cache, or the one on the PATH."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modeldeploy-devcluster"
    own = [ROOT / ".devcluster" / "bin" / "helm", *sorted(cache.glob("**/helm"))]
    return next((str(path) for path in own if path.is_file() and os.access(path, os.X_OK)), shutil.which("helm"))


@dataclass(frozen=True)
class Helm:
    """Runs helm on the chart, away from any cluster and from the user's own helm settings."""

    program: str
    home: Path

    def run(self, *arguments: str, values: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        """One helm command; `values` go in as a file, so that their types stay what they are."""
        if values is not None:
            file = self.home / "values.json"
            file.write_text(json.dumps(values))
            arguments = (*arguments, "--values", str(file))
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "KUBECONFIG": "/dev/null"}
        return subprocess.run(
            [self.program, *arguments], capture_output=True, text=True, check=False, env=environment, timeout=60
        )

    def template(self, values: Mapping[str, Any] | None = None) -> list[Document]:
        """The documents that an install in modeldeploy-system would send."""
        done = self._template(values or {})
        assert done.returncode == 0, done.stderr
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    def refusal(self, values: Mapping[str, Any]) -> str:
        """What helm says to values that it must refuse."""
        done = self._template(values)
        assert done.returncode != 0, f"accepted: {values}"
        return done.stderr

    def notes(self, values: Mapping[str, Any] | None = None) -> str:
        """What helm prints after an install."""
        chart = self.home / "chart"
        shutil.copytree(CHART, chart)
        # Only an install prints the notes, and an install needs a cluster: render them as one more template.
        text = (chart / "templates" / "NOTES.txt").read_text()
        define = '{{- define "test.notes" -}}\n' + text + "\n{{- end }}\n"
        wrapped = define + 'notes: {{ include "test.notes" . | toJson }}\n'
        (chart / "templates" / "notes.yaml").write_text(wrapped)
        done = self._template(values or {}, chart, "--show-only", "templates/notes.yaml")
        assert done.returncode == 0, done.stderr
        return str(yaml.safe_load(done.stdout)["notes"])

    def _template(self, values: Mapping[str, Any], chart: Path = CHART, *more: str) -> subprocess.CompletedProcess[str]:
        # A helm built from source takes an old Kubernetes for granted.
        where = ("-n", "modeldeploy-system", "--kube-version", KUBERNETES)
        return self.run("template", "modeldeploy", str(chart), *where, *more, values=values)


@pytest.fixture
def helm(tmp_path: Path) -> Helm:
    program = _find_helm()
    if program is None:
        pytest.skip("no helm: `make cluster-up` builds one")
    return Helm(program, tmp_path)


@pytest.fixture
def rendered(helm: Helm) -> Callable[..., list[Document]]:
    """rendered(kind, values) yields the documents of that kind."""

    def of_kind(kind: str, values: Mapping[str, Any] | None = None) -> list[Document]:
        return [document for document in helm.template(values) if document["kind"] == kind]

    return of_kind
