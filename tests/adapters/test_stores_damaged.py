"""Files that are no store of ours, or not any more: kept as they are under another name, and begun anew."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters import database
from adapters.stores import SqliteStore, StoreError
from tests.adapters.store_files import STAMP, crashed, execute, fill, kept, sqlite_store, values

OURS = f"PRAGMA application_id = {0x53745768}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "state.sqlite"


async def check_it_works(store: SqliteStore) -> None:
    await store.replace({"after": b"1"})
    assert await values(store) == {"after": b"1"}
    await store.close()
    assert await store.open() == []
    assert await values(store) == {"after": b"1"}
    await store.close()


def change(path: Path, place: int, data: bytes) -> None:
    whole = bytearray(path.read_bytes())
    whole[place : place + len(data)] = data
    path.write_bytes(whole)


def cut(path: Path, length: int) -> None:
    os.truncate(path, length)


def misspell_in_the_index(path: Path) -> None:
    """Change a key where it is looked up, and not where it is."""
    places = [match.start() for match in re.finditer(b"account:mine", path.read_bytes())]
    assert len(places) == 2
    change(path, places[1], b"account:MINE")


def misspell_a_table(path: Path) -> None:
    """Make the schema wrong in a way that is quoted by SQLite, and is no text."""
    whole = path.read_bytes()
    change(path, whole.index(b"tablestoredstored") + len("table"), b"\xff\xfe\xff\xfe\xff\xfe")


def rewrite(*statements: str) -> Callable[[Path], None]:
    return lambda path: execute(path, *statements)


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_text("no database, but somebody's notes"), "damaged: file is not a database"),
    "zeros": (lambda path: path.write_bytes(bytes(9000)), "damaged: file is not a database"),
    "cut in its header": (lambda path: cut(path, 50), "damaged: "),
    "cut after its header": (lambda path: cut(path, 100), "damaged: "),
    "cut between pages": (lambda path: cut(path, 8192), "damaged: database disk image is malformed"),
    "cut in a page": (lambda path: cut(path, 10_000), "damaged: "),
    "a page of noise": (lambda path: change(path, 4096, b"\xa5" * 4096), "damaged: "),
    "an index that leads nowhere": (misspell_in_the_index, "damaged: row 1 missing from index sqlite_autoindex"),
    "a schema that is no text": (misspell_a_table, "damaged: what SQLite quotes of it is no text"),
    "a format of the future": (lambda path: change(path, 18, b"\3"), "damaged: attempt to write a readonly database"),
    "another's format": (lambda path: change(path, 47, b"\x09"), "damaged: unsupported file format"),
    "a value that is none": (
        rewrite("PRAGMA ignore_check_constraints = ON", "UPDATE stored SET value = 'text'"),
        "damaged: CHECK constraint failed in stored",
    ),
    "another program's": (rewrite("PRAGMA application_id = 252006673"), "another program's (application id 252006673)"),
    "nobody's with tables": (
        rewrite("DROP TABLE stored", "PRAGMA application_id = 0", "CREATE TABLE cookies (name)"),
        "another program's (application id 0)",
    ),
    "nobody's with a version": (
        rewrite("DROP TABLE stored", "PRAGMA application_id = 0"),
        "another program's (application id 0)",
    ),
    "ours with another table": (
        rewrite("CREATE TABLE cookies (name)"),
        "its tables are not those that are known here (schema 1)",
    ),
    "ours with a trigger": (
        rewrite("CREATE TRIGGER t AFTER INSERT ON stored BEGIN DELETE FROM stored; END"),
        "its tables are not those that are known here (schema 1)",
    ),
    "ours without a table": (rewrite("DROP TABLE stored"), "its tables are not those that are known here (schema 1)"),
    "a newer version's": (
        rewrite("PRAGMA user_version = 2"),
        "it is a newer version's (schema 2, and 1 is known here)",
    ),
    "of a version before all": (
        rewrite("PRAGMA user_version = -1"),
        "its tables are not those that are known here (schema -1)",
    ),
}


@pytest.mark.parametrize(("spoil", "problem"), SPOILED.values(), ids=SPOILED)
async def test_what_is_no_store_is_kept_as_it_is_and_begun_anew(
    path: Path, spoil: Callable[[Path], object], problem: str
) -> None:
    await fill(path, **{"account:mine": bytes(20_000)})
    spoil(path)
    before = path.read_bytes()
    store = sqlite_store(path)
    [line] = await store.open()
    aside = f"state.sqlite.damaged-{STAMP}"
    assert line.startswith((f"{path}: it is ", f"{path}: its "))
    assert problem in line
    assert line.endswith(f"; it is kept as {path.parent / aside}, and a new one is used")
    assert line.isprintable()
    assert kept(path.parent) == {aside: before}
    await check_it_works(store)


@pytest.mark.parametrize("make", [lambda path: path.touch(), lambda path: execute(path, "VACUUM"), lambda _: None])
async def test_an_empty_file_is_a_new_one(path: Path, make: Callable[[Path], object]) -> None:
    path.parent.mkdir()
    make(path)
    store = sqlite_store(path)
    assert await store.open() == []
    assert kept(path.parent) == {}
    await check_it_works(store)


async def test_two_that_are_damaged_in_one_second_are_both_kept(path: Path) -> None:
    path.parent.mkdir()
    store = sqlite_store(path)
    lines = []
    for number in range(3):
        path.write_bytes(b"no database: %d" % number)
        lines += await store.open()
        await store.close()
    names = [f"state.sqlite.damaged-{STAMP}{number}" for number in ("", "-2", "-3")]
    assert [line.partition("; ")[2] for line in lines] == [
        f"it is kept as {path.parent / name}, and a new one is used" for name in names
    ]
    assert kept(path.parent) == {name: b"no database: %d" % number for number, name in enumerate(names)}


async def test_what_a_crash_left_in_the_log_is_there_again(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    await crashed(path, tmp_path)
    store = sqlite_store(path)
    assert await store.open() == []
    assert await values(store) == {"old": b"1", "new": b"2"}
    assert kept(path.parent) == {}
    await store.close()


async def test_a_log_that_is_none_is_kept_and_the_file_is_used_without_it(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    await crashed(path, tmp_path)
    log = Path(f"{path}-wal")
    log.write_bytes(b"noise" * 1000)
    store = sqlite_store(path)
    assert await store.open() == [
        f"{path}: its write-ahead log is damaged, what was written last may be lost;"
        f" the log is kept as {path}.damaged-{STAMP}-wal"
    ]
    assert await values(store) == {"old": b"1"}
    assert kept(path.parent) == {f"state.sqlite.damaged-{STAMP}-wal": b"noise" * 1000}
    assert Path(f"{path}.damaged-{STAMP}-wal").stat().st_mode & 0o777 == 0o600
    await store.close()


@pytest.mark.parametrize("length", [None, 0])
async def test_a_log_without_its_file_is_kept(path: Path, tmp_path: Path, length: int | None) -> None:
    path.parent.mkdir()
    await crashed(path, tmp_path)
    log = Path(f"{path}-wal").read_bytes()
    path.unlink() if length is None else cut(path, length)
    store = sqlite_store(path)
    [line] = await store.open()
    assert "it is gone or empty, and its write-ahead log is not; it is kept as" in line
    assert kept(path.parent)[f"state.sqlite.damaged-{STAMP}-wal"] == log
    await check_it_works(store)


async def test_a_log_that_does_not_fit_its_file_is_kept_beside_it_and_not_written_into_it(
    path: Path, tmp_path: Path
) -> None:
    path.parent.mkdir()
    await crashed(path, tmp_path, old=bytes(500_000))
    # A backup was put back, and the log of what it replaced is there still.
    await fill(tmp_path / "backup.sqlite", **{f"{number}": bytes(500) for number in range(200)})
    backup = (tmp_path / "backup.sqlite").read_bytes()
    log = Path(f"{path}-wal").read_bytes()
    path.write_bytes(backup)
    store = sqlite_store(path)
    [line] = await store.open()
    assert "it is damaged: " in line
    assert kept(path.parent) == {
        f"state.sqlite.damaged-{STAMP}": backup,
        f"state.sqlite.damaged-{STAMP}-wal": log,
    }
    await check_it_works(store)


async def test_what_cannot_be_renamed_stays_and_is_not_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database")

    def fails(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/a/path")

    store = sqlite_store(path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", fails)
        with pytest.raises(StoreError) as caught:
            await store.open()
    assert str(caught.value) == (
        f"{path}: it is damaged: file is not a database; and it cannot be renamed: Permission denied"
    )
    assert path.read_bytes() == b"no database"
    assert len(await store.open()) == 1
    await check_it_works(store)


async def test_a_new_file_that_is_no_better_ends_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = sqlite_store(path)
    with monkeypatch.context() as patched:
        patched.setattr(database, "_settle", lambda _: "it is made up")
        with pytest.raises(StoreError, match=re.escape("; then: it is made up; it is kept as ")):
            await store.open()
    assert await store.open() == []
    await check_it_works(store)


# --- while it is used ------------------------------------------------------------------------------------------


async def test_damage_that_shows_while_it_is_used_costs_that_call_and_is_then_told(path: Path) -> None:
    await fill(path, **{f"{number}": bytes(100_000) for number in range(40)})
    store = sqlite_store(path)
    await store.open()
    change(path, 4096, b"\xa5" * (path.stat().st_size - 4096))
    with pytest.raises(StoreError) as caught:
        await store.load()
    assert str(caught.value) == f"{path}: database disk image is malformed"
    with pytest.raises(StoreError, match=r"it is damaged: .*; it is kept as .*, and a new one is used"):
        await store.compare_and_set({"1": (1, b"")})
    assert await store.load() == {}
    await check_it_works(store)


async def test_a_write_that_fails_leaves_all_values_as_they_were(path: Path) -> None:
    store = sqlite_store(path)
    before = await store.replace({"a": b"1", "b": b"2"})
    with pytest.raises(StoreError, match="CHECK constraint failed"):
        await store.replace({"a": b"3", "b": "text"})  # type: ignore[dict-item]  # as no caller should
    assert {key: stored.version for key, stored in (await store.load()).items()} == before
    await store.close()
