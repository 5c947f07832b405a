"""Which addresses a model may be fetched from: the guard against requests forged through a model's URI (SSRF).

A name is resolved once, every address it yields is judged, and the caller connects to a judged address, never to the
name again: so it does not matter how an address is spelled, nor what the name means a moment later. Opens no
connection itself.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, unquote, urljoin, urlsplit

from scoring_server.source_errors import Interrupted, SourceError

Address = IPv4Address | IPv6Address
Resolver = Callable[[str, int], list[str]]

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?\.?", re.ASCII)
_LONGEST_URI = 8192

# Names for what an address is, the first that fits; each network with what it is called in the refusal.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, GCP and most others
        "169.254.170.2",  # AWS ECS task credentials
        "169.254.170.23",  # AWS EKS pod identity
        "168.63.129.16",  # Azure's wire server
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",  # AWS EKS pod identity
        "fd20:ce::254",  # GCP
    )
)
_REFUSED = tuple(
    (ipaddress.ip_network(network), name)
    for network, name in (
        ("0.0.0.0/8", "an unspecified address"),
        ("127.0.0.0/8", "a loopback address"),
        ("169.254.0.0/16", "a link-local address"),
        ("224.0.0.0/4", "a multicast address"),
        ("240.0.0.0/4", "a reserved address"),
        ("::/128", "an unspecified address"),
        ("::1/128", "a loopback address"),
        ("fe80::/10", "a link-local address"),
        ("ff00::/8", "a multicast address"),
    )
)
_PRIVATE = tuple(
    ipaddress.ip_network(network)
    for network in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "198.18.0.0/15",
        "fc00::/7",
        "fec0::/10",
    )
)
_SIX_TO_FOUR = ipaddress.ip_network("2002::/16")
_TEREDO = ipaddress.ip_network("2001::/32")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.ip_network("64:ff9b:1::/48")
_MAPPED = (
    ipaddress.ip_network("::ffff:0:0/96"),
    ipaddress.ip_network("::ffff:0:0:0/96"),
    ipaddress.ip_network("::/96"),
)


@dataclass(frozen=True)
class Policy:
    """What the operator of the cluster allows beyond the default; see docs of SCORING_SOURCES_*."""

    deny_private: bool = False
    allow_hosts: frozenset[str] = frozenset()

    @staticmethod
    def from_environ(environ: Mapping[str, str]) -> Policy:
        hosts = environ.get("SCORING_SOURCES_ALLOW_HOSTS", "").split(",")
        return Policy(
            deny_private=environ.get("SCORING_SOURCES_DENY_PRIVATE", "").strip().lower() in ("true", "1"),
            allow_hosts=frozenset(name for host in hosts if (name := _normal(host.strip().strip("[]")))),
        )


@dataclass(frozen=True)
class Location:
    """An http(s) URI taken apart. `str()` of it is fit for logs: no user information, no query."""

    scheme: str
    host: str
    port: int
    path: str
    query: str = ""
    user_information: str = ""

    def __str__(self) -> str:
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.authority_host}{port}{self.path}"

    def __repr__(self) -> str:
        return f"Location({self})"

    @property
    def authority_host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def target(self) -> str:
        """What stands in the request line."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def file_name(self) -> str:
        return unquote(self.path.rsplit("/", 1)[-1])

    def redirected(self, location: str) -> Location:
        """Where a redirect from here leads; user information stays with its own origin."""
        whole = f"{self.scheme}://{self.authority_host}:{self.port}{self.target}"
        try:
            following = parse(urljoin(whole, location))
        except ValueError as error:
            raise SourceError("SourceInvalid", f"{self} redirects to an address that cannot be read.") from error
        if self.scheme == "https" and following.scheme == "http":
            raise SourceError(
                "SourceRefused",
                f"{self} redirects to {following}, from https to plain http, where anyone on the way could change "
                "the model. Serve the file by https all the way.",
            )
        if following.origin == self.origin and not following.user_information:
            return replace(following, user_information=self.user_information)
        return following


