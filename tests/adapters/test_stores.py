"""What every store does: one suite for the one in memory and the one in a file, and both against a dictionary."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from adapters.stores import MemoryStore, SqliteStore, Store, Stored, StoreError
from tests.adapters.store_files import DATE, sqlite_store, values


def in_memory(_: Path) -> Store:
    return MemoryStore()


def in_a_file(folder: Path) -> Store:
    return sqlite_store(folder / "state.sqlite")


@pytest.fixture(params=[in_memory, in_a_file])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store: Store = request.param(tmp_path)
    assert await store.open() == []
    yield store
    await store.close()


async def test_a_new_store_is_empty(store: Store) -> None:
    assert await store.load() == {}


@pytest.mark.parametrize(
    "key", ["cursor", "account:team-account1:/path/token.json", "", "k\0\n'\"", "é", "\udcff", "damaged"]
)
@pytest.mark.parametrize("value", [b"", b"{}", b"\0\xff", bytes(range(256)) * 5000])
async def test_any_value_is_found_under_any_key(store: Store, key: str, value: bytes) -> None:
    written = await store.replace({key: value})
    assert await store.load() == {key: Stored(written[key], value)}


async def test_a_value_replaces_the_one_that_was_there(store: Store) -> None:
    first = await store.replace({"one": b"1", "two": b"2"})
    second = await store.replace({"one": b"3"})
    assert await store.load() == {"two": Stored(first["two"], b"2"), "one": Stored(second["one"], b"3")}


async def test_versions_are_unique_and_grow(store: Store) -> None:
    versions = []
    for _ in range(3):
        versions += list((await store.replace({"one": b"", "two": b""})).values())
        versions += list((await store.compare_and_set({"one": (versions[-2], b""), "three": (9, b"")})).values())
    assert len(versions) == 9
    assert versions == sorted(set(versions))
    assert versions[0] > 0


async def test_loading_after_a_version_gives_what_came_later_in_its_order(store: Store) -> None:
    await store.replace({"one": b"1", "two": b"2", "three": b"3"})
    await store.replace({"one": b"4"})
    found = await store.load()
    assert list(found) == ["two", "three", "one"]
    assert list(await store.load(after=found["two"].version)) == ["three", "one"]
    assert await store.load(after=found["one"].version) == {}


async def test_a_value_is_set_where_its_version_is_the_expected_one(store: Store) -> None:
    first = await store.compare_and_set({"one": (0, b"1")})
    second = await store.compare_and_set({"one": (first["one"], b"2")})
    assert await store.load() == {"one": Stored(second["one"], b"2")}


async def test_a_value_is_not_set_where_its_version_is_another(store: Store) -> None:
    before = await store.replace({"one": b"1"})
    writes = {"one": (before["one"] + 1, b"a"), "two": (before["one"], b"b"), "three": (0, b"c")}
    assert list(await store.compare_and_set(writes)) == ["three"]
    assert await store.compare_and_set({"one": (0, b"d"), "three": (-1, b"d")}) == {}
    assert await values(store) == {"one": b"1", "three": b"c"}


async def test_writing_nothing_writes_nothing(store: Store) -> None:
    assert (await store.compare_and_set({}), await store.replace({})) == ({}, {})
    assert await store.load() == {}


async def test_a_value_that_was_set_aside_is_not_given_back_and_its_key_is_free(store: Store) -> None:
    await store.replace({"one": b"unreadable", "two": b"2"})
    found = await store.load()
    await store.set_aside(iter(["one", "unknown"]))
    assert await store.load() == {"two": found["two"]}
    written = await store.compare_and_set({"one": (0, b"1")})
    assert written["one"] > max(stored.version for stored in found.values())
    assert await values(store) == {"two": b"2", "one": b"1"}
    await store.load()
    await store.set_aside(["one"])
    assert await values(store) == {"two": b"2"}


async def test_a_value_that_was_never_loaded_is_not_set_aside(store: Store) -> None:
    before = await store.replace({"one": b"unreadable"})
    await store.load()
    await store.replace({"one": b"readable"})
    await store.load(after=before["one"] + 10**9)
    await store.set_aside(["one"])
    assert await values(store) == {"one": b"readable"}


@pytest.mark.parametrize("key", ["damaged:", "damaged:one:1", "\ud800"])
async def test_a_key_that_no_value_can_have_is_refused(store: Store, key: str) -> None:
    problem = "surrogates not allowed" if key == "\ud800" else f"the key {key!r} begins with 'damaged:'"
    with pytest.raises(ValueError, match=problem):
        await store.replace({"one": b"1", key: b""})
    with pytest.raises(ValueError, match=problem):
        await store.compare_and_set({"one": (0, b"1"), key: (0, b"")})
    with pytest.raises(ValueError, match=problem):
        await store.set_aside(["one", key])
    assert await store.load() == {}


async def test_a_closed_store_is_refused_until_it_is_opened(store: Store) -> None:
    written = await store.replace({"one": b"1"})
    await store.close()
    await store.close()
    for use in (store.load(), store.replace({}), store.compare_and_set({}), store.set_aside([])):
        with pytest.raises(StoreError, match="it is closed"):
            await use
    assert await store.open() == []
    assert await store.open() == []
    assert await store.load() == {"one": Stored(written["one"], b"1")}


async def test_one_who_was_cancelled_before_has_done_nothing(store: Store) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.replace({"one": b"1"})
    assert scope.cancelled_caught
    assert await store.load() == {}


async def test_a_cancelled_task_can_close_it(store: Store) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.close()
    with pytest.raises(StoreError, match="it is closed"):
        await store.load()


# --- against a dictionary --------------------------------------------------------------------------------------

KEYS = st.sampled_from(["one", "two", "account:team:/x", "é", "\udc80"])
VALUES = st.binary(max_size=20)


class Stores(RuleBasedStateMachine):
    """Both stores, and two on one file, beside a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "state.sqlite"
        self.memory = MemoryStore()
        self.file = self.opened()
        self.other = self.opened()
        self.model: dict[str, bytes] = {}

    def opened(self) -> SqliteStore:
        store = SqliteStore(str(self.path), lambda: DATE)
        assert trio.run(store.open) == []
        return store

    def written(self) -> list[Store]:
        return [self.memory, self.file]

    def teardown(self) -> None:
        trio.run(self.file.close)
        trio.run(self.other.close)
        shutil.rmtree(self.folder)

    @rule(entries=st.dictionaries(KEYS, VALUES))
    def replace(self, entries: dict[str, bytes]) -> None:
        for store in self.written():
            assert set(trio.run(store.replace, entries)) == set(entries)
        self.model |= entries

    @rule(entries=st.dictionaries(KEYS, st.tuples(st.sampled_from(["right", "none", "old", "new"]), VALUES)))
    def compare_and_set(self, entries: dict[str, tuple[str, bytes]]) -> None:
        expected = {
            key
            for key, (which, _) in entries.items()
            if which == "right" or (which == "none" and key not in self.model)
        }
        for store in self.written():
            found = trio.run(store.load)
            writes = {}
            for key, (which, value) in entries.items():
                version = found[key].version if key in found else 0
                offset = {"right": 0, "none": -version, "old": -1, "new": 1}[which]
                writes[key] = (version + offset, value)
            assert set(trio.run(store.compare_and_set, writes)) == expected
        self.model |= {key: entries[key][1] for key in expected}

    @rule(keys=st.sets(KEYS))
    def set_aside(self, keys: set[str]) -> None:
        for store in self.written():
            trio.run(store.load)
            trio.run(store.set_aside, keys)
        for key in keys:
            self.model.pop(key, None)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def load_after(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.model) - 1))
        orders = []
        for store in self.written():
            found = trio.run(store.load)
            version = list(found.values())[place].version
            assert list(trio.run(store.load, version)) == list(found)[place + 1 :]
            orders.append(list(found))
        assert orders[0] == orders[1]

    @rule()
    def take_turns(self) -> None:
        self.file, self.other = self.other, self.file

    @rule()
    def restart(self) -> None:
        trio.run(self.file.close)
        self.file = self.opened()

    @invariant()
    def all_have_the_same(self) -> None:
        for store in [*self.written(), self.other]:
            assert trio.run(values, store) == self.model


TestStores = Stores.TestCase
TestStores.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
