"""Calls written out as text: what is embedded is found, what is not is not, and the slow reference agrees.

An input is a letter and the rest.

    t   a text in UTF-8. Found in it is what `fuzz.reference_toolcalls` finds, and what is decided on a part of the
        text stays so when more comes.
    g   the same, but bytes from 0x80 stand for pieces of calls, JSON and Markdown each: see `PIECES`.
    e   a text into which calls are written: what is found is exactly those, in exactly the text around them.
        Surrounded by what makes a quotation of it, none of them is found, and the text stays whole.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as a script, so that the modules beside it are the ones that are tried
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from core.toolcalls import Match, Miss, WrittenCall, find_calls, index_names, match_call
from fuzz import reference_toolcalls

NAMES = ("Read", "ReadFile", "a b", "mcp__files__list")
_INDEX = index_names(NAMES)

PIECES = (
    *("Tool call: Read({})", "[Called Read with args: {}]", 'Tool call: a b({"a": "`"})', "Tool call: ReadFile()"),
    *('[Called a b with args: {"a":1}]', 'Tool call: ReadFile({"a": "Tool call: Read({})"})'),
    *("Tool call:", "Tool call: ", "[Called", "[Called ", " with args:", "Read", "ReadFile", "a b", "File"),
    *("(", ")", "[", "]", "{", "}", "{}", "({", "})", '{"a":', "}]", '"', '"a"', ":", ",", "\\", '\\"', "\\n"),
    *("\\u00e9", "\\ud83e\\udd8a", "\\ud800", "1", "-0", "1.5e3", "01", "1e", "true", "tru", "null", "NaN"),
    *("é", "日", "\u3000", "\xa0", "\x0c", "\ufeff", "\ud800", "`", "``", "```", "~~~", "> ", "   ", "    ", "\t"),
    *("\n", "\n\n", "\n \n", "\r\n", "\r"),
)
_LONGEST = 300
"""Characters of a text: the reference looks at everything again and again."""

_SPACE = " \t\r\n"
_MARKERS = ("Tool call:", "[Called")
_FORMS = (
    "Tool call: NAME(OBJECT)",
    "Tool call:NAME\t (\r\n OBJECT\t\n)",
    "[Called NAME with args: OBJECT]",
    "[Called\t NAME \twith args:\n\nOBJECT ]",
)
_AFTER = ("\n", " ", ". ", ", ", "; ", ": ", "! ", "?\n")
_QUOTATIONS = (
    ("x", ""),
    ("", "x"),
    ("`` ", " ``"),
    ('"', '"'),
    ("(", ")"),
    ("> ", ""),
    ("   >", ""),
    ("```\n", "\n```"),
    ("~~~~ text\n", "\n~~~\n"),
)
"""What may stand before and after a call's line so that there is no call."""


def one_input(data: bytes) -> None:
    """One text, by the rules above."""
    mode, rest = data[:1], data[1:]
    if mode == b"e":
        _check_embedded(rest)
    elif mode == b"g":
        _check_text("".join(PIECES[(byte - 128) % len(PIECES)] if byte >= 128 else chr(byte) for byte in rest))
    else:
        _check_text(rest.decode(errors="surrogateescape"))


def _check_text(text: str) -> None:
    text = text[:_LONGEST]
    found = find_calls(text, NAMES)
    pieces = [piece if isinstance(piece, str) else (piece.name, piece.arguments) for piece in found]
    assert pieces == reference_toolcalls.find_calls(text, NAMES)
    assert find_calls(text, ()) == ((text,) if text else ())
    for marker in _MARKERS:
        if (start := text.find(marker)) >= 0:
            _check_growing(text, start)


def _check_growing(text: str, start: int) -> None:
    """What is decided on a beginning stays so, and the end alone decides what was open until then."""
    decided: Match | Miss = Miss.NEED_MORE
    for end in range(start, len(text) + 1):
        outcome = match_call(text[:end], start, _INDEX, at_end=False)
        assert decided is Miss.NEED_MORE or outcome == decided
        decided = outcome
    ended = match_call(text, start, _INDEX, at_end=True)
    assert ended is not Miss.NEED_MORE
    assert decided is Miss.NEED_MORE or ended == decided


# --- there and back --------------------------------------------------------------------------------------------


def _check_embedded(rest: bytes) -> None:
    """Lines are by turns the text before a call, and a byte that says how it is written with its object behind."""
    lines = rest.split(b"\n")[:8]
    text = plain = ""
    expected: list[str | WrittenCall] = []
    for before, called in zip(lines[::2], lines[1::2], strict=False):
        how = called[0] if called else 0
        call = WrittenCall(NAMES[how % 4], _object(called[1:]))
        written = _write(_FORMS[how // 4 % 4], call)
        between = _harmless(before)
        if between and between[-1] not in _SPACE:
            between += "\n"
        after = _AFTER[how // 16 % len(_AFTER)]
        expected += [plain + between, call]
        text += between + written + after
        plain = after
        _check_quoted(written, call, how)
    last = _harmless(b"".join(lines[-1:])) if len(lines) % 2 else ""
    expected.append(plain + last)
    found = find_calls(text + last, NAMES)
    if len(expected) == 1:
        assert found == ((last,) if last else ())
    else:
        assert found == tuple(piece for piece in expected if not isinstance(piece, str) or piece.strip(_SPACE))


def _check_quoted(written: str, call: WrittenCall, how: int) -> None:
    """No call is where a quotation is, or where the tool is unknown; and nothing of the text is touched."""
    if any(marker in call.arguments for marker in _MARKERS):
        return  # where the outer one is no call, the one in its object may be
    before, after = _QUOTATIONS[how % len(_QUOTATIONS)]
    if before == "`` " and not all(map(str.strip, written.splitlines())):
        before, after = _QUOTATIONS[0]  # inline code ends at a blank line
    quoted = before + written + after
    assert find_calls(quoted, NAMES) == (quoted,)
    assert find_calls(written, [name for name in NAMES if name != call.name]) == (written,)
    assert find_calls(written[:-1], NAMES) == (written[:-1],)


def _write(form: str, call: WrittenCall) -> str:
    # The object is filled in last, because it may hold any word.
    before, after = form.split("OBJECT")
    return before.replace("NAME", call.name) + call.arguments + after


def _harmless(raw: bytes) -> str:
    """A text in which nothing begins a call, and nothing makes code or a quotation of what follows."""
    text = raw.decode(errors="replace")
    return "".join(character for character in text if character not in "`~>T[")


def _object(raw: bytes) -> str:
    """A JSON object that these bytes stand for: themselves where they are one, else one that has them as text."""
    text = raw.decode(errors="replace").strip(_SPACE)  # which belongs to the form, not to the object
    if reference_toolcalls.is_object(text):
        return text
    members: dict[str, Any] = {"text": text, text[:3]: [text[3:5], {"`": "```"}, len(text), None]}
    indent: Sequence[int | str | None] = (None, 2, "\t", 0)
    return json.dumps(members, ensure_ascii=len(text) % 2 == 0, indent=indent[len(text) // 2 % 4])


if __name__ == "__main__":
    from fuzz.runner import run

    run(one_input)
