"""The meeting point of a driver and a view: what each can rely on, whoever comes first."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import trio
import trio.testing

from adapters.outbox import Outbox, StreamBroken
from core.dialogue import WholeAnswer

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


def _send_two_and_end(outbox: Outbox) -> None:
    outbox.send(b"a")
    outbox.send(b"b")
    outbox.end()


def _send_and_close(outbox: Outbox) -> None:
    outbox.send(b"a")
    outbox.close()


def _send_and_fail(outbox: Outbox) -> None:
    outbox.send(b"a")
    outbox.fail(WHOLE, b"error")
    outbox.close()


@pytest.mark.parametrize("view_first", [True, False])
@pytest.mark.parametrize(
    ("act", "whole", "chunks"),
    [
        (lambda outbox: outbox.answer(WHOLE), WHOLE, []),
        (lambda outbox: outbox.fail(WHOLE, b"error"), WHOLE, []),
        (_send_two_and_end, None, [b"a", b"b"]),
        (_send_and_close, None, [b"a", b"CUT"]),
        (_send_and_fail, None, [b"a", b"error"]),
        (lambda outbox: outbox.close(), None, [b"CUT"]),
        (lambda outbox: outbox.end(), None, []),
    ],
)
async def test_a_view_gets_what_the_driver_gave(
    act: Callable[[Outbox], None], whole: WholeAnswer | None, chunks: list[bytes], view_first: bool
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
        act(outbox)
        outbox.close()
        if not view_first:
            nursery.start_soon(view)
    assert seen == [whole, chunks]


async def test_a_driver_never_waits_for_a_slow_view() -> None:
    outbox = Outbox()
    for number in range(1000):
        outbox.send(b"%d" % number)
    outbox.end()
    assert len(await collected(outbox)) == 1000


async def test_a_view_that_left_keeps_no_driver_from_sending() -> None:
    outbox = Outbox()
    outbox.send(b"a")
    chunks = outbox.chunks()
    assert await anext(chunks) == b"a"
    await chunks.aclose()  # type: ignore[attr-defined]  # an async generator has it
    outbox.send(b"b")
    outbox.end()
