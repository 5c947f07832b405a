"""A wrong setting is refused with a sentence that says what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest
from scoring_server import settings


def read(environ: dict[str, str], *models: str) -> settings.Settings:
    return settings.from_environ(environ, models=models, server_version="test/1", cwd=Path("/work"))


def test_the_defaults_are_those_of_the_contract() -> None:
    found = read({})
    assert (found.host, found.port, found.timeout_seconds) == ("0.0.0.0", 5001, 60.0)
    assert (found.max_concurrent_requests, found.max_queue_wait_seconds) == (8, 0.5)
    assert (found.init_timeout_seconds, found.max_body_bytes, found.drain_seconds) == (300.0, 100 * 1024 * 1024, 25.0)
    assert (found.auth_mode, found.models, found.models_root) == ("None", (), Path("/models"))
    assert found.app_root == Path("/work")


def test_a_key_folder_alone_asks_for_keys() -> None:
    assert read({"SCORING_KEY_DIR": "/keys"}).auth_mode == "Key"
    assert read({"SCORING_KEY_DIR": "/keys", "SCORING_AUTH_MODE": "None"}).auth_mode == "None"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"SCORING_PORT": "http"}, "SCORING_PORT is 'http'; write a whole number, 0 to 65535."),
        ({"SCORING_PORT": "70000"}, "SCORING_PORT is 70000; write a whole number, 0 to 65535."),
        ({"SCORING_TIMEOUT_MS": "0"}, "SCORING_TIMEOUT_MS is 0; write a whole number, 1 or more."),
        ({"SCORING_AUTH_MODE": "Token"}, "SCORING_AUTH_MODE is 'Token'; write Key or None."),
        (
            {"SCORING_AUTH_MODE": "Key"},
            "SCORING_AUTH_MODE is Key, but SCORING_KEY_DIR (--key-dir) names no folder with keys.",
        ),
        ({"SCORING_LOG_LEVEL": "loud"}, "SCORING_LOG_LEVEL is 'loud'; write debug, info, warning or error."),
        (
            {"SCORING_MODELS": "{"},
            'SCORING_MODELS must be a JSON list of objects with "name", "version" and "format"; it is not JSON: '
            "Expecting property name enclosed in double quotes: line 1 column 2 (char 1).",
        ),
        (
            {"SCORING_MODELS": "{}"},
            'SCORING_MODELS must be a JSON list of objects with "name", "version" and "format"; it is a dict.',
        ),
        (
            {"SCORING_MODELS": '[{"name": "a"}]'},
            'SCORING_MODELS must be a JSON list of objects with "name", "version" and "format"; '
            'one entry is {"name": "a"}.',
        ),
        (
            {"SCORING_MODELS": '[{"name": "a", "version": "1"}, {"name": "a", "version": "2"}]'},
            "Two models have the name 'a'; each needs a name of its own.",
        ),
    ],
)
def test_a_wrong_variable_is_told_what_to_write(environ: dict[str, str], message: str) -> None:
    with pytest.raises(settings.SettingInvalid) as caught:
        read(environ)
    assert str(caught.value) == message


@pytest.mark.parametrize("option", ["weather", "=path", "weather="])
def test_a_wrong_model_option_is_told_what_to_write(option: str) -> None:
    with pytest.raises(settings.SettingInvalid) as caught:
        read({}, option)
    assert str(caught.value) == f"--model {option!r}; write NAME=PATH, such as weather=models/weather.onnx."


def test_declared_models_lie_where_they_were_fetched_to() -> None:
    declared = '[{"name": "rain", "version": "3", "format": "ONNX"}]'
    found = read({"SCORING_MODELS": declared, "SCORING_MODELS_ROOT": "/m"})
    assert found.models == (settings.ModelEntry("rain", "3", "ONNX", Path("/m/rain/3")),)
