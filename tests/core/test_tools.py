"""Names and ids out and back, descriptions that lose nothing, schemas without nulls."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import tools
from core.anthropic import ToolDefinition
from core.errors import ClientRequestError
from core.tools import MAX_DESCRIPTION, Names, clean_schema, map_names, specify, split_description, unique_ids
from fuzz.request_rules import null_keywords

LEGAL = re.compile(r"[a-zA-Z0-9_-]{1,64}")

_names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=70) | st.sampled_from(
    ["Bash", "a.b", "a_b", "x" * 64, "x" * 65, "ü", "工具", " "]
)

# --- names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Bash", "mcp__files__read", "a-b", "_", "x" * 64])
def test_a_legal_name_stays(name: str) -> None:
    names = map_names([name])
    assert names == Names()
    assert names.service_name(name) == names.client_name(name) == name


@pytest.mark.parametrize(
    ("name", "mapped"),
    [
        ("mcp.read", r"mcp_read_[0-9a-f]{8}"),
        ("naïve tool", r"na_ve_tool_[0-9a-f]{8}"),
        ("x" * 65, r"x{55}_[0-9a-f]{8}"),
        ("工具", r"___[0-9a-f]{8}"),
        ("Bash\n", r"Bash__[0-9a-f]{8}"),
    ],
)
def test_another_name_keeps_what_is_legal_of_it_and_gets_digits(name: str, mapped: str) -> None:
    names = map_names([name])
    assert re.fullmatch(mapped, names.service_name(name))
    assert names.client_name(names.service_name(name)) == name


def test_names_that_look_alike_stay_apart() -> None:
    names = map_names(["a.b", "a/b", "a b", "a_b"])
    assert len({names.service_name(name) for name in ("a.b", "a/b", "a b", "a_b")}) == 4


def test_a_name_is_mapped_alike_whatever_stands_beside_it() -> None:
    alone = map_names(["mcp.read"]).service_name("mcp.read")
    assert map_names(["Bash", "ü", "mcp.read", "mcp_read"]).service_name("mcp.read") == alone


def test_a_name_that_was_made_to_collide_leaves_the_legal_one_its_name() -> None:
    wanted = map_names(["mcp.read"]).service_name("mcp.read")
    names = map_names(["mcp.read", wanted])
    assert names.service_name(wanted) == wanted
    assert names.service_name("mcp.read") not in (wanted, "mcp.read")
    assert LEGAL.fullmatch(names.service_name("mcp.read"))


@settings(max_examples=200, deadline=None)
@given(st.lists(_names, max_size=8))
def test_every_name_is_legal_unique_and_found_again(given_names: list[str]) -> None:
    names = map_names(given_names)
    mapped = {name: names.service_name(name) for name in given_names}
    assert all(map(LEGAL.fullmatch, mapped.values()))
    assert len(set(mapped.values())) == len(mapped)
    assert {name: names.client_name(service) for name, service in mapped.items()} == {name: name for name in mapped}


def test_a_name_that_is_nobodys_stays_as_it_is() -> None:
    assert map_names(["a.b"]).client_name("made up by the model") == "made up by the model"


# --- ids -------------------------------------------------------------------------------------------------------


def test_legal_ids_stay_where_they_come_first() -> None:
    assert unique_ids(["toolu_1", "tooluse_a-B", "x" * 64]) == ("toolu_1", "tooluse_a-B", "x" * 64)
    first, second, third = unique_ids(["a", "a", "a"])
    assert first == "a"
    assert len({first, second, third}) == 3


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "", "no good", "x" * 65, "ü"]) | _names, max_size=12))
def test_every_id_is_legal_unique_and_the_same_when_the_conversation_grows(ids: list[str]) -> None:
    mapped = unique_ids(ids)
    assert all(map(LEGAL.fullmatch, mapped))
    assert len(set(mapped)) == len(ids)
    for length in range(len(ids)):
        assert unique_ids(ids[:length]) == mapped[:length]
    names = map_names([], zip(ids, mapped, strict=True))
    assert [names.client_id(service) for service in mapped] == ids


def test_an_id_that_was_made_to_collide_is_mapped_itself() -> None:
    taken = unique_ids(["no good"])[0]
    mapped = unique_ids(["no good", taken, "no good"])
    assert mapped[0] == taken
    assert len(set(mapped)) == 3
    later = unique_ids([taken, "no good"])
    assert later[0] == taken
    assert later[1] != taken


def test_a_thousand_equal_ids_cost_a_thousand_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    digest = tools._digest

    def counted(text: str, salt: int) -> str:
        steps.append(salt)
        return digest(text, salt)

    monkeypatch.setattr(tools, "_digest", counted)
    assert len(set(unique_ids(["a"] * 1_000))) == 1_000
    assert len(steps) == 999


def test_an_id_of_the_services_own_stays_as_it_is() -> None:
    assert Names().client_id("tooluse_new") == "tooluse_new"


# --- specifications --------------------------------------------------------------------------------------------


def _specified(*definitions: ToolDefinition, offered: set[str], called: list[str] | None = None) -> Any:
    called = called or []
    names = map_names([*(definition.name for definition in definitions), *called])
    specifications = specify(definitions, offered=offered, called=called, names=names)
    return msgspec.to_builtins([each.tool_specification for each in specifications.tools]), specifications.overflow


def test_what_is_offered_or_was_called_is_declared_in_the_clients_order() -> None:
    definitions = [ToolDefinition(name, description=name.upper()) for name in ("a", "b", "c")]
    declared, overflow = _specified(*definitions, offered={"c"}, called=["old", "a"])
    empty = {"json": {"type": "object"}}
    assert declared == [
        {"name": "a", "description": "A", "inputSchema": empty},
        {"name": "c", "description": "C", "inputSchema": empty},
        {"name": "old", "description": "old", "inputSchema": {"json": {"type": "object", "properties": {}}}},
    ]
    assert overflow == ""


@pytest.mark.parametrize("description", [None, "", " \n"])
def test_a_tool_without_a_description_gets_its_name(description: str | None) -> None:
    declared, _ = _specified(ToolDefinition("a.b", description=description), offered={"a.b"})
    assert declared[0]["description"] == declared[0]["name"]


def test_a_schema_is_judged_even_where_the_tool_is_not_offered() -> None:
    bad = ToolDefinition("a", input_schema={"type": "string"})
    with pytest.raises(ClientRequestError, match=r"^tools\[1\]\.input_schema\.type: expected 'object', got 'string'$"):
        _specified(ToolDefinition("b"), bad, offered=set())


@pytest.mark.parametrize(
    ("description", "head", "rest"),
    [
        ("x" * 10_240, "x" * 10_240, ""),
        ("a" * 9_000 + "\n\n" + "b" * 500 + "\n" + "c" * 900, "a" * 9_000 + "\n\n", "b" * 500 + "\n" + "c" * 900),
        ("a" * 9_000 + "\n" + "b " * 900, "a" * 9_000 + "\n", "b " * 900),
        ("x" * 20_000, "x" * 10_139, "x" * 9_861),
        ("a\n\n" + "b" * 9_000 + " " + "c" * 2_000, "a\n\n" + "b" * 9_000 + " ", "c" * 2_000),
    ],
)
def test_a_description_is_cut_at_a_paragraph_else_a_line_else_a_word_else_where_it_must(
    description: str, head: str, rest: str
) -> None:
    kept, overflow = split_description("Bash", description)
    assert kept.startswith(head)
    if rest:
        assert kept == head + (
            '\n\n(The rest of this description is in the first message, under "Tool Bash: rest of the description".)'
        )
        assert overflow == f"# Tool Bash: rest of the description\n\n{rest}"
    else:
        assert (kept, overflow) == (description, "")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["x" * 700, "word ", "\n", "\n\n", "🦊" * 300]), min_size=1, max_size=60), _names)
def test_no_character_of_a_description_is_lost(pieces: list[str], client_name: str) -> None:
    description = "«" + "".join(pieces) + "»"
    name = map_names([client_name]).service_name(client_name)
    kept, overflow = split_description(name, description)
    assert len(kept) <= MAX_DESCRIPTION
    if overflow:
        head, pointer, _ = kept.rpartition("\n\n(The rest of this description")
        assert pointer
        assert head + overflow.partition("\n\n")[2] == description
    else:
        assert kept == description


def test_what_overflows_is_one_section_for_each_tool_in_order() -> None:
    definitions = [ToolDefinition(name, description=f"{name} " * 6_000) for name in ("a", "b")]
    declared, overflow = _specified(*definitions, offered={"a", "b"})
    sections = re.findall(r"^# Tool (\w): rest of the description$", overflow, re.MULTILINE)
    assert sections == ["a", "b"]
    assert all(len(each["description"]) <= MAX_DESCRIPTION for each in declared)
    assert sum(text.count("a ") for text in (declared[0]["description"], overflow)) >= 6_000


# --- schemas ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "cleaned"),
    [
        ({"type": "object", "required": None, "properties": None}, {"type": "object"}),
        ({}, {"type": "object"}),
        ({"type": None, "title": None}, {"type": "object"}),
        ({"type": ["null", "object"]}, {"type": "object"}),
        (
            {"type": "object", "properties": {"required": {"type": "string"}, "properties": None, "a": True}},
            {"type": "object", "properties": {"required": {"type": "string"}, "properties": {}, "a": True}},
        ),
        (
            {"type": "object", "properties": {"a": {"type": "object", "required": None, "items": [{"not": None}]}}},
            {"type": "object", "properties": {"a": {"type": "object", "items": [{}]}}},
        ),
        (
            {"type": "object", "anyOf": [{"required": None}, None], "$defs": {"required": {"properties": None}}},
            {"type": "object", "anyOf": [{}, None], "$defs": {"required": {}}},
        ),
        (
            {"type": "object", "default": {"required": None}, "examples": [{"properties": None}], "const": None},
            {"type": "object", "default": {"required": None}, "examples": [{"properties": None}], "const": None},
        ),
        (
            {"type": "object", "properties": {"a": {"enum": ["b", None], "default": None}}},
            {"type": "object", "properties": {"a": {"enum": ["b", None], "default": None}}},
        ),
    ],
)
def test_null_for_a_keyword_is_left_out_and_other_nulls_stay(schema: Any, cleaned: Any) -> None:
    assert clean_schema(schema, "tools[0].input_schema") == cleaned


def test_a_schema_without_null_is_taken_as_it_is() -> None:
    schema = {"type": "object", "properties": {"nullable": {"type": "null", "description": "null"}}}
    assert clean_schema(schema, "") == schema


@pytest.mark.parametrize(
    ("kind", "shown"), [("string", "'string'"), (["string", "null"], "something else"), (1, "something else")]
)
def test_a_schema_of_something_else_than_an_object_is_refused(kind: Any, shown: str) -> None:
    with pytest.raises(ClientRequestError, match=rf"^tools\[3\]\.input_schema\.type: expected 'object', got {shown}$"):
        clean_schema({"type": kind}, "tools[3].input_schema")


_keywords = st.sampled_from(["required", "properties", "items", "default", "enum", "anyOf", "$defs", "other"])
_schemas: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.sampled_from([0, "a", ["b"]]),
    lambda inner: st.dictionaries(_keywords, inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(_keywords, _schemas, max_size=4))
def test_no_keyword_is_null_afterwards_and_nothing_but_null_is_missing(schema: dict[str, Any]) -> None:
    cleaned = clean_schema(schema, "")
    assert null_keywords(cleaned) == []
    assert _leaves(cleaned) == sorted([*_leaves(schema), "'object'"])
    assert clean_schema(cleaned, "") == cleaned


def _leaves(value: Any) -> list[str]:
    """All values that are not null, as text, sorted."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return sorted(leaf for each in value for leaf in _leaves(each))
    return [] if value is None else [repr(value)]
