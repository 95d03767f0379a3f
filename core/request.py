"""Anthropic request to CodeWhisperer request: puts conversation and tools together, and checks the whole.

The service refuses a request that breaks one of its rules with "Improperly formed request." and nothing more, so
none leaves here that does.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

import msgspec

from core.anthropic import ChooseNone, ChooseTool, MessagesRequest, tool_uses
from core.catalogue import Model
from core.codewhisperer import (
    MODEL_ID,
    AssistantResponseMessage,
    ChatMessage,
    ConversationState,
    GenerateAssistantResponse,
    Tool,
    ToolResult,
    UserContext,
    UserInputMessage,
)
from core.conversation import MAX_IMAGES, converse, join, read_system
from core.errors import ClientRequestError, ShellError
from core.refusals import prompt_too_long
from core.tools import LEGAL_NAME, MAX_DESCRIPTION, Names, map_names, specify, unique_ids
from core.usage import IMAGE_TOKENS, estimate_text

MAX_CONTENT = 10_000_000
"""Characters of a user's words, and of one text of a tool's result."""


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """A client's request, ready to be sent for any account, and what of it matters to the answer."""

    request: GenerateAssistantResponse
    """Without a profile, which is the account's."""
    model: Model
    names: Names
    callable_names: frozenset[str]
    """The request's tools, in the client's and the service's spelling, to look for in written-out calls."""
    calls_allowed: bool
    """Whether the client offers tools, and did not say that none may be called."""
    stop_sequences: tuple[str, ...]
    stream: bool
    estimated_input: int
    """The request's size in tokens, estimated."""


def convert(request: MessagesRequest, *, model: Model, conversation_id: str) -> Conversion:
    """The request in the service's words.

    `tool_choice` cannot be enforced at the service: `tool` offers that one alone, `none` offers none, `any` and
    `auto` offer all. Tools that history calls are declared in any case.

    Raises:
        ClientRequestError: something in it cannot be carried over; names the place.
    """
    definitions = request.tools or ()
    offered = _offered(request)
    uses = [use for _, use in tool_uses(request.messages)]
    called = dict.fromkeys(use.name for use in uses)
    client_ids = [use.id for use in uses]
    service_ids = unique_ids(client_ids)
    names = map_names(
        [*(definition.name for definition in definitions), *called], zip(client_ids, service_ids, strict=True)
    )
    specifications = specify(definitions, offered=offered, called=called, names=names)
    callable_names = frozenset(definition.name for definition in definitions) if offered else frozenset()
    conversation = converse(
        request.messages,
        opening=join([read_system(request.system), specifications.overflow]),
        names=names,
        tool_use_ids=service_ids,
        model_id=model.id,
    )
    current = conversation.current
    context = UserContext(tools=specifications.tools, tool_results=_results(current))
    state = ConversationState(
        chat_trigger_type="MANUAL",
        conversation_id=conversation_id,
        history=conversation.history,
        current_message=ChatMessage(
            user_input_message=msgspec.structs.replace(current, user_input_message_context=context)
        ),
    )
    estimated_input = _estimate(state, specifications.tools)
    if any(len(text) > MAX_CONTENT for text in _limited_texts(state)):
        raise ClientRequestError("", prompt_too_long(estimated_input, model.context_window))
    check_rules(state)
    return Conversion(
        request=GenerateAssistantResponse(conversation_state=state),
        model=model,
        names=names,
        callable_names=callable_names | {names.service_name(name) for name in callable_names},
        calls_allowed=bool(offered),
        stop_sequences=request.stop_sequences or (),
        stream=bool(request.stream),
        estimated_input=estimated_input,
    )


def _offered(request: MessagesRequest) -> frozenset[str]:
    match request.tool_choice:
        case ChooseNone():
            return frozenset()
        case ChooseTool(name):
            return frozenset((name,))
        case _:
            return frozenset(definition.name for definition in request.tools or ())


# --- the size --------------------------------------------------------------------------------------------------


def _results(message: UserInputMessage) -> tuple[ToolResult, ...]:
    context = message.user_input_message_context
    return context.tool_results if context is not None else ()


def _limited_texts(state: ConversationState) -> Iterator[str]:
    """The texts of users and tools, which have a limit each."""
    for message in (*state.history, state.current_message):
        if (turn := message.user_input_message) is not None:
            yield turn.content
            for result in _results(turn):
                for piece in result.content:
                    yield piece.text


