"""ONNX models are scored without any code, and a wrong request is told what was expected."""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scoring_server import termination

from tests.scoring import onnx_models
from tests.scoring.in_process import served, until

ROWS = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]]
SPLIT = {"columns": ["a", "b", "c"], "index": [7, 8], "data": ROWS}
RECORDS = [dict(zip("abc", row, strict=True)) for row in ROWS]
EXPECTED = (
    'Expected an object with one of "data", "input_data", "inputs", "dataframe_split" or "dataframe_records", '
    'such as {"data": [[1.0, 2.0]]}; /swagger.json shows a sample for this model.'
)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"data": ROWS}, id="rows"),
        pytest.param({"data": RECORDS}, id="records"),
        pytest.param({"input_data": ROWS}, id="Azure ML rows"),
        pytest.param({"input_data": SPLIT}, id="Azure ML split"),
        pytest.param({"input_data": RECORDS, "params": {}}, id="Azure ML records"),
        pytest.param({"dataframe_split": SPLIT}, id="MLflow split"),
        pytest.param({"dataframe_records": RECORDS}, id="MLflow records"),
        pytest.param({"inputs": ROWS}, id="MLflow inputs"),
        pytest.param({"inputs": {"X": ROWS}}, id="by input name"),
    ],
)
async def test_every_shape_of_request_reaches_the_model(tmp_path: Path, body: Any) -> None:
    model = onnx_models.summer(tmp_path / "m.onnx")
    async with served(tmp_path, models=[f"sum={model}"]) as server:
        answer = await server.score(body)
    assert (answer.status_code, answer.json()) == (200, {"result": [6.0, 15.5]})
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(
            b"nope",
            f"The body is not valid JSON: invalid literal, expected 'null': line 1 column 1 (char 0). {EXPECTED}",
            id="no JSON",
        ),
        pytest.param([[1, 2, 3]], f"The body is a list, not an object. {EXPECTED}", id="no object"),
        pytest.param({}, f"The body has no data. {EXPECTED}", id="no data"),
        pytest.param({"data": ROWS, "inputs": ROWS}, f"The body has data and inputs; give only one. {EXPECTED}"),
        pytest.param({"data": ROWS, "prob": True}, f"'prob' in the body is not understood. {EXPECTED}"),
        pytest.param({"data": ROWS, "params": {"a": 1}}, f"'params' in the body is not understood. {EXPECTED}"),
        pytest.param(
            {"data": []},
            "The data is an empty list; expected a list of rows or records. "
            "The model takes 'X' (float32, shape [rows, 3]).",
            id="no rows",
        ),
        pytest.param(
            {"data": [[1, 2]]}, "Input 'X' (float32, shape [rows, 3]) does not take data of the shape [1, 2]."
        ),
        pytest.param(
            {"data": [1, 2, 3]}, "Input 'X' (float32, shape [rows, 3]) takes 2 dimensions; the data has 1.", id="a row"
        ),
        pytest.param(
            {"data": [[1, 2, 3], [1]]},
            "Input 'X' (float32, shape [rows, 3]) cannot be made of this data: row 2 has 1 values, row 1 has 3 values.",
            id="ragged rows",
        ),
        pytest.param(
            {"data": [["a", 2, 3]]},
            "Input 'X' (float32, shape [rows, 3]) cannot be made of this data: could not convert string to float: 'a'.",
            id="a text for a number",
        ),
        pytest.param(
            {"data": [{"a": 1, "b": 2, "c": 3}, {"a": 1}]},
            "Record 2 does not have the columns of the first: a, b, c.",
        ),
        pytest.param(
            {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2, 3]]}},
            "Row 1 does not have one value for each of the 2 columns.",
        ),
        pytest.param(
            {"dataframe_split": {"columns": ["a", "b"], "data": []}},
            'A pandas split is {"columns": [names], "data": [rows]} with at least one row.',
        ),
        pytest.param({"inputs": {"Y": ROWS}}, "The model's inputs are 'X'; 'X' is missing."),
        pytest.param({"inputs": {"X": ROWS, "Y": 1}}, "The model's inputs are 'X'; 'Y' is none of them."),
        pytest.param({"data": ROWS, "proba": True}, "'proba' is for classifiers; this model is none."),
        pytest.param({"data": ROWS, "proba": "yes"}, "'proba' is a text; write true or false."),
    ],
)
async def test_a_wrong_request_is_400_and_told_what_was_expected(tmp_path: Path, body: Any, message: str) -> None:
    model = onnx_models.summer(tmp_path / "m.onnx")
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with served(tmp_path, models=[f"sum={model}"]) as server:
        answer = await server.client.post("/score", content=content)
    assert (answer.status_code, answer.json()) == (400, {"error": message})


