"""One client request from first byte to last: what happened goes in, what is wanted next comes out.

`begin` and `advance` answer with a step: the exchange as it is now, notices for whoever listens, and one want or
the end. Pings, time-outs, retries, refreshes and failover are all of this kind, so each is a row in a test. The
words for it are in `dialogue`; the shell that carries wants out decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from core import intake, live, sse
from core.anthropic import STATUS_OF_ERROR
from core.codewhisperer import generate_call, service_endpoint
from core.credentials import Token, region_of_profile
from core.dialogue import (
    AnswerBegan,
    AttemptFailed,
    BodyEnded,
    CallFailed,
    DataArrived,
    Deliver,
    Final,
    Happening,
    HeadArrived,
    NoProvider,
    Notice,
    ProviderChosen,
    Refused,
    StreamEnded,
    Succeeded,
    TokenReady,
    TokenRefused,
    TokenRejected,
    TokenUnavailable,
    TokenUnreadable,
    Want,
    WantCall,
    WantData,
    WantFreshToken,
    WantPause,
    WantProvider,
    WantStill,
    WholeAnswer,
    Woken,
)
from core.errors import ShellError
from core.failures import ROWS, Failure, Kind
from core.http import Head
from core.phases import (
    Asked,
    Authorizing,
    Calling,
    Choosing,
    Ended,
    Exchange,
    Pausing,
    Phase,
    Policy,
    ReadingRefusal,
    Refreshing,
    Streaming,
)
from core.refusals import Absence, refuse
from core.selection import Provider
from core.times import Instant, Now

BACKOFF_BASE = 1.0
BACKOFF_CAP = 20.0
"""Seconds before a retry: base times two to the number of retries, capped, then spread by the jitter."""


class Step(msgspec.Struct, frozen=True):
    """What came of a happening."""

    exchange: Exchange
    notices: tuple[Notice, ...]
    want: Want | Final


def begin(asked: Asked, *, policy: Policy, now: Now) -> Step:
    """The first step of a request that was converted."""
    exchange = Exchange(
        asked=asked,
        policy=policy,
        deadline=now.instant + policy.total,
        next_ping=now.instant + policy.ping_quiet if asked.conversion.stream else None,
    )
    return _choose(exchange, ())


def advance(exchange: Exchange, happening: Happening, *, now: Now) -> Step:
    """The next step, after what happened.

    Raises:
        ShellError: it was not asked for.
    """
    if isinstance(happening, DataArrived) and now.instant >= exchange.deadline:
        return _end_in_time(exchange, now, is_silent=False)  # data that never ends leaves no gap in which to be woken
    return _with_ping(_advance(exchange, happening, now), now)


def _advance(exchange: Exchange, happening: Happening, now: Now) -> Step:
    phase = exchange.phase
    match happening, phase:
        case DataArrived(data, more), Streaming():  # first, for it comes most often
            return _read_stream(exchange, phase, data, more, now)
        case _, Refreshing(provider=provider):
            return _end_refreshing(exchange, provider, happening)
        case Woken(), _ if not isinstance(phase, Ended):
            return _wake(exchange, now)
        case ProviderChosen(provider), Choosing():
            return _authorize(exchange, provider, None, ())
        case NoProvider(absences), Choosing():
            return _give_up(exchange, (), None, absences)
        case TokenReady(token), Authorizing(provider=provider):
            return _call(exchange, provider, token, now)
        case TokenRefused() | TokenUnreadable() | TokenUnavailable(), Authorizing(provider=provider):
            return _next_account(exchange, intake.judge_token(provider, happening))
        case HeadArrived(head), Calling():
            return _read_head(exchange, phase, head, now)
        case DataArrived(data), ReadingRefusal():
            return _read_refusal(exchange, phase, data, now)
        case BodyEnded(), Streaming():
            return _end_stream(exchange, phase, now)
        case BodyEnded(), ReadingRefusal():
            return _judge_refusal(exchange, phase, now)
        case CallFailed(cause, problem), Calling() | Streaming():
            kind = Kind.TIMEOUT if cause == "timeout" else Kind.NETWORK
            return _fail(exchange, phase.provider, phase.token, Failure(kind=kind, message=problem), now)
        case CallFailed(), ReadingRefusal():
            return _judge_refusal(exchange, phase, now)
        case _:
            raise ShellError(f"{type(happening).__name__} is not what {type(phase).__name__} waits for")


# --- waiting ---------------------------------------------------------------------------------------------------


_TIMED = (Calling, Streaming, ReadingRefusal, Pausing)


def _wake_at(exchange: Exchange) -> Instant:
    """The next moment at which something is to be done although nothing happened."""
    phase, moment = exchange.phase, exchange.deadline
    if isinstance(phase, _TIMED):
        moment = min(moment, phase.deadline)
    return moment if exchange.next_ping is None else min(moment, exchange.next_ping)


def _wake(exchange: Exchange, now: Now) -> Step:
    phase = exchange.phase
    if now.instant >= exchange.deadline:
        return _end_in_time(exchange, now, is_silent=True)
    match phase:
        case Pausing(provider=provider, token=token, deadline=deadline) if now.instant >= deadline:
            return _call(exchange, provider, token, now)
        case Calling(provider=provider, token=token, deadline=deadline) if now.instant >= deadline:
            silence = f"no answer began within {exchange.policy.first_byte:g} seconds (timeouts.firstByteMs)"
            return _fail(exchange, provider, token, Failure(kind=Kind.TIMEOUT, message=silence), now)
        case Streaming(provider=provider, token=token, deadline=deadline) if now.instant >= deadline:
            silence = f"the answer stalled for {exchange.policy.idle:g} seconds (timeouts.idleMs)"
            return _fail(exchange, provider, token, Failure(kind=Kind.TIMEOUT, message=silence), now)
        case ReadingRefusal(deadline=deadline) if now.instant >= deadline:
            return _judge_refusal(exchange, phase, now)
        case _:
            return Step(exchange, (), WantStill(wake_at=_wake_at(exchange)))


def _end_in_time(exchange: Exchange, now: Now, *, is_silent: bool) -> Step:
    """The end at the total deadline. Only a call that was under way is told as an account's failure.

    Nor is one that was not silent, once the client was sent a part of it: it may be the client that took so long.
    """
    phase = exchange.phase
    silence = f"no answer within {exchange.policy.total:g} seconds in all (timeouts.totalMs)"
    failure = Failure(kind=Kind.TIMEOUT, message=silence)
    notices: tuple[Notice, ...] = ()
    if isinstance(phase, ReadingRefusal):
        refused = intake.judge_refusal(phase, request_size=exchange.request_size, now=now.epoch)
        # A token is refreshed before its refusal is held against its account, and there is no time for that.
        if refused.kind is not Kind.AUTHENTICATION or exchange.refreshed:
            failure = refused
    if isinstance(phase, Calling | Streaming | ReadingRefusal):
        is_blamed = is_silent or not exchange.spoken
        told = failure if is_blamed else Failure(kind=Kind.CLIENT, message=silence)
        notices = (intake.judge_attempt(phase.provider, phase.token, told),)
    return _give_up(exchange, notices, failure)


def _with_ping(step: Step, now: Now) -> Step:
    """The step with a sign of life where one is due, whatever it was that happened."""
    exchange, want = step.exchange, step.want
    if exchange.next_ping is None or now.instant < exchange.next_ping or isinstance(want, WholeAnswer | StreamEnded):
        return step
    events = (sse.Ping(),) if exchange.begun else (_message_start(exchange), sse.Ping())
    exchange = msgspec.structs.replace(exchange, begun=True, next_ping=now.instant + exchange.policy.ping_interval)
    want = msgspec.structs.replace(want, wake_at=_wake_at(exchange))
    return Step(exchange, (*step.notices, Deliver(events)), want)


def _message_start(exchange: Exchange) -> sse.StreamEvent:
    conversion = exchange.asked.conversion
    return sse.message_start(exchange.asked.message_id, conversion.model.name, conversion.estimated_input)


# --- asking ----------------------------------------------------------------------------------------------------


def _choose(exchange: Exchange, notices: tuple[Notice, ...]) -> Step:
    exchange = msgspec.structs.replace(exchange, phase=Choosing(), retries=0, refreshed=False)
    return Step(exchange, notices, WantProvider(excluded=exchange.tried, wake_at=_wake_at(exchange)))


def _authorize(exchange: Exchange, provider: Provider, rejected: Token | None, notices: tuple[Notice, ...]) -> Step:
    exchange = msgspec.structs.replace(exchange, phase=Authorizing(provider=provider, rejected=rejected))
    want = WantFreshToken(provider=provider, rejected=rejected, wake_at=_wake_at(exchange))
    return Step(exchange, notices, want)


def _call(exchange: Exchange, provider: Provider, token: Token, now: Now, notices: tuple[Notice, ...] = ()) -> Step:
    asked = exchange.asked
    profile_arn = provider.profile_arn or token.profile_arn
    region = region_of_profile(profile_arn or "") or token.region
    call = generate_call(
        msgspec.structs.replace(asked.conversion.request, profile_arn=profile_arn),
        endpoint=provider.endpoint or service_endpoint(region),
        access_token=token.access_token,
        invocation_id=asked.invocation_id,
        attempt=exchange.attempts + 1,
        user_agent=asked.user_agent,
    )
    deadline = now.instant + exchange.policy.first_byte
    exchange = msgspec.structs.replace(
        exchange,
        attempts=exchange.attempts + 1,
        request_size=len(call.body),
        phase=Calling(provider=provider, token=token, deadline=deadline),
    )
    return Step(exchange, notices, WantCall(provider=provider, call=call, wake_at=_wake_at(exchange)))


# --- reading ---------------------------------------------------------------------------------------------------


def _read_head(exchange: Exchange, calling: Calling, head: Head, now: Now) -> Step:
    deadline = now.instant + exchange.policy.idle
    if intake.is_event_stream(head):
        is_live = exchange.asked.conversion.stream and exchange.policy.delivery == "live"
        streaming = Streaming(
            provider=calling.provider,
            token=calling.token,
            deadline=deadline,
            live=live.begin(exchange.reading) if is_live else None,
        )
        return _want_data(exchange, streaming, (AnswerBegan(calling.provider.id),))
    refusal = ReadingRefusal(provider=calling.provider, token=calling.token, deadline=deadline, head=head)
    return _want_data(exchange, refusal)


def _want_data(exchange: Exchange, phase: Phase, notices: tuple[Notice, ...] = ()) -> Step:
    exchange = msgspec.structs.replace(exchange, phase=phase)
    return Step(exchange, notices, WantData(wake_at=_wake_at(exchange)))


def _read_stream(exchange: Exchange, phase: Streaming, data: bytes, more: bool, now: Now) -> Step:
    read = intake.read_stream(phase, data, request_size=exchange.request_size)
    if isinstance(read, Failure):
        return _fail(exchange, phase.provider, phase.token, read, now)
    deadline = now.instant + exchange.policy.idle
    if read.live is None or more:
        return _want_data(exchange, msgspec.structs.replace(read, deadline=deadline))
    sent, events = live.advance(read.live, read.log)
    exchange, notices = _speak(exchange, events, now)
    return _want_data(exchange, msgspec.structs.replace(read, deadline=deadline, live=sent), notices)


def _speak(exchange: Exchange, events: Sequence[sse.StreamEvent], now: Now) -> tuple[Exchange, tuple[Notice, ...]]:
    """The exchange once the client is sent these events of an answer, behind the beginning of all answers."""
    if not events:
        return exchange, ()
    if not exchange.begun:
        events = (_message_start(exchange), *events)
    next_ping = now.instant + exchange.policy.ping_interval
    exchange = msgspec.structs.replace(exchange, begun=True, spoken=True, next_ping=next_ping)
    return exchange, (Deliver(tuple(events)),)


def _end_stream(exchange: Exchange, phase: Streaming, now: Now) -> Step:
    response = intake.end_stream(phase, exchange.reading)
    if isinstance(response, Failure):
        return _fail(exchange, phase.provider, phase.token, response, now)
    if not exchange.asked.conversion.stream:
        body = sse.encode_message(response.message)
        whole = WholeAnswer(status=200, headers={"content-type": "application/json"}, body=body)
        return _end(exchange, (Succeeded(response),), whole)
    if phase.live is None:
        events = tuple(sse.render_events(response.message))
    else:
        events = live.end(phase.live, phase.log, response.message)
    exchange, notices = _speak(exchange, events, now)
    return _end(exchange, (Succeeded(response), *notices), StreamEnded())


def _read_refusal(exchange: Exchange, phase: ReadingRefusal, data: bytes, now: Now) -> Step:
    phase = intake.read_refusal(phase, data)
    if intake.is_enough(phase):
        return _judge_refusal(exchange, phase, now)
    return _want_data(exchange, msgspec.structs.replace(phase, deadline=now.instant + exchange.policy.idle))


def _judge_refusal(exchange: Exchange, phase: ReadingRefusal, now: Now) -> Step:
    """What follows a refused call."""
    failure = intake.judge_refusal(phase, request_size=exchange.request_size, now=now.epoch)
    return _fail(exchange, phase.provider, phase.token, failure, now)


# --- failing and ending ----------------------------------------------------------------------------------------


def _fail(exchange: Exchange, provider: Provider, token: Token, failure: Failure, now: Now) -> Step:
    """What follows a failed attempt: a refresh, a retry, another account or the end, as the kind's row says.

    Nothing but the end, once the client has been sent a part of the answer.
    """
    if failure.kind is Kind.AUTHENTICATION and not exchange.refreshed:
        if exchange.spoken:
            return _refresh_for_others(exchange, provider, token, failure)
        refreshing = msgspec.structs.replace(exchange, refreshed=True)
        return _authorize(refreshing, provider, token, (TokenRejected(provider.id),))
    notice = intake.judge_attempt(provider, token, failure)
    if exchange.spoken:
        return _give_up(exchange, (notice,), failure)
    row = ROWS[failure.kind]
    # Once a model was overloaded for one account, others are tried, but without pauses of their own.
    is_met_before = row.backoff and any(each.kind is failure.kind for _, each in exchange.failures)
    if exchange.retries < row.retries and not is_met_before:
        retrying = msgspec.structs.replace(exchange, retries=exchange.retries + 1)
        if not row.backoff:
            return _call(retrying, provider, token, now, (notice,))
        deadline = now.instant + _backoff(exchange)
        retrying = msgspec.structs.replace(retrying, phase=Pausing(provider=provider, token=token, deadline=deadline))
        return Step(retrying, (notice,), WantPause(wake_at=_wake_at(retrying)))
    if row.another_account:
        return _next_account(exchange, notice)
    return _give_up(exchange, (notice,), failure)


def _refresh_for_others(exchange: Exchange, provider: Provider, token: Token, failure: Failure) -> Step:
    """The end for the client; what is left is to refresh the token, before which its account is not to blame."""
    given_up = _give_up(exchange, (TokenRejected(provider.id),), failure)
    exchange = msgspec.structs.replace(exchange, phase=Refreshing(provider=provider), next_ping=None)
    want = WantFreshToken(provider=provider, rejected=token, wake_at=_wake_at(exchange))
    return Step(exchange, given_up.notices, want)


def _end_refreshing(exchange: Exchange, provider: Provider, happening: Happening) -> Step:
    match happening:
        case TokenRefused() | TokenUnreadable() | TokenUnavailable():
            return _end(exchange, (intake.judge_token(provider, happening),), StreamEnded())
        case TokenReady() | Woken():
            return _end(exchange, (), StreamEnded())
        case _:
            raise ShellError(f"{type(happening).__name__} is not what Refreshing waits for")


def _backoff(exchange: Exchange) -> float:
    return min(BACKOFF_CAP, BACKOFF_BASE * 2.0**exchange.retries) * (0.5 + exchange.asked.jitter / 2)


def _next_account(exchange: Exchange, failed: AttemptFailed) -> Step:
    exchange = msgspec.structs.replace(
        exchange,
        tried=(*exchange.tried, failed.provider_id),
        failures=(*exchange.failures, (failed.provider_id, failed.failure)),
    )
    return _choose(exchange, (failed,))


def _give_up(
    exchange: Exchange, notices: tuple[Notice, ...], ended_by: Failure | None, absences: tuple[Absence, ...] = ()
) -> Step:
    conversion = exchange.asked.conversion
    refusal = refuse(
        exchange.failures,
        absences=absences,
        ended_by=ended_by,
        prompt_tokens=conversion.estimated_input,
        window=conversion.model.context_window,
    )
    notices = (*notices, Refused(refusal))
    request_id = exchange.asked.request_id
    if exchange.begun:
        error = sse.Error(sse.ErrorDetail(refusal.error_type, refusal.message), request_id)
        return _end(exchange, (*notices, Deliver((error,))), StreamEnded())
    headers = {"content-type": "application/json"}
    if refusal.retry_after is not None:
        headers["retry-after"] = str(refusal.retry_after)
    if refusal.should_retry is not None:
        headers["x-should-retry"] = "true" if refusal.should_retry else "false"
    body = sse.encode_error(refusal.error_type, refusal.message, request_id)
    return _end(exchange, notices, WholeAnswer(status=STATUS_OF_ERROR[refusal.error_type], headers=headers, body=body))


def _end(exchange: Exchange, notices: tuple[Notice, ...], final: Final) -> Step:
    return Step(msgspec.structs.replace(exchange, phase=Ended()), notices, final)
