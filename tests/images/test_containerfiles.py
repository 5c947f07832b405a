"""What the Containerfiles promise: one build for both flavours, locked and hashed packages, no root, nothing extra."""

from __future__ import annotations

import fnmatch
import re
import shlex
import subprocess
import tomllib
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCORING = ROOT / "scoring-image/Containerfile"
OPERATOR = ROOT / "operator/Containerfile"


@dataclass(frozen=True)
class Stage:
    base: str
    name: str
    steps: tuple[tuple[str, str], ...]

    def all(self, instruction):
        return [text for kind, text in self.steps if kind == instruction]


def stages(path):
    text = re.sub(r"\\\n\s*", " ", re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.M))
    found: list[Stage] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        kind, _, rest = line.partition(" ")
        if kind == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(base, name, ()))
        elif found:
            found[-1] = Stage(found[-1].base, found[-1].name, (*found[-1].steps, (kind, rest.strip())))
    return {stage.name: stage for stage in found}


@pytest.fixture(params=[SCORING, OPERATOR], ids=["scoring", "operator"])
def containerfile(request):
    return request.param


def test_both_flavours_stand_on_one_build_and_one_runtime_stage():
    found = stages(SCORING)
    assert {name: stage.base for name, stage in found.items()} == {
        "build": "${BASE_IMAGE}",
        "build-sklearn": "build",
        "package": "build",
        "lean": "${BASE_IMAGE}",
        "sklearn": "lean",
    }
    assert found["sklearn"].steps == (("COPY", "--from=build-sklearn /extra/ /"),)


def test_the_base_is_the_public_slim_image_unless_another_is_given(containerfile):
    assert "ARG BASE_IMAGE=docker.io/library/python:3.12-slim\n" in containerfile.read_text()


@pytest.mark.parametrize(
    ("path", "stage", "program"),
    [(SCORING, "lean", "scoring-server"), (OPERATOR, "", "modeldeploy-operator")],
    ids=["scoring", "operator"],
)
def test_it_runs_its_program_as_a_user_that_is_not_root(path, stage, program):
    runtime = stages(path)[stage]
    assert runtime.all("USER") == ["10001:10001"]
    assert runtime.all("ENTRYPOINT") == [f'["{program}"]']
    assert [kind for kind, _ in runtime.steps][-2:] == ["USER", "ENTRYPOINT"]


@pytest.mark.parametrize(("path", "stage"), [(SCORING, "lean"), (OPERATOR, "")], ids=["scoring", "operator"])
def test_nothing_is_installed_in_the_runtime_stage(path, stage):
    runtime = stages(path)[stage]
    assert [text.split()[0] for text in runtime.all("COPY")] == ["--from=package"]
    for step in runtime.all("RUN"):
        programs = {shlex.split(part)[0] for part in step.split("&&")}
        assert programs <= {"mkdir", "echo"}


@pytest.mark.parametrize(("path", "stage"), [(SCORING, "lean"), (OPERATOR, "")], ids=["scoring", "operator"])
def test_the_working_directory_exists_for_the_root_is_read_only(path, stage):
    runtime = stages(path)[stage]
    (directory,) = runtime.all("WORKDIR")
    assert directory == "/tmp" or f"mkdir {directory} " in runtime.all("RUN")[0]


@pytest.mark.parametrize(("path", "stage"), [(SCORING, "lean"), (OPERATOR, "")], ids=["scoring", "operator"])
def test_byte_code_is_made_in_the_build_and_never_at_run_time(path, stage):
    assert "PYTHONDONTWRITEBYTECODE=1" in stages(path)[stage].all("ENV")[0]
    for build in ("build", "package"):
        assert any("compileall" in step and "unchecked-hash" in step for step in stages(path)[build].all("RUN"))


def test_a_change_in_our_own_source_installs_no_dependency_anew(containerfile):
    for name, stage in stages(containerfile).items():
        copies_source = any(re.search(r"scoring_server|modeldeploy_operator", text) for text in stage.all("COPY"))
        assert copies_source == (name == "package")
        assert not (copies_source and any("--require-hashes" in step for step in stage.all("RUN")))


