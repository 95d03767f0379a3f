"""Token files: read, refresh, write back.

This module knows files, locks and waiting. What a token is, when it is to be refreshed and what the service's answer
means is `core.credentials`'; how a call is sent is `post`'s.

A refresh token is used up by the refresh: from the moment the call is sent, the only copy of its successor may be on
its way to us. So from there to the rename nothing can be cancelled. Both parts are bounded instead, by
`refresh_timeout` and `write_timeout`, and what cannot be written is kept, used, and tried again.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, assert_never

import msgspec
import trio

from adapters import files
from adapters.upstream import Unreachable
from core import credentials
from core.credentials import CredentialsError, Token, is_expired, needs_refresh
from core.errors import StagewhisperError
from core.http import Call
from core.times import Epoch

Post: TypeAlias = Callable[[Call], Awaitable[tuple[int, bytes]]]
"""Sends a call and gives back the answer's status and body; where there is none, Unreachable or OSError."""

_MAX_BYTES = 1 << 20  # real files have 1 to 5 kB
_NEXT_TRY = 30.0  # seconds between two refreshes, or two writes, that could still wait
# The file's owner may write it in place: for a moment it is empty, or ends early. That is waited for, then told.
_TORN_PAUSES = (0.02, 0.05, 0.1, 0.2)


