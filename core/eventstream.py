"""AWS event-stream frames (`application/vnd.amazon.eventstream`): bytes to messages and back.

The format is that of Smithy's "Amazon Event Stream Specification". This module knows frames, checksums and
headers. It does not look into payloads, gives no header a meaning, and never drops a frame that equals another
one. What a frame says is for `codewhisperer` to read.

    frame:   total_length u32 | headers_length u32 | prelude_crc u32 | headers | payload | message_crc u32
    header:  name_length u8 | name | type u8 | value

All integers are big-endian. The checksums are CRC-32 as zlib has it: one of the first eight bytes, and one of
everything before itself. Here the first twelve bytes are the prelude; prelude and headers are the head.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum, StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final
from zlib import crc32

import msgspec

from core.errors import ShellError

# Payloads of more than 24 MiB and headers of more than 128 KiB may not be sent, but clients may not check that.
# So this is no rule of the format: it guards memory, and refuses nothing legal.
MAX_FRAME_LENGTH: Final = 24 * 1024 * 1024 + 128 * 1024 + 16

_LENGTHS: Final = struct.Struct(">II")
_PRELUDE: Final = struct.Struct(">III")
_CHECKSUM: Final = struct.Struct(">I")
_PRELUDE_LENGTH: Final = 12
_CHECKSUM_LENGTH: Final = 4
SHORTEST_FRAME: Final = _PRELUDE_LENGTH + _CHECKSUM_LENGTH
_LONGEST_NAME: Final = 255
_LONGEST_VALUE: Final = 32767
_CHUNK_LENGTH: Final = 4096


class HeaderType(IntEnum):
    """What a header's value is, by its number on the wire."""

    TRUE = 0
    FALSE = 1
    BYTE = 2
    SHORT = 3
    INTEGER = 4
    LONG = 5
    BYTES = 6
    STRING = 7
    TIMESTAMP = 8
    UUID = 9


# The sizes of values by their type's number; bytes and strings say their own.
_INTEGER_SIZES: Final = {2: 1, 3: 2, 4: 4, 5: 8, 8: 8}
_FIXED_SIZES: Final = {0: 0, 1: 0, 9: 16, **_INTEGER_SIZES}


class Header(msgspec.Struct, frozen=True, gc=False):
    """A header's value. A timestamp is kept as its milliseconds since 1970, a UUID as its 16 bytes."""

    type: HeaderType
    value: bool | int | bytes | str


class Message(msgspec.Struct, frozen=True, gc=False):
    """A frame's content. `headers` keep the wire's order; those of a decoded message are read-only and shared."""

    headers: Mapping[str, Header]
    payload: bytes

    def text(self, name: str) -> str | None:
        """The value of the string header `name`; None when it is absent or of another type."""
        header = self.headers.get(name)
        return header.value if header is not None and isinstance(header.value, str) else None


class FaultReason(StrEnum):
    """Why bytes are no frame. Of several, the first is given: prelude, message checksum, headers from the left."""

    PRELUDE_CRC = "prelude_crc"
    TOTAL_LENGTH_TOO_SMALL = "total_length_too_small"
    HEADERS_LENGTH_EXCEEDS_MESSAGE = "headers_length_exceeds_message"
    FRAME_TOO_LARGE = "frame_too_large"
    MESSAGE_CRC = "message_crc"
    HEADER_NAME_EMPTY = "header_name_empty"
    HEADER_NAME_NOT_UTF8 = "header_name_not_utf8"
    HEADER_DUPLICATE = "header_duplicate"
    HEADER_TYPE_UNKNOWN = "header_type_unknown"
    HEADER_VALUE_TOO_LONG = "header_value_too_long"
    HEADER_VALUE_NOT_UTF8 = "header_value_not_utf8"
    HEADER_PAST_BLOCK = "header_past_block"
    TRUNCATED_STREAM = "truncated_stream"


class Fault(msgspec.Struct, frozen=True, gc=False):
    """Where and why a stream stopped being one.

    `offset` is the stream offset of the first byte of the frame at fault, so also the count of bytes in good
    frames. `detail` is one line for people, with the place inside the frame. None of them depends on the cut.
    """

    reason: FaultReason
    offset: int
    detail: str


