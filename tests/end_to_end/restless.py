"""Clients as they are: most wait for their answer, some read slowly, and some leave in the middle of anything.

Each of them has its own chance, so that a run can be had again by its seed. Every answer that is read to its end is
looked at: it is whole and right, or an error that says so.
"""

from __future__ import annotations

import json
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, NamedTuple

import h11
import trio

from fuzz.strict_client import Broken, rebuild
from tests.end_to_end.load import problem_of, question

_RESET = struct.pack("ii", 1, 0)
_PIECE = 64 * 1024
_SIP = 700
"""Bytes that a slow reader takes at a time."""

_HONEST = {
    400: "invalid_request_error", 403: "permission_error", 429: "rate_limit_error", 500: "api_error",
    504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip
_BIG = "All work and no play makes an emulator dull."


class Cut(Exception):
    """A connection that ended before the answer did."""


class Answer(NamedTuple):
    """An answer that was read to its end."""

    status: int
    body: bytes


class Tally:
    """What came of everything. `problems` is what should not have been."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self._number = 0

    def next_number(self) -> int:
        """The number of one more question."""
        self._number += 1
        return self._number

    def note(self, number: int, what: str, answer: Answer) -> None:
        """Judge an answer."""
        try:
            verdict = _judge(number, answer)
        except (Broken, ValueError, KeyError, TypeError) as error:
            verdict = f"{type(error).__name__}: {error}"
        self.counts[verdict if verdict in ("right", "error", "error event") else "wrong"] += 1
        if verdict not in ("right", "error", "error event"):
            self.problems.append(f"number {number}, {what}: {verdict}"[:400])


def _judge(number: int, answer: Answer) -> str:
    """What an answer is: right, an honest error, or what is wrong with it."""
    status, body = answer
    if status != 200:
        form = json.loads(body)
        is_honest = form["error"]["type"] == _HONEST.get(status) and form["request_id"] and form["error"]["message"]
        return "error" if is_honest else f"{status}: {body.decode()[:200]}"
    if number % 2 == 1:
        rebuilt = rebuild(body)
        if rebuilt.error is not None:
            return "error event"
        content = rebuilt.content
    else:
        content = json.loads(body)["content"]
    problem = problem_of(number, status, body)
    if problem is None or [block["text"][: len(_BIG)] for block in content if block["type"] == "text"] == [_BIG]:
        return "right"
    return problem


# --- one connection --------------------------------------------------------------------------------------------


class _Client:
    """A connection to the gateway, and the chance of whoever is at it."""

    def __init__(self, stream: trio.SocketStream, chance: Random, tally: Tally) -> None:
        self.stream = stream
        self.chance = chance
        self.tally = tally
        self._http = h11.Connection(h11.CLIENT)

    def request(self, number: int) -> tuple[bytes, str]:
        """A question's bytes, and what it is in a few words."""
        body = json.dumps(question(number)).encode()
        delivery = self.chance.choice(("buffered", "live"))
        headers = [
            ("host", "127.0.0.1"), ("content-type", "application/json"), ("content-length", str(len(body))),
            ("x-stagewhisper-delivery", delivery),
        ]  # fmt: skip
        head = self._http.send(h11.Request(method="POST", target="/v1/messages", headers=headers))
        data, end = self._http.send(h11.Data(data=body)), self._http.send(h11.EndOfMessage())
        assert head is not None
        assert data is not None
        return head + data + (end or b""), delivery

    async def answer(self, *, size: int = _PIECE, pause: Callable[[], float] = lambda: 0.0) -> Answer:
        """Read the answer to its end, so many bytes at a time.

        Raises:
            Cut: the connection ended before.
        """
        status, body = 0, b""
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise Cut(str(error)) from None
            if event is h11.NEED_DATA:
                await trio.sleep(pause())
                try:
                    self._http.receive_data(await self.stream.receive_some(size))
                except trio.BrokenResourceError as error:
                    raise Cut(repr(error.__cause__)) from None
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return Answer(status, bytes(body))
            elif isinstance(event, h11.ConnectionClosed):
                raise Cut(f"after {len(body)} bytes of the body")

    async def leave(self) -> None:
        """Break off: with a FIN, or with a RST."""
        if self.chance.random() < 0.5:
            self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        await self.stream.aclose()

    @property
    def may_go_on(self) -> bool:
        """Whether another request may be sent over this connection."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        return False


# --- what clients do -------------------------------------------------------------------------------------------


async def _stay(client: _Client) -> None:
    """Ask, read, ask again."""
    for _ in range(client.chance.randint(1, 6)):
        number = client.tally.next_number()
        data, what = client.request(number)
        await client.stream.send_all(data)
        client.tally.note(number, what, await client.answer())
        if not client.may_go_on:
            return


async def _read_slowly(client: _Client) -> None:
    """Ask, and read in sips for some seconds, which is long for the ordinary answer and short for a large one."""
    number = client.tally.next_number()
    data, what = client.request(number)
    await client.stream.send_all(data)
    enough = trio.current_time() + client.chance.uniform(1, 8)
    answer = await client.answer(
        size=_SIP, pause=lambda: client.chance.uniform(0, 0.05) if trio.current_time() < enough else 0.0
    )
    client.tally.note(number, f"{what}, read slowly", answer)


async def _stop_reading(client: _Client) -> None:
    """Ask, and look at the answer only after a while, or stop in the middle of it."""
    number = client.tally.next_number()
    data, what = client.request(number)
    await client.stream.send_all(data)
    pauses = iter([0.0] * client.chance.randint(0, 3) + [client.chance.uniform(1, 5)])
    answer = await client.answer(size=4096, pause=lambda: next(pauses, 0.0))
    client.tally.note(number, f"{what}, not read for a while", answer)


async def _leave(client: _Client) -> None:
    """Ask, and leave at any moment, whatever of the answer has come."""
    data, _ = client.request(client.tally.next_number())
    await client.stream.send_all(data)
    with trio.move_on_after(client.chance.choice((0.0, 0.005, 0.02, 0.1, 0.5, 2.0))):
        await client.answer()
    await client.leave()


async def _send_half(client: _Client) -> None:
    """Send a part of the head, or of the body, and leave."""
    data, _ = client.request(client.tally.next_number())
    head = data.index(b"\r\n\r\n") + 4
    end = client.chance.randrange(1, head) if client.chance.random() < 0.5 else client.chance.randrange(head, len(data))
    await client.stream.send_all(data[:end])
    await trio.sleep(client.chance.uniform(0, 1.5))
    await client.leave()


_HABITS: dict[Callable[[_Client], Awaitable[None]], int] = {
    _stay: 12,
    _read_slowly: 2,
    _stop_reading: 2,
    _leave: 4,
    _send_half: 2,
}
"""What clients do, and how often."""


async def live_restlessly(address: tuple[str, int], seed: Any, tally: Tally, *, seconds: float) -> None:
    """Be one client after the other for so long. Each comes to its end."""
    chance = Random(f"{seed}")
    deadline = trio.current_time() + seconds
    while trio.current_time() < deadline:
        (habit,) = chance.choices(list(_HABITS), weights=list(_HABITS.values()))
        tally.counts[habit.__name__.removeprefix("_").replace("_", " ")] += 1
        async with await trio.open_tcp_stream(*address) as stream:
            if habit in (_read_slowly, _stop_reading):
                # Little room at this end, so that what is not read is felt at the other.
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            try:
                await habit(_Client(stream, chance, tally))
            except Cut as cut:
                if habit is not _leave:
                    tally.counts["cut"] += 1
                    tally.problems.append(f"{habit.__name__}: the connection ended: {cut}")
        await trio.sleep(chance.expovariate(10))
