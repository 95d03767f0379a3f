"""Bytes and values of unknown origin as text that a terminal can bear: nothing that is printed does anything there."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

_BESIDE = 32
_ROW = 16


def escape(text: str) -> str:
    """The text with each character as an escape that would not be seen, or would be obeyed; line ends too."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def escape_lines(text: str) -> str:
    """The same, but for the line ends."""
    return "\n".join(map(escape, text.split("\n")))


def fit(text: str, encoding: str) -> str:
    """The text with each character as an escape that the encoding does not have."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(each if each.encode(encoding, "ignore") else _escape(each) for each in text)
    return text


def _escape(character: str) -> str:
    # JSON's escapes, so that JSON with characters escaped is JSON that says the same.
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def render_json(value: Any) -> str:
    """A value as JSON in one line."""
    return escape(msgspec.json.encode(value).decode())


def indent_json(value: Any) -> str:
    """A value as JSON for a person."""
    return escape_lines(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def compact(payload: bytes) -> str:
    """A payload in one line: JSON without its blanks, other text as it is, bytes in hexadecimal digits."""
    if (document := _without_blanks(payload)) is not None:
        return escape(document.decode())
    try:
        return escape(payload.decode())
    except UnicodeDecodeError:
        return payload.hex(" ")


def as_value(payload: bytes) -> Any:
    """A payload for JSON: as the JSON that it is, else as its text, else as its bytes in base64."""
    if (document := _without_blanks(payload)) is not None:
        return {"json": msgspec.Raw(document)}
    try:
        return {"text": payload.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(payload).decode()}


def _without_blanks(payload: bytes) -> bytes | None:
    """A payload that is JSON, without its blanks; None if it is none."""
    try:
        msgspec.json.decode(payload)  # `format` takes strings that are no UTF-8
        return msgspec.json.format(payload, indent=-1)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def cut(line: str, width: int | None) -> str:
    """A line that fits into so many columns; None is as many as it takes."""
    return line if width is None or len(line) <= width else line[: max(0, width - 3)] + "..."


def hexdump(data: bytes, place: int) -> list[str]:
    """The bytes around a place, in rows of sixteen: the place's row is marked, and so is the byte, by brackets."""
    first = max(0, place - _BESIDE) // _ROW * _ROW
    rows = []
    for begin in range(first, min(len(data), place + _BESIDE + 1), _ROW):
        row = data[begin : begin + _ROW]
        digits = "".join(
            f"[{byte:02x}]" if begin + index == place else f" {byte:02x} " for index, byte in enumerate(row)
        )
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        mark = ">" if begin <= place < begin + _ROW else " "
        rows.append(f"{mark} {begin:08x}  {digits:<{4 * _ROW}} {text}")
    if place >= len(data):
        rows.append(f"> {place:08x}  [the end]")
    return rows
