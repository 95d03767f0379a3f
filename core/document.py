"""A decoded JSON or TOML document while it is read: sections, values, and every problem with its path.

Knows nothing of what the document is about. A value that is wrong counts as its default from then on, so that
reading goes on to the next problem; whoever reads must give up at the end if there was any.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import msgspec

from core.errors import StagewhisperError

T = TypeVar("T")

_GUESSES = 20


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong, and where: `providers.team.accounts[1].tokenFilePath`, or `""` for the whole."""

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}" if self.path else self.problem


class ValueProblem(StagewhisperError):
    """A value is not what its place takes. Its text is the problem; whoever reads the place knows the path."""


def show(value: object) -> str:
    """A value in a few characters of one line, by its JSON name where it has one."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            # Python refuses to write out numbers of many thousand digits, which TOML can hold as hexadecimal.
            return str(value) if abs(value) < 10**18 else "a number of more than 18 digits"
        case float():
            return repr(value)
        case str():
            return repr(value) if len(value) <= 40 else f"{value[:40]!r}..."
        case _:
            return kind(value)


def kind(value: object) -> str:
    """What sort of value it is, for one that may not be shown."""
    match value:
        case None | bool():
            return show(value)
        case str():
            return "a text"
        case int() | float():
            return "a number"
        case dict():
            return "an object"
        case list():
            return "a list"
        case _:
            return f"a {type(value).__name__}"


def expected(what: str, value: object) -> ValueProblem:
    """The problem of a value that may be shown."""
    return ValueProblem(f"expected {what}, got {show(value)}")


def join(path: str, key: object) -> str:
    """The path of a member. A key that would make it ambiguous or long stands in brackets, shortened."""
    if isinstance(key, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", key):
        return f"{path}.{key}" if path else key
    return f"{path}[{show(key)}]"


class Section:
    """One object of the document: knows which keys were asked for, and adds to `problems` what is wrong."""

    def __init__(self, path: str, value: object, problems: list[Problem]) -> None:
        self.path = path
        self.problems = problems
        self._members: Mapping[object, object] = value if isinstance(value, dict) else {}
        self._asked: list[str] = []
        if not isinstance(value, dict):
            problems.append(Problem(path, f"expected an object, got {kind(value)}"))

    def __contains__(self, key: str) -> bool:
        return key in self._members

    def __iter__(self) -> Iterator[str]:
        return (key for key in self._members if isinstance(key, str))

    def value(self, key: str) -> object:
        """The value as it stands there; None for null, and where there is none."""
        self._asked.append(key)
        return self._members.get(key)

    def get(self, key: str, read: Callable[[object], T], default: T) -> T:
        """The value as `read` takes it, which raises StagewhisperError where it does not; else the default."""
        value = self.value(key)
        if key not in self._members:
            return default
        try:
            return read(value)
        except StagewhisperError as wrong:
            self.refuse(key, str(wrong))
            return default

    def section(self, key: str, default: Mapping[str, object] | None = None) -> Section:
        """The object of that key; where there is none, `default`, else an empty one."""
        value = self.value(key)
        return Section(join(self.path, key), value if key in self._members else (default or {}), self.problems)

    def refuse(self, key: str, problem: str) -> None:
        """Adds a problem with the value of that key."""
        self.problems.append(Problem(join(self.path, key), problem))

    def close(self) -> None:
        """Reports the keys that nobody asked for. The last call on a section."""
        asked = dict.fromkeys(self._asked)
        known = {key.lower(): key for key in asked}
        unknown = [key for key in self._members if key not in asked]
        for number, key in enumerate(unknown):
            # A guess takes time, which a file of a hundred thousand wrong keys would multiply.
            near = _nearest(key, known) if number < _GUESSES else None
            hint = f"did you mean {near}?" if near else f"the keys here are {', '.join(asked)}"
            self.problems.append(Problem(join(self.path, key), f"unknown key; {hint}"))


def _nearest(key: object, known: Mapping[str, str]) -> str | None:
    """The key that was probably meant: snake case, capitals and small slips are looked through."""
    written = re.sub(r"[_-]", "", show(key)).strip("'").lower()
    matches = difflib.get_close_matches(written, known, n=1, cutoff=0.7)
    return known[matches[0]] if matches else None


# --- values ----------------------------------------------------------------------------------------------------


def seconds(low: int, high: int) -> Callable[[object], float]:
    """Reads milliseconds from `low` to `high`, as seconds."""

    def read(value: object) -> float:
        # bool is a number to Python alone; NaN, which TOML has, is within no range.
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise expected(f"milliseconds from {low} to {high}", value)
        return value / 1000

    return read


def whole_number(low: int, high: int) -> Callable[[object], int]:
    """Reads a whole number from `low` to `high`."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise expected(f"a whole number from {low} to {high}", value)
        return value

    return read


def text(pattern: str, what: str, *, shown: bool = True) -> Callable[[object], str]:
    """Reads a text that is wholly of the pattern. A wrong one is not `shown` where it may be a secret, misplaced."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise expected(what, value) if shown else ValueProblem(f"expected {what}, got {kind(value)}")
        return value

    return read


def choice(*choices: str) -> Callable[[object], str]:
    """Reads one of a few words."""
    return text("|".join(map(re.escape, choices)), " or ".join(f'"{word}"' for word in choices))


def array(of: str) -> Callable[[object], list[object]]:
    """Reads a list, its items as they are. What else stands there is not shown: one of `of` may be a secret."""

    def read(value: object) -> list[object]:
        if not isinstance(value, list):
            raise ValueProblem(f"expected a list of {of}, got {kind(value)}")
        return value

    return read


def optional(read: Callable[[object], T]) -> Callable[[object], T | None]:
    """Reads what `read` does, and null as None."""
    return lambda value: None if value is None else read(value)
