"""Files of mounted volumes: claims and ConfigMaps, read-only, below one root.

No path leaves its volume: a link is followed only when what it leads to lies in the same volume, and what counts is
the file that was really opened, so that nothing can be exchanged between the check and the reading. (A ConfigMap's
volume is itself made of links, `key -> ..data/key -> ..2026_…/key`, all inside.)
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from scoring_server.source_errors import SourceError
from scoring_server.sources import Options, VolumeSource

LISTED = 20
_KINDS = {"pvc": "The claim", "configmap": "The ConfigMap"}


@dataclass(frozen=True)
class File:
    """One file of a source; `name` is its posix path within the source, empty when the source is the file itself."""

    name: str
    path: Path


@dataclass(frozen=True)
class Volume:
    """A mounted source: `root` is the volume's own folder with every link resolved."""

    source: VolumeSource
    root: Path
    path: Path
    is_folder: bool
    max_files: int

    def files(self) -> list[File]:
        """Every file of the source, sorted by name."""
        if not self.is_folder:
            return [File("", self.path)]
        found: list[File] = []
        for file in self._walk(self.path, "", (os.path.realpath(self.path),)):
            found.append(file)
            if len(found) > self.max_files:
                raise SourceError("SourceInvalid", f"{self.source} holds more than {self.max_files} files.")
        if not found:
            raise SourceError("SourceNotFound", f"{self.source} is an empty folder.")
        return sorted(found, key=lambda file: file.name)

    @contextmanager
    def open(self, file: File) -> Iterator[BinaryIO]:
        """The file opened for reading, once it is certain that it is a plain file of this volume."""
        shown = f"{self.source}/{file.name}" if file.name else str(self.source)
        try:
            descriptor = os.open(file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise SourceError("SourceNotFound", f"{shown} is not there any more, or is a link to nothing.") from error
        except OSError as error:
            raise _unreadable(shown, error) from error
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise SourceError("SourceInvalid", f"{shown} is not a plain file.")
            self._check_inside(Path(os.readlink(f"/proc/self/fd/{descriptor}")), shown)
            yield stream

    def _walk(self, folder: Path, prefix: str, above: tuple[str, ...]) -> Iterator[File]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise _unreadable(f"{self.source}/{prefix}".rstrip("/"), error) from error
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if name == "lost+found" and folder == self.root:
                continue  # what a file system keeps for itself at its root, readable by root alone
            real = Path(os.path.realpath(entry.path))
            self._check_inside(real, f"{self.source}/{name}")
            if not entry.is_dir():
                yield File(name, Path(entry.path))
            elif str(real) in above:
                raise SourceError("SourceInvalid", f"{self.source}/{name} is a link to a folder that it lies in.")
            else:
                yield from self._walk(Path(entry.path), f"{name}/", (*above, str(real)))

    def _check_inside(self, real: Path, shown: str) -> None:
        if not real.is_relative_to(self.root):
            raise SourceError(
                "SourceRefused",
                f"{shown} is a link that leads out of {_KINDS[self.source.kind].lower()}; put the file itself there.",
            )


def open_volume(source: VolumeSource, options: Options) -> Volume:
    """The source's file or folder; SourceNotFound, with what is there instead, when it is missing."""
    mount = options.sources_root / source.kind / source.volume
    kind = _KINDS[source.kind]
    if not mount.is_dir():
        raise SourceError("SourceNotFound", f"{kind} {source.volume} of {source} is not mounted in this pod.")
    root = Path(os.path.realpath(mount))
    volume = Volume(source, root, mount.joinpath(*source.path), is_folder=False, max_files=options.max_files)
    real = Path(os.path.realpath(volume.path))
    volume._check_inside(real, str(source))
    try:
        mode = real.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _missing(source, mount) from error
    except OSError as error:
        raise _unreadable(str(source), error) from error
    if stat.S_ISDIR(mode) and source.kind == "configmap":
        raise _missing(source, mount)
    return Volume(source, root, volume.path, is_folder=stat.S_ISDIR(mode), max_files=options.max_files)


def _missing(source: VolumeSource, mount: Path) -> SourceError:
    folder, depth = mount, 0
    while depth < len(source.path) and (folder / source.path[depth]).is_dir():
        folder, depth = folder / source.path[depth], depth + 1
    place = "/".join(source.path[:depth])
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        return _unreadable(f"{source.kind}://{source.volume}/{place}".rstrip("/"), error)
    names = sorted(
        f"{place}/{entry.name}".lstrip("/") + ("/" if entry.is_dir() else "")
        for entry in entries
        if source.kind != "configmap" or not entry.name.startswith("..")
    )
    shown = ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
    wanted = "key" if source.kind == "configmap" else "file or folder"
    there = f"There is: {shown}." if names else "There is nothing."
    return SourceError(
        "SourceNotFound",
        f"{_KINDS[source.kind]} {source.volume} has no {wanted} {'/'.join(source.path)}. {there}",
        tuple(names[:LISTED]),
    )


def _unreadable(shown: str, error: OSError) -> SourceError:
    if isinstance(error, PermissionError):
        return SourceError(
            "SourceForbidden",
            f"{shown} may not be read by user {os.geteuid()}; make it readable for everyone or for the pod's group.",
        )
    return SourceError("SourceUnavailable", f"{shown} cannot be read: {error.strerror or error}.")
