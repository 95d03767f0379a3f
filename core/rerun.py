"""A recording run again: the same exchange, fed with what happened then, and whether its client is sent the same.

Nothing but the recording goes in, so that it comes to the same everywhere, and after any time. Its answers may come in
other pieces than then. Tokens are what covered them in the recording.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, assert_never

import msgspec

from core import sse
from core.credentials import Token
from core.dialogue import (
    AttemptFailed,
    BodyEnded,
    CallFailed,
    DataArrived,
    Deliver,
    Happening,
    HeadArrived,
    NoProvider,
    ProviderChosen,
    Refused,
    StreamEnded,
    Succeeded,
    TokenReady,
    TokenRefused,
    TokenUnavailable,
    TokenUnreadable,
    WantCall,
    WantData,
    WholeAnswer,
    Woken,
)
from core.errors import ClientRequestError, ShellError
from core.exchange import Step, advance, begin
from core.failures import Failure
from core.http import Head
from core.phases import Asked, Exchange
from core.playback import Difference
from core.recording import (
    AnsweredLine,
    BodyEndLine,
    ChosenLine,
    DataLine,
    DeliveredLine,
    EndedLine,
    FailedLine,
    Happened,
    HeadLine,
    NoneLeftLine,
    NoTokenLine,
    OpeningLine,
    Recording,
    TokenLine,
    WokenLine,
    on_one_line,
)
from core.refusals import Refusal
from core.request import convert
from core.response import BufferedResponse
from core.selection import Provider
from core.times import Epoch, Instant, Now

Pieces = Callable[[bytes], Iterable[bytes]]
"""Cuts bytes into other pieces, none of them empty."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try of an account: how its call was answered, and why in vain. `head` is None where nothing came."""

    provider: str
    head: Head | None = None
    pieces: tuple[bytes, ...] = ()
    failure: Failure | None = None


class Stuck(msgspec.Struct, frozen=True, kw_only=True):
    """Where the recording goes on as the exchange does not, any more. `line` is the file's."""

    line: int
    problem: str


