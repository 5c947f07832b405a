"""How many CPUs this container may use: the cgroup's quota (version 1 and 2), not the node's cores."""

from __future__ import annotations

import math
from pathlib import Path


def limit(affinity: int, root: Path = Path("/")) -> int:
    """Whole CPUs, at least 1: the smaller of `affinity` and the tightest quota above this process."""
    quotas = [*_version_2(root), *_version_1(root)]
    return max(1, min([affinity, *(math.ceil(quota) for quota in quotas)]))


def _version_2(root: Path) -> list[float]:
    quotas: list[float] = []
    for folder in _folders(root, root / "sys/fs/cgroup", controller=""):
        words = _text(folder / "cpu.max").split()
        if len(words) == 2 and words[0] != "max":
            quotas.append(int(words[0]) / int(words[1]))
    return quotas


def _version_1(root: Path) -> list[float]:
    quotas: list[float] = []
    for mount in ("cpu", "cpu,cpuacct"):
        for folder in _folders(root, root / "sys/fs/cgroup" / mount, controller="cpu"):
            quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
            if quota and period and int(quota) > 0:
                quotas.append(int(quota) / int(period))
    return quotas


def _folders(root: Path, mount: Path, controller: str) -> list[Path]:
    """The mount itself, and each folder on the way to our own group, where the mount shows it."""
    folders = [mount]
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            folder = mount
            for part in Path(path.lstrip("/")).parts:
                folder = folder / part
                folders.append(folder)
    return folders


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        # Absent: this version of cgroups is not in use here, or the folder is outside our view.
        return ""
