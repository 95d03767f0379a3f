"""The writer of recordings where it has no thread, hangs, is stopped in its work, or meets a bug."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from adapters import recorder as recorder_module
from core.dialogue import BodyEnded, DataArrived
from core.taping import record
from tests.adapters.recorders import AGAIN, GIVEN_UP, TEXT, Studio, at_work, settle, why_cut
from tests.adapters.token_files import in_virtual_time
from tests.recordings import CALLED

# --- threads ---------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_where_there_is_no_thread_what_waits_is_written_later(tmp_path: Path) -> None:
    has_threads = False

    async def in_thread(work: Callable[[], Any], /) -> Any:
        await trio.lowlevel.checkpoint()
        if not has_threads:
            raise RuntimeError("can't start new thread")
        return work()

    studio = Studio(tmp_path, in_thread=in_thread)
    async with at_work(studio):
        early = studio.record()
        await settle()
        assert studio.said == [f"{tmp_path}: can't start new thread; {GIVEN_UP}"]
        has_threads = True
        await settle()
        assert studio.said[1:] == [f"{tmp_path}: {AGAIN}"]
    assert studio.contents == [early.taped]


@in_virtual_time
async def test_a_disk_that_hangs_keeps_no_gateway_from_stopping(tmp_path: Path) -> None:
    async def in_thread(_: Callable[[], Any], /) -> Any:
        await trio.sleep_forever()

    studio = Studio(tmp_path, in_thread=in_thread)
    async with at_work(studio):
        studio.record()
        await settle()
    began = trio.current_time()
    await studio.recorder.close()
    assert trio.current_time() - began == 5
    assert studio.said == [f"{tmp_path}: the last lines of recordings could not be written within 5 seconds"]


async def test_a_thread_that_was_left_to_its_work_is_waited_for(tmp_path: Path) -> None:
    studio = Studio(tmp_path, in_thread=None)
    studio.recorder.open()
    archive = studio.recorder._archive
    is_in_it, may_go_on = trio.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()
    look = archive.look

    def held_up(now: float) -> None:
        trio.from_thread.run_sync(is_in_it.set, trio_token=token)
        trio.from_thread.run(may_go_on.wait, trio_token=token)
        look(now)

    archive.look = held_up  # type: ignore[method-assign]  # it is the first thing that the thread does
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(studio.recorder.run)
            followed = studio.begin().call().begin_answer(CALLED[:200])
            await is_in_it.wait()
            archive.look = look  # type: ignore[method-assign]  # the next one is not held up
            nursery.cancel_scope.cancel()
        assert studio.names == []
        followed.tell(DataArrived(CALLED[200:TEXT]), BodyEnded())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(studio.recorder.close)
            await trio.testing.wait_all_tasks_blocked()
            assert studio.names == []
            may_go_on.set()
    assert studio.contents == [followed.taped]


# --- bugs ------------------------------------------------------------------------------------------------------


def _bug(monkeypatch: pytest.MonkeyPatch, marker: bytes) -> None:
    def buggy(tape: Any, moment: Any) -> Any:
        if isinstance(moment.happening, DataArrived) and marker in moment.happening.data:
            raise ZeroDivisionError
        return record(tape, moment)

    monkeypatch.setattr(recorder_module, "record", buggy)


@in_virtual_time
async def test_a_bug_costs_one_recording_and_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _bug(monkeypatch, b"marker")
    studio = Studio(tmp_path)
    studio.recorder.open()
    one = studio.begin().call().begin_answer(CALLED[:200])
    one.tell(DataArrived(b"marker"))
    two = studio.record()
    with pytest.raises(ExceptionGroup) as raised:
        async with at_work(studio):
            await settle()
    assert raised.group_contains(ZeroDivisionError)
    assert why_cut(studio.contents[0]) == "a bug of the gateway"
    assert studio.contents[1] == two.taped
    async with at_work(studio):  # as the gateway does
        one.leave()
        three = studio.record()
        await settle()
    assert studio.contents[1:] == [two.taped, three.taped]
    assert studio.recorder._put == studio.recorder._done


@in_virtual_time
async def test_a_bug_behind_what_could_not_be_written_adds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _bug(monkeypatch, b"marker")
    studio = Studio(tmp_path, max_bytes=3000)
    studio.recorder.open()
    followed = studio.begin(pause=0.001).call().begin_answer()
    for _ in range(20):
        followed.tell(DataArrived(CALLED[:125]))
    followed.tell(DataArrived(b"marker"))
    await studio.recorder.close()
    assert studio.said == ["a bug of the gateway cost the end of a recording: ZeroDivisionError"]
    assert why_cut(studio.contents[0]) == "there was no room for more of it (recording.maxBytes)"


@in_virtual_time
async def test_a_bug_in_what_is_written_last_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studio = Studio(tmp_path)
    studio.recorder.open()
    monkeypatch.setattr(studio.recorder._archive, "append", lambda *_: 1 // 0)
    studio.record()
    await studio.recorder.close()
    assert studio.said == ["a bug of the gateway cost the end of a recording: ZeroDivisionError"]


@in_virtual_time
async def test_of_several_bugs_in_one_turn_none_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _bug(monkeypatch, b"marker")
    studio = Studio(tmp_path)
    studio.recorder.open()
    for _ in range(3):
        studio.begin().call().begin_answer(CALLED[:200]).tell(DataArrived(b"marker"))
    with pytest.raises(ExceptionGroup) as raised:
        async with at_work(studio):
            await settle()
    (lost,) = raised.value.exceptions
    assert isinstance(lost, ExceptionGroup)
    assert [type(each) for each in lost.exceptions] == [ZeroDivisionError] * 3
