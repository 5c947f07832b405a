"""Long-running processes that outlive the CLI: start, look at, stop. What they are is components.py's business."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster.errors import DevclusterError

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Identity:
    """A process id and the kernel's start time of it: together they name one process even after the id is reused."""

    pid: int
    start_ticks: int


def parse_stat(text: str) -> tuple[str, int]:
    """State letter and start time from /proc/PID/stat, whose second field, the name, may hold blanks and brackets."""
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[19])


def identity(pid: int) -> Identity | None:
    """None when there is no such process, or when it is a zombie that its parent has not collected yet."""
    try:
        state, ticks = parse_stat(Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else Identity(pid, ticks)


def recorded(pid_file: Path) -> Identity | None:
    """The process that the file names, if it still runs."""
    try:
        document = json.loads(pid_file.read_text())
    except FileNotFoundError:
        return None
    claimed = Identity(document["pid"], document["startTicks"])
    return claimed if identity(claimed.pid) == claimed else None


def start(command: Sequence[str], environment: Mapping[str, str], log: Path, pid_file: Path) -> Identity:
    """Starts it in a session of its own, so that neither the terminal nor the CLI's end takes it along."""
    for directory in (log.parent, pid_file.parent):
        directory.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )
    started = identity(child.pid)
    if started is None:
        raise DevclusterError(f"{command[0]} ended at once:\n{last_lines(log, 15)}")
    pid_file.write_text(json.dumps({"pid": started.pid, "startTicks": started.start_ticks}))
    # The CLI leaves the child to init on purpose; without a return code Popen would warn about that at its end.
    child.returncode = 0
    return started


def stop(pid_file: Path, seconds: float) -> None:
    """SIGTERM, and SIGKILL when that did not end it within the seconds. The file is gone afterwards."""
    running = recorded(pid_file)
    if running is not None:
        end(running, seconds)
    pid_file.unlink(missing_ok=True)


def end(running: Identity, seconds: float) -> None:
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 10.0)):
        try:
            os.kill(running.pid, number)
        except ProcessLookupError:
            return
        if wait_until(lambda: _gone(running), patience):
            return
    raise DevclusterError(f"Process {running.pid} does not end, not even by SIGKILL.")


def _gone(running: Identity) -> bool:
    # Where it is our own child, collect it; where it is not, init does.
    try:
        os.waitpid(running.pid, os.WNOHANG)
    except ChildProcessError:
        return identity(running.pid) != running
    return identity(running.pid) != running


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def matching(wanted: Callable[[list[str]], bool]) -> list[Identity]:
    """Every running process whose command line is wanted."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().decode(errors="surrogateescape").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if wanted(arguments):
            running = identity(int(entry.name))
            if running is not None:
                found.append(running)
    return found


def last_lines(log: Path, count: int) -> str:
    if not log.exists():
        return "(it wrote no log)"
    lines = log.read_text(errors="replace").splitlines()[-count:]
    return "\n".join(f"    {line[:400]}" for line in lines) or "(its log is empty)"
