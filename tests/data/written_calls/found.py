"""Templates of texts in which calls must be found. `words` says how to read them."""

from __future__ import annotations

from tests.data.written_calls.words import ANY, BACKTICKED, CALL, PLAIN, SPREAD, Template, Written

EMPTY = Written("NAME", "{}")

FORMS_FOUND = (
    Template("first form", "Tool call: NAME(OBJECT)", (CALL,), ANY),
    Template("second form", "[Called NAME with args: OBJECT]", (CALL,), ANY),
    Template("first form without any blank", "Tool call:NAME(OBJECT)", (CALL,), ANY),
    Template("first form with many blanks", "Tool call: \t  NAME \t (OBJECT)", (CALL,), PLAIN),
    Template("first form with whitespace", "Tool call: NAME( \t\r\n OBJECT\n\r\t)", (CALL,), ANY),
    Template("first form with a blank line", "Tool call: NAME(\n\nOBJECT\n\n)", (CALL,), PLAIN),
    Template("second form with many blanks", "[Called \t NAME\t  with args:  OBJECT  ]", (CALL,), PLAIN),
    Template("second form with no blank before the object", "[Called NAME with args:OBJECT]", (CALL,), ANY),
    Template("second form with whitespace", "[Called NAME with args:\r\n\t OBJECT\n\r\n]", (CALL,), ANY),
    Template("nothing between the parentheses", "Tool call: NAME()", (EMPTY,)),
    Template("blanks between the parentheses", "Tool call: NAME(   )", (EMPTY,)),
    Template("whitespace between the parentheses", "Tool call: NAME( \t\r\n\n)", (EMPTY,)),
    Template("blanks around the name, no arguments", "Tool call: \tNAME\t()", (EMPTY,)),
    Template("an empty object, spaced", "Tool call: NAME({ \t\r\n })", (Written("NAME", "{ \t\r\n }"),)),
    Template("a name that begins with another", "Tool call: BashOutput(OBJECT)", (Written("BashOutput", "OBJECT"),)),
    Template("a name that another begins with", "[Called Rea with args: OBJECT]", (Written("Rea", "OBJECT"),)),
    Template("a name with a blank in it", "Tool call: get weather (OBJECT)", (Written("get weather", "OBJECT"),)),
)

NEIGHBOURS_FOUND = (
    Template("a sentence before", "I'll run it now. CALL", ("I'll run it now. ", CALL), ANY),
    Template("a colon and a space before", "Here we go: CALL", ("Here we go: ", CALL)),
    Template("a sentence after", "CALL That was it.", (CALL, " That was it."), ANY),
    Template("lines around", "First this.\nCALL\nThen that.", ("First this.\n", CALL, "\nThen that."), ANY),
    Template("CR LF around", "First this.\r\nCALL\r\nThen.", ("First this.\r\n", CALL, "\r\nThen."), ANY),
    Template("lone CR around", "First this.\rCALL\rThen that.", ("First this.\r", CALL, "\rThen that."), PLAIN),
    Template("only whitespace around", " \n\t CALL \r\n ", (" \n\t ", CALL, " \r\n "), PLAIN),
    Template("a tab before and after", "Now:\tCALL\tdone", ("Now:\t", CALL, "\tdone")),
    *(Template(f"{mark} after", f"CALL{mark}", (CALL, mark)) for mark in ".,;:!?"),
    *(Template(f"{mark} and more after", f"So CALL{mark})x", ("So ", CALL, f"{mark})x")) for mark in ".,;:!?"),
    Template("a list item", "- CALL\n- next", ("- ", CALL, "\n- next")),
    Template("a numbered item", "1. CALL\n2. next", ("1. ", CALL, "\n2. next")),
    Template("a heading", "## CALL\n", ("## ", CALL, "\n")),
    Template("bold text before", "**Next** CALL", ("**Next** ", CALL)),
    Template("an opening bracket with a space", "( CALL )", ("( ", CALL, " )")),
    Template("four spaces before", "Text:\n\n    CALL", ("Text:\n\n    ", CALL)),
    Template("NUL in the text, not before the call", "a\x00 CALL \x00", ("a\x00 ", CALL, " \x00")),
    Template("half a surrogate pair in the text", "\udc00 CALL \ud800", ("\udc00 ", CALL, " \ud800")),
)