def parse(uri: str) -> Location:
    """The URI taken apart, or a SourceError that says what is wrong with it without repeating its secrets."""
    if len(uri) > _LONGEST_URI:
        raise SourceError("SourceInvalid", f"The URI has {len(uri)} characters; at most {_LONGEST_URI} are read.")
    if any(character <= " " or character in "\\\x7f" for character in uri):
        raise SourceError(
            "SourceInvalid",
            "The URI holds a space, a backslash or a control character; write them percent-encoded (%20, %5C).",
        )
    try:
        parts = urlsplit(uri)
        port = parts.port
        host = _normal(parts.hostname or "")
    except ValueError as error:
        raise SourceError(
            "SourceInvalid", "The URI's host or port cannot be read; write https://host[:port]/path."
        ) from error
    scheme = parts.scheme.lower()
    if scheme not in _PORTS:
        raise SourceError(
            "SourceRefused", f"The scheme '{scheme[:20]}' is not fetched over the network; http and https are."
        )
    if port == 0 or not _is_host(host, bracketed="[" in parts.netloc.rpartition("@")[2]):
        raise SourceError(
            "SourceInvalid",
            "The URI's host or port cannot be read; write https://host[:port]/path, the host in ASCII letters "
            "(xn--… for others) or as an IP address.",
        )
    return Location(
        scheme=scheme,
        host=host,
        port=port or _PORTS[scheme],
        path=quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._"),
        query=quote(parts.query, safe="/%:@!$&'()*+,;=~-._?"),
        user_information=parts.netloc.rpartition("@")[0],
    )


def resolve(location: Location, policy: Policy, resolver: Resolver | None = None) -> list[Address]:
    """Every address of the host, all judged fit to connect to; SourceError SourceRefused when one of them is not."""
    try:
        texts = (resolver or _system_resolver)(location.host, location.port)
        addresses = [ipaddress.ip_address(text) for text in dict.fromkeys(texts)]
    except (OSError, UnicodeError, ValueError) as error:
        raise Interrupted(
            f"The host {location.host} of {location} cannot be resolved ({_why(error)}). "
            "Check its spelling and the cluster's DNS."
        ) from error
    if not addresses:
        raise Interrupted(f"The host {location.host} of {location} has no address. Check the cluster's DNS.")
    if location.host not in policy.allow_hosts:
        for address in addresses:
            _judge(location, address, policy)
    return addresses


def refusal(address: Address, policy: Policy) -> str | None:
    """What makes the address unfit ('a loopback address'), or None."""
    for real in _meanings(address):
        if real in _METADATA:
            return "an address of the cloud's instance metadata"
        for network, name in _REFUSED:
            if real in network:
                return name
        if policy.deny_private and any(real in private for private in _PRIVATE):
            return "a private address, which SCORING_SOURCES_DENY_PRIVATE forbids"
    return None


def _judge(location: Location, address: Address, policy: Policy) -> None:
    name = refusal(address, policy)
    if name is None:
        return
    spelled = location.host.partition("%")[0]
    is_spelled_so = spelled == str(address)
    subject = f"{location} is at" if is_spelled_so else f"{location} resolves to"
    raise SourceError(
        "SourceRefused",
        f"{subject} {address}, {name}; no model is fetched from there. Give a URI that the whole cluster can reach, "
        f"or have the administrator allow {location.host}: scoring.sources.allowHosts of the chart, "
        "SCORING_SOURCES_ALLOW_HOSTS of the server.",
    )


def _meanings(address: Address) -> Iterator[Address]:
    """The address, and each IPv4 address that a translator or tunnel would make of it."""
    yield address
    if isinstance(address, IPv4Address):
        return
    number = int(address)
    if address.scope_id is not None:
        address = IPv6Address(number)
        yield address
    if any(address in network for network in (*_MAPPED, _NAT64, _NAT64_LOCAL)):
        yield IPv4Address(number & 0xFFFFFFFF)
    if address in _NAT64_LOCAL:
        # RFC 6052 with a /48 prefix: 16 bits, a zero octet, 16 bits.
        yield IPv4Address(((number >> 64) & 0xFFFF) << 16 | ((number >> 40) & 0xFFFF))
    if address in _SIX_TO_FOUR:
        yield IPv4Address((number >> 80) & 0xFFFFFFFF)
    if address in _TEREDO:
        yield IPv4Address((number >> 64) & 0xFFFFFFFF)
        yield IPv4Address(~number & 0xFFFFFFFF)
    if (number >> 32) & 0xFFFFFFFF in (0x00005EFE, 0x02005EFE):  # ISATAP
        yield IPv4Address(number & 0xFFFFFFFF)


def _is_host(host: str, *, bracketed: bool) -> bool:
    if not bracketed:
        return len(host) <= 253 and _HOST.fullmatch(host) is not None
    try:
        return IPv6Address(host).scope_id is None
    except ValueError:
        return False


def _normal(host: str) -> str:
    lowered = host.lower()
    return lowered[:-1] if lowered.endswith(".") and not lowered.endswith("..") else lowered


def _system_resolver(host: str, port: int) -> list[str]:
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(answer[4][0]) for answer in answers]


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
