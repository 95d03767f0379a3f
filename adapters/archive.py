"""One folder of recordings, private and bounded: files made, added to, cut, and the oldest deleted. All of it blocks.

Knows of a recording that it is whole lines, of which the first three make sense only together, and how its last line
says that it was cut. What the other lines are, and when they are written, is for others to know.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import tempfile
from bisect import bisect_left, insort
from contextlib import suppress
from enum import Enum

from adapters import files
from core.recording import CutLine, encode_line
from core.times import Epoch, render_date

_PRIVATE_FOLDER = 0o700
_PRIVATE = 0o600
_OTHERS = 0o077
# A link that has come to stand in a file's place is not followed, and a pipe there is not waited for.
_FLAGS: int = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)
_FLAGS |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

_NAME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}-[0-9]{2}\.[0-9]{3}Z-[A-Za-z0-9_-]{1,80}\.jsonl")
_LONGEST_ID = 64
_NAMES = 100
"""How many names are tried for a recording: the first is taken where the same request was recorded at the same time."""

_FIRST_LINES = 3
"""Of a recording with fewer lines nothing can be read."""

_CUT_ROOM = 256
"""Bytes that are kept free for each recording that is being written: its last line, if it has to be cut."""

_NO_ROOM = "there was no room for more of it (recording.maxBytes)"

_LONGEST_REASON = 70  # in characters, each of three bytes at the most: with what is around it, in that room

_SCAN_SECONDS = 60.0
"""How long what other processes write may go unnoticed."""

_GLANCE_SECONDS = 1e-4
"""The same where they make or delete files, which the folder's time of change gives away: so long for each recording
that is there. To look at one takes a fiftieth of that."""

_TRIES = 8
"""How many files are passed over that cannot be deleted. Where they are more, none can be."""


class Outcome(Enum):
    """What became of lines that were to be written."""

    WRITTEN = "written"
    CUT = "cut"
    """There was no room for all of them. The recording ends with a line that says so."""
    REFUSED = "refused"
    """There was no room for another recording, and no file was made."""
    GONE = "gone"
    """Somebody deleted the file, or changed it. It is not made again."""


class File:
    """A recording that is being written. `name` is None until the first lines have made a file of it."""

    def __init__(self, date: Epoch, request_id: str) -> None:
        # The order of names is that of dates. No colon, and nothing else that a name cannot have on Windows.
        made_safe = re.sub(r"[^A-Za-z0-9_-]", "_", request_id)[:_LONGEST_ID]
        self.stem = f"{render_date(date).replace(':', '-')}-{made_safe}"
        self.name: str | None = None
        self.size = 0


class Archive:
    """A folder, and what is known of the recordings in it: names and sizes, looked at again now and then.

    The bounds are on all recordings in the folder, whoever wrote them, and nothing else that is there is counted or
    deleted. The oldest go first, but never those that this process is writing.
    """

    def __init__(self, folder: str, *, max_files: int, max_bytes: int) -> None:
        self.folder = os.path.abspath(os.path.expanduser(folder))
        self._max_files = max_files
        self._max_bytes = max_bytes
        self._sizes: dict[str, int] = {}
        self._names: list[str] = []  # sorted
        self._total = 0
        self._open: set[str] = set()
        self._open_total = 0
        self._changed_at = 0  # the folder's time of change, in nanoseconds, as this process left it
        self._is_changed = True  # by another process, since the last scan
        self._scanned_at: float | None = None

    # --- the folder --------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the folder where it is not there, and see that nobody else may enter it and that it can be written.

        Raises:
            OSError: it cannot be used, or others may enter it and there is a reason not to change that.
        """
        self.folder = os.path.realpath(self.folder)
        _make_folder(self.folder)
        if sys.platform != "win32":  # modes mean nothing there
            _close_to_others(self.folder)
        with tempfile.TemporaryFile(dir=self.folder):
            pass
        self._scan()
        with suppress(OSError):  # whoever writes next meets it again, and can say so
            self._make_room(0, 0)

    def describe(self) -> str:
        """The folder and its bounds."""
        return f"{self.folder}: at most {self._max_files} files and {self._max_bytes} bytes"

    def look(self, now: float) -> None:
        """Take note of what others did to the files, where it is time for that: `now` is in seconds of any clock."""
        self._is_changed = self._is_changed or self._time_of_change() != self._changed_at
        since = _SCAN_SECONDS if self._scanned_at is None else now - self._scanned_at
        if since >= (min(_SCAN_SECONDS, _GLANCE_SECONDS * len(self._names)) if self._is_changed else _SCAN_SECONDS):
            self._scanned_at = now
            with suppress(OSError):  # as above
                self._scan()

    def _scan(self) -> None:
        """Count the recordings that are there."""
        self._changed_at = self._time_of_change()  # first: what is done meanwhile is another change
        self._is_changed = False
        sizes = {}
        with suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name):
                    with suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        if stat.S_ISREG(status.st_mode):
                            sizes[entry.name] = status.st_size
        self._sizes = sizes
        self._names = sorted(sizes)
        self._total = sum(sizes.values())

    def _time_of_change(self) -> int:
        """The folder's, in nanoseconds; 0 where it is gone, or nobody knows."""
        with suppress(OSError):
            return os.stat(self.folder).st_mtime_ns
        return 0

    # --- recordings --------------------------------------------------------------------------------------------

    def append(self, file: File, lines: bytes) -> Outcome:
        """Write whole lines to a recording. With any outcome but `WRITTEN` it is over.

        Raises:
            OSError: they could not be written, and the recording is over. As many of them as there was room for are
                in it, and where there was room for that too, a line that says that it was cut.
        """
        kept = self._fitting(file, lines)
        if kept is None:
            return Outcome.REFUSED
        outcome = Outcome.GONE
        try:
            self._make_room(file.name is None, len(kept))
            if self._write(file, kept if kept is lines else kept + _cut_line(_NO_ROOM)):
                outcome = Outcome.WRITTEN if kept is lines else Outcome.CUT
        finally:
            if outcome is not Outcome.WRITTEN:
                self.let_go(file)
        return outcome

    def cut(self, file: File, why: str) -> None:
        """End a recording with a line that says why it ends, where there is a file and that can be done."""
        if file.name in self._open:  # else it has ended already
            with suppress(OSError):
                self._write(file, _cut_line(why))
            self.let_go(file)

    def let_go(self, file: File) -> None:
        """Nothing more will be written to it: from now on it may be deleted like any other."""
        if file.name in self._open:
            self._open.discard(file.name)
            self._open_total -= file.size

    def _fitting(self, file: File, lines: bytes) -> bytes | None:
        """As many lines as there would be room for with nothing but what is being written; None: too few for a file."""
        is_new = file.name is None
        writing = len(self._open) + is_new
        room = self._max_bytes - _CUT_ROOM * writing - self._open_total
        kept = lines if len(lines) <= room else lines[: lines.rfind(b"\n", 0, max(0, room)) + 1]
        if is_new and (writing > self._max_files or kept.count(b"\n") < _FIRST_LINES):
            return None
        return kept

    def _make_room(self, new_files: int, size: int) -> None:
        """Delete the oldest, for so many files and bytes more. Raises: OSError, those that had to go could not."""
        max_files = self._max_files - new_files
        max_bytes = self._max_bytes - _CUT_ROOM * (len(self._open) + new_files) - size
        at, problems = 0, list[OSError]()
        while len(self._names) > max_files or self._total > max_bytes:
            if problems and (at == len(self._names) or len(problems) > _TRIES):
                raise problems[0]
            if at == len(self._names):
                return  # somebody else wrote into what is being written here
            if (name := self._names[at]) in self._open:
                at += 1
                continue
            try:
                os.unlink(os.path.join(self.folder, name))
            except FileNotFoundError:
                self._is_changed = True
            except OSError as problem:
                problems.append(problem)
                at += 1
                continue
            self._set_size(name, None)
            self._changed_at = self._time_of_change()

    def _set_size(self, name: str, size: int | None) -> None:
        """Take note of the size of a file; None where it is not there any more."""
        known = self._sizes.pop(name, None)
        self._total += (size or 0) - (known or 0)
        if size is not None:
            self._sizes[name] = size
        if size is not None and known is None:
            insort(self._names, name)
        elif size is None and known is not None:
            del self._names[bisect_left(self._names, name)]

    # --- files -------------------------------------------------------------------------------------------------

    def _write(self, file: File, data: bytes) -> bool:
        """Add to a recording's file, which is made where it has none; False where it is gone."""
        is_new = file.name is None
        descriptor = self._create(file) if is_new else self._reopen(file)
        if descriptor is None or file.name is None:
            return False
        try:
            if is_new and sys.platform != "win32":
                os.fchmod(descriptor, _PRIVATE)  # a umask may have taken even its owner's bits
            written, problem = _write_out(descriptor, data)
            if problem is not None:
                written = _mend(descriptor, file.size, data, written, problem)
            self._open_total += written
            file.size += written
            self._set_size(file.name, file.size)
        finally:
            os.close(descriptor)
        if problem is not None:
            if is_new and data[:written].count(b"\n") < _FIRST_LINES:
                self._remove(file)
            raise problem
        return True

    def _create(self, file: File) -> int:
        """The descriptor of a recording's file that was not there before."""
        try:
            descriptor = self._create_in_folder(file)
        except FileNotFoundError:
            _make_folder(self.folder)
            descriptor = self._create_in_folder(file)
        self._changed_at = self._time_of_change()
        return descriptor

    def _create_in_folder(self, file: File) -> int:
        for number in range(1, _NAMES + 1):
            name = f"{file.stem}.jsonl" if number == 1 else f"{file.stem}-{number}.jsonl"
            with suppress(FileExistsError):
                descriptor = os.open(os.path.join(self.folder, name), _FLAGS | os.O_CREAT | os.O_EXCL, _PRIVATE)
                file.name = name
                self._open.add(name)
                self._set_size(name, 0)
                return descriptor
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    def _reopen(self, file: File) -> int | None:
        """The descriptor of a recording's file as it was left; None where it is gone, or is another now."""
        assert file.name is not None
        try:
            descriptor = os.open(os.path.join(self.folder, file.name), _FLAGS)
        except FileNotFoundError:
            self._set_size(file.name, None)
            self._is_changed = True
            return None
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_size == file.size:
            return descriptor
        os.close(descriptor)
        return None

    def _remove(self, file: File) -> None:
        """Delete a file in which there is nothing that can be read."""
        assert file.name is not None
        with suppress(OSError):
            os.unlink(os.path.join(self.folder, file.name))
            self._set_size(file.name, None)
            self._changed_at = self._time_of_change()


