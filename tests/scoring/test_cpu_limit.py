"""onnxruntime gets as many threads as the container has CPUs, whatever the node has."""

from __future__ import annotations

from pathlib import Path

import pytest
from scoring_server import cpu


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, 64, id="no cgroup at all"),
        pytest.param({"sys/fs/cgroup/cpu.max": "max 100000"}, 64, id="version 2 without a quota"),
        pytest.param({"sys/fs/cgroup/cpu.max": "200000 100000"}, 2, id="version 2 in a container"),
        pytest.param({"sys/fs/cgroup/cpu.max": "250000 100000"}, 3, id="a part of a CPU counts as one"),
        pytest.param({"sys/fs/cgroup/cpu.max": "10000 100000"}, 1, id="never none"),
        pytest.param(
            {
                "proc/self/cgroup": "0::/kubepods/pod1/c1",
                "sys/fs/cgroup/kubepods/pod1/cpu.max": "300000 100000",
                "sys/fs/cgroup/kubepods/pod1/c1/cpu.max": "max 100000",
            },
            3,
            id="version 2, the pod above has the quota",
        ),
        pytest.param(
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            64,
            id="version 1 without a quota",
        ),
        pytest.param(
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            4,
            id="version 1 in a container",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "4:memory:/x\n3:cpu,cpuacct:/kubepods/c1",
                "sys/fs/cgroup/cpu,cpuacct/kubepods/c1/cpu.cfs_quota_us": "150000",
                "sys/fs/cgroup/cpu,cpuacct/kubepods/c1/cpu.cfs_period_us": "100000",
            },
            2,
            id="version 1 seen from the node",
        ),
    ],
)
def test_the_quota_of_the_cgroup_bounds_the_threads(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    write(tmp_path, files)
    assert cpu.limit(64, tmp_path) == expected


def test_the_process_may_be_bound_to_fewer_cpus_than_the_quota(tmp_path: Path) -> None:
    write(tmp_path, {"sys/fs/cgroup/cpu.max": "800000 100000"})
    assert cpu.limit(3, tmp_path) == 3
