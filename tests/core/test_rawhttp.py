"""Captured HTTP/1.1 responses: head, body and rest, or the fault with its place. The reference reader agrees."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import rawhttp
from core.rawhttp import RawFault, RawFaultReason, RawResponse, parse_response
from fuzz.reference_rawhttp import read_response

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def whole(data: bytes, *, is_head: bool = False) -> RawResponse:
    """The response, which is a whole one by the reference too."""
    read = parse_response(data, is_head=is_head)
    assert isinstance(read, RawResponse), read
    expected = read_response(data, is_head)
    assert (list(read.pieces), read.rest, None) == (expected.pieces, len(data) - expected.end, expected.fault)
    assert b"".join(read.pieces) == read.body
    return read


def broken(data: bytes) -> tuple[RawFaultReason, int, bytes | None]:
    """Why and where the bytes stop being a response, by the reference too, and what of the body came."""
    read = parse_response(data)
    assert isinstance(read, RawFault), read
    assert (read.reason, read.offset) == read_response(data, False).fault
    assert read.detail.isprintable()
    return read.reason, read.offset, None if read.response is None else read.response.body


def chunks(*pieces: bytes) -> bytes:
    """A chunked body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def squeezed(data: bytes, bits: int) -> bytes:
    """The data in zlib's compression."""
    engine = zlib.compressobj(wbits=bits)
    return engine.compress(data) + engine.flush()


def test_the_head_has_its_status_and_its_headers_by_lower_case_name() -> None:
    response = whole(b"HTTP/1.1 429 Too Many\r\nRetry-After: 3\r\nX-A: \xe9\r\nContent-Length: 0\r\n\r\n")
    assert response.head.status == 429
    assert response.head.headers == {"retry-after": "3", "x-a": "é", "content-length": "0"}
    assert (response.body, response.pieces, response.rest) == (b"", (), 0)


@pytest.mark.parametrize(
    ("data", "pieces", "rest"),
    [
        (OK + b"Content-Length: 5\r\n\r\nHello", (b"Hello",), 0),
        (OK + b"Content-Length: 5\r\n\r\nHelloHTTP/1.1 408 Late\r\n\r\n", (b"Hello",), 21),
        (OK + b"\r\nHello", (b"Hello",), 0),
        (b"HTTP/1.0 200 OK\r\n\r\nHello", (b"Hello",), 0),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nHello", (b"Hel",), 2),
        (CHUNKED + chunks(b"Hel", b"lo"), (b"Hel", b"lo"), 0),
        (CHUNKED + b"3;a=b\r\nHel\r\n0\r\nA: b\r\n\r\nrubbish", (b"Hel",), 7),
        (OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nOKrubbish", (b"OK",), 7),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nHello", (), 5),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", (), 0),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nOK", (b"OK",), 0),
    ],
)
def test_a_body_is_delimited_as_http_says(data: bytes, pieces: tuple[bytes, ...], rest: int) -> None:
    response = whole(data)
    assert (response.pieces, response.rest) == (pieces, rest)


def test_the_answer_to_a_head_has_no_body_whatever_its_length_says() -> None:
    assert whole(OK + b"Content-Length: 5\r\n\r\n", is_head=True).body == b""


@pytest.mark.parametrize(
    ("coding", "bits"), [(b"gzip", 31), (b"X-Gzip", 31), (b"deflate", 15), (b"deflate", -15), (b"identity, gzip", 31)]
)
def test_compression_is_undone_chunk_by_chunk(coding: bytes, bits: int) -> None:
    engine = zlib.compressobj(wbits=bits)
    parts = [engine.compress(b"Hello") + engine.flush(zlib.Z_SYNC_FLUSH), engine.compress(b", world") + engine.flush()]
    head = OK + b"Content-Encoding: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % coding
    assert whole(head + chunks(*parts)).pieces == (b"Hello", b", world")


def test_a_gzip_stream_may_have_several_members_however_it_is_cut() -> None:
    body = gzip.compress(b"Hello") + gzip.compress(b"") + gzip.compress(b", world")
    head = OK + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    for size in (1, 2, 7, 19, 1000):
        parts = [body[at : at + size] for at in range(0, len(body), size)]
        assert whole(head + chunks(*parts)).body == b"Hello, world"


def test_a_compressed_body_of_nothing_is_nothing() -> None:
    assert whole(OK + b"Content-Encoding: gzip\r\nContent-Length: 0\r\n\r\n").body == b""
    assert whole(OK + b"Content-Encoding: br\r\nContent-Length: 0\r\n\r\n").body == b""


