"""The client's messages as the service's history and current message.

The service takes turns that alternate, from a user's to a user's, each with one string of words; results of
tools stand directly after their calls; images stand beside the words. This module knows how to say a client's
messages so. It puts in no word of its own but where the format leaves no other way, and those are listed here.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from core.anthropic import (
    Base64Source,
    ContentSource,
    DocumentBlock,
    ImageBlock,
    InputBlock,
    InputMessage,
    RedactedThinkingBlock,
    ResultBlock,
    SearchResultBlock,
    TextBlock,
    TextSource,
    ThinkingBlock,
    ToolReferenceBlock,
    ToolResultBlock,
    ToolUseBlock,
    shorten,
)
from core.codewhisperer import (
    AssistantResponseMessage,
    ChatMessage,
    Image,
    ImageSource,
    ReasoningContent,
    ReasoningText,
    ToolResult,
    ToolResultContent,
    ToolUse,
    UserContext,
    UserInputMessage,
)
from core.errors import ClientRequestError
from core.tools import Names

NO_CONTENT = "(no content)"
"""What stands where the service demands words and the client gave none. Claude Code writes the same."""

CANCELLED = "Tool use was cancelled by the user"
"""The result of a call that has none, in the wording of the service's own clients."""

ORIGIN = "AI_EDITOR"

MAX_IMAGES = 10
MAX_IMAGE_BYTES = 10_000_000

_FORMATS: Mapping[str, Literal["png", "jpeg", "gif", "webp"]] = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}

_BILLING_HEADER = "x-anthropic-billing-header"


class Conversation(msgspec.Struct, frozen=True):
    """A conversation as the service takes it. `current` has its results, but no tools yet."""

    history: tuple[ChatMessage, ...]
    current: UserInputMessage


def read_system(system: str | Sequence[TextBlock] | None) -> str:
    """The system prompt as one text, `""` if there is none.

    Claude Code's first block is one line for Anthropic's accounting, with a digest that changes from turn to turn:
    it is left out. Should more lines stand below it, they stay.
    """
    texts = [system or ""] if isinstance(system, str | None) else [block.text for block in system]
    if texts and texts[0].startswith(_BILLING_HEADER):
        texts[0] = texts[0].partition("\n")[2]
    return join(texts)


def join(texts: Sequence[str]) -> str:
    """Texts as one, each a paragraph: the service has one string where the client has blocks."""
    return "\n\n".join(text for text in texts if text)


def converse(
    messages: Sequence[InputMessage], *, opening: str, names: Names, tool_use_ids: Sequence[str], model_id: str
) -> Conversation:
    """The conversation of these messages.

    `opening` is what has no place of its own at the service, such as the system prompt: the first user's turn
    begins with it. That adds no turn which nobody took, as an invented answer to it would. `tool_use_ids` has the
    service's ids of all calls, in the order of the calls.

    Raises:
        ClientRequestError: something in it cannot be said so.
    """
    if messages[-1].role == "assistant":
        # Anthropic's words for it, which name no place.
        raise ClientRequestError(
            "",
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        )
    turns = _take_turns(messages)
    if not turns[0].by_user:
        turns.insert(0, _Turn(by_user=True, parts=[]))
    free_ids = iter(tool_use_ids)
    history = []
    unanswered: Sequence[_Call] = ()
    user = None
    for turn in turns:
        if turn.by_user:
            user = _write_user(turn, unanswered, opening, names, model_id)
            history.append(ChatMessage(user_input_message=user))
            opening = ""
        else:
            assistant, unanswered = _write_assistant(turn, free_ids, names)
            history.append(ChatMessage(assistant_response_message=assistant))
    assert user is not None
    return Conversation(tuple(history[:-1]), user)


# --- turns -----------------------------------------------------------------------------------------------------

_Part: TypeAlias = tuple[str, InputBlock]
"""A block and its place."""


class _Turn(msgspec.Struct, frozen=True, kw_only=True):
    by_user: bool
    parts: list[_Part]


_USERS: tuple[type[InputBlock], ...] = (
    TextBlock,
    ImageBlock,
    DocumentBlock,
    SearchResultBlock,
    ToolReferenceBlock,
    ToolResultBlock,
)
_ALLOWED: Mapping[str, tuple[type[InputBlock], ...]] = {
    "user": _USERS,
    "assistant": (TextBlock, ToolUseBlock, ThinkingBlock, RedactedThinkingBlock),
    "system": _USERS[:-1],
}


