"""A client request of which something fails: retries, refreshes, other accounts, and what the client is told."""

from typing import Any

import pytest

from core import exchange as exchanges
from core import intake, sse
from core.dialogue import (
    BodyEnded,
    CallFailed,
    DataArrived,
    HeadArrived,
    NoProvider,
    ProviderChosen,
    StreamEnded,
    TokenReady,
    WantCall,
    WantData,
    WantPause,
    WantProvider,
    WholeAnswer,
    Woken,
)
from core.http import Head
from tests.builders import SHELL_TOOL, body, exception, message, text, tool
from tests.exchanges import EVENT_STREAM, TOKEN, Play, provider

HELLO = body(text("Hello"))
INVALID_TOKEN = {"message": "The bearer token included in the request is invalid.", "reason": None}


def calls(play: Play) -> int:
    return play.step.exchange.attempts


@pytest.mark.parametrize(
    ("status", "answer", "error", "failed"),
    [
        (429, {"__type": "ThrottlingException", "message": "Rate exceeded"}, (429, "rate_limit_error"), "rate_limit"),
        (402, {"reason": "MONTHLY_REQUEST_COUNT"}, (429, "rate_limit_error"), "quota"),
        (403, {"reason": "TEMPORARILY_SUSPENDED"}, (529, "overloaded_error"), "suspended"),
        (403, {"reason": "FEATURE_NOT_SUPPORTED"}, (403, "permission_error"), "not_allowed"),
        (400, {"reason": "INVALID_MODEL_ID", "message": "no"}, (404, "not_found_error"), "no_such_model"),
        (500, {"message": "broke"}, (529, "overloaded_error"), "server"),
        (503, b"<html>unavailable</html>", (529, "overloaded_error"), "server"),
        (302, b"", (529, "overloaded_error"), "server"),
        (404, {"Output": {"__type": "x#UnknownOperationException"}}, (529, "overloaded_error"), "server"),
    ],
)
def test_another_account_is_tried_at_once_and_without_one_the_cause_is_told(
    status: int, answer: Any, error: tuple[int, str], failed: str
) -> None:
    play = Play().call().refuse(status, answer)
    assert isinstance(play.want, WantProvider)
    assert play.want.excluded == ("a",)
    assert play.failed == [("a", failed)]
    assert play.call("b").answer(HELLO).whole.status == 200
    alone = Play().call().refuse(status, answer).tell(NoProvider())
    assert alone.error[:2] == error


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (400, {"message": "Improperly formed request.", "reason": None}, "Improperly formed request."),
        (
            402,
            {"__type": "ServiceQuotaExceededException", "reason": "CONVERSATION_LIMIT_EXCEEDED"},
            "CONVERSATION_LIMIT",
        ),
        (400, {"reason": "CONTENT_LENGTH_EXCEEDS_THRESHOLD"}, "prompt is too long: 200001 tokens > 200000 maximum"),
        (400, {"message": "Input is too long."}, "prompt is too long: 200001 tokens > 200000 maximum"),
    ],
)
def test_the_clients_fault_goes_back_to_the_client(status: int, answer: Any, expected: str) -> None:
    play = Play().call().refuse(status, answer)
    assert play.error[:2] == (400, "invalid_request_error")
    assert expected in play.error[2]
    assert "x-should-retry" not in play.whole.headers


def test_a_large_request_that_is_improperly_formed_is_too_long() -> None:
    large = [{"role": "user", "content": "word " * 130_000}]
    play = Play(messages=large).call().refuse(400, {"message": "Improperly formed request.", "reason": None})
    assert play.error[2].startswith("prompt is too long: 200001 tokens > 200000 maximum")


def test_an_overloaded_model_is_tried_twice_more_with_growing_pauses() -> None:
    play, overload = Play(), {"reason": "INSUFFICIENT_MODEL_CAPACITY"}
    play.call().refuse(429, overload)
    pauses = []
    for _ in range(2):
        assert isinstance(play.want, WantPause)
        pauses.append(play.wake_at - play.now)
        play.wake()
        assert isinstance(play.want, WantCall)
        play.refuse(429, overload)
    assert pauses == [0.75, 1.5]
    play.tell(NoProvider())
    assert play.error[:2] == (529, "overloaded_error")
    assert (calls(play), len(play.failed)) == (3, 3)


