"""The counters: what is counted, and how `/admin/stats` says it."""

from __future__ import annotations

from typing import Any

import pytest

from core.failures import Kind
from core.stats import START, Stats, add, render
from core.summary import Outcome
from core.times import Epoch
from tests.notices import ended

NOW = Epoch(1_700_000_000.0)


def counted(*summaries: Any) -> Stats:
    """The counters after these, all at one moment."""
    stats = START
    for summary in summaries:
        stats = add(stats, summary, now=NOW)
    return stats


def said(stats: Stats, *accounts: str, now: Epoch = NOW) -> Any:
    """What is rendered."""
    return render(stats, now=now, accounts=accounts)


def test_with_nothing_counted_every_member_is_there_and_every_account_with_0() -> None:
    assert said(START, "a", "b") == {
        "summary": {"totalRequests": 0, "totalAccounts": 2, "topAccount": None, "overallSuccessRate": 1.0},
        "accounts": {"a": 0, "b": 0},
        "models": {},
        "distribution": {},
        "performance": {"avgResponseTime": 0.0, "requestsPerMinute": 0.0, "avgBufferProcessingTime": 0.0},
        "failures": {"failuresByAccount": {}, "failuresByError": {}},
    }


def test_requests_are_counted_by_model_and_attempts_by_account() -> None:
    stats = counted(
        ended(Outcome.ANSWERED, ("a", None), duration=1.0, processing=0.001),
        ended(Outcome.ANSWERED, ("b", Kind.NETWORK), ("b", Kind.NETWORK), ("a", None), duration=2.0, processing=0.002),
        ended(Outcome.REFUSED, ("a", Kind.TIMEOUT), ("b", Kind.SERVER), duration=6.0, model="claude-other"),
        ended(Outcome.ANSWERED, ("a", None), duration=3.0, processing=0.006),
        ended(Outcome.ABANDONED, ("b", Kind.SERVER), duration=1000.0, processing=1.0),
    )
    assert said(stats, "a", "b", "c") == {
        "summary": {
            "totalRequests": 5,
            "totalAccounts": 3,
            "topAccount": {"accountId": "a", "count": 4},
            "overallSuccessRate": 0.75,
        },
        "accounts": {"a": 4, "b": 4, "c": 0},
        "models": {"claude-test": 4, "claude-other": 1},
        "distribution": {
            "a/claude-test": 3,
            "a/claude-other": 1,
            "b/claude-test": 3,
            "b/claude-other": 1,
        },
        "performance": {"avgResponseTime": 3000.0, "requestsPerMinute": 1.0, "avgBufferProcessingTime": 3.0},
        "failures": {
            "failuresByAccount": {"a": 1, "b": 4},
            "failuresByError": {"network": 2, "timeout": 1, "server": 2},
        },
    }


@pytest.mark.parametrize(
    ("outcomes", "rate", "total"),
    [
        ([Outcome.ANSWERED], 1.0, 1),
        ([Outcome.ABANDONED], 1.0, 1),
        ([Outcome.REFUSED], 0.0, 1),
        ([Outcome.NO_PLACE], 0.0, 1),
        ([Outcome.BUG], 0.0, 1),
        ([Outcome.ANSWERED, Outcome.ABANDONED, Outcome.ABANDONED], 1.0, 3),
        ([Outcome.ANSWERED, Outcome.REFUSED, Outcome.NO_PLACE, Outcome.BUG, Outcome.ABANDONED], 0.25, 5),
    ],
)
def test_the_success_rate_leaves_out_what_clients_gave_up(outcomes: list[Outcome], rate: float, total: int) -> None:
    summary = said(counted(*map(ended, outcomes)))["summary"]
    assert (summary["overallSuccessRate"], summary["totalRequests"]) == (rate, total)


@pytest.mark.parametrize(
    ("outcome", "response_time", "processing_time"),
    [
        (Outcome.ANSWERED, 2500.0, 1.5),
        (Outcome.REFUSED, 2500.0, 0.0),
        (Outcome.ABANDONED, 0.0, 0.0),
        (Outcome.NO_PLACE, 0.0, 0.0),
        (Outcome.BUG, 0.0, 0.0),
    ],
)
def test_times_are_of_those_that_say_something(outcome: Outcome, response_time: float, processing_time: float) -> None:
    performance = said(counted(ended(outcome, duration=2.5, processing=0.0015)))["performance"]
    assert performance["avgResponseTime"] == response_time
    assert performance["avgBufferProcessingTime"] == processing_time


def test_a_refusal_does_not_make_the_mean_processing_smaller() -> None:
    stats = counted(ended(Outcome.ANSWERED, processing=0.004), ended(Outcome.REFUSED), ended(Outcome.ABANDONED))
    assert said(stats)["performance"]["avgBufferProcessingTime"] == 4.0


def test_of_accounts_with_as_many_attempts_the_first_by_name_is_on_top() -> None:
    stats = counted(*(ended(Outcome.ANSWERED, (account, None)) for account in ("c", "b", "a", "b", "c", "d")))
    assert said(stats, "d", "c", "b", "a")["summary"]["topAccount"] == {"accountId": "b", "count": 2}


def test_an_account_that_is_configured_no_more_is_still_told_of() -> None:
    told = said(counted(ended(Outcome.ANSWERED, ("gone", None))), "a")
    assert told["accounts"] == {"a": 0, "gone": 1}
    assert (told["summary"]["totalAccounts"], told["summary"]["topAccount"]["accountId"]) == (1, "gone")


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_failure_is_told_by_its_name(kind: Kind) -> None:
    told = said(counted(ended(Outcome.REFUSED, ("a", kind))), "a")["failures"]
    assert told == {"failuresByAccount": {"a": 1}, "failuresByError": {kind.value: 1}}


def test_counting_leaves_what_was_counted_before_as_it_was() -> None:
    summary = ended(Outcome.ANSWERED, ("a", Kind.SERVER), ("b", None))
    first = counted(summary)
    before = repr(first)
    second = add(first, summary, now=NOW)
    assert repr(first) == before
    assert repr(START) == repr(Stats())
    assert second.attempts == {"a": {"claude-test": 2}, "b": {"claude-test": 2}}


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("-inf")])
def test_a_time_that_can_not_be_takes_nothing_away(wrong: float) -> None:
    stats = counted(ended(Outcome.ANSWERED, duration=2.0, processing=0.002))
    stats = add(stats, ended(Outcome.ANSWERED, duration=wrong, processing=wrong), now=NOW)
    assert (stats.response_time, stats.processing_time) == (2.0, 0.002)


def test_a_request_that_has_not_ended_took_no_time() -> None:
    assert said(counted(ended(Outcome.REFUSED, duration=None)))["performance"]["avgResponseTime"] == 0.0


def test_no_request_can_be_told_from_the_counters() -> None:
    """They are on disk for long: names that recur, and nothing else."""
    stats = counted(ended(Outcome.ANSWERED, ("a", None)))
    assert "req_1" not in repr(stats)
    assert stats.attempts == {"a": {"claude-test": 1}}
