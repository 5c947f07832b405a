"""Every dependency is named with its reason, and nothing is named that is not used."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "dependencies.md").read_text()


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[><=~!; ]", requirement)[0].lower() for requirement in requirements}


def declared() -> dict[str, set[str]]:
    root = tomllib.loads((ROOT / "pyproject.toml").read_text())
    operator = tomllib.loads((ROOT / "operator" / "pyproject.toml").read_text())["project"]
    scoring = tomllib.loads((ROOT / "scoring-image" / "pyproject.toml").read_text())["project"]
    extras = [requirement for extra in scoring.get("optional-dependencies", {}).values() for requirement in extra]
    return {
        "Operator": names(operator["dependencies"]),
        "Scoring image": names(scoring["dependencies"] + extras),
        "Tools and tests": names(root["dependency-groups"]["dev"]),
    }


def documented(section: str) -> set[str]:
    text = PAGE.split(f"## {section}\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


@pytest.mark.parametrize("section", ["Operator", "Scoring image", "Tools and tests"])
def test_the_page_names_exactly_what_is_declared(section: str) -> None:
    assert documented(section) == declared()[section]
