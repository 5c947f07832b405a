"""The diabetes example: trained, served by the real server, and the same in both formats."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnxruntime
import pytest

from tests.examples.serving import EXAMPLES, Server, sample, served, train, training

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("example-diabetes")]

RECORD = {"npreg": 6, "glu": 148, "bp": 72, "skin": 35, "bmi": 33.6, "ped": 0.627, "age": 50}


@dataclass(frozen=True)
class Trained:
    version: Path
    printed: str


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    output = tmp_path_factory.mktemp("diabetes")
    (printed,) = train("diabetes", output)
    return Trained(output / "models" / "diabetes-pipeline" / "1", printed)


@pytest.fixture(scope="module")
def server(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served("diabetes", trained.version, tmp_path_factory.mktemp("log") / "server.log") as server:
        yield server


def records(*given: Any) -> dict[str, str]:
    return {"input": json.dumps(given)}


def test_the_request_of_the_readme_gets_its_answer(server: Server) -> None:
    answer = server.ask(sample("diabetes", "request.json"))
    assert answer.status == 200
    assert answer.body.keys() == {"proba"}
    assert answer.body["proba"] == pytest.approx(sample("diabetes", "expected.json")["proba"], abs=1e-5)


def test_the_order_of_a_records_fields_does_not_matter(server: Server) -> None:
    backwards = dict(reversed(RECORD.items()))
    assert server.ask(records(backwards)).body == server.ask(records(RECORD)).body


def test_a_measurement_that_was_not_taken_gets_the_median_of_training(server: Server, trained: Trained) -> None:
    median = joblib.load(trained.version / "pipeline.joblib")[0].statistics_[3]
    absent = server.ask(records({**RECORD, "skin": None})).body["proba"]
    assert absent == pytest.approx(server.ask(records({**RECORD, "skin": median})).body["proba"])
    assert absent != pytest.approx(server.ask(records(RECORD)).body["proba"], abs=1e-6)


REFUSALS = [
    pytest.param({"data": []}, "a JSON list of records inside a string", id="another key"),
    pytest.param({"input": [RECORD]}, "a JSON list of records inside a string", id="a list that is no string"),
    pytest.param({"input": "[]"}, "input must hold a list of at least one record", id="no record"),
    pytest.param({"input": "{}"}, "input must hold a list of at least one record", id="a record without a list"),
    pytest.param({"input": "[{"}, "JSONDecodeError", id="a string that is no JSON"),
    pytest.param(
        {"input": json.dumps([{name: value for name, value in RECORD.items() if name not in ("glu", "bmi")}])},
        "record 0 lacks glu, bmi; write null where it was not measured",
        id="a record that lacks fields",
    ),
    pytest.param({"input": json.dumps([{**RECORD, "glu": "high"}])}, "'high'", id="a word"),
]


@pytest.mark.parametrize(("request_body", "sentence"), REFUSALS)
def test_what_is_wrong_with_a_request_stands_in_the_log(server: Server, request_body: object, sentence: str) -> None:
    assert server.ask(request_body).status == 500
    assert sentence in server.log.read_text()


def test_onnx_and_joblib_agree_on_every_woman_that_training_never_saw(trained: Trained) -> None:
    judged, truth = training("diabetes").table("Pima.te")
    expected = joblib.load(trained.version / "pipeline.joblib").predict_proba(judged)
    session = onnxruntime.InferenceSession(str(trained.version / "pipeline.onnx"), providers=["CPUExecutionProvider"])
    given = session.run(["probabilities"], {"features": judged.to_numpy().astype(np.float32)})[0]
    assert len(truth) == 332
    np.testing.assert_allclose(given, expected, atol=1e-5)


def test_no_woman_is_both_learned_from_and_judged() -> None:
    module = training("diabetes")
    learned, judged = module.table("Pima.tr2")[0], module.table("Pima.te")[0]
    assert not set(map(tuple, learned.dropna().to_numpy())) & set(map(tuple, judged.to_numpy()))


def test_the_pipeline_beats_the_baselines_and_the_readme_says_by_how_much(trained: Trained) -> None:
    figures = [float(figure) for figure in re.findall(r"\b(0\.\d{3})\b", trained.printed)]
    accuracy, area, majority, by_glucose = figures
    assert accuracy > majority
    assert area > by_glucose
    readme = (EXAMPLES / "diabetes" / "README.md").read_text()
    assert all(f"| {figure:.3f} |" in readme for figure in figures)


def test_training_again_writes_the_same_onnx(trained: Trained) -> None:
    module = training("diabetes")
    again = module.train(*module.table("Pima.tr2"))
    assert (trained.version / "pipeline.onnx").read_bytes() == module.as_onnx(again)
