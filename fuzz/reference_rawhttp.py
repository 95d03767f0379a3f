"""A slow, obvious reader of captured HTTP/1.1 responses: the grammar read aloud, to judge `core.rawhttp` by.

It has all bytes at once, cuts what it has read off the front, and knows nothing of h11. Line ends of a head may lack
their carriage return, as h11 has it; those of chunks may not.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field

from core.rawhttp import RawFaultReason

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_STATUS_LINE = re.compile(rb"HTTP/\d\.\d (\d\d\d)( [^\0\n\v\f\r]*)?")
_HEADER_LINE = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([^\0\s][^\0\n\v\f\r]*|)")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,20})(;[^\n]*)?[ \t]*")


class Stopped(Exception):
    """The bytes are no response from `offset` on."""

    def __init__(self, reason: RawFaultReason, offset: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


@dataclass
class Reading:
    """What was read. `coded` has each chunk of the body with its place, as the wire has it."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    coded: list[tuple[int, bytes]] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    end: int = 0
    fault: tuple[RawFaultReason, int] | None = None


def read_response(data: bytes, is_head: bool) -> Reading:
    """All that a capture holds, up to where it stops being a response."""
    reading = Reading()
    lines: list[tuple[bytes, bytes]] = []
    try:
        lines = read_head(data, reading)
        read_body(data, lines, reading, is_head)
    except Stopped as stopped:
        reading.fault = stopped.reason, stopped.offset
    if reading.status is not None:
        try:
            undo(reading, codings(lines))
        except Stopped as stopped:
            reading.fault = stopped.reason, stopped.offset
    return reading


def read_head(data: bytes, reading: Reading) -> list[tuple[bytes, bytes]]:
    """The header lines of the final response; `reading.end` is behind its blank line then."""
    while True:
        begin = reading.end
        head, length = head_of(data[begin:], len(data))
        status = _STATUS_LINE.fullmatch(head[0])
        if status is None:
            raise Stopped(RawFaultReason.BAD_HEAD, begin)
        lines = header_lines(head[1:], RawFaultReason.BAD_HEAD, begin)
        code = int(status[1])
        if code < 100 or code == 101:
            raise Stopped(RawFaultReason.BAD_HEAD, begin)
        reading.end += length
        if code >= 200:
            reading.status = code
            reading.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in lines}
            return lines


def head_of(data: bytes, end: int) -> tuple[list[bytes], int]:
    """The lines before a blank line, and how long they are with it."""
    if data.startswith((b"\n", b"\r\n")):
        return [b""], 0
    ends = [match.end() for match in [re.search(rb"\n\r?\n", data)] if match]
    if not ends and data and data[0] <= 0x20:
        return [b""], 0
    if not ends:
        raise Stopped(RawFaultReason.NO_HEAD, end)
    lines = [line.removesuffix(b"\r") for line in data[: ends[0]].split(b"\n")]
    return lines[:-2], ends[0]


def header_lines(lines: list[bytes], reason: RawFaultReason, offset: int) -> list[tuple[bytes, bytes]]:
    """Names in lower case and values; a line that begins with a blank goes on with the one before it."""
    joined: list[bytes] = []
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            if not joined:
                raise Stopped(reason, offset)
            joined[-1] += b" " + line.lstrip(b" \t")
        else:
            joined.append(line)
    headers: list[tuple[bytes, bytes]] = []
    for line in joined:
        match = _HEADER_LINE.fullmatch(line)
        if match is None:
            raise Stopped(reason, offset)
        name, value = match[1].lower(), match[2].rstrip(b" \t")
        if name == b"content-length":
            lengths = {each.strip() for each in value.split(b",")}
            if len(lengths) != 1 or not re.fullmatch(rb"\d{1,20}", min(lengths)):
                raise Stopped(reason, offset)
            value = min(lengths)
            if any(value != other for known, other in headers if known == name):
                raise Stopped(reason, offset)
            if (name, value) in headers:
                continue
        if name == b"transfer-encoding":
            value = value.lower()
            if value != b"chunked" or any(known == name for known, _ in headers):
                raise Stopped(reason, offset)
        headers.append((name, value))
    return headers


