"""Carries out what an exchange wants, one want at a time, until it has ended. It has no policy of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol, TypeAlias, assert_never

import trio

from adapters import ambient
from adapters.outbox import Outbox
from adapters.tokens import TokenError, TokenRefreshFailed
from adapters.upstream import Upstream
from core import dialogue, sse
from core.credentials import Token
from core.exchange import advance, begin
from core.phases import Asked, Policy
from core.selection import Provider, choose


class TokenSource(Protocol):
    """Where an account's token comes from."""

    async def fresh(self, rejected: str | None = None) -> Token:
        """A token that is not about to expire, and is not the rejected one."""


Listener: TypeAlias = Callable[[dialogue.Notice], None]


class Rotation:
    """The accounts and whose turn it is: the only thing that exchanges share."""

    def __init__(self, providers: tuple[Provider, ...]) -> None:
        self._providers = providers
        self._cursor = 0

    def choose(self, excluded: tuple[str, ...]) -> Provider | None:
        """The account whose turn it is."""
        provider, self._cursor = choose(self._providers, self._cursor, excluded)
        return provider


class Driver:
    """Runs exchanges against the service. `tokens` is by the providers' ids."""

    def __init__(
        self, *, rotation: Rotation, tokens: Mapping[str, TokenSource], upstream: Upstream, policy: Policy
    ) -> None:
        self._rotation = rotation
        self._tokens = tokens
        self._upstream = upstream
        self._policy = policy

    async def drive(self, asked: Asked, outbox: Outbox, listen: Listener) -> None:
        """Run one exchange to its end. The client's side is left answered or ended, unless this raises."""
        async with trio.open_nursery() as nursery:
            await self._loop(asked, outbox, listen, nursery)
            nursery.cancel_scope.cancel()

    async def _loop(self, asked: Asked, outbox: Outbox, listen: Listener, nursery: trio.Nursery) -> None:
        step = begin(asked, policy=self._policy, now=ambient.now())
        errand = _Errand()
        while True:
            for notice in step.notices:
                if isinstance(notice, dialogue.Deliver):
                    outbox.send(sse.encode_events(notice.events))
                else:
                    listen(notice)
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
                    nursery.start_soon(self._run, want, errand)
            happening = await errand.next(step.want.wake_at.seconds)
            step = advance(step.exchange, happening, now=ambient.now())

    async def _run(self, want: _Errands, errand: _Errand) -> None:
        """Do one want, saying what happens; whatever happens after it was stopped is said to nobody."""
        with errand.scope:
            match want:
                case dialogue.WantProvider(excluded=excluded):
                    provider = self._rotation.choose(excluded)
                    await errand.tell(dialogue.ProviderChosen(provider) if provider else dialogue.NoProvider())
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
        except TokenRefreshFailed as error:
            return dialogue.TokenUnavailable(str(error))
        except TokenError as error:
            return dialogue.TokenRefused(str(error))
        return dialogue.TokenReady(token)


_Errands: TypeAlias = dialogue.WantProvider | dialogue.WantFreshToken | dialogue.WantCall | dialogue.WantPause


class _Errand:
    """One want being carried out: what it says, and how to stop it."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        send, receive = trio.open_memory_channel[dialogue.Happening](0)
        self.tell = send.send
        self._receive = receive

    async def next(self, wake_at: float) -> dialogue.Happening:
        """What it says next, or `Woken` when that moment (of trio's clock) passes first.

        What is there already goes before a moment that passed while this process was held up.
        """
        with suppress(trio.WouldBlock):
            return self._receive.receive_nowait()
        with trio.move_on_at(wake_at):
            return await self._receive.receive()
        return dialogue.Woken()

    def stop(self) -> None:
        self.scope.cancel()
        self._receive.close()
