"""Request bodies as they come in, and clients that leave: at every stage, nothing is left open behind them."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from adapters import connection
from adapters.connection import MAX_BODY_BYTES, SLOWEST_BODY, Held, Incoming
from adapters.emulator import always
from core.errors import ClientRequestError
from tests.adapters.harness import HELLO, LOCAL, STREAMED, running
from tests.adapters.token_files import in_virtual_time

MEBIBYTE = 1024 * 1024


# --- bodies ----------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_body_that_is_declared_too_large_is_refused_and_none_of_it_kept(tmp_path: Path) -> None:
    headers = {**LOCAL, "content-length": str(MAX_BODY_BYTES + 1)}
    async with running(tmp_path) as site:
        tracemalloc.start()
        try:
            talk = site.begin("POST", "/v1/messages", None, headers=headers)
            for _ in range(8):
                talk.body(bytes(MEBIBYTE), more=True)
                await trio.testing.wait_all_tasks_blocked()
            _, peak = tracemalloc.get_traced_memory()
            talk.body(b"")
            await talk.over.wait()
        finally:
            tracemalloc.stop()
        assert site.said == []
    assert talk.failure[:2] == (413, "request_too_large")
    assert str(MAX_BODY_BYTES) in talk.failure[2]
    assert peak < 2.5 * MEBIBYTE, f"{peak} bytes were kept"


@in_virtual_time
async def test_a_body_that_turns_out_too_large_is_refused_and_kept_no_longer(tmp_path: Path) -> None:
    async with running(tmp_path) as site:
        talk = site.begin("POST", "/v1/messages", None)
        tracemalloc.start()
        try:
            for _ in range(MAX_BODY_BYTES // MEBIBYTE):
                talk.body(bytes(MEBIBYTE), more=True)
                await trio.testing.wait_all_tasks_blocked()
            assert tracemalloc.get_traced_memory()[0] > 0.9 * MAX_BODY_BYTES
            for _ in range(10):
                talk.body(bytes(MEBIBYTE), more=True)
                await trio.testing.wait_all_tasks_blocked()
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        talk.body(b"")
        await talk.over.wait()
        assert site.said == []
    assert talk.failure[:2] == (413, "request_too_large")
    assert kept < 1.5 * MEBIBYTE, "more than the last piece was kept"


@pytest.mark.parametrize(("size", "fits"), [(MAX_BODY_BYTES, True), (MAX_BODY_BYTES + 1, False)])
async def test_the_limit_is_exact(size: int, fits: bool) -> None:
    async with trio.open_nursery() as nursery:
        incoming = Incoming(nursery, None)
        incoming.take(bytes(size - 1), more=True)
        incoming.take(b"x", more=False)
        if fits:
            assert len(await incoming.body(patience=1)) == size
        else:
            with pytest.raises(ClientRequestError, match="larger than"):
                await incoming.body(patience=1)


async def test_all_bodies_together_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.connection.MAX_HELD_BYTES", 100)
    held = Held()
    async with trio.open_nursery() as nursery:
        first, second, third = (Incoming(nursery, None, held) for _ in range(3))
        first.take(bytes(60), more=True)
        second.take(bytes(41), more=True)
        with pytest.raises(ClientRequestError, match="too much is being uploaded"):
            await second.body(patience=1)
        first.take(bytes(40), more=False)
        assert len(await first.body(patience=1)) == 100
        assert held.total == 0
        third.take(bytes(100), more=False)
        assert held.total == 100
        third.drop()
        assert held.total == 0


@pytest.mark.parametrize(
    ("seconds_worth", "how", "moment"),
    [
        ([], "stalled", 10),
        ([100], "stalled", 19),
        ([30, 5, 0, 0, 0], "came at less than 16384 bytes a second", 45),
        ([0, 0], "came at less than 16384 bytes a second", 10),
    ],
)
@in_virtual_time
async def test_a_body_may_take_as_long_as_its_bytes_have_earned_and_pause_as_long_as_is_said(
    seconds_worth: list[int], how: str, moment: float
) -> None:
    async with trio.open_nursery() as nursery:
        incoming = Incoming(nursery, None)

        async def come() -> None:
            for worth in seconds_worth:
                await trio.sleep(9)
                incoming.take(bytes(SLOWEST_BODY * worth), more=True)

        nursery.start_soon(come)
        with pytest.raises(ClientRequestError, match=rf"body {how} for 10 seconds \(timeouts\.requestMs\)$"):
            await incoming.body(patience=10)
        assert trio.current_time() == pytest.approx(moment)
        nursery.cancel_scope.cancel()


@in_virtual_time
async def test_an_early_answer_lets_the_body_come_first_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    async with running(tmp_path, {"server": {"apiKeys": ["made-up-key"]}}) as site:
        talk = site.begin("POST", "/v1/messages", b"{", more=True)
        await trio.sleep(3)
        assert talk.status == 0
        tracemalloc.start()
        try:
            for _ in range(16):
                talk.body(bytes(MEBIBYTE), more=True)
                await trio.testing.wait_all_tasks_blocked()
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        talk.body(b"}")
        await talk.over.wait()
        assert trio.current_time() < 4
    assert talk.failure[0] == 401
    assert kept < 1.5 * MEBIBYTE, "more than the last piece was kept"


@in_virtual_time
async def test_an_early_answer_does_not_wait_for_ever_for_a_body(tmp_path: Path) -> None:
    async with running(tmp_path) as site:
        began = trio.current_time()
        talk = site.begin("POST", "/nothing", b"x", more=True)
        await talk.over.wait()
        assert trio.current_time() - began == pytest.approx(connection._LINGER_SECONDS, abs=0.1)
    assert talk.failure[0] == 404


# --- leaving ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [HELLO, STREAMED])
@pytest.mark.parametrize("scenario", ["stall-head", "stall:1", "stall:0", "slow:5000", "drip:10:5000"])
@in_virtual_time
async def test_a_client_that_leaves_takes_its_call_to_the_service_with_it(
    tmp_path: Path, scenario: str, body: dict[str, Any]
) -> None:
    document = {"server": {"maxConcurrent": 1}, "timeouts": {"connectMs": 200}}
    turns = iter([scenario])
    async with running(tmp_path, document, scenario=lambda *_: next(turns, "fine")) as site:
        talk = site.begin("POST", "/v1/messages", body)
        await site.until_said("answered POST /generateAssistantResponse")
        await trio.sleep(3)
        assert site.open == 1
        talk.leave()
        await talk.over.wait()
        with trio.fail_after(20):  # one that sleeps notices when it goes on
            while site.open:
                await trio.sleep(0.1)
        again = await site.ask("POST", "/v1/messages", body)
    assert (talk.error, talk.status) == (None, 0)
    assert again.status == 200, "its place was not given back"


@in_virtual_time
async def test_a_client_that_leaves_between_pings_takes_its_call_with_it(tmp_path: Path) -> None:
    async with running(tmp_path, scenario=always("stall:2")) as site:
        talk = site.begin("POST", "/v1/messages", STREAMED)
        await talk.until(lambda seen: len(seen.pieces) == 2)
        assert site.open == 1
        talk.leave()
        await talk.over.wait()
        while site.open:
            await trio.sleep(0.001)
    assert talk.error is None
    assert not talk.is_complete, "a broken stream was ended"
    assert talk.events == ["message_start", "ping", "ping"]


@in_virtual_time
async def test_a_client_that_leaves_before_the_answers_body_began_takes_its_call_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The view has returned, the head is being sent, and no generator was started that could clean up."""
    sending = trio.Event()

    async def hold(*_: Any) -> None:
        sending.set()
        await trio.sleep_forever()

    monkeypatch.setattr(connection.Connection, "_send_response", hold)
    async with running(tmp_path, scenario=always("stall:2")) as site:
        talk = site.begin("POST", "/v1/messages", STREAMED)
        await sending.wait()
        assert site.open == 1
        talk.leave()
        await talk.over.wait()
        while site.open:
            await trio.sleep(0.001)
    assert (talk.error, talk.status) == (None, 0)


async def test_a_disconnect_after_the_last_piece_cancels_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hypercorn says so to every request. What comes after the last `send` must be reached: there, the timer is."""
    reached = []
    original = connection.Connection._send_response

    async def send(self: connection.Connection, *arguments: Any) -> None:
        await original(self, *arguments)
        await trio.testing.wait_all_tasks_blocked()
        reached.append(True)

    monkeypatch.setattr(connection.Connection, "_send_response", send)
    async with running(tmp_path) as site:
        for path, body in (("/v1/messages", HELLO), ("/v1/messages", STREAMED), ("/nothing", b"")):
            await site.ask("POST", path, body)
    assert reached == [True] * 3


async def test_after_a_request_no_task_of_it_is_left(tmp_path: Path) -> None:
    async with running(tmp_path) as site:
        await site.ask("POST", "/v1/messages", STREAMED)
        before = trio.lowlevel.current_statistics().tasks_living
        for _ in range(5):
            await site.ask("POST", "/v1/messages", STREAMED)
            talk = site.begin("POST", "/v1/messages", b"{", more=True)
            talk.leave()
            await talk.over.wait()
        assert trio.lowlevel.current_statistics().tasks_living == before
