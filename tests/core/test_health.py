"""What every signal means in every standing, against a table that was written from the rules and not from the code."""

from itertools import product

import msgspec
import pytest

from core.failures import Kind
from core.health import (
    Answered,
    Availability,
    Began,
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
    Turn,
    availability,
    next_turn,
)
from core.times import Epoch
from tests.healths import BLAMELESS, FRESH, NOW, fail, failure, tell

PAST = NOW + -10.0
OLD = Turn(provider_id="a", era=2, number=1)
"""A turn from before whatever the account is in now."""

_BEGUN = msgspec.structs.replace(FRESH, era=3, turns=3)


def _standings() -> dict[str, Health]:
    degraded = fail(_BEGUN, Kind.TIMEOUT, now=PAST)
    temporary = fail(_BEGUN, Kind.SERVER, now=PAST)
    cooldown = fail(_BEGUN, Kind.RATE_LIMIT, now=PAST)
    over = {
        "degraded, over": fail(_BEGUN, Kind.TIMEOUT, now=NOW + -400.0),
        "temporary, over": fail(_BEGUN, Kind.SERVER, now=NOW + -400.0),
        "cooldown, over": fail(_BEGUN, Kind.RATE_LIMIT, now=NOW + -4000.0),
    }
    return {
        "healthy": _BEGUN,
        "degraded": degraded,
        "degraded, over": over["degraded, over"],
        "temporary": temporary,
        "temporary, over": over["temporary, over"],
        "temporary, tried": tell(over["temporary, over"], Taken()),
        "cooldown": cooldown,
        "cooldown, over": over["cooldown, over"],
        "cooldown, tried": tell(over["cooldown, over"], Taken()),
        "permanent": fail(_BEGUN, Kind.AUTHENTICATION, now=PAST, by="refused"),
    }


STANDINGS = _standings()
"""In the order of the tables' columns. Their causes are a time-out, a server's error, a rate limit, a refused token."""

_LETTERS = {
    "H": Standing.HEALTHY,
    "D": Standing.DEGRADED,
    "T": Standing.TEMPORARY,
    "C": Standing.COOLDOWN,
    "P": Standing.PERMANENT,
}

# A letter is the standing that is entered anew; `=` leaves what there is and counts; `.` changes nothing at all. `r`
# leaves the standing, for the token that was judged last.
#                           healthy degraded temporary cooldown permanent
_PRESENT = {
    Kind.AUTHENTICATION: "P     PP       PPP       PPP      r",
    Kind.RATE_LIMIT: "    C     CC       CCC       =CC      =",
    # Each lasts longer than the pause that is under way: a month, an hour, twice the base.
    Kind.QUOTA: "         C     CC       CCC       CCC      =",
    Kind.SUSPENDED: "     T     TT       TTT       =TT      =",
    Kind.TOKEN_FILE: "    T     TT       TTT       =TT      =",
    # The last resort met what was known: no longer pause for it.
    Kind.SERVER: "        T     TT       =TT       =TT      =",
    Kind.TIMEOUT: "       D     DD       =DD       =DD      =",
    # The first in a row is none but where another error came before.
    Kind.NETWORK: "       =     DD       =DD       =DD      =",
    Kind.OVERLOAD: "      .     ..       ...       ...      .",
    Kind.NO_SUCH_MODEL: " .     ..       ...       ...      .",
    Kind.NOT_ALLOWED: "   .     ..       ...       ...      .",
    Kind.ANSWER: "        .     ..       ...       ...      .",
    Kind.TOO_LONG: "      .     ..       ...       ...      .",
    Kind.CLIENT: "        .     ..       ...       ...      .",
}
"""What an attempt says that began in the present era."""

