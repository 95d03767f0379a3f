"""Answers that begin well: streams that are cut, late, broken, or have in them what few clients expect."""

from __future__ import annotations

import gzip
import json
import struct
import zlib

from adapters.emulator import wire
from adapters.emulator.arguments import make_arguments
from adapters.emulator.assistant import ToolCall, any_tool, decide
from adapters.emulator.events import (
    answer_events,
    call_events,
    call_id,
    stop_reason_of,
    text_event,
    text_events,
    thinking_events,
)
from adapters.emulator.stage import Stage
from adapters.emulator.wire import Close, Head, Reply, Reset, Send, Stall, Step, Wait, cut_every, event

# --- cut and late ----------------------------------------------------------------------------------------------


def _cut(stage: Stage, count: int, end: tuple[Step, ...]) -> Reply:
    """The ordinary answer's first `count` bytes, and then `end`."""
    body = b"".join([*stage.opening(), *stage.frames()])[:count]
    return Reply(stage.stream_head(), (*wire.cut_into_chunks(body, stage.chance()), *end))


def cut(stage: Stage, count: int) -> Reply:
    """The connection ends inside the body."""
    return _cut(stage, count, (Close(),))


def reset(stage: Stage, count: int) -> Reply:
    """The connection is reset inside the body."""
    return _cut(stage, count, (Reset(),))


def clean_cut(stage: Stage, count: int) -> Reply:
    """The body ends as a whole one would."""
    return _cut(stage, count, ())


def stall(stage: Stage, count: int) -> Reply:
    """So many frames, then nothing."""
    frames = [*stage.opening(), *stage.frames()][:count]
    return Reply(stage.stream_head(), (*map(Send, frames), Stall()))


def slow(stage: Stage, milliseconds: int) -> Reply:
    """A wait before each frame."""
    steps: list[Step] = []
    for frame in [*stage.opening(), *stage.frames()]:
        steps += (Wait(milliseconds / 1000), Send(frame))
    return Reply(stage.stream_head(), tuple(steps))


def drip(stage: Stage, size: int, milliseconds: int) -> Reply:
    """A few bytes at a time, with a wait before each."""
    steps: list[Step] = []
    for piece in cut_every(b"".join([*stage.opening(), *stage.frames()]), size):
        steps += (Wait(milliseconds / 1000), piece)
    return Reply(stage.stream_head(), tuple(steps))


# --- broken frames ---------------------------------------------------------------------------------------------


def _with_frame(stage: Stage, number: int, offset: int) -> Reply:
    """The ordinary answer with one bit of one frame turned over; an offset below 0 counts from the frame's end."""
    frames = stage.frames()
    frame = bytearray(frames[position := min(number, len(frames)) - 1])
    frame[offset] ^= 1
    frames[position] = bytes(frame)
    return stage.stream(frames)


def bad_prelude_crc(stage: Stage, number: int) -> Reply:
    """A wrong checksum of the lengths."""
    return _with_frame(stage, number, 11)


def bad_message_crc(stage: Stage, number: int) -> Reply:
    """A wrong checksum of the whole."""
    return _with_frame(stage, number, -1)


def flipped_payload(stage: Stage, number: int) -> Reply:
    """A changed byte in a payload, which only the checksum tells."""
    return _with_frame(stage, number, -6)


def huge_length(stage: Stage) -> Reply:
    """A frame that says, with a right checksum, that it is a gigabyte long."""
    lengths = struct.pack(">II", 1 << 30, 0)
    return stage.stream([*stage.body_frames(), lengths + struct.pack(">I", zlib.crc32(lengths))])


def trailing_bytes(stage: Stage) -> Reply:
    """Five bytes after the last frame, with which no frame begins."""
    return stage.stream([*stage.frames(), b"\x00\x00\x00\x88\x00"])


# --- errors inside a 200 ---------------------------------------------------------------------------------------


