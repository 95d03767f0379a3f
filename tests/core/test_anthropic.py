"""The request's surface: what is taken as it is, and what is refused at which place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.anthropic import (
    MAX_NESTING,
    STATUS_OF_ERROR,
    Base64Source,
    ChooseAny,
    ChooseAuto,
    ChooseNone,
    ChooseTool,
    ContentSource,
    DocumentBlock,
    FileSource,
    ImageBlock,
    InputBlock,
    InputMessage,
    RedactedThinkingBlock,
    SearchResultBlock,
    TextBlock,
    TextSource,
    ThinkingBlock,
    ToolDefinition,
    ToolReferenceBlock,
    ToolResultBlock,
    ToolUseBlock,
    UrlSource,
    nesting,
    parse_request,
    render_error,
    shorten,
)
from core.errors import ClientRequestError


def body(**members: Any) -> bytes:
    """A body that is good but for `members`."""
    request = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}], **members}
    return json.dumps(request).encode()


def with_block(block: Any, role: str = "user") -> bytes:
    """A body whose only message has one block."""
    return body(messages=[{"role": role, "content": [block]}])


# --- what is taken ---------------------------------------------------------------------------------------------


def test_the_smallest_request_has_nothing_else_in_it() -> None:
    request = parse_request(body())
    assert request.model == "m"
    assert request.max_tokens == 1
    assert request.messages == (InputMessage("user", "hi"),)
    assert (request.system, request.tools, request.tool_choice) == (None, None, None)
    assert (request.stop_sequences, request.stream) == (None, None)


@pytest.mark.parametrize(
    ("block", "parsed"),
    [
        ({"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}, "citations": None}, TextBlock("hi")),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "eA=="}},
            ImageBlock(Base64Source("image/png", "eA==")),
        ),
        ({"type": "image", "source": {"type": "url", "url": "https://x"}}, ImageBlock(UrlSource("https://x"))),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, ImageBlock(FileSource("f"))),
        (
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}, "title": "t"},
            DocumentBlock(TextSource("d"), "t"),
        ),
        (
            {"type": "document", "source": {"type": "content", "content": "c"}, "context": "x", "citations": {}},
            DocumentBlock(ContentSource("c"), None, "x"),
        ),
        (
            {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "c"}]}},
            DocumentBlock(ContentSource((TextBlock("c"),))),
        ),
        (
            {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "c"}]},
            SearchResultBlock("s", "t", (TextBlock("c"),)),
        ),
        ({"type": "tool_reference", "tool_name": "Bash"}, ToolReferenceBlock("Bash")),
        (
            {"type": "tool_use", "id": "a", "name": "Bash", "input": {"n": 2**70}, "caller": {"type": "direct"}},
            ToolUseBlock("a", "Bash", {"n": 2**70}),
        ),
        ({"type": "tool_result", "tool_use_id": "a"}, ToolResultBlock("a")),
        ({"type": "tool_result", "tool_use_id": "a", "content": None}, ToolResultBlock("a")),
        ({"type": "tool_result", "tool_use_id": "a", "content": "c"}, ToolResultBlock("a", "c")),
        ({"type": "tool_result", "tool_use_id": "a", "is_error": True}, ToolResultBlock("a", None, True)),
        (
            {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "tool_reference", "tool_name": "b"}]},
            ToolResultBlock("a", (ToolReferenceBlock("b"),)),
        ),
        ({"type": "thinking", "thinking": "hm", "signature": ""}, ThinkingBlock("hm", "")),
        ({"type": "thinking", "thinking": "hm"}, ThinkingBlock("hm")),
        ({"type": "redacted_thinking", "data": "eA=="}, RedactedThinkingBlock("eA==")),
    ],
)
def test_a_block_is_taken_as_it_is_without_its_unknown_members(block: Any, parsed: InputBlock) -> None:
    assert parse_request(with_block(block)).messages[0].content == (parsed,)


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
@pytest.mark.parametrize("content", ["", "hi", None, []])
def test_a_message_has_a_role_and_a_string_or_blocks_or_null(role: str, content: Any) -> None:
    (message,) = parse_request(body(messages=[{"role": role, "content": content}])).messages
    assert message.role == role
    assert message.content == (() if content == [] else content)


@pytest.mark.parametrize(
    ("choice", "parsed"),
    [
        ({"type": "auto", "disable_parallel_tool_use": True}, ChooseAuto()),
        ({"type": "any"}, ChooseAny()),
        ({"type": "tool", "name": "Bash"}, ChooseTool("Bash")),
        ({"type": "none"}, ChooseNone()),
        (None, None),
    ],
)
def test_tool_choice_is_taken_in_all_its_forms(choice: Any, parsed: Any) -> None:
    assert parse_request(body(tools=[{"name": "Bash", "input_schema": {}}], tool_choice=choice)).tool_choice == parsed


def test_tools_are_the_clients_own_in_every_way_that_clients_say_so() -> None:
    tools = [
        {"name": "a", "description": "d", "input_schema": {"type": "object"}, "defer_loading": True},
        {"name": "b", "type": "custom", "input_schema": {}, "eager_input_streaming": True},
        {"name": "ü" * 200, "type": None, "description": None},
    ]
    assert parse_request(body(tools=tools)).tools == (
        ToolDefinition("a", None, "d", {"type": "object"}),
        ToolDefinition("b", "custom", None, {}),
        ToolDefinition("ü" * 200),
    )


def test_a_request_to_be_counted_needs_no_limit() -> None:
    uncounted = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
    assert parse_request(uncounted, counting=True).max_tokens is None
    with pytest.raises(ClientRequestError, match=r"^max_tokens: field required$"):
        parse_request(uncounted)


# --- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"model": None}, "model: expected `str`, got `null`"),
        ({"max_tokens": 0}, "max_tokens: expected `int` >= 1"),
        ({"max_tokens": True}, "max_tokens: expected `int | null`, got `bool`"),
        ({"max_tokens": 1.5}, "max_tokens: expected `int | null`, got `float`"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": {}}, "messages: expected `array`, got `object`"),
        ({"messages": [1]}, "messages[0]: expected `object`, got `int`"),
        ({"messages": [{"role": "user"}]}, "messages[0].content: field required"),
        ({"messages": [{"role": "bot", "content": "hi"}]}, "messages[0].role: 'bot' is not allowed here"),
        ({"system": 1}, "system: expected `str | array | null`, got `int`"),
        ({"system": [{"type": "image"}]}, "system[0]: type 'image' is unknown or cannot be carried over"),
        ({"stop_sequences": "END"}, "stop_sequences: expected `array | null`, got `str`"),
        ({"stop_sequences": ["END", ""]}, "stop_sequences[1]: each stop sequence must contain non-whitespace"),
        ({"stop_sequences": ["END"] * 101}, "stop_sequences: at most 100 can be looked for"),
        ({"stop_sequences": ["\n\n"]}, "stop_sequences[0]: each stop sequence must contain non-whitespace"),
        ({"stream": "yes"}, "stream: expected `bool | null`, got `str`"),
        ({"mcp_servers": [{"type": "url"}]}, "mcp_servers: tools that run on the server cannot be carried over"),
        ({"container": "c"}, "container: code that runs on the server cannot be carried over"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name: field required"),
        ({"tools": [{"name": "a", "input_schema": []}]}, "tools[0].input_schema: expected `object`, got `array`"),
        ({"tools": [{"name": "a"}, {"name": "b"}, {"name": "a"}]}, "tools[2].name: tool names must be unique"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type: 'web_search_20250305' "),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type: 'bash_20250124' is a tool that"),
        ({"tools": [{"type": "mcp_toolset"}]}, "tools[0].type: 'mcp_toolset' is a tool that Anthropic defines"),
        ({"tool_choice": "auto"}, "tool_choice: expected `object | null`, got `str`"),
        ({"tool_choice": {"type": "some"}}, "tool_choice: type 'some' is unknown"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name: field required"),
        ({"tool_choice": {"type": "tool", "name": "a"}}, "tool_choice.name: tool 'a' is not among the tools"),
        ({"tool_choice": {"type": "any"}}, "tool_choice: a tool can be required only where tools are given"),
    ],
)
def test_a_wrong_member_is_refused_with_its_place(members: dict[str, Any], text: str) -> None:
    with pytest.raises(ClientRequestError) as caught:
        parse_request(body(**members))
    assert str(caught.value).startswith(text)
    assert caught.value.place == text.partition(":")[0]
    assert caught.value.error_type == "invalid_request_error"


_BLOCK = "messages[0].content[0]"


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"type": "video"}, f"{_BLOCK}: type 'video' is unknown or cannot be carried over to the service"),
        ({"type": "server_tool_use", "id": "a"}, f"{_BLOCK}: type 'server_tool_use' is unknown or cannot be carried"),
        ({"type": "web_search_tool_result"}, f"{_BLOCK}: type 'web_search_tool_result' is unknown or cannot be"),
        ({"type": "container_upload"}, f"{_BLOCK}: type 'container_upload' is unknown or cannot be carried over"),
        ({"type": "x - at `$.model`\n" + "y" * 99}, f"{_BLOCK}: type 'x - at `$.model`\\nyyyyyyyyyyyyyyyyyyyy"),
        ({"text": "hi"}, f"{_BLOCK}.type: field required"),
        ({"type": None}, f"{_BLOCK}.type: expected `str`"),
        ("hi", f"{_BLOCK}: expected `object`, got `str`"),
        ({"type": "text"}, f"{_BLOCK}.text: field required"),
        ({"type": "text", "text": None}, f"{_BLOCK}.text: expected `str`, got `null`"),
        ({"type": "image", "source": {"type": "s3"}}, f"{_BLOCK}.source: type 's3' is unknown"),
        ({"type": "image", "source": {"type": "base64", "data": ""}}, f"{_BLOCK}.source.media_type: field required"),
        ({"type": "tool_use", "id": "a", "name": "", "input": {}}, f"{_BLOCK}.name: expected `str` of length >= 1"),
        ({"type": "tool_use", "id": "a", "name": "b", "input": []}, f"{_BLOCK}.input: expected `object`, got `array`"),
        ({"type": "tool_result", "tool_use_id": 1}, f"{_BLOCK}.tool_use_id: expected `str`, got `int`"),
        (
            {"type": "tool_result", "tool_use_id": "", "content": [{"type": "text", "text": ""}, {"type": "call"}]},
            f"{_BLOCK}.content[1]: type 'call' is unknown",
        ),
        (
            {"type": "document", "source": {"type": "content", "content": [{"type": "document"}]}},
            f"{_BLOCK}.source.content[0]: type 'document' is unknown",
        ),
    ],
)
def test_a_wrong_block_is_refused_with_its_place(block: Any, text: str) -> None:
    with pytest.raises(ClientRequestError) as caught:
        parse_request(with_block(block))
    assert str(caught.value).startswith(text)
    assert caught.value.place == text.partition(": ")[0]


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"", "the body cannot be read as JSON: "),
        (b"{", "the body cannot be read as JSON: "),
        (b"\xef\xbb\xbf{}", "the body cannot be read as JSON: "),
        (body() + b"}", "the body cannot be read as JSON: "),
        (body(model="m").replace(b'"m"', b"NaN"), "the body cannot be read as JSON: "),
        (body().replace(b"hi", b"\\ud800"), "the body cannot be read as JSON: "),
        (body().replace(b"hi", b"\xff"), "the body cannot be read as JSON: it is not UTF-8"),
        (body().replace(b"hi", b"\xed\xa0\x80"), "the body cannot be read as JSON: it is not UTF-8"),
        (b"[]", "the body: Expected `object`, got `array`"),
        (body(x=1).replace(b": 1}", b": " + b"[" * 100_000 + b"]" * 100_000 + b"}"), "the body nests too deeply"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused_as_a_whole(raw: bytes, problem: str) -> None:
    with pytest.raises(ClientRequestError) as caught:
        parse_request(raw)
    assert caught.value.place == ""
    assert str(caught.value).startswith(problem)


def test_a_missing_member_of_the_request_itself_is_its_own_place() -> None:
    with pytest.raises(ClientRequestError) as caught:
        parse_request(b"{}")
    assert (caught.value.place, caught.value.problem) == ("model", "field required")


def test_a_number_that_no_parser_holds_is_refused_with_its_place() -> None:
    raw = with_block({"type": "tool_use", "id": "a", "name": "b", "input": {"n": "N"}}).replace(b'"N"', b"1e999")
    with pytest.raises(ClientRequestError, match=r"^messages\[0\]\.content\[0\]\.input\[\.\.\.\]: number out of"):
        parse_request(raw)


def _nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def test_a_schema_or_an_input_nests_to_the_limit_and_no_further() -> None:
    tools = [{"name": "a", "input_schema": _nested(MAX_NESTING)}]
    assert parse_request(body(tools=tools)).tools == (ToolDefinition("a", input_schema=_nested(MAX_NESTING)),)
    tools[0]["input_schema"] = _nested(MAX_NESTING + 1)
    with pytest.raises(ClientRequestError, match=r"^tools\[0\]\.input_schema: nests more than 200 levels deep$"):
        parse_request(body(tools=tools))
    use = {"type": "tool_use", "id": "a", "name": "b", "input": _nested(MAX_NESTING + 1)}
    with pytest.raises(ClientRequestError, match=r"^messages\[0\]\.content\[0\]\.input: nests more than 200 levels"):
        parse_request(with_block(use))


@pytest.mark.parametrize(
    ("value", "depth"), [(1, 0), ("[[", 0), ({}, 1), ([[], {}], 2), ({"a": [1, {"b": 2}], "c": {}}, 3)]
)
def test_nesting_counts_objects_and_lists(value: Any, depth: int) -> None:
    assert nesting(value) == depth


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_MEMBERS = ["messages", "system", "tools", "tool_choice", "stop_sequences", "max_tokens", "stream", "container"]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(_MEMBERS), _anything)
def test_any_json_in_a_member_is_taken_or_refused_at_that_member(member: str, value: Any) -> None:
    refusals = []
    try:
        parse_request(body(**{member: value}))
    except ClientRequestError as error:
        refusals.append(error)
    assert all(error.place.startswith(member) for error in refusals)
    assert all(len(str(error).splitlines()) == 1 for error in refusals)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_refused_and_never_break_the_parser(raw: bytes) -> None:
    with pytest.raises(ClientRequestError):
        parse_request(raw)


# --- words about it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "short"),
    [("a", "'a'"), ("a\nb", "'a\\nb'"), ("x" * 60, f"'{'x' * 60}'"), ("x" * 61, f"'{'x' * 60}...'")],
)
def test_a_clients_text_is_quoted_on_one_line_and_cut(text: str, short: str) -> None:
    assert shorten(text) == short


def test_an_error_has_the_form_that_clients_read() -> None:
    assert render_error("overloaded_error", "later", "req_1") == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "later"},
        "request_id": "req_1",
    }
    assert STATUS_OF_ERROR["overloaded_error"] == 529
