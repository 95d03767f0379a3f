"""A small assistant: what is answered to a request. It knows no model and no chance; the same request, the same answer.

It says what it was asked. Where a shell-like tool is offered and asked for, or another tool is named, it calls
that; and it uses what the tool gave back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from adapters.emulator.arguments import command_property, make_arguments


class Tool(msgspec.Struct, frozen=True):
    """A tool that the request offers."""

    name: str
    schema: Any


class ToolCall(msgspec.Struct, frozen=True):
    """A tool that is to be called."""

    name: str
    arguments: dict[str, Any]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks, as far as the assistant understands it. `words` are the newest of the user's."""

    words: str
    tools: tuple[Tool, ...]
    results: tuple[str, ...]
    model: str
    size: int


class Answer(msgspec.Struct, frozen=True):
    """What is answered: text, then perhaps a call."""

    text: str
    call: ToolCall | None = None


# --- reading ---------------------------------------------------------------------------------------------------

# Clients put notes for the model beside the user's words, between tags of their own.
_NOTE = re.compile(
    r"<(system-reminder|system|system-prompt|context|command-(?:name|message|args)"
    r"|local-command-(?:stdout|stderr|caveat))>"
)
_TAGGED = re.compile(r"<([\w-]+)>[^<]*</\1>")
_PARAGRAPHS = re.compile(r"\n\s*\n")
# How a system prompt begins which stands, having no member of its own, before the user's words.
_PERSONA = re.compile(r"(you are|you're|your task|your role|system:)\b", re.IGNORECASE)

_RUN = re.compile(r"\b(?:run|runs|running|execute|command|commands|shell|bash|terminal|tool|tools)\b", re.IGNORECASE)
_RUN_THIS = re.compile(
    r"(?:^|(?<=[.!?]\s))(?:please,?\s|now\s|then\s|can you\s|could you\s){0,3}(?:run|execute|use|call)\b",
    re.IGNORECASE,
)
_ANY_TOOL = re.compile(r"\b(?:use|call|try)\b[^.?!\n]{0,40}\btools?\b", re.IGNORECASE)
_SHELL_NAMES = re.compile(r"(?:^|[^a-z])(?:bash|shell|sh|terminal|exec|execute|command|cmd|run)(?:$|[^a-z])")
_LONGEST_ASK = 300
_MOST_PARAGRAPHS = 6
_LONGEST_WORDS = 10_000


def read_request(request: Mapping[str, Any], size: int) -> Asked:
    """What a request asks. It was found good before; `size` is its body's, in bytes."""
    message = request["conversationState"]["currentMessage"]["userInputMessage"]
    context = message.get("userInputMessageContext", {})
    specifications = [tool["toolSpecification"] for tool in context.get("tools", []) if "toolSpecification" in tool]
    return Asked(
        words=newest_words(message["content"])[:_LONGEST_WORDS],
        tools=tuple(Tool(each["name"], each["inputSchema"].get("json", {})) for each in specifications),
        results=tuple(_result_text(result) for result in context.get("toolResults", [])),
        model=message.get("modelId", "auto"),
        size=size,
    )


def newest_words(content: str) -> str:
    """The user's own words of a message in which system text and reminders may stand too.

    No request says which words are whose, so this guesses. The last paragraph is the user's, or the first if a
    persona ("You are ...") does not begin there, whichever asks for something; else one between them that is
    short and begins with the asking. With much system text around, none may be found.
    """
    parts: list[str] = _PARAGRAPHS.split(_without_notes(content))
    paragraphs = [part.strip() for part in parts if part.strip() and not _TAGGED.fullmatch(part.strip())]
    if not paragraphs:
        return ""
    ends = [paragraphs[-1]]
    has_persona = _PERSONA.match(paragraphs[0]) is not None
    if not has_persona:
        ends.append(paragraphs[0])
    for paragraph in ends:
        if len(paragraph) <= _LONGEST_ASK and _RUN.search(paragraph):
            return paragraph
    for paragraph in reversed(paragraphs[1:-1]):
        if len(paragraph) <= _LONGEST_ASK and _RUN_THIS.match(paragraph):
            return paragraph
    # A coding client's first message: its system text is around the user's words, and which they are cannot be told.
    return "" if has_persona and len(paragraphs) > _MOST_PARAGRAPHS else paragraphs[-1]


