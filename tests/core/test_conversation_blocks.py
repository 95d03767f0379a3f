"""Blocks that are no plain text: images, documents, search results, thinking."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from core.conversation import MAX_IMAGE_BYTES
from core.errors import ClientRequestError
from tests.client_requests import asking, assistant, body_of, call, converted, image, result, text, user


def message_of(*content: Any) -> dict[str, Any]:
    """The current message of a request with one user's message."""
    message = body_of(converted(asking(user(*content))))["conversationState"]["currentMessage"]["userInputMessage"]
    assert isinstance(message, dict)
    return message


def refusal_of(*messages: dict[str, Any]) -> ClientRequestError:
    """Why a request of these messages is refused."""
    with pytest.raises(ClientRequestError) as caught:
        converted(asking(*messages))
    return caught.value


# --- images ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("media_type", "name"),
    [("image/png", "png"), ("image/jpeg", "jpeg"), ("image/gif", "gif"), ("image/webp", "webp")],
)
def test_an_image_stands_beside_the_words(media_type: str, name: str) -> None:
    message = message_of("look", image(b"bytes", media_type), "at this")
    assert message["content"] == "look\n\nat this"
    assert message["images"] == [{"format": name, "source": {"bytes": base64.b64encode(b"bytes").decode()}}]


def test_an_image_alone_needs_no_words() -> None:
    message = message_of(image())
    assert message["content"] == ""
    assert len(message["images"]) == 1


def test_line_breaks_in_base64_are_left_out() -> None:
    block = image()
    whole = block["source"]["data"]
    block["source"]["data"] = whole[:4] + "\r\n" + whole[4:] + "\n"
    assert message_of(block)["images"][0]["source"]["bytes"] == whole


@pytest.mark.parametrize(
    ("source", "place", "problem"),
    [
        ({"type": "url", "url": "https://x"}, "", "an image by url cannot be carried over; send its bytes as base64"),
        ({"type": "file", "file_id": "x"}, "", "an image by file cannot be carried over; send its bytes as base64"),
        (
            {"type": "base64", "media_type": "image/bmp", "data": "eA=="},
            ".media_type",
            "expected one of image/png, image/jpeg, image/gif, image/webp, got 'image/bmp'",
        ),
        ({"type": "base64", "media_type": "image/png", "data": "no base64!"}, ".data", "expected base64"),
        ({"type": "base64", "media_type": "image/png", "data": "eA"}, ".data", "expected base64"),
        ({"type": "base64", "media_type": "image/png", "data": "eA==eA=="}, ".data", "expected base64"),
        ({"type": "base64", "media_type": "image/png", "data": "ü==="}, ".data", "expected base64"),
        ({"type": "base64", "media_type": "image/png", "data": " "}, ".data", "expected 1 to 10000000 bytes, got 0"),
    ],
)
def test_an_image_that_the_service_cannot_take_is_refused_with_its_place(
    source: dict[str, str], place: str, problem: str
) -> None:
    error = refusal_of(user("look", {"type": "image", "source": source}))
    assert (error.place, error.problem) == (f"messages[0].content[1].source{place}", problem)


def test_an_image_is_as_large_as_the_service_takes_and_no_larger() -> None:
    assert len(message_of(image(bytes(MAX_IMAGE_BYTES)))["images"]) == 1
    error = refusal_of(user(image(bytes(MAX_IMAGE_BYTES + 1))))
    assert error.problem == "expected 1 to 10000000 bytes, got 10000001"


def test_the_eleventh_image_of_a_turn_is_refused_wherever_it_stands() -> None:
    assert len(message_of(*[image()] * 10)["images"]) == 10
    assert refusal_of(user(*[image()] * 11)).place == "messages[0].content[10].source"
    assert refusal_of(user(*[image()] * 6), user("and", *[image()] * 5)).place == "messages[1].content[5].source"
    in_result = refusal_of(user("go"), assistant(call("a")), user(result("a", [image()] * 11)))
    assert in_result.place == "messages[2].content[0].content[10].source"
    assert in_result.problem.startswith("the service takes at most 10 images in one turn")


def test_twenty_images_in_two_turns_are_fine() -> None:
    tens = [image()] * 10
    body = body_of(converted(asking(user(*tens), assistant("ok"), user(*tens))))
    assert len(body["conversationState"]["history"][0]["userInputMessage"]["images"]) == 10


