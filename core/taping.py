"""An exchange being recorded: the lines of a `recording`, as they become ready to be written.

A fold over what happens. It covers what might hold a secret all the same (`masking` says what): so it holds back lines
until it is known what is secret, and bytes until they are a whole frame, in which one cannot hide by being cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeAlias, assert_never
from zlib import crc32

import msgspec

from core import intake
from core.anthropic import MessagesRequest
from core.dialogue import (
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
    StreamEnded,
    TokenReady,
    TokenRefused,
    TokenUnavailable,
    TokenUnreadable,
    Want,
    WantCall,
    WantData,
    WantStill,
    WholeAnswer,
    Woken,
)
from core.eventstream import MAX_FRAME_LENGTH, SHORTEST_FRAME
from core.masking import Mask, add_account, hide_number, removed_from
from core.phases import Asked, Policy
from core.recording import (
    VERSION,
    AnsweredLine,
    AskedLine,
    BodyEndLine,
    CallLine,
    ChosenLine,
    ConvertedLine,
    CutLine,
    DataLine,
    DeliveredLine,
    EndedLine,
    FailedLine,
    Happened,
    HeadLine,
    Line,
    NoneLeftLine,
    NoTokenLine,
    OpeningLine,
    TokenLine,
    WokenLine,
    encode_line,
    on_one_line,
)
from core.selection import Provider
from core.sse import Error, StreamEvent
from core.times import Now


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """One step of an exchange: what happened (None at its beginning), and what came of it."""

    happening: Happening | None
    at: Now
    notices: tuple[Notice, ...]
    want: Want | Final


_Chain: TypeAlias = "tuple[_Chain, Line] | None"

_QUOTABLE = "a token or a profile's ARN stands in the prompt, which the answer may quote"


class Tape(msgspec.Struct, frozen=True, kw_only=True):
    """A recording that is being made. Only `begin_tape` and `record` make these.

    `held` are lines that are not given out yet: the first ones, until it is known what is secret, and those from the
    beginning of a frame, or of an error's body, to its end: a secret that comes in two pieces is one.
    """

    asked: Asked
    request: MessagesRequest
    policy: Policy
    program: str
    mask: Mask
    provider: Provider | None = None
    held: tuple[Line, ...] = ()
    added: _Chain = None
    """Lines behind these, the last one outermost: however many there are, one more costs the same."""
    is_begun: bool = False
    """Whether the first lines are given out."""
    is_quotable: bool = False
    """Whether a token or a profile stands in the prompt, so that an answer may quote it, whole or piece by piece."""
    is_over: bool = False
    """Whether nothing more is recorded."""
    body: Literal["none", "frames", "error"] = "none"
    """What the open call is being answered with."""
    size: int = 0
    """The bytes of data in `held`."""
    masked: int = 0
    """How many of these are whole frames, and masked."""
    wanted: int = 0
    """How many there have to be before more of them can be."""


def begin_tape(asked: Asked, request: MessagesRequest, policy: Policy, *, program: str, mask: Mask) -> Tape:
    """The tape of an exchange that will begin with this. `program` is the gateway's version.

    `mask` covers what is known to be secret already: other secrets become known as the exchange uses them.
    """
    return Tape(asked=asked, request=request, policy=policy, program=program, mask=mask)


def record(tape: Tape, moment: Moment) -> tuple[Tape, bytes]:
    """The tape with one more moment, and the lines that are ready to be written."""
    if tape.is_over:
        return tape, b""
    tape = _take_note(tape, moment)
    tape = _add(tape, _lines(tape, moment))
    if tape.is_quotable and tape.body == "frames":
        tape, lines = _give_out_all(_add(tape, (CutLine(why=_QUOTABLE),)))
        return msgspec.structs.replace(tape, is_over=True), lines
    if not tape.is_begun:
        return tape, b""
    if tape.body == "none" or not isinstance(moment.want, WantData | WantStill):
        return _give_out_all(tape)
    return _give_out(_mask_frames(tape)) if tape.body == "frames" and tape.size >= tape.wanted else (tape, b"")


def end_tape(tape: Tape, why: str) -> bytes:
    """The last lines of a recording whose exchange came to no end: none of one of which there are no lines yet."""
    if not tape.is_begun or tape.is_over:
        return b""
    _, lines = _give_out_all(_add(tape, (CutLine(why=why),)))
    return lines


def _add(tape: Tape, lines: Iterable[Line]) -> Tape:
    added = tape.added
    for line in lines:
        added = added, line
    return msgspec.structs.replace(tape, added=added)


def _join(tape: Tape) -> Tape:
    """The tape with all its lines in `held`."""
    lines, rest = list[Line](), tape.added
    while rest is not None:
        rest, line = rest
        lines.append(line)
    return msgspec.structs.replace(tape, held=(*tape.held, *reversed(lines)), added=None)


def _take_note(tape: Tape, moment: Moment) -> Tape:
    """The tape with what has to be known of later lines."""
    replace = msgspec.structs.replace
    if isinstance(moment.want, WholeAnswer | StreamEnded):
        tape = replace(tape, is_begun=True)
    match moment.happening:
        case ProviderChosen(provider):
            return replace(tape, provider=provider)
        case TokenReady(token):
            assert tape.provider is not None, "a token is asked for an account"
            mask = add_account(tape.mask, tape.provider, token)
            is_quotable = tape.is_quotable or mask.finds(encode_line(_converted(tape)))
            return replace(tape, mask=mask, is_begun=True, is_quotable=is_quotable)
        case HeadArrived(head):
            return replace(tape, body="frames" if intake.is_event_stream(head) else "error")
        case DataArrived(data):
            return replace(tape, size=tape.size + len(data))
        case _:
            return tape


def _lines(tape: Tape, moment: Moment) -> Iterator[Line]:
    at, date = moment.at.instant.seconds, moment.at.epoch.seconds
    if moment.happening is None:
        yield from _first_lines(tape, at, date)
    else:
        yield _line(moment.happening, tape.mask, at=at, date=date)
    for notice in moment.notices:
        if isinstance(notice, Deliver):
            yield DeliveredLine(events=tuple(_render(event, tape.mask) for event in notice.events))
    match moment.want:
        case WantCall(call=call):
            yield CallLine(url=call.url, size=len(call.body))
        case WholeAnswer(status=status, headers=headers, body=body):
            covered = tape.mask.cover(body, is_error=status != 200)
            yield AnsweredLine(status=status, headers=dict(headers), body=on_one_line(covered))
        case StreamEnded():
            yield EndedLine()
        case _:
            pass


def _first_lines(tape: Tape, at: float, date: float) -> Iterator[Line]:
    asked = tape.asked
    yield OpeningLine(
        at=at,
        date=date,
        stagewhisper=VERSION,
        program=tape.program,
        request_id=asked.request_id,
        message_id=asked.message_id,
        jitter=asked.jitter,
        model=asked.conversion.model,
        policy=tape.policy,
    )
    yield AskedLine(request=tape.request)
    yield _converted(tape)


def _converted(tape: Tape) -> ConvertedLine:
    return ConvertedLine(request=tape.asked.conversion.request)


def _line(happening: Happening, mask: Mask, *, at: float, date: float) -> Happened:
    match happening:
        case ProviderChosen(provider):
            profile = hide_number(provider.profile_arn)
            return ChosenLine(at=at, date=date, provider=provider.id, endpoint=provider.endpoint, profile_arn=profile)
        case NoProvider(absences):
            return NoneLeftLine(at=at, date=date, absences=absences)
        case TokenReady(token):
            profile = hide_number(token.profile_arn)
            removed = removed_from(mask, token)
            return TokenLine(at=at, date=date, region=token.region, profile_arn=profile, removed=removed)
        case TokenRefused(problem):
            return NoTokenLine(at=at, date=date, cause="refused", problem=problem)
        case TokenUnreadable(problem):
            return NoTokenLine(at=at, date=date, cause="unreadable", problem=problem)
        case TokenUnavailable(problem):
            return NoTokenLine(at=at, date=date, cause="unavailable", problem=problem)
        case HeadArrived(head):
            headers = {name: value for name, value in head.headers.items() if name != "set-cookie"}
            return HeadLine(at=at, date=date, status=head.status, headers=headers)
        case DataArrived(data):
            return DataLine(at=at, date=date, data=data)
        case BodyEnded():
            return BodyEndLine(at=at, date=date)
        case CallFailed(cause, problem):
            return FailedLine(at=at, date=date, cause=cause, problem=problem)
        case Woken():
            return WokenLine(at=at, date=date)
        case _:
            assert_never(happening)


def _render(event: StreamEvent, mask: Mask) -> msgspec.Raw:
    return msgspec.Raw(mask.cover(msgspec.json.encode(event), is_error=isinstance(event, Error)))


# --- what is held ----------------------------------------------------------------------------------------------


_PRELUDE = 12
"""The bytes at a frame's beginning that say how long it is, and whether they are sound."""


