"""No address that must not be reached is reached, however it is spelled."""

from __future__ import annotations

import ipaddress
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoring_server import netguard
from scoring_server.download import Download
from scoring_server.netguard import Policy
from scoring_server.sinks import Inspection
from scoring_server.source_errors import SourceError
from scoring_server.sources import Options

from .file_server import FileServer, status

_connects: list[Any] = []
sys.addaudithook(lambda event, arguments: _connects.append(arguments[1]) if event == "socket.connect" else None)

# DNS as an attacker would set it up; numbers and "localhost" go to the system's own resolver.
ZONE = {
    "rebind.example": ["127.0.0.1"],
    "mixed.example": ["93.184.216.34", "127.0.0.1"],
    "metadata.google.internal": ["169.254.169.254"],
    "169.254.169.254.nip.example": ["169.254.169.254"],
    "six.example": ["::1"],
    "mapped.example": ["::ffff:10.0.0.1", "::ffff:169.254.169.254"],
    "zone.example": ["fe80::1%lo"],
    "ec2.example": ["fd00:ec2::254"],
}


def resolver(host: str, port: int) -> list[str]:
    return ZONE[host] if host in ZONE else netguard._system_resolver(host, port)


def attempt(uri: str, policy: Policy | None = None, tmp: Any = None) -> SourceError:
    options = Options(policy=policy or Policy(), attempts=1, timeout_seconds=1)
    with pytest.raises(SourceError) as caught:
        Download(netguard.parse(uri), Inspection(tmp, lambda head: False), options, resolver=resolver).run()
    return caught.value


REFUSED = [
    "http://127.0.0.1:{port}/m",
    "http://127.1:{port}/m",
    "http://127.0.1:{port}/m",
    "http://127.255.255.254:{port}/m",
    "http://2130706433:{port}/m",
    "http://0x7f000001:{port}/m",
    "http://0X7F000001:{port}/m",
    "http://0x7f.1:{port}/m",
    "http://0x7f.0x0.0x0.0x1:{port}/m",
    "http://0177.0.0.1:{port}/m",
    "http://0177.0.0.01:{port}/m",
    "http://017700000001:{port}/m",
    "http://00000177.1:{port}/m",
    "http://127.0x000001:{port}/m",
    "http://localhost:{port}/m",
    "http://LOCALHOST:{port}/m",
    "http://localhost.:{port}/m",
    "HTTP://127.0.0.1:{port}/m",
    "http://127.0.0.1.:{port}/m",
    "http://0:{port}/m",
    "http://0.0.0.0:{port}/m",
    "http://0x0:{port}/m",
    "http://[::]:{port}/m",
    "http://[::1]:{port}/m",
    "http://[0:0:0:0:0:0:0:1]:{port}/m",
    "http://[0000:0000:0000:0000:0000:0000:0000:0001]:{port}/m",
    "http://[::ffff:127.0.0.1]:{port}/m",
    "http://[::ffff:7f00:1]:{port}/m",
    "http://[::FFFF:7F00:0001]:{port}/m",
    "http://[0:0:0:0:0:ffff:127.0.0.1]:{port}/m",
    "http://[::127.0.0.1]:{port}/m",
    "http://[::ffff:0:127.0.0.1]:{port}/m",
    "http://[64:ff9b::127.0.0.1]:{port}/m",
    "http://[64:ff9b::a9fe:a9fe]:{port}/m",
    "http://[64:ff9b:1::a9fe:a9fe]:{port}/m",
    "http://[64:ff9b:1:a9fe:a9:fe00::]:{port}/m",
    "http://[2002:7f00:1::]:{port}/m",
    "http://[2002:a9fe:a9fe::1]:{port}/m",
    "http://[2001:0:7f00:1::]:{port}/m",
    "http://[2001:0:808:808::5601:5601]:{port}/m",
    "http://[fe80::5efe:127.0.0.1]:{port}/m",
    "http://[2001:db8::5efe:a9fe:a9fe]:{port}/m",
    "http://[fe80::1]:{port}/m",
    "http://[ff02::1]:{port}/m",
    "http://[fd00:ec2::254]/latest/meta-data/iam",
    "http://[fd20:ce::254]/m",
    "http://169.254.169.254/latest/meta-data/iam",
    "http://169.254.170.2/v2/credentials",
    "http://2852039166/latest/meta-data/iam",
    "http://0xa9fea9fe/latest/meta-data/iam",
    "http://0251.0376.0251.0376/latest/meta-data/iam",
    "http://[::ffff:169.254.169.254]/latest/meta-data/iam",
    "http://168.63.129.16/machine?comp=goalstate",
    "http://0xa83f8110/machine",
    "http://100.100.100.200/latest/meta-data",
    "http://192.0.0.192/opc/v2",
    "http://224.0.0.1:{port}/m",
    "http://255.255.255.255:{port}/m",
    "http://240.0.0.1:{port}/m",
    "http://models.example.com@127.0.0.1:{port}/m",
    "http://models.example.com:443@127.0.0.1:{port}/m",
    "http://a@b@127.0.0.1:{port}/m",
    "http://rebind.example:{port}/m",
    "http://mixed.example:{port}/m",
    "http://metadata.google.internal/computeMetadata/v1/m",
    "http://169.254.169.254.nip.example/m",
    "http://six.example:{port}/m",
    "http://mapped.example:{port}/m",
    "http://zone.example:{port}/m",
    "http://ec2.example/m",
]

