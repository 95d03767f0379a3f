"""Templates of texts in which no call may be found. `words` says how to read them."""

from __future__ import annotations

from tests.data.written_calls.words import ANY, BACKTICKED, FORMS, PLAIN, SPREAD, Template

ONE_LINE = PLAIN + BACKTICKED

FORMS_LEFT = (
    Template("lower case", "tool call: NAME(OBJECT)", (), ONE_LINE[:4]),
    Template("both words in capitals", "Tool Call: NAME(OBJECT)"),
    Template("the first word in capitals", "TOOL call: NAME(OBJECT)"),
    Template("no colon", "Tool call NAME(OBJECT)"),
    Template("a blank before the colon", "Tool call : NAME(OBJECT)"),
    Template("a full-width colon", "Tool call：NAME(OBJECT)"),
    Template("two blanks in the marker", "Tool  call: NAME(OBJECT)"),
    Template("a no-break space in the marker", "Tool\xa0call: NAME(OBJECT)"),
    Template("plural", "Tool calls: NAME(OBJECT)"),
    Template("no blank in the marker", "Toolcall: NAME(OBJECT)"),
    Template("a line's end before the name", "Tool call:\nNAME(OBJECT)"),
    Template("a line's end behind the name", "Tool call: NAME\n(OBJECT)"),
    Template("a no-break space before the name", "Tool call:\xa0NAME(OBJECT)"),
    Template("no name", "Tool call: (OBJECT)"),
    Template("no parentheses", "Tool call: NAME OBJECT"),
    Template("nothing behind the name", "Tool call: NAME"),
    Template("square brackets", "Tool call: NAME[OBJECT]"),
    Template("full-width parentheses", "Tool call: NAME（OBJECT）"),
    Template("the other form's end", "Tool call: NAME(OBJECT]"),
    Template("with args in the first form", "Tool call: NAME with args: OBJECT", (), ONE_LINE),
    Template("a keyword argument", "Tool call: NAME(input=OBJECT)"),
    Template("a no-break space before the object", "Tool call: NAME(\xa0OBJECT)"),
    Template("a form feed behind the object", "Tool call: NAME(OBJECT\x0c)"),
    Template("only a no-break space between the parentheses", "Tool call: NAME(\xa0)"),
    Template("two pairs of parentheses", "Tool call: NAME((OBJECT))"),
    Template("a comma behind the object", "Tool call: NAME(OBJECT,)"),
    Template("two objects", "Tool call: NAME(OBJECT, OBJECT)", (), ONE_LINE),
    Template("two objects without a comma", "Tool call: NAME(OBJECT OBJECT)", (), ONE_LINE),
    Template("a word behind the object", "Tool call: NAME(OBJECT ok)"),
    Template("lower case, second form", "[called NAME with args: OBJECT]", (), ONE_LINE[:4]),
    Template("present tense", "[Calling NAME with args: OBJECT]"),
    Template("no blank before the name, second form", "[CalledNAME with args: OBJECT]"),
    Template("a blank before Called", "[ Called NAME with args: OBJECT]"),
    Template("a line's end before the name, second form", "[Called\nNAME with args: OBJECT]"),
    Template("a line's end behind the name, second form", "[Called NAME\nwith args: OBJECT]"),
    Template("a line's end between with and args", "[Called NAME with\nargs: OBJECT]"),
    Template("two blanks between with and args", "[Called NAME with  args: OBJECT]"),
    Template("with arguments", "[Called NAME with arguments: OBJECT]"),
    Template("no colon behind args", "[Called NAME with args OBJECT]"),
    Template("a blank before the colon, second form", "[Called NAME with args : OBJECT]"),
    Template("With in capitals", "[Called NAME With Args: OBJECT]"),
    Template("no args", "[Called NAME]"),
    Template("empty args", "[Called NAME with args: ]"),
    Template("no name, second form", "[Called with args: OBJECT]"),
    Template("only a tab for a name", "[Called \t with args: OBJECT]"),
    Template("the first form's end", "[Called NAME with args: OBJECT)"),
    Template("parentheses, second form", "[Called NAME(OBJECT)]"),
    Template("in parentheses, second form", "[Called NAME with args: (OBJECT)]"),
    Template("the word tool before the name", "[Called tool NAME with args: OBJECT]"),
    Template("two brackets", "[[Called NAME with args: OBJECT]]"),
    Template("a comma behind the object, second form", "[Called NAME with args: OBJECT,]"),
    Template("two objects, second form", "[Called NAME with args: OBJECT, OBJECT]", (), ONE_LINE),
    Template("a result in the brackets", "[Called NAME with args: OBJECT -> ok]"),
    Template("a form feed before the object", "[Called NAME with args:\x0cOBJECT]"),
)

