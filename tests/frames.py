"""Frames for tests: built by hand from the grammar, without the encoder under test, and hypothesis strategies."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

from hypothesis import strategies as st

from core.eventstream import Header, HeaderType, Message


def raw_frame(block: bytes = b"", payload: bytes = b"") -> bytes:
    """A frame with sound lengths and checksums around a header block and a payload that may be anything."""
    return raw_prelude(16 + len(block) + len(payload), len(block), block + payload)


def raw_prelude(total_length: int, headers_length: int, body: bytes = b"") -> bytes:
    """A frame whose lengths say anything, with sound checksums."""
    lengths = struct.pack(">II", total_length, headers_length)
    summed = lengths + struct.pack(">I", zlib.crc32(lengths)) + body
    return summed + struct.pack(">I", zlib.crc32(summed))


def raw_header(name: bytes, number: int, value: bytes = b"") -> bytes:
    """A header whose value, with its length where one belongs, is given as bytes."""
    return bytes((len(name),)) + name + bytes((number,)) + value


def raw_sized(value: bytes) -> bytes:
    """A value with its length before it."""
    return struct.pack(">H", len(value)) + value


def raw_text(name: str, text: str) -> bytes:
    """A string header."""
    return raw_header(name.encode(), 7, raw_sized(text.encode()))


def service_block(event_type: str) -> bytes:
    """The three headers of the service's events, in the order that it sends them in."""
    texts = {":event-type": event_type, ":content-type": "application/json", ":message-type": "event"}
    return b"".join(raw_text(name, text) for name, text in texts.items())


def service_frame(event_type: str, payload: bytes) -> bytes:
    """An event as the service sends it."""
    return raw_frame(service_block(event_type), payload)


def text(value: str) -> Header:
    """A string header's value."""
    return Header(HeaderType.STRING, value)


def integers(size: int) -> st.SearchStrategy[int]:
    """Signed integers of `size` bytes, their bounds among them."""
    bound = 1 << (8 * size - 1)
    return st.integers(-bound, bound - 1)


_names = st.text(min_size=1, max_size=60).filter(lambda name: len(name.encode()) <= 255)
_headers: st.SearchStrategy[Header] = st.one_of(
    st.sampled_from([Header(HeaderType.TRUE, True), Header(HeaderType.FALSE, False)]),
    st.builds(Header, st.just(HeaderType.BYTE), integers(1)),
    st.builds(Header, st.just(HeaderType.SHORT), integers(2)),
    st.builds(Header, st.just(HeaderType.INTEGER), integers(4)),
    st.builds(Header, st.just(HeaderType.LONG), integers(8)),
    st.builds(Header, st.just(HeaderType.BYTES), st.binary(max_size=40)),
    st.builds(Header, st.just(HeaderType.STRING), st.text(max_size=40)),
    st.builds(Header, st.just(HeaderType.TIMESTAMP), integers(8)),
    st.builds(Header, st.just(HeaderType.UUID), st.binary(min_size=16, max_size=16)),
)
header_mappings: st.SearchStrategy[Mapping[str, Header]] = st.dictionaries(_names, _headers, max_size=5)
messages = st.builds(Message, header_mappings, st.binary(max_size=80))
