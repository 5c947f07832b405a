"""Mounts below a directory: which there are, and how to get rid of them.

`/proc/self/mountinfo` and not `Path.is_mount()`, which compares devices and so does not see a bind mount on the same
disk; a `rm -r` through such a mount would empty what lies behind it.
"""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path

from devcluster.errors import DevclusterError

MNT_DETACH = 2


def parse(mountinfo: str) -> list[Path]:
    """The mount points in the order of mounting. Blanks in them are written as \\040 and the like."""
    points = []
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        if len(fields) > 4:
            points.append(Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), fields[4])))
    return points


def below(directory: Path, points: list[Path]) -> list[Path]:
    """Those within the directory (itself included), the last mounted first: the order to unmount in."""
    return [point for point in reversed(points) if point.is_relative_to(directory)]


def current() -> list[Path]:
    return parse(Path("/proc/self/mountinfo").read_text())


def unmount_below(directory: Path) -> None:
    """Unmounts everything within it; what is busy is detached and vanishes with its last user."""
    libc = ctypes.CDLL(None, use_errno=True)
    for _ in range(10):
        points = below(directory, current())
        if not points:
            return
        for point in points:
            if libc.umount2(os.fsencode(point), MNT_DETACH):
                number = ctypes.get_errno()
                # Already gone with the mount it lay in.
                if point in current():
                    raise DevclusterError(f"{point} could not be unmounted: {os.strerror(number)}")
    raise DevclusterError(f"Something keeps mounting below {directory}; is another process at work there?")