class Rerun(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.

    `stream` is what a streaming client is sent, pings included; `answer` what any other is, or one whose stream had not
    begun. `outcome` is None where there is no end: the recording has none, or the exchange is `stuck` before it.
    """

    start: sse.StreamEvent | None = None
    """What a stream that answers this request begins with; None where the request is not converted any more."""
    attempts: tuple[Attempt, ...] = ()
    stream: tuple[sse.StreamEvent, ...] = ()
    answer: WholeAnswer | None = None
    is_ended: bool = False
    outcome: BufferedResponse | Refusal | None = None
    stuck: Stuck | None = None
    is_converted_alike: bool = True
    """Whether the service's request is what it was then."""


def rerun(recording: Recording, pieces: Pieces | None = None) -> Rerun:
    """The exchange of a recording, its answers in the pieces in which they came, or in others."""
    opening = recording.opening
    conversation_id = recording.converted.conversation_state.conversation_id
    try:
        conversion = convert(recording.request, model=opening.model, conversation_id=conversation_id)
    except (ClientRequestError, ShellError) as error:
        return Rerun(stuck=Stuck(line=2, problem=f"the request is refused now: {error}"), is_converted_alike=False)
    asked = Asked(
        conversion=conversion,
        message_id=opening.message_id,
        request_id=opening.request_id,
        invocation_id="",
        user_agent="",
        jitter=opening.jitter,
    )
    notes = _Notes()
    step = begin(asked, policy=opening.policy, now=_now(opening.at, opening.date))
    notes.take(None, step)
    stuck = None
    for arrival in _arrivals(recording, pieces):
        if arrival.is_behind and not isinstance(step.want, WantData):
            continue  # a piece before it ended the call, amid what came with one read then
        happening = _happening(arrival)
        try:
            step = _advance(step.exchange, happening, arrival, opening)
        except ShellError as error:
            stuck = Stuck(line=arrival.number, problem=str(error))
            break
        notes.take(happening, step)
    return Rerun(
        start=sse.message_start(opening.message_id, opening.model.name, conversion.estimated_input),
        attempts=notes.attempts,
        stream=tuple(notes.stream),
        answer=step.want if isinstance(step.want, WholeAnswer) else None,
        is_ended=isinstance(step.want, WholeAnswer | StreamEnded),
        outcome=notes.outcome,
        stuck=stuck,
        is_converted_alike=conversion.request == recording.converted,
    )


def _advance(exchange: Exchange, happening: Happening, arrival: _Arrival, opening: OpeningLine) -> Step:
    """The next step. Of a piece that ends amid a line's data it is as if no time had passed, unless it ends the call.

    For whether a moment has come is asked when something arrives: a ping that went out with the whole of the data, or
    did not because the call ended with it, must not go out with its first bytes.
    """
    if arrival.is_amid:
        step = advance(exchange, happening, now=_now(opening.at, opening.date))
        if isinstance(step.want, WantData):
            return step
    return advance(exchange, happening, now=_now(arrival.line.at, arrival.line.date))


def _now(at: float, date: float) -> Now:
    return Now(Instant(at), Epoch(date))


class _Notes:
    """What the steps of one run told, and what its calls were answered with."""

    def __init__(self) -> None:
        self.stream: list[sse.StreamEvent] = []
        self.outcome: BufferedResponse | Refusal | None = None
        self._attempts: list[dict[str, Any]] = []
        self._pieces: list[list[bytes]] = []

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return tuple(
            Attempt(**members, pieces=tuple(pieces))
            for members, pieces in zip(self._attempts, self._pieces, strict=True)
        )

    def _begin_attempt(self, provider_id: str) -> None:
        self._attempts.append({"provider": provider_id})
        self._pieces.append([])

    def take(self, happening: Happening | None, step: Step) -> None:
        match happening:
            case HeadArrived(head):
                self._attempts[-1]["head"] = head
            case DataArrived(data):
                self._pieces[-1].append(data)
            case _:
                pass
        for notice in step.notices:
            match notice:
                case Deliver(events):
                    self.stream += events
                case AttemptFailed(provider_id, failure):
                    # Where there was no token, there was no call: that is an attempt of its own.
                    if not self._attempts or "failure" in self._attempts[-1]:
                        self._begin_attempt(provider_id)
                    self._attempts[-1]["failure"] = failure
                case Succeeded(response):
                    self.outcome = response
                case Refused(refusal):
                    self.outcome = refusal
                case _:
                    pass
        if isinstance(step.want, WantCall):
            self._begin_attempt(step.want.provider.id)


# --- what happened ---------------------------------------------------------------------------------------------


class _Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened, and the number of its line."""

    number: int
    line: Happened
    is_amid: bool = False
    """Whether it is a piece that does not end as its line's data does."""
    is_behind: bool = False
    """Whether it is a piece behind another of the same data."""


def _arrivals(recording: Recording, pieces: Pieces | None) -> Iterator[_Arrival]:
    """What happened; data perhaps in other pieces.

    Those are made of data that neither anything came of, nor anything else came between.
    """
    run: list[tuple[int, DataLine]] = []
    end = recording.opening.at + recording.opening.policy.total
    for number, line in enumerate(recording.lines, 4):
        # Data that comes when the time is up is not looked at, and nothing cannot be cut.
        if pieces is not None and isinstance(line, DataLine) and line.at < end and line.data:
            run.append((number, line))
            continue
        if pieces is not None and run:
            yield from _cut(run, pieces)
            run = []
        if isinstance(line, Happened):
            yield _Arrival(number=number, line=line)
    if pieces is not None and run:
        yield from _cut(run, pieces)


def _cut(run: Sequence[tuple[int, DataLine]], pieces: Pieces) -> Iterator[_Arrival]:
    """The data of neighbouring lines in other pieces, each of which comes when the line does in which it ends."""
    waiting = deque(run)
    number, line = waiting.popleft()
    there, size, is_behind = 0, len(line.data), False
    for piece in pieces(b"".join(line.data for _, line in run)):
        there += len(piece)
        while there > size:
            number, line = waiting.popleft()
            size += len(line.data)
        piece_line = DataLine(at=line.at, date=line.date, data=piece)
        yield _Arrival(number=number, line=piece_line, is_amid=there < size, is_behind=is_behind)
        is_behind = True


def _happening(arrival: _Arrival) -> Happening:
    line = arrival.line
    match line:
        case ChosenLine(provider=name, endpoint=endpoint, profile_arn=profile):
            return ProviderChosen(
                Provider(id=name, original_provider_id=name, token_file="", endpoint=endpoint, profile_arn=profile)
            )
        case NoneLeftLine(absences=absences):
            return NoProvider(absences)
        case TokenLine(region=region, profile_arn=profile, removed=removed):
            access, refresh = ("" if each is None else each.cover for each in removed)
            return TokenReady(
                Token(
                    access_token=access,
                    refresh_token=refresh or None,
                    region=region,
                    profile_arn=profile,
                    auth_method="social",
                )
            )
        case NoTokenLine(cause="refused", problem=problem):
            return TokenRefused(problem, "")
        case NoTokenLine(cause="unreadable", problem=problem):
            return TokenUnreadable(problem)
        case NoTokenLine(problem=problem):
            return TokenUnavailable(problem)
        case HeadLine(status=status, headers=headers):
            return HeadArrived(Head(status=status, headers=headers))
        case DataLine(data=data):
            return DataArrived(data, more=arrival.is_amid)
        case BodyEndLine():
            return BodyEnded()
        case FailedLine(cause=cause, problem=problem):
            return CallFailed(cause, problem)
        case WokenLine():
            return Woken()
        case _:
            assert_never(line)


# --- the same? -------------------------------------------------------------------------------------------------


def first_difference_from_then(recording: Recording, run: Rerun) -> Difference | None:
    """The first thing that the client is sent and was not then, or the other way round. Pings are no part of it.

    Where the recording has no end, what it has is compared with the beginning of what there is now.
    """
    if run.stuck is not None:
        return Difference(part="line", index=run.stuck.line, expected="to go on as then", got=run.stuck.problem)
    then, end = _sent_then(recording)
    now = [_encoder.encode(event) for event in run.stream if not isinstance(event, sse.Ping)]
    for index in range(len(then) if end is None else max(len(then), len(now))):
        expected, got = (each[index] if index < len(each) else None for each in (then, now))
        if not _are_alike(expected, got):
            return Difference(part="stream event", index=index, expected=expected, got=got)
    if end is None:
        return None
    ending: AnsweredLine | EndedLine | None = EndedLine() if run.is_ended else None
    if run.answer is not None:
        answer, body = run.answer, on_one_line(run.answer.body)
        if isinstance(end, AnsweredLine) and _are_alike(bytes(end.body), bytes(body)):
            body = end.body
        ending = AnsweredLine(status=answer.status, headers=dict(answer.headers), body=body)
    return None if ending == end else Difference(part="answer", index=0, expected=end, got=ending)


_CHECKSUMS: Final = re.compile(rb"(?<=message_crc \(expected )0x[0-9a-f]{8} at the end, got 0x[0-9a-f]{8}(?=\))")


def _are_alike(then: bytes | None, now: bytes | None) -> bool:
    """Whether JSON that the client was sent is the same.

    An error may name the checksums of a damaged frame. Where a secret was removed from it, they are others now.
    """
    if then == now or then is None or now is None or not then.startswith(b'{"type":"error",'):
        return then == now
    return _CHECKSUMS.sub(b"", then) == _CHECKSUMS.sub(b"", now)


_PING = msgspec.json.encode(sse.Ping())
_encoder = msgspec.json.Encoder()


def _sent_then(recording: Recording) -> tuple[list[bytes], AnsweredLine | EndedLine | None]:
    """The stream events that the client was sent, and the end, where the recording has it."""
    events = [bytes(event) for line in recording.lines if isinstance(line, DeliveredLine) for event in line.events]
    last = recording.lines[-1] if recording.lines else None
    end = last if isinstance(last, AnsweredLine | EndedLine) else None
    return [event for event in events if event != _PING], end
