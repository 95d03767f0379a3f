"""In place of the service: one that answers in one way, counts what is taken of it, and sees at once who leaves.

And in place of what decides how an answer is delivered: each piece of it goes to the client as it comes.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import h11
import msgspec
import pytest
import trio

from adapters.places import Places
from core import exchange as exchanges
from core.dialogue import BodyEnded, DataArrived, Deliver, Happening, StreamEnded, WantData
from core.exchange import Step
from core.phases import Ended, Exchange, Streaming
from core.sse import ContentBlockDelta, TextDelta
from core.times import Now

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\ntransfer-encoding: chunked\r\n\r\n"
PIECE = b"0123456789abcdef" * 2048


class Canned:
    """A service. `open` is how many requests it is at, `taken` how many bytes of bodies were taken of it."""

    def __init__(self, play: Callable[[Canned, trio.SocketStream], Awaitable[None]]) -> None:
        self._play = play
        self.url = ""
        self.open = 0
        self.asked = 0
        self.taken = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection, which ends with its first answer."""
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        async with stream:
            if not await _read_request(stream):
                return
            self.open += 1
            self.asked += 1
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_until_gone, stream, nursery)
                    await self._play(self, stream)
                    nursery.cancel_scope.cancel()
            except* trio.BrokenResourceError:
                pass
            finally:
                self.open -= 1

    async def send(self, stream: trio.SocketStream, data: bytes) -> None:
        """Send a piece of a body."""
        await stream.send_all(b"%x\r\n%b\r\n" % (len(data), data))
        self.taken += len(data)

    async def until_free(self, places: Sequence[Places] = ()) -> float:
        """Wait until it is at no request any more, and the gateway's places are free: how long that was."""
        began = trio.current_time()
        with trio.fail_after(10):
            while self.open or any(each.taken for each in places):
                await trio.sleep(0.001)
        return trio.current_time() - began

    async def until_asked(self, times: int = 1) -> None:
        """Wait until it was asked so many times."""
        with trio.fail_after(10):
            while self.asked < times:
                await trio.sleep(0.001)

    async def until_stuck(self, quiet: float = 0.3) -> None:
        """Wait until nothing more is taken of it."""
        before = -1
        while before != self.taken:
            before = self.taken
            await trio.sleep(quiet)


async def _read_request(stream: trio.SocketStream) -> bool:
    http = h11.Connection(h11.SERVER)
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some()))
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            return isinstance(event, h11.EndOfMessage)


async def _until_gone(stream: trio.SocketStream, nursery: trio.Nursery) -> None:
    while await stream.receive_some():
        pass
    nursery.cancel_scope.cancel()


@asynccontextmanager
async def canned(play: Callable[[Canned, trio.SocketStream], Awaitable[None]]) -> AsyncIterator[Canned]:
    """A service on loopback, until the block ends."""
    service = Canned(play)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        service.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.start_soon(trio.serve_listeners, service.serve, listeners)
        yield service
        nursery.cancel_scope.cancel()


# --- plays -----------------------------------------------------------------------------------------------------


async def say_nothing(_service: Canned, _stream: trio.SocketStream) -> None:
    """No head, ever."""
    await trio.sleep_forever()


def pieces(count: int, *, and_end: bool = True) -> Callable[[Canned, trio.SocketStream], Awaitable[None]]:
    """So many pieces as fast as they are taken, and then the end, or nothing more."""

    async def play(service: Canned, stream: trio.SocketStream) -> None:
        await stream.send_all(HEAD)
        for _ in range(count):
            await service.send(stream, PIECE)
        if not and_end:
            await trio.sleep_forever()
        await stream.send_all(b"0\r\n\r\n")

    return play


def noted_places(patch: pytest.MonkeyPatch) -> list[Places]:
    """The places of gateways that are made from now on."""
    noted: list[Places] = []

    def make(*arguments: Any, **options: Any) -> Places:
        noted.append(Places(*arguments, **options))
        return noted[-1]

    patch.setattr("adapters.app.Places", make)
    return noted


# --- delivery --------------------------------------------------------------------------------------------------


def deliver_as_it_comes(patch: pytest.MonkeyPatch) -> None:
    """Have the driver deliver each piece of an answer at once, as text, whatever it is."""
    patch.setattr("adapters.driver.advance", _advance)


def _advance(exchange: Exchange, happening: Happening, *, now: Now) -> Step:
    phase = exchange.phase
    if isinstance(phase, Streaming) and isinstance(happening, DataArrived):
        phase = msgspec.structs.replace(phase, deadline=now.instant + exchange.policy.idle)
        exchange = msgspec.structs.replace(exchange, phase=phase, begun=True, next_ping=None)
        event = ContentBlockDelta(0, TextDelta(happening.data.decode()))
        return Step(exchange, (Deliver((event,)),), WantData(wake_at=phase.deadline))
    if isinstance(phase, Streaming) and isinstance(happening, BodyEnded):
        return Step(msgspec.structs.replace(exchange, phase=Ended()), (), StreamEnded())
    return exchanges.advance(exchange, happening, now=now)
