"""One exchange with a service that says what a script has: a shell without network, clock or chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.credentials import Token
from core.dialogue import (
    AttemptFailed,
    BodyEnded,
    CallFailed,
    DataArrived,
    Deliver,
    Final,
    Happening,
    HeadArrived,
    NoProvider,
    ProviderChosen,
    StreamEnded,
    TokenReady,
    Want,
    WantCall,
    WantData,
    WantFreshToken,
    WantPause,
    WantProvider,
    WantStill,
    WholeAnswer,
    Woken,
)
from core.exchange import Step, advance, begin
from core.http import Head
from core.phases import Asked, Delivery, Policy
from core.request import Conversion
from core.selection import Provider
from core.sse import encode_events
from core.times import Epoch, Instant, Now

SECRET = b"made-up-secret"
_TOKEN = Token(access_token=SECRET.decode(), refresh_token=SECRET.decode() + "-too", auth_method="social")
PROVIDERS = tuple(Provider(id=name, original_provider_id=name, token_file=f"/{name}.json") for name in "abc")
_MOST_CALLS = 30
"""Far more than three accounts can be asked by any row of failures."""


@dataclass
class Attempt:
    """How one call is answered. Between the parts of the body time passes. `ending`: E, well; N, T, it breaks."""

    status: int = 200
    parts: list[bytes] = field(default_factory=lambda: [b""])
    ending: str = "E"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What came of it: the client's stream, the end, how many calls were made, and what went wrong on the way."""

    stream: bytes
    final: Final
    called: int
    failures: tuple[tuple[str, str, str], ...]


def play(
    conversion: Conversion,
    attempts: Sequence[Attempt],
    sizes: Sequence[int],
    *,
    convert_written_calls: bool,
    delivery: Delivery = "buffered",
) -> Outcome:
    """The exchange of a request whose calls are answered by `attempts`, and after these by nobody.

    Each part of a body comes in pieces of these sizes, over and over; without sizes, whole. Time passes only for a
    client that asked for a stream: there it means a ping, and elsewhere a time-out.
    """
    policy = Policy(
        first_byte=1e6,
        idle=1e6,
        total=1e7,
        ping_quiet=10,
        ping_interval=15,
        convert_written_calls=convert_written_calls,
        delivery=delivery,
    )
    return Player(attempts, sizes, conversion.stream).run(ask(conversion), policy)


def ask(conversion: Conversion) -> Asked:
    """A request as an exchange is begun with."""
    return Asked(
        conversion=conversion,
        message_id="msg_0001",
        request_id="req_0001",
        invocation_id="00000000-0000-0000-0000-000000000002",
        user_agent="stagewhisper/fuzz",
        jitter=0.5,
    )


class Player:
    """All that is outside of an exchange. Whoever wants to see it, or have it otherwise, derives from it."""

    def __init__(self, attempts: Sequence[Attempt], sizes: Sequence[int], stream: bool) -> None:
        self.attempts = attempts
        self.sizes = sizes
        self.stream = stream
        self.seconds = 1000.0
        self.called = 0
        self.waiting: list[Happening] = []
        """What the open call still has, the next last."""

    @property
    def now(self) -> Now:
        """The present moment."""
        return Now(Instant(self.seconds), Epoch(1.7e9 + self.seconds))

    def see(self, happening: Happening | None, step: Step) -> None:
        """Called with each thing that happened (None at the beginning), and what came of it."""

    def run(self, asked: Asked, policy: Policy) -> Outcome:
        """The exchange from its beginning to its end."""
        step = begin(asked, policy=policy, now=self.now)
        self.see(None, step)
        delivered = b""
        failures: list[tuple[str, str, str]] = []
        wanted: Want | None = None
        while True:
            for notice in step.notices:
                match notice:
                    case Deliver(events):
                        assert events
                        assert self.stream
                        delivered += encode_events(events)
                    case AttemptFailed(provider_id, failure):
                        assert len(failure.message.splitlines()) == 1
                        failures.append((provider_id, failure.kind.value, failure.message))
                    case _:
                        pass
            want = step.want
            if isinstance(want, WholeAnswer | StreamEnded):
                return Outcome(delivered, want, self.called, tuple(failures))
            if isinstance(want, WantStill):
                assert wanted is not None
            else:
                wanted = want
            happening = self.next(wanted, want.wake_at.seconds)
            step = advance(step.exchange, happening, now=self.now)
            self.see(happening, step)

    def next(self, want: Want, wake_at: float) -> Happening:
        """What happens next, at the moment that it is then."""
        assert wake_at >= self.seconds
        happening = self.answer(want)
        if isinstance(happening, Woken):
            self.seconds = wake_at
        return happening

    def answer(self, want: Want) -> Happening:
        """What is said to a want."""
        match want:
            case WantProvider(excluded=excluded):
                free = [provider for provider in PROVIDERS if provider.id not in excluded]
                return ProviderChosen(free[0]) if free else NoProvider()
            case WantFreshToken():
                return TokenReady(_TOKEN)
            case WantCall():
                return self._call()
            case WantData():
                return self.waiting.pop()
            case WantPause():
                return Woken()
            case WantStill():
                raise AssertionError("nothing was wanted before")

    def _call(self) -> Happening:
        self.called += 1
        assert self.called <= _MOST_CALLS
        if self.called > len(self.attempts):
            return CallFailed("network", "nobody is there")
        attempt = self.attempts[self.called - 1]
        self.waiting = []
        for number, part in enumerate(attempt.parts):
            if number and self.stream:
                self.waiting.append(Woken())
            self.waiting += map(DataArrived, self._pieces(part))
        ending = {"N": CallFailed("network", "reset"), "T": CallFailed("timeout", "silence")}
        self.waiting.append(ending.get(attempt.ending, BodyEnded()))
        self.waiting.reverse()
        content_type = "application/vnd.amazon.eventstream" if attempt.status == 200 else "application/json"
        headers = {"content-type": content_type, **attempt.headers}
        return HeadArrived(Head(status=attempt.status, headers=headers))

    def _pieces(self, part: bytes) -> list[bytes]:
        if not self.sizes:
            return [part] if part else []
        pieces = []
        at = turn = 0
        while at < len(part):
            size = self.sizes[turn % len(self.sizes)]
            pieces.append(part[at : at + size])
            at += size
            turn += 1
        return pieces
