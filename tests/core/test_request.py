"""The whole conversion: that nothing is lost and no rule broken, and what is kept for the answer."""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.anthropic import parse_request
from core.errors import ClientRequestError
from core.request import Conversion, convert
from fuzz.request_rules import broken_rules, spoken_words
from tests.client_requests import (
    MODEL,
    asking,
    assistant,
    body_of,
    call,
    converted,
    image,
    mark,
    marks_in,
    requests,
    result,
    tool,
    user,
)

# --- the property ----------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(requests())
def test_every_request_that_parses_becomes_one_the_service_takes_with_every_word_in_order(
    request: dict[str, Any],
) -> None:
    marked = mark(request)
    body = body_of(converted(marked))
    assert broken_rules(body) == []
    assert_words_are_kept(marked, body)


def assert_words_are_kept(marked: dict[str, Any], body: dict[str, Any]) -> None:
    """All marks of `marked` are in the body, in order.

    The order is that of turns, and within a turn that of each channel: words, results, inputs and images stand in
    members of their own, between which the service's format keeps no order.
    """
    asked = json.dumps({**marked, "tools": None}, ensure_ascii=False)
    turns = spoken_words(body)
    found: list[int] = []
    for turn in turns:
        words, results = marks_in(turn.words, "t"), marks_in("".join(turn.results), "t")
        assert words == sorted(words)
        assert results == sorted(results)
        found += sorted(words + results)
    assert found == sorted(marks_in(asked, "t"))
    inputs = json.dumps([turn.inputs for turn in turns], ensure_ascii=False)
    assert marks_in(inputs, "i") == sorted(marks_in(asked, "i"))
    thoughts = [mark for turn in turns for mark in marks_in(turn.thinking, "h")]
    assert thoughts == sorted(thoughts)
    assert set(thoughts) <= set(marks_in(asked, "h"))
    assert _images_of(body) == _images_asked(marked)
    first = turns[0].words
    described = {_description(each): each for each in marked.get("tools") or ()}
    current = body["conversationState"]["currentMessage"]["userInputMessage"]["userInputMessageContext"]
    for description in (each["toolSpecification"]["description"] for each in current.get("tools", ())):
        if marks := marks_in(description, "d"):
            asked_marks = next(marks_in(text, "d") for text in described if f"«d{marks[0]}»" in text)
            assert marks_in(description + first, "d")[: len(marks)] == asked_marks[: len(marks)]
            assert [each for each in marks_in(description + first, "d") if each in asked_marks] == asked_marks


def _description(definition: dict[str, Any]) -> str:
    return definition.get("description") or ""


def _images_of(body: dict[str, Any]) -> list[str]:
    state = body["conversationState"]
    users = [turn.get("userInputMessage", {}) for turn in [*state.get("history", []), state["currentMessage"]]]
    return [image["source"]["bytes"] for each in users for image in each.get("images", [])]


def _images_asked(value: Any) -> list[str]:
    if isinstance(value, list):
        return list(itertools.chain.from_iterable(map(_images_asked, value)))
    if isinstance(value, dict):
        if value.get("type") == "image":
            return [value["source"]["data"]]
        return _images_asked(list(value.values()))
    return []


_junk: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0.5, 10**30, "", "text", "user", "\u0000", [], {}, [[]], [None], {"type": "text"}, {"type": None}]
)


@settings(max_examples=300, deadline=None)
@given(requests(), st.lists(st.tuples(st.integers(0, 10**6), _junk), min_size=1, max_size=3))
def test_a_request_with_junk_in_it_is_refused_with_a_place_or_becomes_one_the_service_takes(
    request: dict[str, Any], changes: list[tuple[int, Any]]
) -> None:
    request = json.loads(json.dumps(request))
    for choice, junk in changes:
        spots = list(_spots(request))
        holder, key = spots[choice % len(spots)]
        holder[key] = copy.deepcopy(junk)
    try:
        conversion = converted(request)
    except ClientRequestError as error:
        assert_refusal_is_clear(error)
    else:
        assert broken_rules(body_of(conversion)) == []


