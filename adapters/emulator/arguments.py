"""Arguments for a tool, made from its JSON schema: all that is required, of the right type, and little else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Schemas may refer to themselves; what lies deeper than this is left as empty as its type allows.
_DEEPEST = 12

_HARMLESS = re.compile(r"(?:echo|pwd|ls|date|whoami|uname)(?: [A-Za-z0-9 ._/'\"-]*)?")
_QUOTED = re.compile(r"`([^`\n]+)`|\"([^\"\n]+)\"|“([^”\n]+)”")
_NAMED_AFTER = re.compile(r"\b(?:in|for|of|at|about)\s+((?:[A-Z][\w'-]*)(?:,?\s+[A-Z][\w'-]*)*)")

DEFAULT_COMMAND = "echo 'hello from the emulator'"

_BY_FORMAT = {
    "date": "2025-01-31",
    "date-time": "2025-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "hostname": "example.com",
}
"""Strings for a schema's `format`."""


def make_arguments(schema: object, words: str) -> dict[str, Any]:
    """Arguments that the schema allows, as far as types and lengths go; strings are taken from `words` if they fit.

    A pattern is not honoured: there is no general way to make a string for one.
    """
    root = schema if isinstance(schema, dict) else {}
    made = _Maker(root, words).make_object(root, 0)
    properties = root.get("properties")
    command = command_property(schema)
    # A shell's command is its point, required or not.
    if command is not None and command not in made and isinstance(properties, dict):
        made[command] = pick_command(words)
    return made


def command_property(schema: object) -> str | None:
    """The property of a schema that takes a shell command: a string (or untyped) by one of the usual names."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return None
    for name in ("command", "cmd", "script", "commands", "code", "input"):
        value = properties.get(name)
        if isinstance(value, dict) and value.get("type", "string") == "string":
            return name
    return None


def pick_command(words: str) -> str:
    """A shell command for what was asked: the quoted one where it can do no harm, else one that says hello.

    A real client will run it on its user's machine, and what is asked may stand in a document that a stranger
    wrote; so nothing but a few commands that only print is ever taken from it, and no shell syntax.
    """
    for match in _QUOTED.finditer(words):
        if _HARMLESS.fullmatch(quoted := next(group for group in match.groups() if group)):
            return quoted
    return DEFAULT_COMMAND


class _Maker:
    """Values for one schema, whose root is where references are looked up."""

    def __init__(self, root: Mapping[str, Any], words: str) -> None:
        self._root = root
        self._words = words

    def make_object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        known = properties if isinstance(properties, dict) else {}
        required = schema.get("required")
        names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
        return {name: self._make(known.get(name, {}), name, depth + 1) for name in names}

    def _make(self, schema: object, name: str, depth: int) -> Any:
        if not isinstance(schema, dict):
            return ""
        if depth > _DEEPEST:
            return self._emptiest(schema)
        if "const" in schema:
            return schema["const"]
        if isinstance(choices := schema.get("enum"), list) and choices:
            return choices[0]
        if "default" in schema and schema["default"] is not None:
            return schema["default"]
        if (target := self._referred(schema)) is not None:
            return self._make(target, name, depth + 1)
        for keyword in ("anyOf", "oneOf", "allOf"):
            alternatives = schema.get(keyword)
            if isinstance(alternatives, list) and alternatives:
                return self._make(self._first_not_null(alternatives), name, depth + 1)
        return self._make_typed(schema, name, depth)

    def _make_typed(self, schema: Mapping[str, Any], name: str, depth: int) -> Any:
        match _type_of(schema):
            case "object":
                return self.make_object(schema, depth)
            case "array":
                count = _whole(schema.get("minItems"), 0)
                item = schema.get("items", {})
                return [self._make(item, name, depth + 1) for _ in range(min(count, 16))]
            case "integer" | "number":
                return _make_number(schema)
            case "boolean":
                return False
            case "null":
                return None
            case _:
                return self._make_string(schema, name)

    def _make_string(self, schema: Mapping[str, Any], name: str) -> str:
        text = _BY_FORMAT.get(str(schema.get("format"))) or self._words_for(name)
        shortest = min(_whole(schema.get("minLength"), 0), 10_000)
        return text.ljust(shortest, "x")[: max(shortest, _whole(schema.get("maxLength"), 10_000))]

    def _words_for(self, name: str) -> str:
        if name in {"command", "cmd", "script"}:
            return pick_command(self._words)
        if name == "description":
            return "What the emulator was asked to do"
        if match := _QUOTED.search(self._words):
            return next(group for group in match.groups() if group)
        if match := _NAMED_AFTER.search(self._words):
            return match[1]
        return "example"

    def _referred(self, schema: Mapping[str, Any]) -> object | None:
        reference = schema.get("$ref")
        if not (isinstance(reference, str) and (reference == "#" or reference.startswith("#/"))):
            return None
        value: object = self._root
        for part in reference.split("/")[1:]:
            if not isinstance(value, dict):
                return None
            value = value.get(part.replace("~1", "/").replace("~0", "~"))
        return value

    @staticmethod
    def _first_not_null(alternatives: list[Any]) -> object:
        for alternative in alternatives:
            if not (isinstance(alternative, dict) and alternative.get("type") == "null"):
                return alternative
        return alternatives[0]

    def _emptiest(self, schema: Mapping[str, Any]) -> Any:
        target = self._referred(schema)
        empty: dict[str, Any] = {
            "object": {},
            "array": [],
            "integer": 0,
            "number": 0,
            "boolean": False,
            "null": None,
        }
        return empty.get(_type_of(target if isinstance(target, dict) else schema), "")


def _type_of(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if isinstance(kind, str):
        return kind
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema else "string"


def _make_number(schema: Mapping[str, Any]) -> int | float:
    step = schema.get("multipleOf")
    lowest = schema.get("minimum", schema.get("exclusiveMinimum"))
    highest = schema.get("maximum", schema.get("exclusiveMaximum"))
    value: int | float = 1
    if isinstance(highest, int | float) and highest <= value:
        value = highest - 1 if "exclusiveMaximum" in schema else highest
    if isinstance(lowest, int | float) and value <= lowest:
        value = lowest + 1 if "exclusiveMinimum" in schema else lowest
    if isinstance(step, int | float) and step > 0:
        value = step * -(-value // step)
    return int(value) if _type_of(schema) == "integer" else value


def _whole(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else otherwise
