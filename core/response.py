"""Upstream events folded into one whole answer: the second of the three steps of buffered parsing.

Nothing is decided on a fragment. What cannot be a whole answer is a `Failure`, never a shorter answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeAlias, assert_never

import msgspec

from core.anthropic import (
    MAX_NESTING,
    AnswerBlock,
    AnswerMessage,
    AnswerRedactedThinking,
    AnswerText,
    AnswerThinking,
    AnswerToolUse,
    StopReason,
    nesting,
    shorten,
)
from core.events import (
    AssistantText,
    ContextUsage,
    Metadata,
    Reasoning,
    TokenUsage,
    ToolUseFragment,
)
from core.failures import Failure, Kind
from core.toolcalls import WrittenCall, find_calls
from core.tools import Names
from core.usage import count_usage, estimate_text

ContentEvent: TypeAlias = AssistantText | ToolUseFragment | Reasoning | Metadata | ContextUsage
"""The events that an answer is made of."""


class EventLog(msgspec.Struct, frozen=True):
    """The events of an answer so far. Grows in constant time: successive values share one append-only list.

    Each value sees the list up to its own length, so an older value stays what it was.
    """

    items: list[ContentEvent] = msgspec.field(default_factory=list)
    length: int = 0

    def extend(self, events: Sequence[ContentEvent]) -> EventLog:
        """The log with `events` at its end."""
        items = self.items if len(self.items) == self.length else self.items[: self.length]
        items.extend(events)
        return EventLog(items, len(items))

    def events(self) -> list[ContentEvent]:
        """All events, in order."""
        return self.items[: self.length]


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer is to be read: what of the request matters to it."""

    message_id: str
    model: str
    """The model's name as the client said it."""
    names: Names
    callable_names: Collection[str]
    """Names to look for in written-out calls; empty to look for none."""
    calls_allowed: bool
    stop_sequences: Sequence[str]
    window: int
    """The model's context window, in tokens."""
    estimated_input: int
    """The request's tokens, for where the service sends no figure."""


class AnswerMetadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where an answer came from."""

    original_model: str
    target_provider: str


class BufferedResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer, decided once."""

    message: AnswerMessage
    metadata: AnswerMetadata


_STOP_REASONS: dict[str, StopReason] = {
    "END_TURN": "end_turn",
    "TOOL_USE": "tool_use",
    "MAX_TOKENS": "max_tokens",
    "CONTENT_FILTERED": "refusal",
    "MODEL_CONTEXT_WINDOW_EXCEEDED": "model_context_window_exceeded",
    "PAUSE_TURN": "pause_turn",
}


def fold(events: Iterable[ContentEvent], *, reading: Reading, provider: str) -> BufferedResponse | Failure:
    """The answer that a whole stream of events is, or why it is none."""
    drafts, figures, percentage, reason, has_spoken = _collect(events)
    drafts, stop_sequence = _cut(drafts, reading.stop_sequences)
    if stop_sequence is None and not _has_answered(drafts, reason, has_spoken):
        return Failure(kind=Kind.SERVER, message="the service's answer has no content")
    content: list[AnswerBlock] = []
    for draft in drafts:
        block = _finish(draft, reading)
        if isinstance(block, Failure):
            return block
        if isinstance(block, AnswerText):
            content.extend(_read_text(block.text, reading, len(content)))
        else:
            content.append(block)
    usage = count_usage(
        figures,
        percentage,
        window=reading.window,
        estimated_input=reading.estimated_input,
        estimated_output=sum(map(_estimate_block, content)),
    )
    stop_reason, stop_sequence = _stop(content, reason, stop_sequence)
    return BufferedResponse(
        message=AnswerMessage(
            id=reading.message_id,
            model=reading.model,
            content=tuple(content),
            stop_reason=stop_reason,
            stop_sequence=stop_sequence,
            usage=usage,
        ),
        metadata=AnswerMetadata(original_model=reading.model, target_provider=provider),
    )


