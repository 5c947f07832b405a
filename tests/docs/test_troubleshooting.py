"""Every reason that a user can meet has a row in docs/troubleshooting.md, and no row is about nothing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (ROOT / "operator" / "modeldeploy_operator", ROOT / "scoring-image" / "scoring_server")
REASON = re.compile(r"^[A-Z][a-z0-9]+(?:[A-Z]+[a-z0-9]*)*$")


def strings(node: ast.AST) -> Iterator[str]:
    """The string constants that an expression may yield: a constant, or either side of a conditional."""
    match node:
        case ast.Constant(value=str() as value):
            yield value
        case ast.IfExp():
            yield from strings(node.body)
            yield from strings(node.orelse)


def reasons(tree: ast.AST) -> Iterator[str]:
    """First arguments of the error types, and every `reason=` keyword."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in {"Stalled", "Waiting", "Unavailable"} and node.args:
            yield from strings(node.args[0])
        for keyword in node.keywords:
            if keyword.arg == "reason":
                yield from strings(keyword.value)


def in_code() -> set[str]:
    found: set[str] = set()
    for package in PACKAGES:
        for path in package.rglob("*.py"):
            found.update(reason for reason in reasons(ast.parse(path.read_text())) if REASON.match(reason))
    return found


def in_page() -> set[str]:
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {reason for row in rows for reason in re.findall(r"`([^`]+)`", row)}


def test_every_reason_has_a_row() -> None:
    assert in_code() - in_page() == set()


def test_every_row_is_about_a_reason_that_the_code_knows() -> None:
    sources = "".join(path.read_text() for package in PACKAGES for path in package.rglob("*.py"))
    assert {reason for reason in in_page() if f'"{reason}"' not in sources} == set()
