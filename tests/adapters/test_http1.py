"""What is not plain HTTP/1.1, from anyone who can connect: it is answered or refused, and the server goes on."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import h2.connection
import pytest
import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.events import Event, RawData
from hypercorn.protocol.h11 import H11Protocol

from adapters.emulator import always
from adapters.http1 import Context, Http1, Limits, Server
from tests.adapters.harness import HELLO, STREAMED, running
from tests.adapters.token_files import in_virtual_time
from tests.adapters.wire import served

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def http2(path: bytes = b"/nothing", body: bytes = b"") -> bytes:
    """A whole connection of a client that takes HTTP/2 for granted."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(validate_outbound_headers=False))
    connection.initiate_connection()
    headers = [(b":method", b"POST"), (b":path", path), (b":scheme", b"http"), (b":authority", b"localhost")]
    connection.send_headers(1, headers)
    connection.send_data(1, body, end_stream=True)
    return connection.data_to_send()


def upgrade(to: str, *fields: str, method: str = "GET", path: str = "/health") -> bytes:
    """A request that wants another protocol."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", "connection: upgrade", f"upgrade: {to}", *fields]
    return "\r\n".join([*lines, "", ""]).encode()


KEY = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (http2(), 404),
        (http2(body=b"x" * 5000), 404),
        (http2(path=b"/\xff\xfe"), 404),
        (PREFACE, 404),
        (PREFACE + b"\x00" * 100, 404),
        (upgrade("h2c", "http2-settings: AAMAAABkAAQAAP__"), 200),
        (upgrade("h2c", "http2-settings: !!!x"), 200),
        (upgrade("h2c"), 200),
        (upgrade("websocket", "sec-websocket-version: 13", KEY), 200),
        (upgrade("websocket", "sec-websocket-version: 13", KEY, path="/v1/messages"), 404),
        (upgrade("websocket"), 200),
        (upgrade("websocket", "sec-websocket-version: 12", "sec-websocket-key: x"), 200),
        (upgrade("made-up"), 200),
        (b"CONNECT localhost:80 HTTP/1.1\r\nhost: localhost\r\n\r\n", 404),
        (b"OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n", 404),
        (b"GET ?query HTTP/1.1\r\nhost: localhost\r\n\r\n", 404),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nhost: localhost\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip\r\n\r\n", 501),
        (b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", 431),
        (b"GET /h\xe9alth HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 300 + b"\r\n\r\n", 400),
        (b"hello\r\n\r\n", 400),
    ],
)
@in_virtual_time
async def test_what_is_not_plain_http_is_answered_and_the_server_goes_on(
    tmp_path: Path, data: bytes, status: int
) -> None:
    async with running(tmp_path) as site, served(site) as server:
        wire = await server.connect()
        await wire.stream.send_all(data)
        answer = await wire.until_closed()  # by the end of the keep-alive time at the latest
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"101 " not in answer[:20]
        if status in (200, 404):
            assert b"request-id: req_" in answer
        assert await server.is_well()


@in_virtual_time
async def test_an_early_answer_to_a_body_in_pieces_is_survived(tmp_path: Path) -> None:
    chunks = b"5\r\nhello\r\n"
    async with running(tmp_path) as site, served(site) as server:
        wire = await server.connect()
        head = b"POST /nothing HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
        await wire.stream.send_all(head + chunks)
        await trio.sleep(20)
        answer = await wire.stream.receive_some()
        with contextlib.suppress(trio.BrokenResourceError):
            await wire.stream.send_all(chunks + b"0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 404 ")
        assert await server.is_well()


@pytest.fixture
def sends(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the server sends, each call of its own."""
    sent: list[bytes] = []
    original = Server.protocol_send

    async def send(self: Server, event: Event) -> None:
        if isinstance(event, RawData):
            sent.append(event.data)
        await original(self, event)

    monkeypatch.setattr(Server, "protocol_send", send)
    return sent


@pytest.mark.parametrize("body", [HELLO, STREAMED])
async def test_an_answer_that_is_there_is_sent_in_one_piece(
    tmp_path: Path, body: dict[str, Any], sends: list[bytes]
) -> None:
    async with running(tmp_path) as site, served(site) as server:
        wire = await server.connect()
        for _ in range(3):
            assert (await wire.ask("POST", "/v1/messages", body)).is_whole
    assert [data[:13] for data in sends] == 3 * [b"HTTP/1.1 200 "]


async def test_an_error_is_sent_in_one_piece(tmp_path: Path, sends: list[bytes]) -> None:
    async with running(tmp_path) as site, served(site) as server:
        wire = await server.connect()
        assert (await wire.ask("POST", "/v1/messages", b"{")).status == 400
    assert len(sends) == 1


