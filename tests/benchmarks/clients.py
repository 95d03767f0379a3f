"""Many clients in one process: each keeps its connection, asks again as soon as it was answered, and checks.

Run as `python tests/benchmarks/clients.py ORDER`, JSON of an `Order`; prints JSON of a `Report`. As cheap as can be:
raw bytes are sent, and of an answer only what must be seen is looked at before its end. There every one is checked:
its status, its end, and all of its text.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import answers

_LAST = b"0\r\n\r\n"
_DELTA = re.compile(rb'"text_delta","text":"([^"\\]*)"')
_FRAME = re.compile(rb'\{"content":"([^"\\]*)"\}')
_STAMP = re.compile(answers.STAMPED)


class Order(msgspec.Struct):
    """What is to be done: so many clients, for so many seconds, and until each may have been answered once.

    `is_raw`: what comes is the service's bytes, not stream events. `once`: each asks once only, and is waited for.
    """

    url: str
    model: str
    concurrency: int
    seconds: float = 0.0
    is_raw: bool = False
    once: bool = False
    headers: dict[str, str] = {}
    patience: float = 60.0


class Report(msgspec.Struct):
    """What came of it. Times are in seconds; `first_content` is counted from when the service sent it."""

    answered: int
    elapsed: float
    latencies: list[float]
    first_content: list[float]
    problems: list[str]


class Bench:
    """All clients of one run."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.report = Report(0, 0.0, [], [], [])
        self.text = answers.text_of(order.model).encode()
        self.is_stamped = answers.rhythm_of(order.model).seconds > 0
        self.marker = b"assistantResponseEvent" if order.is_raw else b"content_block_delta"
        self.over = asyncio.get_running_loop().create_future()
        host, port = order.url.removeprefix("http://").split(":")
        self.address = (host, int(port))
        body = msgspec.json.encode(answers.document(order.model))
        headers = {"host": order.url.removeprefix("http://"), "content-type": "application/json", **order.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.request = f"POST /v1/messages HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body

    async def run(self) -> Report:
        """Let all of them ask."""
        clients = [Client(self) for _ in range(self.order.concurrency)]
        for client in clients:
            await client.connect()
        self.began = time.monotonic()
        for client in clients:
            client.ask()
        try:
            async with asyncio.timeout(self.order.patience):
                await self.over
        except TimeoutError:
            self.report.problems.append(f"not over after {self.order.patience:g} seconds")
        for client in clients:
            client.leave()
        return self.report

    def answered(self, latency: float) -> bool:
        """Count an answer; whether its client asks again."""
        report, order = self.report, self.order
        report.latencies.append(latency)
        report.answered += 1
        report.elapsed = time.monotonic() - self.began
        is_enough = report.answered >= order.concurrency and (order.once or report.elapsed >= order.seconds)
        if is_enough and not self.over.done():
            self.over.set_result(None)
        return not (is_enough or order.once)

    def fail(self, problem: str) -> None:
        """Something is wrong with an answer, so with the run."""
        self.report.problems.append(problem[:500])
        if not self.over.done():
            self.over.set_result(None)

    def problem_of(self, raw: bytes) -> str | None:
        """What is wrong with an answer, if anything is."""
        head, _, rest = raw.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            return raw.decode(errors="replace")
        content = _unchunked(rest)
        if content is None:
            return f"the chunks are not right: {rest[-200:]!r}"
        text = b"".join((_FRAME if self.order.is_raw else _DELTA).findall(content))
        if self.is_stamped:
            text = _STAMP.sub(b"", text, count=1)
        if text != self.text:
            return f"{len(text)} bytes of text instead of {len(self.text)}: {content[-300:]!r}"
        if not self.order.is_raw and not content.endswith(b'data: {"type":"message_stop"}\n\n'):
            return f"no message_stop: {content[-300:]!r}"
        return None


class Client(asyncio.Protocol):
    """One client and its connection."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._is_over = False

    async def connect(self) -> None:
        """Open a connection."""
        await asyncio.get_running_loop().create_connection(lambda: self, *self._bench.address)

    async def ask_anew(self) -> None:
        """Send the request on a new connection: hypercorn closes one after a thousand requests, and says so."""
        self.leave()
        await self.connect()
        self.ask()

    def ask(self) -> None:
        """Send the request."""
        self._received = bytearray()
        self._has_content = False
        self._began = time.monotonic()
        self._transport.write(self._bench.request)

    def leave(self) -> None:
        """Close the connection, whatever is still to come on it."""
        self._is_over = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        bench, received = self._bench, self._received
        received += data
        if not self._has_content and bench.marker in received:
            self._look_at_first(bytes(received))
        if not received.endswith(_LAST):
            if b"content-length" in received[:400].lower() and not received.startswith(b"HTTP/1.1 200"):
                bench.fail(received.decode(errors="replace"))
            return
        problem = bench.problem_of(bytes(received))
        if problem is not None:
            bench.fail(problem)
            return
        if not bench.answered(time.monotonic() - self._began):
            return
        if b"connection: close" in received[:400].lower():
            self._is_over = True
            self._asking = asyncio.create_task(self.ask_anew())
        else:
            self.ask()

    def _look_at_first(self, received: bytes) -> None:
        bench = self._bench
        stamp = _STAMP.search(received) if bench.is_stamped else None
        if bench.is_stamped and stamp is None:
            return
        self._has_content = True
        if stamp is not None:
            bench.report.first_content.append(time.monotonic() - float(stamp[1]))

    def connection_lost(self, error: Exception | None) -> None:
        if not self._is_over and not self._bench.over.done():
            self._bench.fail(f"the connection ended early: {error!r} after {bytes(self._received[-200:])!r}")


def _unchunked(rest: bytes) -> bytes | None:
    """A chunked body's content, if it is whole and nothing is behind it."""
    content, place = [], 0
    while True:
        end = rest.find(b"\r\n", place)
        if end < 0:
            return None
        size = int(rest[place:end], 16)
        place = end + 2 + size
        if rest[place : place + 2] != b"\r\n":
            return None
        content.append(rest[end + 2 : place])
        place += 2
        if size == 0:
            return b"".join(content) if place == len(rest) else None


async def main(order: Order) -> Report:
    """Do what is ordered."""
    return await Bench(order).run()


if __name__ == "__main__":
    report = asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Order)))
    sys.stdout.buffer.write(msgspec.json.encode(report))