NAMES_LEFT = (
    Template("another case", "Tool call: SWAPPED(OBJECT)", (), ONE_LINE),
    Template("another case, second form", "[Called SWAPPED with args: OBJECT]", (), ONE_LINE),
    Template("an unknown name", "Tool call: Nowhere(OBJECT)", (), ONE_LINE),
    Template("an unknown name, second form", "[Called Nowhere with args: OBJECT]", (), ONE_LINE),
    Template("a longer name", "Tool call: NAMEs(OBJECT)"),
    Template("a longer name, second form", "[Called NAMEs with args: OBJECT]"),
    Template("a name with something before", "Tool call: aNAME(OBJECT)"),
    Template("a name with a full stop before", "[Called .NAME with args: OBJECT]"),
    Template("a name in quotation marks", 'Tool call: "NAME"(OBJECT)'),
    Template("a name in backticks", "Tool call: `NAME`(OBJECT)"),
    Template("a name in asterisks", "[Called **NAME** with args: OBJECT]"),
    Template("a name with a comment", "Tool call: NAME /* it */ (OBJECT)"),
    Template("two names", "Tool call: NAME NAME(OBJECT)"),
    Template("a name of a module", "Tool call: tools.NAME(OBJECT)"),
    Template("a zero-width space before the name", "Tool call: \u200bNAME(OBJECT)"),
    Template("a zero-width space behind the name", "[Called NAME\u200b with args: OBJECT]"),
    Template("a look-alike", "Tool call: Ваsh(OBJECT)"),
    Template("a combining accent behind the name", "Tool call: NAME\u0301(OBJECT)"),
)

NEIGHBOURS_LEFT = (
    *(
        Template(f"{mark!r} directly before", f"{mark}CALL", (), ONE_LINE[:3])
        for mark in "\"'`(«“*_[{<-.:,;!?aй0>|/\\\x00\x08\ufeff\u200b\ud800"
    ),
    *(
        Template(f"{mark!r} directly after", f"CALL{mark}", (), ONE_LINE[:3])
        for mark in "\"'`)»”*_]}>-aй0(|/\\\x00\x08\ufeff\u200b\ud800…"
    ),
    Template("a quotation", 'It wrote "CALL" and stopped.', (), ONE_LINE),
    Template("in parentheses", "It wrote (CALL) and stopped.", (), ONE_LINE),
    Template("in bold", "**CALL**", (), ONE_LINE),
    Template("a heading without a space", "#CALL"),
    Template("a no-break space before", "Now :\xa0CALL", (), ONE_LINE),
    Template("a no-break space after", "CALL\xa0fini", (), ONE_LINE),
    Template("ideographic spaces", "好。\u3000CALL\u3000好", (), ONE_LINE),
    Template("a form feed before", "Page\x0cCALL"),
    Template("a line separator after", "CALL\u2028"),
    Template("a link", "[CALL](https://example.org)"),
    Template("one after another without a space", "CALLCALL", (), PLAIN[:4]),
)

QUOTES_LEFT = (
    Template("a block quote", "> CALL", (), ONE_LINE),
    Template("a block quote without a space", ">CALL", (), ONE_LINE),
    Template("a block quote, two spaces before", "  > CALL"),
    Template("a block quote, three spaces before", "   > CALL"),
    Template("a block quote's later words", "> So: CALL", (), ONE_LINE),
    Template("a quote in a quote", "> > CALL"),
    Template("a quote's second line", "> one\n> CALL"),
    Template("a quote in a list's item", "- a\n\n > CALL"),
    Template("a quote after CR LF", "a\r\n> CALL"),
    Template("a quote after CR", "a\r> CALL"),
    Template("a quote whose call goes on below it", "> Tool call: NAME(\nOBJECT)", (), ONE_LINE + SPREAD),
    Template("a quote line inside inline code", "`a\n> b` CALL", (), ONE_LINE),
    Template("a quote line behind inline code", "`a\n> b` c `d` CALL"),
)

