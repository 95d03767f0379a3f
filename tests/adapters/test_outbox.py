"""The meeting point of a driver and a view: what each can rely on, whoever comes first."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from adapters.outbox import MAX_AHEAD_BYTES, Outbox, StreamBroken
from core.dialogue import WholeAnswer
from tests.adapters.token_files import in_virtual_time

WHOLE = WholeAnswer(status=418, headers={"x": "y"}, body=b"whole")


async def collected(outbox: Outbox) -> list[bytes]:
    """The chunks of a stream; a cut one ends in `b"CUT"`."""
    chunks: list[bytes] = []
    with contextlib.suppress(StopAsyncIteration):
        stream = outbox.chunks()
        while True:
            try:
                chunks.append(await anext(stream))
            except StreamBroken:
                chunks.append(b"CUT")
    return chunks


async def _answer(outbox: Outbox) -> None:
    outbox.answer(WHOLE)


async def _fail(outbox: Outbox) -> None:
    outbox.fail(WHOLE, b"error")


async def _close(outbox: Outbox) -> None:
    outbox.close()


async def _end(outbox: Outbox) -> None:
    outbox.end()


async def _send_two_and_end(outbox: Outbox) -> None:
    await outbox.send(b"a")
    await outbox.send(b"b")
    outbox.end()


async def _send_and_close(outbox: Outbox) -> None:
    await outbox.send(b"a")
    outbox.close()


async def _end_and_fail(outbox: Outbox) -> None:
    await outbox.send(b"a")
    outbox.end()
    outbox.fail(WHOLE, b"error")


async def _send_and_fail(outbox: Outbox) -> None:
    await outbox.send(b"a")
    outbox.fail(WHOLE, b"error")
    outbox.close()


@pytest.mark.parametrize("view_first", [True, False])
@pytest.mark.parametrize(
    ("act", "whole", "chunks"),
    [
        (_answer, WHOLE, []),
        (_fail, WHOLE, []),
        (_send_two_and_end, None, [b"a", b"b"]),
        (_send_and_close, None, [b"a", b"CUT"]),
        (_send_and_fail, None, [b"a", b"error"]),
        (_end_and_fail, None, [b"a"]),
        (_close, None, [b"CUT"]),
        (_end, None, []),
    ],
)
async def test_a_view_gets_what_the_driver_gave(
    act: Callable[[Outbox], Awaitable[None]], whole: WholeAnswer | None, chunks: list[bytes], view_first: bool
) -> None:
    outbox = Outbox()
    seen: list[object] = []

    async def view() -> None:
        seen.append(await outbox.first())
        seen.append(await collected(outbox))

    async with trio.open_nursery() as nursery:
        if view_first:
            nursery.start_soon(view)
            await trio.testing.wait_all_tasks_blocked()
        await act(outbox)
        outbox.close()
        if not view_first:
            nursery.start_soon(view)
    assert seen == [whole, chunks]


FULL = bytes(MAX_AHEAD_BYTES + 1)
"""As much as makes the next one wait."""


@in_virtual_time
async def test_a_driver_waits_for_a_view_that_is_too_far_behind() -> None:
    outbox = Outbox()
    sent: list[float] = []

    async def drive() -> None:
        for _ in range(4):
            await outbox.send(FULL[1:])
            sent.append(trio.current_time())
        outbox.end()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drive)
        size = 0
        await trio.sleep(10)
        async for chunk in outbox.chunks():
            size += len(chunk)
            await trio.sleep(10)
    assert sent == [0, 0, 10, 20], "the bound is what is there already, whatever is added"
    assert size == 4 * MAX_AHEAD_BYTES


@in_virtual_time
async def test_what_is_sent_at_once_is_one_chunk_however_large() -> None:
    outbox = Outbox()
    await outbox.send(FULL * 100)
    outbox.end()
    assert [len(chunk) for chunk in await collected(outbox)] == [len(FULL) * 100]


@pytest.mark.parametrize(("act", "rest"), [(_answer, []), (_fail, [b"error"]), (_end, []), (_close, [b"CUT"])])
@in_virtual_time
async def test_an_end_waits_for_no_view(act: Callable[[Outbox], Awaitable[None]], rest: list[bytes]) -> None:
    outbox = Outbox()
    await outbox.send(FULL)
    with trio.fail_after(1):
        await act(outbox)
    assert await collected(outbox) == [FULL, *rest]


@in_virtual_time
async def test_a_cancelled_driver_stops_waiting_and_adds_nothing() -> None:
    outbox = Outbox()
    await outbox.send(FULL)
    with trio.move_on_after(5) as scope:
        await outbox.send(b"never")
    assert scope.cancelled_caught
    assert trio.current_time() == 5
    with trio.CancelScope() as scope:
        scope.cancel()
        await outbox.send(b"never")
    outbox.end()
    assert await collected(outbox) == [FULL]


@in_virtual_time
async def test_a_view_that_left_keeps_no_driver_from_sending() -> None:
    outbox = Outbox()
    await outbox.send(FULL)
    chunks = outbox.chunks()
    assert await anext(chunks) == FULL
    await outbox.send(FULL)

    async def leave() -> None:
        await trio.sleep(5)
        await chunks.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave)
        await outbox.send(FULL)
        assert trio.current_time() == 5
    await outbox.send(FULL)
    outbox.end()


async def test_it_is_over_with_the_last_piece_of_a_stream_that_was_ended() -> None:
    outbox = Outbox()
    await _send_two_and_end(outbox)
    assert [outbox.is_over() async for _ in outbox.chunks()] == [False, True]
    outbox = Outbox()
    await _send_and_close(outbox)
    with pytest.raises(StreamBroken):
        assert [outbox.is_over() async for _ in outbox.chunks()] == [False]
    assert not outbox.is_over()
