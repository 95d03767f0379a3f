"""AWS's own model of the service as judge of the emulator's rules.

What the emulator takes, the model must accept; and what it refuses, the model must refuse too, unless the rule is
one of those that are known from the service's behaviour and stand in no model.
"""

from __future__ import annotations

import copy
import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.emulator.rules import check_request
from adapters.emulator.server import DEFAULT_MODELS
from adapters.emulator.shapes import REQUEST, ListOf, Refused, Shape, Structure, Text, check
from tests.adapters.emulated import long_request, put, shell_request

MODELS = Path(__file__).resolve().parents[2].parent / "shared" / "models"
SERVICE = MODELS / "codewhispererstreaming" / "2023-11-27" / "service-2.json"

needs_the_model = pytest.mark.skipif(
    not SERVICE.is_file(), reason="AWS's model of the service is not beside the project"
)


def model_accepts(request: object) -> bool:
    """Whether botocore's validator, which knows no maximum, pattern or enumeration, accepts a request."""
    botocore_model: Any = importlib.import_module("botocore.model")
    validate: Any = importlib.import_module("botocore.validate")
    shape = botocore_model.ServiceModel(json.loads(SERVICE.read_text())).operation_model("GenerateAssistantResponse")
    return not validate.ParamValidator().validate(request, shape.input_shape).has_errors()


def emulator_refuses(request: dict[str, Any]) -> str | None:
    try:
        check_request(request, DEFAULT_MODELS)
    except Refused as refused:
        return str(refused)
    return None


@needs_the_model
@pytest.mark.parametrize("request_", [shell_request(), long_request()], ids=["short", "long"])
def test_a_good_request_is_good_for_both(request_: dict[str, Any]) -> None:
    assert emulator_refuses(request_) is None
    assert model_accepts(request_)


KNOWN_BY_BEHAVIOUR = re.compile(
    r"does not (?:start|end|alternate)|the current message is not|is no toolUse|is not answered|answered twice"
    r"|id of an earlier call|is not among|specified in the current|specified twice|: empty, with|: null$"
    r"|is no model of|only newer clients know"
    # What the validator has no eyes for, though the model says it.
    r"|expected (?:one of|at most|what matches|base64|\d+ to)"
)

places = st.sampled_from(
    [
        "conversationState",
        "conversationState.history",
        "conversationState.history[0]",
        "conversationState.history[0].userInputMessage.images",
        "conversationState.history[1].assistantResponseMessage",
        "conversationState.history[1].assistantResponseMessage.toolUses",
        "conversationState.history[1].assistantResponseMessage.toolUses[0].input",
        "conversationState.history[1].assistantResponseMessage.reasoningContent",
        "conversationState.history[2].userInputMessage.userInputMessageContext",
        "conversationState.currentMessage",
        "conversationState.currentMessage.userInputMessage",
        "conversationState.currentMessage.userInputMessage.userInputMessageContext.tools",
        "conversationState.currentMessage.userInputMessage.userInputMessageContext.tools[0].toolSpecification",
        "conversationState.currentMessage.userInputMessage.userInputMessageContext.toolResults[0].content",
    ]
)
names = st.sampled_from(["content", "toolUseId", "name", "input", "text", "json", "toolResults", "type", "inputSchema"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from(["", "x", "Bash", "c1"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


@needs_the_model
@given(places, st.none() | names, values)
@settings(max_examples=150, deadline=None)
def test_both_agree_on_a_changed_request_but_for_the_rules_that_no_model_has(
    place: str, member: str | None, value: object
) -> None:
    request = copy.deepcopy(long_request())
    target = place if member is None or place.endswith(("]", "images", "tools", "history")) else f"{place}.{member}"
    try:
        put(target, value)(request)
    except TypeError:
        # Some of these places are lists, which have no members.
        put(place, value)(request)
    refused = emulator_refuses(request)
    if refused is None:
        assert model_accepts(request)
    elif not KNOWN_BY_BEHAVIOUR.search(refused):
        assert not model_accepts(request), refused


def walk(shape: Shape, model: dict[str, Any], name: str, seen: set[int]) -> list[str]:
    """The differences between the emulator's table and the model, from a shape down."""
    real = model[name]
    if id(shape) in seen:
        return []
    seen.add(id(shape))
    match shape:
        case Structure():
            differences = []
            newer = {key for key, member in real["members"].items() if "x-overlay" in member}
            if set(shape.members) != set(real["members"]) - newer or set(shape.newer) != newer:
                differences.append(f"{name}: other members")
            if set(shape.required) != set(real.get("required", [])) or shape.union != real.get("union", False):
                differences.append(f"{name}: other requirements")
            for key, member in shape.members.items():
                differences += walk(member, model, real["members"][key]["shape"], seen)
            return differences
        case ListOf(member=member, longest=longest):
            found = [] if longest == real.get("max") else [f"{name}: another length"]
            return found + walk(member, model, real["member"]["shape"], seen)
        case Text():
            same = (shape.shortest, shape.longest) == (real.get("min", 0), real.get("max"))
            return [] if same and list(shape.choices) == real.get("enum", []) else [f"{name}: other limits"]
        case _:
            return []


@needs_the_model
def test_the_table_of_shapes_says_what_the_model_says() -> None:
    model = json.loads(SERVICE.read_text())["shapes"]
    assert walk(REQUEST, model, "GenerateAssistantResponseRequest", set()) == []


@needs_the_model
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ToolName", "get_weather-2"),
        ("ToolName", "get weather"),
        ("ModelId", "anthropic.claude-sonnet-4:0"),
        ("ModelId", "a/b"),
        ("ProfileArn", "arn:aws:codewhisperer:us-east-1:000000000000:profile/EMULATOR0000"),
        ("ProfileArn", "arn:aws:codewhisperer:us-east-1:000000000000:profile/EMULATOR00001"),
        ("ResourceArn", "arn:aws:codewhisperer:us-east-1:000000000000:customization/A"),
        ("ResourceArn", "arn:aws"),
    ],
)
def test_the_patterns_allow_what_the_models_allow(name: str, text: str) -> None:
    pattern = json.loads(SERVICE.read_text())["shapes"][name]["pattern"]
    places_of = {
        "ToolName": "conversationState.currentMessage.userInputMessage.userInputMessageContext.tools[0]"
        ".toolSpecification.name",
        "ModelId": "conversationState.currentMessage.userInputMessage.modelId",
        "ProfileArn": "profileArn",
        "ResourceArn": "conversationState.customizationArn",
    }
    request = shell_request()
    put(places_of[name], text)(request)
    try:
        check(REQUEST, request, "")
    except Refused:
        assert not re.fullmatch(pattern, text)
    else:
        assert re.fullmatch(pattern, text)
