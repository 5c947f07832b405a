"""Who may score: either of two keys, read from files that may be replaced at any time.

A Secret volume replaces its files by swapping a symbolic link, so the files are looked at from a timer and no
request pays for it. Keys are kept as SHA-256 digests only. No key readable means that nobody may score.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
from collections.abc import Mapping
from pathlib import Path

logger = logging.getLogger("scoring_server.auth")

FILES = ("primaryKey", "secondaryKey")

# Stands in for a missing key, so that both comparisons always happen; nothing hashes to it.
_NO_KEY = b"\0" * 32


class Keys:
    """The accepted keys. `accepts` is for every request, `refresh` for a timer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._digests = (_NO_KEY, _NO_KEY)
        self._seen: object = None

    def refresh(self) -> bool:
        """Read the files again if they changed. True while there is at least one key."""
        seen = self._signature()
        if seen != self._seen:
            first = self._seen is None
            self._seen = seen
            self._digests = (self._read(FILES[0]), self._read(FILES[1]))
            if not self.present:
                logger.error("No key is readable in %s: every request is refused", self._folder)
            elif not first:
                logger.info("The keys in %s changed and are in use", self._folder)
        return self.present

    @property
    def present(self) -> bool:
        return any(digest != _NO_KEY for digest in self._digests)

    def accepts(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether the request carries either key, as `Authorization: Bearer …` or as `api-key: …`."""
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            token = headers.get(b"api-key", b"")
        digest = hashlib.sha256(token.strip()).digest()
        primary, secondary = self._digests
        # Both comparisons, always: the time must not tell which key was close.
        first = hmac.compare_digest(digest, primary)
        second = hmac.compare_digest(digest, secondary)
        return first or second

    def _signature(self) -> tuple[object, ...]:
        marks: list[object] = []
        for name in FILES:
            try:
                status = os.stat(self._folder / name)
            except OSError as error:
                marks.append(error.errno)
            else:
                marks.append((status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(marks)

    def _read(self, name: str) -> bytes:
        path = self._folder / name
        try:
            key = path.read_bytes().strip()
        except OSError as error:
            logger.warning("The key file %s cannot be read: %s", path, error.strerror)
            return _NO_KEY
        if not key:
            logger.warning("The key file %s is empty", path)
            return _NO_KEY
        return hashlib.sha256(key).digest()
