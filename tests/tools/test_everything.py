"""`make test` counts what it ran, and a part that never reported counts as failed."""

from __future__ import annotations

from pathlib import Path

from tools.everything import Part, counts, summary

REPORT = """<?xml version="1.0"?><testsuites><testsuite name="pytest" errors="1" failures="2" skipped="3" tests="10">
</testsuite></testsuites>"""


def test_failures_and_errors_are_failed(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(REPORT)
    assert counts(tmp_path / "report.xml") == (4, 3, 3)


def test_a_part_without_a_report_is_one_failure(tmp_path: Path) -> None:
    assert counts(tmp_path / "absent.xml") == (0, 1, 0)


def test_the_last_line_counts_all_parts() -> None:
    parts = [Part("fast", 1.0, passed=5), Part("cluster", 2.0, passed=3, failed=1)]
    assert summary(parts).splitlines()[-1] == "8 passed, 1 failed"
