"""One token file on the disk: how it is read, and how a new token comes into it.

This module knows the file, the journal beside it and what may have happened to both. It waits for nothing but the
disk. When there is to be a new token, and who may write, is `tokens`' to say.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass

from adapters import files
from core import credentials
from core.credentials import CredentialsError, Token, fingerprint, needs_refresh
from core.errors import StagewhisperError
from core.times import Epoch

MAX_BYTES = 1 << 20
"""The largest file that is read; real ones have 1 to 5 kB."""


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


class TokenTorn(TokenUnreadable):
    """It is no JSON object, which may be because somebody is writing it."""


class TokenUnwritable(TokenError):
    """A refreshed token could not be written back."""


@dataclass(frozen=True, slots=True, repr=False)
class TokenCopy:
    """A file as it was read. Like all that hold secrets, it has no `repr` of its own."""

    stamp: files.Stamp
    data: bytes
    token: Token
    journal: files.Journal


def read_copy(path: str) -> TokenCopy:
    """The token file as it is. Raises: TokenUnreadable."""
    try:
        stamp, data = files.read_file(path, max_bytes=MAX_BYTES)
        return TokenCopy(stamp, data, credentials.parse_token_file(data), files.Journal(path))
    except (OSError, ValueError) as error:
        raise TokenUnreadable(path, f"cannot be read: {files.explain(error)}") from None
    except CredentialsError as error:
        raise (TokenUnreadable if error.member else TokenTorn)(path, str(error)) from None


def is_same(one: Token, other: Token) -> bool:
    """Whether two are one token: an expiry or a profile that changed makes no other."""
    return (one.access_token, one.refresh_token) == (other.access_token, other.refresh_token)


def supersedes(found: Token, used: Token, now: Epoch) -> bool:
    """Whether a file that had the token `used` has by now got a good one from another program.

    Somebody signed in while we refreshed, it may be as somebody else: that must not be written over.
    """
    return found.access_token != used.access_token and not needs_refresh(found, now)


def kept_tokens(seen: TokenCopy) -> list[Token]:
    """The successors of the file's token that are in the journal, oldest first.

    Raises:
        OSError: it cannot be read now.
    """
    tokens = []
    for data in seen.journal.read(fingerprint(seen.token)):
        with suppress(CredentialsError):  # half an entry
            tokens.append(credentials.parse_token_file(data))
    return [token for token in tokens if not is_same(token, seen.token)]


def keep(entry: files.JournalEntry, seen: TokenCopy, token: Token) -> bool:
    """Whether a new token could be put into the journal, as the file that is to be."""
    with suppress(OSError):
        entry.write(fingerprint(seen.token), credentials.render_token_file(seen.data, token))
        return True
    return False


def write_back(lock: files.Lock, path: str, seen: TokenCopy, token: Token, now: Epoch) -> TokenCopy:
    """What a thread does: write `token` into the file that was seen, and give back what is there then.

    Raises:
        OSError, ValueError: it could not be written; the file is as it was.
    """
    if not lock.claim():
        return seen  # nobody waits for this any more, and the lock is gone
    try:
        # On the disk first, as it is: what another program may have done to the file meanwhile takes time to find out.
        seen.journal.make_lasting(fingerprint(seen.token), credentials.render_token_file(seen.data, token))
        try:
            found = read_copy(path)
        except TokenUnreadable:
            found = seen  # made whole again from what it was
        if not supersedes(found.token, seen.token, now):
            data = credentials.render_token_file(found.data, token)
            written = credentials.parse_token_file(data)  # before it becomes the only copy
            found = TokenCopy(files.replace_file(path, data), data, written, seen.journal)
        seen.journal.remove()
        return found
    finally:
        lock.release()


def check_writable(path: str) -> Token:
    """The file's token, unless it cannot be read or its successor could not be written.

    Raises:
        TokenUnreadable: it cannot be read, or is no token file.
        TokenUnwritable: nothing can be written beside it.
    """
    path = os.path.expanduser(path)
    token = read_copy(path).token
    try:
        files.check_replaceable(path)
    except OSError as error:
        raise TokenUnwritable(path, f"its folder cannot be written: {files.explain(error)}") from None
    return token