class Pending(msgspec.Struct, frozen=True, gc=False, eq=False):  # noqa: PLW1641 (a hash would join 24 MiB)
    """A stream read so far: the bytes of a frame that is not complete yet, or the fault. Opaque to others.

    The held bytes are those of the first `count` of `chunks`, then `tail`. Successive values share the list
    `chunks`, which is only ever appended to, so that a long frame is not copied at every feed. So they are equal
    when the bytes are, in whatever pieces, and cannot be hashed.
    """

    offset: int = 0  # the stream offset of the first held byte, where a frame begins
    length: int = 0  # how many bytes are held
    needed: int = _PRELUDE_LENGTH  # how many must be, before more can be said: a prelude, then the whole frame
    head_length: int = _PRELUDE_LENGTH  # that of the last frame's head: a guess at the next one's
    tail: bytes = b""
    chunks: list[bytes] = []
    count: int = 0
    fault: Fault | None = None

    def held_and(self, data: bytes) -> bytes:
        """The held bytes, and `data` after them."""
        return b"".join((*self.chunks[: self.count], self.tail, data)) if self.count else self.tail + data

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pending) or (self.offset, self.fault) != (other.offset, other.fault):
            return False
        return self.held_and(b"") == other.held_and(b"")

    def __ne__(self, other: object) -> bool:  # the inherited one goes by identity here
        return not self == other

    def __repr__(self) -> str:
        return f"Pending(offset={self.offset}, length={self.length}, fault={self.fault!r})"


START: Final = Pending()


class Fed(msgspec.Struct, frozen=True, gc=False):
    """What feeding some bytes gave: the messages that they complete, then the fault, if there is one."""

    messages: tuple[Message, ...]
    pending: Pending
    fault: Fault | None


# A service repeats a few heads for ever: only the length of the payload varies in them. So a head that was found
# sound is remembered by its bytes: where the frame's checksum stands, the headers, the checksum up to the payload;
# and so are the headers alone. Equal bytes give equal results, so `feed` stays pure. Each dict operation is atomic;
# a lost race costs a head read anew, or a few above the bound. The bounds are against a peer that never repeats
# itself: the service's heads have about 104 bytes.
_remembered: Final[dict[bytes, tuple[int, Mapping[str, Header], int]]] = {}
_MOST_REMEMBERED: Final = 1024
_LONGEST_REMEMBERED: Final = 256


def feed(pending: Pending, data: bytes) -> Fed:
    """The messages that `data`, the stream's next bytes, completes, and the fault that ends the stream, if any.

    Messages before the fault come first, whatever the cut; after it none do, and it is given again. No next frame
    is searched for: where a length may be damaged, any boundary is a guess. A prelude is judged once it is there:
    a body of JSON or HTML is a fault at its twelfth byte, and no wait for the gigabytes that it seems to announce.
    Time is linear in the bytes, however they are cut. An old `pending` may be fed again, with other bytes too.
    """
    if pending.fault is not None:
        return Fed((), pending, pending.fault)
    if pending.length + len(data) < pending.needed:
        return Fed((), _hold(pending, data), None)
    if pending.length:
        data = pending.held_and(data)
    recall, checksum_at = _remembered.get, _CHECKSUM.unpack_from
    messages: list[Message] = []
    fault, needed, head_length = None, _PRELUDE_LENGTH, pending.head_length
    start, last_checksum = 0, len(data) - _CHECKSUM_LENGTH
    while True:
        # A wrong guess cannot mislead: what is remembered says its own length, so it equals whole heads only.
        payload_at = start + head_length
        known = recall(data[start:payload_at])
        if known is None:
            needed = _PRELUDE_LENGTH
            if len(data) - start < needed:
                break
            head_length = needed + _LENGTHS.unpack_from(data, start)[1]
            payload_at = start + head_length
            known = recall(data[start:payload_at])
        if known is not None:
            summed, headers, head_crc = known
            end = start + summed
            if end > last_checksum:
                needed = summed + _CHECKSUM_LENGTH
                break
            payload = data[payload_at:end]
            if crc32(payload, head_crc) == checksum_at(data, end)[0]:
                messages.append(Message(headers, payload))
                start = end + _CHECKSUM_LENGTH
                continue
        # Only a head that is new, and a frame that is unsound, come here.
        fault = _judge_prelude(data[start : start + _PRELUDE_LENGTH], pending.offset + start)
        needed = _LENGTHS.unpack_from(data, start)[0]
        end = start + needed - _CHECKSUM_LENGTH
        if fault is not None or end > last_checksum:
            break
        head, payload = data[start:payload_at], data[payload_at:end]
        read = _read_frame(head, payload, checksum_at(data, end)[0], pending.offset + start)
        if isinstance(read, Fault):
            fault = read
            break
        messages.append(read)
        start = end + _CHECKSUM_LENGTH
    offset = pending.offset + start
    if fault is not None:
        return Fed(tuple(messages), Pending(offset, fault=fault), fault)
    return Fed(tuple(messages), Pending(offset, len(data) - start, needed, head_length, data[start:]), None)


