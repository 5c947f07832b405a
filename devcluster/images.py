"""Our container images: built by buildah without a daemon, kept as archives by content, imported into containerd.

An archive's key is the hash of everything that its build reads, so a second run builds nothing, and a `down` followed
by an `up` only imports. No image is pulled from anywhere: the base is made by mmdebstrap from Debian's packages.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster import configuration, prerequisites, registries
from devcluster.errors import DevclusterError
from devcluster.progress import Progress
from devcluster.settings import Settings

SOURCES = Path(__file__).parent
BASE_PACKAGES = ("python3", "python3-pip", "python3-venv", "ca-certificates", "media-types", "tzdata")
ARCHIVES_KEPT = 2
# Build stages and earlier builds, nameless; those of the last builds are what the next one goes on from.
NAMELESS_KEPT = 9


@dataclass(frozen=True)
class Image:
    """One of our images: its name in the cluster, its Containerfile and what the build reads of the checkout."""

    reference: str
    containerfile: str
    target: str
    inputs: tuple[str, ...]


WORKSPACE = ("pyproject.toml", "uv.lock", "image-build-requirements.txt", ".containerignore", ".dockerignore")
MEMBERS = ("operator/pyproject.toml", "scoring-image/pyproject.toml")
OURS = {
    "operator": Image(
        reference="localhost/modeldeploy-operator:dev",
        containerfile="operator/Containerfile",
        target="",
        inputs=("operator", *WORKSPACE, *MEMBERS),
    ),
    "scoring": Image(
        reference="localhost/modeldeploy-scoring:dev",
        containerfile="scoring-image/Containerfile",
        target="lean",
        inputs=("scoring-image", *WORKSPACE, *MEMBERS),
    ),
    "scoring-sklearn": Image(
        reference="localhost/modeldeploy-scoring-sklearn:dev",
        containerfile="scoring-image/Containerfile",
        target="sklearn",
        inputs=("scoring-image", *WORKSPACE, *MEMBERS),
    ),
}


def ensure(only: str | None, checkout: Path, node: Settings | None, cache: Path, progress: Progress) -> None:
    """Builds what changed and imports what the node lacks; without a node the archives stay in the cache."""
    names = [only] if only else list(OURS)
    for name in names:
        if not (checkout / OURS[name].containerfile).exists():
            raise DevclusterError(f"There is no {OURS[name].containerfile} in {checkout}.")
    prerequisites.ensure(prerequisites.IMAGES, progress)
    base = ensure_base(cache, progress)
    for name in names:
        archive = ensure_archive(name, base, checkout=checkout, cache=cache, progress=progress)
        if node is None:
            print(archive)
        else:
            import_archive(node, OURS[name].reference, archive, progress)


def load(image: str, node: Settings | None, cache: Path, progress: Progress) -> None:
    """Imports an archive, or the newest that was built of one of our images."""
    if node is None:
        raise DevclusterError("There is no cluster with a node here; start one with `python -m devcluster up`.")
    if Path(image).is_file():
        with progress.part(f"imported {image}"):
            ctr(node, "images", "import", "--digests=false", str(Path(image).resolve()))
        return
    names = [name for name, ours in OURS.items() if image in (name, ours.reference)]
    archives = _archives(cache, names[0]) if names else []
    if not archives:
        raise DevclusterError(
            f"{image!r} is neither an archive file nor an image that was built here; "
            f"`python -m devcluster images` builds {', '.join(OURS)}."
        )
    import_archive(node, OURS[names[0]].reference, archives[-1], progress)


def ensure_pause(node: Settings, cache: Path, progress: Progress) -> None:
    """The image that holds a pod's namespaces open; without it no pod starts."""
    context = SOURCES / "pause"
    archive = cache / "images" / f"pause-{content_key(SOURCES, ['pause'], '')}.tar"
    if not archive.exists():
        with progress.part("built the pause image"), tempfile.TemporaryDirectory() as name:
            shutil.copy(context / "Containerfile", name)
            source, binary = str(context / "pause.c"), f"{name}/pause"
            _run(["gcc", "-Os", "-static", "-s", "-o", binary, source])
            _run([*buildah(cache), "bud", "--isolation", "chroot", "--tag", configuration.PAUSE_IMAGE, name])
            _push(cache, configuration.PAUSE_IMAGE, archive)
    import_archive(node, configuration.PAUSE_IMAGE, archive, progress)


def ensure_base(cache: Path, progress: Progress) -> str:
    """The name of an image with Debian's python3 and pip, in place of the public python image."""
    suite = _suite()
    key = hashlib.sha256(f"{suite} {BASE_PACKAGES} {BASE_SCRIPT}".encode()).hexdigest()[:12]
    reference = f"localhost/python-base:{key}"
    if _run([*buildah(cache), "images", "--quiet", "--filter", f"reference={reference}"]).strip():
        return reference
    with progress.part("built the base image"), tempfile.TemporaryDirectory() as name:
        rootfs = f"{name}/rootfs.tar"
        packages = ",".join(BASE_PACKAGES)
        _run(
            ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}", BASE_SCRIPT, suite, rootfs],
        )
        container = _run([*buildah(cache), "from", "scratch"]).strip()
        try:
            _run([*buildah(cache), "add", "--quiet", container, rootfs, "/"])
            path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            settings = ["--env", path, "--env", "LANG=C.UTF-8", "--cmd", "python3"]
            _run([*buildah(cache), "config", *settings, container])
            _run([*buildah(cache), "commit", "--quiet", container, reference])
        finally:
            _run([*buildah(cache), "rm", container])
    return reference