def _half(stage: Stage) -> list[bytes]:
    frames = stage.body_frames()
    return frames[: max(1, len(frames) // 2)]


def exception(stage: Stage, name: str, reason: str) -> Reply:
    """An exception after half of the answer."""
    payload = {"message": "The emulator was told to fail here.", "reason": reason or None}
    return stage.stream([*_half(stage), wire.exception(name, payload)])


def exception_first(stage: Stage, name: str, reason: str) -> Reply:
    """An exception as the first frame of a 200."""
    payload = {"message": "The emulator was told to fail here.", "reason": reason or None}
    return stage.stream([wire.exception(name, payload)])


def error_frame(stage: Stage, code: str) -> Reply:
    """An error frame after half of the answer."""
    return stage.stream([*_half(stage), wire.error(code, "The emulator was told to fail here.")])


def error_event(stage: Stage) -> Reply:
    """The stream's member `error`, as an event."""
    return stage.stream([*_half(stage), event("error", {"message": "The emulator was told to fail here."})])


def invalid_state(stage: Stage) -> Reply:
    """An event that says that the conversation cannot go on."""
    payload = {"reason": "INVALID_TASK_ASSIST_PLAN", "message": "The emulator was told to fail here."}
    return stage.stream([*_half(stage), event("invalidStateEvent", payload)])


# --- other bodies ----------------------------------------------------------------------------------------------


def empty(stage: Stage) -> Reply:
    """No frame."""
    return Reply(stage.stream_head())


def no_assistant_event(stage: Stage) -> Reply:
    """Figures only."""
    return stage.stream(stage.closing([], "END_TURN"))


def html_200(stage: Stage) -> Reply:
    """A page where a stream should be."""
    return Reply(stage.stream_head("text/html"), (Send(b"<html><body>Please sign in to this network</body></html>"),))


def wrong_content_type(stage: Stage) -> Reply:
    """The right frames under a wrong name."""
    reply = stage.stream(stage.frames())
    return Reply(stage.stream_head("text/plain"), reply.steps)


def gzipped(stage: Stage) -> Reply:
    """A compressed body, though nobody asked for one."""
    head = stage.stream_head()
    body = gzip.compress(stage.stream(stage.frames()).body(), mtime=0)
    return Reply(Head(200, (*head.headers, ("content-encoding", "gzip"))), (Send(body),))


def big(stage: Stage, size: int) -> Reply:
    """Text of so many characters."""
    line = "All work and no play makes an emulator dull. "
    text = (line * (size // len(line) + 1))[:size]
    frames = [text_event(text[start : start + 4000]) for start in range(0, size, 4000)]
    return stage.stream(frames + stage.closing(frames, "END_TURN"))


def big_frame(stage: Stage, size: int) -> Reply:
    """One frame with so many characters of text."""
    frames = [text_event("x" * size)]
    return stage.stream(frames + stage.closing(frames, "END_TURN"))


# --- unusual answers -------------------------------------------------------------------------------------------


def old_style(stage: Stage) -> Reply:
    """No figures and no reason to stop, as in 2025."""
    return stage.stream(answer_events(decide(stage.prompt()), stage.seed, stage.chance(), model=""))


def stop_reason(stage: Stage, name: str) -> Reply:
    """Another reason to stop."""
    frames = stage.body_frames()
    return stage.stream(frames + stage.closing(frames, name))


def thinking(stage: Stage) -> Reply:
    """Thinking before the answer."""
    thought = f"The user wrote {len(stage.prompt().words)} characters. I should answer what was asked, briefly."
    frames = thinking_events(thought, stage.seed, stage.chance()) + stage.body_frames()
    return stage.stream(frames + stage.closing(frames, stop_reason_of(decide(stage.prompt()))))


def unknown_events(stage: Stage) -> Reply:
    """Events that clients do not know, and headers of other types, between those that they do."""
    strange = wire.encode_frame(
        (
            (":event-type", "assistantMoodEvent"),
            (":content-type", "application/cbor"),
            (":message-type", "event"),
            ("urgent", True),
            ("funny", False),
            ("sequence", 7),
            ("trace", b"\x00\xff"),
        ),
        b"\xa0",
    )
    extras = [
        event("messageMetadataEvent", {"conversationId": stage.conversation_id, "utteranceId": stage.request_id}),
        strange,
        event("codeReferenceEvent", {"references": []}),
        event("followupPromptEvent", {"followupPrompt": {"content": "And then?"}}),
    ]
    frames = stage.body_frames()
    mixed: list[bytes] = []
    for index, frame in enumerate(frames):
        mixed += (extras[index % len(extras)], frame)
    return stage.stream(mixed + extras + stage.closing(frames, stop_reason_of(decide(stage.prompt()))))


def equal_fragments(stage: Stage) -> Reply:
    """Equal neighbours, all of them real."""
    pieces = ("ha", "ha", "ha", ", ", "very", " very", " very", " funny", ".", ".", ".")
    frames = [text_event(piece) for piece in pieces]
    return stage.stream(frames + stage.closing(frames, "END_TURN"))


def foreign_text(stage: Stage) -> Reply:
    """Characters of two to four bytes, in chunks of three."""
    text = "Grüße aus Zürich. 你好，世界。これは試験です。한국어도 됩니다. Emoji: 🎭👩‍👩‍👧🏽. "
    frames = text_events(text * 5, stage.chance())
    body = b"".join([*stage.opening(), *frames, *stage.closing(frames, "END_TURN")])
    return Reply(stage.stream_head(), cut_every(body, 3))


# --- tool calls ------------------------------------------------------------------------------------------------


def _call(stage: Stage) -> ToolCall:
    """The call that a scenario makes, whether it was asked for or not."""
    tool = any_tool(stage.prompt())
    return ToolCall(tool.name, make_arguments(tool.schema, stage.prompt().words))


def _with_calls(stage: Stage, frames: list[bytes], *, closed: bool = True) -> Reply:
    frames = text_events("I'll do that.", stage.chance()) + frames
    return stage.stream(frames + (stage.closing(frames, "TOOL_USE") if closed else []))


def _use(call: ToolCall, identity: str, **members: object) -> bytes:
    return event("toolUseEvent", {"toolUseId": identity, "name": call.name, **members})


def interleaved_tools(stage: Stage) -> Reply:
    """Two calls whose fragments take turns."""
    call, chance = _call(stage), stage.chance()
    first = call_events(call, call_id(stage.seed, 0), chance)
    second = call_events(call, call_id(stage.seed, 1), chance)
    mixed: list[bytes] = []
    for index in range(max(len(first), len(second))):
        mixed += first[index : index + 1] + second[index : index + 1]
    return _with_calls(stage, mixed)


def whole_input(stage: Stage) -> Reply:
    """The input as one object, and not as text."""
    call, identity = _call(stage), call_id(stage.seed, 0)
    return _with_calls(stage, [_use(call, identity, input=call.arguments), _use(call, identity, stop=True)])


def no_input(stage: Stage) -> Reply:
    """A call without input: `{}` is meant."""
    call, identity = _call(stage), call_id(stage.seed, 0)
    return _with_calls(stage, [_use(call, identity), _use(call, identity, stop=True)])


def invalid_tool_json(stage: Stage) -> Reply:
    """An input that is no JSON, with its stop."""
    call = _call(stage)
    text = json.dumps(call.arguments)[:-1] + ', "unfinished": '
    return _with_calls(stage, call_events(call, call_id(stage.seed, 0), stage.chance(), text=text))


def non_object_input(stage: Stage) -> Reply:
    """An input that is JSON and no object."""
    return _with_calls(stage, call_events(_call(stage), call_id(stage.seed, 0), stage.chance(), text='["a", "list"]'))


def no_stop(stage: Stage) -> Reply:
    """A whole input without the stop, and nothing after it."""
    return _with_calls(stage, call_events(_call(stage), call_id(stage.seed, 0), stage.chance())[:-1], closed=False)


def long_tool_cut(stage: Stage, size: int) -> Reply:
    """A long input that is cut: no stop, no figures, and the body ends as a whole one would."""
    call = _call(stage)
    text = json.dumps({**call.arguments, "content": "A line of a long file.\n" * (size // 10)})[:size]
    return _with_calls(stage, call_events(call, call_id(stage.seed, 0), stage.chance(), text=text)[:-1], closed=False)


def written_call(stage: Stage, form: str) -> Reply:
    """A call that is written out as text."""
    call = _call(stage)
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    written = f"Tool call: {call.name}({arguments})"
    if form == "called":
        written = f"[Called {call.name} with args: {arguments}]"
    elif form == "fenced":
        written = f"It would look so:\n```\n{written}\n```\nbut that is only an example."
    frames = text_events(f"I will do that now.\n\n{written}\n", stage.chance())
    return stage.stream(frames + stage.closing(frames, "END_TURN"))
