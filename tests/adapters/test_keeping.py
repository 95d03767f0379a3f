"""Values kept in a store: what survives, what two processes make of one file, and what a store that fails costs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from adapters.keeping import Cell, Codec, Keeper
from adapters.stores import MemoryStore, SqliteStore, Store, Stored, StoreError
from core.errors import StagewhisperError
from core.times import Epoch
from tests.adapters.token_files import in_virtual_time


class NoCount(StagewhisperError):
    """A stored value that is no count."""


def _parse(data: bytes) -> int:
    if not data.isdigit():
        raise NoCount("expected digits")
    return int(data)


COUNT: Codec[int] = Codec(lambda count: b"%d" % count, _parse, lambda base, mine, theirs: theirs + mine - base)
"""Counts, of which what two processes counted adds up."""


class Spy(MemoryStore):
    """A store that notes its calls. `error` fails them; `delay` makes each take so long, cancelled or not."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.error: str | None = None
        self.delay = 0.0
        self.values: list[dict[str, bytes]] = []
        self.is_closed = False

    async def _slowly(self, call: str) -> None:
        self.calls.append(call)
        with trio.CancelScope(shield=True):
            await trio.sleep(self.delay)
        if self.error is not None:
            raise StoreError("/made-up", self.error)

    async def load(self, after: int = 0) -> dict[str, Stored]:
        await self._slowly("load" if after else "load all")
        return await super().load(after)

    async def compare_and_set(self, writes: Mapping[str, tuple[int, bytes]]) -> dict[str, int]:
        await self._slowly("write")
        self.values.append({key: value for key, (_, value) in writes.items()})
        return await super().compare_and_set(writes)

    async def close(self) -> None:
        self.is_closed = True
        await super().close()


class Desk:
    """A keeper with one count, and what it said."""

    def __init__(self, store: Store, key: str = "count") -> None:
        self.said: list[str] = []
        self.keeper = Keeper(store, log=self.said.append)
        self.cell: Cell[int] = self.keeper.cell(key, 0, COUNT)

    async def open(self) -> Desk:
        await self.keeper.open()
        return self


@asynccontextmanager
async def at_work(desk: Desk) -> AsyncIterator[Desk]:
    """The desk, open and with its writer running."""
    await desk.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.keeper.run)
        await trio.testing.wait_all_tasks_blocked()
        yield desk
        nursery.cancel_scope.cancel()


async def stored(store: Store, key: str = "count") -> bytes | None:
    """What a store has under a key."""
    found = await store.load()
    return found[key].value if key in found else None


def sqlite(folder: Path) -> SqliteStore:
    return SqliteStore(str(folder / "state.sqlite3"), lambda: Epoch(1_700_000_000.0))


# --- what survives ---------------------------------------------------------------------------------------------


async def test_a_value_is_there_again_in_the_next_process(tmp_path: Path) -> None:
    first = await Desk(sqlite(tmp_path)).open()
    first.cell.value = 17
    assert await first.keeper.settle()
    await first.keeper.close()
    second = await Desk(sqlite(tmp_path)).open()
    assert second.cell.value == 17
    await second.keeper.close()
    assert (first.said, second.said) == ([], [])


async def test_the_end_writes_what_is_not_written_and_comes_once() -> None:
    store = Spy()
    desk = await Desk(store).open()
    desk.cell.value = 3
    await desk.keeper.close()
    await desk.keeper.close()
    assert store.values == [{"count": b"3"}]
    assert (store.is_closed, desk.said) == (True, [])
    assert not await desk.keeper.settle(), "nothing is written any more"
    assert desk.said == []


async def test_to_open_twice_is_to_open_once() -> None:
    store = Spy()
    desk = await (await Desk(store).open()).open()
    assert store.calls == ["load all"]
    await desk.keeper.close()


async def test_a_keeper_that_was_never_opened_writes_nothing() -> None:
    store = Spy()
    desk = Desk(store)
    desk.cell.value = 1
    assert not await desk.keeper.settle()
    await desk.keeper.close()
    assert store.calls == []


@in_virtual_time
async def test_nothing_is_written_while_nothing_changes() -> None:
    store = Spy()
    async with at_work(Desk(store)) as desk:
        await trio.sleep(60)
        assert "write" not in store.calls
        desk.cell.value = 1000
        assert await desk.keeper.settle()
        for _ in range(3):
            desk.cell.value = int("1000")  # another value, which is written alike
            assert await desk.keeper.settle()
            await trio.sleep(60)
    assert store.values == [{"count": b"1000"}]


