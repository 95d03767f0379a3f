"""The shapes of a request, from AWS's published model of CodeWhisperer Streaming (2023-11-27, REST binding).

A table and a walk over it: members that are required or unknown, types, unions, lengths, patterns, enumerations.
What a whole conversation must be is for `rules`. The contexts that only an editor sends (`editorState` and its
like) are known by name, and not looked into.
"""

from __future__ import annotations

import binascii
import re
from typing import Any, TypeAlias

import msgspec


class Refused(Exception):
    """A request breaks a rule at `place`. `reason` is what the service adds to its message, mostly nothing."""

    def __init__(self, place: str, why: str, *, reason: str | None = None) -> None:
        super().__init__(f"{place or 'body'}: {why}")
        self.place = place
        self.why = why
        self.reason = reason


def shown(value: str) -> str:
    """A client's text in a log line: one line, ASCII, short."""
    return ascii(value if len(value) <= 60 else value[:60] + "...")


class Text(msgspec.Struct, frozen=True):
    """A string with a length in characters, and a pattern for the whole of it or a list of allowed values."""

    shortest: int = 0
    longest: int | None = None
    pattern: str = ""
    choices: tuple[str, ...] = ()


class Blob(msgspec.Struct, frozen=True):
    """Bytes, as base64 text. Limits are of the bytes."""

    shortest: int = 0
    longest: int | None = None


class Flag(msgspec.Struct, frozen=True):
    """True or false."""


class Document(msgspec.Struct, frozen=True):
    """Any JSON."""


class Unread(msgspec.Struct, frozen=True):
    """A structure or list that is not looked into."""

    of: type[dict[str, Any]] | type[list[Any]] = dict


class ListOf(msgspec.Struct, frozen=True):
    """A list."""

    member: Shape
    longest: int | None = None


class Structure(msgspec.Struct, frozen=True):
    """Named members. Of a union's members exactly one is there; `newer` ones are known to newer clients only."""

    members: dict[str, Shape]
    required: tuple[str, ...] = ()
    union: bool = False
    newer: tuple[str, ...] = ()


Shape: TypeAlias = Text | Blob | Flag | Document | Unread | ListOf | Structure


# --- the table -------------------------------------------------------------------------------------------------

_NAME = r"[a-zA-Z0-9_-]+"
_CACHE_POINT = Structure({"type": Text(choices=("default",))}, required=("type",))

_ORIGINS = (
    "CHATBOT CONSOLE DOCUMENTATION MARKETING MOBILE SERVICE_INTERNAL UNIFIED_SEARCH UNKNOWN MD IDE SAGE_MAKER CLI "
    "AI_EDITOR OPENSEARCH_DASHBOARD GITLAB Q_DEV_BEXT MD_IDE MD_CE SM_AI_STUDIO_IDE INLINE_CHAT KIRO_CLI"
)
ORIGIN = Text(choices=tuple(_ORIGINS.split()))

_INTENTS = (
    "SUGGEST_ALTERNATE_IMPLEMENTATION APPLY_COMMON_BEST_PRACTICES IMPROVE_CODE SHOW_EXAMPLES CITE_SOURCES "
    "EXPLAIN_LINE_BY_LINE EXPLAIN_CODE_SELECTION GENERATE_CLOUDFORMATION_TEMPLATE GENERATE_UNIT_TESTS CODE_GENERATION"
)
_INTENT = Text(choices=tuple(_INTENTS.split()))

_IMAGE = Structure(
    {
        "format": Text(choices=("png", "jpeg", "gif", "webp")),
        "source": Structure({"bytes": Blob(1, 10_000_000)}, union=True),
    },
    required=("format", "source"),
)

_TOOL = Structure(
    {
        "toolSpecification": Structure(
            {
                "name": Text(longest=64, pattern=_NAME),
                "description": Text(1, 10_240),
                "inputSchema": Structure({"json": Document()}),
            },
            required=("inputSchema", "name"),
        ),
        "cachePoint": _CACHE_POINT,
    },
    union=True,
)

_TOOL_RESULT = Structure(
    {
        "toolUseId": Text(longest=64, pattern=_NAME),
        "content": ListOf(Structure({"text": Text(longest=10_000_000), "json": Document()}, union=True)),
        "status": Text(choices=("success", "error")),
    },
    required=("toolUseId", "content"),
    newer=("toolName",),
)

_USER_CONTEXT = Structure(
    {
        "editorState": Unread(),
        "shellState": Unread(),
        "gitState": Unread(),
        "envState": Structure(
            {
                "operatingSystem": Text(1, 32, pattern="macos|linux|windows"),
                "currentWorkingDirectory": Text(1, 256),
                "environmentVariables": Unread(list),
                "timezoneOffset": Document(),
            }
        ),
        "appStudioContext": Unread(),
        "diagnostic": Unread(),
        "consoleState": Unread(),
        "userSettings": Unread(),
        "additionalContext": Unread(list),
        "toolResults": ListOf(_TOOL_RESULT),
        "tools": ListOf(_TOOL),
    }
)

_USER_MESSAGE = Structure(
    {
        "content": Text(longest=10_000_000),
        "userInputMessageContext": _USER_CONTEXT,
        "userIntent": _INTENT,
        "origin": ORIGIN,
        "images": ListOf(_IMAGE, longest=10),
        "modelId": Text(1, 1024, pattern=r"[a-zA-Z0-9_:.-]+"),
        "cachePoint": _CACHE_POINT,
        "clientCacheConfig": Structure({"useClientCachingOnly": Flag()}),
    },
    required=("content",),
    newer=("documents",),
)

