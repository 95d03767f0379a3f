"""Exchanges driven against a made-up service in virtual time: what happens to each call is a script."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

import trio

from adapters.accounts import Accounts
from adapters.driver import Driver
from adapters.keeping import Keeper
from adapters.outbox import Outbox
from adapters.stores import MemoryStore, Store
from adapters.tokens import TokenError
from adapters.upstream import Upstream
from core.credentials import Token
from core.dialogue import BodyEnded, CallFailed, DataArrived, Happening, HeadArrived, Notice, Succeeded
from core.health import HealthPolicy
from core.http import Call, Head
from core.phases import Policy
from tests.adapters.token_files import epoch
from tests.builders import asked, body, text
from tests.exchanges import EVENT_STREAM, POLICY, provider

Play: TypeAlias = Sequence[Happening | float] | BaseException
"""What happens to a call; a number is a pause of so many seconds. One that does not end, stalls."""

Script: TypeAlias = Sequence[Play]

GOOD: tuple[Happening, ...] = (HeadArrived(EVENT_STREAM), DataArrived(body(text("Hello"))), BodyEnded())
STALL: tuple[Happening, ...] = ()
CUT: tuple[Happening, ...] = (HeadArrived(EVENT_STREAM), CallFailed("network", "made up"))


def refusal(status: int, name: str = "", reason: str | None = None, **headers: str) -> Sequence[Happening]:
    """A refused call."""
    named = {header.replace("_", "-"): value for header, value in headers.items()}
    head = Head(status=status, headers={"content-type": "application/json", "x-amzn-errortype": name, **named})
    return HeadArrived(head), DataArrived(json.dumps({"message": "made up", "reason": reason}).encode()), BodyEnded()


def slowly(seconds: float, play: Sequence[Happening] = GOOD) -> Play:
    """The same, after a while."""
    return (seconds, *play)


class Line:
    """In place of the service: what happens to the first call, the second, ..., of all or of each account."""

    def __init__(self, script: Script | Mapping[str, Script]) -> None:
        self._scripts: Mapping[str, Iterator[Play]]
        self._is_one_at_a_time = not isinstance(script, Mapping)
        if isinstance(script, Mapping):
            self._scripts = {name: iter(plays) for name, plays in script.items()}
        else:
            self._scripts = dict.fromkeys("abc", iter(script))
        self.calls: list[Call] = []
        self.running = 0

    async def call(self, call: Call, tell: Callable[[Happening], Awaitable[None]]) -> None:
        """Play the next call."""
        # The one before was told to stop, and may not have come to it yet: nobody waits for a call's cleanup.
        assert self.running <= 1 or not self._is_one_at_a_time, "a call was begun while others were open"
        self.calls.append(call)
        self.running += 1
        try:
            play = next(self._scripts[self.bearers[-1][0]])
            if isinstance(play, BaseException):
                raise play
            for each in play:
                if isinstance(each, float):
                    await trio.sleep(each)
                else:
                    await tell(each)
            if not play or not isinstance(play[-1], BodyEnded | CallFailed):
                await trio.sleep_forever()
        finally:
            self.running -= 1

    @property
    def bearers(self) -> list[str]:
        """The tokens that were sent. Each is its account's name and a number."""
        return [call.headers["authorization"].removeprefix("Bearer ") for call in self.calls]


class Tokens:
    """In place of a token file, which has `present`. `error` is raised instead, `delay` is for how long it takes."""

    def __init__(self, name: str, *, error: TokenError | None = None, delay: float = 0.0) -> None:
        self._name = name
        self.error = error
        self._delay = delay
        self.rejected: list[str | None] = []
        self.running = 0
        self.looks = 0
        self.present = 0

    async def fresh(self, rejected: str | None = None) -> Token:
        """The next token where that one was rejected."""
        self.rejected.append(rejected)
        self.running += 1
        try:
            await trio.sleep(self._delay)
        finally:
            self.running -= 1
        if self.error is not None:
            raise self.error
        if not self.present or rejected == self._token().access_token:
            self.present += 1
        return self._token()

    async def current(self) -> Token:
        """The token that is there."""
        self.looks += 1
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        return self._token()

    def _token(self) -> Token:
        return Token(access_token=f"{self._name}{self.present}", refresh_token="made-up", auth_method="social")


class House:
    """All that outlives an exchange: accounts, their tokens, the store behind them, the service."""

    def __init__(
        self,
        script: Script | Mapping[str, Script],
        tokens: dict[str, Tokens] | None = None,
        *,
        policy: Policy = POLICY,
        health: HealthPolicy | None = None,
        store: Store | None = None,
    ) -> None:
        names = script if isinstance(script, Mapping) else "a"
        self.tokens = tokens or {name: Tokens(name) for name in names}
        self.line = Line(script)
        self.said: list[str] = []
        self.told: list[tuple[str, bool]] = []
        self.store = store or MemoryStore()
        self.keeper = Keeper(self.store, log=self.said.append)
        self.accounts = Accounts(
            tuple(map(provider, self.tokens)),
            policy=health or HealthPolicy(),
            keeper=self.keeper,
            tokens=self.tokens,
            epoch=epoch,
            tell=lambda line, is_good: self.told.append((line, is_good)),
        )
        upstream = cast("Upstream", self.line)
        self.driver = Driver(accounts=self.accounts, tokens=self.tokens, upstream=upstream)
        self.policy = policy

    async def ask(self, **members: Any) -> Run:
        """One exchange, to its end."""
        return await Run(self).drive(**members)

    async def answered_by(self, count: int) -> list[str]:
        """So many exchanges, one after the other: the accounts that answered."""
        return [str((await self.ask()).by) for _ in range(count)]

    @property
    def states(self) -> dict[str, str]:
        """Each account's state in a word."""
        return self.accounts.states()


class Run:
    """One exchange, driven to its end, and all that could be seen of it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.outbox = Outbox()
        self.notices: list[Notice] = []
        self.processing: list[float] = []
        self.ended: float | None = None

    def hear(self, notice: Notice) -> None:
        """Note what is told."""
        self.notices.append(notice)

    def processed(self, seconds: float) -> None:
        """Note what it took."""
        self.processing.append(seconds)

    async def drive(self, **members: Any) -> Run:
        """Drive it."""
        try:
            await self.house.driver.drive(asked(**members), self.house.policy, self.outbox, self)
        finally:
            self.ended = trio.current_time()
        return self

    async def drive_alone(self, **members: Any) -> Run:
        """Drive it where nothing else is going on, and see that no task is left."""
        before = trio.lowlevel.current_statistics().tasks_living
        try:
            await self.drive(**members)
        finally:
            assert self.house.line.running == 0
            assert all(tokens.running == 0 for tokens in self.house.tokens.values())
            assert trio.lowlevel.current_statistics().tasks_living == before
        return self

    @property
    def by(self) -> str | None:
        """The account that answered."""
        found = [notice.response.metadata.target_provider for notice in self.notices if isinstance(notice, Succeeded)]
        return found[0] if found else None

    @property
    async def status(self) -> int:
        """The status of the whole answer."""
        whole = await self.outbox.first()
        assert whole is not None
        return whole.status

    @property
    async def error(self) -> str:
        """The type of the error that the whole answer is."""
        whole = await self.outbox.first()
        assert whole is not None
        return str(json.loads(whole.body)["error"]["type"])

    async def stream(self) -> str:
        """The stream that the client got."""
        assert await self.outbox.first() is None
        return b"".join([chunk async for chunk in self.outbox.chunks()]).decode()
