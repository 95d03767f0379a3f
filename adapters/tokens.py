"""Token files: read, refresh, write back.

This module knows files, locks and waiting. What a token is, when it is to be refreshed and what the service's answer
means is `core.credentials`'; how a call is sent is `post`'s.

A refresh token is used up by the refresh: from the moment the call is sent, the only copy of its successor may be on
its way to us. So from there to the rename nothing can be cancelled. Both parts are bounded instead, by
`refresh_timeout` and `write_timeout`, and what cannot be written is kept, used, and tried again.

A process can end at any moment all the same. So the first thing that is done with a new token is to put it into a
journal beside the file, which was opened before the service was asked. Whoever has the lock next takes it from there,
if the file still has the token that it succeeds.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, assert_never

import msgspec
import trio

from adapters import files
from adapters.tokencopy import (
    MAX_BYTES,
    TokenCopy,
    TokenError,
    TokenTorn,
    TokenUnreadable,
    TokenUnwritable,
    check_writable,
    is_same,
    keep,
    kept_tokens,
    read_copy,
    supersedes,
    write_back,
)
from adapters.upstream import Unreachable
from core import credentials
from core.credentials import CredentialsError, Token, fingerprint, is_expired, needs_refresh
from core.http import Call
from core.times import Epoch

__all__ = [
    "Post",
    "TokenError",
    "TokenFile",
    "TokenLocked",
    "TokenRefreshFailed",
    "TokenRefused",
    "TokenUnreadable",
    "TokenUnwritable",
    "check_writable",
]

Post: TypeAlias = Callable[[Call], Awaitable[tuple[int, bytes]]]
"""Sends a call and gives back the answer's status and body; where there is none, Unreachable or OSError."""

_NEXT_TRY = 30.0  # seconds between two refreshes, or two writes, that could still wait
_RESULTS: Mapping[type[credentials.RefreshOutcome], str] = {
    credentials.Refreshed: "refreshed",
    credentials.RefreshRefused: "refused",
    credentials.RefreshFailed: "failed",
}
# The file's owner may write it in place: for a moment it is empty, or ends early. That is waited for, then told.
_TORN_PAUSES = (0.02, 0.05, 0.1, 0.2)


class TokenRefused(TokenError):
    """Final for the token with that fingerprint: there is no way to another but that a person signs in again."""

    def __init__(self, path: str, reason: str, fingerprint: str) -> None:
        super().__init__(path, reason)
        self.fingerprint = fingerprint

    def again(self) -> TokenRefused:
        """The same, the fingerprint too."""
        return TokenRefused(self.path, self.reason, self.fingerprint)


class TokenRefreshFailed(TokenError):
    """There is no new token this time; later there may be one."""


class TokenLocked(TokenRefreshFailed):
    """Another process held the lock for longer than we wait."""


@dataclass(frozen=True, slots=True, repr=False)
class _Unwritten:
    """A new token that is not in the file, and the file's token that it is to replace. Kept: it is in the journal."""

    token: Token
    instead_of: Token
    is_kept: bool


@dataclass(frozen=True, slots=True, repr=False)
class _Landing:
    """How a refresh went. `asked`: the token is the service's answer, not one that was found in the file."""

    outcome: Token | TokenError
    asked: bool


@dataclass(slots=True, repr=False)
class _Flight:
    """The refresh that is under way. Its `landing` stays None where its leader was cancelled before it asked."""

    landed: trio.Event
    landing: _Landing | None = None


