"""The Anthropic SDK rebuilds from our stream the message that it reads from our whole answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import anthropic
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import sse
from core.dialogue import StreamEnded
from core.eventstream import Message
from tests.against.sdk import Judge
from tests.builders import SHELL_TOOL, body, event, text, tool
from tests.data.written_calls.cases import TEMPLATES, expand
from tests.data.written_calls.words import OFFERED
from tests.exchanges import POLICY, Play

ANSWERS: dict[str, list[Message]] = {
    "text": [text("Hello"), text(", "), text("world")],
    "text of other scripts": [text("日本語 "), text("🎉\u2028\u0000\\\"")],
    "a call": [
        tool("t1", "Bash"), tool("t1", "Bash", '{"command": '), tool("t1", "Bash", '"ls"}'),
        tool("t1", "Bash", stop=True),
    ],
    "a call without input": [tool("t1", "Bash"), tool("t1", "Bash", stop=True)],
    "a call with a whole input": [tool("t1", "Bash", {"command": "ls", "n": [1, 2.5, None, True]}, stop=True)],
    "interleaved calls": [
        text("Both."), tool("t1", "Bash", '{"a"'), tool("t2", "Bash", '{"b"'), tool("t1", "Bash", ":1}", stop=True),
        tool("t2", "Bash", ":2}", stop=True), text(" Done."),
    ],
    "a written call": [text('First.\nTool call: Bash({"command": "ls"})\nThen [Called Bash with args: {}].')],
    "thinking": [
        event("reasoningContentEvent", text="let me "), event("reasoningContentEvent", text="think"),
        event("reasoningContentEvent", signature="c2ln"), text("So."),
    ],
    "thinking without a signature": [event("reasoningContentEvent", text="hm"), text("So.")],
    "redacted thinking": [event("reasoningContentEvent", redactedContent="AAA="), text("So.")],
    "the limit": [text("cut"), event("metadataEvent", stopReason="MAX_TOKENS")],
    "nothing": [text(""), event("metadataEvent", stopReason="END_TURN")],
    "figures": [
        text("a"),
        event(
            "metadataEvent",
            tokenUsage={
                "uncachedInputTokens": 11, "outputTokens": 12, "totalTokens": 30, "cacheReadInputTokens": 4,
                "cacheWriteInputTokens": 3,
            },
            stopReason="END_TURN",
        ),
    ],
}  # fmt: skip


JUDGE = Judge()
LIVE = msgspec.structs.replace(POLICY, delivery="live")


def compare(
    frames: bytes, tools: Sequence[dict[str, Any]] = (SHELL_TOOL,), *, live: bool = True
) -> anthropic.types.Message:
    """The message, after the SDK made the same of all forms of it."""
    whole = Play(tools=tools).call().answer(frames).whole
    assert whole.status == 200
    message = JUDGE.read(whole.body)
    streamed = Play(stream=True, tools=tools).call().answer(frames)
    assert streamed.want == StreamEnded()
    assert JUDGE.rebuild(sse.encode_events(streamed.delivered)).model_dump() == message.model_dump()
    if live:
        as_it_came = Play(policy=LIVE, stream=True, tools=tools).call().answer(frames, pieces=7)
        assert JUDGE.rebuild(sse.encode_events(as_it_came.delivered)).model_dump() == message.model_dump()
    # The SDK's types are open; that nothing was lost in them shows against the bytes.
    sent = json.loads(whole.body)
    assert [block.model_dump(exclude_none=True) for block in message.content] == sent["content"]
    return message


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_stream_and_a_whole_answer_are_one_message(name: str) -> None:
    compare(body(*ANSWERS[name]))


def test_every_text_of_the_written_calls_is_one_message_in_both_forms() -> None:
    tools = [{**SHELL_TOOL, "name": name} for name in OFFERED]
    calls = texts = 0
    for number, case in enumerate(case for template in TEMPLATES for case in expand(template, rounds=1)):
        if not case.text.isascii() and _has_surrogates(case.text):
            continue  # no JSON can hold it, so no event can
        blocks = compare(body(text(case.text)), tools, live=number % 8 == 0).content
        assert len(blocks) == len(case.pieces)
        calls += sum(block.type == "tool_use" for block in blocks)
        texts += sum(block.type == "text" for block in blocks)
    assert calls > 1000
    assert texts > 1000


def test_the_figures_reach_the_client() -> None:
    usage = compare(body(*ANSWERS["figures"])).usage
    assert (usage.input_tokens, usage.output_tokens) == (11, 12)
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (4, 3)


def test_the_sdk_sees_an_error_where_the_stream_broke() -> None:
    broken = Play(stream=True, tools=[SHELL_TOOL]).call().wake().answer(body(tool("t1", "Bash", "{")))
    with pytest.raises(anthropic.APIStatusError, match="was cut by the service"):
        JUDGE.rebuild(sse.encode_events(broken.delivered))


@given(
    st.lists(
        st.one_of(
            st.builds(text, st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)),
            st.builds(
                lambda index, members: tool(f"t{index}", "Bash", msgspec.json.encode(members).decode(), stop=True),
                st.integers(0, 10**6),
                st.dictionaries(
                    st.text('ab"\\\n', max_size=3), st.none() | st.integers(-5, 5) | st.text("ab", max_size=3)
                ),
            ),
            st.builds(
                lambda said: event("reasoningContentEvent", text=said, signature="s"), st.text("xyz", min_size=1)
            ),
        ),
        min_size=1,
        max_size=6,
        # Two calls of one id are one call that went on after its end.
        unique_by=lambda message: msgspec.json.decode(message.payload).get("toolUseId", message.payload),
    )
)
@settings(max_examples=60, deadline=None)
def test_any_answer_is_one_message_in_both_forms(messages: list[Message]) -> None:
    compare(body(*messages, event("metadataEvent", stopReason="END_TURN")))