def _without_notes(content: str) -> str:
    """The content with a paragraph's break for each note. One that never ends is left; time is linear."""
    kept: list[str] = []
    unended: set[str] = set()
    end = 0
    for note in _NOTE.finditer(content):
        if note.start() < end or note[1] in unended:
            continue
        closing = f"</{note[1]}>"
        found = content.find(closing, note.end())
        if found < 0:
            unended.add(note[1])
            continue
        kept.append(content[end : note.start()])
        end = found + len(closing)
    kept.append(content[end:])
    return "\n\n".join(kept)


def _result_text(result: Mapping[str, Any]) -> str:
    parts = [
        part["text"] if "text" in part else msgspec.json.encode(part["json"]).decode() for part in result["content"]
    ]
    text = "\n".join(parts).strip() or "(nothing)"
    return f"an error: {text}" if result.get("status") == "error" else text


# --- deciding --------------------------------------------------------------------------------------------------


_HINT = "Ask me to run a command, and I will call a tool for it."


def decide(asked: Asked) -> Answer:
    """The answer to a request."""
    if asked.results:
        told = " Then it said: ".join(_quoted(result, 600) for result in asked.results)
        return Answer(f"I have the result. The tool said: {told}. That is all there is to it.")
    if (tool := wanted_tool(asked)) is not None:
        call = ToolCall(tool.name, make_arguments(tool.schema, asked.words))
        return Answer(f"I'll use {tool.name} for that.", call)
    if not asked.words:
        return Answer(f"I cannot tell your words from what else you sent. {_HINT}")
    return Answer(f"You said: {_quoted(asked.words, 400)}. I am an emulator and know nothing, but I heard you. {_HINT}")


def _quoted(text: str, longest: int) -> str:
    text = text if len(text) <= longest else f"{text[:longest]}..."
    return f'"{text}"'


def wanted_tool(asked: Asked) -> Tool | None:
    """The tool that the user's newest words ask for, if one is offered."""
    for tool in asked.tools:
        if _is_named(tool.name, asked.words):
            return tool
    # A long text speaks of tools and commands without asking for one, unless a sentence begins with the asking.
    asks = _RUN.search(asked.words) if len(asked.words) <= _LONGEST_ASK else _RUN_THIS.search(asked.words)
    if asks and (shell := shell_tool(asked.tools)) is not None:
        return shell
    if asked.tools and _ANY_TOOL.search(asked.words):
        return asked.tools[0]
    return None


def shell_tool(tools: tuple[Tool, ...]) -> Tool | None:
    """The first tool that takes a command line, by its name and a property for it."""
    for tool in tools:
        # `runCommand`, `RunCommand` and `run_command` alike.
        spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", tool.name).lower()
        if _SHELL_NAMES.search(spaced) and command_property(tool.schema) is not None:
            return tool
    return None


def _is_named(name: str, words: str) -> bool:
    """Whether a tool is named. Names that are words too (`Read`) count only where they can be nothing else."""
    escaped = re.escape(name)
    if re.search(rf"[`\"'“]{escaped}[`\"'”]|\b(?:the )?{escaped} tool\b|\btool {escaped}\b", words, re.IGNORECASE):
        return True
    if name.isalpha() and (name.islower() or name.istitle()):
        return re.search(rf"\b(?:[Uu]se|[Cc]all|[Ii]nvoke) {escaped}\b", words) is not None
    return re.search(rf"(?<![\w-]){escaped}(?![\w-])", words) is not None


def any_tool(asked: Asked) -> Tool:
    """A tool to call where a scenario wants a call: one asked for, else a shell, the first, or one not offered."""
    wanted = wanted_tool(asked) or shell_tool(asked.tools) or (asked.tools[0] if asked.tools else None)
    if wanted is not None:
        return wanted
    return Tool("Bash", {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]})
