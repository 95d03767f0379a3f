"""Recordings as the gateway makes them: exchanges that are played by hand and taped as they go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from core.anthropic import parse_request
from core.credentials import Token
from core.dialogue import (
    BodyEnded,
    CallFailed,
    DataArrived,
    Happening,
    HeadArrived,
    NoProvider,
    ProviderChosen,
    TokenReady,
    TokenRefused,
    WantData,
    WantStill,
)
from core.exchange import Step
from core.http import Head
from core.masking import mask_accounts
from core.phases import Policy
from core.selection import Provider
from core.taping import Moment, begin_tape, end_tape, record
from core.times import Epoch, Instant, Now
from tests.builders import MODEL, SHELL_TOOL, asked, body, exception, text, tool
from tests.exchanges import EVENT_STREAM, POLICY, Play, provider

PROFILE = "arn:aws:codewhisperer:us-east-1:123456789012:profile/ABCDEFGHIJKL"
"""An account's, whose number is nowhere in a recording."""

SECRETS = Token(
    access_token="made-up-access-token-1234",
    refresh_token="made-up-refresh-token-5678",
    auth_method="social",
    profile_arn=PROFILE,
)

HELLO = body(text("Hel"), text("lo"))
"""An answer of a text."""

CALLED = body(
    text("Hel"),
    text("lo"),
    tool("t1", "Bash", '{"comm'),
    tool("t1", "Bash", 'and":"ls"}'),
    tool("t1", "Bash", stop=True),
)
"""An answer of a text and a call."""


def streamed(**members: Any) -> dict[str, Any]:
    """A small request for a stream, with these members."""
    document = {"model": MODEL.name, "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}
    return {**document, "stream": True, **members}


class Taped(Play):
    """An exchange that is played and recorded. `pause` seconds pass before each thing that happens.

    `taped` are the lines that are ready to be written so far: of an exchange that has ended, its recording.
    """

    def __init__(
        self,
        *,
        policy: Policy = POLICY,
        at: float = 1000.125,
        pause: float = 0.25,
        accounts: Sequence[tuple[Provider, Token]] = (),
        **members: Any,
    ) -> None:
        document = streamed(**members)
        request = parse_request(msgspec.json.encode(document))
        self.taped = b""
        self._tape = begin_tape(asked(**document), request, policy, program="0.0.0", mask=mask_accounts(accounts))
        self._pause = pause
        self._happening: Happening | None = None
        super().__init__(policy=policy, at=at, **document)

    def _take(self, step: Step) -> None:
        super()._take(step)
        now = Now(Instant(self.now), Epoch(1_700_000_000.0 + self.now))
        moment = Moment(happening=self._happening, at=now, notices=step.notices, want=step.want)
        self._tape, lines = record(self._tape, moment)
        self.taped += lines

    def tell(self, *happenings: Happening) -> Taped:
        """Say what happened, one after the other."""
        for happening in happenings:
            self.now += self._pause
            self._happening = happening
            super().tell(happening)
        return self

    def wake(self) -> Taped:
        """Let time pass to the present want's moment, and say so."""
        super().wake()
        return self

    def call(self, name: str = "a", token: Token = SECRETS, **members: Any) -> Taped:
        """Go on to the call of an account."""
        return self.tell(ProviderChosen(provider(name, **members)), TokenReady(token))

    def begin_answer(self, data: bytes = b"", *, head: Head = EVENT_STREAM, pieces: int = 1) -> Taped:
        """Answer the call, in so many pieces, up to where the exchange reads no more; the body does not end."""
        self.tell(HeadArrived(head))
        size = max(1, -(-len(data) // pieces))
        for start in range(0, len(data), size):
            if self.is_reading:
                self.tell(DataArrived(data[start : start + size]))
        return self

    def answer(self, body: bytes, *, head: Head = EVENT_STREAM, pieces: int = 1) -> Taped:
        """Answer the call, in so many pieces, up to where the exchange reads no more."""
        self.begin_answer(body, head=head, pieces=pieces)
        return self.tell(BodyEnded()) if self.is_reading else self

    def refuse(self, status: int, body: Any = b"", **headers: str) -> Taped:
        """Refuse the call."""
        super().refuse(status, body, **headers)
        return self

    @property
    def is_reading(self) -> bool:
        """Whether a call is open whose body is read."""
        return isinstance(self.want, WantData | WantStill)

    def cut(self, why: str = "the client left") -> bytes:
        """The recording of an exchange that came to no end."""
        return self.taped + end_tape(self._tape, why)


THROTTLED = {"__type": "com.amazon.coral.service#ThrottlingException", "message": "slow down"}


def _pinged() -> bytes:
    played = Taped(tools=[SHELL_TOOL]).call().begin_answer(CALLED[:200], pieces=3).wake()
    played.tell(DataArrived(CALLED[200:300])).wake()
    return played.tell(DataArrived(CALLED[300:]), BodyEnded()).taped


def _broken_after_a_ping() -> bytes:
    played = Taped().call().begin_answer(CALLED[:200]).wake()
    played.tell(CallFailed("network", "the connection broke"))  # tried again at once
    return played.tell(CallFailed("network", "refused"), NoProvider()).taped


SAMPLES: dict[str, Callable[[], bytes]] = {
    "stream": lambda: Taped(tools=[SHELL_TOOL]).call().answer(CALLED, pieces=7).taped,
    "whole": lambda: Taped(stream=False, tools=[SHELL_TOOL]).call().answer(CALLED, pieces=7).taped,
    "pings": _pinged,
    "failover": lambda: (
        Taped().call("a").refuse(429, THROTTLED, retry_after="30").call("b").answer(HELLO, pieces=3).taped
    ),
    "refused token": lambda: (
        Taped()
        .call("a")
        .refuse(403, {"message": "The bearer token included in the request is invalid."})
        .tell(TokenRefused("invalid_grant", "f1"))
        .call("b")
        .answer(HELLO)
        .taped
    ),
    "exception": lambda: (
        Taped()
        .call("a")
        .answer(body(text("Hel"), exception("ThrottlingException", "slow down")), pieces=2)
        .call("b")
        .answer(HELLO)
        .taped
    ),
    "refusal": lambda: Taped().call().refuse(400, {"message": "Improperly formed request.", "reason": None}).taped,
    "error event": _broken_after_a_ping,
    "nobody": lambda: Taped(stream=False).tell(NoProvider()).taped,
    "no call": lambda: Taped().tell(ProviderChosen(provider()), TokenRefused("no file", "")).tell(NoProvider()).taped,
    "cut": lambda: Taped().call().begin_answer(CALLED[:200]).wake().cut(),
    "cut before a call": lambda: Taped().call().cut("the gateway was stopped"),
}
"""Makers of small recordings of each kind, whole but for those that say otherwise."""


def with_other_text(recording: bytes, content: str) -> bytes:
    """A recording as if its client had been sent this for "Hello"."""
    delta = b'"type":"text_delta","text":"%b"'
    return recording.replace(delta % b"Hello", delta % content.encode())
