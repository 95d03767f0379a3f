"""Two processes on one account: counts add up, what a person did stays done, and both end up with the same."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.failures import Kind
from core.health import (
    Answered,
    Disabled,
    Enabled,
    Failed,
    Health,
    Recovered,
    Released,
    Standing,
    Taken,
    TokenSeen,
    next_turn,
)
from core.ledger import encode_health, join_cursor, merge_cursor, merge_health, parse_health
from core.selection import Cursor
from tests.healths import EVENTS, FRESH, NOW, Event, Life, fail, failure, lived, succeed, take, tell

_COUNTERS = (
    "total_requests", "success_count", "failure_count", "auth_failure_count", "rate_limit_failure_count",
    "network_failure_count",
)  # fmt: skip
_STANDING = ("standing", "cause", "problem", "since", "until", "look_at", "rejected", "level", "consecutive_errors")


def _written(health: Health) -> Health:
    return parse_health(encode_health(health))


def _standing(health: Health) -> list[object]:
    return [getattr(health, name) for name in _STANDING]


@given(EVENTS, EVENTS, EVENTS)
@settings(max_examples=200, deadline=None)
def test_counts_add_up_and_rules_hold(first: list[Event], mine: list[Event], theirs: list[Event]) -> None:
    base = _written(lived(first))
    my_health, their_health = lived(mine, base, NOW + 50.0), _written(lived(theirs, base, NOW + 70.0))
    merged = merge_health(base, my_health, their_health)
    for name in _COUNTERS:
        at_base = getattr(base, name)
        added = getattr(my_health, name) - at_base + getattr(their_health, name) - at_base
        assert getattr(merged, name) == at_base + added
    assert merged.total_requests == merged.success_count + merged.failure_count
    assert merged.era >= my_health.era
    assert merged.turns == my_health.turns
    assert len(merged.errors) <= 20
    assert _written(merged) == msgspec.structs.replace(merged, era=0, pardoned=0, turns=0, trial=None)
    # Of two that changed the standing the graver one is kept; what only one changed is taken from that one.
    assert merged.standing in (my_health.standing, their_health.standing)
    if my_health.standing is not base.standing and their_health.standing is not base.standing:
        gravities = (my_health.standing.gravity, their_health.standing.gravity)
        assert merged.standing.gravity == max(gravities)
    flips = {my_health.is_disabled, their_health.is_disabled} - {base.is_disabled}
    assert merged.is_disabled == (flips.pop() if flips else base.is_disabled)


@given(EVENTS, EVENTS)
@settings(max_examples=200, deadline=None)
def test_what_only_one_of_them_did_is_taken_over_whole(first: list[Event], then: list[Event]) -> None:
    base = _written(lived(first))
    changed = lived(then, base, NOW + 50.0)
    assert _standing(merge_health(base, base, _written(changed))) == _standing(changed)
    assert _standing(merge_health(base, changed, base)) == _standing(changed)
    assert merge_health(base, base, changed).errors == changed.errors
    kept = merge_health(base, changed, base)
    assert (kept.era, kept.pardoned, kept.turns, kept.trial) == (
        changed.era, changed.pardoned, changed.turns, changed.trial,
    )  # fmt: skip
    assert kept.is_disabled == merge_health(base, base, changed).is_disabled == changed.is_disabled


@given(EVENTS, EVENTS, EVENTS)
@settings(max_examples=200, deadline=None)
def test_whoever_merges_comes_to_the_same(first: list[Event], mine: list[Event], theirs: list[Event]) -> None:
    base = _written(lived(first))
    one, other = _written(lived(mine, base, NOW + 50.0)), _written(lived(theirs, base, NOW + 70.0))
    here, there = merge_health(base, one, other), merge_health(base, other, one)
    for name in ("standing", "cause", "since", "until", "level", "is_disabled", *_COUNTERS):
        assert getattr(here, name) == getattr(there, name)


# --- what a person did stays done ------------------------------------------------------------------------------


def test_an_account_that_a_person_recovered_is_not_sent_away_by_what_another_process_still_counts() -> None:
    healthy, turn = take(FRESH)
    base = _written(fail(FRESH, Kind.AUTHENTICATION, by="old"))
    mine = tell(base, Failed(turn, failure(Kind.AUTHENTICATION), "old"))
    theirs = _written(tell(base, Recovered()))
    merged = merge_health(base, mine, theirs)
    assert (merged.standing, merged.auth_failure_count) == (Standing.HEALTHY, 2)
    # And what this process still has under way was asked before that.
    assert tell(merged, Failed(turn, failure(Kind.AUTHENTICATION), "old")).standing is Standing.HEALTHY
    assert merge_health(base, theirs, _written(mine)).standing is Standing.HEALTHY
    assert healthy.turns == 1


def test_news_from_another_process_make_what_is_under_way_here_late() -> None:
    base, turn = take(FRESH)
    theirs = _written(fail(FRESH, Kind.RATE_LIMIT))
    merged = merge_health(FRESH, base, theirs)
    assert (merged.standing, merged.era, merged.pardoned) == (Standing.COOLDOWN, 1, 0)
    assert tell(merged, Answered(turn)).standing is Standing.COOLDOWN
    assert tell(merged, Failed(turn, failure(Kind.AUTHENTICATION))).standing is Standing.PERMANENT
    # A shorter pause than the one before is none that somebody ended.
    sooner = _written(fail(theirs, Kind.RATE_LIMIT, now=NOW + 1.0, retry_after=5.0))
    assert merge_health(theirs, msgspec.structs.replace(theirs, era=3), sooner).pardoned == 0


def test_a_trial_goes_on_while_another_process_only_counts() -> None:
    base = _written(fail(FRESH, Kind.SERVER))
    trying, trial = take(base)
    counted = _written(tell(base, Failed(trial, failure(Kind.TIMEOUT))))
    merged = merge_health(base, trying, counted)
    assert (merged.trial, merged.standing) == (trial.number, Standing.TEMPORARY)
    renewed = _written(fail(base, Kind.SERVER, now=NOW + 61.0))
    assert merge_health(base, trying, renewed).trial is None


def test_a_token_that_one_of_them_named_is_known_to_both() -> None:
    base = _written(fail(FRESH, Kind.AUTHENTICATION))
    named = tell(base, TokenSeen("one"))
    for merged in (merge_health(base, named, base), merge_health(base, base, named)):
        assert merged.rejected == "one"
        assert tell(merged, TokenSeen("another")).standing is Standing.HEALTHY


@pytest.mark.parametrize(("mine", "theirs", "level"), [(1, 0, 2), (0, 1, 2), (1, 1, 1), (3, 2, 0)])
def test_successes_of_both_take_doublings_back(mine: int, theirs: int, level: int) -> None:
    base = msgspec.structs.replace(FRESH, level=3)
    healths = []
    for count in (mine, theirs):
        health = base
        for _ in range(count):
            health = succeed(health)
        healths.append(health)
    assert merge_health(base, *healths).level == level


def test_of_two_alike_the_longer_or_later_one_stays() -> None:
    short, long = fail(FRESH, Kind.RATE_LIMIT, retry_after=30.0), fail(FRESH, Kind.RATE_LIMIT, retry_after=90.0)
    for merged in (merge_health(FRESH, short, long), merge_health(FRESH, long, short)):
        assert merged.until == NOW + 90.0
    first, second = (
        fail(FRESH, Kind.AUTHENTICATION, by="first"),
        fail(FRESH, Kind.AUTHENTICATION, now=NOW + 1.0, by="second"),
    )
    for merged in (merge_health(FRESH, first, second), merge_health(FRESH, second, first)):
        assert merged.rejected == "second"


def test_errors_of_both_stand_in_the_order_of_time() -> None:
    base = fail(FRESH, Kind.TIMEOUT, message="first")
    mine = fail(base, Kind.TIMEOUT, message="third", now=NOW + 2.0)
    theirs = fail(base, Kind.TIMEOUT, message="second", now=NOW + 1.0)
    merged = merge_health(base, mine, theirs)
    assert [past.error for past in merged.errors] == ["timeout: first", "timeout: second", "timeout: third"]
    # Several at one moment are several, and what another process wrote stays as it is.
    twice = fail(fail(mine, Kind.TIMEOUT), Kind.TIMEOUT)
    assert merge_health(mine, mine, twice).errors == twice.errors
    assert len(merge_health(mine, twice, mine).errors) == 4


def test_where_the_store_was_emptied_nothing_becomes_negative() -> None:
    base = fail(succeed(FRESH), Kind.RATE_LIMIT)
    merged = merge_health(base, base, FRESH)
    assert all(getattr(merged, name) == 0 for name in _COUNTERS)
    assert merged.standing is Standing.HEALTHY
    assert merge_health(base, FRESH, FRESH).total_requests == 0


# --- two processes ---------------------------------------------------------------------------------------------


class _Store:
    """One value that is replaced by whoever saw its last version."""

    def __init__(self) -> None:
        self.version = 0
        self.data = encode_health(FRESH)

    def compare_and_set(self, expected: int, data: bytes) -> bool:
        if expected != self.version:
            return False
        self.version, self.data = self.version + 1, data
        return True


class _Process:
    def __init__(self, store: _Store) -> None:
        self.store = store
        self.base = parse_health(store.data)
        self.version = store.version
        self.life = Life(self.base)
        self.counted = 0

    def work(self, events: list[Event]) -> None:
        for before, _, after in self.life.go_on(events):
            self.counted += after.total_requests - before.total_requests

    def read(self) -> None:
        if self.version == self.store.version:
            return
        theirs = parse_health(self.store.data)
        self.life.health = merge_health(self.base, self.life.health, theirs)
        self.base, self.version = theirs, self.store.version

    def write(self) -> None:
        data = encode_health(self.life.health)
        if data == encode_health(self.base):
            return
        if self.store.compare_and_set(self.version, data):
            self.base, self.version = parse_health(data), self.store.version
        else:
            self.read()
            assert self.store.compare_and_set(self.version, encode_health(self.life.health))
            self.base, self.version = parse_health(self.store.data), self.store.version


_STEPS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["work", "read", "write"]), EVENTS), max_size=15)


@given(_STEPS)
@settings(max_examples=150, deadline=None)
def test_processes_that_share_a_store_agree_in_the_end_and_lose_no_count(
    steps: list[tuple[int, str, list[Event]]],
) -> None:
    store = _Store()
    processes = [_Process(store) for _ in range(3)]
    for number, action, events in steps:
        process = processes[number]
        match action:
            case "work":
                process.work(events)
            case "read":
                process.read()
            case _:
                process.write()
    for _ in range(2):
        for process in processes:
            process.write()
            process.read()
    settled = [_written(process.life.health) for process in processes]
    assert settled[0] == settled[1] == settled[2] == parse_health(store.data)
    assert settled[0].total_requests == sum(process.counted for process in processes)
    assert settled[0].total_requests == settled[0].success_count + settled[0].failure_count


@given(EVENTS, EVENTS, st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_no_disable_is_lost_whoever_made_it(
    mine: list[Event], theirs: list[Event], is_mine: bool, was_disabled: bool
) -> None:
    store = _Store()
    one, other = _Process(store), _Process(store)
    if was_disabled:
        one.life.health = tell(one.life.health, Disabled())
        one.write()
        other.read()
    quiet = ("disable", "enable")
    one.work([event for event in mine if event[0] not in quiet])
    other.work([event for event in theirs if event[0] not in quiet])
    person = one if is_mine else other
    person.life.health = tell(person.life.health, Enabled() if was_disabled else Disabled())
    for process in (one, other, one, other):
        process.write()
        process.read()
    assert one.life.health.is_disabled is other.life.health.is_disabled is (not was_disabled)


def test_a_turn_begun_here_is_no_turn_there() -> None:
    taken = tell(FRESH, Taken(), Taken())
    assert next_turn(merge_health(FRESH, taken, FRESH)).number == 3
    assert next_turn(merge_health(FRESH, FRESH, _written(taken))).number == 1
    assert tell(taken, Released(next_turn(FRESH))) == taken


def test_a_process_writes_its_own_rotation_or_where_it_used_none_leaves_the_others() -> None:
    base, mine, theirs = Cursor(first=1), Cursor(first=2), Cursor(first=3)
    assert merge_cursor(base, mine, theirs) == mine
    assert merge_cursor(base, base, theirs) == theirs


@pytest.mark.parametrize(
    ("mine", "theirs", "later"),
    [(None, None, None), (1.0, None, 1.0), (None, 2.0, 2.0), (1.0, 2.0, 2.0), (2.0, 1.0, 2.0)],
)
def test_no_process_forgets_anybodys_last_resort(mine: float | None, theirs: float | None, later: float | None) -> None:
    dates = {None: None, 1.0: NOW + 1.0, 2.0: NOW + 2.0}
    own, other = Cursor(first=2, last_resort=dates[mine]), Cursor(first=3, last_resort=dates[theirs])
    assert merge_cursor(Cursor(), own, other) == join_cursor(own, other) == Cursor(first=2, last_resort=dates[later])