def _take_turns(messages: Sequence[InputMessage]) -> list[_Turn]:
    """Neighbours of one side as one turn. The service knows no system messages: they stand on the user's side."""
    turns: list[_Turn] = []
    for index, message in enumerate(messages):
        by_user = message.role != "assistant"
        if not turns or turns[-1].by_user != by_user:
            turns.append(_Turn(by_user=by_user, parts=[]))
        parts = turns[-1].parts
        if isinstance(message.content, str):
            parts.append((f"messages[{index}].content", TextBlock(message.content)))
            continue
        allowed = _ALLOWED[message.role]
        for position, block in enumerate(message.content or ()):
            place = f"messages[{index}].content[{position}]"
            if not isinstance(block, allowed):
                kind = block.__struct_config__.tag
                problem = f"a block of type {kind} cannot stand in a message of role {message.role}"
                raise ClientRequestError(place, problem)
            parts.append((place, block))
    return turns


# --- the user's ------------------------------------------------------------------------------------------------

_Call: TypeAlias = tuple[str, str]
"""A call's id as the client and as the service knows it."""


def _write_user(turn: _Turn, calls: Sequence[_Call], opening: str, names: Names, model_id: str) -> UserInputMessage:
    """A user's turn: its words in order, the results of the calls directly before it in order, its images in order.

    A result without such a call (none in the turn before, or answered already) is words like any other.
    """
    waiting: dict[str, deque[str]] = {}
    for client_id, service_id in calls:
        waiting.setdefault(client_id, deque()).append(service_id)
    texts = [opening]
    results: dict[str, ToolResult] = {}
    images: list[Image] = []
    for place, block in turn.parts:
        if not isinstance(block, ToolResultBlock):
            assert isinstance(block, ResultBlock)  # `_take_turns` lets no other through
            texts.extend(_read_block(block, place, images, names, marked=False))
        elif queue := waiting.get(block.tool_use_id):
            service_id = queue.popleft()
            results[service_id] = _write_result(block, service_id, place, images, names)
        else:
            texts.extend(_read_result(block, place, images, names, marked=False))
    for _, service_id in calls:
        if service_id not in results:
            results[service_id] = _tool_result(service_id, (CANCELLED,), "error")
    content = join(texts)
    if not content.strip() and not results and not images:
        content += NO_CONTENT
    return UserInputMessage(
        content=content,
        model_id=model_id,
        origin=ORIGIN,
        images=tuple(images),
        user_input_message_context=UserContext(tool_results=tuple(results.values())) if results else None,
    )


def _write_result(
    block: ToolResultBlock, tool_use_id: str, place: str, images: list[Image], names: Names
) -> ToolResult:
    # The service's model allows an empty text, but the models behind it refuse blank ones.
    texts = [text for text in _read_result(block, place, images, names, marked=True) if text.strip()]
    return _tool_result(tool_use_id, texts or [NO_CONTENT], "error" if block.is_error else "success")


def _tool_result(tool_use_id: str, texts: Sequence[str], status: Literal["success", "error"]) -> ToolResult:
    content = tuple(ToolResultContent(text=text) for text in texts)
    return ToolResult(tool_use_id=tool_use_id, content=content, status=status)


def _read_result(
    block: ToolResultBlock, place: str, images: list[Image], names: Names, *, marked: bool
) -> Iterator[str]:
    if isinstance(block.content, str):
        if block.content:
            yield block.content
        return
    for position, each in enumerate(block.content or ()):
        yield from _read_block(each, f"{place}.content[{position}]", images, names, marked=marked)


def _read_block(block: ResultBlock, place: str, images: list[Image], names: Names, *, marked: bool) -> Iterator[str]:
    """The words of a block, none of them empty. An image goes to `images`.

    With `marked` a note stands where the image stood: beside a tool's result nothing else says whose it is. In the
    user's own words there is none.
    """
    match block:
        case TextBlock(text):
            if text:
                yield text
        case ImageBlock():
            images.append(_read_image(block, place, len(images)))
            if marked:
                yield f"[image {len(images)}]"
        case DocumentBlock():
            yield _read_document(block, place, images, names, marked=marked)
        case SearchResultBlock(source, title, content):
            header = {"title": title, "source": source}
            yield _section("search_result", header, [each.text for each in content])
        case _:
            yield f"[tool {names.service_name(block.tool_name)}]"