FENCES_LEFT = (
    Template("a fence", "```\nCALL\n```", (), ANY),
    Template("a fence of tildes", "~~~\nCALL\n~~~", (), ANY),
    Template("a fence with a language", "```text\nCALL\n```", (), ANY),
    Template("a fence that stays open", "```\nCALL", (), ANY),
    Template("a fence of tildes that stays open", "~~~\nCALL", (), ANY),
    Template("in the line that opens the fence", "~~~ CALL\ncode\n~~~", (), PLAIN),
    Template("in the line that opens the fence of backticks", "``` CALL\ncode\n```", (), PLAIN),
    Template("a fence after a blank line in it", "```\na\n\nCALL\n```", (), ANY),
    Template("longer than what would close it", "````\na\n```\nCALL\n````", (), ANY),
    Template("closed by the other mark", "```\na\n~~~\nCALL\n```", (), ANY),
    Template("closed by the other mark, tildes", "~~~\na\n```\nCALL\n~~~", (), ANY),
    Template("closed with a language", "```\na\n```json\nCALL\n```", (), ANY),
    Template("closed four spaces deep", "```\na\n    ```\nCALL\n```", (), ANY),
    Template("closed after a tab", "```\na\n\t```\nCALL\n```", (), ANY),
    Template("closed with a word behind", "```\na\n``` b\nCALL\n```", (), ANY),
    Template("closed with a form feed behind", "~~~\na\n~~~\x0c\nCALL\n~~~", (), ANY),
    Template("an indented fence", "   ```\n   CALL\n   ```", (), ANY),
    Template("a fence with CR LF", "```\r\nCALL\r\n```\r\n", (), ANY),
    Template("a fence with CR", "```\rCALL\r```\r", (), ANY),
    Template("a fence right below text", "a\n```\nCALL\n```", (), ANY),
    Template("a fence below an open backtick", "a ` b\n```\nCALL\n```\n`", (), ANY),
    Template("a second fence", "```\na\n```\n```\nCALL\n```", (), ANY),
    Template("a fence in a quote is a long run", "> ```\n> a\nCALL\n> ```", (), PLAIN),
    Template("a call before the fence in the same line", "```a CALL ```", (), PLAIN),
    Template("a backtick after a fence's opening ones", "```a`b\n\nCALL", (), ANY),
    Template("a fence that is closed in its own line stays open", "```code```\nCALL", (), ANY),
    Template("a fence that its call does not end", "```\nTool call: NAME(\n```\nOBJECT)", (), PLAIN),
)

INLINE_CODE_LEFT = (
    Template("inline code", "Write `CALL` to do it.", (), ONE_LINE),
    Template("inline code with spaces", "Write ` CALL ` to do it.", (), ONE_LINE),
    Template("inline code of two", "Write `` CALL `` to do it.", (), PLAIN),
    Template("inline code of two with one inside", "Write `` ` CALL ` `` to do it.", (), PLAIN),
    Template("inline code over two lines", "Write `this\nCALL\nnow` to do it.", (), ONE_LINE),
    Template("inline code of three in a line", "Write ``` CALL ``` to do it.", (), PLAIN),
    Template("inline code at a line's start", "```` CALL ````", (), PLAIN),
    Template("inline code after inline code", "`a` ` CALL `", (), ONE_LINE),
    Template("inline code after a run without a partner", "`` a ` CALL ` b", (), PLAIN),
    Template("inline code after backslash", "\\` CALL ` b", (), ONE_LINE),
    Template("inline code that ends in the call", "a ` Tool call: NAME({'b': \"`\"})"),
    Template("inline code whose end is in the object", "a ` CALL", (), BACKTICKED[:2]),
    Template("inline code in a list's item", "- ` CALL `", (), ONE_LINE),
    Template("inline code with CR LF in it", "a ` b\r\nCALL\r\n` c", (), ONE_LINE),
    Template("inline code with CR in it", "a ` b\rCALL\r` c", (), ONE_LINE),
    Template("inline code around a fence", "a ` b\n```\n1\n```\nCALL ` c", (), ONE_LINE),
    Template("inline code around a fence of tildes", "a ` b\n  ~~~\n~~~\nCALL ` c", (), ONE_LINE),
    Template("inline code with a form feed's line in it", "a ` b\n\x0c\nCALL ` c", (), ONE_LINE),
)

UNFINISHED_LEFT = (
    Template("no closing parenthesis", "Tool call: NAME(OBJECT", (), ANY),
    Template("no closing bracket", "[Called NAME with args: OBJECT", (), ANY),
    Template("only the marker", "Tool call:"),
    Template("only the marker, second form", "[Called"),
    Template("nothing behind the parenthesis", "Tool call: NAME("),
    Template("nothing behind args", "[Called NAME with args:"),
    Template("only the brace", "Tool call: NAME({"),
    Template("an object in words", "Tool call: NAME(OBJECT and so on)", (), ANY),
)

