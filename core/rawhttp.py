"""A captured HTTP/1.1 response: the bytes of a connection as head, body and rest. The core's one door to h11.

Knows how a body is delimited and compressed. What is in it is for others to read. Bytes that are no whole response
are a fault with its place, which holds what came before it: whoever looks at a capture looks at a broken one.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import h11
import msgspec

from core.http import Head

MAX_BODY: Final = 64 * 1024 * 1024
"""Bytes of a body, chunks and compression undone: as much as of an answer that comes over the network."""

MAX_HEAD: Final = 64 * 1024
"""Bytes of a head (those of an emulated request are bounded so too), and of a chunk's first line."""

_SLICE: Final = 4096
"""Bytes that h11 gets at once. What it has not taken is counted after each event, by a copy, which has to be short."""


class RawFaultReason(StrEnum):
    """Why bytes are no whole response."""

    NO_HEAD = "no_head"
    BAD_HEAD = "bad_head"
    CUT_BODY = "cut_body"
    BAD_CHUNK = "bad_chunk"
    BAD_COMPRESSION = "bad_compression"
    UNKNOWN_CODING = "unknown_coding"
    TOO_LARGE = "too_large"


class RawResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A response. `pieces` are the body's chunks as the wire had them, each uncompressed; without chunks it is one.

    No piece is empty, and joined they are `body`. `rest` counts the bytes after the response.
    """

    head: Head
    body: bytes
    pieces: tuple[bytes, ...]
    rest: int = 0


class RawFault(msgspec.Struct, frozen=True, kw_only=True):
    """Where and why the bytes stopped being a response.

    `offset` counts from the capture's first byte: a head or a chunk that is none begins there, a body ends there, a
    byte that cannot be uncompressed stands there. `response` is what came before, once there is a head.
    """

    reason: RawFaultReason
    offset: int
    detail: str
    response: RawResponse | None = None


class _Fragment(msgspec.Struct, frozen=True):
    """Bytes of a body that stand at one place of the capture."""

    offset: int
    data: bytes
    ends_chunk: bool


def parse_response(data: bytes, *, is_head: bool = False) -> RawResponse | RawFault:
    """The first final response in `data`, which is all that the connection gave; those of 1xx are passed over.

    `is_head` says that the request's method was HEAD, which nothing in the response tells. Never raises; takes time
    and room linear in the bytes, and in `MAX_BODY`.
    """
    wire = _Wire(data, "HEAD" if is_head else "POST")
    try:
        head, coding = wire.read_head()
    except _Broken as broken:
        return broken.fault
    fault: RawFault | None = None
    try:
        wire.read_body()
    except _Broken as broken:
        fault = broken.fault
    try:
        pieces, unfinished = _undo(wire.fragments, coding)
    except _Spoilt as spoilt:  # at an earlier place than where the wire broke, if that did
        pieces, unfinished, fault = spoilt.pieces, False, spoilt.fault
    if fault is None and unfinished:
        detail = f"expected more of the {coding} stream, got the body's end"
        fault = RawFault(reason=RawFaultReason.BAD_COMPRESSION, offset=wire.offset, detail=detail)
    rest = len(data) - wire.offset if fault is None else 0
    response = RawResponse(head=head, body=b"".join(pieces), pieces=tuple(pieces), rest=rest)
    return response if fault is None else msgspec.structs.replace(fault, response=response)


# --- the wire --------------------------------------------------------------------------------------------------


class _Part(msgspec.Struct, frozen=True):
    """What can be wrong with a part of a response: that it is cut, of which `rest` lacks then, or that it is none."""

    cut: RawFaultReason
    rest: str
    bad: RawFaultReason


_HEAD: Final = _Part(RawFaultReason.NO_HEAD, "a blank line after a head", RawFaultReason.BAD_HEAD)
_BODY: Final = _Part(RawFaultReason.CUT_BODY, "more of the body", RawFaultReason.BAD_CHUNK)


class _Broken(Exception):
    """The wire's bytes are no response any more."""

    def __init__(self, fault: RawFault) -> None:
        super().__init__(fault)
        self.fault = fault


class _Wire:
    """A capture on its way through h11. `offset` is where its last event ends, `fragments` the body so far."""

    def __init__(self, data: bytes, method: str) -> None:
        self._data = data
        self._fed = 0
        self._at_end = False
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        # h11 reads a response as the answer to something.
        self._http.send(h11.Request(method=method, target="/", headers=[("host", "captured")]))
        self._http.send(h11.EndOfMessage())
        self.offset = 0
        self.fragments: list[_Fragment] = []

    def read_head(self) -> tuple[Head, str]:
        """The final response's head, and its content's coding."""
        event = self._next(_HEAD)
        while isinstance(event, h11.InformationalResponse):
            event = self._next(_HEAD)
        assert isinstance(event, h11.Response), "h11 lets nothing else come first"
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
        codings = b",".join(value for name, value in event.headers if name == b"content-encoding")
        named = [each.strip().lower() for each in codings.decode("latin-1").split(",")]
        coding = ", ".join(each for each in named if each not in ("", "identity"))
        return Head(status=event.status_code, headers=headers), coding

    def read_body(self) -> None:
        """Read the body as the wire had it into `fragments`."""
        while True:
            event = self._next(_BODY)
            if not isinstance(event, h11.Data):
                # The end of the message. It stands for that of the connection too, where that delimits the body.
                return
            data = bytes(event.data)
            self.fragments.append(_Fragment(self.offset - len(data), data, event.chunk_end))

    def _next(self, part: _Part) -> h11.Event:
        """The next event, of that part of a response."""
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise _Broken(self._fault(error, part)) from None
            if event is not h11.NEED_DATA:
                assert isinstance(event, h11.Event), "h11 pauses only behind a message, where nobody asks"
                self.offset = self._fed - len(self._http.trailing_data[0])
                return event
            more = self._data[self._fed : self._fed + _SLICE]
            self._fed += len(more)
            self._at_end = not more
            self._http.receive_data(more)

    def _fault(self, error: h11.RemoteProtocolError, part: _Part) -> RawFault:
        # All that can be read is read before h11 hears of the end, so what it then complains of is the end.
        if self._at_end:
            return RawFault(reason=part.cut, offset=len(self._data), detail=f"expected {part.rest}, got the end")
        offset = self.offset
        if self.fragments and self.fragments[-1].ends_chunk and self._data[offset : offset + 2] == b"\r\n":
            offset += 2
        if error.error_status_hint == 431:  # h11's word for it
            detail = f"expected a line end within {MAX_HEAD} bytes"
            return RawFault(reason=RawFaultReason.TOO_LARGE, offset=offset, detail=detail)
        # After the colon h11 quotes what came, which may be long and anything.
        return RawFault(reason=part.bad, offset=offset, detail=str(error).partition(":")[0])


