"""Which event belongs to which block: all of it in the order of the blocks' first events."""

from typing import Any

import pytest

from core.drafts import CallDraft, ContentEvent, Draft, Drafts, RedactedDraft, TextDraft, ThinkingDraft
from core.events import AssistantText, ContextUsage, Metadata, Reasoning, TokenUsage, ToolUseFragment


def drafts_of(*events: ContentEvent) -> Drafts:
    drafts = Drafts()
    for event in events:
        drafts.add(event)
    return drafts


def shown(draft: Draft) -> tuple[Any, ...]:
    match draft:
        case TextDraft(pieces=pieces):
            return ("text", *pieces)
        case ThinkingDraft(pieces=pieces, signature=signature):
            return ("thinking", signature, *pieces)
        case RedactedDraft(data=data):
            return ("redacted", data)
        case CallDraft():
            return ("call", draft.id, draft.name, draft.stopped, draft.whole, *draft.pieces)


def call(tool_use_id: str, fragment: str | dict[str, Any] = "", *, stop: bool = False) -> ToolUseFragment:
    return ToolUseFragment(tool_use_id, "Read", fragment, stop)


@pytest.mark.parametrize(
    ("events", "blocks"),
    [
        ([], []),
        ([AssistantText("")], []),
        ([AssistantText("a"), AssistantText(""), AssistantText("a")], [("text", "a", "a")]),
        # what is said beside a call does not end it, and what is said of its figures ends nothing
        (
            [AssistantText("a"), call("1"), AssistantText("b"), call("1", "{}", stop=True), AssistantText("c")],
            [("text", "a"), ("call", "1", "Read", True, None, "{}"), ("text", "b", "c")],
        ),
        ([AssistantText("a"), ContextUsage(1.0), Metadata(None, None), AssistantText("b")], [("text", "a", "b")]),
        (
            [call("1", {"a": 1}), call("2")],
            [("call", "1", "Read", False, {"a": 1}), ("call", "2", "Read", False, None)],
        ),
        # thinking ends with its signature, or where something else begins
        (
            [Reasoning("a", None, None), Reasoning("b", "s", None), Reasoning("c", None, None)],
            [("thinking", "s", "a", "b"), ("thinking", None, "c")],
        ),
        (
            [Reasoning("a", None, None), AssistantText("t"), Reasoning(None, "late", None), Reasoning(None, "s", None)],
            [("thinking", None, "a"), ("text", "t"), ("thinking", "late"), ("thinking", "s")],
        ),
        (
            [Reasoning("a", "", None), call("1"), call("1"), Reasoning("b", "s", None)],
            [("thinking", None, "a"), ("call", "1", "Read", False, None), ("thinking", "s", "b")],
        ),
        ([Reasoning("b", "s", "AAA=")], [("redacted", "AAA="), ("thinking", "s", "b")]),
        ([Reasoning("", "", "")], []),
    ],
)  # fmt: skip
def test_events_are_put_together_into_blocks(events: list[ContentEvent], blocks: list[tuple[Any, ...]]) -> None:
    assert list(map(shown, drafts_of(*events).blocks)) == blocks


@pytest.mark.parametrize(
    ("fragments", "problem"),
    [
        ([("Read", "{}", True), ("Read", "", True)], None),
        ([("Read", "", False), ("Read", {}, False), ("Read", {"a": 1}, True)], None),
        ([("Read", "{}", True), ("Read", "{}", False)], "went on after its end"),
        ([("Read", "", False), ("Write", "", True)], "changed its name to 'Write'"),
        ([("Read", {"a": 1}, False), ("Read", "{}", True)], "has two inputs"),
        ([("Read", "{}", False), ("Read", {"a": 1}, True)], "has two inputs"),
        ([("Read", "{}", True), ("Write", "{}", True)], "went on after its end"),
    ],
)
def test_a_call_keeps_the_first_thing_that_is_wrong_with_it(
    fragments: list[tuple[str, str | dict[str, Any], bool]], problem: str | None
) -> None:
    (draft,) = drafts_of(*(ToolUseFragment("1", name, said, stop) for name, said, stop in fragments)).blocks
    assert isinstance(draft, CallDraft)
    assert draft.problem == problem
    assert draft.stopped


def test_the_last_of_each_figure_counts_and_so_does_any_text() -> None:
    drafts = drafts_of(AssistantText(""), Metadata(TokenUsage(1, 2), "END_TURN"), ContextUsage(5.0))
    assert (drafts.figures, drafts.percentage, drafts.reason) == (TokenUsage(1, 2), 5.0, "end_turn")
    assert drafts.has_spoken
    for event in (ContextUsage(None), Metadata(None, None), Metadata(None, "SOMETHING_NEW")):
        drafts.add(event)
    assert (drafts.figures, drafts.percentage, drafts.reason) == (TokenUsage(1, 2), 5.0, "end_turn")
    drafts.add(Metadata(TokenUsage(3, 4, context_usage_percentage=7.0), "TOOL_USE"))
    assert (drafts.figures, drafts.percentage, drafts.reason) == (
        TokenUsage(3, 4, context_usage_percentage=7.0), 7.0, "tool_use",
    )  # fmt: skip
    assert not drafts_of(Metadata(None, "END_TURN")).has_spoken
