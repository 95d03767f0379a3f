"""The emulator as it answers from recordings: what was recorded is what comes, and each request gets its own."""

from __future__ import annotations

import json
from typing import Any

import h11
import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.emulator import Recordings
from adapters.emulator.recordings import parse_recording
from adapters.emulator.wire import Close, Reply, Reset, Send, Stall, Wait
from core.recording import DataLine
from core.recording import parse_recording as parse_whole
from tests.adapters.emulated import generate, image, long_request, put, shell_request
from tests.adapters.recorded import (
    BODY_END,
    CALL,
    CUT,
    ENDED,
    Upstream,
    asked_in,
    converted,
    data,
    failed,
    head,
    opening,
    saying,
    written,
)
from tests.adapters.test_emulator_server import Client, connected
from tests.builders import SHELL_TOOL
from tests.recordings import CALLED, HELLO, SAMPLES, THROTTLED, Taped


def served(recording: bytes) -> tuple[Reply, ...]:
    """The answers in a recording."""
    return parse_recording("x.jsonl", recording).replies


def call(*lines: dict[str, Any]) -> Reply:
    """The answer to one call of which there are these lines."""
    (reply,) = served(written(opening(), converted(), CALL, *lines))
    return reply


# --- an answer -------------------------------------------------------------------------------------------------