# --- the content -----------------------------------------------------------------------------------------------


class _Spoilt(Exception):
    """The content cannot be undone, or not wholly. `pieces` are what came before."""

    def __init__(self, reason: RawFaultReason, offset: int, detail: str, pieces: list[bytes]) -> None:
        super().__init__(detail)
        self.fault = RawFault(reason=reason, offset=offset, detail=detail)
        self.pieces = pieces


class _Plain:
    """Content that is as it is."""

    is_whole = True

    def feed(self, data: bytes, _room: int) -> bytes:
        return data

    def copy(self) -> _Plain:
        return self


class _Inflater:
    """Content in zlib's compression. A gzip stream may have several members."""

    def __init__(self, window_bits: int) -> None:
        self._window_bits = window_bits
        self._engine = zlib.decompressobj(window_bits)

    @property
    def is_whole(self) -> bool:
        """Whether the content may end here."""
        return self._engine.eof

    def copy(self) -> _Inflater:
        """Another one that has read the same."""
        other = _Inflater(self._window_bits)
        other._engine = self._engine.copy()
        return other

    def feed(self, data: bytes, room: int) -> bytes:
        """What `data` uncompresses to, of which `room` bytes are enough. Raises zlib's error."""
        undone = []
        while data and room > 0:
            if self._engine.eof:
                if self._window_bits != _GZIP:
                    raise zlib.error("bytes after the end of the compressed data")
                self._engine = zlib.decompressobj(self._window_bits)
            got = self._engine.decompress(data, room)
            undone.append(got)
            room -= len(got)
            data = self._engine.unused_data
        return b"".join(undone)


_GZIP: Final = 31
_ZLIB: Final = 15
_DEFLATE: Final = -15


def _undo(fragments: Sequence[_Fragment], coding: str) -> tuple[list[bytes], bool]:
    """The body in its pieces with its compression undone, and whether the compressed data are not at their end."""
    if not fragments:
        return [], False
    pieces: list[bytes] = []
    gathered: list[bytes] = []
    size = 0
    content = _content(fragments, coding)
    for fragment in fragments:
        offset, undone, problem = _undo_fragment(content, fragment, MAX_BODY + 1 - size)
        size += len(undone)
        gathered.append(undone if size <= MAX_BODY else undone[: MAX_BODY - size])
        if problem or size > MAX_BODY:
            reason = RawFaultReason.BAD_COMPRESSION if problem else RawFaultReason.TOO_LARGE
            detail = f"{coding}: {problem}" if problem else f"expected a body of at most {MAX_BODY} bytes"
            raise _Spoilt(reason, offset, detail, _gather(pieces, gathered))
        if fragment.ends_chunk:
            pieces = _gather(pieces, gathered)
            gathered = []
    return _gather(pieces, gathered), not content.is_whole


def _gather(pieces: list[bytes], gathered: Sequence[bytes]) -> list[bytes]:
    """The pieces, and the one that was gathered if it has any bytes."""
    if piece := b"".join(gathered):
        pieces.append(piece)
    return pieces


def _content(fragments: Sequence[_Fragment], coding: str) -> _Plain | _Inflater:
    match coding:
        case "":
            return _Plain()
        case "gzip" | "x-gzip":
            return _Inflater(_GZIP)
        case "deflate":
            # HTTP means zlib's form; servers that send the bare one are met in the wild.
            start = b"".join(fragment.data for fragment in fragments[:2])[:2]
            is_zlib = len(start) == 2 and start[0] & 15 == 8 and int.from_bytes(start) % 31 == 0
            return _Inflater(_ZLIB if is_zlib else _DEFLATE)
        case _:
            detail = f"expected gzip or deflate, got {coding!r:.60}"
            raise _Spoilt(RawFaultReason.UNKNOWN_CODING, fragments[0].offset, detail, [])


def _undo_fragment(content: _Plain | _Inflater, fragment: _Fragment, room: int) -> tuple[int, bytes, str]:
    """What a fragment uncompresses to: its place, the bytes, and `""`.

    Where it cannot be uncompressed it is the place of the byte at fault, what came before that, and what is wrong.
    """
    before = content.copy()
    try:
        return fragment.offset, content.feed(fragment.data, room), ""
    except zlib.error:
        pass
    # zlib says that something is wrong, not where. So it goes back, and reads the same again byte by byte.
    undone: list[bytes] = []
    place, problem = 0, ""
    while not problem and place < len(fragment.data):
        try:
            undone.append(before.feed(fragment.data[place : place + 1], room))
            place += 1
        except zlib.error as error:
            problem = str(error).rpartition(": ")[2]
    return fragment.offset + place, b"".join(undone), problem
