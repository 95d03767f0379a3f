"""What frames and refusals say, in the service's words."""

from typing import Any

import pytest

from core.events import (
    AssistantText,
    ContextUsage,
    Event,
    Metadata,
    OtherEvent,
    Reasoning,
    ServiceError,
    TokenUsage,
    ToolUseFragment,
    Undecodable,
    bare_name,
    parse_error,
    parse_event,
)
from tests.builders import event, exception, message


@pytest.mark.parametrize(
    ("event_type", "members", "expected"),
    [
        ("assistantResponseEvent", {"content": "Hi"}, AssistantText("Hi")),
        ("assistantResponseEvent", {"modelId": "m", "content": ""}, AssistantText("")),
        ("toolUseEvent", {"toolUseId": "t", "name": "n"}, ToolUseFragment("t", "n", "", False)),
        ("toolUseEvent", {"toolUseId": "t", "name": "n", "input": "{"}, ToolUseFragment("t", "n", "{", False)),
        (
            "toolUseEvent",
            {"name": "n", "toolUseId": "t", "input": {"a": 1}},
            ToolUseFragment("t", "n", {"a": 1}, False),
        ),
        ("toolUseEvent", {"toolUseId": "t", "name": "n", "stop": True}, ToolUseFragment("t", "n", "", True)),
        ("toolUseEvent", {"toolUseId": "t", "name": "n", "stop": None}, ToolUseFragment("t", "n", "", False)),
        ("reasoningContentEvent", {"text": "hm"}, Reasoning("hm", None, None)),
        ("reasoningContentEvent", {"signature": "s"}, Reasoning(None, "s", None)),
        ("reasoningContentEvent", {"redactedContent": "AAA="}, Reasoning(None, None, "AAA=")),
        ("metadataEvent", {"stopReason": "END_TURN"}, Metadata(None, "END_TURN")),
        (
            "metadataEvent",
            {"tokenUsage": {"uncachedInputTokens": 1, "outputTokens": 2, "totalTokens": 3, "cacheReadInputTokens": 4}},
            Metadata(TokenUsage(1, 2, 4), None),
        ),
        ("contextUsageEvent", {"contextUsagePercentage": 12.5}, ContextUsage(12.5)),
        ("contextUsageEvent", {"contextUsagePercentage": 12}, ContextUsage(12.0)),
        # a figure of another shape is none, and spoils nothing
        ("contextUsageEvent", {"contextUsagePercentage": None}, ContextUsage(None)),
        ("contextUsageEvent", {}, ContextUsage(None)),
        ("contextUsageEvent", {"contextUsagePercentage": [5]}, ContextUsage(None)),
        ("metadataEvent", {"tokenUsage": {}, "stopReason": "END_TURN"}, Metadata(None, "END_TURN")),
        ("metadataEvent", {"tokenUsage": {"uncachedInputTokens": 1.5, "outputTokens": 2}}, Metadata(None, None)),
        ("metadataEvent", {"tokenUsage": 5, "stopReason": 5}, Metadata(None, None)),
        ("invalidStateEvent", {"reason": "R", "message": "m"}, ServiceError("InvalidStateEvent", "R", "m")),
        ("error", {"message": "m"}, ServiceError("InternalServerException", None, "m")),
        ("meteringEvent", {"usage": 1.5, "unit": "credit"}, OtherEvent("meteringEvent")),
        ("initial-response", {"conversationId": "c"}, OtherEvent("initial-response")),
        ("madeUpLaterEvent", {}, OtherEvent("madeUpLaterEvent")),
    ],
)
def test_an_event_says_what_its_payload_holds(event_type: str, members: dict[str, Any], expected: Event) -> None:
    assert parse_event(event(event_type, **members)) == expected


