"""How much a recorder keeps: files and bytes in its folder, and what waits in memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters import recorder as recorder_module
from core.dialogue import BodyEnded, DataArrived
from core.recording import parse_recording
from tests.adapters.recorders import (
    CUT_ROOM,
    FOREIGN,
    TEXT,
    Followed,
    Studio,
    at_work,
    name,
    recordings,
    settle,
    why_cut,
)
from tests.adapters.token_files import in_virtual_time
from tests.builders import body, text
from tests.recordings import CALLED

# --- files and bytes -------------------------------------------------------------------------------------------


@in_virtual_time
async def test_the_oldest_go_where_there_are_too_many_and_nothing_else_does(tmp_path: Path) -> None:
    for each, data in FOREIGN.items():
        (tmp_path / each).write_bytes(data)
    (tmp_path / name(0)).mkdir()
    tmp_path.chmod(0o700)
    studio = Studio(tmp_path, max_files=3)
    async with at_work(studio):
        for _ in range(6):
            studio.record()
            await settle()
            assert len(recordings(studio)) <= 1 + 3
    assert list(recordings(studio)) == [name(0), name(4), name(5), name(6)]
    assert {each: (tmp_path / each).read_bytes() for each in FOREIGN} == FOREIGN
    assert studio.said == []


@in_virtual_time
async def test_the_oldest_go_where_there_are_too_many_bytes(tmp_path: Path) -> None:
    size = len(Studio(tmp_path / "unused").record().taped)
    studio = Studio(tmp_path, max_bytes=3 * size + CUT_ROOM)
    async with at_work(studio):
        for _ in range(6):
            studio.record()
            await settle()
    assert recordings(studio) == {name(number): size for number in (4, 5, 6)}


@in_virtual_time
async def test_lower_bounds_hold_from_the_start(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    async with at_work(studio):
        for _ in range(6):
            studio.record()
        await settle()
    Studio(tmp_path, max_files=2).recorder.open()
    assert list(recordings(studio)) == [name(5), name(6)]
    Studio(tmp_path, max_bytes=1).recorder.open()
    assert studio.names == []


@in_virtual_time
async def test_what_is_being_written_is_not_deleted_for_what_is_newer(tmp_path: Path) -> None:
    studio = Studio(tmp_path, max_files=2)
    async with at_work(studio):
        running = studio.begin().call().begin_answer(CALLED[:200])
        for _ in range(4):
            studio.record()
            await settle()
        assert list(recordings(studio)) == [name(1), name(5)]
        running.tell(DataArrived(CALLED[200:TEXT]), BodyEnded())
        await settle()
        assert (tmp_path / name(1)).read_bytes() == running.taped
        studio.record()
        await settle()
        assert list(recordings(studio)) == [name(5), name(6)]


@in_virtual_time
async def test_more_exchanges_at_once_than_files_are_not_all_recorded_which_is_said_once(tmp_path: Path) -> None:
    studio = Studio(tmp_path, max_files=2)
    async with at_work(studio):
        several = [studio.begin().call().begin_answer(CALLED[:200]) for _ in range(5)]
        await settle()
        for followed in several:
            followed.tell(DataArrived(CALLED[200:TEXT]), BodyEnded())
        await settle()
    assert studio.contents == [followed.taped for followed in several[:2]]
    assert studio.said == [
        f"{tmp_path}: some exchanges are not recorded: there is no room for all that are running"
        " (recording.maxFiles, recording.maxBytes)"
    ]


@pytest.mark.parametrize("at_once", [True, False])
@in_virtual_time
async def test_a_recording_that_is_too_large_is_cut_and_says_so(tmp_path: Path, at_once: bool) -> None:
    size = 20_000
    studio = Studio(tmp_path, max_bytes=size)
    async with at_work(studio):
        followed = studio.begin(pause=0.001).call().begin_answer()
        for _ in range(1000):
            followed.tell(DataArrived(body(text("some more words"))))
            if not at_once:
                await settle()
        await settle()
    [data] = studio.contents
    assert size - 2 * CUT_ROOM - 300 < len(data) <= size
    assert why_cut(data) == "there was no room for more of it (recording.maxBytes)"
    assert followed.taped.startswith(data[: data.rfind(b'{"what":"cut"')])
    assert studio.said == []


@in_virtual_time
async def test_a_recording_of_which_nothing_could_be_read_is_not_begun(tmp_path: Path) -> None:
    studio = Studio(tmp_path, max_bytes=2000)
    (tmp_path / name(0)).write_bytes(b"the one before")
    async with at_work(studio):
        studio.record(messages=[{"role": "user", "content": "too long " * 1000}])
        await settle()
        assert studio.names == [name(0)]
        assert len(studio.said) == 1


@in_virtual_time
async def test_the_bounds_hold_at_every_moment_while_many_are_written(tmp_path: Path) -> None:
    studio = Studio(tmp_path, max_files=7, max_bytes=30_000)
    async with at_work(studio):
        several = [studio.begin().call().begin_answer() for _ in range(5)]
        for turn in range(60):
            several[turn % 5].tell(DataArrived(body(text("some more words " * 30))))
            studio.record()
            await settle()
            sizes = recordings(studio)
            assert len(sizes) <= 7
            assert sum(sizes.values()) <= 30_000
    for data in studio.contents:
        parse_recording(data)


@settings(max_examples=30, deadline=None)
@given(
    acts=st.lists(st.tuples(st.sampled_from(["begin", "data", "end", "leave"]), st.integers(0, 5)), max_size=40),
    max_files=st.integers(1, 4),
    max_bytes=st.sampled_from([1, 1500, 4000, 9000]),
)
def test_whatever_is_done_the_bounds_hold_and_the_count_is_right(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, int]], max_files: int, max_bytes: int
) -> None:
    studio = Studio(tmp_path_factory.mktemp("bounded"), max_files=max_files, max_bytes=max_bytes)
    data = body(text("some words " * 20))

    @in_virtual_time
    async def run() -> None:
        running: list[Followed] = []
        async with at_work(studio):
            for act, which in acts:
                if act == "begin":
                    running.append(studio.begin().call().begin_answer())
                elif running:
                    followed = running[which % len(running)]
                    if act == "data":
                        followed.tell(DataArrived(data))
                    else:
                        running.remove(followed)
                        if act == "end":
                            followed.tell(BodyEnded())
                        followed.leave()
                await settle()
                sizes = recordings(studio)
                archive = studio.recorder._archive
                assert (len(sizes) <= max_files, sum(sizes.values()) <= max_bytes) == (True, True)
                assert (archive._sizes, archive._names, archive._total) == (sizes, list(sizes), sum(sizes.values()))
                assert archive._open_total == sum(sizes[name] for name in archive._open)
        for recorded in studio.contents:
            parse_recording(recorded)

    run()


# --- what waits ------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_more_than_may_wait_is_given_up_and_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "_MOST_WAITING", 200_000)
    studio = Studio(tmp_path)
    data = body(text("x" * 10_000))
    async with at_work(studio):
        several = [studio.begin().call().begin_answer() for _ in range(3)]
        for _ in range(10):
            for followed in several:
                followed.tell(DataArrived(data))  # nothing is written meanwhile
        assert studio.recorder._put - studio.recorder._done <= 200_000
        assert studio.begin().recording is not None  # small ones still fit
        await settle()
        trouble = "more than 0 MiB wait to be written; recordings are given up until it works again"
        assert studio.said == [
            f"{tmp_path}: {trouble}: no request is affected",
            f"{tmp_path}: recordings are written again",
        ]
        later = studio.record()
        await settle()
    assert [why_cut(recorded) for recorded in studio.contents[:3]] == ["more waited to be written than may"] * 3
    assert studio.contents[3] == later.taped
    assert len(studio.said) == 2


@in_virtual_time
async def test_where_nothing_more_may_wait_nothing_more_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "_MOST_WAITING", 10_000)
    studio = Studio(tmp_path)
    async with at_work(studio):
        begun = [followed.recording is not None for followed in (studio.begin().call() for _ in range(50))]
        assert 3 < begun.count(True) < 20
        assert begun == sorted(begun, reverse=True)
        await settle()
        assert studio.begin().recording is not None


@in_virtual_time
async def test_bytes_that_are_held_back_count_as_waiting(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    frame = body(text("x" * 100_000))
    async with at_work(studio):
        followed = studio.begin().call().begin_answer()
        for start in range(0, 100_000, 10_000):
            followed.tell(DataArrived(frame[start : start + 10_000]))
            await settle()
        assert studio.recorder._put - studio.recorder._done == 100_000
        followed.tell(DataArrived(frame[100_000:]))
        await settle()
        assert studio.recorder._put == studio.recorder._done
        followed.tell(DataArrived(frame[:50]))
        await settle()
        assert studio.recorder._put - studio.recorder._done == 50
        followed.leave()
        await settle()
        assert studio.recorder._put == studio.recorder._done


@in_virtual_time
async def test_an_answer_counts_when_it_comes_and_when_it_is_delivered(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    async with at_work(studio):
        followed = studio.begin().call().begin_answer(CALLED[:200])
        before = studio.recorder._put
        followed.wake()
        assert studio.recorder._put == before + 512  # a ping is not made of what came
        followed.tell(DataArrived(CALLED[200:TEXT]))
        assert studio.recorder._put == before + 2 * 512 + (TEXT - 200)
        followed.tell(BodyEnded())
        assert studio.recorder._put == before + 3 * 512 + (TEXT - 200) + TEXT


@in_virtual_time
async def test_a_whole_answer_counts_with_all_of_its_bytes(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    async with at_work(studio):
        followed = studio.begin(stream=False).call().begin_answer(CALLED[:TEXT])
        before = studio.recorder._put
        followed.tell(BodyEnded())
        assert studio.recorder._put == before + 512 + len(followed.whole.body)
        await settle()
    assert studio.contents == [followed.taped]
