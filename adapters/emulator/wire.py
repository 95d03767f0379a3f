"""What goes over the wire: event-stream frames, and replies as values that a connection plays.

Frames are written from AWS's description of the format with `struct` and `zlib` alone. It has nothing in common
with the decoder that it is there to try, so that a misreading there cannot be met by the same one here.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from adapters.emulator.chance import Chance

EVENT_STREAM = "application/vnd.amazon.eventstream"
JSON = "application/json"
AWS_JSON = "application/x-amz-json-1.0"

# --- frames ----------------------------------------------------------------------------------------------------

HeaderValue: TypeAlias = bool | int | str | bytes


def encode_frame(headers: Iterable[tuple[str, HeaderValue]], payload: bytes) -> bytes:
    """One frame, with headers in the order given and both checksums."""
    block = b"".join(_encode_header(name, value) for name, value in headers)
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    prelude += struct.pack(">I", zlib.crc32(prelude))
    body = prelude + block + payload
    return body + struct.pack(">I", zlib.crc32(body))


def _encode_header(name: str, value: HeaderValue) -> bytes:
    raw = name.encode()
    head = struct.pack(">B", len(raw)) + raw
    if isinstance(value, bool):
        return head + (b"\x00" if value else b"\x01")
    if isinstance(value, int):
        return head + struct.pack(">Bq", 5, value)
    kind, data = (7, value.encode()) if isinstance(value, str) else (6, value)
    return head + struct.pack(">BH", kind, len(data)) + data


def encode_payload(payload: Mapping[str, Any]) -> bytes:
    """A payload as the service writes JSON: compact, UTF-8."""
    return msgspec.json.encode(payload)


def event(event_type: str, payload: Mapping[str, Any], *, content_type: str = JSON) -> bytes:
    """An event's frame, its headers in the service's order."""
    headers = ((":event-type", event_type), (":content-type", content_type), (":message-type", "event"))
    return encode_frame(headers, encode_payload(payload))


def exception(exception_type: str, payload: Mapping[str, Any]) -> bytes:
    """A modelled error inside a stream."""
    headers = ((":exception-type", exception_type), (":content-type", JSON), (":message-type", "exception"))
    return encode_frame(headers, encode_payload(payload))


def error(code: str, message: str) -> bytes:
    """An unmodelled error inside a stream: all of it in headers."""
    return encode_frame(((":error-code", code), (":error-message", message), (":message-type", "error")), b"")


# --- replies ---------------------------------------------------------------------------------------------------


class Send(msgspec.Struct, frozen=True):
    """These bytes of the body, as one chunk."""

    data: bytes


class Wait(msgspec.Struct, frozen=True):
    """Nothing, for so many seconds."""

    seconds: float


class Stall(msgspec.Struct, frozen=True):
    """Nothing any more, with the connection open, until the client gives up."""


class Close(msgspec.Struct, frozen=True):
    """The connection's end in the middle of the message: what was sent arrives, the rest never does."""


class Reset(msgspec.Struct, frozen=True):
    """As `Close`, with a TCP reset where there is TCP: what was sent last may be lost on the way too."""


Step: TypeAlias = Send | Wait | Stall | Close | Reset


class Head(msgspec.Struct, frozen=True):
    """A status and headers, in the order in which they are sent."""

    status: int
    headers: tuple[tuple[str, str], ...]


class Reply(msgspec.Struct, frozen=True):
    """What a connection does once it has read a request.

    After `delay`, in seconds, the head is sent (with none, nothing at all is), then `steps` are played. The body
    ends cleanly after the last of them.
    """

    head: Head | None
    steps: tuple[Step, ...] = ()
    delay: float = 0.0

    def body(self) -> bytes:
        """The body's bytes, however they are cut and whatever stops them."""
        return b"".join(step.data for step in self.steps if isinstance(step, Send))


def hasten(reply: Reply, longest: float) -> Reply:
    """The reply with no wait that is longer than so many seconds; with 0, with none."""
    steps: list[Step] = []
    for step in reply.steps:
        if not isinstance(step, Wait):
            steps.append(step)
        elif longest:
            steps.append(Wait(min(step.seconds, longest)))
    return Reply(reply.head, tuple(steps), min(reply.delay, longest))


def whole(status: int, body: bytes, headers: Sequence[tuple[str, str]]) -> Reply:
    """A reply whose length is declared."""
    length = ("content-length", str(len(body)))
    return Reply(Head(status, (*headers, length)), (Send(body),) if body else ())


# --- fragments -------------------------------------------------------------------------------------------------

_CHUNK_SIZES = (23, 160, 700, 1400, 4096)


def cut_into_chunks(body: bytes, chance: Chance) -> tuple[Send, ...]:
    """A body in chunks whose edges have nothing to do with those of frames, as proxies on the way leave them.

    They grow with the body, so that a large one is no torrent of tiny writes.
    """
    chunks: list[Send] = []
    start = 0
    while start < len(body):
        size = max(chance.choice(_CHUNK_SIZES), len(body) // 256)
        chunks.append(Send(body[start : start + size]))
        start += size
    return tuple(chunks)


def cut_every(body: bytes, size: int) -> tuple[Send, ...]:
    """A body in chunks of `size` bytes."""
    return tuple(Send(body[start : start + size]) for start in range(0, len(body), size))


def text_fragments(text: str, chance: Chance) -> list[str]:
    """Text as the service hands it out: pieces from part of a word to a sentence.

    Seen in captures: `Hello! I`, ` see`, ` you're`, ` an`, `d ready to help.`.
    """
    return _fragments(text, chance, (2, 4, 6, 9, 14, 30, 60))


def input_fragments(text: str, chance: Chance) -> list[str]:
    """A tool's input as the service hands it out: a few characters each (`{"`, `locati`, `on": "S`, `an `)."""
    sizes: tuple[int, ...] = (2, 3, 4, 6, 7, 8, 9)
    # Long inputs come in longer pieces; or a 12 kB one would be thousands of frames.
    return _fragments(text, chance, tuple(size * (1 + len(text) // 2000) for size in sizes))


def _fragments(text: str, chance: Chance, sizes: Sequence[int]) -> list[str]:
    pieces: list[str] = []
    start = 0
    while start < len(text):
        size = chance.choice(sizes)
        pieces.append(text[start : start + size])
        start += size
    return pieces
