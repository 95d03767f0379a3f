"""The labelled corpus: every call in it is found, and nothing else is taken for one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import pytest

from core.toolcalls import WrittenCall, find_calls
from fuzz.reference_toolcalls import find_calls as find_calls_slowly
from tests.data.written_calls.cases import TEMPLATES, expand
from tests.data.written_calls.found import FOUND
from tests.data.written_calls.left import LEFT
from tests.data.written_calls.words import NAMES, OFFERED, Template, Written

by_template = pytest.mark.parametrize("template", [pytest.param(template, id=template.label) for template in TEMPLATES])


def as_written(piece: str | WrittenCall) -> str | Written:
    return piece if isinstance(piece, str) else Written(piece.name, piece.arguments)


@by_template
def test_every_case_comes_out_as_its_label_says(template: Template) -> None:
    for case in expand(template):
        assert tuple(map(as_written, find_calls(case.text, case.names))) == case.pieces, case.text


@pytest.mark.parametrize(
    "template",
    # Its time grows with the square of the text.
    [pytest.param(template, id=template.label) for template in TEMPLATES if len(template.text) < 300],
)
def test_the_reference_reads_the_labels_the_same_way(template: Template) -> None:
    for case in islice(expand(template, rounds=1), 4):
        assert tuple(find_calls_slowly(case.text, case.names)) == case.pieces, case.text


def test_the_corpus_is_as_large_as_it_says(record_property: Callable[[str, object], None]) -> None:
    positives = [case for template in FOUND for case in expand(template)]
    negatives = [case for template in LEFT for case in expand(template)]
    record_property("positives", len(positives))
    record_property("negatives", len(negatives))
    assert len(positives) >= 3_000
    assert len(negatives) >= 3_000
    assert len({case.text for case in positives + negatives}) == len(positives) + len(negatives)
    assert all(any(isinstance(piece, Written) for piece in case.pieces) for case in positives)
    assert all(case.pieces == (case.text,) for case in negatives)


def test_pieces_without_the_calls_are_what_the_texts_are_made_of() -> None:
    for template in FOUND:
        for case in expand(template, rounds=1):
            rest = case.text
            for piece in case.pieces:
                part = piece if isinstance(piece, str) else piece.name
                assert part in rest, template.label
                rest = rest[rest.index(part) + len(part) :]


def test_labels_are_unique_and_words_that_stand_for_something_stay_in_templates() -> None:
    assert len({template.label for template in TEMPLATES}) == len(TEMPLATES)
    for template in TEMPLATES:
        for case in expand(template, rounds=1):
            assert "CALL" not in case.text
            assert "NAME" not in case.text
            assert "OBJECT" not in case.text


def test_no_name_is_another_one_with_its_case_swapped() -> None:
    assert not {name.swapcase() for name in NAMES} & set(OFFERED)
    assert "Nowhere" not in OFFERED
