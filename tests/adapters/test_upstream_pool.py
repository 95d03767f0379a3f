"""Connections that are kept: used again, closed when they are idle for long, and none lost to calls that end early."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Any, cast

import trio

from adapters.emulator import Emulator, always
from adapters.upstream import _IDLE_SECONDS, Upstream
from core.dialogue import BodyEnded, CallFailed, Happening
from core.http import Call
from tests.adapters.emulated import START, generate, shell_request
from tests.adapters.token_files import in_virtual_time

TASKS = 256
LATER = 48
STAGES = ("fine", "stall-head", "stall:1", "slow:2", "slow-head:5", "drip:50:1", "cut:200", "close-early", "reset:200")


async def test_no_connection_is_lost_to_cancellations_at_every_stage() -> None:
    """With a limit on its connections, httpx's pool loses some, and then every later call waits for ever."""
    emulator = Emulator(log=lambda _: None, epoch=lambda: START)
    upstream = Upstream(connect_timeout=5.0)
    chance = Random(20_250_714)
    ended: dict[str, int] = {}

    async def call(url: str, scenario: str) -> str:
        """How a call ended."""
        last: list[Happening] = []

        async def tell(happening: Happening) -> None:
            await trio.lowlevel.checkpoint()
            last[:] = [happening]

        asked = generate(shell_request(), token="emulated-access-token-emulated-1", **{"x-emulator-scenario": scenario})
        await upstream.call(Call(method="POST", url=url + asked.target, headers=asked.headers, body=asked.body), tell)
        return type(last[0]).__name__

    async def cancelled(url: str) -> None:
        scenario = chance.choice(STAGES)
        outcome = "cancelled"
        with trio.move_on_after(chance.uniform(0, 0.2)):
            outcome = await call(url, scenario)
        ended[outcome] = ended.get(outcome, 0) + 1

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(_serve, emulator))
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        for _ in range(2):
            async with trio.open_nursery() as tasks:
                for _ in range(TASKS):
                    tasks.start_soon(cancelled, url)
        stuck = [connection for connection in _connections(upstream) if not connection.is_idle()]
        later: list[str] = []

        async def ask_later() -> None:
            later.append(await call(url, "fine"))

        with trio.fail_after(20):
            async with trio.open_nursery() as tasks:
                for _ in range(LATER):
                    tasks.start_soon(ask_later)
        await upstream.aclose()
        nursery.cancel_scope.cancel()
    assert stuck == []
    assert later == [BodyEnded.__name__] * LATER
    assert ended["cancelled"] > TASKS / 4, ended
    assert sum(ended.values()) == 2 * TASKS
    assert set(ended) <= {"cancelled", BodyEnded.__name__, CallFailed.__name__}


def _connections(upstream: Upstream) -> list[Any]:
    """The idle transports' connections, as httpcore sees them. There is no public way to them."""
    transports = [each.transport for idle in upstream._idle.values() for each in idle]
    return [each for transport in transports for each in cast("Any", transport)._pool.connections]


async def _serve(emulator: Emulator, task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED) -> None:
    await emulator.serve(await trio.open_tcp_listeners(0, host="127.0.0.1"), task_status=task_status)


@in_virtual_time
async def test_a_connection_is_used_again_and_one_that_is_idle_for_long_is_closed() -> None:
    emulator = Emulator(log=lambda _: None, epoch=lambda: 0.0, scenario=always("slow-head:100"))
    upstream = Upstream(connect_timeout=5.0)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(emulator.serve, listeners)
        nursery.start_soon(upstream.tidy)
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/ListAvailableModels"

        async def ask(times: int) -> list[Any]:
            async with trio.open_nursery() as tasks:
                for _ in range(times):
                    tasks.start_soon(upstream.fetch, Call(method="GET", url=url, headers={}))
            return _connections(upstream)

        first = await ask(1)
        assert await ask(1) == first
        many = await ask(40)
        assert len(many) == 40
        assert first[0] in many
        assert set(map(id, await ask(40))) == set(map(id, many))
        await trio.sleep(_IDLE_SECONDS - 1)
        assert len(await ask(1)) == 40
        await trio.sleep(_IDLE_SECONDS - 1)
        (last,) = await ask(1)
        await trio.sleep(2 * _IDLE_SECONDS)
        assert _connections(upstream) == []
        assert last.is_closed()
        await upstream.aclose()
        nursery.cancel_scope.cancel()
