"""What `stagewhisper replay` prints of frames, events, faults and differences, as lines for a person or for a program.

It knows how each looks, and not what it means: that is said by `replay` and `recorded`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

import msgspec

from adapters.display import as_value, compact, cut, escape, escape_lines, hexdump, indent_json, render_json
from core.anthropic import AnswerMessage
from core.events import Event
from core.eventstream import Fault, Header, HeaderType
from core.playback import Difference, Frame, Playback, chop, single_bytes
from core.sse import StreamEvent, encode_events

Form: TypeAlias = Literal["frames", "events", "message", "sse"]

Say: TypeAlias = Callable[[str], None]

WELL, DIFFERENT, UNREADABLE = 0, 1, 3
"""The exit codes. 2 is argparse's."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be shown of each capture, and how it is to be cut."""

    form: Form = "message"
    json: bool = False
    cuts: int = 0
    seed: int = 0
    bytewise: bool = False
    model: str = "replayed"
    tool_names: tuple[str, ...] = ()


# --- what there is ---------------------------------------------------------------------------------------------


def show_frames(frames: Sequence[Frame], wish: Wish) -> Iterator[str]:
    """A table of frames, with their places in the body."""
    if wish.json:
        for frame in frames:
            headers = {name: _header_value(header) for name, header in frame.message.headers.items()}
            shown = {"offset": frame.offset, "length": frame.length, "headers": headers}
            yield render_json({"frame": {**shown, "payload": as_value(frame.message.payload)}})
        return
    width = _columns()
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


def show_events(playback: Playback, wish: Wish) -> Iterator[str]:
    """A table of what the frames say."""
    width = _columns()
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


def _columns() -> int | None:
    """The terminal's columns, or as many as the environment says; None where there is neither."""
    return shutil.get_terminal_size(fallback=(0, 0)).columns or None


def show_message(message: AnswerMessage, wish: Wish) -> str:
    """A whole answer as JSON."""
    return (render_json if wish.json else indent_json)(message)


def show_stream(stream: Sequence[StreamEvent], wish: Wish) -> Iterator[str]:
    """Stream events, for a person as they are on the wire."""
    if wish.json:
        yield from map(render_json, stream)
    elif stream:
        yield escape_lines(encode_events(stream).decode()).removesuffix("\n")


# --- what is wrong ---------------------------------------------------------------------------------------------


def show_fault(name: str, what: dict[str, Any], line: str, data: bytes, wish: Wish) -> Iterator[str]:
    """A fault (`what` are its members, the `offset` in `data` among them), and the bytes around its place."""
    dump = hexdump(data, what["offset"])
    if wish.json:
        yield render_json({name: {**what, "bytes": dump}})
    else:
        yield escape(line)
        yield from dump


def show_frame_fault(fault: Fault, body: bytes, wish: Wish) -> Iterator[str]:
    """The place from which on a body has no frames, and the bytes around it."""
    what = {"reason": fault.reason, "offset": fault.offset, "detail": fault.detail}
    line = f"fault in the frame at byte {fault.offset} of the body: {fault.reason} ({fault.detail})"
    return show_fault("fault", what, line, body, wish)


# --- other pieces, other days ----------------------------------------------------------------------------------

Found: TypeAlias = tuple[str, Difference]
"""The first difference, and in which run it was."""

AS_RECORDED = "the recorded pieces"


def name_chunkings(wish: Wish) -> list[str]:
    """What is run beside the pieces as they came."""
    tried = [f"{wish.cuts} chunkings of seed {wish.seed}"] if wish.cuts else []
    return tried + (["single bytes"] if wish.bytewise else [])


def other_chunkings(wish: Wish) -> Iterator[tuple[str, Callable[[bytes], Iterator[bytes]]]]:
    """Each of them, with its name and what makes it."""
    for turn in range(wish.cuts):
        yield f"chunking {turn} of seed {wish.seed}", partial(chop, seed=wish.seed, turn=turn)
    if wish.bytewise:
        yield "single bytes", single_bytes


def show_sameness(line: str, tried: Sequence[str], wish: Wish) -> str:
    """That there is no difference."""
    return render_json({"chunkings": tried, "difference": None}) if wish.json else line


def show_difference(
    line: str,
    found: Found,
    tried: Sequence[str],
    wish: Wish,
    word: Callable[[Any], str | None] = repr,
) -> Iterator[str]:
    """The first difference. `word` puts a value into words; None is one that is not there."""
    where, difference = found
    expected, got = word(difference.expected), word(difference.got)
    if wish.json:
        what = {"in": where, "part": difference.part, "index": difference.index, "expected": expected, "got": got}
        yield render_json({"chunkings": tried, "difference": what})
        return
    width = _columns()
    yield f"{line}: {difference.part} {difference.index}"
    words = ["nothing" if value is None else escape(value) for value in (expected, got)]
    pairs = enumerate(zip(*words, strict=False))
    alike = next((place for place, (one, other) in pairs if one != other), min(map(len, words)))
    if width is not None and alike > width // 2:
        # What differs is to be seen, and of what stands before it the end.
        words = [f"...{each[alike - width // 4 :]}" for each in words]
    yield cut(f"  expected: {words[0]}", width)
    yield cut(f"  got:      {words[1]}", width)
