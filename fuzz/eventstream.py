"""Frames: whatever the bytes and however they are cut, the decoder says what the slow reference says.

For every stream:

- messages, reason and offset are those of `fuzz.reference_eventstream`, whole, in single bytes, in pieces that the
  input names, with an empty memory and with a full one;
- a pending value can be fed again, with other bytes in between, and after a fault nothing comes but the fault;
- the good frames, encoded again, are the bytes that they came from;
- one damaged byte leads to a fault at the damaged frame, and all messages before it are unchanged.

An input is a letter, a digit and the rest. The digit says how many of the bytes after it are sizes of pieces.

    r   the rest is the stream
    f   the rest is frames without lengths and checksums, which are written here: two bytes with the size of the
        header block, one with the size of the payload, then both. So the header parser sees anything at all.
    l   as f, but each payload stands there forty times, so that frames get longer than what is held in one piece
    d   as f, but first come two bytes that say which byte of the good frames is damaged, and one that says how
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

if __name__ == "__main__":  # as a script, so that the modules beside it are the ones that are tried
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from core import eventstream
from core.eventstream import START, Fault, Message, encode, feed, finish
from fuzz.reference_eventstream import Reading, read_stream

_BYTEWISE = 600
"""Up to this many bytes a stream is also fed byte by byte."""


def one_input(data: bytes) -> None:
    """One stream, by the rules above."""
    mode, rest = data[:1], data[1:]
    count = (rest[0] - ord("0")) % 10 if rest else 0
    sizes, rest = rest[1 : 1 + count], rest[1 + count :]
    if mode == b"d":
        _check_damage(rest, sizes)
    else:
        times = {b"f": 1, b"l": 40}.get(mode)
        _check_stream(rest if times is None else write_frames(rest, times), sizes)


def write_frames(rest: bytes, times: int = 1) -> bytes:
    """Frames with sound lengths and checksums around header blocks and payloads that are anything."""
    stream = b""
    while rest:
        sizes = rest[:3].ljust(3, b"\0")
        body = rest[3:]
        block = body[: int.from_bytes(sizes[:2])]
        payload = body[len(block) :][: sizes[2]]
        stream += frame(block, payload * times)
        rest = body[len(block) + len(payload) :]
    return stream


def frame(block: bytes, payload: bytes) -> bytes:
    """A frame around a header block and a payload."""
    lengths = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    summed = lengths + struct.pack(">I", zlib.crc32(lengths)) + block + payload
    return summed + struct.pack(">I", zlib.crc32(summed))


def _check_stream(stream: bytes, sizes: Sequence[int]) -> tuple[Sequence[Message], Fault | None]:
    expected = read_stream(stream)
    _forget()
    messages, fault = _decode([stream], expected)
    _decode(_pieces(stream, sizes), expected, fault)
    if len(stream) <= _BYTEWISE:
        _forget()
        _decode([stream[at : at + 1] for at in range(len(stream))], expected, fault)
    good = stream if fault is None else stream[: fault.offset]
    assert b"".join(map(encode, messages)) == good
    return messages, fault


def _decode(
    pieces: Iterable[bytes], expected: Reading, known: Fault | None = None
) -> tuple[Sequence[Message], Fault | None]:
    """What the pieces give, which is what is expected; and the very fault that is known, if one is."""
    pending, fault = START, None
    messages: list[Message] = []
    for piece in pieces:
        elsewhere = feed(pending, piece[::-1])
        fed = feed(pending, piece)
        # Values share what they hold, and yet none may see what was fed to another.
        assert feed(pending, piece[::-1]) == elsewhere
        assert feed(pending, piece) == fed
        assert fault is None or (fed.fault is fault and not fed.messages)
        messages += fed.messages
        pending, fault = fed.pending, fed.fault
    ending = finish(pending)
    assert fault is None or ending is fault
    assert messages == expected.messages
    # Equal mappings may differ in their order.
    assert [list(message.headers) for message in messages] == [list(each.headers) for each in expected.messages]
    assert (ending and ending.reason, ending and ending.offset) == (expected.reason, expected.offset)
    assert ending is None or ending.detail.isprintable()
    assert known is None or ending == known
    return messages, ending


def _pieces(stream: bytes, sizes: Sequence[int]) -> list[bytes]:
    """The stream in pieces of these sizes, over and over; empty ones are pieces too."""
    if not any(sizes):
        return [stream[: len(stream) // 2], stream[len(stream) // 2 :]]
    pieces = []
    at = turn = 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        pieces.append(stream[at : at + size])
        at += size
        turn += 1
    return pieces


def _check_damage(rest: bytes, sizes: Sequence[int]) -> None:
    place, how, rest = int.from_bytes(rest[:2]), rest[2:3], rest[3:]
    messages, fault = _check_stream(write_frames(rest), sizes)
    frames = [encode(message) for message in messages]
    good = b"".join(frames)
    if not good or how in (b"", b"\0"):
        return
    place %= len(good)
    damaged = good[:place] + bytes((good[place] ^ how[0],)) + good[place + 1 :]
    before = 0
    while sum(map(len, frames[: before + 1])) <= place:
        before += 1
    left, fault = _check_stream(damaged, sizes)
    assert list(left) == list(messages[:before])
    assert fault is not None
    assert fault.offset == sum(map(len, frames[:before]))


def _forget() -> None:
    """Empties the decoder's memory, so that a failure does not depend on the inputs before."""
    eventstream._remembered.clear()
    eventstream._parse_headers.cache_clear()


if __name__ == "__main__":
    from fuzz.runner import run

    run(one_input)
