"""A document while it is read: what is shown of values, paths, sections and the readers of values."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.document import (
    Problem,
    Section,
    ValueProblem,
    array,
    choice,
    join,
    kind,
    optional,
    seconds,
    show,
    text,
    whole_number,
)
from core.errors import StagewhisperError


@pytest.mark.parametrize(
    ("value", "shown", "sort"),
    [
        (None, "null", "null"),
        (True, "true", "true"),
        (False, "false", "false"),
        (17, "17", "a number"),
        (-(10**18), "a number of more than 18 digits", "a number"),
        (1.5, "1.5", "a number"),
        (float("nan"), "nan", "a number"),
        ("two\nlines", r"'two\nlines'", "a text"),
        ("\ud800", r"'\ud800'", "a text"),
        ("x" * 40, f"'{'x' * 40}'", "a text"),
        ("x" * 41, f"'{'x' * 40}'...", "a text"),
        ({"a": "b"}, "an object", "an object"),
        (["a"], "a list", "a list"),
        (dt.date(2026, 1, 1), "a date", "a date"),
        (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "a datetime", "a datetime"),
    ],
)
def test_a_value_is_shown_in_a_few_characters_and_its_kind_without_it(value: object, shown: str, sort: str) -> None:
    assert show(value) == shown
    assert kind(value) == sort


def test_a_number_that_python_refuses_to_write_out_is_shown_all_the_same() -> None:
    assert show(16**6000) == "a number of more than 18 digits"


@pytest.mark.parametrize(
    ("path", "key", "expected"),
    [
        ("", "server", "server"),
        ("server", "apiKeys", "server.apiKeys"),
        ("models", "claude-sonnet-4-5", "models.claude-sonnet-4-5"),
        ("models", "claude-sonnet-4.5", "models['claude-sonnet-4.5']"),
        ("", "a b", "['a b']"),
        ("x", "", "x['']"),
        ("x", "k" * 65, f"x['{'k' * 40}'...]"),
        ("x", 5, "x[5]"),
    ],
)
def test_a_path_says_unambiguously_which_member_it_means(path: str, key: object, expected: str) -> None:
    assert join(path, key) == expected


def test_a_problem_is_a_line_with_its_path_if_it_has_one() -> None:
    assert str(Problem("server.bind", "expected a, got b")) == "server.bind: expected a, got b"
    assert str(Problem("", "expected a, got b")) == "expected a, got b"


def test_a_section_gives_values_defaults_and_problems() -> None:
    problems: list[Problem] = []
    section = Section("outer", {"good": 5, "bad": "5", "null": None}, problems)
    read = whole_number(1, 9)
    assert section.get("good", read, 1) == 5
    assert section.get("bad", read, 2) == 2
    assert section.get("missing", read, 3) == 3
    assert section.get("null", read, 4) == 4
    section.close()
    assert problems == [
        Problem("outer.bad", "expected a whole number from 1 to 9, got '5'"),
        Problem("outer.null", "expected a whole number from 1 to 9, got null"),
    ]


def test_a_section_in_a_section_knows_its_path() -> None:
    problems: list[Problem] = []
    root = Section("", {"a": {"b": {"c": 1}}, "wrong": "text"}, problems)
    inner = root.section("a").section("b")
    assert (inner.path, list(inner), "c" in inner, "d" in inner) == ("a.b", ["c"], True, False)
    assert inner.value("c") == 1
    assert list(root.section("missing")) == []
    assert list(root.section("wrong")) == []
    inner.refuse("c", "is refused")
    assert problems == [Problem("wrong", "expected an object, got a text"), Problem("a.b.c", "is refused")]


def test_any_error_of_the_project_is_a_problem_of_the_value() -> None:
    problems: list[Problem] = []

    def read(value: object) -> int:
        raise StagewhisperError(f"will not have {value}")

    assert Section("s", {"k": 1}, problems).get("k", read, 0) == 0
    assert problems == [Problem("s.k", "will not have 1")]


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("apiKey", "did you mean apiKeys?"),
        ("api_keys", "did you mean apiKeys?"),
        ("API-KEYS", "did you mean apiKeys?"),
        ("bimd", "did you mean bind?"),
        ("colour", "the keys here are bind, apiKeys"),
        ("", "the keys here are bind, apiKeys"),
        (5, "the keys here are bind, apiKeys"),
    ],
)
def test_an_unknown_key_is_reported_with_the_one_that_was_probably_meant(written: object, hint: str) -> None:
    problems: list[Problem] = []
    section = Section("server", {written: "marked-secret"}, problems)
    for key in ("bind", "apiKeys", "bind"):
        section.value(key)
    section.close()
    assert problems == [Problem(join("server", written), f"unknown key; {hint}")]


def test_thousands_of_unknown_keys_are_all_reported_and_only_the_first_are_guessed_at() -> None:
    problems: list[Problem] = []
    section = Section("", {f"bind{number}": 0 for number in range(5000)}, problems)
    section.value("bind")
    section.close()
    assert len(problems) == 5000
    assert sum("did you mean bind?" in problem.problem for problem in problems) == 20


def test_keys_that_differ_in_case_alone_are_both_known() -> None:
    problems: list[Problem] = []
    section = Section("", {"a": 1, "A": 2}, problems)
    assert [section.value(key) for key in section] == [1, 2]
    section.close()
    assert problems == []


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (seconds(0, 5000), 0, 0.0),
        (seconds(0, 5000), 1500, 1.5),
        (seconds(0, 5000), 0.5, 0.0005),
        (seconds(0, 5000), 5000.0, 5.0),
        (whole_number(1, 9), 9, 9),
        (text("a+", "as"), "aaa", "aaa"),
        (choice("a.b", "c"), "c", "c"),
        (array("keys"), ["x", 5], ["x", 5]),
        (optional(text("a", "a")), None, None),
        (optional(text("a", "a")), "a", "a"),
    ],
)
def test_readers_take_what_they_are_for(read: Callable[[object], Any], value: object, expected: object) -> None:
    assert read(value) == expected


@pytest.mark.parametrize(
    ("read", "value", "problem"),
    [
        (seconds(0, 5000), -0.1, "expected milliseconds from 0 to 5000, got -0.1"),
        (seconds(0, 5000), 5001, "expected milliseconds from 0 to 5000, got 5001"),
        (seconds(0, 5000), True, "expected milliseconds from 0 to 5000, got true"),
        (seconds(0, 5000), float("nan"), "expected milliseconds from 0 to 5000, got nan"),
        (seconds(0, 5000), float("inf"), "expected milliseconds from 0 to 5000, got inf"),
        (seconds(0, 5000), 10**400, "expected milliseconds from 0 to 5000, got a number of more than 18 digits"),
        (seconds(0, 5000), "10", "expected milliseconds from 0 to 5000, got '10'"),
        (whole_number(1, 9), 5.0, "expected a whole number from 1 to 9, got 5.0"),
        (whole_number(1, 9), True, "expected a whole number from 1 to 9, got true"),
        (whole_number(1, 9), 0, "expected a whole number from 1 to 9, got 0"),
        (text("a+", "as"), "aaa\n", r"expected as, got 'aaa\n'"),
        (text("a+", "as"), 5, "expected as, got 5"),
        (choice("a.b", "c"), "axb", 'expected "a.b" or "c", got \'axb\''),
        (array("keys"), "marked-secret", "expected a list of keys, got a text"),
        (optional(text("a", "a")), "b", "expected a, got 'b'"),
    ],
)
def test_readers_say_what_they_expected_and_what_they_got(
    read: Callable[[object], Any], value: object, problem: str
) -> None:
    with pytest.raises(ValueProblem) as caught:
        read(value)
    assert str(caught.value) == problem


@settings(max_examples=200, deadline=None)
@given(st.text() | st.integers() | st.floats() | st.binary() | st.none())
def test_whatever_is_shown_is_one_short_printable_line(value: object) -> None:
    assert show(value).isprintable()
    assert len(show(value)) < 500