QUOTES_FOUND = (
    Template("after a quote's line", "> quoted\nCALL", ("> quoted\n", CALL), ANY),
    Template("after an empty quote's line", ">\nCALL", (">\n", CALL)),
    Template("after a quote's line, CR LF", "> quoted\r\nCALL", ("> quoted\r\n", CALL)),
    Template("before a quote's line", "CALL\n> quoted", (CALL, "\n> quoted"), ANY),
    Template("a call, then a quoted one", "CALL\n> CALL", (CALL, "\n> CALL"), ANY),
    Template("four spaces, then >, are no quote", "    > CALL", ("    > ", CALL)),
    Template("a tab, then >, is no quote", "\t> CALL", ("\t> ", CALL)),
    Template("> inside a line is no quote", "a > b, so CALL", ("a > b, so ", CALL)),
    Template("an ideographic space, then >, is no quote", "\u3000> CALL", ("\u3000> ", CALL)),
)

FENCES_FOUND = (
    Template("after a fence", "```\ncode\n```\nCALL", ("```\ncode\n```\n", CALL), ANY),
    Template("after a fence of tildes", "~~~\ncode\n~~~\nCALL", ("~~~\ncode\n~~~\n", CALL), ANY),
    Template("after an empty fence", "```\n```\nCALL", ("```\n```\n", CALL), ANY),
    Template("after a fence with a language", "```json\n{}\n```\nCALL", ("```json\n{}\n```\n", CALL)),
    Template("a longer closing fence", "```\ncode\n`````\nCALL", ("```\ncode\n`````\n", CALL)),
    Template("blanks after the closing fence", "```\ncode\n``` \t\nCALL", ("```\ncode\n``` \t\n", CALL)),
    Template("indented fences", "   ```\ncode\n   ```\nCALL", ("   ```\ncode\n   ```\n", CALL)),
    Template("fences indented differently", " ~~~\ncode\n  ~~~\nCALL", (" ~~~\ncode\n  ~~~\n", CALL)),
    Template("fences with CR LF", "```\r\ncode\r\n```\r\nCALL", ("```\r\ncode\r\n```\r\n", CALL)),
    Template("fences with CR", "~~~~\rcode\r~~~~\rCALL", ("~~~~\rcode\r~~~~\r", CALL)),
    Template("blank lines in the fence", "```\n\ncode\n\n```\nCALL", ("```\n\ncode\n\n```\n", CALL)),
    Template("two fences", "```\na\n```\n~~~\nb\n~~~\nCALL", ("```\na\n```\n~~~\nb\n~~~\n", CALL)),
    Template("between fences", "```\na\n```\nCALL\n```\nb\n```", ("```\na\n```\n", CALL, "\n```\nb\n```"), ANY),
    Template("before a fence that stays open", "CALL\n```\ncode", (CALL, "\n```\ncode"), ANY),
    Template("one in a fence, one after", "```\nCALL\n```\nCALL", ("```\nCALL\n```\n", CALL), PLAIN),
    Template("one before a fence, one in it", "CALL\n```\nCALL\n```", (CALL, "\n```\nCALL\n```"), ANY),
    Template("backticks after tildes", "~~~ `a` ```\ncode\n~~~\nCALL", ("~~~ `a` ```\ncode\n~~~\n", CALL)),
    Template("a fence's single backtick", "```\na ` b\n```\nCALL ` c", ("```\na ` b\n```\n", CALL, " ` c"), ANY),
    Template("a fence in a longer one", "````\n```\na\n```\n````\nCALL", ("````\n```\na\n```\n````\n", CALL)),
    Template("two backticks are no fence", "``\ncode\n\nCALL", ("``\ncode\n\n", CALL), ANY),
    Template("two tildes are no fence", "~~\ncode\nCALL", ("~~\ncode\n", CALL), ANY),
    Template("four spaces before are no fence", "    ```\ncode\nCALL", ("    ```\ncode\n", CALL), PLAIN),
    Template("a tab before is no fence", "\t~~~\ncode\nCALL", ("\t~~~\ncode\n", CALL), ANY),
    Template("tildes in a line are no fence", "a ~~~\ncode\nCALL", ("a ~~~\ncode\n", CALL), ANY),
    Template("backticks in a line are no fence", "a ```\ncode\nCALL", ("a ```\ncode\n", CALL), PLAIN),
    Template("a quoted fence is none", "> ~~~\ncode\nCALL", ("> ~~~\ncode\n", CALL), ANY),
    Template("a fence in a list item is none", "- ~~~\ncode\nCALL", ("- ~~~\ncode\n", CALL), ANY),
)

