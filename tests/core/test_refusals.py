"""What a client is told when nothing is left to try: the status says why, the headers whether to come back and when."""

from itertools import product

import msgspec
import pytest

from core.anthropic import STATUS_OF_ERROR
from core.failures import Failure, Kind
from core.refusals import Absence, Refusal, prompt_too_long, refuse
from core.times import Epoch
from tests.healths import NOW, failure

WINDOW = 200_000


def _absence(account: str, kind: Kind | None, back_in: float | None = None, problem: str = "was away") -> Absence:
    back_at = None if back_in is None else NOW + back_in
    return Absence(provider_id=account, kind=kind, problem=problem, back_in=back_in, back_at=back_at)


def _refuse(
    *failures: tuple[str, Failure], absences: tuple[Absence, ...] = (), ended_by: Failure | None = None
) -> Refusal:
    return refuse(failures, absences=absences, ended_by=ended_by, prompt_tokens=1000, window=WINDOW)


# --- the status ------------------------------------------------------------------------------------------------

_STATUS = {
    Kind.AUTHENTICATION: 403,
    Kind.RATE_LIMIT: 429,
    Kind.QUOTA: 429,
    Kind.SUSPENDED: 529,
    Kind.SERVER: 529,
    Kind.NO_SUCH_MODEL: 404,
    Kind.NOT_ALLOWED: 403,
    Kind.NETWORK: 529,
    Kind.TIMEOUT: 504,
    Kind.TOKEN_FILE: 403,
}
"""The status where that is the only cause. The other kinds end a request, whatever else there is."""

_MET = ("tried", "tried and away", "away", "disabled")


def _meet(account: str, kind: Kind, met: str) -> tuple[list[tuple[str, Failure]], list[Absence]]:
    is_final = kind is Kind.AUTHENTICATION
    away = [_absence(account, kind, None if is_final else 1000.0)]
    disabled = [_absence(account, None)]
    return (
        [(account, failure(kind))] if "tried" in met else [],
        disabled if met == "disabled" else away if "away" in met else [],
    )


@pytest.mark.parametrize(("one", "other"), list(product(_STATUS, repeat=2)))
def test_the_only_cause_there_is_decides_the_status_and_several_are_an_overload(one: Kind, other: Kind) -> None:
    for met_one, met_other in product(_MET, repeat=2):
        failures, absences = _meet("a", one, met_one)
        more_failures, more_absences = _meet("b", other, met_other)
        refusal = _refuse(*failures, *more_failures, absences=(*absences, *more_absences))
        statuses = {_STATUS[kind] for kind, met in ((one, met_one), (other, met_other)) if met != "disabled"} or {403}
        expected = statuses.pop() if len(statuses) == 1 else 529
        assert STATUS_OF_ERROR[refusal.error_type] == expected
        for account in "ab":
            assert f"{account}: " in refusal.message
        assert refusal.should_retry is not True
        assert (refusal.retry_after is None) or (refusal.should_retry is None)


def test_what_works_again_later_than_it_is_tried_has_both_dates() -> None:
    absence = msgspec.structs.replace(
        _absence("a", Kind.QUOTA, 86_400.0, "used up"), expected_at=Epoch(1_701_388_800.0)
    )
    assert _refuse(absences=(absence,)).message == (
        "a: used up (it is expected back at 2023-12-01T00:00:00.000Z; "
        "it is tried again from 2023-11-15T22:13:20.000Z on)"
    )


def test_what_this_request_met_says_more_than_what_was_known() -> None:
    absences = (_absence("a", Kind.SERVER, 100.0, "broke before"),)
    refusal = _refuse(("a", failure(Kind.RATE_LIMIT, "slow down")), absences=absences)
    assert refusal.error_type == "rate_limit_error"
    assert refusal.message.startswith("a: slow down (it is tried again from 2023-11-14T22:15:00.000Z on)")


def test_without_any_account_the_client_is_told_so() -> None:
    assert _refuse() == Refusal(error_type="overloaded_error", message="no account can be used now", retry_after=1)


def test_no_error_of_the_clients_key_is_ever_said() -> None:
    for kind in Kind:
        for ended_by in (None, failure(kind)):
            assert _refuse(("a", failure(kind)), ended_by=ended_by).error_type != "authentication_error"


