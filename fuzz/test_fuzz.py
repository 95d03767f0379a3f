"""Every target with inputs that hypothesis makes, for where atheris is not installed: `pytest fuzz`.

STAGEWHISPER_FUZZ_EXAMPLES says how many inputs each gets, 200 unless it is set. Half are bytes from nowhere, half
are files of the corpus with a few places changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CORPUS = Path(__file__).parent / "corpus"
TARGETS = sorted(folder.name for folder in CORPUS.iterdir())
EXAMPLES = int(os.environ.get("STAGEWHISPER_FUZZ_EXAMPLES", "200"))


def load(target: str) -> Callable[[bytes], None]:
    """The function of a target that takes one input."""
    one_input: Callable[[bytes], None] = import_module(f"fuzz.{target}").one_input
    return one_input


def inputs(target: str) -> st.SearchStrategy[bytes]:
    """Bytes, and files of the target's corpus with pieces taken out, put in, and taken over from one another."""
    seeds = [file.read_bytes() for file in sorted((CORPUS / target).iterdir())]
    places = st.integers(0, 400)

    def change(seed: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
        for place, removed, added in changes:
            at = place % (len(seed) + 1)
            seed = seed[:at] + added + seed[at + removed :]
        return seed

    pieces = st.binary(max_size=4) | st.builds(
        lambda seed, start, size: seed[start % (len(seed) + 1) :][:size], st.sampled_from(seeds), places, places
    )
    changes = st.lists(st.tuples(places, st.integers(0, 8), pieces), max_size=4)
    return st.binary(max_size=400) | st.builds(change, st.sampled_from(seeds), changes)


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_breaks_what_the_target_promises(target: str) -> None:
    one_input = load(target)

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=False, suppress_health_check=[HealthCheck.too_slow])
    @given(inputs(target))
    def promise(data: bytes) -> None:
        one_input(data)

    promise()