class TokenFile:
    """One token file, shared by all who use its account. Timeouts are in seconds.

    `heard` is told "refreshed", "refused" or "failed" once for each refresh that the service was asked for.
    """

    def __init__(
        self,
        path: str,
        *,
        refresh_url: str | None,
        post: Post,
        epoch: Callable[[], Epoch],
        user_agent: str,
        log: Callable[[str], None],
        heard: Callable[[str], None] = lambda _: None,
        lock_timeout: float = 60.0,
        refresh_timeout: float = 30.0,
        write_timeout: float = 10.0,
        in_thread: files.InThread = files.in_thread,
    ) -> None:
        self.path = os.path.expanduser(path)
        self._refresh_url = refresh_url
        self._post = post
        self._epoch = epoch
        self._user_agent = user_agent
        self._log = log
        self._heard = heard
        self._lock_timeout = lock_timeout
        self._refresh_timeout = refresh_timeout
        self._write_timeout = write_timeout
        self._in_thread = in_thread
        self._seen: TokenCopy | None = None
        self._unwritten: _Unwritten | None = None
        self._is_told = False  # whether the log has heard of the unwritten token
        self._flight: _Flight | None = None
        self._next_try = float("-inf")

    async def fresh(self, rejected: str | None = None) -> Token:
        """A token to use now. `rejected` is an access token that the service has just refused: any but that one.

        A token that is good for some minutes more is refreshed by one task; the others use it meanwhile.

        Raises:
            TokenUnreadable: the file has no token.
            TokenRefused: a person has to sign in again.
            TokenRefreshFailed: no new token this time, and the old one is of no use.
        """
        while True:
            seen = await self._look()
            token = self._choose(seen)
            is_usable = self._is_usable(token, rejected)
            if is_usable and (self._flight is not None or not self._is_due(seen, token)):
                return token
            if self._flight is None:
                landing = await self._fly(rejected, patience=0.0 if is_usable else self._lock_timeout)
            else:
                flight = self._flight
                await flight.landed.wait()
                landing = flight.landing
            match landing:  # None: its leader was cancelled, or another process is at it. Look again.
                case _Landing(Token() as renewed):
                    if landing.asked or renewed.access_token != rejected:
                        return renewed
                case _Landing(TokenError() as error):
                    if isinstance(error, TokenUnreadable) or not self._is_usable(token, rejected):
                        raise error.again()
                    self._log(f"{error}; the present token is used until it expires")
                    return token

    async def current(self) -> Token:
        """The token as it is now, good or not: nothing is waited for but a file that is just being written.

        Raises:
            TokenUnreadable: the file has no token.
        """
        return self._choose(await self._look())

    async def flush(self) -> bool:
        """Try once more to write what is not in the file. False: it still is not."""
        if self._unwritten is not None:
            with suppress(TokenError):
                await self._settle(None, patience=self._lock_timeout, ask=False)
        return self._unwritten is None

    # --- what is there -----------------------------------------------------------------------------------------

    async def _look(self, *, afresh: bool = False) -> TokenCopy:
        """The file as it is. Where it has not changed since, this costs one `stat`.

        That and the reading are done right here: they take microseconds, the way to a thread and back hundreds.
        """
        if not afresh and self._seen is not None and files.has_stamp(self.path, self._seen.stamp):
            return self._seen
        for pause in _TORN_PAUSES:
            try:
                self._seen = read_copy(self.path)
                return self._seen
            except TokenTorn:
                await trio.sleep(pause)
        self._seen = read_copy(self.path)
        return self._seen

    def _choose(self, seen: TokenCopy) -> Token:
        """The file's token, unless there is a newer one that could not be written yet."""
        if self._unwritten is None:
            return seen.token
        if is_same(seen.token, self._unwritten.token):
            if self._is_told:
                self._log(f"{self.path}: the new token is written now")
        elif supersedes(seen.token, self._unwritten.instead_of, self._epoch()):
            self._log(f"{self.path}: another program wrote a token of its own meanwhile, which is used from now on")
        else:
            return self._unwritten.token
        self._unwritten = None
        self._is_told = False
        return seen.token

    def _is_usable(self, token: Token, rejected: str | None) -> bool:
        return token.access_token != rejected and not is_expired(token, self._epoch())

    def _is_due(self, seen: TokenCopy, token: Token) -> bool:
        """Whether something that could wait is to be done now: a refresh before expiry, a write, a look at a journal.

        A journal may mean that the file's refresh token is spent, however good its access token is.
        """
        if trio.current_time() < self._next_try:
            return False
        return self._unwritten is not None or needs_refresh(token, self._epoch()) or seen.journal.exists()

    # --- what is done about it ---------------------------------------------------------------------------------

    async def _fly(self, rejected: str | None, *, patience: float) -> _Landing | None:
        """Lead a refresh. However it ends, those who wait for it are woken.

        Without patience, a lock that another process holds is no failure: the work is being done there.
        """
        flight = self._flight = _Flight(trio.Event())
        try:
            flight.landing = await self._settle(rejected, patience=patience, ask=True)
        except TokenError as error:
            if patience or not isinstance(error, TokenLocked):
                flight.landing = _Landing(error, asked=False)
        finally:
            self._flight = None
            flight.landed.set()
        # Whatever came of it: no service that fails, or whose tokens live for a minute, is asked by every request.
        self._next_try = trio.current_time() + _NEXT_TRY
        return flight.landing

    async def _settle(self, rejected: str | None, *, patience: float, ask: bool) -> _Landing:
        """Under the lock: look again, refresh if that is still needed, write what is to be written."""
        lock = await self._take_lock(patience)
        try:
            seen = await self._look(afresh=True)
            self._recover(seen)
            token = self._choose(seen)
            is_fine = self._is_usable(token, rejected) and not needs_refresh(token, self._epoch())
            if ask and not is_fine:
                call, token = self._prepare(token)
                await trio.lowlevel.checkpoint_if_cancelled()
                return await self._refresh(lock, seen, token, call)
            if self._unwritten is not None:
                await trio.lowlevel.checkpoint_if_cancelled()
                seen = await self._write(lock, seen, self._unwritten.token)
                token = self._choose(seen)
            return _Landing(token, asked=False)
        finally:
            if lock.claim():
                lock.release()

    async def _take_lock(self, patience: float) -> files.Lock:
        try:
            lock = await files.take_lock(self.path, patience=patience)
        except (OSError, ValueError) as error:
            raise TokenRefreshFailed(self.path, f"its lock cannot be taken: {files.explain(error)}") from None
        if lock is None:
            raise TokenLocked(self.path, f"another process has held its lock for {patience:g} seconds")
        return lock

    def _recover(self, seen: TokenCopy) -> None:
        """Take up what is in the journal for the token that the file has; a journal of no use goes.

        It was left there by a process that has ended, or by one that lives and cannot write the file. Its last entry
        is newer than what this process has in memory, unless that never came into the journal.
        """
        try:
            tokens = kept_tokens(seen)
        except OSError as error:  # to go on would be to use a refresh token that may be spent
            raise TokenRefreshFailed(self.path, f"its journal cannot be read: {files.explain(error)}") from None
        if not tokens:
            seen.journal.remove()
        elif self._unwritten is None:
            self._unwritten = _Unwritten(tokens[-1], seen.token, is_kept=True)
            self._log(f"{self.path}: a new token that was left in its journal is used from now on")
        elif any(is_same(token, self._unwritten.token) for token in tokens):
            self._unwritten = _Unwritten(tokens[-1], seen.token, is_kept=True)

    def _prepare(self, token: Token) -> tuple[Call, Token]:
        try:
            token = self._with_registration(token)
            return credentials.refresh_call(token, refresh_url=self._refresh_url, user_agent=self._user_agent), token
        except CredentialsError as error:
            raise TokenRefused(self.path, f"cannot be refreshed: {error}", fingerprint(token)) from None

    async def _refresh(self, lock: files.Lock, seen: TokenCopy, token: Token, call: Call) -> _Landing:
        """Ask, and write the answer down: once the call is sent, nothing cancels this."""
        outcome = await self._ask_and_keep(seen, token, call)
        match outcome:
            case credentials.Refreshed(token=renewed):
                return _Landing(self._choose(await self._write(lock, seen, renewed)), asked=True)
            case credentials.RefreshRefused(reason=reason):
                # Another program, which knows nothing of our lock, may have used the refresh token up.
                again = await self._look(afresh=True)
                if supersedes(again.token, seen.token, self._epoch()):
                    return _Landing(self._choose(again), asked=False)
                if self._unwritten is not None:  # so that the file has the token of which this is said
                    await self._write(lock, seen, self._unwritten.token)
                raise TokenRefused(self.path, f"{reason}; its user has to sign in again", fingerprint(token))
            case credentials.RefreshFailed(problem=problem):
                raise TokenRefreshFailed(self.path, problem)
            case _:
                assert_never(outcome)

    async def _ask_and_keep(self, seen: TokenCopy, token: Token, call: Call) -> credentials.RefreshOutcome:
        """Ask, and put the new token into the journal before anything else is done with it."""
        result = "failed"
        entry = None
        try:
            entry = seen.journal.open()
        except OSError as error:
            self._log(f"{self.path}: has no journal, a crash would cost the new token: {files.explain(error)}")
        try:
            with trio.CancelScope(shield=True):
                outcome = await self._ask(call, token)
            if isinstance(outcome, credentials.Refreshed):
                is_kept = entry is not None and keep(entry, seen, outcome.token)
                self._unwritten = _Unwritten(outcome.token, seen.token, is_kept)
            result = _RESULTS[type(outcome)]
            return outcome
        finally:
            if entry is not None:
                entry.close()
            self._heard(result)

    def _with_registration(self, token: Token) -> Token:
        """The token with its registration, which stands beside the file, or beside what the link `path` leads to.

        Raises:
            TokenRefreshFailed: it cannot be read now. That says nothing of the token, and is never final.
        """
        if (name := credentials.registration_file(token)) is None:
            return token
        for folder in dict.fromkeys(map(os.path.dirname, (self.path, os.path.realpath(self.path)))):
            try:
                _, data = files.read_file(os.path.join(folder, name), max_bytes=MAX_BYTES)
                return msgspec.structs.replace(token, registration=credentials.parse_registration(data))
            except FileNotFoundError:
                continue
            except (OSError, CredentialsError) as error:
                problem = f"cannot be refreshed: {name}: {files.explain(error)}"
                raise TokenRefreshFailed(self.path, problem) from None
        raise TokenRefreshFailed(self.path, f"cannot be refreshed: there is no {name} beside the file")

    async def _ask(self, call: Call, token: Token) -> credentials.RefreshOutcome:
        with trio.move_on_after(self._refresh_timeout):
            try:
                status, body = await self._post(call)
            except (Unreachable, OSError) as error:
                raise TokenRefreshFailed(self.path, f"the refresh got no answer: {error}") from None
            return credentials.parse_refresh(token, status, body, self._epoch())
        raise TokenRefreshFailed(self.path, f"the refresh got no answer within {self._refresh_timeout:g} seconds")

    async def _write(self, lock: files.Lock, seen: TokenCopy, token: Token) -> TokenCopy:
        """Write a new token into the file that was seen; gives back what is there then. Never raises.

        Where it cannot be written, the token stays in `_unwritten`, where it is used from.
        """
        work = partial(write_back, lock, self.path, seen, token, self._epoch())
        problem = f"the disk took longer than {self._write_timeout:g} seconds"
        with trio.move_on_after(self._write_timeout, shield=True):
            try:
                self._seen = await self._in_thread(work)
                return self._seen
            except (OSError, ValueError, RuntimeError) as error:  # the last where the system has no thread for us
                problem = files.explain(error)
        if not self._is_told:
            where = "its journal" if self._unwritten and self._unwritten.is_kept else "memory only"
            self._log(f"{self.path}: the new token is in {where}, it cannot be written yet: {problem}")
        self._is_told = True
        return seen
