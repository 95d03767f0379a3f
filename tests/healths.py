"""Accounts that have been through something: signals in, health out, time by argument."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from hypothesis import strategies as st

from core.failures import Failure, Kind
from core.health import (
    Answered,
    Disabled,
    Enabled,
    Failed,
    Health,
    HealthPolicy,
    Recovered,
    Released,
    Signal,
    Taken,
    TokenSeen,
    Turn,
    next_turn,
    step,
)
from core.times import Epoch

NOW = Epoch(1_700_000_000.0)  # Tuesday, 14 November 2023, 22:13:20 UTC
POLICY = HealthPolicy()
FRESH = Health(provider_id="a")
BLAMELESS = (Kind.OVERLOAD, Kind.NO_SUCH_MODEL, Kind.NOT_ALLOWED, Kind.ANSWER, Kind.TOO_LONG, Kind.CLIENT)
PROMISED: dict[str, type] = {
    "providerId": str,
    "originalProviderId": str,
    "accountIndex": int,
    "totalAccounts": int,
    "isHealthy": bool,
    "consecutiveErrors": int,
    "errorHistory": list,
    "totalRequests": int,
    "successCount": int,
    "failureCount": int,
    "authFailureCount": int,
    "rateLimitFailureCount": int,
    "networkFailureCount": int,
    "inCooldown": bool,
    "isPermanentlyBlacklisted": bool,
    "isTemporarilyBlacklisted": bool,
    "temporaryBackoffLevel": int,
}
"""What is shown of an account's health, with its types. There is more."""


def failure(kind: Kind, message: str = "why", **members: Any) -> Failure:
    """A failure of that kind."""
    return Failure(kind=kind, message=message, **members)


def tell(health: Health, *signals: Signal, now: Epoch = NOW, policy: HealthPolicy = POLICY) -> Health:
    """The account after these signals, one after the other at one moment."""
    for signal in signals:
        health = step(health, signal, now=now, policy=policy)
    return health


def take(health: Health) -> tuple[Health, Turn]:
    """The account, chosen for a request, and that request's turn."""
    return tell(health, Taken()), next_turn(health)


def fail(
    health: Health,
    kind: Kind,
    *,
    now: Epoch = NOW,
    policy: HealthPolicy = POLICY,
    by: str | None = None,
    **members: Any,
) -> Health:
    """The account after a turn that began and failed at that moment. `by` is the refused token's fingerprint."""
    taken, turn = take(health)
    return tell(taken, Failed(turn, failure(kind, **members), by), Released(turn), now=now, policy=policy)


def succeed(health: Health, *, now: Epoch = NOW) -> Health:
    """The account after a turn that began and succeeded at that moment."""
    taken, turn = take(health)
    return tell(taken, Answered(turn), Released(turn), now=now)


# --- what may happen to an account -----------------------------------------------------------------------------

Event: TypeAlias = tuple[str, int, Any]

_FAILURES = st.builds(
    Failure,
    kind=st.sampled_from(Kind),
    message=st.sampled_from(["why", "why not", "x" * 2000]),
    retry_after=st.sampled_from([None, None, 0.0, 30.0, 1e9]),
    is_daily=st.booleans(),
)
_SECONDS = st.sampled_from([0.0, 0.001, 1.0, 59.9, 60.0, 61.0, 299.0, 301.0, 3600.0, 86_400.0, 86_401.0, 3e6])

EVENTS: st.SearchStrategy[list[Event]] = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 5), st.none()),
        st.tuples(st.just("fail"), st.integers(0, 50), _FAILURES),
        st.tuples(st.just("fail"), st.integers(0, 50), _FAILURES),
        st.tuples(st.just("answer"), st.integers(0, 50), st.none()),
        st.tuples(st.just("release"), st.integers(0, 50), st.none()),
        st.tuples(st.just("wait"), st.just(0), _SECONDS | _SECONDS.map(lambda seconds: -seconds)),
        st.tuples(st.just("token"), st.integers(0, 3), st.none()),
        st.tuples(st.sampled_from(["recover", "disable", "enable"]), st.just(0), st.none()),
    ),
    max_size=40,
)
"""What happens, each with a number that says to which turn or with which token, and what more is needed."""

_BY_PERSON: dict[str, Signal] = {"recover": Recovered(), "disable": Disabled(), "enable": Enabled()}


class Life:
    """An account, the turns that are under way, and the moment it is in."""

    def __init__(self, health: Health = FRESH, now: Epoch = NOW, policy: HealthPolicy = POLICY) -> None:
        self.health = health
        self.now = now
        self.policy = policy
        self.turns: list[Turn] = []

    def go_on(self, events: Sequence[Event]) -> Iterator[tuple[Health, Signal, Health]]:
        """The account's health before and after each signal."""
        for event in events:
            for signal in self._signals(event):
                before = self.health
                self.health = tell(before, signal, now=self.now, policy=self.policy)
                yield before, signal, self.health

    def live(self, events: Sequence[Event]) -> Health:
        """The account after all of it."""
        for _ in self.go_on(events):
            pass
        return self.health

    def _signals(self, event: Event) -> Iterator[Signal]:
        name, number, more = event
        match name:
            case "wait":
                self.now += more
            case "take":
                for _ in range(number):
                    self.turns.append(next_turn(self.health))
                    yield Taken()
            case "token":
                yield TokenSeen(f"token-{number}")
            case "recover" | "disable" | "enable":
                yield _BY_PERSON[name]
            case _ if not self.turns:
                pass
            case "fail":
                refused = f"token-{number % 3}" if more.kind is Kind.AUTHENTICATION else None
                yield Failed(self.turns[number % len(self.turns)], more, refused)
            case "answer":
                yield Answered(self.turns[number % len(self.turns)])
            case "release":
                yield Released(self.turns.pop(number % len(self.turns)))


def lived(events: Sequence[Event], health: Health = FRESH, now: Epoch = NOW) -> Health:
    """An account after all that."""
    return Life(health, now).live(events)
