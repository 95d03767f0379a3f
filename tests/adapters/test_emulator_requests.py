"""The emulator and requests that are no good as a whole: bodies, headers, models, and whatever chance makes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.emulator import scenarios
from adapters.emulator.rules import null_keywords
from tests.adapters.emulated import World, long_request, put, shell_request


def test_a_model_that_the_service_does_not_have_is_refused_with_its_reason() -> None:
    world = World()
    request = shell_request()
    put("conversationState.currentMessage.userInputMessage.modelId", "claude-opus-5-5")(request)
    reply = world.ask(request)
    assert reply.head is not None
    assert reply.head.status == 400
    assert json.loads(reply.body())["reason"] == "INVALID_MODEL_ID"
    assert "modelId: 'claude-opus-5-5' is no model of this service" in world.log[0]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"conversationState": ',
        b"\xff",
        b'{"a": NaN}',
        b'{"a": "\\ud800"}',
        b"[" * 100_000,
        b'{"conversationState":{"chatTriggerType":"MANUAL","currentMessage":' + b'{"a":' * 100_000,
    ],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    world = World()
    reply = world.ask(body)
    assert reply.head is not None
    assert reply.head.status == 400
    assert world.log[0].startswith("refused POST /generateAssistantResponse: body: ")
    assert len(world.log[0]) < 300


@pytest.mark.parametrize(
    ("headers", "status", "name"),
    [
        ({"content_type": "text/plain"}, 415, "UnsupportedMediaTypeException"),
        ({"content_type": ""}, 415, "UnsupportedMediaTypeException"),
        ({"content_type": "application/x-amz-json-1.0"}, 415, "UnsupportedMediaTypeException"),
        ({"accept": "application/json"}, 406, "NotAcceptableException"),
        ({"accept": ""}, 406, "NotAcceptableException"),
    ],
)
def test_headers_that_say_something_else_are_refused(headers: dict[str, str], status: int, name: str) -> None:
    reply = World().ask(shell_request(), **headers)
    assert reply.head is not None
    assert (reply.head.status, dict(reply.head.headers)["x-amzn-errortype"]) == (status, name)


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "Application/JSON; charset=utf-8"},
        {"accept": "application/json, application/vnd.amazon.eventstream;q=0.9"},
    ],
)
def test_headers_may_have_parameters(headers: dict[str, str]) -> None:
    reply = World().ask(shell_request(), **headers)
    assert reply.head is not None
    assert reply.head.status == 200


def test_a_request_that_is_nested_as_deeply_as_a_parser_can_bear_is_answered_or_refused() -> None:
    world = World()
    schema = put(
        "conversationState.currentMessage.userInputMessage.userInputMessageContext.tools[0]"
        ".toolSpecification.inputSchema.json",
        "HERE",
    )
    request = shell_request()
    schema(request)
    statuses = set()
    for depth in range(700, 1000, 3):
        nested = '{"required": ["x"], "properties": {"x": {"const": ' + "[" * depth + "]" * depth + "}}}"
        reply = world.ask(json.dumps(request).replace('"HERE"', nested).encode())
        assert reply.head is not None
        statuses.add(reply.head.status)
    assert statuses <= {200, 400}


def test_a_request_that_is_nested_too_deeply_for_the_answer_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def too_deep(*_arguments: object) -> None:
        raise RecursionError

    monkeypatch.setattr(scenarios, "play", too_deep)
    world = World()
    reply = world.ask(shell_request())
    assert reply.head is not None
    assert reply.head.status == 400
    assert world.log == ["refused POST /generateAssistantResponse: body: nested too deeply"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["required", "properties", "items", "enum", "a"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(json_values)
@settings(max_examples=150, deadline=None)
def test_whatever_schema_comes_its_nulls_are_places_that_lead_to_null(schema: object) -> None:
    for place in null_keywords(schema):
        value: Any = schema
        for step in place.replace("[", ".[").split(".")[1:]:
            value = value[int(step[1:-1])] if step.startswith("[") else value[step]
        assert value is None


CURRENT = "conversationState.currentMessage.userInputMessage"
TOOLS = f"{CURRENT}.userInputMessageContext.tools"
PLACES = [
    "",
    "conversationState",
    "conversationState.history",
    "conversationState.history[1].assistantResponseMessage.toolUses",
    CURRENT,
    f"{CURRENT}.userInputMessageContext",
    f"{CURRENT}.userInputMessageContext.toolResults[0].content[0].json",
    TOOLS,
    f"{TOOLS}[0].toolSpecification.inputSchema.json",
]


@given(json_values, st.sampled_from(PLACES))
@settings(max_examples=200, deadline=None)
def test_whatever_stands_in_a_request_it_is_answered_or_refused(value: object, target: str) -> None:
    request: Any = long_request()
    if target:
        put(target, value)(request)
    else:
        request = value
    reply = World().ask(request)
    assert reply.head is not None
    assert reply.head.status in {200, 400}
