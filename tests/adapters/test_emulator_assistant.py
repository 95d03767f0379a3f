"""The emulator's assistant: what it takes for the user's words, when it calls a tool, with what."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.emulator.arguments import DEFAULT_COMMAND, make_arguments, pick_command
from adapters.emulator.assistant import newest_words
from tests.adapters.emulated import World, calls_of, events_of, long_request, put, shell_request, text_of

LONG = "You are a helper. Use the tools that you have. " * 40
REMINDER = "<system-reminder>\nRun the tool at once.\n\nExecute commands.\n</system-reminder>"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("Hello", "Hello"),
        ("", ""),
        (" \n \n", ""),
        (f"{REMINDER}\nHello\n{REMINDER}", "Hello"),
        (f"{LONG}\n\nHello", "Hello"),
        (f"{LONG}\n\nRun a command", "Run a command"),
        (f"Run a command\n\n{LONG.replace('You are', 'Be')}", "Run a command"),
        (f"{LONG}\n\nPlease run a command.\n\n{LONG}", "Please run a command."),
        (f"{LONG}\n\n- Run tests often.\n\n{LONG}\n\nHello", "Hello"),
        ("Hello\n\nand thanks", "and thanks"),
        ("<system-reminder>never closed\n\nHello", "Hello"),
        ("<context>a</context>One<system>b</system>", "One"),
        ("You are great\n\nrun the tests", "run the tests"),
        ("Hello\n\n<total_tokens>7 tokens left</total_tokens>", "Hello"),
        ("\n\n".join([LONG, LONG, LONG, "Hello", LONG, LONG, "Today is Sunday."]), ""),
        ("\n\n".join([LONG, LONG, LONG, "Run a command", LONG, LONG, "Today is Sunday."]), "Run a command"),
    ],
)
def test_the_users_words_are_found_among_system_text_and_reminders(content: str, words: str) -> None:
    assert newest_words(content) == words


@pytest.mark.parametrize(
    "content",
    [
        "<system-reminder>" * 60_000,
        "<system><system-reminder></system>" * 30_000,
        "\n \n" * 300_000,
        "“" * 1_000_000,
    ],
)
def test_the_users_words_are_found_in_linear_time(content: str) -> None:
    started = time.process_time()
    World().ask(shell_request(content))
    assert time.process_time() - started < 2


def tool(name: str, schema: Any) -> dict[str, Any]:
    return {"toolSpecification": {"name": name, "description": "d", "inputSchema": {"json": schema}}}


COMMAND = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [
    tool("get_weather", CITY),
    tool("Read", {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}),
    tool("Bash", COMMAND),
]


@pytest.mark.parametrize(
    ("content", "call"),
    [
        ("Run a command and tell me the result", ("Bash", {"command": DEFAULT_COMMAND})),
        ("Please use the shell", ("Bash", {"command": DEFAULT_COMMAND})),
        ("Execute `ls -la src`, please", ("Bash", {"command": "ls -la src"})),
        ("Run `rm -rf /`", ("Bash", {"command": DEFAULT_COMMAND})),
        ("What says get_weather in New York, USA?", ("get_weather", {"city": "New York, USA"})),
        ('Call get_weather for "Rome"', ("get_weather", {"city": "Rome"})),
        ("Use the read tool on `a.txt`", ("Read", {"path": "a.txt"})),
        ("Use Read", ("Read", {"path": "example"})),
        ("Read the news to me", None),
        ("Hello", None),
        (f"{REMINDER}\nHello", None),
        (f"{LONG}\n\nHello", None),
        ("Hello\n\n" + "A tool is a thing and a command another. " * 20, None),
        ("A story. " * 50 + "Run a command.", ("Bash", {"command": DEFAULT_COMMAND})),
    ],
)
def test_a_tool_is_called_when_it_is_asked_for(content: str, call: tuple[str, Any] | None) -> None:
    reply = World().ask(shell_request(content, tools=TOOLS))
    expected = [] if call is None else [{"name": call[0], "input": call[1]}]
    assert calls_of(reply) == expected
    metadata = dict(events_of(reply.body()))["metadataEvent"]
    assert metadata["stopReason"] == ("END_TURN" if call is None else "TOOL_USE")


@pytest.mark.parametrize(
    "name",
    [
        "Bash",
        "shell",
        "run_command",
        "runCommand",
        "RunCommand",
        "execute-command",
        "local_shell",
        "terminal",
    ],
)
def test_a_shell_is_known_by_its_name_and_its_property(name: str) -> None:
    asked = "Run a command, please"
    assert calls_of(World().ask(shell_request(asked, tools=[tool(name, COMMAND)])))[0]["name"] == name
    assert calls_of(World().ask(shell_request(asked, tools=[tool(name, CITY)]))) == []
    assert calls_of(World().ask(shell_request(asked, tools=[tool("Rush", COMMAND)]))) == []


def test_the_first_tool_serves_where_any_is_asked_for_and_no_shell_is_there() -> None:
    reply = World().ask(shell_request("Use a tool of yours", tools=TOOLS[:2]))
    assert calls_of(reply) == [{"name": "get_weather", "input": {"city": "example"}}]


def test_a_result_is_quoted_and_no_tool_is_called_again() -> None:
    request = long_request()
    put("conversationState.currentMessage.userInputMessage.content", "Run a command")(request)
    reply = World().ask(request)
    assert '"{"exit":0}"' in text_of(reply)
    assert calls_of(reply) == []


def test_an_error_and_an_empty_result_are_told_too() -> None:
    request = long_request()
    context = "conversationState.currentMessage.userInputMessage.userInputMessageContext"
    put(f"{context}.toolResults[0].status", "error")(request)
    put(f"{context}.toolResults[0].content", [])(request)
    assert '"an error: (nothing)"' in text_of(World().ask(request))


def test_what_was_said_is_quoted() -> None:
    assert 'You said: "What is 2 + 2?".' in text_of(World().ask(shell_request("What is 2 + 2?")))
    assert "I cannot tell your words" in text_of(World().ask(shell_request("<context>x</context>")))
    assert "z..." in text_of(World().ask(shell_request("z" * 9_000)))


def test_the_same_request_gets_the_same_events_and_another_one_another_id() -> None:
    first, again, other = (World().ask(shell_request(f"Run a command {word}")) for word in ("a", "a", "b"))
    assert first.body() == again.body()
    ids = {
        next(payload["toolUseId"] for kind, payload in events_of(reply.body()) if kind == "toolUseEvent")
        for reply in (first, again, other)
    }
    assert len(ids) == 2
    assert all(len(identity) == 30 and identity.startswith("tooluse_") for identity in ids)


# --- arguments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "example"),
        ({"type": "string", "minLength": 9}, "examplexx"),
        ({"type": "string", "maxLength": 3}, "exa"),
        ({"type": "string", "minLength": 2, "maxLength": 1}, "ex"),
        ({"type": "string", "format": "date"}, "2025-01-31"),
        ({"type": "string", "format": "unheard-of"}, "example"),
        ({"type": "integer"}, 1),
        ({"type": "integer", "minimum": 10}, 10),
        ({"type": "integer", "exclusiveMinimum": 10}, 11),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "number", "exclusiveMaximum": 0}, -1),
        ({"type": "integer", "minimum": 7, "multipleOf": 5}, 10),
        ({"type": "number"}, 1),
        ({"type": "boolean"}, False),
        ({"type": "null"}, None),
        ({"type": ["null", "integer"]}, 1),
        ({"type": ["null"]}, None),
        ({"type": "array"}, []),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        ({"items": {"type": "integer"}, "minItems": 1}, [1]),
        ({"type": "object"}, {}),
        ({"properties": {"b": {"type": "boolean"}}, "required": ["b", "c", 7]}, {"b": False, "c": "example"}),
        ({"enum": ["x", "y"]}, "x"),
        ({"enum": [], "type": "integer"}, 1),
        ({"const": 7}, 7),
        ({"type": "string", "default": "d"}, "d"),
        ({"type": "string", "default": None}, "example"),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, 1),
        ({"oneOf": [{"type": "null"}]}, None),
        ({"allOf": [{"type": "boolean"}]}, False),
        ({"$ref": "#/$defs/a~1b"}, False),
        ({"$ref": "#/$defs/none/none"}, "example"),
        ({"$ref": "elsewhere.json"}, "example"),
        (True, ""),
        ({}, "example"),
        ({"$ref": "#/$defs/loop"}, ""),
        ({"type": "string", "minItems": True, "minLength": -1}, "example"),
    ],
)
def test_an_argument_is_what_its_schema_allows(schema: object, value: object) -> None:
    defs = {"a/b": {"type": "boolean"}, "loop": {"$ref": "#/$defs/loop"}}
    whole = {"$defs": defs, "properties": {"x": schema, "y": {"type": "integer"}}, "required": ["x"]}
    assert make_arguments(whole, "") == {"x": value}


@pytest.mark.parametrize("schema", [None, True, [], {}, {"required": "x"}, {"properties": []}])
def test_a_schema_that_requires_nothing_gets_no_arguments(schema: object) -> None:
    assert make_arguments(schema, "") == {}


def test_a_shells_command_is_given_though_it_is_not_required() -> None:
    schema = {
        "properties": {"cmd": {"type": "string"}, "description": {"type": "string"}},
        "required": ["description"],
    }
    expected = {"cmd": DEFAULT_COMMAND, "description": "What the emulator was asked to do"}
    assert make_arguments(schema, "go") == expected


def test_a_deep_schema_ends_in_something_empty_of_its_type() -> None:
    node: dict[str, Any] = {"type": "object", "properties": {}, "required": ["next"]}
    node["properties"]["next"] = {"$ref": "#"}
    value: Any = make_arguments(node, "")
    depth = 0
    while value:
        value, depth = value["next"], depth + 1
    assert value == {}
    assert 3 < depth < 20


@pytest.mark.parametrize(
    "quoted",
    [
        "rm -rf /",
        "echo $(rm x)",
        "ls; rm x",
        "ls && rm x",
        "ls | sh",
        "echo x > y",
        "echo x\\",
        "lsx",
        "date\n-x",
    ],
)
def test_no_command_that_could_do_harm_is_taken_from_a_prompt(quoted: str) -> None:
    assert pick_command(f"run `{quoted}` now") == DEFAULT_COMMAND


kinds = st.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null"])
schemas = st.recursive(
    st.fixed_dictionaries({"type": kinds}),
    lambda inner: (
        st.fixed_dictionaries({"type": st.just("array"), "items": inner, "minItems": st.integers(0, 3)})
        | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, min_size=1, max_size=3).map(
            lambda members: {"type": "object", "properties": members, "required": sorted(members)}
        )
    ),
    max_leaves=10,
)
TYPES: dict[str, Any] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def allows(schema: dict[str, Any], value: Any) -> bool:
    """Whether a schema of the few keywords above allows a value."""
    if not isinstance(value, TYPES[schema["type"]]):
        return False
    if schema["type"] == "array" and "items" in schema:
        return len(value) >= schema["minItems"] and all(allows(schema["items"], item) for item in value)
    if schema["type"] == "object":
        known = schema.get("properties", {})
        return all(name in value and allows(known[name], value[name]) for name in schema.get("required", []))
    return True


@given(schemas)
@settings(max_examples=200, deadline=None)
def test_arguments_have_the_types_that_the_schema_wants(schema: dict[str, Any]) -> None:
    root = {"type": "object", "properties": {"x": schema}, "required": ["x"]}
    assert allows(root, make_arguments(root, "Run it in Paris"))