def test_pauses_have_a_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "BACKOFF_CAP", 1.0)
    play = Play().call()
    for _ in range(2):
        play.refuse(429, {"reason": "INSUFFICIENT_MODEL_CAPACITY"})
        assert play.wake_at - play.now == 0.75
        play.wake()


def test_the_network_is_tried_once_more_on_the_same_account_then_another() -> None:
    play = Play().call().tell(CallFailed("network", "refused"))
    assert isinstance(play.want, WantCall)
    assert play.want.provider.id == "a"
    play.tell(CallFailed("network", "refused"))
    assert isinstance(play.want, WantProvider)
    play.call("b").tell(CallFailed("network", "reset"))
    assert isinstance(play.want, WantCall)
    assert play.answer(HELLO).whole.status == 200


def test_a_connection_that_cannot_be_made_in_time_sends_the_request_to_another_account() -> None:
    play = Play().call().tell(CallFailed("timeout", "no connection"), NoProvider())
    assert play.failed == [("a", "timeout")]
    assert play.error[:2] == (504, "timeout_error")


# --- what breaks in the middle ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (HELLO[:-1], "network"),
        (HELLO + HELLO[:5], "network"),
        (HELLO[:-1] + bytes([HELLO[-1] ^ 1]), "network"),
        (b"<html>no stream</html>", "network"),
        (b"", "server"),
        (body(message(b"{}", message_type="event", event_type="assistantResponseEvent")), "server"),
        (body(message(b"{}")), "server"),
        (HELLO + body(exception("ThrottlingException", "slow down")), "rate_limit"),
        (HELLO + body(exception("throttlingException", "x", "MONTHLY_REQUEST_COUNT")), "quota"),
        (HELLO + body(exception("error", "internal")), "server"),
        (HELLO + body(message(b"", message_type="error", error_code="InternalError", error_message="x")), "server"),
        # what came before the place where it broke decides
        (HELLO + body(exception("ThrottlingException", "slow down")) + b"\x00" * 12, "rate_limit"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_stream_that_does_not_end_well_is_never_presented_as_one_that_did(
    answer: bytes, failed: str, stream: bool
) -> None:
    play = Play(stream=stream).call()
    _until_judged(play, answer)
    assert play.failed == [("a", failed)]
    assert play.delivered == []
    if failed == "network":
        assert isinstance(play.want, WantCall)
        _until_judged(play, answer)
    assert isinstance(play.want, WantProvider)
    assert play.tell(NoProvider()).error[0] in (429, 529)


def _until_judged(play: Play, answer: bytes) -> None:
    """Answer a call as far as the exchange reads."""
    play.tell(HeadArrived(EVENT_STREAM))
    if answer:
        play.tell(DataArrived(answer))
    if isinstance(play.want, WantData):
        play.tell(BodyEnded())


@pytest.mark.parametrize(
    "answer",
    [
        body(tool("t1", "Bash"), tool("t1", "Bash", '{"command": "ls')),
        body(tool("t1", "Bash", "{not JSON", stop=True)),
    ],
)
def test_a_cut_call_is_told_without_a_retry(answer: bytes) -> None:
    play = Play(tools=[SHELL_TOOL]).call().answer(answer)
    assert play.error[:2] == (500, "api_error")
    assert play.whole.headers["x-should-retry"] == "false"
    assert (calls(play), play.failed) == (1, [("a", "answer")])


def test_after_the_answer_has_begun_an_error_is_an_event() -> None:
    play = Play(stream=True, tools=[SHELL_TOOL]).call().wake()
    play.answer(body(tool("t1", "Bash", "{")))
    assert play.want == StreamEnded()
    assert [type(one) for one in play.delivered] == [sse.MessageStart, sse.Ping, sse.Error]
    error = play.delivered[-1]
    assert isinstance(error, sse.Error)
    assert (error.error.type, error.request_id) == ("api_error", "req_0001")


def test_failover_goes_on_after_the_answer_has_begun() -> None:
    play = Play(stream=True).call().wake().refuse(500).call("b").answer(HELLO)
    kinds = [type(one).__name__ for one in play.delivered]
    assert kinds.count("MessageStart") == 1
    assert kinds[-1] == "MessageStop"


def test_an_answer_of_another_type_is_read_as_an_error() -> None:
    play = Play().call().answer(b"<html>", head=Head(status=200, headers={"content-type": "text/html"}))
    assert play.failed == [("a", "server")]


def test_an_errors_body_is_read_no_further_than_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_ERROR_BYTES", 10)
    play = Play().call().tell(HeadArrived(Head(status=500, headers={})), DataArrived(b"12345"))
    assert isinstance(play.want, WantData)
    play.tell(DataArrived(b"67890"))
    assert play.failed == [("a", "server")]


def test_a_refusal_whose_body_breaks_is_judged_by_what_came() -> None:
    play = Play().call().tell(HeadArrived(Head(status=429, headers={})), CallFailed("network", "reset"))
    assert play.failed == [("a", "rate_limit")]


# --- deadlines -------------------------------------------------------------------------------------------------


def test_no_first_byte_in_time_is_a_timeout() -> None:
    play = Play().call().wake()
    assert play.failed == [("a", "timeout")]
    assert "timeouts.firstByteMs" in play.tell(NoProvider()).error[2]


def test_a_stall_in_the_middle_is_a_timeout() -> None:
    play = Play().call().tell(HeadArrived(EVENT_STREAM), DataArrived(HELLO)).wake()
    assert play.now == 1020.0
    assert play.failed == [("a", "timeout")]
    assert "timeouts.idleMs" in play.tell(NoProvider()).error[2]


def test_a_stall_in_a_refusals_body_is_judged_by_what_came() -> None:
    play = Play().call().tell(HeadArrived(Head(status=500, headers={})), DataArrived(b"{")).wake()
    assert play.failed == [("a", "server")]


def test_a_token_that_the_service_quotes_reaches_neither_the_client_nor_the_log() -> None:
    quoted = {"message": "'made-up-access' not a valid key=value pair in Authorization: 'Bearer made-up-access'"}
    play = Play().call().refuse(400, quoted)
    assert "made-up" not in repr(play.notices)
    assert b"made-up" not in play.whole.body
    broken = HELLO + body(exception("ValidationException", "Bearer made-up-access is wrong"))
    play = Play().call().tell(HeadArrived(EVENT_STREAM), DataArrived(broken))
    assert "made-up" not in repr(play.notices)


@pytest.mark.parametrize("phase", ["choosing", "authorizing", "calling", "streaming"])
def test_the_total_deadline_ends_whatever_is_under_way(phase: str) -> None:
    play = Play()
    if phase != "choosing":
        play.tell(ProviderChosen(provider("a")))
    if phase in ("calling", "streaming"):
        play.tell(TokenReady(TOKEN))
    if phase == "streaming":
        play.tell(HeadArrived(EVENT_STREAM))
        while play.now < 1090:
            play.now += 15
            play.tell(DataArrived(b""))
    play.now = 1100.0
    play.tell(Woken())
    assert play.error[:2] == (504, "timeout_error")
    assert "timeouts.totalMs" in play.error[2]


def test_a_deadline_blames_no_account_that_was_not_being_asked() -> None:
    overload = {"reason": "INSUFFICIENT_MODEL_CAPACITY"}
    play = Play().call().refuse(429, overload)
    play.now = 1100.0
    play.tell(Woken())
    assert play.failed == [("a", "overload")]
    assert play.error[:2] == (504, "timeout_error")


def test_a_refusal_that_trickles_to_the_deadline_is_still_what_it_is() -> None:
    play = Play().call().tell(HeadArrived(Head(status=429, headers={})))
    for moment in range(1010, 1100, 10):
        play.now = float(moment)
        play.tell(DataArrived(b" "))
    play.now = 1100.0
    play.tell(DataArrived(b" "))
    assert play.failed == [("a", "rate_limit")]
    assert play.error[:2] == (429, "rate_limit_error")


def test_data_that_never_ends_does_not_put_off_the_deadline() -> None:
    play = Play().call().tell(HeadArrived(EVENT_STREAM))
    play.now = 1100.0
    play.tell(DataArrived(HELLO))
    assert play.error[:2] == (504, "timeout_error")


def test_the_total_deadline_of_a_begun_stream_is_an_event() -> None:
    play = Play(stream=True)
    while not isinstance(play.want, StreamEnded | WholeAnswer):
        play.wake()
    assert play.now == 1100.0
    assert isinstance(play.delivered[-1], sse.Error)
    assert play.delivered[-1].error.type == "timeout_error"