INVALID = [
    "http://①②⑦.⓪.⓪.①:{port}/m",
    "http://127。0。0。1:{port}/m",
    "http://%31%32%37.0.0.1:{port}/m",
    "http://127.0.0.1%00.example.com:{port}/m",
    "http://models.example.com\\@127.0.0.1:{port}/m",
    "http://127.0.0.1\t:{port}/m",
    "http://127.0.0.1\r\nHost: x:{port}/m",
    "http:// 127.0.0.1:{port}/m",
    "http://[fe80::1%25lo]:{port}/m",
    "http://[::1:{port}/m",
    "http://[127.0.0.1]:{port}/m",
    "http://:{port}/m",
    "http:///127.0.0.1:{port}/m",
    "http://..:{port}/m",
    "http://127.0.0.1:99999/m",
    "http://127.0.0.1:0/m",
]


@pytest.fixture(scope="module")
def loopback():
    with FileServer({"/m": b"secret of this host"}) as server:
        yield server


@pytest.mark.parametrize("spelling", REFUSED)
def test_a_forbidden_address_is_refused_before_any_connection(spelling, loopback, tmp_path):
    _connects.clear()
    error = attempt(spelling.format(port=loopback.port), tmp=tmp_path / "m")
    assert (error.reason, _connects, loopback.connections) == ("SourceRefused", [], 0)
    assert "no model is fetched from there" in error.message


@pytest.mark.parametrize("spelling", INVALID)
def test_a_host_that_only_looks_like_one_is_never_resolved(spelling, loopback):
    _connects.clear()
    with pytest.raises(SourceError) as caught:
        netguard.parse(spelling.format(port=loopback.port))
    assert (caught.value.reason, _connects) == ("SourceInvalid", [])


def test_there_are_more_than_sixty_spellings():
    assert len({*REFUSED, *INVALID}) > 60


@pytest.mark.parametrize("scheme", ["file", "ftp", "gopher", "dict", "unix", "ldap", "jar", "data"])
def test_other_schemes_are_refused(scheme):
    with pytest.raises(SourceError) as caught:
        netguard.parse(f"{scheme}://127.0.0.1/etc/passwd")
    assert caught.value.reason == "SourceRefused"


@pytest.mark.parametrize("location", ["http://localhost:{port}/m", "//0x7f000001:{port}/m", "http://169.254.169.254/m"])
def test_a_redirect_is_judged_like_the_first_address(location, loopback, tmp_path):
    with FileServer() as entrance:
        entrance.always = status(302, Location=location.format(port=loopback.port))
        error = attempt(entrance.url("/m"), Policy(allow_hosts=frozenset({"127.0.0.1"})), tmp_path / "m")
    assert (error.reason, entrance.connections, loopback.connections) == ("SourceRefused", 1, 0)


def test_a_sixth_redirect_is_not_followed(tmp_path):
    with FileServer() as server:
        server.always = status(302, Location="/m")
        error = attempt(server.url("/m"), Policy(allow_hosts=frozenset({"127.0.0.1"})), tmp_path / "m")
        assert (error.reason, len(server.requests)) == ("SourceRefused", 6)
    assert error.message == f"{server.url('/m')} redirects more than 5 times; give the last address."


def test_a_redirect_from_https_to_http_is_refused():
    secure = netguard.parse("https://models.example.com/m.onnx")
    with pytest.raises(SourceError) as caught:
        secure.redirected("http://models.example.com/m.onnx?token=abc")
    assert (caught.value.reason, caught.value.message) == (
        "SourceRefused",
        "https://models.example.com/m.onnx redirects to http://models.example.com/m.onnx, from https to plain http, "
        "where anyone on the way could change the model. Serve the file by https all the way.",
    )


