"""`POST /v1/messages` with live delivery, from the client's side: words as they come, and honest ends."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from adapters.emulator import always
from fuzz.strict_client import rebuild
from tests.adapters.harness import HELLO, LOCAL, STREAMED, running, text_of
from tests.adapters.test_app_messages import PINGS, data_of
from tests.adapters.token_files import in_virtual_time

LIVE = {"delivery": "live"}
ASKING = {**LOCAL, "x-stagewhisper-delivery": "live"}


@in_virtual_time
async def test_words_reach_the_client_as_they_come(tmp_path: Path) -> None:
    async with running(tmp_path, LIVE, scenario=always("slow:1000")) as site:
        began = trio.current_time()
        live = await site.ask("POST", "/v1/messages", STREAMED)
        whole = await site.ask("POST", "/v1/messages", HELLO)
    first, *_, last = (moment - began for moment, piece in live.pieces if b"text_delta" in piece)
    assert first < 3
    assert last >= first + 3
    rebuilt = rebuild(live.data)
    assert rebuilt.error is None
    assert [block["text"] for block in rebuilt.content] == [text_of(whole.json)]


@in_virtual_time
async def test_each_request_may_ask_for_its_own_delivery(tmp_path: Path) -> None:
    async with running(tmp_path, scenario=always("slow:1000")) as site:
        asking = await site.ask("POST", "/v1/messages", STREAMED, headers=ASKING)
        silent = await site.ask("POST", "/v1/messages", STREAMED)
        whole = await site.ask("POST", "/v1/messages", HELLO, headers=ASKING)
    assert len(asking.pieces) > 3
    assert len([piece for _, piece in silent.pieces if b"text_delta" in piece]) == 1
    assert "".join(event["delta"]["text"] for event in data_of(asking.data, "content_block_delta")) == text_of(
        whole.json
    )
    (tmp_path / "other").mkdir()
    async with running(tmp_path / "other", LIVE, scenario=always("slow:1000")) as site:
        headers = {**LOCAL, "x-stagewhisper-delivery": "buffered"}
        talk = await site.ask("POST", "/v1/messages", STREAMED, headers=headers)
    assert len([piece for _, piece in talk.pieces if b"text_delta" in piece]) == 1


async def test_a_delivery_that_there_is_not_is_refused_with_its_place(tmp_path: Path) -> None:
    async with running(tmp_path) as site:
        headers = {**LOCAL, "x-stagewhisper-delivery": "fast"}
        talk = await site.ask("POST", "/v1/messages", STREAMED, headers=headers)
    message = "x-stagewhisper-delivery: expected buffered or live, got 'fast'"
    assert talk.failure == (400, "invalid_request_error", message)


@in_virtual_time
@pytest.mark.parametrize("scenario", ["cut:700", "stall:4"])
async def test_what_breaks_behind_the_first_word_ends_with_an_error_event(scenario: str, tmp_path: Path) -> None:
    document = {**LIVE, "timeouts": {"idleMs": 5000}}
    async with running(tmp_path, document, scenario=always(scenario), accounts=("a", "b")) as site:
        talk = await site.ask("POST", "/v1/messages", STREAMED)
        health = await site.health()
        requests = sum(count.requests for count in site.emulator.counts.values())
    assert talk.status == 200
    rebuilt = rebuild(talk.data)
    assert rebuilt.error is not None
    assert rebuilt.content
    assert requests == 1
    assert health["a"]["failureCount"] == 1


@in_virtual_time
async def test_what_breaks_before_it_is_tried_with_another_account(tmp_path: Path) -> None:
    turns = {"a": "exception-first:ThrottlingException", "b": "fine"}
    async with running(tmp_path, LIVE, scenario=lambda name, _: turns[name], accounts=("a", "b")) as site:
        talk = await site.ask("POST", "/v1/messages", STREAMED)
    assert rebuild(talk.data).error is None
    assert talk.events.count("message_start") == 1


@in_virtual_time
async def test_pings_come_while_there_are_no_words(tmp_path: Path) -> None:
    async with running(tmp_path, {**LIVE, **PINGS}, scenario=always("slow-head:50000")) as site:
        talk = await site.ask("POST", "/v1/messages", STREAMED)
    assert talk.events[:4] == ["message_start", "ping", "ping", "ping"]
    assert talk.events[-1] == "message_stop"
