"""Accounts' health on paper: what is written down of it, what becomes of it when two processes write, what is shown.

What is written outlives the process and may be read by another one, so it has dates only, and nothing of the turns
that are under way. What health means is in `health`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from core.errors import StagewhisperError
from core.health import MAX_ERRORS, MAX_LEVEL, Health, PastError, Standing, availability, next_wakeup
from core.selection import Cursor, Provider
from core.times import Epoch, render_date


class LedgerError(StagewhisperError):
    """What was written down of an account cannot be read. One line, without any of it."""


def key_of(provider: Provider) -> str:
    """What an account's health is written under. With another token file it is another account."""
    return f"account:{provider.id}:{provider.token_file}"


def encode_health(health: Health) -> bytes:
    """What is written down of it."""
    return msgspec.json.encode(_settled(health))


def _settled(health: Health) -> Health:
    return msgspec.structs.replace(health, era=0, pardoned=0, turns=0, trial=None, is_answering=False)


_decoder = msgspec.json.Decoder(Health)


def parse_health(data: bytes) -> Health:
    """What was written down.

    Raises:
        LedgerError: it was not written by `encode_health`.
    """
    try:
        health = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable("an account's health", error) from None
    members = (health.cause, health.since, health.until, health.look_at)
    if tuple(member is not None for member in members) != _MEMBERS.get(health.standing, (True,) * 4):
        raise LedgerError(f"expected the cause and the dates of an account that is {health.standing.value}, got others")
    if not all(text.isprintable() for text in (health.problem, *(past.error for past in health.errors))):
        raise LedgerError("expected errors of one line each, got others")
    if health.total_requests != health.success_count + health.failure_count:
        raise LedgerError("expected as many requests as successes and failures, got another number")
    return _settled(msgspec.structs.replace(health, errors=health.errors[-MAX_ERRORS:]))


_MEMBERS = {Standing.HEALTHY: (False, False, False, False), Standing.PERMANENT: (True, True, False, False)}
"""Which of cause, since, until and look_at there are; all, where nothing is said."""


def _unreadable(what: str, error: Exception) -> LedgerError:
    # The decoder's own words quote what it read; the path at their end has members' names only.
    _, at, place = str(error).rpartition(" - at ")
    return LedgerError(f"expected {what}, got something else{at and f' at {place}'}")


def encode_cursor(cursor: Cursor) -> bytes:
    """What is written down of where the rotations stand."""
    return msgspec.json.encode(cursor)


def parse_cursor(data: bytes) -> Cursor:
    """What was written down.

    Raises:
        LedgerError: it was not written by `encode_cursor`.
    """
    try:
        return msgspec.json.decode(data, type=Cursor)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable("where the rotations stand", error) from None


def must_last(health: Health) -> object:
    """What of an account's health no crash may lose: what a person did, or has to do something about."""
    return health.standing is Standing.PERMANENT, health.rejected, health.is_disabled


# --- two processes, one account --------------------------------------------------------------------------------

_COUNTERS = (
    "total_requests",
    "success_count",
    "failure_count",
    "auth_failure_count",
    "rate_limit_failure_count",
    "network_failure_count",
)


def merge_health(base: Health, mine: Health, theirs: Health) -> Health:
    """An account's health in a process that had `mine` when another wrote `theirs`; both began with `base`.

    Counts add up. A standing that only one of them changed is taken over, so that nothing which a person did is undone
    by a count; of two that changed it the graver one, for it is the one that costs a request to find out again.
    """
    added = Counter(mine.errors) - Counter(base.errors)
    errors = tuple(sorted([*theirs.errors, *added.elements()], key=_when)) if added else theirs.errors
    merged = msgspec.structs.replace(
        mine,
        **{name: max(0, _sum(base, mine, theirs, name)) for name in _COUNTERS},
        errors=errors[-MAX_ERRORS:],
        is_disabled=_changed(base, mine, theirs, "is_disabled"),
    )
    if _entry(theirs) == _entry(mine):
        return msgspec.structs.replace(
            merged,
            problem=_changed(base, mine, theirs, "problem"),
            rejected=_changed(base, mine, theirs, "rejected"),
            level=min(MAX_LEVEL, max(0, _sum(base, mine, theirs, "level"))),
            consecutive_errors=max(0, _sum(base, mine, theirs, "consecutive_errors")),
        )
    keeps_mine = _entry(mine) != _entry(base) and _weight(mine) >= _weight(theirs)
    if _entry(theirs) == _entry(base) or keeps_mine:
        return merged
    era = mine.era + 1
    pardoned = era if theirs.standing.gravity < mine.standing.gravity else mine.pardoned
    return msgspec.structs.replace(
        merged, **_standing(theirs), era=era, pardoned=pardoned, trial=None, is_answering=False
    )


