"""The weather example: trained, served by the real server, and free of the faults that its README warns of."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import onnxruntime
import pytest

from tests.examples.serving import EXAMPLES, Server, sample, served, train, training

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("example-weather")]

SCALER = "weather-scaler/1/scaler"
CLASSIFIER = "support-vector-classifier/1/svc"


@dataclass(frozen=True)
class Trained:
    models: Path
    printed: list[str]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Trained twice at the same time into one folder, as by two demos from one checkout."""
    output = tmp_path_factory.mktemp("weather")
    return Trained(output / "models", train("weather", output, runs=2))


@pytest.fixture(scope="module")
def server(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served("weather", trained.models, tmp_path_factory.mktemp("log") / "server.log") as server:
        yield server


def test_the_request_of_the_readme_gets_its_answer(server: Server) -> None:
    answer = server.ask(sample("weather", "request.json"))
    assert (answer.status, answer.body) == (200, sample("weather", "expected.json"))


def test_a_day_is_judged_the_same_alone_and_among_others(server: Server) -> None:
    days = sample("weather", "request.json")["data"]
    alone = [server.ask({"data": [day]}).body["result"][0] for day in days]
    assert alone == sample("weather", "expected.json")["result"]


REFUSALS = [
    pytest.param({"rows": []}, "the request must be", id="another key"),
    pytest.param({"data": [[1.0, 2.0, 3.0]]}, "each row of data must hold 4 numbers", id="three numbers"),
    pytest.param({"data": [1.0, 2.0, 3.0, 4.0]}, "each row of data must hold 4 numbers", id="a row without a list"),
    pytest.param({"data": [["wet", 2, 3, 4]]}, "could not convert string to float: 'wet'", id="a word"),
    pytest.param({"data": [[None, 2, 3, 4]]}, "data must hold finite numbers only", id="a missing number"),
]


@pytest.mark.parametrize(("request_body", "sentence"), REFUSALS)
def test_what_is_wrong_with_a_request_stands_in_the_log(server: Server, request_body: object, sentence: str) -> None:
    assert server.ask(request_body).status == 500
    assert sentence in server.log.read_text()


def test_onnx_and_joblib_agree_on_every_day_that_training_never_saw(trained: Trained) -> None:
    models = trained.models
    features, _ = training("weather").table()
    judged = features[features.index.year == 2015].to_numpy()
    scaler, classifier = (joblib.load(models / f"{name}.joblib") for name in (SCALER, CLASSIFIER))
    onnx_scaler, onnx_classifier = (
        onnxruntime.InferenceSession(str(models / f"{name}.onnx"), providers=["CPUExecutionProvider"])
        for name in (SCALER, CLASSIFIER)
    )
    scaled = onnx_scaler.run(None, {"features": judged.astype(np.float32)})[0]
    np.testing.assert_allclose(scaled, scaler.transform(judged), atol=1e-5)
    labels = onnx_classifier.run(["label"], {"features": scaled})[0]
    assert len(labels) == 364
    np.testing.assert_array_equal(labels, classifier.predict(scaler.transform(judged)))


def test_the_scaler_knows_no_day_of_the_judged_year(trained: Trained) -> None:
    features, labels = training("weather").table()
    past = features[features.index.year < 2015]
    np.testing.assert_allclose(joblib.load(trained.models / f"{SCALER}.joblib").mean_, past.mean().to_numpy())
    today = features["precipitation"].to_numpy() > 0
    np.testing.assert_array_equal(labels.to_numpy()[:-1], today[1:])


def test_the_classifier_beats_both_baselines_and_the_readme_says_by_how_much(trained: Trained) -> None:
    printed = trained.printed[0]
    svc, persistence, never = (float(figure) for figure in re.findall(r" (0\.\d{3})$", printed, re.MULTILINE))
    assert svc > persistence > never
    readme = (EXAMPLES / "weather" / "README.md").read_text()
    assert all(f"| {figure:.3f} |" in readme for figure in (svc, persistence, never))


def test_runs_at_the_same_time_in_one_folder_leave_whole_and_equal_files(trained: Trained) -> None:
    first, second = (dict(re.findall(r"^wrote (\S+) \(sha256 (\w+)\)$", run, re.MULTILINE)) for run in trained.printed)
    assert first == second
    files = {path.relative_to(trained.models).as_posix(): path for path in trained.models.rglob("*") if path.is_file()}
    assert set(files) == {f"{name}{suffix}" for name in (SCALER, CLASSIFIER) for suffix in (".joblib", ".onnx")}
    assert {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files.values()} == first
