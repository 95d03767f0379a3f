"""The service's request on the wire, and the call that carries it."""

import msgspec
import pytest

from core.codewhisperer import (
    AssistantResponseMessage,
    ChatMessage,
    ConversationState,
    GenerateAssistantResponse,
    Image,
    ImageSource,
    InputSchema,
    ReasoningContent,
    ReasoningText,
    Tool,
    ToolResult,
    ToolResultContent,
    ToolSpecification,
    ToolUse,
    UserContext,
    UserInputMessage,
    encode_request,
    generate_call,
    service_endpoint,
)


def _request(current: UserInputMessage, *history: ChatMessage) -> GenerateAssistantResponse:
    return GenerateAssistantResponse(
        conversation_state=ConversationState(
            chat_trigger_type="MANUAL",
            conversation_id="c1",
            current_message=ChatMessage(user_input_message=current),
            history=history,
        )
    )


def test_a_small_request_has_nothing_but_what_it_needs() -> None:
    current = UserInputMessage(
        content="Hello", model_id="M", origin="AI_EDITOR", user_input_message_context=UserContext()
    )
    assert msgspec.json.decode(encode_request(_request(current))) == {
        "conversationState": {
            "chatTriggerType": "MANUAL",
            "conversationId": "c1",
            "currentMessage": {
                "userInputMessage": {
                    "content": "Hello",
                    "modelId": "M",
                    "origin": "AI_EDITOR",
                    "userInputMessageContext": {},
                }
            },
        }
    }


def test_every_member_has_its_name_on_the_wire() -> None:
    asked = UserInputMessage(
        content="",
        model_id="M",
        origin="AI_EDITOR",
        images=(Image(format="png", source=ImageSource(bytes="AAA=")),),
        user_input_message_context=UserContext(
            tools=(
                Tool(
                    tool_specification=ToolSpecification(
                        name="t", description="d", input_schema=InputSchema(json={"type": "object"})
                    )
                ),
            ),
            tool_results=(ToolResult(tool_use_id="u", content=(ToolResultContent(text="r"),), status="error"),),
        ),
    )
    said = AssistantResponseMessage(
        content="",
        tool_uses=(ToolUse(tool_use_id="u", name="t", input={"a": 1}),),
        reasoning_content=ReasoningContent(reasoning_text=ReasoningText(text="hm", signature="")),
    )
    redacted = AssistantResponseMessage(content="b", reasoning_content=ReasoningContent(redacted_content="AAA="))
    request = _request(
        asked, ChatMessage(assistant_response_message=said), ChatMessage(assistant_response_message=redacted)
    )
    sent = msgspec.json.decode(encode_request(msgspec.structs.replace(request, profile_arn="arn")))
    assert sent["profileArn"] == "arn"
    assert sent["conversationState"]["currentMessage"]["userInputMessage"] == {
        "content": "",
        "modelId": "M",
        "origin": "AI_EDITOR",
        "images": [{"format": "png", "source": {"bytes": "AAA="}}],
        "userInputMessageContext": {
            "tools": [
                {"toolSpecification": {"name": "t", "description": "d", "inputSchema": {"json": {"type": "object"}}}}
            ],
            "toolResults": [{"toolUseId": "u", "content": [{"text": "r"}], "status": "error"}],
        },
    }
    assert sent["conversationState"]["history"] == [
        {
            "assistantResponseMessage": {
                "content": "",
                "toolUses": [{"toolUseId": "u", "name": "t", "input": {"a": 1}}],
                "reasoningContent": {"reasoningText": {"text": "hm", "signature": ""}},
            }
        },
        {"assistantResponseMessage": {"content": "b", "reasoningContent": {"redactedContent": "AAA="}}},
    ]


@pytest.mark.parametrize(
    ("region", "expected"),
    [("eu-central-1", "https://q.eu-central-1.amazonaws.com"), (None, "https://q.us-east-1.amazonaws.com")],
)
def test_the_services_address_is_that_of_the_region(region: str | None, expected: str) -> None:
    assert service_endpoint(region) == expected


def test_attempts_are_counted_as_the_services_clients_count_them() -> None:
    request = _request(UserInputMessage(content="a", model_id="M", origin="AI_EDITOR"))
    told = [
        generate_call(
            request,
            endpoint="https://q.us-east-1.amazonaws.com",
            access_token="made-up",
            invocation_id="i",
            attempt=attempt,
            user_agent="u",
        ).headers["amz-sdk-request"]
        for attempt in (1, 3, 4)
    ]
    assert told == ["attempt=1; max=3", "attempt=3; max=3", "attempt=4; max=4"]
