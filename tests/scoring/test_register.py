"""The verb `register`, run as the container runs it: what a ModelVersion says is what the bytes are."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from scoring_server import register

from .file_server import FileServer, cut, sha256, status
from .onnx_models import classifier, doubler


class Pod:
    def __init__(self, folder: Path) -> None:
        self.models = folder / "models"
        self.claim = folder / "sources/pvc/store"
        self.claim.mkdir(parents=True)
        self.log = folder / "termination-log"
        self.environ = {
            "SCORING_MODELS_ROOT": str(self.models),
            "SCORING_SOURCES_ROOT": str(folder / "sources"),
            "SCORING_TERMINATION_LOG": str(self.log),
            "SCORING_SOURCES_ALLOW_HOSTS": "127.0.0.1",
            "SCORING_FETCH_BACKOFF_SECONDS": "0.01",
        }

    def put(self, path, content):
        (self.claim / path).parent.mkdir(parents=True, exist_ok=True)
        (self.claim / path).write_bytes(content)

    def register(self, uri, **source):
        environ = {**self.environ, "SCORING_SOURCE": json.dumps({"name": "weather", "uri": uri, **source})}
        code = register.main(environ)
        assert not self.models.exists() or list(self.models.iterdir()) == []
        return code, json.loads(self.log.read_bytes())

    def failure(self, uri, **source):
        code, failure = self.register(uri, **source)
        assert (code, failure["phase"]) == (10, "Fetch")
        return failure["reason"], failure["message"]


@pytest.fixture
def pod(tmp_path):
    return Pod(tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An ONNX model's bytes: X [N, 3] float32 → Y [N, 3] float32."""
    return doubler(tmp_path_factory.mktemp("onnx") / "m.onnx").read_bytes()


SIGNATURE = {
    "inputs": [{"name": "X", "dtype": "float32", "shape": [None, 3]}],
    "outputs": [{"name": "Y", "dtype": "float32", "shape": [None, 3]}],
}


@pytest.mark.parametrize("path", ["/m.onnx", "/download/latest"], ids=["by its suffix", "by its first bytes"])
def test_an_onnx_file_of_the_network_is_registered_with_its_signature(pod, model, path):
    with FileServer({path: model}) as server:
        server.faults = [cut(50), status(503)]
        assert pod.register(server.url(path)) == (
            0,
            {"digest": sha256(model), "sizeBytes": len(model), "format": "ONNX", "files": 1, "signature": SIGNATURE},
        )
        assert server.ranges() == [None, "bytes=50-", "bytes=50-"]


def test_an_onnx_file_of_a_claim_is_registered_with_its_signature(pod, model):
    pod.put("m.onnx", model)
    assert pod.register("pvc://store/m.onnx", sha256=sha256(model)) == (
        0,
        {"digest": sha256(model), "sizeBytes": len(model), "format": "ONNX", "files": 1, "signature": SIGNATURE},
    )


def test_the_signature_is_what_onnxruntime_sees(pod, tmp_path):
    path = classifier(tmp_path / "classifier.onnx")
    pod.put("m.onnx", path.read_bytes())
    session = onnxruntime.InferenceSession(path)
    _, document = pod.register("pvc://store/m.onnx")
    for ours, theirs in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        told = [(tensor["name"], tensor["shape"]) for tensor in document["signature"][ours]]
        seen = [[size if isinstance(size, int) else None for size in tensor.shape] for tensor in theirs]
        assert told == [(tensor.name, shape) for tensor, shape in zip(theirs, seen, strict=True)]


def test_a_folder_is_registered_with_the_digest_that_sha256sum_gives(pod):
    pod.put("iris/MLmodel", b"flavors: {}\n")
    pod.put("iris/data/model.pkl", b"\x80\x04N.")
    pod.put("iris/data.txt", b"sorts between")
    listing = subprocess.run(
        "find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs sha256sum",
        shell=True,
        cwd=pod.claim / "iris",
        capture_output=True,
        check=True,
    ).stdout
    code, document = pod.register("pvc://store/iris")
    assert (code, document) == (
        0,
        {"digest": sha256(listing), "sizeBytes": 29, "format": "MLflow", "files": 3, "signature": None},
    )


class _Trap:
    def __reduce__(self):
        return Path.touch, (Path(os.environ["TRAP"]),)


@pytest.mark.parametrize("name", ["m.pkl", "m.pickle", "m.joblib", "M.PKL"])
def test_a_pickle_is_recognised_and_never_opened(pod, tmp_path, monkeypatch, name):
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    pod.put(name, pickle.dumps(_Trap()))
    code, document = pod.register(f"pvc://store/{name}")
    assert (code, document["format"], (tmp_path / "sprung").exists()) == (0, "Sklearn", False)


def test_what_the_user_declares_wins(pod):
    pod.put("m.pkl", b"\x80\x04N.")
    assert pod.register("pvc://store/m.pkl", format="Custom")[1]["format"] == "Custom"


def test_what_is_declared_as_onnx_must_be(pod):
    pod.put("m.bin", b"\x80\x04N.")
    assert pod.failure("pvc://store/m.bin", format="ONNX") == (
        "SourceInvalid",
        "pvc://store/m.bin is no ONNX model: byte 4 is of the unknown wire type 6.",
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><html>Sign in</html>", "it is a web page, as a login or an error page would be"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n",
            "it is a Git LFS pointer, not the file that it points to",
        ),
        (b"\x08\x09", "it has no graph"),
        (b"\x08\x09\x3a\x7f", "it ends at byte 4, in the middle of a field of 127 bytes"),
    ],
    ids=["empty", "a login page", "git lfs", "no graph", "cut"],
)
def test_a_file_named_onnx_that_is_none_is_refused_with_what_it_is(pod, content, why):
    with FileServer({"/m.onnx": content}) as server:
        assert pod.failure(server.url("/m.onnx")) == (
            "SourceInvalid",
            f"{server.url('/m.onnx')} is no ONNX model: {why}.",
        )