# As in the public image, `python` is there and pip may install for all.
BASE_SCRIPT = (
    '--customize-hook=ln -s python3 "$1/usr/bin/python"; rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED; '
    'rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/usr/share/doc/* "$1"/usr/share/locale/*'
)


def ensure_archive(name: str, base: str, *, checkout: Path, cache: Path, progress: Progress) -> Path:
    """The archive of that image as the checkout has it now, built when the cache lacks it."""
    image = OURS[name]
    key = content_key(checkout, image.inputs, f"{base} {image.containerfile} {image.target}")
    archive = cache / "images" / f"{name}-{key}.tar"
    if archive.exists():
        archive.touch()
        return archive
    with progress.part(f"built {image.reference}"), tempfile.TemporaryDirectory() as scratch:
        target = ["--target", image.target] if image.target else []
        command = [
            *buildah(cache),
            "bud",
            "--isolation=chroot",
            "--network=host",
            # A change in our sources must not install the dependencies anew.
            "--layers",
            "--pull=false",
            f"--build-arg=BASE_IMAGE={base}",
            *registries.build_options(Path(scratch), os.environ),
            "--file",
            str(checkout / image.containerfile),
            *target,
            "--tag",
            image.reference,
            str(checkout),
        ]
        _run(command)
        _push(cache, image.reference, archive)
    for old in _archives(cache, name)[:-ARCHIVES_KEPT]:
        old.unlink()
    nameless = _run([*buildah(cache), "images", "--quiet", "--no-trunc", "--filter", "dangling=true"]).split()
    if nameless[NAMELESS_KEPT:]:
        _run([*buildah(cache), "rmi", *nameless[NAMELESS_KEPT:]])
    return archive


def import_archive(node: Settings, reference: str, archive: Path, progress: Progress) -> None:
    """Skipped when the node has the image and it came from this very archive."""
    record = node.layout.root / "images.json"
    known: dict[str, str] = json.loads(record.read_text()) if record.exists() else {}
    present = ctr(node, "images", "list", "--quiet").split()
    if known.get(reference) == archive.name and reference in present:
        return
    with progress.part(f"imported {reference}"):
        ctr(node, "images", "import", "--digests=false", str(archive))
    record.write_text(json.dumps({**known, reference: archive.name}, indent=2))


def content_key(root: Path, inputs: Iterable[str], extra: str) -> str:
    """The hash of the named files and folders, without what Python and tools leave in them."""
    digest = hashlib.sha256(extra.encode())
    for name in sorted(set(inputs)):
        top = root / name
        paths = sorted(top.rglob("*")) if top.is_dir() else [top]
        for path in paths:
            parts = path.relative_to(root).parts
            if not path.is_file() or path.suffix == ".pyc" or any(part in IGNORED for part in parts):
                continue
            content = path.read_bytes()
            digest.update(f"\n{'/'.join(parts)} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


IGNORED = frozenset({"__pycache__", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", "dist", "build"})


def buildah(cache: Path) -> list[str]:
    """buildah with a storage of its own: the machine's own images are not our business."""
    storage = cache / "containers"
    return ["buildah", "--root", str(storage), "--runroot", f"{storage}-run", "--storage-driver", "overlay"]


def ctr(node: Settings, *arguments: str) -> str:
    return _run(["ctr", "--address", str(node.layout.containerd_socket), "--namespace", "k8s.io", *arguments])


def _push(cache: Path, reference: str, archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    unfinished = archive.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    _run([*buildah(cache), "push", "--quiet", reference, f"docker-archive:{unfinished}:{reference}"])
    unfinished.rename(archive)


def _archives(cache: Path, name: str) -> list[Path]:
    """The archives of that image, the one used last at the end."""
    key_length = 16
    found = [path for path in (cache / "images").glob(f"{name}-*.tar") if len(path.stem) == len(name) + 1 + key_length]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _suite() -> str:
    """The machine's own Debian release, so that its package sources are known to serve it; bookworm elsewhere."""
    values = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    if values.get("ID") == "debian" and "VERSION_CODENAME" in values:
        return values["VERSION_CODENAME"].strip('"')
    return "bookworm"


def _run(command: Sequence[str]) -> str:
    environment = {**os.environ, "PATH": prerequisites.SYSTEM_PATH, "BUILDAH_FORMAT": "docker"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        last = "\n".join(f"    {line}" for line in (result.stdout + result.stderr).strip().splitlines()[-25:])
        raise DevclusterError(f"`{' '.join(command[:1])}` failed:\n{last}")
    return result.stdout
