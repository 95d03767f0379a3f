"""Inputs as lines that a person can read and a fuzzer can mutate: a letter that says what, then the words for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any


def read_lines(data: bytes, letters: str, *, most: int) -> Iterator[tuple[str, str]]:
    r"""The letter and the words of each line. Any other first byte stands for one of the letters; `\n` for a newline.

    No more than `most` lines are read: a fuzzer likes long inputs, and few lines show as much.
    """
    for line in data.split(b"\n")[:most]:
        if line:
            letter = chr(line[0])
            words = line[1:].decode(errors="replace").replace("\\n", "\n")
            yield (letter if letter in letters else letters[line[0] % len(letters)]), words


def take_index(words: str, count: int) -> tuple[int, str]:
    """A number below `count` that the first character stands for (a digit for itself), and the words after it."""
    if not words:
        return 0, ""
    first = words[0]
    return (int(first) if first in "0123456789" else ord(first)) % count, words[1:]


def read_json(words: str) -> Any:
    """The JSON value that the words are, or None."""
    try:
        return json.loads(words)
    except (ValueError, RecursionError):
        return None
