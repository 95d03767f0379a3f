"""What stands in for chance: numbers that look arbitrary, and are the same for the same request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")


class Chance:
    """A row of numbers from a seed: Knuth's MMIX generator, of whose states the upper half is used."""

    def __init__(self, seed: int) -> None:
        self._state = seed

    def below(self, end: int) -> int:
        """A number from 0 to `end` - 1."""
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) & 0xFFFF_FFFF_FFFF_FFFF
        return (self._state >> 32) % end

    def choice(self, members: Sequence[_T]) -> _T:
        """One of the members."""
        return members[self.below(len(members))]

    def shuffled(self, members: Sequence[_T]) -> list[_T]:
        """The members in another order."""
        rest = list(members)
        return [rest.pop(self.below(len(rest))) for _ in members]
