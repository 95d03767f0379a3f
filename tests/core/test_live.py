"""Stream events as they come add up to those of the whole answer, and nothing is sent that it may not be."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import live, sse
from core.anthropic import AnswerMessage
from core.drafts import ContentEvent
from core.errors import ShellError
from core.events import AssistantText, ContextUsage, Metadata, Reasoning, ToolUseFragment
from core.failures import Failure
from core.live import Live
from core.response import EventLog, Reading, fold, made_up_tool_id
from core.tools import Names
from tests.core.test_toolcalls_properties import FRAGMENTS

Block = dict[str, Any]


def reading(**members: Any) -> Reading:
    defaults: dict[str, Any] = {
        "message_id": "msg_1",
        "model": "claude-test",
        "names": Names(client_names={"a_b": "a b"}, client_ids={"id_1": "id!"}),
        "callable_names": frozenset({"Read", "ReadFile", "a b", "a_b"}),
        "calls_allowed": True,
        "stop_sequences": (),
        "window": 1000,
        "estimated_input": 10,
    }
    return Reading(**(defaults | members))


class Watched:
    """An answer that is sent as it comes, and what was sent."""

    def __init__(self, **members: Any) -> None:
        self.reading = reading(**members)
        self.live = live.begin(self.reading)
        self.log = EventLog()
        self.sent: list[sse.StreamEvent] = []

    def tell(self, *events: ContentEvent) -> list[Block]:
        """What these events, which come at once, made certain, as JSON."""
        self.log = self.log.extend(events)
        self.live, sent = live.advance(self.live, self.log)
        self.sent += sent
        return render(sent)

    def end(self) -> list[Block]:
        """The rest of an answer that ends well."""
        response = fold(self.log.events(), reading=self.reading, provider="a")
        assert not isinstance(response, Failure), response
        rest = live.end(self.live, self.log, response.message)
        self.sent += rest
        return render(rest)


def render(events: Iterable[sse.StreamEvent]) -> list[Block]:
    rendered: list[Block] = msgspec.json.decode(msgspec.json.encode(list(events)))
    return rendered


def content_of(events: Iterable[Block]) -> tuple[list[Block], bool]:
    """The blocks that events make, and whether the last of them is open; a call's input is the text that it came as."""
    blocks: list[Block] = []
    is_open = False
    for event in events:
        match event:
            case {"type": "content_block_start", "index": index, "content_block": block}:
                assert not is_open
                assert index == len(blocks)
                blocks.append(dict(block))
                if "input" in block:
                    assert block["input"] == {}
                    blocks[-1]["input"] = ""
                is_open = True
            case {"type": "content_block_delta", "index": index, "delta": {"type": kind, **said}}:
                assert is_open
                assert index == len(blocks) - 1
                member = {"input_json_delta": "input"}.get(kind, kind.removesuffix("_delta"))
                (more,) = said.values()
                assert more or member == "signature"
                blocks[-1][member] += more
            case {"type": "content_block_stop", "index": index}:
                assert is_open
                assert index == len(blocks) - 1
                is_open = False
            case _:
                break
    return blocks, is_open


def begins(sent: Sequence[sse.StreamEvent], message: AnswerMessage) -> bool:
    """Whether what was sent is a beginning of a message's content."""
    blocks, is_open = content_of(render(sent))
    whole, _ = content_of(render(sse.render_events(message)))
    if blocks[:-1] != whole[: len(blocks[:-1])] or len(whole) < len(blocks):
        return False
    if not is_open:
        return blocks == whole[: len(blocks)]
    last, there = blocks[-1], whole[len(blocks) - 1]
    member = last["type"]
    return member == there["type"] and str(there[member]).startswith(last[member])


def text(said: str) -> AssistantText:
    return AssistantText(said)


def call(tool_use_id: str, said: str | dict[str, Any] = "", *, name: str = "Read", stop: bool = False) -> ContentEvent:
    return ToolUseFragment(tool_use_id, name, said, stop)


def start(index: int, kind: str, **members: Any) -> Block:
    empty = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}}.get(kind, {})
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **empty, **members}}


def delta(index: int, kind: str, said: str) -> Block:
    member = "partial_json" if kind == "input_json" else kind
    return {"type": "content_block_delta", "index": index, "delta": {"type": f"{kind}_delta", member: said}}


def stop(index: int) -> Block:
    return {"type": "content_block_stop", "index": index}


def tool_use(index: int, tool_id: str, name: str, said: str) -> list[Block]:
    return [start(index, "tool_use", id=tool_id, name=name, input={}), delta(index, "input_json", said), stop(index)]


def test_text_goes_out_at_once_and_what_comes_together_goes_together() -> None:
    watched = Watched()
    assert watched.tell(text("He")) == [start(0, "text"), delta(0, "text", "He")]
    assert watched.tell(text("ll"), text("o"), ContextUsage(1.0)) == [delta(0, "text", "llo")]
    assert watched.tell(Metadata(None, None)) == []
    assert [event["type"] for event in watched.end()] == ["content_block_stop", "message_delta", "message_stop"]


