"""`POST /v1/messages` from the client's side: answers, pings, failover, a full house, and bugs in mid-exchange."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio

from adapters.driver import Driver
from adapters.emulator import always, in_turn
from adapters.outbox import StreamBroken
from core.dialogue import HeadArrived
from core.exchange import advance
from tests.adapters.harness import HELLO, MODEL, STREAMED, Talk, running, text_of
from tests.adapters.token_files import in_virtual_time

PINGS = {"pings": {"quietMs": 10_000, "intervalMs": 15_000}}


def data_of(stream: bytes, name: str) -> list[Any]:
    """The data of all events of that name."""
    lines = stream.decode().splitlines()
    return [json.loads(after[6:]) for line, after in pairwise(lines) if line == f"event: {name}"]


async def test_a_message_comes_as_json_or_as_a_stream_with_the_same_words(tmp_path: Path) -> None:
    async with running(tmp_path) as site:
        whole = await site.ask("POST", "/v1/messages?beta=true", HELLO)
        streamed = await site.ask("POST", "/v1/messages", STREAMED)
    assert (whole.status, streamed.status) == (200, 200)
    assert whole.headers["content-type"] == "application/json"
    assert streamed.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert streamed.headers["cache-control"] == "no-cache"
    message = whole.json
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", MODEL)
    assert message["stop_reason"] == "end_turn"
    assert text_of(message)
    deltas = data_of(streamed.data, "content_block_delta")
    assert "".join(event["delta"]["text"] for event in deltas) == text_of(message)
    assert streamed.events == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert len(streamed.pieces) == 1, "a buffered answer is one send"


async def test_a_body_may_come_in_pieces(tmp_path: Path) -> None:
    data = json.dumps(HELLO).encode()
    async with running(tmp_path) as site:
        talk = site.begin("POST", "/v1/messages", None)
        for byte in data[:-1]:
            talk.body(bytes([byte]), more=True)
        talk.body(data[-1:], more=True)
        talk.body(b"")
        await talk.over.wait()
    assert talk.json["type"] == "message"


@in_virtual_time
async def test_pings_begin_after_the_quiet_time_and_go_on_at_their_interval(tmp_path: Path) -> None:
    async with running(tmp_path, PINGS, scenario=always("slow-head:50000")) as site:
        began = trio.current_time()
        talk = await site.ask("POST", "/v1/messages", STREAMED)
    times = [moment - began for moment, _ in talk.pieces]
    assert times == pytest.approx([10, 25, 40, 50], abs=0.5)
    names = [piece.split(b"\n")[0] for _, piece in talk.pieces]
    assert names == [b"event: message_start", b"event: ping", b"event: ping", b"event: content_block_start"]
    assert talk.events.count("message_start") == 1
    assert talk.events.count("ping") == 3
    assert talk.events[-1] == "message_stop"


@in_virtual_time
async def test_a_client_that_wants_no_stream_gets_no_pings(tmp_path: Path) -> None:
    async with running(tmp_path, PINGS, scenario=always("slow-head:50000")) as site:
        talk = await site.ask("POST", "/v1/messages", HELLO)
    assert len(talk.pieces) == 1
    assert talk.json["stop_reason"] == "end_turn"


@in_virtual_time
async def test_failover_goes_on_after_pings(tmp_path: Path) -> None:
    document = {**PINGS, "timeouts": {"firstByteMs": 30_000}}
    turns = {"a": "slow-head:60000", "b": "fine"}
    async with running(tmp_path, document, scenario=lambda name, _: turns[name], accounts=("a", "b")) as site:
        talk = await site.ask("POST", "/v1/messages", STREAMED)
        counts = {name: count.requests for name, count in site.emulator.counts.items()}
    assert talk.status == 200
    assert talk.events.count("message_start") == 1
    assert (talk.events[-1], "error" in talk.events) == ("message_stop", False)
    assert counts == {"a": 1, "b": 1}


@in_virtual_time
async def test_an_error_before_anything_was_sent_has_its_status_and_after_pings_is_an_event(tmp_path: Path) -> None:
    async with running(tmp_path, PINGS, scenario=always("exception:InternalServerException")) as site:
        early = await site.ask("POST", "/v1/messages", STREAMED)
    assert early.failure[:2] == (529, "overloaded_error")
    (tmp_path / "late").mkdir()
    document = {**PINGS, "timeouts": {"firstByteMs": 30_000, "idleMs": 30_000}}
    async with running(tmp_path / "late", document, scenario=always("stall:1")) as site:
        late = await site.ask("POST", "/v1/messages", STREAMED)
    assert late.status == 200
    assert late.events[-1] == "error"
    assert "message_stop" not in late.events
    error = data_of(late.data, "error")[0]
    assert error["error"]["type"] == "timeout_error"
    assert error["request_id"] == late.headers["request-id"]


@pytest.mark.parametrize(
    ("scenario", "status", "kind"),
    [
        ("cut:300", 529, "overloaded_error"),
        ("bad-message-crc:2", 529, "overloaded_error"),
        ("refuse-connection", 529, "overloaded_error"),
        ("html:503", 529, "overloaded_error"),
        ("redirect", 529, "overloaded_error"),
        ("long-tool-cut", 500, "api_error"),
        ("empty", 529, "overloaded_error"),
    ],
)
@pytest.mark.parametrize("body", [HELLO, STREAMED])
@in_virtual_time
async def test_what_goes_wrong_at_the_service_never_looks_like_an_answer(
    tmp_path: Path, scenario: str, status: int, kind: str, body: dict[str, Any]
) -> None:
    asked = {**body, "tools": [{"name": "Bash", "description": "x", "input_schema": {"type": "object"}}]}
    async with running(tmp_path, scenario=always(scenario)) as site:
        talk = await site.ask("POST", "/v1/messages", asked)
    assert talk.failure[:2] == (status, kind)


async def test_a_refused_token_is_refreshed_once_and_the_request_goes_again(tmp_path: Path) -> None:
    async with running(tmp_path, scenario=in_turn("token-revoked")) as site:
        talk = await site.ask("POST", "/v1/messages", HELLO)
        counts = site.emulator.counts["a"]
    assert talk.json["type"] == "message"
    assert (counts.requests, counts.refreshes) == (2, 1)
    assert json.loads((tmp_path / "a.json").read_text())["accessToken"] == "emulated-access-token-a-2"


# --- how many at once ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_when_all_places_are_taken_a_request_waits_a_while_and_is_then_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    document = {"server": {"maxConcurrent": 2}, "timeouts": {"connectMs": 7000}}
    async with running(tmp_path, document, scenario=always("slow-head:60000")) as site:
        held = [site.begin("POST", "/v1/messages", HELLO) for _ in range(2)]
        await site.until_said("answered POST /generateAssistantResponse")
        began = trio.current_time()
        refused = await site.ask("POST", "/v1/messages", STREAMED)
        assert trio.current_time() - began == pytest.approx(7, abs=0.1)
        counted = await site.ask("POST", "/v1/messages/count_tokens", HELLO)
        for talk in held:
            await talk.over.wait()
        after = await site.ask("POST", "/v1/messages", HELLO)
    assert refused.failure[:2] == (529, "overloaded_error")
    assert refused.failure[2].endswith("and none has ended within 7 seconds (timeouts.connectMs)")
    assert refused.headers["retry-after"] == "1"
    (line,) = [line for line in caplog.messages if line.startswith(refused.headers["request-id"])]
    assert line.endswith(": no place")
    assert counted.status == 200
    assert [talk.json["type"] for talk in (*held, after)] == ["message"] * 3


@in_virtual_time
async def test_a_request_that_finds_a_place_in_time_is_answered(tmp_path: Path) -> None:
    document = {"server": {"maxConcurrent": 1}, "timeouts": {"connectMs": 10_000}}
    async with running(tmp_path, document, scenario=always("slow-head:3000")) as site:
        talks = [site.begin("POST", "/v1/messages", HELLO) for _ in range(4)]
        for talk in talks:
            await talk.over.wait()
    assert sorted(talk.status for talk in talks) == [200, 200, 200, 200]


@pytest.mark.parametrize("body", [HELLO, STREAMED])
@pytest.mark.parametrize("queued", [0, 1, 3])
@in_virtual_time
async def test_more_than_may_wait_are_refused_at_once_and_those_who_wait_are_answered_in_their_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, queued: int, body: dict[str, Any]
) -> None:
    document = {"server": {"maxConcurrent": 2, "maxQueued": queued}, "timeouts": {"connectMs": 60_000}}
    async with running(tmp_path, document, scenario=always("slow-head:3000")) as site:
        ended: list[int] = []

        async def note(talk: Talk, number: int) -> None:
            await talk.over.wait()
            ended.append(number)

        talks = []
        for number in range(2 + queued):
            talks.append(site.begin("POST", "/v1/messages", body))
            site.nursery.start_soon(note, talks[-1], number)
            await trio.sleep(0.01)
        refused = await site.ask("POST", "/v1/messages", body)
        assert trio.current_time() < 1
        assert refused.failure[:2] == (529, "overloaded_error")
        assert refused.failure[2].endswith(f"and {queued} wait (server.maxQueued)")
        assert refused.headers["retry-after"] == "1"
        (line,) = [line for line in caplog.messages if line.startswith(refused.headers["request-id"])]
        assert line.endswith(": no place")
        while len(ended) < len(talks):
            await trio.sleep(0.1)
        assert [talk.status for talk in talks] == [200] * (2 + queued)
        assert ended == list(range(2 + queued))
        assert 'outcome="no_place"' in (await site.ask("GET", "/metrics")).data.decode()
        assert (await site.ask("POST", "/v1/messages", body)).status == 200


@in_virtual_time
async def test_one_who_waits_and_leaves_makes_room_for_another(tmp_path: Path) -> None:
    document = {"server": {"maxConcurrent": 1, "maxQueued": 1}}
    async with running(tmp_path, document, scenario=always("slow-head:3000")) as site:
        first = site.begin("POST", "/v1/messages", HELLO)
        await site.until_said("answered POST /generateAssistantResponse")
        second = site.begin("POST", "/v1/messages", HELLO)
        await trio.sleep(1)
        second.leave()
        await second.over.wait()
        third = await site.ask("POST", "/v1/messages", HELLO)
        assert trio.current_time() == pytest.approx(6, abs=0.5)
    assert (first.status, second.status, third.status) == (200, 0, 200)


# --- bugs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after_pings", [False, True])
@pytest.mark.parametrize("body", [HELLO, STREAMED])
@in_virtual_time
async def test_a_bug_inside_an_exchange_is_an_error_and_never_a_clean_end(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    body: dict[str, Any],
    after_pings: bool,
) -> None:
    """Either at the first step, or at the head of the service's answer, which comes after the pings."""

    def broken(exchange: Any, happening: Any, **arguments: Any) -> Any:
        if after_pings and not isinstance(happening, HeadArrived):
            return advance(exchange, happening, **arguments)
        raise LookupError("a made-up bug")

    monkeypatch.setattr("adapters.driver.advance", broken)
    async with running(tmp_path, PINGS, scenario=always("slow-head:50000")) as site:
        talk = await site.ask("POST", "/v1/messages", body)
        again = site.begin("GET", "/health")
        await again.over.wait()
    assert again.status == 200
    if body is STREAMED and after_pings:
        assert (talk.status, talk.events[-1]) == (200, "error")
        assert data_of(talk.data, "error")[0]["error"]["type"] == "api_error"
        assert "message_stop" not in talk.events
    else:
        assert talk.failure[:2] == (500, "api_error")
    assert "made-up bug" not in talk.data.decode()
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert talk.headers["request-id"] in errors[0].getMessage()
    assert [line.endswith(": a bug") for line in caplog.messages if line.startswith(talk.headers["request-id"])] == [
        True
    ]