@settings(max_examples=300, deadline=None)
@given(requests(), st.data())
def test_a_damaged_body_is_refused_or_becomes_one_the_service_takes(
    request: dict[str, Any], data: st.DataObject
) -> None:
    body = bytearray(json.dumps(request, ensure_ascii=False).encode())
    start = data.draw(st.integers(0, len(body)))
    damage = [b'"', b"\\ud800", b"{", b"]", b"null", b"NaN", b"1e999", b"\xed\xa0\x80"]
    body[start : start + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=4) | st.sampled_from(damage))
    try:
        conversion = convert(parse_request(bytes(body)), model=MODEL, conversation_id="c0ffee")
    except ClientRequestError as error:
        assert_refusal_is_clear(error)
    else:
        assert broken_rules(body_of(conversion)) == []


def _spots(value: Any) -> Any:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in pairs:
        yield value, key
        yield from _spots(member)


def assert_refusal_is_clear(error: ClientRequestError) -> None:
    assert error.error_type == "invalid_request_error"
    assert str(error).splitlines() == [str(error)]
    assert len(str(error)) < 400
    whole_body = ("the body", "This model does not support", "prompt is too long")
    assert error.place or error.problem.startswith(whole_body)


# --- what of the request matters to the answer -----------------------------------------------------------------

_BASH, _READ, _FOREIGN = tool("Bash"), tool("Read"), tool("mcp.read")


def _declared(conversion: Conversion) -> list[str]:
    body = body_of(conversion)
    current = body["conversationState"]["currentMessage"]["userInputMessage"]
    return [each["toolSpecification"]["name"] for each in current["userInputMessageContext"].get("tools", [])]


_CHOOSE_BASH = {"type": "tool", "name": "Bash"}
_MAPPED = ("mcp.read", "mcp_read_7a7cced7")
_HISTORY = [user("go"), assistant(call("a", "Read")), user(result("a"))]


@pytest.mark.parametrize(
    ("members", "declared", "callable_names", "allowed"),
    [
        ({}, ["Read"], set(), False),
        ({"tools": []}, ["Read"], set(), False),
        ({"tools": [_BASH, _READ]}, ["Bash", "Read"], {"Bash", "Read"}, True),
        ({"tools": [_BASH], "tool_choice": {"type": "any"}}, ["Bash", "Read"], {"Bash"}, True),
        ({"tools": [_BASH, _READ], "tool_choice": {"type": "auto"}}, ["Bash", "Read"], {"Bash", "Read"}, True),
        ({"tools": [_BASH, _READ], "tool_choice": {"type": "none"}}, ["Read"], set(), False),
        ({"tools": [_BASH, _FOREIGN], "tool_choice": _CHOOSE_BASH}, ["Bash", "Read"], {"Bash", *_MAPPED}, True),
    ],
)
def test_tool_choice_decides_what_is_offered_and_history_what_is_declared(
    members: dict[str, Any], declared: list[str], callable_names: set[str], allowed: bool
) -> None:
    conversion = converted(asking(*_HISTORY, **members))
    assert _declared(conversion) == declared
    assert conversion.callable_names == callable_names
    assert conversion.calls_allowed is allowed


def test_written_calls_may_name_a_tool_as_the_client_or_as_the_service_does() -> None:
    conversion = converted(asking(user("go"), tools=[_FOREIGN]))
    (service_name,) = _declared(conversion)
    assert service_name != "mcp.read"
    assert conversion.callable_names == {"mcp.read", service_name}
    assert conversion.names.client_name(service_name) == "mcp.read"


def test_ids_that_were_mapped_out_are_mapped_back() -> None:
    conversion = converted(asking(user("go"), assistant(call("no good id", "Bash")), user(result("no good id"))))
    use = body_of(conversion)["conversationState"]["history"][1]["assistantResponseMessage"]["toolUses"][0]
    assert use["toolUseId"] != "no good id"
    assert conversion.names.client_id(use["toolUseId"]) == "no good id"