async def test_get_is_told_to_post(tmp_path: Path) -> None:
    model = onnx_models.summer(tmp_path / "m.onnx")
    async with served(tmp_path, models=[f"sum={model}"]) as server:
        answer = await server.get("/score?data=1")
    message = "A model without a script is scored by POST with a JSON body."
    assert (answer.status_code, answer.json()) == (400, {"error": message})


async def test_a_classifier_gives_labels_and_on_request_probabilities(tmp_path: Path) -> None:
    model = onnx_models.classifier(tmp_path / "m.onnx")
    rows = [[1.0, 1.0, 1.0], [0.0, 0.0, -1.0]]
    async with served(tmp_path, models=[f"m={model}"]) as server:
        assert (await server.score({"data": rows})).json() == {"result": [1, 0]}
        asked = (await server.score({"data": rows, "proba": True})).json()
        assert (await server.client.post("/score?proba=true", json={"data": rows})).json() == asked
    assert asked["result"] == [1, 0]
    assert [sum(row) for row in asked["proba"]] == pytest.approx([1.0, 1.0])
    assert asked["proba"][0] == pytest.approx([1 / 3] * 3)


async def test_probabilities_as_maps_come_as_rows_with_their_classes(tmp_path: Path) -> None:
    model = onnx_models.map_classifier(tmp_path / "m.onnx")
    rows = [[5.0, 0.0, 0.0], [0.0, 0.0, 5.0]]
    async with served(tmp_path, models=[f"m={model}"]) as server:
        assert (await server.score({"data": rows})).json() == {"result": ["no", "yes"]}
        answer = (await server.score({"data": rows, "proba": True})).json()
    assert (answer["result"], answer["classes"]) == (["no", "yes"], ["maybe", "no", "yes"])
    likely = math.exp(5) / (math.exp(5) + 2)
    assert answer["proba"][0] == pytest.approx([(1 - likely) / 2, likely, (1 - likely) / 2])


async def test_named_features_are_put_into_the_models_order(tmp_path: Path) -> None:
    model = onnx_models.doubler(tmp_path / "m.onnx", feature_names='["c", "a", "b"]')
    async with served(tmp_path, models=[f"m={model}"]) as server:
        assert (await server.score({"data": [{"a": 1, "b": 2, "c": 3}]})).json() == {"result": [[6.0, 2.0, 4.0]]}
        missing = await server.score({"data": [{"a": 1, "b": 2}]})
        assert (await server.score({"data": [[3, 1, 2]]})).json() == {"result": [[6.0, 2.0, 4.0]]}
    assert missing.json() == {"error": "The column 'c' is missing; the model's columns are c, a, b."}


TABLE = {"size": 1.5, "count": 2, "kind": "x", "new": True}


@pytest.mark.parametrize(
    "body",
    [
        {"data": [TABLE]},
        {"dataframe_split": {"columns": list(TABLE), "data": [list(TABLE.values())]}},
        {"data": [list(TABLE.values())]},
        {"inputs": {name: [value] for name, value in TABLE.items()}},
        {"inputs": {name: [[value]] for name, value in TABLE.items()}},
    ],
)
async def test_a_model_with_an_input_a_column_takes_tables(tmp_path: Path, body: Any) -> None:
    model = onnx_models.table(tmp_path / "m.onnx")
    async with served(tmp_path, models=[f"m={model}"]) as server:
        answer = await server.score(body)
    assert answer.json() == {"result": {f"same_{name}": [value] for name, value in TABLE.items()}}


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("count", 1.5, "every value must be a whole number"),
        ("count", "x", "every value must be a whole number"),
        ("count", 2**63, "every value must be from -9223372036854775808 to 9223372036854775807"),
        ("kind", 1, "every value must be a text"),
        ("new", 1, "every value must be true or false"),
        ("size", {"a": 1}, "float() argument must be a string or a real number, not 'dict'"),
    ],
)
async def test_a_value_of_the_wrong_type_names_the_input(tmp_path: Path, column: str, value: Any, reason: str) -> None:
    model = onnx_models.table(tmp_path / "m.onnx")
    kinds = {"count": "int64", "kind": "text", "new": "bool", "size": "float32"}
    async with served(tmp_path, models=[f"m={model}"]) as server:
        answer = await server.score({"data": [{**TABLE, column: value}]})
    expected = f"Input {column!r} ({kinds[column]}, shape [rows, 1]) cannot be made of this data: {reason}."
    assert (answer.status_code, answer.json()) == (400, {"error": expected})


