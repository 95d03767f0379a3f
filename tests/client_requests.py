"""Requests as clients send them, well formed and hostile, and marks in their words to find those again.

`mark` puts a number into every text that a user or a model reads, counting in the client's order: system, then
each message's blocks; within a document title, context, data; within a search result title, source, content.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from core.anthropic import parse_request
from core.catalogue import Model
from core.codewhisperer import encode_request
from core.request import Conversion, convert

MODEL = Model(name="claude-test", id="CLAUDE_TEST_V1_0", display_name="A model made up for tests")


def converted(request: dict[str, Any]) -> Conversion:
    """The conversion of a request, through JSON."""
    return convert(parse_request(json.dumps(request).encode()), model=MODEL, conversation_id="c0ffee")


def body_of(conversion: Conversion) -> dict[str, Any]:
    """The body that the service gets."""
    body = json.loads(encode_request(conversion.request))
    assert isinstance(body, dict)
    return body


def asking(*messages: dict[str, Any], **members: Any) -> dict[str, Any]:
    """A request of these messages."""
    return {"model": MODEL.name, "max_tokens": 100, "messages": list(messages), **members}


def user(*content: Any) -> dict[str, Any]:
    """A user's message: of one string, or of blocks."""
    return {"role": "user", "content": _content(content)}


def assistant(*content: Any) -> dict[str, Any]:
    """An assistant's message: of one string, or of blocks."""
    return {"role": "assistant", "content": _content(content)}


def _content(content: tuple[Any, ...]) -> Any:
    if len(content) == 1 and not isinstance(content[0], dict):
        return content[0]
    return [text(each) if isinstance(each, str) else each for each in content]


def text(words: str) -> dict[str, Any]:
    """A block of text."""
    return {"type": "text", "text": words}


def call(tool_use_id: str, name: str = "Bash", **arguments: Any) -> dict[str, Any]:
    """A call of a tool."""
    return {"type": "tool_use", "id": tool_use_id, "name": name, "input": arguments}


def result(tool_use_id: str, content: Any = "done", **members: Any) -> dict[str, Any]:
    """A result of a tool."""
    return {"type": "tool_result", "tool_use_id": tool_use_id, "content": content, **members}


def image(data: bytes = b"picture", media_type: str = "image/png") -> dict[str, Any]:
    """An image by its bytes."""
    source = {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}
    return {"type": "image", "source": source}


def tool(name: str, description: str | None = "Does something.", **schema: Any) -> dict[str, Any]:
    """A tool's definition."""
    return {"name": name, "description": description, "input_schema": {"type": "object", **schema}}


# --- strategies ------------------------------------------------------------------------------------------------

IDS = ("toolu_01", "toolu_02", "tooluse_Ab-9", "an id with spaces", "ü", "", "x" * 65)
NAMES = ("Bash", "Read", "mcp__files__list", "mcp.files/list", "x" * 65, "Werkzeug für alles", "工具", "_")

_words = st.sampled_from(["", " ", "\n\n", "ls -la", "Wörter", "🦊", '{"a": "}"}']) | st.text(
    st.characters(codec="utf-8", exclude_characters="«»"), max_size=12
)
_texts = _words.map(text)
_images = st.just(b"picture").map(image)
_documents = st.fixed_dictionaries(
    {
        "type": st.just("document"),
        "source": st.fixed_dictionaries({"type": st.just("text"), "media_type": st.just("text/plain"), "data": _words})
        | st.fixed_dictionaries(
            {"type": st.just("content"), "content": _words | st.lists(_texts | _images, max_size=2)}
        ),
    },
    optional={"title": st.none() | _words, "context": st.none() | _words},
)
_search_results = st.fixed_dictionaries(
    {
        "type": st.just("search_result"),
        "source": _words,
        "title": _words,
        "content": st.lists(_texts, max_size=2),
    }
)
_references = st.sampled_from(NAMES).map(lambda name: {"type": "tool_reference", "tool_name": name})
_result_blocks = _texts | _images | _documents | _search_results | _references
_results = st.builds(
    result,
    st.sampled_from(IDS),
    st.none() | _words | st.lists(_result_blocks, max_size=3),
    is_error=st.none() | st.booleans(),
)
_inputs = st.dictionaries(st.sampled_from(["command", "path"]), _words | st.none() | st.floats(0, 1), max_size=2)
_calls = st.builds(
    lambda tool_use_id, name, arguments: call(tool_use_id, name, **arguments),
    st.sampled_from(IDS),
    st.sampled_from(NAMES),
    _inputs,
)
_thinking = st.builds(
    lambda words, signature: {"type": "thinking", "thinking": words, "signature": signature},
    _words,
    st.sampled_from(["", "c2ln"]),
) | st.just({"type": "redacted_thinking", "data": "c2VjcmV0"})

