"""The one assertion that every test of the event-stream decoder goes through.

A stream gives the same messages and the same fault whole, byte by byte, and cut once at every place, and the
slow reference decoder agrees.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from core import eventstream
from core.eventstream import START, Fault, FaultReason, Message, feed, finish
from fuzz.reference_eventstream import read_stream

CUT_EVERYWHERE = 2048
"""Up to this many bytes a stream is cut at every place, and beyond it near its ends and at a sample of others."""


class Decoded(msgspec.Struct, frozen=True):
    """What a stream gave, its end included."""

    messages: tuple[Message, ...]
    fault: Fault | None

    @property
    def reason(self) -> FaultReason | None:
        """Why the stream stopped being one, if it did."""
        return None if self.fault is None else self.fault.reason


def decode_pieces(pieces: Iterable[bytes]) -> Decoded:
    """What a stream gives in these pieces; a fault, once given, is given again and nothing follows it."""
    pending, fault = START, None
    messages: list[Message] = []
    for piece in pieces:
        fed = feed(pending, piece)
        assert fault is None or (fed.messages == () and fed.fault is fault)
        assert fed.pending.fault is fed.fault
        messages += fed.messages
        pending, fault = fed.pending, fed.fault
    ending = finish(pending)
    assert fault is None or ending is fault
    return Decoded(tuple(messages), ending)


def decode(stream: bytes) -> Decoded:
    """What `stream` gives, after it was seen to give the same at every cut, and by the reference decoder."""
    forget()
    whole = decode_pieces([stream])
    assert decode_pieces([stream]) == whole, "once the heads are remembered"
    assert decode_pieces(stream[place : place + 1] for place in range(len(stream))) == whole
    for cut in cuts(len(stream)):
        assert decode_pieces([stream[:cut], stream[cut:]]) == whole, f"cut at byte {cut}"
    reference = read_stream(stream)
    assert list(whole.messages) == reference.messages
    # Equal mappings may differ in their order.
    assert [list(message.headers) for message in whole.messages] == [list(m.headers) for m in reference.messages]
    assert (whole.reason, whole.fault and whole.fault.offset) == (reference.reason, reference.offset)
    return whole


def forget() -> None:
    """Empties the decoder's memory, so that the next frames are read as if they were the first of their kind."""
    eventstream._remembered.clear()
    eventstream._parse_headers.cache_clear()


def cuts(length: int) -> Iterator[int]:
    """Where a stream of `length` bytes is cut once."""
    if length <= CUT_EVERYWHERE:
        yield from range(length + 1)
    else:
        yield from range(64)
        yield from range(64, length - 64, length // 128)
        yield from range(length - 64, length + 1)
