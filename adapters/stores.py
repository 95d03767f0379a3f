"""Where values live that outlast a request: a small interface, in memory, or in an SQLite file that processes share.

A value is bytes that only its owner can read. It stands under a short key, and is only ever replaced whole, so that
a store needs no more than to tell one state of it from the next: by versions, which are unique in the store and grow.
Decides who may use the file when; what is in the file, `adapters.database` knows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import trio

from adapters import files
from adapters.database import Database, DatabaseError, encode_key, open_database, prepare
from core.errors import StagewhisperError
from core.times import Epoch

T = TypeVar("T")

_ASIDE = "damaged:"
"""What the keys of values begin with that were set aside. No other key does."""


class Stored(NamedTuple):
    """A value as it is in a store."""

    version: int
    value: bytes


class StoreError(StagewhisperError):
    """A store cannot be used, now or at all. One line: which, and why.

    What is in the store then is unknown: a write was done whole or not at all, and the next call may find a new file
    in the place of one that was damaged or removed. So whoever goes on takes no version for known, loads everything
    (`after=0`), and writes what is missing.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Store(Protocol):
    """Values under keys. Each call is done whole or not at all; one that was cancelled and returns was done.

    Raises:
        StoreError: any call may.
        ValueError: a key begins with `damaged:`, or is no text that UTF-8 can hold.
    """

    async def open(self) -> list[str]:
        """Make it ready. Gives back lines for the log: what was found damaged, and where it is kept."""

    async def load(self, after: int = 0) -> dict[str, Stored]:
        """Every value whose version is above `after`, in the order of their versions."""

    async def compare_and_set(self, writes: Mapping[str, tuple[int, bytes]]) -> dict[str, int]:
        """Replace each value whose version is still the expected one (0: it is not there), all at once.

        Gives back the new versions of those that were replaced. They are on the disk by then.
        """

    async def replace(self, values: Mapping[str, bytes]) -> dict[str, int]:
        """Replace values whatever they were, all at once. Gives back their new versions, on the disk by then."""

    async def set_aside(self, keys: Iterable[str]) -> None:
        """Keep values, as `load` gave them back last, where it does not give them back any more.

        For what cannot be read. What somebody else has put in its place meanwhile stays.
        """

    async def close(self) -> None:
        """Let go of it. All calls but `open` are refused from then on."""


def _check(keys: Iterable[str]) -> None:
    """Raises: ValueError."""
    for key in keys:
        encode_key(key)
        if key.startswith(_ASIDE):
            raise ValueError(f"the key {key[:80]!r} begins with {_ASIDE!r}")


def _aside(key: str, version: int) -> str:
    return f"{_ASIDE}{key}:{version}"


# --- in memory -------------------------------------------------------------------------------------------------


