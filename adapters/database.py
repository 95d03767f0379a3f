"""One SQLite file as a table of values under keys: found good or set aside, read, written. All of it blocks.

The only module that knows sqlite3, and the files that SQLite keeps beside its own. Who waits for whom, and what is
done about a failure, is for others to know.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import TypeAlias, TypeVar

from adapters import files
from core.errors import StagewhisperError
from core.times import Epoch

T = TypeVar("T")

_APPLICATION_ID = 0x53_74_57_68  # "StWh"
_SCHEMA_VERSION = 1
# What its checks refuse was not written by us. The bound keeps versions exact in everybody's JSON.
_SCHEMA = (
    "CREATE TABLE stored (key BLOB NOT NULL PRIMARY KEY CHECK (typeof(key) = 'blob'),"
    " version INTEGER NOT NULL UNIQUE CHECK (typeof(version) = 'integer' AND version BETWEEN 1 AND 9007199254740991),"
    " value BLOB NOT NULL CHECK (typeof(value) = 'blob'))"
)

# What the checks of a file run into when it is its content that is wrong. Our own SQL is right, so "SQL logic error"
# is one of them.
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG)

_LOG = "-wal"
_BESIDE = (_LOG, "-shm", "-journal")
"""What SQLite adds to a file's name: for its write-ahead log, the index to that, and the log of other modes."""

_LOG_HEADER = 32
_LOG_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
_PRIVATE = 0o600

_Identity: TypeAlias = tuple[tuple[int, int] | None, ...]
"""What tells the files at a path from others: device and inode of each, None where there is none."""


class DatabaseError(StagewhisperError):
    """A file cannot be used. One line: why, without the path, which the caller knows better."""


