"""Where an exchange is: the phases that it goes through, and what it remembers on the way.

What leads from one to the next is in `exchange`.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from core import eventstream
from core.credentials import Token
from core.failures import Failure
from core.http import Head
from core.request import Conversion
from core.response import EventLog
from core.selection import Provider
from core.times import Instant


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How patient an exchange is. All durations are in seconds."""

    first_byte: float = 300.0
    idle: float = 300.0
    total: float = 1800.0
    ping_quiet: float = 10.0
    ping_interval: float = 15.0
    convert_written_calls: bool = True


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked, and what the shell made up for it. `jitter` is 0..1."""

    conversion: Conversion
    message_id: str
    request_id: str
    invocation_id: str
    user_agent: str
    jitter: float


class Choosing(msgspec.Struct, frozen=True):
    """An account is being chosen."""


class Authorizing(msgspec.Struct, frozen=True, kw_only=True):
    """A token is being read or refreshed."""

    provider: Provider
    rejected: Token | None = None


class Calling(msgspec.Struct, frozen=True, kw_only=True):
    """The head of the service's answer is awaited."""

    provider: Provider
    token: Token
    deadline: Instant


class Streaming(msgspec.Struct, frozen=True, kw_only=True):
    """An event stream is coming in."""

    provider: Provider
    token: Token
    deadline: Instant
    size: int = 0
    pending: eventstream.Pending = eventstream.START
    log: EventLog = msgspec.field(default_factory=EventLog)


class ReadingRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """The body of something else than an event stream is coming in."""

    provider: Provider
    token: Token
    deadline: Instant
    head: Head
    body: bytes = b""


class Pausing(msgspec.Struct, frozen=True, kw_only=True):
    """The same account is tried again at the deadline."""

    provider: Provider
    token: Token
    deadline: Instant


class Ended(msgspec.Struct, frozen=True):
    """Nothing is wanted any more."""


Phase: TypeAlias = Choosing | Authorizing | Calling | Streaming | ReadingRefusal | Pausing | Ended


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one client request. Only `begin` and `advance` make these."""

    asked: Asked
    policy: Policy
    deadline: Instant
    next_ping: Instant | None
    """When the client should hear something; None for one that did not ask for a stream."""
    begun: bool = False
    """Whether `message_start` has gone out."""
    phase: Phase = Choosing()
    attempts: int = 0
    request_size: int = 0
    """The size of the last request to the service, in bytes."""
    tried: tuple[str, ...] = ()
    failures: tuple[tuple[str, Failure], ...] = ()
    retries: int = 0
    """Retries on the present account."""
    refreshed: bool = False
    """Whether the present account's token was refreshed because the service refused it."""
