"""Files that are replaced whole, and locks: what the tests of token files do not show."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from adapters.files import Lock, check_replaceable, explain, has_stamp, in_thread, read_file, replace_file, take_lock
from tests.adapters.token_files import in_virtual_time, is_locked


def temporaries(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if "stagewhisper" in name]


def test_a_stamp_tells_contents_apart(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    first = replace_file(path, b"1")
    assert has_stamp(path, first)
    assert read_file(path, max_bytes=1) == (first, b"1")
    second = replace_file(path, b"2")
    assert (has_stamp(path, first), has_stamp(path, second)) == (False, True)
    os.unlink(path)
    assert not has_stamp(path, second)
    assert not has_stamp("a\0b", second)


def test_a_file_may_be_as_large_as_was_said_and_no_larger(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_file(str(path), max_bytes=5)[1] == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_file(str(path), max_bytes=4)


def test_what_a_crash_left_is_no_way_into_another_file(tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_bytes(b"old")
    other.write_bytes(b"other's")
    (tmp_path / ".file.stagewhisper-new").symlink_to(other)
    replace_file(str(path), b"new")
    assert (path.read_bytes(), other.read_bytes(), temporaries(tmp_path)) == (b"new", b"other's", [])


@pytest.mark.parametrize("failing", ["fsync", "fstat", "replace"])
def test_a_failed_replacement_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o644)

    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, failing, fails)
        with pytest.raises(OSError, match="Input/output error"):
            replace_file(str(path), b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"old", 0o644)
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    fsync = os.fsync

    def only_files(descriptor: int) -> None:
        if os.path.samestat(os.fstat(descriptor), os.stat(tmp_path)):
            raise OSError(22, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    replace_file(str(path), b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_stays_its_owners_when_root_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, 12345, 54321)
    replace_file(str(path), b"new")
    status = path.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (12345, 54321, 0o600)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_folder_without_the_right_to_write_is_not_replaceable(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            check_replaceable(str(path))
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FileNotFoundError(2, "No such file or directory", "/a/path"), "No such file or directory"),
        (OSError("something"), "something"),
        (ValueError("embedded null byte"), "embedded null byte"),
        (OSError(), "OSError"),
    ],
)
def test_a_failure_is_told_without_a_path(error: Exception, text: str) -> None:
    assert explain(error) == text


@in_virtual_time
async def test_a_lock_is_anothers_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "file"
    first = await take_lock(str(path), patience=0)
    assert first is not None
    assert await take_lock(str(path), patience=3) is None
    assert 3 <= trio.current_time() < 3.1
    assert first.claim()
    first.release()
    second = await take_lock(str(path), patience=0)
    assert second is not None
    second.release()
    assert not is_locked(path)


@in_virtual_time
async def test_a_lock_that_was_waited_for_comes_soon_after_it_is_free(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    first = await take_lock(path, patience=0)
    assert first is not None

    async def release() -> None:
        await trio.sleep(10)
        first.release()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(release)
        second = await take_lock(path, patience=60)
    assert second is not None
    assert 10 <= trio.current_time() < 10.1
    second.release()


@in_virtual_time
async def test_one_who_leaves_while_waiting_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "file"
    first = await take_lock(str(path), patience=0)
    assert first is not None
    before = len(os.listdir("/dev/fd"))
    with trio.move_on_after(1) as scope:
        await take_lock(str(path), patience=60)
    assert scope.cancelled_caught
    assert len(os.listdir("/dev/fd")) == before
    first.release()


@in_virtual_time
async def test_a_lock_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    lock = await take_lock(str(tmp_path / "link"), patience=0)
    assert lock is not None
    assert is_locked(tmp_path / "file")
    assert (tmp_path / "file.lock").stat().st_mode & 0o777 == 0o600
    lock.release()


def test_only_one_may_release_a_lock() -> None:
    lock = Lock(-1)
    assert [lock.claim(), lock.claim(), lock.claim()] == [True, False, False]


async def test_work_runs_in_another_thread() -> None:
    ours = trio.lowlevel.current_trio_token()

    def work() -> bool:
        return trio.from_thread.run_sync(trio.lowlevel.current_trio_token) is ours

    assert await in_thread(work)
