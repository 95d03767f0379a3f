"""Hundreds of requests on a dozen accounts that fail, pause, come back and are taken out of use, as time moves."""

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from core.failures import Kind
from core.health import (
    Answered,
    Availability,
    Disabled,
    Enabled,
    Failed,
    Health,
    Recovered,
    Released,
    Standing,
    Taken,
    TokenSeen,
    Turn,
    availability,
    next_turn,
    next_wakeup,
    step,
)
from core.selection import Cursor, Provider, absences, choose
from tests.healths import NOW, POLICY, failure

_BEST = (Availability.READY, Availability.TRIAL)
_KINDS = st.sampled_from([*Kind, Kind.SERVER, Kind.TIMEOUT, Kind.RATE_LIMIT])
_WAITS = st.sampled_from([None, 0.0, 5.0, 30.0, 1e9])
_LONGEST_WINDOW = 40


class _Request:
    """A client's request, the accounts that it has tried, and the turn that it has."""

    def __init__(self) -> None:
        self.tried: list[str] = []
        self.turn: Turn | None = None
        self.is_trial = False


class Gateway(RuleBasedStateMachine):
    """All rules of the choice are checked with each choice."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.cursor = Cursor()
        self.providers: list[Provider] = []
        self.healths: dict[str, Health] = {}
        self.requests: list[_Request] = []
        self.window: list[str] = []
        self.window_of: frozenset[str] = frozenset()

    @initialize(count=st.integers(1, 12))
    def configure(self, count: int) -> None:
        self._configure([f"p{number}" for number in range(count)])

    def _configure(self, names: list[str]) -> None:
        self.providers = [Provider(id=name, token_file=f"/{name}", original_provider_id=name) for name in names]
        self.healths = {name: self.healths.get(name, Health(provider_id=name)) for name in names}
        self.requests = [each for each in self.requests if each.turn and each.turn.provider_id in self.healths]
        self.window = []

    def _signal(self, name: str, signal: Any) -> None:
        self.healths[name] = step(self.healths[name], signal, now=self.now, policy=POLICY)

    # --- a choice, and what must hold of it --------------------------------------------------------------------

    def _choose(self, request: _Request) -> None:
        if request.turn is not None:
            self._signal(request.turn.provider_id, Released(request.turn))
            request.turn = None
        before = self.cursor
        known = {name: availability(health, self.now) for name, health in self.healths.items()}
        free = {name: state for name, state in known.items() if name not in request.tried}
        provider, self.cursor = choose(self.providers, self.healths, before, request.tried, self.now)
        eligible = [name for name, state in free.items() if state in _BEST]
        eligible = eligible or [name for name, state in free.items() if state is Availability.SECOND_CHOICE]
        if provider is None:
            assert not eligible
            assert self.cursor == before
            is_too_soon = before.last_resort is not None and abs(self.now - before.last_resort) < 60.0
            assert is_too_soon or Availability.AWAY not in free.values()
            told = {absence.provider_id for absence in absences(self.providers, self.healths, self.cursor, self.now)}
            assert set(self.healths) - told <= set(request.tried)
            return
        if eligible:
            assert provider.id in eligible
            assert self.cursor.last_resort == before.last_resort
            if request.tried:
                assert self.cursor.first == before.first
            else:
                assert self.cursor.stand_in == before.stand_in
                self._count(provider.id, frozenset(eligible))
        else:
            self._check_last_resort(provider.id, before, free)
        request.is_trial = known[provider.id] is Availability.TRIAL
        request.turn = next_turn(self.healths[provider.id])
        self._signal(provider.id, Taken())
        self.requests.append(request)

    def _count(self, name: str, eligible: frozenset[str]) -> None:
        if eligible != self.window_of:
            self.window, self.window_of = [], eligible
        self.window = [*self.window, name][-_LONGEST_WINDOW:]
        for start in range(len(self.window)):
            counts = Counter(self.window[start:])
            assert max(counts[each] for each in eligible) - min(counts[each] for each in eligible) <= 1

    def _check_last_resort(self, name: str, before: Cursor, free: dict[str, Availability]) -> None:
        assert free[name] is Availability.AWAY
        assert self.healths[name].standing is not Standing.PERMANENT
        assert not self.healths[name].is_disabled
        assert before.last_resort is None or abs(self.now - before.last_resort) >= 60.0
        assert self.cursor == Cursor(first=before.first, stand_in=before.stand_in, last_resort=self.now)
        away = [each for each, state in free.items() if state is Availability.AWAY]
        wakeups = {each: next_wakeup(self.healths[each], self.now) or self.now for each in away}
        assert wakeups[name] == min(wakeups.values())

    # --- what happens ------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 60))
    def begin(self, count: int) -> None:
        for _ in range(count):
            self._choose(_Request())

    def _pick(self, number: int, count: int) -> list[_Request]:
        return [self.requests.pop(number % len(self.requests)) for _ in range(min(count, len(self.requests)))]

    @rule(number=st.integers(0, 300), count=st.integers(1, 60), kind=_KINDS, wait=_WAITS, is_daily=st.booleans())
    def fail(self, number: int, count: int, kind: Kind, wait: float | None, is_daily: bool) -> None:
        for request in self._pick(number, count):
            assert request.turn is not None
            name = request.turn.provider_id
            refused = "refused" if kind is Kind.AUTHENTICATION else None
            failed = Failed(request.turn, failure(kind, retry_after=wait, is_daily=is_daily), refused)
            self._signal(name, failed)
            request.tried.append(name)
            self._choose(request)

    @rule(number=st.integers(0, 300), count=st.integers(1, 60))
    def succeed(self, number: int, count: int) -> None:
        for request in self._pick(number, count):
            assert request.turn is not None
            self._signal(request.turn.provider_id, Answered(request.turn))
            self._signal(request.turn.provider_id, Released(request.turn))

    @rule(number=st.integers(0, 300), count=st.integers(1, 60))
    def leave(self, number: int, count: int) -> None:
        for request in self._pick(number, count):
            assert request.turn is not None
            self._signal(request.turn.provider_id, Released(request.turn))

    @rule(number=st.integers(0, 300), count=st.integers(1, 60))
    def begin_to_answer(self, number: int, count: int) -> None:
        for request in self._pick(number, count):
            assert request.turn is not None
            self._signal(request.turn.provider_id, Released(request.turn))
            request.is_trial = False
            self.requests.append(request)

    @rule(number=st.integers(0, 11), signal=st.sampled_from([Disabled(), Enabled(), Recovered(), TokenSeen("new")]))
    def signal(self, number: int, signal: Any) -> None:
        self._signal(self.providers[number % len(self.providers)].id, signal)

    @rule(seconds=st.sampled_from([0.01, 1.0, 10.0, 61.0, 301.0, 3601.0, 90_000.0, -0.5, -30.0, -70.0, -90_000.0]))
    def wait(self, seconds: float) -> None:
        self.now = self.now + seconds

    @rule(kept=st.integers(1, 12))
    def configure_anew(self, kept: int) -> None:
        self._configure([f"p{number}" for number in range(kept)])

    @invariant()
    def one_request_at_most_tries_an_account(self) -> None:
        trying = Counter(
            request.turn.provider_id
            for request in self.requests
            if request.turn is not None
            and request.is_trial
            and request.turn.era == self.healths[request.turn.provider_id].era
            and self.healths[request.turn.provider_id].standing in (Standing.TEMPORARY, Standing.COOLDOWN)
        )
        assert not trying or max(trying.values()) == 1


Gateway.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_no_choice_breaks_a_rule_whatever_happens = Gateway.TestCase
