"""Rewrites the golden files of tests/golden/aks from their stories. Review the difference as the specification."""

from __future__ import annotations

import sys

from tests.operator.targets.stories import GOLDEN, stories, texts


def main() -> int:
    """Write what differs, and say which files those are."""
    for story in stories():
        for name, text in texts(story).items():
            path = GOLDEN / story / name
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")
                print(path.relative_to(GOLDEN.parents[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
