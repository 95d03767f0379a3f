"""Upstream events folded into one whole answer: the second of the three steps of buffered parsing.

Nothing is decided on a fragment. What cannot be a whole answer is a `Failure`, never a shorter answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from typing import assert_never

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
from core.drafts import CallDraft, ContentEvent, Draft, Drafts, RedactedDraft, TextDraft, ThinkingDraft
from core.failures import Failure, Kind
from core.toolcalls import WrittenCall, find_calls
from core.tools import Names
from core.usage import count_usage, estimate_text


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


def fold(events: Iterable[ContentEvent], *, reading: Reading, provider: str) -> BufferedResponse | Failure:
    """The answer that a whole stream of events is, or why it is none."""
    drafts = Drafts()
    for event in events:
        drafts.add(event)
    kept, stop_sequence = _cut(drafts.blocks, reading.stop_sequences)
    if stop_sequence is None and not _has_answered(drafts):
        return Failure(kind=Kind.SERVER, message="the service's answer has no content")
    content: list[AnswerBlock] = []
    for draft in kept:
        blocks = finish(draft, reading, len(content))
        if isinstance(blocks, Failure):
            return blocks
        content += blocks
    usage = count_usage(
        drafts.figures,
        drafts.percentage,
        window=reading.window,
        estimated_input=reading.estimated_input,
        estimated_output=sum(map(_estimate_block, content)),
    )
    stop_reason, stop_sequence = _stop(content, drafts.reason, stop_sequence)
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


def _has_answered(drafts: Drafts) -> bool:
    """Whether there is an answer: words or a call, or an end that was said to be one.

    Thinking that nothing follows, not even a reason to stop, was cut.
    """
    if any(isinstance(draft, TextDraft | CallDraft) for draft in drafts.blocks):
        return True
    return drafts.reason == "refusal" or (drafts.reason is not None and (drafts.has_spoken or bool(drafts.blocks)))


# --- deciding --------------------------------------------------------------------------------------------------


def _cut(drafts: list[Draft], stop_sequences: Sequence[str]) -> tuple[list[Draft], str | None]:
    """Everything before the first stop sequence in the text, and which one it was."""
    if not stop_sequences:
        return drafts, None
    for index, draft in enumerate(drafts):
        if not isinstance(draft, TextDraft):
            continue
        text = "".join(draft.pieces)
        if (found := find_stop(text, stop_sequences)) is not None:
            place, sequence = found
            kept = drafts[:index]
            if place:
                head = TextDraft()
                head.pieces.append(text[:place])
                kept.append(head)
            return kept, sequence
    return drafts, None


def find_stop(text: str, stop_sequences: Sequence[str]) -> tuple[int, str] | None:
    """The first place of a stop sequence in a whole block of text, and of several there the one that is named first."""
    found = [(place, sequence) for sequence in stop_sequences if (place := text.find(sequence)) >= 0]
    return min(found, key=lambda hit: hit[0], default=None)


def finish(draft: Draft, reading: Reading, index: int) -> list[AnswerBlock] | Failure:
    """The blocks that a whole draft is, the first of them to stand at `index`, or why it cannot be delivered."""
    match draft:
        case TextDraft(pieces=pieces):
            return read_text("".join(pieces), reading, index)
        case ThinkingDraft(pieces=pieces, signature=signature):
            return [AnswerThinking("".join(pieces), signature or "")]
        case RedactedDraft(data=data):
            return [AnswerRedactedThinking(data)]
        case CallDraft():
            call = _finish_call(draft, reading)
            return call if isinstance(call, Failure) else [call]
        case _:
            assert_never(draft)


def _finish_call(draft: CallDraft, reading: Reading) -> AnswerToolUse | Failure:
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


def read_text(text: str, reading: Reading, index: int) -> list[AnswerBlock]:
    """The blocks that a whole block of text is, the first of them to stand at `index`; none of an empty one."""
    blocks: list[AnswerBlock] = []
    if not text:
        return blocks
    for piece in find_calls(text, reading.callable_names) if reading.callable_names else (text,):
        blocks.append(
            AnswerText(piece) if isinstance(piece, str) else written_call(piece, reading, index + len(blocks))
        )
    return blocks


def written_call(call: WrittenCall, reading: Reading, index: int) -> AnswerToolUse:
    """A call that was written out as text, as the block at `index`."""
    name = reading.names.client_name(call.name)
    return AnswerToolUse(made_up_tool_id(reading.message_id, index), name, msgspec.Raw(call.arguments.encode()))


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
