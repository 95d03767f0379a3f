"""Recordings whose client is sent something else than then: what is compared, and where the first difference is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from core.dialogue import BodyEnded, DataArrived, NoProvider
from core.playback import single_bytes
from core.recording import AnsweredLine, DeliveredLine, EndedLine, Recording, parse_recording
from core.rerun import Pieces, first_difference_from_then, rerun
from tests.builders import body, text
from tests.recordings import HELLO, SAMPLES, SECRETS, Taped
from tests.reruns import OTHER_PIECES, attempts, then_and_now


def replace_line(name: str, place: int, **members: Any) -> Recording:
    """A sample with members of a line changed; `place` counts from the fourth line, or from the end."""
    recording = parse_recording(SAMPLES[name]())
    lines = list(recording.lines)
    lines[place] = msgspec.structs.replace(lines[place], **members)
    return msgspec.structs.replace(recording, lines=tuple(lines))


def delivering(change: Callable[[tuple[msgspec.Raw, ...]], tuple[msgspec.Raw, ...]]) -> Recording:
    """The sample `stream` as if its client had been sent other events."""
    (line,) = [each for each in parse_recording(SAMPLES["stream"]()).lines if isinstance(each, DeliveredLine)]
    return replace_line("stream", -2, events=change(line.events))


@pytest.mark.parametrize(
    ("keep", "index"), [(slice(1, None), 0), (slice(-1), -1), (slice(0), 0), (slice(None, None, -1), 0)]
)
def test_the_first_stream_event_that_differs_is_said(keep: slice, index: int) -> None:
    recording = delivering(lambda events: events[keep])
    run = rerun(recording)
    difference = first_difference_from_then(recording, run)
    assert difference is not None
    assert (difference.part, difference.index) == ("stream event", index % len(run.stream))
    assert difference.got == msgspec.json.encode(run.stream[index])
    assert difference.expected != difference.got


def test_more_events_then_than_now_are_a_difference_too() -> None:
    recording = delivering(lambda events: events * 2)
    run = rerun(recording)
    difference = first_difference_from_then(recording, run)
    assert difference is not None
    assert (difference.index, difference.got) == (len(run.stream), None)


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("whole", EndedLine()),
        ("refusal", AnsweredLine(status=400, headers={}, body=msgspec.Raw(b"{}"))),
        ("stream", AnsweredLine(status=200, headers={}, body=msgspec.Raw(b"{}"))),
    ],
)
def test_another_end_is_a_difference(name: str, end: AnsweredLine | EndedLine) -> None:
    recording = parse_recording(SAMPLES[name]())
    recording = msgspec.structs.replace(recording, lines=(*recording.lines[:-1], end))
    difference = first_difference_from_then(recording, rerun(recording))
    assert difference is not None
    assert (difference.part, difference.expected) == ("answer", end)
    assert difference.got == parse_recording(SAMPLES[name]()).lines[-1]


@pytest.mark.parametrize("member", ["status", "headers", "body"])
def test_every_member_of_an_answer_is_compared(member: str) -> None:
    other = {"status": 201, "headers": {"x": "y"}, "body": msgspec.Raw(b"{}")}[member]
    recording = replace_line("whole", -1, **{member: other})
    difference = first_difference_from_then(recording, rerun(recording))
    assert difference is not None
    assert difference.part == "answer"


def test_an_exchange_that_does_not_end_any_more_is_different() -> None:
    recording = parse_recording(SAMPLES["stream"]())
    lines = (*recording.lines[:-3], recording.lines[-1])  # without the body's end and what came of it
    recording = msgspec.structs.replace(recording, lines=lines)
    difference = first_difference_from_then(recording, rerun(recording))
    assert difference is not None
    assert (difference.expected, difference.got) == (EndedLine(), None)


def broken_with_a_secret(pinged: bool) -> bytes:
    """A recording of an error that names the checksums of a damaged frame, in which a token stood."""
    sound = body(text(SECRETS.access_token))
    damaged = sound[:-1] + bytes((sound[-1] ^ 1,))
    taped = Taped().call().answer(damaged).answer(damaged)
    return (taped.wake() if pinged else taped).tell(NoProvider()).taped


@pytest.mark.parametrize(("pinged", "part"), [(True, "stream event"), (False, "answer")])
def test_checksums_of_a_frame_from_which_a_secret_was_removed_are_no_part_of_it(pinged: bool, part: str) -> None:
    data = broken_with_a_secret(pinged)
    recording, run = then_and_now(data)
    (stated,) = set(re.findall(rb"got (0x[0-9a-f]{8})\)", data))
    failure = run.attempts[0].failure
    assert failure is not None
    assert "message_crc" in failure.message
    assert stated.decode() not in failure.message
    assert first_difference_from_then(recording, run) is None
    changes = [(b"message_crc", b"message-crc"), (b" at byte 0:", b" at byte 1:"), (b"overloaded_error", b"api_error")]
    for change in changes:
        recording, run = then_and_now(data.replace(*change))
        difference = first_difference_from_then(recording, run)
        assert difference is not None
        assert difference.part == part


def test_checksums_in_a_text_are_part_of_it() -> None:
    words = "message_crc (expected 0x00000001 at the end, got 0x00000002)"
    recording, run = then_and_now(Taped().call().answer(body(text(words))).taped.replace(b"0x00000002", b"0x00000003"))
    difference = first_difference_from_then(recording, run)
    assert difference is not None
    assert (difference.part, difference.index) == ("stream event", 2)


def test_pings_are_no_part_of_it() -> None:
    ping = msgspec.Raw(b'{"type":"ping"}')
    recording = delivering(lambda events: (ping, *events, ping))
    assert first_difference_from_then(recording, rerun(recording)) is None


@pytest.mark.parametrize("pieces", [None, single_bytes])
def test_where_the_exchange_does_not_go_on_as_then_the_line_is_said(pieces: Pieces | None) -> None:
    recording = parse_recording(SAMPLES["stream"]())
    chosen, token, call, _, *data = recording.lines
    recording = msgspec.structs.replace(recording, lines=(chosen, token, call, *data))
    run = rerun(recording, pieces)
    assert run.stuck is not None
    assert (run.stuck.line, run.stuck.problem) == (7, "DataArrived is not what Calling waits for")
    difference = first_difference_from_then(recording, run)
    assert difference is not None
    assert (difference.part, difference.index, difference.got) == ("line", 7, run.stuck.problem)
    assert (run.is_ended, run.outcome, attempts(run)) == (False, None, [("a", None, None)])


@pytest.mark.parametrize("pieces", [None, *OTHER_PIECES])
def test_a_call_that_ends_sooner_than_then_is_a_difference_in_any_pieces(pieces: Pieces | None) -> None:
    data = [DataArrived(HELLO[:200]), DataArrived(HELLO[200:])]
    recording = parse_recording(Taped().call().begin_answer().tell(*data, BodyEnded()).taped)
    damaged = msgspec.structs.replace(recording.lines[4], data=HELLO[:3] + b"\0" + HELLO[4:200])
    recording = msgspec.structs.replace(recording, lines=(*recording.lines[:4], damaged, *recording.lines[5:]))
    run = rerun(recording, pieces)
    assert attempts(run) == [("a", 200, "network"), ("a", None, None)]
    assert run.stuck is not None
    assert "is not what Calling waits for" in run.stuck.problem


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ((b'"role":"user"', b'"role":"assistant"'), "This model does not support assistant message prefill"),
        ((b'"id":"CLAUDE_TEST_V1_0"', b'"id":"CLAUDE TEST"'), "expected a legal model id"),
        ((b'"conversationId":"00', b'"conversationId":"' + b"0" * 200), "conversationId: expected"),
    ],
)
@pytest.mark.parametrize("pieces", [None, single_bytes])
def test_a_request_that_is_not_converted_any_more_is_a_difference(
    change: tuple[bytes, bytes], problem: str, pieces: Pieces | None
) -> None:
    recording, run = then_and_now(SAMPLES["stream"]().replace(*change, 1), pieces)
    assert run.stuck is not None
    assert run.stuck.line == 2
    assert run.stuck.problem.startswith("the request is refused now: ")
    assert problem in run.stuck.problem
    assert (run.is_converted_alike, run.start, run.attempts) == (False, None, ())
    assert first_difference_from_then(recording, run) is not None


def test_a_request_that_is_converted_otherwise_is_noticed_but_is_no_difference() -> None:
    data = SAMPLES["stream"]().replace(
        b'"userInputMessage":{"content":"Hello"', b'"userInputMessage":{"content":"Hallo"'
    )
    recording, run = then_and_now(data)
    assert not run.is_converted_alike
    assert first_difference_from_then(recording, run) is None
