"""Whatever is logged or printed is one line of JSON, with the id of its request."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from scoring_server import logs


class Captured:
    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.handler = logging.StreamHandler(self.stream)
        self.handler.setFormatter(logs.JsonFormatter())

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def captured() -> Iterator[Captured]:
    found = Captured()
    logger = logging.getLogger("test_log_lines")
    logger.addHandler(found.handler)
    logger.propagate = False
    yield found
    logger.removeHandler(found.handler)


def test_a_record_carries_fields_request_id_and_traceback(captured: Captured) -> None:
    logger = logging.getLogger("test_log_lines")
    token = logs.request_id.set("r1")
    try:
        raise ValueError("boom\nsecond line")
    except ValueError:
        logger.exception("failed %d", 3, extra={"status": 500})
    finally:
        logs.request_id.reset(token)
    [record] = captured.records
    assert (record["message"], record["level"], record["requestId"], record["status"]) == (
        "failed 3",
        "error",
        "r1",
        500,
    )
    assert "ValueError: boom" in record["traceback"]


def test_prints_become_a_record_a_line(captured: Captured) -> None:
    out = logs.PrintCapture("script.stdout", logging.INFO, captured.handler)
    token = logs.request_id.set("r2")
    print("one", "two", file=out)
    print("three\nfour", end="", file=out)
    out.flush()
    logs.request_id.reset(token)
    assert [record["message"] for record in captured.records] == ["one two", "three", "four"]
    assert {record["requestId"] for record in captured.records} == {"r2"}


def test_an_endless_line_is_cut_and_not_held(captured: Captured) -> None:
    out = logs.PrintCapture("script.stdout", logging.INFO, captured.handler)
    for _ in range(5):
        out.write("x" * 10_000)
    assert [len(record["message"]) for record in captured.records] == [16_384] * 3


def test_prints_of_two_threads_do_not_mix(captured: Captured) -> None:
    out = logs.PrintCapture("script.stdout", logging.INFO, captured.handler)
    barrier = threading.Barrier(2)

    def speak(word: str) -> None:
        for _ in range(20):
            out.write(word)
            barrier.wait(10)
        out.write("\n")

    threads = [threading.Thread(target=speak, args=(word,)) for word in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(record["message"] for record in captured.records) == ["a" * 20, "b" * 20]


def test_a_users_own_handler_on_stderr_does_not_feed_on_itself(captured: Captured) -> None:
    out = logs.PrintCapture("script.stderr", logging.WARNING, captured.handler)
    logger = logging.getLogger("test_log_lines.user")
    own = logging.StreamHandler(out)
    logger.addHandler(own)
    logger.warning("once")
    logger.removeHandler(own)
    assert [record["message"] for record in captured.records] == ["once", "once"]
