"""The pages' commands, run as they stand on a real cluster."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "ml-team"


def script(page: Path) -> str:
    """The page's bash blocks in order, as one script; blocks marked `sh` are for reading."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", page.read_text(), re.M | re.S)
    assert blocks, f"{page.name} has no bash block"
    return "\n".join(blocks)


@pytest.mark.cluster
@pytest.mark.parametrize("name", ["getting-started.md"])
def test_the_commands_of_a_page_work(kubeconfig: str, operator: str, name: str, tmp_path: Path) -> None:
    own = f"docs-{uuid.uuid4().hex[:8]}"
    text = script(ROOT / "docs" / name).replace(NAMESPACE, own)
    tools = [ROOT / ".devcluster" / "bin", Path(sys.executable).parent]
    path = os.pathsep.join([*map(str, tools), os.environ["PATH"]])
    environ = {**os.environ, "KUBECONFIG": kubeconfig, "PATH": path}
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", text],
        cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=420,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
    assert '"result"' in done.stdout
    assert "NoSuchFile" in done.stdout or "irsi.onnx" in done.stdout