def _has_answered(drafts: Sequence[_Draft], reason: StopReason | None, has_spoken: bool) -> bool:
    """Whether there is an answer: words or a call, or an end that was said to be one.

    Thinking that nothing follows, not even a reason to stop, was cut.
    """
    if any(isinstance(draft, _TextDraft | _CallDraft) for draft in drafts):
        return True
    return reason == "refusal" or (reason is not None and (has_spoken or bool(drafts)))


# --- collecting ------------------------------------------------------------------------------------------------


class _TextDraft:
    __slots__ = ("pieces",)

    def __init__(self) -> None:
        self.pieces: list[str] = []


class _ThinkingDraft:
    __slots__ = ("pieces", "signature")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.signature: str | None = None


class _RedactedDraft:
    __slots__ = ("data",)

    def __init__(self, data: str) -> None:
        self.data = data


class _CallDraft:
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


_Draft: TypeAlias = _TextDraft | _ThinkingDraft | _RedactedDraft | _CallDraft


def _collect(
    events: Iterable[ContentEvent],
) -> tuple[list[_Draft], TokenUsage | None, float | None, StopReason | None, bool]:
    """Blocks in the order of their first event, the last of each figure, and whether the assistant spoke at all."""
    drafts: list[_Draft] = []
    calls: dict[str, _CallDraft] = {}
    figures: TokenUsage | None = None
    percentage: float | None = None
    reason: StopReason | None = None
    has_spoken = False
    for event in events:
        match event:
            case AssistantText(text):
                has_spoken = True  # if only to say nothing, as models end a turn after a tool's result
                if not text:
                    continue
                if not (drafts and isinstance(drafts[-1], _TextDraft)):
                    drafts.append(_TextDraft())
                drafts[-1].pieces.append(text)  # type: ignore[union-attr]  # narrowed just above
            case ToolUseFragment(tool_use_id, name):
                if (call := calls.get(tool_use_id)) is None:
                    calls[tool_use_id] = call = _CallDraft(tool_use_id, name)
                    drafts.append(call)
                call.add(event)
            case Reasoning():
                _collect_reasoning(drafts, event)
            case Metadata(usage, stop_reason):
                figures = usage or figures
                reason = _STOP_REASONS.get(stop_reason or "", reason)
                if usage is not None and usage.context_usage_percentage is not None:
                    percentage = usage.context_usage_percentage
            case ContextUsage(share):
                percentage = percentage if share is None else share
            case _:
                assert_never(event)
    return drafts, figures, percentage, reason, has_spoken


def _collect_reasoning(drafts: list[_Draft], event: Reasoning) -> None:
    if event.redacted_content:
        drafts.append(_RedactedDraft(event.redacted_content))
    if event.text:
        last = drafts[-1] if drafts else None
        if not isinstance(last, _ThinkingDraft) or last.signature is not None:
            last = _ThinkingDraft()
            drafts.append(last)
        last.pieces.append(event.text)
    if event.signature:
        _sign(drafts, event.signature)


def _sign(drafts: list[_Draft], signature: str) -> None:
    """Put a signature where it belongs: on the newest thinking that has none, else on an empty one of its own."""
    for draft in reversed(drafts):
        if isinstance(draft, _ThinkingDraft):
            if draft.signature is None:
                draft.signature = signature
                return
            break
    signed = _ThinkingDraft()
    signed.signature = signature
    drafts.append(signed)


# --- deciding --------------------------------------------------------------------------------------------------


def _cut(drafts: list[_Draft], stop_sequences: Sequence[str]) -> tuple[list[_Draft], str | None]:
    """Everything before the first stop sequence in the text, and which one it was."""
    if not stop_sequences:
        return drafts, None
    for index, draft in enumerate(drafts):
        if not isinstance(draft, _TextDraft):
            continue
        text = "".join(draft.pieces)
        found = [(place, sequence) for sequence in stop_sequences if (place := text.find(sequence)) >= 0]
        if found:
            # Of two that begin at one place, the one that the client named first.
            place, sequence = min(found, key=lambda hit: hit[0])
            kept = drafts[:index]
            if place:
                head = _TextDraft()
                head.pieces.append(text[:place])
                kept.append(head)
            return kept, sequence
    return drafts, None


