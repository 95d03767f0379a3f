"""Written tool calls: the pieces of a text, what counts as a name, and what is decided on a text that goes on."""

from __future__ import annotations

import pytest

from core.toolcalls import Match, Miss, WrittenCall, find_calls, index_names, match_call
from tests.data.written_calls.words import ANY, FORMS, PLAIN

TOOLS = ("Read", "Bash")


def test_an_empty_text_has_no_pieces() -> None:
    assert find_calls("", TOOLS) == ()


@pytest.mark.parametrize(
    "text", ["Hello.", " \n", "Tool call: Write({})", "`Tool call: Read({})`", "[Called", "\ud800"]
)
def test_a_text_without_a_call_comes_back_as_it_is(text: str) -> None:
    (piece,) = find_calls(text, TOOLS)
    assert piece is text


def test_without_names_nothing_is_found() -> None:
    assert find_calls("Tool call: Read({})", ()) == ("Tool call: Read({})",)


def test_text_around_calls_stays_byte_for_byte_and_whitespace_alone_is_left_out() -> None:
    text = ' \r\n So:\tTool call: Read( {"a" :1}\n) \t\n[Called Bash with args: {}]! \x00'
    assert find_calls(text, TOOLS) == (
        " \r\n So:\t",
        WrittenCall("Read", '{"a" :1}'),
        WrittenCall("Bash", "{}"),
        "! \x00",
    )


@pytest.mark.parametrize("names", [["Read"], {"Read"}, frozenset({"Read"}), {"Read": 1}, ("Read", "Read")])
def test_names_may_come_in_any_collection(names: list[str]) -> None:
    assert find_calls("Tool call: Read()", names) == (WrittenCall("Read", "{}"),)


@pytest.mark.parametrize(
    ("names", "text", "name"),
    [
        pytest.param(["Read", "ReadFile"], "Tool call: ReadFile()", "ReadFile", id="the longer of two"),
        pytest.param(["ReadFile", "Read"], "Tool call: Read()", "Read", id="the shorter of two"),
        pytest.param(["a", "a b"], "[Called a b with args: {}]", "a b", id="with a blank in it"),
        pytest.param(["a", "a("], "Tool call: a(({})", "a(", id="with a parenthesis at its end"),
        pytest.param(["f(x)"], "Tool call: f(x)({})", "f(x)", id="with parentheses"),
        pytest.param(["a", "a({}). b"], "Tool call: a({}). b({})", "a({}). b", id="that holds a call of another"),
        pytest.param(["with args:"], "[Called with args: with args: {}]", "with args:", id="that looks like the form"),
        pytest.param(['"'], 'Tool call: "({})', '"', id="of a quote"),
        pytest.param(["a\nb"], "Tool call: a\nb()", "a\nb", id="with a line's end"),
        pytest.param([" a"], "Tool call: a()", " a", id="with a blank before"),
        pytest.param([" a", "a"], "Tool call:a()", "a", id="for which a blank is missing"),
        pytest.param([" \ta", "a"], "[Called \ta with args: {}]", "a", id="which one blank before is not part of"),
        pytest.param([" \ta", "a"], "[Called  \ta with args: {}]", " \ta", id="with blanks before, behind one"),
        pytest.param(["a "], "Tool call: a ()", "a ", id="with a blank behind"),
        pytest.param(["a ", "a"], "[Called a with args: {}]", "a", id="which the only blank behind is not part of"),
        pytest.param(["😀", "\ud800"], "Tool call: 😀()", "😀", id="of one picture"),
    ],
)
def test_a_name(names: list[str], text: str, name: str) -> None:
    assert find_calls(text, names) == (WrittenCall(name, "{}"),)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([""], "Tool call: ({})"),
        (["", " ", "\t "], "[Called   with args: {}]"),
        ([" "], "Tool call:  ({})"),
        ([" a"], "Tool call:a()"),
        ([" a"], "[Called a with args: {}]"),
        (["a "], "Tool call: a()"),
        (["a "], "[Called a with args: {}]"),
        (["e\u0301"], "Tool call: \xe9()"),
        (["Read"], "Tool call: Read\ud800()"),
    ],
)
def test_what_is_no_name(names: list[str], text: str) -> None:
    assert find_calls(text, names) == (text,)


def test_names_are_indexed_longest_first_under_what_can_be_seen() -> None:
    index = index_names(["a", " ab", "abc", "", " \t", "b", "a"])
    assert index.names == {"a", " ab", "abc", "b"}
    assert index.shapes == {"a": ((0, 3), (1, 3), (0, 1)), "b": ((0, 1),)}


# --- a text that goes on ---------------------------------------------------------------------------------------

NAMES = index_names(("Read", "ReadFile", "with"))
EMPTY = WrittenCall("Read", "{}")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("json_object", [*ANY, '{"a": [true, false, null, -0.5e+1, "\\ud83d\\ude00"], "b": {}}'])
def test_a_call_is_undecided_up_to_what_follows_it(form: str, json_object: str) -> None:
    text = form.replace("NAME", "Read").replace("OBJECT", json_object)
    for end in range(len(text) + 1):
        assert match_call(text[:end], 0, NAMES, at_end=False) is Miss.NEED_MORE, text[:end]
        if end < len(text):
            assert match_call(text[:end], 0, NAMES, at_end=True) is Miss.NO, text[:end]
    match = Match(WrittenCall("Read", json_object), len(text))
    assert match_call(text, 0, NAMES, at_end=True) == match
    assert match_call(f"{text}\n", 0, NAMES, at_end=False) == match
    assert match_call(f"{text}.", 0, NAMES, at_end=False) == match
    assert match_call(f"{text}x", 0, NAMES, at_end=False) is Miss.NO


