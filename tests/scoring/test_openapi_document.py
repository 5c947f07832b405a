"""The server's own description: valid OpenAPI, true to what is answered, and free for who never asks for it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from scoring_server import documented
from scoring_server.auth import Keys

from tests.scoring import onnx_models
from tests.scoring.in_process import Served, served
from tests.scoring.scoring_process import scoring_process

ECHO = "def init():\n    pass\n\ndef run(raw_data):\n    return raw_data\n"
HEAVY = ("fastapi", "starlette", "pydantic")
SEEN = f"import sys\ndef init():\n    pass\ndef run(data):\n    return [name in sys.modules for name in {HEAVY}]\n"


def folder_of_keys(tmp_path: Path) -> Keys:
    (tmp_path / "primaryKey").write_text("first")
    keys = Keys(tmp_path)
    assert keys.refresh()
    return keys


async def document_of(server: Served, **options: Any) -> dict[str, Any]:
    answer = await server.get("/openapi.json", **options)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    OpenAPIV31SpecValidator(document).validate()
    return document


def check(document: dict[str, Any], answer: httpx.Response, method: str, path: str) -> None:
    """The answer is one that the document promises for this operation."""
    promised = document["paths"][path][method]["responses"][str(answer.status_code)]
    content = promised["content"][answer.headers["content-type"].split(";")[0]]
    if answer.headers["content-type"] == "application/json":
        schema = {**content["schema"], "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer.json())


async def test_a_models_document_has_its_schemas_and_its_answers_are_as_promised(tmp_path: Path) -> None:
    model = onnx_models.summer(tmp_path / "sum.onnx")
    environ = {"SERVICE_NAME": "weather", "SERVICE_VERSION": "7", "SERVICE_PATH_PREFIX": "/a/b/"}
    async with served(tmp_path, models=(f"sum={model}",), environ=environ) as server:
        document = await document_of(server)
        swagger = (await server.get("/swagger.json?version=3.1")).json()["components"]["schemas"]
        for path in ("/", "/healthz/live", "/healthz/ready", "/metrics", "/swagger.json", "/openapi.json"):
            check(document, await server.get(path), "get", path)
        check(document, await server.get("/swagger.json?version=9"), "get", "/swagger.json")
        good, bad = await server.score({"data": [[1, 2, 3]]}), await server.score({"data": [["x"]]})
        long = await server.score({}, headers={"x-request-id": "x" * 101})
        assert [answer.status_code for answer in (good, bad, long)] == [200, 400, 431]
        for answer in (good, bad, long):
            check(document, answer, "post", "/score")
    assert document["openapi"].startswith("3.1")
    assert (document["info"]["title"], document["info"]["version"]) == ("weather", "7")
    assert document["servers"] == [{"url": "/a/b"}]
    score = document["paths"]["/score"]
    assert list(score) == ["post"]
    assert score["post"]["requestBody"]["content"]["application/json"]["schema"] == swagger["ServiceInput"]
    assert score["post"]["responses"]["200"]["content"]["application/json"]["schema"] == swagger["ServiceOutput"]
    assert sorted(score["post"]["responses"]) == ["200", "400", "408", "413", "429", "431", "500", "503"]
    assert "securitySchemes" not in document["components"]


async def test_with_several_models_an_unknown_one_is_an_answer_of_its_own(tmp_path: Path) -> None:
    model = onnx_models.summer(tmp_path / "sum.onnx")
    async with served(tmp_path, models=(f"a={model}", f"b={model}")) as server:
        document = await document_of(server)
        unknown = await server.score({"model": "c", "data": [[1, 2, 3]]})
        assert unknown.status_code == 404
        check(document, unknown, "post", "/score")


async def test_a_script_takes_and_gives_anything_also_by_its_query(tmp_path: Path) -> None:
    script = "def init():\n    pass\ndef run(data):\n    raise ValueError(data)\n"
    async with served(tmp_path, script=script) as server:
        document = await document_of(server)
        for method, answer in (("post", await server.score({})), ("get", await server.get("/score?a=1"))):
            assert answer.status_code == 500
            check(document, answer, method, "/score")
    body = document["paths"]["/score"]["post"]["requestBody"]
    assert body["required"] is False
    assert "type" not in body["content"]["application/json"]["schema"]


async def test_with_keys_the_document_names_both_ways_and_needs_one_itself(tmp_path: Path) -> None:
    async with served(tmp_path, script=ECHO, keys=folder_of_keys(tmp_path)) as server:
        refused = await server.get("/openapi.json")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        document = await document_of(server, headers={"api-key": "first"})
        assert document == await document_of(server, headers={"authorization": "Bearer first"})
        check(document, refused, "get", "/openapi.json")
        check(document, await server.score({}), "post", "/score")
    schemes = document["components"]["securitySchemes"]
    assert {name: (scheme["type"], scheme.get("name")) for name, scheme in schemes.items()} == {
        "bearer": ("http", None),
        "apiKey": ("apiKey", "api-key"),
    }
    secured = {
        path: operation.get("security")
        for path, operations in document["paths"].items()
        for operation in operations.values()
    }
    either = [{"bearer": []}, {"apiKey": []}]
    assert {path for path, security in secured.items() if security == either} == {
        "/score",
        "/swagger.json",
        "/openapi.json",
    }
    assert [security for security in secured.values() if security not in (either, None)] == []


async def test_before_the_model_is_loaded_there_is_nothing_to_describe(tmp_path: Path) -> None:
    async with served(tmp_path, script=ECHO) as server:
        server.application.scorer = None
        answer = await server.get("/openapi.json")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_only_reading_is_allowed_and_it_is_counted(tmp_path: Path) -> None:
    async with served(tmp_path, script=ECHO) as server:
        assert (await server.client.post("/openapi.json")).status_code == 405
        assert (await server.client.options("/openapi.json")).headers["allow"] == "GET, HEAD, OPTIONS"
        head = await server.client.head("/openapi.json", headers={"x-request-id": "r1"})
        assert (head.status_code, head.headers["x-request-id"]) == (200, "r1")
        assert 'path="/openapi.json"' in (await server.get("/metrics")).text


async def test_a_document_that_could_not_be_made_is_a_500_and_made_at_the_next_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path, script=ECHO) as server:
        with monkeypatch.context() as broken:
            broken.setattr(documented, "application", None)
            answer = await server.get("/openapi.json")
            assert answer.status_code == 500
            assert answer.json()["message"].startswith("An unexpected internal error occurred.")
        await document_of(server)


async def test_the_described_application_serves_what_it_describes(tmp_path: Path) -> None:
    """Mounted in another ASGI server it answers as the server itself does."""
    async with served(tmp_path, script=ECHO) as server:
        described = server.application.scorer.described  # type: ignore[union-attr]
        api = documented.application(described, server.application.answer, has_keys=False)
        transport = httpx.ASGITransport(app=api)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            answer = await client.post("/score", json={"a": 1}, headers={"x-request-id": "r1"})
            assert (answer.status_code, answer.json(), answer.headers["x-request-id"]) == (200, '{"a":1}', "r1")
            assert (await client.get("/score?a=1")).json() == (await server.get("/score?a=1")).json()
            assert (await client.get("/")).text == "Healthy"
            assert (await client.get("/openapi.json")).json() == await document_of(server)


def test_a_start_does_not_import_what_only_the_document_needs(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text(SEEN)
    with scoring_process(tmp_path, "--entry-script", "score.py") as server:
        server.wait_until_ready()
        assert server.status("/swagger.json") == 200
        assert server.score({}).json() == [False, False, False]
        answer = httpx.get(server.url + "/openapi.json", timeout=30)
        OpenAPIV31SpecValidator(answer.json()).validate()
        assert server.score({}).json() == [True, True, True]
        server.terminate()
        assert server.wait() == 0


def test_scoring_goes_on_while_the_document_is_made(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text(SEEN)

    async def during(url: str) -> list[float]:
        async with httpx.AsyncClient(timeout=30) as client:
            asked = asyncio.create_task(client.get(url + "/openapi.json"))
            times: list[float] = []
            while not asked.done():
                began = time.monotonic()
                assert (await client.get(url + "/healthz/live")).status_code == 200
                times.append(time.monotonic() - began)
            assert (await asked).status_code == 200
            return times

    with scoring_process(tmp_path, "--entry-script", "score.py") as server:
        server.wait_until_ready()
        times = asyncio.run(during(server.url))
    assert len(times) >= 3, "the loop stood still until the document was made"