def _estimate(state: ConversationState, tools: Sequence[Tool]) -> int:
    """The tokens of all that the model reads."""
    tokens = sum(map(estimate_text, _limited_texts(state)))
    for message in (*state.history, state.current_message):
        if (user := message.user_input_message) is not None:
            tokens += IMAGE_TOKENS * len(user.images)
        if (assistant := message.assistant_response_message) is not None:
            tokens += estimate_text(assistant.content)
            if (thought := assistant.reasoning_content) is not None and thought.reasoning_text is not None:
                tokens += estimate_text(thought.reasoning_text.text)
            for use in assistant.tool_uses:
                tokens += estimate_text(use.name) + estimate_text(msgspec.json.encode(use.input).decode())
    for tool in tools:
        specification = tool.tool_specification
        tokens += estimate_text(specification.name) + estimate_text(specification.description)
        tokens += estimate_text(msgspec.json.encode(specification.input_schema).decode())
    return tokens


# --- the rules -------------------------------------------------------------------------------------------------


def check_rules(state: ConversationState) -> None:
    """Whether the service would take the conversation: every rule that is known, one after the other.

    What clients cause has been mended or refused before, so what is found here is a bug of ours. Nulls in schemas
    are not looked for again: that is the costly one, and `tools.clean_schema` has done nothing else.

    Raises:
        ShellError: it would not; names the first place.
    """
    if not 1 <= len(state.conversation_id) <= 128:
        raise ShellError(f"conversationId: expected 1 to 128 characters, got {len(state.conversation_id)}")
    current = state.current_message.user_input_message
    if current is None or current.user_input_message_context is None:
        raise ShellError("currentMessage: expected a user's turn with a context")
    if len(state.history) % 2:
        raise ShellError("history: expected pairs of a user's and an assistant's turn")
    declared = _check_specifications(current.user_input_message_context)
    seen: set[str] = set()
    unanswered: tuple[str, ...] = ()
    for index, message in enumerate((*state.history, state.current_message)):
        is_current = index == len(state.history)
        place = "currentMessage" if is_current else f"history[{index}]"
        user, assistant = message.user_input_message, message.assistant_response_message
        if (user is None) == (assistant is None) or (user is None) != bool(index % 2):
            raise ShellError(f"{place}: expected turns that alternate, a user's first")
        if user is not None:
            _check_user(user, unanswered, place, may_have_tools=is_current)
        else:
            assert assistant is not None
            unanswered = _check_assistant(assistant, declared, seen, place)


def _check_specifications(context: UserContext) -> Collection[str]:
    declared: set[str] = set()
    for index, tool in enumerate(context.tools):
        specification = tool.tool_specification
        place = f"tools[{index}]"
        if not LEGAL_NAME.fullmatch(specification.name) or specification.name in declared:
            raise ShellError(f"{place}: expected a legal name of its own")
        if not 1 <= len(specification.description) <= MAX_DESCRIPTION:
            raise ShellError(f"{place}: expected a description of 1 to {MAX_DESCRIPTION} characters")
        declared.add(specification.name)
    return declared


def _check_user(turn: UserInputMessage, unanswered: Sequence[str], place: str, *, may_have_tools: bool) -> None:
    answered = [result.tool_use_id for result in _results(turn)]
    if sorted(answered) != sorted(unanswered):
        raise ShellError(f"{place}: expected one result for each call of the turn before, and no other")
    if not turn.content and not answered and not turn.images:
        raise ShellError(f"{place}: expected content")
    if len(turn.content) > MAX_CONTENT:
        raise ShellError(f"{place}: expected at most {MAX_CONTENT} characters of content")
    if len(turn.images) > MAX_IMAGES:
        raise ShellError(f"{place}: expected at most {MAX_IMAGES} images")
    context = turn.user_input_message_context
    if context is not None and context.tools and not may_have_tools:
        raise ShellError(f"{place}: expected specifications in the current message only")
    if not re.fullmatch(MODEL_ID, turn.model_id):
        raise ShellError(f"{place}: expected a legal model id")


def _check_assistant(
    turn: AssistantResponseMessage, declared: Collection[str], seen: set[str], place: str
) -> tuple[str, ...]:
    """The ids of the turn's calls."""
    if not turn.content:
        raise ShellError(f"{place}: expected content")
    for use in turn.tool_uses:
        if not LEGAL_NAME.fullmatch(use.tool_use_id) or use.tool_use_id in seen:
            raise ShellError(f"{place}: expected a legal id of its own for each call")
        if use.name not in declared:
            raise ShellError(f"{place}: expected calls of declared tools")
        seen.add(use.tool_use_id)
    thought = turn.reasoning_content
    if thought is not None and (thought.reasoning_text is None) == (thought.redacted_content is None):
        raise ShellError(f"{place}: expected either thinking or redacted thinking")
    return tuple(use.tool_use_id for use in turn.tool_uses)
