"""The verb `fetch`, run as the container runs it: by its environment, with its exit code and termination message."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from scoring_server import fetch, local_sources
from scoring_server.source_errors import SourceError
from scoring_server.sources import Options, VolumeSource

from .file_server import FileServer, cut, hang, sha256, status

MODEL = bytes(range(256)) * 4096


@pytest.fixture
def server():
    with FileServer({"/models/svc.onnx": MODEL, "/scaler.joblib": b"scaler"}) as running:
        yield running


class Pod:
    """A container's folders and environment."""

    def __init__(self, folder):
        self.models = folder / "models"
        self.sources = folder / "sources"
        self.log = folder / "termination-log"
        self.sources.mkdir()
        self.environ = {
            "SCORING_MODELS_ROOT": str(self.models),
            "SCORING_SOURCES_ROOT": str(self.sources),
            "SCORING_TERMINATION_LOG": str(self.log),
            "SCORING_SOURCES_ALLOW_HOSTS": "127.0.0.1",
            "SCORING_FETCH_BACKOFF_SECONDS": "0.01",
        }

    def fetch(self, *models):
        return fetch.main({**self.environ, "SCORING_MODELS": json.dumps(models)})

    def failure(self, *models):
        assert self.fetch(*models) == 10
        return json.loads(self.log.read_bytes())

    def files(self):
        return sorted(path.relative_to(self.models).as_posix() for path in self.models.rglob("*") if path.is_file())

    def claim(self, name, files, kind="pvc"):
        root = self.sources / kind / name
        for path, content in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
        return root

    def config_map(self, name, files):
        """As kubelet lays it out: keys are links to ..data, which is a link to a folder with a date."""
        root = self.claim(name, {f"..2026_11_21/{key}": content for key, content in files.items()}, "configmap")
        (root / "..data").symlink_to("..2026_11_21")
        for key in files:
            (root / key).symlink_to(f"..data/{key}")
        return root


@pytest.fixture
def pod(tmp_path):
    return Pod(tmp_path)


def model(uri, digest, name="weather", version="3", format="ONNX"):
    return {"name": name, "version": version, "uri": uri, "digest": digest, "format": format}


def folder_digest(files):
    lines = "".join(f"{hashlib.sha256(content).hexdigest()}  {path}\n" for path, content in sorted(files.items()))
    return sha256(lines.encode())


def test_each_model_lies_in_its_version_under_the_last_name_of_its_uri(pod, server):
    pod.claim("store", {"deep/folder/weights.bin": b"weights"})
    pod.config_map("small", {"rules.txt": b"rules"})
    assert (
        pod.fetch(
            model(server.url("/models/svc.onnx?sig=x"), sha256(MODEL)),
            model(server.url("/scaler.joblib"), sha256(b"scaler"), "scaler", 12),
            model("pvc://store/deep/folder/weights.bin", sha256(b"weights"), "weights"),
            model("configmap://small/rules.txt", sha256(b"rules"), "rules", "1"),
        )
        == 0
    )
    assert pod.files() == [
        "rules/1/rules.txt",
        "scaler/12/scaler.joblib",
        "weather/3/svc.onnx",
        "weights/3/weights.bin",
    ]
    assert (pod.models / "weather/3/svc.onnx").read_bytes() == MODEL
    assert (pod.models / "rules/1/rules.txt").is_symlink() is False


def test_a_folder_keeps_its_name_and_its_tree(pod):
    files = {"MLmodel": b"flavors: {}\n", "data/model.pkl": b"\x80\x04N.", "data/deep/x": b""}
    pod.claim("store", {f"iris/{path}": content for path, content in files.items()})
    assert pod.fetch(model("pvc://store/iris/", folder_digest(files))) == 0
    assert pod.files() == ["weather/3/iris/MLmodel", "weather/3/iris/data/deep/x", "weather/3/iris/data/model.pkl"]


def test_the_whole_claim_lies_in_the_folder_of_the_version(pod):
    files = {"MLmodel": b"flavors: {}\n", "data/model.pkl": b"\x80\x04N."}
    root = pod.claim("store", files)
    (root / "lost+found").mkdir()
    assert pod.fetch(model("pvc://store", folder_digest(files))) == 0
    assert pod.files() == ["weather/3/MLmodel", "weather/3/data/model.pkl"]
    assert pod.fetch(model("pvc://store/", folder_digest(files))) == 0


def test_what_is_there_already_is_not_fetched_again(pod, server):
    wanted = model(server.url("/models/svc.onnx"), sha256(MODEL))
    assert (pod.fetch(wanted), len(server.requests)) == (0, 1)
    assert (pod.fetch(wanted), len(server.requests)) == (0, 1)


