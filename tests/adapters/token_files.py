"""What the tests of token files share: a sign-in service that uses refresh tokens up, and a file to begin with."""

from __future__ import annotations

import fcntl
import functools
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import trio
from trio.testing import MockClock

from adapters.tokens import Post, TokenFile
from core.http import Call
from core.times import Epoch, render_date

T = TypeVar("T")
P = ParamSpec("P")

# Every made-up secret here has this word in it, so that one search finds any that got out.
HASH = "0123456789abcdef0123456789abcdef01234567"
"""The name of a registration's file, made up."""

MARK = "SECRET"
START = 1_700_000_000.0


def in_virtual_time(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """A test on a clock that starts at 0 and jumps to the next deadline when nothing else is to be done."""

    @functools.wraps(test)
    def run(*arguments: P.args, **fixtures: P.kwargs) -> None:
        trio.run(functools.partial(test, *arguments, **fixtures), clock=MockClock(autojump_threshold=0))

    return run


def epoch() -> Epoch:
    """The date, moved by trio's clock."""
    return Epoch(START + trio.current_time())


class SignIn:
    """A service that takes each refresh token once, as the strictest do, and counts what it is asked."""

    def __init__(self) -> None:
        self.round = 0
        self.calls: list[Call] = []
        self.lifetime: object = 3600
        self.delay = 1.0
        self.answer: tuple[int, bytes] | Exception | None = None
        self.while_asked: Callable[[], object] = lambda: None

    @property
    def access(self) -> str:
        """The access token that is good now."""
        return f"access-{MARK}-{self.round}"

    @property
    def refresh(self) -> str:
        """The refresh token that will be taken next."""
        return f"refresh-{MARK}-{self.round}"

    async def post(self, call: Call) -> tuple[int, bytes]:
        """Answers a refresh. The token is used up before the answer is on its way, as in the world."""
        self.calls.append(call)
        await trio.lowlevel.checkpoint()
        if self.answer is None:
            if json.loads(call.body)["refreshToken"] != self.refresh:
                return 400, f'{{"error": "invalid_grant", "error_description": "{MARK}"}}'.encode()
            self.round += 1
        self.while_asked()
        await trio.sleep(self.delay)
        if isinstance(self.answer, Exception):
            raise self.answer
        members = {"accessToken": self.access, "refreshToken": self.refresh, "expiresIn": self.lifetime}
        return self.answer or (200, json.dumps(members).encode())


def expiry(seconds_left: float) -> str:
    """An expiry that is so many seconds after the tests' start."""
    return render_date(Epoch(START + seconds_left))


def write(path: Path, *, left: float = -1.0, round_: int = 0, **members: Any) -> None:
    """A token file as its owner would write it: in place."""
    document = {
        "accessToken": f"access-{MARK}-{round_}",
        "refreshToken": f"refresh-{MARK}-{round_}",
        "expiresAt": expiry(left),
        "authMethod": "social",
        "provider": "Google",
    }
    path.write_text(json.dumps(document | members))


def read(path: Path) -> dict[str, Any]:
    """What is in a token file."""
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document


async def inline(work: Callable[[], T], /) -> T:
    """Work as if in a thread, without one: trio's mock clock would jump while a real one works."""
    await trio.lowlevel.checkpoint()
    result = work()
    await trio.lowlevel.checkpoint()
    return result


def token_file(path: Path | str, post: Post, log: Callable[[str], None] | None = None, **settings: Any) -> TokenFile:
    """A token file on the tests' clock, without threads."""
    arguments: dict[str, Any] = {"refresh_url": None, "in_thread": inline} | settings
    return TokenFile(str(path), post=post, epoch=epoch, user_agent="made-up/1", log=log or print, **arguments)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process' lock on a token file; to the system, another open file is as good."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether anybody has the lock."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