class Database:
    """An open file. After any DatabaseError it is closed: it may have been in the midst of something."""

    def __init__(self, path: str, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._identity = _identify(path)

    def load(self, after: int) -> dict[str, tuple[int, bytes]]:
        """Version and value of each key whose version is above `after`, in the order of versions."""
        return self._carry_out(lambda: _load(self._connection, after))

    def write(self, writes: Mapping[str, tuple[int | None, bytes]], start: int) -> dict[str, int]:
        """Replace each value that has the expected version: 0 where there is none, None for any.

        Gives back the new versions, which are above all others in the file, and above `start`.
        """
        return self._carry_out(lambda: _write(self._connection, writes, start))

    def rename(self, keys: Iterable[str], last: int, new_key: Callable[[str, int], str]) -> None:
        """Give other keys to those values whose versions are not above `last`: `new_key(key, version)`."""
        self._carry_out(lambda: _rename(self._connection, keys, last, new_key))

    def close(self) -> None:
        """Let go of the file. The last process to do so puts into it what is in its log."""
        with suppress(sqlite3.Error):
            self._connection.close()

    def _carry_out(self, work: Callable[[], T]) -> T:
        try:
            with _in_our_words():
                self._check_identity()
                done = work()
                # And again: what was written into a file that was removed meanwhile is not written.
                self._check_identity()
                return done
        except BaseException:
            self.close()
            raise

    def _check_identity(self) -> None:
        if _identify(self._path) != self._identity:
            raise DatabaseError("it was removed or replaced while it was in use")


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        is_busy = _code(error) == sqlite3.SQLITE_BUSY
        raise DatabaseError("another process has kept it locked" if is_busy else _line(str(error))) from None
    # ValueError for paths that are none, and where SQLite quotes what is no text.
    except (OSError, ValueError) as error:
        raise DatabaseError(_line(files.explain(error))) from None


def _code(error: sqlite3.Error) -> int:
    """SQLite's code of an error, without what it may add to it; 0 where the error is of Python's side."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _line(text: str) -> str:
    """A text of SQLite's as one line: it may quote what is in a damaged file."""
    return "".join(char if char.isprintable() else " " for char in text)[:200]


# --- on a connection -------------------------------------------------------------------------------------------


def encode_key(key: str) -> bytes:
    """How a key is written. Raises: ValueError for what is no text."""
    # There may be a path in it, and in a path bytes that are no UTF-8: this is how Python has them in text.
    return key.encode(errors="surrogateescape")


def _load(connection: sqlite3.Connection, after: int) -> dict[str, tuple[int, bytes]]:
    found = connection.execute("SELECT key, version, value FROM stored WHERE version > ? ORDER BY version", (after,))
    return {key.decode(errors="surrogateescape"): (version, value) for key, version, value in found.fetchall()}


# What fails in these two leaves the transaction open; the connection is closed then, which undoes it.


def _write(
    connection: sqlite3.Connection, writes: Mapping[str, tuple[int | None, bytes]], start: int
) -> dict[str, int]:
    connection.execute("BEGIN IMMEDIATE")
    [(last,)] = connection.execute("SELECT COALESCE(MAX(version), 0) FROM stored").fetchall()
    last = max(last, start)
    written = {}
    for key, (expected, value) in writes.items():
        name = encode_key(key)
        if expected is None or expected == _version(connection, name):
            last += 1
            connection.execute(
                "INSERT INTO stored (key, version, value) VALUES (?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET version = excluded.version, value = excluded.value",
                (name, last, value),
            )
            written[key] = last
    connection.execute("COMMIT")
    return written


def _rename(connection: sqlite3.Connection, keys: Iterable[str], last: int, new_key: Callable[[str, int], str]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for key in keys:
        name = encode_key(key)
        version = _version(connection, name)
        if 0 < version <= last:
            connection.execute("UPDATE stored SET key = ? WHERE key = ?", (encode_key(new_key(key, version)), name))
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection, name: bytes) -> int:
    found = connection.execute("SELECT version FROM stored WHERE key = ?", (name,)).fetchall()
    return int(found[0][0]) if found else 0


# --- opening ---------------------------------------------------------------------------------------------------


def prepare(path: str) -> None:
    """Make the folder, and see that the files in it, where they are there, are files and may be written.

    Raises:
        DatabaseError: the folder cannot be made, or they are not.
    """
    with _in_our_words():
        target = os.path.realpath(path)
        folder = os.path.dirname(target)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if not _may(folder, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, "its folder cannot be written")
        for each in (target, *(target + suffix for suffix in _BESIDE)):
            with suppress(FileNotFoundError):
                if not stat.S_ISREG(os.stat(each).st_mode):
                    raise OSError(errno.EINVAL, f"{os.path.basename(each)} is not a regular file")
                if not _may(each, os.R_OK | os.W_OK):
                    raise OSError(errno.EACCES, f"{os.path.basename(each)} may not be read and written")


def _may(path: str, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def open_database(path: str, *, now: Epoch, busy_timeout: float) -> tuple[Database, list[str]]:
    """A file that `prepare` found usable, made where it is not there; and what was found wrong.

    What is no store of ours is renamed, and a new one is made. Only one process may do this at a time: the damaged
    file that one is about to rename may else be the fresh one that another has just put there.

    Raises:
        DatabaseError: it cannot be opened, or not be renamed.
    """
    lines = []
    with _in_our_words():
        target = os.path.realpath(path)
        if _is_log_alone(target):
            lines.append(_set_aside(target, "it is gone or empty, and its write-ahead log is not", now))
        if _is_log_broken(target):
            lines.append(_keep_log(target, now))
        for _ in range(2):
            found = _connect(path, target, now, busy_timeout)
            if isinstance(found, Database):
                return found, lines
            lines.append(found)
    raise DatabaseError("; then: ".join(lines))


def _connect(path: str, target: str, now: Epoch, busy_timeout: float) -> Database | str:
    """The open file; where it is no store of ours, it is renamed, and this says so."""
    # By ourselves, for the sake of the mode, which the files beside it take on. Never again: whoever opens and closes
    # a database's file ends the locks that SQLite holds on it in the same process.
    if not os.path.lexists(target):
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, _PRIVATE))
    with ExitStack() as unless_good:
        connection = sqlite3.connect(target, timeout=busy_timeout, isolation_level=None, check_same_thread=False)
        unless_good.callback(connection.close)
        connection.text_factory = bytes  # in a damaged file there may be any in the place of text
        if (problem := _settle(connection)) is not None:
            if sys.platform == "win32":
                connection.close()  # there, nothing that is open can be renamed
            # Elsewhere it is renamed first. Else closing would write the log into the file, and it may be the log
            # that is wrong: one that was left there when a backup of the file was put back.
            return _set_aside(target, problem, now)
        for suffix in ("", *_BESIDE):
            with suppress(OSError):
                os.chmod(target + suffix, _PRIVATE)
        unless_good.pop_all()
        return Database(path, connection)


