"""What `stagewhisper replay` does: it reads captures, runs them through the core again, and shows what came of it.

A capture is the bare body of an event stream, or a raw HTTP/1.1 response; which of them is seen from its first bytes.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, assert_never

import msgspec

from adapters import ambient
from adapters.display import as_value, compact, cut, escape, escape_lines, hexdump, indent_json, render_json
from core import sse
from core.events import Event, ServiceError, Undecodable
from core.eventstream import Header, HeaderType
from core.failures import Failure
from core.http import Head
from core.playback import (
    BARE_HEAD,
    Difference,
    Frame,
    Playback,
    bare_reading,
    chop,
    describe,
    first_difference,
    play,
    single_bytes,
)
from core.rawhttp import RawFault, parse_response
from core.times import Epoch

Form: TypeAlias = Literal["frames", "events", "message", "sse"]

WELL, DIFFERENT, UNREADABLE = 0, 1, 3
"""The exit codes. 2 is argparse's."""

MAX_BYTES = 256 * 1024 * 1024
"""A larger file is no capture of one answer: four times the largest that is buffered."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be shown of each capture, and how it is to be cut."""

    form: Form = "message"
    json: bool = False
    cuts: int = 0
    seed: int = 0
    bytewise: bool = False
    model: str = "replayed"
    tool_names: tuple[str, ...] = ()


class Unreadable(Exception):
    """There is nothing that could be run again. The text says why, in one line."""


class _Capture(msgspec.Struct, frozen=True, kw_only=True):
    """A capture with its body found. `broken` is what is wrong with what stood around the body."""

    head: Head
    body: bytes
    pieces: tuple[bytes, ...]
    rest: int = 0
    broken: RawFault | None = None


Say: TypeAlias = Callable[[str], None]


def replay(names: Sequence[str], wish: Wish, *, say: Say, complain: Say) -> int:
    """Show each capture of that name (`-` is standard input). The result is the exit code: the worst of them."""
    worst = WELL
    for number, name in enumerate(names):
        if len(names) > 1:
            say(render_json({"file": name}) if wish.json else f"{'' if number == 0 else chr(10)}{escape(name)}:")
        try:
            code = _replay(_read(name), wish, say)
        except Unreadable as problem:
            complain(f"{escape(name)}: {problem}")
            code = UNREADABLE
        worst = max(worst, code)
    return worst


def _read(name: str) -> bytes:
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else str(error)
        raise Unreadable(f"cannot be read: {problem}") from None
    if not data:
        raise Unreadable("there is nothing in it")
    if len(data) > MAX_BYTES:
        raise Unreadable(f"expected at most {MAX_BYTES} bytes, got more")
    return data


def _replay(data: bytes, wish: Wish, say: Say) -> int:
    capture = _find_body(data, wish, say)
    if capture is None:
        return DIFFERENT
    now = ambient.epoch()
    playback = _play(capture, capture.pieces, wish, now)
    code = DIFFERENT if _is_faulted(playback, capture, wish.form) else WELL
    for line in _show(playback, wish):
        say(line)
    for line in _show_problems(playback, capture, data, wish):
        say(line)
    if not (wish.cuts or wish.bytewise):
        return code
    found = _compare(playback, capture, wish, now)
    for line in _show_comparison(found, wish):
        say(line)
    return code if found is None else DIFFERENT


def _find_body(data: bytes, wish: Wish, say: Say) -> _Capture | None:
    """The capture that the bytes are; None after it was said that they are none."""
    if not data.startswith(b"HTTP/1."):
        if _is_recording(data):
            raise Unreadable("a recording, of which this version reads none; it reads bodies and raw HTTP responses")
        return _Capture(head=BARE_HEAD, body=data, pieces=(data,))
    read = parse_response(data)
    if not isinstance(read, RawFault):
        return _Capture(head=read.head, body=read.body, pieces=read.pieces, rest=read.rest)
    if read.response is None:
        for line in _show_raw_fault(read, data, wish):
            say(line)
        return None
    response = read.response
    return _Capture(head=response.head, body=response.body, pieces=response.pieces, broken=read)


def _is_recording(data: bytes) -> bool:
    if not data.startswith(b"{"):
        return False
    try:
        first = msgspec.json.decode(data.partition(b"\n")[0])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(first, dict) and "stagewhisper" in first


def _play(capture: _Capture, pieces: Iterator[bytes] | Sequence[bytes], wish: Wish, now: Epoch) -> Playback:
    return play(capture.head, pieces, reading=bare_reading(wish.model, wish.tool_names), now=now, broken=capture.broken)


def _is_faulted(playback: Playback, capture: _Capture, form: Form) -> bool:
    """Whether anything is wrong with what is shown: a stream of another service's events has good frames."""
    if capture.broken is not None or playback.fault is not None:
        return True
    match form:
        case "frames":
            return not playback.frames
        case "events":
            return not playback.events or any(isinstance(each, ServiceError | Undecodable) for each in playback.events)
        case "message" | "sse":
            return isinstance(playback.outcome, Failure)
        case _:
            assert_never(form)


# --- what it is ------------------------------------------------------------------------------------------------


def _show(playback: Playback, wish: Wish) -> Iterator[str]:
    match wish.form:
        case "frames":
            yield from _show_frames(playback.frames, wish)
        case "events":
            yield from _show_events(playback, wish)
        case "message":
            if not isinstance(playback.outcome, Failure):
                yield (render_json if wish.json else indent_json)(playback.outcome.message)
        case "sse":
            if wish.json:
                yield from map(render_json, playback.stream)
            elif playback.stream:
                yield escape_lines(sse.encode_events(playback.stream).decode()).removesuffix("\n")
        case _:
            assert_never(wish.form)


