"""Carries out what an exchange wants, one want at a time, until it has ended. It has no policy of its own."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol, TypeAlias, assert_never

import trio

from adapters import ambient
from adapters.accounts import Accounts, TokenSource, Turns
from adapters.outbox import Outbox
from adapters.recorder import OpenRecording
from adapters.tokens import TokenError, TokenRefused, TokenUnreadable
from adapters.upstream import Upstream
from core import dialogue, sse
from core.credentials import Token
from core.exchange import Step, advance, begin
from core.phases import Asked, Policy
from core.selection import Provider
from core.taping import Moment
from core.times import Now


class Listener(Protocol):
    """Who follows an exchange from outside."""

    def hear(self, notice: dialogue.Notice) -> None:
        """Take in what the exchange tells."""

    def processed(self, seconds: float) -> None:
        """Take note of how long the core was at a piece of an answer."""


class Driver:
    """Runs exchanges against the service. `tokens` is by the providers' ids."""

    def __init__(self, *, accounts: Accounts, tokens: Mapping[str, TokenSource], upstream: Upstream) -> None:
        self._accounts = accounts
        self._tokens = tokens
        self._upstream = upstream

    async def drive(
        self,
        asked: Asked,
        policy: Policy,
        outbox: Outbox,
        listener: Listener,
        recording: OpenRecording | None = None,
    ) -> None:
        """Run one exchange to its end. The client's side is left answered or ended, unless this raises."""
        turns = self._accounts.turns()
        try:
            async with trio.open_nursery() as nursery:
                await self._loop(asked, policy, outbox, listener, recording, turns, nursery)
                nursery.cancel_scope.cancel()
        finally:
            # A client that left must not be the reason why an account is judged without a look at its token.
            with trio.CancelScope(shield=True):
                await turns.settle()
            turns.close()

    async def _loop(
        self,
        asked: Asked,
        policy: Policy,
        outbox: Outbox,
        listener: Listener,
        recording: OpenRecording | None,
        turns: Turns,
        nursery: trio.Nursery,
    ) -> None:
        happening, now = None, ambient.now()
        step = begin(asked, policy=policy, now=now)
        errand = _Errand()
        while True:
            if recording is not None:
                recording.add(Moment(happening=happening, at=now, notices=step.notices, want=step.want))
            for notice in step.notices:
                if isinstance(notice, dialogue.Deliver):
                    await turns.settle()
                    await outbox.send(sse.encode_events(notice.events))
                else:
                    listener.hear(notice)
                    turns.hear(notice)
            await turns.settle()
            match step.want:
                case dialogue.WholeAnswer() as whole:
                    return outbox.answer(whole)
                case dialogue.StreamEnded():
                    return outbox.end()
                case dialogue.WantStill() | dialogue.WantData():
                    pass
                case want:
                    errand.stop()
                    errand = _Errand()
                    nursery.start_soon(self._run, want, errand, turns)
            happening = await errand.next(step.want.wake_at.seconds)
            now = ambient.now()
            step = _advance(step, happening, now, listener)

    async def _run(self, want: _Errands, errand: _Errand, turns: Turns) -> None:
        """Do one want, saying what happens; whatever happens after it was stopped is said to nobody."""
        with errand.scope:
            match want:
                case dialogue.WantProvider(excluded=excluded):
                    await errand.tell(turns.choose(excluded))
                case dialogue.WantFreshToken(provider=provider, rejected=rejected):
                    await errand.tell(await self._token(provider, rejected))
                case dialogue.WantCall(call=call):
                    await self._upstream.call(call, errand.tell)
                case dialogue.WantPause():
                    pass
                case _:
                    assert_never(want)

    async def _token(self, provider: Provider, rejected: Token | None) -> dialogue.Happening:
        try:
            token = await self._tokens[provider.id].fresh(rejected.access_token if rejected else None)
        except TokenRefused as error:
            return dialogue.TokenRefused(str(error), error.fingerprint)
        except TokenUnreadable as error:
            return dialogue.TokenUnreadable(str(error))
        except TokenError as error:
            return dialogue.TokenUnavailable(str(error))
        return dialogue.TokenReady(token)


def _advance(step: Step, happening: dialogue.Happening, now: Now, listener: Listener) -> Step:
    """The next step; what the core does with an answer's bytes is timed."""
    if not isinstance(happening, dialogue.DataArrived | dialogue.BodyEnded):
        return advance(step.exchange, happening, now=now)
    began = ambient.stopwatch()
    next_step = advance(step.exchange, happening, now=now)
    listener.processed(ambient.stopwatch() - began)
    return next_step


_Errands: TypeAlias = dialogue.WantProvider | dialogue.WantFreshToken | dialogue.WantCall | dialogue.WantPause


_GRACE_SECONDS = 0.01
"""How late a moment may be seen to have passed, so that what the service has sent by then is read first."""


class _Errand:
    """One want being carried out: what it says, and how to stop it."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        send, receive = trio.open_memory_channel[dialogue.Happening](0)
        self.tell = send.send
        self._receive = receive

    async def next(self, wake_at: float) -> dialogue.Happening:
        """What it says next, or `Woken` when that moment (of trio's clock) passes first.

        What is there already goes before a moment that passed while this process was held up: be it here, or still in
        the system's hands.
        """
        with suppress(trio.WouldBlock):
            return self._receive.receive_nowait()
        with trio.move_on_at(max(wake_at, trio.current_time() + _GRACE_SECONDS)):
            return await self._receive.receive()
        return dialogue.Woken()

    def stop(self) -> None:
        self.scope.cancel()
        self._receive.close()
