"""The golden files of tests/golden/aks, from their stories: --write rewrites them, --check names those that differ.

Review the difference as the specification.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.operator.targets.stories import GOLDEN, stories, texts


def main() -> int:
    """0 where nothing differs, or everything was written."""
    parser = argparse.ArgumentParser(description=__doc__)
    verb = parser.add_mutually_exclusive_group(required=True)
    verb.add_argument("--write", action="store_true", help="rewrite what differs")
    verb.add_argument("--check", action="store_true", help="fail where something differs")
    writes = parser.parse_args().write
    differing = list(_differing())
    for path, text in differing:
        if writes:
            path.write_text(text, encoding="utf-8")
        print(f"{'wrote' if writes else 'differs, run `make golden`:'} {path.relative_to(GOLDEN.parents[2])}")
    return 1 if differing and not writes else 0


def _differing() -> Iterator[tuple[Path, str]]:
    for story in stories():
        for name, text in texts(story).items():
            path = GOLDEN / story / name
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                yield path, text


if __name__ == "__main__":
    sys.exit(main())