def _settle(connection: sqlite3.Connection) -> str | None:
    """Make an empty file a store, and see that another one is. Gives back what is wrong with it.

    Raises:
        sqlite3.Error: it cannot be used, for a reason that does not lie in the file.
    """
    try:
        # By default this mode may lose the last commits with the power, and an account's permanent ban is one.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        if (problem := _find_problem(connection)) is not None:
            return problem
        # Written again where it is there: to begin a transaction is no proof yet that the file can be written.
        connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        connection.execute("COMMIT")
        # Where the file system cannot do that, the mode stays what it is, which is slower and as safe.
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        _version(connection, b"")  # now the files beside it are there
    except sqlite3.Error as error:
        # "Read only" and no more: that is what the file says of itself, for it could be written just before.
        code = getattr(error, "sqlite_errorcode", 0)
        if _code(error) not in _DAMAGE and code != sqlite3.SQLITE_READONLY:
            raise
        return f"it is damaged: {_line(str(error))}"
    except UnicodeDecodeError:
        return "it is damaged: what SQLite quotes of it is no text"
    return None


def _find_problem(connection: sqlite3.Connection) -> str | None:
    [(application_id,)] = connection.execute("PRAGMA application_id").fetchall()
    [(version,)] = connection.execute("PRAGMA user_version").fetchall()
    tables = connection.execute("SELECT sql FROM sqlite_master WHERE substr(name, 1, 7) != 'sqlite_'").fetchall()
    if (application_id, version, tables) == (0, 0, []):
        connection.execute(_SCHEMA)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        return None
    if application_id != _APPLICATION_ID:
        return f"it is another program's (application id {application_id})"
    if version > _SCHEMA_VERSION:
        return f"it is a newer version's (schema {version}, and {_SCHEMA_VERSION} is known here)"
    if (version, tables) != (_SCHEMA_VERSION, [(_SCHEMA.encode(),)]):
        return f"its tables are not those that are known here (schema {version})"
    # Not `quick_check`: that does not compare the indices, by which values are found, with what they lead to.
    [(found,)] = connection.execute("PRAGMA integrity_check(1)").fetchall()
    return None if found == b"ok" else f"it is damaged: {_line(found.decode(errors='replace'))}"


# --- files -----------------------------------------------------------------------------------------------------


def _identify(path: str) -> _Identity:
    target = os.path.realpath(path)
    # Without its log or the log's index the file is another one, too: who came later would make them anew.
    return tuple(_identify_one(target + suffix) for suffix in ("", *_BESIDE[:2]))


def _identify_one(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_log_alone(target: str) -> bool:
    """Whether there is something in the log of a file in which there is nothing: SQLite would remove it."""
    return not _size(target) and _size(target + _LOG) > 0


def _size(path: str) -> int:
    with suppress(FileNotFoundError):
        return os.stat(path).st_size
    return 0


def _is_log_broken(target: str) -> bool:
    """Whether the log is none: SQLite would go on without it, and write over it, and say nothing."""
    with suppress(FileNotFoundError), open(target + _LOG, "rb") as file:
        header = file.read(_LOG_HEADER)
        return len(header) == _LOG_HEADER and not header.startswith(_LOG_MAGIC)
    return False


def _keep_log(target: str, now: Epoch) -> str:
    """Copy a log that is none. It is not renamed: another process may be using it, and the index beside it."""
    aside = _free_name(target, now) + _LOG
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), _PRIVATE)
    with open(descriptor, "wb") as copy, open(target + _LOG, "rb") as log:
        shutil.copyfileobj(log, copy)
    return f"its write-ahead log is damaged, what was written last may be lost; the log is kept as {aside}"


def _set_aside(target: str, problem: str, now: Epoch) -> str:
    """Rename a file and those beside it, and say so.

    Raises:
        OSError: it cannot be done.
    """
    aside = _free_name(target, now)
    try:
        # The file goes first. Without its log it may look good, and be older than it was.
        for suffix in ("", *_BESIDE):
            with suppress(FileNotFoundError):
                os.rename(target + suffix, aside + suffix)
    except OSError as error:
        raise OSError(error.errno, f"{problem}; and it cannot be renamed: {files.explain(error)}") from None
    return f"{problem}; it is kept as {aside}, and a new one is used"


def _free_name(target: str, now: Epoch) -> str:
    date = datetime.fromtimestamp(now.seconds, UTC).strftime("%Y%m%dT%H%M%SZ")
    name = first = f"{target}.damaged-{date}"
    number = 1
    while any(os.path.lexists(name + suffix) for suffix in ("", *_BESIDE)):
        number += 1
        name = f"{first}-{number}"
    return name