def _show_frames(frames: Sequence[Frame], wish: Wish) -> Iterator[str]:
    if wish.json:
        for frame in frames:
            headers = {name: _header_value(header) for name, header in frame.message.headers.items()}
            shown = {"offset": frame.offset, "length": frame.length, "headers": headers}
            yield render_json({"frame": {**shown, "payload": as_value(frame.message.payload)}})
        return
    width = _width()
    yield f"{'frame':>6} {'offset':>10} {'bytes':>8}  headers, payload"
    for number, frame in enumerate(frames):
        place = f"{number:>6} {frame.offset:>10} {frame.length:>8}"
        lines = [f"{escape(name)}: {_header_text(header)}" for name, header in frame.message.headers.items()]
        for line in [*lines, compact(frame.message.payload) or "(no payload)"]:
            yield cut(f"{place}  {line}", width)
            place = " " * len(place)


def _header_text(header: Header) -> str:
    if header.type is HeaderType.STRING:
        return escape(str(header.value))
    value = header.value.hex(" ") if isinstance(header.value, bytes) else str(header.value).lower()
    return f"{value} ({header.type.name.lower()})"


def _header_value(header: Header) -> dict[str, Any]:
    value = header.value.hex() if isinstance(header.value, bytes) else header.value
    return {"type": header.type.name.lower(), "value": value}


def _show_events(playback: Playback, wish: Wish) -> Iterator[str]:
    width = _width()
    if not wish.json:
        yield f"{'frame':>6} {'offset':>10}  event"
    for number, (frame, event) in enumerate(zip(playback.frames, playback.events, strict=True)):
        if wish.json:
            shown = {"frame": number, "offset": frame.offset, "type": type(event).__name__, **_members(event)}
            yield render_json({"event": shown})
        else:
            members = " ".join(f"{member}={render_json(value)}" for member, value in _members(event).items())
            yield cut(f"{number:>6} {frame.offset:>10}  {type(event).__name__} {members}", width)


def _members(event: Event) -> dict[str, Any]:
    return msgspec.structs.asdict(event)


def _width() -> int | None:
    """The terminal's columns, or as many as the environment says; None where there is neither."""
    return shutil.get_terminal_size(fallback=(0, 0)).columns or None


# --- what is wrong with it -------------------------------------------------------------------------------------


def _show_problems(playback: Playback, capture: _Capture, data: bytes, wish: Wish) -> Iterator[str]:
    """What was found wrong, each with the bytes around its place."""
    if capture.broken is not None:
        yield from _show_raw_fault(capture.broken, data, wish)
    if (fault := playback.fault) is not None:
        # Of a body that was cut, the frame that is not whole is where it was cut.
        what = {"reason": fault.reason, "offset": fault.offset, "detail": fault.detail}
        line = f"fault in the frame at byte {fault.offset} of the body: {fault.reason} ({fault.detail})"
        yield from _show_fault("fault", what, line, capture.body, wish)
    # Frames that are sound are what was asked for, even where they make no answer.
    if isinstance(playback.outcome, Failure) and _is_faulted(playback, capture, wish.form):
        kind, message = playback.outcome.kind.value, playback.outcome.message
        yield (
            render_json({"failure": {"kind": kind, "message": message}})
            if wish.json
            else escape(f"failure ({kind}): {message}")
        )
    if capture.rest:
        yield (
            render_json({"rest": capture.rest}) if wish.json else f"left over behind the response: {capture.rest} bytes"
        )


def _show_raw_fault(fault: RawFault, data: bytes, wish: Wish) -> Iterator[str]:
    what = {"reason": fault.reason, "offset": fault.offset, "detail": fault.detail}
    yield from _show_fault("captureFault", what, describe(fault), data, wish)


def _show_fault(name: str, what: dict[str, Any], line: str, data: bytes, wish: Wish) -> Iterator[str]:
    dump = hexdump(data, what["offset"])
    if wish.json:
        yield render_json({name: {**what, "bytes": dump}})
    else:
        yield escape(line)
        yield from dump


# --- other pieces ----------------------------------------------------------------------------------------------

_Found: TypeAlias = tuple[str, Difference]


def _compare(playback: Playback, capture: _Capture, wish: Wish, now: Epoch) -> _Found | None:
    """The first difference that other pieces of the same body make, and in which of them."""
    for turn in range(wish.cuts):
        other = _play(capture, chop(capture.body, seed=wish.seed, turn=turn), wish, now)
        if (difference := first_difference(playback, other)) is not None:
            return f"chunking {turn} of seed {wish.seed}", difference
    if wish.bytewise:
        other = _play(capture, single_bytes(capture.body), wish, now)
        if (difference := first_difference(playback, other)) is not None:
            return "single bytes", difference
    return None


def _show_comparison(found: _Found | None, wish: Wish) -> Iterator[str]:
    tried = [f"{wish.cuts} chunkings of seed {wish.seed}"] if wish.cuts else []
    tried += ["single bytes"] if wish.bytewise else []
    if found is None:
        yield render_json({"chunkings": tried, "difference": None}) if wish.json else f"the same in {', '.join(tried)}"
        return
    where, difference = found
    what = {"in": where, "part": difference.part, "index": difference.index}
    if wish.json:
        values = {"expected": repr(difference.expected), "got": repr(difference.got)}
        yield render_json({"chunkings": tried, "difference": {**what, **values}})
        return
    width = _width()
    yield f"different in {where}: {difference.part} {difference.index}"
    yield cut(escape(f"  expected: {difference.expected!r}"), width)
    yield cut(escape(f"  got:      {difference.got!r}"), width)
