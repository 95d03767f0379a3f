"""The folder that a recorder writes into: made, private, shared with other processes, touched by others."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest
import trio

from adapters.recorder import RecorderError
from core.dialogue import BodyEnded, DataArrived
from core.recording import parse_recording
from tests.adapters.recorders import TEXT, Studio, at_work, name, recordings, settle
from tests.adapters.token_files import in_virtual_time
from tests.recordings import CALLED

# --- others ----------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_two_recorders_share_a_folder_and_its_bounds(tmp_path: Path) -> None:
    one, other = Studio(tmp_path, max_files=6), Studio(tmp_path, max_files=6)
    async with at_work(one, other):
        running = one.begin().call().begin_answer(CALLED[:200])
        await settle()
        for _ in range(10):
            one.record()
            other.record()
            await trio.sleep(1.5)
            assert len(one.names) <= 6 + 1  # one more until the other has looked
        one.record()
        await settle()
        assert len(one.names) <= 6
        running.leave()
    assert (one.said, other.said) == ([], [])
    for data in one.contents:
        parse_recording(data)


@in_virtual_time
async def test_what_others_write_is_noticed_within_a_minute(tmp_path: Path) -> None:
    studio = Studio(tmp_path, max_bytes=20_000)
    async with at_work(studio):
        studio.record()
        await settle()
        (tmp_path / name(0)).write_bytes(b"")
        await trio.sleep(2)
        studio.record()
        await settle()
        with open(tmp_path / name(0), "ab") as file:  # which the folder does not show
            file.write(b"x" * 15_000)
        await trio.sleep(60)
        studio.record()
        studio.record()
        await settle()
    assert name(0) not in studio.names
    assert sum(recordings(studio).values()) <= 20_000


@pytest.mark.parametrize("change", ["deleted", "cut", "longer", "folder"])
@in_virtual_time
async def test_a_running_recording_that_somebody_touched_is_given_up_in_silence(tmp_path: Path, change: str) -> None:
    folder = tmp_path / "recordings"
    studio = Studio(folder)
    async with at_work(studio):
        running = studio.begin().call().begin_answer(CALLED[:200])
        await settle()
        path = folder / name(1)
        if change in ("deleted", "folder"):
            path.unlink()
            after = None
        else:
            path.write_bytes(after := path.read_bytes()[:-10] if change == "cut" else path.read_bytes() + b"x")
        if change == "folder":
            folder.rmdir()
        running.tell(DataArrived(CALLED[200:TEXT]), BodyEnded())
        await settle()
        assert (path.read_bytes() if path.exists() else None) == after
        assert folder.exists() == (change != "folder")
        later = studio.record()
        await settle()
    assert (folder / name(2)).read_bytes() == later.taped
    assert folder.stat().st_mode & 0o777 == 0o700
    assert studio.said == []


@in_virtual_time
async def test_files_that_somebody_else_deleted_are_not_counted(tmp_path: Path) -> None:
    studio = Studio(tmp_path, max_files=3)
    async with at_work(studio):
        for _ in range(3):
            studio.record()
            await settle()
        (tmp_path / name(1)).unlink()
        (tmp_path / name(3)).unlink()
        studio.record()
        studio.record()
        await settle()
    assert list(recordings(studio)) == [name(2), name(4), name(5)]


@in_virtual_time
async def test_a_file_that_somebody_deletes_just_then_is_gone_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = Studio(tmp_path, max_files=2)
    unlink = os.unlink

    def after_another(path: str) -> None:
        unlink(path)
        unlink(path)

    async with at_work(studio):
        studio.record()
        studio.record()
        await settle()
        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", after_another)
            studio.record()
            await settle()
        assert studio.names == [name(2), name(3)]
        studio.record()
        await settle()
    assert studio.names == [name(3), name(4)]
    assert studio.said == []


@in_virtual_time
async def test_a_large_folder_is_not_looked_at_all_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2000):
        (tmp_path / f"2023-11-14T22-13-20.000Z-{number}.jsonl").write_bytes(b"")
    studio = Studio(tmp_path, max_files=5000)
    looks: list[float] = []
    scandir = os.scandir

    def counted(path: str) -> object:
        looks.append(trio.current_time())
        return scandir(path)

    async with at_work(studio):
        monkeypatch.setattr(os, "scandir", counted)
        for number in range(40):
            (tmp_path / f"2023-11-14T22-13-21.000Z-{number}.jsonl").write_bytes(b"")
            studio.record()
            await trio.sleep(0.1)
    assert 10 <= len(looks) <= 20


@in_virtual_time
async def test_what_somebody_adds_to_a_running_recording_keeps_no_other_from_being_written(tmp_path: Path) -> None:
    studio = Studio(tmp_path, max_bytes=20_000)
    async with at_work(studio):
        studio.begin(pause=0.001).call().begin_answer(CALLED[:200])
        await settle()
        with open(tmp_path / name(1), "ab") as file:
            file.write(b"x" * 30_000)
        await trio.sleep(61)
        other = studio.record()
        await settle()
    assert (tmp_path / name(2)).read_bytes() == other.taped


# --- the folder ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [[], [name(0), name(1)]])
def test_a_folder_that_others_may_enter_is_closed_where_it_is_for_recordings_alone(
    tmp_path: Path, files: list[str]
) -> None:
    for each in files:
        (tmp_path / each).write_bytes(b"")
    tmp_path.chmod(0o755)
    studio = Studio(tmp_path)
    studio.recorder.open()
    studio.recorder.open()
    assert (tmp_path.stat().st_mode & 0o777, studio.names) == (0o700, files)


def test_a_folder_that_others_may_enter_is_refused_where_there_is_more_in_it(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"")
    tmp_path.chmod(0o755)
    with pytest.raises(RecorderError) as raised:
        Studio(tmp_path).recorder.open()
    assert str(raised.value) == (
        f"recordings cannot be kept in {tmp_path}: others may enter it (mode 0755), and it has other files in it:"
        " name another folder, or set its mode to 700"
    )
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    tmp_path.chmod(0o700)
    Studio(tmp_path).recorder.open()


def test_a_folder_of_somebody_else_is_not_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o750)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(RecorderError, match=r"it is not yours to close: name a folder of your own"):
        Studio(tmp_path).recorder.open()


def test_a_folder_is_found_through_links_and_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "to" / "be" / "made")
    Studio(tmp_path / "link").recorder.open()
    monkeypatch.setenv("HOME", str(tmp_path))
    Studio(Path("~/mine")).recorder.open()
    assert (tmp_path / "to" / "be" / "made").is_dir()
    assert (tmp_path / "mine").is_dir()


@pytest.mark.parametrize(
    ("path", "problem"),
    [("file", "Not a directory"), ("file/below", "Not a directory"), ("a\0b", "embedded null")],
)
def test_what_can_be_no_folder_is_refused_in_one_line(tmp_path: Path, path: str, problem: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RecorderError) as raised:
        Studio(tmp_path / path).recorder.open()
    assert str(raised.value).startswith(f"recordings cannot be kept in {tmp_path / path}: ")
    assert problem in str(raised.value)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no folder here in which none can be made")
def test_a_folder_that_nobody_can_make_is_refused() -> None:
    with pytest.raises(
        RecorderError, match=r"^recordings cannot be kept in /proc/none/below: No such file or directory$"
    ):
        Studio(Path("/proc/none/below")).recorder.open()


def test_a_folder_on_no_drive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mkdir(path: str, *_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(RecorderError, match=r": No such file or directory$"):
        Studio(tmp_path / "recordings").recorder.open()


def test_a_folder_that_another_process_makes_at_the_same_time_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.mkdir

    def mkdir(path: str, mode: int) -> None:
        if path.endswith("above"):
            real(path, mode)
            real(f"{path}/recordings", mode)
        else:
            real(path, mode)

    monkeypatch.setattr(os, "mkdir", mkdir)
    Studio(tmp_path / "above" / "recordings").recorder.open()
    assert (tmp_path / "above" / "recordings").stat().st_mode & 0o777 == 0o700


def test_on_windows_modes_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.txt").write_bytes(b"")
    tmp_path.chmod(0o755)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "chmod", None)
    monkeypatch.delattr(os, "geteuid")
    Studio(tmp_path).recorder.open()
    Studio(tmp_path / "recordings").recorder.open()
    assert tmp_path.stat().st_mode & 0o777 == 0o755