async def test_nan_and_infinity_are_null_in_the_answer(tmp_path: Path) -> None:
    model = onnx_models.logarithm(tmp_path / "m.onnx")
    async with served(tmp_path, models=[f"m={model}"]) as server:
        answer = await server.score({"data": [[-1], [0], [1], [None]]})
    assert answer.json() == {"result": [None, None, 0.0, None]}


async def test_one_of_several_models_is_chosen_by_name(tmp_path: Path) -> None:
    first, second = onnx_models.summer(tmp_path / "a.onnx"), onnx_models.doubler(tmp_path / "b.onnx")
    async with served(tmp_path, models=[f"sum={first}", f"double={second}"]) as server:
        by_query = await server.client.post("/score?model=sum", json={"data": [[1, 2, 3]]})
        by_body = await server.score({"data": [[1, 2, 3]], "model": "double"})
        without = await server.score({"data": [[1, 2, 3]]})
        unknown = await server.score({"data": [[1, 2, 3]], "model": "third"})
        swagger = (await server.get("/swagger.json")).json()
    assert (by_query.json(), by_body.json()) == ({"result": [6.0]}, {"result": [[2.0, 4.0, 6.0]]})
    message = '2 models are served here: sum, double. Choose one with /score?model=NAME or with "model" in the body.'
    assert (without.status_code, without.json()) == (400, {"error": message})
    message = "There is no model 'third' here; there is sum, double."
    assert (unknown.status_code, unknown.json()) == (404, {"error": message})
    assert swagger["definitions"]["ServiceInput"]["example"] == {"model": "sum", "data": [[0.0, 0.0, 0.0]]}


async def test_the_sample_in_the_description_scores(tmp_path: Path) -> None:
    for make in (onnx_models.summer, onnx_models.classifier, onnx_models.table, onnx_models.logarithm):
        model = make(tmp_path / "m.onnx")
        async with served(tmp_path, models=[f"m={model}"]) as server:
            for version, schemas in (("2", ("definitions",)), ("3", ("components", "schemas"))):
                document = (await server.get(f"/swagger.json?version={version}")).json()
                for key in schemas:
                    document = document[key]
                answer = await server.score(document["ServiceInput"]["example"])
                assert answer.status_code == 200, answer.text


async def test_models_are_found_as_the_fetch_container_leaves_them(tmp_path: Path) -> None:
    onnx_models.summer(tmp_path / "models/rain/3/weights/rain.onnx")
    declared = json.dumps([{"name": "rain", "version": "3", "uri": "", "digest": "", "format": "ONNX"}])
    async with served(tmp_path, environ={"SCORING_MODELS": declared}) as server:
        assert (await server.get("/healthz/ready")).json() == {"status": "ready", "models": ["rain"]}
        assert (await server.score({"data": [[1, 2, 3]]})).json() == {"result": [6.0]}


async def test_a_long_run_is_left_at_its_deadline_while_others_are_served(tmp_path: Path) -> None:
    model = onnx_models.counter(tmp_path / "m.onnx")
    async with served(tmp_path, models=[f"m={model}"], environ={"SCORING_TIMEOUT_MS": "1000"}) as server:
        began = time.perf_counter()
        slow = asyncio.create_task(server.score({"data": [2_000_000_000]}))
        await asyncio.sleep(0)
        quick = await server.score({"data": [3]})
        assert (quick.status_code, quick.json()) == (200, {"result": [3]})
        answer = await slow
        assert (answer.status_code, answer.json()) == (408, {"error": "Scoring timeout after 1000 ms"})
        assert time.perf_counter() - began < 10
        # onnxruntime was told to stop: the thread comes back although the loop would go on for minutes.
        await until(lambda: server.engine.workers.left_behind == 0)


