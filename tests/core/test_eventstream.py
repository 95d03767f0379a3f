"""What bytes are messages, and which fault ends a stream of others."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.eventstream import (
    MAX_FRAME_LENGTH,
    START,
    FaultReason,
    Header,
    HeaderType,
    Message,
    encode,
    feed,
    finish,
)
from tests.decoding import decode
from tests.frames import (
    messages,
    raw_frame,
    raw_header,
    raw_prelude,
    raw_sized,
    raw_text,
    service_block,
    service_frame,
    text,
)

UUID = bytes(range(16))
GOOD = service_frame("assistantResponseEvent", b'{"content":"Hello"}')
GOOD_MESSAGE = Message(
    {
        ":event-type": text("assistantResponseEvent"),
        ":content-type": text("application/json"),
        ":message-type": text("event"),
    },
    b'{"content":"Hello"}',
)


def damaged(frame: bytes) -> bytes:
    """The frame with a wrong last bit."""
    return frame[:-1] + bytes((frame[-1] ^ 1,))


@pytest.mark.parametrize(
    ("number", "value", "header_type", "expected"),
    [
        (0, b"", HeaderType.TRUE, True),
        (1, b"", HeaderType.FALSE, False),
        (2, b"\x80", HeaderType.BYTE, -128),
        (2, b"\x7f", HeaderType.BYTE, 127),
        (3, b"\x80\x00", HeaderType.SHORT, -32768),
        (3, b"\x7f\xff", HeaderType.SHORT, 32767),
        (4, b"\x80\x00\x00\x00", HeaderType.INTEGER, -(2**31)),
        (4, b"\x00\x00\xa0\x0c", HeaderType.INTEGER, 40972),
        (5, b"\x80" + bytes(7), HeaderType.LONG, -(2**63)),
        (5, b"\x7f" + b"\xff" * 7, HeaderType.LONG, 2**63 - 1),
        (6, raw_sized(b"\x00\xff"), HeaderType.BYTES, b"\x00\xff"),
        (6, raw_sized(b""), HeaderType.BYTES, b""),
        (6, raw_sized(b"b" * 32767), HeaderType.BYTES, b"b" * 32767),
        (7, raw_sized("é\u4f60\U0001f600".encode()), HeaderType.STRING, "é\u4f60\U0001f600"),
        (7, raw_sized(b""), HeaderType.STRING, ""),
        (7, raw_sized(b"\xef\xbb\xbf\x00"), HeaderType.STRING, "\ufeff\x00"),
        (8, struct.pack(">q", -1), HeaderType.TIMESTAMP, -1),
        (8, struct.pack(">q", 8675309), HeaderType.TIMESTAMP, 8675309),
        (9, UUID, HeaderType.UUID, UUID),
    ],
)
def test_each_header_type_keeps_its_type_and_value(
    number: int, value: bytes, header_type: HeaderType, expected: bool | int | bytes | str
) -> None:
    decoded = decode(raw_frame(raw_header(b"h", number, value), b"payload"))
    assert decoded.fault is None
    assert decoded.messages == (Message({"h": Header(header_type, expected)}, b"payload"),)
    header = decoded.messages[0].headers["h"]
    assert (type(header.type), type(header.value)) == (HeaderType, type(expected))


def test_an_empty_stream_is_whole_and_has_no_messages() -> None:
    decoded = decode(b"")
    assert (decoded.messages, decoded.fault) == ((), None)


@pytest.mark.parametrize("payload", [b"", b"{}", bytes(70_000)], ids=len)
@pytest.mark.parametrize(
    "block", [b"", raw_text("n", "v"), raw_text("n", "v" * 300), raw_text("n" * 255, "v")], ids=len
)
def test_a_frame_may_lack_headers_or_payload_or_both(block: bytes, payload: bytes) -> None:
    decoded = decode(raw_frame(block, payload))
    assert [(len(message.headers), message.payload) for message in decoded.messages] == [(bool(block), payload)]
    assert decoded.fault is None


def test_headers_keep_the_order_of_the_wire() -> None:
    names = ["z", "a", ":m", "é", "0"]
    (message,) = decode(raw_frame(b"".join(raw_text(name, "x") for name in names))).messages
    assert list(message.headers) == names


def test_equal_frames_are_all_kept() -> None:
    assert decode(GOOD * 5).messages == (GOOD_MESSAGE,) * 5


def test_headers_of_a_decoded_message_are_read_only() -> None:
    (message,) = feed(START, GOOD).messages
    headers: Any = message.headers
    with pytest.raises(TypeError):
        headers[":event-type"] = text("other")
    assert feed(START, GOOD).messages == (GOOD_MESSAGE,)


def test_text_gives_string_headers_only() -> None:
    message = Message({"s": text("value"), "e": text(""), "b": Header(HeaderType.BYTES, b"value")}, b"")
    assert [message.text(name) for name in ("s", "e", "b", "absent")] == ["value", "", None, None]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"\x00" * 12, FaultReason.PRELUDE_CRC),
        (b"<html><head><title>502", FaultReason.PRELUDE_CRC),
        (b'{"message":"Improperly formed request."}', FaultReason.PRELUDE_CRC),
        (GOOD[:8] + bytes(4) + GOOD[12:], FaultReason.PRELUDE_CRC),
        (raw_prelude(0, 0), FaultReason.TOTAL_LENGTH_TOO_SMALL),
        (raw_prelude(12, 0), FaultReason.TOTAL_LENGTH_TOO_SMALL),
        (raw_prelude(15, 0), FaultReason.TOTAL_LENGTH_TOO_SMALL),
        (raw_prelude(15, 2**32 - 1), FaultReason.TOTAL_LENGTH_TOO_SMALL),
        (raw_prelude(16, 1), FaultReason.HEADERS_LENGTH_EXCEEDS_MESSAGE),
        (raw_prelude(2**32 - 1, 2**32 - 16), FaultReason.HEADERS_LENGTH_EXCEEDS_MESSAGE),
        (raw_prelude(MAX_FRAME_LENGTH + 1, 0), FaultReason.FRAME_TOO_LARGE),
        (raw_prelude(2**32 - 1, 2**32 - 17), FaultReason.FRAME_TOO_LARGE),
        (damaged(raw_frame()), FaultReason.MESSAGE_CRC),
        (GOOD[:-4] + bytes(4), FaultReason.MESSAGE_CRC),
        (raw_frame(b"\x00"), FaultReason.HEADER_NAME_EMPTY),
        (raw_frame(raw_header(b"", 0)), FaultReason.HEADER_NAME_EMPTY),
        (raw_frame(raw_text("a", "x") + raw_header(b"", 0)), FaultReason.HEADER_NAME_EMPTY),
        (raw_frame(raw_header(b"\xff", 0)), FaultReason.HEADER_NAME_NOT_UTF8),
        (raw_frame(raw_header(b"\xc0\xaf", 0)), FaultReason.HEADER_NAME_NOT_UTF8),
        (raw_frame(raw_header(b"\xed\xa0\x80", 0)), FaultReason.HEADER_NAME_NOT_UTF8),
        (raw_frame(raw_header("é".encode()[:1], 0)), FaultReason.HEADER_NAME_NOT_UTF8),
        (raw_frame(raw_text("a", "x") + raw_text("a", "x")), FaultReason.HEADER_DUPLICATE),
        (raw_frame(raw_text("a", "x") + raw_header(b"b", 0) + raw_header(b"a", 1)), FaultReason.HEADER_DUPLICATE),
        (raw_frame(raw_header(b"a", 10)), FaultReason.HEADER_TYPE_UNKNOWN),
        (raw_frame(raw_header(b"a", 255, b"\x00\x00")), FaultReason.HEADER_TYPE_UNKNOWN),
        (raw_frame(raw_header(b"a", 7, raw_sized(b"x" * 32768))), FaultReason.HEADER_VALUE_TOO_LONG),
        (raw_frame(raw_header(b"a", 6, b"\xff\xff")), FaultReason.HEADER_VALUE_TOO_LONG),
        (raw_frame(raw_header(b"a", 7, raw_sized(b"\xff"))), FaultReason.HEADER_VALUE_NOT_UTF8),
        (raw_frame(raw_header(b"a", 7, raw_sized(b"\xed\xb0\x80"))), FaultReason.HEADER_VALUE_NOT_UTF8),
        (raw_frame(b"\x02a"), FaultReason.HEADER_PAST_BLOCK),
        (raw_frame(b"\x01a"), FaultReason.HEADER_PAST_BLOCK),
        (raw_frame(raw_header(b"a", 2)), FaultReason.HEADER_PAST_BLOCK),
        (raw_frame(raw_header(b"a", 3, b"\x00")), FaultReason.HEADER_PAST_BLOCK),
        (raw_frame(raw_header(b"a", 4, bytes(3))), FaultReason.HEADER_PAST_BLOCK),
        (raw_frame(raw_header(b"a", 5, bytes(7))), FaultReason.HEADER_PAST_BLOCK),
        (raw_frame(raw_header(b"a", 6, b"\x00")), FaultReason.HEADER_PAST_BLOCK),
        (raw_frame(raw_header(b"a", 7, b"\x00\x02x")), FaultReason.HEADER_PAST_BLOCK),
        (raw_frame(raw_header(b"a", 7, b"\x00\x02x"), b"payload"), FaultReason.HEADER_PAST_BLOCK),
        (raw_frame(raw_header(b"a", 8, bytes(7))), FaultReason.HEADER_PAST_BLOCK),
        (raw_frame(raw_header(b"a", 9, bytes(15))), FaultReason.HEADER_PAST_BLOCK),
    ],
)
def test_what_the_grammar_forbids_is_a_fault_at_its_frame_after_good_ones(frame: bytes, reason: FaultReason) -> None:
    alone = decode(frame)
    assert (alone.messages, alone.reason) == ((), reason)
    after = decode(GOOD + GOOD + frame + GOOD)
    assert after.messages == (GOOD_MESSAGE, GOOD_MESSAGE)
    assert after.fault is not None
    assert alone.fault is not None
    assert (after.fault.offset, alone.fault.offset) == (2 * len(GOOD), 0)
    assert after.fault.detail == alone.fault.detail


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (damaged(raw_frame(raw_header(b"", 10))), FaultReason.MESSAGE_CRC),
        (raw_frame(raw_header(b"\xff", 10)), FaultReason.HEADER_NAME_NOT_UTF8),
        (raw_frame(b"\x01\xff"), FaultReason.HEADER_NAME_NOT_UTF8),
        (raw_frame(raw_header(b"a", 0) + raw_header(b"a", 10)), FaultReason.HEADER_DUPLICATE),
        (raw_frame(raw_header(b"a", 10) + raw_header(b"", 0)), FaultReason.HEADER_TYPE_UNKNOWN),
        (raw_frame(raw_header(b"a", 7, raw_sized(b"\xff" * 32768))), FaultReason.HEADER_VALUE_TOO_LONG),
        (raw_frame(raw_header(b"a", 7, b"\x00\x02\xff")), FaultReason.HEADER_PAST_BLOCK),
    ],
)
def test_of_several_faults_the_first_in_reading_order_is_given(frame: bytes, reason: FaultReason) -> None:
    assert decode(frame).reason is reason


def test_a_detail_says_what_was_expected_what_was_there_and_where() -> None:
    details = [
        decode(frame).fault
        for frame in (
            raw_prelude(15, 0),
            raw_prelude(40, 30),
            raw_frame(raw_text("name", "v") + raw_header(b"name", 0)),
            raw_frame(raw_header(b"name", 77)),
            raw_frame(raw_header(b"name", 4, b"\x00")),
            raw_frame(raw_header(b"name", 7, raw_sized(b"ab\xff"))),
            GOOD[:20],
            GOOD[:5],
        )
    ]
    assert [fault and fault.detail for fault in details] == [
        "expected at least 16, got 15",
        "expected at most 24 bytes of headers in a frame of 40, got 30",
        "headers: expected another name than 'name' at byte 10",
        "headers: expected a type of 0 to 9 at byte 5, got 77",
        "headers: expected 4 bytes at byte 6, got the end at 7",
        "headers: expected UTF-8, got invalid start byte at byte 10",
        f"expected at least {len(GOOD)} bytes of a frame, got 20 and the stream's end",
        "expected at least 12 bytes of a frame, got 5 and the stream's end",
    ]


@pytest.mark.parametrize("body", [b"<html><head>", b'{"message":"', raw_prelude(2**31, 0)[:12]])
def test_a_prelude_is_judged_at_its_twelfth_byte(body: bytes) -> None:
    early = feed(START, GOOD + body[:11])
    assert (len(early.messages), early.fault) == (1, None)
    late = feed(early.pending, body[11:12])
    assert late.fault is not None
    assert (late.messages, late.fault.offset) == ((), len(GOOD))


@pytest.mark.parametrize("length", range(len(GOOD) + 1))
def test_a_stream_may_end_between_frames_only(length: int) -> None:
    decoded = decode(GOOD + GOOD[:length])
    if length in {0, len(GOOD)}:
        assert (len(decoded.messages), decoded.fault) == (1 + length // len(GOOD), None)
    else:
        assert decoded.fault is not None
        assert (len(decoded.messages), decoded.reason) == (1, FaultReason.TRUNCATED_STREAM)
        assert decoded.fault.offset == len(GOOD)


def test_ending_a_stream_changes_nothing_that_could_follow() -> None:
    pending = feed(START, GOOD[:40]).pending
    assert finish(pending) == finish(pending)
    assert feed(pending, GOOD[40:]).messages == (GOOD_MESSAGE,)


def test_a_head_is_not_remembered_for_what_was_refused() -> None:
    bad_sum = damaged(GOOD)
    bad_headers = raw_frame(raw_header(b"a", 10), b"x")
    for _ in range(2):
        assert decode(bad_sum).reason is FaultReason.MESSAGE_CRC
        assert decode(bad_headers).reason is FaultReason.HEADER_TYPE_UNKNOWN
    assert decode(GOOD).messages == (GOOD_MESSAGE,)


def test_heads_of_different_lengths_may_alternate() -> None:
    kinds = ["assistantResponseEvent", "toolUseEvent", "a", "codeEvent"]
    frames = [service_frame(kind, b"x" * length) for length in (0, 3, 3, 17) for kind in kinds]
    decoded = decode(b"".join(frames) + raw_frame() + raw_frame(service_block("e")) + GOOD)
    assert decoded.fault is None
    found = [message.text(":event-type") for message in decoded.messages]
    assert found == [*kinds * 4, None, "e", "assistantResponseEvent"]


@settings(max_examples=60, deadline=None)
@given(st.lists(messages, max_size=4))
def test_what_was_encoded_is_decoded_at_every_cut(sent: list[Message]) -> None:
    decoded = decode(b"".join(map(encode, sent)))
    assert decoded.fault is None
    assert list(decoded.messages) == sent
    assert [list(message.headers.items()) for message in decoded.messages] == [list(m.headers.items()) for m in sent]


@settings(max_examples=80, deadline=None)
@given(st.lists(messages, min_size=1, max_size=4), st.data())
def test_any_changed_byte_is_a_fault_at_its_frame_with_the_frames_before_intact(
    sent: list[Message], data: st.DataObject
) -> None:
    frames = [encode(message) for message in sent]
    stream = bytearray(b"".join(frames))
    place = data.draw(st.integers(0, len(stream) - 1), label="place")
    stream[place] ^= data.draw(st.one_of(st.sampled_from([1 << bit for bit in range(8)]), st.integers(1, 255)))
    hit = next(index for index in range(len(frames)) if place < sum(map(len, frames[: index + 1])))
    begin = sum(map(len, frames[:hit]))
    decoded = decode(bytes(stream))
    assert list(decoded.messages) == sent[:hit]
    assert decoded.fault is not None
    assert decoded.fault.offset == begin
    assert decoded.reason is (FaultReason.PRELUDE_CRC if place - begin < 12 else FaultReason.MESSAGE_CRC)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=12))
def test_any_header_block_is_read_as_the_reference_reads_it(block: bytes, payload: bytes) -> None:
    decode(raw_frame(block, payload))


_BYTES_OF_HEADERS = st.lists(
    st.one_of(
        st.builds(raw_header, st.binary(max_size=3), st.integers(0, 11), st.binary(max_size=9)),
        st.builds(raw_header, st.just(b"n"), st.sampled_from([6, 7]), st.binary(max_size=5).map(raw_sized)),
        st.builds(raw_text, st.sampled_from("abc"), st.text(max_size=3)),
    ),
    max_size=4,
).map(b"".join)


@settings(max_examples=250, deadline=None)
@given(_BYTES_OF_HEADERS)
def test_header_blocks_that_are_nearly_right_are_read_as_the_reference_reads_them(block: bytes) -> None:
    decode(raw_frame(block))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.just(GOOD), st.binary(max_size=20), messages.map(encode)), max_size=4).map(b"".join))
def test_any_bytes_are_read_as_the_reference_reads_them(stream: bytes) -> None:
    decode(stream)
