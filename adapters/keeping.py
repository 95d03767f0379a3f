"""Values that outlive the process: used from memory, written to a store by the way, shared with whoever uses it too.

A cell holds one value, which is only ever replaced whole. What changed is written together, twice a second; what must
not be lost is written at once, by `settle`. Another process's value is merged into this one's. A store that fails
costs nothing but the writing: that is said once, and tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import trio

from adapters.stores import Store, Stored, StoreError
from core.errors import StagewhisperError

T = TypeVar("T")

_INTERVAL = 0.5
"""Seconds between two writes: half of what a crash may cost."""

_PATIENCE = 5.0
"""Seconds for which a client waits for what must not be lost; a disk that hangs is not its fault."""

_CONFLICTS = 8
"""How often a write is tried that others were faster than. Each time one of them got on; the next turn goes on."""


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """How a value is written down, read, and merged: `merge(base, mine, theirs)`.

    `parse` raises StagewhisperError for what `encode` did not write.
    """

    encode: Callable[[T], bytes]
    parse: Callable[[bytes], T]
    merge: Callable[[T, T, T], T]


class Cell(Generic[T]):
    """One value. `value` is assigned a new one whenever something changed."""

    def __init__(self, key: str, start: T, codec: Codec[T]) -> None:
        self.key = key
        self.value = start
        self.version = 0
        self._codec = codec
        self._base = start  # what both this process's value and the store's go back to
        self._data: bytes | None = codec.encode(start)  # what the store has; None: it has to be written
        self._looked_at: T | None = start  # the last value that was found to be no other than that

    def unwritten(self) -> tuple[T, bytes] | None:
        """The value and its encoding, where the store has another one."""
        if self.value is self._looked_at:
            return None
        value = self.value
        data = self._codec.encode(value)
        if data == self._data:
            self._looked_at = value
            return None
        return value, data

    def was_written(self, value: T, data: bytes, version: int) -> None:
        """Take note of what the store has now."""
        self._base = self._looked_at = value
        self._data = data
        self.version = version

    def was_replaced(self, data: bytes, version: int) -> None:
        """Take in what another process wrote. Raises: StagewhisperError, and the value stays."""
        theirs = self._codec.parse(data)
        self.value = self._codec.merge(self._base, self.value, theirs)
        self.was_written(theirs, data, version)

    def was_lost(self) -> None:
        """Take note that the store has no value any more: this one is to be written."""
        self.version = 0
        self._data = self._looked_at = None


class _Round:
    """One turn of the writer, for those who wait for it. `is_written` is true once all is in the store."""

    def __init__(self) -> None:
        self.over = trio.Event()
        self.is_written = False


class Keeper:
    """All cells of a process, and the store behind them. `log` takes a line for whoever runs the gateway."""

    def __init__(self, store: Store, *, log: Callable[[str], None]) -> None:
        self._store = store
        self._log = log
        self._cells: dict[str, Cell[Any]] = {}
        self._seen = 0
        self._is_known = False  # whether the cells' versions are the store's
        self._lock = trio.Lock()
        self._troubles: set[str] = set()  # what the log has heard since the store worked
        self._is_open = False
        self._is_running = False
        self._round = _Round()  # the one that has not begun yet
        self._is_asked = trio.Event()

    def cell(self, key: str, start: T, codec: Codec[T]) -> Cell[T]:
        """A new cell. What the store has under its key takes the place of `start` with the next `open`."""
        cell = self._cells[key] = Cell(key, start, codec)
        return cell

    async def open(self) -> None:
        """Take the values from the store.

        Raises:
            StoreError: it cannot be used.
        """
        if self._is_open:
            return
        for line in await self._store.open():
            self._log(line)
        async with self._lock:
            await self._read_all()
        self._is_open = True

    async def run(self) -> None:
        """Write and read every now and then, and whenever `settle` asks for it, until it is cancelled."""
        self._is_running = True
        try:
            while True:
                with trio.move_on_after(_INTERVAL):
                    await self._is_asked.wait()
                self._is_asked = trio.Event()
                present, self._round = self._round, _Round()
                try:
                    present.is_written = await self._sync()
                finally:
                    present.over.set()
        finally:
            self._is_running = False

    async def settle(self) -> bool:
        """Write what is not written yet, and wait for that, but not for ever; whether it is written.

        The writer does it, where one runs: whoever waits for a thread himself cannot stop waiting, and those who
        come while it is busy have their changes written together.
        """
        with trio.move_on_after(_PATIENCE):
            if not self._is_running:
                return await self._sync()
            coming = self._round
            self._is_asked.set()
            await coming.over.wait()
            return coming.is_written
        self._complain(f"the state could not be written within {_PATIENCE:g} seconds")
        return False

    async def close(self) -> None:
        """Write all that is not written yet, and let go of the store."""
        if not self._is_open:
            return
        try:
            if not await self._sync() and any(cell.unwritten() is not None for cell in self._cells.values()):
                self._log("the last changes of the state could not be written, and are lost with this process")
        finally:
            self._is_open = False
            with trio.move_on_after(_PATIENCE, shield=True):
                await self._store.close()

    async def _sync(self) -> bool:
        async with self._lock:
            if not self._is_open:
                return False
            try:
                is_written = await self._write_all()
                await self._read()
            except StoreError as error:
                self._is_known = False  # as the store says: what is in it then is unknown
                self._complain(str(error))
                return False
            if self._troubles:
                self._log("the state can be written again")
                self._troubles.clear()
            return is_written

    def _complain(self, trouble: str) -> None:
        if trouble not in self._troubles:
            self._log(f"{trouble}; what changes is kept in memory until it can be written")
        self._troubles.add(trouble)

    async def _write_all(self) -> bool:
        """Write what changed; False where other processes were faster every time."""
        if not self._is_known:
            await self._read_all()
        for _ in range(_CONFLICTS):
            if await self._write():
                return True
            await self._read_all()
        return False

    async def _write(self) -> bool:
        """Write what changed; False where another process had changed some of it before."""
        changed = {key: found for key, cell in self._cells.items() if (found := cell.unwritten()) is not None}
        if not changed:
            return True
        writes = {key: (self._cells[key].version, data) for key, (_, data) in changed.items()}
        written = await self._store.compare_and_set(writes)
        for key, version in written.items():
            self._cells[key].was_written(*changed[key], version)
        return len(written) == len(changed)

    async def _read(self) -> None:
        """Take in what other processes wrote since the last time."""
        await self._take_in(await self._store.load(after=self._seen))

    async def _read_all(self) -> None:
        """Take in all that is there, and note what is not: a value may have been set aside, or the file be new."""
        self._seen = 0  # where a backup was put back, its versions are lower than what was seen
        found = await self._store.load()
        for key, cell in self._cells.items():
            if cell.version and key not in found:
                cell.was_lost()
        await self._take_in(found)
        self._is_known = True

    async def _take_in(self, found: Mapping[str, Stored]) -> None:
        damaged = []
        for key, stored in found.items():
            self._seen = max(self._seen, stored.version)
            cell = self._cells.get(key)
            if cell is None or stored.version == cell.version:
                continue
            try:
                cell.was_replaced(stored.value, stored.version)
            except StagewhisperError as error:
                self._log(f"the stored state of {key} is set aside, and written anew: {error}")
                damaged.append(key)
                cell.was_lost()
        if damaged:
            await self._store.set_aside(damaged)
