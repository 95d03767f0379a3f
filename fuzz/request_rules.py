"""What the service demands of a request body, rule by rule, and where a client's words stand in one.

An oracle: written from the service's rules alone, over decoded JSON, and sharing nothing with what it judges.
`broken_rules` names each rule that a body breaks; `spoken_words` gives its texts turn by turn, in channels.
"""

from __future__ import annotations

import binascii
import re
from typing import Any, NamedTuple

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MODEL = re.compile(r"[a-zA-Z0-9_:.-]{1,1024}")
_PROFILE = re.compile(r"arn:aws:(codewhisperer|transform):[-.a-z0-9]{1,63}:[0-9]{12}:profile/[a-zA-Z0-9]{12}")

_USER = {"content", "modelId", "origin", "images", "userInputMessageContext"}
_ASSISTANT = {"content", "messageId", "toolUses", "reasoningContent"}
_ORIGINS = {"AI_EDITOR", "CLI", "IDE", "CHATBOT"}


def broken_rules(body: dict[str, Any]) -> list[str]:
    """What the service would refuse about a body, each with its place; nothing if it would take it."""
    found: list[str] = []
    _only(body, {"conversationState", "profileArn"}, "body", found)
    if "profileArn" in body and not _PROFILE.fullmatch(body["profileArn"]):
        found.append("profileArn: not one")
    state = body["conversationState"]
    _only(state, {"chatTriggerType", "conversationId", "currentMessage", "history"}, "conversationState", found)
    if state.get("chatTriggerType") != "MANUAL":
        found.append("chatTriggerType: not MANUAL")
    if not 1 <= len(state.get("conversationId", "")) <= 128:
        found.append("conversationId: not of 1 to 128 characters")
    history = state.get("history", [])
    turns = [*history, state["currentMessage"]]
    for index, turn in enumerate(turns):
        wanted = "assistantResponseMessage" if index % 2 else "userInputMessage"
        if list(turn) != [wanted]:
            found.append(f"turn {index}: rule 1: expected only {wanted}, got {list(turn)}")
            return found
    if len(history) % 2:
        found.append("history: rule 1: does not end with an assistant's turn")
        return found
    current = turns[-1]["userInputMessage"]
    if not isinstance(current.get("userInputMessageContext"), dict):
        found.append("currentMessage: no context")
        return found
    tools = current["userInputMessageContext"].get("tools", [])
    declared = _judge_tools(tools, found)
    calls: list[str] = []
    all_calls: list[str] = []
    for index, turn in enumerate(turns):
        if index % 2:
            assistant = turn["assistantResponseMessage"]
            calls = _judge_assistant(assistant, declared, f"turn {index}", found)
            all_calls += calls
        else:
            user = turn["userInputMessage"]
            _judge_user(user, calls, f"turn {index}", found)
            if turn is not turns[-1] and "tools" in user.get("userInputMessageContext", {}):
                found.append(f"turn {index}: rule 3: specifications in the history")
    if len(set(all_calls)) != len(all_calls):
        found.append("history: rule 2: ids are not unique")
    return found


def _only(value: dict[str, Any], members: set[str], place: str, found: list[str]) -> None:
    found += [f"{place}: unknown member {name}" for name in value if name not in members]


def _judge_tools(tools: list[Any], found: list[str]) -> set[str]:
    declared: set[str] = set()
    for index, tool in enumerate(tools):
        place = f"tools[{index}]"
        _only(tool, {"toolSpecification"}, place, found)
        specification = tool["toolSpecification"]
        _only(specification, {"name", "description", "inputSchema"}, place, found)
        name, description = specification["name"], specification["description"]
        if not _NAME.fullmatch(name):
            found.append(f"{place}: name {name!r}")
        if name in declared:
            found.append(f"{place}: a second {name!r}")
        if not description.strip() or len(description) > 10_240:
            found.append(f"{place}: rule 5: a description of {len(description)} characters")
        _only(specification["inputSchema"], {"json"}, place, found)
        schema = specification["inputSchema"]["json"]
        if not isinstance(schema, dict) or schema.get("type") != "object":
            found.append(f"{place}: the schema is not that of an object")
        found += [f"{place}: rule 5: null at {path}" for path in null_keywords(schema)]
        declared.add(name)
    return declared


