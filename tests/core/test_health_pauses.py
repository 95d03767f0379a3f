"""How long an account is left alone: pauses that grow and come down, dates on which quotas are reset, wrong clocks."""

from datetime import UTC, datetime

import msgspec
import pytest

from core.failures import Kind
from core.health import (
    DAY,
    DEGRADED_TIME,
    MAX_ERRORS,
    MAX_LEVEL,
    Answered,
    Availability,
    Failed,
    Health,
    HealthPolicy,
    Released,
    Standing,
    availability,
    next_wakeup,
)
from core.times import Epoch
from tests.healths import FRESH, NOW, fail, failure, succeed, take, tell

# --- pauses that grow ------------------------------------------------------------------------------------------


def _pauses(count: int, kind: Kind, policy: HealthPolicy, health: Health = FRESH) -> list[float]:
    """The pauses of so many failures, each of the one request that is let through after the last pause."""
    pauses, now = [], NOW
    for _ in range(count):
        assert availability(health, now) in (Availability.READY, Availability.TRIAL)
        health = fail(health, kind, now=now, policy=policy)
        wakeup = next_wakeup(health, now)
        assert wakeup is not None
        pauses.append(wakeup - now)
        now = wakeup
    return pauses


@pytest.mark.parametrize("kind", [Kind.SERVER, Kind.TOKEN_FILE])
def test_pauses_double_up_to_the_cap(kind: Kind) -> None:
    assert _pauses(8, kind, HealthPolicy()) == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert _pauses(4, kind, HealthPolicy(backoff_base=10.0, backoff_cap=35.0)) == [10, 20, 35, 35]
    assert _pauses(3, kind, HealthPolicy(backoff_base=50.0, backoff_cap=50.0)) == [50, 50, 50]


def test_each_success_takes_one_doubling_back_however_long_it_was_broken() -> None:
    health, now = FRESH, NOW
    for _ in range(50):
        health = fail(health, Kind.SERVER, now=now)
        now = now + 3600.0
    assert health.level == 6
    pauses = []
    for _ in range(7):
        health = succeed(health, now=now)
        wakeup = next_wakeup(fail(health, Kind.SERVER, now=now), now)
        assert wakeup is not None
        pauses.append(wakeup - now)
    assert pauses == [1920, 960, 480, 240, 120, 60, 60]


def test_the_level_has_a_bound_whatever_the_policy() -> None:
    health, policy = FRESH, HealthPolicy(backoff_base=1e-9, backoff_cap=1e9)
    for turn in range(100):
        health = fail(health, Kind.SERVER, now=NOW + turn * DAY, policy=policy)
    assert health.level == MAX_LEVEL


def test_no_backoff_at_all_is_a_policy_too() -> None:
    health = fail(FRESH, Kind.SERVER, policy=HealthPolicy(backoff_base=0.0, backoff_cap=0.0))
    assert (availability(health, NOW), health.level) == (Availability.TRIAL, 0)


@pytest.mark.parametrize("asked", [0.0, 30.0, 100.0, 1e9])
def test_a_server_may_ask_for_a_longer_pause_up_to_the_cap(asked: float) -> None:
    health = fail(FRESH, Kind.SERVER, retry_after=asked)
    assert health.until == NOW + min(3600.0, max(60.0, asked))


def test_a_suspended_account_pauses_at_the_cap() -> None:
    health = fail(FRESH, Kind.SUSPENDED, policy=HealthPolicy(backoff_cap=1234.0))
    assert (health.standing, health.until, health.level) == (Standing.TEMPORARY, NOW + 1234.0, 0)


@pytest.mark.parametrize("count", [1, 2, 100])
def test_requests_that_one_breakdown_fails_raise_the_level_once(count: int) -> None:
    health, turns = FRESH, []
    for _ in range(count):
        health, turn = take(health)
        turns.append(turn)
    for second, turn in enumerate(turns):
        health = tell(health, Failed(turn, failure(Kind.SERVER)), Released(turn), now=NOW + second * 0.1)
    assert (health.level, health.until) == (1, NOW + 60.0)
    assert (health.failure_count, health.consecutive_errors) == (count, count)


def test_what_one_breakdown_still_fails_after_the_account_came_back_does_not_send_it_away_again() -> None:
    health, first = take(FRESH)
    health, hung = take(health)
    health = tell(health, Failed(first, failure(Kind.SERVER)))
    health = succeed(health, now=NOW + 61.0)
    for kind in (Kind.SERVER, Kind.TIMEOUT, Kind.NETWORK, Kind.NETWORK):
        health = tell(health, Failed(hung, failure(kind)), now=NOW + 62.0)
    assert (health.standing, health.level, health.failure_count) == (Standing.HEALTHY, 0, 5)


