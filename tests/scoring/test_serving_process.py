"""The real process: it starts, says why it cannot, drains, and its main thread belongs to the script."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.scoring import onnx_models
from tests.scoring.scoring_process import scoring_process

ECHO = "def init():\n    pass\n\ndef run(raw_data):\n    return raw_data\n"


def test_a_script_is_served_and_what_it_says_is_logged_with_the_request_id(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("VALUE = 7\n")
    (tmp_path / "score.py").write_text(
        "import logging, os, signal, threading\n"
        "from mine import VALUE\n"
        "def init():\n"
        "    global here\n"
        "    signal.signal(signal.SIGUSR1, lambda *_: None)  # only the main thread may\n"
        "    here = threading.current_thread() is threading.main_thread()\n"
        "    print('loading from', os.environ['AZUREML_MODEL_DIR'])\n"
        "def run(raw_data):\n"
        "    print('scoring', raw_data)\n"
        "    logging.getLogger('mine').warning('careful')\n"
        "    return [VALUE, here, threading.current_thread() is threading.main_thread(), raw_data]\n"
    )
    with scoring_process(tmp_path, "--entry-script", "score.py", "--model-dir", "models") as server:
        server.wait_until_ready()
        answer = server.score({"a": 1}, headers={"x-request-id": "r1"})
        assert answer.json() == [7, True, True, '{"a":1}']
        failed = server.score({}, headers={"x-ms-client-request-id": "x" * 101})
        assert failed.status_code == 431
        server.terminate()
        assert server.wait() == 0
        records = {record["message"]: record for record in server.records}
    assert "requestId" not in records["loading from models"]
    assert records['scoring {"a":1}']["requestId"] == "r1"
    assert records["careful"]["requestId"] == "r1"
    ready = records[f"Ready: http://127.0.0.1:{server.port}/score"]
    assert ready["models"] == ["score"]
    refused = records["POST /score 431"]
    assert (refused["status"], refused["bytesIn"]) == (431, 2)
    assert "POST /score 200" not in records


def test_without_a_script_a_model_is_served_from_the_command_line(tmp_path: Path) -> None:
    model = onnx_models.summer(tmp_path / "sum.onnx")
    with scoring_process(tmp_path, "serve", "--model", f"sum={model}", "--log-level", "debug") as server:
        server.wait_until_ready()
        assert server.score({"data": [[1, 2, 3]]}).json() == {"result": [6.0]}
        assert "POST /score 200" in server.output


@pytest.mark.parametrize(
    ("script", "code", "expected"),
    [
        pytest.param(
            "def init():\n    raise ValueError('no such column')\ndef run(data):\n    pass\n",
            13,
            {
                "phase": "Init",
                "reason": "InitFailed",
                "message": "score.py line 2 raised ValueError in init(): no such column",
                "exception": "ValueError: no such column",
                "script": "score.py",
                "line": 2,
            },
            id="init raises",
        ),
        pytest.param(
            "import os\ndef init():\n    deeper()\n"
            "def deeper():\n    open(os.environ['AZUREML_MODEL_DIR'] + '/m.pkl')\n"
            "def run(data):\n    pass\n",
            13,
            {
                "phase": "Init",
                "reason": "InitFailed",
                "message": "score.py line 5 raised FileNotFoundError in init(): "
                "[Errno 2] No such file or directory: 'models/m.pkl'",
                "exception": "FileNotFoundError: [Errno 2] No such file or directory: 'models/m.pkl'",
                "line": 5,
                "listing": ["weather.joblib (3 bytes)"],
            },
            id="a model file is missing",
        ),
        pytest.param(
            "import sys\ndef init():\n    sys.exit(3)\ndef run(data):\n    pass\n",
            13,
            {"reason": "InitFailed", "exception": "SystemExit: 3", "line": 3},
            id="init leaves the process",
        ),
        pytest.param(
            "x = 1\nimport no_such_module\ndef init():\n    pass\ndef run(data):\n    pass\n",
            11,
            {
                "phase": "Environment",
                "reason": "ImportFailed",
                "message": "score.py line 2 imports what is not here (No module named 'no_such_module'). "
                "Put the module beside the script, or choose an image that has it: spec.environment.image.",
                "exception": "ModuleNotFoundError: No module named 'no_such_module'",
                "line": 2,
            },
            id="an import fails",
        ),
        pytest.param(
            "def init():\n    import no_such_module\ndef run(data):\n    pass\n",
            11,
            {"phase": "Environment", "reason": "ImportFailed", "line": 2},
            id="an import in init fails",
        ),
        pytest.param(
            "raise RuntimeError('at once')\n",
            13,
            {"reason": "InitFailed", "message": "score.py line 1 raised RuntimeError while it was imported: at once"},
            id="the import of the script raises",
        ),
        pytest.param(
            "def init(:\n    pass\n",
            13,
            {
                "reason": "ScriptInvalid",
                "message": "score.py cannot be imported: invalid syntax in line 1 of score.py.",
                "exception": "SyntaxError: invalid syntax",
                "line": 1,
            },
            id="the script is no Python",
        ),
        pytest.param(
            "def run(data):\n    pass\n",
            13,
            {
                "reason": "ScriptInvalid",
                "message": "score.py has no init() function; define init() and run(raw_data).",
            },
            id="no init",
        ),
        pytest.param(
            "def init():\n    pass\ndef run():\n    pass\n",
            13,
            {"reason": "ScriptInvalid", "message": "run() needs to accept an argument for input data."},
            id="run takes nothing",
        ),
        pytest.param(
            "def init():\n    pass\ndef run(request_headers):\n    pass\n",
            13,
            {"message": 'run() needs to accept an argument other than "request_headers".'},
            id="run takes headers only",
        ),
        pytest.param(
            "def init():\n    pass\ndef run(*data):\n    pass\n",
            13,
            {"message": "run() cannot accept positional-only arguments, *args, or **kwargs."},
            id="run takes anything",
        ),
        pytest.param(
            None,
            13,
            {"reason": "ScriptNotFound", "script": "score.py"},
            id="no script",
        ),
    ],
)
def test_a_start_that_fails_says_why_and_exits_with_its_code(
    tmp_path: Path, script: str | None, code: int, expected: dict[str, object]
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/weather.joblib").write_bytes(b"abc")
    if script is not None:
        (tmp_path / "score.py").write_text(script)
    with scoring_process(tmp_path, "--entry-script", "score.py", "--model-dir", "models") as server:
        assert server.wait() == code
        assert {name: server.termination()[name] for name in expected} == expected
        assert any(record["message"].startswith("Start failed: ") for record in server.records)
        traces = "".join(record.get("traceback", "") for record in server.records)
    assert "scoring_server" not in traces, "a user wants to read of his own script alone"


@pytest.mark.parametrize(
    ("options", "code", "reason", "message"),
    [
        ((), 11, "NothingToServe", "There is nothing to serve: give --entry-script, or --model NAME=PATH"),
        (("--model", "a=missing.onnx"), 12, "ModelInvalid", "Model 'a' is not at missing.onnx."),
        (("--timeout-ms", "soon"), 11, "SettingInvalid", "SCORING_TIMEOUT_MS is 'soon'"),
    ],
)
def test_wrong_options_fail_the_start_in_words(
    tmp_path: Path, options: tuple[str, ...], code: int, reason: str, message: str
) -> None:
    with scoring_process(tmp_path, *options) as server:
        assert server.wait() == code
        assert server.termination()["reason"] == reason
        assert server.termination()["message"].startswith(message)


def test_a_port_in_use_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text("raise SystemExit('loaded')\n")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with scoring_process(tmp_path, "--entry-script", "score.py", "--port", str(port)) as server:
            assert server.wait() == 11
            message = f"Cannot listen on 127.0.0.1:{port}: Address already in use. Choose another --port."
            assert server.termination()["message"] == message


def test_an_init_that_never_returns_is_ended_and_its_line_told(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text(
        "import time\ndef init():\n    x = 1\n    time.sleep(600)\ndef run(data):\n    pass\n"
    )
    with scoring_process(tmp_path, "--entry-script", "score.py", "--init-timeout-seconds", "1") as server:
        server.wait_for(lambda: server.status("/healthz/live") == 200, "live")
        assert server.status("/healthz/ready") == 503
        assert server.score({}).status_code == 503
        assert server.wait() == 13
        failure = server.termination()
    assert (failure["reason"], failure["line"]) == ("InitTimeout", 4)
    assert failure["message"] == "init() of score.py did not return within 1 s. It was at line 4."


def test_sigterm_while_loading_ends_at_once(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text("import time\ndef init():\n    time.sleep(600)\ndef run(data):\n    pass\n")
    with scoring_process(tmp_path, "--entry-script", "score.py") as server:
        server.wait_for(lambda: server.status("/healthz/live") == 200, "live")
        began = time.monotonic()
        server.terminate()
        assert server.wait() == 0
    assert time.monotonic() - began < 5


def test_sigterm_finishes_what_runs_and_loses_no_request(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text(
        "import time\ndef init():\n    pass\ndef run(data):\n    time.sleep(0.02)\n    return data\n"
    )
    stop = threading.Event()
    failures: list[str] = []
    answered: list[int] = []

    def load(url: str) -> None:
        with httpx.Client(timeout=20) as client:
            while not stop.is_set():
                try:
                    answer = client.post(url + "/score", content=b"1")
                except httpx.TransportError as error:
                    failures.append(repr(error))
                    return
                answered.append(answer.status_code)
                if answer.headers.get("connection") == "close":
                    # The pod has left the Service by now: a new connection would go to another one.
                    return

    with scoring_process(tmp_path, "--entry-script", "score.py") as server:
        server.wait_until_ready()
        clients = [threading.Thread(target=load, args=(server.url,)) for _ in range(6)]
        for client in clients:
            client.start()
        server.wait_for(lambda: len(answered) > 50, "under load")
        server.terminate()
        assert server.wait() == 0
        stop.set()
        for client in clients:
            client.join(20)
    assert failures == []
    assert set(answered) == {200}


def test_draining_is_told_by_readiness_and_by_closing(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text(
        "import time, pathlib\ndef init():\n    pass\ndef run(data):\n"
        "    while not pathlib.Path('go').exists():\n        time.sleep(0.01)\n    return 'done'\n"
    )
    with scoring_process(tmp_path, "--entry-script", "score.py") as server:
        server.wait_until_ready()
        with server.connect() as running:
            running.sendall(b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n1")
            server.wait_for(lambda: "in_flight 1" in httpx.get(server.url + "/metrics").text, "running")
            server.terminate()
            server.wait_for(lambda: server.status("/healthz/ready") == 503, "draining")
            answer = httpx.get(server.url + "/")
            assert answer.headers["connection"] == "close"
            server.wait_for(lambda: server.status("/") == 0, "closed")
            (tmp_path / "go").touch()
            received = b""
            while chunk := running.recv(65536):
                received += chunk
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")
        assert received.endswith(b'connection: close\r\n\r\n"done"')
        assert server.wait() == 0


def test_a_run_whose_client_has_left_is_finished_before_the_end(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text(
        "import time, pathlib\ndef init():\n    pass\ndef run(data):\n"
        "    while not pathlib.Path('go').exists():\n        time.sleep(0.01)\n    pathlib.Path('written').touch()\n"
    )
    with scoring_process(tmp_path, "--entry-script", "score.py") as server:
        server.wait_until_ready()
        with server.connect() as leaver:
            # Closed with a reset: after an ordinary end the client might still read, and its connection stays.
            leaver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            leaver.sendall(b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n1")
            server.wait_for(lambda: "in_flight 1" in httpx.get(server.url + "/metrics").text, "running")
        server.terminate()
        server.wait_for(lambda: server.status("/") == 0, "closed")
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(timeout=1)
        (tmp_path / "go").touch()
        assert server.wait() == 0
    assert (tmp_path / "written").exists()


def test_a_run_that_outlasts_the_drain_is_given_up_and_told(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text("import time\ndef init():\n    pass\ndef run(data):\n    time.sleep(600)\n")
    with scoring_process(tmp_path, "--entry-script", "score.py", "--drain-seconds", "1") as server:
        server.wait_until_ready()
        with server.connect() as waiting:
            waiting.sendall(b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n1")
            server.wait_for(lambda: "in_flight 1" in httpx.get(server.url + "/metrics").text, "running")
            began = time.monotonic()
            server.terminate()
            assert server.wait() == 0
        assert time.monotonic() - began < 10
        assert "1 connections did not finish in the time to drain" in server.output


def test_a_run_that_never_ends_does_not_keep_the_process_past_its_drain(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text("import time\ndef init():\n    pass\ndef run(data):\n    time.sleep(600)\n")
    with scoring_process(
        tmp_path, "--entry-script", "score.py", "--drain-seconds", "2", "--timeout-ms", "100"
    ) as server:
        server.wait_until_ready()
        assert server.score({}).status_code == 408
        assert server.status("/healthz/live") == 200
        began = time.monotonic()
        server.terminate()
        assert server.wait() == 0
    assert time.monotonic() - began < 10


def test_keys_are_rotated_without_a_restart_or_a_lost_request(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (tmp_path / "score.py").write_text(ECHO)

    def write(name: str, key: str) -> None:
        (keys / "new").write_text(key)
        os.replace(keys / "new", keys / name)

    write("primaryKey", "old")
    write("secondaryKey", "steady")
    with scoring_process(tmp_path, "--entry-script", "score.py", "--key-dir", "keys") as server:
        server.wait_until_ready()

        def status(key: str) -> int:
            return server.score({}, headers={"authorization": f"Bearer {key}"}).status_code

        assert (status("old"), status("steady"), status("new")) == (200, 200, 401)
        write("primaryKey", "new")
        began = time.monotonic()
        while status("new") != 200:
            assert status("steady") == 200
            assert time.monotonic() - began < 5
        assert (status("old"), status("steady")) == (401, 200)
        assert "steady" not in server.output


def test_keys_that_come_late_are_waited_for_and_until_then_nobody_scores(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text(ECHO)
    with scoring_process(tmp_path, "--entry-script", "score.py", "--key-dir", "keys") as server:
        server.wait_for(lambda: server.status("/healthz/live") == 200, "live")
        assert server.score({}).status_code == 401
        assert server.status("/healthz/ready") == 503
        (tmp_path / "keys").mkdir()
        (tmp_path / "keys/secondaryKey").write_text("late")
        server.wait_until_ready()
        assert server.score({}, headers={"api-key": "late"}).status_code == 200


def test_the_help_names_every_option_and_its_variable(tmp_path: Path) -> None:
    with scoring_process(tmp_path, "serve", "--help") as server:
        assert server.wait() == 0
        for name in ("--entry-script", "--model NAME=PATH", "--port", "[SCORING_KEY_DIR]", "[SCORING_DRAIN_SECONDS]"):
            assert name in server.output


def test_old_scripts_find_their_model_through_azureml_core(tmp_path: Path) -> None:
    (tmp_path / "models/rain/2").mkdir(parents=True)
    (tmp_path / "models/rain/10").mkdir(parents=True)
    (tmp_path / "models/rain/10/rain.pkl").touch()
    (tmp_path / "score.py").write_text(
        "from azureml.core.model import Model\n"
        "def init():\n    pass\n"
        "def run(data):\n"
        "    try:\n        return Model.get_model_path(data.strip('\"'))\n"
        "    except FileNotFoundError as error:\n        return str(error)\n"
    )
    with scoring_process(
        tmp_path, "--entry-script", "score.py", SCORING_MODELS_ROOT=str(tmp_path / "models")
    ) as server:
        server.wait_until_ready()
        assert server.score("rain").json() == str(tmp_path / "models/rain/10/rain.pkl")
        missing = server.score("snow").json()
    assert missing == "Model snow is not in this deployment; there are: rain:10, rain:2"


def test_a_swagger_file_beside_the_script_wins(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text(ECHO)
    (tmp_path / "swagger3.json").write_text(json.dumps({"openapi": "3.0.0", "mine": True}))
    with scoring_process(tmp_path, "--entry-script", "score.py") as server:
        server.wait_until_ready()
        assert httpx.get(server.url + "/swagger.json?version=3").json() == {"openapi": "3.0.0", "mine": True}
        assert httpx.get(server.url + "/swagger.json").json()["swagger"] == "2.0"
