"""What the demo prints, and how it runs programs. Nothing about clusters enters here."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class DemoError(Exception):
    """The demo cannot go on; the message says why and what to do."""


def say(text: str = "") -> None:
    """One line or block, at once."""
    print(text, flush=True)


def note(text: str) -> None:
    """A line that belongs to the step above it."""
    say("      " + text.replace("\n", "\n      "))


@contextmanager
def step(number: int, of: int, title: str) -> Iterator[None]:
    """A numbered step and how long it took."""
    say(f"\n[{number}/{of}] {title}")
    started = time.monotonic()
    yield
    note(f"done in {time.monotonic() - started:.1f} s")


def run(command: Sequence[str], *, env: Mapping[str, str] | None = None, stdin: str | None = None) -> str:
    """Run a program and return what it printed; its failure is the demo's, with its own words."""
    done = subprocess.run(command, env=env, input=stdin, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        name = " ".join([Path(command[0]).name, *command[1:4]])
        raise DemoError(f"`{name} …` ended with {done.returncode}:\n{(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def show(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> None:
    """Run a program whose progress the user should see as it comes."""
    with subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            note(line.rstrip())
    if process.returncode != 0:
        raise DemoError(f"`{' '.join(command[1:])}` ended with {process.returncode}; its last lines stand above")
