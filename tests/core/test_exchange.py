"""A client request that ends well: what is wanted in turn, what the client gets, and signs of life."""

import msgspec
import pytest

from core import sse
from core.dialogue import (
    BodyEnded,
    DataArrived,
    Deliver,
    HeadArrived,
    NoProvider,
    ProviderChosen,
    StreamEnded,
    Succeeded,
    TokenReady,
    WantCall,
    WantData,
    WantFreshToken,
    WantProvider,
    WantStill,
    Woken,
)
from core.errors import ShellError
from core.http import Head
from core.times import Instant
from tests.builders import SHELL_TOOL, body, event, text, tool
from tests.exchanges import EVENT_STREAM, POLICY, TOKEN, Play, provider

HELLO = body(text("Hel"), text("lo"))


def test_what_is_wanted_comes_in_order() -> None:
    play = Play()
    wants: list[object] = [play.want]
    wants.append(play.tell(ProviderChosen(provider())).want)
    call = play.tell(TokenReady(TOKEN)).want
    assert isinstance(call, WantCall)
    assert call.wake_at == Instant(1030.0)
    wants.append(play.tell(HeadArrived(EVENT_STREAM)).want)
    play.now = 1015.0
    wants.append(play.tell(DataArrived(HELLO)).want)
    assert wants == [
        WantProvider(excluded=(), wake_at=Instant(1100.0)),
        WantFreshToken(provider=provider(), rejected=None, wake_at=Instant(1100.0)),
        WantData(wake_at=Instant(1020.0)),
        WantData(wake_at=Instant(1035.0)),
    ]
    assert play.tell(BodyEnded()).whole.status == 200


def test_the_call_is_the_services() -> None:
    play = Play().tell(
        ProviderChosen(provider(profile_arn="arn:aws:codewhisperer:eu-central-1:000000000000:profile/AAAABBBBCCCC"))
    )
    play.tell(TokenReady(TOKEN))
    assert isinstance(play.want, WantCall)
    call = play.want.call
    assert (call.method, call.url) == ("POST", "https://q.eu-central-1.amazonaws.com/generateAssistantResponse")
    assert call.headers == {
        "authorization": "Bearer made-up-access",
        "content-type": "application/json",
        "accept": "application/vnd.amazon.eventstream",
        "accept-encoding": "identity",
        "x-amzn-codewhisperer-optout": "true",
        "amz-sdk-invocation-id": "00000000-0000-0000-0000-000000000002",
        "amz-sdk-request": "attempt=1; max=3",
        "user-agent": "stagewhisper/test",
    }
    sent = msgspec.json.decode(call.body)
    assert sent["profileArn"] == "arn:aws:codewhisperer:eu-central-1:000000000000:profile/AAAABBBBCCCC"
    assert sent["conversationState"]["currentMessage"]["userInputMessage"]["content"] == "Hello"
    assert "made-up-access" not in repr(call)


@pytest.mark.parametrize(
    ("account", "token", "expected"),
    [
        ({}, {}, "https://q.us-east-1.amazonaws.com"),
        ({}, {"region": "eu-west-1"}, "https://q.eu-west-1.amazonaws.com"),
        (
            {},
            {"region": "eu-west-1", "profile_arn": "arn:aws:codewhisperer:us-east-2:000000000000:profile/AAAABBBBCCCC"},
            "https://q.us-east-2.amazonaws.com",
        ),
        ({"endpoint": "http://127.0.0.1:9/base/"}, {"region": "eu-west-1"}, "http://127.0.0.1:9/base"),
    ],
)
def test_the_address_is_the_configured_one_or_that_of_the_region(
    account: dict[str, str], token: dict[str, str], expected: str
) -> None:
    play = Play().tell(ProviderChosen(provider(**account)), TokenReady(msgspec.structs.replace(TOKEN, **token)))
    assert isinstance(play.want, WantCall)
    assert play.want.call.url == f"{expected}/generateAssistantResponse"


@pytest.mark.parametrize("pieces", [1, 2, 7, len(HELLO)])
def test_a_whole_message_is_answered_at_any_chunking(pieces: int) -> None:
    play = Play().call().answer(HELLO, pieces=pieces)
    assert (play.whole.status, dict(play.whole.headers)) == (200, {"content-type": "application/json"})
    message = msgspec.json.decode(play.whole.body)
    assert (message["id"], message["model"]) == ("msg_0001", "claude-test")
    assert message["content"] == [{"type": "text", "text": "Hello"}]
    assert play.delivered == []


def test_a_stream_comes_in_one_piece_when_the_answer_is_whole() -> None:
    play = Play(stream=True).call().answer(HELLO)
    assert play.want == StreamEnded()
    delivers = [notice for notice in play.notices if isinstance(notice, Deliver)]
    assert len(delivers) == 1
    kinds = [type(one).__name__ for one in play.delivered]
    assert kinds == [
        "MessageStart", "ContentBlockStart", "ContentBlockDelta", "ContentBlockStop", "MessageDelta", "MessageStop",
    ]  # fmt: skip


