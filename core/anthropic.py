"""The Messages API's words: the request it takes, the message and the errors it answers with.

What is in here is how things look; what becomes of them is for `conversation`, `request`, `response` and `sse`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from core.errors import ClientRequestError

# --- the message -----------------------------------------------------------------------------------------------

StopReason: TypeAlias = Literal[
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "refusal",
    "model_context_window_exceeded",
]


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Tokens, as clients account for them. `input_tokens` counts neither of the cache's figures."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0


class AnswerText(msgspec.Struct, frozen=True, tag="text"):
    """A block of text."""

    text: str


class AnswerToolUse(msgspec.Struct, frozen=True, tag="tool_use"):
    """A call of a tool. `input` is one JSON object, kept as the text in which it came."""

    id: str
    name: str
    input: msgspec.Raw


class AnswerThinking(msgspec.Struct, frozen=True, tag="thinking"):
    """The model's thinking. The signature is `""` where the service sent none."""

    thinking: str
    signature: str


class AnswerRedactedThinking(msgspec.Struct, frozen=True, tag="redacted_thinking"):
    """Thinking that only the model's provider can read."""

    data: str


AnswerBlock: TypeAlias = AnswerText | AnswerToolUse | AnswerThinking | AnswerRedactedThinking


class AnswerMessage(msgspec.Struct, frozen=True, kw_only=True, tag="message"):
    """A whole answer, and (with no content, no stop reason) the beginning of a streamed one."""

    id: str
    role: Literal["assistant"] = "assistant"
    model: str
    content: tuple[AnswerBlock, ...]
    stop_reason: StopReason | None
    stop_sequence: str | None = None
    usage: Usage


# --- the errors ------------------------------------------------------------------------------------------------

STATUS_OF_ERROR = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The HTTP status of each error type."""


def render_error(error_type: str, message: str, request_id: str) -> dict[str, Any]:
    """The error form: the body of every answer that is no success, and the data of an `error` event."""
    return {"type": "error", "error": {"type": error_type, "message": message}, "request_id": request_id}


# --- the request -----------------------------------------------------------------------------------------------

# Members that are not listed are ignored: msgspec passes over them. What that means for each is in README's table.


class TextBlock(msgspec.Struct, frozen=True, tag="text"):
    """Words."""

    text: str


class Base64Source(msgspec.Struct, frozen=True, tag="base64"):
    """Bytes that came with the request."""

    media_type: str
    data: str


class UrlSource(msgspec.Struct, frozen=True, tag="url"):
    """Bytes that the server should fetch."""

    url: str


class FileSource(msgspec.Struct, frozen=True, tag="file"):
    """Bytes that were uploaded before."""

    file_id: str


class TextSource(msgspec.Struct, frozen=True, tag="text"):
    """A document's plain text."""

    data: str


class ContentSource(msgspec.Struct, frozen=True, tag="content"):
    """A document made of blocks."""

    content: str | tuple[TextBlock | ImageBlock, ...]


class ImageBlock(msgspec.Struct, frozen=True, tag="image"):
    """A picture."""

    source: Base64Source | UrlSource | FileSource


class DocumentBlock(msgspec.Struct, frozen=True, tag="document"):
    """A document, with what the client says about it."""

    source: Base64Source | UrlSource | FileSource | TextSource | ContentSource
    title: str | None = None
    context: str | None = None


class SearchResultBlock(msgspec.Struct, frozen=True, tag="search_result"):
    """Something that the client's own search found."""

    source: str
    title: str
    content: tuple[TextBlock, ...]


class ToolReferenceBlock(msgspec.Struct, frozen=True, tag="tool_reference"):
    """A tool that the client's own search for tools found."""

    tool_name: str


class ToolUseBlock(msgspec.Struct, frozen=True, tag="tool_use"):
    """A past call by the assistant."""

    id: str
    name: Annotated[str, msgspec.Meta(min_length=1)]
    input: dict[str, Any]