BAD_OBJECTS = (
    # No objects.
    "[]", '["a"]', '"text"', "1", "-1.5", "true", "null", "command", "...", "<args>", "$1", "undefined",
    # Not closed, or closed wrongly.
    "{", '{"a"', '{"a":', '{"a": 1', '{"a": [1}', '{"a": [1, 2}', '{"a": {"b": 1}', '{"a": "b}', '{"a": 1]',
    '{"a": 1}}', "}", "{}}", "{{}}", "[{}]", "{]",
    # Commas and colons.
    "{,}", '{"a": 1,}', '{"a": [1,]}', '{"a": [,1]}', '{"a": [1,,2]}', '{"a": 1 "b": 2}', '{"a": [1 2]}', '{,"a": 1}',
    '{"a" 1}', '{"a":: 1}', '{"a":}', '{"a"}', '{"a", "b"}', '{"a": 1; "b": 2}', '{:1}', '{"a": 1,, "b": 2}',
    # Keys.
    "{a: 1}", "{'a': 1}", "{1: 2}", "{null: 1}", '{["a"]: 1}', "{“a”: 1}", "{`a`: 1}",
    # Literals, in other languages or cut.
    '{"a": True}', '{"a": None}', '{"a": NaN}', '{"a": Infinity}', '{"a": -Infinity}', '{"a": undefined}', '{"a": tru}',
    '{"a": nulll}', '{"a": TRUE}', '{"a": true1}', '{"a": }',
    # Numbers.
    '{"a": 01}', '{"a": -01}', '{"a": +1}', '{"a": .5}', '{"a": 1.}', '{"a": 1e}', '{"a": 1e+}', '{"a": --1}',
    '{"a": -}', '{"a": 0x10}', '{"a": 1_000}', '{"a": 1.2.3}', '{"a": 1e2.5}', '{"a": ١}', '{"a": 1٢}',
    '{"a": 00}', '{"a": 1-2}',
    # Strings.
    "{\"a\": 'b'}", '{"a": "b\nc"}', '{"a": "b\rc"}', '{"a": "b\tc"}', '{"a": "\x00"}', '{"a": "\x1f"}', '{"a\n": 1}',
    r'{"a": "\x41"}', r'{"a": "\a"}', r'{"a": "\'"}', r'{"a": "\u12"}', r'{"a": "\u12G4"}', r'{"a": "\U00000041"}',
    r'{"a": "\u{41}"}', r'{"a": "\"}', '{"a": "\\\n"}', '{"a": “b”}', '{"a": "b" "c"}', '{"a": "b" + "c"}',
    '{"a": """b"""}', r'{"a": "\u١٢٣٤"}', '{"a": "b"c"}',
    # Halves of surrogate pairs, which clients' parsers refuse.
    r'{"a": "\ud800"}', r'{"a": "\udc00"}', r'{"a": "\ud83d x"}', r'{"a": "\ud83d\ud83d"}', r'{"a": "\udE00\ud83d"}',
    r'{"\uDBFF": 1}', r'{"a": "\ud800\n"}', r'{"a": "\ud800\u0041"}', '{"a": "\ud800"}', '{"a": "\ud83d\ude00"}',
    # Comments and whitespace that is none.
    '{"a": 1 // one\n}', '{"a": /* one */ 1}', '{"a": 1 # one\n}', '{\xa0"a": 1}', '{"a":\x0c1}', '\ufeff{"a": 1}',
    "{\u2028}", "{\x0b}", "{\x00}",
    # Deeper than 100.
    '{"a":' * 100 + "{}" + "}" * 100, '{"a":' + "[" * 100 + "]" * 100 + "}", '{"a":' + "[" * 5000 + "]" * 5000 + "}",
    '{"a":' * 3000,
)  # fmt: skip
"""What stands where an OBJECT should, and is none."""

OBJECTS_LEFT = tuple(
    Template(f"{form[0]}: {bad[:40]!r} ({len(bad)})", form.replace("OBJECT", bad))
    for form in FORMS
    for bad in BAD_OBJECTS
)

LEFT = (
    *FORMS_LEFT,
    *NAMES_LEFT,
    *NEIGHBOURS_LEFT,
    *QUOTES_LEFT,
    *FENCES_LEFT,
    *INLINE_CODE_LEFT,
    *UNFINISHED_LEFT,
    *OBJECTS_LEFT,
)
