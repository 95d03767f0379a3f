r"""Captured HTTP responses: whatever the bytes, the reader says what the slow reference says.

- status, headers, pieces, the count of bytes left over, and a fault's reason and place are those of
  `fuzz.reference_rawhttp`; what a fault says is one short printable line;
- no piece is empty, and together they are the body;
- what stands behind a whole response changes nothing but the count;
- of a response that is cut anywhere, what is given is a beginning of what the whole one gives.

An input is a letter and the rest.

    r   the rest is the capture. R: the answer to a HEAD.
    c   the rest is a body, sent in chunks of sizes that its first bytes give. g, d, D: compressed first, with gzip,
        zlib's deflate and the bare one. The first two bytes of all say which byte of the capture is damaged, the
        third how (0: not at all), the fourth where it is cut (255: nowhere).
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

if __name__ == "__main__":  # as a script, so that the modules beside it are the ones that are tried
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from core.rawhttp import RawFault, RawResponse, parse_response
from fuzz.reference_rawhttp import read_response

_LONGEST_DETAIL = 200
_CODINGS = {b"g": ("gzip", 31), b"d": ("deflate", 15), b"D": ("deflate", -15)}
_LONGEST = 2000
"""Bytes of a capture: the reference uncompresses byte by byte."""


def one_input(data: bytes) -> None:
    """One capture, by the rules above."""
    mode, rest = data[:1], data[1:]
    if mode in (b"c", *_CODINGS):
        capture = _write(mode, rest)
        _check(capture, is_head=False)
        _check(_spoil(capture, rest[:4]), is_head=False)
    else:
        _check(rest, is_head=mode == b"R")


def _check(capture: bytes, *, is_head: bool) -> None:
    capture = capture[:_LONGEST]
    response = _judge(capture, is_head=is_head)
    if response is None:
        return
    assert all(response.pieces)
    assert b"".join(response.pieces) == response.body
    read = parse_response(capture, is_head=is_head)
    if isinstance(read, RawResponse) and read.rest:
        end = len(capture) - read.rest
        alone = _judge(capture[:end], is_head=is_head)
        assert alone is not None
        assert (alone.head, alone.pieces, alone.rest) == (read.head, read.pieces, 0)
    for cut in (len(capture) // 2, len(capture) - 1):
        begun = _judge(capture[:cut], is_head=is_head)
        if begun is not None and begun.head == response.head:
            # What is left of a bare deflate's first two bytes may be taken for another form of it.
            assert response.body.startswith(begun.body) or "deflate" in begun.head.headers.get("content-encoding", "")


def _judge(capture: bytes, *, is_head: bool) -> RawResponse | None:
    """What of the capture is a response, if anything, after it was seen to be what the reference says."""
    read = parse_response(capture, is_head=is_head)
    assert read == parse_response(capture, is_head=is_head)
    expected = read_response(capture, is_head)
    fault = read if isinstance(read, RawFault) else None
    assert (fault and (fault.reason, fault.offset)) == expected.fault
    if fault is not None:
        assert 0 <= fault.offset <= len(capture)
        assert fault.detail.isprintable()
        assert 0 < len(fault.detail) < _LONGEST_DETAIL
    response = read.response if isinstance(read, RawFault) else read
    assert (response is None) == (expected.status is None)
    if response is not None:
        assert (response.head.status, response.head.headers) == (expected.status, expected.headers)
        assert list(response.pieces) == expected.pieces
        assert response.rest == (len(capture) - expected.end if fault is None else 0)
    return response


def _write(mode: bytes, rest: bytes) -> bytes:
    """A capture of a chunked response whose body is most of `rest`."""
    sizes, body = rest[4:8], rest[8:]
    headers = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
    if mode in _CODINGS:
        name, bits = _CODINGS[mode]
        engine = zlib.compressobj(wbits=bits)
        body = engine.compress(body) + engine.flush()
        headers += b"Content-Encoding: %b\r\n" % name.encode()
    chunks = b""
    at = turn = 0
    while at < len(body):
        chunk = body[at : at + 1 + (sizes[turn % len(sizes)] if sizes else 7)]
        chunks += b"%x\r\n%b\r\n" % (len(chunk), chunk)
        at, turn = at + len(chunk), turn + 1
    return headers + b"\r\n" + chunks + b"0\r\n\r\n"


def _spoil(capture: bytes, how: bytes) -> bytes:
    place, change, cut = int.from_bytes(how[:2]) % len(capture), how[2:3], how[3:4]
    damaged = capture[:place] + bytes((capture[place] ^ (change or b"\0")[0],)) + capture[place + 1 :]
    return damaged if cut in (b"", b"\xff") else damaged[: len(capture) * cut[0] // 255]


if __name__ == "__main__":
    from fuzz.runner import run

    run(one_input)
