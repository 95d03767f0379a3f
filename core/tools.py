"""Tool specifications, and names and ids that the service can take: mapped out, mapped back.

Knows what the service demands of a tool, and how to meet it without losing a word. Which tools a request offers
is for `request` to say.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from core.anthropic import ToolDefinition, shorten
from core.codewhisperer import InputSchema, Tool, ToolSpecification
from core.errors import ClientRequestError

# --- names and ids ---------------------------------------------------------------------------------------------

MAX_NAME = 64
"""Of a tool's name and of a call's id alike; both are made of `[a-zA-Z0-9_-]`."""

LEGAL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""A name or an id that the service takes."""

_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """How one request's tools and calls are named on either side. Holds only what differs."""

    service_names: Mapping[str, str] = {}
    """Tools' names as the service was told them, by the client's."""
    client_names: Mapping[str, str] = {}
    client_ids: Mapping[str, str] = {}

    def service_name(self, name: str) -> str:
        """A tool's name as the service was told it."""
        return self.service_names.get(name, name)

    def client_name(self, name: str) -> str:
        """A tool's name as the client says it; a name that is nobody's stays as it is."""
        return self.client_names.get(name, name)

    def client_id(self, tool_use_id: str) -> str:
        """A call's id as the client knows it; the service's own ids stay as they are."""
        return self.client_ids.get(tool_use_id, tool_use_id)


def map_names(tool_names: Iterable[str], tool_use_ids: Iterable[tuple[str, str]] = ()) -> Names:
    """The mapping for all tools that a request declares or has called, and for its calls.

    `tool_use_ids` has pairs of a call's id as the client and as the service knows it (`unique_ids`). A legal name
    stays. Another keeps what is legal of it and gets digits of its own hash, so it is called the same in every
    turn, whichever tools stand beside it (but where a second tool is named just so, which takes intent).
    """
    legal, foreign = set(), []
    for name in dict.fromkeys(tool_names):
        if LEGAL_NAME.fullmatch(name):
            legal.add(name)
        else:
            foreign.append(name)
    service_names: dict[str, str] = {}
    client_names: dict[str, str] = {}
    for name in foreign:
        salt = 0
        while (mapped := _legal_name(name, salt)) in legal or mapped in client_names:
            salt += 1
        service_names[name] = mapped
        client_names[mapped] = name
    client_ids = {service: client for client, service in tool_use_ids if service != client}
    return Names(service_names=service_names, client_names=client_names, client_ids=client_ids)


def _legal_name(name: str, salt: int) -> str:
    digits = _digest(name, salt)[:8]
    return f"{_FOREIGN.sub('_', name[: MAX_NAME - 1 - len(digits)])}_{digits}"


def _digest(text: str, salt: int) -> str:
    return hashlib.sha256(f"{salt}:{text}".encode()).hexdigest()


def unique_ids(tool_use_ids: Iterable[str]) -> tuple[str, ...]:
    """The service's ids for the ids of all calls, in the order of the calls: legal, and no two alike.

    A legal id stays where it comes first. Others derive from the id and from how often it came before, so
    that they are the same in every turn of a conversation that only grows.
    """
    taken: set[str] = set()
    # Where the search for a free id goes on: from the start each time would be quadratic in equal ids.
    salts: dict[str, int] = {}
    ids = []
    for tool_use_id in tool_use_ids:
        mapped = tool_use_id
        if mapped in taken or not LEGAL_NAME.fullmatch(mapped):
            salt = salts.get(tool_use_id, 0)
            while (mapped := f"toolu_{_digest(tool_use_id, salt)[:24]}") in taken:
                salt += 1
            salts[tool_use_id] = salt + 1
        taken.add(mapped)
        ids.append(mapped)
    return tuple(ids)


# --- specifications --------------------------------------------------------------------------------------------

MAX_DESCRIPTION = 10_240
"""Characters of a tool's description."""


class Specifications(msgspec.Struct, frozen=True):
    """The tools of a request, and the text of their descriptions that had no room in them (`""` if none)."""

    tools: tuple[Tool, ...]
    overflow: str


