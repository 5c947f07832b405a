"""The Go programs, compiled from published modules into a cache that is keyed by what they are made from.

A program's key is the hash of its go.mod, go.sum, main.go and of the build flags, so that a changed version is built
anew and an unchanged one never again, in whichever checkout.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster import locks, prerequisites
from devcluster.errors import DevclusterError
from devcluster.progress import Progress

SOURCES = Path(__file__).parent
KUBERNETES_VERSION = "v1.34.4"


def _version_flags(version: str) -> str:
    """Without these the server reports v0.0.0 and refuses clients that ask for a minimum version."""
    _, minor, _ = version.removeprefix("v").split(".")
    values = {"gitVersion": version, "gitMajor": "1", "gitMinor": minor}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(f"-X {package}.{name}={value}" for package in packages for name, value in values.items())


@dataclass(frozen=True)
class Program:
    """One binary: the folder with its go.mod, the Go package to build, and the names it is called by."""

    name: str
    package: str
    links: tuple[str, ...]
    minutes: str
    ldflags: str = "-s -w"
    tags: str = ""


PROGRAMS = {
    program.name: program
    for program in (
        Program(
            name="kube",
            package=".",
            links=(
                "coredns",
                "etcd",
                "kube-apiserver",
                "kube-controller-manager",
                "kube-proxy",
                "kube-scheduler",
                "kubectl",
                "kubelet",
            ),
            minutes="4-5",
            ldflags=f"-s -w {_version_flags(KUBERNETES_VERSION)}",
            tags="providerless",
        ),
        Program(
            name="helm",
            package="helm.sh/helm/v3/cmd/helm",
            links=("helm",),
            minutes="1",
            ldflags="-s -w -X helm.sh/helm/v3/internal/version.version=v3.19.4",
        ),
        Program(
            name="metrics-server",
            package="sigs.k8s.io/metrics-server/cmd/metrics-server",
            links=("metrics-server",),
            minutes="1.5",
        ),
        Program(name="kwok", package="sigs.k8s.io/kwok/cmd/kwok", links=("kwok",), minutes="1.5"),
    )
}


def build_arguments(program: Program) -> list[str]:
    """The arguments of `go build` that shape the binary; its output path is not among them."""
    tags = ["-tags", program.tags] if program.tags else []
    return ["-trimpath", "-buildvcs=false", "-mod=readonly", *tags, "-ldflags", program.ldflags]


def key(program: Program, sources: Path) -> str:
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum", "main.go"):
        file = sources / program.name / name
        content = file.read_bytes() if file.exists() else b""
        digest.update(f"{name} {len(content)}\n".encode() + content)
    digest.update("\0".join([program.package, *build_arguments(program)]).encode())
    return digest.hexdigest()[:16]


def cached(program: Program, cache: Path) -> Path:
    return cache / "programs" / f"{program.name}-{key(program, SOURCES)}" / program.name


def build(names: Sequence[str], cache: Path, progress: Progress) -> None:
    """Compiles what the cache lacks. Two builds at once wait for each other instead of doing the work twice."""
    wanted = [PROGRAMS[name] for name in names if not cached(PROGRAMS[name], cache).exists()]
    if not wanted:
        return

    def on_wait() -> None:
        progress.line("another build is running; waiting for it")

    with locks.exclusive(cache / "locks" / "build.lock", on_wait):
        go = prerequisites.find_go(cache, progress)
        for program in wanted:
            if not cached(program, cache).exists():
                _compile(program, go, cached(program, cache), progress)


def _compile(program: Program, go: Path, output: Path, progress: Progress) -> None:
    unfinished = output.parent.with_name(output.parent.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    log = unfinished / "build.log"
    progress.line(f"compiling {program.name}: about {program.minutes} min on two cores the first time")
    command = [str(go), "build", "-v", *build_arguments(program), "-o", str(unfinished / program.name), program.package]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
    with progress.part(f"compiled {program.name}"), log.open("w") as output_file:
        process = subprocess.Popen(
            command, cwd=SOURCES / program.name, env=environment, stdout=output_file, stderr=subprocess.STDOUT
        )
        try:
            _watch(process, program, log, progress)
        except BaseException:
            process.kill()
            process.wait()
            raise
    if process.returncode:
        last = "\n".join(log.read_text().splitlines()[-15:])
        raise DevclusterError(f"Compiling {program.name} failed (all of it: {log}):\n{last}")
    unfinished.rename(output.parent)


def _watch(process: subprocess.Popen[bytes], program: Program, log: Path, progress: Progress) -> None:
    """Says every 20 seconds how many packages are compiled, so that five minutes do not look like a hang."""
    began = time.monotonic()
    while True:
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            lines = log.read_text().splitlines()
            done = sum(1 for line in lines if not line.startswith("go: "))
            what = f"{done} packages compiled" if done else f"{len(lines)} modules downloaded"
            progress.doing(f"{program.name}: {what}", began)
        else:
            return


def link(directory: Path, names: Iterable[str], cache: Path) -> None:
    """Links the compiled programs into the instance's bin directory, under each name that they are called by."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        program = PROGRAMS[name]
        binary = cached(program, cache)
        if not binary.exists():
            continue
        for link_name in program.links:
            path = directory / link_name
            path.unlink(missing_ok=True)
            path.symlink_to(binary)