def _finish(draft: _Draft, reading: Reading) -> AnswerBlock | Failure:
    match draft:
        case _TextDraft():
            return AnswerText("".join(draft.pieces))
        case _ThinkingDraft():
            return AnswerThinking("".join(draft.pieces), draft.signature or "")
        case _RedactedDraft():
            return AnswerRedactedThinking(draft.data)
        case _CallDraft():
            return _finish_call(draft, reading)
        case _:
            assert_never(draft)


def _finish_call(draft: _CallDraft, reading: Reading) -> AnswerToolUse | Failure:
    name = reading.names.client_name(draft.name)
    if draft.problem is not None:
        return _undeliverable(name, draft.problem)
    if not draft.id or not name:
        return _undeliverable(name, "has no id or no name")
    if not reading.calls_allowed:
        return _undeliverable(name, "was made although the request allows none")
    text = "".join(draft.pieces)
    if not draft.stopped:
        return _undeliverable(name, f"was cut by the service after {len(text)} characters of its input")
    try:
        raw = msgspec.json.encode(draft.whole) if draft.whole else text.encode() or b"{}"
        parsed = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return _undeliverable(name, f"has an input of {len(text)} characters that cannot be read as JSON")
    if not isinstance(parsed, dict):
        return _undeliverable(name, "has an input that is no JSON object")
    if nesting(parsed) > MAX_NESTING:
        # The client could not send it back: its next request would be refused, and each one after that.
        return _undeliverable(name, f"has an input that nests more than {MAX_NESTING} levels deep")
    return AnswerToolUse(reading.names.client_id(draft.id), name, msgspec.Raw(raw))


def _undeliverable(name: str, problem: str) -> Failure:
    return Failure(
        kind=Kind.ANSWER,
        message=f"the model's call of tool {shorten(name)} {problem}; it was not delivered",
    )


def _read_text(text: str, reading: Reading, index: int) -> list[AnswerBlock]:
    """The blocks that a block of text is, the first of them to stand at `index`."""
    blocks: list[AnswerBlock] = []
    for piece in find_calls(text, reading.callable_names) if reading.callable_names else (text,):
        match piece:
            case WrittenCall(name, arguments):
                made_up = made_up_tool_id(reading.message_id, index + len(blocks))
                raw = msgspec.Raw(arguments.encode())
                blocks.append(AnswerToolUse(made_up, reading.names.client_name(name), raw))
            case str():
                blocks.append(AnswerText(piece))
            case _:
                assert_never(piece)
    return blocks


def made_up_tool_id(message_id: str, index: int) -> str:
    """The id of a written-out call, from its message and place alone, so that a replay makes the same."""
    return "toolu_" + hashlib.sha256(f"{message_id}:{index}".encode()).hexdigest()[:24]


def _stop(
    content: Sequence[AnswerBlock], reason: StopReason | None, stop_sequence: str | None
) -> tuple[StopReason, str | None]:
    if any(isinstance(block, AnswerToolUse) for block in content):
        # A client runs calls on this reason only; a limit that was hit behind whole calls is still said.
        return (reason if reason in ("max_tokens", "model_context_window_exceeded") else "tool_use"), None
    if stop_sequence is not None:
        return "stop_sequence", stop_sequence
    if reason is None or reason == "tool_use":
        return "end_turn", None
    return reason, None


def _estimate_block(block: AnswerBlock) -> int:
    match block:
        case AnswerText(text):
            return estimate_text(text)
        case AnswerToolUse(_, name, raw):
            return estimate_text(name) + estimate_text(bytes(raw).decode())
        case AnswerThinking(thinking):
            return estimate_text(thinking)
        case AnswerRedactedThinking(data):
            return estimate_text(data)
        case _:
            assert_never(block)
