"""Journals beside files: what comes back out of one, and whose are not believed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters import files
from adapters.files import Journal

MARK, OTHER = "0123456789abcdef", "fedcba9876543210"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    return file


def beside(file: Path) -> Path:
    return file.parent / f".{file.name}.stagewhisper-journal"


def add(file: Path, *entries: tuple[str, bytes]) -> Journal:
    """A journal, opened anew for each of its entries."""
    journal = Journal(str(file))
    for mark, data in entries:
        entry = journal.open()
        entry.write(mark, data)
        entry.close()
    return journal


def test_entries_come_back_by_their_mark_oldest_first(file: Path) -> None:
    journal = add(file, (MARK, b"1"), (OTHER, b"2"), (MARK, b"3\n4"), (MARK, b""))
    assert (journal.read(MARK), journal.read(OTHER), journal.read("0" * 16)) == ([b"1", b"3\n4", b""], [b"2"], [])
    assert beside(file).stat().st_mode & 0o777 == 0o600
    assert file.read_bytes() == b"old"


def test_a_journal_is_there_from_its_first_opening_to_its_removal(file: Path) -> None:
    journal = Journal(str(file))
    seen = [journal.exists(), journal.read(MARK)]
    entry = journal.open()
    seen.append(journal.exists())
    entry.write(MARK, b"1")
    entry.close()
    seen.append(journal.exists())
    journal.remove()
    seen.append(journal.exists())
    journal.remove()
    assert seen == [False, [], True, True, False]


def test_a_journal_that_was_opened_in_vain_goes(file: Path) -> None:
    Journal(str(file)).open().close()
    assert os.listdir(file.parent) == ["file"]
    journal = add(file, (MARK, b"1"))
    journal.open().close()
    assert journal.read(MARK) == [b"1"]


@settings(max_examples=60, deadline=None)
@given(data=st.lists(st.binary(max_size=40), max_size=3), cut=st.integers(1, 80), last=st.binary(max_size=40))
def test_half_an_entry_costs_no_other_one(
    tmp_path_factory: pytest.TempPathFactory, data: list[bytes], cut: int, last: bytes
) -> None:
    file = tmp_path_factory.mktemp("half") / "file"
    file.write_bytes(b"old")
    journal = add(file, *((MARK, each) for each in data))
    before = beside(file).stat().st_size if data else 0
    add(file, (MARK, b"a half one"))
    whole = beside(file).stat().st_size
    os.truncate(beside(file), max(before, whole - cut))
    add(file, (MARK, last))
    found = journal.read(MARK)
    assert [*found[: len(data)], found[-1]] == [*data, last]
    # What is between is nothing, or a piece that is for the reader to refuse.
    assert [b"a half one".startswith(piece) for piece in found[len(data) : -1]] in ([], [True])


def test_a_link_has_its_journal_beside_what_it_leads_to(file: Path) -> None:
    link = file.parent / "links" / "link"
    link.parent.mkdir()
    link.symlink_to(file)
    add(link, (MARK, b"1"))
    assert Journal(str(file)).read(MARK) == [b"1"]
    assert os.listdir(link.parent) == ["link"]


# --- journals that nobody should believe -----------------------------------------------------------------------


def a_link(file: Path) -> None:
    elsewhere = add(file.parent / "elsewhere", (MARK, b"forged")).path
    beside(file).symlink_to(elsewhere)


def another_name(file: Path) -> None:
    os.link(add(file.parent / "elsewhere", (MARK, b"forged")).path, beside(file))


def for_all_to_write(file: Path) -> None:
    add(file, (MARK, b"forged"))
    beside(file).chmod(0o622)


def a_strangers(file: Path) -> None:
    add(file, (MARK, b"forged"))
    os.chown(beside(file), 12345, 12345)


def a_pipe(file: Path) -> None:
    os.mkfifo(beside(file))


NOT_OURS = [
    a_link,
    another_name,
    for_all_to_write,
    pytest.param(a_strangers, marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")),
    a_pipe,
]


@pytest.mark.parametrize("make", NOT_OURS)
def test_a_journal_that_another_may_have_written_is_not_read_and_goes(
    file: Path, make: Callable[[Path], object]
) -> None:
    elsewhere = file.parent / "elsewhere"
    elsewhere.write_bytes(b"other's")
    make(file)
    kept = beside(elsewhere).read_bytes() if beside(elsewhere).exists() else None
    journal = Journal(str(file))
    assert journal.read(MARK) == []
    assert not journal.exists()
    assert elsewhere.read_bytes() == b"other's"
    assert kept is None or beside(elsewhere).read_bytes() == kept


@pytest.mark.parametrize("make", [*NOT_OURS, lambda file: beside(file).mkdir()])
def test_nor_is_anything_written_into_it(file: Path, make: Callable[[Path], object]) -> None:
    (file.parent / "elsewhere").write_bytes(b"other's")
    make(file)
    paths = [path for path in (beside(file), beside(file.parent / "elsewhere")) if path.is_file()]
    before = [path.read_bytes() for path in paths]
    descriptors = len(os.listdir("/dev/fd"))
    with pytest.raises(OSError, match=r"somebody else's|symbolic links|No such device|directory"):
        Journal(str(file)).open()
    assert [path.read_bytes() for path in paths] == before
    assert len(os.listdir("/dev/fd")) == descriptors


def test_one_that_cannot_be_read_stays(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = add(file, (MARK, b"1"))

    def exhausted(*_: object) -> int:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", exhausted)
        with pytest.raises(OSError, match="Too many open files"):
            journal.read(MARK)
    assert journal.read(MARK) == [b"1"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_journal_is_the_files_owners_when_root_makes_it(file: Path) -> None:
    os.chown(file, 12345, 54321)
    journal = add(file, (MARK, b"1"))
    status = beside(file).stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (12345, 54321, 0o600)
    assert journal.read(MARK) == [b"1"]


# --- the disk --------------------------------------------------------------------------------------------------


def test_a_disk_that_is_full_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = add(file, (MARK, b"1"))
    write = os.write
    entry = journal.open()
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:25]))
        with pytest.raises(OSError, match="No space left"):
            entry.write(MARK, b"a longer one")
    entry.close()
    add(file, (MARK, b"3"))
    assert journal.read(MARK) == [b"1", b"3"]


def test_what_lasts_is_on_the_disk_with_its_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = add(file, (MARK, b"1"))
    synced: list[int] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    journal.make_lasting(MARK, b"1")
    assert synced == [beside(file).stat().st_ino, file.parent.stat().st_ino]
    assert journal.read(MARK) == [b"1"]


def test_a_journal_does_not_grow_without_end(file: Path) -> None:
    journal = Journal(str(file))
    sizes = []
    for number in range(40):
        data = b"%d" % number * 3000
        add(file, (MARK, data))
        journal.make_lasting(MARK, data)
        sizes.append(beside(file).stat().st_size)
        assert journal.read(MARK)[-1] == data
    assert max(sizes) < 80_000
    assert beside(file).stat().st_mode & 0o777 == 0o600


def test_of_a_journal_that_is_far_too_long_the_end_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_LONGEST_JOURNAL", 100)
    journal = add(file, (MARK, b"1" * 300), (MARK, b"2"))
    assert journal.read(MARK) == [b"2"]


@pytest.mark.parametrize("failing", ["lstat", "open", "fsync"])
def test_to_make_it_last_is_no_more_than_tried(file: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    journal = add(file, (MARK, b"1"))
    tried: list[str] = []

    def fails(*_: object) -> int:
        tried.append(failing)
        raise OSError(5, "Input/output error")

    descriptors = len(os.listdir("/dev/fd"))
    with monkeypatch.context() as patched:
        patched.setattr(os, failing, fails)
        journal.make_lasting(MARK, b"1")
    assert tried
    assert len(os.listdir("/dev/fd")) == descriptors
    assert journal.read(MARK) == [b"1"]
