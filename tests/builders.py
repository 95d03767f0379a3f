"""Makers of what many tests need: frames in the service's form, and requests that were converted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from core.anthropic import parse_request
from core.catalogue import Model
from core.eventstream import Header, HeaderType, Message, encode
from core.phases import Asked
from core.request import Conversion, convert

MODEL = Model(name="claude-test", id="CLAUDE_TEST_V1_0", display_name="Claude Test", context_window=200_000)


def message(payload: bytes, **headers: str) -> Message:
    """A message with string headers; `event_type="x"` is the header `:event-type`."""
    named = {f":{name.replace('_', '-')}": Header(HeaderType.STRING, value) for name, value in headers.items()}
    return Message(named, payload)


def event(event_type: str, **members: Any) -> Message:
    """An event in the service's header order."""
    return message(
        msgspec.json.encode(members), event_type=event_type, content_type="application/json", message_type="event"
    )


def text(content: str) -> Message:
    """A piece of text."""
    return event("assistantResponseEvent", content=content)


def tool(tool_use_id: str, name: str, input: Any = None, *, stop: bool = False) -> Message:  # noqa: A002 (the service's word)
    """A piece of a call; `input` is left out where it is None."""
    members: dict[str, Any] = {"toolUseId": tool_use_id, "name": name}
    if input is not None:
        members["input"] = input
    if stop:
        members["stop"] = True
    return event("toolUseEvent", **members)


def exception(name: str, text: str, reason: str | None = None) -> Message:
    """An exception inside a 200."""
    payload = {"message": text} if reason is None else {"message": text, "reason": reason}
    return message(msgspec.json.encode(payload), message_type="exception", exception_type=name)


def body(*messages: Message) -> bytes:
    """Frames, one after the other."""
    return b"".join(map(encode, messages))


def converted(request: Mapping[str, Any] | None = None, **members: Any) -> Conversion:
    """A small request with `members`, converted."""
    document = {
        "model": MODEL.name,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Hello"}],
        **(request or {}),
        **members,
    }
    parsed = parse_request(msgspec.json.encode(document))
    return convert(parsed, model=MODEL, conversation_id="00000000-0000-0000-0000-000000000001")


SHELL_TOOL = {
    "name": "Bash",
    "description": "Runs a command",
    "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
}


def asked(**members: Any) -> Asked:
    """A small request with `members`, as an exchange is begun with."""
    return Asked(
        conversion=converted(**members),
        message_id="msg_0001",
        request_id="req_0001",
        invocation_id="00000000-0000-0000-0000-000000000002",
        user_agent="stagewhisper/test",
        jitter=0.5,
    )
