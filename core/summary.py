"""What one client request came to: a fold over what its exchange tells.

The log's line, the statistics and the metrics are all written from this one value. It knows accounts, models, kinds,
figures and times; no word of a conversation and no message of an error, which may quote one, is kept.
"""

from __future__ import annotations

import enum
from typing import assert_never

import msgspec

from core.anthropic import StopReason
from core.dialogue import AnswerBegan, AttemptFailed, Deliver, Notice, Refused, Succeeded, TokenRejected
from core.failures import Kind
from core.times import Instant


class Outcome(enum.Enum):
    """How a client's request ended."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """The exchange ended with an error, as a status or in mid-stream."""
    ABANDONED = "abandoned"
    """The client left, or the gateway was stopped."""
    NO_PLACE = "no_place"
    """As many requests were running as may (`server.maxConcurrent`), or the gateway began to stop meanwhile."""
    BUG = "bug"

    @property
    def is_timed(self) -> bool:
        """Whether what the request took says something of the service: not where its client gave up, or never began."""
        return self is Outcome.ANSWERED or self is Outcome.REFUSED


class Attempt(msgspec.Struct, frozen=True):
    """One account's try at the answer. `failure` is None for the one that gave it."""

    account: str
    failure: Kind | None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One client request: so far, or for good once it has `ended`. All durations are in seconds."""

    request_id: str
    model: str
    began: Instant
    ended: Instant | None = None
    first_byte: float | None = None
    """From `began` to when the service began the answer that counted; None where none did."""
    processing: float = 0.0
    """What the core took for the answer's bytes."""
    attempts: tuple[Attempt, ...] = ()
    """In order. One that was cut short by the end of the request is none."""
    answering: str | None = None
    """The account whose answer has begun and has neither ended nor failed."""
    refreshes: int = 0
    """Tokens that the service refused although they looked valid."""
    outcome: Outcome = Outcome.ABANDONED
    error_type: str | None = None
    stop_reason: StopReason | None = None
    blocks: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0

    @property
    def account(self) -> str | None:
        """The account that answered, else the last one that was tried; None where none was."""
        if self.answering is not None:
            return self.answering
        return self.attempts[-1].account if self.attempts else None

    @property
    def duration(self) -> float:
        """Seconds from first to last; 0.0 until the request has ended."""
        return 0.0 if self.ended is None else self.ended - self.began


def hear(summary: Summary, notice: Notice, *, now: Instant) -> Summary:
    """The summary after what the exchange told at `now`."""
    match notice:
        case Deliver():
            return summary
        case AnswerBegan(provider_id=account):
            return msgspec.structs.replace(summary, answering=account, first_byte=now - summary.began)
        case TokenRejected():
            return msgspec.structs.replace(summary, answering=None, first_byte=None, refreshes=summary.refreshes + 1)
        case AttemptFailed(provider_id=account, failure=failure):
            attempts = (*summary.attempts, Attempt(account, failure.kind))
            return msgspec.structs.replace(summary, attempts=attempts, answering=None, first_byte=None)
        case Succeeded(response=response):
            message = response.message
            return msgspec.structs.replace(
                summary,
                attempts=(*summary.attempts, Attempt(response.metadata.target_provider, None)),
                answering=None,
                outcome=Outcome.ANSWERED,
                stop_reason=message.stop_reason,
                blocks=len(message.content),
                input_tokens=message.usage.input_tokens,
                output_tokens=message.usage.output_tokens,
                cache_read_input_tokens=message.usage.cache_read_input_tokens,
                cache_creation_input_tokens=message.usage.cache_creation_input_tokens,
            )
        case Refused(refusal=refusal):
            return msgspec.structs.replace(summary, outcome=Outcome.REFUSED, error_type=refusal.error_type)
        case _:
            assert_never(notice)


def end(summary: Summary, *, now: Instant, processing: float, outcome: Outcome | None = None) -> Summary:
    """The summary of a request that is over. `outcome` is for what the exchange did not tell, or could not know."""
    return msgspec.structs.replace(
        summary, ended=now, processing=processing, outcome=summary.outcome if outcome is None else outcome
    )
