"""The encoder: one frame for each message, and an error for what the format cannot hold."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings

from core.errors import ShellError
from core.eventstream import MAX_FRAME_LENGTH, START, Header, HeaderType, Message, encode, feed
from tests.frames import messages, raw_frame, raw_header, raw_sized, raw_text, service_frame, text


@pytest.mark.parametrize(
    ("message", "frame"),
    [
        (Message({}, b""), bytes.fromhex("00000010 00000000 05c248eb 7d98c8ff")),
        (Message({}, b"{'foo':'bar'}"), bytes.fromhex("0000001d00000000fd528c5a7b27666f6f273a27626172277dc3653936")),
        (Message({"t": Header(HeaderType.TRUE, True)}, b"p"), raw_frame(raw_header(b"t", 0), b"p")),
        (Message({"f": Header(HeaderType.FALSE, False)}, b"p"), raw_frame(raw_header(b"f", 1), b"p")),
        (Message({"b": Header(HeaderType.BYTE, -1)}, b""), raw_frame(raw_header(b"b", 2, b"\xff"))),
        (Message({"h": Header(HeaderType.SHORT, -2)}, b""), raw_frame(raw_header(b"h", 3, b"\xff\xfe"))),
        (Message({"i": Header(HeaderType.INTEGER, 40972)}, b""), raw_frame(raw_header(b"i", 4, b"\0\0\xa0\x0c"))),
        (Message({"l": Header(HeaderType.LONG, 258)}, b""), raw_frame(raw_header(b"l", 5, bytes(6) + b"\1\2"))),
        (Message({"y": Header(HeaderType.BYTES, b"ab")}, b""), raw_frame(raw_header(b"y", 6, raw_sized(b"ab")))),
        (Message({"s": text("é")}, b""), raw_frame(raw_header(b"s", 7, b"\0\2\xc3\xa9"))),
        (Message({"m": Header(HeaderType.TIMESTAMP, -1)}, b""), raw_frame(raw_header(b"m", 8, b"\xff" * 8))),
        (Message({"u": Header(HeaderType.UUID, b"u" * 16)}, b""), raw_frame(raw_header(b"u", 9, b"u" * 16))),
        (Message({"n" * 255: text("v" * 32767)}, b""), raw_frame(raw_text("n" * 255, "v" * 32767))),
        (Message({"é" * 127: text("")}, b""), raw_frame(raw_text("é" * 127, ""))),
        (
            Message(
                {":event-type": text("e"), ":content-type": text("application/json"), ":message-type": text("event")},
                b"{}",
            ),
            service_frame("e", b"{}"),
        ),
    ],
)
def test_a_message_has_one_frame(message: Message, frame: bytes) -> None:
    assert encode(message) == frame
    assert feed(START, frame).messages == (message,)


@settings(max_examples=150, deadline=None)
@given(messages)
def test_encoding_and_decoding_are_each_others_inverse(message: Message) -> None:
    frame = encode(message)
    fed = feed(START, frame)
    assert (fed.messages, fed.fault) == ((message,), None)
    assert encode(fed.messages[0]) == frame


@pytest.mark.parametrize(
    ("name", "header", "problem"),
    [
        ("", text("v"), "expected a header's name of 1 to 255 bytes of UTF-8, got 0"),
        ("n" * 256, text("v"), "expected a header's name of 1 to 255 bytes of UTF-8, got 256"),
        ("é" * 128, text("v"), "expected a header's name of 1 to 255 bytes of UTF-8, got 256"),
        ("n\ud800", text("v"), "a header's name: surrogates not allowed at character 1"),
        ("n", text("ab\udfff"), "header 'n': surrogates not allowed at character 2"),
        ("n", text("v" * 32768), "header 'n': expected at most 32767 bytes, got 32768"),
        ("n", text("é" * 16384), "header 'n': expected at most 32767 bytes, got 32768"),
        ("n", Header(HeaderType.BYTES, bytes(32768)), "header 'n': expected at most 32767 bytes, got 32768"),
        ("n", Header(HeaderType.BYTE, 128), "header 'n': expected an integer of 1 bytes"),
        ("n", Header(HeaderType.BYTE, -129), "header 'n': expected an integer of 1 bytes"),
        ("n", Header(HeaderType.SHORT, 2**15), "header 'n': expected an integer of 2 bytes"),
        ("n", Header(HeaderType.INTEGER, -(2**31) - 1), "header 'n': expected an integer of 4 bytes"),
        ("n", Header(HeaderType.LONG, 2**63), "header 'n': expected an integer of 8 bytes"),
        ("n", Header(HeaderType.TIMESTAMP, -(2**63) - 1), "header 'n': expected an integer of 8 bytes"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(name: str, header: Header, problem: str) -> None:
    with pytest.raises(ShellError) as raised:
        encode(Message({"before": text("v"), name: header}, b"payload"))
    assert str(raised.value) == problem


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (0, False),
        (0, 1),
        (1, True),
        (1, None),
        (2, True),
        (4, "4"),
        (5, 5.0),
        (6, "text"),
        (7, b"bytes"),
        (8, None),
        (9, bytes(15)),
        (9, bytes(17)),
        (9, "u" * 16),
        (10, b""),
        (300, "text"),
        (-1, 1),
    ],
)
def test_a_value_that_is_not_of_its_type_is_refused(number: int, value: Any) -> None:
    header_type: Any = HeaderType(number) if number in set(HeaderType) else number
    with pytest.raises(ShellError, match=r"^header 'n': expected a value of type .*, got a "):
        encode(Message({"n": Header(header_type, value)}, b""))


def test_a_frame_may_be_as_long_as_the_decoder_takes_and_no_longer() -> None:
    longest = Message({}, bytes(MAX_FRAME_LENGTH - 16))
    assert len(encode(longest)) == MAX_FRAME_LENGTH
    with pytest.raises(ShellError, match=f"expected a frame of at most {MAX_FRAME_LENGTH} bytes"):
        encode(Message({}, bytes(MAX_FRAME_LENGTH - 15)))


class Repeating(Mapping[str, Header]):
    """What libraries make of HTTP's headers: a mapping with one key twice."""

    def __getitem__(self, name: str) -> Header:
        return text(name)

    def __iter__(self) -> Iterator[str]:
        return iter(["n", "m", "n"])

    def __len__(self) -> int:
        return 3

    def items(self) -> ItemsView[str, Header]:
        return ItemsView(self)


def test_a_name_that_stands_there_twice_is_refused() -> None:
    with pytest.raises(ShellError, match="expected header names that differ, got one twice"):
        encode(Message(Repeating(), b""))


def test_messages_are_equal_by_value_whatever_kind_of_mapping_they_hold() -> None:
    message = Message({"a": text("1"), "b": Header(HeaderType.BYTE, 1)}, b"p")
    (decoded,) = feed(START, encode(message)).messages
    assert decoded == message
    assert message == decoded
    assert decoded == feed(START, encode(message)).messages[0]
    assert decoded != Message({"a": text("1"), "b": Header(HeaderType.SHORT, 1)}, b"p")
    assert decoded != Message(message.headers, b"q")


def test_messages_are_frozen() -> None:
    message: Any = Message({}, b"")
    with pytest.raises(AttributeError):
        message.payload = b"other"
