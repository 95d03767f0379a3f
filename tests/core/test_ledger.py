"""Accounts' health as it is written down and read again, and as it is shown."""

import math
from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.failures import Kind
from core.health import Disabled, Health, PastError, Standing, Taken
from core.ledger import (
    STATES,
    LedgerError,
    encode_cursor,
    encode_health,
    key_of,
    must_last,
    parse_cursor,
    parse_health,
    render_health,
    state_of,
)
from core.selection import Cursor, Provider
from core.times import Epoch
from tests.healths import EVENTS, FRESH, NOW, PROMISED, Event, fail, lived, succeed, tell

PROVIDER = Provider(
    id="team-account2", token_file="/b.json", original_provider_id="team", account_index=1, total_accounts=2
)


def test_another_token_file_is_another_account() -> None:
    assert key_of(PROVIDER) == "account:team-account2:/b.json"
    assert key_of(msgspec.structs.replace(PROVIDER, token_file="/c.json")) != key_of(PROVIDER)


# --- on paper --------------------------------------------------------------------------------------------------


@given(EVENTS)
@settings(max_examples=300, deadline=None)
def test_what_is_written_is_read_again(events: list[Event]) -> None:
    health = lived(events)
    data = encode_health(health)
    read = parse_health(data)
    assert read == msgspec.structs.replace(health, era=0, pardoned=0, turns=0, trial=None)
    assert encode_health(read) == data


def test_nothing_of_what_is_under_way_is_written() -> None:
    pausing = fail(FRESH, Kind.SERVER)
    assert encode_health(tell(pausing, Taken())) == encode_health(pausing)
    members = msgspec.json.decode(encode_health(tell(pausing, Taken())))
    assert not {"era", "pardoned", "turns", "trial"} & set(members)


def test_what_no_crash_may_lose_is_what_a_person_did_or_has_to_mend() -> None:
    barred = fail(FRESH, Kind.AUTHENTICATION, by="token-1")
    states = [FRESH, barred, fail(barred, Kind.AUTHENTICATION, by="token-2"), tell(FRESH, Disabled())]
    assert len({must_last(health) for health in states}) == len(states)
    for passing in (tell(FRESH, Taken()), succeed(FRESH), *(fail(FRESH, kind) for kind in (Kind.QUOTA, Kind.SERVER))):
        assert must_last(passing) == must_last(FRESH)


def test_an_account_without_a_past_takes_little_room() -> None:
    assert encode_health(FRESH) == b'{"provider_id":"a"}'


_BLACKLISTED: dict[str, Any] = {
    "provider_id": "a",
    "standing": "cooldown",
    "cause": "rate_limit",
    "since": {"seconds": 1.0},
    "until": {"seconds": 2.0},
    "look_at": {"seconds": 2.0},
}


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (b"", "expected an account's health, got something else"),
        (b"\xff\xfe", "expected an account's health, got something else"),
        (b"[" * 100_000, "expected an account's health, got something else"),
        (b'{"provider_id":' + b"[" * 100_000, "expected an account's health, got something else"),
        (b"null", "expected an account's health, got something else"),
        (b"{}", "expected an account's health, got something else"),
        (b'{"provider_id":"a"', "expected an account's health, got something else"),
        (b'{"provider_id":"\xff"}', "expected an account's health, got something else"),
        ({"provider_id": 1}, "got something else at `$.provider_id`"),
        ({"provider_id": "a", "level": -1}, "got something else at `$.level`"),
        ({"provider_id": "a", "level": 33}, "got something else at `$.level`"),
        ({"provider_id": "a", "total_requests": -1}, "got something else at `$.total_requests`"),
        ({"provider_id": "a", "success_count": 1.5}, "got something else at `$.success_count`"),
        (b'{"provider_id":"a","failure_count":1e999}', "got something else at `$.failure_count`"),
        ({"provider_id": "a", "total_requests": 1}, "expected as many requests as successes and failures"),
        ({"provider_id": "a", "standing": "made-up\nline - at x"}, "got something else at `$.standing`"),
        ({"provider_id": "a", "cause": "made-up"}, "got something else at `$.cause`"),
        ({"provider_id": "a", "errors": [{}]}, "got something else at `$.errors[0]`"),
        ({"provider_id": "a", "is_disabled": "yes"}, "got something else at `$.is_disabled`"),
        ({"provider_id": "a", "since": {"seconds": "soon"}}, "got something else at `$.since.seconds`"),
        ({"provider_id": "a", "cause": "quota"}, "the cause and the dates of an account that is healthy"),
        ({"provider_id": "a", "until": {"seconds": 1.0}}, "the cause and the dates of an account that is healthy"),
        ({"provider_id": "a", "standing": "degraded"}, "the cause and the dates of an account that is degraded"),
        ({**_BLACKLISTED, "cause": None}, "the cause and the dates of an account that is cooldown"),
        ({**_BLACKLISTED, "since": None}, "the cause and the dates of an account that is cooldown"),
        ({**_BLACKLISTED, "until": None}, "the cause and the dates of an account that is cooldown"),
        ({**_BLACKLISTED, "look_at": None}, "the cause and the dates of an account that is cooldown"),
        ({**_BLACKLISTED, "standing": "healthy"}, "the cause and the dates of an account that is healthy"),
        ({**_BLACKLISTED, "standing": "permanently_blacklisted"}, "an account that is permanently_blacklisted"),
    ],
)
def test_what_was_not_written_here_is_refused_in_one_line(document: bytes | dict[str, Any], problem: str) -> None:
    data = document if isinstance(document, bytes) else msgspec.json.encode(document)
    with pytest.raises(LedgerError) as caught:
        parse_health(data)
    assert problem in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 150
    assert "made-up" not in str(caught.value)


