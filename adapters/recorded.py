"""What `stagewhisper replay` does with a recording: it runs the exchange again, and says whether its client is sent
the same as then.

That decides alone: an exchange that ended with an error then and ends with the same one today is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_never

from adapters import ambient
from adapters.display import as_value, compact, cut, escape, render_json
from adapters.printing import (
    AS_RECORDED,
    DIFFERENT,
    WELL,
    Found,
    Say,
    Wish,
    name_chunkings,
    other_chunkings,
    show_difference,
    show_events,
    show_frame_fault,
    show_frames,
    show_message,
    show_sameness,
    show_stream,
)
from core import intake, sse
from core.failures import Failure
from core.http import Head
from core.playback import bare_reading, play
from core.recording import AnsweredLine, CutLine, EndedLine, Recording, encode_line, is_recording
from core.refusals import Refusal
from core.rerun import Attempt, Rerun, first_difference_from_then, rerun
from core.response import BufferedResponse

_LONGEST_BODY = 2000
"""Characters of a refusal that are shown to a person; the service's own have a few hundred."""


def is_meant_as_recording(data: bytes) -> bool:
    """Whether bytes are a recording, be it one of another version, or one whose first line is damaged.

    No body of an event stream begins like that: its first frame would have two gigabytes.
    """
    if is_recording(data):
        return True
    first = data.partition(b"\n")[0]
    return first.startswith(b'{"what":') or (first.startswith(b"{") and b'"stagewhisper":' in first)


def replay_recording(recording: Recording, wish: Wish, say: Say) -> int:
    """Show what the exchange comes to now, and how that differs from then. The result is the exit code."""
    run = rerun(recording)
    for line in _show(recording, run, wish):
        say(line)
    found = _compare(recording, run, wish)
    for line in _show_comparison(recording, found, wish):
        say(line)
    return WELL if found is None else DIFFERENT


def _show(recording: Recording, run: Rerun, wish: Wish) -> Iterator[str]:
    match wish.form:
        case "frames" | "events":
            for number, attempt in enumerate(run.attempts):
                yield from _show_attempt(number, attempt, wish)
        case "message":
            if isinstance(run.outcome, BufferedResponse):
                yield show_message(run.outcome.message, wish)
        case "sse":
            yield from _show_stream(run, wish)
        case _:
            assert_never(wish.form)
    if wish.form in ("message", "sse") and not isinstance(run.outcome, BufferedResponse):
        yield from _show_failures(run, wish)
    if isinstance(run.outcome, Refusal):
        yield _show_error(run, run.outcome, wish)
    if not run.is_converted_alike:
        line = "the service's request is not what it was then"
        yield render_json({"convertedAlike": False}) if wish.json else line
    yield from _show_end(recording, wish)


# --- what came of it -------------------------------------------------------------------------------------------


def _show_stream(run: Rerun, wish: Wish) -> Iterator[str]:
    """What a streaming client is sent, or would have been sent if it had been one."""
    stream = run.stream
    if not stream and run.start is not None and isinstance(run.outcome, BufferedResponse):
        stream = (run.start, *sse.render_events(run.outcome.message))
    yield from show_stream(stream, wish)


def _show_failures(run: Rerun, wish: Wish) -> Iterator[str]:
    for number, attempt in enumerate(run.attempts):
        if attempt.failure is not None:
            yield _show_failure(number, attempt.provider, attempt.failure, wish)


def _show_failure(number: int, account: str, failure: Failure, wish: Wish) -> str:
    if wish.json:
        what = {"attempt": number, "account": account, "kind": failure.kind.value, "message": failure.message}
        return render_json({"failure": what})
    return escape(f"attempt {number}, account {account}: failure ({failure.kind.value}): {failure.message}")


def _show_error(run: Rerun, refusal: Refusal, wish: Wish) -> str:
    """The error that the client is sent. It has a status where nothing had been sent before."""
    status = None if run.answer is None else run.answer.status
    if wish.json:
        return render_json({"error": {"status": status, "type": refusal.error_type, "message": refusal.message}})
    how = "in its stream" if status is None else f"status {status}"
    return escape(f"the client is sent an error ({how}, {refusal.error_type}): {refusal.message}")


def _show_end(recording: Recording, wish: Wish) -> Iterator[str]:
    """Where a recording ends whose exchange did not, and why."""
    number = 3 + len(recording.lines)
    last = recording.lines[-1] if recording.lines else None
    if recording.is_torn:
        number, why = number + 1, "the line is not whole"
    elif isinstance(last, CutLine):
        why = last.why
    elif isinstance(last, AnsweredLine | EndedLine):
        return
    else:
        why = "the exchange had not ended"
    yield (
        render_json({"end": {"line": number, "why": why}})
        if wish.json
        else escape(f"the recording ends at line {number}: {why}")
    )


# --- attempts --------------------------------------------------------------------------------------------------


def _show_attempt(number: int, attempt: Attempt, wish: Wish) -> Iterator[str]:
    head, body = attempt.head, b"".join(attempt.pieces)
    content_type = None if head is None else head.headers.get("content-type")
    if wish.json:
        status = None if head is None else head.status
        what = {"number": number, "account": attempt.provider, "status": status, "contentType": content_type}
        yield render_json({"attempt": what})
    else:
        answer = "no answer" if head is None else f"status {head.status}, {content_type or 'no content type'}"
        yield escape(f"attempt {number}, account {attempt.provider}: {answer}")
    if head is not None and intake.is_event_stream(head):
        yield from _show_frames(head, body, wish)
    elif head is not None:
        yield from _show_body(body, wish)
    if attempt.failure is not None:
        yield _show_failure(number, attempt.provider, attempt.failure, wish)


def _show_frames(head: Head, body: bytes, wish: Wish) -> Iterator[str]:
    playback = play(head, (body,), reading=bare_reading("", ()), now=ambient.epoch())
    if wish.form == "frames":
        yield from show_frames(playback.frames, wish)
    else:
        yield from show_events(playback, wish)
    if playback.fault is not None:
        yield from show_frame_fault(playback.fault, body, wish)


def _show_body(body: bytes, wish: Wish) -> Iterator[str]:
    """The body of a refused call."""
    if wish.json:
        yield render_json({"body": as_value(body)})
    else:
        yield cut(f"  {compact(body) or '(no body)'}", _LONGEST_BODY)


# --- the same? -------------------------------------------------------------------------------------------------


def _compare(recording: Recording, run: Rerun, wish: Wish) -> Found | None:
    """The first difference from then, and in which run it is."""
    if (difference := first_difference_from_then(recording, run)) is not None:
        return AS_RECORDED, difference
    for where, pieces in other_chunkings(wish):
        if (difference := first_difference_from_then(recording, rerun(recording, pieces))) is not None:
            return where, difference
    return None


def _show_comparison(recording: Recording, found: Found | None, wish: Wish) -> Iterator[str]:
    tried = [AS_RECORDED, *name_chunkings(wish)]
    if found is None:
        is_whole = bool(recording.lines) and isinstance(recording.lines[-1], AnsweredLine | EndedLine)
        line = "the client is sent the same as then" if is_whole else "the same as then, as far as the recording goes"
        yield show_sameness(f"{line}, in {', '.join(tried)}" if tried[1:] else line, tried, wish)
    else:
        where = f" in {found[0]}" if tried[1:] else ""
        yield from show_difference(f"different from then{where}", found, tried, wish, _word)


def _word(value: Any) -> str | None:
    """What the client is sent, in words: an event's JSON, or an answer as it is recorded."""
    if isinstance(value, AnsweredLine | EndedLine):
        value = encode_line(value)
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
