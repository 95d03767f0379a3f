"""The service's words in its answer: the events of a stream, and the errors inside one and instead of one.

Shapes are those of AWS's published model of CodeWhisperer Streaming (2023-11-27) and of newer clients. This
module knows how they look on the wire; what they mean for a client is for `response` and `failures` to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import msgspec

from core.eventstream import Message


class AssistantText(msgspec.Struct, frozen=True, gc=False):
    """`assistantResponseEvent`: the next piece of the answer's text. Equal neighbours are real."""

    text: str


class ToolUseFragment(msgspec.Struct, frozen=True):
    """`toolUseEvent`: a piece of a call. `input` is a fragment of JSON text, or (seen in the wild) a whole object."""

    tool_use_id: str
    name: str
    input: str | dict[str, Any]
    stop: bool


class Reasoning(msgspec.Struct, frozen=True, gc=False):
    """`reasoningContentEvent`: a piece of the model's thinking, its signature, or (base64) redacted thinking."""

    text: str | None
    signature: str | None
    redacted_content: str | None


class TokenUsage(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """The service's own count of tokens."""

    uncached_input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    context_usage_percentage: float | None = None


class Metadata(msgspec.Struct, frozen=True, gc=False):
    """`metadataEvent`: why the model stopped, and what it cost."""

    usage: TokenUsage | None
    stop_reason: str | None


class ContextUsage(msgspec.Struct, frozen=True, gc=False):
    """`contextUsageEvent`: how much of the model's window is used, the answer included, in percent."""

    percentage: float | None


class ServiceError(msgspec.Struct, frozen=True, gc=False):
    """An error of the service: a refused call, or an exception or error frame inside a 200.

    `name` has no namespace before it and no address after it, and may be `""`. `status` is None inside a 200.
    """

    name: str
    reason: str | None
    message: str
    status: int | None = None


class Undecodable(msgspec.Struct, frozen=True, gc=False):
    """A frame that the service may not send: a known event whose payload has another shape, or no message type."""

    problem: str


class OtherEvent(msgspec.Struct, frozen=True, gc=False):
    """An event with nothing for the client in it: metering, references, follow-ups, and types made up later."""

    event_type: str


Event: TypeAlias = (
    AssistantText | ToolUseFragment | Reasoning | Metadata | ContextUsage | ServiceError | Undecodable | OtherEvent
)


class _AssistantResponsePayload(msgspec.Struct):
    content: str


class _ToolUsePayload(msgspec.Struct, rename="camel"):
    tool_use_id: str
    name: str
    input: str | dict[str, Any] | None = None
    stop: bool | None = None


class _ReasoningPayload(msgspec.Struct, rename="camel"):
    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class _MetadataPayload(msgspec.Struct, rename="camel"):
    token_usage: Any = None
    stop_reason: Any = None


class _ContextUsagePayload(msgspec.Struct, rename="camel"):
    context_usage_percentage: Any = None


class _InvalidStatePayload(msgspec.Struct):
    reason: str
    message: str


class _ExceptionPayload(msgspec.Struct):
    message: str | None = None
    reason: str | None = None


_assistant_response = msgspec.json.Decoder(_AssistantResponsePayload)
_tool_use = msgspec.json.Decoder(_ToolUsePayload)
_reasoning = msgspec.json.Decoder(_ReasoningPayload)
_metadata = msgspec.json.Decoder(_MetadataPayload)
_context_usage = msgspec.json.Decoder(_ContextUsagePayload)
_invalid_state = msgspec.json.Decoder(_InvalidStatePayload)
_exception = msgspec.json.Decoder(_ExceptionPayload)


def parse_event(message: Message) -> Event:
    """What a frame says. Never raises: a frame that may not be is `Undecodable`."""
    message_type = message.text(":message-type")
    if message_type == "event":
        event_type = message.text(":event-type") or ""
        try:
            return _parse_payload(event_type, message.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return Undecodable(f"the payload of {event_type!r} cannot be read: {error}")
    if message_type == "exception":
        return _parse_exception(message.text(":exception-type") or "", message.payload)
    if message_type == "error":
        code = message.text(":error-code") or ""
        return ServiceError(bare_name(code), None, message.text(":error-message") or "")
    return Undecodable(f"expected an event, an exception or an error, got :message-type {message_type!r}")


def _parse_payload(event_type: str, payload: bytes) -> Event:
    match event_type:
        case "assistantResponseEvent":
            return AssistantText(_assistant_response.decode(payload).content)
        case "toolUseEvent":
            use = _tool_use.decode(payload)
            return ToolUseFragment(use.tool_use_id, use.name, "" if use.input is None else use.input, bool(use.stop))
        case "reasoningContentEvent":
            thought = _reasoning.decode(payload)
            return Reasoning(thought.text, thought.signature, thought.redacted_content)
        case "metadataEvent":
            metadata = _metadata.decode(payload)
            reason = metadata.stop_reason if isinstance(metadata.stop_reason, str) else None
            return Metadata(_figure(metadata.token_usage, TokenUsage), reason)
        case "contextUsageEvent":
            return ContextUsage(_figure(_context_usage.decode(payload).context_usage_percentage, float))
        case "invalidStateEvent":
            state = _invalid_state.decode(payload)
            return ServiceError("InvalidStateEvent", state.reason, state.message)
        case "error":
            # The model declares it as a member of the stream, so it may come as an event too.
            return _parse_exception("InternalServerException", payload)
        case _:
            return OtherEvent(event_type)


_Figure = TypeVar("_Figure")


def _figure(value: Any, kind: type[_Figure]) -> _Figure | None:
    """A figure of the service's accounting; None for one of another shape, which costs no one a good answer."""
    try:
        return msgspec.convert(value, kind, strict=False)
    except (msgspec.ValidationError, OverflowError):
        return None


def _parse_exception(name: str, payload: bytes) -> ServiceError:
    try:
        body = _exception.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        body = _ExceptionPayload()
    # The union's member `error` is an InternalServerException; others name themselves.
    bare = "InternalServerException" if name == "error" else bare_name(name)
    return ServiceError(bare, body.reason, body.message or "")


# --- errors instead of an answer -------------------------------------------------------------------------------


_PREFIX_OR_ADDRESS = re.compile(r"^.*#|:.*$", re.DOTALL)


def bare_name(name: str) -> str:
    """An error's name without what AWS's protocols put around it: `com.amazon.coral.service#Name`, `Name:http://...`.

    Frames have names of members (`throttlingException`) where refusals have names of shapes: here all are these.
    """
    bare = _PREFIX_OR_ADDRESS.sub("", name).strip()
    return bare[:1].upper() + bare[1:]


def parse_error(status: int, headers: Mapping[str, str], body: bytes) -> ServiceError:
    """What a refused call says, its body being JSON, HTML, truncated or empty.

    `headers` has lower-case names. The error's name is taken, as the REST binding has it, from
    `x-amzn-errortype`, else the body's `code`, else its `__type`, which may stand one level deeper.
    """
    outer = _parse_object(body)
    inner = outer.get("Output")
    bodies = (outer, inner) if isinstance(inner, dict) else (outer,)
    name = headers.get("x-amzn-errortype") or _first_text(bodies, "code", "__type")
    reason = _first_text(bodies, "reason") or None
    return ServiceError(bare_name(name), reason, _first_text(bodies, "message", "Message"), status)


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        parsed = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _first_text(bodies: Sequence[dict[str, Any]], *names: str) -> str:
    """The first text there is under one of these names, the outer body's before the inner one's."""
    found = (body.get(name) for body in bodies for name in names)
    return next((value for value in found if isinstance(value, str) and value), "")
