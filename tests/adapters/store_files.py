"""What the tests of stores share: files of stores, good and spoiled."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from adapters.stores import SqliteStore, Store
from core.times import Epoch

DATE = Epoch(1_795_355_101.0)
STAMP = "20261122T134501Z"


def sqlite_store(path: Path, *, busy_timeout: float = 5.0, lock_timeout: float = 30.0) -> SqliteStore:
    return SqliteStore(str(path), lambda: DATE, busy_timeout=busy_timeout, lock_timeout=lock_timeout)


async def values(store: Store) -> dict[str, bytes]:
    return {key: stored.value for key, stored in (await store.load()).items()}


async def fill(path: Path, **entries: bytes) -> None:
    """A file with these values, that nobody has open."""
    store = sqlite_store(path)
    assert await store.open() == []
    await store.replace(entries)
    await store.close()


async def crashed(path: Path, folder: Path, old: bytes = b"1") -> None:
    """A file whose log was not taken in, as a crash leaves it: `old` is in the file itself, `new` in the log."""
    source = folder / "running.sqlite"
    await fill(source, old=old)
    store = sqlite_store(source)
    await store.open()
    await store.replace({"new": b"2"})
    for suffix in ("", "-wal"):
        shutil.copy(f"{source}{suffix}", f"{path}{suffix}")
    await store.close()


def execute(path: Path, *statements: str) -> None:
    """Do something to a file that only another program would do."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement).fetchall()


def kept(folder: Path) -> dict[str, bytes]:
    """What was set aside in a folder, but for logs in which there is nothing, and their indices."""
    names = [name for name in sorted(os.listdir(folder)) if ".damaged-" in name and not name.endswith("-shm")]
    return {name: data for name in names if (data := (folder / name).read_bytes()) or not name.endswith("-wal")}
