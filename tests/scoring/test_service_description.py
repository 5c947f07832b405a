"""The description of an undecorated script is the reference server's, to the byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.scoring.in_process import served

ECHO = "def init():\n    pass\n\ndef run(raw_data):\n    return raw_data\n"


@pytest.mark.parametrize(
    ("query", "digest"),
    [
        ("", "4032327f37922c3a931426c67d5408722da9ee50b7934136099fef149016bb29"),
        ("?version=2", "4032327f37922c3a931426c67d5408722da9ee50b7934136099fef149016bb29"),
        ("?version=2.0", "4032327f37922c3a931426c67d5408722da9ee50b7934136099fef149016bb29"),
        ("?version=3", "64838425e806784c4e451ed9a522c95b1662e0f54cd4ba50a2dbf7a8d70f9fb9"),
        ("?version=3.0", "64838425e806784c4e451ed9a522c95b1662e0f54cd4ba50a2dbf7a8d70f9fb9"),
        ("?version=3.1", "a2fe67495cc361363f22ebac4f8b6bc49555dbcb58eaf94eff46f4fb8c89aa85"),
    ],
)
async def test_the_description_is_byte_for_byte_that_of_the_reference(tmp_path: Path, query: str, digest: str) -> None:
    async with served(tmp_path, script=ECHO) as server:
        answer = await server.get(f"/swagger.json{query}")
    assert answer.status_code == 200
    assert hashlib.sha256(answer.content).hexdigest() == digest


async def test_an_unknown_version_is_told_which_there_are(tmp_path: Path) -> None:
    async with served(tmp_path, script=ECHO) as server:
        for version in ("9", "", "x"):
            answer = await server.get(f"/swagger.json?version={version}")
            message = f"Swagger version [{version}] is not valid. Supported versions: [2, 3, 3.1]."
            assert (answer.status_code, answer.json()) == (404, {"message": message})


async def test_the_services_name_and_path_are_settings(tmp_path: Path) -> None:
    environ = {"SERVICE_NAME": "weather", "SERVICE_VERSION": "7", "SERVICE_PATH_PREFIX": "/a/b/"}
    async with served(tmp_path, script=ECHO, environ=environ) as server:
        document = (await server.get("/swagger.json?version=3")).json()
    assert document["info"]["title"] == "weather"
    assert document["info"]["version"] == "7"
    assert list(document["paths"]) == ["/a/b/", "/a/b/score", "/a/b/swagger.json"]


async def test_a_swagger_file_that_is_no_json_stops_the_start(tmp_path: Path) -> None:
    from scoring_server import termination

    (tmp_path / "swagger2.json").write_text("{")
    with pytest.raises(termination.StartError) as caught:
        async with served(tmp_path, script=ECHO):
            pass
    assert caught.value.failure.message.startswith("swagger2.json beside the script is not valid JSON: ")