INLINE_CODE_FOUND = (
    Template("after inline code", "Use `grep`, then CALL", ("Use `grep`, then ", CALL), ANY),
    Template("after inline code of two", "Use ``a ` b`` then CALL", ("Use ``a ` b`` then ", CALL), ANY),
    Template("before inline code", "CALL then `grep`", (CALL, " then `grep`"), ANY),
    Template("between inline code", "`a` `b` CALL `c`", ("`a` `b` ", CALL, " `c`"), ANY),
    Template("after inline code of two lines", "a `b\nc` CALL `d`", ("a `b\nc` ", CALL, " `d`"), ANY),
    Template("a run without a partner", "a ` b CALL", ("a ` b ", CALL), PLAIN + SPREAD),
    Template("runs of other lengths", "a ` b CALL `` c ```", ("a ` b ", CALL, " `` c ```"), PLAIN),
    Template("a longer run before", "a `` b CALL ` c", ("a `` b ", CALL, " ` c"), PLAIN),
    Template("three runs, the last without a partner", "a `b` c ` CALL", ("a `b` c ` ", CALL), PLAIN),
    Template("a blank line between", "a ` b\n\nCALL ` c", ("a ` b\n\n", CALL, " ` c"), ANY),
    Template("a line of blanks between", "a ` b\n \t\nCALL ` c", ("a ` b\n \t\n", CALL, " ` c"), ANY),
    Template("a blank line between, CR LF", "a ` b\r\n\r\nCALL ` c", ("a ` b\r\n\r\n", CALL, " ` c"), ANY),
    Template("a blank line between, CR", "a ` b\r\rCALL ` c", ("a ` b\r\r", CALL, " ` c"), ANY),
    Template("a blank line in the call", "a ` b Tool call: NAME(\n\n) ` c", ("a ` b ", EMPTY, " ` c")),
    Template("a fence between", "a ` b\n```\n`\n```\nCALL ` c", ("a ` b\n```\n`\n```\n", CALL, " ` c"), ANY),
    Template("tildes between", "a ` b\n~~~\n`\n~~~\nCALL ` c", ("a ` b\n~~~\n`\n~~~\n", CALL, " ` c"), ANY),
    Template("a run that opens behind the call", "CALL ` a `` b", (CALL, " ` a `` b"), BACKTICKED),
)

SEVERAL_FOUND = (
    Template("two lines, two calls", "CALL\nCALL", (CALL, CALL), ANY),
    Template("two in a line", "CALL CALL", (CALL, CALL), ANY),
    Template("words between", "First CALL, then CALL.", ("First ", CALL, ", then ", CALL, "."), ANY),
    Template("a full stop between", "CALL.CALL", (CALL, ".CALL"), PLAIN),
    Template("a semicolon and a space between", "CALL; CALL", (CALL, "; ", CALL), ANY),
    Template(
        "both forms",
        'CALL\n\nTool call: Bash()\n\n[Called Read with args: {"a": 1}]',
        (CALL, Written("Bash", "{}"), Written("Read", '{"a": 1}')),
        ANY,
    ),
    Template("one that is none, one that is", "xCALL CALL", ("xCALL ", CALL), PLAIN),
    Template("an unknown name first", "Tool call: Nowhere(OBJECT) CALL", ("Tool call: Nowhere(OBJECT) ", CALL), PLAIN),
    Template("an unknown name last", "CALL Tool call: Nowhere(OBJECT)", (CALL, " Tool call: Nowhere(OBJECT)"), PLAIN),
    Template("a beginning twice", "Tool call: CALL", ("Tool call: ", CALL), ANY),
    Template("another beginning twice", "[Called CALL", ("[Called ", CALL), ANY),
    Template("one not closed before", "Tool call: NAME(OBJECT CALL", ("Tool call: NAME(OBJECT ", CALL), PLAIN),
    Template("one in the place of a value", 'Tool call: NAME({"a": CALL', ('Tool call: NAME({"a": ', CALL), ANY),
    Template("a line's end in a string", 'Tool call: NAME({"a": "\nCALL', ('Tool call: NAME({"a": "\n', CALL), PLAIN),
    Template("an open string of blanks", '[Called NAME with args: {"a\nCALL', ('[Called NAME with args: {"a\n', CALL)),
)

