"""What went wrong, as one of the kinds of failure, and what each kind calls for.

A kind says whose fault it is and what may help: trying again, another account, or nothing. It is recognised by
the service's reason, then its wording where that decides, then the error's name, then the HTTP status. What is
done about a failure is for `exchange`, what it means to an account for `health`, what the client is told for
`refusals`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime

import msgspec

from core.events import ServiceError, Undecodable
from core.eventstream import Fault
from core.times import Epoch


class Kind(enum.Enum):
    """The kinds of failure. Each has a row in `ROWS`, in `health` and in `refusals`."""

    AUTHENTICATION = "authentication"
    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"
    SUSPENDED = "suspended"
    SERVER = "server"
    OVERLOAD = "overload"
    NO_SUCH_MODEL = "no_such_model"
    NOT_ALLOWED = "not_allowed"
    NETWORK = "network"
    TIMEOUT = "timeout"
    ANSWER = "answer"
    TOO_LONG = "too_long"
    CLIENT = "client"
    TOKEN_FILE = "token_file"


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that went wrong. `message` is one line without secrets; `retry_after` is in seconds.

    `is_daily` tells a quota that is reset each day from one that is reset each month.
    """

    kind: Kind
    message: str
    retry_after: float | None = None
    is_daily: bool = False


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What a kind of failure calls for while nothing of the answer has reached the client.

    `retries` on the same account, after `backoff` or at once, then `another_account` or the end.
    """

    retries: int = 0
    backoff: bool = False
    another_account: bool


ROWS = {
    Kind.AUTHENTICATION: Row(another_account=True),
    Kind.RATE_LIMIT: Row(another_account=True),
    Kind.QUOTA: Row(another_account=True),
    Kind.SUSPENDED: Row(another_account=True),
    Kind.SERVER: Row(another_account=True),
    # Mostly a model without capacity lacks it for every account, but not always: those are in several regions.
    Kind.OVERLOAD: Row(retries=2, backoff=True, another_account=True),
    Kind.NO_SUCH_MODEL: Row(another_account=True),
    Kind.NOT_ALLOWED: Row(another_account=True),
    Kind.NETWORK: Row(retries=1, another_account=True),
    Kind.TIMEOUT: Row(another_account=True),
    # The same request would be cut at the same place by every account.
    Kind.ANSWER: Row(another_account=False),
    Kind.TOO_LONG: Row(another_account=False),
    Kind.CLIENT: Row(another_account=False),
    Kind.TOKEN_FILE: Row(another_account=True),
}

_REASONS = {
    "DAILY_REQUEST_COUNT": Kind.QUOTA,
    "MONTHLY_REQUEST_COUNT": Kind.QUOTA,
    "OVERAGE_REQUEST_LIMIT_EXCEEDED": Kind.QUOTA,
    "INSUFFICIENT_MODEL_CAPACITY": Kind.OVERLOAD,
    "MODEL_TEMPORARILY_UNAVAILABLE": Kind.OVERLOAD,
    "TEMPORARILY_SUSPENDED": Kind.SUSPENDED,
    "CONTENT_LENGTH_EXCEEDS_THRESHOLD": Kind.TOO_LONG,
    "PROMPT_TOO_LONG": Kind.TOO_LONG,
    "INVALID_MODEL_ID": Kind.NO_SUCH_MODEL,
    "CONVERSATION_LIMIT_EXCEEDED": Kind.CLIENT,
}

# Prefixes, for the rest of a message may quote what the client wrote.
_MESSAGES = (
    ("The bearer token included in the request is invalid", Kind.AUTHENTICATION),
    ("Input is too long.", Kind.TOO_LONG),
    ("Input content length exceeds threshold", Kind.TOO_LONG),
    ("Encountered unexpectedly high load", Kind.OVERLOAD),
)

_NAMES = {
    "ThrottlingException": Kind.RATE_LIMIT,
    "ServiceQuotaExceededException": Kind.QUOTA,
    "ValidationException": Kind.CLIENT,
    # In mid-stream too: any account would overflow at the same place, and clients compact on it.
    "ContentLengthExceededException": Kind.TOO_LONG,
    "AccessDeniedException": Kind.AUTHENTICATION,
    "InternalServerException": Kind.SERVER,
    "ServiceUnavailableException": Kind.SERVER,
    # The address is wrong, not the request: `UnknownOperationException` comes as a 404, and as a 200 too.
    "UnknownOperationException": Kind.SERVER,
}

_STATUSES = {
    400: Kind.CLIENT,
    401: Kind.AUTHENTICATION,
    402: Kind.QUOTA,
    403: Kind.AUTHENTICATION,
    413: Kind.TOO_LONG,
    422: Kind.CLIENT,
    429: Kind.RATE_LIMIT,
}

_LARGE_BODY = 600_000
"""Bytes above which "Improperly formed request." means that the body is too large (seen in the wild)."""

_LONGEST_MESSAGE = 500


def classify(
    error: ServiceError | Undecodable,
    *,
    retry_after: float | None = None,
    body_size: int = 0,
    secrets: Iterable[str] = (),
) -> Failure:
    """The failure that an error of the service is, be it a refused call or in the middle of an answer.

    `body_size` is that of the request, in bytes. `secrets` are left out of the message: where gateways complain of a
    header, they quote it.
    """
    if isinstance(error, Undecodable):
        return Failure(kind=Kind.SERVER, message=f"the service sent an event that is none: {error.problem}")
    return Failure(
        kind=_kind(error, body_size),
        message=_describe(error, secrets),
        retry_after=retry_after,
        is_daily=error.reason == "DAILY_REQUEST_COUNT",
    )


def classify_fault(fault: Fault) -> Failure:
    """The failure that a damaged or cut stream of frames is: to us it is the network that did it."""
    where = f"the service's answer broke at byte {fault.offset}"
    return Failure(kind=Kind.NETWORK, message=f"{where}: {fault.reason.value} ({fault.detail})")


def _kind(error: ServiceError, body_size: int) -> Kind:
    if error.reason in _REASONS:
        return _REASONS[error.reason]
    for prefix, kind in _MESSAGES:
        if error.message.startswith(prefix):
            return kind
    if error.message.startswith("Improperly formed request") and body_size > _LARGE_BODY:
        return Kind.TOO_LONG
    if error.reason and (error.name == "AccessDeniedException" or error.status in (401, 403)):
        return Kind.NOT_ALLOWED
    if error.name in _NAMES:
        return _NAMES[error.name]
    # What has neither a name nor a status that we know, a 200 that is no event stream included, is the service's.
    return _STATUSES.get(error.status or 0, Kind.SERVER)


def _describe(error: ServiceError, secrets: Iterable[str]) -> str:
    label = "the service said in its answer" if error.status is None else f"the service answered {error.status}"
    reason = f"({error.reason})" if error.reason else ""
    line = _on_one_line(f"{label} {error.name} {reason}")
    if words := _on_one_line(error.message):
        line = f"{line}: {words}"
    for secret in secrets:
        line = line.replace(secret, "***")
    if len(line) <= _LONGEST_MESSAGE:
        return line
    # Not amid a number: what covers an account's in a recording does not know a part of one.
    return line[:_LONGEST_MESSAGE].rstrip("0123456789") + "..."


def parse_retry_after(value: str | None, now: Epoch) -> float | None:
    """The seconds that a `retry-after` header asks to wait: it holds seconds or a date. None for anything else."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
        # HTTP's dates are UTC; one that names no zone must not be taken for this machine's.
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now.seconds)
    except (ValueError, OverflowError):
        return None


def _on_one_line(text: str) -> str:
    """A text without line ends and control characters: it goes into logs, and from there onto terminals."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