def test_without_tools_the_context_is_the_empty_object() -> None:
    body = body_of(converted(asking(user("hello"))))
    assert body == {
        "conversationState": {
            "chatTriggerType": "MANUAL",
            "conversationId": "c0ffee",
            "currentMessage": {
                "userInputMessage": {
                    "content": "hello",
                    "modelId": MODEL.id,
                    "origin": "AI_EDITOR",
                    "userInputMessageContext": {},
                }
            },
        }
    }


def test_stream_and_stop_sequences_are_kept_for_the_answer() -> None:
    plain = converted(asking(user("hello")))
    assert (plain.stream, plain.stop_sequences, plain.model) == (False, (), MODEL)
    asked = converted(asking(user("hello"), stream=True, stop_sequences=["END", "\n\nHuman:"]))
    assert (asked.stream, asked.stop_sequences) == (True, ("END", "\n\nHuman:"))


@pytest.mark.parametrize(
    "member", ["temperature", "top_p", "top_k", "metadata", "thinking", "output_config", "service_tier", "anything"]
)
def test_what_the_service_has_no_member_for_changes_nothing(member: str) -> None:
    request = asking(user("hello"))
    assert converted({**request, member: {"some": ["value"]}}) == converted(request)


def test_equal_requests_make_equal_bodies_and_a_longer_conversation_keeps_its_beginning() -> None:
    shorter = asking(*_HISTORY, system="Be brief.", tools=[_FOREIGN])
    longer = asking(*_HISTORY, assistant("read"), user("next"), system="Be brief.", tools=[_FOREIGN])
    first, again = converted(shorter).request, converted(shorter).request
    assert first == again
    history = first.conversation_state.history
    assert converted(longer).request.conversation_state.history[: len(history)] == history


# --- sizes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "messages",
    [
        [user("x" * 10_000_001)],
        [user("x" * 5_000_000), user("y" * 5_000_000)],
        [user("go"), assistant(call("a")), user(result("a", "x" * 10_000_001))],
    ],
)
def test_what_no_model_of_the_service_can_take_is_a_prompt_that_is_too_long(messages: list[dict[str, Any]]) -> None:
    with pytest.raises(ClientRequestError, match=r"^prompt is too long: \d+ tokens > 200000 maximum$") as caught:
        converted(asking(*messages))
    tokens = int(str(caught.value).split()[4])
    assert tokens > 200_000


def test_ten_million_characters_are_let_through() -> None:
    body = body_of(converted(asking(user("x" * 10_000_000))))
    assert broken_rules(body) == []


_THOUGHT = {"type": "thinking", "thinking": "word" * 350, "signature": ""}


@pytest.mark.parametrize(
    ("messages", "members"),
    [
        ([user("go" + "word" * 350), assistant(call("a")), user(result("a", "."))], {}),
        ([user("go"), assistant("word" * 350, call("a")), user(result("a", "."))], {}),
        ([user("go"), assistant(_THOUGHT, call("a")), user(result("a", "."))], {}),
        ([user("go"), assistant(call("a", command="word" * 350)), user(result("a", "."))], {}),
        ([user("go"), assistant(call("a")), user(result("a", "word" * 350))], {}),
        ([user("go"), assistant(call("a")), user(result("a", "."))], {"system": "word" * 350}),
        ([user("go"), assistant(call("a")), user(result("a", "."))], {"tools": [tool("Bash", "word" * 350)]}),
        ([user("go"), assistant(call("a")), user(result("a", "."))], {"tools": [tool("Bash", ".", title="x" * 1400)]}),
    ],
)
def test_fourteen_hundred_characters_anywhere_are_estimated_at_four_hundred_tokens(
    messages: list[dict[str, Any]], members: dict[str, Any]
) -> None:
    bare = converted(asking(user("go"), assistant(call("a")), user(result("a", ".")))).estimated_input
    assert bare < 30
    assert 390 <= converted(asking(*messages, **members)).estimated_input - bare <= 420


def test_an_image_is_estimated_at_its_largest() -> None:
    bare = converted(asking(user("look"))).estimated_input
    assert converted(asking(user("look", image()))).estimated_input == bare + 1600
