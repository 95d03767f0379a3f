"""The accounts in use: whose turn it is, and what their health is. The only thing that exchanges share.

What a success or a failure means is decided in `core.health` and `core.selection`; here the states are held, signals
are handed in, and what must not be lost is seen to before a client has its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol, TypeAlias

import msgspec
import trio

from adapters.keeping import Cell, Codec, Keeper
from adapters.tokens import TokenError
from core import dialogue, health
from core.credentials import Token, fingerprint
from core.errors import StagewhisperError
from core.health import Health, HealthPolicy, Standing, availability
from core.ledger import (
    describe,
    encode_cursor,
    encode_health,
    is_told,
    join_cursor,
    key_of,
    merge_cursor,
    merge_health,
    must_last,
    parse_cursor,
    parse_health,
    render_health,
    state_of,
)
from core.refusals import Absence
from core.selection import Cursor, Provider, absences, choose
from core.times import Epoch


class TokenSource(Protocol):
    """Where an account's token comes from."""

    async def fresh(self, rejected: str | None = None) -> Token:
        """A token that is not about to expire, and is not the rejected one."""

    async def current(self) -> Token:
        """The token as its file has it."""


Tell: TypeAlias = Callable[[str, bool], None]
"""Takes a line for whoever runs the gateway, on an account whose state is another one now, and whether that is good."""


class UnknownAccount(StagewhisperError):
    """There is no account of that id. Names those that there are."""


class NotKept(StagewhisperError):
    """What a person did to an account would not survive the end of the process."""


ACTIONS: Mapping[str, health.Signal] = {
    "recover": health.Recovered(),
    "disable": health.Disabled(),
    "enable": health.Enabled(),
}
"""What a person may do to an account."""

_HEALTH_CODEC = Codec(encode_health, parse_health, merge_health)
_CURSOR_CODEC = Codec(encode_cursor, parse_cursor, merge_cursor)


class Accounts:
    """All accounts, in the order of the configuration."""

    def __init__(
        self,
        providers: Sequence[Provider],
        *,
        policy: HealthPolicy,
        keeper: Keeper,
        tokens: Mapping[str, TokenSource],
        epoch: Callable[[], Epoch],
        tell: Tell,
    ) -> None:
        self._providers = {provider.id: provider for provider in providers}
        self._policy = policy
        self._keeper = keeper
        self._tokens = tokens
        self._epoch = epoch
        self._tell = tell
        self._cells: dict[str, Cell[Health]] = {
            provider.id: keeper.cell(key_of(provider), Health(provider_id=provider.id), _HEALTH_CODEC)
            for provider in providers
        }
        self._kept_cursor = keeper.cell("cursor", Cursor(), _CURSOR_CODEC)
        self._cursor: Cursor | None = None  # the kept one until the first turn

    def turns(self) -> Turns:
        """The turns of one exchange."""
        return Turns(self)

    def take(self, excluded: Sequence[str]) -> tuple[Provider | None, health.Turn | None, tuple[Absence, ...]]:
        """The account whose turn it is, and that turn; or why there is none."""
        providers, healths, now = tuple(self._providers.values()), self._healths(), self._epoch()
        kept = self._kept_cursor.value
        cursor = kept if self._cursor is None else join_cursor(self._cursor, kept)
        provider, cursor = choose(providers, healths, cursor, excluded, now)
        self._cursor = self._kept_cursor.value = cursor
        if provider is None:
            return None, None, absences(providers, healths, cursor, now)
        turn = health.next_turn(healths[provider.id])
        self.signal(provider.id, health.Taken())
        return provider, turn, ()

    def signal(self, provider_id: str, signal: health.Signal) -> bool:
        """Tell an account's health of something; whether that changed what must not be lost."""
        cell = self._cells[provider_id]
        before, cell.value = cell.value, health.step(cell.value, signal, now=self._epoch(), policy=self._policy)
        if is_told(before, cell.value):
            self._say(cell.value)
        return must_last(before) != must_last(cell.value)

    def _say(self, state: Health) -> None:
        now = self._epoch()
        self._tell(f"account={state.provider_id} is {describe(state, now)}", _is_healthy(state, now))

    def tell_who_is_out(self) -> None:
        """Tell of each account that cannot be used as it should be."""
        for state in self._healths().values():
            if not _is_healthy(state, self._epoch()):
                self._say(state)

    def _healths(self) -> dict[str, Health]:
        return {provider_id: cell.value for provider_id, cell in self._cells.items()}

    async def settle(self) -> bool:
        """Wait until what must not be lost is written; whether it is."""
        return await self._keeper.settle()

    # --- tokens that changed -----------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Put accounts back into use whose token files have another token. Runs until it is cancelled."""
        while True:
            await trio.sleep(1.0)
            for provider_id, cell in self._cells.items():
                if cell.value.standing is not Standing.HEALTHY:
                    await self.look_at_token(provider_id)

    async def look_at_token(self, provider_id: str) -> None:
        """Tell an account's health which token it has now."""
        if (present := await self.token_of(provider_id)) is not None:
            self.signal(provider_id, health.TokenSeen(present))

    async def token_of(self, provider_id: str) -> str | None:
        """The fingerprint of the token that an account has now; None where it cannot be read, which says nothing."""
        with suppress(TokenError):
            return fingerprint(await self._tokens[provider_id].current())
        return None

    # --- for whoever watches -----------------------------------------------------------------------------------

    def is_ready(self) -> bool:
        """Whether a request would find an account now."""
        now = self._epoch()
        return any(availability(each, now).is_usable for each in self._healths().values())

    def states(self) -> dict[str, str]:
        """Each account's state in a word."""
        now = self._epoch()
        return {provider_id: state_of(each, now) for provider_id, each in self._healths().items()}

    def render(self) -> list[dict[str, object]]:
        """Each account's health as JSON."""
        return [self._render(provider_id) for provider_id in self._providers]

    def _render(self, provider_id: str) -> dict[str, object]:
        return render_health(self._providers[provider_id], self._cells[provider_id].value, self._epoch())

    async def act(self, provider_id: str, action: str) -> dict[str, object]:
        """Do one of `ACTIONS` to an account; its health as JSON, once that is written.

        Raises:
            UnknownAccount: there is none of that id.
            NotKept: it is done in this process, but could not be written.
        """
        if provider_id not in self._providers:
            raise UnknownAccount(f"there is no account {provider_id[:64]!r}; there are {', '.join(self._providers)}")
        # What another process has done meanwhile is taken in first: what only looks done already would change nothing.
        await self.settle()
        self.signal(provider_id, ACTIONS[action])
        if not await self.settle():
            raise NotKept(f"{action} {provider_id}: done in this process, but it could not be written: see the log")
        return self._render(provider_id)


