"""Written tool calls found the slow and obvious way: what `core.toolcalls` is compared with.

It follows the rules sentence by sentence, looks at every place of the text, and takes whatever time that needs.
It shares no code with what it checks: JSON is read by the standard library, an OBJECT is found by trying every
closing brace, and where Markdown shows code is found line by line, character by character.
Only names without line breaks, and without blanks at their ends, are asked for.
"""

from __future__ import annotations

import json
from collections.abc import Collection

BLANKS = " \t"
JSON_WHITESPACE = " \t\r\n"


def find_calls(text: str, names: Collection[str]) -> list[str | tuple[str, str]]:
    """The pieces of a text: strings, and calls as pairs of name and arguments."""
    fenced = fenced_places(text)
    pieces: list[str | tuple[str, str]] = []
    plain = ""
    at = 0
    found = False
    while at < len(text):
        if text[at] == "`" and at not in fenced:
            run = run_length(text, at)
            end = inline_code_end(text, at, run)
            plain += text[at:end]
            at = end
            continue
        call = None if at in fenced or in_block_quote(text, at) else call_at(text, at, names)
        if call is None:
            plain += text[at]
            at += 1
            continue
        name, arguments, at = call
        pieces += [plain, (name, arguments)]
        plain = ""
        found = True
    pieces.append(plain)
    if not found:
        return [text] if text else []
    return [piece for piece in pieces if not isinstance(piece, str) or piece.strip(JSON_WHITESPACE) != ""]


# --- Markdown --------------------------------------------------------------------------------------------------


def split_lines(text: str) -> list[tuple[int, str]]:
    """Every line's place and what stands in it, without its end."""
    lines = []
    start = at = 0
    while at < len(text):
        width = 2 if text[at : at + 2] == "\r\n" else 1 if text[at] in "\r\n" else 0
        if width:
            lines.append((start, text[start:at]))
            start = at + width
        at += width or 1
    lines.append((start, text[start:]))
    return lines


def without_indent(line: str) -> str:
    """A line without the up to three spaces that do not count."""
    for _ in range(3):
        line = line.removeprefix(" ")
    return line


def fence_of(line: str) -> str:
    """The backticks or tildes that a line starts with, where they are enough for a code fence; else nothing."""
    line = without_indent(line)
    for mark in "`~":
        run = line[: len(line) - len(line.lstrip(mark))]
        if len(run) >= 3:
            return run
    return ""


def closes_fence(line: str, opening: str) -> bool:
    """Whether a fence that began with `opening` ends here."""
    fence = fence_of(line)
    return fence.startswith(opening) and without_indent(line)[len(fence) :].strip(BLANKS) == ""


def fenced_places(text: str) -> set[int]:
    """Every place in a code fence, its first and last line included."""
    places: set[int] = set()
    opening = ""
    for start, line in split_lines(text):
        if opening:
            places.update(range(start, start + len(line)))
            if closes_fence(line, opening):
                opening = ""
        elif fence_of(line):
            places.update(range(start, start + len(line)))
            opening = fence_of(line)
    return places


def in_block_quote(text: str, at: int) -> bool:
    """Whether the line of this place is one of a block quote."""
    line = [line for start, line in split_lines(text) if start <= at][-1]
    return without_indent(line).startswith(">")


def run_length(text: str, at: int) -> int:
    """How many backticks stand here."""
    return len(text[at:]) - len(text[at:].lstrip("`"))


def inline_code_end(text: str, at: int, run: int) -> int:
    """Where the inline code ends that this run begins; the run's own end where it has no partner."""
    blank_lines = {start for start, line in split_lines(text) if start > at and line.strip(BLANKS) == ""}
    place = at + run
    while place < len(text) and place not in blank_lines:
        if text[place] != "`":
            place += 1
        elif (found := run_length(text, place)) == run:
            return place + run
        else:
            place += found
    return at + run


# --- a call ----------------------------------------------------------------------------------------------------


def call_at(text: str, at: int, names: Collection[str]) -> tuple[str, str, int] | None:
    """The call that begins here, as name, arguments and the place behind it."""
    if at > 0 and text[at - 1] not in JSON_WHITESPACE:
        return None
    for name in sorted(names, key=len, reverse=True):
        for found in (first_form(text, at, name), second_form(text, at, name)):
            if found is None:
                continue
            arguments, end = found
            after = text[end : end + 1]
            if after == "" or after in JSON_WHITESPACE or after in {".", ",", ";", ":", "!", "?"}:
                return name, arguments, end
    return None


def first_form(text: str, at: int, name: str) -> tuple[str, int] | None:
    """`Tool call:` blanks* NAME blanks* `(` whitespace* [OBJECT] whitespace* `)`."""
    rest = text[at:]
    for part in ("Tool call:", name, "("):
        if not rest.startswith(part):
            return None
        rest = rest.removeprefix(part).lstrip(BLANKS)
    rest = rest.lstrip(JSON_WHITESPACE)
    if rest.startswith(")"):
        return "{}", len(text) - len(rest) + 1
    return object_then(text, rest, ")")


def second_form(text: str, at: int, name: str) -> tuple[str, int] | None:
    """`[Called` blanks+ NAME blanks+ `with args:` whitespace* OBJECT whitespace* `]`."""
    rest = text[at:]
    for part in ("[Called", name):
        if not rest.startswith(part):
            return None
        rest = rest.removeprefix(part)
        if rest.lstrip(BLANKS) == rest:
            return None
        rest = rest.lstrip(BLANKS)
    if not rest.startswith("with args:"):
        return None
    return object_then(text, rest.removeprefix("with args:").lstrip(JSON_WHITESPACE), "]")


def object_then(text: str, rest: str, closing: str) -> tuple[str, int] | None:
    """The object that `rest` begins with, where the closing bracket follows it."""
    for end, character in enumerate(rest, 1):
        if character == "}" and is_object(rest[:end]):
            behind = rest[end:].lstrip(JSON_WHITESPACE)
            return (rest[:end], len(text) - len(behind) + 1) if behind.startswith(closing) else None
    return None


def is_object(text: str) -> bool:
    """Whether this text, all of it, is one JSON object of at most 100 levels, all of whose strings are Unicode."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    def keep(pairs: list[tuple[str, object]]) -> tuple[str, object]:
        return "{", pairs  # all of them, so that duplicate keys hide nothing

    try:
        # Integers are read as floats, because Python limits how many digits an int may have.
        value = json.loads(text, parse_constant=refuse, parse_int=float, object_pairs_hook=keep)
        text.encode()
        return text.startswith("{") and 1 <= depth(value) <= 100
    except (ValueError, RecursionError):
        return False


def depth(value: object) -> int:
    """How deep brackets nest in a parsed value.

    Raises:
        UnicodeEncodeError: a string in it has half of a surrogate pair.
    """
    if isinstance(value, str):
        value.encode()
        return 0
    if isinstance(value, tuple):
        return 1 + max([max(depth(key), depth(member)) for key, member in value[1]], default=0)
    if isinstance(value, list):
        return 1 + max([depth(member) for member in value], default=0)
    return 0
