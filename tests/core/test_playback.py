"""Captured bytes run again: what an exchange makes of them, in any pieces, and where two runs differ."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import intake
from core.anthropic import AnswerText, AnswerToolUse
from core.dialogue import StreamEnded
from core.events import AssistantText, OtherEvent, ServiceError
from core.eventstream import FaultReason
from core.failures import Failure, Kind
from core.http import Head
from core.phases import Streaming
from core.playback import BARE_HEAD, Difference, Playback, bare_reading, chop, first_difference, play, single_bytes
from core.rawhttp import RawFault, RawFaultReason, RawResponse, parse_response
from core.response import BufferedResponse
from core.times import Epoch
from tests.builders import body, event, exception, text, tool
from tests.exchanges import Play

NOW = Epoch(1_700_000_000.0)
HELLO = body(text("Hel"), text("lo"), event("meteringEvent", usage=1), tool("t1", "Read", '{"a":1}', stop=True))


def run(
    *pieces: bytes, head: Head = BARE_HEAD, tools: tuple[str, ...] = (), broken: RawFault | None = None
) -> Playback:
    """What the core makes of these pieces."""
    return play(head, pieces, reading=bare_reading("claude-test", tools), now=NOW, broken=broken)


def answer(played: Playback) -> BufferedResponse:
    """The answer that it is."""
    assert isinstance(played.outcome, BufferedResponse), played.outcome
    return played.outcome


def failure(played: Playback) -> Failure:
    """The failure that it is; nothing of it reaches a client."""
    assert isinstance(played.outcome, Failure), played.outcome
    assert played.stream == ()
    return played.outcome


def test_frames_have_their_places_and_events_stand_beside_them() -> None:
    played = run(HELLO)
    assert [HELLO[frame.offset : frame.offset + frame.length] for frame in played.frames] == [
        body(frame.message) for frame in played.frames
    ]
    assert sum(frame.length for frame in played.frames) == len(HELLO)
    assert len(played.events) == len(played.frames) == 4
    assert (played.events[0], played.events[2]) == (AssistantText("Hel"), OtherEvent("meteringEvent"))


def test_the_answer_and_its_stream_are_those_of_an_exchange() -> None:
    played = run(HELLO)
    message = answer(played).message
    assert (message.id, message.model) == ("msg_replay", "claude-test")
    exchanged = Play(stream=True, tools=[{"name": "Read", "input_schema": {"type": "object"}}]).call().answer(HELLO)
    assert exchanged.want == StreamEnded()
    ours, theirs = played.stream, exchanged.delivered
    # All but the beginning, in which the message's id and the request's estimate stand, and the end with its usage.
    assert list(ours[1:-2]) == list(theirs[1:-2])
    for one, other in zip(ours[-2:], theirs[-2:], strict=True):
        assert msgspec.to_builtins(one).get("delta") == msgspec.to_builtins(other).get("delta")


def test_written_out_calls_are_found_by_the_names_that_are_given() -> None:
    written = body(text('Tool call: my tool({"a":1})'))
    assert [type(block) for block in answer(run(written)).message.content] == [AnswerText]
    (block,) = answer(run(written, tools=("my tool",))).message.content
    assert isinstance(block, AnswerToolUse)
    assert (block.name, bytes(block.input)) == ("my tool", b'{"a":1}')


def test_an_error_inside_ends_the_answer_but_not_the_frames() -> None:
    played = run(body(text("Hel"), exception("ThrottlingException", "slow down"), text("lo")))
    assert failure(played).kind is Kind.RATE_LIMIT
    assert [type(each) for each in played.events] == [AssistantText, ServiceError, AssistantText]
    assert played.fault is None


def test_frames_before_a_fault_are_kept_and_the_failure_says_where_it_is() -> None:
    first = len(body(text("Hel")))
    played = run(HELLO[: first + 20])
    assert len(played.frames) == 1
    assert played.fault is not None
    assert (played.fault.reason, played.fault.offset) == (FaultReason.TRUNCATED_STREAM, first)
    assert f"at byte {first}:" in failure(played).message


def test_a_body_of_nothing_is_no_answer() -> None:
    assert failure(run()).message == "the service's answer has no content"


def test_a_capture_that_broke_between_two_frames_is_no_answer() -> None:
    broken = RawFault(reason=RawFaultReason.CUT_BODY, offset=7, detail="expected more")
    assert failure(run(HELLO, broken=broken)) == Failure(
        kind=Kind.NETWORK, message="the capture broke at byte 7: cut_body (expected more)"
    )
    # What the service said before that is what it came to.
    throttled = body(exception("ThrottlingException", "slow down"))
    assert failure(run(throttled, broken=broken)).kind is Kind.RATE_LIMIT


def test_a_refusal_is_the_failure_that_it_is() -> None:
    head = Head(status=429, headers={"content-type": "application/json", "retry-after": "30"})
    played = run(b'{"message":', b'"slow down"}', head=head)
    assert (failure(played).kind, failure(played).retry_after) == (Kind.RATE_LIMIT, 30.0)
    assert (played.frames, played.events, played.fault) == ((), (), None)


@pytest.mark.parametrize("size", [64 * 1024, 64 * 1024 + 1, 70_000])
def test_a_long_refusal_is_the_same_in_any_pieces(size: int) -> None:
    content = b'{"reason":"MONTHLY_REQUEST_COUNT","message":"%b"}' % (b"a" * size)
    head = Head(status=400, headers={})
    played = run(content, head=head)
    for turn in range(5):
        assert first_difference(played, run(*chop(content, seed=1, turn=turn), head=head)) is None


# --- other pieces ----------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.integers(), st.integers(0, 100))
def test_a_chopped_body_is_the_body_and_a_seed_gives_the_same_pieces_again(data: bytes, seed: int, turn: int) -> None:
    pieces = list(chop(data, seed=seed, turn=turn))
    assert b"".join(pieces) == data
    assert all(pieces)
    assert pieces == list(chop(data, seed=seed, turn=turn))


def test_turns_and_seeds_differ_from_a_single_piece_to_many() -> None:
    counts = {len(list(chop(HELLO, seed=0, turn=turn))) for turn in range(40)}
    assert min(counts) <= 3
    assert max(counts) > 100
    assert list(chop(HELLO, seed=0, turn=3)) != list(chop(HELLO, seed=1, turn=3))


def test_single_bytes_are_the_body() -> None:
    assert list(single_bytes(b"abc")) == [b"a", b"b", b"c"]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, len(HELLO)), st.integers())
def test_no_chunking_makes_a_difference_even_where_the_body_is_cut(end: int, seed: int) -> None:
    cut = HELLO[:end]
    assert first_difference(run(cut), run(*chop(cut, seed=seed, turn=0))) is None
    assert first_difference(run(cut), run(*single_bytes(cut))) is None


# --- differences -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "part", "index"),
    [
        (body(text("Hel")), "frame", 1),
        (body(text("Hel"), text("l0")), "frame", 1),
        (body(text("Hel"), text("lo")) + b"\0", "fault", 0),
    ],
)
def test_the_first_difference_is_the_first(other: bytes, part: str, index: int) -> None:
    played = run(body(text("Hel"), text("lo")))
    for one, two in ((played, run(other)), (run(other), played)):
        difference = first_difference(one, two)
        assert difference is not None
        assert (difference.part, difference.index) == (part, index)


def test_what_is_made_of_equal_frames_is_compared_too() -> None:
    played = run(HELLO)
    other = msgspec.structs.replace(played, events=(*played.events[:-1], AssistantText("")))
    assert first_difference(played, other) == Difference(
        part="event", index=3, expected=played.events[3], got=AssistantText("")
    )
    other = run(HELLO, tools=("lo",))
    assert first_difference(played, other) is None
    assert first_difference(played, msgspec.structs.replace(played, stream=played.stream[:-1])) == Difference(
        part="stream event", index=len(played.stream) - 1, expected=played.stream[-1], got=None
    )


def test_a_core_that_depends_on_the_pieces_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = intake.read_stream

    def wrong(phase: Streaming, data: bytes, *, request_size: int) -> Streaming | Failure:
        return real(phase, data if len(data) != 1 else b"", request_size=request_size)

    played = run(HELLO)
    monkeypatch.setattr(intake, "read_stream", wrong)
    difference = first_difference(played, run(*single_bytes(HELLO)))
    assert difference is not None
    assert difference.part == "answer"


# --- damage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [0x01, 0x20, 0x80, 0xFF])
def test_any_damaged_byte_is_a_fault_that_names_its_frame(change: int) -> None:
    frames = run(HELLO).frames
    for place in range(len(HELLO)):
        played = run(HELLO[:place] + bytes((HELLO[place] ^ change,)) + HELLO[place + 1 :])
        hit = next(frame for frame in frames if place < frame.offset + frame.length)
        assert played.fault is not None
        assert played.fault.offset == hit.offset
        assert f"at byte {hit.offset}:" in failure(played).message
        assert played.frames == tuple(frame for frame in frames if frame.offset < hit.offset)


@pytest.mark.parametrize("change", [0x01, 0x20, 0x80])
def test_any_damaged_byte_of_a_chunked_response_is_a_failure_or_changes_nothing(change: int) -> None:
    pieces = list(chop(HELLO, seed=0, turn=4))
    assert len(pieces) > 2
    capture = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    capture += b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))
    sound = run(HELLO)
    again = _run_capture(capture)
    assert again is not None
    assert first_difference(sound, again) is None
    for place in range(len(capture)):
        played = _run_capture(capture[:place] + bytes((capture[place] ^ change,)) + capture[place + 1 :])
        assert played is None or isinstance(played.outcome, Failure) or first_difference(sound, played) is None


def _run_capture(capture: bytes) -> Playback | None:
    read = parse_response(capture)
    if isinstance(read, RawResponse):
        return run(*read.pieces, head=read.head)
    return None if read.response is None else run(*read.response.pieces, head=read.response.head, broken=read)
