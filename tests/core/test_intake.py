"""What comes in while a call is open: bytes into events or a failure, at any cut; a refusal into its failure."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import intake
from core.events import AssistantText, ToolUseFragment
from core.failures import Failure, Kind
from core.http import Head
from core.phases import ReadingRefusal, Streaming
from core.response import Reading
from core.times import Epoch, Instant
from tests.builders import body, exception, text, tool
from tests.exchanges import TOKEN, Play, provider

HELLO = body(text("Hel"), text("lo"))
NOW = Epoch(1_700_000_000.0)


def _streaming() -> Streaming:
    return Streaming(provider=provider(), token=TOKEN, deadline=Instant(0.0))


def _read(*pieces: bytes) -> Streaming | Failure:
    phase: Streaming | Failure = _streaming()
    for piece in pieces:
        assert isinstance(phase, Streaming)
        phase = intake.read_stream(phase, piece, request_size=0)
    return phase


def _refusal(status: int, content: bytes = b"", **headers: str) -> ReadingRefusal:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    head = Head(status=status, headers=named)
    return ReadingRefusal(provider=provider(), token=TOKEN, deadline=Instant(0.0), head=head, body=content)


@pytest.mark.parametrize(
    ("status", "content_type", "expected"),
    [
        (200, "application/vnd.amazon.eventstream", True),
        (200, "application/vnd.amazon.eventstream; charset=utf-8", True),
        (200, "Application/Vnd.Amazon.EventStream ; a=b", True),
        (200, "application/json", False),
        (200, "", False),
        (206, "application/vnd.amazon.eventstream", False),
        (500, "application/vnd.amazon.eventstream", False),
    ],
)
def test_an_answer_is_an_event_stream_by_its_status_and_type(status: int, content_type: str, expected: bool) -> None:
    assert intake.is_event_stream(Head(status=status, headers={"content-type": content_type})) is expected


def test_an_answer_without_a_type_is_none() -> None:
    assert not intake.is_event_stream(Head(status=200, headers={}))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, len(HELLO)))
def test_an_answer_is_read_alike_wherever_it_is_cut(place: int) -> None:
    whole, cut = _read(HELLO), _read(HELLO[:place], HELLO[place:])
    assert isinstance(whole, Streaming)
    assert isinstance(cut, Streaming)
    assert intake.end_stream(cut, _reading()) == intake.end_stream(whole, _reading())
    assert cut.size == whole.size == len(HELLO)


def test_neighbouring_texts_of_one_piece_are_kept_as_one() -> None:
    use = tool("t1", "Bash", "{}", stop=True)
    phase = _read(body(text("a"), text("b"), text(""), use, text("c")), body(text("d"), text("e")))
    assert isinstance(phase, Streaming)
    call = ToolUseFragment("t1", "Bash", "{}", True)
    assert phase.log.events() == [AssistantText("ab"), call, AssistantText("c"), AssistantText("de")]


def test_an_error_inside_an_answer_is_a_failure_whatever_stands_before_it() -> None:
    failure = _read(HELLO + body(exception("ThrottlingException", "made up")))
    assert isinstance(failure, Failure)
    assert failure.kind is Kind.RATE_LIMIT


def test_damaged_bytes_are_a_failure_that_names_their_place() -> None:
    failure = _read(HELLO + b"\x00" * 16)
    assert isinstance(failure, Failure)
    assert failure.kind is Kind.NETWORK
    assert f"byte {len(HELLO)}" in failure.message


def test_an_answer_that_ends_within_a_frame_is_cut() -> None:
    phase = _read(HELLO[:-1])
    assert isinstance(phase, Streaming)
    failure = intake.end_stream(phase, _reading())
    assert isinstance(failure, Failure)
    assert failure.kind is Kind.NETWORK


def _reading() -> Reading:
    conversion = Play().step.exchange.asked.conversion
    return Reading(
        message_id="msg_made_up",
        model=conversion.model.name,
        names=conversion.names,
        callable_names=(),
        calls_allowed=True,
        stop_sequences=(),
        window=200_000,
        estimated_input=1,
    )


def test_an_answer_that_ended_well_is_put_together() -> None:
    phase = _read(HELLO)
    assert isinstance(phase, Streaming)
    response = intake.end_stream(phase, _reading())
    assert not isinstance(response, Failure)
    (block,) = msgspec.to_builtins(response.message)["content"]
    assert block["text"] == "Hello"


def test_an_answers_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_ANSWER_BYTES", len(HELLO))
    assert isinstance(_read(HELLO), Streaming)
    failure = _read(HELLO, b"\x00")
    assert isinstance(failure, Failure)
    assert failure.kind is Kind.ANSWER


def test_an_errors_body_is_read_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_ERROR_BYTES", 10)
    phase = intake.read_refusal(_refusal(500), b"12345")
    assert not intake.is_enough(phase)
    phase = intake.read_refusal(phase, b"67890")
    assert intake.is_enough(phase)
    assert phase.body == b"1234567890"


def test_a_refusal_that_says_nothing_is_told_by_its_type() -> None:
    failure = intake.judge_refusal(_refusal(502, b"<html>", content_type="text/html"), request_size=0, now=NOW)
    assert failure.kind is Kind.SERVER
    assert "text/html" in failure.message


def test_a_refusal_keeps_what_it_asks_to_wait() -> None:
    failure = intake.judge_refusal(_refusal(429, retry_after="17"), request_size=0, now=NOW)
    assert (failure.kind, failure.retry_after) == (Kind.RATE_LIMIT, 17.0)


def test_a_refusal_that_quotes_a_token_is_told_without_it() -> None:
    content = msgspec.json.encode({"message": f"odd: {TOKEN.access_token} and {TOKEN.refresh_token}", "reason": None})
    message = intake.judge_refusal(_refusal(400, content), request_size=0, now=NOW).message
    assert TOKEN.access_token not in message
    assert str(TOKEN.refresh_token) not in message
    assert "odd: *** and ***" in message


@pytest.mark.parametrize("size", [1, 1000, 200_000])
def test_a_refusal_is_read_up_to_the_same_byte_in_any_pieces(size: int) -> None:
    content = b"a" * intake.MAX_ERROR_BYTES + b"b" * 1000
    phase = _refusal(400)
    for at in range(0, len(content), size):
        if intake.is_enough(phase):
            break
        phase = intake.read_refusal(phase, content[at : at + size])
    assert phase.body == b"a" * intake.MAX_ERROR_BYTES
