"""Files that are only ever replaced whole, journals of what is not in them yet, and locks between processes.

All of it is quick, but for what waits for the disk and belongs into a thread (`in_thread`): `replace_file` and
`Journal.make_lasting`. What is in the files is for others to know.
"""

from __future__ import annotations

import base64
import errno
import os
import stat
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeAlias, TypeVar

import trio

T = TypeVar("T")

Stamp: TypeAlias = tuple[int, int, int]
"""What tells one content of a file from the next without reading it: time of change, size, inode."""

_LOCK_POLL = 0.05  # in seconds; what is done under a lock takes a few tenths of one
_PRIVATE = 0o600
# Windows has no links to be fooled by in a folder that is the user's own, and translates line ends unless told.
_EXACT: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_AT_ONCE: int = getattr(os, "O_NONBLOCK", 0)  # a pipe would be waited for; files do not care


def explain(error: Exception) -> str:
    """Why a file operation failed, in the system's words, without the path, which the caller knows better."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class InThread(Protocol):
    """Runs blocking work beside the event loop. When cancelled it stops waiting; the work goes on by itself."""

    async def __call__(self, work: Callable[[], T], /) -> T: ...


async def in_thread(work: Callable[[], T], /) -> T:
    """Run it in one of trio's threads."""
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)


# --- reading and replacing -------------------------------------------------------------------------------------


def has_stamp(path: str, stamp: Stamp) -> bool:
    """Whether a file is there, links followed, and as it was at that stamp."""
    try:
        return _stamp(os.stat(path)) == stamp
    except (OSError, ValueError):
        return False


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino


def read_file(path: str, *, max_bytes: int) -> tuple[Stamp, bytes]:
    """A regular file's content, and a stamp that is not newer than it.

    Raises:
        OSError, ValueError: it cannot be read, is no regular file, or is larger than that.
    """
    # Opening a pipe would wait for its other end, so it is looked at first.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    with open(path, "rb") as file:
        stamp = _stamp(os.fstat(file.fileno()))
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"larger than {max_bytes} bytes")
    return stamp, data


def replace_file(path: str, data: bytes) -> Stamp:
    """Put `data` in the place of a file, readable by its owner only; a link stays, and what it leads to is replaced.

    At every moment the file is the old one or the new one, whole, whatever ends this process or its machine. Only
    one process may do this at a time: the new file's name until then is always the same, so that what a crash
    leaves behind is removed by the next try.

    Raises:
        OSError: it could not be done, and the old file is there as it was.
    """
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name}.stagewhisper-new")
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _EXACT, _PRIVATE)
    try:
        with open(descriptor, "wb") as file:
            _keep_owner(descriptor, target)
            file.write(data)
            file.flush()
            # Without it, the rename may reach the disk before the data: after a power cut the file would be empty.
            os.fsync(descriptor)
            stamp = _stamp(os.fstat(descriptor))
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)
    return stamp


def _keep_owner(descriptor: int, target: str) -> None:
    """Give the new file the old one's owner: run by root, it would else be taken from whoever signed in."""
    if sys.platform != "win32":
        with suppress(OSError):
            old = os.stat(target)
            if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, old.st_uid, old.st_gid)


