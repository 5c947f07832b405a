"""What the environment says, and what it may not say."""

from __future__ import annotations

import pytest
from modeldeploy_operator.settings import Settings
from pydantic import ValidationError


@pytest.fixture(autouse=True)
def images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELDEPLOY_IMAGE_LEAN", "lean:1")
    monkeypatch.setenv("MODELDEPLOY_IMAGE_SKLEARN", "sklearn:1")


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELDEPLOY_WATCH_NAMESPACES", "team-a, team-b,")
    assert Settings().watch_namespaces == ("team-a", "team-b")


def test_without_rules_on_sources_the_image_keeps_its_own() -> None:
    assert Settings().source_rules() == {}


def test_rules_on_sources_become_the_images_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELDEPLOY_SOURCES_ALLOW_HOSTS", "store.example.com,10.0.0.7")
    monkeypatch.setenv("MODELDEPLOY_SOURCES_DENY_PRIVATE", "true")
    assert Settings().source_rules() == {
        "SCORING_SOURCES_ALLOW_HOSTS": "store.example.com,10.0.0.7",
        "SCORING_SOURCES_DENY_PRIVATE": "true",
    }


def test_a_missing_image_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELDEPLOY_IMAGE_LEAN")
    with pytest.raises(ValidationError, match="image_lean"):
        Settings()


def test_an_unknown_log_level_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELDEPLOY_LOG_LEVEL", "chatty")
    with pytest.raises(ValidationError, match="DEBUG"):
        Settings()
