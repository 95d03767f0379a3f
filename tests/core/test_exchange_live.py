"""A client request that is delivered live: content as it comes, failover until then, after it an error."""

from typing import Any

import msgspec
import pytest

from core import sse
from core.dialogue import (
    BodyEnded,
    CallFailed,
    DataArrived,
    Deliver,
    HeadArrived,
    NoProvider,
    Refused,
    StreamEnded,
    Succeeded,
    TokenReady,
    TokenRefused,
    TokenRejected,
    TokenUnavailable,
    TokenUnreadable,
    WantData,
    WantFreshToken,
    WantPause,
    WantProvider,
    Woken,
)
from core.errors import ClientRequestError, ShellError
from core.exchange import advance
from core.phases import ask_for_delivery
from core.times import Instant
from tests.builders import SHELL_TOOL, body, event, exception, text, tool
from tests.exchanges import EVENT_STREAM, POLICY, TOKEN, Play, provider

LIVE = msgspec.structs.replace(POLICY, delivery="live")
HELLO = body(text("Hel"))
INVALID_TOKEN = "The bearer token included in the request is invalid."


def live(**members: Any) -> Play:
    return Play(policy=LIVE, **({"stream": True} | members))


def begun(**members: Any) -> Play:
    """An exchange whose client has the first word."""
    return live(**members).call().tell(HeadArrived(EVENT_STREAM), DataArrived(HELLO))


def kinds(play: Play) -> list[str]:
    return [type(each).__name__ for each in play.delivered]


def test_the_first_word_goes_out_with_the_step_in_which_it_came() -> None:
    play = begun()
    assert isinstance(play.want, WantData)
    assert kinds(play) == ["MessageStart", "ContentBlockStart", "ContentBlockDelta"]
    play.tell(DataArrived(body(text("lo"))), BodyEnded())
    assert isinstance(play.want, StreamEnded)
    assert kinds(play)[3:] == ["ContentBlockDelta", "ContentBlockStop", "MessageDelta", "MessageStop"]
    assert [type(notice) for notice in play.step.notices] == [Succeeded, Deliver]


def test_what_is_sent_is_the_buffered_answer() -> None:
    answer = body(
        event("reasoningContentEvent", text="hm"), text("I will run "), text("it."), tool("t1", "Bash"),
        tool("t1", "Bash", '{"command": "ls"}'), tool("t1", "Bash", stop=True),
        event("metadataEvent", tokenUsage={"uncachedInputTokens": 1, "outputTokens": 2, "totalTokens": 3}),
    )  # fmt: skip
    whole = Play(stream=True, tools=[SHELL_TOOL]).call().answer(answer).delivered
    for pieces in (1, 2, 3, 50, len(answer)):
        play = live(tools=[SHELL_TOOL]).call().answer(answer, pieces=pieces)
        assert _joined(play.delivered) == _joined(whole)
        assert play.delivered[-2:] == whole[-2:]


def _joined(events: list[sse.StreamEvent]) -> list[Any]:
    joined: list[Any] = []
    for each in msgspec.to_builtins(events, builtin_types=(msgspec.Raw,)):
        if joined and each["type"] == "content_block_delta" == joined[-1]["type"]:
            (last, *kind), (more, *other) = (list(reversed(said["delta"].values())) for said in (joined[-1], each))
            if kind == other:
                joined[-1] = {**each, "delta": {**each["delta"], list(each["delta"])[-1]: last + more}}
                continue
        joined.append(each)
    return joined


def test_a_client_that_asks_for_no_stream_gets_the_whole() -> None:
    play = live(stream=False).call().tell(HeadArrived(EVENT_STREAM), DataArrived(HELLO))
    assert play.delivered == []
    assert play.tell(BodyEnded()).whole.status == 200


def test_nothing_is_sent_before_there_is_something_and_failover_goes_on_until_then() -> None:
    play = live(tools=[SHELL_TOOL]).call().tell(HeadArrived(EVENT_STREAM))
    play.tell(DataArrived(body(tool("t1", "Bash", '{"command": '), text(""))), DataArrived(HELLO[:20]))
    assert play.delivered == []
    play.tell(CallFailed("network", "reset")).tell(CallFailed("network", "reset"))
    assert isinstance(play.want, WantProvider)
    play.call("b").answer(HELLO)
    assert kinds(play)[-2:] == ["MessageDelta", "MessageStop"]
    assert play.failed == [("a", "network"), ("a", "network")]