@pytest.mark.parametrize(
    ("data", "reason", "offset", "body"),
    [
        (b"", RawFaultReason.NO_HEAD, 0, None),
        (OK + b"Content-Le", RawFaultReason.NO_HEAD, 27, None),
        (b"HTTP/1.1 100 Continue\r\n\r\n", RawFaultReason.NO_HEAD, 25, None),
        (b"HTTP/1.1 OK\r\n\r\n", RawFaultReason.BAD_HEAD, 0, None),
        (b"\x16\x03\x01", RawFaultReason.BAD_HEAD, 0, None),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"nonsense\r\n\r\n", RawFaultReason.BAD_HEAD, 25, None),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: a\r\n\r\n", RawFaultReason.BAD_HEAD, 0, None),
        (OK + b"Content-Length: %b\r\n\r\n" % (b"9" * 5000), RawFaultReason.BAD_HEAD, 0, None),
        (OK + b"Content-Length: 9\r\n\r\nHello", RawFaultReason.CUT_BODY, 43, b"Hello"),
        (CHUNKED + b"5\r\nHello\r\n9\r\n, w", RawFaultReason.CUT_BODY, 63, b"Hello, w"),
        (CHUNKED + b"5\r\nHello\r\n0\r\n", RawFaultReason.CUT_BODY, 60, b"Hello"),
        (CHUNKED + b"5\r\nHello\r\nx\r\n", RawFaultReason.BAD_CHUNK, 57, b"Hello"),
        (CHUNKED + b"5\r\nHello5\r\nHello\r\n", RawFaultReason.BAD_CHUNK, 55, b"Hello"),
        (CHUNKED + b"5\r\nHello\r\n0\r\nA b\r\n\r\n", RawFaultReason.BAD_CHUNK, 57, b"Hello"),
        (OK + b"Content-Encoding: br\r\n\r\nHello", RawFaultReason.UNKNOWN_CODING, 41, b""),
        (OK + b"Content-Encoding: gzip, gzip\r\n\r\nHello", RawFaultReason.UNKNOWN_CODING, 49, b""),
        (OK + b"Content-Encoding: gzip\r\n\r\nHello", RawFaultReason.BAD_COMPRESSION, 44, b""),
        (OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"Hi", mtime=0)[:-4], RawFaultReason.BAD_COMPRESSION,
         43 + 18, b"Hi"),
        (OK + b"Content-Encoding: deflate\r\n\r\n" + zlib.compress(b"Hi") + b"!", RawFaultReason.BAD_COMPRESSION,
         46 + 10, b"Hi"),
    ],
)  # fmt: skip
def test_a_fault_says_why_and_where_and_what_came_before_it(
    data: bytes, reason: RawFaultReason, offset: int, body: bytes | None
) -> None:
    assert broken(data) == (reason, offset, body)


def test_the_byte_that_cannot_be_uncompressed_is_found_far_inside() -> None:
    body = gzip.compress(bytes(range(256)) * 200, mtime=0)
    head = OK + b"Content-Encoding: gzip\r\n\r\n"
    reason, offset, came = broken(head + body[:-8] + b"\0\0\0\0" + body[-4:])
    # The checksum is known to be wrong once all four of its bytes are there.
    assert (reason, offset) == (RawFaultReason.BAD_COMPRESSION, len(head) + len(body) - 5)
    assert came == bytes(range(256)) * 200


@pytest.mark.parametrize("coding", [b"identity", b"gzip"])
def test_a_body_that_is_too_large_is_given_up_to_there(monkeypatch: pytest.MonkeyPatch, coding: bytes) -> None:
    monkeypatch.setattr(rawhttp, "MAX_BODY", 100_000)
    for size in (100_000, 100_001):
        body = b"\0" * size if coding == b"identity" else gzip.compress(b"\0" * size)
        read = parse_response(OK + b"Content-Encoding: %b\r\n\r\n" % coding + body)
        if isinstance(read, RawResponse):
            assert (size, len(read.body)) == (100_000, 100_000)
        else:
            assert (size, read.reason) == (100_001, RawFaultReason.TOO_LARGE)
            assert read.response is not None
            assert len(read.response.body) == 100_000


@pytest.mark.parametrize("before", [OK, CHUNKED])
def test_a_line_without_an_end_is_too_large_and_no_wait(before: bytes) -> None:
    read = parse_response(before + b"a" * 100_000)
    assert isinstance(read, RawFault)
    assert read.reason is RawFaultReason.TOO_LARGE
    assert read.offset == (0 if before is OK else len(CHUNKED))


def test_many_small_chunks_and_many_empty_members_take_linear_time() -> None:
    # Either would take minutes if the rest of the bytes were looked at, or copied, for each.
    assert whole_body(CHUNKED + b"1\r\na\r\n" * 100_000 + b"0\r\n\r\n") == b"a" * 100_000
    members = gzip.compress(b"", mtime=0) * 50_000 + gzip.compress(b"Hello")
    assert whole_body(OK + b"Content-Encoding: gzip\r\n\r\n" + members) == b"Hello"


def whole_body(data: bytes) -> bytes:
    """The body, without asking the reference, which is slow."""
    read = parse_response(data)
    assert isinstance(read, RawResponse)
    return read.body


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.sampled_from([b"", b"HTTP/1.1 ", b"\r\n"]))
def test_what_was_chunked_comes_out_in_the_same_chunks(pieces: list[bytes], rest: bytes) -> None:
    response = whole(CHUNKED + chunks(*pieces) + rest)
    assert (response.pieces, response.rest) == (tuple(pieces), len(rest))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([31, 15, -15]))
def test_what_was_compressed_comes_out_as_it_was(body: bytes, bits: int) -> None:
    coding = b"gzip" if bits == 31 else b"deflate"
    data = squeezed(body, bits)
    assert whole(OK + b"Content-Encoding: %b\r\n\r\n" % coding + data).body == body
