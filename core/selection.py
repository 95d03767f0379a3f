"""Whose turn it is: round robin over the accounts that may be used now.

Requests' first accounts are dealt in a strict rotation, so that over any window with the same usable accounts their
counts differ by at most one. What takes another account's place after a failure comes from a rotation of its own: it
costs nobody a turn of the first, whatever that request has tried before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from core.health import OF_THE_MOMENT, Availability, Health, Standing, availability, next_wakeup
from core.refusals import Absence
from core.times import Epoch

LAST_RESORT_INTERVAL = 60.0
"""Seconds between two tries of an account that is away, made because no other can be used."""

TRIAL_WAIT = 10.0
"""Seconds after which to ask again while another request finds out whether an account works: most answers begin by
then, and Claude Code, which asks ten times, stays for more than a minute."""


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One account of the service, as one entry of the rotation.

    A configured provider with several accounts becomes several of these (`team-account1`, ...), each of which
    remembers where it came from. `endpoint` and `refresh_url` are None where the service's own addresses for
    the token's region apply; `profile_arn` is None where the token file's applies.
    """

    id: str
    token_file: str
    profile_arn: str | None = None
    endpoint: str | None = None
    refresh_url: str | None = None
    original_provider_id: str
    account_index: int = 0
    total_accounts: int = 1


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """Where both rotations stand, and when an account was last tried although all were away."""

    first: int = 0
    stand_in: int = 0
    last_resort: Epoch | None = None


def choose(
    providers: Sequence[Provider],
    healths: Mapping[str, Health],
    cursor: Cursor,
    excluded: Collection[str],
    now: Epoch,
) -> tuple[Provider | None, Cursor]:
    """The account for a request that has tried the `excluded` ones, and the cursor for the next choice.

    An account that timed out is chosen only when no better one can be used. When none can, one request a minute
    gets the account that is expected back first.
    """
    tried = frozenset(excluded)
    usable = {each.id: availability(healths[each.id], now) for each in providers if each.id not in tried}
    for choices in ((Availability.READY, Availability.TRIAL), (Availability.SECOND_CHOICE,)):
        position = cursor.stand_in if excluded else cursor.first
        for offset in range(len(providers)):
            place = (position + offset) % len(providers)
            if usable.get(providers[place].id) in choices:
                member = "stand_in" if excluded else "first"
                return providers[place], msgspec.structs.replace(cursor, **{member: place + 1})
    return _last_resort(providers, healths, cursor, usable, now)


def _last_resort(
    providers: Sequence[Provider],
    healths: Mapping[str, Health],
    cursor: Cursor,
    usable: Mapping[str, Availability],
    now: Epoch,
) -> tuple[Provider | None, Cursor]:
    if _next_last_resort(cursor, now) > 0:
        return None, cursor
    away = [each for each in providers if usable.get(each.id) is Availability.AWAY]
    if not away:
        return None, cursor
    soonest = min(away, key=lambda each: next_wakeup(healths[each.id], now) or now)
    return soonest, msgspec.structs.replace(cursor, last_resort=now)


def _next_last_resort(cursor: Cursor, now: Epoch) -> float:
    """The seconds until an account that is away may be tried."""
    # A last time in the far future is from before the clock was set back.
    if cursor.last_resort is None or abs(now - cursor.last_resort) >= LAST_RESORT_INTERVAL:
        return 0.0
    return LAST_RESORT_INTERVAL - max(0.0, now - cursor.last_resort)


def absences(
    providers: Sequence[Provider], healths: Mapping[str, Health], cursor: Cursor, now: Epoch
) -> tuple[Absence, ...]:
    """Why each of the accounts that cannot be used cannot, and when a request may try it again.

    After what went wrong with one request, and may be over with the next, that is already as a last resort: so a
    single account that failed once does not keep its client waiting for a minute.
    """
    found = []
    for provider in providers:
        health = healths[provider.id]
        if availability(health, now).is_usable:
            continue
        wakeup = next_wakeup(health, now)
        # When another request's trial ends nobody knows; at the latest there is the last resort.
        back_in = min(TRIAL_WAIT, _next_last_resort(cursor, now)) if wakeup is None else wakeup - now
        if health.cause in OF_THE_MOMENT and back_in <= LAST_RESORT_INTERVAL:
            back_in = min(back_in, _next_last_resort(cursor, now))
        is_away = not health.is_disabled and health.standing is not Standing.PERMANENT
        back_at = now + back_in
        found.append(
            Absence(
                provider_id=provider.id,
                kind=None if health.is_disabled else health.cause,
                problem=health.problem,
                back_in=back_in if is_away else None,
                back_at=back_at if is_away else None,
                expected_at=health.until if is_away and health.until is not None and health.until > back_at else None,
            )
        )
    return tuple(found)