def _is_healthy(state: Health, now: Epoch) -> bool:
    return state_of(state, now) == Standing.HEALTHY.value


class Turns:
    """What one exchange does with the accounts: at most one turn at a time, which `close` ends."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._turn: health.Turn | None = None
        self._refused: health.Failed | None = None
        self._is_urgent = False

    def choose(self, excluded: Sequence[str]) -> dialogue.Happening:
        """The account whose turn it is. The last turn ends."""
        self.close()
        provider, self._turn, absences = self._accounts.take(excluded)
        return dialogue.NoProvider(absences) if provider is None else dialogue.ProviderChosen(provider)

    def hear(self, notice: dialogue.Notice) -> None:
        """Tell the account's health what it should know of what the exchange tells."""
        if self._turn is None:
            return
        match notice:
            case dialogue.AnswerBegan():
                self._signal(health.Began(self._turn))
            case dialogue.Succeeded():
                self._signal(health.Answered(self._turn))
            case dialogue.AttemptFailed(failure=failure, fingerprint=None):
                self._signal(health.Failed(self._turn, failure))
            case dialogue.AttemptFailed(failure=failure, fingerprint=refused):
                self._refused = health.Failed(self._turn, failure, refused)

    def _signal(self, signal: health.Began | health.Answered | health.Failed | health.Released) -> None:
        self._is_urgent |= self._accounts.signal(signal.turn.provider_id, signal)

    async def settle(self) -> None:
        """What is to be done before a client hears more: costs nothing where there is nothing to do."""
        if self._refused is not None:
            # Another process, or another request, may have refreshed the token meanwhile: it was an old one then.
            present = await self._accounts.token_of(self._refused.turn.provider_id)
            self._signal(msgspec.structs.replace(self._refused, present=present))
            self._refused = None
        if self._is_urgent:
            await self._accounts.settle()
            self._is_urgent = False

    def close(self) -> None:
        """End the turn."""
        if self._refused is not None:  # its client has left
            self._signal(self._refused)
            self._refused = None
        if self._turn is not None:
            self._signal(health.Released(self._turn))
            self._turn = None
