"""A slow, obvious event-stream decoder: the grammar read aloud, to judge `core.eventstream` by.

It takes a whole stream, remembers nothing, guesses nothing, and shares with what it judges only the values that
both give. Where it and `feed` differ, one of them is wrong.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from core.eventstream import FaultReason, Header, HeaderType, Message

LARGEST_PAYLOAD = 24 * 1024 * 1024
LARGEST_HEADERS = 128 * 1024
LARGEST_FRAME = 12 + LARGEST_HEADERS + LARGEST_PAYLOAD + 4


class Refused(Exception):
    """What stands here may not. Its text is one of `FaultReason`."""


class Ended(Exception):
    """The stream ends before what was to be read."""


@dataclass(frozen=True)
class Reading:
    """The messages of a stream, why and at which frame's offset it stopped, or None twice when it did not."""

    messages: list[Message]
    reason: FaultReason | None
    offset: int | None


def read_stream(stream: bytes) -> Reading:
    """All that a stream holds, its end included."""
    messages: list[Message] = []
    offset = 0
    while offset < len(stream):
        try:
            message, length = read_frame(stream[offset:])
        except Refused as refused:
            return Reading(messages, FaultReason(str(refused)), offset)
        except Ended:
            return Reading(messages, FaultReason.TRUNCATED_STREAM, offset)
        messages.append(message)
        offset += length
    return Reading(messages, None, None)


def read_frame(stream: bytes) -> tuple[Message, int]:
    """The message at the beginning of a stream, and the length of its frame."""
    if len(stream) < 12:
        raise Ended
    total_length, headers_length, prelude_crc = struct.unpack("!LLL", stream[0:12])
    if zlib.crc32(stream[0:8]) != prelude_crc:
        raise Refused("prelude_crc")
    if total_length < 16:
        raise Refused("total_length_too_small")
    if 12 + headers_length + 4 > total_length:
        raise Refused("headers_length_exceeds_message")
    if total_length > LARGEST_FRAME:
        raise Refused("frame_too_large")
    if len(stream) < total_length:
        raise Ended
    frame = stream[0:total_length]
    (message_crc,) = struct.unpack("!L", frame[-4:])
    if zlib.crc32(frame[0:-4]) != message_crc:
        raise Refused("message_crc")
    headers = read_headers(frame[12 : 12 + headers_length])
    payload = frame[12 + headers_length : -4]
    return Message(headers, payload), total_length


def read_headers(block: bytes) -> dict[str, Header]:
    """The headers of a frame."""
    headers: dict[str, Header] = {}
    rest = block
    while rest:
        name_length, rest = rest[0], rest[1:]
        if name_length == 0:
            raise Refused("header_name_empty")
        raw_name, rest = split(rest, name_length)
        try:
            name = str(raw_name, "utf-8", "strict")
        except UnicodeDecodeError:
            raise Refused("header_name_not_utf8") from None
        if name in headers:
            raise Refused("header_duplicate")
        raw_type, rest = split(rest, 1)
        headers[name], rest = read_value(raw_type[0], rest)
    return headers


def read_value(number: int, rest: bytes) -> tuple[Header, bytes]:
    """A header's value of the type `number`, and what follows it."""
    if number == 0:
        return Header(HeaderType.TRUE, True), rest
    if number == 1:
        return Header(HeaderType.FALSE, False), rest
    if number == 2:
        raw, rest = split(rest, 1)
        return Header(HeaderType.BYTE, struct.unpack("!b", raw)[0]), rest
    if number == 3:
        raw, rest = split(rest, 2)
        return Header(HeaderType.SHORT, struct.unpack("!h", raw)[0]), rest
    if number == 4:
        raw, rest = split(rest, 4)
        return Header(HeaderType.INTEGER, struct.unpack("!l", raw)[0]), rest
    if number == 5:
        raw, rest = split(rest, 8)
        return Header(HeaderType.LONG, struct.unpack("!q", raw)[0]), rest
    if number == 6:
        raw, rest = split_sized(rest)
        return Header(HeaderType.BYTES, raw), rest
    if number == 7:
        raw, rest = split_sized(rest)
        try:
            return Header(HeaderType.STRING, str(raw, "utf-8", "strict")), rest
        except UnicodeDecodeError:
            raise Refused("header_value_not_utf8") from None
    if number == 8:
        raw, rest = split(rest, 8)
        return Header(HeaderType.TIMESTAMP, struct.unpack("!q", raw)[0]), rest
    if number == 9:
        raw, rest = split(rest, 16)
        return Header(HeaderType.UUID, raw), rest
    raise Refused("header_type_unknown")


def split_sized(rest: bytes) -> tuple[bytes, bytes]:
    """The bytes whose length stands before them, and what follows."""
    raw_length, rest = split(rest, 2)
    (length,) = struct.unpack("!H", raw_length)
    if length > 32767:
        raise Refused("header_value_too_long")
    return split(rest, length)


def split(rest: bytes, length: int) -> tuple[bytes, bytes]:
    """The first `length` bytes of what is left of a header block, and what follows."""
    if length > len(rest):
        raise Refused("header_past_block")
    return rest[:length], rest[length:]
