"""The rules that a request must keep: AWS's shapes, and what the service refuses as improperly formed beyond them.

Written on their own, from the descriptions of the service: not from the gateway, whose output they judge. The
service says nothing but "Improperly formed request."; a rule here knows the place and the reason, for the log.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from adapters.emulator.shapes import REQUEST, Refused, check, shown
from adapters.emulator.wire import AWS_JSON, EVENT_STREAM, JSON

_MEDIA_TYPE = re.compile(r"\s*([^\s;,]+)")


def check_headers(headers: Mapping[str, str], *, aws_json: bool) -> None:
    """Whether the headers say what body comes and what answer is taken.

    Raises:
        Refused: with the reason `UnsupportedMediaTypeException` or `NotAcceptableException`, which are the names
            that AWS's protocol tests have for these.
    """
    expected = AWS_JSON if aws_json else JSON
    got = _media_types(headers.get("content-type", ""))
    if got != [expected]:
        why = f"expected {expected}, got {shown(headers.get('content-type', 'none'))}"
        raise Refused("header content-type", why, reason="UnsupportedMediaTypeException")
    if EVENT_STREAM not in _media_types(headers.get("accept", "")):
        why = f"expected {EVENT_STREAM}, got {shown(headers.get('accept', 'none'))}"
        raise Refused("header accept", why, reason="NotAcceptableException")


def _media_types(header: str) -> list[str]:
    return [match[1].lower() for part in header.split(",") if (match := _MEDIA_TYPE.match(part))]


def parse_body(body: bytes) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        Refused: it is none.
    """
    try:
        parsed = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("", f"not JSON: {shown(str(error))}") from None
    if not isinstance(parsed, dict):
        raise Refused("", "expected an object")
    return parsed


def check_request(request: Mapping[str, Any], models: Collection[str]) -> None:
    """Whether the service would take this request.

    Raises:
        Refused: it would not; names the first rule that is broken, and where.
    """
    check(REQUEST, request, "")
    state = request["conversationState"]
    if "userInputMessage" not in state["currentMessage"]:
        raise Refused("conversationState.currentMessage", "the current message is not the user's")
    turns = _turns(state)
    _check_order(turns)
    for turn in turns:
        _check_content(turn)
    _check_tools(turns)
    _check_calls(turns)
    model = turns[-1].message.get("modelId")
    if model is not None and model not in models:
        place = f"{turns[-1].place}.modelId"
        raise Refused(place, f"{shown(model)} is no model of this service", reason="INVALID_MODEL_ID")


class _Turn(msgspec.Struct, frozen=True):
    """A message with its place. The last turn is the current one."""

    place: str
    message: Mapping[str, Any]
    by_user: bool
    is_current: bool

    @property
    def context_place(self) -> str:
        return f"{self.place}.userInputMessageContext"

    @property
    def context(self) -> Mapping[str, Any]:
        context: Mapping[str, Any] = self.message.get("userInputMessageContext", {})
        return context

    @property
    def results(self) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = self.context.get("toolResults", [])
        return results

    @property
    def calls(self) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = self.message.get("toolUses", [])
        return calls


def _turns(state: Mapping[str, Any]) -> list[_Turn]:
    turns = []
    for index, entry in enumerate(state.get("history", [])):
        ((kind, message),) = entry.items()
        place = f"conversationState.history[{index}].{kind}"
        turns.append(_Turn(place, message, kind == "userInputMessage", is_current=False))
    place = "conversationState.currentMessage.userInputMessage"
    turns.append(_Turn(place, state["currentMessage"]["userInputMessage"], by_user=True, is_current=True))
    return turns


def _check_order(turns: list[_Turn]) -> None:
    """Rule 1: history begins with the user, takes turns, ends with the assistant."""
    for position, turn in enumerate(turns):
        if turn.by_user == (position % 2 == 0):
            continue
        if position == 0:
            raise Refused(turn.place, "history does not start with a user message")
        if turn.is_current:
            raise Refused(turns[-2].place, "history does not end with an assistant message")
        speaker = "user" if turn.by_user else "assistant"
        raise Refused(turn.place, f"history does not alternate: a second {speaker} message in a row")


