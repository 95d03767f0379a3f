"""A store's file between two stores, between processes, and between a caller that leaves and its thread."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from adapters import files
from adapters.stores import SqliteStore, StoreError
from core.times import Epoch
from tests.adapters.store_files import fill, kept, sqlite_store, values
from tests.adapters.token_files import in_virtual_time

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite"


# --- two stores ------------------------------------------------------------------------------------------------


async def test_two_stores_see_what_the_other_wrote_and_not_what_it_did_not(path: Path) -> None:
    one, other = sqlite_store(path), sqlite_store(path)
    assert (await one.open(), await other.open()) == ([], [])
    seen = (await one.replace({"a": b"1", "b": b"2"}))["b"]
    assert await values(other) == {"a": b"1", "b": b"2"}
    written = await other.replace({"a": b"3"})
    assert {key: stored.version for key, stored in (await one.load(after=seen)).items()} == written
    await one.close()
    await other.close()


async def test_of_two_that_set_a_value_at_once_one_succeeds_and_the_other_hears_of_it(path: Path) -> None:
    one, other = sqlite_store(path), sqlite_store(path)
    version = (await one.replace({"a": b"0"}))["a"]
    outcomes: dict[str, dict[str, int]] = {}

    async def set_it(store: SqliteStore, name: str) -> None:
        outcomes[name] = await store.compare_and_set({"a": (version, name.encode())})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(set_it, one, "one")
        nursery.start_soon(set_it, other, "other")
    winners = [name for name, written in outcomes.items() if written]
    assert len(winners) == 1
    assert await values(one) == await values(other) == {"a": winners[0].encode()}
    await one.close()
    await other.close()


async def test_what_one_set_aside_is_gone_for_the_other_which_can_set_it_anew(path: Path) -> None:
    one, other = sqlite_store(path), sqlite_store(path)
    await one.replace({"a": b"unreadable"})
    await one.load()
    await other.load()
    await one.set_aside(["a"])
    assert await values(other) == {}
    assert list(await other.compare_and_set({"a": (0, b"1")})) == ["a"]
    await one.set_aside(["a"])
    assert await values(one) == {"a": b"1"}
    await one.close()
    await other.close()


async def test_what_was_set_aside_is_in_the_file(path: Path) -> None:
    store = sqlite_store(path)
    version = (await store.replace({"account:a:/b": b"unreadable"}))["account:a:/b"]
    await store.load()
    await store.set_aside(["account:a:/b"])
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM stored").fetchall() == [
            (f"damaged:account:a:/b:{version}".encode(), version, b"unreadable")
        ]


async def test_a_new_files_versions_were_never_the_old_ones(path: Path) -> None:
    now = 1_795_355_101.0
    store = SqliteStore(str(path), lambda: Epoch(now))
    old = [(await store.replace({"a": b""}))["a"] for _ in range(100)]
    await store.close()
    path.unlink()
    now += 1.0
    new = await store.open(), await store.replace({"a": b""})
    assert new[1]["a"] > old[-1]
    # And one that is set back does not make them begin anew.
    now -= 1e6
    assert (await store.replace({"a": b""}))["a"] == new[1]["a"] + 1
    await store.close()


# --- locks -----------------------------------------------------------------------------------------------------


async def test_a_file_that_stays_locked_can_be_read_and_after_that_written(path: Path) -> None:
    await fill(path, a=b"1")
    store = sqlite_store(path, busy_timeout=0.05)
    await store.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as caught:
            await store.replace({"a": b"2"})
        assert str(caught.value) == f"{path}: another process has kept it locked"
        with pytest.raises(StoreError, match="another process has kept it locked"):
            await store.open()
        connection.execute("ROLLBACK")
        assert await store.open() == []
        connection.execute("BEGIN IMMEDIATE")
        assert await values(store) == {"a": b"1"}
        connection.execute("ROLLBACK")
    await store.replace({"a": b"3"})
    assert await values(store) == {"a": b"3"}
    await store.close()


@in_virtual_time
async def test_a_file_is_opened_by_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    lock = await files.take_lock(str(path), patience=0)
    assert lock is not None
    store = sqlite_store(path, lock_timeout=3)
    with pytest.raises(StoreError) as caught:
        await store.open()
    assert str(caught.value) == f"{path}: another process has held its lock for 3 seconds"
    assert 3 <= trio.current_time() < 3.1
    assert not path.exists()
    lock.release()
    assert await store.open() == []
    await store.close()


# --- callers that leave ----------------------------------------------------------------------------------------


async def test_a_write_that_has_begun_is_done_and_told_whoever_cancels(path: Path) -> None:
    await fill(path, a=b"1")
    store = sqlite_store(path)
    await store.open()
    outcome: list[dict[str, int]] = []
    scope = trio.CancelScope()

    async def write() -> None:
        with scope:
            outcome.append(await store.replace({"a": b"2"}))

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await wait_all_tasks_blocked()
            scope.cancel()
            await wait_all_tasks_blocked()
            assert outcome == []
            connection.execute("ROLLBACK")
    assert [list(written) for written in outcome] == [["a"]]
    assert await values(store) == {"a": b"2"}
    await store.close()


async def test_one_who_leaves_while_others_write_has_written_nothing(path: Path) -> None:
    await fill(path, a=b"1")
    store = sqlite_store(path)
    await store.open()
    scope = trio.CancelScope()

    async def write_second() -> None:
        with scope:
            await store.replace({"b": b"2"})

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.replace, {"a": b"2"})
            await wait_all_tasks_blocked()
            nursery.start_soon(write_second)
            await wait_all_tasks_blocked()
            scope.cancel()
            await wait_all_tasks_blocked()
            assert scope.cancelled_caught
            connection.execute("ROLLBACK")
    assert await values(store) == {"a": b"2"}
    await store.close()


async def test_many_tasks_use_one_store_one_after_the_other(path: Path) -> None:
    store = sqlite_store(path)
    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(store.replace, {f"{number}": b"%d" % number, "last": b"%d" % number})
    found = await values(store)
    last = found.pop("last")
    assert found == {f"{number}": b"%d" % number for number in range(50)}
    assert int(last) in range(50)
    await store.close()


async def test_what_was_asked_for_is_what_is_written_whatever_becomes_of_the_mapping(path: Path) -> None:
    store = sqlite_store(path)
    entries = {"a": b"1"}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.replace, entries)
        await wait_all_tasks_blocked()
        entries["b"] = b"2"
    assert await values(store) == {"a": b"1"}
    await store.close()


@pytest.mark.parametrize("is_open", [True, False])
async def test_a_system_without_threads_is_a_failure_that_passes(
    path: Path, monkeypatch: pytest.MonkeyPatch, is_open: bool
) -> None:
    store = sqlite_store(path)
    if is_open:
        await store.open()

    async def fails(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(trio.to_thread, "run_sync", fails)
        with pytest.raises(StoreError) as caught:
            await store.replace({"a": b"1"})
    assert str(caught.value) == f"{path}: can't start new thread"
    await store.replace({"b": b"2"})
    assert await values(store) == {"b": b"2"}
    await store.close()


# --- processes -------------------------------------------------------------------------------------------------


Run = Callable[[str, int], list[list[Any]]]


@pytest.fixture
def run(path: Path) -> Run:
    def run(mode: str, times: int) -> list[list[Any]]:
        script = str(Path(__file__).with_name("storing.py"))
        done = subprocess.run(
            [sys.executable, script, mode, str(path), str(times)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stderr.decode()) == (0, "")
        said: list[list[Any]] = json.loads(done.stdout)
        return said

    return run


async def test_two_processes_that_count_together_lose_nothing(path: Path, run: Run) -> None:
    run("count", 100)
    store = sqlite_store(path)
    assert await store.open() == []
    assert await values(store) == {"count": b"200"}
    await store.close()


async def test_of_processes_that_find_a_damaged_file_at_once_one_sets_it_aside(path: Path, run: Run) -> None:
    path.write_bytes(b"no database")
    said = run("open", 1)
    assert sorted(len(lines) for [lines] in said) == [0, 0, 0, 1]
    assert list(kept(path.parent).values()) == [b"no database"]
    store = sqlite_store(path)
    assert await store.open() == []
    assert await values(store) == {"a": b"", "b": b"", "c": b"", "d": b""}
    await store.close()


def test_a_killed_process_loses_only_what_was_not_written(run: Run) -> None:
    written = 0
    for said in run("kill", 36):
        for word, *rest in said:
            match word, rest:
                case "found", [number, lines]:
                    # What was begun when it was killed may be there, or not.
                    assert number in (written, written + 1)
                    assert lines == []
                    written = number
                case "wrote", [number]:
                    assert number == written + 1
                    written = number
    assert written >= 80
