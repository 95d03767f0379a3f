"""What holds of every account, whatever happens to it in whatever order, with clocks that go back too."""

from hypothesis import given, settings
from hypothesis import strategies as st

from core.failures import Kind
from core.health import (
    MAX_ERRORS,
    MAX_LEVEL,
    Answered,
    Availability,
    Disabled,
    Enabled,
    Failed,
    Health,
    Recovered,
    Released,
    Signal,
    Standing,
    Taken,
    TokenSeen,
    availability,
    next_wakeup,
)
from core.times import Epoch
from tests.healths import BLAMELESS, EVENTS, FRESH, NOW, Event, Life, fail, failure, take, tell

_COUNTERS = (
    "total_requests", "success_count", "failure_count", "auth_failure_count", "rate_limit_failure_count",
    "network_failure_count", "era", "turns", "pardoned",
)  # fmt: skip
_MEMBERS = {
    # cause, since, until, look_at
    Standing.HEALTHY: (False, False, False, False),
    Standing.DEGRADED: (True, True, True, True),
    Standing.TEMPORARY: (True, True, True, True),
    Standing.COOLDOWN: (True, True, True, True),
    Standing.PERMANENT: (True, True, False, False),
}


def _check_whole(health: Health) -> None:
    assert health.total_requests == health.success_count + health.failure_count
    typed = health.auth_failure_count + health.rate_limit_failure_count + health.network_failure_count
    assert typed <= health.failure_count
    assert len(health.errors) == min(MAX_ERRORS, health.failure_count)
    assert all(len(past.error) <= 600 for past in health.errors)
    assert 0 <= health.level <= MAX_LEVEL
    present = tuple(member is not None for member in (health.cause, health.since, health.until, health.look_at))
    assert present == _MEMBERS[health.standing]
    assert health.trial is None or health.standing in (Standing.TEMPORARY, Standing.COOLDOWN)
    assert health.trial is None or health.trial <= health.turns
    assert health.pardoned <= health.era
    if health.look_at is not None and health.since is not None and health.until is not None:
        assert health.look_at <= health.until
        assert health.look_at - health.since <= 86_400.001


def _check_step(before: Health, signal: Signal, after: Health) -> None:
    assert all(getattr(after, name) >= getattr(before, name) for name in _COUNTERS)
    assert after.is_disabled == before.is_disabled or isinstance(signal, Disabled | Enabled)
    assert after.turns == before.turns + isinstance(signal, Taken)
    is_current = isinstance(signal, Answered | Failed) and signal.turn.era == before.era
    if before.standing is Standing.PERMANENT and after.standing is not Standing.PERMANENT:
        is_other = isinstance(signal, TokenSeen) and before.rejected not in (None, signal.fingerprint)
        assert is_other or isinstance(signal, Recovered)
    if after.level > before.level:
        assert after.level == before.level + 1
        assert isinstance(signal, Failed)
        assert signal.failure.kind in (Kind.SERVER, Kind.TOKEN_FILE)
        assert is_current
    if isinstance(signal, Answered) and not is_current:
        assert (after.standing, after.until, after.level) == (before.standing, before.until, before.level)
    if isinstance(signal, Failed) and signal.failure.kind in BLAMELESS:
        assert after is before
    if before.trial is not None and after.trial != before.trial:
        # The trial ends by its own words, by a person or a new token, or because the account has a new standing.
        ends = isinstance(signal, Released | Answered) and signal.turn.era <= before.era
        assert ends or isinstance(signal, Recovered | TokenSeen) or _entry(after) != _entry(before)
        if isinstance(signal, Released):
            assert signal.turn.number == before.trial
        if isinstance(signal, Answered):
            assert is_current


def _entry(health: Health) -> tuple[object, ...]:
    return health.standing, health.era, health.since