def test_a_call_goes_out_when_it_is_whole_and_holds_up_what_is_behind_it() -> None:
    watched = Watched()
    watched.tell(text("a"))
    assert watched.tell(call("id_1")) == [stop(0)]
    assert watched.tell(call("id_1", '{"a'), text("b"), call("2", "{}", stop=True)) == []
    assert watched.tell(call("id_1", '": 1}'), Reasoning("hm", "s", None)) == []
    assert watched.tell(call("id_1", stop=True)) == [
        *tool_use(1, "id!", "Read", '{"a": 1}'),
        *(start(2, "text"), delta(2, "text", "b"), stop(2)),
        *tool_use(3, "2", "Read", "{}"),
        *(start(4, "thinking"), delta(4, "thinking", "hm"), delta(4, "signature", "s"), stop(4)),
    ]
    assert [event["type"] for event in watched.end()] == ["message_delta", "message_stop"]


def test_thinking_goes_out_as_it_comes_and_ends_with_its_signature_or_before_something_else() -> None:
    watched = Watched()
    assert watched.tell(Reasoning("a", None, None)) == [start(0, "thinking"), delta(0, "thinking", "a")]
    assert watched.tell(Reasoning("b", None, None)) == [delta(0, "thinking", "b")]
    assert watched.tell(Reasoning(None, "s", None)) == [delta(0, "signature", "s"), stop(0)]
    assert watched.tell(Reasoning("c", None, None)) == [start(1, "thinking"), delta(1, "thinking", "c")]
    assert watched.tell(text("t")) == [
        *(delta(1, "signature", ""), stop(1), start(2, "text"), delta(2, "text", "t")),
    ]  # fmt: skip
    assert watched.tell(Reasoning(None, None, "AAA=")) == [
        *(stop(2), start(3, "redacted_thinking", data="AAA="), stop(3)),
    ]  # fmt: skip


def test_a_written_call_goes_out_as_one_and_text_in_blocks_of_its_own() -> None:
    watched = Watched()
    assert watched.tell(text("\n\nI will. Tool call: a_b(")) == [start(0, "text"), delta(0, "text", "\n\nI will. ")]
    assert watched.tell(text('{"a": 1}).')) == [
        *(stop(0), *tool_use(1, made_up_tool_id("msg_1", 1), "a b", '{"a": 1}')),
        *(start(2, "text"), delta(2, "text", ".")),
    ]
    assert watched.tell(text("\n[Called Read with args: {}]"), call("1")) == [
        *(delta(2, "text", "\n"), stop(2), *tool_use(3, made_up_tool_id("msg_1", 3), "Read", "{}")),
    ]


def test_whitespace_alone_is_sent_when_its_block_ends_unless_a_call_was_in_it() -> None:
    watched = Watched()
    assert watched.tell(text(" "), call("1", stop=True)) == [
        *(start(0, "text"), delta(0, "text", " "), stop(0), *tool_use(1, "1", "Read", "{}")),
    ]
    assert watched.tell(text(" \nTool call: Read() "), call("2", stop=True)) == [
        *(*tool_use(2, made_up_tool_id("msg_1", 2), "Read", "{}"), *tool_use(3, "2", "Read", "{}")),
    ]


def test_behind_a_stop_sequence_nothing_is_sent_but_the_end() -> None:
    watched = Watched(stop_sequences=("END",))
    assert watched.tell(text("a Tool call: Read()E")) == [start(0, "text"), delta(0, "text", "a ")]
    assert watched.tell(text("ND b"), call("1", "{}")) == [
        *(stop(0), *tool_use(1, made_up_tool_id("msg_1", 1), "Read", "{}")),
    ]
    assert watched.tell(text("END"), call("2", stop=True)) == []
    assert [event["type"] for event in watched.end()] == ["message_delta", "message_stop"]


@pytest.mark.parametrize(
    "events",
    [
        [call("1", '{"a": ', stop=True)],
        [call("1", "[]", stop=True)],
        [call("1", "{}")],
        [call("1", "{}", name="")],
        [call("1"), call("1", "{}", name="Write", stop=True)],
    ],
)
def test_a_call_that_cannot_be_delivered_ends_what_is_sent(events: list[ContentEvent]) -> None:
    watched = Watched()
    watched.tell(text("a"))
    assert watched.tell(*events) == [stop(0)]
    assert watched.tell(text("b"), call("2", "{}", stop=True)) == []
    assert isinstance(fold(watched.log.events(), reading=watched.reading, provider="a"), Failure)


def test_calls_that_a_request_does_not_allow_are_not_sent() -> None:
    watched = Watched(calls_allowed=False, callable_names=())
    assert watched.tell(text("Tool call: Read()"), call("1", "{}", stop=True)) == [
        *(start(0, "text"), delta(0, "text", "Tool call: Read()"), stop(0)),
    ]  # fmt: skip


