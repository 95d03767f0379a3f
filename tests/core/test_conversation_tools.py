"""Calls and results: together, apart, missing, twice."""

from __future__ import annotations

from typing import Any

import pytest

from core.conversation import CANCELLED, NO_CONTENT
from core.errors import ClientRequestError
from fuzz.request_rules import broken_rules
from tests.client_requests import asking, assistant, body_of, call, converted, image, result, text, user

Turns = list[dict[str, Any]]


def history_of(*messages: dict[str, Any], **members: Any) -> Turns:
    """The messages of all turns, the current one last, of a request that breaks no rule."""
    body = body_of(converted(asking(*messages, **members)))
    assert broken_rules(body) == []
    state = body["conversationState"]
    return [next(iter(turn.values())) for turn in [*state.get("history", []), state["currentMessage"]]]


def results_of(turn: dict[str, Any]) -> list[tuple[str, list[str], str]]:
    """Id, texts and status of a turn's results."""
    return [
        (each["toolUseId"], [piece["text"] for piece in each["content"]], each["status"])
        for each in turn["userInputMessageContext"].get("toolResults", [])
    ]


def uses_of(turn: dict[str, Any]) -> list[tuple[str, str]]:
    """Id and name of a turn's calls."""
    return [(each["toolUseId"], each["name"]) for each in turn["toolUses"]]


# --- calls with their results ----------------------------------------------------------------------------------


def test_a_call_and_its_result_stay_what_they_are() -> None:
    turns = history_of(user("go"), assistant("ok", call("a", "Bash", command="ls")), user(result("a", "README")))
    assert turns[1] == {
        "content": "ok",
        "toolUses": [{"toolUseId": "a", "name": "Bash", "input": {"command": "ls"}}],
    }
    assert turns[2]["content"] == ""
    assert results_of(turns[2]) == [("a", ["README"], "success")]


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("done", ["done"]),
        ("", [NO_CONTENT]),
        (" \n", [NO_CONTENT]),
        (None, [NO_CONTENT]),
        ([], [NO_CONTENT]),
        ([text("")], [NO_CONTENT]),
        ([text("a"), text(""), text("b"), text("\n")], ["a", "b"]),
        ([{"type": "tool_reference", "tool_name": "Bash"}], ["[tool Bash]"]),
        ([text("see"), image(), text("this")], ["see", "[image 1]", "this"]),
        ([{"type": "document", "source": {"type": "text", "data": "d"}}], ["<document>\nd\n</document>"]),
        (
            [{"type": "search_result", "source": "s", "title": "t", "content": [text("c")]}],
            ["<search_result>\n<title>t</title>\n<source>s</source>\nc\n</search_result>"],
        ),
    ],
)
def test_a_result_has_its_texts_in_order_in_every_form(content: Any, texts: list[str]) -> None:
    turns = history_of(user("go"), assistant(call("a")), user(result("a", content)))
    assert results_of(turns[2]) == [("a", texts, "success")]


def test_a_result_may_have_no_content_member_at_all() -> None:
    bare = {"type": "tool_result", "tool_use_id": "a"}
    assert results_of(history_of(user("go"), assistant(call("a")), user(bare))[2]) == [("a", [NO_CONTENT], "success")]


@pytest.mark.parametrize(("is_error", "status"), [(True, "error"), (False, "success"), (None, "success")])
def test_an_error_is_an_error(is_error: bool | None, status: str) -> None:
    turns = history_of(user("go"), assistant(call("a")), user(result("a", "no", is_error=is_error)))
    assert results_of(turns[2]) == [("a", ["no"], status)]


def test_images_of_results_are_the_turns_images_and_the_results_say_which() -> None:
    turns = history_of(
        user("go"),
        assistant(call("a"), call("b")),
        user(image(b"0"), result("a", [image(b"1"), image(b"2")]), "look", result("b", [image(b"3")])),
    )
    assert [each["source"]["bytes"] for each in turns[2]["images"]] == ["MA==", "MQ==", "Mg==", "Mw=="]
    assert results_of(turns[2]) == [("a", ["[image 2]", "[image 3]"], "success"), ("b", ["[image 4]"], "success")]
    assert turns[2]["content"] == "look"


def test_words_beside_results_stay_words_in_their_order() -> None:
    turns = history_of(user("go"), assistant(call("a")), user("before", result("a"), "after"), user("later"))
    assert turns[2]["content"] == "before\n\nafter\n\nlater"
    assert results_of(turns[2]) == [("a", ["done"], "success")]


def test_results_keep_the_clients_order_and_may_come_in_several_messages() -> None:
    reminder = {"role": "system", "content": "be quick"}
    turns = history_of(
        user("go"), assistant(call("a")), assistant(call("b")), user(result("b", "2")), reminder, user(result("a", "1"))
    )
    assert uses_of(turns[1]) == [("a", "Bash"), ("b", "Bash")]
    assert results_of(turns[2]) == [("b", ["2"], "success"), ("a", ["1"], "success")]
    assert turns[2]["content"] == "be quick"