# --- whether to come back --------------------------------------------------------------------------------------

_IN_USE = -1.0
"""For accounts that failed this request and are in use all the same."""


@pytest.mark.parametrize(
    ("accounts", "retry_after", "should_retry"),
    [
        # the first who is back decides, up to a minute
        ([(Kind.RATE_LIMIT, 30.4)], 31, None),
        ([(Kind.RATE_LIMIT, 0.0)], 1, None),
        ([(Kind.RATE_LIMIT, 0.2)], 1, None),
        ([(Kind.SERVER, 60.0)], 60, None),
        ([(Kind.SERVER, 60.1)], None, False),
        ([(Kind.RATE_LIMIT, 3600.0)], None, False),
        ([(Kind.QUOTA, 86_400.0)], None, False),
        ([(Kind.QUOTA, 5.0)], 5, None),
        ([(Kind.RATE_LIMIT, 3600.0), (Kind.RATE_LIMIT, 5.0)], 5, None),
        ([(Kind.RATE_LIMIT, 1800.0), (Kind.SERVER, 61.0)], None, False),
        ([(Kind.TOKEN_FILE, 20.0)], 20, None),
        # only a person can change it
        ([(Kind.AUTHENTICATION, None)], None, False),
        ([(Kind.AUTHENTICATION, None), (None, None)], None, False),
        ([(None, None)], None, False),
        ([(Kind.AUTHENTICATION, None), (Kind.SERVER, 20.0)], 20, None),
        ([(None, None), (Kind.SERVER, 100.0)], None, False),
        # one that is in use may be tried again at once
        ([(Kind.NETWORK, _IN_USE)], None, None),
        ([(Kind.TIMEOUT, _IN_USE)], None, None),
        ([(Kind.NETWORK, _IN_USE), (Kind.RATE_LIMIT, 3600.0)], None, None),
        ([(Kind.TIMEOUT, _IN_USE), (Kind.SERVER, 5.0)], None, None),
        # but not for what it refuses for good
        ([(Kind.NO_SUCH_MODEL, _IN_USE)], None, False),
        ([(Kind.NOT_ALLOWED, _IN_USE), (Kind.NO_SUCH_MODEL, _IN_USE)], None, False),
        ([(Kind.NO_SUCH_MODEL, _IN_USE), (Kind.SERVER, 5.0)], 5, None),
        ([(Kind.NO_SUCH_MODEL, _IN_USE), (Kind.NETWORK, _IN_USE)], None, None),
        ([(Kind.AUTHENTICATION, _IN_USE), (Kind.RATE_LIMIT, 3600.0)], None, False),
    ],
)
@pytest.mark.parametrize("is_tried", [False, True])
def test_a_client_is_told_to_wait_up_to_a_minute_and_to_give_up_where_it_takes_longer(
    accounts: list[tuple[Kind | None, float | None]], retry_after: int | None, should_retry: bool | None, is_tried: bool
) -> None:
    failures, absences = [], []
    for index, (kind, back_in) in enumerate(accounts):
        name = f"a{index}"
        if kind is not None and (is_tried or back_in == _IN_USE):
            failures.append((name, failure(kind)))
        if back_in != _IN_USE:
            absences.append(_absence(name, kind, back_in))
    refusal = _refuse(*failures, absences=tuple(absences))
    assert (refusal.retry_after, refusal.should_retry) == (retry_after, should_retry)
    if should_retry is False and any(absence.back_at for absence in absences):
        assert "it is tried again from 20" in refusal.message


# --- what ended the matter -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "error_type", "should_retry"),
    [
        (Kind.OVERLOAD, "overloaded_error", None),
        (Kind.ANSWER, "api_error", False),
        (Kind.CLIENT, "invalid_request_error", None),
        (Kind.TIMEOUT, "timeout_error", None),
        (Kind.RATE_LIMIT, "rate_limit_error", None),
        (Kind.AUTHENTICATION, "permission_error", False),
    ],
)
def test_what_ended_the_matter_decides_whatever_others_said_before(
    kind: Kind, error_type: str, should_retry: bool | None
) -> None:
    ended_by = failure(kind, "the last word")
    absences = (_absence("c", Kind.SERVER, 5.0),)
    refusal = _refuse(("a", failure(Kind.SERVER)), ("b", ended_by), absences=absences, ended_by=ended_by)
    assert refusal == Refusal(error_type=error_type, message="the last word", should_retry=should_retry)


