"""Keys of the caches, what the machine must have, and what a build is told of the machine's registries."""

from __future__ import annotations

import configparser
import io
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from devcluster import images, layout, locks, prerequisites, programs, progress, registries
from devcluster.errors import DevclusterError
from devcluster.prerequisites import Requirement
from devcluster.settings import Extent
from tests.devcluster.test_components import of

KUBE = programs.PROGRAMS["kube"]


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    shutil.copytree(programs.SOURCES / "kube", tmp_path / "kube")
    return tmp_path


@pytest.mark.parametrize("name", ["go.mod", "go.sum", "main.go"])
def test_a_program_is_built_anew_when_a_source_changes(sources: Path, name: str) -> None:
    before = programs.key(KUBE, sources)
    assert programs.key(KUBE, sources) == before
    with (sources / "kube" / name).open("a") as file:
        file.write("\n")
    assert programs.key(KUBE, sources) != before


def test_a_program_is_built_anew_when_a_flag_changes(sources: Path) -> None:
    assert programs.key(replace(KUBE, tags=""), sources) != programs.key(KUBE, sources)
    assert programs.key(replace(KUBE, ldflags="-s"), sources) != programs.key(KUBE, sources)


def test_every_program_has_its_sums_committed() -> None:
    for program in programs.PROGRAMS.values():
        assert (programs.SOURCES / program.name / "go.sum").stat().st_size > 1000


def test_the_server_says_the_version_that_its_module_has() -> None:
    required = (programs.SOURCES / "kube" / "go.mod").read_text()
    assert f"k8s.io/kubernetes {programs.KUBERNETES_VERSION}" in required
    assert f"gitVersion={programs.KUBERNETES_VERSION}" in KUBE.ldflags


@pytest.mark.parametrize(
    ("text", "version"),
    [
        pytest.param("go version go1.26.8 linux/amd64", (1, 26, 8), id="release"),
        pytest.param("go version go1.27 linux/arm64", (1, 27, 0), id="first of a minor"),
        pytest.param("bash: go: command not found", None, id="none"),
    ],
)
def test_gos_version_is_read(text: str, version: tuple[int, ...] | None) -> None:
    assert prerequisites.go_version(text) == version


def test_only_what_is_absent_is_missing() -> None:
    wanted = [Requirement("runc", "runc"), Requirement("ip", "iproute2")]
    assert prerequisites.missing(wanted, lambda one: one.program == "ip") == [wanted[0]]


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    output = io.StringIO()
    wanted = [Requirement("/nonexistent/bridge", "containernetworking-plugins"), Requirement("sh", "dash")]
    with pytest.raises(DevclusterError) as caught:
        prerequisites.ensure(wanted, progress.Progress(output))
    assert output.getvalue() == "  missing: /nonexistent/bridge (Debian package containernetworking-plugins)\n"
    assert str(caught.value) == (
        "Missing programs. As root, run: apt-get install --no-install-recommends containernetworking-plugins"
    )


def test_an_images_key_follows_its_sources_and_not_what_tools_leave_there(tmp_path: Path) -> None:
    (tmp_path / "operator" / "__pycache__").mkdir(parents=True)
    source = tmp_path / "operator" / "main.py"
    source.write_text("one")
    before = images.content_key(tmp_path, ["operator"], "base")
    (tmp_path / "operator" / "__pycache__" / "main.pyc").write_text("x")
    (tmp_path / "operator" / "other.pyc").write_text("x")
    assert images.content_key(tmp_path, ["operator"], "base") == before
    assert images.content_key(tmp_path, ["operator"], "another base") != before
    source.write_text("two")
    assert images.content_key(tmp_path, ["operator"], "base") != before


def test_a_renamed_file_and_a_moved_border_between_files_change_the_key(tmp_path: Path) -> None:
    keys = set()
    for files in ({"a": "xy", "b": ""}, {"a": "x", "b": "y"}, {"c": "xy", "b": ""}):
        folder = tmp_path / str(len(keys)) / "operator"
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / name).write_text(text)
        keys.add(images.content_key(folder.parent, ["operator"], ""))
    assert len(keys) == 3


def test_the_inputs_of_our_images_are_in_the_checkout() -> None:
    checkout = programs.SOURCES.parent
    for image in images.OURS.values():
        assert (checkout / image.containerfile).is_file()
        for name in ("operator/pyproject.toml", "uv.lock", "pyproject.toml", "image-build-requirements.txt"):
            assert name in image.inputs
            assert (checkout / name).is_file()


def test_an_unknown_image_is_answered_with_those_there_are(tmp_path: Path) -> None:
    node = replace(of(Extent.FULL), layout=layout.Layout(instance="", root=tmp_path, run=tmp_path))
    with pytest.raises(DevclusterError) as caught:
        images.load("nginx", node, tmp_path, progress.Progress(io.StringIO()))
    assert str(caught.value) == (
        "'nginx' is neither an archive file nor an image that was built here; "
        "`python -m devcluster images` builds operator, scoring, scoring-sklearn."
    )


def test_an_image_cannot_be_loaded_without_a_node(tmp_path: Path) -> None:
    with pytest.raises(DevclusterError, match="There is no cluster with a node here"):
        images.load("nginx", None, tmp_path, progress.Progress(io.StringIO()))


def test_pips_settings_reach_the_build_without_paths_of_this_machine() -> None:
    text = registries.pip_configuration(
        {
            "global.index-url": "https://index.example/simple",
            ":env:.find-links": "/opt/wheels",
            ":env:.default-timeout": "180",
            "global.cert": "/home/me/ca.pem",
            "freeze.timeout": "1",
        }
    )
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    assert dict(parser["global"]) == {
        "index-url": "https://index.example/simple",
        "timeout": "180",
        "cert": "/etc/ssl/certs/ca-certificates.crt",
        "disable-pip-version-check": "1",
    }


def test_a_second_holder_waits_and_says_so(tmp_path: Path) -> None:
    path, waited, entered = tmp_path / "locks" / "it", threading.Event(), threading.Event()

    def second() -> None:
        with locks.exclusive(path, waited.set):
            entered.set()

    with locks.exclusive(path, lambda: None):
        thread = threading.Thread(target=second)
        thread.start()
        assert waited.wait(5)
        assert not entered.is_set()
    thread.join(5)
    assert entered.is_set()


def test_progress_prints_a_line_for_each_part_with_its_seconds() -> None:
    output = io.StringIO()
    shown = progress.Progress(output)
    with shown.part("etcd"):
        pass
    with pytest.raises(ValueError), shown.part("kubelet"):
        raise ValueError
    first, second = output.getvalue().splitlines()
    assert first.split() == ["etcd", "0.0s"]
    assert second.split() == ["kubelet", "failed", "after", "0.0s"]
