"""The words that the templates of written tool calls are put together from.

In a template's text and pieces, and nowhere else, these stand for something:
- `NAME`: one of `NAMES`, `SWAPPED`: the same with upper and lower case swapped, which no tool is called;
- `OBJECT`: a JSON object, of the kind that the template asks for;
- `CALL`: a call of NAME with OBJECT, in either form.
"""

from __future__ import annotations

from typing import NamedTuple


class Written(NamedTuple):
    """A call that must be found, in a case; with the words above, in a template."""

    name: str
    arguments: str


CALL = Written("NAME", "OBJECT")


class Template(NamedTuple):
    """A text whose pieces a person has worked out. Its label says why they are so; no pieces: all stays text."""

    label: str
    text: str
    pieces: tuple[str | Written, ...] = ()
    objects: tuple[str, ...] = ("{}",)


FORMS = ("Tool call: NAME(OBJECT)", "[Called NAME with args: OBJECT]")

NAMES = (
    "Bash",
    "Read",
    "mcp__github__create_issue",
    "str_replace-based_edit2",
    "поиск",
    "x",
    "get weather (v2).now",
)
"""What tools are called. The last two kinds are no names for the service, but a client may use them."""

OFFERED = (*NAMES, "BashOutput", "Rea", "get weather")
"""All names that count: those, and some that begin like them."""

PLAIN = (
    "{}",
    "{ }",
    '{"command":"ls -la"}',
    '{"command": "ls -la", "timeout": 120000}',
    # Brackets of every kind in strings, closed, unclosed, and where the call's own would stand.
    r'{"pattern": "})]", "other": "{[("}',
    r'{"a": ")", "b": "]", "c": "})", "d": "}]"}',
    r'{"code": "if (a[0] == {}) { return b[1]; }"}',
    # Quotes and backslashes.
    r'{"command": "echo \"hello\" && echo \\\"twice\\\""}',
    r'{"path": "C:\\temp\\", "next": "\\"}',
    r'{"command": "printf \"})\" ; echo \\"}',
    # Every escape there is.
    r'{"all": "\" \\ \/ \b \f \n \r \t \u0041 \u00e9 \uD7FF \ue000 \uD83D\uDE00 \udbff\udfff"}',
    # Nesting.
    '{"a": {"b": {"c": [1, [2, [3, {"d": null}]], {}]}}, "e": []}',
    '{"todos": [{"id": "1", "done": true}, {"id": "2", "done": false}]}',
    # Every kind of number.
    '{"n": [0, -0, 10, -1, 1.5, -0.25, 1e3, 1E+3, 2.5e-10, 123456789012345678901234567890, 1e999]}',
    # Text beyond ASCII.
    '{"text": "naïve – 日本語 – 😀 – \u2028 – \x7f – \xa0"}',
    '{"ключ": "значение", "": "an empty key"}',
    # Equal keys are no business of ours.
    '{"a": 1, "a": 2}',
    # What looks like other syntax, in strings.
    '{"text": "> quote, // comment, NaN, <b>, \'single\', ~~~"}',
    '{"text": "Tool call: Bash({}) and [Called Bash with args: {}]"}',
    # As deep as it may be.
    '{"a":' * 99 + "{}" + "}" * 99,
    '{"a":' + "[" * 99 + "]" * 99 + "}",
)
"""Objects in one line, without backticks."""

BACKTICKED = (
    r'{"content": "Use `grep` here"}',
    r'{"content": "one ` alone"}',
    r'{"file_path": "README.md", "content": "# Use\n\n```sh\nls\n```\n"}',
    r'{"old_string": "``", "new_string": "````"}',
)
"""Objects in one line, with backticks."""

SPREAD = (
    '{\n  "command": "ls",\n  "options": [\n    1,\n    2\n  ]\n}',
    '{\r\n\t"a" : { } ,\r\n\r\n\t"b" : [ ]\r\n}',
    "{\n\n}",
    '{\r"a"\r:\r1\r}',
)
"""Objects over several lines, some of them blank."""

ANY = PLAIN + BACKTICKED + SPREAD

SURROUNDINGS = (
    ("", ""),
    ("I will look.\n\n", ""),
    ("", "\n\nThat is all."),
    (" \t\n", "\n \t\n"),
    ("Привет.\r\n\r\n", "\r\n\r\nГотово 😀."),
    ("```\ncode\n```\n\n", "\n\n```sh\nls\n```\n"),
    ("> quoted\n\n", "\n\n> quoted"),
    ("Use `grep` here.\n\n", "\n\nUse `sed` there."),
    ("Tool call: Nowhere({})\n\n", "\n\n[Called Nowhere with args: {}]"),
    ("\ufeffA mark, \x00 and \ud800.\r\r", "\r\rEnd."),
    ("A ` alone.\n\n", "\n\nA ``` alone."),
)
"""What a template's text may be put between: whole paragraphs, which change nothing about it."""
