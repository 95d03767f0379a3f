"""The accounts in use: whose turn it is, and what their health is. The only thing that exchanges share.

What a success or a failure means is decided in `core.health` and `core.selection`; here the states are held, signals
are handed in, and what must not be lost is seen to before a client has its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec
import trio

from adapters.keeping import Cell, Codec, Keeper
from adapters.tokens import TokenError
from core import dialogue, health
from core.credentials import Token, fingerprint
from core.errors import StagewhisperError
from core.health import Availability, Health, HealthPolicy, Standing, availability
from core.ledger import (
    encode_cursor,
    encode_health,
    key_of,
    merge_health,
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


class UnknownAccount(StagewhisperError):
    """There is no account of that id. Names those that there are."""


ACTIONS: Mapping[str, health.Signal] = {
    "recover": health.Recovered(),
    "disable": health.Disabled(),
    "enable": health.Enabled(),
}
"""What a person may do to an account."""

_HEALTH_CODEC = Codec(encode_health, parse_health, merge_health)
_CURSOR_CODEC: Codec[Cursor] = Codec(
    encode_cursor, parse_cursor, lambda base, mine, theirs: theirs if mine == base else mine
)


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
    ) -> None:
        self._providers = {provider.id: provider for provider in providers}
        self._policy = policy
        self._keeper = keeper
        self._tokens = tokens
        self._epoch = epoch
        self._cells: dict[str, Cell[Health]] = {
            provider.id: keeper.cell(key_of(provider), Health(provider_id=provider.id), _HEALTH_CODEC)
            for provider in providers
        }
        self._cursor = keeper.cell("cursor", Cursor(), _CURSOR_CODEC)

    def turns(self) -> Turns:
        """The turns of one exchange."""
        return Turns(self)

    def take(self, excluded: Sequence[str]) -> tuple[Provider | None, health.Turn | None, tuple[Absence, ...]]:
        """The account whose turn it is, and that turn; or why there is none."""
        providers, healths, now = tuple(self._providers.values()), self._healths(), self._epoch()
        provider, self._cursor.value = choose(providers, healths, self._cursor.value, excluded, now)
        if provider is None:
            return None, None, absences(providers, healths, self._cursor.value, now)
        turn = health.next_turn(healths[provider.id])
        self.signal(provider.id, health.Taken())
        return provider, turn, ()

    def signal(self, provider_id: str, signal: health.Signal) -> bool:
        """Tell an account's health of something; whether that changed what must not be lost."""
        cell = self._cells[provider_id]
        before, cell.value = cell.value, health.step(cell.value, signal, now=self._epoch(), policy=self._policy)
        after = cell.value
        return _must_last(before) != _must_last(after)

    def _healths(self) -> dict[str, Health]:
        return {provider_id: cell.value for provider_id, cell in self._cells.items()}

    async def settle(self) -> None:
        """Wait until what must not be lost is written."""
        await self._keeper.settle()

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
        unusable = (Availability.AWAY, Availability.OUT)
        return any(availability(each, now) not in unusable for each in self._healths().values())

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
        """
        if provider_id not in self._providers:
            raise UnknownAccount(f"there is no account {provider_id[:64]!r}; there are {', '.join(self._providers)}")
        self.signal(provider_id, ACTIONS[action])
        await self.settle()
        return self._render(provider_id)


def _must_last(state: Health) -> object:
    """What of an account's state no crash may lose."""
    return state.standing is Standing.PERMANENT, state.rejected, state.is_disabled


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
                self._signal(health.Released(self._turn))
            case dialogue.Succeeded():
                self._signal(health.Answered(self._turn))
            case dialogue.AttemptFailed(failure=failure, fingerprint=None):
                self._signal(health.Failed(self._turn, failure))
            case dialogue.AttemptFailed(failure=failure, fingerprint=refused):
                self._refused = health.Failed(self._turn, failure, refused)

    def _signal(self, signal: health.Answered | health.Failed | health.Released) -> None:
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
