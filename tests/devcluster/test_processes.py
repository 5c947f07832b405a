"""Processes that outlive their starter: identity, stopping, and the log that tells why one died."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from devcluster import components, health, process
from devcluster.errors import DevclusterError
from devcluster.layout import Layout

SLEEPER = (sys.executable, "-c", "import time; print('began', flush=True); time.sleep(60)")
STUBBORN = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
)


def start(tmp_path: Path, command: tuple[str, ...], name: str = "it") -> Path:
    pid_file = tmp_path / "pids" / f"{name}.json"
    process.start(command, dict(os.environ), tmp_path / "logs" / f"{name}.log", pid_file)
    return pid_file


def said(tmp_path: Path, word: str) -> bool:
    log = tmp_path / "logs" / "it.log"
    return process.wait_until(lambda: word in log.read_text(), 10)


def test_a_process_runs_in_a_session_of_its_own_and_ends_when_told(tmp_path: Path) -> None:
    pid_file = start(tmp_path, SLEEPER)
    running = process.recorded(pid_file)
    assert running is not None
    assert os.getsid(running.pid) == running.pid
    process.stop(pid_file, 10)
    assert process.identity(running.pid) != running
    assert not pid_file.exists()


def test_one_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    pid_file = start(tmp_path, STUBBORN)
    assert said(tmp_path, "deaf")
    running = process.recorded(pid_file)
    assert running is not None
    process.stop(pid_file, 0.2)
    assert process.identity(running.pid) != running


def test_a_reused_process_id_is_not_taken_for_ours(tmp_path: Path) -> None:
    own = process.identity(os.getpid())
    assert own is not None
    pid_file = tmp_path / "it.json"
    pid_file.write_text(json.dumps({"pid": own.pid, "startTicks": own.start_ticks + 1}))
    assert process.recorded(pid_file) is None
    process.stop(pid_file, 1)
    assert process.identity(own.pid) == own


def test_no_file_means_no_process(tmp_path: Path) -> None:
    assert process.recorded(tmp_path / "none.json") is None
    process.stop(tmp_path / "none.json", 1)


def test_a_process_name_with_blanks_and_brackets_does_not_shift_the_fields() -> None:
    fields = " ".join(["S", *(str(number) for number in range(4, 53))])
    assert process.parse_stat(f"42 (a) b (c)) {fields}\n") == ("S", 22)


def test_a_component_that_dies_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    place = Layout(instance="", root=tmp_path, run=tmp_path)
    start(tmp_path, (sys.executable, "-c", "raise SystemExit('no such data directory')"), "etcd")
    component = components.Component(name="etcd", command=("etcd",), health="http://127.0.0.1:9/health")
    with pytest.raises(DevclusterError) as caught:
        health.wait(component, place, 20)
    assert str(caught.value) == (
        f"etcd died. The end of its log, {tmp_path}/logs/etcd.log:\n    no such data directory"
    )


def test_a_component_that_never_answers_is_told_after_the_time(tmp_path: Path) -> None:
    place = Layout(instance="", root=tmp_path, run=tmp_path)
    pid_file = start(tmp_path, SLEEPER)
    component = components.Component(name="it", command=("it",), health="http://127.0.0.1:9/health")
    assert said(tmp_path, "began")
    with pytest.raises(DevclusterError, match=r"it does not answer at http://127\.0\.0\.1:9/health after 0s"):
        health.wait(component, place, 0.3)
    process.stop(pid_file, 5)


def test_processes_are_found_by_their_arguments(tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    pid_file = start(tmp_path, (*SLEEPER, mark))
    assert said(tmp_path, "began")
    running = process.recorded(pid_file)
    assert process.matching(lambda arguments: mark in arguments) == [running]
    process.stop(pid_file, 5)
    assert process.matching(lambda arguments: mark in arguments) == []


def test_the_last_lines_of_a_missing_and_of_an_empty_log_say_so(tmp_path: Path) -> None:
    assert process.last_lines(tmp_path / "none", 3) == "(it wrote no log)"
    (tmp_path / "empty").touch()
    assert process.last_lines(tmp_path / "empty", 3) == "(its log is empty)"
