"""An undecorated Azure ML script gets and gives what it gets and gives on Azure ML's own server.

The expected statuses, headers and bodies were recorded from azureml-inference-server-http 1.5.1.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.scoring.in_process import served, until

ECHO = "def init():\n    pass\n\ndef run(raw_data):\n    return raw_data\n"
RETURN = """
import json
import numpy as np

class Pandas:
    def __getattr__(self, name):
        import pandas
        return getattr(pandas, name)

pd = Pandas()

def init():
    pass

def run(raw_data):
    return eval(json.loads(raw_data)["value"])
"""
SCRIPT_ERROR = "An unexpected error occurred in scoring script. Check the logs for more info."
INTERNAL_ERROR = "An unexpected internal error occurred. Check the logs for more info."


@pytest.mark.parametrize(
    ("value", "body"),
    [
        pytest.param("None", "{}", id="nothing becomes an empty object"),
        pytest.param("'héllo \" x'", '"h\\u00e9llo \\" x"', id="a text becomes a JSON text"),
        pytest.param(
            "{'a': [1, 2.5, True, None], 'ü': 'é'}", '{"a": [1, 2.5, true, null], "\\u00fc": "\\u00e9"}', id="a dict"
        ),
        pytest.param("(1, 2)", "[1, 2]", id="a tuple becomes a list"),
        pytest.param("{1: 2, None: 3, True: 4, 1.5: 2}", '{"1": 4, "null": 3, "1.5": 2}', id="keys that are no texts"),
    ],
)
async def test_a_result_is_encoded_byte_for_byte_as_by_the_reference(tmp_path: Path, value: str, body: str) -> None:
    async with served(tmp_path, script=RETURN) as server:
        answer = await server.score({"value": value})
    assert (answer.status_code, answer.text) == (200, body)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-ms-run-function-failed"] == "False"
    assert re.fullmatch(r"\d+\.\d{3}", answer.headers["x-ms-run-fn-exec-ms"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("{'a': float('nan'), 'b': float('-inf')}", {"a": None, "b": None}, id="NaN and infinity are null"),
        pytest.param("np.array([[1, 2], [3, 4]])", [[1, 2], [3, 4]], id="a numpy array"),
        pytest.param("np.array([1.5, np.nan])", [1.5, None], id="NaN in an array"),
        pytest.param("{'p': np.float32(0.5), 'n': np.int64(3)}", {"p": 0.5, "n": 3}, id="numpy scalars"),
        pytest.param("{np.int64(3): 'x'}", {"3": "x"}, id="a numpy key"),
        pytest.param("np.array(['2026-01-02'], dtype='datetime64[D]')", ["2026-01-02"], id="dates"),
        pytest.param("pd.DataFrame({'a': [1, 2], 'b': ['x', None]})", [{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
        pytest.param("pd.Series([1.0, float('nan')])", [1.0, None], id="a series"),
        pytest.param("[pd.Timestamp('2026-01-02'), pd.NaT]", ["2026-01-02T00:00:00", None], id="timestamps"),
    ],
)
async def test_results_that_the_reference_cannot_encode_are_encoded(tmp_path: Path, value: str, expected: Any) -> None:
    async with served(tmp_path, script=RETURN) as server:
        answer = await server.score({"value": value})
    assert (answer.status_code, answer.json()) == (200, expected)


@pytest.mark.parametrize("value", ["{1, 2}", "b'abc'", "object()", "[x := [], x.append(x)][0]"])
async def test_a_result_that_no_json_can_say_is_an_internal_error(tmp_path: Path, value: str) -> None:
    async with served(tmp_path, script=RETURN) as server:
        answer = await server.score({"value": value})
    assert (answer.status_code, answer.json()) == (500, {"message": INTERNAL_ERROR})
    assert answer.headers["x-ms-run-function-failed"] == "False"


@pytest.mark.parametrize(
    "statement",
    [
        "raise ValueError('boom')",
        "raise SystemExit(3)",
        "raise KeyboardInterrupt",
        "raise StopIteration",
        "raise type('Odd', (BaseException,), {})('odd')",
        "import sys; sys.exit(1)",
    ],
)
async def test_whatever_run_raises_is_a_500_and_the_server_lives(tmp_path: Path, statement: str) -> None:
    script = (
        f"def init():\n    pass\n\ndef run(raw_data):\n    if 'bad' in raw_data:\n        {statement}\n    return 1\n"
    )
    async with served(tmp_path, script=script) as server:
        failed = await server.score("bad")
        assert (failed.status_code, failed.json()) == (500, {"message": SCRIPT_ERROR})
        assert failed.headers["x-ms-run-function-failed"] == "True"
        assert (await server.score("good")).text == "1"
        assert server.metrics.errors == {"RunFailed": 1}


async def test_get_gives_the_script_the_query_as_json(tmp_path: Path) -> None:
    async with served(tmp_path, script=ECHO) as server:
        answer = await server.get("/score?a=1&b=x&b=2&mode2&n=null&l=[1,2]")
    assert json.loads(answer.json()) == {"a": 1, "b": ["x", 2], "mode2": "", "n": None, "l": [1, 2]}


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", '"{}"'),
        ("text/plain", '"{}"'),
        ("application/x-www-form-urlencoded", '""'),
        ("multipart/form-data; boundary=x", '""'),
    ],
)
async def test_a_form_is_read_away_before_the_script_as_by_the_reference(
    tmp_path: Path, content_type: str, expected: str
) -> None:
    async with served(tmp_path, script=ECHO) as server:
        answer = await server.client.post("/score", content=b"{}", headers={"content-type": content_type})
    assert answer.text == expected


async def test_a_body_that_is_not_utf_8_is_told_so(tmp_path: Path) -> None:
    async with served(tmp_path, script=ECHO) as server:
        answer = await server.client.post("/score", content=b"\xff\xfe")
    reason = "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"
    assert (answer.status_code, answer.json()) == (400, {"message": f"Input cannot be decoded as UTF-8: {reason}"})


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("PUT", "/score", 405, "The method is not allowed for the requested URL."),
        ("POST", "/", 405, "The method is not allowed for the requested URL."),
        ("POST", "/swagger.json", 405, "The method is not allowed for the requested URL."),
        (
            "GET",
            "/nowhere",
            404,
            "The requested URL was not found on the server. "
            "If you entered the URL manually please check your spelling and try again.",
        ),
    ],
)
async def test_wrong_methods_and_paths_answer_as_the_reference(
    tmp_path: Path, method: str, path: str, status: int, message: str
) -> None:
    async with served(tmp_path, script=ECHO) as server:
        answer = await server.client.request(method, path)
    assert (answer.status_code, answer.json()) == (status, {"message": message})
    assert "x-request-id" not in answer.headers


async def test_head_of_score_is_405_and_options_is_200(tmp_path: Path) -> None:
    async with served(tmp_path, script=ECHO) as server:
        assert (await server.client.head("/score")).status_code == 405
        options = await server.client.options("/score")
    assert (options.status_code, options.text) == (200, "")
    assert options.headers["content-type"] == "text/html; charset=utf-8"


async def test_liveness_is_the_text_healthy(tmp_path: Path) -> None:
    async with served(tmp_path, script=ECHO) as server:
        answer = await server.get("/")
    assert (answer.status_code, answer.text) == (200, "Healthy")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-ms-server-version"] == "test/1"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param({"x-request-id": "r"}, {"x-request-id": "r", "x-ms-request-id": "r"}, id="a request id is kept"),
        pytest.param(
            {"x-request-id": "r", "x-ms-request-id": "abc"},
            {"x-request-id": "r", "x-ms-request-id": "abc", "x-ms-client-request-id": "abc"},
            id="the older id stands for the client's",
        ),
        pytest.param(
            {"x-request-id": "r", "x-ms-client-request-id": "abc"},
            {"x-request-id": "r", "x-ms-request-id": "abc", "x-ms-client-request-id": "abc"},
            id="the client's id is told under both names",
        ),
        pytest.param(
            {"x-request-id": "ghi", "x-ms-request-id": "abc", "x-ms-client-request-id": "def", "TraceId": "t"},
            {"x-request-id": "ghi", "x-ms-request-id": "abc", "x-ms-client-request-id": "def", "traceid": "t"},
            id="all of them",
        ),
        pytest.param({"x-request-id": "", "x-ms-request-id": ""}, {}, id="empty ids are not answered"),
        pytest.param({"x-request-id": "r" * 100}, {"x-request-id": "r" * 100, "x-ms-request-id": "r" * 100}),
    ],
)
async def test_request_ids_come_back_as_from_the_reference(
    tmp_path: Path, sent: dict[str, str], expected: dict[str, str]
) -> None:
    async with served(tmp_path, script=ECHO) as server:
        answer = await server.score({}, headers=sent)
    ids = {name: value for name, value in answer.headers.items() if name.endswith("request-id") or name == "traceid"}
    assert ids == expected


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("x-request-id", "x-request-id must not exceed 100 characters"),
        ("x-ms-request-id", "x-ms-request-id and x-ms-client-request-id must not exceed 100 characters"),
        ("x-ms-client-request-id", "x-ms-request-id and x-ms-client-request-id must not exceed 100 characters"),
    ],
)
async def test_an_id_over_100_characters_is_431(tmp_path: Path, header: str, message: str) -> None:
    async with served(tmp_path, script=ECHO) as server:
        answer = await server.score({}, headers={header: "x" * 101})
    assert (answer.status_code, answer.json()) == (431, {"message": message})


async def test_made_up_request_ids_differ_and_look_like_uuids(tmp_path: Path) -> None:
    async with served(tmp_path, script=ECHO) as server:
        ids = {(await server.score({})).headers["x-request-id"] for _ in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", item) for item in ids)


async def test_a_script_may_ask_for_the_request_headers(tmp_path: Path) -> None:
    script = "def init():\n    pass\n\ndef run(data, request_headers):\n    return [data, request_headers['X-Ab-C']]\n"
    async with served(tmp_path, script=script) as server:
        answer = await server.client.post("/score", content=b"d", headers=[("x-aB-c", "1"), ("x-ab-c", "2")])
    assert answer.json() == ["d", "1,2"]


async def test_a_script_that_overruns_is_408_and_the_next_request_is_served(tmp_path: Path) -> None:
    script = (
        "import threading\nrelease = threading.Event()\ndef init():\n    pass\n\n"
        "def run(raw_data):\n    if 'slow' in raw_data:\n        release.wait(20)\n"
        "    if 'release' in raw_data:\n        release.set()\n    return raw_data\n"
    )
    async with served(tmp_path, script=script, environ={"SCORING_TIMEOUT_MS": "200"}) as server:
        began = time.perf_counter()
        slow = await server.score("slow")
        assert time.perf_counter() - began < 5
        assert (slow.status_code, slow.json()) == (408, {"error": "Scoring timeout after 200 ms"})
        assert server.engine.workers.left_behind == 1
        assert server.engine.admission.running == 0
        assert (await server.score("release")).status_code == 200
        await until(lambda: server.engine.workers.left_behind == 0)
        assert (await server.score("again")).status_code == 200


async def test_beyond_the_limit_requests_wait_and_then_get_429(tmp_path: Path) -> None:
    script = (
        "import threading\nrelease = threading.Event()\ndef init():\n    pass\n\n"
        "def run(raw_data):\n    if 'hold' in raw_data:\n        release.wait(20)\n    return raw_data\n"
    )
    limits = {"SCORING_MAX_CONCURRENT_REQUESTS": "2", "SCORING_MAX_QUEUE_WAIT_MS": "50"}
    async with served(tmp_path, script=script, environ=limits) as server:
        held = [asyncio.create_task(server.score("hold")) for _ in range(2)]
        await until(lambda: server.engine.admission.running == 2)
        refused = await server.score("third")
        message = "2 requests are running, and none finished within 50 ms. Try again."
        assert (refused.status_code, refused.json()) == (429, {"error": message})
        assert refused.headers["retry-after"] == "1"
        import entry_module  # type: ignore[import-not-found]

        entry_module.release.set()
        assert [(await task).status_code for task in held] == [200, 200]
        assert (await server.score("fourth")).status_code == 200


async def test_requests_one_after_another_run_on_the_same_thread_as_init(tmp_path: Path) -> None:
    script = "import threading\ndef init():\n    pass\n\ndef run(raw_data):\n    return threading.get_ident()\n"
    async with served(tmp_path, script=script) as server:
        threads = {(await server.score(number)).json() for number in range(5)}
    assert len(threads) == 1
    assert threads != {threading.get_ident()}


async def test_health_and_stages_are_told(tmp_path: Path) -> None:
    async with served(tmp_path, script=ECHO) as server:
        ready = await server.get("/healthz/ready")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "models": ["score"]})
        assert (await server.get("/healthz/live")).json() == {"status": "live"}
        await server.score({})
        text = (await server.get("/metrics")).text
        server.application.draining = True
        draining = await server.get("/healthz/ready")
        assert (draining.status_code, draining.json()) == (503, {"status": "draining"})
    assert 'scoring_requests_total{path="/score",code="200"} 1' in text
    assert 'scoring_stage_duration_seconds_count{model="score",stage="run"} 1' in text


async def test_before_the_model_is_there_only_liveness_is_good(tmp_path: Path) -> None:
    async with served(tmp_path, script=ECHO) as server:
        server.application.scorer = None
        assert (await server.get("/healthz/live")).status_code == 200
        ready = await server.get("/healthz/ready")
        assert (ready.status_code, ready.json()) == (503, {"status": "loading"})
        score = await server.score({})
        assert (score.status_code, score.json()) == (503, {"error": "The model is not loaded yet. Try again."})
        assert score.headers["retry-after"] == "1"
        assert (await server.get("/swagger.json")).status_code == 503


async def test_too_many_runs_that_never_return_make_the_process_not_live(tmp_path: Path) -> None:
    async with served(tmp_path, script=ECHO) as server:
        server.engine.workers.left_behind = 64
        live = await server.get("/healthz/live")
    reason = "64 runs overran their timeout and never returned"
    assert (live.status_code, live.json()) == (503, {"status": "stuck", "reason": reason})
