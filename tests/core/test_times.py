"""Two clocks that cannot be taken for each other, and dates that are read and written."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.times import Epoch, Instant, Now, parse_date, render_date

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


# --- dates ------------------------------------------------------------------------------------------------------


def _at(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> Epoch:
    return Epoch(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05Z", _at(2026, 1, 2, 3, 4, 5)),
        ("2026-01-02T03:04Z", _at(2026, 1, 2, 3, 4)),
        ("2026-01-02T03:04:05UTC", _at(2026, 1, 2, 3, 4, 5)),
        ("2026-01-02 03:04:05z", _at(2026, 1, 2, 3, 4, 5)),
        ("2026-01-02T03:04:05.5Z", Epoch(_at(2026, 1, 2, 3, 4, 5).seconds + 0.5)),
        ("2026-01-02T03:04:05,25Z", Epoch(_at(2026, 1, 2, 3, 4, 5).seconds + 0.25)),
        ("2026-01-02T03:04:05." + "5" + "0" * 100_000 + "Z", Epoch(_at(2026, 1, 2, 3, 4, 5).seconds + 0.5)),
        ("2026-01-02T03:04:05+01:30", _at(2026, 1, 2, 1, 34, 5)),
        ("2026-01-02T03:04:05-0800", _at(2026, 1, 2, 11, 4, 5)),
        ("2026-01-02T03:04:05+02", _at(2026, 1, 2, 1, 4, 5)),
        ("0001-01-01T00:00:00+14:00", Epoch(-62_135_596_800.0 - 14 * 3600)),
        ("9999-12-31T23:59:59-14:00", Epoch(253_402_300_799.0 + 14 * 3600)),
    ],
)
def test_dates_come_in_many_forms(text: str, expected: Epoch) -> None:
    assert parse_date(text) == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1767323045.678, "2026-01-02T03:04:05.678Z"),
        (1767323045.0, "2026-01-02T03:04:05.000Z"),
        (-5.0, "1970-01-01T00:00:00.000Z"),
        (1e300, "9999-12-31T23:59:59.999Z"),
        (float("inf"), "9999-12-31T23:59:59.999Z"),
    ],
)
def test_dates_are_written_in_one_form(seconds: float, text: str) -> None:
    assert render_date(Epoch(seconds)) == text


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 253_402_300_799_999))
def test_a_date_is_read_as_it_was_written_to_the_millisecond(milliseconds: int) -> None:
    text = render_date(Epoch(milliseconds / 1000))
    date = parse_date(text)
    assert date is not None
    assert render_date(date) == text
    assert datetime.fromisoformat(text) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    assert abs(date.seconds * 1000 - milliseconds) < 1


@pytest.mark.parametrize(
    "text",
    [
        "", "tomorrow", "2026-01-02", "2026-01-02T03:04:05", "2026-13-02T03:04:05Z", "0000-01-02T03:04:05Z",
        "2026-02-30T03:04:05Z", "2026-01-02T03:04:05+24:00", "2026-01-02T03:04:05+00:60", "2026-01-02T03:04:05Z\n",
    ],
)  # fmt: skip
def test_what_is_no_date_is_none(text: str) -> None:
    assert parse_date(text) is None