def test_an_answer_is_what_came_in_its_pieces_and_at_its_pace() -> None:
    recording = Taped(tools=[SHELL_TOOL]).call().answer(CALLED, pieces=5).taped
    (reply,) = served(recording)
    size = -(-len(CALLED) // 5)
    pieces = [CALLED[start : start + size] for start in range(0, len(CALLED), size)]
    assert reply.steps == (*(step for piece in pieces for step in (Wait(0.25), Send(piece))), Wait(0.25))
    assert reply.delay == 0.25
    assert reply.head is not None
    assert reply.head.status == 200
    assert reply.head.headers == (("content-type", "application/vnd.amazon.eventstream"),)


async def chunks(client: Client) -> list[tuple[float, bytes]]:
    """An answer's chunks, as they are framed, each with the time at which it was whole."""
    got: list[tuple[float, bytes]] = []
    piece = b""
    while True:
        event = client.http.next_event()
        if event is h11.NEED_DATA:
            client.http.receive_data(bytes(await client.stream.receive_some()))
        elif isinstance(event, h11.Data):
            piece += event.data
            if event.chunk_end:
                got.append((trio.current_time(), piece))
                piece = b""
        elif isinstance(event, h11.EndOfMessage):
            return [*got, (trio.current_time(), b"")]


@pytest.mark.parametrize(
    ("waits", "patience", "expected"),
    [(True, 300.0, [15, 22.5, 30, 37.5, 45]), (True, 5.0, [10, 15, 20, 25, 30]), (False, 300.0, [0] * 5)],
)
async def test_on_the_wire_it_is_in_the_same_chunks_and_as_slow_as_then_unless_told_otherwise(
    waits: bool, patience: float, expected: list[float], autojump_clock: trio.testing.MockClock
) -> None:
    recording = Taped(pause=7.5).call().answer(CALLED, pieces=4).taped
    world = Upstream(recording, waits=waits, patience=patience)
    async with connected(world) as client:
        started = autojump_clock.current_time()
        await client.ask(world, asked_in(recording))
        got = await chunks(client)
    lines = [line.data for line in parse_whole(recording).lines if isinstance(line, DataLine)]
    assert [piece for _, piece in got] == [*lines, b""]
    assert [time - started for time, _ in got] == pytest.approx(expected)


def test_nothing_that_belongs_to_a_connection_is_served_of_a_head() -> None:
    left_out = {
        "Connection": "close, X-Hop",
        "x-hop": "1",
        "keep-alive": "timeout=5",
        "transfer-encoding": "chunked",
        "content-length": "7",
        "date": "Mon, 01 Jan 2024 00:00:00 GMT",
    }
    kept = {"x-amzn-requestid": "r1", "content-encoding": "gzip", "retry-after": "30", "x-name": "Zo\xeb"}
    reply = call(head(429, headers=left_out | kept), data(b"x"), BODY_END)
    assert reply.head is not None
    assert reply.head.status == 429
    assert list(reply.head.headers) == [("content-type", "application/vnd.amazon.eventstream"), *kept.items()]


async def test_a_head_and_a_body_go_over_the_wire_as_they_came() -> None:
    recording = written(
        opening(),
        converted(),
        CALL,
        head(503, headers={"content-encoding": "gzip", "x-name": "Zo\xeb"}),
        data(b"\x1f\x8b"),
        BODY_END,
    )
    async with connected(world := Upstream(recording)) as client:
        await client.ask(world)
        answer, body = await client.receive()
        assert await client.again(world) == 503
    assert (answer.status_code, body) == (503, b"\x1f\x8b")
    headers = dict(answer.headers)
    assert headers[b"content-encoding"] == b"gzip"
    assert headers[b"x-name"].decode() == "Zo\xeb"
    assert headers[b"transfer-encoding"] == b"chunked"


@pytest.mark.parametrize("status", [204, 304])
async def test_a_head_that_has_no_body_is_served_without_one(status: int) -> None:
    recording = written(opening(), converted(), CALL, head(status), data(b"x"), BODY_END)
    async with connected(world := Upstream(recording)) as client:
        await client.ask(world)
        answer, body = await client.receive()
    assert (answer.status_code, body) == (status, b"")


# --- how it ended ----------------------------------------------------------------------------------------------

REFUSED = "http://127.0.0.1:1: ConnectError: all attempts to connect failed"
RESET = "http://127.0.0.1:1: ReadError: socket connection broken: [Errno 104] Connection reset by peer"
CUT_SHORT = "http://127.0.0.1:1: RemoteProtocolError: peer closed connection"


@pytest.mark.parametrize(
    ("lines", "has_head", "delay", "steps"),
    [
        ([failed("network", REFUSED, at=103)], False, 3, [Reset()]),
        ([failed("network", RESET, at=103)], False, 3, [Reset()]),
        ([failed("network", CUT_SHORT, at=103)], False, 3, [Close()]),
        ([failed("timeout", at=103)], False, 0, [Stall()]),
        ([head(at=101), failed("network", CUT_SHORT, at=103)], True, 1, [Wait(2), Close()]),
        ([head(), data(b"x"), failed("network", RESET, at=103)], True, 0, [Send(b"x"), Wait(3), Reset()]),
        ([head(), data(b"x"), failed("timeout", at=103)], True, 0, [Send(b"x"), Stall()]),
        ([head(), data(b"x"), BODY_END, ENDED], True, 0, [Send(b"x")]),
        ([head(), data(b""), BODY_END], True, 0, []),
        # the gateway read no further
        ([ENDED], False, 0, [Stall()]),
        ([head(), data(b"x"), ENDED], True, 0, [Send(b"x")]),
        ([head(), data(b"x"), {"what": "answered", "status": 500}], True, 0, [Send(b"x")]),
        ([head(), data(b"x"), {"what": "none_left", "at": 103.0}, {"what": "answered"}], True, 0, [Send(b"x")]),
        # or waited in vain
        ([head(), data(b"x"), {"what": "woken", "at": 110.0}, ENDED], True, 0, [Send(b"x"), Stall()]),
        # nobody knows what came then; only that nothing had come yet
        ([], False, 0, [Close()]),
        ([CUT], False, 0, [Close()]),
        ([{"what": "woken", "at": 115.0}, CUT], False, 15, [Close()]),
        ([head(), data(b"x"), {"what": "woken", "at": 110.0}, CUT], True, 0, [Send(b"x"), Wait(10), Close()]),
        ([head(), data(b"x")], True, 0, [Send(b"x"), Close()]),
    ],
)
def test_an_answer_ends_as_the_one_then_did(
    lines: list[dict[str, Any]], has_head: bool, delay: float, steps: list[object]
) -> None:
    reply = call(*lines)
    assert (reply.head is not None, reply.delay, list(reply.steps)) == (has_head, delay, steps)


def test_what_comes_between_two_pieces_makes_the_second_no_earlier() -> None:
    woken, unknown = {"what": "woken", "at": 104.0}, {"what": "made up later", "at": 105.0, "data": 7}
    reply = call(head(), data(b"x", at=101), woken, unknown, {"what": "delivered"}, data(b"y", at=106), BODY_END)
    assert reply.steps == (Wait(1), Send(b"x"), Wait(5), Send(b"y"))


def test_a_clock_that_goes_back_is_no_wait() -> None:
    assert call(head(at=99), data(b"x", at=98), BODY_END).steps == (Send(b"x"), Wait(2))


def test_a_call_that_was_given_up_for_another_stalls_and_the_other_is_answered() -> None:
    pause = {"what": "woken", "at": 130.0}
    lines = (CALL, head(), data(b"x"), pause, CALL, head(at=131), data(b"y", at=131), BODY_END)
    stalled, answered = served(written(opening(), converted(), *lines, ENDED))
    assert stalled.steps == (Send(b"x"), Stall())
    assert (answered.delay, answered.steps) == (1, (Send(b"y"),))


@pytest.mark.parametrize("name", [name for name in SAMPLES if name not in {"nobody", "no call"}])
def test_all_calls_of_a_recording_are_answered_and_with_the_same_bytes(name: str) -> None:
    recording = SAMPLES[name]()
    bodies: list[bytes] = []
    for line in map(msgspec.json.decode, recording.splitlines()):
        if line["what"] == "call":
            bodies.append(b"")
        if line["what"] == "data":
            bodies[-1] += msgspec.json.decode(msgspec.json.encode(line["data"]), type=bytes)
    assert [reply.body() for reply in served(recording)] == bodies


def test_a_stream_that_is_an_error_ends_where_the_gateway_read_no_further() -> None:
    first, second = served(SAMPLES["exception"]())
    assert isinstance(first.steps[-1], Send)
    assert second.body() == HELLO


# --- which answer a request gets -------------------------------------------------------------------------------


def test_a_request_gets_the_recording_of_its_own_conversation_and_the_log_says_so() -> None:
    world = Upstream(saying(b"a", content="A"), saying(b"b", content="B"), saying(b"c", content="C"))
    assert [world.said(content) for content in ("C", "A", "B")] == [b"c", b"a", b"b"]
    how = "answered POST /generateAssistantResponse: 200, account emulated, answer 1 of 1 in "
    assert world.log == [f"{how}'{number}.jsonl', asked the same" for number in (3, 1, 2)]


def test_a_request_that_was_never_recorded_gets_the_next_one_and_after_the_last_the_first() -> None:
    world = Upstream(saying(b"a", content="A"), saying(b"b", content="B"), saying(b"c", content="C"))
    assert [world.said(content) for content in ("B", "X", "Y", "Z", "A", "A")] == [b"b", b"a", b"c", b"a", b"b", b"c"]
    assert [line.rpartition(", ")[2] for line in world.log[:2]] == ["asked the same", "asked something else"]


def test_the_same_request_gets_all_answers_to_it_in_their_order_first() -> None:
    same = saying(b"1", b"2", content="A"), saying(b"3", content="A")
    world = Upstream(saying(b"x", content="X"), *same)
    assert [world.said("A") for _ in range(6)] == [b"1", b"2", b"3", b"x", b"1", b"2"]
    assert "answer 2 of 2 in '2.jsonl'" in world.log[1]


def test_a_retry_gets_what_the_retry_got() -> None:
    recording = Taped().call("a").refuse(429, THROTTLED, retry_after="30").call("b").answer(HELLO).taped
    world = Upstream(recording)
    refused, answered = (world.ask(asked_in(recording)) for _ in range(2))
    assert refused.head is not None
    assert answered.head is not None
    assert (refused.head.status, answered.head.status) == (429, 200)
    assert dict(refused.head.headers)["retry-after"] == "30"
    assert json.loads(refused.body()) == THROTTLED
    assert answered.body() == HELLO
    assert all(line.endswith("asked the same") for line in world.log)


STATE = "conversationState"
CURRENT = f"{STATE}.currentMessage.userInputMessage"


@pytest.mark.parametrize(
    ("target", "value", "is_same"),
    [
        ("profileArn", "arn:aws:codewhisperer:eu-central-1:111111111111:profile/ABCDEFGHIJKL", True),
        (f"{STATE}.conversationId", "another", True),
        (f"{STATE}.agentTaskType", "vibe", True),
        (f"{CURRENT}.content", "Another", False),
        (f"{CURRENT}.modelId", "claude-opus-4.8", False),
        (f"{CURRENT}.images", [image()], False),
        (f"{CURRENT}.userInputMessageContext.tools[0].toolSpecification.description", "Another.", False),
        (f"{STATE}.history[0].userInputMessage.content", "Another", False),
        (f"{STATE}.history[1].assistantResponseMessage.toolUses[0].input.command", "pwd", False),
        (f"{STATE}.history[1].assistantResponseMessage.toolUses[0].input.command", 1, False),
    ],
)
def test_a_conversation_is_its_history_and_its_message(target: str, value: object, is_same: bool) -> None:
    request = long_request()
    calls = (CALL, head(), data(b"x"), BODY_END)
    world = Upstream(written(opening(), converted(**request[STATE]), *calls))
    put(target, value)(request)
    world.ask(request)
    assert world.log[0].endswith("asked the same" if is_same else "asked something else")


def test_the_order_of_members_makes_no_difference_and_the_order_of_messages_does() -> None:
    def reversed_members(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: reversed_members(value[name]) for name in reversed(value)}
        return [reversed_members(each) for each in value] if isinstance(value, list) else value

    request = long_request()
    recording = written(opening(), converted(**request[STATE]), CALL, head(), BODY_END)
    world = Upstream(recording)
    world.ask(reversed_members(request))
    results = request[STATE]["history"][2]["userInputMessage"]["userInputMessageContext"]["toolResults"]
    results.reverse()
    world.ask(request)
    assert [line.rpartition(", ")[2] for line in world.log] == ["asked the same", "asked something else"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("AB"), st.integers(1, 3)), min_size=1, max_size=4),
    st.text("ABX", max_size=25),
)
def test_each_answer_is_given_once_before_any_is_given_again(calls: list[tuple[str, int]], asked: str) -> None:
    recordings, content = [], {}
    for number, (asks, count) in enumerate(calls):
        answers = [b"%d.%d" % (number, each) for each in range(count)]
        content.update(dict.fromkeys(answers, asks))
        recordings.append(saying(*answers, content=asks))
    world = Upstream(*recordings)
    left: list[bytes] = []
    for asks in asked:
        left = left or list(content)
        expected = next((answer for answer in left if content[answer] == asks), left[0])
        assert world.said(asks) == expected
        left.remove(expected)


