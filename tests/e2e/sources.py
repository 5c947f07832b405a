"""Models to serve, made on the spot, and a real HTTP server that hands them out, well or badly."""

from __future__ import annotations

import functools
import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


@functools.cache
def classifier(threshold: float, columns: int = 2, salt: str = "") -> bytes:
    """An ONNX model: label 1 where a row's sum exceeds the threshold, else 0. The salt changes the bytes alone."""
    weights = numpy_helper.from_array(np.ones((columns, 1), dtype=np.float32), "weights")
    limit = numpy_helper.from_array(np.array([threshold], dtype=np.float32), "limit")
    shape = numpy_helper.from_array(np.array([-1], dtype=np.int64), "shape")
    nodes = [
        helper.make_node("MatMul", ["input", "weights"], ["sum"]),
        helper.make_node("Greater", ["sum", "limit"], ["above"]),
        helper.make_node("Cast", ["above"], ["column"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["column", "shape"], ["label"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, columns])],
        [helper.make_tensor_value_info("label", TensorProto.INT64, [None])],
        [weights, limit, shape],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name=salt)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def digest(data: bytes) -> str:
    """The SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class Reply:
    """What the server answers for one path."""

    body: bytes = b""
    status: int = 200


@dataclass
class ModelServer:
    """An HTTP server in the test's own process, on every address of its machine."""

    host: str
    replies: dict[str, Reply] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 65536
            timeout = 30

            def do_GET(self) -> None:
                owner.requests.append(self.path)
                reply = owner.replies.get(self.path, Reply(b"no such model", 404))
                self.send_response(reply.status)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, format: str, *args: Any) -> None:
                """Requests are counted, not printed."""

        self._server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    @property
    def port(self) -> int:
        assert self._server is not None, "the model server was not started"
        return int(self._server.server_address[1])


@dataclass(frozen=True)
class Shelf:
    """One test's own folder on the model server."""

    server: ModelServer
    folder: str

    def put(self, name: str, body: bytes) -> str:
        """Serve these bytes; yields their URL."""
        self.server.replies[self._path(name)] = Reply(body)
        return self.url(name)

    def fail(self, name: str, status: int) -> str:
        """Answer with that status from now on; yields the URL."""
        self.server.replies[self._path(name)] = Reply(b"as the test asked", status)
        return self.url(name)

    def url(self, name: str) -> str:
        return f"http://{self.server.host}:{self.server.port}{self._path(name)}"

    def reads(self, name: str) -> int:
        """How often the file was asked for."""
        return self.server.requests.count(self._path(name))

    def _path(self, name: str) -> str:
        return f"/{self.folder}/{name}"