def specify(
    definitions: Sequence[ToolDefinition], *, offered: Collection[str], called: Collection[str], names: Names
) -> Specifications:
    """Specifications of the tools that are `offered`, and of those that were `called` before.

    The service refuses a history with calls of tools that it is not told. One that the client does not declare
    (any more) is declared without a description of its parameters.

    Raises:
        ClientRequestError: an input schema is not that of an object; all definitions are looked at.
    """
    tools = []
    overflow = []
    declared = set()
    for index, definition in enumerate(definitions):
        declared.add(definition.name)
        schema = clean_schema(definition.input_schema, f"tools[{index}].input_schema")
        if definition.name not in offered and definition.name not in called:
            continue
        name = names.service_name(definition.name)
        description, rest = split_description(name, definition.description or "")
        tools.append(_tool(name, description, schema))
        if rest:
            overflow.append(rest)
    for client_name in called:
        if client_name not in declared:
            name = names.service_name(client_name)
            tools.append(_tool(name, name, {"type": "object", "properties": {}}))
    return Specifications(tuple(tools), "\n\n".join(overflow))


def _tool(name: str, description: str, schema: dict[str, Any]) -> Tool:
    specification = ToolSpecification(name=name, description=description, input_schema=InputSchema(json=schema))
    return Tool(tool_specification=specification)


def split_description(name: str, description: str) -> tuple[str, str]:
    """A description that fits, and what of it did not, as a section of its own (`""` if all of it did).

    The service demands a description, so a tool without one gets its name. Of one that is too long the head
    stays, up to the end of a paragraph, a line or at least a word, and its last sentence says where the rest is.
    """
    if not description.strip():
        return name, ""
    if len(description) <= MAX_DESCRIPTION:
        return description, ""
    heading = f"Tool {name}: rest of the description"
    pointer = f'\n\n(The rest of this description is in the first message, under "{heading}".)'
    room = MAX_DESCRIPTION - len(pointer)
    cut = room
    for boundary in ("\n\n", "\n", " "):
        # In the first half it would leave less than half of the description where the model looks for it.
        if (found := description.rfind(boundary, room // 2, room)) >= 0:
            cut = found + len(boundary)
            break
    return description[:cut] + pointer, f"# {heading}\n\n{description[cut:]}"


# --- schemas ---------------------------------------------------------------------------------------------------

_VALUES = frozenset({"default", "const", "enum", "examples"})
"""Keywords that hold values, in which null is one like any other and no name is a keyword."""

_MAPS_OF_SCHEMAS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Keywords that hold schemas by name; the names are no keywords."""


def clean_schema(schema: dict[str, Any], place: str) -> dict[str, Any]:
    """A tool's schema as the service takes it: of an object, without null for a keyword that is not set.

    Serialisers write `"required": null` for "nothing is required", which the service refuses; leaving it out
    says the same.

    Raises:
        ClientRequestError: it is not the schema of an object, and a tool's input is always one.
    """
    # A walk in Python costs fifty times this search; nearly no schema holds a null, or the word.
    if b"null" in msgspec.json.encode(schema):
        schema = _without_nulls(schema)
    kind = schema.get("type")
    if kind == "object":
        return schema
    if kind is not None and not (isinstance(kind, list) and "object" in kind):
        shown = shorten(kind) if isinstance(kind, str) else "something else"
        raise ClientRequestError(f"{place}.type", f"expected 'object', got {shown}")
    return {**schema, "type": "object"}


def _without_nulls(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_nulls(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    cleaned = {}
    for keyword, value in schema.items():
        if keyword in _VALUES:
            cleaned[keyword] = value
        elif keyword in _MAPS_OF_SCHEMAS and isinstance(value, dict):
            # Null is no schema; the one that says nothing is the empty one.
            cleaned[keyword] = {
                name: {} if member is None else _without_nulls(member) for name, member in value.items()
            }
        elif value is not None:
            cleaned[keyword] = _without_nulls(value)
    return cleaned
