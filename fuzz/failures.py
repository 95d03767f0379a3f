"""Errors of the service: whatever it answers, that is a failure of some kind, to the account and to the client.

For every status, headers, body and exception frame:

- nothing raises; the failure has one line of bounded length, and a wait that is not negative;
- a reason that the service's model knows decides, whatever the status and the words around it;
- an account that is to blame is kept from other requests until a date, or until a person does something, and one that
  is not to blame stays as it is; when it may be tried again lies ahead, by a day at most;
- what the client is told has a known type and status, never a 401; a wait is 1 to 60 seconds or not said; and a
  prompt that is too long is worded so that clients compact, with the first number above the second.

An input is a head as HTTP has it (a line with the status, lines with headers, an empty line) and a body. A status of
0 means an exception inside a 200, which the header `exception` names.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

if __name__ == "__main__":  # as a script, so that the modules beside it are the ones that are tried
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from core.anthropic import STATUS_OF_ERROR
from core.events import ServiceError, parse_error, parse_event
from core.eventstream import Header, HeaderType, Message
from core.failures import Failure, Kind, classify, parse_retry_after
from core.health import Availability, Failed, Health, HealthPolicy, Standing, Taken, availability, next_turn, step
from core.ledger import encode_health, parse_health
from core.refusals import Absence, Refusal, refuse
from core.selection import Cursor, Provider, absences
from core.times import Epoch
from fuzz.lines import read_json

_KIND_OF_REASON = {
    "MONTHLY_REQUEST_COUNT": Kind.QUOTA,
    "DAILY_REQUEST_COUNT": Kind.QUOTA,
    "OVERAGE_REQUEST_LIMIT_EXCEEDED": Kind.QUOTA,
    "TEMPORARILY_SUSPENDED": Kind.SUSPENDED,
    "INSUFFICIENT_MODEL_CAPACITY": Kind.OVERLOAD,
    "MODEL_TEMPORARILY_UNAVAILABLE": Kind.OVERLOAD,
    "INVALID_MODEL_ID": Kind.NO_SUCH_MODEL,
    "CONTENT_LENGTH_EXCEEDS_THRESHOLD": Kind.TOO_LONG,
    "CONVERSATION_LIMIT_EXCEEDED": Kind.CLIENT,
}
_NOW = Epoch(1.78e9)
_PROVIDER = Provider(id="a", original_provider_id="a", token_file="/a.json")
_BLAMELESS = {Kind.OVERLOAD, Kind.NO_SUCH_MODEL, Kind.NOT_ALLOWED, Kind.TOO_LONG, Kind.CLIENT}
_DAY = 86_400.0
_WINDOW = 200_000
_LONGEST = 600
_TOO_LONG = re.compile(r"prompt is too long: (\d+) tokens > (\d+) maximum")


def one_input(data: bytes) -> None:
    """One error, by the rules above."""
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.decode(errors="replace").split("\n")
    status = int(first[:3]) if first[:3].isascii() and first[:3].isdigit() else 500
    headers = dict(_split_header(line) for line in lines)
    error = parse_error(status, headers, body) if status else _parse_exception(headers.get("exception", ""), body)
    retry_after = parse_retry_after(headers.get("retry-after"), _NOW)
    assert retry_after is None or retry_after >= 0
    failures = [classify(error, retry_after=retry_after, body_size=size) for size in (0, 700_000)]
    for failure in failures:
        _check_failure(failure)
        absence = _check_health(failure)
        for refusal in _refusals(failure, absence):
            _check_refusal(refusal, failure)
    # A large body changes what "Improperly formed request." means, and nothing else.
    assert failures[0].kind is failures[1].kind or failures[1].kind is Kind.TOO_LONG
    _check_reason(body, failures[0])


def _split_header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()


def _parse_exception(name: str, body: bytes) -> ServiceError:
    texts = {":message-type": "exception", ":exception-type": name}
    event = parse_event(Message({key: Header(HeaderType.STRING, text) for key, text in texts.items()}, body))
    assert isinstance(event, ServiceError)
    assert event.status is None
    return event


def _check_health(failure: Failure) -> tuple[Absence, ...]:
    """Why the account is absent after this, if it is."""
    before = Health(provider_id="a")
    failed = Failed(next_turn(before), failure, "made-up fingerprint")
    taken = step(before, Taken(), now=_NOW, policy=HealthPolicy())
    after = step(taken, failed, now=_NOW, policy=HealthPolicy())
    if failure.kind in _BLAMELESS:
        assert after == taken
        return ()
    assert (after.failure_count, after.total_requests) == (1, 1)
    assert parse_health(encode_health(after)).standing is after.standing is not Standing.HEALTHY
    (absence,) = absences([_PROVIDER], {"a": after}, Cursor(), _NOW)
    if failure.kind is Kind.AUTHENTICATION:
        assert availability(after, _NOW) is Availability.OUT
        assert absence.back_in is None
    else:
        assert availability(after, _NOW) is Availability.AWAY
        assert absence.back_in is not None
        assert 0 <= absence.back_in <= _DAY
    return (absence,)


def _refusals(failure: Failure, absent: tuple[Absence, ...]) -> list[Refusal]:
    other = Failure(kind=Kind.RATE_LIMIT, message="slow down")
    calls: tuple[tuple[list[tuple[str, Failure]], Failure | None], ...] = (
        ([], None),
        ([("a", failure)], None),
        ([("a", failure), ("b", other)], None),
        ([("a", failure)], failure),
    )
    return [
        refuse(failures, absences=absent, ended_by=ended, prompt_tokens=7, window=_WINDOW) for failures, ended in calls
    ]


def _check_failure(failure: Failure) -> None:
    assert len(failure.message.splitlines()) == 1
    assert len(failure.message) <= _LONGEST
    assert failure.kind not in (Kind.NETWORK, Kind.TIMEOUT, Kind.ANSWER)


def _check_refusal(refusal: Refusal, failure: Failure) -> None:
    assert STATUS_OF_ERROR[refusal.error_type] not in (401, 200)
    assert refusal.retry_after is None or 1 <= refusal.retry_after <= 60
    assert refusal.should_retry is None or refusal.retry_after is None
    assert len(refusal.message.splitlines()) == 1
    assert len(refusal.message) <= 2 * _LONGEST
    if failure.kind is Kind.TOO_LONG and refusal.error_type == "invalid_request_error":
        match = _TOO_LONG.search(refusal.message)
        assert match is None or int(match[1]) > int(match[2]) == _WINDOW


def _check_reason(body: bytes, failure: Failure) -> None:
    document = read_json(body.decode(errors="replace"))
    if isinstance(document, Mapping) and body.isascii():
        reason = document.get("reason")
        if isinstance(reason, str) and reason in _KIND_OF_REASON:
            assert failure.kind is _KIND_OF_REASON[reason]


if __name__ == "__main__":
    from fuzz.runner import run

    run(one_input)
