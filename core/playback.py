"""Captured bytes run through the core again: what an exchange makes of them, and where two runs first differ.

It reads through the functions of `intake`, as an exchange does, and has no opinion of its own. Beside the answer it
keeps what an exchange forgets: the frames with their places, and all events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from core import eventstream, intake, sse
from core.codewhisperer import EVENT_STREAM
from core.credentials import Token
from core.events import Event, parse_event
from core.eventstream import Fault, Message
from core.failures import Failure, Kind
from core.http import Head
from core.phases import ReadingRefusal, Streaming
from core.rawhttp import RawFault
from core.response import BufferedResponse, Reading
from core.selection import Provider
from core.sse import StreamEvent
from core.times import Epoch, Instant
from core.tools import map_names

BARE_HEAD: Final = Head(status=200, headers={"content-type": EVENT_STREAM})
"""The head that a body had which was kept without one."""

MESSAGE_ID: Final = "msg_replay"
"""Always the same one: made-up ids of calls derive from it."""

WINDOW: Final = 200_000
"""The context window of a model of which nothing but its name is known, in tokens."""

_NOBODY: Final = Provider(id="replay", token_file="", original_provider_id="replay")
_NO_TOKEN: Final = Token(access_token="", auth_method="social")


class Frame(msgspec.Struct, frozen=True):
    """A good frame. `offset` and `length` are in bytes of the body."""

    offset: int
    length: int
    message: Message


class Playback(msgspec.Struct, frozen=True, kw_only=True):
    """What a body is, in all forms that are looked at.

    `frames` and `events` (one for each frame) go on behind an error of the service, up to the `fault`: where the frames
    stop being some. `outcome` is what an exchange comes to, and `stream` what a streaming client gets of it: nothing of
    a failure.
    """

    frames: tuple[Frame, ...]
    fault: Fault | None
    events: tuple[Event, ...]
    outcome: BufferedResponse | Failure
    stream: tuple[StreamEvent, ...]


def bare_reading(model: str, tool_names: Collection[str]) -> Reading:
    """How an answer is read of whose request no more is known than a model's name and its tools'."""
    names = map_names(tool_names)
    return Reading(
        message_id=MESSAGE_ID,
        model=model,
        names=names,
        callable_names=frozenset(tool_names) | {names.service_name(name) for name in tool_names},
        calls_allowed=True,
        stop_sequences=(),
        window=WINDOW,
        estimated_input=0,
    )


def play(
    head: Head, pieces: Iterable[bytes], *, reading: Reading, now: Epoch, broken: RawFault | None = None
) -> Playback:
    """What the core makes of an answer that comes in these pieces. `broken` is how its body ended, if not well."""
    if intake.is_event_stream(head):
        return _play_stream(pieces, reading, broken)
    refusal = ReadingRefusal(provider=_NOBODY, token=_NO_TOKEN, deadline=Instant(0.0), head=head)
    for piece in pieces:
        refusal = intake.read_refusal(refusal, piece)
        if intake.is_enough(refusal):
            break
    failure = intake.judge_refusal(refusal, request_size=0, now=now)
    return Playback(frames=(), fault=None, events=(), outcome=failure, stream=())


def _play_stream(pieces: Iterable[bytes], reading: Reading, broken: RawFault | None) -> Playback:
    phase: Streaming | Failure = Streaming(provider=_NOBODY, token=_NO_TOKEN, deadline=Instant(0.0))
    pending, messages = eventstream.START, list[Message]()
    for piece in pieces:
        fed = eventstream.feed(pending, piece)
        messages += fed.messages
        pending = fed.pending
        if isinstance(phase, Streaming):
            phase = intake.read_stream(phase, piece, request_size=0)
    outcome: BufferedResponse | Failure
    if isinstance(phase, Failure):
        outcome = phase
    elif broken is not None:
        # As an exchange takes a connection that broke.
        outcome = Failure(kind=Kind.NETWORK, message=describe(broken))
    else:
        outcome = intake.end_stream(phase, reading)
    return Playback(
        frames=tuple(_place(messages)),
        fault=eventstream.finish(pending),
        events=tuple(map(parse_event, messages)),
        outcome=outcome,
        stream=() if isinstance(outcome, Failure) else _stream(outcome, reading),
    )


def _place(messages: Iterable[Message]) -> Iterator[Frame]:
    """The messages with their places. They have one encoding, so its length is that of the frame they came in."""
    offset = 0
    for message in messages:
        length = len(eventstream.encode(message))
        yield Frame(offset, length, message)
        offset += length


def _stream(response: BufferedResponse, reading: Reading) -> tuple[StreamEvent, ...]:
    start = sse.message_start(reading.message_id, reading.model, reading.estimated_input)
    return (start, *sse.render_events(response.message))


def describe(fault: RawFault) -> str:
    """What is wrong with a capture, in one line."""
    return f"the capture broke at byte {fault.offset}: {fault.reason.value} ({fault.detail})"


# --- other pieces ----------------------------------------------------------------------------------------------

_MOST_CUTS: Final = 1 << 16


def chop(body: bytes, *, seed: int, turn: int) -> Iterator[bytes]:
    """The body in pieces that the seed and the turn decide, none of them empty: few in some turns, many in others."""
    # A hash, because chance has no place in the core, and the same pieces have to come out on every machine.
    chance = hashlib.shake_256(f"{seed}:{turn}".encode())
    doublings = min(len(body), _MOST_CUTS).bit_length()
    count = (1 << int.from_bytes(chance.digest(8)) % doublings) if doublings else 0
    numbers = chance.digest(8 + 8 * count)[8:]
    places = {int.from_bytes(numbers[at : at + 8]) % len(body) for at in range(0, len(numbers), 8)}
    last = 0
    for place in sorted(places | {len(body)}):
        if place > last:
            yield body[last:place]
        last = place


def single_bytes(body: bytes) -> Iterator[bytes]:
    """The body byte by byte."""
    return (body[place : place + 1] for place in range(len(body)))


# --- differences -----------------------------------------------------------------------------------------------

Part: TypeAlias = Literal["line", "frame", "fault", "event", "answer", "stream event"]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The first thing that two runs do not have in common. What is None is not there in that run at all."""

    part: Part
    index: int
    expected: Any
    got: Any


def first_difference(expected: Playback, got: Playback) -> Difference | None:
    """Where two runs of the same bytes differ first, the frames coming before what is made of them."""
    for part, one, other in _parts(expected, got):
        for index in range(max(len(one), len(other))):
            left, right = (each[index] if index < len(each) else None for each in (one, other))
            if left != right:
                return Difference(part=part, index=index, expected=left, got=right)
    return None


def _parts(expected: Playback, got: Playback) -> Iterator[tuple[Part, Sequence[Any], Sequence[Any]]]:
    yield "frame", expected.frames, got.frames
    yield "fault", (expected.fault,), (got.fault,)
    yield "event", expected.events, got.events
    yield "answer", (expected.outcome,), (got.outcome,)
    yield "stream event", expected.stream, got.stream
