"""Two clocks, two types: monotonic instants to measure with, and dates that mean something to others.

Neither can be compared with the other by accident. Durations are plain floats, in seconds, and the names of
those that are not end in their unit. No clock is read here: both readings arrive as arguments.
"""

from __future__ import annotations

import msgspec


class Instant(msgspec.Struct, frozen=True, order=True, gc=False):
    """A reading of a monotonic clock, in seconds from an arbitrary start. Never leaves the process."""

    seconds: float

    def __add__(self, duration: float) -> Instant:
        """The instant `duration` seconds later."""
        return Instant(self.seconds + duration)

    def __sub__(self, earlier: Instant) -> float:
        """The seconds that passed since `earlier`."""
        return self.seconds - earlier.seconds


class Epoch(msgspec.Struct, frozen=True, order=True, gc=False):
    """A date, in seconds since 1970-01-01 UTC. May be written down and compared with other machines' dates."""

    seconds: float

    def __add__(self, duration: float) -> Epoch:
        """The date `duration` seconds later."""
        return Epoch(self.seconds + duration)

    def __sub__(self, earlier: Epoch) -> float:
        """The seconds that passed since `earlier`."""
        return self.seconds - earlier.seconds


class Now(msgspec.Struct, frozen=True, gc=False):
    """Both clocks, read at one moment."""

    instant: Instant
    epoch: Epoch