def _check_content(turn: _Turn) -> None:
    """Rule 4. An assistant's empty content beside its calls is taken, as by some of the service's models."""
    if turn.message["content"]:
        return
    if turn.by_user and not (turn.results or turn.message.get("images")):
        raise Refused(f"{turn.place}.content", "empty, with neither toolResults nor images beside it")
    if not turn.by_user and not turn.calls:
        raise Refused(f"{turn.place}.content", "empty, with no toolUses beside it")


def _check_tools(turns: list[_Turn]) -> None:
    """Rules 3 and 5: what may be declared, where, and that all which history uses is."""
    for turn in turns[:-1]:
        if "tools" in turn.context:
            raise Refused(f"{turn.context_place}.tools", "tools are specified in the current message only")
    declared: set[str] = set()
    for index, tool in enumerate(turns[-1].context.get("tools", [])):
        if (specification := tool.get("toolSpecification")) is None:
            continue
        place = f"{turns[-1].context_place}.tools[{index}].toolSpecification"
        name = specification["name"]
        if name in declared:
            raise Refused(f"{place}.name", f"{shown(name)} is specified twice", reason="TOOL_DUPLICATE")
        declared.add(name)
        for keyword in null_keywords(specification["inputSchema"].get("json")):
            raise Refused(f"{place}.inputSchema.json{keyword}", "null")
    for turn in turns:
        for index, call in enumerate(turn.calls):
            if call["name"] not in declared:
                place = f"{turn.place}.toolUses[{index}].name"
                raise Refused(place, f"{shown(call['name'])} is not among the current message's tools")


_BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_NOT_SCHEMAS = frozenset({"default", "const", "enum", "examples"})
_NEVER_NULL = frozenset({"required", "properties"})


def null_keywords(schema: object) -> Iterator[str]:
    """The places in a JSON schema at which `required` or `properties` is null.

    A property that is called `required` is a name and not the keyword, and what stands under `default`, `const`,
    `enum` and `examples` is no schema. Keeps its own stack: a schema may be nested deeper than Python's.
    """
    waiting: list[tuple[str, object]] = [("", schema)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, list):
            waiting.extend((f"{place}[{index}]", member) for index, member in enumerate(value))
        if not isinstance(value, dict):
            continue
        for key, member in value.items():
            here = f"{place}.{shown(key)[1:-1]}"
            if member is None and key in _NEVER_NULL:
                yield here
            elif key in _BY_NAME and isinstance(member, dict):
                waiting.extend((f"{here}.{shown(name)[1:-1]}", inner) for name, inner in member.items())
            elif key not in _NOT_SCHEMAS:
                waiting.append((here, member))


def _check_calls(turns: list[_Turn]) -> None:
    """Rule 2: calls have ids of their own, and the message after them answers each of them, once, and no other."""
    seen: set[str] = set()
    asked: list[str] = []
    for turn in turns:
        if turn.by_user:
            _check_results(turn, asked)
        asked = []
        for index, call in enumerate(turn.calls):
            identity = call["toolUseId"]
            if identity in seen:
                place = f"{turn.place}.toolUses[{index}].toolUseId"
                raise Refused(place, f"{shown(identity)} is the id of an earlier call too")
            seen.add(identity)
            asked.append(identity)


def _check_results(turn: _Turn, asked: list[str]) -> None:
    place = f"{turn.context_place}.toolResults"
    answered: set[str] = set()
    for index, result in enumerate(turn.results):
        identity = result["toolUseId"]
        if identity in answered:
            raise Refused(f"{place}[{index}].toolUseId", f"{shown(identity)} is answered twice")
        if identity not in asked:
            why = f"{shown(identity)} is no toolUse of the message directly before"
            raise Refused(f"{place}[{index}].toolUseId", why)
        answered.add(identity)
    for identity in asked:
        if identity not in answered:
            raise Refused(place, f"the toolUse {shown(identity)} of the message before is not answered")
