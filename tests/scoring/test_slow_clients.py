"""What a client may take: bounded time, bytes and connections, and nobody else suffers. Real sockets, short limits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import uvloop
from scoring_server.connection import Shared
from scoring_server.exchange import Request, Response
from scoring_server.limits import Limits
from scoring_server.listener import Server, bind, configuration

LIMITS = Limits(body_bytes=200_000, head_seconds=0.4, body_seconds=0.4, idle_seconds=0.4, write_seconds=0.4)
GET = b"GET /echo HTTP/1.1\r\nhost: x\r\n\r\n"


class Echo:
    """Answers with the body it got; `/later…` after a turn of the loop, `/big` with more than buffers hold."""

    def __init__(self) -> None:
        self.seen: list[Request] = []
        self.gate = asyncio.Event()

    def answer(self, request: Request) -> Response | Awaitable[Response]:
        self.seen.append(request)
        if request.path == "/later":
            return self._later(request)
        if request.path == "/gated":
            return self._gated(request)
        if request.path == "/big":
            return Response(200, b"x" * 30_000_000)
        return Response(200, request.query + request.body)

    def refusal(self, request: Request) -> Response | None:
        return Response(401, b"no") if request.path == "/closed" else None

    def protocol_error(self, status: int, message: str) -> Response:
        return Response(status, message.encode())

    async def _later(self, request: Request) -> Response:
        await asyncio.sleep(0.01)
        return Response(200, request.query + request.body)

    async def _gated(self, request: Request) -> Response:
        await self.gate.wait()
        return Response(200, b"gated")


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def response(self) -> tuple[int, bytes]:
        async with asyncio.timeout(20):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            return int(head.split()[1]), await self.reader.readexactly(length)

    async def closed(self) -> bytes:
        """Everything up to the end of the connection."""
        async with asyncio.timeout(20):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


class Door:
    def __init__(self, application: Echo, shared: Shared, loop: asyncio.AbstractEventLoop, port: int) -> None:
        self.application = application
        self.loop = loop
        self.shared = shared
        self._port = port
        self._clients: list[asyncio.StreamWriter] = []

    async def connect(self) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._clients.append(writer)
        return Client(reader, writer)

    async def close(self) -> None:
        for writer in self._clients:
            writer.close()
        async with asyncio.timeout(20):
            while self.shared.connections:  # noqa: ASYNC110  connections end one by one
                await asyncio.sleep(0.01)


@asynccontextmanager
async def door(limits: Limits = LIMITS) -> AsyncIterator[Door]:
    """On a loop and thread of its own, as in the real server: uvloop's transports are not asyncio's."""
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    application = Echo()
    server = Server(configuration(application, drain_seconds=1), limits, lame_duck_seconds=0, sweep_seconds=0.05)
    sock = bind("127.0.0.1", 0)
    serving = asyncio.run_coroutine_threadsafe(server.serve(sockets=[sock]), loop)
    await asyncio.to_thread(server.accepting.wait)
    opened = Door(application, server.server_state, loop, sock.getsockname()[1])
    try:
        yield opened
    finally:
        # Before the loop: uvloop's close() waits for ever for transports that are still open.
        await opened.close()
        server.should_exit = True
        await asyncio.wrap_future(serving)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def test_requests_on_one_connection_are_answered_one_after_another() -> None:
    async with door() as opened:
        client = await opened.connect()
        for body in (b"a", b"", b"c" * 70_000):
            client.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            assert await client.response() == (200, body)


async def test_pipelined_requests_are_answered_in_order_whoever_is_quicker() -> None:
    async with door() as opened:
        client = await opened.connect()
        client.send(
            b"".join(
                b"GET /%b?%d HTTP/1.1\r\nhost: x\r\n\r\n" % (path, at)
                for at, path in enumerate([b"later", b"echo"] * 20)
            )
        )
        assert [(await client.response())[1] for _ in range(40)] == [b"%d" % at for at in range(40)]


async def test_a_request_in_single_bytes_is_understood() -> None:
    async with door(replace(LIMITS, head_seconds=20, body_seconds=20)) as opened:
        client = await opened.connect()
        for byte in b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc":
            client.send(bytes([byte]))
            await client.writer.drain()
            await asyncio.sleep(0)
        assert await client.response() == (200, b"abc")


async def test_a_chunked_body_is_put_together() -> None:
    async with door() as opened:
        client = await opened.connect()
        client.send(
            b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )
        assert await client.response() == (200, b"abcde")


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        pytest.param(b"", b"", id="silence"),
        pytest.param(b"GET /echo HT", b"The request's head did not arrive in time.", id="half a head"),
        pytest.param(
            b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc",
            b"The request's body did not arrive in time.",
            id="half a body",
        ),
    ],
)
async def test_a_client_that_stops_is_closed_in_time(sent: bytes, answer: bytes) -> None:
    async with door() as opened:
        client = await opened.connect()
        began = time.monotonic()
        client.send(sent)
        received = await client.closed()
        assert received.endswith(answer)
        assert (b"HTTP/1.1 408 " in received) == bool(answer)
        assert time.monotonic() - began < 10
        assert opened.application.seen == []


@pytest.mark.parametrize(
    "start", [b"GET /echo HTTP/1.1\r\nx: ", b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 999\r\n\r\n"]
)
async def test_a_client_that_drips_is_closed_in_time(start: bytes) -> None:
    async with door() as opened:
        client = await opened.connect()
        client.send(start)
        began = time.monotonic()
        received = asyncio.create_task(client.closed())
        while not received.done():
            client.send(b"a")
            await asyncio.sleep(0.02)
        assert b"408" in await received
        assert 0.3 < time.monotonic() - began < 10


async def test_a_body_that_arrives_at_the_minimum_rate_may_take_longer() -> None:
    async with door(replace(LIMITS, bytes_per_second=20_000)) as opened:
        client = await opened.connect()
        client.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 40000\r\n\r\n")
        for _ in range(20):
            client.send(b"x" * 2000)
            await asyncio.sleep(0.05)
        assert await client.response() == (200, b"x" * 40_000)


async def test_an_idle_connection_is_closed_silently() -> None:
    async with door() as opened:
        client = await opened.connect()
        client.send(GET)
        assert await client.response() == (200, b"")
        assert await client.closed() == b""


async def test_who_does_not_read_the_answer_is_cut_off() -> None:
    async with door() as opened:
        client = await opened.connect()
        client.send(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(20):
            while not opened.shared.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            while opened.shared.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_who_reads_a_large_answer_slowly_but_steadily_gets_it_all() -> None:
    async with door(replace(LIMITS, bytes_per_second=1000)) as opened:
        client = await opened.connect()
        client.send(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
        received = 0
        async with asyncio.timeout(30):
            while received < 30_000_000:
                chunk = await client.reader.read(1_000_000)
                assert chunk, f"cut off after {received} bytes"
                received += len(chunk)
                await asyncio.sleep(0.03)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET /echo HTTP/1.1\r\nx: " + b"a" * 20_000, id="one endless header"),
        pytest.param(b"GET /" + b"a" * 20_000, id="an endless path"),
        pytest.param(b"GET /echo HTTP/1.1\r\n" + b"x: aaaaaaaa\r\n" * 1500 + b"\r\n", id="many headers"),
    ],
)
async def test_a_head_over_16_kib_is_431(head: bytes) -> None:
    async with door() as opened:
        client = await opened.connect()
        client.send(head)
        received = await client.closed()
        assert received.startswith(b"HTTP/1.1 431 ")
        assert received.endswith(b"The request's head must not exceed 16384 bytes.")
        assert opened.application.seen == []


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"content-length: 200001\r\n\r\n", id="by its length, before it is sent"),
        pytest.param(b"content-length: 200001\r\n\r\n" + b"x" * 200_001, id="by its length, all of it sent"),
        pytest.param(b"transfer-encoding: chunked\r\n\r\n30d41\r\n" + b"x" * 200_001, id="chunked"),
    ],
)
async def test_a_body_over_the_limit_is_413(request_bytes: bytes) -> None:
    async with door() as opened:
        client = await opened.connect()
        client.send(b"POST /echo HTTP/1.1\r\nhost: x\r\n" + request_bytes)
        assert await client.response() == (413, b"The request's body must not exceed 200000 bytes.")
        assert opened.application.seen == []


async def test_a_large_body_without_a_key_is_refused_before_it_is_read() -> None:
    async with door() as opened:
        client = await opened.connect()
        client.send(b"POST /closed HTTP/1.1\r\nhost: x\r\ncontent-length: 150000\r\n\r\n")
        assert await client.response() == (401, b"no")


async def test_a_client_that_asks_first_is_told_to_go_on() -> None:
    async with door() as opened:
        client = await opened.connect()
        client.send(b"POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"abc")
        assert await client.response() == (200, b"abc")
        client.send(b"POST /closed HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        assert await client.response() == (401, b"no")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"nonsense\r\n\r\n",
        b"GET /echo HTTP/9.9\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_400_and_closed(garbage: bytes) -> None:
    async with door() as opened:
        client = await opened.connect()
        client.send(garbage)
        assert (await client.closed()).startswith(b"HTTP/1.1 400 ")
        assert opened.application.seen == []


async def test_head_gets_the_length_but_no_body() -> None:
    async with door() as opened:
        client = await opened.connect()
        client.send(b"HEAD /echo?abc HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        received = await client.closed()
        assert b"content-length: 3\r\n" in received
        assert received.endswith(b"\r\n\r\n")


async def test_http_1_0_is_answered_and_closed() -> None:
    async with door() as opened:
        client = await opened.connect()
        client.send(b"GET /echo?abc HTTP/1.0\r\n\r\n")
        assert (await client.closed()).endswith(b"connection: close\r\n\r\nabc")


async def test_a_client_that_closes_its_half_still_gets_its_answer() -> None:
    async with door() as opened:
        client = await opened.connect()
        client.send(b"GET /later?abc HTTP/1.1\r\nhost: x\r\n\r\n")
        client.writer.write_eof()
        assert (await client.closed()).endswith(b"abc")


async def test_a_client_that_leaves_harms_nobody() -> None:
    async with door() as opened:
        leaver, stayer = await opened.connect(), await opened.connect()
        leaver.send(b"GET /gated HTTP/1.1\r\nhost: x\r\n\r\n")
        stayer.send(b"GET /gated HTTP/1.1\r\nhost: x\r\n\r\n")
        async with asyncio.timeout(20):
            while len(opened.application.seen) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        leaver.writer.transport.abort()
        opened.loop.call_soon_threadsafe(opened.application.gate.set)
        assert await stayer.response() == (200, b"gated")


async def test_too_many_connections_are_turned_away_and_others_served() -> None:
    async with door(replace(LIMITS, connections=2, head_seconds=20, idle_seconds=20)) as opened:
        first, second = await opened.connect(), await opened.connect()
        first.send(GET)
        second.send(GET)
        assert (await first.response(), await second.response()) == ((200, b""), (200, b""))
        third = await opened.connect()
        assert (await third.closed()).startswith(b"HTTP/1.1 503 ")
        first.send(GET)
        assert await first.response() == (200, b"")


async def test_two_hundred_slow_clients_of_three_kinds_do_not_slow_the_others() -> None:
    async with door(replace(LIMITS, head_seconds=1, body_seconds=1)) as opened:
        kinds = [b"", b"GET / HTTP/1.1\r\nx: ", b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\na"]
        slow = [await opened.connect() for _ in range(200)]
        for at, client in enumerate(slow):
            client.send(kinds[at % 3])
        normal = await opened.connect()
        answered = 0
        waiting = asyncio.gather(*(client.closed() for client in slow))
        while not waiting.done():
            normal.send(GET)
            assert await normal.response() == (200, b"")
            answered += 1
            await asyncio.sleep(0.01)
        assert len(await waiting) == 200
        assert answered > 10


async def test_a_path_in_escapes_is_the_same_path() -> None:
    async with door() as opened:
        client = await opened.connect()
        client.send(b"GET /%65cho?%61 HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await client.response() == (200, b"%61")
        assert opened.application.seen[0].path == "/echo"


async def test_an_upgrade_is_answered_as_a_plain_request_and_closed() -> None:
    async with door() as opened:
        client = await opened.connect()
        client.send(b"GET /echo?abc HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        assert (await client.response())[1] == b"abc"