_LATE = {
    # What the account is, it is, whenever the request began.
    Kind.AUTHENTICATION: "P     PP       PPP       PPP      r",
    Kind.RATE_LIMIT: "    C     CC       CCC       ===      =",
    Kind.QUOTA: "         C     CC       CCC       CCC      =",
    Kind.SUSPENDED: "     T     TT       TTT       ===      =",
    # What went wrong with one request belongs to the time when it began.
    Kind.TOKEN_FILE: "    =     ==       ===       ===      =",
    Kind.SERVER: "        =     ==       ===       ===      =",
    Kind.TIMEOUT: "       =     ==       ===       ===      =",
    Kind.NETWORK: "       =     ==       ===       ===      =",
    Kind.OVERLOAD: "      .     ..       ...       ...      .",
    Kind.NO_SUCH_MODEL: " .     ..       ...       ...      .",
    Kind.NOT_ALLOWED: "   .     ..       ...       ...      .",
    Kind.ANSWER: "        .     ..       ...       ...      .",
    Kind.TOO_LONG: "      .     ..       ...       ...      .",
    Kind.CLIENT: "        .     ..       ...       ...      .",
}
"""What an attempt says that began in an earlier era."""

_COUNTER = {
    Kind.AUTHENTICATION: "auth_failure_count",
    Kind.RATE_LIMIT: "rate_limit_failure_count",
    Kind.QUOTA: "rate_limit_failure_count",
    Kind.NETWORK: "network_failure_count",
    Kind.TIMEOUT: "network_failure_count",
}
_COUNTERS = ("auth_failure_count", "rate_limit_failure_count", "network_failure_count")


def _cells(table: dict[Kind, str]) -> list[tuple[Kind, str, str, bool]]:
    assert set(table) == set(Kind)
    cells = []
    for kind, row in table.items():
        letters = row.replace(" ", "")
        for name, letter in zip(STANDINGS, letters, strict=True):
            cells += [(kind, name, letter, False), (kind, name, letter, True)]
    return cells


def _check_failure(before: Health, turn: Turn, kind: Kind, letter: str) -> None:
    refused = "refused now" if kind is Kind.AUTHENTICATION else None
    after = tell(before, Failed(turn, failure(kind, "what happened"), refused))
    if letter == ".":
        assert after == before
        return
    assert after.total_requests == before.total_requests + 1
    assert after.failure_count == before.failure_count + 1
    assert after.success_count == before.success_count
    assert after.consecutive_errors == before.consecutive_errors + 1
    for counter in _COUNTERS:
        assert getattr(after, counter) == getattr(before, counter) + (_COUNTER.get(kind) == counter)
    assert (after.errors[-1].timestamp, after.errors[-1].error) == (NOW, f"{kind.value}: what happened")
    assert (after.is_disabled, after.turns) == (before.is_disabled, before.turns)
    if letter in "=r":
        judged = before.rejected if letter == "=" else refused
        assert _standing(after) == _standing(msgspec.structs.replace(before, rejected=judged))
        return
    assert after.standing is _LETTERS[letter]
    assert (after.cause, after.problem, after.since) == (kind, "what happened", NOW)
    assert (after.rejected, after.trial) == (refused, None)
    assert (after.until is None) == (after.look_at is None) == (letter == "P")
    assert after.era == before.era + (letter != "D")
    assert after.level == before.level + (kind in (Kind.SERVER, Kind.TOKEN_FILE))


def _standing(health: Health) -> tuple[object, ...]:
    return (
        health.standing, health.cause, health.problem, health.since, health.until, health.look_at, health.rejected,
        health.level, health.era, health.pardoned, health.trial,
    )  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "letter", "is_disabled"), _cells(_PRESENT))
def test_a_failure_means_what_the_table_says(kind: Kind, name: str, letter: str, is_disabled: bool) -> None:
    before = msgspec.structs.replace(STANDINGS[name], is_disabled=is_disabled)
    _check_failure(before, next_turn(before), kind, letter)


@pytest.mark.parametrize(("kind", "name", "letter", "is_disabled"), _cells(_LATE))
def test_a_late_failure_means_what_the_table_says(kind: Kind, name: str, letter: str, is_disabled: bool) -> None:
    before = msgspec.structs.replace(STANDINGS[name], is_disabled=is_disabled)
    _check_failure(before, OLD, kind, letter)


@pytest.mark.parametrize(("kind", "name"), list(product(Kind, STANDINGS)))
def test_a_failure_from_before_a_pardon_is_only_counted(kind: Kind, name: str) -> None:
    before = msgspec.structs.replace(STANDINGS[name], pardoned=3)
    _check_failure(before, OLD, kind, "." if kind in BLAMELESS else "=")


