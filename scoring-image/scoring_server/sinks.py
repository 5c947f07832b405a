"""Where downloaded bytes go: a part file that becomes the real one by a rename, or only a digest. Knows no network."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from scoring_server.detection import HEAD_BYTES
from scoring_server.digest import CHUNK_BYTES
from scoring_server.source_errors import SourceError


class PartFile:
    """`<name>.part` beside the file that it will be. What an earlier start left in it is gone on with."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path = target.with_name(f"{target.name}.part")
        self._state = hashlib.sha256()
        self.position = 0
        target.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = self._path.open("r+b" if self._path.exists() else "w+b")
        while chunk := self._file.read(CHUNK_BYTES):
            self._state.update(chunk)
            self.position += len(chunk)

    @property
    def digest(self) -> str:
        return f"sha256:{self._state.hexdigest()}"

    def write(self, chunk: bytes) -> None:
        write_all(self._file, self._path, chunk)
        self._state.update(chunk)
        self.position += len(chunk)

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._state = hashlib.sha256()
        self.position = 0

    def commit(self) -> None:
        """Give the file its final name, in one step."""
        self._file.flush()
        os.replace(self._path, self._target)

    def discard(self) -> None:
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class Inspection:
    """Only the digest and the first bytes, unless `wanted(first bytes)` asks for the file: then it lies at `path`."""

    def __init__(self, path: Path, wanted: Callable[[bytes], bool]) -> None:
        self._path = path
        self._wanted = wanted
        self._file: BinaryIO | None = None
        self._clear()

    def _clear(self) -> None:
        self._state = hashlib.sha256()
        self._is_decided = False
        self.head = b""
        self.position = 0

    @property
    def digest(self) -> str:
        return f"sha256:{self._state.hexdigest()}"

    def write(self, chunk: bytes) -> None:
        self._state.update(chunk)
        self.position += len(chunk)
        if self._is_decided:
            self._keep(chunk)
            return
        self.head += chunk
        if len(self.head) >= HEAD_BYTES:
            self._decide()

    def finish(self) -> None:
        """The last byte came: decide for what was too short to be decided on its way."""
        if not self._is_decided:
            self._decide()
        if self._file is not None:
            self._file.flush()

    def restart(self) -> None:
        self.close()
        self._clear()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._path.unlink(missing_ok=True)

    def _decide(self) -> None:
        whole, self.head = self.head, self.head[:HEAD_BYTES]
        self._is_decided = True
        if self._wanted(self.head):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb")
            self._keep(whole)

    def _keep(self, chunk: bytes) -> None:
        if self._file is not None:
            write_all(self._file, self._path, chunk)


def write_all(file: BinaryIO, path: Path, chunk: bytes) -> None:
    """Write, and tell a full disk apart from what the network does."""
    try:
        file.write(chunk)
        file.flush()
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = "the disk is full" if full else error.strerror or "it failed"
        raise SourceError(
            "SourceUnavailable", f"{path.parent} cannot be written: {why}. The model needs more ephemeral storage."
        ) from error