def test_what_a_later_version_adds_is_no_reason_to_refuse_the_rest() -> None:
    assert parse_health(b'{"provider_id":"a","made_up_later":{"x":[1]}}') == FRESH
    assert parse_health(msgspec.json.encode(_BLACKLISTED)).standing is Standing.COOLDOWN


def test_of_a_history_that_is_too_long_the_last_is_kept() -> None:
    errors = [{"timestamp": {"seconds": float(number)}, "error": f"{number}"} for number in range(500)]
    read = parse_health(msgspec.json.encode({"provider_id": "a", "errors": errors, "turns": 7, "era": 3, "trial": 7}))
    assert [past.error for past in read.errors] == [f"{number}" for number in range(480, 500)]
    assert (read.turns, read.era, read.trial) == (0, 0, None)


@given(EVENTS, st.integers(0, 10_000), st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_whatever_is_damaged_is_read_or_refused(events: list[Event], place: int, byte: int) -> None:
    data = bytearray(encode_health(lived(events)))
    data[place % len(data)] = byte
    try:
        health = parse_health(bytes(data))
    except LedgerError as error:
        problem = str(error)
    else:
        problem = ""
        assert parse_health(encode_health(health)) == health
    assert len(problem.splitlines()) <= 1


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(LedgerError):
        parse_health(data)


@given(
    st.builds(
        Cursor,
        first=st.integers(0, 1000),
        stand_in=st.integers(0, 1000),
        last_resort=st.none() | st.floats(allow_nan=False, allow_infinity=False).map(Epoch),
    )
)
@settings(max_examples=50, deadline=None)
def test_a_cursor_is_read_again(cursor: Cursor) -> None:
    assert parse_cursor(encode_cursor(cursor)) == cursor


@pytest.mark.parametrize("data", [b"", b"\xff", b"[1]", b'{"first":"made-up"}', b'{"first":1e999}', b"[" * 100_000])
def test_a_cursor_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(LedgerError, match="expected where the rotations stand, got something else") as caught:
        parse_cursor(data)
    assert "made-up" not in str(caught.value)


# --- as it is shown --------------------------------------------------------------------------------------------

_LATER = NOW + 100_000.0
_SHOWN = {
    # state, isHealthy, isUsable, isDegraded, inCooldown, isTemporarilyBlacklisted, isPermanentlyBlacklisted
    "healthy": (FRESH, NOW, ("healthy", True, True, False, False, False, False)),
    "degraded": (fail(FRESH, Kind.TIMEOUT), NOW, ("degraded", False, True, True, False, False, False)),
    "degraded, over": (fail(FRESH, Kind.TIMEOUT), _LATER, ("healthy", True, True, False, False, False, False)),
    "temporary": (fail(FRESH, Kind.SERVER), NOW, ("temporarily_blacklisted", False, False, False, False, True, False)),
    "temporary, over": (
        fail(FRESH, Kind.SERVER), _LATER, ("temporarily_blacklisted", False, True, False, False, True, False),
    ),
    "cooldown": (fail(FRESH, Kind.RATE_LIMIT), NOW, ("cooldown", False, False, False, True, False, False)),
    "cooldown, over": (fail(FRESH, Kind.RATE_LIMIT), _LATER, ("cooldown", False, True, False, True, False, False)),
    "cooldown, tried": (
        tell(fail(FRESH, Kind.RATE_LIMIT), Taken()), _LATER, ("cooldown", False, False, False, True, False, False),
    ),
    "permanent": (
        fail(FRESH, Kind.AUTHENTICATION), _LATER, ("permanently_blacklisted", False, False, False, False, False, True),
    ),
    "disabled": (tell(FRESH, Disabled()), NOW, ("disabled", False, False, False, False, False, False)),
    "disabled in a cooldown": (
        tell(fail(FRESH, Kind.RATE_LIMIT), Disabled()), NOW, ("disabled", False, False, False, True, False, False),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", _SHOWN)
def test_each_state_is_shown_as_what_it_is(name: str) -> None:
    health, now, expected = _SHOWN[name]
    shown = render_health(PROVIDER, health, now)
    assert state_of(health, now) == expected[0]
    assert expected == (
        shown["state"], shown["isHealthy"], shown["isUsable"], shown["isDegraded"], shown["inCooldown"],
        shown["isTemporarilyBlacklisted"], shown["isPermanentlyBlacklisted"],
    )  # fmt: skip
    assert shown["isDisabled"] is name.startswith("disabled")


_DATES = ("since", "expectedBack", "nextTry")


@given(EVENTS, st.sampled_from([0.0, 1000.0, 1e6, -1e6, 1e18, -1e18]))
@settings(max_examples=200, deadline=None)
def test_all_that_is_promised_of_an_account_is_shown(events: list[Event], seconds: float) -> None:
    health = lived(events)
    shown = render_health(PROVIDER, health, NOW + seconds)
    for member, kind in PROMISED.items():
        assert type(shown[member]) is kind
    assert shown["state"] in STATES
    for member in _DATES:
        assert shown[member] is None or _is_date(shown[member])
    for past in shown["errorHistory"]:  # type: ignore[attr-defined]  # it was just found to be a list
        assert set(past) == {"timestamp", "error"}
        assert _is_date(past["timestamp"])
        assert isinstance(past["error"], str)
    if shown["isHealthy"]:
        assert (shown["cause"], shown["since"], shown["expectedBack"], shown["nextTry"]) == (None,) * 4
    assert msgspec.json.decode(msgspec.json.encode(shown)) == shown


def _is_date(text: object) -> bool:
    return isinstance(text, str) and text.endswith("Z") and not math.isnan(datetime.fromisoformat(text).timestamp())


def test_counts_and_dates_are_the_accounts() -> None:
    health = fail(fail(succeed(FRESH), Kind.RATE_LIMIT, retry_after=172_800.0), Kind.TIMEOUT, now=NOW + 5.0)
    assert render_health(PROVIDER, health, NOW + 5.0) == {
        "providerId": "team-account2",
        "originalProviderId": "team",
        "accountIndex": 1,
        "totalAccounts": 2,
        "state": "cooldown",
        "isHealthy": False,
        "isUsable": False,
        "isDisabled": False,
        "isDegraded": False,
        "inCooldown": True,
        "isTemporarilyBlacklisted": False,
        "isPermanentlyBlacklisted": False,
        "temporaryBackoffLevel": 0,
        "cause": "rate_limit",
        "since": "2023-11-14T22:13:20.000Z",
        "expectedBack": "2023-11-16T22:13:20.000Z",
        "nextTry": "2023-11-15T22:13:20.000Z",
        "consecutiveErrors": 2,
        "errorHistory": [
            {"timestamp": "2023-11-14T22:13:20.000Z", "error": "rate_limit: why"},
            {"timestamp": "2023-11-14T22:13:25.000Z", "error": "timeout: why"},
        ],
        "totalRequests": 3,
        "successCount": 1,
        "failureCount": 2,
        "authFailureCount": 0,
        "rateLimitFailureCount": 1,
        "networkFailureCount": 1,
    }


def test_a_health_is_shown_under_the_name_that_its_account_has_now() -> None:
    assert render_health(PROVIDER, Health(provider_id="formerly"), NOW)["providerId"] == "team-account2"


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[31mred", "a\u2028b"])
def test_what_could_break_a_line_was_not_written_by_us(text: str) -> None:
    health = fail(Health(provider_id="a"), Kind.SERVER)
    assert parse_health(encode_health(health)).problem == health.problem
    problem = msgspec.structs.replace(health, problem=text)
    error = msgspec.structs.replace(health, errors=(PastError(timestamp=NOW, error=text),))
    for damaged in (problem, error):
        with pytest.raises(LedgerError, match="expected errors of one line each"):
            parse_health(encode_health(damaged))
