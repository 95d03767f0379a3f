"""Two clocks that cannot be taken for each other."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.times import Epoch, Instant, Now

_seconds = st.integers(-(10**9), 10**9).map(float)
_clocks = pytest.mark.parametrize("clock", [Instant, Epoch])


@_clocks
@given(start=_seconds, duration=_seconds)
def test_what_is_added_is_what_has_passed(clock: Any, start: float, duration: float) -> None:
    assert (clock(start) + duration) - clock(start) == duration
    assert (clock(start) + duration).seconds == start + duration


@_clocks
def test_readings_of_one_clock_are_in_order(clock: Any) -> None:
    early, late = clock(1.0), clock(2.5)
    assert early < late
    assert max(early, late) is late
    assert late - early == 1.5
    assert clock(1.0) == early
    assert len({early, clock(1.0), late}) == 2


def test_readings_of_different_clocks_are_neither_equal_nor_in_an_order() -> None:
    instant: Any = Instant(1.0)
    assert instant != Epoch(1.0)
    with pytest.raises(TypeError):
        _ = instant < Epoch(2.0)


@_clocks
def test_a_reading_cannot_be_changed(clock: Any) -> None:
    reading = clock(1.0)
    with pytest.raises(AttributeError):
        reading.seconds = 2.0


def test_one_moment_has_both_readings() -> None:
    now = Now(Instant(5.0), Epoch(1_700_000_000.0))
    assert (now.instant.seconds, now.epoch.seconds) == (5.0, 1_700_000_000.0)