def test_a_folder_that_is_there_already_is_left_alone(pod):
    files = {"a": b"1", "b/c": b"2"}
    root = pod.claim("store", {f"m/{path}": content for path, content in files.items()})
    wanted = model("pvc://store/m", folder_digest(files))
    assert pod.fetch(wanted) == 0
    (root / "m/a").unlink()
    assert pod.fetch(wanted) == 0


def test_what_is_there_but_wrong_is_replaced(pod, server):
    pod.claim("store", {"m/a": b"1"})
    for path in ("weather/3/svc.onnx", "tree/3/m/a", "tree/3/m/stale"):
        (pod.models / path).parent.mkdir(parents=True, exist_ok=True)
        (pod.models / path).write_bytes(b"half")
    wanted = model(server.url("/models/svc.onnx"), sha256(MODEL))
    assert pod.fetch(wanted, model("pvc://store/m", folder_digest({"a": b"1"}), "tree")) == 0
    assert (pod.models / "weather/3/svc.onnx").read_bytes() == MODEL
    assert pod.files() == ["tree/3/m/a", "weather/3/svc.onnx"]


def test_a_killed_container_leaves_only_a_part_and_the_next_start_goes_on_with_it(pod, server):
    def send_half_and_wait(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(MODEL)))
        handler.end_headers()
        handler.wfile.write(MODEL[: len(MODEL) // 2])
        handler.wfile.flush()
        hang(handler)

    server.faults = [send_half_and_wait]
    wanted = model(server.url("/models/svc.onnx"), sha256(MODEL))
    environ = {**os.environ, **pod.environ, "SCORING_MODELS": json.dumps([wanted])}
    process = subprocess.Popen(
        [sys.executable, "-m", "scoring_server", "fetch"], env=environ, stdout=subprocess.DEVNULL
    )
    part = pod.models / "weather/3/svc.onnx.part"
    deadline = time.monotonic() + 10
    while not (part.exists() and part.stat().st_size == len(MODEL) // 2):
        assert time.monotonic() < deadline, "the first half never came"
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert pod.files() == ["weather/3/svc.onnx.part"]
    assert pod.fetch(wanted) == 0
    assert pod.files() == ["weather/3/svc.onnx"]
    assert server.ranges() == [None, f"bytes={len(MODEL) // 2}-"]


def test_sigterm_ends_a_fetch_at_once_with_the_exit_code_of_its_signal(pod, server):
    server.always = hang
    wanted = model(server.url("/models/svc.onnx"), sha256(MODEL))
    environ = {**os.environ, **pod.environ, "SCORING_MODELS": json.dumps([wanted])}
    process = subprocess.Popen(
        [sys.executable, "-m", "scoring_server", "fetch"], env=environ, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 10
    while not server.requests:
        assert time.monotonic() < deadline, "the request never came"
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=5) == 128 + signal.SIGTERM


def test_wrong_bytes_leave_nothing_behind(pod, server):
    pod.claim("store", {"m/a": b"1", "file": b"2"})
    for uri in (server.url("/models/svc.onnx"), "pvc://store/m", "pvc://store/file"):
        assert pod.failure(model(uri, sha256(b"other")))["reason"] == "DigestMismatch"
        assert pod.files() == []


def test_an_unreachable_server_leaves_the_part_for_the_next_start(pod, server):
    server.faults = [cut(700_001), status(503), status(503), status(503)]
    wanted = model(server.url("/models/svc.onnx"), sha256(MODEL))
    assert pod.failure(wanted)["reason"] == "SourceUnavailable"
    assert (pod.models / "weather/3/svc.onnx.part").stat().st_size == 700_001


def test_the_termination_message_is_what_the_contract_says(pod, server):
    assert pod.failure(model(server.url("/nothing.onnx?sig=hunter2"), sha256(b""))) == {
        "phase": "Fetch",
        "reason": "SourceNotFound",
        "message": f"{server.url('/nothing.onnx')} answered 404 Not Found; check the path of the URI.",
        "exception": None,
        "script": None,
        "line": None,
        "listing": [],
    }


def test_a_missing_file_is_named_together_with_what_is_there(pod):
    pod.claim("store", {"models/b.onnx": b"", "models/a.onnx": b"", "models/old/c": b""})
    failure = pod.failure(model("pvc://store/models/weather.onnx", sha256(b"")))
    assert failure["reason"] == "SourceNotFound"
    assert failure["message"] == (
        "The claim store has no file or folder models/weather.onnx. "
        "There is: models/a.onnx, models/b.onnx, models/old/."
    )
    assert failure["listing"] == ["models/a.onnx", "models/b.onnx", "models/old/"]


def test_only_the_first_twenty_names_are_listed(pod):
    pod.claim("store", {f"{number:02}": b"" for number in range(23)})
    failure = pod.failure(model("pvc://store/weather.onnx", sha256(b"")))
    assert failure["listing"] == [f"{number:02}" for number in range(20)]
    assert failure["message"].endswith("18, 19 and 3 more.")


def test_a_missing_key_is_named_together_with_the_keys_that_are_there(pod):
    pod.config_map("small", {"rules.txt": b"", "model.onnx": b""})
    failure = pod.failure(model("configmap://small/modle.onnx", sha256(b"")))
    assert (failure["reason"], failure["message"]) == (
        "SourceNotFound",
        "The ConfigMap small has no key modle.onnx. There is: model.onnx, rules.txt.",
    )


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("pvc://absent/m", "The claim absent of pvc://absent/m is not mounted in this pod."),
        ("configmap://absent/m", "The ConfigMap absent of configmap://absent/m is not mounted in this pod."),
    ],
)
def test_a_volume_that_is_not_mounted_is_said(pod, uri, sentence):
    failure = pod.failure(model(uri, sha256(b"")))
    assert (failure["reason"], failure["message"]) == ("SourceNotFound", sentence)


def test_an_empty_folder_is_no_model(pod):
    (pod.claim("store", {"x": b""}) / "empty").mkdir()
    failure = pod.failure(model("pvc://store/empty", sha256(b"")))
    assert (failure["reason"], failure["message"]) == ("SourceNotFound", "pvc://store/empty is an empty folder.")


@pytest.mark.parametrize(
    ("link", "leads_to", "uri", "shown"),
    [
        pytest.param("m", "/etc/passwd", "m", "m", id="to a file of the container"),
        pytest.param("m", "../other/secret", "m", "m", id="to another claim"),
        pytest.param("m", "../../../outside", "m", "m", id="upwards"),
        pytest.param("d", "..", "d/other/secret", "d/other/secret", id="through a folder"),
        pytest.param("tree/m", "../../other/secret", "tree", "tree/m", id="inside a folder"),
        pytest.param("tree/d", "../../other", "tree", "tree/d", id="a folder inside a folder"),
        pytest.param("m", "/dev/zero", "m", "m", id="to a device"),
    ],
)
def test_no_link_leads_out_of_the_claim(pod, link, leads_to, uri, shown):
    pod.claim("other", {"secret": b"secret"})
    (pod.models.parent / "outside").write_bytes(b"secret")
    root = pod.claim("store", {"tree/ok": b"fine"})
    (root / link).symlink_to(leads_to)
    failure = pod.failure(model(f"pvc://store/{uri}", sha256(b"secret")))
    assert (failure["reason"], failure["message"]) == (
        "SourceRefused",
        f"pvc://store/{shown} is a link that leads out of the claim; put the file itself there.",
    )
    assert pod.files() == []


def test_a_key_of_a_config_map_that_was_turned_into_a_link_outwards_is_refused(pod):
    root = pod.config_map("small", {"rules.txt": b""})
    (root / "evil").symlink_to("/etc/passwd")
    assert pod.failure(model("configmap://small/evil", sha256(b"")))["reason"] == "SourceRefused"


def test_links_within_the_claim_are_followed(pod):
    root = pod.claim("store", {"blobs/abc": b"weights", "snapshot/readme": b"hi"})
    (root / "snapshot/model.bin").symlink_to("../blobs/abc")
    (root / "snapshot/more").symlink_to("../blobs")
    files = {"readme": b"hi", "model.bin": b"weights", "more/abc": b"weights"}
    assert pod.fetch(model("pvc://store/snapshot", folder_digest(files))) == 0
    assert pod.files() == [f"weather/3/snapshot/{path}" for path in sorted(files)]


def test_a_link_to_the_folder_it_lies_in_is_not_followed_for_ever(pod):
    root = pod.claim("store", {"m/a": b""})
    (root / "m/again").symlink_to(".")
    failure = pod.failure(model("pvc://store/m", sha256(b"")))
    assert failure["message"] == "pvc://store/m/again is a link to a folder that it lies in."


def test_what_is_no_file_is_not_read(pod):
    root = pod.claim("store", {"m/a": b""})
    os.mkfifo(root / "m/pipe")
    failure = pod.failure(model("pvc://store/m", sha256(b"")))
    assert (failure["reason"], failure["message"]) == ("SourceInvalid", "pvc://store/m/pipe is not a plain file.")


def test_a_link_to_nothing_is_a_missing_file(pod):
    root = pod.claim("store", {"m/a": b""})
    (root / "m/gone").symlink_to("nothing")
    failure = pod.failure(model("pvc://store/m", sha256(b"")))
    assert (failure["reason"], failure["message"]) == (
        "SourceNotFound",
        "pvc://store/m/gone is not there any more, or is a link to nothing.",
    )


def test_a_claim_over_the_limit_is_refused(pod):
    pod.claim("store", {"m/a": bytes(600), "m/b": bytes(600)})
    pod.environ["SCORING_SOURCE_MAX_BYTES"] = "1000"
    failure = pod.failure(model("pvc://store/m", sha256(b"")))
    assert (failure["reason"], failure["message"]) == (
        "SourceInvalid",
        "pvc://store/m has more bytes than SCORING_SOURCE_MAX_BYTES allows.",
    )
    assert pod.files() == []


def test_a_folder_of_too_many_files_is_refused(pod):
    root = pod.claim("store", {"m/a": b""})
    for number in range(10_000):
        (root / f"m/{number}").touch()
    failure = pod.failure(model("pvc://store/m", sha256(b"")))
    assert failure["message"] == "pvc://store/m holds more than 10000 files."


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"name": "../up"}, "The name of a model must be the name of one folder, not '../up'."),
        ({"name": ".."}, "The name of a model must be the name of one folder, not '..'."),
        ({"version": "1/2"}, "The version of a model must be the name of one folder, not '1/2'."),
        ({"digest": "md5:1"}, "'md5:1' is no digest; write sha256: and the 64 hexadecimal digits of sha256sum."),
        ({"digest": None}, "SCORING_MODELS has an entry without digest."),
        ({"uri": ""}, "SCORING_MODELS has an entry without uri."),
    ],
)
def test_an_entry_that_cannot_be_used_is_said(pod, entry, sentence):
    failure = pod.failure({**model("pvc://store/m", sha256(b"")), **entry})
    assert (failure["reason"], failure["message"]) == ("SourceInvalid", sentence)