# --- what stays as it is ---------------------------------------------------------------------------------------


def test_a_scenario_that_a_request_names_comes_first_and_uses_no_answer_up() -> None:
    world = Upstream(saying(b"a"), saying(b"b"))
    reply = world.ask(shell_request("Hi"), x_emulator_scenario="throttled")
    assert reply.head is not None
    assert reply.head.status == 429
    assert [world.said(), world.said()] == [b"a", b"b"]


def test_bad_requests_and_bad_tokens_are_refused_and_use_no_answer_up() -> None:
    world = Upstream(saying(b"a"), saying(b"b"))
    request = shell_request("Hi")
    request["conversationState"]["history"] = [{"assistantResponseMessage": {"content": "first"}}]
    replies = world.ask(request), world.ask(shell_request("Hi"), token="made-up-and-wrong")
    assert [reply.head.status for reply in replies if reply.head is not None] == [400, 403]
    assert world.log[0].startswith("refused POST /generateAssistantResponse: conversationState.history[0]")
    assert [world.said(), world.said()] == [b"a", b"b"]
    assert world.emulator.counts["emulated"].requests == 3


def test_tokens_are_refreshed_as_without_recordings() -> None:
    world = Upstream(saying(b"a"))
    status, content = world.post("/refreshToken", {"refreshToken": world.account.refresh_token})
    assert status == 200
    assert world.ask(shell_request("Hi"), token=content["accessToken"]).body() == b"a"


def test_a_model_that_was_recorded_is_known_and_another_is_not() -> None:
    recording = Taped().call().answer(HELLO).taped
    world = Upstream(recording)
    request = asked_in(recording)
    assert world.ask(request).body() == HELLO
    put(f"{CURRENT}.modelId", "CLAUDE_OTHER_V1_0")(request)
    reply = world.ask(request)
    assert reply.head is not None
    assert reply.head.status == 400


def test_a_request_that_is_nested_too_deeply_is_refused_and_the_emulator_goes_on() -> None:
    world = Upstream(saying(b"a"))
    for depth in (200, 900, 5000, 100_000):
        nested = b'{"a":' * depth + b"1" + b"}" * depth
        body = msgspec.json.encode(shell_request("Hi")).replace(b'{"type":"integer","minimum":5}', nested)
        assert nested in body
        world.emulator.answer(generate(body, token=world.account.access_token))
    assert world.said() == b"a"


def test_no_recordings_are_no_upstream() -> None:
    with pytest.raises(ValueError, match="expected a recording at least"):
        Recordings([])
