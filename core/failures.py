"""What went wrong, as one of the kinds of failure, and what each kind calls for.

A kind says whose fault it is and what may help: trying again, another account, or nothing. It is recognised by
the service's reason, then its wording where that decides, then the error's name, then the HTTP status. What is
done about a failure is for `exchange`; what it means to an account is not decided here either.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime

import msgspec

from core.events import ServiceError, Undecodable
from core.eventstream import Fault
from core.times import Epoch


class Kind(enum.Enum):
    """The kinds of failure. Each has one row in `ROWS` and one in `_ANSWERS`."""

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


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that went wrong. `message` is one line without secrets; `retry_after` is in seconds."""

    kind: Kind
    message: str
    retry_after: float | None = None


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
    # A model without capacity lacks it for every account.
    Kind.OVERLOAD: Row(retries=2, backoff=True, another_account=False),
    Kind.NO_SUCH_MODEL: Row(another_account=True),
    Kind.NOT_ALLOWED: Row(another_account=True),
    Kind.NETWORK: Row(retries=1, another_account=True),
    Kind.TIMEOUT: Row(another_account=True),
    # The same request would be cut at the same place by every account.
    Kind.ANSWER: Row(another_account=False),
    Kind.TOO_LONG: Row(another_account=False),
    Kind.CLIENT: Row(another_account=False),
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
    return Failure(kind=_kind(error, body_size), message=_describe(error, secrets), retry_after=retry_after)


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
    return line if len(line) <= _LONGEST_MESSAGE else line[:_LONGEST_MESSAGE] + "..."


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


# --- what the client is told -----------------------------------------------------------------------------------


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What a client is told of a request that failed. `should_retry` is None where its own rules are right."""

    error_type: str
    message: str
    retry_after: int | None = None
    should_retry: bool | None = None


_ANSWERS = {
    # Never authentication_error: a 401 is for the client's own key, and Claude Code tries it eleven times.
    Kind.AUTHENTICATION: "permission_error",
    Kind.RATE_LIMIT: "rate_limit_error",
    Kind.QUOTA: "rate_limit_error",
    Kind.SUSPENDED: "overloaded_error",
    Kind.SERVER: "overloaded_error",
    Kind.OVERLOAD: "overloaded_error",
    Kind.NO_SUCH_MODEL: "not_found_error",
    Kind.NOT_ALLOWED: "permission_error",
    Kind.NETWORK: "overloaded_error",
    Kind.TIMEOUT: "timeout_error",
    Kind.ANSWER: "api_error",
    Kind.TOO_LONG: "invalid_request_error",
    Kind.CLIENT: "invalid_request_error",
}

_POINTLESS = {
    Kind.AUTHENTICATION,
    Kind.QUOTA,
    Kind.SUSPENDED,
    Kind.NO_SUCH_MODEL,
    Kind.NOT_ALLOWED,
    Kind.ANSWER,
}
"""Kinds of which the next attempt would fail alike, so that a client's retries only cost time."""

_LONGEST_WAIT = 60.0
"""Seconds of `retry-after` up to which clients wait; Claude Code gives up on an hour."""


def refuse(
    failures: Sequence[tuple[str, Failure]], *, ended_by: Failure | None, prompt_tokens: int, window: int
) -> Refusal:
    """What the client is told when nothing is left to try: `failures` by account, in the order they happened.

    The one that ended the matter, whatever other accounts had said before, is `ended_by`; with none, one cause
    gives its own error and several different ones give `overloaded_error`. `prompt_tokens` (estimated) and
    `window` are for the wording on which clients compact their conversation.
    """
    if ended_by is not None:
        if ended_by.kind is Kind.TOO_LONG:
            return Refusal(error_type="invalid_request_error", message=prompt_too_long(prompt_tokens, window))
        return _refusal({ended_by.kind}, ended_by.message, [ended_by])
    if not failures:
        return Refusal(error_type="overloaded_error", message="no account can be used now")
    message = "; ".join(f"{account}: {_explain(account, failure)}" for account, failure in failures)
    return _refusal({failure.kind for _, failure in failures}, message, [failure for _, failure in failures])


def _refusal(kinds: set[Kind], message: str, failures: Sequence[Failure]) -> Refusal:
    types = {_ANSWERS[kind] for kind in kinds}
    error_type = types.pop() if len(types) == 1 else "overloaded_error"
    retry_after, should_retry = _waiting(kinds, failures)
    return Refusal(error_type=error_type, message=message, retry_after=retry_after, should_retry=should_retry)


def _waiting(kinds: set[Kind], failures: Sequence[Failure]) -> tuple[int | None, bool | None]:
    if kinds <= _POINTLESS:
        return None, False
    hopeful = [failure for failure in failures if failure.kind not in _POINTLESS]
    waits = [failure.retry_after for failure in hopeful if failure.retry_after is not None]
    if waits and min(waits) <= _LONGEST_WAIT:
        return max(1, round(min(waits))), None
    return None, (False if len(waits) == len(hopeful) else None)


def _explain(account: str, failure: Failure) -> str:
    match failure.kind:
        case Kind.AUTHENTICATION:
            advice = f"sign in again with the program that wrote the token file of {account}; is its profileArn right?"
            return f"{failure.message} ({advice})"
        case _ if failure.retry_after is not None and failure.retry_after > _LONGEST_WAIT:
            return f"{failure.message} (it asks to wait {failure.retry_after:.0f} seconds)"
        case _:
            return failure.message


def prompt_too_long(tokens: int, window: int) -> str:
    """The wording on which clients compact: they read both numbers, so the first is always the larger."""
    return f"prompt is too long: {max(tokens, window + 1)} tokens > {window} maximum"