@pytest.mark.parametrize(
    ("variable", "text", "sentence"),
    [
        ("SCORING_MODELS", "{", "SCORING_MODELS is no JSON: "),
        ("SCORING_MODELS", '{"name": "x"}', "SCORING_MODELS must be a JSON list of objects, one for each model."),
        ("SCORING_FETCH_ATTEMPTS", "0", "SCORING_FETCH_ATTEMPTS='0' is not a number of at least 1."),
        (
            "SCORING_FETCH_TIMEOUT_SECONDS",
            "soon",
            "SCORING_FETCH_TIMEOUT_SECONDS='soon' is not a number of at least 0.001.",
        ),
        ("SCORING_SOURCE_MAX_BYTES", "nan", "SCORING_SOURCE_MAX_BYTES='nan' is not a number of at least 1."),
    ],
)
def test_a_setting_that_cannot_be_used_is_said(pod, variable, text, sentence):
    assert fetch.main({**pod.environ, variable: text}) == 10
    failure = json.loads(pod.log.read_bytes())
    assert failure["reason"] == "SourceInvalid"
    assert failure["message"].startswith(sentence)


def test_nothing_to_fetch_is_done_at_once(pod):
    assert pod.fetch() == 0
    assert fetch.main({**pod.environ}) == 0
    assert not pod.log.exists()