def test_a_call_comes_with_the_clients_name() -> None:
    name = "mcp__" + "long" * 20
    play = Play(tools=[{**SHELL_TOOL, "name": name}]).call()
    assert isinstance(play.want, WantCall)
    sent = msgspec.json.decode(play.want.call.body)["conversationState"]["currentMessage"]["userInputMessage"]
    told = sent["userInputMessageContext"]["tools"][0]["toolSpecification"]["name"]
    assert told != name
    play.answer(body(tool("t1", told), tool("t1", told, '{"command":"ls"}'), tool("t1", told, stop=True)))
    message = msgspec.json.decode(play.whole.body)
    assert message["content"] == [{"type": "tool_use", "id": "t1", "name": name, "input": {"command": "ls"}}]
    assert message["stop_reason"] == "tool_use"


def test_a_written_call_is_converted_unless_the_policy_leaves_it() -> None:
    answer = body(text('Tool call: Bash({"command": "ls"})'))
    converted = msgspec.json.decode(Play(tools=[SHELL_TOOL]).call().answer(answer).whole.body)
    assert converted["content"][0]["type"] == "tool_use"
    policy = msgspec.structs.replace(POLICY, convert_written_calls=False)
    left = msgspec.json.decode(Play(policy=policy, tools=[SHELL_TOOL]).call().answer(answer).whole.body)
    assert left["content"] == [{"type": "text", "text": 'Tool call: Bash({"command": "ls"})'}]


def test_success_is_told_with_the_response() -> None:
    play = Play().call("b").answer(HELLO)
    told = [notice.response for notice in play.notices if isinstance(notice, Succeeded)]
    assert [response.metadata.target_provider for response in told] == ["b"]


def test_events_that_carry_nothing_for_the_client_change_nothing() -> None:
    extra = body(
        event("initial-response", conversationId="c"), text("Hel"), event("meteringEvent", usage=0.1, unit="credit"),
        event("followupPromptEvent", followupPrompt={"content": "more?"}), text("lo"), event("madeUpEvent"),
    )  # fmt: skip
    plain, rich = Play(stream=True).call().answer(HELLO), Play(stream=True).call().answer(extra)
    assert plain.delivered == rich.delivered


# --- signs of life ---------------------------------------------------------------------------------------------


def test_a_quiet_stream_begins_with_a_message_start_and_goes_on_with_pings() -> None:
    play = Play(stream=True).call()
    assert play.wake_at == 1010.0
    play.wake()
    assert [type(one) for one in play.delivered] == [sse.MessageStart, sse.Ping]
    assert play.want == WantStill(wake_at=Instant(1025.0))
    play.wake()
    assert [type(one) for one in play.delivered][2:] == [sse.Ping]
    play.tell(HeadArrived(EVENT_STREAM), DataArrived(HELLO), BodyEnded())
    kinds = [type(one).__name__ for one in play.delivered[3:]]
    assert kinds == ["ContentBlockStart", "ContentBlockDelta", "ContentBlockStop", "MessageDelta", "MessageStop"]


def test_pings_go_on_while_data_arrives_for_the_buffer() -> None:
    play = Play(stream=True).call().tell(HeadArrived(EVENT_STREAM))
    for moment in (1004.0, 1008.0):
        play.now = moment
        play.tell(DataArrived(b""))
        assert play.wake_at == 1010.0
    play.wake()
    assert [type(one) for one in play.delivered] == [sse.MessageStart, sse.Ping]


def test_data_without_a_gap_does_not_put_off_a_ping() -> None:
    play = Play(stream=True).call().tell(HeadArrived(EVENT_STREAM))
    play.now = 1010.0
    play.tell(DataArrived(b""))
    assert [type(one) for one in play.delivered] == [sse.MessageStart, sse.Ping]
    assert play.want == WantData(wake_at=Instant(1025.0))


@pytest.mark.parametrize("pings", [0, 1, 3])
def test_pings_change_nothing_else_that_is_delivered(pings: int) -> None:
    play = Play(stream=True)
    for _ in range(pings):
        play.wake()
    play.call().answer(HELLO)
    without = [one for one in play.delivered if not isinstance(one, sse.Ping)]
    assert without == Play(stream=True).call().answer(HELLO).delivered


def test_a_client_that_wants_no_stream_hears_nothing_before_the_answer() -> None:
    play = Play().call()
    assert play.wake_at == 1030.0
    play.now = 1020.0
    play.tell(Woken())
    assert (play.want, play.delivered) == (WantStill(wake_at=Instant(1030.0)), [])


def test_to_be_woken_too_early_changes_nothing() -> None:
    play = Play(stream=True).call()
    before = play.step.exchange
    play.tell(Woken())
    assert (play.step.exchange, play.want) == (before, WantStill(wake_at=Instant(1010.0)))


# --- the contract ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "happening", [DataArrived(b""), BodyEnded(), TokenReady(TOKEN), HeadArrived(Head(status=200, headers={}))]
)
def test_what_was_not_asked_for_is_a_bug_of_the_shell(happening: DataArrived) -> None:
    with pytest.raises(ShellError, match="is not what Choosing waits for"):
        Play().tell(happening)


def test_nothing_may_happen_after_the_end() -> None:
    play = Play().tell(NoProvider())
    with pytest.raises(ShellError, match="Woken is not what Ended waits for"):
        play.tell(Woken())
