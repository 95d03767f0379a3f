r"""Requests: whatever a client sends, it is refused with a place, or becomes one that the service takes, all said.

For every body:

- `ClientRequestError` is the only exception, with one line of text and a place that is a path into the request;
- what is accepted breaks none of the service's rules (`fuzz.request_rules`), and has every word that the client
  said, in order (`fuzz.marks`);
- names and ids that were mapped out are mapped back, and the same request gives the same body.

An input that begins with `{` is a body as it is. Any other is lines, each a letter and words (`fuzz.lines`):

    U A Y   begin a message of the user, the assistant, the system; words are all of its content, as a string
    t h H   text, thinking (`words|signature`), redacted thinking      n   null for the message's content
    c       a call: two digits for id and name, then its input as JSON, or as words
    r R     a result: a digit for the id, then words; or with the blocks that stand directly before it as content
    i d     an image; a document: a digit for its source, then `words|title|context`
    f x     a search result (`words|title|source`); a reference to a tool: a digit for the name
    s S     the system prompt: one more block of it; all of it as a string
    T j L   a tool: a digit for its name, then its description; the last one's schema; the last one's description
            made long, around what the service takes
    C q     tool_choice: a digit; one more stop sequence
    b m     any JSON as one more block; members of any kind for the request
"""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as a script, so that the modules beside it are the ones that are tried
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from core.anthropic import STATUS_OF_ERROR, MessagesRequest, ToolUseBlock, parse_request
from core.catalogue import Model
from core.codewhisperer import encode_request
from core.errors import ClientRequestError
from core.request import Conversion, convert
from fuzz.lines import read_json, read_lines, take_index
from fuzz.marks import Marked
from fuzz.request_rules import broken_rules

_MODEL = Model(name="claude-test", id="CLAUDE_TEST_V1_0", display_name="A model made up for tests")
_IDS = ("toolu_01", "toolu_02", "tooluse_Ab-9", "an id with spaces", "ü", "", "x" * 65)
_NAMES = ("Bash", "Read", "mcp__files__list", "mcp.files/list", "x" * 65, "Werkzeug für alles", "工具", "_", "Bash ")
_MEDIA_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/tiff")
_ROLES = {"U": "user", "A": "assistant", "Y": "system"}
_LETTERS = "UAYthHncrRidfxsSTjLCqbm"

# The names in a path are the request's members, and so are a few of those that msgspec puts in brackets.
_PLACE = re.compile(r"(?:[a-z_]+(?:\[(?:\d+|\.\.\.)\])*(?:\.[a-z_]+(?:\[(?:\d+|\.\.\.)\])*)*)?")


def one_input(data: bytes) -> None:
    """One request, by the rules above."""
    if data.startswith(b"{"):
        _check(data)
        request = read_json(data.decode(errors="replace"))
    else:
        request = _build(data)
        _check(_encode(request))
    if isinstance(request, dict):
        marked = Marked(request)
        if (conversion := _check(_encode(marked.request))) is not None:
            marked.check(_body(conversion))


def _encode(request: dict[str, Any]) -> bytes:
    return json.dumps(request).encode()


def _check(body: bytes) -> Conversion | None:
    """The conversion of a request, which breaks no rule; None where it is refused as it should be."""
    try:
        request = parse_request(body)
    except ClientRequestError as error:
        _check_refusal(error)
        return None
    assert parse_request(body, counting=True) == request
    try:
        conversion = _convert(request)
    except ClientRequestError as error:
        _check_refusal(error)
        return None
    assert encode_request(_convert(request).request) == encode_request(conversion.request)
    assert conversion.estimated_input > 0
    document = _body(conversion)
    assert broken_rules(document) == []
    _check_names(request, conversion, document)
    return conversion


def _convert(request: MessagesRequest) -> Conversion:
    return convert(request, model=_MODEL, conversation_id="c0ffee")


def _body(conversion: Conversion) -> dict[str, Any]:
    body = json.loads(encode_request(conversion.request))
    assert isinstance(body, dict)
    return body


def _check_refusal(error: ClientRequestError) -> None:
    assert error.error_type in STATUS_OF_ERROR
    assert _PLACE.fullmatch(error.place), error.place
    assert error.problem
    assert "\n" not in str(error)
    assert len(str(error)) < 1000


def _check_names(request: MessagesRequest, conversion: Conversion, document: dict[str, Any]) -> None:
    """Each call of the history is, mapped back, the client's; the tools are those that the client named."""
    names = conversion.names
    asked = [
        (block.id, block.name)
        for message in request.messages
        if isinstance(message.content, tuple)
        for block in message.content
        if isinstance(block, ToolUseBlock)
    ]
    state = document["conversationState"]
    turns = [turn.get("assistantResponseMessage", {}) for turn in state.get("history", [])]
    uses = [use for turn in turns for use in turn.get("toolUses", [])]
    assert [(names.client_id(use["toolUseId"]), names.client_name(use["name"])) for use in uses] == asked
    defined = {tool.name for tool in request.tools or ()}
    context = state["currentMessage"]["userInputMessage"]["userInputMessageContext"]
    declared = {names.client_name(tool["toolSpecification"]["name"]) for tool in context.get("tools", ())}
    called = {name for _, name in asked}
    assert called <= declared <= called | defined
    assert {names.client_name(name) for name in conversion.callable_names} <= defined