def _sync_folder(folder: str) -> None:
    """Make a rename last. It has happened by now, and not every system can do this to a folder: no failure of it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_replaceable(path: str) -> None:
    """Find out whether a file can be locked and replaced, by doing all of it but that.

    Raises:
        OSError: it cannot.
    """
    os.close(_open_lock_file(path))
    with tempfile.TemporaryFile(dir=os.path.dirname(os.path.realpath(path))):
        pass


# --- journals --------------------------------------------------------------------------------------------------

_LONG_JOURNAL = 1 << 16  # in bytes: some ten entries
_LONGEST_JOURNAL = 1 << 22


class Journal:
    """What is to come into a file and may not be there yet: entries beside it, in `.NAME.stagewhisper-journal`.

    Each entry has a mark that says what it is the successor of. So whoever finds the journal knows whether it still
    counts without comparing times, which a clock that was set, or a program that rewrites what it has read, would
    make worthless. An entry is half there or whole; a half one is as good as none. All of it is for the holder of
    the file's lock, but for `exists`.
    """

    def __init__(self, path: str) -> None:
        self._target = os.path.realpath(path)  # beside the file itself, like its lock
        folder, name = os.path.split(self._target)
        self.path = os.path.join(folder, f".{name}.stagewhisper-journal")

    def exists(self) -> bool:
        """Whether somebody is at work, or has left something behind."""
        return os.path.lexists(self.path)

    def read(self, mark: str) -> list[bytes]:
        """What the entries with that mark hold, oldest first. A journal that somebody else may have written goes.

        Raises:
            OSError: it is there and cannot be read.
        """
        try:
            status = os.lstat(self.path)
        except FileNotFoundError:
            return []
        if not self._is_ours(status):
            self.remove()
            return []
        with open(os.open(self.path, os.O_RDONLY | _AT_ONCE | _EXACT), "rb") as file:
            file.seek(max(0, status.st_size - _LONGEST_JOURNAL))
            *lines, _ = file.read().split(b"\n")
        head = f"{mark} ".encode()
        found = []
        for line in lines:
            if line.startswith(head):
                with suppress(ValueError):
                    found.append(base64.b64decode(line.removeprefix(head), validate=True))
        return found

    def open(self) -> JournalEntry:
        """Room for one more entry, made before there is anything to write: nothing is left then that can fail.

        Raises:
            OSError: there is none.
        """
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _AT_ONCE | _EXACT
        descriptor = os.open(self.path, flags, _PRIVATE)
        try:
            if not self._is_ours(os.fstat(descriptor)):
                raise OSError(errno.EPERM, "the journal beside it is somebody else's")
            _keep_owner(descriptor, self._target)
        except BaseException:
            os.close(descriptor)
            raise
        return JournalEntry(self, descriptor)

    def make_lasting(self, mark: str, data: bytes) -> None:
        """See to it that a power cut does not end what is there, of which this is the last entry.

        This is also where a journal whose file cannot be replaced for days is shortened to that entry. No failure
        counts: the next thing that is done is to replace the file.
        """
        with suppress(OSError):
            if os.lstat(self.path).st_size > _LONG_JOURNAL:
                replace_file(self.path, _entry(mark, data))
                return
            descriptor = os.open(self.path, os.O_RDWR | _AT_ONCE | _EXACT)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            _sync_folder(os.path.dirname(self.path))

    def remove(self) -> None:
        """End it: all of it is in the file, or does not count any more. One that stays is read in vain later."""
        with suppress(OSError):
            os.unlink(self.path)

    def _is_ours(self, status: os.stat_result) -> bool:
        """Whether nobody else can have made the journal, or written into it, or sees it under another name."""
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            return False
        if sys.platform == "win32":
            return True  # there neither owner nor mode is told in this way
        return status.st_uid in (os.geteuid(), os.stat(self._target).st_uid) and not status.st_mode & 0o022


class JournalEntry:
    """Room in a journal. It is closed in any case, and the journal goes where nothing is in it."""

    def __init__(self, journal: Journal, descriptor: int) -> None:
        self._journal = journal
        self._descriptor = descriptor

    def write(self, mark: str, data: bytes) -> None:
        """Put it down in one write, which outlives the process at once, and the machine after `make_lasting`.

        Raises:
            OSError: it could not be.
        """
        entry = _entry(mark, data)
        if os.write(self._descriptor, entry) != len(entry):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Give the room back."""
        is_empty = os.fstat(self._descriptor).st_size == 0
        os.close(self._descriptor)
        if is_empty:
            self._journal.remove()


def _entry(mark: str, data: bytes) -> bytes:
    # It begins on a line of its own, whatever half of an entry may stand before it.
    return b"\n%b %b\n" % (mark.encode(), base64.b64encode(data))


# --- locks -----------------------------------------------------------------------------------------------------


class Lock:
    """A lock that is held. It is let go by whoever claims it first, which only one can: a task, or its thread.

    A thread that a cancelled task no longer waits for goes on writing, and must keep the lock until it is done; one
    that had not begun must not begin any more.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._claimed = threading.Lock()

    def claim(self) -> bool:
        """Whether it is the caller's to release: true once."""
        return self._claimed.acquire(blocking=False)

    def release(self) -> None:
        """Let the lock go."""
        os.close(self._descriptor)


def _open_lock_file(path: str) -> int:
    # Beside the file itself, not beside a link to it: all who come to the file must meet there.
    return os.open(f"{os.path.realpath(path)}.lock", os.O_RDWR | os.O_CREAT | _EXACT, _PRIVATE)


async def take_lock(path: str, *, patience: float) -> Lock | None:
    """The lock of a file, or None when another has it for longer than `patience` seconds.

    It is a file beside, `FILE.lock`, which is made when it is not there and never removed: else two processes could
    hold "the" lock, one the removed file's and one its successor's.

    Raises:
        OSError, ValueError: the lock's file cannot be made, opened or locked.
    """
    descriptor = _open_lock_file(path)
    deadline = trio.current_time() + patience
    try:
        while not _try_lock(descriptor):
            if trio.current_time() >= deadline:
                os.close(descriptor)
                return None
            await trio.sleep(_LOCK_POLL)
    except BaseException:
        os.close(descriptor)
        raise
    return Lock(descriptor)


# Both kinds end with the descriptor, and with it at the latest with the process that holds them.
if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EDEADLOCK):
                return False
            raise
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        # Not `lockf`: its locks belong to the process, and end when any of its descriptors of the file is closed.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