@pytest.mark.parametrize(("tokens", "expected"), [(250_000, 250_000), (1000, 200_001), (200_000, 200_001)])
def test_a_prompt_that_is_too_long_always_has_more_tokens_than_the_maximum(tokens: int, expected: int) -> None:
    assert prompt_too_long(tokens, WINDOW) == f"prompt is too long: {expected} tokens > 200000 maximum"
    too_long = failure(Kind.TOO_LONG)
    refusal = refuse([("a", too_long)], absences=(), ended_by=too_long, prompt_tokens=tokens, window=WINDOW)
    assert refusal == Refusal(error_type="invalid_request_error", message=prompt_too_long(tokens, WINDOW))


# --- the words -------------------------------------------------------------------------------------------------


def test_all_accounts_are_named_with_what_each_failed_of_what_is_new_first() -> None:
    refusal = _refuse(
        ("c", failure(Kind.SERVER, "broke")),
        ("b", failure(Kind.AUTHENTICATION, "was refused")),
        absences=(
            _absence("a", Kind.QUOTA, 86_400.0, "is used up"),
            _absence("b", Kind.AUTHENTICATION),
            _absence("d", None),
        ),
    )
    assert refusal.message == (
        "c: broke; "
        "b: was refused (sign in again with the program that wrote its token file, check its profileArn, "
        "or run: stagewhisper accounts recover b); "
        "a: is used up (it is tried again from 2023-11-15T22:13:20.000Z on); "
        "d: is disabled (stagewhisper accounts enable d)"
    )


@pytest.mark.parametrize("is_tried", [False, True])
def test_where_authentication_is_the_only_cause_each_account_and_its_command_are_named(is_tried: bool) -> None:
    names = ["team-account1", "team-account2"]
    failures = [(name, failure(Kind.AUTHENTICATION, "token refused")) for name in names] if is_tried else []
    absences = tuple(_absence(name, Kind.AUTHENTICATION, problem="token refused") for name in names)
    refusal = _refuse(*failures, absences=absences)
    assert (refusal.error_type, refusal.retry_after, refusal.should_retry) == ("permission_error", None, False)
    for name in names:
        assert f"{name}: token refused (" in refusal.message
        assert f"stagewhisper accounts recover {name})" in refusal.message


@pytest.mark.parametrize("count", [1, 10, 11, 100])
@pytest.mark.parametrize("is_tried", [False, True])
def test_a_hundred_accounts_are_told_of_in_one_line_of_bounded_length(count: int, is_tried: bool) -> None:
    names = [f"{'team' * 15}-account{number + 1}" for number in range(count)]
    absences = tuple(
        _absence(name, Kind.AUTHENTICATION, None, "p" * 5000)
        if number % 2
        else _absence(name, Kind.RATE_LIMIT, 5000.0 - number, "p" * 5000)
        for number, name in enumerate(names)
    )
    failures = [(name, failure(Kind.RATE_LIMIT, "f" * 5000)) for name in names] if is_tried else []
    refusal = _refuse(*failures, absences=absences)
    assert len(refusal.message.splitlines()) == 1
    assert len(refusal.message) < 10_000
    named = sum(f"{name}: " in refusal.message for name in names)
    assert named == min(10, count)
    # Whoever is told to give up is told until when, whichever account that is.
    soonest = {1: "23:36:40", 10: "23:36:32", 11: "23:36:30", 100: "23:35:02"}
    assert f"2023-11-14T{soonest[count]}.000Z" in refusal.message
    assert (f"and {count - 10} more accounts, the first of which" in refusal.message) == (count > 10)


def test_more_accounts_that_only_a_person_brings_back_have_no_date() -> None:
    absences = tuple(_absence(f"a{number}", Kind.AUTHENTICATION) for number in range(12))
    assert _refuse(absences=absences).message.endswith("; and 2 more accounts")
    failures = [(f"a{number}", failure(Kind.NETWORK)) for number in range(12)]
    assert _refuse(*failures).message.endswith("; and 2 more accounts")