# --- rate limits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retry_after", "until", "look_at"),
    [
        (None, 3600.0, 3600.0),
        (0.0, 1.0, 1.0),
        (30.0, 30.0, 30.0),
        (7200.0, 7200.0, 7200.0),
        (3 * DAY, 3 * DAY, DAY),
        (1e9, 31 * DAY, DAY),
    ],
)
def test_a_rate_limit_lasts_an_hour_unless_the_service_says(
    retry_after: float | None, until: float, look_at: float
) -> None:
    health = fail(FRESH, Kind.RATE_LIMIT, retry_after=retry_after)
    assert (health.standing, health.until, health.look_at) == (Standing.COOLDOWN, NOW + until, NOW + look_at)
    assert availability(health, NOW + (look_at - 0.5)) is Availability.AWAY
    assert availability(health, NOW + look_at) is Availability.TRIAL


def test_the_hour_is_the_policys() -> None:
    policy = HealthPolicy(rate_limit_cooldown=5.0)
    assert fail(FRESH, Kind.RATE_LIMIT, policy=policy).until == NOW + 5.0


def test_a_last_resort_in_vain_changes_a_cooldown_only_where_the_service_says_how_long() -> None:
    health = fail(FRESH, Kind.RATE_LIMIT)
    early = NOW + 100.0
    assert fail(health, Kind.RATE_LIMIT, now=early).until == NOW + 3600.0
    sooner = fail(health, Kind.RATE_LIMIT, now=early, retry_after=20.0)
    assert (sooner.until, sooner.since) == (early + 20.0, early)


def test_a_last_resort_that_succeeds_ends_a_cooldown() -> None:
    assert availability(succeed(fail(FRESH, Kind.RATE_LIMIT)), NOW) is Availability.READY


# --- quotas ----------------------------------------------------------------------------------------------------


def _date(text: str) -> Epoch:
    return Epoch(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("now", "is_daily", "until"),
    [
        ("2023-11-14T22:13:20", True, "2023-11-15"),
        ("2023-11-14T00:00:00", True, "2023-11-15"),
        ("2023-11-14T23:59:59.999", True, "2023-11-15"),
        ("2023-12-31T23:59:59.999", True, "2024-01-01"),
        ("2024-02-28T12:00:00", True, "2024-02-29"),
        ("2023-02-28T12:00:00", True, "2023-03-01"),
        ("2023-11-14T22:13:20", False, "2023-12-01"),
        ("2023-11-01T00:00:00", False, "2023-12-01"),
        ("2023-12-01T00:00:01", False, "2024-01-01"),
        ("2023-12-31T23:59:59.999", False, "2024-01-01"),
        ("2024-01-31T12:00:00", False, "2024-02-01"),
        ("2024-01-01T00:00:00", False, "2024-02-01"),
        ("2024-02-29T12:00:00", False, "2024-03-01"),
        ("2023-02-01T00:00:00", False, "2023-03-01"),
        ("2024-08-31T01:00:00", False, "2024-09-01"),
    ],
)
def test_a_quota_lasts_to_the_reset_that_its_reason_implies(now: str, is_daily: bool, until: str) -> None:
    moment, reset = _date(now), _date(until)
    health = fail(FRESH, Kind.QUOTA, now=moment, is_daily=is_daily)
    assert (health.standing, health.until) == (Standing.COOLDOWN, reset)
    assert health.look_at == min(reset, moment + DAY)


def test_a_quota_is_looked_at_once_a_day_by_one_request() -> None:
    health, now = fail(FRESH, Kind.QUOTA), NOW
    looks: list[Epoch] = []
    for _ in range(17):
        assert availability(health, now + 86_000.0) is (Availability.AWAY if len(looks) < 16 else Availability.TRIAL)
        now = next_wakeup(health, now) or now
        looks.append(now)
        assert availability(health, now) is Availability.TRIAL
        assert health.until == _date("2023-12-01")
        health = fail(health, Kind.QUOTA, now=now)
    assert looks == [*(NOW + day * DAY for day in range(1, 17)), _date("2023-12-01")]
    assert health.until == _date("2024-01-01")