def _read_document(block: DocumentBlock, place: str, images: list[Image], names: Names, *, marked: bool) -> str:
    header = {"title": block.title, "context": block.context}
    match block.source:
        case TextSource(data):
            return _section("document", header, [data])
        case ContentSource(content):
            texts: list[str] = []
            for position, each in enumerate([TextBlock(content)] if isinstance(content, str) else content):
                inner = f"{place}.source.content[{position}]"
                texts.extend(_read_block(each, inner, images, names, marked=marked))
            return _section("document", header, texts)
        case Base64Source(media_type):
            raise ClientRequestError(
                f"{place}.source",
                f"documents of type {shorten(media_type)} cannot be carried over: the service takes no PDF "
                "or other file; send its text (source type 'text') or images of its pages",
            )
        case other:
            kind = other.__struct_config__.tag
            raise ClientRequestError(f"{place}.source", f"a document by {kind} cannot be carried over; send its text")


def _section(kind: str, header: Mapping[str, str | None], texts: Sequence[str]) -> str:
    """A block that the service does not know, as words: tags say where it begins and ends, as Anthropic advises."""
    lines = [f"<{name}>{value}</{name}>" for name, value in header.items() if value]
    return "\n".join((f"<{kind}>", *lines, *texts, f"</{kind}>"))


def _read_image(block: ImageBlock, place: str, before: int) -> Image:
    place = f"{place}.source"
    source = block.source
    if not isinstance(source, Base64Source):
        kind = source.__struct_config__.tag
        raise ClientRequestError(place, f"an image by {kind} cannot be carried over; send its bytes as base64")
    if before == MAX_IMAGES:
        raise ClientRequestError(
            place,
            f"the service takes at most {MAX_IMAGES} images in one turn (neighbouring messages of one side are one "
            "turn); send fewer, or in several turns",
        )
    if (image_format := _FORMATS.get(source.media_type)) is None:
        known = ", ".join(_FORMATS)
        raise ClientRequestError(f"{place}.media_type", f"expected one of {known}, got {shorten(source.media_type)}")
    # MIME's line breaks mean nothing, and the service's decoder need not know them.
    data = "".join(source.data.split())
    size = _decoded_size(data, f"{place}.data")
    if not 1 <= size <= MAX_IMAGE_BYTES:
        raise ClientRequestError(f"{place}.data", f"expected 1 to {MAX_IMAGE_BYTES} bytes, got {size}")
    return Image(format=image_format, source=ImageSource(bytes=data))


def _decoded_size(data: str, place: str) -> int:
    try:
        return len(base64.b64decode(data, validate=True))
    except ValueError:
        raise ClientRequestError(place, "expected base64") from None


# --- the assistant's -------------------------------------------------------------------------------------------


def _write_assistant(
    turn: _Turn, free_ids: Iterator[str], names: Names
) -> tuple[AssistantResponseMessage, list[_Call]]:
    """An assistant's turn, and its calls. Its words, its calls and its thinking stand apart, each in order."""
    texts = []
    calls: list[_Call] = []
    tool_uses = []
    reasoning = None
    for place, block in turn.parts:
        match block:
            case TextBlock(text):
                texts.append(text)
            case ToolUseBlock(client_id, name, tool_input):
                service_id = next(free_ids)
                calls.append((client_id, service_id))
                tool_uses.append(ToolUse(tool_use_id=service_id, name=names.service_name(name), input=tool_input))
            case _:
                # A message of the service has room for one: the last, which led to the calls. To join them would
                # break their signatures, and to write them into the words would teach the model to do so.
                reasoning = _read_thinking(block, place) or reasoning
    content = join(texts)
    if not content.strip():
        content = (content or " ") if tool_uses else content + NO_CONTENT
    message = AssistantResponseMessage(content=content, tool_uses=tuple(tool_uses), reasoning_content=reasoning)
    return message, calls


def _read_thinking(block: InputBlock, place: str) -> ReasoningContent | None:
    match block:
        case ThinkingBlock(thinking, signature) if thinking or signature:
            return ReasoningContent(reasoning_text=ReasoningText(text=thinking, signature=signature))
        case RedactedThinkingBlock(data) if data:
            _decoded_size(data, f"{place}.data")
            return ReasoningContent(redacted_content=data)
        case _:
            return None
