"""Round robin over the accounts that may be used now, and what is tried when none may."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.failures import Kind
from core.health import Disabled, Health, Released, Taken, TokenSeen, next_turn
from core.refusals import Absence
from core.selection import Cursor, Provider, absences, choose
from core.times import Epoch
from tests.healths import NOW, fail, take, tell

START = Cursor()


def _providers(count: int) -> list[Provider]:
    return [
        Provider(id=f"p{number}", token_file=f"/{number}.json", original_provider_id=f"p{number}")
        for number in range(count)
    ]


def _healths(providers: Sequence[Provider], **changed: Health) -> dict[str, Health]:
    """All healthy but those that are named."""
    return {each.id: changed.get(each.id, Health(provider_id=each.id)) for each in providers}


def _away(name: str, kind: Kind = Kind.RATE_LIMIT, retry_after: float | None = None) -> Health:
    return fail(Health(provider_id=name), kind, retry_after=retry_after)


def _rounds(
    healths: Mapping[str, Health], count: int, cursor: Cursor = START, excluded: Sequence[str] = ()
) -> tuple[list[str], Cursor]:
    providers, chosen = _providers(len(healths)), []
    for _ in range(count):
        provider, cursor = choose(providers, healths, cursor, excluded, NOW)
        assert provider is not None
        chosen.append(provider.id)
    return chosen, cursor


def _choose(
    healths: Mapping[str, Health], cursor: Cursor = START, excluded: Sequence[str] = (), now: Epoch = NOW
) -> tuple[str | None, Cursor]:
    provider, cursor = choose(_providers(len(healths)), healths, cursor, excluded, now)
    return None if provider is None else provider.id, cursor


# --- turns -----------------------------------------------------------------------------------------------------


def test_each_has_its_turn_in_the_order_of_the_configuration() -> None:
    assert _rounds(_healths(_providers(3)), 7)[0] == ["p0", "p1", "p2", "p0", "p1", "p2", "p0"]


def test_who_cannot_be_used_is_passed_over_and_nobody_has_two_turns_for_it() -> None:
    disabled = tell(Health(provider_id="p1"), Disabled())
    assert _rounds(_healths(_providers(3), p1=disabled), 5)[0] == ["p0", "p2", "p0", "p2", "p0"]


def test_who_comes_back_has_a_turn_in_its_place() -> None:
    providers = _providers(3)
    _, cursor = _rounds(_healths(providers, p1=_away("p1")), 2)
    assert _rounds(_healths(providers), 3, cursor)[0] == ["p0", "p1", "p2"]


def test_a_stand_in_costs_nobody_a_first_turn_and_all_are_used_alike() -> None:
    providers = _providers(4)
    healths, cursor, used = _healths(providers), START, []
    for _ in range(12):
        name, cursor = _choose(healths, cursor)
        if name == "p1":
            name, cursor = _choose(healths, cursor, ["p1"])
        used.append(name)
    assert used == ["p0", "p0", "p2", "p3", "p0", "p2", "p2", "p3", "p0", "p3", "p2", "p3"]
    assert Counter(used) == {"p0": 4, "p2": 4, "p3": 4}


def test_one_that_timed_out_is_chosen_only_where_no_better_one_is() -> None:
    providers = _providers(3)
    slow = _healths(providers, p0=_away("p0", Kind.TIMEOUT), p2=_away("p2", Kind.TIMEOUT))
    assert _rounds(slow, 3)[0] == ["p1", "p1", "p1"]
    assert _rounds(slow, 4, excluded=["p1"])[0] == ["p0", "p2", "p0", "p2"]
    slow["p1"] = tell(slow["p1"], Disabled())
    assert _rounds(slow, 4)[0] == ["p0", "p2", "p0", "p2"]


def test_one_whose_pause_is_over_is_tried_in_its_turn_by_one_request() -> None:
    providers = _providers(2)
    healths, later = _healths(providers, p0=_away("p0", Kind.SERVER)), NOW + 60.0
    first, cursor = _choose(healths, now=later)
    assert first == "p0"
    healths["p0"], trial = take(healths["p0"])
    for _ in range(100):
        name, cursor = _choose(healths, cursor, now=later)
        assert name == "p1"
    healths["p0"] = tell(healths["p0"], Released(trial))
    assert _choose(healths, cursor, now=later)[0] == "p0"


@pytest.mark.parametrize("place", [-7, -1, 2, 3, 7, 10**18])
def test_a_cursor_from_another_list_still_finds_everyone(place: int) -> None:
    cursor = Cursor(first=place, stand_in=place)
    for excluded in ([], ["nobody"]):
        chosen, after = _rounds(_healths(_providers(2)), 4, cursor, excluded)
        assert Counter(chosen) == {"p0": 2, "p1": 2}
        assert 0 <= (after.stand_in if excluded else after.first) <= 2


def test_a_shorter_or_longer_list_goes_on_from_the_same_place() -> None:
    _, cursor = _rounds(_healths(_providers(5)), 4)
    assert _rounds(_healths(_providers(3)), 3, cursor)[0] == ["p1", "p2", "p0"]
    assert _rounds(_healths(_providers(6)), 3, cursor)[0] == ["p4", "p5", "p0"]


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 8), st.integers(0, 20))
def test_over_any_window_the_counts_differ_by_at_most_one(data: st.DataObject, count: int, place: int) -> None:
    providers = _providers(count)
    names = [each.id for each in providers]
    out = data.draw(st.sets(st.sampled_from(names), max_size=count - 1))
    usable = [name for name in names if name not in out]
    slow = data.draw(st.sets(st.sampled_from(usable)))
    changed = {name: _away(name) for name in out} | {name: _away(name, Kind.TIMEOUT) for name in slow}
    chosen, _ = _rounds(_healths(providers, **changed), 40, Cursor(first=place))
    eligible = [name for name in usable if name not in slow] or usable
    assert set(chosen) <= set(eligible)
    start = data.draw(st.integers(0, 39))
    counts = Counter(chosen[start : data.draw(st.integers(start, 40))])
    assert max(counts[each] for each in eligible) - min(counts[each] for each in eligible) <= 1


# --- when none can be used -------------------------------------------------------------------------------------


def test_where_there_is_nobody_there_is_none_and_the_cursor_stays() -> None:
    cursor = Cursor(first=3, stand_in=1)
    assert choose([], {}, cursor, [], NOW) == (None, cursor)
    assert _choose(_healths(_providers(2)), cursor, ["p0", "p1"]) == (None, cursor)


def test_once_a_minute_one_request_tries_the_account_that_is_back_first() -> None:
    providers = _providers(4)
    healths = _healths(
        providers,
        p0=_away("p0", retry_after=900.0),
        p1=_away("p1", retry_after=300.0),
        p2=_away("p2", Kind.AUTHENTICATION),
        p3=tell(_away("p3", retry_after=100.0), Disabled()),
    )
    name, cursor = _choose(healths)
    assert (name, cursor) == ("p1", Cursor(last_resort=NOW))
    for seconds in (0.0, 30.0, 59.9):
        assert _choose(healths, cursor, now=NOW + seconds) == (None, cursor)
    name, cursor = _choose(healths, cursor, now=NOW + 60.0)
    assert (name, cursor.last_resort) == ("p1", NOW + 60.0)


def test_a_request_that_has_tried_the_first_gets_the_next() -> None:
    providers = _providers(2)
    healths = _healths(providers, p0=_away("p0", retry_after=100.0), p1=_away("p1", retry_after=200.0))
    assert _choose(healths, excluded=["p0"])[0] == "p1"


def test_the_last_resort_costs_nobody_a_turn() -> None:
    cursor = Cursor(first=1, stand_in=2)
    healths = _healths(_providers(3), p0=_away("p0"), p1=_away("p1"), p2=_away("p2"))
    assert _choose(healths, cursor)[1] == Cursor(first=1, stand_in=2, last_resort=NOW)


def test_a_permanent_one_is_never_tried() -> None:
    providers = _providers(2)
    healths = _healths(providers, p0=_away("p0", Kind.AUTHENTICATION), p1=tell(Health(provider_id="p1"), Disabled()))
    assert _choose(healths) == (None, START)
    lifted = tell(tell(healths["p0"], TokenSeen("one")), TokenSeen("another"))
    assert _choose({**healths, "p0": lifted})[0] == "p0"


@pytest.mark.parametrize(
    ("seconds", "is_tried"), [(-59.0, False), (-1.0, False), (0.0, False), (59.0, False), (60.0, True), (-60.0, True)]
)
def test_a_clock_that_was_set_back_makes_no_further_try_until_a_minute_lies_between(
    seconds: float, is_tried: bool
) -> None:
    healths = _healths(_providers(1), p0=fail(Health(provider_id="p0"), Kind.RATE_LIMIT, now=NOW + -100.0))
    cursor = Cursor(last_resort=NOW)
    assert (_choose(healths, cursor, now=NOW + seconds)[0] == "p0") is is_tried


# --- why none can be used --------------------------------------------------------------------------------------


def test_absences_tell_of_all_that_cannot_be_used_why_and_until_when() -> None:
    providers = _providers(9)
    healths = _healths(
        providers,
        p1=_away("p1", Kind.TIMEOUT),
        p2=_away("p2", retry_after=30.0),
        p3=_away("p3", Kind.QUOTA),
        p4=_away("p4", Kind.AUTHENTICATION),
        p5=tell(_away("p5"), Disabled()),
        p6=fail(Health(provider_id="p6"), Kind.SERVER, now=NOW + -60.0),
        p7=tell(fail(Health(provider_id="p7"), Kind.SERVER, now=NOW + -60.0), Taken()),
        p8=tell(Health(provider_id="p8"), Disabled()),
    )
    assert absences(providers, healths, Cursor(), NOW) == (
        Absence(provider_id="p2", kind=Kind.RATE_LIMIT, problem="why", back_in=30.0, back_at=NOW + 30.0),
        # Its quota is back on the first of December, and it is looked at once a day.
        Absence(
            provider_id="p3",
            kind=Kind.QUOTA,
            problem="why",
            back_in=86_400.0,
            back_at=NOW + 86_400.0,
            expected_at=Epoch(datetime(2023, 12, 1, tzinfo=UTC).timestamp()),
        ),
        Absence(provider_id="p4", kind=Kind.AUTHENTICATION, problem="why", back_in=None, back_at=None),
        Absence(provider_id="p5", kind=None, problem="why", back_in=None, back_at=None),
        # Another request tries it right now.
        Absence(provider_id="p7", kind=Kind.SERVER, problem="why", back_in=0.0, back_at=NOW),
        Absence(provider_id="p8", kind=None, problem="", back_in=None, back_at=None),
    )


@pytest.mark.parametrize(
    ("kind", "age", "since_last_resort", "expected"),
    [
        # What one request met may be over with the next, so it is tried again as soon as the last resort allows.
        (Kind.SERVER, 0.0, None, 0.0),
        (Kind.SERVER, 0.0, 60.0, 0.0),
        (Kind.SERVER, 0.0, 20.0, 40.0),
        (Kind.SERVER, 30.0, 20.0, 30.0),
        (Kind.SERVER, 0.0, -20.0, 60.0),
        (Kind.TOKEN_FILE, 0.0, None, 0.0),
        # What the account is, is so for longer.
        (Kind.RATE_LIMIT, 0.0, None, 3600.0),
        (Kind.RATE_LIMIT, 3570.0, None, 30.0),
        (Kind.SUSPENDED, 3570.0, None, 30.0),
    ],
)
def test_an_account_is_said_to_be_back_when_a_request_may_next_try_it(
    kind: Kind, age: float, since_last_resort: float | None, expected: float
) -> None:
    providers = _providers(1)
    healths = _healths(providers, p0=fail(Health(provider_id="p0"), kind, now=NOW + -age))
    cursor = Cursor(last_resort=None if since_last_resort is None else NOW + -since_last_resort)
    (absence,) = absences(providers, healths, cursor, NOW)
    assert (absence.back_in, absence.back_at) == (expected, NOW + expected)
    assert absence.expected_at in (None, healths["p0"].until)
    assert (absence.expected_at is None) == (healths["p0"].until == absence.back_at)


def test_after_repeated_failures_the_last_resort_is_no_promise_any_more() -> None:
    providers = _providers(1)
    health = Health(provider_id="p0")
    for hours in (-3, -2, 0):
        health = fail(health, Kind.SERVER, now=NOW + 3600.0 * hours)
    (absence,) = absences(providers, _healths(providers, p0=health), Cursor(), NOW)
    assert absence.back_in == 240.0


def test_nobody_is_absent_where_all_can_be_used() -> None:
    providers = _providers(3)
    assert absences(providers, _healths(providers), Cursor(), NOW) == ()
    assert absences([], {}, Cursor(), NOW) == ()


def test_a_turn_is_of_the_account_that_was_chosen() -> None:
    health = msgspec.structs.replace(_away("p0"), era=4, turns=9)
    assert (next_turn(health).provider_id, next_turn(health).era, next_turn(health).number) == ("p0", 4, 10)
