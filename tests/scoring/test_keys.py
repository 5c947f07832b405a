"""Two keys open the door, nothing else does, and a rotation needs no restart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from scoring_server.auth import Keys

from tests.scoring.in_process import served

ECHO = "def init():\n    pass\n\ndef run(raw_data):\n    return raw_data\n"
REFUSED = {"error": "A valid key is required: send it as 'Authorization: Bearer <key>'."}


def write(folder: Path, primary: str, secondary: str) -> None:
    """As kubelet does it: a new folder, and one rename of the link to it."""
    fresh = folder / f"..{primary}-{secondary}"
    fresh.mkdir(parents=True)
    (fresh / "primaryKey").write_text(primary)
    (fresh / "secondaryKey").write_text(secondary)
    os.symlink(fresh.name, folder / "..data_tmp")
    os.replace(folder / "..data_tmp", folder / "..data")
    for name in ("primaryKey", "secondaryKey"):
        if not (folder / name).is_symlink():
            os.symlink(f"..data/{name}", folder / name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "keys", "first", "second")
    return tmp_path / "keys"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": "Bearer first"}, 200),
        ({"authorization": "Bearer second"}, 200),
        ({"authorization": "bearer first"}, 200),
        ({"authorization": "Bearer  first "}, 200),
        ({"api-key": "second"}, 200),
        ({}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": "Bearer third"}, 401),
        ({"authorization": "Bearer firs"}, 401),
        ({"authorization": "Basic first"}, 401),
        ({"authorization": "first"}, 401),
        ({"authorization": "Bearer third", "api-key": "first"}, 401),
        ({"api-key": ""}, 401),
    ],
)
async def test_either_key_is_accepted_and_nothing_else(
    tmp_path: Path, folder: Path, headers: dict[str, str], status: int
) -> None:
    keys = Keys(folder)
    assert keys.refresh()
    async with served(tmp_path, script=ECHO, keys=keys) as server:
        answer = await server.score({}, headers=headers)
        assert answer.status_code == status
        assert (await server.get("/swagger.json", headers=headers)).status_code == status
    if status == 401:
        assert answer.json() == REFUSED
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_health_and_metrics_need_no_key(tmp_path: Path, folder: Path) -> None:
    keys = Keys(folder)
    keys.refresh()
    async with served(tmp_path, script=ECHO, keys=keys) as server:
        for path in ("/", "/healthz/live", "/healthz/ready", "/metrics"):
            assert (await server.get(path)).status_code == 200


def test_a_swapped_folder_is_noticed_and_the_old_key_is_dead(folder: Path) -> None:
    keys = Keys(folder)
    keys.refresh()
    write(folder, "third", "second")
    assert keys.refresh()
    assert not keys.accepts({b"authorization": b"Bearer first"})
    assert keys.accepts({b"authorization": b"Bearer second"})
    assert keys.accepts({b"authorization": b"Bearer third"})


def test_without_files_nobody_is_accepted(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "absent")
    assert not keys.refresh()
    assert not keys.accepts({})
    assert not keys.accepts({b"authorization": b"Bearer "})


def test_keys_that_vanish_close_the_door(folder: Path) -> None:
    keys = Keys(folder)
    assert keys.refresh()
    (folder / "primaryKey").unlink()
    assert keys.refresh()
    assert not keys.accepts({b"api-key": b"first"})
    assert keys.accepts({b"api-key": b"second"})
    (folder / "secondaryKey").unlink()
    assert not keys.refresh()
    assert not keys.accepts({b"api-key": b"second"})


def test_an_empty_key_file_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "primaryKey").write_text(" \n")
    (tmp_path / "secondaryKey").write_text("")
    keys = Keys(tmp_path)
    assert not keys.refresh()
    assert not keys.accepts({b"authorization": b"Bearer "})
    assert not keys.accepts({b"api-key": b""})


def test_a_line_end_in_the_file_is_no_part_of_the_key(tmp_path: Path) -> None:
    (tmp_path / "primaryKey").write_text("first\n")
    keys = Keys(tmp_path)
    assert keys.refresh()
    assert keys.accepts({b"api-key": b"first"})