# --- requests from lines ---------------------------------------------------------------------------------------


def _build(data: bytes) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    request: dict[str, Any] = {"model": _MODEL.name, "max_tokens": 1000, "messages": messages}
    for letter, words in read_lines(data, _LETTERS, most=60):
        if letter in _ROLES:
            messages.append({"role": _ROLES[letter], "content": words or []})
        elif letter in "sSTjLCqm":
            _add_member(request, letter, words)
        elif messages:
            _add_block(messages[-1], letter, words)
    return request


def _add_member(request: dict[str, Any], letter: str, words: str) -> None:
    tools = request.get("tools", [])
    match letter:
        case "s":
            system = request.setdefault("system", [])
            if isinstance(system, list):
                system.append(_text(words))
        case "S":
            request["system"] = words
        case "T":
            index, words = take_index(words, len(_NAMES))
            tool = {"name": _NAMES[index], "description": words or None, "input_schema": {"type": "object"}}
            request.setdefault("tools", []).append(tool)
        case "j" if tools:
            tools[-1]["input_schema"] = read_json(words)
        case "L" if tools:
            index, words = take_index(words, 10)
            tools[-1]["description"] = ((words or "long ") * 10_300)[: 10_190 + 10 * index]
        case "C":
            index, words = take_index(words, 6)
            name = tools[-1]["name"] if tools else words
            kinds = ({"type": "auto"}, {"type": "any"}, {"type": "none"}, {"type": "tool", "name": name})
            request["tool_choice"] = (*kinds, {"type": "tool", "name": words}, {"type": words})[index]
        case "q":
            request.setdefault("stop_sequences", []).append(words)
        case "m" if isinstance(members := read_json(words), dict):
            request |= {name: member for name, member in members.items() if name != "messages"}
        case _:
            pass


def _add_block(message: dict[str, Any], letter: str, words: str) -> None:
    if letter == "n":
        message["content"] = None
    if not isinstance(message["content"], list):
        return
    blocks: list[Any] = message["content"]
    first, second, third, *_ = [*words.split("|"), "", "", ""]
    match letter:
        case "t":
            blocks.append(_text(words))
        case "h":
            blocks.append({"type": "thinking", "thinking": first, "signature": second})
        case "H":
            blocks.append({"type": "redacted_thinking", "data": words})
        case "c":
            id_index, words = take_index(words, len(_IDS))
            name_index, words = take_index(words, len(_NAMES))
            arguments = read_json(words)
            arguments = arguments if isinstance(arguments, dict) else {"command": words}
            block = {"type": "tool_use", "id": _IDS[id_index], "name": _NAMES[name_index], "input": arguments}
            blocks.append(block)
        case "r" | "R":
            index, words = take_index(words, len(_IDS))
            result: dict[str, Any] = {"type": "tool_result", "tool_use_id": _IDS[index]}
            if letter == "R":
                result["content"] = _pop_content(blocks)
            elif words:
                result |= {"content": words, "is_error": words.startswith("error")}
            blocks.append(result)
        case "i":
            index, words = take_index(words, len(_MEDIA_TYPES))
            data = base64.b64encode(words.encode()).decode()
            source = {"type": "base64", "media_type": _MEDIA_TYPES[index], "data": data}
            blocks.append({"type": "image", "source": source})
        case "d":
            blocks.append(_document(words, blocks))
        case "f":
            block = {"type": "search_result", "title": second, "source": third}
            blocks.append(block | {"content": [_text(first)]})
        case "x":
            blocks.append({"type": "tool_reference", "tool_name": _NAMES[take_index(words, len(_NAMES))[0]]})
        case _:
            blocks.append(read_json(words))


def _text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def _document(words: str, blocks: list[Any]) -> dict[str, Any]:
    index, words = take_index(words, 5)
    first, title, context, *_ = [*words.split("|"), None, None, None]
    sources: tuple[dict[str, Any], ...] = (
        {"type": "text", "media_type": "text/plain", "data": first},
        {"type": "content", "content": first},
        {"type": "content", "content": _pop_content(blocks) if index == 2 else []},
        {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
        {"type": "url", "url": first},
    )
    return {"type": "document", "source": sources[index], "title": title, "context": context}


def _pop_content(blocks: list[Any]) -> list[Any]:
    """The blocks at the end that can stand inside another."""
    content: list[Any] = []
    while blocks and isinstance(blocks[-1], dict) and blocks[-1].get("type") not in ("tool_use", "tool_result"):
        content.insert(0, blocks.pop())
    return content


if __name__ == "__main__":
    from fuzz.runner import run

    run(one_input)
