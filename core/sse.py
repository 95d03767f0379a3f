"""A whole answer as the Messages API's stream events, and those as bytes: the third step of buffered parsing.

The order and the members are those that the SDKs and Claude Code need: content blocks are numbered from 0, text
stands in a delta (never in a block's start), every block is stopped, and both usages are there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias, assert_never

import msgspec

from core.anthropic import (
    AnswerBlock,
    AnswerMessage,
    AnswerRedactedThinking,
    AnswerText,
    AnswerThinking,
    AnswerToolUse,
    StopReason,
    Usage,
    render_error,
)


class MessageStart(msgspec.Struct, frozen=True, tag="message_start"):
    """The beginning: a message without content."""

    message: AnswerMessage


class ContentBlockStart(msgspec.Struct, frozen=True, tag="content_block_start"):
    """A block begins, empty."""

    index: int
    content_block: AnswerBlock


class TextDelta(msgspec.Struct, frozen=True, tag="text_delta"):
    """More text."""

    text: str


class InputJsonDelta(msgspec.Struct, frozen=True, tag="input_json_delta"):
    """More of a tool's input, as JSON text."""

    partial_json: str


class ThinkingDelta(msgspec.Struct, frozen=True, tag="thinking_delta"):
    """More thinking."""

    thinking: str


class SignatureDelta(msgspec.Struct, frozen=True, tag="signature_delta"):
    """The signature of a block of thinking: one, just before its stop."""

    signature: str


Delta: TypeAlias = TextDelta | InputJsonDelta | ThinkingDelta | SignatureDelta


class ContentBlockDelta(msgspec.Struct, frozen=True, tag="content_block_delta"):
    """A block goes on."""

    index: int
    delta: Delta


class ContentBlockStop(msgspec.Struct, frozen=True, tag="content_block_stop"):
    """A block ends."""

    index: int


class StopDelta(msgspec.Struct, frozen=True):
    """Why the model stopped."""

    stop_reason: StopReason | None
    stop_sequence: str | None


class MessageDelta(msgspec.Struct, frozen=True, tag="message_delta"):
    """The end of the content. Its usage replaces what `message_start` said."""

    delta: StopDelta
    usage: Usage


class MessageStop(msgspec.Struct, frozen=True, tag="message_stop"):
    """The end of a stream that ended well. A broken one never has it."""


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """A sign of life."""


class ErrorDetail(msgspec.Struct, frozen=True):
    """What went wrong, as in the error form."""

    type: str
    message: str


class Error(msgspec.Struct, frozen=True, tag="error"):
    """The end of a stream that broke."""

    error: ErrorDetail
    request_id: str


StreamEvent: TypeAlias = (
    MessageStart | ContentBlockStart | ContentBlockDelta | ContentBlockStop | MessageDelta | MessageStop | Ping | Error
)

_encoder = msgspec.json.Encoder()
_HEADS = {
    kind: b"event: %b\ndata: " % str(kind.__struct_config__.tag).encode()
    for kind in (
        MessageStart,
        ContentBlockStart,
        ContentBlockDelta,
        ContentBlockStop,
        MessageDelta,
        MessageStop,
        Ping,
        Error,
    )
}

_LINE_SEPARATORS = ("\u2028", "\u2029", "\x85")


def encode_events(events: Iterable[StreamEvent]) -> bytes:
    """Events in the framing of server-sent events, joined.

    The line ends that only Unicode knows are escaped: httpx's `iter_lines`, for one, would end a line there. In
    JSON they can stand in strings alone, so it says the same.
    """
    encoded = b"".join([b"%b%b\n\n" % (_HEADS[type(event)], _encoder.encode(event)) for event in events])
    if not encoded.isascii():
        for separator in _LINE_SEPARATORS:
            encoded = encoded.replace(separator.encode(), b"\\u%04x" % ord(separator))
    return encoded


def encode_message(message: AnswerMessage) -> bytes:
    """A whole answer as the JSON of a client that did not ask for a stream."""
    return _encoder.encode(message)


def encode_error(error_type: str, message: str, request_id: str) -> bytes:
    """The error form as JSON."""
    return _encoder.encode(render_error(error_type, message, request_id))


def message_start(message_id: str, model: str, estimated_input: int) -> MessageStart:
    """The first event. It depends on no account, so that another one may answer after it went out."""
    usage = Usage(input_tokens=estimated_input, output_tokens=0)
    return MessageStart(AnswerMessage(id=message_id, model=model, content=(), stop_reason=None, usage=usage))


def render_events(message: AnswerMessage) -> list[StreamEvent]:
    """All events of a whole answer that follow `message_start`."""
    events: list[StreamEvent] = []
    for index, block in enumerate(message.content):
        events += render_block(index, block)
    return events + render_end(message)


def render_block(index: int, block: AnswerBlock) -> list[StreamEvent]:
    """All events of a whole block."""
    start, deltas = _fill(block)
    return [
        ContentBlockStart(index, start),
        *(ContentBlockDelta(index, each) for each in deltas),
        ContentBlockStop(index),
    ]


def render_end(message: AnswerMessage) -> list[StreamEvent]:
    """The events behind a message's blocks."""
    return [MessageDelta(StopDelta(message.stop_reason, message.stop_sequence), message.usage), MessageStop()]


def _fill(block: AnswerBlock) -> tuple[AnswerBlock, list[Delta]]:
    """A block's empty beginning, and what fills it."""
    match block:
        case AnswerText(text):
            return AnswerText(""), [TextDelta(text)]
        case AnswerToolUse(tool_id, name, raw):
            return AnswerToolUse(tool_id, name, msgspec.Raw(b"{}")), [InputJsonDelta(bytes(raw).decode())]
        case AnswerThinking(thinking, signature):
            deltas: list[Delta] = [ThinkingDelta(thinking)] if thinking else []
            return AnswerThinking("", ""), [*deltas, SignatureDelta(signature)]
        case AnswerRedactedThinking():
            return block, []
        case _:
            assert_never(block)