# --- calls and results without each other ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "following",
    [
        [user("never mind")],
        [{"role": "system", "content": "never mind"}],
        [user(result("other", "never mind"))],
        [user("never mind"), assistant("ok"), user("next")],
    ],
)
def test_a_call_without_its_result_was_cancelled(following: list[dict[str, Any]]) -> None:
    turns = history_of(user("go"), assistant(call("a")), *following)
    assert results_of(turns[2]) == [("a", [CANCELLED], "error")]
    assert turns[2]["content"] == "never mind"


def test_of_several_calls_only_the_unanswered_ones_were_cancelled() -> None:
    turns = history_of(user("go"), assistant(call("a"), call("b"), call("c")), user(result("b", "2")))
    assert results_of(turns[2]) == [("b", ["2"], "success"), ("a", [CANCELLED], "error"), ("c", [CANCELLED], "error")]


def test_a_result_without_its_call_is_words() -> None:
    turns = history_of(user("a", result("nowhere", [text("b"), image(), text("c")]), "d"))
    assert turns[0]["content"] == "a\n\nb\n\nc\n\nd"
    assert len(turns[0]["images"]) == 1
    assert "toolResults" not in turns[0]["userInputMessageContext"]


def test_an_empty_result_without_its_call_leaves_nothing_behind() -> None:
    assert history_of(user("a", result("nowhere", ""), result("nowhere", None)))[0]["content"] == "a"


def test_a_result_that_comes_a_turn_late_is_words_and_its_call_was_cancelled() -> None:
    turns = history_of(
        user("go"), assistant(call("a")), user("wait"), assistant("waiting"), user(result("a", "here it is"))
    )
    assert results_of(turns[2]) == [("a", [CANCELLED], "error")]
    assert turns[4]["content"] == "here it is"


def test_a_result_before_its_call_is_words() -> None:
    turns = history_of(user(result("a", "early")), assistant(call("a")), user(result("a", "in time")))
    assert turns[0]["content"] == "early"
    assert "userInputMessageContext" not in turns[0]
    assert results_of(turns[2]) == [("a", ["in time"], "success")]


def test_a_second_result_for_one_call_is_words() -> None:
    turns = history_of(user("go"), assistant(call("a")), user(result("a", "first"), result("a", "second")))
    assert results_of(turns[2]) == [("a", ["first"], "success")]
    assert turns[2]["content"] == "second"


# --- ids and names ---------------------------------------------------------------------------------------------


def test_equal_ids_in_one_turn_are_told_apart_and_their_results_follow_in_order() -> None:
    turns = history_of(
        user("go"), assistant(call("a", "Bash"), call("a", "Read")), user(result("a", "1"), result("a", "2"))
    )
    (first, _), (second, _) = uses_of(turns[1])
    assert first == "a"
    assert second != "a"
    assert results_of(turns[2]) == [(first, ["1"], "success"), (second, ["2"], "success")]


def test_equal_ids_in_different_turns_are_told_apart() -> None:
    turns = history_of(
        user("go"),
        assistant(call("a")),
        user(result("a", "1")),
        assistant(call("a")),
        user(result("a", "2")),
    )
    assert uses_of(turns[1]) != uses_of(turns[3])
    assert results_of(turns[4]) == [(uses_of(turns[3])[0][0], ["2"], "success")]


@pytest.mark.parametrize("tool_use_id", ["", "an id with spaces", "x" * 65, "ü", "call:1"])
def test_an_id_that_the_service_cannot_take_is_another_for_call_and_result(tool_use_id: str) -> None:
    turns = history_of(user("go"), assistant(call(tool_use_id)), user(result(tool_use_id, "1")))
    ((mapped, _),) = uses_of(turns[1])
    assert mapped != tool_use_id
    assert results_of(turns[2]) == [(mapped, ["1"], "success")]


def test_a_tool_is_named_alike_in_history_and_specification() -> None:
    tools = [{"name": "mcp.files/read", "input_schema": {}}]
    reference = {"type": "tool_reference", "tool_name": "mcp.files/read"}
    turns = history_of(user("go"), assistant(call("a", "mcp.files/read")), user(result("a", [reference])), tools=tools)
    ((_, name),) = uses_of(turns[1])
    declared = turns[2]["userInputMessageContext"]["tools"]
    assert [each["toolSpecification"]["name"] for each in declared] == [name]
    assert results_of(turns[2]) == [("a", [f"[tool {name}]"], "success")]


def test_a_call_without_words_beside_it_has_a_space() -> None:
    turns = history_of(user("go"), assistant(call("a")), user(result("a")))
    assert turns[1]["content"] == " "
    assert history_of(user("go"), assistant("\n", call("a")), user(result("a")))[1]["content"] == "\n"


def test_an_image_in_a_result_that_cannot_be_carried_is_refused_with_its_place() -> None:
    by_url = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    with pytest.raises(ClientRequestError) as caught:
        converted(asking(user("go"), assistant(call("a")), user("x", result("a", [text("y"), by_url]))))
    assert caught.value.place == "messages[2].content[1].content[1].source"
