"""Turns: who speaks when, with which words. Calls and results, and what is no text, have files of their own."""

from __future__ import annotations

from typing import Any

import pytest

from core.anthropic import TextBlock
from core.conversation import NO_CONTENT, join, read_system
from core.errors import ClientRequestError
from tests.client_requests import asking, assistant, body_of, call, converted, result, text, user


def turns_of(*messages: dict[str, Any], **members: Any) -> list[tuple[str, str]]:
    """Who says what, as the service gets it, the current message last."""
    state = body_of(converted(asking(*messages, **members)))["conversationState"]
    turns = []
    for turn in [*state.get("history", []), state["currentMessage"]]:
        ((kind, message),) = turn.items()
        turns.append(({"userInputMessage": "user", "assistantResponseMessage": "assistant"}[kind], message["content"]))
    return turns


def system(words: Any) -> dict[str, Any]:
    """A system message amid others."""
    return {"role": "system", "content": words}


# --- turns -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "turns"),
    [
        ([user("hi")], [("user", "hi")]),
        ([user(text("hi"))], [("user", "hi")]),
        ([user("a"), assistant("b"), user("c")], [("user", "a"), ("assistant", "b"), ("user", "c")]),
        ([user("a"), user("b")], [("user", "a\n\nb")]),
        ([user("a", "", "b")], [("user", "a\n\nb")]),
        (
            [user("a"), assistant("b"), assistant(text("c"), text("d")), user("e")],
            [("user", "a"), ("assistant", "b\n\nc\n\nd"), ("user", "e")],
        ),
        ([user(" a\n"), user("\nb ")], [("user", " a\n\n\n\nb ")]),
    ],
)
def test_neighbours_of_one_role_are_one_turn_and_blocks_are_paragraphs(messages: Any, turns: Any) -> None:
    assert turns_of(*messages) == turns


@pytest.mark.parametrize(
    ("messages", "turns"),
    [
        ([system("s"), user("a")], [("user", "s\n\na")]),
        ([user("a"), system("s"), user("b")], [("user", "a\n\ns\n\nb")]),
        ([user("a"), system([text("s"), text("t")])], [("user", "a\n\ns\n\nt")]),
        ([user("a"), assistant("b"), system("s")], [("user", "a"), ("assistant", "b"), ("user", "s")]),
        (
            [user("a"), assistant("b"), system("s"), assistant("c"), user("d")],
            [("user", "a"), ("assistant", "b"), ("user", "s"), ("assistant", "c"), ("user", "d")],
        ),
    ],
)
def test_a_system_message_amid_others_stands_on_the_users_side_in_its_place(messages: Any, turns: Any) -> None:
    assert turns_of(*messages) == turns


@pytest.mark.parametrize("empty", ["", None, [], [text("")]])
def test_a_turn_without_words_gets_those_that_the_service_demands(empty: Any) -> None:
    nothing, said_nothing = {"role": "user", "content": empty}, {"role": "assistant", "content": empty}
    assert turns_of(nothing) == [("user", NO_CONTENT)]
    assert turns_of(user("a"), said_nothing, user("b")) == [("user", "a"), ("assistant", NO_CONTENT), ("user", "b")]
    assert turns_of(user("a"), assistant("b"), nothing) == [("user", "a"), ("assistant", "b"), ("user", NO_CONTENT)]
    assert turns_of(user("a"), nothing) == [("user", "a")]
    assert turns_of(nothing, system="s") == [("user", "s")]


def test_blank_words_are_kept_and_filled_up() -> None:
    assert turns_of(user(" \n"), assistant("\t"), user("a")) == [
        ("user", f" \n{NO_CONTENT}"),
        ("assistant", f"\t{NO_CONTENT}"),
        ("user", "a"),
    ]


def test_a_history_that_starts_with_the_assistant_gets_a_users_turn_before_it() -> None:
    assert turns_of(assistant("a"), user("b")) == [("user", NO_CONTENT), ("assistant", "a"), ("user", "b")]
    with_system = turns_of(assistant("a"), user("b"), system="s")
    assert with_system == [("user", "s"), ("assistant", "a"), ("user", "b")]


@pytest.mark.parametrize("last", [assistant("So the answer is"), assistant(""), assistant(call("a")), assistant(None)])
def test_a_conversation_that_ends_with_the_assistant_is_refused_in_anthropics_words(last: dict[str, Any]) -> None:
    with pytest.raises(ClientRequestError) as caught:
        converted(asking(user("a"), last))
    assert str(caught.value) == (
        "This model does not support assistant message prefill. The conversation must end with a user message."
    )


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (user("a", call("b")), "tool_use"),
        (user("a", {"type": "thinking", "thinking": "hm", "signature": ""}), "thinking"),
        (user("a", {"type": "redacted_thinking", "data": ""}), "redacted_thinking"),
        ({"role": "assistant", "content": [text("a"), result("b")]}, "tool_result"),
        ({"role": "assistant", "content": [text("a"), {"type": "tool_reference", "tool_name": "b"}]}, "tool_reference"),
        ({"role": "system", "content": [text("a"), result("b")]}, "tool_result"),
    ],
)
def test_a_block_in_a_role_that_cannot_have_it_is_refused_with_its_place(message: dict[str, Any], kind: str) -> None:
    with pytest.raises(ClientRequestError) as caught:
        converted(asking(user("go"), message, user("go on")))
    assert caught.value.place == "messages[1].content[1]"
    assert caught.value.problem == f"a block of type {kind} cannot stand in a message of role {message['role']}"


# --- the system prompt -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (None, ""),
        ("", ""),
        ("Be brief.", "Be brief."),
        ([], ""),
        ([text("Be brief."), text(""), text("Be kind.")], "Be brief.\n\nBe kind."),
        ([text("x-anthropic-billing-header: cc_version=1; cch=0;"), text("Be brief.")], "Be brief."),
        ("x-anthropic-billing-header: cc_version=1;", ""),
        ("x-anthropic-billing-header: cc_version=1;\nBe brief.", "Be brief."),
        ([text("Be brief."), text("x-anthropic-billing-header: a")], "Be brief.\n\nx-anthropic-billing-header: a"),
    ],
)
def test_the_system_prompt_is_one_text_without_the_line_for_accounting(prompt: Any, words: str) -> None:
    blocks = tuple(TextBlock(each["text"]) for each in prompt) if isinstance(prompt, list) else prompt
    assert read_system(blocks) == words


def test_the_first_users_turn_begins_with_the_system_prompt_and_no_other_does() -> None:
    turns = turns_of(user("a"), assistant("b"), user("c"), system=[text("s"), text("t")])
    assert turns == [("user", "s\n\nt\n\na"), ("assistant", "b"), ("user", "c")]


def test_what_a_tools_description_has_no_room_for_stands_between_system_prompt_and_words() -> None:
    description = "first\n" * 2_000 + "last"
    tools = [{"name": "Bash", "description": description, "input_schema": {}}]
    ((_, words),) = turns_of(user("a"), system="s", tools=tools)
    heading = "s\n\n# Tool Bash: rest of the description\n\n"
    assert words.startswith(heading)
    assert words.endswith("first\nlast\n\na")


def test_joining_leaves_out_what_is_empty() -> None:
    assert join(["", "a", "", "b"]) == "a\n\nb"
    assert join([]) == ""