@in_virtual_time
async def test_a_bug_that_meets_a_client_that_leaves_is_not_lost_beside_the_cancellation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise LookupError("a made-up bug")

    monkeypatch.setattr("adapters.upstream.Upstream.call", broken)
    async with running(tmp_path, PINGS) as site:
        talk = site.begin("POST", "/v1/messages", STREAMED)
        await talk.until(lambda seen: seen.pieces)
        talk.leave()
        await talk.over.wait()
    assert isinstance(talk.error, ExceptionGroup)
    assert talk.error.subgroup(LookupError) is not None
    assert not talk.is_complete


async def test_an_exchange_that_ends_without_an_answer_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forget(*_: Any) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(Driver, "drive", forget)
    async with running(tmp_path) as site:
        talk = site.begin("POST", "/v1/messages", STREAMED)
        with trio.fail_after(5):
            await talk.over.wait()
    assert isinstance(talk.error, ExceptionGroup)
    assert talk.error.subgroup(StreamBroken) is not None
    assert not talk.is_complete


async def test_a_bug_gives_its_place_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Driver.drive
    failing = iter([True])

    async def drive(self: Driver, *arguments: Any) -> None:
        if next(failing, False):
            raise LookupError("a made-up bug")
        await original(self, *arguments)

    monkeypatch.setattr(Driver, "drive", drive)
    async with running(tmp_path, {"server": {"maxConcurrent": 1}}) as site:
        first = await site.ask("POST", "/v1/messages", STREAMED)
        second = await site.ask("POST", "/v1/messages", STREAMED)
    assert (first.status, second.status) == (500, 200)


# --- the log ---------------------------------------------------------------------------------------------------


async def test_each_exchange_writes_one_line_with_its_id_and_each_failed_attempt_one_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="stagewhisper")
    turns = {"a": "internal-error", "b": "fine"}
    async with running(tmp_path, scenario=lambda name, _: turns[name], accounts=("a", "b")) as site:
        talk = await site.ask("POST", "/v1/messages", HELLO)
    lines = [record.getMessage() for record in caplog.records if record.name == "stagewhisper"]
    failed, out, answered = lines
    assert all(line.startswith(talk.headers["request-id"]) for line in (failed, answered))
    assert "account=a failed: " in failed
    assert out.startswith("account=a is temporarily blacklisted until ")
    assert f"account=b model={MODEL} attempts=2 failed=1 " in answered
    assert answered.endswith(": answered")