@given(EVENTS)
@settings(max_examples=400, deadline=None)
def test_the_rules_hold_whatever_happens(events: list[Event]) -> None:
    life = Life()
    for before, signal, after in life.go_on(events):
        _check_step(before, signal, after)
        _check_whole(after)


@given(EVENTS, st.sampled_from([0.0, 1.0, -1.0, 100.0, -100.0, 4000.0, 1e7, -1e7]))
@settings(max_examples=200, deadline=None)
def test_every_pause_ends_by_itself_at_its_wakeup(events: list[Event], seconds: float) -> None:
    health = Life().live(events)
    now = NOW + seconds
    wakeup = next_wakeup(health, now)
    known = availability(health, now)
    if wakeup is None:
        # It is as it is until something happens.
        assert availability(health, now + 1e6) is known
        assert known is not Availability.SECOND_CHOICE
        return
    assert 0 < wakeup - now <= 86_400.0 + 60.001
    assert availability(health, _between(now, wakeup)) is known
    later = availability(health, wakeup)
    if known is Availability.SECOND_CHOICE:
        assert later is Availability.READY
    else:
        assert known is Availability.AWAY
        assert later is (Availability.TRIAL if health.trial is None else Availability.AWAY)


def _between(now: Epoch, wakeup: Epoch) -> Epoch:
    return now + (wakeup - now) / 2


@given(EVENTS)
@settings(max_examples=200, deadline=None)
def test_an_account_in_use_by_nobody_can_be_used_again_unless_a_person_is_asked(events: list[Event]) -> None:
    life = Life()
    health = life.live(events)
    for turn in life.turns:
        health = tell(health, Released(turn), now=life.now)
    is_out = health.is_disabled or health.standing is Standing.PERMANENT
    wakeup = next_wakeup(health, life.now)
    usable = availability(health, wakeup or life.now)
    assert usable is Availability.OUT if is_out else usable in (Availability.READY, Availability.TRIAL)


# --- one request tries the account -----------------------------------------------------------------------------


@given(st.integers(1, 300), st.sampled_from([Kind.SERVER, Kind.RATE_LIMIT, Kind.QUOTA, Kind.SUSPENDED]))
@settings(max_examples=50, deadline=None)
def test_of_many_requests_at_once_one_tries_an_account_after_its_pause(count: int, kind: Kind) -> None:
    health = fail(FRESH, kind)
    now = next_wakeup(health, NOW) or NOW
    tried = 0
    for _ in range(count):
        if availability(health, now) is Availability.TRIAL:
            health, _turn = take(health)
            tried += 1
    assert tried == 1


@given(EVENTS, st.sampled_from([Kind.SERVER, Kind.RATE_LIMIT]))
@settings(max_examples=200, deadline=None)
def test_no_other_turn_lets_a_second_one_try(events: list[Event], kind: Kind) -> None:
    life = Life()
    life.live(events)
    life.health = fail(tell(life.health, Recovered()), kind, now=life.now)
    now = next_wakeup(tell(life.health, Enabled()), life.now) or life.now
    health, trial = take(life.health)
    for turn in life.turns:
        # Whatever becomes of the requests from before, short of news of another kind.
        for signal in (Answered(turn), Failed(turn, failure(kind)), Failed(turn, failure(Kind.SERVER)), Released(turn)):
            health = tell(health, signal, now=now)
            assert health.trial == trial.number
    assert tell(health, Released(trial), now=now).trial is None
    assert tell(health, Answered(trial), now=now).standing is Standing.HEALTHY
    assert tell(health, Failed(trial, failure(Kind.SERVER)), now=now).trial is None


def test_a_last_resort_does_not_take_the_place_of_the_trial() -> None:
    health, trial = take(fail(FRESH, Kind.SERVER))
    health, resort = take(health)
    assert health.trial == trial.number
    assert tell(health, Released(resort)).trial == trial.number
    assert availability(tell(health, Released(trial)), NOW + 60.0) is Availability.TRIAL
    assert tell(health, Answered(resort)).standing is Standing.HEALTHY