@in_virtual_time
async def test_nothing_that_has_come_is_held_up(tmp_path: Path) -> None:
    """The head goes with the first piece, each further one as it comes."""
    async with running(tmp_path, scenario=always("slow:1000")) as site, served(site) as server:
        wire = await server.connect()
        await wire.send("POST", "/v1/messages", STREAMED, {"x-stagewhisper-delivery": "live"})
        began = trio.current_time()
        reply = await wire.receive(until=b"content_block_delta")
        assert trio.current_time() - began < 3
        assert not reply.is_whole


async def test_a_request_without_a_body_is_answered_with_its_head_alone(tmp_path: Path, sends: list[bytes]) -> None:
    async with running(tmp_path) as site, served(site) as server:
        wire = await server.connect()
        await wire.stream.send_all(b"HEAD /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert (await wire.stream.receive_some()).endswith(b"\r\n\r\n")
    assert len(sends) == 1


def _garble(chance: Random) -> bytes:
    """A request with a few bytes changed, left out or put in."""
    seeds = [
        b'POST /v1/messages?beta=true HTTP/1.1\r\nhost: localhost\r\ncontent-length: 12\r\n\r\n{"model": 1}',
        b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        upgrade("websocket", "sec-websocket-version: 13", KEY),
        http2(body=b"x"),
        b"GET /v1/models?limit=%ff HTTP/1.1\r\nhost: [::1]\r\nexpect: 100-continue\r\norigin: null\r\n\r\n",
    ]
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data))
        change: Callable[[], Any] = chance.choice(
            [
                lambda place=place: data.__setitem__(place, chance.randrange(256)),
                lambda place=place: data.__delitem__(slice(place, place + 3)),
                lambda place=place: data.insert(place, chance.choice(b"\r\n\x00:/ ?%\xff")),
            ]
        )
        change()
    return bytes(data)


async def test_garbled_requests_end_no_server_and_log_no_bug(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    chance = Random(20_250_714)
    async with running(tmp_path) as site, served(site) as server:
        for _ in range(300):
            wire = await server.connect()
            await wire.stream.send_all(_garble(chance))
            with trio.move_on_after(0.002):
                await wire.until_closed()
            await trio.aclose_forcefully(wire.stream)
        assert await server.is_well()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_bug_in_a_connection_ends_it_alone_and_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(self: H11Protocol, request: Any) -> None:
        if request.target == b"/made-up-bug":
            raise LookupError("a made-up bug")
        await original(self, request)

    original = H11Protocol._create_stream
    async with running(tmp_path) as site, served(site) as server:
        monkeypatch.setattr(H11Protocol, "_create_stream", broken)
        other = await server.connect()
        wire = await server.connect()
        reply = await wire.ask("GET", "/made-up-bug")
        assert reply.status == 0
        assert (await other.ask("POST", "/v1/messages", STREAMED)).is_whole
        assert await server.is_well()
    assert [record.name for record in caplog.records if record.levelno >= logging.ERROR] == ["stagewhisper.server"]


@pytest.mark.parametrize(
    "data", [b"garbage\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"]
)
async def test_what_is_not_http_is_refused_in_the_error_form(tmp_path: Path, data: bytes) -> None:
    async with running(tmp_path) as site, served(site) as server:
        wire = await server.connect()
        await wire.stream.send_all(data)
        head, _, body = (await wire.until_closed()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    form = json.loads(body)
    assert form["error"]["type"] == "invalid_request_error"
    assert b"request-id: " + form["request_id"].encode() in head


class _Deaf:
    """A stream whose goodbye nobody takes, as TLS's to a client that reads nothing."""

    def __init__(self) -> None:
        self.was_closed = False

    async def aclose(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.was_closed = True


@pytest.mark.parametrize("close", [Server._close, Server._initiate_server_close])
@in_virtual_time
async def test_a_goodbye_that_nobody_takes_is_not_waited_for(close: Callable[[Server], Awaitable[None]]) -> None:
    """One of these is shielded by hypercorn, so that nothing else would end it."""
    stream = _Deaf()
    config, context = HypercornConfig(), Context(lambda _: None, None)
    server = Server(Limits(head=60.0, send=60.0), None, config, context, {}, stream)
    server.protocol = Http1(None, config, context, None, {}, True, None, None, server.protocol_send)
    with trio.fail_after(5):
        await close(server)
    assert trio.current_time() == pytest.approx(1)
    assert stream.was_closed