def test_an_older_value_stays_what_it_was() -> None:
    watched = Watched()
    watched.tell(text("a"), call("1", "{"))
    before, log = watched.live, watched.log
    first = watched.tell(call("1", "}", stop=True))
    assert first == tool_use(1, "1", "Read", "{}")
    watched.tell(text("b"))
    for _ in range(2):
        other, sent = live.advance(before, log.extend([call("1", ' "a": 1}', stop=True)]))
        assert render(sent) == tool_use(1, "1", "Read", '{ "a": 1}')
        assert (before.taken, other.taken) == (2, 3)
    assert watched.tell(text("c")) == [delta(2, "text", "c")]
    for _ in range(2):
        assert Watched.end(watched)[0] == stop(2)
    assert watched.tell(text("d")) == [delta(2, "text", "d")]


def test_what_turns_out_to_have_been_wrong_is_said_and_not_ended_well(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched()
    watched.tell(text("Tool call: Re"))
    with monkeypatch.context() as patch:
        patch.setattr("core.livetext.LiveText.feed", lambda _, said: [said])
        watched.tell(text("ad()"))
    with pytest.raises(ShellError, match="no beginning of what it turned out to be"):
        watched.end()
    other = Watched()
    other.tell(text("a"), call("1", "{}", stop=True))
    whole = fold([text("a")], reading=other.reading, provider="a")
    assert not isinstance(whole, Failure)
    with pytest.raises(ShellError, match="2 blocks were sent of an answer that has 1"):
        live.end(other.live, other.log, whole.message)


# --- it adds up ------------------------------------------------------------------------------------------------

# A lone surrogate cannot come: no reader of JSON lets it through.
_pieces = [*filter(str.isprintable, FRAGMENTS), "\n", "\n\n", "\r\n", "STOP", "ST", "OP", "x"]
_texts = st.lists(st.sampled_from(_pieces), max_size=5).map("".join)
_events: st.SearchStrategy[ContentEvent] = st.one_of(
    st.builds(AssistantText, _texts),
    st.builds(AssistantText, _texts),
    st.builds(
        ToolUseFragment,
        st.sampled_from(["id_1", "2", "3"]),
        st.sampled_from(["Read"] * 8 + ["a_b", ""]),
        st.sampled_from(["", "", "{}", '{"a', '": 1}', "[", {}, {"a": 1}]),
        st.sampled_from([False, False, True]),
    ),
    st.builds(
        Reasoning,
        st.sampled_from([None, "hm", ""]),
        st.sampled_from([None, None, "s", ""]),
        st.sampled_from([None, None, None, "AAA="]),
    ),
    st.builds(Metadata, st.none(), st.sampled_from([None, "END_TURN", "MAX_TOKENS"])),
)
_stops = st.sampled_from([(), (), ("STOP",), ("OP", "STOP"), ("STOP", "TO"), ("`",), ("Tool call: Read({", ")")])


@settings(max_examples=800, deadline=None)
@given(st.lists(_events, max_size=10), st.lists(st.integers(0, 10), max_size=4), _stops, st.booleans())
def test_whatever_comes_and_however_adds_up_to_the_whole_answer(
    events: list[ContentEvent], places: list[int], stop_sequences: Sequence[str], allowed: bool
) -> None:
    names = reading().callable_names if allowed else ()
    watched = Watched(stop_sequences=stop_sequences, calls_allowed=allowed, callable_names=names)
    edges = sorted({0, len(events), *(place for place in places if place < len(events))})
    so_far: list[ContentEvent] = []
    beginnings: list[list[sse.StreamEvent]] = []
    for first, last in pairwise(edges):
        watched.tell(*events[first:last])
        so_far += events[first:last]
        beginnings.append(list(watched.sent))
        # If it ended here, what was sent until now and before would be a beginning of it.
        response = fold(so_far, reading=watched.reading, provider="a")
        if not isinstance(response, Failure):
            assert all(begins(sent, response.message) for sent in beginnings)
    response = fold(events, reading=watched.reading, provider="a")
    if isinstance(response, Failure):
        blocks, is_open = content_of(render(watched.sent))
        assert not (is_open and blocks[-1]["type"] == "tool_use")
        return
    watched.end()
    whole = sse.render_events(response.message)
    assert content_of(render(watched.sent)) == content_of(render(whole))
    assert watched.sent[-2:] == whole[-2:]


@settings(max_examples=200, deadline=None)
@given(st.lists(_events, max_size=8), st.data())
def test_a_value_can_be_gone_on_from_at_any_time(events: list[ContentEvent], data: st.DataObject) -> None:
    watched = Watched()
    kept: list[tuple[Live, EventLog]] = []
    for event in events:
        kept.append((watched.live, watched.log))
        watched.tell(event)
    if not kept:
        return
    index = data.draw(st.integers(0, len(kept) - 1))
    begun, log = kept[index]
    again: list[sse.StreamEvent] = []
    fresh = Watched()
    fresh.tell(*events[:index])
    for event in events[index:]:
        log = log.extend([event])
        begun, sent = live.advance(begun, log)
        again += sent
        fresh.tell(event)
    joined = content_of(render([*fresh.sent[: len(fresh.sent) - len(again)], *again]))
    assert joined == content_of(render(fresh.sent))
