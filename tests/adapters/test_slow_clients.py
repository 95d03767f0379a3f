"""Clients that read slowly, over real sockets: the service's answer is read no faster, and nothing of it is lost.

One that stops reading, or hardly reads, is cut off, and nothing of its request is left.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio

from adapters import http1
from adapters.http1 import SEND_BYTES
from adapters.outbox import MAX_AHEAD_BYTES
from fuzz.strict_client import rebuild
from tests.adapters.canned import PIECE, TEXT, canned, noted_places, pieces
from tests.adapters.harness import STREAMED, running
from tests.adapters.wire import Reply, Wire, served

MEBIBYTE = 1024 * 1024


LIVE = {"delivery": "live"}


def text_of(reply: Reply) -> str:
    """The text of a stream that ended well."""
    (block,) = rebuild(bytes(reply.data)).content
    return str(block["text"])


async def test_a_client_that_reads_slowly_holds_up_the_reading_of_the_answer_and_gets_all_of_it(tmp_path: Path) -> None:
    count = 20 * MEBIBYTE // len(PIECE)
    async with (
        canned(pieces(count)) as service,
        running(tmp_path, LIVE, endpoint=service.url) as site,
        served(site) as server,
    ):
        wire = await server.connect()
        wire.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        await wire.send("POST", "/v1/messages", STREAMED)
        await service.until_asked()
        await service.until_stuck()
        taken = service.taken
        assert service.open == 1
        reply = await wire.receive()
    # What the system holds of both connections (Linux: 4 MiB to send, 6 MiB received), and what is under way here.
    assert MAX_AHEAD_BYTES < taken < 12 * MEBIBYTE
    assert reply.is_whole
    assert text_of(reply) == TEXT * count


def noted_cuts(patch: pytest.MonkeyPatch) -> list[float]:
    """The moments at which connections are cut, from now on."""
    moments: list[float] = []
    original = http1.Server.cut

    def cut(server: http1.Server) -> None:
        moments.append(trio.current_time())
        original(server)

    patch.setattr(http1.Server, "cut", cut)
    return moments


async def _read(wire: Wire, size: int, pause: float) -> None:
    """Read so many bytes now and then, to the connection's end."""
    wire.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with trio.move_on_after(5):
        while size and await wire.stream.receive_some(size):
            await trio.sleep(pause)
        await trio.sleep_forever()


@pytest.mark.parametrize(("size", "pause"), [(0, 0.0), (64, 0.05)])
async def test_a_client_that_stops_reading_or_trickles_is_cut_off_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, pause: float
) -> None:
    cuts, places = noted_cuts(monkeypatch), noted_places(monkeypatch)
    document = {**LIVE, "server": {"maxConcurrent": 1}, "timeouts": {"sendMs": 500}}
    async with (
        canned(pieces(10_000)) as service,
        running(tmp_path, document, endpoint=service.url) as site,
        served(site) as server,
        trio.open_nursery() as nursery,
    ):
        wire = await server.connect()
        began = trio.current_time()
        await wire.send("POST", "/v1/messages", STREAMED)
        nursery.start_soon(_read, wire, size, pause)
        await service.until_asked()
        await service.until_free(places)
        assert trio.current_time() - cuts[0] < 0.1, "the call to the service was left open"
        assert 0.5 <= cuts[0] - began < 5
        await (await server.connect()).send("POST", "/v1/messages", STREAMED)
        await service.until_asked(2)
        nursery.cancel_scope.cancel()


async def test_a_client_that_reads_fast_enough_is_not_cut_off_however_long_that_takes(tmp_path: Path) -> None:
    count = 4 * MEBIBYTE // len(PIECE)
    document = {**LIVE, "timeouts": {"sendMs": 500}}
    async with (
        canned(pieces(count)) as service,
        running(tmp_path, document, endpoint=service.url) as site,
        served(site) as server,
    ):
        wire = await server.connect()
        wire.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        await wire.send("POST", "/v1/messages", STREAMED)
        began, data = trio.current_time(), b""
        while b"\r\n0\r\n\r\n" not in data[-100:]:
            piece = await wire.stream.receive_some(SEND_BYTES // 2)
            assert piece, "it was cut off"
            data += piece
            await trio.sleep(0.01)
        assert trio.current_time() - began > 1
    assert data.count(TEXT.encode()) == count
