"""What a client is told when nothing is left to try: which error, why, and whether to come back and when.

The wording is an interface in places: clients compact their conversation on `prompt is too long`, and wait or give up
by the two headers. Never says `authentication_error`: a 401 is for the client's own key, and Claude Code tries it
eleven times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from core.failures import Failure, Kind
from core.times import Epoch, render_date

LONGEST_WAIT = 60.0
"""Seconds of `retry-after` up to which clients wait; Claude Code gives up on an hour."""

_MOST_ACCOUNTS = 10
"""How many accounts are spoken of; of a hundred, a person reads the first."""

_LONGEST_PROBLEM = 600


class Absence(msgspec.Struct, frozen=True, kw_only=True):
    """Why an account cannot be used. `kind` is None for one that a person took out of use.

    `back_in` (seconds) and `back_at` are when a request may try it again; both None if only a person can change that.
    `expected_at` is when it is expected to work, where that is known to be later.
    """

    provider_id: str
    kind: Kind | None
    problem: str
    back_in: float | None
    back_at: Epoch | None
    expected_at: Epoch | None = None


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What a client is told of a request that failed. `should_retry` is None where its own rules are right."""

    error_type: str
    message: str
    retry_after: int | None = None
    should_retry: bool | None = None


_ERRORS = {
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
    Kind.TOKEN_FILE: "permission_error",
    None: "permission_error",
}

_POINTLESS = {Kind.AUTHENTICATION, Kind.NO_SUCH_MODEL, Kind.NOT_ALLOWED, Kind.ANSWER, None}
"""Kinds of which the next attempt on the same account would fail alike, so that a client's retries only cost time."""


def refuse(
    failures: Sequence[tuple[str, Failure]],
    *,
    absences: Sequence[Absence],
    ended_by: Failure | None,
    prompt_tokens: int,
    window: int,
) -> Refusal:
    """What the client is told: `failures` are this request's by account, in the order they happened.

    The one that ended the matter, whatever other accounts had said before, is `ended_by`; with none, accounts that
    have one cause give its own error, and several different ones `overloaded_error`. `prompt_tokens` (estimated) and
    `window` are for the wording on which clients compact their conversation.
    """
    if ended_by is not None:
        if ended_by.kind is Kind.TOO_LONG:
            return Refusal(error_type="invalid_request_error", message=prompt_too_long(prompt_tokens, window))
        should_retry = False if ended_by.kind in _POINTLESS else None
        return Refusal(error_type=_ERRORS[ended_by.kind], message=ended_by.message, should_retry=should_retry)
    absent = {absence.provider_id: absence for absence in absences}
    tried = dict(failures)
    causes = {account: absence.kind for account, absence in absent.items()}
    causes |= {account: failure.kind for account, failure in tried.items()}
    if not causes:
        return Refusal(error_type="overloaded_error", message="no account can be used now", retry_after=1)
    # What a person took out of use is the reason only where there is no other.
    types = {_ERRORS[kind] for kind in causes.values() if kind is not None} or {_ERRORS[None]}
    retry_after, should_retry = _waiting(causes, absent)
    return Refusal(
        error_type=types.pop() if len(types) == 1 else "overloaded_error",
        message=_explain_all(causes, tried, absent),
        retry_after=retry_after,
        should_retry=should_retry,
    )


def _waiting(causes: Mapping[str, Kind | None], absent: Mapping[str, Absence]) -> tuple[int | None, bool | None]:
    """The seconds after which an account is back, and whether to try again at all.

    An account that stays in use after a failure, such as a cut connection, may be tried at once.
    """
    if any(account not in absent and kind not in _POINTLESS for account, kind in causes.items()):
        return None, None
    waits = [absence.back_in for absence in absent.values() if absence.back_in is not None]
    if waits and min(waits) <= LONGEST_WAIT:
        return max(1, math.ceil(min(waits))), None
    return None, False


def _explain_all(causes: Mapping[str, Kind | None], tried: Mapping[str, Failure], absent: Mapping[str, Absence]) -> str:
    # What this request met comes first: it is news.
    accounts = [*tried, *(account for account in causes if account not in tried)]
    told = [
        f"{account}: {_explain(account, causes[account], tried.get(account), absent.get(account))}"
        for account in accounts[:_MOST_ACCOUNTS]
    ]
    if rest := accounts[_MOST_ACCOUNTS:]:
        dates = [absent[account].back_at for account in rest if account in absent]
        soonest = min((date for date in dates if date is not None), default=None)
        when = "" if soonest is None else f", the first of which is tried again from {render_date(soonest)} on"
        told.append(f"and {len(rest)} more accounts{when}")
    return "; ".join(told)


def _explain(account: str, kind: Kind | None, failure: Failure | None, absence: Absence | None) -> str:
    if kind is None:
        return f"is disabled (stagewhisper accounts enable {account})"
    problem = failure.message if failure is not None else absence.problem if absence is not None else ""
    problem = problem if len(problem) <= _LONGEST_PROBLEM else f"{problem[:_LONGEST_PROBLEM]}..."
    advice = []
    if kind is Kind.AUTHENTICATION:
        advice.append(
            "sign in again with the program that wrote its token file, check its profileArn, "
            f"or run: stagewhisper accounts recover {account}"
        )
    if absence is not None and absence.expected_at is not None:
        advice.append(f"it is expected back at {render_date(absence.expected_at)}")
    if absence is not None and absence.back_at is not None:
        advice.append(f"it is tried again from {render_date(absence.back_at)} on")
    return f"{problem} ({'; '.join(advice)})" if advice else problem


def prompt_too_long(tokens: int, window: int) -> str:
    """The wording on which clients compact: they read both numbers, so the first is always the larger."""
    return f"prompt is too long: {max(tokens, window + 1)} tokens > {window} maximum"