def _data(held: Sequence[Line]) -> bytes:
    return b"".join(line.data for line in held if isinstance(line, DataLine))


def _put_back(held: Sequence[Line], data: bytes) -> Iterator[Line]:
    """The lines with this for their data, each with as much as it had."""
    at = 0
    for line in held:
        if isinstance(line, DataLine):
            end = at + len(line.data)
            yield msgspec.structs.replace(line, data=data[at:end])
            at = end
        else:
            yield line


def _mask_frames(tape: Tape) -> Tape:
    """The tape with all frames masked that are whole."""
    tape = _join(tape)
    data = _data(tape.held)
    is_clean = not tape.mask.may_cover(data)
    parts, at = [data[: tape.masked]], tape.masked
    wanted = at + _PRELUDE
    while len(data) >= wanted:
        prelude = data[at : at + _PRELUDE]
        length = int.from_bytes(prelude[:4])
        if not SHORTEST_FRAME <= length <= MAX_FRAME_LENGTH or crc32(prelude[:8]).to_bytes(4) != prelude[8:]:
            wanted = intake.MAX_ANSWER_BYTES  # that is no frame: the exchange ends the call, and with it comes the rest
            break
        if len(data) < (wanted := at + length):
            break
        if not is_clean:
            parts.append(tape.mask.cover_frame(data[at:wanted]))
        at, wanted = wanted, wanted + _PRELUDE
    if at == len(data):
        wanted = at
    held = tape.held if is_clean else tuple(_put_back(tape.held, b"".join((*parts, data[at:]))))
    return msgspec.structs.replace(tape, held=held, masked=at, wanted=wanted)


