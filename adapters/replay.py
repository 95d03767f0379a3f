"""What `stagewhisper replay` does: it reads captures, runs them through the core again, and shows what came of it.

A capture is a recording, the bare body of an event stream, or a raw HTTP/1.1 response; which of them is seen from its
first bytes. What is done with a recording is in `recorded`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import assert_never

import msgspec

from adapters import ambient
from adapters.display import escape, render_json
from adapters.printing import (
    DIFFERENT,
    UNREADABLE,
    WELL,
    Form,
    Found,
    Say,
    Wish,
    name_chunkings,
    other_chunkings,
    show_difference,
    show_events,
    show_fault,
    show_frame_fault,
    show_frames,
    show_message,
    show_sameness,
    show_stream,
)
from adapters.recorded import is_meant_as_recording, replay_recording
from core.events import ServiceError, Undecodable
from core.failures import Failure
from core.http import Head
from core.playback import BARE_HEAD, Playback, bare_reading, describe, first_difference, play
from core.rawhttp import RawFault, parse_response
from core.recording import Recording, RecordingError, parse_recording
from core.times import Epoch

MAX_BYTES = 256 * 1024 * 1024
"""A larger file is no capture of one answer: four times the largest that is buffered."""


class Unreadable(Exception):
    """There is nothing that could be run again. The text says why, in one line."""


class _Capture(msgspec.Struct, frozen=True, kw_only=True):
    """A capture with its body found. `broken` is what is wrong with what stood around the body."""

    head: Head
    body: bytes
    pieces: tuple[bytes, ...]
    rest: int = 0
    broken: RawFault | None = None


def replay(names: Sequence[str], wish: Wish, *, say: Say, complain: Say) -> int:
    """Show each capture of that name (`-` is standard input). The result is the exit code: the worst of them."""
    worst = WELL
    for number, name in enumerate(names):
        if len(names) > 1:
            say(render_json({"file": name}) if wish.json else f"{'' if number == 0 else chr(10)}{escape(name)}:")
        try:
            code = _replay(name, wish, say, complain)
        except Unreadable as problem:
            complain(f"{escape(name)}: {problem}")
            code = UNREADABLE
        worst = max(worst, code)
    return worst


_NO_CAPTURES = {
    b"\x1f\x8b": "it is compressed with gzip: unpack it first",
    b"\xef\xbb\xbf": "it begins with a byte order mark, as no capture does: remove that",
}


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
    for beginning, problem in _NO_CAPTURES.items():
        if data.startswith(beginning):
            raise Unreadable(problem)
    return data


def _replay(name: str, wish: Wish, say: Say, complain: Say) -> int:
    data = _read(name)
    if is_meant_as_recording(data):
        if unused := _unused(wish):
            complain(f"{escape(name)}: it is a recording, which knows its own: {unused} not used")
        return replay_recording(_parse(data), wish, say)
    return _replay_body(data, wish, say)


def _unused(wish: Wish) -> str:
    """The options that are for captures of which no more is known than their bytes."""
    options = ["--model"] if wish.model != Wish().model else []
    options += ["--tool"] if wish.tool_names else []
    return f"{' and '.join(options)} {'are' if len(options) > 1 else 'is'}" if options else ""


def _parse(data: bytes) -> Recording:
    try:
        return parse_recording(data)
    except RecordingError as problem:
        raise Unreadable(escape(str(problem))) from None


def _replay_body(data: bytes, wish: Wish, say: Say) -> int:
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
            yield from show_frames(playback.frames, wish)
        case "events":
            yield from show_events(playback, wish)
        case "message":
            if not isinstance(playback.outcome, Failure):
                yield show_message(playback.outcome.message, wish)
        case "sse":
            yield from show_stream(playback.stream, wish)
        case _:
            assert_never(wish.form)


# --- what is wrong with it -------------------------------------------------------------------------------------


def _show_problems(playback: Playback, capture: _Capture, data: bytes, wish: Wish) -> Iterator[str]:
    """What was found wrong, each with the bytes around its place."""
    if capture.broken is not None:
        yield from _show_raw_fault(capture.broken, data, wish)
    if (fault := playback.fault) is not None:
        # Of a body that was cut, the frame that is not whole is where it was cut.
        yield from show_frame_fault(fault, capture.body, wish)
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
    yield from show_fault("captureFault", what, describe(fault), data, wish)


# --- other pieces ----------------------------------------------------------------------------------------------


def _compare(playback: Playback, capture: _Capture, wish: Wish, now: Epoch) -> Found | None:
    """The first difference that other pieces of the same body make, and in which of them."""
    for where, pieces in other_chunkings(wish):
        other = _play(capture, pieces(capture.body), wish, now)
        if (difference := first_difference(playback, other)) is not None:
            return where, difference
    return None


def _show_comparison(found: Found | None, wish: Wish) -> Iterator[str]:
    tried = name_chunkings(wish)
    if found is None:
        yield show_sameness(f"the same in {', '.join(tried)}", tried, wish)
    else:
        yield from show_difference(f"different in {found[0]}", found, tried, wish)
