"""The work that a text takes grows with its length and no faster, whoever wrote it.

Work is counted, not timed: every character that the module looks at, by a text and by patterns that count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import SupportsIndex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import toolcalls
from core.toolcalls import find_calls

NAMES = ("Read", "ReadFile", "Rea", '":"', "x\\\\")

MOST = 12
"""The most that may be looked at for each character of a text, on the whole."""


class Work:
    """A count of characters looked at."""

    def __init__(self) -> None:
        self.done = 0


class CountedText(str):
    """A text that counts what is read of it: slices by their length, comparisons by that of what is compared."""

    work: Work

    def __getitem__(self, key: SupportsIndex | slice, /) -> str:
        found = super().__getitem__(key)
        self.work.done += 1 + len(found)
        return found

    def startswith(
        self,
        prefix: str | tuple[str, ...],
        start: SupportsIndex | None = None,
        end: SupportsIndex | None = None,
        /,
    ) -> bool:
        self.work.done += 1 + len(prefix)
        return super().startswith(prefix, start, end)

    def rfind(self, sub: str, start: SupportsIndex | None = None, end: SupportsIndex | None = None, /) -> int:
        self.work.done += 1 + len(self)
        return super().rfind(sub, start, end)

    def __getattribute__(self, name: str) -> object:
        # Whatever else a text can do would go uncounted, so it may not be asked for.
        assert name in {"startswith", "rfind", "work"}, f"{name} is not counted"
        return super().__getattribute__(name)


class CountedPattern:
    """A pattern that counts what it reads. `in_vain` tells how much where it matches nothing at a place."""

    def __init__(self, pattern: re.Pattern[str], work: Work, in_vain: Callable[[str, int], int]) -> None:
        self.pattern = pattern
        self.work = work
        self.in_vain = in_vain

    def match(self, text: str, at: int) -> re.Match[str] | None:
        found = self.pattern.match(text, at)
        self.work.done += 1 + (self.in_vain(text, at) if found is None else found.end() - at)
        return found

    def fullmatch(self, text: str, at: int = 0, end: int | None = None) -> re.Match[str] | None:
        end = len(text) if end is None else end
        self.work.done += 1 + end - at
        return self.pattern.fullmatch(text, at, end)

    def search(self, text: str, at: int, end: int | None = None) -> re.Match[str] | None:
        end = len(text) if end is None else end
        found = self.pattern.search(text, at, end)
        self.work.done += 1 + (end if found is None else found.end()) - at
        return found

    def finditer(self, text: str, at: int, end: int | None = None) -> Iterator[re.Match[str]]:
        end = len(text) if end is None else end
        for found in self.pattern.finditer(text, at, end):
            self.work.done += 1 + found.end() - at
            at = found.end()
            yield found
        self.work.done += 1 + end - at


_LINE_END = re.compile(r"[\r\n]|\Z")
_IN_VAIN: dict[re.Pattern[str], Callable[[str, int], int]] = {
    toolcalls.LINE_BEGINNING: lambda text, at: next(_LINE_END.finditer(text, at)).end() - at,
    toolcalls._ESCAPE: lambda _text, _at: len(r"\ud800\udc00"),
}


def count_patterns(patch: pytest.MonkeyPatch, module: ModuleType, work: Work) -> None:
    """Have all patterns of a module replaced by counting ones."""

    def counted(value: object) -> object:
        if isinstance(value, re.Pattern):
            return CountedPattern(value, work, _IN_VAIN.get(value, lambda _text, _at: 1))
        if isinstance(value, dict):
            return {key: counted(member) for key, member in value.items()}
        return value

    for name, value in list(vars(module).items()):
        if isinstance(value, (re.Pattern, dict)) and not name.startswith("__"):
            patch.setattr(module, name, counted(value))


@pytest.fixture(scope="module")
def measure() -> Iterator[Callable[[str], int]]:
    """How many characters are looked at for a text. All patterns of the module are replaced by counting ones."""
    work = Work()

    def measured(text: str) -> int:
        work.done = 0
        counting = CountedText(text)
        counting.work = work
        find_calls(counting, NAMES)
        return work.done

    with pytest.MonkeyPatch.context() as patch:
        count_patterns(patch, toolcalls, work)
        yield measured


def runs_up_to(length: int, mark: str, between: str) -> str:
    return between.join(mark * width for width in range(1, length + 1))


HOSTILE = {
    "strings that stay open": lambda n: 'Tool call: Read({"' * n,
    "strings that stay open, second form": lambda n: '[Called Read with args: {"' * n,
    "values that stay open": lambda n: 'Tool call: Read({"a":"' * n,
    "values that stay open, with blanks": lambda n: ' Tool call: Read({ "a" : "' * n,
    "calls where values should be": lambda n: 'Tool call: Read({"a": ' * n,
    "keys that others close": lambda n: ' Tool call: Read({"":" ' * n,
    "quotes in turn": lambda n: ' Tool call: Read({"," [Called Read with args: {"' * n,
    "names with quotes": lambda n: 'x Tool call: ":"({"' * n,
    "names with backslashes": lambda n: ' Tool call: x\\\\({"' * n,
    "escaped quotes": lambda n: ' Tool call: Read({"\\"' * n,
    "escapes": lambda n: 'Tool call: Read({"a":"' + "\\n" * n,
    "halves of pairs": lambda n: ' Tool call: Read({"\\ud800' * n,
    "pairs": lambda n: 'Tool call: Read({"' + "\\ud800\\udc00" * n,
    "brackets": lambda n: 'Tool call: Read({"a":' + "[" * n,
    "objects in each other": lambda n: "Tool call: Read(" + '{"a":' * n,
    "beginnings at the deepest": lambda n: ('Tool call: Read({"a":' + "[" * 99 + '"') * n,
    "objects without an end": lambda n: 'Tool call: Read({"a":1' + ',"a":1' * n,
    "objects whose call does not end": lambda n: " Tool call: Read({}" * n,
    "numbers": lambda n: 'Tool call: Read({"a":' + "1" * n,
    "signs": lambda n: 'Tool call: Read({"a":1' + "-" * n,
    "many numbers": lambda n: ' Tool call: Read({"a":1' * n,
    "markers": lambda n: "Tool call:" * n,
    "markers with blanks": lambda n: "Tool call: " * n,
    "markers, second form": lambda n: "[Called " * n,
    "names": lambda n: " Tool call: ReadFile" * n,
    "blanks behind markers": lambda n: (" Tool call:" + " \t" * 40) * n,
    "blanks behind names": lambda n: (" Tool call: Read" + " \t" * 40) * n,
    "blanks in parentheses": lambda n: (" Tool call: Read(" + " \n" * 40) * n,
    "blanks in objects": lambda n: (" Tool call: Read({" + " \n" * 40) * n,
    "blanks alone": lambda n: "[Called " + " " * n + "Tool call: ",
    "blanks to the end": lambda n: "Tool call: Read(" + " " * n,
    "calls": lambda n: "Tool call: Read({})\n" * n,
    "calls that touch": lambda n: "Tool call: Read({})" * n,
    "calls in one line": lambda n: "x [Called Read with args: {}]." * n,
    "one line, unknown": lambda n: "Tool call: Nothing({}) " * n,
    "runs in one paragraph": lambda n: "` " * n + "Tool call:",
    "runs without partners": lambda n: runs_up_to(int((2 * n) ** 0.5), "`", " ") + " Tool call: Read()",
    "runs without partners, twice": lambda n: runs_up_to(int((2 * n) ** 0.5), "`", "\n\n") + "[Called",
    "runs and blank lines": lambda n: "`\n\n" * n + "Tool call:",
    "runs and calls": lambda n: '` Tool call: Read({"a":"`"}) ' * n,
    "one run": lambda n: "x " + "`" * n + " Tool call:",
    "opening fences that close nothing": lambda n: "~~~~\n" + "~~~\n" * n + "Tool call:",
    "fences": lambda n: "```\n" * n + "Tool call:",
    "growing fences": lambda n: runs_up_to(int((2 * n) ** 0.5), "~", "\n") + "\nTool call:",
    "fences that are none": lambda n: "```a`\n" * n + "Tool call:",
    "one fence that is none": lambda n: "```" + "a" * n + "`\nTool call:",
    "paragraphs that fences end": lambda n: "`\n~~~\n~~~\n" * n + "Tool call:",
    "lines": lambda n: "\n" * n + "Tool call:",
    "lone CR": lambda n: "\r" * n + "Tool call:",
    "CR LF": lambda n: "\r\n" * n + "Tool call:",
    "lines of blanks": lambda n: "`" + ("\n" + " " * 60 + "x") * n + "Tool call:",
    "block quotes": lambda n: "> Tool call: Read()\n" * n,
    "one line of a block quote": lambda n: "> " + "Tool call: Read() " * n,
}


@pytest.mark.parametrize("hostile", [pytest.param(make, id=name) for name, make in HOSTILE.items()])
def test_the_work_is_linear_in_hostile_texts(measure: Callable[[str], int], hostile: Callable[[int], str]) -> None:
    small, large = hostile(100), hostile(1_200)
    assert measure(large) <= MOST * len(large)
    assert measure(large) / len(large) <= 1.25 * measure(small) / len(small) + 1


PIECES = (
    *("Tool call: Read(", "[Called Read with args: ", "Tool call:", "[Called", "Read", "{", "}", '"', '"', ":", ","),
    *("[", "]", ")", " ", "\n", "\\", "`", "``", "~~~", "```", ">", "1", "null", '":"', "\n\n", "\\u0061", "a"),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map("".join))
def test_the_work_is_linear_in_whatever_is_repeated(measure: Callable[[str], int], piece: str) -> None:
    text = piece * 150
    assert measure(text) <= MOST * len(text)


def test_a_text_without_a_marker_is_searched_and_not_read(measure: Callable[[str], int]) -> None:
    text = "Use `grep`:\n\n```\n{}\n```\n> Tool call\n" * 1_000
    assert measure(text) == 2 * (1 + len(text))


def test_nothing_is_read_behind_the_last_marker(measure: Callable[[str], int]) -> None:
    text = "Tool call: none.\n"
    assert measure(text + "`a\n" * 1_000) - measure(text) <= 3 * len("`a\n" * 1_000)


def test_a_call_costs_a_few_looks_at_each_character(measure: Callable[[str], int]) -> None:
    arguments = '{"path": "' + "/some/where" * 500 + '", "text": "' + "a line\\n" * 500 + '"}'
    text = f"I write.\nTool call: Read({arguments})\nDone."
    assert measure(text) <= 6 * len(text)
