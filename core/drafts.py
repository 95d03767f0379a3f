"""An answer's blocks while they come in: which event belongs to which, in the order of their first events.

What a whole block says is for `response`; what of one that is not whole may be sent already, for `live`.
"""

from __future__ import annotations

from typing import Any, TypeAlias, assert_never

from core.anthropic import StopReason, shorten
from core.events import AssistantText, ContextUsage, Metadata, Reasoning, TokenUsage, ToolUseFragment

ContentEvent: TypeAlias = AssistantText | ToolUseFragment | Reasoning | Metadata | ContextUsage
"""The events that an answer is made of."""


class TextDraft:
    """Text, in the pieces in which it came."""

    __slots__ = ("pieces",)

    def __init__(self) -> None:
        self.pieces: list[str] = []


class ThinkingDraft:
    """Thinking. It ends with its signature, or without one where something else begins."""

    __slots__ = ("pieces", "signature")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.signature: str | None = None


class RedactedDraft:
    """Redacted thinking, which comes whole."""

    __slots__ = ("data",)

    def __init__(self, data: str) -> None:
        self.data = data


class CallDraft:
    """A call whose pieces are coming in. `problem` is the first thing that makes it undeliverable."""

    __slots__ = ("id", "name", "pieces", "problem", "stopped", "whole")

    def __init__(self, tool_use_id: str, name: str) -> None:
        self.id = tool_use_id
        self.name = name
        self.pieces: list[str] = []
        self.whole: dict[str, Any] | None = None
        self.stopped = False
        self.problem: str | None = None

    def add(self, fragment: ToolUseFragment) -> None:
        """Take in the next piece. An empty object stands for no input yet, as an empty string does."""
        if fragment.input and self.stopped:
            self.problem = self.problem or "went on after its end"
        if fragment.name != self.name:
            self.problem = self.problem or f"changed its name to {shorten(fragment.name)}"
        if isinstance(fragment.input, dict):
            if fragment.input and (self.pieces or self.whole):
                self.problem = self.problem or "has two inputs"
            self.whole = fragment.input or self.whole
        elif fragment.input:
            if self.whole:
                self.problem = self.problem or "has two inputs"
            self.pieces.append(fragment.input)
        self.stopped = self.stopped or fragment.stop


Draft: TypeAlias = TextDraft | ThinkingDraft | RedactedDraft | CallDraft

_STOP_REASONS: dict[str, StopReason] = {
    "END_TURN": "end_turn",
    "TOOL_USE": "tool_use",
    "MAX_TOKENS": "max_tokens",
    "CONTENT_FILTERED": "refusal",
    "MODEL_CONTEXT_WINDOW_EXCEEDED": "model_context_window_exceeded",
    "PAUSE_TURN": "pause_turn",
}


class Drafts:
    """What an answer's events have come to so far: its blocks, the last of each figure, and why the model stopped.

    Only the last block, and calls, can still change.
    """

    __slots__ = ("_calls", "blocks", "figures", "has_spoken", "percentage", "reason")

    def __init__(self) -> None:
        self.blocks: list[Draft] = []
        self.figures: TokenUsage | None = None
        self.percentage: float | None = None
        self.reason: StopReason | None = None
        self.has_spoken = False
        """Whether there was any text, if only an empty one, as models end a turn after a tool's result."""
        self._calls: dict[str, CallDraft] = {}

    def add(self, event: ContentEvent) -> None:
        """Take in the next event."""
        match event:
            case AssistantText(text):
                self.has_spoken = True
                if text:
                    self._add_text(text)
            case ToolUseFragment(tool_use_id, name):
                if (call := self._calls.get(tool_use_id)) is None:
                    self._calls[tool_use_id] = call = CallDraft(tool_use_id, name)
                    self.blocks.append(call)
                call.add(event)
            case Reasoning():
                self._add_reasoning(event)
            case Metadata(usage, stop_reason):
                self.figures = usage or self.figures
                self.reason = _STOP_REASONS.get(stop_reason or "", self.reason)
                if usage is not None and usage.context_usage_percentage is not None:
                    self.percentage = usage.context_usage_percentage
            case ContextUsage(share):
                self.percentage = self.percentage if share is None else share
            case _:
                assert_never(event)

    def _add_text(self, text: str) -> None:
        last = self.blocks[-1] if self.blocks else None
        if not isinstance(last, TextDraft):
            last = TextDraft()
            self.blocks.append(last)
        last.pieces.append(text)

    def _add_reasoning(self, event: Reasoning) -> None:
        if event.redacted_content:
            self.blocks.append(RedactedDraft(event.redacted_content))
        if event.text:
            self._unsigned().pieces.append(event.text)
        if event.signature:
            # A signature is the last of its block, which nothing stands between: one that comes later has its own.
            self._unsigned().signature = event.signature

    def _unsigned(self) -> ThinkingDraft:
        """The thinking that goes on: the last block, where it is thinking without a signature; else a new one."""
        last = self.blocks[-1] if self.blocks else None
        if not isinstance(last, ThinkingDraft) or last.signature is not None:
            last = ThinkingDraft()
            self.blocks.append(last)
        return last
