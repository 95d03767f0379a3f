"""A service that answers from memory: as cheap as can be, so that what stands before it is measured.

Run as `python tests/benchmarks/canned.py`; it says where it listens. It reads a request no further than it must to
know which answer is wanted, and sends bytes that were made before (`answers`), a chunk of HTTP a piece.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import answers

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\n"
    b"x-amzn-requestid: 00000000-0000-0000-0000-000000000000\r\ntransfer-encoding: chunked\r\n\r\n"
)
LAST = b"0\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_MODEL = re.compile(rb"bench-[a-z]+-[a-z]+")
_BACKLOG = 2048


def chunk(data: bytes) -> bytes:
    """A chunk of HTTP/1.1."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Connection(asyncio.Protocol):
    """One connection, kept alive; one request at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # asyncio's
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = _LENGTH.search(head)
        if length is None or len(body) < int(length[1]):
            return
        self._received = b""
        model = _MODEL.search(body)
        assert model is not None, "the request names no answer"
        self._answer(model[0].decode())

    def _answer(self, model: str) -> None:
        rhythm = answers.rhythm_of(model)
        if not rhythm.seconds:
            self._transport.write(_WHOLE[model])
            return
        first, *rest = answers.pieces(model)
        stamp = answers.stamp_frame(time.monotonic())
        self._transport.write(HEAD + chunk(stamp + first))
        self._go_on(rest, rhythm.seconds / max(1, len(rest)))

    def _go_on(self, rest: list[bytes], pause: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()

        def send(index: int) -> None:
            nonlocal due
            if index == len(rest):
                self._transport.write(LAST)
                return
            if index >= 0:
                self._transport.write(chunk(rest[index]))
            due += pause
            self._timer = loop.call_at(due, send, index + 1)

        send(-1)


_WHOLE = {
    model: HEAD + b"".join(map(chunk, answers.pieces(model))) + LAST
    for model in answers.names()
    if not answers.rhythm_of(model).seconds
}


async def main() -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=_BACKLOG)
    print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
