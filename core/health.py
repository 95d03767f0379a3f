"""The machine of one account: what its successes and failures mean for whether it may be used.

`step` takes a signal and gives the account's next state; nothing else changes one. How long an account is left alone
is a date, so that it holds across a restart; `availability` reads it against the present one, and no timer has to
fire for an account to come back. Whose turn it is among several accounts is for `selection`.

Each turn of an account carries the era in which it began, and an era ends when the account is taken out of use or put
back by a person. So what a late answer says is told from news: a success that began before a cooldown does not end it,
and of a hundred requests that one breakdown fails only the first makes the next pause longer.
"""

from __future__ import annotations

import enum
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeAlias, assert_never

import msgspec

from core.failures import Failure, Kind
from core.times import Epoch

DAY = 86_400.0
"""In seconds. However long a cooldown is, one request a day finds out whether it still holds."""

DEGRADED_TIME = 300.0
"""Seconds for which an account that timed out is used only when nothing better is there."""

MAX_ERRORS = 20
"""How many errors an account's history holds; the last ones."""

MAX_LEVEL = 32
"""By far enough for every base to reach every cap, and 2.0**32 is no infinity."""

_LONGEST = 31 * DAY
_LONGEST_ERROR = 600
_CLOCK_SLACK = 60.0  # seconds by which clocks are put right, or differ between machines that share an account


class HealthPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long an account is left alone. All durations are in seconds."""

    rate_limit_cooldown: float = 3600.0
    backoff_base: float = 60.0
    backoff_cap: float = 3600.0


# --- states ----------------------------------------------------------------------------------------------------


class Standing(enum.Enum):
    """What is known of an account. The order is that of gravity: what is later here outweighs what is earlier."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    TEMPORARY = "temporarily_blacklisted"
    COOLDOWN = "cooldown"
    PERMANENT = "permanently_blacklisted"

    @property
    def gravity(self) -> int:
        """Its place in that order."""
        return _GRAVITY[self]


_GRAVITY = {standing: gravity for gravity, standing in enumerate(Standing)}