async def test_large_bodies_are_decoded_off_the_event_loop(tmp_path: Path) -> None:
    model = onnx_models.summer(tmp_path / "m.onnx")
    async with served(tmp_path, models=[f"m={model}"]) as server:
        answer = await server.score({"data": [[1, 2, 3]] * 20_000})
        bad = await server.score({"data": [[1, 2, 3]] * 20_000, "other": 1})
    assert answer.json() == {"result": [6.0] * 20_000}
    assert bad.status_code == 400


def _hard_link(folder: Path) -> None:
    (folder.parent / "secret").write_bytes(b"\0" * 16)
    os.link(folder.parent / "secret", folder / "weights")


def _symbolic_link(folder: Path) -> None:
    (folder.parent / "secret").write_bytes(b"\0" * 16)
    os.symlink(folder.parent / "secret", folder / "weights")


@pytest.mark.parametrize(
    ("location", "prepare", "reason"),
    [
        pytest.param(
            "weights",
            _hard_link,
            "its external data 'weights' is a hard link to a file that has 2 names; copy it instead",
            id="a hard link",
        ),
        pytest.param("weights", _symbolic_link, "its external data 'weights' is a symbolic link", id="a link"),
        pytest.param("weights", lambda folder: None, "its external data 'weights' is missing from the model's folder"),
        pytest.param(
            "../secret",
            lambda folder: None,
            "its external data '../secret' is not a file name within the model's folder",
        ),
        pytest.param(
            "/etc/passwd",
            lambda folder: None,
            "its external data '/etc/passwd' is not a file name within the model's folder",
        ),
    ],
)
async def test_weights_outside_the_models_folder_are_refused(
    tmp_path: Path, location: str, prepare: Callable[[Path], None], reason: str
) -> None:
    model = onnx_models.external(tmp_path / "model/m.onnx", location)
    prepare(model.parent)
    with pytest.raises(termination.StartError) as caught:
        async with served(tmp_path, models=[f"m={model}"]):
            pass
    failure = caught.value.failure
    assert (failure.phase, failure.reason) == ("Load", "ModelInvalid")
    assert failure.message == f"Model 'm' cannot be loaded: {reason}."
    assert any(line.startswith("m.onnx (") for line in failure.listing)


async def test_weights_in_the_models_own_folder_are_loaded(tmp_path: Path) -> None:
    model = onnx_models.external(tmp_path / "model/m.onnx", "weights")
    (model.parent / "weights").write_bytes(b"\0" * 16)
    async with served(tmp_path, models=[f"m={model}"]) as server:
        assert (await server.score({"inputs": {}})).json() == {"result": [0.0] * 4}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"no model at all", "it is no ONNX model: wire type 6 at byte 1"),
    ],
)
async def test_a_file_that_is_no_model_is_refused_with_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(termination.StartError) as caught:
        async with served(tmp_path, models=[f"m={tmp_path / 'm.onnx'}"]):
            pass
    assert caught.value.failure.message == f"Model 'm' cannot be loaded: {reason}."


async def test_a_format_that_needs_a_script_says_so(tmp_path: Path) -> None:
    declared = json.dumps([{"name": "rain", "version": "1", "format": "Sklearn"}])
    with pytest.raises(termination.StartError) as caught:
        async with served(tmp_path, environ={"SCORING_MODELS": declared}):
            pass
    failure = caught.value.failure
    assert (failure.phase, failure.reason) == ("Load", "ModelUnsupported")
    assert failure.message == (
        "Model 'rain' has the format Sklearn; without a script only ONNX is served. "
        "Give a scoring script: spec.code.entryScript."
    )


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ((), "no .onnx file"),
        (("a.onnx", "b.onnx"), "2 .onnx files and none (or several) called model.onnx"),
    ],
)
async def test_a_folder_without_exactly_one_model_is_refused(tmp_path: Path, names: tuple[str, ...], what: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in names:
        onnx_models.summer(folder / name)
    with pytest.raises(termination.StartError) as caught:
        async with served(tmp_path, models=[f"m={folder}"]):
            pass
    assert caught.value.failure.message == f"{folder} holds {what}."