@pytest.mark.parametrize("is_disabled", [False, True])
@pytest.mark.parametrize("name", STANDINGS)
def test_a_success_ends_every_standing_but_the_permanent_one(name: str, is_disabled: bool) -> None:
    before = msgspec.structs.replace(STANDINGS[name], is_disabled=is_disabled, level=2, consecutive_errors=4)
    after = tell(before, Answered(next_turn(before)))
    assert (after.total_requests, after.success_count) == (before.total_requests + 1, before.success_count + 1)
    assert (after.is_disabled, after.errors, after.era) == (is_disabled, before.errors, before.era)
    if name == "permanent":
        assert _standing(after) == _standing(before)
        assert after.consecutive_errors == 4
    else:
        assert _standing(after)[:7] == (Standing.HEALTHY, None, "", None, None, None, None)
        assert (after.level, after.consecutive_errors, after.trial) == (1, 0, None)


@pytest.mark.parametrize("name", STANDINGS)
def test_a_late_success_ends_nothing(name: str) -> None:
    before = msgspec.structs.replace(STANDINGS[name], level=2, consecutive_errors=4)
    after = tell(before, Answered(OLD))
    assert after == msgspec.structs.replace(
        before, total_requests=before.total_requests + 1, success_count=before.success_count + 1
    )


@pytest.mark.parametrize("name", STANDINGS)
@pytest.mark.parametrize("is_disabled", [False, True])
def test_a_person_recovers_an_account_from_everything_but_being_disabled(name: str, is_disabled: bool) -> None:
    before = msgspec.structs.replace(STANDINGS[name], is_disabled=is_disabled, level=5)
    after = tell(before, Recovered())
    assert _standing(after)[:7] == (Standing.HEALTHY, None, "", None, None, None, None)
    assert (after.level, after.consecutive_errors, after.trial, after.is_disabled) == (0, 0, None, is_disabled)
    assert (after.era, after.pardoned) == (before.era + 1, before.era + 1)
    assert (after.total_requests, after.errors) == (before.total_requests, before.errors)


@pytest.mark.parametrize("name", STANDINGS)
def test_disabling_and_enabling_change_nothing_else(name: str) -> None:
    before = STANDINGS[name]
    disabled = tell(before, Disabled())
    assert disabled == tell(disabled, Disabled()) == msgspec.structs.replace(before, is_disabled=True)
    assert availability(disabled, NOW) is Availability.OUT
    assert tell(disabled, Enabled()) == tell(before, Enabled()) == before


@pytest.mark.parametrize("name", STANDINGS)
@pytest.mark.parametrize(("fingerprint", "ends"), [("refused", ()), ("another", ("permanent",))])
def test_another_token_ends_a_permanent_standing_and_no_other(name: str, fingerprint: str, ends: tuple[str]) -> None:
    before = STANDINGS[name]
    after = tell(before, TokenSeen(fingerprint))
    if name not in ends:
        assert after == before
        return
    assert _standing(after)[:7] == (Standing.HEALTHY, None, "", None, None, None, None)
    assert (after.era, after.pardoned, after.consecutive_errors) == (before.era + 1, before.pardoned, 0)


@pytest.mark.parametrize("name", STANDINGS)
@pytest.mark.parametrize("is_late", [False, True])
def test_the_refusal_of_a_token_that_was_replaced_meanwhile_is_only_counted(name: str, is_late: bool) -> None:
    before = STANDINGS[name]
    turn = OLD if is_late else next_turn(before)
    after = tell(before, Failed(turn, failure(Kind.AUTHENTICATION), "made up, old", "made up, present"))
    assert _standing(after) == _standing(before)
    assert after.auth_failure_count == before.auth_failure_count + 1
    of_the_present = tell(before, Failed(turn, failure(Kind.AUTHENTICATION), "made up, old", "made up, old"))
    assert (of_the_present.standing, of_the_present.rejected) == (Standing.PERMANENT, "made up, old")


