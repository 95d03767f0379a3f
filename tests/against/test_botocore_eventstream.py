"""botocore as judge: it reads what we encode, and we read, as it does, what it can read."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from botocore.eventstream import (
    EventStreamBuffer,
    ParserError,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from core.eventstream import FaultReason, Message, encode
from tests.decoding import decode
from tests.frames import (
    header_mappings,
    messages,
    raw_frame,
    raw_header,
    raw_prelude,
    raw_sized,
    raw_text,
    service_frame,
)

Read = list[tuple[dict[str, Any], bytes]]


def botocore_reads(stream: bytes, size: int) -> Read:
    """Headers and payload of each message that botocore finds in `stream`, in pieces of `size` bytes."""
    buffer = EventStreamBuffer()
    read = []
    for start in range(0, len(stream), size):
        buffer.add_data(stream[start : start + size])
        read += [(message.headers, message.payload) for message in buffer]
    return read


def as_botocore_has_it(message: Message) -> tuple[dict[str, Any], bytes]:
    """The same in botocore's terms: it keeps a header's value and drops its type."""
    return {name: header.value for name, header in message.headers.items()}, message.payload


@settings(max_examples=120, deadline=None)
@given(st.lists(messages, max_size=4), st.integers(1, 200))
def test_botocore_reads_what_we_encode(sent: list[Message], size: int) -> None:
    read = botocore_reads(b"".join(map(encode, sent)), size)
    assert read == [as_botocore_has_it(message) for message in sent]
    assert [list(headers) for headers, _ in read] == [list(message.headers) for message in sent]


_values = st.one_of(
    st.tuples(st.sampled_from([0, 1]), st.just(b"")),
    st.tuples(st.just(2), st.binary(min_size=1, max_size=1)),
    st.tuples(st.just(3), st.binary(min_size=2, max_size=2)),
    st.tuples(st.just(4), st.binary(min_size=4, max_size=4)),
    st.tuples(st.sampled_from([5, 8]), st.binary(min_size=8, max_size=8)),
    st.tuples(st.just(6), st.binary(max_size=30).map(raw_sized)),
    st.tuples(st.just(7), st.text(max_size=30).map(lambda text: raw_sized(text.encode()))),
    st.tuples(st.just(9), st.binary(min_size=16, max_size=16)),
)
_blocks = st.dictionaries(st.text(min_size=1, max_size=20), _values, max_size=5).map(
    lambda headers: b"".join(raw_header(name.encode(), number, value) for name, (number, value) in headers.items())
)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.builds(raw_frame, _blocks, st.binary(max_size=60)), max_size=4))
def test_we_read_what_botocore_reads(frames: list[bytes]) -> None:
    stream = b"".join(frames)
    decoded = decode(stream)
    assert decoded.fault is None
    assert [as_botocore_has_it(message) for message in decoded.messages] == botocore_reads(stream, 4096)
    assert [encode(message) for message in decoded.messages] == frames


@settings(max_examples=60, deadline=None)
@given(header_mappings, st.binary(max_size=60), st.data())
def test_where_botocore_refuses_a_changed_frame_we_do(headers: Any, payload: bytes, data: st.DataObject) -> None:
    frame = bytearray(encode(Message(headers, payload)))
    place = data.draw(st.integers(0, len(frame) - 1))
    frame[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ParserError):
        botocore_reads(bytes(frame), len(frame))
    assert decode(bytes(frame)).reason in {FaultReason.PRELUDE_CRC, FaultReason.MESSAGE_CRC}


@pytest.mark.parametrize(
    "frame",
    [
        raw_frame(),
        raw_frame(payload=b"{'foo':'bar'}"),
        raw_frame(b"".join(raw_header(b"%d" % number, number) for number in (0, 1))),
        raw_frame(raw_header(b"byte", 2, b"\xcf") + raw_header(b"short", 3, b"\x80\x01")),
        raw_frame(raw_header(b"int", 4, b"\x80\0\0\1") + raw_header(b"long", 5, b"\x80\0\0\0\0\0\0\1"), b"p"),
        raw_frame(raw_header(b"bytes", 6, raw_sized(b"\xff\0")) + raw_header(b"time", 8, b"\xff" * 8), b"p"),
        raw_frame(raw_header(b"uuid", 9, bytes(range(16))) + raw_text("é\u4f60", "\U0001f600"), b"p"),
        raw_frame(raw_text("n" * 255, "v" * 32767) + raw_text("empty", ""), bytes(5000)),
        service_frame("assistantResponseEvent", '{"content":"你好"}'.encode()),
        service_frame("toolUseEvent", b'{"input":"{\\"a","name":"Bash","toolUseId":"tooluse_made_up"}'),
    ],
)
def test_frames_made_by_hand_are_what_botocore_takes_them_for(frame: bytes) -> None:
    decoded = decode(frame * 2)
    assert [as_botocore_has_it(message) for message in decoded.messages] == botocore_reads(frame * 2, 100)
    assert len(decoded.messages) == 2
    assert decoded.fault is None


@pytest.mark.parametrize(
    ("stream", "taken_for", "reason"),
    [
        (raw_prelude(12, 0)[:12] + bytes(4), [({}, b"")], FaultReason.TOTAL_LENGTH_TOO_SMALL),
        (raw_frame(raw_header(b"a", 7, b"\0\5ab")), [({"a": "ab"}, b"")], FaultReason.HEADER_PAST_BLOCK),
        (raw_frame(raw_header(b"", 0)), [({"": True}, b"")], FaultReason.HEADER_NAME_EMPTY),
        (
            raw_frame(raw_header(b"a", 6, raw_sized(bytes(40000)))),
            [({"a": bytes(40000)}, b"")],
            FaultReason.HEADER_VALUE_TOO_LONG,
        ),
        (raw_frame()[:15], [], FaultReason.TRUNCATED_STREAM),
    ],
)
def test_a_fault_that_botocore_does_not_see_is_named(stream: bytes, taken_for: Read, reason: FaultReason) -> None:
    assert botocore_reads(stream, len(stream)) == taken_for
    assert decode(stream).reason is reason


@pytest.mark.parametrize(
    ("block", "leaked", "reason"),
    [
        (raw_header(b"a", 10), KeyError, FaultReason.HEADER_TYPE_UNKNOWN),
        (raw_header(b"a", 4, b"\0"), struct.error, FaultReason.HEADER_PAST_BLOCK),
        (b"\1a", struct.error, FaultReason.HEADER_PAST_BLOCK),
        (raw_header(b"a", 7, raw_sized(b"\xff")), UnicodeDecodeError, FaultReason.HEADER_VALUE_NOT_UTF8),
        (raw_header(b"\xff", 0), UnicodeDecodeError, FaultReason.HEADER_NAME_NOT_UTF8),
    ],
)
def test_a_fault_whose_cause_botocore_leaks_is_a_value(
    block: bytes, leaked: type[Exception], reason: FaultReason
) -> None:
    with pytest.raises(leaked):
        botocore_reads(raw_frame(block), 4096)
    assert decode(raw_frame(block)).reason is reason


def test_good_frames_before_a_bad_one_come_first_where_botocore_loses_them() -> None:
    good = service_frame("assistantResponseEvent", b'{"content":"Hello"}')
    stream = good + good[:-1] + bytes((good[-1] ^ 1,))
    with pytest.raises(ParserError):
        botocore_reads(stream, len(stream))
    decoded = decode(stream)
    assert ([message.payload for message in decoded.messages], decoded.reason) == (
        [b'{"content":"Hello"}'],
        FaultReason.MESSAGE_CRC,
    )
