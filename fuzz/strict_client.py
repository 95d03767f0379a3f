"""A client that forgives nothing: it rebuilds the message from the bytes of a stream, or says what is wrong.

Stricter than any real one. It knows the Messages API's stream and no code of this project.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

STOP_REASONS = {
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "refusal",
    "model_context_window_exceeded",
}
_EMPTY: dict[str, dict[str, Any]] = {
    "text": {"type": "text", "text": ""},
    "tool_use": {"type": "tool_use", "input": {}},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
    "redacted_thinking": {"type": "redacted_thinking"},
}
_DELTAS = {
    "text_delta": ("text", "text"),
    "input_json_delta": ("tool_use", "partial_json"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("thinking", "signature"),
}


class Broken(AssertionError):
    """The stream is not one."""


def demand(is_so: bool, problem: object) -> None:
    """Raises `Broken` where something is not as it must be."""
    if not is_so:
        raise Broken(problem)


@dataclass
class Rebuilt:
    """What a stream was: the message that it began and perhaps completed, or the error that it ended with."""

    start: dict[str, Any] | None = None
    content: list[dict[str, Any]] = field(default_factory=list)
    partial_json: list[str] = field(default_factory=list)
    """The text of each block's input, as it came."""
    end: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    pings: int = 0


def read_events(stream: bytes) -> list[dict[str, Any]]:
    """The events of a stream of server-sent events, each with its name equal to its type."""
    events = []
    blocks = stream.split(b"\n\n")
    demand(blocks.pop() == b"", "the stream ends within an event")
    for block in blocks:
        # By Unicode's line ends too: some clients' readers know no others.
        lines = block.decode().splitlines()
        demand(len(lines) == 2, lines)
        demand(lines[0].startswith("event: ") and lines[1].startswith("data: "), lines)
        data = json.loads(lines[1].removeprefix("data: "))
        demand(data["type"] == lines[0].removeprefix("event: "), lines)
        events.append(data)
    return events


def rebuild(stream: bytes) -> Rebuilt:
    """The message of a whole stream.

    Raises:
        Broken: its events are not what a client may rely on.
    """
    rebuilt = Rebuilt()
    open_block: dict[str, Any] | None = None
    is_signed = is_over = False
    for event in read_events(stream):
        kind = event["type"]
        demand(not is_over, f"{kind} after the end")
        demand((kind == "message_start") == (rebuilt.start is None), f"{kind} where the message begins")
        if rebuilt.end is not None:
            demand(kind == "message_stop", f"{kind} after message_delta")
        match kind:
            case "message_start":
                rebuilt.start = event["message"]
                _check_start(event["message"])
            case "ping":
                rebuilt.pings += 1
            case "content_block_start":
                demand(open_block is None and event["index"] == len(rebuilt.content), event)
                open_block = dict(event["content_block"])
                is_signed = False
                _check_block(open_block)
                rebuilt.content.append(open_block)
                rebuilt.partial_json.append("")
            case "content_block_delta":
                demand(open_block is not None and event["index"] == len(rebuilt.content) - 1, event)
                assert open_block is not None
                demand(not is_signed, "a delta after the signature")
                is_signed = event["delta"]["type"] == "signature_delta"
                _add(rebuilt, open_block, event["delta"])
            case "content_block_stop":
                demand(open_block is not None and event["index"] == len(rebuilt.content) - 1, event)
                assert open_block is not None
                _close(rebuilt, open_block)
                open_block = None
            case "message_delta":
                demand(open_block is None, "message_delta inside a block")
                demand(event["delta"]["stop_reason"] in STOP_REASONS, event)
                is_sequence = event["delta"]["stop_reason"] == "stop_sequence"
                demand((event["delta"]["stop_sequence"] is not None) == is_sequence, event)
                _check_usage(event["usage"])
                rebuilt.end = event
            case "message_stop":
                demand(rebuilt.end is not None, "message_stop without message_delta")
                is_over = True
            case "error":
                demand(set(event) == {"type", "error", "request_id"}, event)
                demand(set(event["error"]) == {"type", "message"}, event)
                rebuilt.error = event["error"]
                is_over = True
            case _:
                raise Broken(f"unknown event {kind}")
    demand(is_over, "no end")
    return rebuilt


def _check_start(message: dict[str, Any]) -> None:
    expected: dict[str, Any] = {
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }
    demand(set(message) == {*expected, "id", "model", "usage"}, message)
    demand(all(message[name] == value for name, value in expected.items()), message)
    _check_usage(message["usage"])


def _check_usage(usage: dict[str, Any]) -> None:
    figures = {"input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"}
    demand(set(usage) == figures, usage)
    demand(all(type(figure) is int and figure >= 0 for figure in usage.values()), usage)


def _check_block(block: dict[str, Any]) -> None:
    """A block begins empty, whatever its kind."""
    for name, value in _EMPTY[block["type"]].items():
        demand(block[name] == value, block)
    named = {"tool_use": {"id", "name"}, "redacted_thinking": {"data"}}.get(block["type"], set())
    demand(set(block) == set(_EMPTY[block["type"]]) | named, block)
    demand(all(isinstance(block[name], str) for name in named), block)


def _add(rebuilt: Rebuilt, block: dict[str, Any], delta: dict[str, Any]) -> None:
    of, member = _DELTAS[delta["type"]]
    demand(block["type"] == of and set(delta) == {"type", member}, delta)
    if member == "partial_json":
        rebuilt.partial_json[-1] += delta[member]
    else:
        demand(bool(delta[member]) or member == "signature", "an empty delta")
        block[member] += delta[member]


def _close(rebuilt: Rebuilt, block: dict[str, Any]) -> None:
    if block["type"] == "tool_use":
        block["input"] = json.loads(rebuilt.partial_json[-1] or "{}")
        demand(isinstance(block["input"], dict), "an input that is no object")
    demand(block["type"] != "text" or bool(block["text"]), "an empty block of text")