def test_requests_that_refresh_a_barred_accounts_token_do_not_put_it_back_for_each_other() -> None:
    first, second = next_turn(FRESH), next_turn(tell(FRESH, Taken()))
    barred = tell(FRESH, Taken(), Taken(), Failed(first, failure(Kind.AUTHENTICATION), "1st", "1st"))
    seen = tell(barred, TokenSeen("2nd"))  # the second request has refreshed it once more
    assert seen.standing is Standing.HEALTHY
    judged = tell(seen, Failed(second, failure(Kind.AUTHENTICATION), "2nd", "2nd"))
    assert (judged.standing, judged.rejected) == (Standing.PERMANENT, "2nd")
    other_way = tell(barred, Failed(second, failure(Kind.AUTHENTICATION), "2nd", "2nd"), TokenSeen("2nd"))
    assert (other_way.standing, other_way.rejected) == (Standing.PERMANENT, "2nd")


def test_a_token_file_that_can_be_read_again_is_used_again() -> None:
    unreadable = fail(FRESH, Kind.TOKEN_FILE)
    assert availability(unreadable, NOW) is Availability.AWAY
    readable = tell(unreadable, TokenSeen("whichever"))
    assert availability(readable, NOW) is Availability.READY
    assert (readable.level, readable.standing) == (1, Standing.HEALTHY)


def test_a_permanent_standing_of_an_unknown_token_is_of_the_next_one_seen() -> None:
    unknown = fail(FRESH, Kind.AUTHENTICATION)
    seen = tell(unknown, TokenSeen("first"))
    assert seen == msgspec.structs.replace(unknown, rejected="first")
    assert tell(seen, TokenSeen("first")) == seen
    assert tell(seen, TokenSeen("second")).standing is Standing.HEALTHY


_AVAILABLE = {
    "healthy": (Availability.READY, None),
    "degraded": (Availability.SECOND_CHOICE, PAST + 300.0),
    "degraded, over": (Availability.READY, None),
    "temporary": (Availability.AWAY, PAST + 60.0),
    "temporary, over": (Availability.TRIAL, None),
    "temporary, tried": (Availability.AWAY, None),
    "cooldown": (Availability.AWAY, PAST + 3600.0),
    "cooldown, over": (Availability.TRIAL, None),
    "cooldown, tried": (Availability.AWAY, None),
    "permanent": (Availability.OUT, None),
}


@pytest.mark.parametrize("name", STANDINGS)
def test_availability_follows_from_standing_and_date(name: str) -> None:
    expected: tuple[Availability, Epoch | None] = _AVAILABLE[name]
    health = STANDINGS[name]
    assert (availability(health, NOW), health.look_at if expected[1] else None) == expected
    disabled = msgspec.structs.replace(health, is_disabled=True)
    assert availability(disabled, NOW) is Availability.OUT


@pytest.mark.parametrize("name", STANDINGS)
def test_taking_a_turn_makes_it_the_trial_of_one_that_is_blacklisted_for_a_time(name: str) -> None:
    before = STANDINGS[name]
    after = tell(before, Taken())
    is_trial = name in ("temporary", "temporary, over", "cooldown", "cooldown, over")
    assert after == msgspec.structs.replace(
        before, turns=before.turns + 1, trial=after.turns if is_trial else before.trial
    )
    assert next_turn(before) == Turn(provider_id="a", era=before.era, number=after.turns)


@pytest.mark.parametrize("name", STANDINGS)
def test_a_trial_that_is_being_answered_makes_its_account_a_second_choice(name: str) -> None:
    before = STANDINGS[name]
    assert tell(before, Began(OLD), Began(next_turn(before))) == before
    if before.trial is not None:
        own = Turn(provider_id="a", era=before.era, number=before.trial)
        answering = tell(before, Began(own))
        assert availability(answering, NOW) is Availability.SECOND_CHOICE
        assert availability(tell(answering, Taken()), NOW) is Availability.SECOND_CHOICE
        over = [tell(answering, signal) for signal in (Released(own), Answered(own), Recovered())]
        over.append(tell(answering, Failed(own, failure(Kind.SERVER))))
        assert [(each.trial, each.is_answering) for each in over] == [(None, False)] * 4


@pytest.mark.parametrize("name", STANDINGS)
def test_only_the_end_of_the_trial_itself_ends_it(name: str) -> None:
    before = STANDINGS[name]
    others: list[Signal] = [Released(OLD), Released(next_turn(before))]
    assert tell(before, *others) == before
    if before.trial is not None:
        own = Turn(provider_id="a", era=before.era, number=before.trial)
        assert tell(before, Released(own)) == msgspec.structs.replace(before, trial=None)