def finish(pending: Pending) -> Fault | None:
    """The fault of a stream that ends here: the one it had before, or that a frame was begun and not completed."""
    if pending.fault is not None or not pending.length:
        return pending.fault
    detail = f"expected at least {pending.needed} bytes of a frame, got {pending.length} and the stream's end"
    return Fault(FaultReason.TRUNCATED_STREAM, pending.offset, detail)


def _hold(pending: Pending, data: bytes) -> Pending:
    """`pending` with more bytes of its frame."""
    chunks, count, tail = pending.chunks, pending.count, pending.tail + data
    # Single bytes gather in `tail` first, at a bounded cost each: a list entry for each of them would take eight.
    if len(tail) >= _CHUNK_LENGTH:
        if len(chunks) == count:
            chunks.append(tail)
        # Another value may have gone on from here, even between those two lines: then its chunk stands there.
        if len(chunks) == count or chunks[count] is not tail:
            chunks = [*chunks[:count], tail]
        count, tail = count + 1, b""
    length = pending.length + len(data)
    return Pending(pending.offset, length, pending.needed, pending.head_length, tail, chunks, count)


def _judge_prelude(prelude: bytes, offset: int) -> Fault | None:
    """What is wrong with a frame's first twelve bytes, before any more of it is waited for."""
    total_length, headers_length, stated = _PRELUDE.unpack(prelude)
    computed, most = crc32(prelude[:8]), total_length - SHORTEST_FRAME
    if stated != computed:
        return Fault(FaultReason.PRELUDE_CRC, offset, f"expected {computed:#010x} at byte 8, got {stated:#010x}")
    if total_length < SHORTEST_FRAME:
        return Fault(FaultReason.TOTAL_LENGTH_TOO_SMALL, offset, f"expected at least 16, got {total_length}")
    if headers_length > most:
        detail = f"expected at most {most} bytes of headers in a frame of {total_length}, got {headers_length}"
        return Fault(FaultReason.HEADERS_LENGTH_EXCEEDS_MESSAGE, offset, detail)
    if total_length > MAX_FRAME_LENGTH:
        return Fault(FaultReason.FRAME_TOO_LARGE, offset, f"expected at most {MAX_FRAME_LENGTH}, got {total_length}")
    return None


def _read_frame(head: bytes, payload: bytes, stated: int, offset: int) -> Message | Fault:
    """The message of a complete frame with a sound prelude; its head is remembered when all is sound."""
    head_crc = crc32(head)
    computed = crc32(payload, head_crc)
    if stated != computed:
        return Fault(FaultReason.MESSAGE_CRC, offset, f"expected {computed:#010x} at the end, got {stated:#010x}")
    parse = _parse_headers if len(head) <= _LONGEST_REMEMBERED else _parse_headers.__wrapped__
    try:
        headers = parse(head[_PRELUDE_LENGTH:])
    except _HeaderRefused as refused:
        return Fault(refused.args[0], offset, f"headers: {refused.args[1]}")
    if len(head) <= _LONGEST_REMEMBERED:
        if len(_remembered) >= _MOST_REMEMBERED:
            _remembered.clear()
        _remembered[head] = (len(head) + len(payload), headers, head_crc)
    return Message(headers, payload)


class _HeaderRefused(Exception):
    """A header that may not be: reason and detail. Never leaves this module: `_read_frame` makes a fault of it."""


@lru_cache(_MOST_REMEMBERED)
def _parse_headers(block: bytes) -> Mapping[str, Header]:
    """The headers in `block`, read-only because they are shared. Places in details are bytes of the block."""
    headers: dict[str, Header] = {}
    at = 0
    while at < len(block):
        raw_name, after = _take(block, at + 1, block[at])
        if not raw_name:
            raise _HeaderRefused(FaultReason.HEADER_NAME_EMPTY, f"expected a name at byte {at + 1}, got an empty one")
        name = _decode(raw_name, at + 1, FaultReason.HEADER_NAME_NOT_UTF8)
        if name in headers:
            raise _HeaderRefused(FaultReason.HEADER_DUPLICATE, f"expected another name than {name!r} at byte {at + 1}")
        headers[name], at = _parse_value(block, after)
    return MappingProxyType(headers)