def _cut_line(why: str) -> bytes:
    return encode_line(CutLine(why=why[:_LONGEST_REASON])) + b"\n"


def _write_out(descriptor: int, data: bytes) -> tuple[int, OSError | None]:
    """How many bytes could be written, and why not all of them."""
    written, rest = 0, memoryview(data)
    try:
        while written < len(data):
            if not (size := os.write(descriptor, rest[written:])):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written += size
    except OSError as problem:
        return written, problem
    return written, None


def _mend(descriptor: int, size: int, data: bytes, written: int, problem: OSError) -> int:
    """Make whole lines of what a failed write has left behind `size` bytes. Gives back how many bytes that is now."""
    kept = data.rfind(b"\n", 0, written) + 1
    try:
        os.ftruncate(descriptor, size + kept)
    except OSError:
        return written  # whoever reads the recording finds its last line torn
    line = _cut_line(f"it could not be written: {files.explain(problem)}")
    more, in_vain = _write_out(descriptor, line)
    if in_vain is None:
        return kept + more
    with suppress(OSError):
        os.ftruncate(descriptor, size + kept)
        return kept
    return kept + more


# --- folders ---------------------------------------------------------------------------------------------------


def _make_folder(path: str) -> None:
    """Make a folder where there is none, and those above it, each private under any umask.

    Raises:
        OSError: it cannot be made, or something else is there.
    """
    try:
        os.mkdir(path, _PRIVATE_FOLDER)
    except FileExistsError:
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
        return
    except FileNotFoundError:
        if (above := os.path.dirname(path)) == path:
            raise
        _make_folder(above)
        with suppress(FileExistsError):  # another process may have made it by now
            os.mkdir(path, _PRIVATE_FOLDER)
    if sys.platform != "win32":
        os.chmod(path, _PRIVATE_FOLDER)


def _close_to_others(path: str) -> None:
    """See that nobody but its owner may enter a folder. Raises: OSError, others may, and that may have its reason."""
    status = os.stat(path)
    mode = stat.S_IMODE(status.st_mode)
    if not mode & _OTHERS:
        return
    who = f"others may enter it (mode {mode:04o})"
    if status.st_uid != os.geteuid():
        raise OSError(errno.EPERM, f"{who}, and it is not yours to close: name a folder of your own")
    if not all(_NAME.fullmatch(name) for name in os.listdir(path)):
        raise OSError(errno.EPERM, f"{who}, and it has other files in it: name another folder, or set its mode to 700")
    os.chmod(path, _PRIVATE_FOLDER)