@pytest.mark.parametrize(
    ("event_type", "payload"),
    [
        ("assistantResponseEvent", b"{}"),
        ("assistantResponseEvent", b'{"content": 1}'),
        ("assistantResponseEvent", b'{"content": "\\ud800"}'),
        ("assistantResponseEvent", b'{"content": "\xff"}'),
        ("assistantResponseEvent", b""),
        ("assistantResponseEvent", b"not JSON"),
        ("toolUseEvent", b'{"name": "n"}'),
        ("toolUseEvent", b'{"toolUseId": "t", "name": "n", "input": [1]}'),
        ("toolUseEvent", b'{"toolUseId": "t", "name": "n", "input": {"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"),
        ("contextUsageEvent", b"[]"),
        ("metadataEvent", b"not JSON"),
    ],
)
def test_a_known_event_of_another_shape_is_undecodable(event_type: str, payload: bytes) -> None:
    parsed = parse_event(message(payload, event_type=event_type, message_type="event"))
    assert isinstance(parsed, Undecodable)
    assert event_type in parsed.problem


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ThrottlingException", "ThrottlingException"),
        ("throttlingException", "ThrottlingException"),
        ("com.amazon.x#ThrottlingException", "ThrottlingException"),
        ("error", "InternalServerException"),
        ("", ""),
    ],
)
def test_an_exception_is_named_alike_however_it_is_written(name: str, expected: str) -> None:
    assert parse_event(exception(name, "why", "REASON")) == ServiceError(expected, "REASON", "why")


def test_an_exception_with_an_unreadable_payload_keeps_its_name() -> None:
    broken = message(b"<html>", message_type="exception", exception_type="ThrottlingException")
    assert parse_event(broken) == ServiceError("ThrottlingException", None, "")


def test_an_error_frame_has_its_words_in_headers() -> None:
    frame = message(b"", message_type="error", error_code="InternalError", error_message="it broke")
    assert parse_event(frame) == ServiceError("InternalError", None, "it broke")
    frame = message(b"", message_type="error", error_code="throttlingException")
    assert parse_event(frame) == ServiceError("ThrottlingException", None, "")
    assert parse_event(message(b"", message_type="error")) == ServiceError("", None, "")


@pytest.mark.parametrize("headers", [{}, {"message_type": "other"}, {"event_type": "assistantResponseEvent"}])
def test_a_frame_without_a_message_type_is_undecodable(headers: dict[str, str]) -> None:
    assert isinstance(parse_event(message(b"{}", **headers)), Undecodable)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ValidationException", "ValidationException"),
        ("com.amazon.coral.service#UnknownOperationException", "UnknownOperationException"),
        ("ValidationException:http://internal.example.com/coral/x/", "ValidationException"),
        ("aws.protocoltests#FooError:http://example.com/", "FooError"),
        ("", ""),
    ],
)
def test_an_errors_name_comes_without_namespace_and_address(name: str, expected: str) -> None:
    assert bare_name(name) == expected


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"x-amzn-errortype": "A:http://x/"}, b'{"__type": "B"}', ServiceError("A", None, "", 400)),
        ({}, b'{"code": "C", "__type": "B", "message": "m"}', ServiceError("C", None, "m", 400)),
        ({}, b'{"__type": "ns#B", "Message": "m", "reason": "R"}', ServiceError("B", "R", "m", 400)),
        (
            {},
            b'{"message": "Improperly formed request.", "reason": null}',
            ServiceError("", None, "Improperly formed request.", 400),
        ),
        (
            {},
            b'{"Output":{"__type":"com.x#Unknown","message":"m"},"Version":"1.0"}',
            ServiceError("Unknown", None, "m", 400),
        ),
        ({}, b"", ServiceError("", None, "", 400)),
        ({}, b"<html>Bad gateway</html>", ServiceError("", None, "", 400)),
        ({}, b'{"message": "cut', ServiceError("", None, "", 400)),
        ({}, b'{"code": 42, "message": "still read"}', ServiceError("", None, "still read", 400)),
        ({}, b'{"Output": "text", "message": "still read"}', ServiceError("", None, "still read", 400)),
        ({}, b"[" * 100_000, ServiceError("", None, "", 400)),
    ],
)
def test_a_refusal_is_read_from_its_header_and_its_body(
    headers: dict[str, str], body: bytes, expected: ServiceError
) -> None:
    assert parse_error(400, headers, body) == expected