def _parse_value(block: bytes, at: int) -> tuple[Header, int]:
    """The type at `at` with its value, and where they end."""
    (number,), begin = _take(block, at, 1)
    if number > HeaderType.UUID:
        raise _HeaderRefused(FaultReason.HEADER_TYPE_UNKNOWN, f"expected a type of 0 to 9 at byte {at}, got {number}")
    header_type = HeaderType(number)
    size = _FIXED_SIZES.get(header_type)
    if size is None:
        raw_size, begin = _take(block, begin, 2)
        size = int.from_bytes(raw_size)
        if size > _LONGEST_VALUE:
            detail = f"expected at most {_LONGEST_VALUE} bytes of value at byte {begin}, got {size}"
            raise _HeaderRefused(FaultReason.HEADER_VALUE_TOO_LONG, detail)
    raw, end = _take(block, begin, size)
    match header_type:
        case HeaderType.TRUE | HeaderType.FALSE:
            return Header(header_type, header_type is HeaderType.TRUE), end
        case HeaderType.STRING:
            return Header(header_type, _decode(raw, begin, FaultReason.HEADER_VALUE_NOT_UTF8)), end
        case HeaderType.BYTES | HeaderType.UUID:
            return Header(header_type, raw), end
        case _:
            return Header(header_type, int.from_bytes(raw, signed=True)), end


def _take(block: bytes, begin: int, size: int) -> tuple[bytes, int]:
    """The `size` bytes from `begin`, which must be inside, and where they end."""
    end = begin + size
    if end > len(block):
        detail = f"expected {size} bytes at byte {begin}, got the end at {len(block)}"
        raise _HeaderRefused(FaultReason.HEADER_PAST_BLOCK, detail)
    return block[begin:end], end


def _decode(raw: bytes, begin: int, reason: FaultReason) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise _HeaderRefused(reason, f"expected UTF-8, got {error.reason} at byte {begin + error.start}") from None


def encode(message: Message) -> bytes:
    """The message as a frame: the only one that `feed` reads as this message.

    Raises:
        ShellError: a name or a value that the format cannot hold, or a frame longer than `MAX_FRAME_LENGTH`.
    """
    encoded = [_encode_header(name, header) for name, header in message.headers.items()]
    # A mapping has no key twice, but those that libraries make of HTTP's headers do.
    if len(encoded) != len(set(message.headers)):
        raise ShellError("expected header names that differ, got one twice")
    headers = b"".join(encoded)
    total_length = SHORTEST_FRAME + len(headers) + len(message.payload)
    if total_length > MAX_FRAME_LENGTH:
        raise ShellError(f"expected a frame of at most {MAX_FRAME_LENGTH} bytes, got {total_length}")
    lengths = _LENGTHS.pack(total_length, len(headers))
    summed = b"".join((lengths, _CHECKSUM.pack(crc32(lengths)), headers, message.payload))
    return summed + _CHECKSUM.pack(crc32(summed))


def _encode_header(name: str, header: Header) -> bytes:
    raw_name = _encode_text(name, "a header's name")
    if not 0 < len(raw_name) <= _LONGEST_NAME:
        raise ShellError(f"expected a header's name of 1 to {_LONGEST_NAME} bytes of UTF-8, got {len(raw_name)}")
    value = _encode_value(header, f"header {name!r}")
    return b"".join((bytes((len(raw_name),)), raw_name, bytes((header.type,)), value))


def _encode_value(header: Header, what: str) -> bytes:
    match header.type, header.value:
        case (HeaderType.TRUE, True) | (HeaderType.FALSE, False):
            return b""
        case HeaderType.UUID, bytes(uuid) if len(uuid) == _FIXED_SIZES[HeaderType.UUID]:
            return uuid
        case HeaderType.BYTES, bytes(value):
            return _encode_sized(value, what)
        case HeaderType.STRING, str(text):
            return _encode_sized(_encode_text(text, what), what)
        case header_type, int(number) if header_type in _INTEGER_SIZES and not isinstance(number, bool):
            try:
                return number.to_bytes(_INTEGER_SIZES[header_type], signed=True)
            except OverflowError:
                raise ShellError(f"{what}: expected an integer of {_INTEGER_SIZES[header_type]} bytes") from None
        case _:
            raise ShellError(f"{what}: expected a value of type {header.type!r}, got a {type(header.value).__name__}")


def _encode_sized(value: bytes, what: str) -> bytes:
    if len(value) > _LONGEST_VALUE:
        raise ShellError(f"{what}: expected at most {_LONGEST_VALUE} bytes, got {len(value)}")
    return len(value).to_bytes(2) + value


def _encode_text(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ShellError(f"{what}: {error.reason} at character {error.start}") from None