def test_what_came_with_an_error_in_one_piece_is_not_sent_so_another_account_may_answer() -> None:
    play = (
        live().call().tell(HeadArrived(EVENT_STREAM), DataArrived(HELLO + body(exception("ThrottlingException", ""))))
    )
    assert play.delivered == []
    assert isinstance(play.want, WantProvider)


def test_pings_are_no_content() -> None:
    play = live().call().tell(HeadArrived(EVENT_STREAM)).wake()
    assert kinds(play) == ["MessageStart", "Ping"]
    play.tell(CallFailed("network", "reset")).tell(CallFailed("network", "reset")).call("b").answer(HELLO)
    assert kinds(play)[2:4] == ["ContentBlockStart", "ContentBlockDelta"]
    assert kinds(play).count("MessageStart") == 1


FAULTS: list[tuple[Any, str, list[tuple[str, str]]]] = [
    (CallFailed("network", "reset"), "overloaded_error", [("a", "network")]),
    (CallFailed("timeout", "silence"), "timeout_error", [("a", "timeout")]),
    (DataArrived(body(exception("ThrottlingException", "slow"))), "rate_limit_error", [("a", "rate_limit")]),
    (DataArrived(body(exception("InternalServerException", "oh"))), "overloaded_error", [("a", "server")]),
    (DataArrived(body(exception("X", "no", "INSUFFICIENT_MODEL_CAPACITY"))), "overloaded_error", [("a", "overload")]),
    (DataArrived(body(exception("X", "no", "PROMPT_TOO_LONG"))), "invalid_request_error", [("a", "too_long")]),
    (DataArrived(body(exception("X", "no", "INVALID_MODEL_ID"))), "not_found_error", [("a", "no_such_model")]),
    (DataArrived(b"\0" * 40), "overloaded_error", [("a", "network")]),
    (DataArrived(body(tool("t1", "Bash", "{", stop=True))), "api_error", [("a", "answer")]),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "error_type", "failed"), FAULTS)
def test_a_fault_behind_the_first_word_is_an_error_event_and_told_once(
    fault: Any, error_type: str, failed: list[tuple[str, str]]
) -> None:
    play = begun(tools=[SHELL_TOOL])
    play.tell(fault)
    if isinstance(play.want, WantData):
        play.tell(BodyEnded())
    assert isinstance(play.want, StreamEnded)
    assert isinstance(play.delivered[-1], sse.Error)
    assert play.delivered[-1].error.type == error_type
    assert "MessageStop" not in kinds(play)
    assert "AnswerToolUse" not in str(play.delivered)
    assert play.failed == failed
    assert len([notice for notice in play.notices if isinstance(notice, Refused)]) == 1


def test_health_hears_of_a_fault_what_it_hears_in_buffered_delivery() -> None:
    for fault, _, failed in FAULTS:
        play = Play(stream=True, tools=[SHELL_TOOL]).call().tell(HeadArrived(EVENT_STREAM), DataArrived(HELLO))
        play.tell(fault)
        if isinstance(play.want, WantData):
            play.tell(BodyEnded())
        assert play.failed[:1] == failed


REFUSED = DataArrived(body(exception("AccessDeniedException", INVALID_TOKEN)))


