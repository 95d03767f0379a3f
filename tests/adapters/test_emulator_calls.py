"""The emulator's other calls: the older binding, the list of models, the usage limits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.emulator import DEFAULT_MODELS, Request
from adapters.emulator.wire import Reply
from tests.adapters.emulated import START, World, events_of, shell_request


def get(world: World, target: str, *, token: str | None = None, **headers: str) -> tuple[int, Any]:
    fields = {"authorization": f"Bearer {token or world.account.access_token}", **headers}
    reply = world.emulator.answer(Request("GET", target, fields, b""))
    assert reply.head is not None
    return reply.head.status, json.loads(reply.body())


def aws_json(world: World, request: object, **changes: str) -> Reply:
    headers = {
        "content-type": "application/x-amz-json-1.0",
        "accept": "application/vnd.amazon.eventstream",
        "authorization": f"Bearer {world.account.access_token}",
        "x-amz-target": "AmazonCodeWhispererStreamingService.GenerateAssistantResponse",
        **changes,
    }
    return world.emulator.answer(Request("POST", "/", headers, json.dumps(request).encode()))


def test_the_older_binding_begins_with_the_conversations_id() -> None:
    reply = aws_json(World(), shell_request())
    assert reply.head is not None
    assert "x-amzn-codewhisperer-conversation-id" not in dict(reply.head.headers)
    events = events_of(reply.body())
    assert events[0] == ("initial-response", {"conversationId": "00000000-0000-4000-8000-000000000001"})
    assert events[1][0] == "assistantResponseEvent"


@pytest.mark.parametrize("scenario", ["stall:1", "clean-cut:150", "slow:1", "drip:9:1"])
def test_the_older_binding_begins_so_in_every_scenario(scenario: str) -> None:
    reply = aws_json(World(), shell_request(), **{"x-emulator-scenario": scenario})
    assert b"initial-response" in reply.body()


def test_the_older_binding_names_errors_in_the_body() -> None:
    reply = aws_json(World(), {})
    assert reply.head is not None
    assert reply.head.status == 400
    assert "x-amzn-errortype" not in dict(reply.head.headers)
    assert json.loads(reply.body()) == {
        "__type": "com.amazon.aws.codewhisperer#ValidationException",
        "message": "Improperly formed request.",
        "reason": None,
    }


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"x-amz-target": "AmazonCodeWhispererStreamingService.SendMessage"}, 404),
        ({"content-type": "application/json"}, 415),
        ({"authorization": "Bearer nobody"}, 403),
    ],
)
def test_the_older_binding_has_headers_of_its_own(changes: dict[str, str], status: int) -> None:
    reply = aws_json(World(), shell_request(), **changes)
    assert reply.head is not None
    assert reply.head.status == status


def test_models_are_listed_in_pages() -> None:
    world = World()
    status, first = get(world, "/ListAvailableModels?origin=AI_EDITOR")
    assert status == 200
    _, second = get(world, f"/ListAvailableModels?origin=AI_EDITOR&nextToken={first['nextToken']}")
    assert tuple(model["modelId"] for model in first["models"] + second["models"]) == DEFAULT_MODELS
    assert first["defaultModel"] == {"modelId": DEFAULT_MODELS[0]}
    assert "nextToken" not in second
    assert first["models"][0]["tokenLimits"]["maxInputTokens"] == 200_000
    assert world.log[0] == "answered GET /ListAvailableModels: 200, account emulated"


def test_an_emulator_may_have_no_models() -> None:
    world = World(models=())
    assert get(world, "/ListAvailableModels?origin=CLI") == (200, {"models": []})
    reply = world.ask(shell_request())
    assert reply.head is not None
    assert reply.head.status == 400


def test_usage_is_counted() -> None:
    world = World()
    world.ask(shell_request())
    profile = "arn:aws:codewhisperer:us-east-1:000000000000:profile/EMULATOR0000"
    status, usage = get(world, f"/getUsageLimits?origin=AI_EDITOR&resourceType=AGENTIC_REQUEST&profileArn={profile}")
    assert status == 200
    assert usage["usageBreakdownList"] == [
        {
            "resourceType": "AGENTIC_REQUEST",
            "currentUsageWithPrecision": 1.0,
            "usageLimitWithPrecision": 1000.0,
        }
    ]
    assert usage["nextDateReset"] > START


@pytest.mark.parametrize(
    ("target", "status", "why"),
    [
        ("/ListAvailableModels", 400, "query origin: expected one of CHATBOT"),
        ("/getUsageLimits?origin=me", 400, "query origin: expected one of CHATBOT"),
        ("/getUsageLimits?origin=CLI&profileArn=x", 400, "query profileArn: expected what matches"),
        ("/ListAvailableModels?origin=CLI&nextToken=x", 400, "query nextToken: 'x' was not given out here"),
        ("/ListAvailableModels?origin=CLI&nextToken=99", 400, "query nextToken: '99' was not given out here"),
    ],
)
def test_a_small_call_that_is_wrong_is_refused(target: str, status: int, why: str) -> None:
    world = World()
    assert get(world, target)[0] == status
    assert why in world.log[0]


def test_a_small_call_needs_a_token_and_can_fail_too() -> None:
    world = World()
    assert get(world, "/getUsageLimits?origin=CLI", token="nobody")[0] == 403
    assert get(world, "/getUsageLimits?origin=CLI", **{"x-emulator-scenario": "throttled"})[0] == 429
    assert get(world, "/getUsageLimits?origin=CLI", **{"x-emulator-scenario": "cut:1"})[0] == 500
