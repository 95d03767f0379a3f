"""The last check before a request is sent: each rule, broken in a request that is otherwise good."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from core.codewhisperer import (
    AssistantResponseMessage,
    ChatMessage,
    ConversationState,
    Image,
    ImageSource,
    ReasoningContent,
    ReasoningText,
    ToolUse,
    UserContext,
)
from core.errors import ShellError
from core.request import check_rules
from tests.client_requests import asking, assistant, call, converted, result, tool, user


def _good() -> ConversationState:
    messages = [user("go"), assistant(call("a")), user(result("a"))]
    return converted(asking(*messages, tools=[tool("Bash")])).request.conversation_state


def _with(state: ConversationState, **members: Any) -> ConversationState:
    return msgspec.structs.replace(state, **members)


def _with_current(state: ConversationState, **members: Any) -> ConversationState:
    current = state.current_message.user_input_message
    assert current is not None
    return _with(state, current_message=ChatMessage(user_input_message=msgspec.structs.replace(current, **members)))


def _with_context(state: ConversationState, **members: Any) -> ConversationState:
    current = state.current_message.user_input_message
    assert current is not None
    assert current.user_input_message_context is not None
    context = msgspec.structs.replace(current.user_input_message_context, **members)
    return _with_current(state, user_input_message_context=context)


def _with_tool(state: ConversationState, **members: Any) -> ConversationState:
    current = state.current_message.user_input_message
    assert current is not None
    assert current.user_input_message_context is not None
    (declared,) = current.user_input_message_context.tools
    specification = msgspec.structs.replace(declared.tool_specification, **members)
    return _with_context(state, tools=(msgspec.structs.replace(declared, tool_specification=specification),))


def _with_assistant(state: ConversationState, **members: Any) -> ConversationState:
    first, second = state.history
    turn = second.assistant_response_message
    assert turn is not None
    turn = msgspec.structs.replace(turn, **members)
    return _with(state, history=(first, ChatMessage(assistant_response_message=turn)))


def _with_first(state: ConversationState, **members: Any) -> ConversationState:
    first, second = state.history
    turn = first.user_input_message
    assert turn is not None
    return _with(state, history=(ChatMessage(user_input_message=msgspec.structs.replace(turn, **members)), second))


GOOD = _good()
_CURRENT = GOOD.current_message.user_input_message
assert _CURRENT is not None
_TOOLS = _CURRENT.user_input_message_context.tools if _CURRENT.user_input_message_context else ()
_USE = ToolUse(tool_use_id="a", name="Bash", input={})
_BOTH = msgspec.structs.replace(GOOD.current_message, assistant_response_message=AssistantResponseMessage(content="x"))
_PICTURE = Image(format="png", source=ImageSource(bytes="eA=="))


def test_a_good_conversation_passes() -> None:
    check_rules(GOOD)
    thought = ReasoningContent(reasoning_text=ReasoningText(text="hm"))
    check_rules(_with_assistant(GOOD, reasoning_content=thought))


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        (_with(GOOD, conversation_id=""), "conversationId: expected 1 to 128 characters, got 0"),
        (_with(GOOD, conversation_id="x" * 129), "conversationId: expected 1 to 128 characters, got 129"),
        (_with(GOOD, current_message=GOOD.history[1]), "currentMessage: expected a user's turn"),
        (_with_current(GOOD, user_input_message_context=None), "currentMessage: expected a user's turn with a context"),
        (_with(GOOD, history=GOOD.history[:1]), "history: expected pairs"),
        (_with(GOOD, history=GOOD.history[::-1]), "history[0]: expected turns that alternate"),
        (_with(GOOD, history=(GOOD.history[0], GOOD.history[0])), "history[1]: expected turns that alternate"),
        (_with(GOOD, history=(GOOD.history[0], _BOTH)), "history[1]: expected turns that alternate"),
        (_with(GOOD, history=(ChatMessage(), GOOD.history[1])), "history[0]: expected turns that alternate"),
        (_with_tool(GOOD, name="no good"), "tools[0]: expected a legal name"),
        (_with_tool(GOOD, name="x" * 65), "tools[0]: expected a legal name"),
        (_with_context(GOOD, tools=_TOOLS * 2), "tools[1]: expected a legal name of its own"),
        (_with_tool(GOOD, description=""), "tools[0]: expected a description"),
        (_with_tool(GOOD, description="x" * 10_241), "tools[0]: expected a description"),
        (_with_tool(GOOD, name="Read"), "history[1]: expected calls of declared tools"),
        (_with_context(GOOD, tool_results=()), "currentMessage: expected one result for each call"),
        (_with_assistant(GOOD, tool_uses=()), "currentMessage: expected one result for each call"),
        (_with_assistant(GOOD, tool_uses=(_USE, _USE)), "history[1]: expected a legal id of its own"),
        (
            _with_assistant(GOOD, tool_uses=(msgspec.structs.replace(_USE, tool_use_id="no good"),)),
            "history[1]: expected a legal id",
        ),
        (_with_assistant(GOOD, content=""), "history[1]: expected content"),
        (_with_assistant(GOOD, reasoning_content=ReasoningContent()), "history[1]: expected either thinking"),
        (_with_first(GOOD, content=""), "history[0]: expected content"),
        (_with_first(GOOD, content="x" * 10_000_001), "history[0]: expected at most 10000000 characters"),
        (_with_first(GOOD, images=(_PICTURE,) * 11), "history[0]: expected at most 10 images"),
        (_with_first(GOOD, model_id="no good"), "history[0]: expected a legal model id"),
        (
            _with_first(GOOD, user_input_message_context=UserContext(tools=_TOOLS)),
            "history[0]: expected specifications in the current message only",
        ),
    ],
)
def test_a_broken_rule_is_a_bug_of_ours_and_named_with_its_place(state: ConversationState, problem: str) -> None:
    with pytest.raises(ShellError, match=re.escape(problem)):
        check_rules(state)
