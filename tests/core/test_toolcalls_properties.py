"""Written tool calls in texts that nobody thought of: against the slow reading, there and back, and cut anywhere."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.toolcalls import Match, Miss, WrittenCall, find_calls, index_names, match_call
from fuzz.reference_toolcalls import find_calls as find_calls_slowly

TOOLS = ("Read", "ReadFile", "a b")
INDEX = index_names(TOOLS)

quick = settings(max_examples=250, deadline=None)

FRAGMENTS = (
    # Calls, and what they are made of.
    *("Tool call: Read({})", "[Called Read with args: {}]", "Tool call: a b()", 'Tool call: Read({"a": "`"})'),
    "Tool call: Read({\n\n})",
    *('Tool call: ReadFile({"a": "Tool call: Read({})"})', '[Called a b with args: {"a":1}]'),
    *("Tool call:", "Tool call: ", "[Called", "[Called Read", " with args:", "Read", "ReadFile", "File", "a b"),
    *("(", ")", "[", "]", "{", "}", "{}", "({", "})", '{"a":', "}]"),
    # JSON.
    *('"', '"', '"a"', ":", ",", "\\", '\\"', "\\n", "\\u00e9", "\\ud800", "\\udc00", "1", "-0", "1.5e3", "01"),
    *("true", "tru", "null", "NaN", "'", "é", "日", "\u3000", "\xa0", "\x00", "\x0c", "\ufeff", "\ud800"),
    # Markdown.
    *("`", "`", "``", "```", "````", "~~~", "~~~~", "```json", ">", "> ", "- ", "."),
    *(" ", " ", "   ", "    ", "\t", "\n", "\n", "\n\n", "\n \n", "\r\n", "\r\n\r\n", "\r", "x"),
)
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
json_encoders = st.builds(
    json.JSONEncoder,
    ensure_ascii=st.booleans(),
    indent=st.sampled_from([None, None, 0, 2, "\t"]),
    separators=st.sampled_from([None, (",", ":"), (" ,\r\n", " : ")]),
)


@st.composite
def json_objects(draw: st.DrawFn) -> str:
    members: dict[str, Any] = draw(st.dictionaries(st.text(max_size=6), json_values, max_size=3))
    return draw(json_encoders).encode(members)


calls = st.builds(WrittenCall, st.sampled_from(TOOLS), json_objects())
forms = st.sampled_from(
    (
        "Tool call: NAME(OBJECT)",
        "Tool call:\tNAME ( \n OBJECT\r\n)",
        "[Called NAME with args: OBJECT]",
        "[Called  NAME\t with args:\n\nOBJECT ]",
    )
)


def write(form: str, call: WrittenCall) -> str:
    # The name is filled in last, because an object may hold its word.
    before, after = form.split("OBJECT")
    return before.replace("NAME", call.name) + call.arguments + after


def as_in_the_reference(pieces: tuple[str | WrittenCall, ...]) -> list[str | tuple[str, str]]:
    return [piece if isinstance(piece, str) else (piece.name, piece.arguments) for piece in pieces]


@settings(max_examples=800, deadline=None)
@given(texts)
@example("a ` b\n```\n`\n```\nTool call: Read({}) ` c")
@example("> a ` b\n` Tool call: Read({})")
@example("~~~ `\n~~~~ \nTool call: Read({})")
def test_pieced_together_texts_are_read_as_the_reference_reads_them(text: str) -> None:
    assert as_in_the_reference(find_calls(text, TOOLS)) == find_calls_slowly(text, TOOLS)


@quick
@given(
    form=forms,
    call=calls,
    place=st.integers(min_value=0, max_value=200),
    removed=st.integers(min_value=0, max_value=2),
    added=st.text("{}[]\"\\,:01.eu-+tfn `>\n()'", max_size=2),
)
def test_calls_with_a_slip_are_read_as_the_reference_reads_them(
    form: str, call: WrittenCall, place: int, removed: int, added: str
) -> None:
    written = write(form, call)
    place = min(place, len(written))
    text = written[:place] + added + written[place + removed :]
    assert as_in_the_reference(find_calls(text, TOOLS)) == find_calls_slowly(text, TOOLS)


# No marker can come about in these, nor anything that shows a call as text.
safe_texts = st.text(st.characters(exclude_characters="`~>T["), max_size=20)


@quick
@given(st.lists(st.tuples(safe_texts, forms, calls), max_size=4), safe_texts)
def test_calls_in_safe_text_are_found_exactly(written: list[tuple[str, str, WrittenCall]], last: str) -> None:
    text = plain = ""
    expected: list[str | WrittenCall] = []
    for before, form, call in written:
        plain += f"{before}\n"
        expected += [plain, call]
        text += f"{before}\n{write(form, call)}\n"
        plain = "\n"
    expected.append(plain + last)
    text += last
    if not written:
        assert find_calls(text, TOOLS) == ((text,) if text else ())
    else:
        pieces = [piece for piece in expected if not isinstance(piece, str) or piece.strip(" \t\r\n")]
        assert find_calls(text, TOOLS) == tuple(pieces)


@quick
@given(st.lists(st.one_of(texts, st.builds(write, forms, calls), st.sampled_from([" ", "\n", "."]))).map("".join))
def test_pieces_are_the_text_with_its_calls_taken_out(text: str) -> None:
    at = 0
    pieces = find_calls(text, TOOLS)
    for piece in pieces:
        if isinstance(piece, WrittenCall):
            # Only whitespace may be missing between two calls.
            at += len(text[at:]) - len(text[at:].lstrip(" \t\r\n"))
            match = match_call(text, at, INDEX, at_end=True)
            assert isinstance(match, Match)
            assert match.call == piece
            at = match.end
        else:
            assert text.startswith(piece, at)
            assert piece.strip(" \t\r\n") or pieces == (text,)
            at += len(piece)
    assert text[at:].strip(" \t\r\n") == ""


@quick
@given(st.text(st.sampled_from('Tol cal:[Cdwithrgs{}()"\\`~>\n\r\t ,.0\ud800\udfff\x00é'), max_size=60))
def test_no_text_is_too_strange(text: str) -> None:
    assert as_in_the_reference(find_calls(text, TOOLS)) == find_calls_slowly(text, TOOLS)


@quick
@given(st.builds(write, forms, calls) | texts.map("Tool call: Read({{{}".format), texts)
def test_what_is_decided_on_a_text_stays_so_however_it_goes_on(text: str, more: str) -> None:
    decided: Match | Miss = Miss.NEED_MORE
    whole = text + more
    for end in range(len(whole) + 1):
        outcome = match_call(whole[:end], 0, INDEX, at_end=False)
        if decided is not Miss.NEED_MORE:
            assert outcome == decided
        decided = outcome
    if decided is not Miss.NEED_MORE:
        assert match_call(whole, 0, INDEX, at_end=True) == decided


@quick
@given(forms, calls)
def test_arguments_come_out_as_they_went_in_and_any_parser_takes_them(form: str, call: WrittenCall) -> None:
    (piece,) = find_calls(write(form, call), TOOLS)
    assert piece == call
    assert isinstance(json.loads(call.arguments.encode()), dict)
