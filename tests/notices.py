"""What an exchange tells, and what requests came to, made up: for whoever listens or counts."""

from __future__ import annotations

from core.anthropic import AnswerMessage, AnswerText, Usage
from core.dialogue import AttemptFailed, Refused, Succeeded
from core.failures import Failure, Kind
from core.refusals import Refusal
from core.response import AnswerMetadata, BufferedResponse
from core.summary import Attempt, Outcome, Summary
from core.times import Instant


def failed(account: str, kind: Kind) -> AttemptFailed:
    """An attempt that failed."""
    return AttemptFailed(account, Failure(kind=kind, message="made-up reason"))


def succeeded(account: str) -> Succeeded:
    """An answer."""
    message = AnswerMessage(
        id="msg_1",
        model="claude-test",
        content=(AnswerText("made-up words"),),
        stop_reason="end_turn",
        usage=Usage(input_tokens=12, output_tokens=34),
    )
    metadata = AnswerMetadata(original_model="claude-test", target_provider=account)
    return Succeeded(BufferedResponse(message=message, metadata=metadata))


def refused(error_type: str, message: str = "made-up reason") -> Refused:
    """The end of a request in vain."""
    return Refused(Refusal(error_type=error_type, message=message))


def ended(
    outcome: Outcome,
    *attempts: tuple[str, Kind | None],
    duration: float | None = 1.0,
    processing: float = 0.0,
    model: str = "claude-test",
) -> Summary:
    """A request that is over; one whose `duration` is None is not."""
    return Summary(
        request_id="req_1",
        model=model,
        began=Instant(0.0),
        ended=None if duration is None else Instant(duration),
        processing=processing,
        attempts=tuple(Attempt(account, kind) for account, kind in attempts),
        outcome=outcome,
    )