def merge_cursor(base: Cursor, mine: Cursor, theirs: Cursor) -> Cursor:
    """What is kept of the rotations in a process that had `mine` when another wrote `theirs`.

    The positions are anybody's, for each process deals from its own (`join_cursor`): where two would share one, they
    could fall into step, and the same account would be everybody's.
    """
    kept = theirs if mine == base else mine
    return msgspec.structs.replace(kept, last_resort=_later(mine.last_resort, theirs.last_resort))


def join_cursor(own: Cursor, kept: Cursor) -> Cursor:
    """Where a process's own rotations stand, with the last resort of whoever was the last to need one."""
    return msgspec.structs.replace(own, last_resort=_later(own.last_resort, kept.last_resort))


def _later(one: Epoch | None, other: Epoch | None) -> Epoch | None:
    return max((date for date in (one, other) if date is not None), default=None)


def _sum(base: Health, mine: Health, theirs: Health, name: str) -> int:
    total: int = getattr(theirs, name) + getattr(mine, name) - getattr(base, name)
    return total


def _changed(base: Health, mine: Health, theirs: Health, name: str) -> Any:
    """The member as whoever changed it has it."""
    return getattr(theirs if getattr(mine, name) == getattr(base, name) else mine, name)


def _when(error: PastError) -> Epoch:
    return error.timestamp


def _entry(health: Health) -> tuple[object, ...]:
    """What tells one standing from the next. Each begins at a date of its own."""
    return health.standing, health.cause, health.since, health.until


def _weight(health: Health) -> tuple[float, ...]:
    """By gravity, then the later end, then the later beginning: whoever compares, it is the same one that stays."""
    dates = (health.until, health.since)
    return health.standing.gravity, *(0.0 if date is None else date.seconds for date in dates)


def _standing(health: Health) -> dict[str, Any]:
    names = ("standing", "cause", "problem", "since", "until", "look_at", "rejected", "level", "consecutive_errors")
    return {name: getattr(health, name) for name in names}


# --- what is shown ---------------------------------------------------------------------------------------------


_DISABLED = "disabled"
STATES = (*(standing.value for standing in Standing), _DISABLED)
"""The states that an account may be shown in."""


def state_of(health: Health, now: Epoch) -> str:
    """The account's state in one word, which is one of `STATES`."""
    if health.is_disabled:
        return _DISABLED
    return health.standing.value if _holds(health, now) else Standing.HEALTHY.value


def _holds(health: Health, now: Epoch) -> bool:
    """Whether its standing still keeps it from its ordinary turns. Being degraded ends by itself."""
    return health.standing is not Standing.DEGRADED or next_wakeup(health, now) is not None


def is_told(before: Health, after: Health) -> bool:
    """Whether a change is worth a line in the log: what the account may be used for, not what is counted."""
    return (before.standing, before.is_disabled, before.until) != (after.standing, after.is_disabled, after.until)


def describe(health: Health, now: Epoch) -> str:
    """The account's state in a few words of one line, for the log: since when it need not say, until when it does."""
    state = state_of(health, now)
    if state == Standing.HEALTHY.value:
        return state
    words = state.replace("_", " ")
    if health.is_disabled:
        return f"{words} (stagewhisper accounts enable {health.provider_id})"
    if health.standing is Standing.PERMANENT:
        return f"{words}: sign in again, or run: stagewhisper accounts recover {health.provider_id}"
    return words if health.until is None else f"{words} until {render_date(health.until)}"


def render_health(provider: Provider, health: Health, now: Epoch) -> dict[str, object]:
    """An account's state as JSON, for whoever watches it. Dates are ISO 8601, null where there are none."""
    state = state_of(health, now)
    back = health.until if state != Standing.HEALTHY.value else None
    return {
        "providerId": provider.id,
        "originalProviderId": provider.original_provider_id,
        "accountIndex": provider.account_index,
        "totalAccounts": provider.total_accounts,
        "state": state,
        "isHealthy": state == Standing.HEALTHY.value,
        "isUsable": availability(health, now).is_usable,
        "isDisabled": health.is_disabled,
        "isDegraded": state == Standing.DEGRADED.value,
        "inCooldown": health.standing is Standing.COOLDOWN,
        "isTemporarilyBlacklisted": health.standing is Standing.TEMPORARY,
        "isPermanentlyBlacklisted": health.standing is Standing.PERMANENT,
        "temporaryBackoffLevel": health.level,
        "cause": health.cause.value if health.cause is not None and state != Standing.HEALTHY.value else None,
        "since": _date(health.since if state != Standing.HEALTHY.value else None),
        "expectedBack": _date(back),
        "nextTry": _date(next_wakeup(health, now)),
        "consecutiveErrors": health.consecutive_errors,
        "errorHistory": [{"timestamp": render_date(past.timestamp), "error": past.error} for past in health.errors],
        "totalRequests": health.total_requests,
        "successCount": health.success_count,
        "failureCount": health.failure_count,
        "authFailureCount": health.auth_failure_count,
        "rateLimitFailureCount": health.rate_limit_failure_count,
        "networkFailureCount": health.network_failure_count,
    }


def _date(date: Epoch | None) -> str | None:
    return None if date is None else render_date(date)