_TOOL_USE = Structure(
    {
        "toolUseId": Text(longest=64, pattern=_NAME),
        "name": Text(longest=64, pattern=_NAME),
        "input": Document(),
    },
    required=("toolUseId", "name", "input"),
)

_ASSISTANT_MESSAGE = Structure(
    {
        "messageId": Text(longest=128),
        "content": Text(),
        "supplementaryWebLinks": Unread(list),
        "references": Unread(list),
        "followupPrompt": Unread(),
        "toolUses": ListOf(_TOOL_USE),
        "cachePoint": _CACHE_POINT,
        "reasoningContent": Structure(
            {
                "reasoningText": Structure({"text": Text(), "signature": Text()}, required=("text",)),
                "redactedContent": Blob(),
            },
            union=True,
        ),
    },
    required=("content",),
)

_CHAT_MESSAGE = Structure(
    {"userInputMessage": _USER_MESSAGE, "assistantResponseMessage": _ASSISTANT_MESSAGE}, union=True
)

_CONVERSATION = Structure(
    {
        "conversationId": Text(1, 128),
        "workspaceId": Text(36, 36),
        "history": ListOf(_CHAT_MESSAGE),
        "currentMessage": _CHAT_MESSAGE,
        "chatTriggerType": Text(choices=("MANUAL", "DIAGNOSTIC", "INLINE_CHAT")),
        "customizationArn": Text(
            longest=1224, pattern=r"arn:([-.a-z0-9]{1,63}:){2}([-.a-z0-9]{0,63}:){2}[a-zA-Z0-9_:/-]{1,1023}"
        ),
        "agentContinuationId": Text(36, 36),
        "agentTaskType": Text(choices=("vibe", "spectask")),
    },
    required=("currentMessage", "chatTriggerType"),
)

PROFILE_ARN = Text(
    longest=950,
    pattern=r"arn:aws:(codewhisperer|transform):[-.a-z0-9]{1,63}:[0-9]{12}:profile/[a-zA-Z0-9]{12}",
)

REQUEST = Structure(
    {"conversationState": _CONVERSATION, "profileArn": PROFILE_ARN},
    required=("conversationState",),
    newer=("agentMode", "additionalModelRequestFields"),
)
"""`GenerateAssistantResponseRequest`."""


# --- the walk --------------------------------------------------------------------------------------------------


def check(shape: Shape, value: object, place: str) -> None:
    """Whether `value` has that shape.

    Raises:
        Refused: it has not; names the first place that differs.
    """
    match shape:
        case Text():
            _check_text(shape, value, place)
        case Blob():
            _check_blob(shape, value, place)
        case Flag():
            _expect(bool, "a boolean", value, place)
        case Unread():
            _expect(shape.of, "an object" if shape.of is dict else "a list", value, place)
        case ListOf():
            _expect(list, "a list", value, place)
            assert isinstance(value, list)
            if shape.longest is not None and len(value) > shape.longest:
                raise Refused(place, f"expected at most {shape.longest} members, got {len(value)}")
            for index, member in enumerate(value):
                check(shape.member, member, f"{place}[{index}]")
        case Structure():
            _check_structure(shape, value, place)


def _expect(kind: type, name: str, value: object, place: str) -> None:
    if not isinstance(value, kind):
        raise Refused(place, f"expected {name}, got {_json_type(value)}")


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _check_text(shape: Text, value: object, place: str) -> None:
    _expect(str, "a string", value, place)
    assert isinstance(value, str)
    if shape.choices and value not in shape.choices:
        raise Refused(place, f"expected one of {', '.join(shape.choices)}, got {shown(value)}")
    if len(value) < shape.shortest:
        raise Refused(place, f"expected at least {shape.shortest} characters, got {len(value)}")
    if shape.longest is not None and len(value) > shape.longest:
        raise Refused(place, f"expected at most {shape.longest} characters, got {len(value)}")
    if shape.pattern and not re.fullmatch(shape.pattern, value):
        raise Refused(place, f"expected what matches {shape.pattern}, got {shown(value)}")


def _check_blob(shape: Blob, value: object, place: str) -> None:
    _expect(str, "a string", value, place)
    assert isinstance(value, str)
    try:
        size = len(binascii.a2b_base64(value.encode("ascii"), strict_mode=True))
    except (binascii.Error, UnicodeEncodeError):
        raise Refused(place, "expected base64") from None
    if size < shape.shortest or (shape.longest is not None and size > shape.longest):
        raise Refused(place, f"expected {shape.shortest} to {shape.longest} bytes, got {size}")


def _check_structure(shape: Structure, value: object, place: str) -> None:
    _expect(dict, "an object", value, place)
    assert isinstance(value, dict)
    for name in value:
        if name in shape.newer:
            raise Refused(_member(place, name), "only newer clients know this member; the models here do not take it")
        if name not in shape.members:
            raise Refused(_member(place, shown(name)), "unknown member")
    for name in shape.required:
        if name not in value:
            raise Refused(_member(place, name), "missing")
    if shape.union and len(value) != 1:
        raise Refused(place, f"expected exactly one of {', '.join(shape.members)}, got {len(value)} of them")
    for name, member in value.items():
        check(shape.members[name], member, _member(place, name))


def _member(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