def _give_out(tape: Tape) -> tuple[Tape, bytes]:
    """The lines up to the first one that has bytes of a frame that is not whole."""
    size = count = 0
    for line in tape.held:
        length = len(line.data) if isinstance(line, DataLine) else 0
        if size + length > tape.masked:
            break
        size += length
        count += 1
    rest = msgspec.structs.replace(
        tape, held=tape.held[count:], size=tape.size - size, masked=tape.masked - size, wanted=tape.wanted - size
    )
    return rest, _encode(tape.held[:count], tape.mask)


def _give_out_all(tape: Tape) -> tuple[Tape, bytes]:
    """All lines. What is left of a body is no whole frame, or an error's."""
    tape = _mask_frames(tape) if tape.body == "frames" else _join(tape)
    data = _data(tape.held)
    covered = data[: tape.masked] + tape.mask.cover_rest(data[tape.masked :])
    lines = tuple(_put_back(tape.held, covered))
    rest = msgspec.structs.replace(tape, held=(), body="none", size=0, masked=0, wanted=0)
    return rest, _encode(lines, tape.mask)


_SAY_ERRORS = (NoneLeftLine, NoTokenLine, HeadLine, FailedLine)


def _encode(lines: Sequence[Line], mask: Mask) -> bytes:
    encoded = []
    for line in lines:
        text = encode_line(line)
        # Data was masked before it became base64, which has to stay what it is.
        encoded.append(text if isinstance(line, DataLine) else mask.cover(text, is_error=isinstance(line, _SAY_ERRORS)))
    return b"".join(text + b"\n" for text in encoded)