# --- documents and search results ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"source": {"type": "text", "media_type": "text/plain", "data": "d"}}, "<document>\nd\n</document>"),
        ({"source": {"type": "text", "data": ""}, "title": ""}, "<document>\n\n</document>"),
        (
            {"source": {"type": "text", "data": "d\ne"}, "title": "t", "context": "c"},
            "<document>\n<title>t</title>\n<context>c</context>\nd\ne\n</document>",
        ),
        ({"source": {"type": "content", "content": "d"}}, "<document>\nd\n</document>"),
        (
            {"source": {"type": "content", "content": [text("d"), image(), text("e")]}, "title": "t"},
            "<document>\n<title>t</title>\nd\ne\n</document>",
        ),
    ],
)
def test_a_document_of_text_is_words_between_tags(block: dict[str, Any], words: str) -> None:
    message = message_of("read", {"type": "document", **block}, "now")
    assert message["content"] == f"read\n\n{words}\n\nnow"


def test_an_image_in_a_document_is_an_image_of_the_turn() -> None:
    block = {"type": "document", "source": {"type": "content", "content": [image(b"1")]}}
    assert [each["source"]["bytes"] for each in message_of(block)["images"]] == ["MQ=="]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ({"type": "base64", "media_type": "application/pdf", "data": "eA=="}, "documents of type 'application/pdf'"),
        ({"type": "url", "url": "https://x"}, "a document by url cannot be carried over; send its text"),
        ({"type": "file", "file_id": "x"}, "a document by file cannot be carried over; send its text"),
    ],
)
def test_a_document_that_is_no_text_is_refused_with_its_place(source: dict[str, str], problem: str) -> None:
    error = refusal_of(user("read", {"type": "document", "source": source}))
    assert error.place == "messages[0].content[1].source"
    assert error.problem.startswith(problem)


def test_an_image_in_a_document_that_cannot_be_carried_is_refused_with_its_place() -> None:
    by_url = {"type": "image", "source": {"type": "url", "url": "https://x"}}
    block = {"type": "document", "source": {"type": "content", "content": [text("d"), by_url]}}
    assert refusal_of(user(block)).place == "messages[0].content[0].source.content[1].source"


def test_a_search_result_is_words_with_title_source_and_content() -> None:
    block = {"type": "search_result", "source": "s", "title": "t", "content": [text("c"), text("d")]}
    assert message_of(block)["content"] == (
        "<search_result>\n<title>t</title>\n<source>s</source>\nc\nd\n</search_result>"
    )


def test_a_tool_reference_is_words_that_name_the_tool() -> None:
    assert message_of({"type": "tool_reference", "tool_name": "Bash"})["content"] == "[tool Bash]"


# --- thinking --------------------------------------------------------------------------------------------------


def _thinking(words: str, signature: str | None = "c2ln") -> dict[str, Any]:
    block = {"type": "thinking", "thinking": words}
    return block if signature is None else {**block, "signature": signature}


_REDACTED = {"type": "redacted_thinking", "data": "c2VjcmV0"}


@pytest.mark.parametrize(
    ("blocks", "reasoning"),
    [
        ([_thinking("hm")], {"reasoningText": {"text": "hm", "signature": "c2ln"}}),
        ([_thinking("hm", "")], {"reasoningText": {"text": "hm", "signature": ""}}),
        ([_thinking("hm", None)], {"reasoningText": {"text": "hm"}}),
        ([_thinking("", "c2ln")], {"reasoningText": {"text": "", "signature": "c2ln"}}),
        ([_thinking("", "")], None),
        ([_REDACTED], {"redactedContent": "c2VjcmV0"}),
        ([{"type": "redacted_thinking", "data": ""}], None),
        ([_thinking("one"), _thinking("two")], {"reasoningText": {"text": "two", "signature": "c2ln"}}),
        ([_REDACTED, _thinking("two"), _thinking("", "")], {"reasoningText": {"text": "two", "signature": "c2ln"}}),
        ([_thinking("one"), _REDACTED], {"redactedContent": "c2VjcmV0"}),
    ],
)
def test_the_last_thinking_of_a_turn_is_kept_with_its_signature(blocks: Any, reasoning: Any) -> None:
    body = body_of(converted(asking(user("go"), assistant(*blocks, "so"), user("on"))))
    turn = body["conversationState"]["history"][1]["assistantResponseMessage"]
    assert turn == {"content": "so"} | ({"reasoningContent": reasoning} if reasoning else {})


def test_redacted_thinking_that_is_no_base64_is_refused_with_its_place() -> None:
    error = refusal_of(user("go"), assistant("so", {"type": "redacted_thinking", "data": "?"}), user("on"))
    assert (error.place, error.problem) == ("messages[1].content[1].data", "expected base64")
