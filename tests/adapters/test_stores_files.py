"""What a store does to the file system, and what that does to a store: modes, rights, links, removal, a full disk."""

from __future__ import annotations

import os
import re
import resource
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.stores import StoreError
from tests.adapters.store_files import STAMP, fill, kept, sqlite_store, values

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite"


def modes(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mode & 0o777 for name in os.listdir(folder)}


PRIVATE = {"state.sqlite": 0o600, "state.sqlite-wal": 0o600, "state.sqlite-shm": 0o600, "state.sqlite.lock": 0o600}


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.usefixtures("umask")
async def test_folder_and_files_are_their_owners_alone(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path / "state" / "stagewhisper" / "state.sqlite")
    await store.open()
    await store.replace({"a": b"1"})
    assert (tmp_path / "state" / "stagewhisper").stat().st_mode & 0o777 == 0o700
    assert modes(tmp_path / "state" / "stagewhisper") == PRIVATE
    await store.close()


async def test_a_file_that_others_could_read_is_its_owners_alone_again(path: Path) -> None:
    await fill(path, a=b"1")
    path.chmod(0o664)
    store = sqlite_store(path)
    assert await store.open() == []
    assert modes(path.parent) == PRIVATE
    await store.close()


async def test_a_closed_store_is_one_file_and_its_lock(path: Path) -> None:
    await fill(path, a=b"1")
    assert sorted(os.listdir(path.parent)) == ["state.sqlite", "state.sqlite.lock"]


async def test_a_home_is_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(path.parent))
    await fill(Path("~/state.sqlite"), a=b"1")
    assert path.is_file()


# --- what cannot be used ---------------------------------------------------------------------------------------


