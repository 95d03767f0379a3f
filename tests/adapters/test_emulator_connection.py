"""One connection of the emulator's: how it ends when its client breaks off, lies or says nothing."""

from __future__ import annotations

import pytest
import trio

from adapters.emulator import always
from adapters.emulator.connection import Connection
from adapters.emulator.wire import Reply
from tests.adapters.emulated import World, generate, shell_request


class Scripted(trio.abc.Stream):
    """A stream on which these bytes come; then it breaks. What is sent is broken after so many times."""

    def __init__(self, *pieces: bytes, sends: int = 0) -> None:
        self.pieces = list(pieces)
        self.sends = sends
        self.sent: list[bytes] = []
        self.closed = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:  # noqa: ARG002 - the interface's
        await trio.lowlevel.checkpoint()
        if not self.pieces:
            raise trio.BrokenResourceError
        return self.pieces.pop(0)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        if len(self.sent) == self.sends:
            raise trio.BrokenResourceError
        self.sent.append(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


def raw(world: World, **headers: str) -> bytes:
    asked = generate(shell_request(), token=world.account.access_token, **headers)
    fields = {**asked.headers, "host": "emulator", "content-length": str(len(asked.body))}
    lines = [f"POST {asked.target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode() + asked.body


@pytest.mark.parametrize(
    ("pieces", "sends", "scenario", "line"),
    [
        ((), 0, "fine", "a client left before the end"),
        ((b"POST /",), 0, "fine", "a client left before the end"),
        ((b"POST /", b""), 0, "fine", "a client left before the end"),
        (
            (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n", b""),
            0,
            "fine",
            "a client left before the end",
        ),
        ((b"nonsense\r\n\r\n",), 0, "fine", "refused a connection: 'not HTTP/1.1: illegal request line'"),
        (("whole",), 0, "fine", "a client left before the end"),
        (("whole",), 3, "fine", "a client left before the end"),
        (("whole",), 9, "stall:1", "a client left before the end"),
        (("whole", b"more"), 0, "stall-head", "a client left before the end"),
        (("whole",), 0, "stall-head", "a client left before the end"),
    ],
)
async def test_a_connection_that_breaks_ends_quietly_and_is_closed(
    pieces: tuple[bytes | str, ...], sends: int, scenario: str, line: str
) -> None:
    world = World(scenario=always(scenario))
    stream = Scripted(*(raw(world) if isinstance(piece, str) else piece for piece in pieces), sends=sends)
    await world.emulator.serve_stream(stream)
    assert world.log[-1] == line
    assert stream.closed
    assert len(stream.sent) <= sends


async def test_a_client_that_has_no_more_requests_is_no_fault() -> None:
    world = World()
    stream = Scripted(b"")
    await world.emulator.serve_stream(stream)
    assert (world.log, stream.closed) == ([], True)


async def test_requests_that_come_together_are_answered_one_after_the_other() -> None:
    world = World()
    stream = Scripted(raw(world) + raw(world, x_emulator_scenario="throttled"), b"", sends=1000)
    await world.emulator.serve_stream(stream)
    answers = b"".join(stream.sent)
    assert answers.index(b"HTTP/1.1 200") < answers.index(b"HTTP/1.1 429")


async def test_a_reply_of_nothing_ends_the_connection() -> None:
    assert await Connection(Scripted(), 300).play(Reply(None)) is False


@pytest.mark.parametrize("length", ["9" * 20, "9" * 5000])
async def test_an_absurd_length_is_refused(length: str) -> None:
    world = World()
    stream = Scripted(f"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n".encode(), sends=9)
    await world.emulator.serve_stream(stream)
    assert stream.sent[0].startswith(b"HTTP/1.1 4")
    assert len(world.log[0]) < 200


async def test_a_token_in_a_broken_request_is_not_logged() -> None:
    world = World()
    line = f"authorization: Bearer {world.account.access_token}\x00".encode()
    stream = Scripted(b"GET / HTTP/1.1\r\nhost: x\r\n" + line + b"\r\n\r\n", sends=9)
    await world.emulator.serve_stream(stream)
    assert world.log == ["refused a connection: 'not HTTP/1.1: illegal header line'"]
