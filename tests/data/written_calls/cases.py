"""The labelled corpus of written tool calls: every template with names, objects, forms and surroundings filled in.

What must be found follows from the templates alone; nothing here asks the code under test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tests.data.written_calls.found import FOUND
from tests.data.written_calls.left import LEFT
from tests.data.written_calls.words import FORMS, NAMES, OFFERED, SURROUNDINGS, Template, Written

TEMPLATES = (*FOUND, *LEFT)

_WORDS = re.compile("CALL|NAME|SWAPPED|OBJECT")


class Case(NamedTuple):
    """A text, the names of the tools that are on offer, and the pieces that must come out."""

    text: str
    names: tuple[str, ...]
    pieces: tuple[str | Written, ...]


def expand(template: Template, rounds: int = 2) -> Iterator[Case]:
    """The cases of one template, always the same: each of its objects `rounds` times, each time in other words."""
    # There are 7 names, 2 forms and 11 surroundings: a number that counts up comes by all their combinations.
    number = TEMPLATES.index(template)
    for _ in range(rounds):
        for json_object in template.objects:
            name = NAMES[number % len(NAMES)]
            form = FORMS[number % len(FORMS)]
            yield _fill(template, name, json_object, form, SURROUNDINGS[number % len(SURROUNDINGS)])
            number += 1


def _fill(template: Template, name: str, json_object: str, form: str, around: tuple[str, str]) -> Case:
    words = {"NAME": name, "SWAPPED": name.swapcase(), "OBJECT": json_object}
    words["CALL"] = _replace(form, words)
    text = around[0] + _replace(template.text, words) + around[1]
    if not template.pieces:
        return Case(text, OFFERED, (text,))
    pieces: list[str | Written] = []
    plain = around[0]
    for piece in (*template.pieces, around[1]):
        if isinstance(piece, str):
            plain += _replace(piece, words)
        else:
            pieces += [plain, Written(_replace(piece.name, words), _replace(piece.arguments, words))]
            plain = ""
    pieces.append(plain)
    return Case(text, OFFERED, tuple(piece for piece in pieces if not isinstance(piece, str) or piece.strip(" \t\r\n")))


def _replace(text: str, words: Mapping[str, str]) -> str:
    return _WORDS.sub(lambda word: words[word.group()], text)
