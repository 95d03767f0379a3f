"""The service's words in a request, and the HTTP call that carries it.

Shapes are those of AWS's published model of CodeWhisperer Streaming (2023-11-27). This module knows how they
look on the wire; the service's rules about them are for `request` to keep. Its answer's words are in `events`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from core.http import Call

EVENT_STREAM = "application/vnd.amazon.eventstream"
"""The media type of an answer."""


class _Shape(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """What all request shapes share: camelCase members, of which those at their default are left out."""


class InputSchema(_Shape, frozen=True):
    """A tool's JSON schema, wrapped as the service wants it."""

    json: dict[str, Any]


class ToolSpecification(_Shape, frozen=True):
    """One tool. `name`: 1..64 of `[a-zA-Z0-9_-]`; `description`: 1..10,240 characters."""

    name: str
    description: str
    input_schema: InputSchema


class Tool(_Shape, frozen=True):
    """A union with one alternative that we use."""

    tool_specification: ToolSpecification


class ToolResultContent(_Shape, frozen=True):
    """A piece of a tool's result. The shape is a union; of its alternatives only text is ever sent."""

    text: str


class ToolResult(_Shape, frozen=True):
    """What a tool gave back for the call `tool_use_id` of the assistant message directly before."""

    tool_use_id: str
    content: tuple[ToolResultContent, ...]
    status: Literal["success", "error"]


class ToolUse(_Shape, frozen=True):
    """A past call of a tool by the assistant."""

    tool_use_id: str
    name: str
    input: dict[str, Any]


class ImageSource(_Shape, frozen=True):
    """An image's bytes as base64 text, which is how the REST binding carries a blob."""

    bytes: str


class Image(_Shape, frozen=True):
    """At most ten of these stand in a message, each at most 10,000,000 bytes decoded."""

    format: Literal["png", "jpeg", "gif", "webp"]
    source: ImageSource


class UserContext(_Shape, frozen=True):
    """What stands beside a user's words. With nothing in it, it is the empty object."""

    tools: tuple[Tool, ...] = ()
    tool_results: tuple[ToolResult, ...] = ()


class UserInputMessage(_Shape, frozen=True):
    """A user's turn. Specifications of tools stand in the current message only."""

    content: str
    model_id: str
    origin: str
    images: tuple[Image, ...] = ()
    user_input_message_context: UserContext | None = None


class ReasoningText(_Shape, frozen=True):
    """Thinking, with the signature that proves it to the model's provider."""

    text: str
    signature: str | None = None


class ReasoningContent(_Shape, frozen=True):
    """A union: exactly one of the two is set."""

    reasoning_text: ReasoningText | None = None
    redacted_content: str | None = None


class AssistantResponseMessage(_Shape, frozen=True):
    """An assistant's past turn."""

    content: str
    tool_uses: tuple[ToolUse, ...] = ()
    reasoning_content: ReasoningContent | None = None


class ChatMessage(_Shape, frozen=True):
    """A turn of the history: a union, exactly one of the two is set."""

    user_input_message: UserInputMessage | None = None
    assistant_response_message: AssistantResponseMessage | None = None


class ConversationState(_Shape, frozen=True):
    """The whole conversation: turns that alternate, then the message that is to be answered."""

    chat_trigger_type: Literal["MANUAL"]
    conversation_id: str
    current_message: ChatMessage
    history: tuple[ChatMessage, ...] = ()


class GenerateAssistantResponse(_Shape, frozen=True):
    """The body of `POST /generateAssistantResponse`."""

    conversation_state: ConversationState
    profile_arn: str | None = None


_encoder = msgspec.json.Encoder()
DEFAULT_REGION = "us-east-1"

MODEL_ID = r"[a-zA-Z0-9_:.-]{1,1024}"
"""What the service's id of a model looks like."""


def encode_request(request: GenerateAssistantResponse) -> bytes:
    """The request as the REST binding's JSON body, in UTF-8."""
    return _encoder.encode(request)


def service_endpoint(region: str | None) -> str:
    """The service's base URL in a region."""
    return f"https://q.{region or DEFAULT_REGION}.amazonaws.com"


def generate_call(
    request: GenerateAssistantResponse,
    *,
    endpoint: str,
    access_token: str,
    invocation_id: str,
    attempt: int,
    user_agent: str,
) -> Call:
    """The HTTP call of a request, in the REST binding.

    `endpoint` is the service's base URL. `attempt` counts from 1; `invocation_id` is the same UUID for all.
    """
    headers = {
        "authorization": f"Bearer {access_token}",
        "content-type": "application/json",
        "accept": EVENT_STREAM,
        # A compressed body could not be decoded as it comes, and its end could not be told from a cut.
        "accept-encoding": "identity",
        "x-amzn-codewhisperer-optout": "true",
        "amz-sdk-invocation-id": invocation_id,
        "amz-sdk-request": f"attempt={attempt}; max={max(3, attempt)}",
        "user-agent": user_agent,
    }
    url = endpoint.rstrip("/") + "/generateAssistantResponse"
    return Call(method="POST", url=url, headers=headers, body=encode_request(request))
