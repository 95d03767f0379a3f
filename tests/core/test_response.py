"""Upstream events folded into one answer, or into the reason why they are none."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.anthropic import AnswerBlock, AnswerRedactedThinking, AnswerText, AnswerThinking, AnswerToolUse
from core.drafts import ContentEvent
from core.events import AssistantText, ContextUsage, Metadata, Reasoning, TokenUsage, ToolUseFragment
from core.failures import Failure, Kind
from core.response import BufferedResponse, EventLog, Reading, fold, made_up_tool_id
from core.tools import Names

NAMES = Names(client_names={"Bash_1": "Bash!"}, client_ids={"id_1": "id!"})


def reading(**members: Any) -> Reading:
    defaults: dict[str, Any] = {
        "message_id": "msg_1",
        "model": "claude-test",
        "names": NAMES,
        "callable_names": frozenset({"Bash!", "Bash_1", "Read"}),
        "calls_allowed": True,
        "stop_sequences": (),
        "window": 200_000,
        "estimated_input": 100,
    }
    return Reading(**{**defaults, **members})


def folded(events: Sequence[ContentEvent], **members: Any) -> BufferedResponse:
    response = fold(events, reading=reading(**members), provider="kiro")
    assert isinstance(response, BufferedResponse), response
    return response


def failed(events: Sequence[ContentEvent], **members: Any) -> Failure:
    failure = fold(events, reading=reading(**members), provider="kiro")
    assert isinstance(failure, Failure), failure
    return failure


def deep(levels: int) -> Any:
    """Lists in lists."""
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def call(id: str, name: str, input: str = "{}") -> AnswerToolUse:  # noqa: A002 (the API's words)
    return AnswerToolUse(id, name, msgspec.Raw(input.encode()))


def piece(id: str, input: str | dict[str, Any] = "", *, stop: bool = False, name: str = "Read") -> ToolUseFragment:  # noqa: A002 (the service's words)
    return ToolUseFragment(id, name, input, stop)


@pytest.mark.parametrize(
    ("events", "content"),
    [
        ([AssistantText("ha"), AssistantText("ha")], [AnswerText("haha")]),
        ([AssistantText(""), AssistantText("a"), ContextUsage(None), AssistantText("b")], [AnswerText("ab")]),
        ([AssistantText(" \n")], [AnswerText(" \n")]),
        # a call in fragments of a few characters, as they come
        (
            [
                piece("t1"),
                *(piece("t1", part) for part in ('{"', "locati", 'on": "S', "an ", "Franc", 'isco, CA"}')),
                piece("t1", stop=True),
            ],
            [call("t1", "Read", '{"location": "San Francisco, CA"}')],
        ),
        # two calls interleaved, in the order of their first event
        (
            [
                piece("t1"),
                piece("t2"),
                piece("t1", '{"a'),
                piece("t2", '{"b'),
                piece("t2", '": 2}', stop=True),
                piece("t1", '": 1}'),
                piece("t1", stop=True),
            ],
            [call("t1", "Read", '{"a": 1}'), call("t2", "Read", '{"b": 2}')],
        ),
        # text between the pieces of a call is behind it, and is one block
        (
            [
                AssistantText("a"),
                piece("t1"),
                AssistantText("b"),
                piece("t1", "{}"),
                AssistantText("c"),
                piece("t1", stop=True),
            ],
            [AnswerText("a"), call("t1", "Read"), AnswerText("bc")],
        ),
        ([piece("t1", stop=True)], [call("t1", "Read")]),
        ([piece("t1", {}), piece("t1", '{"a":1}'), piece("t1", stop=True)], [call("t1", "Read", '{"a":1}')]),
        ([piece("t1", {"a": [1]}, stop=True)], [call("t1", "Read", '{"a":[1]}')]),
        ([piece("t1"), piece("t1", {"a": 1}), piece("t1", {}, stop=True)], [call("t1", "Read", '{"a":1}')]),
        ([piece("t1", "{}", stop=True), piece("t1", "", stop=True)], [call("t1", "Read")]),
        ([piece("t1", ' {"a":1}\n', stop=True)], [call("t1", "Read", ' {"a":1}\n')]),
        # names and ids come back as the client knows them
        ([piece("id_1", stop=True, name="Bash_1")], [call("id!", "Bash!")]),
        ([piece("t1", stop=True, name="Undeclared")], [call("t1", "Undeclared")]),
        # thinking
        (
            [
                Reasoning("let ", None, None),
                Reasoning("me", None, None),
                Reasoning(None, "sig", None),
                AssistantText("a"),
            ],
            [AnswerThinking("let me", "sig"), AnswerText("a")],
        ),
        (
            [Reasoning("a", "s1", None), Reasoning("b", "", None), AssistantText("t")],
            [AnswerThinking("a", "s1"), AnswerThinking("b", ""), AnswerText("t")],
        ),
        # an empty signature is none yet
        (
            [Reasoning("a", "", None), Reasoning("b", "", None), Reasoning(None, "real", None), AssistantText("t")],
            [AnswerThinking("ab", "real"), AnswerText("t")],
        ),
        ([Reasoning(None, "", ""), AssistantText("t")], [AnswerText("t")]),
        ([Reasoning("a", None, None), AssistantText("t")], [AnswerThinking("a", ""), AnswerText("t")]),
        (
            [Reasoning("a", None, None), AssistantText("t"), Reasoning(None, "late", None)],
            [AnswerThinking("a", ""), AnswerText("t"), AnswerThinking("", "late")],
        ),
        ([Reasoning(None, "alone", None), AssistantText("t")], [AnswerThinking("", "alone"), AnswerText("t")]),
        (
            [Reasoning("a", "s", None), Reasoning(None, "again", None), AssistantText("t")],
            [AnswerThinking("a", "s"), AnswerThinking("", "again"), AnswerText("t")],
        ),
        (
            [Reasoning(None, None, "AAA="), Reasoning("b", None, None), AssistantText("t")],
            [AnswerRedactedThinking("AAA="), AnswerThinking("b", ""), AnswerText("t")],
        ),
        ([Reasoning("", None, None), AssistantText("t")], [AnswerText("t")]),
        # a written-out call
        (
            [AssistantText("I will.\nTool call: Re"), AssistantText('ad({"path": "/x"})\nDone.')],
            [
                AnswerText("I will.\n"),
                call(made_up_tool_id("msg_1", 1), "Read", '{"path": "/x"}'),
                AnswerText("\nDone."),
            ],
        ),
        ([AssistantText("Tool call: Bash_1()")], [call(made_up_tool_id("msg_1", 0), "Bash!")]),
        ([AssistantText("Tool call: Nope()")], [AnswerText("Tool call: Nope()")]),
        # each block of text is read alone
        (
            [AssistantText("Tool call: Re"), piece("t1", stop=True), AssistantText("ad()")],
            [AnswerText("Tool call: Re"), call("t1", "Read"), AnswerText("ad()")],
        ),
    ],
)
def test_blocks_stand_in_the_order_of_their_first_event(events: list[ContentEvent], content: list[AnswerBlock]) -> None:
    assert list(folded(events).message.content) == content


def test_nothing_is_looked_for_where_no_name_may_be_called() -> None:
    events = [AssistantText("Tool call: Read()")]
    assert folded(events, callable_names=()).message.content == (AnswerText("Tool call: Read()"),)


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        ([piece("t1"), piece("t1", '{"a": "long')], "was cut by the service after 11 characters"),
        ([piece("t1", '{"a": 1}')], "was cut by the service after 8 characters"),
        ([piece("t1", {"a": 1})], "was cut by the service after 0 characters"),
        ([piece("t1", '{"a": ', stop=True)], "that cannot be read as JSON"),
        ([piece("t1", "[1]", stop=True)], "that is no JSON object"),
        ([piece("t1", "null", stop=True)], "that is no JSON object"),
        ([piece("t1", " ", stop=True)], "that cannot be read as JSON"),
        ([piece("t1", '{"a": NaN}', stop=True)], "that cannot be read as JSON"),
        ([piece("t1", '{"a": "\\ud800"}', stop=True)], "that cannot be read as JSON"),
        ([piece("t1", '{"a":' * 100_000, stop=True)], "that cannot be read as JSON"),
        ([piece("t1", '{"a":' * 201 + "1" + "}" * 201, stop=True)], "nests more than 200 levels deep"),
        ([piece("t1", {"a": deep(200)}, stop=True)], "nests more than 200 levels deep"),
        # how deep msgspec goes is Python's version's to say
        ([piece("t1", {"a": deep(5000)}, stop=True)], "has an input"),
        ([piece("", "{}", stop=True)], "has no id or no name"),
        ([piece("t1", "{}", stop=True, name="")], "has no id or no name"),
        ([piece("t1", "{}", stop=True), piece("t1", "{}")], "went on after its end"),
        ([piece("t1", '{"a":1}'), piece("t1", {"b": 1}, stop=True)], "has two inputs"),
        ([piece("t1", {"b": 1}), piece("t1", '{"a":1}', stop=True)], "has two inputs"),
        ([piece("t1", {"b": 1}), piece("t1", {"b": 1}, stop=True)], "has two inputs"),
        ([piece("t1"), piece("t1", "{}", stop=True, name="Write")], "changed its name to 'Write'"),
        # beside a whole call, one that is not spoils the answer
        ([piece("t1", "{}", stop=True), piece("t2", "{}")], "was cut by the service"),
    ],
)
def test_a_call_that_is_not_whole_is_never_delivered(events: list[ContentEvent], problem: str) -> None:
    failure = failed([AssistantText("I will read it."), *events])
    assert failure.kind is Kind.ANSWER
    assert problem in failure.message


def test_a_call_that_the_request_does_not_allow_is_an_error() -> None:
    failure = failed([piece("t1", stop=True)], calls_allowed=False, callable_names=())
    assert failure.kind is Kind.ANSWER
    assert "allows none" in failure.message


@pytest.mark.parametrize(
    "events",
    [
        [],
        [AssistantText("")],
        [ContextUsage(1.0)],
        [Metadata(None, "END_TURN")],
        [Metadata(None, "MAX_TOKENS"), ContextUsage(1.0)],
        [AssistantText(""), Metadata(None, "UNKNOWN")],
        # thinking that was cut
        [Reasoning("hm", None, None)],
        [Reasoning("hm", "s", None)],
        [Reasoning(None, None, "AAA=")],
    ],
)
def test_an_answer_without_content_is_the_services_error(events: list[ContentEvent]) -> None:
    assert failed(events).kind is Kind.SERVER


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("END_TURN", "end_turn"),
        ("MAX_TOKENS", "max_tokens"),
        ("CONTENT_FILTERED", "refusal"),
        ("MODEL_CONTEXT_WINDOW_EXCEEDED", "model_context_window_exceeded"),
        ("PAUSE_TURN", "pause_turn"),
        ("TOOL_USE", "end_turn"),
        ("UNKNOWN", "end_turn"),
        (None, "end_turn"),
    ],
)
def test_the_stop_reason_is_the_services(reason: str | None, expected: str) -> None:
    response = folded([AssistantText("a"), Metadata(None, reason)])
    assert (response.message.stop_reason, response.message.stop_sequence) == (expected, None)


@pytest.mark.parametrize(
    "events",
    [
        [AssistantText(""), Metadata(None, "END_TURN")],
        [AssistantText(""), Metadata(None, "MAX_TOKENS")],
        [Metadata(None, "CONTENT_FILTERED")],
    ],
)
def test_to_say_nothing_and_end_is_an_answer(events: list[ContentEvent]) -> None:
    assert folded(events).message.content == ()


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (None, "tool_use"),
        ("TOOL_USE", "tool_use"),
        ("END_TURN", "tool_use"),
        ("MAX_TOKENS", "max_tokens"),
        ("MODEL_CONTEXT_WINDOW_EXCEEDED", "model_context_window_exceeded"),
    ],
)
@pytest.mark.parametrize("event", [piece("t1", stop=True), AssistantText("Tool call: Read()")])
def test_any_call_makes_the_stop_reason_a_call_unless_a_limit_was_hit(
    event: ContentEvent, reason: str | None, expected: str
) -> None:
    assert folded([event, Metadata(None, reason)]).message.stop_reason == expected


@pytest.mark.parametrize(
    ("events", "sequences", "content", "stopped_by"),
    [
        ([AssistantText("one two three")], ["two"], [AnswerText("one ")], "two"),
        ([AssistantText("one two three")], ["three", "two"], [AnswerText("one ")], "two"),
        ([AssistantText("one tw"), AssistantText("o three")], ["two"], [AnswerText("one ")], "two"),
        ([AssistantText("abc")], ["abcd", "bc", "b"], [AnswerText("a")], "bc"),
        ([AssistantText("stop now")], ["stop"], [], "stop"),
        ([AssistantText("none here")], ["stop"], [AnswerText("none here")], None),
        # all that follows is cut with it, a call that is not whole too
        ([AssistantText("a END b"), piece("t1", "{")], ["END"], [AnswerText("a ")], "END"),
        ([AssistantText("a END b"), AssistantText("Tool call: Read()")], ["END"], [AnswerText("a ")], "END"),
        # each block of text is read alone
        (
            [AssistantText("a E"), Reasoning("t", "s", None), AssistantText("ND")],
            ["END"],
            [AnswerText("a E"), AnswerThinking("t", "s"), AnswerText("ND")],
            None,
        ),
        (
            [Reasoning("END", "s", None), AssistantText("b")],
            ["END"],
            [AnswerThinking("END", "s"), AnswerText("b")],
            None,
        ),
    ],
)
def test_a_stop_sequence_cuts_the_text(
    events: list[ContentEvent], sequences: list[str], content: list[AnswerBlock], stopped_by: str | None
) -> None:
    message = folded(events, stop_sequences=sequences).message
    assert list(message.content) == content
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence" if stopped_by else "end_turn", stopped_by)


def test_a_stop_sequence_cuts_a_written_call_before_it_is_looked_for() -> None:
    message = folded([AssistantText('Tool call: Read({"a": "END"})')], stop_sequences=["END"]).message
    assert message.content == (AnswerText('Tool call: Read({"a": "'),)
    assert message.stop_reason == "stop_sequence"


def test_a_call_before_a_stop_sequence_is_still_a_call() -> None:
    message = folded([piece("t1", stop=True), AssistantText("x END")], stop_sequences=["END"]).message
    assert (message.stop_reason, message.stop_sequence) == ("tool_use", None)


def test_the_figures_are_the_services_last_ones() -> None:
    usage = TokenUsage(7, 8)
    events: list[ContentEvent] = [ContextUsage(50.0), AssistantText("a"), Metadata(usage, None)]
    events.append(Metadata(None, "END_TURN"))
    message = folded(events).message
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 8)
    assert message.stop_reason == "end_turn"


@pytest.mark.parametrize(
    "events",
    [[ContextUsage(1.0), ContextUsage(2.0)], [Metadata(TokenUsage(1, 1, context_usage_percentage=2.0), None)]],
)
def test_a_share_of_the_window_is_the_last_one_said(events: list[ContentEvent]) -> None:
    usage = folded([AssistantText("abcd"), *events]).message.usage
    expected = 4000 if isinstance(events[0], ContextUsage) else 2
    assert usage.input_tokens + usage.output_tokens == expected


def test_the_estimate_counts_every_kind_of_block() -> None:
    blocks: list[ContentEvent] = [
        AssistantText("a" * 350),
        piece("t1", '{"a": "' + "b" * 350 + '"}', stop=True),
        Reasoning("c" * 350, "s", None),
        Reasoning(None, None, "d" * 350),
    ]
    for count in range(1, 5):
        assert folded([*blocks[:count], Metadata(None, "END_TURN")]).message.usage.output_tokens >= 100 * count


def test_where_it_came_from_is_kept() -> None:
    response = folded([AssistantText("a")])
    assert (response.metadata.original_model, response.metadata.target_provider) == ("claude-test", "kiro")
    assert (response.message.id, response.message.model, response.message.role) == ("msg_1", "claude-test", "assistant")


def test_made_up_ids_come_from_the_message_and_the_place_alone() -> None:
    assert made_up_tool_id("msg_1", 0) == made_up_tool_id("msg_1", 0)
    assert len({made_up_tool_id(message, index) for message in ("msg_1", "msg_2") for index in range(3)}) == 6


@given(st.lists(st.lists(st.builds(AssistantText, st.text(max_size=3)), max_size=3), max_size=6))
def test_a_log_grows_without_changing_what_it_was(batches: list[list[ContentEvent]]) -> None:
    logs, expected = [EventLog()], [[]]  # type: ignore[var-annotated]  # lists of lists of events
    for batch in batches:
        logs.append(logs[-1].extend(batch))
        expected.append([*expected[-1], *batch])
    assert [log.events() for log in logs] == expected
    forked = logs[0].extend([AssistantText("fork")])
    assert forked.events() == [AssistantText("fork")]
    assert [log.events() for log in logs] == expected


EVENTS = st.one_of(
    st.builds(AssistantText, st.text('aT:{}()" ', max_size=8) | st.just("Tool call: Read()")),
    st.builds(
        ToolUseFragment,
        st.sampled_from(["t1", "t2"]),
        st.just("Read"),
        st.sampled_from(["", "{", "}", '{"a":1}']) | st.just({}) | st.just({"a": 1}),
        st.booleans(),
    ),
    st.builds(Reasoning, st.none() | st.text(max_size=3), st.none() | st.text(max_size=3), st.none()),
    st.builds(Metadata, st.none(), st.sampled_from(["END_TURN", "TOOL_USE", "MAX_TOKENS", None])),
    st.builds(ContextUsage, st.none() | st.floats()),
)


@given(st.lists(EVENTS, max_size=12))
@settings(max_examples=300, deadline=None)
def test_whatever_comes_is_an_answer_that_loses_no_text_or_a_failure(events: list[ContentEvent]) -> None:
    response = fold(events, reading=reading(callable_names=()), provider="kiro")
    if isinstance(response, Failure):
        assert response.kind in (Kind.ANSWER, Kind.SERVER)
        return
    said = "".join(event.text for event in events if isinstance(event, AssistantText))
    assert "".join(block.text for block in response.message.content if isinstance(block, AnswerText)) == said
    calls = [block for block in response.message.content if isinstance(block, AnswerToolUse)]
    assert len(calls) == len({event.tool_use_id for event in events if isinstance(event, ToolUseFragment)})
    assert all(isinstance(msgspec.json.decode(block.input), dict) for block in calls)
    assert (response.message.stop_reason in ("tool_use", "max_tokens")) or not calls