@pytest.mark.parametrize(
    "text",
    [
        *("x", "t", "Tool  ", "Tool call ", "[c", "[[", "Tool call:\n", "[CalledR", "[Called\n"),
        *("Tool call: R(", "Tool call: Rx", "Tool call: Readx", "Tool call: Read \n", "Tool call: W", "Tool call: ("),
        *("[Called Read(", "[Called Read wi(", "[Called Read with  ", "[Called Read\n", "[Called with with b"),
        *("Tool call: Read([", 'Tool call: Read("', "Tool call: Read(1", "Tool call: Read(]", "Tool call: Read(\xa0"),
        *("[Called Read with args: ]", "[Called Read with args: ["),
        *("Tool call: Read({}x", "Tool call: Read({}]", "[Called Read with args: {})", "Tool call: Read({} {"),
    ],
)
def test_what_cannot_become_a_call_is_refused_at_once(text: str) -> None:
    assert match_call(text, 0, NAMES, at_end=False) is Miss.NO
    assert match_call(text[:-1], 0, NAMES, at_end=False) is Miss.NEED_MORE


@pytest.mark.parametrize(
    ("begun", "wrong"),
    [
        *(("", bad) for bad in ("a", "'", ",", ":", "[", "{", "1", "\xa0", "\x00", "]")),
        *(('"a"', bad) for bad in ("}", ",", '"', "=", "a", "]")),
        *(('"a":', bad) for bad in ("}", ",", ":", "'", "+", ".", "N", "I", "T", "a", "]", ")", "\x0c", "٣")),
        *(('"a":1', bad) for bad in ("]", '"', ":", "a", "{", "[", "t", "_", "٣")),
        *(('"a":1,', bad) for bad in ("}", ",", "1", "]", "{")),
        *(('"a":[', bad) for bad in ("}", ",", ":", "a")),
        *(('"a":[1', bad) for bad in ("}", ":", '"', "[")),
        *(('"a":[1,', bad) for bad in ("]", ",", "}")),
        *(('"a":[]', bad) for bad in ("]", ":", "[")),
        *(('"a":t', bad) for bad in ("u", "}", " ", "R")),
        *(('"a":nul', bad) for bad in ("}", "x", "L")),
        *(('"a":-', bad) for bad in ("}", "-", "+", ".", "I", "e")),
        *(('"a":0', bad) for bad in ("0", "1", "-", "x")),
        *(('"a":1.', bad) for bad in ("}", ".", "e")),
        *(('"a":1.5', bad) for bad in (".", "-")),
        *(('"a":1e', bad) for bad in ("}", "e", ".")),
        *(('"a":1e-', bad) for bad in ("}", "-", "+")),
        *(('"a', bad) for bad in ("\n", "\r", "\t", "\x00", "\x1f", "\ud800", "\udfff")),
        *(('"\\', bad) for bad in ("a", "x", "'", "U", "0", "\n", "٣")),
        *(('"\\u', bad) for bad in ("g", '"', "\\", "{", "٣")),
        *(('"\\u00a', bad) for bad in ("g", '"')),
        *(('"\\uD', bad) for bad in ("c", "D", "e", "F", "g")),
        *(('"\\ud8', bad) for bad in ("g", '"')),
        *(('"\\ud800', bad) for bad in ('"', "a", " ")),
        *(('"\\ud800\\', bad) for bad in ("n", '"', "\\")),
        *(('"\\ud800\\u', bad) for bad in ("0", "e", "g")),
        *(('"\\uDBFF\\ud', bad) for bad in ("0", "8", "b", "g")),
        *(('"\\uDBFF\\udc0', bad) for bad in ("g", '"')),
        *((f'"a":{"[" * 98}', bad) for bad in ("}", ",")),
        *((f'"a":{"[" * 99}', bad) for bad in ("[", "{")),
    ],
)
def test_an_object_is_refused_with_its_first_wrong_character_and_not_before(begun: str, wrong: str) -> None:
    text = f"Tool call: Read({{{begun}"
    assert match_call(text, 0, NAMES, at_end=False) is Miss.NEED_MORE
    assert match_call(text, 0, NAMES, at_end=True) is Miss.NO
    assert match_call(text + wrong, 0, NAMES, at_end=False) is Miss.NO


def test_a_longer_name_that_may_be_meant_keeps_a_shorter_one_undecided() -> None:
    names = index_names(["a", "a({}). b"])
    text = "Tool call: a({}). b({})"
    for end in range(len("Tool call: a({})"), len(text) + 1):
        assert match_call(text[:end], 0, names, at_end=False) is Miss.NEED_MORE
        call = WrittenCall("a({}). b" if end == len(text) else "a", "{}")
        assert match_call(text[:end], 0, names, at_end=True) == Match(call, end if end == len(text) else 16)
    assert match_call("Tool call: a({}). c", 0, names, at_end=False) == Match(WrittenCall("a", "{}"), 16)


@pytest.mark.parametrize("start", [0, 1, 7])
def test_a_match_says_where_it_ends(start: int) -> None:
    text = "x" * start + "Tool call: Read() and more"
    assert match_call(text, start, NAMES, at_end=True) == Match(EMPTY, start + len("Tool call: Read()"))


def test_whatever_stands_before_is_not_its_business() -> None:
    assert match_call("`Tool call: Read() ", 1, NAMES, at_end=False) == Match(EMPTY, 18)


@pytest.mark.parametrize("json_object", PLAIN)
def test_a_call_is_read_from_the_middle_of_a_text_as_from_its_beginning(json_object: str) -> None:
    call = f"[Called Read with args: {json_object}]"
    text = f"{call} {call}"
    match = Match(WrittenCall("Read", json_object), len(text))
    assert match_call(text, len(call) + 1, NAMES, at_end=True) == match
