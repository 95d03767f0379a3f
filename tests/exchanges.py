"""An exchange that is played by hand: happenings in, steps out, time by argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from core.credentials import Token
from core.dialogue import (
    AttemptFailed,
    BodyEnded,
    DataArrived,
    Deliver,
    Happening,
    HeadArrived,
    Notice,
    ProviderChosen,
    StreamEnded,
    TokenReady,
    Want,
    WholeAnswer,
    Woken,
)
from core.exchange import Step, advance, begin
from core.http import Head
from core.phases import Policy
from core.selection import Provider
from core.sse import StreamEvent
from core.times import Epoch, Instant, Now
from tests.builders import asked

POLICY = Policy(first_byte=30.0, idle=20.0, total=100.0, ping_quiet=10.0, ping_interval=15.0)
TOKEN = Token(access_token="made-up-access", refresh_token="made-up-refresh", auth_method="social")
EVENT_STREAM = Head(status=200, headers={"content-type": "application/vnd.amazon.eventstream"})


def provider(name: str = "a", **members: Any) -> Provider:
    """An account."""
    return Provider(id=name, original_provider_id=name, token_file=f"/{name}.json", **members)


class Play:
    """One exchange and the moment it is in. `tell` steps it; what it said last is in `step`."""

    def __init__(self, *, policy: Policy = POLICY, at: float = 1000.0, **members: Any) -> None:
        self.now = at
        self.notices: list[Notice] = []
        self._take(begin(asked(**members), policy=policy, now=self._both()))

    def _both(self) -> Now:
        return Now(Instant(self.now), Epoch(1_700_000_000.0 + self.now))

    def _take(self, step: Step) -> None:
        self.step = step
        self.notices.extend(step.notices)

    @property
    def want(self) -> Want | WholeAnswer | StreamEnded:
        """What is wanted now."""
        return self.step.want

    def tell(self, *happenings: Happening) -> Play:
        """Say what happened, one after the other."""
        for happening in happenings:
            self._take(advance(self.step.exchange, happening, now=self._both()))
        return self

    def wake(self) -> Play:
        """Let time pass to the present want's moment, and say so."""
        self.now = max(self.now, self.wake_at)
        return self.tell(Woken())

    @property
    def wake_at(self) -> float:
        """The present want's moment."""
        assert not isinstance(self.want, WholeAnswer | StreamEnded)
        return self.want.wake_at.seconds

    def call(self, name: str = "a") -> Play:
        """Go on to the call of an account."""
        return self.tell(ProviderChosen(provider(name)), TokenReady(TOKEN))

    def answer(self, body: bytes, *, head: Head = EVENT_STREAM, pieces: int = 1) -> Play:
        """Answer the call, in so many pieces."""
        size = max(1, -(-len(body) // pieces))
        data = [DataArrived(body[start : start + size]) for start in range(0, len(body), size)]
        return self.tell(HeadArrived(head), *data, BodyEnded())

    def refuse(self, status: int, body: Any = b"", **headers: str) -> Play:
        """Refuse the call; stops where the exchange stops reading."""
        encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.answer(encoded, head=Head(status=status, headers={"content-type": "application/json", **named}))

    @property
    def delivered(self) -> list[StreamEvent]:
        """All stream events so far."""
        return [event for notice in self.notices if isinstance(notice, Deliver) for event in notice.events]

    @property
    def failed(self) -> Sequence[tuple[str, str]]:
        """Account and kind of each failed attempt so far."""
        return [(n.provider_id, n.failure.kind.value) for n in self.notices if isinstance(n, AttemptFailed)]

    @property
    def whole(self) -> WholeAnswer:
        """The whole answer that the client got."""
        assert isinstance(self.want, WholeAnswer), self.want
        return self.want

    @property
    def error(self) -> tuple[int, str, str]:
        """Status, type and message of the error that the client got as a whole answer."""
        form = msgspec.json.decode(self.whole.body)
        assert form["request_id"] == "req_0001"
        return self.whole.status, form["error"]["type"], form["error"]["message"]