class MemoryStore:
    """A store that lasts as long as its process, which shares it with no other."""

    def __init__(self) -> None:
        self._values: dict[str, Stored] = {}
        self._last = 0
        self._loaded = 0  # the highest version that was given back by `load`
        self._is_closed = False

    async def open(self) -> list[str]:
        """Make it ready."""
        await trio.lowlevel.checkpoint()
        self._is_closed = False
        return []

    async def load(self, after: int = 0) -> dict[str, Stored]:
        """Every value whose version is above `after`."""
        await self._turn()
        found = sorted((each for each in self._values.items() if each[1].version > after), key=lambda each: each[1])
        self._loaded = max([self._loaded, *(stored.version for _, stored in found)])
        return {key: stored for key, stored in found if not key.startswith(_ASIDE)}

    async def compare_and_set(self, writes: Mapping[str, tuple[int, bytes]]) -> dict[str, int]:
        """Replace each value whose version is still the expected one."""
        _check(writes)
        await self._turn()
        return {
            key: self._put(key, value)
            for key, (expected, value) in writes.items()
            if expected == (self._values[key].version if key in self._values else 0)
        }

    async def replace(self, values: Mapping[str, bytes]) -> dict[str, int]:
        """Replace values whatever they were."""
        _check(values)
        await self._turn()
        return {key: self._put(key, value) for key, value in values.items()}

    async def set_aside(self, keys: Iterable[str]) -> None:
        """Keep values where `load` does not give them back."""
        keys = list(keys)
        _check(keys)
        await self._turn()
        for key in keys:
            if key in self._values and self._values[key].version <= self._loaded:
                stored = self._values.pop(key)
                self._values[_aside(key, stored.version)] = stored

    async def close(self) -> None:
        """Let go of it. The values are there again after the next `open`."""
        self._is_closed = True

    async def _turn(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._is_closed:
            raise StoreError("the store in memory", "it is closed")

    def _put(self, key: str, value: bytes) -> int:
        self._last += 1
        self._values[key] = Stored(self._last, value)
        return self._last


# --- in a file -------------------------------------------------------------------------------------------------


class SqliteStore:
    """A store in a file, which all processes share that open it. Timeouts are in seconds.

    What is no store of ours in `path` is renamed, and a new one is made in its place. `epoch` dates such names, and
    versions: those of a new file are not the old one's.
    """

    def __init__(
        self, path: str, epoch: Callable[[], Epoch], *, busy_timeout: float = 5.0, lock_timeout: float = 30.0
    ) -> None:
        self.path = os.path.expanduser(path)
        self._epoch = epoch
        self._busy_timeout = busy_timeout
        self._lock_timeout = lock_timeout
        self._turn = trio.Lock()
        # A thread of its own: all of the others' may be waiting for names to be resolved.
        self._thread = trio.CapacityLimiter(1)
        self._database: Database | None = None
        self._loaded = 0  # the highest version that was given back by `load`
        self._is_closed = False

    async def open(self) -> list[str]:
        """Make it ready: the folder, the file, its checks."""
        async with self._turn:
            self._is_closed = False
            if self._database is not None:
                return []
            return [f"{self.path}: {line}" for line in await self._open()]

    async def load(self, after: int = 0) -> dict[str, Stored]:
        """Every value whose version is above `after`."""
        found = await self._call(lambda database: database.load(after))
        self._loaded = max([self._loaded, *(version for version, _ in found.values())])
        return {key: Stored(*row) for key, row in found.items() if not key.startswith(_ASIDE)}

    async def compare_and_set(self, writes: Mapping[str, tuple[int, bytes]]) -> dict[str, int]:
        """Replace each value whose version is still the expected one."""
        return await self._write(dict(writes))

    async def replace(self, values: Mapping[str, bytes]) -> dict[str, int]:
        """Replace values whatever they were."""
        return await self._write({key: (None, value) for key, value in values.items()})

    async def _write(self, writes: Mapping[str, tuple[int | None, bytes]]) -> dict[str, int]:
        _check(writes)
        # As milliseconds, versions are ahead of the clock only where over a thousand values a second are replaced.
        start = int(self._epoch().seconds * 1000)
        return await self._call(lambda database: database.write(writes, start))

    async def set_aside(self, keys: Iterable[str]) -> None:
        """Keep values where `load` does not give them back."""
        keys = list(keys)
        _check(keys)
        loaded = self._loaded
        await self._call(lambda database: database.rename(keys, loaded, _aside))

    async def close(self) -> None:
        """Let go of the file, once the call that is under way is done."""
        with trio.CancelScope(shield=True):
            async with self._turn:
                self._is_closed = True
                database, self._database = self._database, None
                if database is not None:
                    await self._in_thread(database.close)

    async def _call(self, work: Callable[[Database], T]) -> T:
        """What `work` gives back, alone on the file, which is opened again where it had to be let go of."""
        async with self._turn:
            if self._is_closed:
                raise StoreError(self.path, "it is closed")
            if self._database is None and (lines := await self._open()):
                # Nobody takes lines for the log here, and whoever called has to know that what was there is gone.
                raise StoreError(self.path, "; ".join(lines))
            database = self._database
            assert database is not None
            try:
                return await self._in_thread(partial(work, database))
            except StoreError:
                self._database = None
                database.close()  # it is closed already, unless there was no thread
                raise

    async def _open(self) -> list[str]:
        """Open the file under its lock. Gives back what was found wrong with it."""
        try:
            prepare(self.path)
            lock = await files.take_lock(self.path, patience=self._lock_timeout)
        except (DatabaseError, OSError, ValueError) as error:
            raise StoreError(self.path, files.explain(error)) from None
        if lock is None:
            raise StoreError(self.path, f"another process has held its lock for {self._lock_timeout:g} seconds")
        try:
            opening = partial(open_database, self.path, now=self._epoch(), busy_timeout=self._busy_timeout)
            self._database, lines = await self._in_thread(opening)
            return lines
        finally:
            lock.release()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run it in a thread.

        Cancelled before it began, it is not done. Later it is waited for, and its result is given back: a file that a
        task has left to its thread would be used by two, and nobody would know whether something was written. It
        takes as long as the disk does, and for each other process that writes no longer than `busy_timeout`.
        """
        try:
            return await trio.to_thread.run_sync(work, limiter=self._thread)
        except (DatabaseError, RuntimeError) as error:  # the latter where the system has no thread for us
            raise StoreError(self.path, str(error)) from None
