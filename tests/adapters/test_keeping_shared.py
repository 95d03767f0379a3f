"""Two keepers on one store, stores that fail, and values that are none: nothing is lost, and each is said once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters import keeping
from adapters.accounts import Accounts
from adapters.keeping import Keeper
from adapters.stores import MemoryStore, Store
from core.health import HealthPolicy
from core.times import Epoch
from tests.adapters.test_keeping import COUNT, Desk, Spy, at_work, sqlite, stored
from tests.adapters.token_files import in_virtual_time
from tests.exchanges import provider

# --- two processes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_two_who_count_at_once_lose_no_count(tmp_path: Path, kind: str) -> None:
    shared = MemoryStore()
    stores = [shared, shared] if kind == "memory" else [sqlite(tmp_path), sqlite(tmp_path)]
    desks = [await Desk(store).open() for store in stores]

    async def count(desk: Desk) -> None:
        for _ in range(20):
            desk.cell.value += 1
            assert await desk.keeper.settle()

    async with trio.open_nursery() as nursery:
        for desk in desks:
            nursery.start_soon(count, desk)
    for desk in desks:
        await desk.keeper.settle()
    assert [desk.cell.value for desk in desks] == [40, 40]
    assert await stored(stores[0]) == b"40"
    assert [desk.said for desk in desks] == [[], []]
    for store in stores:
        await store.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["count", "settle", "fail", "damage"]))))
def test_whatever_happens_in_between_all_keepers_end_with_the_same_value(steps: list[tuple[int, str]]) -> None:
    """And with every count where no value was damaged: that may take counts of others along."""

    class Shared(Spy):
        """One store under three keepers, each with failures of its own."""

        def __init__(self, values: Spy) -> None:
            super().__init__()
            self._values, self._shared = values._values, values

        def _put(self, key: str, value: bytes) -> int:
            return self._shared._put(key, value)

    async def play() -> None:
        common = Spy()
        stores = [Shared(common) for _ in range(3)]
        desks = [await Desk(store).open() for store in stores]
        for number, what in steps:
            desk, store = desks[number], stores[number]
            match what:
                case "count":
                    desk.cell.value += 1
                case "settle":
                    await desk.keeper.settle()
                case "fail":
                    store.error = "made up"
                    assert not await desk.keeper.settle()
                    store.error = None
                case "damage" if "count" in common._values:
                    common._put("count", b"rubbish")
        for _ in range(3):
            for desk in desks:
                assert await desk.keeper.settle()
        counted = sum(what == "count" for _, what in steps)
        ends = [desk.cell.value for desk in desks]
        assert len(set(ends)) == 1, ends
        if "damage" not in {what for _, what in steps}:
            assert ends[0] == counted
        if ends[0]:
            assert common._values["count"].value == b"%d" % ends[0]

    trio.run(play)


@in_virtual_time
async def test_what_another_process_wrote_is_here_within_a_second() -> None:
    shared = MemoryStore()
    async with at_work(Desk(shared)) as reader:
        writer = await Desk(shared).open()
        writer.cell.value = 7
        await writer.keeper.settle()
        await trio.sleep(1.0)
        assert reader.cell.value == 7


async def test_where_others_are_faster_every_time_the_next_turn_goes_on() -> None:
    class Crowded(Spy):
        is_crowded = True

        async def compare_and_set(self, writes: Mapping[str, tuple[int, bytes]]) -> dict[str, int]:
            if self.is_crowded:
                present = self._values["count"].value if "count" in self._values else b"0"
                await self.replace({"count": b"%d" % (int(present) + 1)})
            return await super().compare_and_set(writes)

    store = Crowded()
    desk = await Desk(store).open()
    desk.cell.value = 100
    assert not await desk.keeper.settle(), "it is not written"
    assert len(store.values) == keeping._CONFLICTS
    store.is_crowded = False
    assert await desk.keeper.settle()
    assert await stored(store) == b"%d" % (100 + keeping._CONFLICTS)
    assert desk.said == []


async def test_one_value_that_is_behind_does_not_hold_up_the_others() -> None:
    shared = Spy()
    desk, other = await Desk(shared).open(), await Desk(shared).open()
    more = desk.keeper.cell("more", 0, COUNT)
    other.cell.value = 1
    await other.keeper.settle()
    desk.cell.value, more.value = 10, 20
    assert await desk.keeper.settle()
    assert shared.values[1:] == [{"count": b"10", "more": b"20"}, {"count": b"11"}]
    assert (desk.cell.value, more.value) == (11, 20)


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_what_a_person_did_to_an_account_in_one_process_holds_in_the_other(tmp_path: Path, kind: str) -> None:
    shared = MemoryStore()
    stores: list[Store] = [shared, shared] if kind == "memory" else [sqlite(tmp_path), sqlite(tmp_path)]
    keepers = [Keeper(store, log=pytest.fail) for store in stores]
    accounts = [
        Accounts(
            [provider("a"), provider("b")],
            policy=HealthPolicy(),
            keeper=keeper,
            tokens={},
            epoch=lambda: Epoch(0.0),
            tell=lambda *_: None,
        )
        for keeper in keepers
    ]
    for keeper in keepers:
        await keeper.open()
    await accounts[0].act("a", "disable")
    accounts[1].take(())  # the other one is at work meanwhile
    await accounts[1].act("b", "disable")
    await keepers[0].settle()
    assert [one.states() for one in accounts] == [{"a": "disabled", "b": "disabled"}] * 2
    await accounts[1].act("a", "enable")
    await keepers[0].settle()
    assert [one.states() for one in accounts] == [{"a": "healthy", "b": "disabled"}] * 2
    for store in stores:
        await store.close()


# --- stores that fail ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_store_that_fails_is_said_once_and_tried_again_and_said_when_it_works() -> None:
    store = Spy()
    async with at_work(Desk(store)) as desk:
        store.error = "the disk is full"
        for count in range(1, 11):
            desk.cell.value = count
            assert not await desk.keeper.settle()
            await trio.sleep(1)
        store.error = "it is gone"
        await trio.sleep(10)
        store.error = "the disk is full"
        await trio.sleep(10)
        store.error = None
        await trio.sleep(1)
        assert await stored(store) == b"10"
        store.error = "the disk is full"
        await trio.sleep(1)
        store.error = None
        await trio.sleep(1)
    kept = "; what changes is kept in memory until it can be written"
    assert desk.said == [
        f"/made-up: the disk is full{kept}",
        f"/made-up: it is gone{kept}",
        "the state can be written again",
        f"/made-up: the disk is full{kept}",
        "the state can be written again",
    ]


async def test_a_process_that_ends_while_the_store_fails_says_what_that_costs() -> None:
    store = Spy()
    desk = await Desk(store).open()
    desk.cell.value = 1
    store.error = "the disk is full"
    await desk.keeper.close()
    assert desk.said[1:] == ["the last changes of the state could not be written, and are lost with this process"]
    assert store.is_closed


async def test_a_process_that_ends_with_nothing_to_write_says_nothing_of_loss() -> None:
    store = Spy()
    desk = await Desk(store).open()
    store.error = "the disk is full"
    await desk.keeper.close()
    assert len(desk.said) == 1
    assert "lost" not in desk.said[0]


@pytest.mark.parametrize("beside", [(), ("-wal", "-shm")])
async def test_a_file_that_is_removed_under_a_running_process_is_written_anew(
    tmp_path: Path, beside: tuple[str, ...]
) -> None:
    store = sqlite(tmp_path)
    desk = await Desk(store).open()
    other = desk.keeper.cell("other", 0, COUNT)
    desk.cell.value, other.value = 1, 5
    await desk.keeper.settle()
    for suffix in ("", *beside):
        os.unlink(store.path + suffix)
    desk.cell.value = 2
    for _ in range(3):
        await desk.keeper.settle()
    assert await desk.keeper.settle()
    await desk.keeper.close()
    after = Desk(sqlite(tmp_path))
    kept = after.keeper.cell("other", 0, COUNT)
    await after.open()
    assert (after.cell.value, kept.value) == (2, 5)
    await after.keeper.close()


async def test_a_backup_that_is_put_back_under_a_running_process_is_taken_in(tmp_path: Path) -> None:
    store = sqlite(tmp_path)
    first = await Desk(store).open()
    first.cell.value = 1
    await first.keeper.close()
    backup = Path(store.path).read_bytes()
    desk = await Desk(store).open()
    for count in range(2, 6):
        desk.cell.value = count
        await desk.keeper.settle()
    put_back = tmp_path / "put-back"
    put_back.write_bytes(backup)
    for suffix in ("-wal", "-shm"):
        os.unlink(store.path + suffix)
    put_back.replace(store.path)
    assert not await desk.keeper.settle()
    assert await desk.keeper.settle()
    assert desk.cell.value == 1, "what was counted since the backup is gone with the file"
    desk.cell.value += 1
    assert await desk.keeper.settle()
    assert await stored(store) == b"2"
    other = await Desk(sqlite(tmp_path)).open()
    other.cell.value += 1
    await other.keeper.close()
    assert await desk.keeper.settle()
    assert desk.cell.value == 3, "versions go on from the backup's, which are lower than those that were seen"
    await desk.keeper.close()


# --- values that are none --------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda _: Spy(), sqlite])
async def test_a_damaged_value_is_set_aside_and_the_others_stay(tmp_path: Path, make: Callable[[Path], Store]) -> None:
    store = make(tmp_path)
    await store.open()
    await store.replace({"count": b"rubbish", "other": b"7", "strange": b"rubbish"})
    desk = Desk(store)
    other = desk.keeper.cell("other", 0, COUNT)
    await desk.open()
    assert (desk.cell.value, other.value) == (0, 7)
    assert desk.said == ["the stored state of count is set aside, and written anew: expected digits"]
    found = await store.load()
    assert set(found) == {"other", "strange"}
    desk.cell.value = 1
    assert await desk.keeper.settle()
    await desk.keeper.close()
    again = Desk(store)
    await again.open()
    assert (again.cell.value, again.said) == (1, [])
    await again.keeper.close()


async def test_a_value_that_is_damaged_while_it_is_used_is_written_anew_unchanged() -> None:
    store = Spy()
    desk = await Desk(store).open()
    desk.cell.value = 5
    await desk.keeper.settle()
    await store.replace({"count": b"rubbish"})
    await desk.keeper.settle()
    await desk.keeper.settle()
    assert await stored(store) == b"5"
    assert len(desk.said) == 1


async def test_a_value_that_another_process_set_aside_is_written_anew() -> None:
    store = Spy()
    desk = await Desk(store).open()
    desk.cell.value = 5
    await desk.keeper.settle()
    await store.load()
    await store.set_aside(["count"])
    desk.cell.value = 6
    assert await desk.keeper.settle()
    assert await stored(store) == b"6"
    assert desk.said == []


async def test_a_store_that_fails_to_set_something_aside_is_asked_again() -> None:
    class Stubborn(Spy):
        refusals = 1

        async def set_aside(self, keys: object) -> None:
            self.refusals -= 1
            self.error = "made up" if self.refusals == 0 else None
            await self._slowly("set aside")
            await super().set_aside(keys)  # type: ignore[arg-type]  # as it was given

    store = Stubborn()
    desk = await Desk(store).open()
    await store.replace({"count": b"rubbish"})
    assert not await desk.keeper.settle()
    store.error = None
    desk.cell.value = 1
    assert await desk.keeper.settle()
    assert await stored(store) == b"1"
