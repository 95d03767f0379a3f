"""The emulator's rules: each good request is taken, and each made bad in one way is refused at its place."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.adapters.emulated import Change, World, drop, events_of, image, long_request, put


def current(request: dict[str, Any]) -> Any:
    return request["conversationState"]["currentMessage"]["userInputMessage"]


def history(request: dict[str, Any]) -> Any:
    return request["conversationState"]["history"]


def specification(request: dict[str, Any]) -> Any:
    return current(request)["userInputMessageContext"]["tools"][0]["toolSpecification"]


STATE = "conversationState"
CURRENT = "conversationState.currentMessage.userInputMessage"
CONTEXT = f"{CURRENT}.userInputMessageContext"
TOOL = f"{CONTEXT}.tools[0].toolSpecification"
SCHEMA = f"{TOOL}.inputSchema.json"
HISTORY = "conversationState.history"
PAST = f"{HISTORY}[2].userInputMessage"
CALLS = f"{HISTORY}[1].assistantResponseMessage.toolUses"
RESULTS = f"{CONTEXT}.toolResults"
PAST_RESULTS = f"{PAST}.userInputMessageContext.toolResults"
IMAGE = f"{HISTORY}[0].userInputMessage.images[0]"

BAD_SHAPES: list[tuple[Change, str]] = [
    # required members
    (drop(STATE), f"{STATE}: missing"),
    (drop(f"{STATE}.chatTriggerType"), f"{STATE}.chatTriggerType: missing"),
    (drop(f"{STATE}.currentMessage"), f"{STATE}.currentMessage: missing"),
    (drop(f"{CURRENT}.content"), f"{CURRENT}.content: missing"),
    (drop(f"{TOOL}.name"), f"{TOOL}.name: missing"),
    (drop(f"{TOOL}.inputSchema"), f"{TOOL}.inputSchema: missing"),
    (drop(f"{CALLS}[0].input"), f"{CALLS}[0].input: missing"),
    (drop(f"{CALLS}[0].name"), f"{CALLS}[0].name: missing"),
    (drop(f"{RESULTS}[0].content"), f"{RESULTS}[0].content: missing"),
    (drop(f"{RESULTS}[0].toolUseId"), f"{RESULTS}[0].toolUseId: missing"),
    (drop(f"{IMAGE}.format"), f"{IMAGE}.format: missing"),
    (drop(f"{IMAGE}.source"), f"{IMAGE}.source: missing"),
    (put(f"{CURRENT}.cachePoint", {}), f"{CURRENT}.cachePoint.type: missing"),
    # unknown and newer members
    (put("modelId", "auto"), "'modelId': unknown member"),
    (put(f"{STATE}.temperature", 1), f"{STATE}.'temperature': unknown member"),
    (put(f"{CURRENT}.line\nbreak", 1), f"{CURRENT}.'line\\nbreak': unknown member"),
    (put("agentMode", "vibe"), "agentMode: only newer clients know"),
    (put("additionalModelRequestFields", {}), "additionalModelRequestFields: only newer clients know"),
    (put(f"{CURRENT}.documents", []), f"{CURRENT}.documents: only newer clients know"),
    (put(f"{RESULTS}[0].toolName", "Bash"), f"{RESULTS}[0].toolName: only newer clients know"),
    # types, null among them
    (put(STATE, []), f"{STATE}: expected an object, got a list"),
    (put(HISTORY, {}), f"{HISTORY}: expected a list, got an object"),
    (put(f"{CURRENT}.content", 7), f"{CURRENT}.content: expected a string, got a number"),
    (put(f"{CURRENT}.content", None), f"{CURRENT}.content: expected a string, got null"),
    (put("profileArn", None), "profileArn: expected a string, got null"),
    (put(f"{CURRENT}.images", "x"), f"{CURRENT}.images: expected a list, got a string"),
    (put(f"{CONTEXT}.editorState", []), f"{CONTEXT}.editorState: expected an object, got a list"),
    (put(f"{CONTEXT}.additionalContext", {}), f"{CONTEXT}.additionalContext: expected a list, got an object"),
    (put(f"{CURRENT}.clientCacheConfig", {"useClientCachingOnly": 1}), "expected a boolean, got a number"),
    (put(f"{IMAGE}.source.bytes", 7), f"{IMAGE}.source.bytes: expected a string, got a number"),
    # unions
    (put(f"{STATE}.currentMessage", {}), f"{STATE}.currentMessage: expected exactly one of"),
    (
        put(f"{HISTORY}[0].assistantResponseMessage", {"content": "x"}),
        f"{HISTORY}[0]: expected exactly one of",
    ),
    (
        put(f"{CONTEXT}.tools[0].cachePoint", {"type": "default"}),
        f"{CONTEXT}.tools[0]: expected exactly one of",
    ),
    (
        put(f"{RESULTS}[0].content[0]", {"text": "x", "json": 1}),
        f"{RESULTS}[0].content[0]: expected exactly one of",
    ),
    (put(f"{IMAGE}.source", {}), f"{IMAGE}.source: expected exactly one of"),
    (
        put(f"{HISTORY}[1].assistantResponseMessage.reasoningContent", {}),
        f"{HISTORY}[1].assistantResponseMessage.reasoningContent: expected exactly one of",
    ),
    # enumerations, patterns, lengths
    (put(f"{STATE}.chatTriggerType", "manual"), f"{STATE}.chatTriggerType: expected one of MANUAL"),
    (put(f"{STATE}.agentTaskType", "x"), f"{STATE}.agentTaskType: expected one of vibe"),
    (put(f"{STATE}.agentContinuationId", "x" * 35), "agentContinuationId: expected at least 36 characters"),
    (put(f"{STATE}.agentContinuationId", "x" * 37), "agentContinuationId: expected at most 36 characters"),
    (put(f"{STATE}.conversationId", ""), f"{STATE}.conversationId: expected at least 1"),
    (put(f"{STATE}.conversationId", "x" * 129), f"{STATE}.conversationId: expected at most 128"),
    (put(f"{CURRENT}.origin", "MY_EDITOR"), f"{CURRENT}.origin: expected one of CHATBOT"),
    (put(f"{CURRENT}.modelId", "claude sonnet"), f"{CURRENT}.modelId: expected what matches"),
    (put(f"{CURRENT}.modelId", "auto\n"), f"{CURRENT}.modelId: expected what matches"),
    (put(f"{CURRENT}.modelId", "x" * 1025), f"{CURRENT}.modelId: expected at most 1024"),
    (put(f"{CURRENT}.content", "x" * 10_000_001), f"{CURRENT}.content: expected at most 10000000"),
    (put(f"{CURRENT}.userIntent", "CHAT"), f"{CURRENT}.userIntent: expected one of"),
    (
        put(f"{CURRENT}.cachePoint", {"type": "ephemeral"}),
        f"{CURRENT}.cachePoint.type: expected one of default",
    ),
    (
        put(f"{CONTEXT}.envState", {"operatingSystem": "beos"}),
        "envState.operatingSystem: expected what matches",
    ),
    (
        put(f"{CONTEXT}.envState", {"currentWorkingDirectory": "x" * 257}),
        "WorkingDirectory: expected at most 256",
    ),
    (put(f"{TOOL}.name", "a b"), f"{TOOL}.name: expected what matches"),
    (put(f"{TOOL}.name", ""), f"{TOOL}.name: expected what matches"),
    (put(f"{TOOL}.name", "x" * 65), f"{TOOL}.name: expected at most 64"),
    (put(f"{TOOL}.name", "Bäsh"), f"{TOOL}.name: expected what matches"),
    (put(f"{TOOL}.description", "x" * 10_241), f"{TOOL}.description: expected at most 10240"),
    (put(f"{CALLS}[0].toolUseId", "a.b"), f"{CALLS}[0].toolUseId: expected what matches"),
    (put(f"{RESULTS}[0].toolUseId", "x" * 65), f"{RESULTS}[0].toolUseId: expected at most 64"),
    (put(f"{RESULTS}[0].status", "ok"), f"{RESULTS}[0].status: expected one of success"),
    (put(f"{HISTORY}[1].assistantResponseMessage.messageId", "x" * 129), "messageId: expected at most 128"),
    (put(f"{IMAGE}.format", "jpg"), f"{IMAGE}.format: expected one of png"),
    (put(f"{IMAGE}.source.bytes", "no base64!"), f"{IMAGE}.source.bytes: expected base64"),
    (put(f"{IMAGE}.source.bytes", "aGVsbG8"), f"{IMAGE}.source.bytes: expected base64"),
    (put(f"{IMAGE}.source.bytes", "é"), f"{IMAGE}.source.bytes: expected base64"),
    (put(f"{IMAGE}.source.bytes", ""), f"{IMAGE}.source.bytes: expected 1 to 10000000 bytes, got 0"),
    (
        put(f"{IMAGE}.source.bytes", base64.b64encode(b"x" * 10_000_001).decode()),
        f"{IMAGE}.source.bytes: expected 1 to 10000000 bytes, got 10000001",
    ),
    (
        put("profileArn", "arn:aws:codewhisperer:us-east-1:1:profile/EMULATOR0000"),
        "profileArn: expected what",
    ),
    (
        put("profileArn", "arn:aws:codewhisperer:us-east-1:000000000000:profile/SHORT"),
        "profileArn: expected what",
    ),
    (put(f"{STATE}.customizationArn", "here"), f"{STATE}.customizationArn: expected what matches"),
]


def swap_history(*positions: int) -> Change:
    def change(request: dict[str, Any]) -> None:
        turns = history(request)
        turns[:] = [turns[position] for position in positions]

    return change


def ask_twice(request: dict[str, Any]) -> None:
    current(request)["userInputMessageContext"]["tools"] *= 2


def more_images(request: dict[str, Any]) -> None:
    current(request)["images"] = [image()] * 11


BROKEN_RULES: list[tuple[Change, str]] = [
    # 1: who speaks when
    (
        put(f"{STATE}.currentMessage", {"assistantResponseMessage": {"content": "x"}}),
        "currentMessage: the current",
    ),
    (
        swap_history(1, 2, 3),
        f"{HISTORY}[0].assistantResponseMessage: history does not start with a user message",
    ),
    (swap_history(0, 1, 2), f"{HISTORY}[2].userInputMessage: history does not end with an assistant message"),
    (swap_history(0), f"{HISTORY}[0].userInputMessage: history does not end with an assistant message"),
    (swap_history(0, 0, 1), "history[1].userInputMessage: history does not alternate: a second user"),
    (
        swap_history(0, 1, 3, 2),
        "history[2].assistantResponseMessage: history does not alternate: a second assistant",
    ),
    # 2: calls and their results
    (
        put(
            f"{HISTORY}[0].userInputMessage.userInputMessageContext",
            {"toolResults": [{"toolUseId": "c0", "content": []}]},
        ),
        f"{HISTORY}[0].userInputMessage.userInputMessageContext.toolResults[0].toolUseId: 'c0' is no toolUse",
    ),
    (drop(HISTORY), f"{RESULTS}[0].toolUseId: 'c3' is no toolUse of the message directly before"),
    (
        put(f"{RESULTS}[0].toolUseId", "c1"),
        f"{RESULTS}[0].toolUseId: 'c1' is no toolUse of the message directly before",
    ),
    (drop(RESULTS), f"{RESULTS}: the toolUse 'c3' of the message before is not answered"),
    (drop(CONTEXT), f"{HISTORY}[1].assistantResponseMessage.toolUses[0].name: 'Bash' is not among"),
    (drop(f"{PAST_RESULTS}[1]"), f"{PAST_RESULTS}: the toolUse 'c1' of the message before is not answered"),
    (put(f"{PAST_RESULTS}[1].toolUseId", "c2"), f"{PAST_RESULTS}[1].toolUseId: 'c2' is answered twice"),
    (put(f"{CALLS}[1].toolUseId", "c1"), f"{CALLS}[1].toolUseId: 'c1' is the id of an earlier call too"),
    (
        put(f"{HISTORY}[3].assistantResponseMessage.toolUses[0].toolUseId", "c1"),
        f"{HISTORY}[3].assistantResponseMessage.toolUses[0].toolUseId: 'c1' is the id of an earlier call too",
    ),
    # 3: tools
    (put(f"{CALLS}[1].name", "bash"), f"{CALLS}[1].name: 'bash' is not among the current message's tools"),
    (put(f"{CONTEXT}.tools", [{"cachePoint": {"type": "default"}}]), f"{CALLS}[0].name: 'Bash' is not among"),
    (
        put(f"{PAST}.userInputMessageContext.tools", []),
        f"{PAST}.userInputMessageContext.tools: tools are specified",
    ),
    (ask_twice, f"{CONTEXT}.tools[1].toolSpecification.name: 'Bash' is specified twice"),
    # 4: contents
    (
        put(f"{HISTORY}[0].userInputMessage", {"content": ""}),
        f"{HISTORY}[0].userInputMessage.content: empty, with neither toolResults nor images beside it",
    ),
    (
        put(f"{HISTORY}[1].assistantResponseMessage.toolUses", []),
        f"{HISTORY}[1].assistantResponseMessage.content: empty, with no toolUses beside it",
    ),
    # 5: descriptions and schemas
    (put(f"{TOOL}.description", ""), f"{TOOL}.description: expected at least 1"),
    (put(f"{SCHEMA}.required", None), f"{SCHEMA}.required: null"),
    (put(f"{SCHEMA}.properties", None), f"{SCHEMA}.properties: null"),
    (put(f"{SCHEMA}.properties.timeout.required", None), f"{SCHEMA}.properties.timeout.required: null"),
    (
        put(f"{SCHEMA}.anyOf", [{}, {"items": {"properties": None}}]),
        f"{SCHEMA}.anyOf[1].items.properties: null",
    ),
    (put(f"{SCHEMA}.$defs", {"default": {"required": None}}), f"{SCHEMA}.$defs.default.required: null"),
    # 6: images
    (more_images, f"{CURRENT}.images: expected at most 10 members, got 11"),
]


@pytest.mark.parametrize(("change", "why"), BAD_SHAPES + BROKEN_RULES)
def test_a_request_made_bad_in_one_way_is_refused_in_the_services_words_and_logged_with_the_place(
    change: Change, why: str
) -> None:
    world = World()
    request = long_request()
    change(request)
    reply = world.ask(request)
    assert reply.head is not None
    assert reply.head.status == 400
    assert dict(reply.head.headers)["x-amzn-errortype"] == "ValidationException"
    reason = "TOOL_DUPLICATE" if "specified twice" in why else None
    assert json.loads(reply.body()) == {"message": "Improperly formed request.", "reason": reason}
    (line,) = world.log
    assert line.startswith("refused POST /generateAssistantResponse: ")
    assert why in line
    assert line.isascii()
    assert "\n" not in line
    assert len(line) < 600
    assert world.account.access_token not in line
    assert world.emulator.counts["emulated"].refused == 1


def all_images(request: dict[str, Any]) -> None:
    current(request)["images"] = [image()] * 10
    current(request)["content"] = ""
    del current(request)["userInputMessageContext"]
    del request["conversationState"]["history"]


def named_required(request: dict[str, Any]) -> None:
    schema = specification(request)["inputSchema"]["json"]
    schema["properties"]["required"] = {"type": "string", "default": {"properties": None}}
    schema["enum"] = [{"required": None}]


GOOD: list[Change] = [
    lambda _request: None,
    all_images,
    named_required,
    drop("profileArn"),
    drop(f"{STATE}.conversationId"),
    drop(f"{CURRENT}.modelId"),
    drop(f"{TOOL}.description"),
    put(f"{TOOL}.description", "x" * 10_240),
    put(f"{CURRENT}.content", ""),
    put(f"{CURRENT}.content", "é" * 700_000),
    put(f"{STATE}.agentTaskType", "spectask"),
    put(f"{STATE}.agentContinuationId", "x" * 36),
    put(f"{CONTEXT}.envState", {"operatingSystem": "linux", "timezoneOffset": -60}),
    put(f"{RESULTS}[0].content", []),
    put(f"{TOOL}.inputSchema", {}),
    put("profileArn", "arn:aws:transform:eu-central-1:123456789012:profile/abcDEF123456"),
]


@pytest.mark.parametrize("change", GOOD)
def test_a_good_request_is_answered(change: Change) -> None:
    world = World()
    request = long_request()
    change(request)
    reply = world.ask(request)
    assert reply.head is not None
    assert (reply.head.status, world.emulator.counts["emulated"].refused) == (200, 0)
    assert events_of(reply.body())[0][0] == "assistantResponseEvent"
    assert world.log == ["answered POST /generateAssistantResponse: 200, account emulated"]
