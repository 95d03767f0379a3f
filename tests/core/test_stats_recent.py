"""Requests a minute, over five minutes, by clocks that are right and clocks that are not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.stats import START, WINDOW, Stats, add, encode_stats, parse_stats, render
from core.summary import Outcome
from core.times import Epoch
from tests.notices import ended

AT = 1_700_000_000.0  # a bucket begins here
BUCKETS = 30


def counted(*dates: float, stats: Stats = START) -> Stats:
    """The counters after a request at each date."""
    for date in dates:
        stats = add(stats, ended(Outcome.ANSWERED), now=Epoch(date))
    return stats


def rate(stats: Stats, now: float) -> object:
    """What is told of requests a minute."""
    performance = render(stats, now=Epoch(now), accounts=())["performance"]
    assert isinstance(performance, dict)
    return performance["requestsPerMinute"]


@pytest.mark.parametrize(
    ("after", "expected"),
    [(0.0, 0.2), (60.0, 0.2), (289.999, 0.2), (299.999, 0.2), (300.0, 0.0), (301.0, 0.0), (1e9, 0.0)],
)
def test_a_request_counts_for_five_minutes(after: float, expected: float) -> None:
    assert rate(counted(AT), AT + after) == expected


def test_one_at_the_end_of_its_bucket_counts_ten_seconds_less() -> None:
    assert rate(counted(AT + 9.9), AT + 299.9) == 0.2
    assert rate(counted(AT + 9.9), AT + 300.0) == 0.0


def test_one_request_a_second_is_sixty_a_minute() -> None:
    stats = counted(*(AT + second for second in range(1000)))
    assert rate(stats, AT + 999) == 60.0
    assert len(stats.recent) == BUCKETS


def test_what_a_clock_counted_that_was_ahead_for_long_is_forgotten_with_the_next_request() -> None:
    stats = counted(AT + 3600, AT + 3600)
    assert rate(stats, AT) == 0.0
    stats = counted(AT, stats=stats)
    assert rate(stats, AT) == 0.2
    assert [number * 10 for number, _ in stats.recent] == [AT]


def test_a_clock_that_is_set_back_a_little_costs_no_counts() -> None:
    stats = counted(AT, AT + 20, AT - 200)
    assert rate(stats, AT - 200) == pytest.approx(0.6)
    assert [(number * 10, count) for number, count in stats.recent] == [(AT, 1), (AT + 20, 2)]
    assert rate(counted(AT + 30, stats=stats), AT + 30) == pytest.approx(0.8)


@pytest.mark.parametrize(("back", "expected"), [(10.0, 0.2), (290.0, 0.2), (300.0, 0.0)])
def test_a_clock_that_is_set_back_by_the_window_is_no_longer_set_back_a_little(back: float, expected: float) -> None:
    stats = counted(AT + back)
    assert rate(stats, AT) == expected
    assert rate(counted(AT, stats=stats), AT) == expected + 0.2


@pytest.mark.parametrize("date", [0.0, -1.0, -1e6, 1e12])
def test_dates_before_1970_and_far_off_are_dates_too(date: float) -> None:
    stats = counted(date)
    assert rate(stats, date) == 0.2
    assert parse_stats(encode_stats(stats)) == stats


clock = st.lists(
    st.one_of(
        st.floats(0, 30), st.floats(-600, 600), st.sampled_from([-1e9, 1e9, -10.0, 299.0, 300.0, -290.0, -300.0])
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(clock)
def test_no_clock_makes_it_grow_or_puts_it_out_of_order(steps: list[float]) -> None:
    date, stats = AT, START
    for step in steps:
        date += step
        stats = counted(date, stats=stats)
        numbers = [number for number, _ in stats.recent]
        assert numbers == sorted(set(numbers))
        assert numbers[-1] - numbers[0] < BUCKETS
        assert sum(count for _, count in stats.recent) <= stats.outcomes[Outcome.ANSWERED]
        now = rate(stats, date)
        assert isinstance(now, float)
        assert now > 0
    assert parse_stats(encode_stats(stats)) == stats


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 40), max_size=80), st.floats(0, 400))
def test_with_a_clock_that_goes_forward_it_is_right_to_a_bucket(steps: list[float], later: float) -> None:
    dates = [AT + sum(steps[: index + 1]) for index in range(len(steps))]
    now = (dates[-1] if dates else AT) + later
    told = rate(counted(*dates), now)
    assert isinstance(told, float)
    surely = sum(now - date < WINDOW - 10 for date in dates)
    at_most = sum(now - date <= WINDOW for date in dates)
    assert surely / 5 <= told <= at_most / 5
