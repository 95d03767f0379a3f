"""Where an exchange is: the phases that it goes through, and what it remembers on the way.

What leads from one to the next is in `exchange`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from core import eventstream
from core.anthropic import shorten
from core.credentials import Token
from core.errors import ClientRequestError
from core.failures import Failure
from core.http import Head
from core.live import Live
from core.request import Conversion
from core.response import EventLog, Reading
from core.selection import Provider
from core.times import Instant

Delivery: TypeAlias = Literal["buffered", "live"]
"""When a streaming client is sent an answer: once all of it is there, or as it comes."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How patient an exchange is, and how it delivers. All durations are in seconds."""

    first_byte: float = 300.0
    idle: float = 300.0
    total: float = 1800.0
    ping_quiet: float = 10.0
    ping_interval: float = 15.0
    convert_written_calls: bool = True
    delivery: Delivery = "buffered"


def ask_for_delivery(policy: Policy, word: str | None) -> Policy:
    """The policy as one request wants it, by what its header `x-stagewhisper-delivery` says; None where it has none.

    Raises:
        ClientRequestError: it says something else than the two.
    """
    if word is None:
        return policy
    if word not in ("buffered", "live"):
        raise ClientRequestError("x-stagewhisper-delivery", f"expected buffered or live, got {shorten(word)}")
    return msgspec.structs.replace(policy, delivery=word)


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
    """An event stream is coming in. `live` is what of it has been sent, where it is sent as it comes."""

    provider: Provider
    token: Token
    deadline: Instant
    size: int = 0
    pending: eventstream.Pending = eventstream.START
    log: EventLog = msgspec.field(default_factory=EventLog)
    live: Live | None = None


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


class Refreshing(msgspec.Struct, frozen=True, kw_only=True):
    """The client has its error, and the account gets the token that whoever comes next will need."""

    provider: Provider


class Ended(msgspec.Struct, frozen=True):
    """Nothing is wanted any more."""


Phase: TypeAlias = Choosing | Authorizing | Calling | Streaming | ReadingRefusal | Pausing | Refreshing | Ended


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one client request. Only `begin` and `advance` make these."""

    asked: Asked
    policy: Policy
    deadline: Instant
    next_ping: Instant | None
    """When the client should hear something; None for one that did not ask for a stream."""
    begun: bool = False
    """Whether `message_start` has gone out."""
    spoken: bool = False
    """Whether anything of an answer's content has: then no other attempt can be made."""
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

    @property
    def reading(self) -> Reading:
        """How an answer is to be read."""
        conversion = self.asked.conversion
        return Reading(
            message_id=self.asked.message_id,
            model=conversion.model.name,
            names=conversion.names,
            callable_names=conversion.callable_names if self.policy.convert_written_calls else (),
            calls_allowed=conversion.calls_allowed,
            stop_sequences=conversion.stop_sequences,
            window=conversion.model.context_window,
            estimated_input=conversion.estimated_input,
        )
