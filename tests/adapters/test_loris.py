"""Clients that take their time to ask: each is waited for as long as is said, and none keeps others waiting."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from adapters import serve as module
from adapters.connection import SLOWEST_BODY
from tests.adapters.harness import HELLO, running
from tests.adapters.token_files import in_virtual_time
from tests.adapters.wire import Served, Wire, served

PATIENCE = {"timeouts": {"requestMs": 20_000}}
HEAD = b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
HELD = [b"", b"G", b"GET /health HTTP/1.1\r\nhost: loc", HEAD % 1000, HEAD % 1000 + b'{"model": ']
"""What a client may have sent of a request when it falls silent."""


async def trickle(wire: Wire, data: bytes, *, pause: float) -> float:
    """Send byte by byte until the server has closed the connection: when that was."""
    closed = trio.Event()

    async def read() -> None:
        await wire.until_closed()
        closed.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for byte in data:
            if closed.is_set():
                break
            with trio.move_on_after(pause):
                await wire.stream.send_all(bytes([byte]))
                await closed.wait()
    return trio.current_time()


@pytest.mark.parametrize("idle", [0.0, 70.0])
@in_virtual_time
async def test_a_head_that_comes_byte_by_byte_is_waited_for_from_its_first_byte(tmp_path: Path, idle: float) -> None:
    async with running(tmp_path, PATIENCE) as site, served(site) as server:
        wire = await server.connect()
        await trio.sleep(idle)
        closed = await trickle(wire, b"GET /health HTTP/1.1\r\n" + b"x" * 100, pause=5)
        assert closed == pytest.approx(idle + 20, abs=0.5)


@in_virtual_time
async def test_a_head_on_a_connection_that_was_used_has_its_own_time_too(tmp_path: Path) -> None:
    async with running(tmp_path, PATIENCE) as site, served(site) as server:
        wire = await server.connect()
        for _ in range(2):
            assert (await wire.ask("GET", "/health")).status == 200
            await trio.sleep(module._KEEP_ALIVE_SECONDS - 1)
        await wire.stream.send_all(b"GET /health HTTP/1.1\r\nhost: local")
        await trio.sleep(19)  # by now it would have been idle for too long
        await wire.stream.send_all(b"host\r\n\r\n")
        assert (await wire.stream.receive_some()).startswith(b"HTTP/1.1 200 ")
        await wire.stream.send_all(b"GET /health HTTP/1.1\r\nhost: local")
        began = trio.current_time()
        assert b"HTTP/1.1" not in await wire.until_closed()
        assert trio.current_time() - began == pytest.approx(20, abs=0.5)


@pytest.mark.parametrize(
    ("trickles", "how"), [(False, "stalled"), (True, f"came at less than {SLOWEST_BODY} bytes a second")]
)
@in_virtual_time
async def test_a_body_that_stalls_or_trickles_is_refused_in_the_error_form(
    tmp_path: Path, trickles: bool, how: str
) -> None:
    async with running(tmp_path, PATIENCE) as site, served(site) as server:
        wire = await server.connect()
        await wire.stream.send_all(HEAD % 1000 + b"{")
        if trickles:
            await trio.sleep(15)
            await wire.stream.send_all(b" ")
        answer = await wire.until_closed()
        # An early answer is kept back for five seconds, for a client that is still sending.
        assert trio.current_time() == pytest.approx(25, abs=0.5)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    error = json.loads(body)["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"] == f"the request's body {how} for 20 seconds (timeouts.requestMs)"


@in_virtual_time
async def test_the_largest_body_over_a_slow_line_is_waited_for(tmp_path: Path) -> None:
    async with running(tmp_path, PATIENCE) as site, served(site) as server:
        wire = await server.connect()
        data = json.dumps(HELLO).encode()
        data += b" " * (31_999_999 - len(data))
        await wire.stream.send_all(HEAD % len(data))
        for start in range(0, len(data), 20 * SLOWEST_BODY):
            await wire.stream.send_all(data[start : start + 20 * SLOWEST_BODY])
            await trio.sleep(19)
        assert trio.current_time() > 1800
        assert (await wire.stream.receive_some()).startswith(b"HTTP/1.1 200 ")


async def _hold(server: Served, sent: bytes) -> None:
    wire = await server.connect()
    await wire.stream.send_all(sent)


async def test_hundreds_of_slow_clients_keep_nobody_from_being_served(tmp_path: Path) -> None:
    document = {"server": {"maxConcurrent": 4}}
    async with running(tmp_path, document) as site, served(site) as server:
        for number in range(300):
            await _hold(server, HELD[number % len(HELD)])
        began = trio.current_time()
        for _ in range(5):
            wire = await server.connect()
            reply = await wire.ask("POST", "/v1/messages", HELLO)
            assert reply.json["type"] == "message"
        assert trio.current_time() - began < 2
