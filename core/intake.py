"""What comes in from the service while a call is open: bytes into events or a failure, a refusal into its failure.

What follows from either is for `exchange`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import assert_never

import msgspec

from core import eventstream
from core.codewhisperer import EVENT_STREAM
from core.credentials import Token, fingerprint
from core.dialogue import AttemptFailed, TokenRefused, TokenUnavailable, TokenUnreadable
from core.drafts import ContentEvent
from core.events import AssistantText, OtherEvent, ServiceError, Undecodable, parse_error, parse_event
from core.failures import Failure, Kind, classify, classify_fault, parse_retry_after
from core.http import Head
from core.phases import ReadingRefusal, Streaming
from core.response import BufferedResponse, Reading, fold
from core.selection import Provider
from core.times import Epoch

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""How much of one answer is buffered: ten times the largest that the largest model can write."""

MAX_ERROR_BYTES = 64 * 1024
"""How much of an error's body is read; the service's own are under 1 KiB, a proxy's page is not needed whole."""


def is_event_stream(head: Head) -> bool:
    """Whether the service has begun to answer, and not to refuse."""
    content_type = head.headers.get("content-type", "")
    return head.status == 200 and content_type.partition(";")[0].strip().lower() == EVENT_STREAM


def read_stream(phase: Streaming, data: bytes, *, request_size: int) -> Streaming | Failure:
    """The answer with more of its bytes, or why there will be none. `request_size` is in bytes."""
    size = phase.size + len(data)
    if size > MAX_ANSWER_BYTES:
        return Failure(kind=Kind.ANSWER, message=f"the service's answer is larger than {MAX_ANSWER_BYTES} bytes")
    fed = eventstream.feed(phase.pending, data)
    events: list[ContentEvent] = []
    for message in fed.messages:
        event = parse_event(message)
        if isinstance(event, ServiceError | Undecodable):
            # An error inside a 200 counts as what it is.
            return classify(event, body_size=request_size, secrets=_secrets(phase.token))
        if not isinstance(event, OtherEvent):
            events.append(event)
    if fed.fault is not None:
        return classify_fault(fed.fault)
    log = phase.log.extend(events if len(events) < 2 else list(_join_texts(events)))
    return msgspec.structs.replace(phase, size=size, pending=fed.pending, log=log)


def _join_texts(events: Iterable[ContentEvent]) -> Iterator[ContentEvent]:
    """The events with neighbouring texts as one: they say the same, and a word costs ten times its size by itself."""
    for is_text, group in groupby(events, lambda event: type(event) is AssistantText):
        texts = list(group)
        if is_text and len(texts) > 1:
            yield AssistantText("".join([event.text for event in texts if isinstance(event, AssistantText)]))
        else:
            yield from texts


def end_stream(phase: Streaming, reading: Reading) -> BufferedResponse | Failure:
    """The whole answer, or why it is none."""
    fault = eventstream.finish(phase.pending)
    if fault is not None:
        return classify_fault(fault)
    return fold(phase.log.events(), reading=reading, provider=phase.provider.id)


def read_refusal(phase: ReadingRefusal, data: bytes) -> ReadingRefusal:
    """The refusal with more of its body, up to where it is enough: at the same byte however the body is cut."""
    return msgspec.structs.replace(phase, body=(phase.body + data)[:MAX_ERROR_BYTES])


def is_enough(phase: ReadingRefusal) -> bool:
    """Whether no more of a refusal is read."""
    return len(phase.body) >= MAX_ERROR_BYTES


def judge_refusal(phase: ReadingRefusal, *, request_size: int, now: Epoch) -> Failure:
    """What a refused call means, by as much of its body as came."""
    head = phase.head
    error = parse_error(head.status, head.headers, phase.body)
    if not error.name and not error.message:
        kind = head.headers.get("content-type", "nothing")[:60]
        error = msgspec.structs.replace(error, message=f"no event stream and no error of the service's, but {kind}")
    return classify(
        error,
        retry_after=parse_retry_after(head.headers.get("retry-after"), now),
        body_size=request_size,
        secrets=_secrets(phase.token),
    )


def judge_attempt(provider: Provider, token: Token, failure: Failure) -> AttemptFailed:
    """A call in vain, with its token's fingerprint where the token was refused."""
    is_refused = failure.kind is Kind.AUTHENTICATION
    return AttemptFailed(provider.id, failure, fingerprint(token) if is_refused else None)


def judge_token(provider: Provider, happening: TokenRefused | TokenUnreadable | TokenUnavailable) -> AttemptFailed:
    """An account's attempt that ended before its call, for there is no token."""
    match happening:
        case TokenRefused(problem, refused):
            return AttemptFailed(provider.id, Failure(kind=Kind.AUTHENTICATION, message=problem), refused)
        case TokenUnreadable(problem):
            return AttemptFailed(provider.id, Failure(kind=Kind.TOKEN_FILE, message=problem))
        case TokenUnavailable(problem):
            # The refresh has had its own retries; what it says of the service's health is a server's error.
            return AttemptFailed(provider.id, Failure(kind=Kind.SERVER, message=problem))
        case _:
            assert_never(happening)


def _secrets(token: Token) -> tuple[str, ...]:
    """What the service may quote back to us, and must go no further."""
    return tuple(secret for secret in (token.access_token, token.refresh_token) if secret)
