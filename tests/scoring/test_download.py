"""Downloads over a real connection that is cut, refused, slow, wrong and redirected."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from scoring_server import netguard
from scoring_server.download import Download
from scoring_server.netguard import Policy
from scoring_server.sinks import Inspection, PartFile, write_all
from scoring_server.source_errors import SourceError
from scoring_server.sources import Options

from .file_server import FileServer, cut, hang, raw, sha256, status

MODEL = bytes(range(256)) * 4096  # 1 MiB, so that a cut comes in the middle of a chunk
OPTIONS = Options(policy=Policy(allow_hosts=frozenset({"127.0.0.1", "localhost"})), timeout_seconds=5)


@pytest.fixture
def server():
    with FileServer({"/m.onnx": MODEL, "/small": b"small"}) as running:
        yield running


class Store:
    """Downloads into a part file of its own, and notes how long it was made to wait."""

    def __init__(self, folder):
        self.target = folder / "m.onnx"
        self.waits: list[float] = []

    def get(self, url, expected=None, options=OPTIONS, **extra):
        with PartFile(self.target) as part:
            Download(netguard.parse(url), part, options, expected, sleep=self.waits.append, **extra).run()
            part.commit()
        return self.target.read_bytes()

    def error(self, url, expected=None, options=OPTIONS, **extra):
        with pytest.raises(SourceError) as caught:
            self.get(url, expected, options, **extra)
        assert not self.target.exists()
        return caught.value.reason, caught.value.message


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_a_file_arrives_whole(server, store):
    assert store.get(server.url("/m.onnx")) == MODEL
    assert (store.waits, server.ranges()) == ([], [None])


def test_a_cut_download_is_gone_on_with_where_it_was_cut(server, store):
    server.faults = [cut(700_001), cut(100_000)]
    assert store.get(server.url("/m.onnx"), sha256(MODEL)) == MODEL
    assert server.ranges() == [None, "bytes=700001-", "bytes=800001-"]
    assert store.waits == [1, 2]


def test_a_cut_download_is_gone_on_with_even_without_a_known_digest_as_long_as_the_file_has_an_etag(server, store):
    server.faults = [cut(700_001)]
    assert store.get(server.url("/m.onnx")) == MODEL
    assert server.ranges() == [None, "bytes=700001-"]
    assert server.requests[1][1]["If-Range"].startswith('"')


def test_without_etag_and_digest_a_cut_download_starts_over_because_nothing_could_tell_a_patchwork(server, store):
    server.sends_etag = False
    server.faults = [cut(700_001)]
    assert store.get(server.url("/m.onnx")) == MODEL
    assert server.ranges() == [None, None]


def test_a_file_that_changes_between_two_parts_is_read_anew(server, store):
    changed = MODEL[::-1]

    def cut_and_change(handler):
        cut(700_001)(handler)
        server.files["/m.onnx"] = changed

    server.faults = [cut_and_change]
    assert store.get(server.url("/m.onnx")) == changed


def test_a_patchwork_of_two_files_is_found_by_its_digest_and_read_anew(server, store):
    server.sends_etag = False
    older = b"\0" * len(MODEL)
    server.files["/m.onnx"] = older

    def cut_and_change(handler):
        cut(700_001)(handler)
        server.files["/m.onnx"] = MODEL

    server.faults = [cut_and_change]
    assert store.get(server.url("/m.onnx"), sha256(MODEL)) == MODEL
    assert server.ranges() == [None, "bytes=700001-", None]


def test_a_server_without_ranges_is_read_from_the_start_again(server, store):
    server.faults = [cut(700_001), lambda handler: handler.answer(200, MODEL)]
    assert store.get(server.url("/m.onnx"), sha256(MODEL)) == MODEL


def test_an_answer_with_another_part_than_asked_for_is_not_taken(server, store):
    wrong = status(206, MODEL[5:], Content_Range=f"bytes 5-{len(MODEL) - 1}/{len(MODEL)}")
    server.faults = [cut(700_001), wrong]
    assert store.get(server.url("/m.onnx"), sha256(MODEL)) == MODEL


def test_a_part_that_nobody_asked_for_is_not_taken_for_the_whole(server, store):
    server.always = status(206, b"rest", Content_Range="bytes 0-3/9")
    assert store.error(server.url("/m.onnx")) == (
        "SourceUnavailable",
        f"{server.url('/m.onnx')} answered with another part of the file than was asked for. Tried 4 times.",
    )


def test_a_part_file_of_an_earlier_start_is_gone_on_with(server, store):
    store.target.with_name("m.onnx.part").write_bytes(MODEL[:500_000])
    assert store.get(server.url("/m.onnx"), sha256(MODEL)) == MODEL
    assert server.ranges() == ["bytes=500000-"]


@pytest.mark.parametrize("left", [MODEL, MODEL + b"more"], ids=["whole", "too long"])
def test_a_part_file_that_needs_no_more_bytes_is_checked_all_the_same(server, store, left):
    store.target.with_name("m.onnx.part").write_bytes(left)
    assert store.get(server.url("/m.onnx"), sha256(MODEL)) == MODEL


def test_an_overloaded_server_is_asked_again_later_each_time(server, store):
    server.faults = [status(503), status(500), status(429)]
    assert store.get(server.url("/small")) == b"small"
    assert store.waits == [1, 2, 4]


def test_the_wait_that_a_server_asks_for_is_kept_up_to_a_minute(server, store):
    server.faults = [status(503, Retry_After="7"), status(429, Retry_After="86400"), status(503, Retry_After="soon")]
    store.get(server.url("/small"))
    assert store.waits == [7, 60, 4]


def test_waits_are_spread_by_chance(server, store):
    server.faults = [status(503)]
    store.get(server.url("/small"), jitter=lambda: 0.625)
    assert store.waits == [0.625]


def test_after_the_last_attempt_the_sentence_says_what_the_server_said(server, store):
    server.always = status(503)
    assert store.error(server.url("/m.onnx?sig=hunter2")) == (
        "SourceUnavailable",
        f"{server.url('/m.onnx')} answered 503 Service Unavailable. Tried 4 times.",
    )
    assert (len(server.requests), store.waits) == (4, [1, 2, 4])


def test_progress_gives_a_long_download_its_attempts_back(tmp_path, store):
    content = bytes(40 << 20)
    with FileServer({"/m.onnx": content}) as server:
        server.faults = [cut(9 << 20)] * 4
        options = Options(policy=OPTIONS.policy, attempts=2)
        assert len(store.get(server.url("/m.onnx"), sha256(content), options)) == len(content)
    assert store.waits == [1, 1, 1, 1]


def test_a_server_that_never_gets_beyond_the_same_byte_is_given_up(store):
    content = bytes(10 << 20)
    with FileServer({"/m.onnx": content}) as server:
        server.always = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n" + bytes(9 << 20))
        reason, message = store.error(server.url("/m.onnx"), sha256(content))
        url = server.url("/m.onnx")
    assert (reason, message) == (
        "SourceUnavailable",
        f"The connection to {url} was cut with {1 << 20} bytes to go. Tried 4 times.",
    )


@pytest.mark.parametrize(
    ("code", "reason", "sentence"),
    [
        pytest.param(404, "SourceNotFound", "answered 404 Not Found; check the path of the URI.", id="missing"),
        pytest.param(410, "SourceNotFound", "answered 410 Gone; check the path of the URI.", id="gone"),
        pytest.param(
            401,
            "SourceForbidden",
            "answered 401 Unauthorized; the server does not let us read it. Check the credentials in the URI.",
            id="no credentials",
        ),
        pytest.param(
            403,
            "SourceForbidden",
            "answered 403 Forbidden; the server does not let us read it. Check the credentials in the URI.",
            id="wrong credentials",
        ),
        pytest.param(400, "SourceInvalid", "answered 400 Bad Request, which is no file; check the URI.", id="bad"),
        pytest.param(204, "SourceInvalid", "answered 204 No Content, which is no file; check the URI.", id="empty"),
        pytest.param(304, "SourceInvalid", "answered 304 Not Modified, which is no file; check the URI.", id="304"),
    ],
)
def test_what_cannot_be_cured_by_trying_again_is_said_at_once(server, store, code, reason, sentence):
    server.always = status(code)
    assert store.error(server.url("/m.onnx")) == (reason, f"{server.url('/m.onnx')} {sentence}")
    assert len(server.requests) == 1


def test_wrong_bytes_are_said_with_both_digests_and_not_fetched_again(server, store):
    expected = sha256(b"another")
    assert store.error(server.url("/small"), expected) == (
        "DigestMismatch",
        f"{server.url('/small')} has the digest {sha256(b'small')}, but {expected} was expected: these are not the "
        "bytes asked for. If they changed on purpose, give the new sha256 or none.",
    )
    assert len(server.requests) == 1


def test_a_server_that_falls_silent_is_left_after_the_timeout(server, store):
    server.always = hang
    options = Options(policy=OPTIONS.policy, attempts=2, timeout_seconds=0.05)
    assert store.error(server.url("/m.onnx"), options=options) == (
        "SourceUnavailable",
        f"The connection to {server.url('/m.onnx')} failed: nothing came within the time of "
        "SCORING_FETCH_TIMEOUT_SECONDS. Tried 2 times.",
    )


def test_a_port_where_nobody_listens(store):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert store.error(f"http://127.0.0.1:{port}/m", options=Options(policy=OPTIONS.policy, attempts=1)) == (
            "SourceUnavailable",
            f"The connection to http://127.0.0.1:{port}/m failed: Connection refused. Tried once.",
        )


def test_a_host_that_no_one_knows(store):
    def unknown(host, port):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert store.error("https://modles.example.com/m", resolver=unknown) == (
        "SourceUnavailable",
        "The host modles.example.com of https://modles.example.com/m cannot be resolved (Name or service not known). "
        "Check its spelling and the cluster's DNS. Tried 4 times.",
    )


def test_the_second_address_of_a_host_is_tried_when_the_first_does_not_answer(server, store):
    found = store.get(server.url("/small", "localhost"), resolver=lambda host, port: ["127.0.0.2", "127.0.0.1"])
    assert found == b"small"


@pytest.mark.parametrize(
    "answer", [b"no http at all\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"]
)
def test_what_is_not_http_is_an_interruption_not_a_crash(server, store, answer):
    server.always = raw(answer)
    reason, message = store.error(server.url("/m.onnx"))
    assert reason == "SourceUnavailable"
    assert message.startswith(f"The connection to {server.url('/m.onnx')} failed: ")


def test_chunks_are_put_together_and_a_cut_among_them_is_noticed(server, store):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.faults = [raw(head + b"3\r\nsma\r\n"), raw(head + b"3\r\nsma\r\n2\r\nll\r\n0\r\n\r\n")]
    assert store.get(server.url("/small")) == b"small"
    assert len(server.requests) == 2


def test_a_file_without_a_length_is_taken_only_where_a_digest_tells_its_end(server, store):
    server.always = raw(b"HTTP/1.0 200 OK\r\n\r\nsmall")
    assert store.error(server.url("/small")) == (
        "SourceInvalid",
        f"{server.url('/small')} is served without its length, so a cut connection would look like the end of the "
        "file. Serve it with Content-Length, or give sha256.",
    )
    assert store.get(server.url("/small"), sha256(b"small")) == b"small"


def test_a_file_that_is_compressed_on_the_way_is_refused(server, store):
    server.always = status(200, b"small", Content_Encoding="gzip")
    assert store.error(server.url("/small")) == (
        "SourceInvalid",
        f"{server.url('/small')} is served with Content-Encoding gzip, though identity was asked for; serve the file "
        "as it is.",
    )


@pytest.mark.parametrize("is_announced", [True, False], ids=["announced", "found while reading"])
def test_a_file_over_the_limit_is_refused(server, store, is_announced):
    options = Options(policy=OPTIONS.policy, max_bytes=4)
    if not is_announced:
        server.always = raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsmall\r\n0\r\n\r\n")
    assert store.error(server.url("/small"), options=options) == (
        "SourceInvalid",
        f"{server.url('/small')} has more bytes than SCORING_SOURCE_MAX_BYTES allows.",
    )


def test_a_full_disk_is_told_apart_from_the_network(server, tmp_path):
    class FullDisk(Inspection):
        def write(self, chunk):
            with open("/dev/full", "wb") as full:
                write_all(full, tmp_path / "m.onnx", chunk)

    sink = FullDisk(tmp_path / "m.onnx", lambda head: True)
    with pytest.raises(SourceError) as caught:
        Download(netguard.parse(server.url("/m.onnx")), sink, OPTIONS).run()
    assert (caught.value.reason, len(server.requests)) == ("SourceUnavailable", 1)
    assert caught.value.message == (
        f"{tmp_path} cannot be written: the disk is full. The model needs more ephemeral storage."
    )


def test_credentials_of_the_uri_reach_their_own_server_and_no_other(server, store):
    with FileServer() as entrance:
        entrance.always = status(302, Location=server.url("/small"))
        store.get(entrance.url("/m").replace("://", "://user:p%40ss@"))
        assert entrance.requests[0][1]["Authorization"] == "Basic dXNlcjpwQHNz"
    assert server.requests[0][1]["Authorization"] is None


def test_a_redirect_within_a_server_keeps_its_credentials(server, store):
    server.faults = [status(307, Location="/small?part=1")]
    assert store.get(server.url("/m").replace("://", "://user:pass@")) == b"small"
    assert [headers["Authorization"] for _, headers in server.requests] == ["Basic dXNlcjpwYXNz"] * 2
    assert server.requests[1][0] == "/small?part=1"


def test_a_proxy_of_the_environment_is_not_used(server, store, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert store.get(server.url("/small")) == b"small"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate of our own for 127.0.0.1: (context of a server, path of the bundle that trusts it)."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "models")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    bundle = folder / "ca.pem"
    bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = folder / "key.pem"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bundle, private)
    return context, str(bundle)


def test_https_is_verified_against_the_bundle_of_the_environment(authority, store):
    context, bundle = authority
    with FileServer({"/m.onnx": MODEL}, context) as server:
        server.faults = [cut(700_001)]
        options = Options(policy=OPTIONS.policy, ca_file=bundle)
        assert store.get(server.url("/m.onnx"), sha256(MODEL), options) == MODEL
        assert server.ranges() == [None, "bytes=700001-"]


def test_a_certificate_that_is_not_trusted_is_named_and_not_tried_again(authority, store):
    with FileServer({"/m.onnx": MODEL}, authority[0]) as server:
        assert store.error(server.url("/m.onnx")) == (
            "SourceUnavailable",
            f"{server.url('/m.onnx')} shows a certificate that is not trusted (self-signed certificate); add its "
            "authority to the image, or name its bundle in SSL_CERT_FILE.",
        )
        assert server.requests == []


def test_a_certificate_of_another_host_is_not_trusted(authority, store):
    context, bundle = authority
    with FileServer({"/m.onnx": MODEL}, context) as server:
        options = Options(policy=OPTIONS.policy, ca_file=bundle)
        reason, message = store.error(server.url("/m.onnx", "localhost"), options=options)
    assert reason == "SourceUnavailable"
    assert "shows a certificate that is not trusted (Hostname mismatch" in message


def test_a_real_redirect_from_https_to_http_is_not_followed(authority, server, store):
    context, bundle = authority
    with FileServer({}, context) as secure:
        secure.always = status(302, Location=server.url("/small"))
        reason, message = store.error(secure.url("/m"), options=Options(policy=OPTIONS.policy, ca_file=bundle))
    assert (reason, len(server.requests)) == ("SourceRefused", 0)
    assert f"redirects to {server.url('/small')}, from https to plain http" in message


def test_an_inspection_keeps_the_file_only_where_its_first_bytes_ask_for_it(server, tmp_path):
    for wanted in (True, False):
        path = tmp_path / "kept"
        sink = Inspection(path, lambda head, wanted=wanted: wanted and head == MODEL[:64])
        server.faults = [cut(10), cut(100_000)]
        Download(netguard.parse(server.url("/m.onnx")), sink, OPTIONS, sleep=lambda seconds: None).run()
        sink.finish()
        assert (sink.digest, sink.position, sink.head) == (sha256(MODEL), len(MODEL), MODEL[:64])
        assert (path.read_bytes() if wanted else path.exists()) == (MODEL if wanted else False)
        sink.close()
        assert not path.exists()