class TokenError(StagewhisperError):
    """A token file gives no token. One line: which file, and why; never a token."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason

    def again(self) -> TokenError:
        """The same error as a new exception: one that many tasks raise would collect all their tracebacks."""
        return type(self)(self.path, self.reason)


class TokenUnreadable(TokenError):
    """The file is missing, cannot be read, or is no token file."""


class _TokenTorn(TokenUnreadable):
    """It is no JSON object, which may be because somebody is writing it."""


class TokenUnwritable(TokenError):
    """A refreshed token could not be written back."""


class TokenRefused(TokenError):
    """Final: there is no way to a new token but that a person signs in again."""


class TokenRefreshFailed(TokenError):
    """There is no new token this time; later there may be one."""


class TokenLocked(TokenRefreshFailed):
    """Another process held the lock for longer than we wait."""


@dataclass(frozen=True, slots=True, repr=False)
class _Seen:
    """A file as it was read. Like all here that hold secrets, it has no `repr` of its own."""

    stamp: files.Stamp
    data: bytes
    token: Token


@dataclass(frozen=True, slots=True, repr=False)
class _Unwritten:
    """A new token that is in memory only, and the file's token that it is to replace."""

    token: Token
    instead_of: Token


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
    """One token file, shared by all who use its account. Timeouts are in seconds."""

    def __init__(
        self,
        path: str,
        *,
        refresh_url: str | None,
        post: Post,
        epoch: Callable[[], Epoch],
        user_agent: str,
        log: Callable[[str], None],
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
        self._lock_timeout = lock_timeout
        self._refresh_timeout = refresh_timeout
        self._write_timeout = write_timeout
        self._in_thread = in_thread
        self._seen: _Seen | None = None
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
            token = self._choose(await self._look())
            is_usable = self._is_usable(token, rejected)
            if is_usable and (self._flight is not None or not self._is_due(token)):
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

    async def flush(self) -> bool:
        """Try once more to write what is in memory only. False: it still is, and would be lost with the process."""
        if self._unwritten is not None:
            with suppress(TokenError):
                await self._settle(None, patience=self._lock_timeout, ask=False)
        return self._unwritten is None

    # --- what is there -----------------------------------------------------------------------------------------

    async def _look(self, *, afresh: bool = False) -> _Seen:
        """The file as it is. Where it has not changed since, this costs one `stat`.

        That and the reading are done right here: they take microseconds, the way to a thread and back hundreds.
        """
        if not afresh and self._seen is not None and files.has_stamp(self.path, self._seen.stamp):
            return self._seen
        for pause in _TORN_PAUSES:
            try:
                self._seen = _read(self.path)
                return self._seen
            except _TokenTorn:
                await trio.sleep(pause)
        self._seen = _read(self.path)
        return self._seen

    def _choose(self, seen: _Seen) -> Token:
        """The file's token, unless there is a newer one that could not be written yet."""
        if self._unwritten is None:
            return seen.token
        if _is_same(seen.token, self._unwritten.token):
            if self._is_told:
                self._log(f"{self.path}: the new token is written now")
        elif _supersedes(seen.token, self._unwritten.instead_of, self._epoch()):
            self._log(f"{self.path}: another program wrote a token of its own meanwhile, which is used from now on")
        else:
            return self._unwritten.token
        self._unwritten = None
        self._is_told = False
        return seen.token

    def _is_usable(self, token: Token, rejected: str | None) -> bool:
        return token.access_token != rejected and not is_expired(token, self._epoch())

    def _is_due(self, token: Token) -> bool:
        """Whether something that could wait is to be done now: a refresh before expiry, or a write."""
        is_wanted = self._unwritten is not None or needs_refresh(token, self._epoch())
        return is_wanted and trio.current_time() >= self._next_try

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

    def _prepare(self, token: Token) -> tuple[Call, Token]:
        try:
            token = self._with_registration(token)
            return credentials.refresh_call(token, refresh_url=self._refresh_url, user_agent=self._user_agent), token
        except CredentialsError as error:
            raise TokenRefused(self.path, f"cannot be refreshed: {error}") from None

    async def _refresh(self, lock: files.Lock, seen: _Seen, token: Token, call: Call) -> _Landing:
        """Ask, and write the answer down: once the call is sent, nothing cancels this."""
        with trio.CancelScope(shield=True):
            outcome = await self._ask(call, token)
        match outcome:
            case credentials.Refreshed(token=renewed):
                self._unwritten = _Unwritten(renewed, instead_of=seen.token)
                return _Landing(self._choose(await self._write(lock, seen, renewed)), asked=True)
            case credentials.RefreshRefused(reason=reason):
                # Another program, which knows nothing of our lock, may have used the refresh token up.
                again = await self._look(afresh=True)
                if _supersedes(again.token, seen.token, self._epoch()):
                    return _Landing(self._choose(again), asked=False)
                raise TokenRefused(self.path, f"{reason}; its user has to sign in again")
            case credentials.RefreshFailed(problem=problem):
                raise TokenRefreshFailed(self.path, problem)
            case _:
                assert_never(outcome)

    def _with_registration(self, token: Token) -> Token:
        """The token with its registration, which stands beside the file, or beside what the link `path` leads to.

        Raises:
            CredentialsError: it cannot be read.
        """
        if (name := credentials.registration_file(token)) is None:
            return token
        for folder in dict.fromkeys(map(os.path.dirname, (self.path, os.path.realpath(self.path)))):
            try:
                _, data = files.read_file(os.path.join(folder, name), max_bytes=_MAX_BYTES)
                return msgspec.structs.replace(token, registration=credentials.parse_registration(data))
            except FileNotFoundError:
                continue
            except (OSError, CredentialsError) as error:
                raise CredentialsError(name, files.explain(error)) from None
        raise CredentialsError("clientIdHash", f"there is no {name} beside the file")

    async def _ask(self, call: Call, token: Token) -> credentials.RefreshOutcome:
        with trio.move_on_after(self._refresh_timeout):
            try:
                status, body = await self._post(call)
            except (Unreachable, OSError) as error:
                raise TokenRefreshFailed(self.path, f"the refresh got no answer: {error}") from None
            return credentials.parse_refresh(token, status, body, self._epoch())
        raise TokenRefreshFailed(self.path, f"the refresh got no answer within {self._refresh_timeout:g} seconds")

    async def _write(self, lock: files.Lock, seen: _Seen, token: Token) -> _Seen:
        """Write a new token into the file that was seen; gives back what is there then. Never raises.

        Where it cannot be written, the token stays in `_unwritten`, where it is used from.
        """
        work = partial(_write_back, lock, self.path, seen, token, self._epoch())
        problem = f"the disk took longer than {self._write_timeout:g} seconds"
        with trio.move_on_after(self._write_timeout, shield=True):
            try:
                self._seen = await self._in_thread(work)
                return self._seen
            except (OSError, ValueError, RuntimeError) as error:  # the last where the system has no thread for us
                problem = files.explain(error)
        if not self._is_told:
            self._log(f"{self.path}: the new token is in memory only, it cannot be written yet: {problem}")
        self._is_told = True
        return seen


def _read(path: str) -> _Seen:
    """The token file as it is. Raises: TokenUnreadable."""
    try:
        stamp, data = files.read_file(path, max_bytes=_MAX_BYTES)
        return _Seen(stamp, data, credentials.parse_token_file(data))
    except (OSError, ValueError) as error:
        raise TokenUnreadable(path, f"cannot be read: {files.explain(error)}") from None
    except CredentialsError as error:
        raise (TokenUnreadable if error.member else _TokenTorn)(path, str(error)) from None


def _is_same(one: Token, other: Token) -> bool:
    return (one.access_token, one.refresh_token) == (other.access_token, other.refresh_token)


def _supersedes(found: Token, used: Token, now: Epoch) -> bool:
    """Whether a file that had the token `used` has by now got a good one from another program.

    Somebody signed in while we refreshed, it may be as somebody else: that must not be written over.
    """
    return found.access_token != used.access_token and not needs_refresh(found, now)


def _write_back(lock: files.Lock, path: str, seen: _Seen, token: Token, now: Epoch) -> _Seen:
    """What a thread does: write `token` into the file that was seen, and give back what is there then.

    Raises:
        OSError, ValueError: it could not be written; the file is as it was.
    """
    if not lock.claim():
        return seen  # nobody waits for this any more, and the lock is gone
    try:
        try:
            found = _read(path)
        except TokenUnreadable:
            found = seen  # made whole again from what it was
        if _supersedes(found.token, seen.token, now):
            return found
        data = credentials.render_token_file(found.data, token)
        written = credentials.parse_token_file(data)  # before it becomes the only copy
        return _Seen(files.replace_file(path, data), data, written)
    finally:
        lock.release()


def check_writable(path: str) -> Token:
    """The file's token, unless it cannot be read or its successor could not be written.

    Raises:
        TokenUnreadable: it cannot be read, or is no token file.
        TokenUnwritable: nothing can be written beside it.
    """
    path = os.path.expanduser(path)
    token = _read(path).token
    try:
        files.check_replaceable(path)
    except OSError as error:
        raise TokenUnwritable(path, f"its folder cannot be written: {files.explain(error)}") from None
    return token