def read_body(data: bytes, lines: list[tuple[bytes, bytes]], reading: Reading, is_head: bool) -> None:
    """The body, delimited in one of four ways."""
    begin = reading.end
    headers = dict(lines)
    if is_head or reading.status in (204, 304):
        return
    if b"transfer-encoding" in headers:
        read_chunks(data, reading)
        return
    length = int(headers.get(b"content-length", b"%d" % (len(data) - begin)))
    body = data[begin : begin + length]
    if body:
        reading.coded.append((begin, body))
    if len(body) < length:
        raise Stopped(RawFaultReason.CUT_BODY, len(data))
    reading.end = begin + length


def read_chunks(data: bytes, reading: Reading) -> None:
    """Chunks up to the empty one, and the headers behind it."""
    at = reading.end
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            raise Stopped(RawFaultReason.CUT_BODY, len(data))
        line = _CHUNK_LINE.fullmatch(data[at:line_end])
        if line is None:
            raise Stopped(RawFaultReason.BAD_CHUNK, at)
        size = int(line[1], 16)
        begin, end = line_end + 2, line_end + 2 + size
        if size == 0:
            reading.end = read_trailers(data, begin, at)
            return
        if chunk := data[begin:end]:
            reading.coded.append((begin, chunk))
        line_break = data[end : end + 2]
        if not b"\r\n".startswith(line_break):
            raise Stopped(RawFaultReason.BAD_CHUNK, end)
        if line_break != b"\r\n":
            raise Stopped(RawFaultReason.CUT_BODY, len(data))
        at = end + 2


def read_trailers(data: bytes, begin: int, chunk: int) -> int:
    """Where the headers behind the last chunk end, which begins at `chunk`."""
    rest = data[begin:]
    for blank in (b"\n", b"\r\n"):
        if rest.startswith(blank):
            return begin + len(blank)
    match = re.search(rb"\n\r?\n", rest)
    if match is None:
        raise Stopped(RawFaultReason.CUT_BODY, len(data))
    lines = [line.removesuffix(b"\r") for line in rest[: match.end()].split(b"\n")]
    header_lines(lines[:-2], RawFaultReason.BAD_CHUNK, chunk)
    return begin + match.end()


def codings(lines: list[tuple[bytes, bytes]]) -> list[str]:
    """What was done to the content, but for what changes nothing."""
    listed = [each for name, value in lines if name == b"content-encoding" for each in value.split(b",")]
    names = [each.decode("latin-1").strip().lower() for each in listed]
    return [name for name in names if name not in ("", "identity")]


def undo(reading: Reading, coding: list[str]) -> None:
    """Each chunk's content, byte by byte through zlib."""
    if not coding or not reading.coded:
        reading.pieces = [chunk for _, chunk in reading.coded]
        return
    if coding not in (["gzip"], ["x-gzip"], ["deflate"]):
        raise Stopped(RawFaultReason.UNKNOWN_CODING, reading.coded[0][0])
    whole = b"".join(chunk for _, chunk in reading.coded)
    bits = 31
    if coding == ["deflate"]:
        has_header = len(whole) > 1 and whole[0] % 16 == 8 and (256 * whole[0] + whole[1]) % 31 == 0
        bits = 15 if has_header else -15
    engine = zlib.decompressobj(bits)
    for offset, chunk in reading.coded:
        piece = b""
        for place in range(len(chunk)):
            if engine.eof and bits == 31:
                engine = zlib.decompressobj(bits)
            try:
                if engine.eof:
                    raise zlib.error
                piece += engine.decompress(chunk[place : place + 1])
            except zlib.error:
                reading.pieces += [piece] if piece else []
                raise Stopped(RawFaultReason.BAD_COMPRESSION, offset + place) from None
        reading.pieces += [piece] if piece else []
    if not engine.eof and reading.fault is None:
        raise Stopped(RawFaultReason.BAD_COMPRESSION, reading.end)