def test_a_models_folder_that_cannot_be_written_is_said(pod):
    pod.models.write_bytes(b"a file where the folder should be")
    pod.claim("store", {"m": b"1"})
    failure = pod.failure(model("pvc://store/m", sha256(b"1")))
    assert failure["reason"] == "SourceUnavailable"
    assert failure["message"] == f"{pod.models}/weather/3/m.part cannot be used: Not a directory."
    assert failure["exception"].startswith("NotADirectoryError: ")


def test_without_a_place_for_the_termination_message_the_exit_code_still_tells(pod, tmp_path):
    pod.environ["SCORING_TERMINATION_LOG"] = str(tmp_path / "absent" / "log")
    assert pod.fetch(model("pvc://absent/m", sha256(b""))) == 10


def test_a_file_that_is_exchanged_for_a_link_after_the_check_is_not_read(pod, tmp_path):
    (tmp_path / "outside").write_bytes(b"secret")
    root = pod.claim("store", {"m": b"model"})
    options = Options(sources_root=pod.sources)
    volume = local_sources.open_volume(VolumeSource("pvc", "store", ("m",)), options)
    (file,) = volume.files()
    (root / "m").unlink()
    (root / "m").symlink_to(tmp_path / "outside")
    with pytest.raises(SourceError) as caught, volume.open(file):
        pytest.fail("the file outside was opened")
    assert caught.value.reason == "SourceRefused"
