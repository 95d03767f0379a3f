"""The driver's loop: each want carried out once, one at a time, stopped when it is replaced, and nothing left over."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
import trio

from adapters.outbox import MAX_AHEAD_BYTES
from adapters.tokens import TokenError, TokenRefreshFailed, TokenRefused, TokenUnreadable
from core.dialogue import AnswerBegan, BodyEnded, DataArrived, Happening, HeadArrived, Succeeded, TokenRejected
from core.http import Head
from core.phases import Policy
from tests.adapters.canned import deliver_as_it_comes
from tests.adapters.driven import CUT, GOOD, STALL, House, Run, Script, Tokens, refusal, slowly
from tests.adapters.token_files import in_virtual_time
from tests.exchanges import EVENT_STREAM, POLICY


def run_of(script: Script, tokens: dict[str, Tokens] | None = None, policy: Policy = POLICY) -> Run:
    """An exchange that is alone in its house."""
    return Run(House(script, tokens, policy=policy))


@in_virtual_time
async def test_an_account_a_token_and_a_call_make_an_answer() -> None:
    run = await run_of([GOOD]).drive_alone()
    assert await run.status == 200
    assert run.house.line.bearers == ["a1"]
    assert [type(notice) for notice in run.notices] == [AnswerBegan, Succeeded]


@in_virtual_time
async def test_a_streaming_client_gets_events_and_an_end() -> None:
    stream = await (await run_of([GOOD]).drive_alone(stream=True)).stream()
    assert stream.startswith("event: message_start\n")
    assert stream.endswith('event: message_stop\ndata: {"type":"message_stop"}\n\n')


@in_virtual_time
async def test_a_refused_token_is_asked_for_again_with_its_name() -> None:
    run = await run_of([refusal(403, "AccessDeniedException"), GOOD]).drive_alone()
    assert await run.status == 200
    assert run.house.tokens["a"].rejected == [None, "a1"]
    assert run.house.line.bearers == ["a1", "a2"]
    assert [type(notice) for notice in run.notices] == [TokenRejected, AnswerBegan, Succeeded]


@in_virtual_time
async def test_a_retry_without_backoff_is_made_at_once_and_then_another_account_is_asked() -> None:
    run = await run_of([CUT, CUT, GOOD], {"a": Tokens("a"), "b": Tokens("b")}).drive_alone()
    assert await run.status == 200
    assert run.house.line.bearers == ["a1", "a1", "b1"]
    assert trio.current_time() == 0


@in_virtual_time
async def test_a_pause_is_kept() -> None:
    head = Head(status=500, headers={"content-type": "application/json"})
    reason = b'{"message":"x","reason":"MODEL_TEMPORARILY_UNAVAILABLE"}'
    busy: Sequence[Happening] = (HeadArrived(head), DataArrived(reason), BodyEnded())
    run = await run_of([busy, busy, GOOD]).drive_alone()
    assert await run.status == 200
    assert trio.current_time() == pytest.approx(0.75 + 1.5)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TokenUnreadable("/made-up.json", "is missing"), "permission_error"),
        (TokenRefused("/made-up.json", "was refused", "0123456789abcdef"), "permission_error"),
        (TokenRefreshFailed("/made-up.json", "the refresh got no answer"), "overloaded_error"),
    ],
)
@in_virtual_time
async def test_an_account_without_a_token_is_passed_over(error: TokenError, expected: str) -> None:
    run = await run_of([GOOD], {"a": Tokens("a", error=error), "b": Tokens("b")}).drive_alone()
    assert await run.status == 200
    assert run.house.line.bearers == ["b1"]
    alone = await run_of([GOOD], {"a": Tokens("a", error=error)}).drive_alone()
    assert await alone.error == expected
    assert alone.house.line.calls == []


@in_virtual_time
async def test_pings_go_out_while_a_want_stands() -> None:
    run = run_of([STALL], policy=Policy(first_byte=50, idle=20, total=100, ping_quiet=10, ping_interval=15))
    stream = await (await run.drive_alone(stream=True)).stream()
    assert stream.count("event: ping") == 3  # at 10, 25 and 40
    assert stream.count("event: message_start") == 1
    assert "event: message_stop" not in stream
    assert '"timeout_error"' in stream


@pytest.mark.parametrize(
    ("script", "delay", "moment"),
    [
        ([STALL], 0.0, 30.0),
        ([GOOD[:1]], 0.0, 20.0),
        ([GOOD[:2]], 0.0, 20.0),
        ([], 1000.0, 100.0),
    ],
)
@in_virtual_time
async def test_every_wait_has_an_end(script: Script, delay: float, moment: float) -> None:
    run = await run_of(script, {"a": Tokens("a", delay=delay)}).drive_alone()
    assert await run.error == "timeout_error"
    assert trio.current_time() == pytest.approx(moment)


@in_virtual_time
async def test_an_answer_that_is_too_much_is_left_in_the_middle() -> None:
    page = HeadArrived(Head(status=503, headers={"content-type": "text/html"}))
    endless: Sequence[Happening] = (page, *[DataArrived(b"x" * 65536)] * 5)
    run = await run_of([endless, GOOD], {"a": Tokens("a"), "b": Tokens("b")}).drive_alone()
    assert await run.status == 200
    assert run.house.line.bearers == ["a1", "b1"]


@pytest.mark.parametrize("moment", [0.0, 5.0, 12.0, 22.0])
@pytest.mark.parametrize(
    ("script", "delay"), [([STALL], 0.0), ([GOOD[:1]], 0.0), ([GOOD[:2]], 0.0), ([GOOD], 50.0), ([], 1000.0)]
)
@in_virtual_time
async def test_a_cancellation_at_any_stage_leaves_no_task(script: Script, delay: float, moment: float) -> None:
    run = run_of(script, {"a": Tokens("a", delay=delay)})
    with trio.move_on_after(moment) as scope:
        await run.drive_alone(stream=True)  # which looks at the tasks
    assert scope.cancelled_caught or moment >= 20


@in_virtual_time
async def test_a_bug_in_carrying_out_a_want_comes_out_and_leaves_no_task() -> None:
    with pytest.RaisesGroup(LookupError):
        await run_of([LookupError("a made-up bug")]).drive_alone()


@in_virtual_time
async def test_the_time_that_the_core_takes_for_an_answers_bytes_is_told() -> None:
    run = await run_of([slowly(10.0)]).drive_alone()
    assert len(run.processing) == 2  # one piece of the body, and its end
    assert all(0 < seconds < 1 for seconds in run.processing), "what was waited for does not count"


@in_virtual_time
async def test_a_slow_client_holds_an_answer_up_for_longer_than_it_may_stall_and_costs_it_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the service has sent by then counts before the moment that passed: the call is one piece ahead."""
    deliver_as_it_comes(monkeypatch)
    piece = DataArrived(b"x" * (MAX_AHEAD_BYTES + 1))
    house = House([(HeadArrived(EVENT_STREAM), *[piece] * 4, BodyEnded())])
    run = Run(house)
    chunks: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(run.drive, stream=True))
        assert await run.outbox.first() is None
        async for chunk in run.outbox.chunks():
            chunks.append(len(chunk))
            await trio.sleep(POLICY.idle + 3)
    assert len(chunks) == 4
    assert run.ended is not None
    assert 2 * POLICY.idle < run.ended < POLICY.total