def test_every_package_is_installed_by_its_hash_or_from_our_own_source(containerfile):
    installs = [
        command.strip()
        for stage in stages(containerfile).values()
        for step in stage.all("RUN")
        for command in step.split("&&")
        if re.search(r"\bpip\b.* (install|wheel) ", command)
    ]
    assert len(installs) >= 4
    for command in installs:
        is_offline = "--no-index" in command and "--no-deps" in command
        assert is_offline or "--require-hashes" in command, command


def test_requirements_come_from_the_lock_file_without_development_tools(containerfile):
    exports = [step for stage in stages(containerfile).values() for step in stage.all("RUN") if "uv export" in step]
    assert exports
    for step in exports:
        assert {"--frozen", "--no-dev", "--no-emit-workspace"} <= set(step.split())
        assert "--no-hashes" not in step


def test_settings_of_a_package_index_come_as_a_secret_and_stay_out(containerfile):
    for stage in stages(containerfile).values():
        for step in stage.all("RUN"):
            if "--require-hashes" in step:
                assert step.startswith("--mount=type=secret,id=pip-conf,target=/etc/pip.conf ")
    text = containerfile.read_text()
    assert not re.search(r"https?://|index-url|PIP_INDEX|trusted-host|ca-certificates\.crt", text)


def _locked(project):
    """Every package that the lock file gives the project at run time."""
    packages = {package["name"]: package for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    names, waiting = set(), [(project, "")]
    while waiting:
        name, _ = waiting.pop()
        if name in names:
            continue
        names.add(name)
        package = packages[name]
        extras = [entry for extra in package.get("optional-dependencies", {}).values() for entry in extra]
        wanted = package.get("dependencies", []) + (extras if name == project else [])
        waiting += [(entry["name"], "") for entry in wanted]
    return names


@pytest.mark.parametrize("project", ["modeldeploy-scoring-server", "modeldeploy-operator"])
def test_no_development_tool_is_a_dependency(project):
    root = tomllib.loads((ROOT / "pyproject.toml").read_text())
    tools = {re.split(r"[<>=\[ ]", entry)[0] for entry in root["dependency-groups"]["dev"]}
    member = tomllib.loads((ROOT / _FOLDERS[project] / "pyproject.toml").read_text())["project"]
    declared = [*member["dependencies"], *chain.from_iterable(member.get("optional-dependencies", {}).values())]
    allowed = {re.split(r"[<>=\[ ]", entry)[0] for entry in declared}
    assert tools & _locked(project) - allowed == set()


_FOLDERS = {"modeldeploy-scoring-server": "scoring-image", "modeldeploy-operator": "operator"}


def test_what_is_left_out_of_onnxruntime_is_no_dependency_of_anything_else():
    left_out = set(re.findall(r"--no-emit-package (\w+)", SCORING.read_text()))
    assert left_out == {"flatbuffers", "packaging", "protobuf"}
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    ours = _locked("modeldeploy-scoring-server")
    for package in packages:
        if package["name"] in ours - left_out - {"onnxruntime"}:
            assert not left_out & {entry["name"] for entry in package.get("dependencies", [])}, package["name"]


def test_what_builds_the_images_is_pinned_by_hash():
    wanted = [line for line in (ROOT / "image-build-requirements.in").read_text().splitlines() if line[0] != "#"]
    text = (ROOT / "image-build-requirements.txt").read_text()
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.M))
    assert {re.split("[=<>]", line)[0] for line in wanted} <= set(pinned)
    for name in pinned:
        assert re.search(rf"^{name}==\S+.*\\\n\s+--hash=sha256:[0-9a-f]{{64}}", text, re.M), name


def test_every_file_that_a_build_copies_is_in_its_context_and_nothing_private_is(containerfile):
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert patterns[0] == "**"
    allowed = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    copied = [
        source
        for stage in stages(containerfile).values()
        for text in stage.all("COPY")
        if "--from" not in text
        for source in text.split()[:-1]
    ]
    for source in copied:
        assert (ROOT / source).exists(), source
        assert source in allowed
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    sent = [path for path in tracked if any(path == entry or fnmatch.fnmatch(path, f"{entry}/*") for entry in allowed)]
    folders = {path.split("/")[0] for path in sent if "/" in path}
    assert folders == {"operator", "scoring-image"}