def null_keywords(schema: Any) -> list[str]:
    """Paths of the keywords `required` and `properties` that are null. In values, and as names, they are none."""
    found = []
    stack: list[tuple[str, Any, bool]] = [("", schema, True)]
    while stack:
        path, value, is_schema = stack.pop()
        if isinstance(value, list):
            stack += [(f"{path}[{index}]", each, True) for index, each in enumerate(value)]
        if not isinstance(value, dict):
            continue
        for name, member in value.items():
            here = f"{path}.{name}"
            if not is_schema:
                stack.append((here, member, True))
            elif name in ("required", "properties") and member is None:
                found.append(here)
            elif name not in ("default", "const", "enum", "examples"):
                holds_names = name in ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
                stack.append((here, member, not holds_names))
    return found


def _judge_user(user: dict[str, Any], calls: list[str], place: str, found: list[str]) -> None:
    _only(user, _USER, place, found)
    context = user.get("userInputMessageContext", {})
    _only(context, {"tools", "toolResults"}, place, found)
    results = context.get("toolResults", [])
    images = user.get("images", [])
    if not isinstance(user["content"], str) or len(user["content"]) > 10_000_000:
        found.append(f"{place}: content is no text, or too long")
    elif not user["content"].strip() and not results and not images:
        found.append(f"{place}: rule 4: no content")
    if user["origin"] not in _ORIGINS or not _MODEL.fullmatch(user["modelId"]):
        found.append(f"{place}: origin or model")
    if len(images) > 10:
        found.append(f"{place}: rule 6: {len(images)} images")
    for image in images:
        _only(image, {"format", "source"}, place, found)
        _only(image["source"], {"bytes"}, place, found)
        if image["format"] not in ("png", "jpeg", "gif", "webp"):
            found.append(f"{place}: image format")
        if not 1 <= _size_of_base64(image["source"]["bytes"]) <= 10_000_000:
            found.append(f"{place}: image size")
    answered = [result["toolUseId"] for result in results]
    if sorted(answered) != sorted(calls):
        found.append(f"{place}: rule 2: calls {calls} of the turn before, results for {answered}")
    for result in results:
        _only(result, {"toolUseId", "content", "status"}, place, found)
        if result["status"] not in ("success", "error") or not result["content"]:
            found.append(f"{place}: status or content of a result")
        if any(list(piece) != ["text"] or len(piece["text"]) > 10_000_000 for piece in result["content"]):
            found.append(f"{place}: a piece of a result")


def _judge_assistant(assistant: dict[str, Any], declared: set[str], place: str, found: list[str]) -> list[str]:
    _only(assistant, _ASSISTANT, place, found)
    uses = assistant.get("toolUses", [])
    content = assistant["content"]
    if not content or (not content.strip() and not uses):
        found.append(f"{place}: rule 4: no content")
    for use in uses:
        if set(use) != {"toolUseId", "name", "input"} or not isinstance(use["input"], dict):
            found.append(f"{place}: shape of a call")
        if not _NAME.fullmatch(use["toolUseId"]):
            found.append(f"{place}: id {use['toolUseId']!r}")
        if use["name"] not in declared:
            found.append(f"{place}: rule 3: {use['name']!r} is not declared")
    if "reasoningContent" in assistant:
        reasoning = assistant["reasoningContent"]
        if list(reasoning) == ["reasoningText"]:
            _only(reasoning["reasoningText"], {"text", "signature"}, place, found)
        elif list(reasoning) != ["redactedContent"] or _size_of_base64(reasoning["redactedContent"]) < 1:
            found.append(f"{place}: reasoning")
    return [use["toolUseId"] for use in uses]


def _size_of_base64(text: str) -> int:
    try:
        return len(binascii.a2b_base64(text, strict_mode=True))
    except ValueError:
        return -1


# --- where the words are ---------------------------------------------------------------------------------------


class Spoken(NamedTuple):
    """The texts of one turn: each channel has its own order, and the service's format keeps none between them."""

    words: str
    results: list[str]
    inputs: list[Any]
    thinking: str


def spoken_words(body: dict[str, Any]) -> list[Spoken]:
    """The texts of a body's turns, in order, the current message last."""
    state = body["conversationState"]
    turns = []
    for turn in [*state.get("history", []), state["currentMessage"]]:
        if (user := turn.get("userInputMessage")) is not None:
            results = user.get("userInputMessageContext", {}).get("toolResults", [])
            pieces = [piece["text"] for result in results for piece in result["content"]]
            turns.append(Spoken(user["content"], pieces, [], ""))
        else:
            assistant = turn["assistantResponseMessage"]
            inputs = [use["input"] for use in assistant.get("toolUses", [])]
            thinking = assistant.get("reasoningContent", {}).get("reasoningText", {}).get("text", "")
            turns.append(Spoken(assistant["content"], [], inputs, thinking))
    return turns
