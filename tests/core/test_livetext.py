"""Text while it comes in: what is given out is certain, nothing that is certain is held, and nothing is taken back."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core import livetext, toolcalls
from core.livetext import LiveText
from core.response import find_stop
from core.toolcalls import WrittenCall, find_calls, index_names
from tests.core.test_toolcalls_properties import INDEX, TOOLS, calls, forms, texts, write
from tests.core.test_toolcalls_work import Work, count_patterns
from tests.data.written_calls.cases import TEMPLATES, expand
from tests.data.written_calls.words import Template

Pieces = list[str | WrittenCall]


def fed(*parts: str, stop_sequences: Sequence[str] = (), names: Iterable[str] = TOOLS) -> list[Pieces]:
    """What each part made certain."""
    live = LiveText(index_names(list(names)), stop_sequences)
    return [live.feed(part) for part in parts]


def joined(given: Iterable[Pieces]) -> Pieces:
    """All that was given, neighbouring text joined."""
    pieces: Pieces = []
    for piece in (piece for each in given for piece in each):
        if isinstance(piece, str) and pieces and isinstance(pieces[-1], str):
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces


def begins(beginning: Pieces, whole: Sequence[str | WrittenCall]) -> bool:
    """Whether pieces, the last of which may be cut, are what others begin with."""
    if not beginning:
        return True
    *before, last = beginning
    if list(whole[: len(before)]) != before or len(whole) < len(beginning):
        return False
    there = whole[len(before)]
    return there.startswith(last) if isinstance(last, str) and isinstance(there, str) else there == last


READ = WrittenCall("Read", "{}")


@pytest.mark.parametrize(
    ("parts", "given"),
    [
        # text goes out at once
        (["He", "llo ", "you"], [["He"], ["llo "], ["you"]]),
        (["a\n", "b\r", "\nc", "\n\n"], [["a\n"], ["b\r"], ["\nc"], ["\n\n"]]),
        (["", "a", ""], [[], ["a"], []]),
        # but for what may begin a call
        (["So. T", "his"], [["So. "], ["This"]]),
        (["So. Tool", " call", ": Nope(", "x"], [["So. "], [], ["Tool call: Nope("], ["x"]]),
        (["So. Tool call: Re", "ad(", "{}", ") ", "x"], [["So. "], [], [], [READ], [" x"]]),
        (["x [Cal", "led Read with", " args: {}]", "."], [["x "], [], [], [READ, "."]]),
        (["a Tool call: Read({})", "."], [["a "], [READ, "."]]),
        (["Tool call: Read({", "x})"], [[], ["Tool call: Read({x})"]]),
        (["Tool call: Read", "File()", "\n"], [[], [], [WrittenCall("ReadFile", "{}")]]),
        # directly behind something else none begins
        (["xTool call: Read(", "{})"], [["xTool call: Read("], ["{})"]]),
        (["xTo", "ol"], [["xTo"], ["ol"]]),
        (["> a To", "ol"], [["> a To"], ["ol"]]),
        (["a\n> Tool call: Read({", "}) "], [["a\n> Tool call: Read({"], ["}) "]]),
        (["a\n  ", "> Tool call: Read({", "}) "], [["a\n  "], ["> Tool call: Read({"], ["}) "]]),
        # whitespace waits for what it stands before: before a call it is left out
        (["\n", "\n", "a"], [[], [], ["\n\na"]]),
        (["\n", "Tool call: Read()", "\n\n", " Tool call: Read()", " "], [[], [], [READ], [], [READ]]),
        # a fence decides at its first line, and lets all else pass
        (["``", "`x\nTool ", "call: Read()\n", "```\n"], [["``"], ["`x\nTool "], ["call: Read()\n"], ["```\n"]]),
        (["~~~\n`\n~~", "~ \nTool call: Read()\n"], [["~~~\n`\n~~"], ["~ \n", READ]]),
        (["~~~\n~~~~~", "\nTool call: Read()\n"], [["~~~\n~~~~~"], ["\n", READ]]),
        (["````\n```\nTool call: Read()\n"], [["````\n```\nTool call: Read()\n"]]),
        (["```\n``` x\nTool call: Read()\n"], [["```\n``` x\nTool call: Read()\n"]]),
        (["```\r", "\n```\r", "\nTool call: Read()\r\n"], [["```\r"], ["\n```\r"], ["\n", READ]]),
        # backticks without a partner: a call behind them waits for it, or for the paragraph's end
        (["a ` Tool call: Read() b", " c", "`", "d"], [["a ` "], [], [], ["Tool call: Read() b c`d"]]),
        (["a ` Tool call: Read() b", "\n", "\n"], [["a ` "], [], [READ, " b\n\n"]]),
        (["a ` Tool call: Read() b", "\n", " x"], [["a ` "], [], []]),
        (["a ` b ` Tool call: Read() "], [["a ` b ` ", READ]]),
        (["a ` b `` Tool call: Read() `` c"], [["a ` b `` Tool call: Read() `` c"]]),
        (["a ` Tool call: Read() `` Tool call: Read() `` c\n\n"], [["a ` ", READ, " `` Tool call: Read() `` c\n\n"]]),
        (["`` Tool call: Read() ` Tool call: a b() ``", "c"], [["`` "], ["Tool call: Read() ` Tool call: a b() ``c"]]),
        # the partner may stand in the call itself, and so may the paragraph's end
        (['a ` Tool call: Read({"b": "', "`", "c"], [["a ` "], [], ['Tool call: Read({"b": "`c']]),
        (['a ` Tool call: Read({"b": "``"', "}", ") ", "`x"], [["a ` "], [], [], ['Tool call: Read({"b": "``"}) `x']]),
        (["a ` Tool call: Read({\n\n", "}) "], [["a ` "], [WrittenCall("Read", "{\n\n}")]]),
        (["a ` Tool call: Read() Tool call: Read({\n \n}) "], [["a ` ", READ, WrittenCall("Read", "{\n \n}")]]),
        (["a ` Tool call: Read({\n ", " ", "\n}) "], [["a ` "], [], [WrittenCall("Read", "{\n  \n}")]]),
        # in a fence behind it too
        (["a ` Tool call: Read() \n```\n", "`", "x"], [["a ` "], [], ["Tool call: Read() \n```\n`x"]]),
        (["a ` Tool call: Read() \n```\n\n", "x"], [["a ` ", READ, " \n```\n\n"], ["x"]]),
        (["a ``` Tool call: Read() \n```", "x\n"], [["a ``` "], ["Tool call: Read() \n```x\n"]]),
        (["a ```` Tool call: Read() \n```\n", "````\n"], [["a ```` "], ["Tool call: Read() \n```\n````\n"]]),
        # a partner is looked for in each call anew
        (
            [f'a ` Tool call: Read({{"a": "{"x" * 40}', '!" ! ', 'Tool call: Read({"b": "`"}) ', "c\n\n"],
            [["a ` "], [f'Tool call: Read({{"a": "{"x" * 40}!" ! '], ['Tool call: Read({"b": "`"}) '], ["c\n\n"]],
        ),
    ],
)  # fmt: skip
def test_what_is_certain_goes_out_at_once(parts: list[str], given: list[Pieces]) -> None:
    assert [joined([each]) for each in fed(*parts)] == given


@pytest.mark.parametrize(
    ("sequences", "parts", "given", "is_cut"),
    [
        (["END"], ["aE", "NDb"], [["a"], []], True),
        (["END"], ["aE", "Eb"], [["a"], ["EEb"]], False),
        (["END"], ["ENDx"], [[]], True),
        (["END"], ["a EN", "d"], [["a "], ["ENd"]], False),
        # of two, the one that begins first, even if the other one is whole first
        (["abcd", "bc"], ["xabc", "d"], [["x"], []], True),
        (["abcd", "bc"], ["xabc", "e"], [["x"], ["a"]], True),
        (["abcd", "bc"], ["xabc"], [["x"]], False),
        (["aab"], ["aa", "aa", "b"], [[], ["aa"], []], True),
        # the text before it is read to its end by whoever feeds it
        (["STOP"], ["Tool call: Read()ST", "OP"], [[], []], True),
        (["STOP"], ["Tool call: Read() ", "STOP"], [[READ], []], True),
    ],
)
def test_text_is_certain_up_to_what_may_be_a_stop_sequence(
    sequences: list[str], parts: list[str], given: list[Pieces], is_cut: bool
) -> None:
    live = LiveText(INDEX, sequences)
    assert [live.feed(part) for part in parts] == given
    assert live.is_cut == is_cut


def test_without_names_all_text_goes_out_at_once() -> None:
    assert fed("\n", "Tool call: Read", "()", "", names=()) == [["\n"], ["Tool call: Read"], ["()"], []]


def cut(text: str, places: Iterable[int]) -> list[str]:
    """The text cut at these places."""
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in pairwise(edges)]


@settings(max_examples=600, deadline=None)
@given(texts, st.lists(st.integers(0, 200), max_size=6))
@example("a ` b\n```\n`\n```\nTool call: Read({}) ` c", [])
def test_in_any_pieces_what_is_given_is_a_beginning_of_what_the_whole_text_is(text: str, places: list[int]) -> None:
    whole = find_calls(text, TOOLS)
    assert begins(joined(fed(*cut(text, places))), whole)
    assert begins(joined(fed(*text)), whole)


@pytest.mark.parametrize("template", [pytest.param(template, id=template.label) for template in TEMPLATES])
def test_of_the_labelled_corpus_nothing_is_given_that_its_labels_do_not_say(template: Template) -> None:
    for number, case in enumerate(expand(template)):
        expected = find_calls(case.text, case.names)
        ways: list[Iterable[str]] = [[case.text], cut(case.text, accumulate([7, 1, 11] * 20))]
        for parts in [*ways, case.text] if number < 40 else ways:
            assert begins(joined(fed(*parts, names=case.names)), expected), case.text


# --- nothing that is certain is held ---------------------------------------------------------------------------

_CALLS = ("Tool call: Read({})", "[Called Read with args: {}]", "Tool call: a b()", "[Called a b with args: {}]")
_REST_OF_A_VALUE = (
    *("", '"', '"a"', 'a"', '":1', "0", '"a":1', "e", "ue", "rue", "l", "ull", "alse", ":1", ',"a":1', "0}", 'n"'),
    *('00"', '000"', 'u0000"', '\\udc00"', 'udc00"', 'dc00"', 'c00"', "-0".removeprefix("-")),
)
_BRACKETS = ("})", "}]", "}})", "}}]", "]})", "]}]", "}]})", "}]}]", "]}})", ")", "]", '":1})', '":1}]', '":{}}]')
GOING_ON = (
    *("", "x", "\n", "\n\nx", " x", "`x", "``x", "```x", "````x", "\n```\n\nx", "File({})\n\n"),
    *(f"{call[start:]}\n\n" for call in _CALLS for start in range(len(call))),
    *(f"{value}{brackets}\n\n" for value in _REST_OF_A_VALUE for brackets in _BRACKETS),
)
"""How a text may go on: so many ways that one of them makes something else of each end that has to be held."""


def in_units(pieces: Iterable[str | WrittenCall]) -> list[tuple[int, str | WrittenCall]]:
    """Characters and calls, each with the number of its block."""
    return [
        (index, unit) for index, piece in enumerate(pieces) for unit in (piece if isinstance(piece, str) else (piece,))
    ]


@settings(max_examples=300, deadline=None)
@given(forms, calls, texts, st.lists(st.integers(0, 200), max_size=6))
def test_calls_are_given_whole_however_they_come(form: str, call: WrittenCall, after: str, places: list[int]) -> None:
    text = f"a\n{write(form, call)}\n\n{after}"
    whole = find_calls(text, TOOLS)
    assert whole[1] == call
    for parts in (cut(text, places), list(text)):
        given = joined(fed(*parts))
        assert given[:2] == ["a\n", call]
        assert begins(given, whole)


@settings(max_examples=300, deadline=None)
@given(texts)
def test_nothing_is_held_that_is_the_same_however_the_text_goes_on(text: str) -> None:
    given = in_units(joined(fed(*text)))
    certain: list[tuple[int, str | WrittenCall]] | None = None
    for rest in GOING_ON:
        units = in_units(find_calls(text + rest, TOOLS))
        if certain is None:
            certain = units
        alike = [one == other for one, other in zip(certain, units, strict=False)]
        certain = certain[: alike.index(False) if False in alike else len(alike)]
        if len(certain) <= len(given):
            return
    assert certain == given


@pytest.mark.parametrize("run", [" ", "\t", "`", "~", "1"])
def test_behind_a_run_however_long_what_decides_is_seen_at_once(run: str) -> None:
    long = run * 6000
    assert joined(fed(f"a\n{long}", "x")) == [f"a\n{long}x"]
    assert joined(fed(f'a Tool call: Read({{"b":{long}', "x")) == [f'a Tool call: Read({{"b":{long}x']
    assert joined(fed("a Tool call:" + " " * 6000, *"x y")) == ["a Tool call:" + " " * 6000 + "x y"]


def test_a_long_stop_sequence_is_found_and_nothing_is_lost_before_it() -> None:
    sequence = "ab" * 500 + "c"
    text = "ab" * 800 + "c" + "x"
    live = LiveText(INDEX, [sequence, "nowhere"])
    given = joined([live.feed(piece) for piece in cut(text, accumulate([7, 1, 11] * 200))])
    assert given == ["ab" * 300]
    assert live.is_cut


@settings(max_examples=300, deadline=None)
@given(
    st.text("ab", max_size=30),
    st.lists(st.text("ab", min_size=1, max_size=6), min_size=1, max_size=3),
    st.lists(st.integers(0, 30), max_size=5),
)
def test_text_is_cut_where_the_first_stop_sequence_begins_in_any_pieces(
    text: str, sequences: list[str], places: list[int]
) -> None:
    live = LiveText(INDEX, sequences)
    given = "".join(str(piece) for part in cut(text, places) for piece in live.feed(part))
    stop = find_stop(text, sequences)
    whole = text if stop is None else text[: stop[0]]
    assert whole.startswith(given)
    held = whole[len(given) :]
    assert live.is_cut == (stop is not None and not held)
    if stop is None:
        longest = [max(n for n in range(len(each) + 1) if text.endswith(each[:n])) for each in sequences]
        assert len(held) == max(longest)


# --- work ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("beginning", "again", "end"),
    [
        ("` ", 'Tool call: Read({"a": " ', "`\n"),
        ("a ` ", "Tool call: Read() `` `` ", ""),
        ('Tool call: Read({"' + "k" * 1_000 + '": "', "v", ""),
        ('Tool call: Read({"k":' + " " * 1_000 + '"', "v", ""),
        ('a ` Tool call: Read({"k": "', "`", ""),
        ("", "word ", ""),
        ('Tool call: Read({"a": "', "x y", ""),
        ('Tool call: Read({"a": [', '1,"b",', ""),
        ("Tool call:", " ", ""),
        ("Tool call: Read({", "\n ", ""),
        ('a ` Tool call: Read({"a": "', "``` x", ""),
        ("a ` Tool call: Read({}) ", "word `` and ```", ""),
        ("", "`", ""),
        ("", "\n", ""),
        ("a\n", " ", ""),
        ("```\n", "abc `x`\n", ""),
        ("```\n```", " ", ""),
        ("", 'Tool call: Read({"a": " ', ""),
        ("` ", 'Tool call: Read({"a": " ', ""),
        ('Tool call: Read({"a":', "1", ""),
    ],
)
def test_work_grows_with_the_text_and_not_with_its_square(
    beginning: str, again: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work()
    count_patterns(monkeypatch, livetext, work)
    count_patterns(monkeypatch, toolcalls, work)
    # Below that, what little there is may be read again at every piece.
    monkeypatch.setattr(livetext, "_MOST_REREAD", 64)

    def measure(length: int) -> int:
        work.done = 0
        fed(beginning, *(again * (length // len(again))), end)
        return work.done

    assert measure(8_000) <= 5 * measure(2_000)
