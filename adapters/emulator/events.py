"""An answer as the service's events, in frames: text in pieces, tool calls in smaller ones, figures at the end."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from adapters.emulator.assistant import Answer, Asked, ToolCall
from adapters.emulator.chance import Chance
from adapters.emulator.wire import event, input_fragments, text_fragments

WINDOW_TOKENS = 200_000


class Figures(msgspec.Struct, frozen=True):
    """What an answer is said to have cost. A token is four characters here."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int

    @property
    def percentage(self) -> float:
        """How full the model's window is, the answer included."""
        used = self.input_tokens + self.cached_tokens + self.output_tokens
        return round(min(100.0, used * 100 / WINDOW_TOKENS), 4)


def figures(asked: Asked, output: int) -> Figures:
    """Figures for a request and an answer of `output` bytes. A third of the prompt, by tokens, came from a cache."""
    prompt = asked.size // 4 + 1
    cached = prompt // 3
    return Figures(prompt - cached, output // 4 + 1, cached)


def _shuffled(payload: Mapping[str, Any], chance: Chance) -> dict[str, Any]:
    # The order of a payload's keys varies at the service.
    return dict(chance.shuffled(list(payload.items())))


def text_event(text: str) -> bytes:
    """One piece of the answer's text."""
    return event("assistantResponseEvent", {"content": text})


def text_events(text: str, chance: Chance, *, model: str = "") -> list[bytes]:
    """Text, in fragments. With `model`, each names it, as newer answers do."""
    extra = {"modelId": model} if model else {}
    return [
        event("assistantResponseEvent", _shuffled({"content": piece, **extra}, chance))
        for piece in text_fragments(text, chance)
    ]


def call_id(seed: int, number: int) -> str:
    """The id of a call: in the service's form, another for each request and each call in it."""
    digest = hashlib.sha256(f"{seed}/{number}".encode()).digest()
    return "tooluse_" + base64.urlsafe_b64encode(digest)[:22].decode()


def call_events(call: ToolCall, identity: str, chance: Chance, *, text: str | None = None) -> list[bytes]:
    """A whole call: its name, its input in fragments, its stop. `text` stands in for the input's JSON."""
    given = json.dumps(call.arguments, ensure_ascii=False) if text is None else text
    named = {"toolUseId": identity, "name": call.name}
    events = [event("toolUseEvent", _shuffled(named, chance))]
    events += [
        event("toolUseEvent", _shuffled({**named, "input": piece}, chance)) for piece in input_fragments(given, chance)
    ]
    return [*events, event("toolUseEvent", _shuffled({**named, "stop": True}, chance))]


def thinking_events(text: str, seed: int, chance: Chance) -> list[bytes]:
    """Thinking, in fragments, and its signature."""
    signature = base64.b64encode(hashlib.sha512(f"emulated signature {seed}".encode()).digest()).decode()
    events = [event("reasoningContentEvent", {"text": piece}) for piece in text_fragments(text, chance)]
    return [*events, event("reasoningContentEvent", {"signature": signature})]


def closing_events(cost: Figures, stop_reason: str) -> list[bytes]:
    """What newer answers end with: why and at what cost, how full the window is, what it is billed as."""
    usage = {
        "uncachedInputTokens": cost.input_tokens,
        "outputTokens": cost.output_tokens,
        "totalTokens": cost.input_tokens + cost.output_tokens + cost.cached_tokens,
        "cacheReadInputTokens": cost.cached_tokens,
        "cacheWriteInputTokens": 0,
        "contextUsagePercentage": cost.percentage,
    }
    return [
        event("metadataEvent", {"tokenUsage": usage, "stopReason": stop_reason}),
        event("contextUsageEvent", {"contextUsagePercentage": cost.percentage}),
        event(
            "meteringEvent",
            {"unit": "credit", "unitPlural": "credits", "usage": round(cost.percentage / 10, 6)},
        ),
    ]


def answer_events(answer: Answer, seed: int, chance: Chance, *, model: str) -> list[bytes]:
    """The events of an answer itself, without what closes it."""
    events = text_events(answer.text, chance, model=model)
    if answer.call is not None:
        events += call_events(answer.call, call_id(seed, 0), chance)
    return events


def stop_reason_of(answer: Answer) -> str:
    """Why the model stopped, in the service's words."""
    return "TOOL_USE" if answer.call is not None else "END_TURN"