class ToolResultBlock(msgspec.Struct, frozen=True, tag="tool_result"):
    """What the client's tool gave back."""

    tool_use_id: str
    content: str | tuple[ResultBlock, ...] | None = None
    is_error: bool | None = None


class ThinkingBlock(msgspec.Struct, frozen=True, tag="thinking"):
    """The assistant's past thinking. A signature of `""` is one that the service did not send."""

    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(msgspec.Struct, frozen=True, tag="redacted_thinking"):
    """Past thinking that only the model's provider can read."""

    data: str


ResultBlock: TypeAlias = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReferenceBlock
"""The blocks that can stand in a tool's result."""

InputBlock: TypeAlias = ResultBlock | ToolUseBlock | ToolResultBlock | ThinkingBlock | RedactedThinkingBlock
"""The blocks that can stand in a message."""


class InputMessage(msgspec.Struct, frozen=True):
    """One message of the conversation. Clients do send null for an empty content, and system messages amid others."""

    role: Literal["user", "assistant", "system"]
    content: str | tuple[InputBlock, ...] | None


class ToolDefinition(msgspec.Struct, frozen=True):
    """A tool that the client offers to run. `parse_request` lets no `type` through but None and "custom"."""

    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] = msgspec.field(default_factory=dict)


class ChooseAuto(msgspec.Struct, frozen=True, tag="auto"):
    """The model decides whether to call."""


class ChooseAny(msgspec.Struct, frozen=True, tag="any"):
    """The model is to call some tool."""


class ChooseTool(msgspec.Struct, frozen=True, tag="tool"):
    """The model is to call this tool."""

    name: str


class ChooseNone(msgspec.Struct, frozen=True, tag="none"):
    """The model is to call no tool."""


class MessagesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /v1/messages`, and (without `max_tokens`) of `POST /v1/messages/count_tokens`."""

    model: str
    messages: tuple[InputMessage, ...]
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    system: str | tuple[TextBlock, ...] | None = None
    tools: tuple[ToolDefinition, ...] | None = None
    tool_choice: ChooseAuto | ChooseAny | ChooseTool | ChooseNone | None = None
    stop_sequences: tuple[str, ...] | None = None
    stream: bool | None = None
    mcp_servers: Any = None
    container: Any = None


_request = msgspec.json.Decoder(MessagesRequest)

MAX_STOP_SEQUENCES = 100
"""Each costs a search through the whole answer; clients send a handful."""

MAX_NESTING = 200
"""How deep a tool's schema or input may nest: far more than any needs, and well inside what can be encoded again."""


def parse_request(body: bytes, *, counting: bool = False) -> MessagesRequest:
    """The request in a body. With `counting`, `max_tokens` may be absent.

    Raises:
        ClientRequestError: it is none, or asks for what cannot be carried over to the service.
    """
    try:
        request = _request.decode(body)
    except msgspec.ValidationError as error:
        raise _refusal(str(error)) from None
    except msgspec.DecodeError as error:
        # What msgspec says of half of a surrogate pair at a string's end, too.
        problem = "it is cut, or a string in it has half of a surrogate pair" if "truncated" in str(error) else error
        raise ClientRequestError("", f"the body cannot be read as JSON: {problem}") from None
    except UnicodeDecodeError:
        raise ClientRequestError("", "the body cannot be read as JSON: it is not UTF-8") from None
    except RecursionError:
        raise ClientRequestError("", "the body nests too deeply") from None
    if request.max_tokens is None and not counting:
        raise ClientRequestError("max_tokens", "field required")
    if not request.messages:
        raise ClientRequestError("messages", "at least one message is required")
    if len(request.stop_sequences or ()) > MAX_STOP_SEQUENCES:
        raise ClientRequestError("stop_sequences", f"at most {MAX_STOP_SEQUENCES} can be looked for")
    for index, sequence in enumerate(request.stop_sequences or ()):
        if not sequence.strip():
            raise ClientRequestError(f"stop_sequences[{index}]", "each stop sequence must contain non-whitespace")
    # To ignore these would leave out tools that the client counts on.
    if request.mcp_servers:
        raise ClientRequestError("mcp_servers", "tools that run on the server cannot be carried over to the service")
    if request.container is not None:
        raise ClientRequestError("container", "code that runs on the server cannot be carried over to the service")
    _check_tools(request)
    for place, use in tool_uses(request.messages):
        if nesting(use.input) > MAX_NESTING:
            raise ClientRequestError(f"{place}.input", f"nests more than {MAX_NESTING} levels deep")
    return request


def _check_tools(request: MessagesRequest) -> None:
    names: set[str] = set()
    for index, tool in enumerate(request.tools or ()):
        place = f"tools[{index}]"
        if tool.type is not None and tool.type != "custom":
            raise ClientRequestError(
                f"{place}.type",
                f"{shorten(tool.type)} is a tool that Anthropic defines or runs; only the client's own tools "
                "(with a name and an input_schema, and no type or type 'custom') can be carried over to the service",
            )
        if not tool.name:
            raise ClientRequestError(f"{place}.name", "field required")
        if tool.name in names:
            raise ClientRequestError(f"{place}.name", "tool names must be unique")
        names.add(tool.name)
        if nesting(tool.input_schema) > MAX_NESTING:
            raise ClientRequestError(f"{place}.input_schema", f"nests more than {MAX_NESTING} levels deep")
    match request.tool_choice:
        case ChooseTool(name) if name not in names:
            raise ClientRequestError("tool_choice.name", f"tool {shorten(name)} is not among the tools")
        case ChooseAny() if not names:
            raise ClientRequestError("tool_choice", "a tool can be required only where tools are given")


def tool_uses(messages: Sequence[InputMessage]) -> Iterator[tuple[str, ToolUseBlock]]:
    """All past calls in order, each with its place."""
    for index, message in enumerate(messages):
        if isinstance(message.content, tuple):
            for position, block in enumerate(message.content):
                if isinstance(block, ToolUseBlock):
                    yield f"messages[{index}].content[{position}]", block


def nesting(value: object) -> int:
    """How many objects and lists stand in one another, level by level (recursion is what it protects from)."""
    depth = 0
    level = [value]
    while level := [each for each in level if isinstance(each, (dict, list))]:
        depth += 1
        level = [member for each in level for member in (each.values() if isinstance(each, dict) else each)]
    return depth


def shorten(text: str) -> str:
    """A client's text inside an error message: quoted, on one line, at most 60 characters of it."""
    return repr(text if len(text) <= 60 else text[:60] + "...")


_MISSING = re.compile(r"Object missing required field `(\w+)`")


def _refusal(error: str) -> ClientRequestError:
    """A problem that msgspec found, in our words. Its path holds names of members that are listed here, and numbers.

    An unknown tag stands in the problem as it came, whatever it holds, so the path is looked for from the end.
    """
    problem, found, path = error.rpartition(" - at `$")
    if not found:
        problem, path = error, ""
        if not problem.startswith("Object missing"):
            problem = f"the body: {problem}"
    place = path.removesuffix("`").removeprefix(".")
    if missing := _MISSING.fullmatch(problem):
        return ClientRequestError(f"{place}.{missing[1]}" if place else missing[1], "field required")
    if problem.startswith("Invalid value '"):
        tag = shorten(problem.removeprefix("Invalid value '")[:-1])
        return ClientRequestError(
            place.removesuffix(".type"), f"type {tag} is unknown or cannot be carried over to the service"
        )
    if problem.startswith("Invalid enum value '"):
        value = shorten(problem.removeprefix("Invalid enum value '")[:-1])
        return ClientRequestError(place, f"{value} is not allowed here")
    return ClientRequestError(place, problem[:1].lower() + problem[1:])
