"""Rules of the repository that no linter knows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_nothing_shadows_the_standard_librarys_operator() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()
    done = subprocess.run([sys.executable, "-c", "import collections, operator"], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_no_folder_of_tests_is_a_package() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=str(page.relative_to(ROOT)))
        for page in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
    ],
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\[[^\]]+\]\(([\w./:-]+)(?:#[\w-]+)?\)", page.read_text())
    missing = [t for t in targets if not t.startswith(("http://", "https://")) and not (page.parent / t).exists()]
    assert missing == []


def test_make_help_names_every_verb() -> None:
    makefile = (ROOT / "Makefile").read_text()
    verbs = set(re.search(r"^\.PHONY: (.*)$", makefile, re.M).group(1).split())  # type: ignore[union-attr]
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("make ")}
    assert listed == verbs