def test_wrong_bytes_are_said(pod, model):
    pod.put("m.onnx", model)
    assert pod.failure("pvc://store/m.onnx", sha256="0" * 64) == (
        "DigestMismatch",
        f"pvc://store/m.onnx has the digest {sha256(model)}, but sha256:{'0' * 64} was expected: these are not the "
        "bytes asked for. If they changed on purpose, give the new sha256 or none.",
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "SCORING_SOURCE is no JSON: Expecting value: line 1 column 1 (char 0)."),
        ("[]", "SCORING_SOURCE must be a JSON object with name and uri."),
        (
            '{"uri": "s3://b/k"}',
            "The scheme 's3' is not known; write https://host/path/file, pvc://claim/path or configmap://name/key.",
        ),
        (
            '{"uri": "pvc://c/m", "format": "onnx"}',
            "The format 'onnx' is not known; write ONNX, Sklearn, MLflow, Custom.",
        ),
    ],
)
def test_a_request_that_cannot_be_read_is_said(pod, text, sentence):
    assert register.main({**pod.environ, "SCORING_SOURCE": text}) == 10
    assert json.loads(pod.log.read_bytes())["message"] == sentence


def test_a_signature_too_long_for_the_termination_message_is_left_out_and_the_rest_stays(pod, tmp_path):
    names = [f"column_{number:03}_{'x' * 30}" for number in range(100)]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 1]) for name in names]
    output = helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["N", 100])
    graph = helper.make_graph([helper.make_node("Concat", names, ["Y"], axis=1)], "g", inputs, [output])
    content = helper.make_model(graph).SerializeToString()
    pod.put("m.onnx", content)
    code, document = pod.register("pvc://store/m.onnx")
    assert (code, document["signature"], document["digest"]) == (0, None, sha256(content))
    assert len(pod.log.read_bytes()) <= 4096


def test_a_signature_that_no_model_version_takes_is_left_out(pod):
    value = helper.make_tensor_value_info("X", TensorProto.FLOAT, [1] * 17)
    output = helper.make_tensor_value_info("Y", TensorProto.FLOAT, [1] * 17)
    graph = helper.make_graph([helper.make_node("Identity", ["X"], ["Y"])], "g", [value], [output])
    pod.put("m.onnx", helper.make_model(graph).SerializeToString())
    assert pod.register("pvc://store/m.onnx")[1]["signature"] is None


def test_weights_beside_the_model_belong_to_its_folder(pod, tmp_path):
    weights = numpy_helper.from_array(np.ones(4, dtype=np.float32), "W")
    value = helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 4])
    output = helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["N", 4])
    graph = helper.make_graph([helper.make_node("Add", ["X", "W"], ["Y"])], "g", [value], [output], [weights])
    folder = pod.claim / "net"
    folder.mkdir()
    onnx.save(
        helper.make_model(graph),
        folder / "m.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
        convert_attribute=False,
    )
    code, document = pod.register("pvc://store/net")
    assert (code, document["format"], document["files"]) == (0, "ONNX", 2)
    assert document["signature"]["inputs"] == [{"name": "X", "dtype": "float32", "shape": [None, 4]}]
    assert pod.failure("pvc://store/net/m.onnx") == (
        "SourceInvalid",
        "pvc://store/net/m.onnx keeps its weights in a second file, 'weights.bin', which one file does not bring; "
        "register the folder of both (pvc://claim/folder), or save the model as one file.",
    )
    (folder / "weights.bin").unlink()
    assert pod.failure("pvc://store/net") == (
        "SourceInvalid",
        "pvc://store/net/m.onnx keeps weights in 'weights.bin', which is not in the folder; add the file.",
    )
    content = (folder / "m.onnx").read_bytes()
    (folder / "m.onnx").write_bytes(content.replace(b"weights.bin", b"../../x.bin"))
    assert pod.failure("pvc://store/net") == (
        "SourceInvalid",
        "pvc://store/net/m.onnx keeps weights in '../../x.bin', outside its own folder; save them beside the model.",
    )


def test_a_large_file_passes_through_little_memory_and_no_disk(pod):
    size = 192 << 20
    block = bytes(1 << 20)

    def send(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(size))
        handler.end_headers()
        for _ in range(size // len(block)):
            handler.wfile.write(block)

    state = hashlib.sha256()
    for _ in range(size // len(block)):
        state.update(block)
    program = (
        "import os, pathlib, sys\n"
        "from scoring_server import register\n"
        "code = register.main(os.environ)\n"
        "status = dict(line.split(':') for line in pathlib.Path('/proc/self/status').read_text().splitlines())\n"
        "print(int(status['VmHWM'].split()[0]) // 1024, file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    with FileServer() as server:
        server.always = send
        source = json.dumps({"name": "weather", "uri": server.url("/big.joblib")})
        environ = {**os.environ, **pod.environ, "SCORING_SOURCE": source}
        done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, check=True)
    assert json.loads(pod.log.read_bytes())["digest"] == f"sha256:{state.hexdigest()}"
    assert int(done.stderr) < 64, f"{int(done.stderr)} MiB resident"
    assert not pod.models.exists()
