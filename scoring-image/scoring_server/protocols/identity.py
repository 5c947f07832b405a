"""The ids of a request, as Azure ML's server reads and answers them.

`x-request-id` names the request (made up when absent), `x-ms-client-request-id` is the caller's own, and
`x-ms-request-id` is the older name of both, which answers must always carry.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from scoring_server.exchange import Header

LIMIT = 100

# Ids need to differ, not to be secret: one generator seeded by the system, no system call per request.
_entropy = random.Random()  # noqa: S311


class IdentityInvalid(ValueError):
    """An id is too long; `headers` are those that the refusal still carries."""

    def __init__(self, message: str, headers: tuple[Header, ...]) -> None:
        super().__init__(message)
        self.headers = headers


@dataclass(slots=True)
class Identity:
    """`request_id` for logs, and the headers to answer with."""

    request_id: str
    headers: tuple[Header, ...]


def new_id() -> str:
    text = f"{_entropy.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def of(headers: Mapping[bytes, bytes], server_version: bytes) -> Identity:
    """The request's identity. Raises IdentityInvalid for ids over the limit."""
    answer: tuple[Header, ...] = ((b"x-ms-server-version", server_version),)
    given = headers.get(b"x-request-id")
    if given is None:
        request_id = new_id().encode()
    elif len(given) > LIMIT:
        raise IdentityInvalid(f"x-request-id must not exceed {LIMIT} characters", answer + _trace(headers))
    else:
        request_id = given
    if request_id:
        answer = (*answer, (b"x-request-id", request_id))

    legacy = headers.get(b"x-ms-request-id", b"")
    client = headers.get(b"x-ms-client-request-id", b"")
    if legacy:
        client = client or legacy
    else:
        legacy = client or request_id
    if len(legacy) > LIMIT or len(client) > LIMIT:
        message = f"x-ms-request-id and x-ms-client-request-id must not exceed {LIMIT} characters"
        raise IdentityInvalid(message, answer + _trace(headers))
    if legacy:
        answer = (*answer, (b"x-ms-request-id", legacy))
    if client:
        answer = (*answer, (b"x-ms-client-request-id", client))
    return Identity(request_id.decode("latin-1"), answer + _trace(headers))


def _trace(headers: Mapping[bytes, bytes]) -> tuple[Header, ...]:
    trace = headers.get(b"traceid")
    return () if trace is None else ((b"TraceId", trace),)
