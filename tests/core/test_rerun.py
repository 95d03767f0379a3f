"""Recordings run again: in any pieces they come to the same as then, and where they do not, it is said where."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import sse
from core.dialogue import (
    BodyEnded,
    CallFailed,
    DataArrived,
    NoProvider,
    ProviderChosen,
    StreamEnded,
    TokenRefused,
    TokenUnavailable,
    TokenUnreadable,
    WantCall,
    WholeAnswer,
    Woken,
)
from core.failures import Kind
from core.http import Head
from core.playback import chop, single_bytes
from core.recording import DataLine, DeliveredLine, parse_recording
from core.refusals import Absence, Refusal
from core.rerun import Rerun, first_difference_from_then, rerun
from core.response import BufferedResponse
from core.times import Epoch
from tests.builders import body, exception, text
from tests.exchanges import POLICY, provider
from tests.recordings import CALLED, HELLO, SAMPLES, THROTTLED, Taped
from tests.reruns import OTHER_PIECES, attempts, then_and_now


def assert_the_same(data: bytes) -> Rerun:
    """Assert that it comes to the same in any pieces; the result is the run in those that it has."""
    recording, run = then_and_now(data)
    assert (run.stuck, run.is_converted_alike) == (None, True)
    assert first_difference_from_then(recording, run) is None
    for pieces in OTHER_PIECES:
        other = rerun(recording, pieces)
        assert first_difference_from_then(recording, other) is None
        assert (other.outcome, other.answer, other.is_ended) == (run.outcome, run.answer, run.is_ended)
        assert [(each.provider, each.head, each.failure) for each in other.attempts] == [
            (each.provider, each.head, each.failure) for each in run.attempts
        ]
    return run


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("stream", [("a", 200, None)]),
        ("whole", [("a", 200, None)]),
        ("pings", [("a", 200, None)]),
        ("failover", [("a", 429, "rate_limit"), ("b", 200, None)]),
        ("refused token", [("a", 403, "authentication"), ("b", 200, None)]),
        ("exception", [("a", 200, "rate_limit"), ("b", 200, None)]),
        ("refusal", [("a", 400, "client")]),
        ("error event", [("a", 200, "network"), ("a", None, "network")]),
        ("nobody", []),
        ("no call", [("a", None, "authentication")]),
        ("cut", [("a", 200, None)]),
        ("cut before a call", [("a", None, None)]),
    ],
)
def test_a_recording_comes_to_the_same_in_any_pieces(name: str, expected: object) -> None:
    assert attempts(assert_the_same(SAMPLES[name]())) == expected


def test_every_sample_is_expected_to_come_to_something() -> None:
    (mark,) = test_a_recording_comes_to_the_same_in_any_pieces.pytestmark  # type: ignore[attr-defined]  # pytest's
    assert {row[0] for row in mark.args[1]} == set(SAMPLES)


def test_a_run_has_what_a_streaming_client_is_sent_pings_included() -> None:
    run = assert_the_same(SAMPLES["pings"]())
    assert run.stream[0] == run.start
    assert [type(event).__name__ for event in run.stream[:4]] == ["MessageStart", "Ping", "Ping", "ContentBlockStart"]
    assert isinstance(run.stream[-1], sse.MessageStop)
    assert (run.answer, run.is_ended) == (None, True)
    assert isinstance(run.outcome, BufferedResponse)


def test_a_run_has_what_any_other_client_is_sent() -> None:
    run = assert_the_same(SAMPLES["whole"]())
    assert run.stream == ()
    assert run.answer is not None
    assert run.answer.status == 200
    assert isinstance(run.outcome, BufferedResponse)
    assert run.answer.body == sse.encode_message(run.outcome.message)
    streamed = assert_the_same(SAMPLES["stream"]())
    assert streamed.stream == (run.start, *sse.render_events(run.outcome.message))


def test_a_run_has_the_bytes_of_each_call_as_they_came() -> None:
    (attempt,) = assert_the_same(SAMPLES["stream"]()).attempts
    assert (b"".join(attempt.pieces), len(attempt.pieces)) == (CALLED, 7)


def test_an_exchange_that_was_cut_has_no_outcome() -> None:
    run = assert_the_same(SAMPLES["cut"]())
    assert (run.outcome, run.answer, run.is_ended) == (None, None, False)
    assert [type(event).__name__ for event in run.stream] == ["MessageStart", "Ping"]


ABSENT = Absence(provider_id="z", kind=Kind.QUOTA, problem="used up", back_in=30.0, back_at=Epoch(1.7e9))


@pytest.mark.parametrize(
    ("taped", "error"),
    [
        (Taped().tell(ProviderChosen(provider()), TokenRefused("no file", "")), "permission_error"),
        (Taped().tell(ProviderChosen(provider()), TokenUnreadable("no JSON")), "permission_error"),
        (Taped().tell(ProviderChosen(provider()), TokenUnavailable("no network")), "overloaded_error"),
        (Taped().call().tell(CallFailed("timeout", "no connection")), "timeout_error"),
        (Taped().call().tell(CallFailed("network", "x"), CallFailed("network", "y")), "overloaded_error"),
        (Taped(stream=False), "overloaded_error"),
    ],
)
def test_what_failed_is_told_as_then(taped: Taped, error: str) -> None:
    absences = (ABSENT,) if error == "overloaded_error" else ()
    run = assert_the_same(taped.tell(NoProvider(absences)).taped)
    assert isinstance(run.outcome, Refusal)
    assert run.outcome.error_type == (error if not absences or run.attempts else "rate_limit_error")
    assert run.answer is not None
    assert run.answer.status >= 400


# --- other pieces ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ending", [exception("ThrottlingException", "slow down"), exception("ValidationException", "no")]
)
@pytest.mark.parametrize("pause", [0.25, 3.0, 11.0])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_what_came_with_the_end_of_a_call_is_not_read(ending: Any, pause: float, stream: bool, pieces: int) -> None:
    """With single bytes it is over amid what came with one read then; whether a ping was due is asked once for both."""
    taped = Taped(pause=pause, stream=stream).call("a").answer(body(text("Hel"), ending, text("lo")), pieces=pieces)
    if not isinstance(taped.want, WholeAnswer | StreamEnded):
        taped.call("b").answer(HELLO)
    assert_the_same(taped.taped)


def test_a_retry_is_as_long_as_then() -> None:
    """Its time limit counts from when the whole of the data came, amid which it was seen that it was damaged."""
    policy = msgspec.structs.replace(POLICY, ping_interval=29.0)
    taped = Taped(policy=policy).call().begin_answer(HELLO[:50])
    taped.now += 15
    taped.tell(DataArrived(HELLO[50:100] + b"\0" + HELLO[101:]))
    run = assert_the_same(taped.wake().answer(HELLO).taped)
    assert attempts(run) == [("a", 200, "network"), ("a", 200, None)]


def test_a_refusal_that_is_longer_than_what_is_read_of_it_is_the_same_in_any_pieces() -> None:
    taped = Taped().call("a").refuse(429, b"%b%b" % (msgspec.json.encode(THROTTLED), b" " * 70_000))
    run = assert_the_same(taped.call("b").answer(HELLO).taped)
    assert attempts(run) == [("a", 429, "rate_limit"), ("b", 200, None)]


def test_pieces_of_nothing_are_a_sign_of_life_too() -> None:
    policy = msgspec.structs.replace(POLICY, total=1000.0)
    taped = Taped(policy=policy, pause=15.0, stream=False).call().begin_answer(HELLO[:50])
    taped.tell(DataArrived(b""), DataArrived(b""), Woken(), DataArrived(HELLO[50:]), BodyEnded())
    assert taped.whole.status == 200
    assert_the_same(taped.taped)


def test_data_that_comes_when_the_time_is_up_is_not_looked_at() -> None:
    head = Head(status=400, headers={"content-type": "application/json"})
    taped = Taped(pause=24.0).call().begin_answer(b'{"message":"no"', head=head)
    run = assert_the_same(taped.tell(DataArrived(b',"reason":"MONTHLY_REQUEST_COUNT"} ')).taped)
    assert attempts(run) == [("a", 400, "client")]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.sampled_from((0.0, 0.25, 3.0, 9.99, 10.0)),
    st.integers(),
    st.integers(0, 20),
    st.integers(0, len(CALLED)),
    st.booleans(),
)
def test_no_chunking_then_or_now_makes_a_difference(
    pieces: int, pause: float, seed: int, turn: int, end: int, stream: bool
) -> None:
    taped = Taped(pause=pause, stream=stream).call().answer(CALLED[:end], pieces=pieces)
    while not isinstance(taped.want, WholeAnswer | StreamEnded):
        if isinstance(taped.want, WantCall):
            taped.answer(CALLED[:end], pieces=pieces)
        else:
            taped.tell(NoProvider())
    recording, run = then_and_now(taped.taped, partial(chop, seed=seed, turn=turn))
    assert first_difference_from_then(recording, run) is None
    assert run.outcome == rerun(recording).outcome


# --- recordings without an end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
def test_the_beginning_of_a_recording_is_the_same_as_far_as_it_goes(name: str) -> None:
    lines = SAMPLES[name]().splitlines(keepends=True)
    for count in range(3, len(lines)):
        for pieces in (None, single_bytes):
            recording, run = then_and_now(b"".join(lines[:count]), pieces)
            assert first_difference_from_then(recording, run) is None
            assert run.stuck is None
            data = b"".join(line.data for line in recording.lines if isinstance(line, DataLine))
            assert b"".join(piece for each in run.attempts for piece in each.pieces) == data


def test_what_the_beginning_of_a_recording_has_is_compared() -> None:
    recording = parse_recording(SAMPLES["cut"]())
    pong = DeliveredLine(events=(msgspec.Raw(b'{"type":"pong"}'),))
    recording = msgspec.structs.replace(recording, lines=(*recording.lines[:-1], pong))
    difference = first_difference_from_then(recording, rerun(recording))
    assert difference is not None
    assert (difference.part, difference.index) == ("stream event", 1)
    assert (difference.expected, difference.got) == (b'{"type":"pong"}', None)
