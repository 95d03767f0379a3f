"""What stands in for chance in the emulator."""

from __future__ import annotations

from collections import Counter

import pytest

from adapters.emulator.chance import Chance
from adapters.emulator.wire import cut_every, cut_into_chunks, input_fragments, text_fragments


@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**64 - 1])
def test_the_same_seed_gives_the_same_numbers_and_all_of_them_in_time(seed: int) -> None:
    one, other = Chance(seed), Chance(seed)
    numbers = [one.below(7) for _ in range(7000)]
    assert numbers == [other.below(7) for _ in range(7000)]
    counts = Counter(numbers)
    assert set(counts) == set(range(7))
    assert min(counts.values()) > 800


def test_shuffling_keeps_every_member() -> None:
    chance = Chance(5)
    orders = {tuple(chance.shuffled("abc")) for _ in range(100)}
    assert len(orders) == 6
    assert {tuple(sorted(order)) for order in orders} == {("a", "b", "c")}
    assert chance.shuffled([]) == []


@pytest.mark.parametrize("text", ["", "a", "Grüße 你好 🎭 " * 40, "x" * 30_000])
def test_fragments_and_chunks_join_to_what_was_cut(text: str) -> None:
    for fragments in (text_fragments(text, Chance(1)), input_fragments(text, Chance(1))):
        assert "".join(fragments) == text
        assert all(fragments)
    body = text.encode()
    assert b"".join(chunk.data for chunk in cut_into_chunks(body, Chance(1))) == body
    assert b"".join(chunk.data for chunk in cut_every(body, 7)) == body