@in_virtual_time
async def test_what_changes_in_half_a_second_is_written_together_once() -> None:
    store = Spy()
    desk = Desk(store)
    other = desk.keeper.cell("other", 0, COUNT)
    async with at_work(desk):
        for count in range(1, 11):
            desk.cell.value = count
            other.value = count
            await trio.sleep(0.04)
        await trio.sleep(0.2)
        assert store.values == [{"count": b"10", "other": b"10"}]


@in_virtual_time
async def test_what_changes_while_it_is_written_is_written_next() -> None:
    store = Spy()
    store.delay = 0.2
    async with at_work(Desk(store)) as desk:
        desk.cell.value = 1
        await trio.sleep(0.6)
        desk.cell.value = 2
        await trio.sleep(2)
    assert store.values == [{"count": b"1"}, {"count": b"2"}]


# --- settling --------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_to_settle_is_to_write_at_once_and_to_wait_for_it() -> None:
    store = Spy()
    store.delay = 0.1
    async with at_work(Desk(store)) as desk:
        began = trio.current_time()
        desk.cell.value = 5
        assert await desk.keeper.settle()
        assert trio.current_time() - began == pytest.approx(0.2)  # the write, and the look at what others wrote
        assert store.values == [{"count": b"5"}]


@in_virtual_time
async def test_two_that_count_alike_count_twice() -> None:
    store = MemoryStore()
    first, second = await Desk(store).open(), await Desk(store).open()
    first.cell.value = second.cell.value = 1
    assert await first.keeper.settle()
    assert await second.keeper.settle()
    assert (second.cell.value, await stored(store)) == (2, b"2")


@in_virtual_time
async def test_a_hundred_who_settle_at_once_cost_two_writes() -> None:
    store = Spy()
    store.delay = 0.1
    ends: list[bool] = []

    async def settle(desk: Desk) -> None:
        desk.cell.value += 1
        await trio.sleep(0)
        ends.append(await desk.keeper.settle())

    async with at_work(Desk(store)) as desk:
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(settle, desk)
        assert store.values[-1] == {"count": b"100"}
    assert ends == [True] * 100
    assert len(store.values) <= 2


@in_virtual_time
async def test_nobody_waits_for_a_disk_that_hangs_longer_than_five_seconds() -> None:
    """The call cannot be stopped: it is in a thread, which the system holds."""
    store = Spy()
    async with at_work(Desk(store)) as desk:
        store.delay = 100.0
        desk.cell.value = 1
        for _ in range(3):
            began = trio.current_time()
            assert not await desk.keeper.settle()
            assert trio.current_time() - began == pytest.approx(5.0)
        assert desk.said == [
            "the state could not be written within 5 seconds; what changes is kept in memory until it can be written"
        ]
        store.delay = 0.0
        await trio.sleep(250)
        assert await stored(store) == b"1"
        assert desk.said[1:] == ["the state can be written again"]


@in_virtual_time
async def test_one_who_is_cancelled_while_he_settles_loses_nothing() -> None:
    store = Spy()
    store.delay = 1.0
    async with at_work(Desk(store)) as desk:
        desk.cell.value = 1
        with trio.move_on_after(0.5) as scope:
            await desk.keeper.settle()
        assert scope.cancelled_caught
        await trio.sleep(2)
        assert await stored(store) == b"1"
        assert desk.said == []


@in_virtual_time
async def test_those_who_wait_when_the_writer_ends_are_let_go() -> None:
    store = Spy()
    desk = await Desk(store).open()
    store.delay = 2.0
    ends: list[tuple[bool, float]] = []

    async def settle() -> None:
        ends.append((await desk.keeper.settle(), trio.current_time()))

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def run() -> None:
            with scope:
                await desk.keeper.run()

        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        desk.cell.value = 1
        nursery.start_soon(settle)
        await trio.sleep(1)
        scope.cancel()
    assert [written for written, _ in ends] == [False]
    assert ends[0][1] <= 5
    await desk.keeper.close()
    assert store.values[-1] == {"count": b"1"}


@in_virtual_time
async def test_an_end_that_is_cancelled_lets_go_of_the_store() -> None:
    store = Spy()
    desk = await Desk(store).open()
    desk.cell.value = 1
    store.delay = 3.0
    with trio.move_on_after(1) as scope:
        await desk.keeper.close()
    assert scope.cancelled_caught
    assert store.is_closed
