"""What goes wrong while recordings are written: said once, given up, mended, and never an exchange's affair."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import trio

from adapters.archive import Archive, File, Outcome
from adapters.recorder import RecorderError
from core.dialogue import BodyEnded, DataArrived
from core.recording import parse_recording
from core.times import Epoch
from tests.adapters.recorders import AGAIN, GIVEN_UP, TEXT, Studio, at_work, failing, full_disk, name, settle, why_cut
from tests.adapters.token_files import in_virtual_time
from tests.recordings import CALLED

CUT = b'{"what":"cut","why":"it could not be written: No space left on device"}\n'

# --- the system says no ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EMFILE, errno.EIO, errno.EDQUOT])
@in_virtual_time
async def test_files_that_cannot_be_made_are_told_of_once_until_they_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    studio = Studio(tmp_path)
    async with at_work(studio):
        running = studio.begin().call().begin_answer(CALLED[:200])
        await settle()
        with failing(monkeypatch, tmp_path, error, "open"):
            for _ in range(3):
                studio.record()
                await settle()
        assert studio.said == [f"{tmp_path}: {os.strerror(error)}; {GIVEN_UP}"]
        # What was begun before shows nothing: in a folder that cannot be written, its file still can.
        running.tell(DataArrived(CALLED[200:TEXT]), BodyEnded())
        await settle()
        assert len(studio.said) == 1
        whole = studio.record()
        await settle()
        assert studio.said[1:] == [f"{tmp_path}: {AGAIN}"]
        studio.record()
        await settle()
    assert len(studio.said) == 2
    assert studio.contents[:2] == [running.taped, whole.taped]


@pytest.mark.parametrize("room", [0, 1, 500, 1000, 2000, 2500, 3000])
@pytest.mark.parametrize("at_once", [True, False])
@in_virtual_time
async def test_a_full_disk_leaves_whole_lines_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, at_once: bool
) -> None:
    studio = Studio(tmp_path)
    async with at_work(studio):
        with full_disk(monkeypatch, room, errno.ENOSPC):
            followed = studio.begin().call().begin_answer()
            for start in range(0, len(CALLED), 10):
                followed.tell(DataArrived(CALLED[start : start + 10]))
                if not at_once:
                    await settle()
            followed.tell(BodyEnded())
            await settle()
        for data in studio.contents:
            assert data.endswith(b"\n")
            assert not parse_recording(data).is_torn
            assert followed.taped.startswith(data.removesuffix(CUT))
        assert (len(studio.names) == 1) == (room >= 1000)
        assert studio.said == [f"{tmp_path}: No space left on device; {GIVEN_UP}"]
        studio.record()
        await settle()
    assert studio.said[1:] == [f"{tmp_path}: {AGAIN}"]


@in_virtual_time
async def test_a_recording_that_cannot_go_on_says_so_where_there_is_room_for_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = Studio(tmp_path)
    real = os.write
    refused = 0

    def write(descriptor: int, data: Any) -> int:
        nonlocal refused
        if b'"what":"data"' in bytes(data):
            refused += 1
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return real(descriptor, data)

    async with at_work(studio):
        followed = studio.begin().call().begin_answer()
        await settle()
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write)
            followed.tell(DataArrived(CALLED[:TEXT]))
            await settle()
            followed.tell(BodyEnded())
            await settle()
    assert refused == 1
    assert why_cut(studio.contents[0]) == "it could not be written: File too large"
    assert studio.said == [f"{tmp_path}: File too large; {GIVEN_UP}"]


@in_virtual_time
async def test_a_write_of_nothing_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studio = Studio(tmp_path)
    async with at_work(studio):
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda *_: 0)
            studio.record()
            await settle()
    assert (studio.names, studio.said) == ([], [f"{tmp_path}: No space left on device; {GIVEN_UP}"])


@in_virtual_time
async def test_where_a_partial_line_cannot_be_taken_back_a_reader_finds_it_torn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = Studio(tmp_path)
    async with at_work(studio):
        followed = studio.begin().call().begin_answer()
        await settle()
        with full_disk(monkeypatch, 50, errno.ENOSPC), monkeypatch.context() as patch:
            patch.setattr(os, "ftruncate", _refuse)
            followed.tell(DataArrived(CALLED[:TEXT]))
            await settle()
    recording = parse_recording(studio.contents[0])
    assert recording.is_torn
    archive = studio.recorder._archive
    assert archive._sizes == {name(1): len(studio.contents[0])}


def _refuse(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@in_virtual_time
async def test_a_cut_that_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(str(tmp_path), max_files=9, max_bytes=9_000)
    archive.prepare()
    file = File(Epoch(1_700_000_000.0), "../../é:1")
    assert archive.append(file, b"1\n2\n3\n") is Outcome.WRITTEN
    with full_disk(monkeypatch, 7, errno.ENOSPC):
        archive.cut(file, "for no reason")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "2023-11-14T22-13-20.000Z-________1.jsonl": b"1\n2\n3\n"
    }
    assert archive._open == set()


@in_virtual_time
async def test_a_cut_that_cannot_be_taken_back_either_is_torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(str(tmp_path), max_files=9, max_bytes=9_000)
    archive.prepare()
    file = File(Epoch(1_700_000_000.0), "a")
    assert archive.append(file, b"1\n2\n3\n") is Outcome.WRITTEN
    shorten = os.ftruncate
    sizes: list[int] = []

    def ftruncate(descriptor: int, size: int) -> None:
        sizes.append(size)
        if len(sizes) > 1:
            _refuse()
        shorten(descriptor, size)

    with full_disk(monkeypatch, 8, errno.ENOSPC, again=9), monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", ftruncate)
        with pytest.raises(OSError, match="No space left"):
            archive.append(file, b"4444\n5555\n")
    assert sizes == [11, 11]
    assert (tmp_path / "2023-11-14T22-13-20.000Z-a.jsonl").read_bytes() == b'1\n2\n3\n4444\n{"what":"'
    assert (file.size, archive._total) == (20, 20)


@in_virtual_time
async def test_names_are_not_tried_for_ever(tmp_path: Path) -> None:
    archive = Archive(str(tmp_path), max_files=999, max_bytes=9_000_000)
    archive.prepare()
    for _ in range(100):
        assert archive.append(File(Epoch(1.7e9), "a"), b"1\n2\n3\n") is Outcome.WRITTEN
    with pytest.raises(FileExistsError):
        archive.append(File(Epoch(1.7e9), "a"), b"1\n2\n3\n")
    assert len(os.listdir(tmp_path)) == 100


@pytest.mark.parametrize("in_vain", [1, 9])
@in_virtual_time
async def test_old_recordings_that_cannot_be_deleted_are_passed_over_while_others_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_vain: int
) -> None:
    studio = Studio(tmp_path, max_files=12)
    kept = [name(number) for number in range(1, 1 + in_vain)]
    unlink = os.unlink

    def stubborn(path: str) -> None:
        if os.path.basename(path) in kept:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        unlink(path)

    async with at_work(studio):
        for _ in range(12):
            studio.record()
            await settle()
        monkeypatch.setattr(os, "unlink", stubborn)
        studio.record()
        await settle()
        if in_vain == 1:
            assert studio.names == [name(1), *(name(number) for number in range(3, 14))]
            assert studio.said == []
        else:
            assert studio.names == [name(number) for number in range(1, 13)]
            assert studio.said == [f"{tmp_path}: Operation not permitted; {GIVEN_UP}"]


@in_virtual_time
async def test_where_nothing_can_be_deleted_nothing_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studio = Studio(tmp_path, max_files=2)
    async with at_work(studio):
        studio.record()
        studio.record()
        await settle()
        with failing(monkeypatch, tmp_path, errno.EACCES, "unlink"):
            studio.record()
            await settle()
            Studio(tmp_path, max_files=1).recorder.open()  # which is no reason not to start
    assert studio.names == [name(1), name(2)]
    assert studio.said == [f"{tmp_path}: Permission denied; {GIVEN_UP}"]


@pytest.mark.parametrize("calls", [("scandir",), ("scandir", "stat")])
@in_virtual_time
async def test_a_folder_that_cannot_be_looked_at_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: tuple[str, ...]
) -> None:
    studio = Studio(tmp_path)
    async with at_work(studio):
        first = studio.record()
        await settle()
        with failing(monkeypatch, tmp_path, errno.EIO, *calls) as refused:
            await trio.sleep(61)
            second = studio.record()
            await settle()
    assert "scandir" in refused
    assert studio.contents == [first.taped, second.taped]
    assert studio.said == []


@in_virtual_time
async def test_something_else_in_the_folders_place_is_told_of(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    studio = Studio(folder)
    async with at_work(studio):
        folder.rmdir()
        folder.write_bytes(b"")
        studio.record()
        await settle()
        folder.unlink()
        whole = studio.record()
        await settle()
    assert studio.said == [f"{folder}: Not a directory; {GIVEN_UP}", f"{folder}: {AGAIN}"]
    assert studio.contents == [whole.taped]


@pytest.mark.parametrize("kind", ["link", "pipe"])
@in_virtual_time
async def test_what_came_to_stand_in_a_recordings_place_is_neither_followed_nor_waited_for(
    tmp_path: Path, kind: str
) -> None:
    studio = Studio(tmp_path / "recordings")
    other = tmp_path / "other"
    other.write_bytes(b"other's")
    async with at_work(studio):
        followed = studio.begin().call().begin_answer(CALLED[:200])
        await settle()
        path = studio.folder / name(1)
        path.unlink()
        if kind == "link":
            path.symlink_to(other)
        else:
            os.mkfifo(path)
        followed.tell(DataArrived(CALLED[200:TEXT]), BodyEnded())
        await settle()
    assert other.read_bytes() == b"other's"
    assert len(studio.said) == 1


@pytest.mark.parametrize("call", ["mkdir", "open", "scandir"])
def test_a_folder_that_cannot_be_used_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    folder = tmp_path / "recordings"
    with (
        failing(monkeypatch, folder, errno.EROFS, call),
        pytest.raises(RecorderError, match=r"^recordings cannot be kept in /.*/recordings: Read-only file system$"),
    ):
        Studio(folder).recorder.open()