_user_messages = st.builds(user, _words | st.none()) | st.lists(_result_blocks | _results | _results, max_size=4).map(
    lambda blocks: {"role": "user", "content": blocks}
)
_assistant_messages = st.builds(assistant, _words | st.none()) | st.lists(
    _texts | _calls | _calls | _thinking, max_size=4
).map(lambda blocks: {"role": "assistant", "content": blocks})
_system_messages = st.builds(lambda words: {"role": "system", "content": words}, _words)

_schemas: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.sampled_from([0, "object", ["object", "null"], ["a"]]),
    lambda inner: (
        st.dictionaries(
            st.sampled_from(["required", "properties", "items", "default", "anyOf", "enum", "a", "$defs"]),
            inner,
            max_size=4,
        )
        | st.lists(inner, max_size=2)
    ),
    max_leaves=8,
).map(lambda schema: schema if isinstance(schema, dict) else {})


def _choices(names: list[str]) -> st.SearchStrategy[Any]:
    kinds: list[Any] = [{"type": "auto"}, {"type": "none"}]
    if names:
        kinds += [{"type": "any"}, {"type": "tool", "name": names[-1]}]
    return st.sampled_from(kinds)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """Requests of every shape that parses: turns in any order, results anywhere, ids and names of all kinds."""
    anyone = _user_messages | _user_messages | _assistant_messages | _assistant_messages | _system_messages
    request = asking(*draw(st.lists(anyone, max_size=8)), draw(_user_messages | _system_messages))
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4))
    long = st.integers(10_200, 10_300).map(lambda size: "long words\n" * (size // 11) + "x" * (size % 11))
    if names:
        request["tools"] = [
            {"name": name, "description": draw(st.none() | _words | long), "input_schema": draw(_schemas)}
            for name in names
        ]
    if draw(st.booleans()):
        request["tool_choice"] = draw(_choices(names))
    request["system"] = draw(st.none() | _words | st.lists(_texts, max_size=3))
    assume(json.dumps(request).count('"image"') <= 10)
    return request


# --- marks -----------------------------------------------------------------------------------------------------

MARK = re.compile(r"«([a-z])(\d+)»")


def mark(request: dict[str, Any]) -> dict[str, Any]:
    """The request with a mark in all its texts: `t` for words, `i` for inputs, `h` for thinking, `d` for descriptions.

    Texts that nobody could see (blank ones) get none. Every image gets bytes of its own: its number.
    """
    request = json.loads(json.dumps(request))  # a deep copy would keep blocks that are one object as one
    numbers = itertools.count()

    def stamp(holder: Any, key: Any, kind: str = "t") -> None:
        if isinstance(holder.get(key), str) and holder[key].strip():
            holder[key] = f"«{kind}{next(numbers)}»{holder[key]}"

    def stamp_all(holder: Any, key: str) -> None:
        stamp(holder, key)
        for block in holder[key] if isinstance(holder.get(key), list) else ():
            stamp_block(block)

    def stamp_block(block: dict[str, Any]) -> None:
        match block["type"]:
            case "text":
                stamp(block, "text")
            case "image":
                block["source"]["data"] = base64.b64encode(str(next(numbers)).encode()).decode()
            case "document":
                stamp(block, "title")
                stamp(block, "context")
                stamp(block["source"], "data")
                stamp_all(block["source"], "content")
            case "search_result":
                stamp(block, "title")
                stamp(block, "source")
                stamp_all(block, "content")
            case "tool_result":
                stamp_all(block, "content")
            case "tool_use":
                for key in block["input"]:
                    stamp(block["input"], key, "i")
            case "thinking":
                stamp(block, "thinking", "h")

    stamp_all(request, "system")
    for message in request["messages"]:
        stamp_all(message, "content")
    for definition in request.get("tools") or ():
        if (definition.get("description") or "").strip():
            words = definition["description"]
            half = len(words) // 2
            marks = [f"«d{next(numbers)}»" for _ in range(3)]
            definition["description"] = f"{marks[0]}{words[:half]}{marks[1]}{words[half:]}{marks[2]}"
    return request


def marks_in(words: str, kind: str) -> list[int]:
    """The numbers of the marks of one kind in a text, in order."""
    return [int(number) for found, number in MARK.findall(words) if found == kind]
