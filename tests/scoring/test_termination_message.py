"""The termination message is always whole JSON of at most 4096 bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring_server import termination


@pytest.mark.parametrize(
    ("phase", "code"), [("Fetch", 10), ("Environment", 11), ("Load", 12), ("Init", 13), ("Verification", 14)]
)
def test_each_phase_has_an_exit_code_of_its_own(phase: termination.Phase, code: int) -> None:
    assert termination.Failure(phase, "Any", "sentence").exit_code == code


def test_a_short_failure_is_written_as_it_is(tmp_path: Path) -> None:
    failure = termination.Failure("Init", "InitFailed", "héllo", "ValueError: x", "score.py", 12, ("a (1 bytes)",))
    termination.write(failure, tmp_path / "log")
    assert json.loads((tmp_path / "log").read_bytes()) == {
        "phase": "Init",
        "reason": "InitFailed",
        "message": "héllo",
        "exception": "ValueError: x",
        "script": "score.py",
        "line": 12,
        "listing": ["a (1 bytes)"],
    }


@settings(deadline=None, max_examples=60)
@given(
    message=st.text(max_size=9000),
    exception=st.none() | st.text(max_size=9000),
    listing=st.lists(st.text(), max_size=400),
)
def test_any_failure_fits_and_keeps_phase_and_reason(message: str, exception: str | None, listing: list[str]) -> None:
    encoded = termination.encode(termination.Failure("Load", "ModelInvalid", message, exception, listing=listing))
    document = json.loads(encoded)
    assert len(encoded) <= 4096
    assert (document["phase"], document["reason"]) == ("Load", "ModelInvalid")


def test_a_long_listing_gives_way_before_the_message() -> None:
    failure = termination.Failure("Load", "ModelInvalid", "m" * 1000, listing=[f"file {n}" for n in range(1000)])
    document = json.loads(termination.encode(failure))
    assert document["message"] == "m" * 1000
    assert document["listing"][0] == "file 0"
    assert document["listing"][-1] == "…"


def test_a_document_that_is_no_failure_is_bounded_too() -> None:
    document = {"digest": "sha256:0", "signature": {"inputs": [{"name": "x" * 100}] * 100}}
    encoded = termination.encode(document)
    assert len(encoded) <= 4096
    assert json.loads(encoded) == {"digest": "sha256:0", "signature": None}


def test_a_listing_says_what_there_is(tmp_path: Path) -> None:
    assert termination.listing(tmp_path) == (f"{tmp_path} is empty",)
    assert termination.listing(tmp_path / "no") == (f"{tmp_path / 'no'} does not exist",)
    (tmp_path / "d").mkdir()
    (tmp_path / "d/model.onnx").write_bytes(b"123")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert termination.listing(tmp_path) == ("d/model.onnx (3 bytes)", "dangling (0 bytes)")
    assert termination.listing(tmp_path, limit=1) == ("d/model.onnx (3 bytes)", "… and more")