def test_the_name_is_resolved_once_and_the_judged_address_is_connected_to(tmp_path):
    asked = []

    def changing(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    options = Options(policy=Policy(allow_hosts=frozenset({"models.example"})), attempts=1)
    with FileServer({"/m": b"model"}) as server:
        _connects.clear()
        sink = Inspection(tmp_path / "m", lambda head: False)
        Download(netguard.parse(server.url("/m", "models.example")), sink, options, resolver=changing).run()
        assert (asked, _connects) == (["models.example"], [("127.0.0.1", server.port)])
        assert server.requests[0][1]["Host"] == f"models.example:{server.port}"


def test_the_sentence_names_the_address_and_what_to_do():
    location = netguard.parse("https://user:hunter2@metadata.google.internal/m.onnx?sig=hunter2")
    with pytest.raises(SourceError) as caught:
        netguard.resolve(location, Policy(), resolver)
    assert caught.value.message == (
        "https://metadata.google.internal/m.onnx resolves to 169.254.169.254, an address of the cloud's instance "
        "metadata; no model is fetched from there. Give a URI that the whole cluster can reach, or have the "
        "administrator allow metadata.google.internal: scoring.sources.allowHosts of the chart, "
        "SCORING_SOURCES_ALLOW_HOSTS of the server."
    )


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "172.31.0.1", "192.168.1.1", "100.64.0.1", "fd12::1", "::ffff:10.0.0.1"]
)
def test_private_addresses_are_for_models_unless_forbidden(address):
    assert netguard.refusal(ipaddress.ip_address(address), Policy()) is None
    forbidden = netguard.refusal(ipaddress.ip_address(address), Policy(deny_private=True))
    assert forbidden == "a private address, which SCORING_SOURCES_DENY_PRIVATE forbids"


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1"]
)
def test_public_addresses_are_allowed_even_where_private_ones_are_not(address):
    assert netguard.refusal(ipaddress.ip_address(address), Policy(deny_private=True)) is None


def test_the_policy_is_read_from_the_environment():
    environ = {
        "SCORING_SOURCES_DENY_PRIVATE": "true",
        "SCORING_SOURCES_ALLOW_HOSTS": " Store.Demo.svc., [::1] ,127.0.0.1",
    }
    assert Policy.from_environ(environ) == Policy(True, frozenset({"store.demo.svc", "::1", "127.0.0.1"}))
    assert Policy.from_environ({}) == Policy(False, frozenset())


_V4 = st.one_of(
    *(
        st.ip_addresses(v=4, network=network)
        for network in ("127.0.0.0/8", "169.254.0.0/16", "0.0.0.0/8", "224.0.0.0/4", "168.63.129.16/32")
    )
)
_WRAPPINGS = {
    "mapped": lambda n: 0xFFFF << 32 | n,
    "translated": lambda n: 0xFFFF << 48 | n,
    "compatible": lambda n: n,
    "NAT64": lambda n: 0x64FF9B << 96 | n,
    "6to4": lambda n: 0x2002 << 112 | n << 80,
    "Teredo client": lambda n: 0x20010000 << 96 | (~n & 0xFFFFFFFF),
    "ISATAP": lambda n: 0x20010DB8 << 96 | 0x5EFE << 32 | n,
}


@given(_V4, st.sampled_from(sorted(_WRAPPINGS)))
def test_what_is_refused_as_ipv4_is_refused_inside_every_ipv6_form(address, wrapping):
    assert netguard.refusal(address, Policy()) is not None
    assert netguard.refusal(ipaddress.IPv6Address(_WRAPPINGS[wrapping](int(address))), Policy()) is not None


_HOSTILE = st.text(st.sampled_from("ab1.:/@?#[]%\\ \t\0-_~é①2f"), max_size=40)


@given(st.sampled_from(["http://", "https://", "HTTP:", "http:/", ""]), _HOSTILE)
def test_any_text_is_either_taken_apart_or_refused_with_a_reason(scheme, text):
    refusals: list[str] = []
    try:
        location = netguard.parse(scheme + text)
    except SourceError as error:
        refusals.append(error.reason)
    else:
        assert netguard.parse(str(location)).origin == location.origin
        assert location.host.isascii()
        assert not set(" \r\n\t\\") & set(location.target + location.host)
    assert set(refusals) <= {"SourceInvalid", "SourceRefused"}


@given(
    st.text(st.sampled_from("abc:%2F1"), max_size=12),
    st.sampled_from(["models.example.com", "10.0.0.1", "[::1]", "-bad-", "a b", ""]),
    st.sampled_from(["", ":80", ":x", ":99999"]),
)
def test_user_information_and_query_never_stand_in_a_message_or_in_the_shown_uri(user, host, port):
    uri = f"https://{user}hunter2@{host}{port}/m.onnx?sig=hunter3"
    try:
        shown = f"{netguard.parse(uri)!s} {netguard.parse(uri)!r}"
    except SourceError as error:
        shown = f"{error.message} {error!r}"
    assert "hunter" not in shown