_IN_A_STRING = '{"text": " Tool call: NAME({}) ", "b": "\\n[Called NAME with args: {}]\\n"}'
_BASH = r"""{"command": "grep -rn \"foo(\" src/ | awk '{print $1}' && echo \"done: $(date)\"", "background": true}"""
_READ = '{"file_path": "/home/user/project/src/main.rs", "offset": 1, "limit": 200}'
_WRITE = (
    r'{"file_path": "/tmp/README.md", "content": "# Title\n\n```python\nprint(\"`hi`\")\n```\n\n'
    r'> quoted\n\n~~~\nTool call: Bash({\"command\": \"ls\"})\n~~~\n[Called Read with args: {}]\n"}'
)
_EDIT = (
    r'{"file_path": "a.py", "old_string": "x = {\"a\": [1, 2)]}", "new_string": "x = {\n    \"a\": []\n}",'
    r' "replace_all": false}'
)
_TODOS = """{
  "todos": [
    {"content": "Fix `parse()`", "status": "in_progress", "activeForm": "Fixing"},
    {"content": "Test ]) }", "status": "pending", "activeForm": "Testing"}
  ]
}"""

LIFELIKE_FOUND = (
    Template("calls in a call's strings", f"Tool call: NAME({_IN_A_STRING})", (Written("NAME", _IN_A_STRING),)),
    Template(
        "calls in a call's strings, second form",
        f"[Called NAME with args: {_IN_A_STRING}]",
        (Written("NAME", _IN_A_STRING),),
    ),
    Template(
        "a search",
        f"I'll search for it.\n\nTool call: Bash({_BASH})",
        ("I'll search for it.\n\n", Written("Bash", _BASH)),
    ),
    Template(
        "reading two files",
        f"Let me look at `main.rs` first:\n[Called Read with args: {_READ}]\n[Called Read with args: {{}}]\n",
        ("Let me look at `main.rs` first:\n", Written("Read", _READ), Written("Read", "{}"), "\n"),
    ),
    Template(
        "a file with fences and calls in it",
        f"Now I write it.\n\n[Called x with args: {_WRITE}]\n\nWritten.",
        ("Now I write it.\n\n", Written("x", _WRITE), "\n\nWritten."),
    ),
    Template(
        "a file with fences and calls in it, first form",
        f"```sh\nls\n```\n\nTool call: x({_WRITE})\nTool call: Bash({_BASH})",
        ("```sh\nls\n```\n\n", Written("x", _WRITE), Written("Bash", _BASH)),
    ),
    Template("an edit", f"Tool call: x(\n{_EDIT}\n).", (Written("x", _EDIT), ".")),
    Template("a list of things to do", f"[Called x with args: {_TODOS}]", (Written("x", _TODOS),)),
    Template(
        "an explanation, then the call itself",
        f"I could write `Tool call: Bash({{}})`, or\n\n> Tool call: Read()\n\nbut:\nTool call: Bash({_BASH})",
        (
            "I could write `Tool call: Bash({})`, or\n\n> Tool call: Read()\n\nbut:\n",
            Written("Bash", _BASH),
        ),
    ),
)

FOUND = (
    *FORMS_FOUND,
    *NEIGHBOURS_FOUND,
    *QUOTES_FOUND,
    *FENCES_FOUND,
    *INLINE_CODE_FOUND,
    *SEVERAL_FOUND,
    *LIFELIKE_FOUND,
)
