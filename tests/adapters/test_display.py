"""What came from anywhere is shown as text that does nothing to a terminal, and bytes with their place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.display import as_value, compact, cut, escape, escape_lines, fit, hexdump, indent_json, render_json


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain é 日", "plain é 日"),
        ("\x1b[31mred\x07", "\\u001b[31mred\\u0007"),
        ("a\nb\tc\r", "a\\u000ab\\u0009c\\u000d"),
        ("\x7f\x9b\u202e\u2028\ufeff", "\\u007f\\u009b\\u202e\\u2028\\ufeff"),
        ("\U000e0041", "\\udb40\\udc41"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_a_terminal_would_obey_or_hide_is_escaped(text: str, expected: str) -> None:
    assert escape(text) == expected


@given(st.text())
def test_escaped_text_is_printable_and_json_says_the_same_as_before(text: str) -> None:
    assert escape(text).isprintable()
    assert escape_lines(text).count("\n") == text.count("\n")
    for rendered in (render_json([text]), indent_json([text])):
        assert json.loads(rendered) == [text]
        assert rendered.replace("\n", "").isprintable()
        assert json.loads(fit(rendered, "ascii")) == [text]
        assert fit(rendered, "ascii").isascii()


@pytest.mark.parametrize(
    ("payload", "expected", "value"),
    [
        (b'{ "a" : [1, 2],\n"b": "\\u001b" }', '{"a":[1,2],"b":"\\u001b"}', {"json": {"a": [1, 2], "b": "\x1b"}}),
        (b"not \x1b JSON", "not \\u001b JSON", {"text": "not \x1b JSON"}),
        (b"\xff\x00", "ff 00", {"base64": "/wA="}),
        (b'"\xff"', "22 ff 22", {"base64": "Iv8i"}),
        (b"", "", {"text": ""}),
        (b"[" * 5000, "[" * 5000, {"text": "[" * 5000}),
    ],
)
def test_a_payload_is_json_or_text_or_bytes(payload: bytes, expected: str, value: object) -> None:
    assert compact(payload) == expected
    assert json.loads(render_json(as_value(payload))) == value


def test_a_line_is_cut_to_the_width_if_there_is_one() -> None:
    assert [cut("abcdefgh", width) for width in (None, 8, 7, 2)] == ["abcdefgh", "abcdefgh", "abcd...", "..."]


def test_a_hexdump_marks_the_place_and_shows_what_is_around_it() -> None:
    data = bytes(range(256))
    rows = hexdump(data, 100)
    assert [row[:10] for row in rows] == ["  00000040", "  00000050", "> 00000060", "  00000070", "  00000080"]
    assert "[64]" in rows[2]
    assert rows[2].endswith("`abcdefghijklmno")
    assert not any("[" in row[:76] for row in rows[:2] + rows[3:])


@pytest.mark.parametrize("size", [0, 1, 16, 17])
def test_the_place_behind_the_last_byte_is_the_end(size: int) -> None:
    assert hexdump(b"a" * size, size)[-1] == f"> {size:08x}  [the end]"
