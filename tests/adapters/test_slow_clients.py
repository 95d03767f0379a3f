"""Clients that read slowly, over real sockets: the service's answer is read no faster, and nothing of it is lost."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from adapters.outbox import MAX_AHEAD_BYTES
from tests.adapters.canned import PIECE, canned, deliver_as_it_comes, pieces
from tests.adapters.harness import STREAMED, running
from tests.adapters.wire import Reply, served

MEBIBYTE = 1024 * 1024


def text_of(reply: Reply) -> bytes:
    """The text of a stream's deltas."""
    lines = [line for line in bytes(reply.data).splitlines() if line.startswith(b"data: ")]
    return b"".join(json.loads(line[6:])["delta"]["text"].encode() for line in lines)


async def test_a_client_that_reads_slowly_holds_up_the_reading_of_the_answer_and_gets_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver_as_it_comes(monkeypatch)
    count = 32 * MEBIBYTE // len(PIECE)
    async with (
        canned(pieces(count)) as service,
        running(tmp_path, endpoint=service.url) as site,
        served(site) as server,
    ):
        wire = await server.connect()
        wire.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        await wire.send("POST", "/v1/messages", STREAMED)
        await service.until_stuck()
        taken = service.taken
        assert service.open == 1
        reply = await wire.receive()
    # What the system holds of both connections (Linux: 4 MiB to send, 6 MiB received), and what is under way here.
    assert MAX_AHEAD_BYTES < taken < 12 * MEBIBYTE
    assert reply.is_whole
    assert text_of(reply) == PIECE * count