@pytest.mark.parametrize(
    ("happening", "failed"),
    [
        (TokenReady(TOKEN), []),
        (TokenRefused("invalid_grant", "0" * 16), [("a", "authentication")]),
        (TokenUnreadable("gone"), [("a", "token_file")]),
        (TokenUnavailable("later"), [("a", "server")]),
        (Woken(), []),
    ],
)
def test_a_token_refused_behind_the_first_word_is_refreshed_for_others_before_its_account_is_blamed(
    happening: Any, failed: list[tuple[str, str]]
) -> None:
    play = begun().tell(REFUSED)
    assert play.want == WantFreshToken(provider=provider(), rejected=TOKEN, wake_at=Instant(1100.0))
    assert isinstance(play.delivered[-1], sse.Error)
    assert play.failed == []
    assert any(isinstance(notice, TokenRejected) for notice in play.notices)
    sent = len(play.delivered)
    if isinstance(happening, Woken):
        play.now = 1100.0
    play.tell(happening)
    assert isinstance(play.want, StreamEnded)
    assert play.failed == failed
    assert len(play.delivered) == sent
    with pytest.raises(ShellError):
        begun().tell(REFUSED, BodyEnded())


def test_a_token_refused_before_the_first_word_is_refreshed_for_the_request_itself() -> None:
    before = live().call().tell(HeadArrived(EVENT_STREAM))
    before.tell(REFUSED)
    assert isinstance(before.want, WantFreshToken)


def test_an_overloaded_model_is_tried_again_before_the_first_word() -> None:
    play = live().call().tell(HeadArrived(EVENT_STREAM))
    play.tell(DataArrived(body(exception("X", "no", "INSUFFICIENT_MODEL_CAPACITY"))))
    assert isinstance(play.want, WantPause)


def test_a_stall_and_the_end_of_all_time_end_it_with_an_error() -> None:
    play = begun()
    play.now = 1020.0
    play.tell(Woken())
    assert play.failed == [("a", "timeout")]
    assert isinstance(play.delivered[-1], sse.Error)
    late = begun()
    late.now = 1100.0
    late.tell(Woken())
    assert late.failed == [("a", "timeout")]
    assert isinstance(late.delivered[-1], sse.Error)
    assert "in all" in late.delivered[-1].error.message


def test_a_service_that_goes_on_to_the_end_of_all_time_is_not_blamed_for_what_a_slow_client_took() -> None:
    late = begun()
    late.now = 1100.0
    late.tell(DataArrived(HELLO))
    assert late.failed == [("a", "client")]
    assert isinstance(late.delivered[-1], sse.Error)
    assert late.delivered[-1].error.type == "timeout_error"
    buffered = Play(stream=True).call().tell(HeadArrived(EVENT_STREAM), DataArrived(HELLO))
    buffered.now = 1100.0
    assert buffered.tell(DataArrived(HELLO)).failed == [("a", "timeout")]


def test_content_puts_off_the_next_ping() -> None:
    play = begun()
    play.now = 1008.0
    play.tell(DataArrived(HELLO))
    assert play.wake_at == 1023.0
    play.wake()
    assert kinds(play)[-1] == "Ping"
    assert kinds(play).count("Ping") == 1


def test_of_a_piece_that_is_a_part_of_one_nothing_is_sent_before_the_rest() -> None:
    play = live().call().tell(HeadArrived(EVENT_STREAM), DataArrived(HELLO, more=True))
    assert play.delivered == []
    play.tell(DataArrived(body(text("lo")), more=False))
    assert kinds(play) == ["MessageStart", "ContentBlockStart", "ContentBlockDelta"]


def test_an_older_step_goes_on_as_it_would_have() -> None:
    play = begun()
    before = play.step
    play.tell(DataArrived(body(text("a"))))
    step = advance(before.exchange, DataArrived(body(text("b"))), now=play._both())
    (notice,) = step.notices
    assert isinstance(notice, Deliver)
    assert notice.events == (sse.ContentBlockDelta(0, sse.TextDelta("b")),)


def test_with_no_account_left_the_error_is_a_status_as_long_as_nothing_was_sent() -> None:
    play = live().call().refuse(429).tell(NoProvider())
    assert play.error[:2] == (429, "rate_limit_error")


def test_a_request_may_ask_for_its_own_delivery() -> None:
    assert ask_for_delivery(POLICY, None) is POLICY
    assert ask_for_delivery(POLICY, "live") == LIVE
    assert ask_for_delivery(LIVE, "buffered") == POLICY
    with pytest.raises(ClientRequestError, match="x-stagewhisper-delivery: expected buffered or live, got 'Live'"):
        ask_for_delivery(POLICY, "Live")