def occupy_folder(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_bytes(b"a file")


def occupy(suffix: str) -> Callable[[Path], object]:
    return lambda path: os.mkdir(f"{path}{suffix}")


@pytest.mark.parametrize(
    ("occupied", "problem"),
    [
        (occupy_folder, "File exists|Not a directory"),
        (occupy(""), "state.sqlite is not a regular file"),
        (occupy("-wal"), "state.sqlite-wal is not a regular file"),
        (occupy("-journal"), "state.sqlite-journal is not a regular file"),
        (os.mkfifo, "state.sqlite is not a regular file"),
        (lambda path: path.symlink_to("/dev/null"), "null is not a regular file"),
        (lambda path: path.symlink_to(path), "symbolic links"),
        (occupy(".lock"), "Is a directory"),
    ],
)
async def test_a_place_that_is_taken_is_left_alone(
    tmp_path: Path, occupied: Callable[[Path], object], problem: str
) -> None:
    path = tmp_path / "folder" / "state.sqlite"
    path.parent.mkdir()
    occupied(path)
    store = sqlite_store(path)
    for call in (store.open, store.load):
        with pytest.raises(StoreError, match=problem) as caught:
            await call()
        assert str(caught.value).startswith(f"{path}: ")
        assert caught.value.path == str(path)
    assert not [name for name in os.listdir(tmp_path) if "damaged" in name]
    await store.close()


async def test_a_path_that_is_none_is_told() -> None:
    with pytest.raises(StoreError, match=r"embedded null (byte|character)"):
        await sqlite_store(Path("/tmp/a\0b")).open()


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A folder of one who is not root, which whoever runs the tests is meanwhile."""
    folder = Path(tempfile.mkdtemp())
    user = os.geteuid()
    try:
        if user == 0:
            os.chown(folder, NOBODY, -1)
            os.seteuid(NOBODY)
        yield folder
    finally:
        os.seteuid(user)
        folder.chmod(0o700)
        shutil.rmtree(folder)


@pytest.mark.parametrize("content", [None, b"no database"])
@pytest.mark.parametrize(
    ("name", "mode", "problem"),
    [
        ("", 0o500, "its folder cannot be written"),
        ("state.sqlite", 0o400, "state.sqlite may not be read and written"),
        ("state.sqlite", 0o200, "state.sqlite may not be read and written"),
        ("state.sqlite-wal", 0o400, "state.sqlite-wal may not be read and written"),
    ],
)
async def test_what_may_not_be_written_is_left_alone(content: bytes | None, name: str, mode: int, problem: str) -> None:
    with unprivileged() as folder:
        path = folder / "state.sqlite"
        await fill(path, a=b"1")
        (folder / "state.sqlite-wal").touch()
        if content is not None:
            path.write_bytes(content)
        (folder / name).chmod(mode)
        store = sqlite_store(path)
        with pytest.raises(StoreError) as caught:
            await store.open()
        assert str(caught.value) == f"{path}: {problem}"
        (folder / name).chmod(0o700)
        assert kept(folder) == {}
        assert len(await store.open()) == (content is not None)
        assert await values(store) == ({"a": b"1"} if content is None else {})
        await store.close()


# --- links -----------------------------------------------------------------------------------------------------


async def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    path, target = tmp_path / "link", tmp_path / "elsewhere" / "state.sqlite"
    target.parent.mkdir()
    path.symlink_to(target)
    await fill(path, a=b"1")
    assert sorted(os.listdir(target.parent)) == ["state.sqlite", "state.sqlite.lock"]
    target.write_bytes(b"no database")
    store = sqlite_store(path)
    [line] = await store.open()
    assert f"it is kept as {target}.damaged-{STAMP}" in line
    assert path.is_symlink()
    await store.close()


async def test_a_link_that_leads_elsewhere_now_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "link"
    await fill(tmp_path / "one", a=b"1")
    await fill(tmp_path / "two", a=b"2")
    path.symlink_to("one")
    store = sqlite_store(path)
    assert await values(store) == {"a": b"1"}
    path.unlink()
    path.symlink_to("two")
    with pytest.raises(StoreError, match="removed or replaced while it was in use"):
        await store.load()
    assert await values(store) == {"a": b"2"}
    await store.close()


# --- what happens to it while it is used -----------------------------------------------------------------------


@pytest.mark.parametrize("call", ["load", "replace", "compare_and_set", "set_aside"])
async def test_a_file_that_was_removed_is_noticed_and_made_anew(path: Path, call: str) -> None:
    store = sqlite_store(path)
    version = (await store.replace({"a": b"1"}))["a"]
    for name in os.listdir(path.parent):
        (path.parent / name).unlink()
    uses: dict[str, Callable[[], Awaitable[object]]] = {
        "load": store.load,
        "replace": lambda: store.replace({"a": b"2"}),
        "compare_and_set": lambda: store.compare_and_set({"a": (version, b"2")}),
        "set_aside": lambda: store.set_aside(["a"]),
    }
    with pytest.raises(StoreError) as caught:
        await uses[call]()
    assert str(caught.value) == f"{path}: it was removed or replaced while it was in use"
    assert await store.load() == {}
    assert await store.compare_and_set({"a": (version, b"2")}) == {}
    await store.compare_and_set({"a": (0, b"3")})
    assert await values(store) == {"a": b"3"}
    await store.close()
    again = sqlite_store(path)
    assert await again.open() == []
    assert await values(again) == {"a": b"3"}
    await again.close()


async def test_a_file_without_its_log_keeps_what_was_written(path: Path) -> None:
    store = sqlite_store(path)
    await store.replace({"a": b"1"})
    os.unlink(f"{path}-wal")
    with pytest.raises(StoreError, match="removed or replaced while it was in use"):
        await store.replace({"a": b"2"})
    assert await values(store) == {"a": b"1"}
    await store.close()


async def test_a_log_whose_file_was_removed_is_kept_and_told(path: Path) -> None:
    store = sqlite_store(path)
    await store.replace({"a": b"1"})
    path.unlink()
    with pytest.raises(StoreError, match="removed or replaced while it was in use"):
        await store.load()
    with pytest.raises(StoreError, match="gone or empty, and its write-ahead log is not; it is kept as"):
        await store.load()
    assert await store.load() == {}
    assert list(kept(path.parent)) == [f"state.sqlite.damaged-{STAMP}-wal"]
    await store.close()


async def test_a_file_that_was_replaced_is_noticed_and_the_new_one_used(path: Path) -> None:
    store = sqlite_store(path)
    await store.replace({"a": b"1"})
    await fill(path.with_name("backup"), a=b"from the backup")
    for suffix in ("-wal", "-shm"):
        os.unlink(f"{path}{suffix}")
    path.with_name("backup").rename(path)
    with pytest.raises(StoreError, match="removed or replaced while it was in use"):
        await store.replace({"b": b"2"})
    assert await values(store) == {"a": b"from the backup"}
    await store.close()
    again = sqlite_store(path)
    assert await values(again) == {"a": b"from the backup"}
    await again.close()


async def test_a_file_that_is_removed_while_it_is_written_has_not_been_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = sqlite_store(path)
    await store.replace({"a": b"1"})
    stat, looks = os.stat, 0

    def stat_and_remove(*arguments: object, **named: object) -> os.stat_result:
        nonlocal looks
        status: os.stat_result = stat(*arguments, **named)  # type: ignore[arg-type]  # passed on as they are
        if arguments[0] == f"{path}-shm" and not looks:
            looks += 1
            for suffix in ("", "-wal", "-shm"):
                os.unlink(f"{path}{suffix}")
        return status

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", stat_and_remove)
        with pytest.raises(StoreError, match="removed or replaced while it was in use"):
            await store.replace({"a": b"2"})
    assert await store.load() == {}
    await store.close()


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file can grow beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_disk_that_is_full_costs_that_write_alone(path: Path) -> None:
    store = sqlite_store(path)
    await store.replace({"a": b"1", "b": b"1"})
    with full_disk(200_000), pytest.raises(StoreError) as caught:
        await store.replace({"a": b"2", "b": bytes(10**6)})
    assert re.fullmatch(f"{re.escape(str(path))}: (disk I/O error|database or disk is full)", str(caught.value))
    assert await values(store) == {"a": b"1", "b": b"1"}
    await store.replace({"b": bytes(10**6)})
    assert await values(store) == {"a": b"1", "b": bytes(10**6)}
    await store.close()


async def test_a_disk_that_is_full_from_the_start_is_no_damage(path: Path) -> None:
    store = sqlite_store(path)
    with full_disk(1000), pytest.raises(StoreError, match=r"disk I/O error|database or disk is full"):
        await store.open()
    assert await store.open() == []
    assert kept(path.parent) == {}
    await store.replace({"a": b"1"})
    assert await values(store) == {"a": b"1"}
    await store.close()