def test_a_month_that_is_used_up_outlasts_a_day_that_is() -> None:
    daily = fail(FRESH, Kind.QUOTA, is_daily=True)
    assert fail(daily, Kind.QUOTA, now=NOW + 60.0).until == _date("2023-12-01")
    monthly = fail(FRESH, Kind.QUOTA)
    assert fail(monthly, Kind.QUOTA, now=NOW + 60.0, is_daily=True).until == _date("2023-12-01")


@pytest.mark.parametrize("seconds", [-1e15, 0.0, 253_402_300_000.0, 1e15])
def test_a_clock_that_makes_no_sense_breaks_nothing(seconds: float) -> None:
    for is_daily in (True, False):
        health = fail(FRESH, Kind.QUOTA, now=Epoch(seconds), is_daily=is_daily)
        assert health.standing is Standing.COOLDOWN


# --- time-outs and the network ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.0, 1.0, DEGRADED_TIME - 0.1])
def test_one_that_timed_out_is_a_second_choice_for_five_minutes(seconds: float) -> None:
    health = fail(FRESH, Kind.TIMEOUT)
    assert availability(health, NOW + seconds) is Availability.SECOND_CHOICE
    assert availability(health, NOW + DEGRADED_TIME) is Availability.READY


def test_or_until_a_success_even_of_a_request_that_was_under_way() -> None:
    health, turn = take(FRESH)
    degraded = fail(health, Kind.TIMEOUT)
    assert availability(tell(degraded, Answered(turn)), NOW) is Availability.READY
    assert availability(succeed(degraded), NOW) is Availability.READY


def test_only_the_second_network_failure_in_a_row_degrades() -> None:
    once = fail(FRESH, Kind.NETWORK)
    assert (availability(once, NOW), once.network_failure_count) == (Availability.READY, 1)
    assert availability(fail(once, Kind.NETWORK), NOW) is Availability.SECOND_CHOICE
    again = fail(succeed(once), Kind.NETWORK)
    assert availability(again, NOW) is Availability.READY


def test_a_retry_that_succeeds_leaves_no_trace_of_a_cut_connection_but_the_count() -> None:
    health, turn = take(FRESH)
    health = tell(health, Failed(turn, failure(Kind.NETWORK)), Answered(turn), Released(turn))
    assert (health.standing, health.consecutive_errors) == (Standing.HEALTHY, 0)
    assert (health.total_requests, health.success_count, health.failure_count) == (2, 1, 1)


# --- history ---------------------------------------------------------------------------------------------------


def test_the_history_has_the_last_errors() -> None:
    health = FRESH
    for number in range(50):
        health = fail(health, Kind.TIMEOUT, now=NOW + float(number), message=f"number {number}")
    assert [past.error for past in health.errors] == [f"timeout: number {n}" for n in range(50 - MAX_ERRORS, 50)]
    assert health.errors[0].timestamp == NOW + 30.0


def test_what_an_error_says_is_kept_at_bounded_length() -> None:
    health = fail(FRESH, Kind.SERVER, message="x" * 100_000)
    assert (len(health.errors[0].error), len(health.problem)) == (600, 600)


# --- clocks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.SERVER, Kind.RATE_LIMIT, Kind.QUOTA, Kind.SUSPENDED])
@pytest.mark.parametrize("seconds", [0.001, 5.0, 59.0])
def test_a_clock_that_is_put_right_by_a_little_ends_no_pause(kind: Kind, seconds: float) -> None:
    assert availability(fail(FRESH, kind), NOW + -seconds) is Availability.AWAY


@pytest.mark.parametrize("kind", [Kind.SERVER, Kind.RATE_LIMIT, Kind.QUOTA, Kind.SUSPENDED])
@pytest.mark.parametrize("seconds", [61.0, DAY, 1e9])
def test_a_clock_that_is_set_back_keeps_no_account_away(kind: Kind, seconds: float) -> None:
    health = fail(FRESH, kind)
    assert (availability(health, NOW + -seconds), next_wakeup(health, NOW + -seconds)) == (Availability.TRIAL, None)


def test_no_date_far_ahead_keeps_an_account_away() -> None:
    health = fail(FRESH, Kind.SERVER)
    strange = msgspec.structs.replace(health, look_at=NOW + 1e12, until=NOW + 1e12)
    assert availability(strange, NOW) is Availability.TRIAL


@pytest.mark.parametrize("seconds", [2.0**31 - 1000.3, 0.1, 86_399.999_999, 1_798_761_600.123_456])
def test_a_day_is_a_day_however_its_seconds_round(seconds: float) -> None:
    now = Epoch(seconds)
    assert availability(fail(FRESH, Kind.RATE_LIMIT, now=now, retry_after=1e9), now) is Availability.AWAY