class PastError(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of an account's history. `error` is one line without secrets, of at most some 500 characters."""

    timestamp: Epoch
    error: str


_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class Health(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state of one account. Dates are Epochs, for all of it but the last five members is written down.

    `cause` and `problem` are the failure that led to the present standing, `until` when the account is expected
    back, `look_at` when one request may try it; both None where neither date is known. `rejected` is the fingerprint
    of the token that an account is permanently blacklisted for.
    """

    provider_id: str
    standing: Standing = Standing.HEALTHY
    cause: Kind | None = None
    problem: str = ""
    since: Epoch | None = None
    until: Epoch | None = None
    look_at: Epoch | None = None
    rejected: str | None = None
    is_disabled: bool = False
    level: Annotated[int, msgspec.Meta(ge=0, le=MAX_LEVEL)] = 0
    consecutive_errors: _Count = 0
    errors: tuple[PastError, ...] = ()
    total_requests: _Count = 0
    success_count: _Count = 0
    failure_count: _Count = 0
    auth_failure_count: _Count = 0
    rate_limit_failure_count: _Count = 0
    network_failure_count: _Count = 0
    era: int = 0
    pardoned: int = 0
    """The era that began when a person put the account back: earlier turns know nothing of it."""
    turns: int = 0
    """How many turns were taken in this process; the last one's number."""
    trial: int | None = None
    """The number of the turn that finds out whether the account works again."""
    is_answering: bool = False
    """Whether the service has begun to answer that turn."""


class Availability(enum.Enum):
    """Whether an account may be used now."""

    READY = "ready"
    SECOND_CHOICE = "second choice"
    TRIAL = "trial"
    """By one request, which finds out."""
    AWAY = "away"
    """Later it may."""
    OUT = "out"
    """Not until a person does something."""

    @property
    def is_usable(self) -> bool:
        """Whether some request may use it now."""
        return self is not Availability.AWAY and self is not Availability.OUT


def availability(health: Health, now: Epoch) -> Availability:
    """Whether the account may be used at that date."""
    if health.is_disabled:
        return Availability.OUT
    match health.standing:
        case Standing.HEALTHY:
            return Availability.READY
        case Standing.DEGRADED:
            return Availability.READY if next_wakeup(health, now) is None else Availability.SECOND_CHOICE
        case Standing.TEMPORARY | Standing.COOLDOWN:
            if health.is_answering:
                return Availability.SECOND_CHOICE  # a good sign, and no more than that
            if next_wakeup(health, now) is not None or health.trial is not None:
                return Availability.AWAY
            return Availability.TRIAL
        case Standing.PERMANENT:
            return Availability.OUT
        case _:
            assert_never(health.standing)


def next_wakeup(health: Health, now: Epoch) -> Epoch | None:
    """When the account's availability changes by itself; None if it does not.

    A clock that was set back must not keep an account away for much longer than was meant: where more is left of a
    pause than the whole of it was, or more than a day, its dates are from before the change and say nothing.
    """
    return None if health.is_disabled else _look_at(health, now)


def _look_at(health: Health, now: Epoch) -> Epoch | None:
    if health.since is None or health.look_at is None:
        return None
    longest = min(DAY, health.look_at - health.since) + _CLOCK_SLACK
    return health.look_at if 0 < health.look_at - now <= longest else None


# --- signals ---------------------------------------------------------------------------------------------------


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One request's use of an account, from its choice to the end of its last attempt there."""

    provider_id: str
    era: int
    number: int


class Taken(msgspec.Struct, frozen=True):
    """The account was chosen for a request; its turn is `next_turn`, read before this."""


class Began(msgspec.Struct, frozen=True):
    """The service has begun to answer an attempt."""

    turn: Turn


class Answered(msgspec.Struct, frozen=True):
    """An attempt gave a whole answer."""

    turn: Turn


class Failed(msgspec.Struct, frozen=True):
    """An attempt failed. Where its token was refused, `fingerprint` is that token's.

    `present` is that of the token which its file has by now; None where that is not known.
    """

    turn: Turn
    failure: Failure
    fingerprint: str | None = None
    present: str | None = None


class Released(msgspec.Struct, frozen=True):
    """A turn is over, and keeps nobody else from trying the account any more."""

    turn: Turn


class TokenSeen(msgspec.Struct, frozen=True):
    """What the account's token file has now."""

    fingerprint: str


class Recovered(msgspec.Struct, frozen=True):
    """A person says that the account is to be used again."""


class Disabled(msgspec.Struct, frozen=True):
    """A person takes the account out of use."""


class Enabled(msgspec.Struct, frozen=True):
    """A person puts the account back into use, with the standing that it has."""


Signal: TypeAlias = Taken | Began | Answered | Failed | Released | TokenSeen | Recovered | Disabled | Enabled


def next_turn(health: Health) -> Turn:
    """The turn that begins with the next `Taken`."""
    return Turn(provider_id=health.provider_id, era=health.era, number=health.turns + 1)


def step(health: Health, signal: Signal, *, now: Epoch, policy: HealthPolicy) -> Health:
    """The account's state after a signal. Total: every signal has a meaning in every state."""
    match signal:
        case Taken():
            number = health.turns + 1
            # A last resort while a trial is under way takes nothing from it: that one's end is still awaited.
            is_trial = health.standing in (Standing.TEMPORARY, Standing.COOLDOWN) and health.trial is None
            return msgspec.structs.replace(health, turns=number, trial=number if is_trial else health.trial)
        case Began(turn):
            return msgspec.structs.replace(health, is_answering=True) if turn.number == health.trial else health
        case Answered(turn):
            return _answered(health, turn)
        case Failed():
            return _failed(health, signal, now, policy)
        case Released(turn):
            is_trial = turn.number == health.trial
            return msgspec.structs.replace(health, trial=None, is_answering=False) if is_trial else health
        case TokenSeen(fingerprint):
            return _seen(health, fingerprint)
        case Recovered():
            return msgspec.structs.replace(_renew(health), level=0, pardoned=health.era + 1)
        case Disabled():
            return msgspec.structs.replace(health, is_disabled=True)
        case Enabled():
            return msgspec.structs.replace(health, is_disabled=False)
        case _:
            assert_never(signal)


def _back(health: Health) -> Health:
    return msgspec.structs.replace(
        health,
        standing=Standing.HEALTHY, cause=None, problem="", since=None, until=None, look_at=None, rejected=None,
        trial=None, is_answering=False,
    )  # fmt: skip


def _renew(health: Health) -> Health:
    return msgspec.structs.replace(_back(health), era=health.era + 1, consecutive_errors=0)


def _answered(health: Health, turn: Turn) -> Health:
    counts = {"total_requests": health.total_requests + 1, "success_count": health.success_count + 1}
    health = msgspec.structs.replace(health, **counts)
    if turn.era != health.era or health.standing is Standing.PERMANENT:
        return health
    return msgspec.structs.replace(_back(health), level=max(0, health.level - 1), consecutive_errors=0)


def _seen(health: Health, fingerprint: str) -> Health:
    if health.standing is Standing.PERMANENT:
        if health.rejected is None:
            return msgspec.structs.replace(health, rejected=fingerprint)
        changed = fingerprint != health.rejected
    else:
        changed = health.cause is Kind.TOKEN_FILE
    return _renew(health) if changed else health


# --- what a failure means --------------------------------------------------------------------------------------

_CONSEQUENCES = {
    Kind.AUTHENTICATION: Standing.PERMANENT,
    Kind.RATE_LIMIT: Standing.COOLDOWN,
    Kind.QUOTA: Standing.COOLDOWN,
    Kind.SUSPENDED: Standing.TEMPORARY,
    Kind.SERVER: Standing.TEMPORARY,
    Kind.TOKEN_FILE: Standing.TEMPORARY,
    Kind.TIMEOUT: Standing.DEGRADED,
    Kind.NETWORK: Standing.DEGRADED,
    # Nobody's fault, or not the account's: its health does not hear of these.
    Kind.OVERLOAD: None,
    Kind.NO_SUCH_MODEL: None,
    Kind.NOT_ALLOWED: None,
    Kind.ANSWER: None,
    Kind.TOO_LONG: None,
    Kind.CLIENT: None,
}

OF_THE_MOMENT = {Kind.SERVER, Kind.TOKEN_FILE, Kind.TIMEOUT, Kind.NETWORK}
"""Kinds that say what went wrong with one request; the others say what the account is."""

_COUNTERS = {
    Kind.AUTHENTICATION: "auth_failure_count",
    Kind.RATE_LIMIT: "rate_limit_failure_count",
    Kind.QUOTA: "rate_limit_failure_count",
    Kind.NETWORK: "network_failure_count",
    Kind.TIMEOUT: "network_failure_count",
}


def _failed(health: Health, failed: Failed, now: Epoch, policy: HealthPolicy) -> Health:
    failure = failed.failure
    consequence = _CONSEQUENCES[failure.kind]
    if consequence is None:
        return health
    health = _count(health, failure, now)
    if failure.kind is Kind.NETWORK and health.consecutive_errors < 2:
        return health  # one cut connection says nothing; one that the retry met again does
    until = _until(health, failure, now, policy)
    if not _is_news(health, failed, consequence, until, now):
        return health
    if health.standing is Standing.PERMANENT:
        return msgspec.structs.replace(health, rejected=failed.fingerprint)
    entered = msgspec.structs.replace(
        health,
        standing=consequence,
        cause=failure.kind,
        problem=failure.message[:_LONGEST_ERROR],
        since=now,
        until=until,
        look_at=None if until is None else min(until, now + DAY),
        rejected=failed.fingerprint,
        trial=None,
        is_answering=False,
    )
    if consequence is Standing.DEGRADED:
        return entered  # it stays in use, so its turns go on
    # Once the cap is reached the level stays, so that the next success already makes the next pause shorter.
    is_capped = policy.backoff_base * 2.0**health.level >= policy.backoff_cap
    grows = failure.kind in (Kind.SERVER, Kind.TOKEN_FILE) and not is_capped
    level = min(MAX_LEVEL, health.level + 1) if grows else health.level
    return msgspec.structs.replace(entered, era=health.era + 1, level=level)


def _count(health: Health, failure: Failure, now: Epoch) -> Health:
    changes = {"total_requests": health.total_requests + 1, "failure_count": health.failure_count + 1}
    if (counter := _COUNTERS.get(failure.kind)) is not None:
        changes[counter] = getattr(health, counter) + 1
    error = PastError(timestamp=now, error=f"{failure.kind.value}: {failure.message}"[:_LONGEST_ERROR])
    return msgspec.structs.replace(
        health,
        consecutive_errors=health.consecutive_errors + 1,
        errors=(*health.errors[1 - MAX_ERRORS :], error),
        **changes,
    )


def _until(health: Health, failure: Failure, now: Epoch, policy: HealthPolicy) -> Epoch | None:
    """When an account with such a failure is expected back; None if only a person can bring it back."""
    asked = failure.retry_after
    match failure.kind:
        case Kind.RATE_LIMIT:
            return now + min(_LONGEST, policy.rate_limit_cooldown if asked is None else max(1.0, asked))
        case Kind.QUOTA:
            return _next_reset(failure, now)
        case Kind.SUSPENDED:
            return now + policy.backoff_cap
        case Kind.TIMEOUT | Kind.NETWORK:
            return now + DEGRADED_TIME
        case Kind.AUTHENTICATION:
            return None
        case _:
            pause = max(policy.backoff_base * 2.0**health.level, asked or 0.0)
            return now + min(policy.backoff_cap, pause)


def _next_reset(failure: Failure, now: Epoch) -> Epoch:
    """The next UTC midnight for a daily quota, else the first of the next month."""
    seconds = min(max(0.0, now.seconds), 253_370_764_800.0)  # up to the year 9999, whatever a wrong clock says
    moment = datetime.fromtimestamp(seconds, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    next_month = (moment.replace(day=1) + timedelta(days=32)).replace(day=1)
    return Epoch((moment + timedelta(days=1) if failure.is_daily else next_month).timestamp())


def _is_news(health: Health, failed: Failed, consequence: Standing, until: Epoch | None, now: Epoch) -> bool:
    """Whether a failure changes the standing, or says only what is known or was before."""
    turn, failure = failed.turn, failed.failure
    if turn.era < health.pardoned:
        return False
    if failed.fingerprint is not None:
        # It is the token that was judged: the present one is, whenever the turn began, and of an older one that says
        # nothing. Else requests that refresh the tokens of a barred account would put it back for each other.
        return failed.present in (None, failed.fingerprint)
    if health.standing is Standing.PERMANENT:
        return False
    is_late = turn.era != health.era
    is_early = health.standing in (Standing.TEMPORARY, Standing.COOLDOWN) and _look_at(health, now) is not None
    if not is_late and not is_early:
        return True
    if is_late and failure.kind in OF_THE_MOMENT:
        return False
    if consequence is not health.standing:
        return consequence.gravity > health.standing.gravity
    if failure.kind is not health.cause or failure.kind is Kind.QUOTA:
        return until is not None and health.until is not None and until > health.until
    # Tried before its time in vain: nothing changes, unless the service now says itself how long it takes.
    return is_early and not is_late and failure.kind is Kind.RATE_LIMIT and failure.retry_after is not None
