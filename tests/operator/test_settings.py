"""The environment, and what is said about a wrong one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from modeldeploy_operator.settings import Settings
from pydantic import ValidationError

IMAGES = {"MODELDEPLOY_IMAGE_LEAN": "lean:1", "MODELDEPLOY_IMAGE_SKLEARN": "sklearn:1"}


def settings(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name in [name for name in os.environ if name.startswith("MODELDEPLOY_")]:
        monkeypatch.delenv(name)
    for name, value in {**IMAGES, **environment}.items():
        monkeypatch.setenv(name, value)
    return Settings()  # type: ignore[call-arg]


def test_the_defaults_are_those_that_the_documentation_names(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(monkeypatch)
    assert found.model_dump() == {
        "image_lean": "lean:1",
        "image_sklearn": "sklearn:1",
        "image_pull_policy": "IfNotPresent",
        "namespace": "modeldeploy-system",
        "watch_namespaces": (),
        "leader_election": True,
        "pod_name": None,
        "health_port": 8080,
        "metrics_port": 9090,
        "workers": 16,
        "log_level": "INFO",
        "sources_allow_hosts": (),
        "sources_deny_private": False,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", (), id="all"),
        pytest.param("a", ("a",), id="one"),
        pytest.param(" a, b ,,c ", ("a", "b", "c"), id="untidy"),
    ],
)
def test_namespaces_are_a_list_with_commas(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: tuple[str, ...]
) -> None:
    assert settings(monkeypatch, MODELDEPLOY_WATCH_NAMESPACES=text).watch_namespaces == expected


def test_the_level_may_be_written_small(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(monkeypatch, MODELDEPLOY_LOG_LEVEL="debug").log_level == "DEBUG"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODELDEPLOY_WORKERS", "0"),
        ("MODELDEPLOY_IMAGE_PULL_POLICY", "Sometimes"),
        ("MODELDEPLOY_LOG_LEVEL", "LOUD"),
        ("MODELDEPLOY_HEALTH_PORT", "70000"),
    ],
)
def test_a_value_out_of_bounds_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    with pytest.raises(ValidationError):
        settings(monkeypatch, **{name: value})


def test_two_replicas_never_have_one_name_unless_they_are_one_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    anonymous = settings(monkeypatch)
    assert anonymous.identity() != anonymous.identity()
    assert settings(monkeypatch, MODELDEPLOY_POD_NAME="operator-1").identity() == "operator-1"


def test_the_command_names_the_variable_that_is_missing() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MODELDEPLOY_")}
    ended = subprocess.run(
        [sys.executable, "-m", "modeldeploy_operator"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "MODELDEPLOY_IMAGE_LEAN: Field required",
        "MODELDEPLOY_IMAGE_SKLEARN: Field required",
    ]
