"""Recordings of exchanges as they run: what is in the files and when, what ends one, and what nobody may see."""

from __future__ import annotations

import base64
import os
import re
import sys
from pathlib import Path

import pytest
import trio

from core.credentials import Token
from core.dialogue import BodyEnded, DataArrived, HeadArrived
from core.http import Head
from core.recording import CutLine, DataLine, EndedLine, parse_recording
from core.rerun import first_difference_from_then, rerun
from tests.adapters.recorders import Studio, at_work, settle
from tests.adapters.token_files import in_virtual_time
from tests.builders import SHELL_TOOL, body, exception, text
from tests.recordings import CALLED, HELLO, PROFILE, SECRETS


def last(data: bytes) -> object:
    """The last line of a recording."""
    return parse_recording(data).lines[-1]


# --- what is in a file -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
@in_virtual_time
async def test_an_exchange_becomes_one_file_that_comes_to_the_same_again(tmp_path: Path, stream: bool) -> None:
    studio = Studio(tmp_path)
    async with at_work(studio):
        followed = studio.record(pieces=9, stream=stream)
        await settle()
    assert studio.contents == [followed.taped]
    recording = parse_recording(followed.taped)
    assert first_difference_from_then(recording, rerun(recording)) is None
    assert studio.said == []


@in_virtual_time
async def test_each_exchange_has_its_own_file_whatever_happens_between(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    async with at_work(studio):
        several = [studio.begin(messages=[{"role": "user", "content": f"number {i}"}]) for i in range(5)]
        for followed in several:
            followed.call().begin_answer(b"")
        for start in range(0, len(CALLED), 100):
            for followed in several:
                followed.tell(DataArrived(CALLED[start : start + 100]))
            await settle()
        for followed in several:
            followed.tell(BodyEnded())
        await settle()
    assert studio.contents == [followed.taped for followed in several]


@in_virtual_time
async def test_names_have_the_order_of_dates_and_are_safe_everywhere(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    async with at_work(studio):
        for _ in range(3):
            studio.record()
        studio.dates = 0  # the clock is set back: the same request again at the same time
        studio.record()
        await settle()
    first = "2023-11-14T22-13-21.000Z-req_0001"
    assert studio.names == [
        f"{first}-2.jsonl",
        f"{first}.jsonl",
        "2023-11-14T22-13-22.000Z-req_0001.jsonl",
        "2023-11-14T22-13-23.000Z-req_0001.jsonl",
    ]
    assert not any(re.search(r'[<>:"/\\|?*\s]', name) for name in studio.names)


# --- when ------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_what_is_known_is_in_the_file_within_a_twentieth_of_a_second(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    async with at_work(studio):
        followed = studio.begin().call().begin_answer(CALLED[:200], pieces=2)
        await trio.sleep(0.051)
        assert studio.contents == [followed.taped]
        followed.leave()
        await settle()


@in_virtual_time
async def test_a_steady_stream_is_written_twenty_times_a_second_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = Studio(tmp_path)
    batches: list[float] = []
    look = studio.recorder._archive.look

    def count(now: float) -> None:
        batches.append(now)
        look(now)

    monkeypatch.setattr(studio.recorder._archive, "look", count)
    async with at_work(studio):
        followed = studio.begin(pause=0.001).call().begin_answer()
        data = body(*[text("word ")] * 1000)
        for start in range(0, 10_000, 10):
            followed.tell(DataArrived(data[start : start + 10]))
            await trio.sleep(0.001)
        followed.leave()
        await settle()
    assert 18 <= len(batches) <= 22
    assert studio.contents[0].startswith(followed.taped)


@in_virtual_time
async def test_a_recording_that_a_crash_ended_can_be_read_up_to_there(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    async with at_work(studio):
        followed = studio.begin(tools=[SHELL_TOOL]).call().begin_answer(CALLED[:200], pieces=4)
        await settle()
        followed.tell(DataArrived(CALLED[200:300]))
    # Here the process ends: nothing closes the recorder.
    recording = parse_recording(studio.contents[0])
    assert not recording.is_torn
    data = b"".join(line.data for line in recording.lines if isinstance(line, DataLine))
    assert data
    assert CALLED.startswith(data)
    assert first_difference_from_then(recording, rerun(recording)) is None


@in_virtual_time
async def test_before_it_is_known_what_is_secret_there_is_no_file(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    async with at_work(studio):
        studio.begin().leave()
        await settle()
        assert studio.names == []
        studio.begin().fail()
        await settle()
    assert len(studio.names) == 1
    assert len(studio.recorder._running) == 0


# --- the end of a recording ------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_file", [True, False])
@in_virtual_time
async def test_a_recording_whose_exchange_was_left_says_so(tmp_path: Path, has_file: bool) -> None:
    studio = Studio(tmp_path)
    async with at_work(studio):
        followed = studio.begin().call().begin_answer(CALLED[:200])
        if has_file:
            await settle()
        followed.leave("the client left")
        followed.leave("again")
        followed.tell(DataArrived(CALLED[200:210]))
        await settle()
    assert last(studio.contents[0]) == CutLine(why="the client left")


@in_virtual_time
async def test_an_exchange_that_has_ended_can_be_left_no_more(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    async with at_work(studio):
        followed = studio.record()
        followed.leave()
        assert followed.recording is not None
        followed.recording.end()
        await settle()
    assert studio.contents == [followed.taped]
    assert last(studio.contents[0]) == EndedLine()


@in_virtual_time
async def test_nothing_is_kept_of_an_exchange_whose_recording_is_over(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    async with at_work(studio):
        followed = studio.record()
        left = studio.begin().call().begin_answer(CALLED[:200])
        left.leave()
        await settle()
        recorder = studio.recorder
        assert followed.recording is not None
        assert left.recording is not None
        assert (followed.recording.tape, left.recording.tape) == (None, None)
        assert (list(recorder._queue), recorder._running, recorder._put - recorder._done) == ([], set(), 0)
        assert (recorder._archive._open, recorder._archive._open_total) == (set(), 0)


# --- the switch ------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_switched_off_it_ends_what_runs_and_begins_nothing(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    async with at_work(studio):
        running = studio.begin().call().begin_answer(CALLED[:200])
        on = [studio.is_on]
        studio.recorder.switch(False)
        on.append(studio.is_on)
        assert studio.begin().recording is None
        running.tell(DataArrived(CALLED[200:300]))
        await settle()
        assert [last(data) for data in studio.contents] == [CutLine(why="recording was switched off")]
        studio.recorder.switch(True)
        assert [*on, studio.is_on] == [True, False, True]
        running.tell(DataArrived(CALLED[300:310]))
        later = studio.record()
        await settle()
    assert studio.contents[1:] == [later.taped]
    assert studio.contents[0].startswith(running.taped[:1000])
    assert studio.said == [f"{tmp_path}: recording was switched off", f"{tmp_path}: recording was switched on"]


async def test_a_recorder_that_was_not_opened_records_nothing(tmp_path: Path) -> None:
    studio = Studio(tmp_path / "none")
    assert studio.begin().recording is None
    assert os.listdir(tmp_path) == []


# --- the end of the gateway ------------------------------------------------------------------------------------


@in_virtual_time
async def test_the_gateways_end_writes_what_is_there_and_cuts_what_runs(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    async with at_work(studio):
        ended = studio.record()
        running = studio.begin().call().begin_answer(CALLED[:200])
    await studio.recorder.close()
    await studio.recorder.close()
    assert studio.contents[0] == ended.taped
    assert last(studio.contents[1]) == CutLine(why="the gateway was stopped")
    running.leave()
    assert studio.begin().recording is None
    studio.recorder.open()
    assert studio.begin().recording is not None
    assert studio.said == []


async def test_the_end_is_written_although_everything_is_cancelled(tmp_path: Path) -> None:
    studio = Studio(tmp_path, in_thread=None)
    studio.recorder.open()
    followed = studio.record()
    with trio.CancelScope() as scope:
        scope.cancel()
        await studio.recorder.close()
    assert studio.contents == [followed.taped]


async def test_a_thread_of_its_own_does_the_writing(tmp_path: Path) -> None:
    studio = Studio(tmp_path, in_thread=None)
    async with at_work(studio):
        several = [studio.record() for _ in range(20)]
        with trio.fail_after(5):
            while len(studio.names) < len(several) or studio.recorder._put != studio.recorder._done:
                await trio.lowlevel.checkpoint()
    assert studio.contents == [followed.taped for followed in several]


# --- for nobody else -------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="modes mean nothing there")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277, 0o777])
@in_virtual_time
async def test_folders_and_files_are_private_under_any_umask(tmp_path: Path, umask: int) -> None:
    folder = tmp_path / "above" / "recordings"
    before = os.umask(umask)
    try:
        studio = Studio(folder)
        async with at_work(studio):
            studio.record()
            await settle()
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o7777 for path in (folder.parent, folder, *folder.iterdir())]
    assert modes == [0o700, 0o700, 0o600]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="nothing here says which files are open")
@in_virtual_time
async def test_no_file_is_open_between_two_writes(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    async with at_work(studio):
        for _ in range(5):
            studio.begin().call().begin_answer(CALLED[:200])
        await settle()
        assert len(studio.names) == 5
        opened = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
        assert [path for path in opened if path.startswith(str(tmp_path))] == []


QUOTED = f"{SECRETS.access_token} and {SECRETS.refresh_token} of {PROFILE}"


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("case", ["prompt", "answer", "exception", "error body"])
@in_virtual_time
async def test_no_secret_is_in_a_file(tmp_path: Path, case: str, size: int) -> None:
    studio = Studio(tmp_path)
    async with at_work(studio):
        prompt = [{"role": "user", "content": f"What is {QUOTED if case == 'prompt' else 'that'}?"}]
        followed = studio.begin(messages=prompt, metadata={"user_id": "made-up-user"}).call()
        head = Head(status=200, headers={"content-type": "application/vnd.amazon.eventstream"})
        data = body(text("It is "), text(QUOTED if case == "answer" else "that."))
        if case == "exception":
            data = body(text("It is "), exception("AccessDeniedException", f"bad: {QUOTED}"))
        elif case == "error body":
            head = Head(status=400, headers={"content-type": "application/json", "set-cookie": "made-up-cookie"})
            data = f'{{"message": "bad: {QUOTED}"}}'.encode()
        followed.tell(HeadArrived(head))
        for start in range(0, len(data), size):
            if followed.is_reading:
                followed.tell(DataArrived(data[start : start + size]))
                if start % 70 == 0:
                    await settle()
        followed.leave()
        await settle()
    [recorded] = studio.contents
    encoded = re.findall(rb'"data":"([A-Za-z0-9+/=]*)"', recorded)
    decoded = b"".join(map(base64.b64decode, encoded))
    assert decoded or case == "prompt"
    for secret in (SECRETS.access_token, SECRETS.refresh_token, "123456789012", "made-up-user", "made-up-cookie"):
        assert secret is not None
        assert secret.encode() not in recorded + decoded


@in_virtual_time
async def test_a_token_that_another_exchange_used_is_known_from_then_on(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    other = Token(access_token="made-up-access-token-of-b", refresh_token=None, auth_method="social")
    prompt = [{"role": "user", "content": f"What is {other.access_token}?"}]
    async with at_work(studio):
        for token, name in ((SECRETS, "a"), (other, "b")):
            studio.begin().call(name, token).answer(HELLO)
            await settle()
        studio.begin(messages=prompt).call("a", SECRETS).answer(HELLO)
        await settle()
    whole, also_whole, quoting = map(parse_recording, studio.contents)
    assert [type(each.lines[-1]) for each in (whole, also_whole, quoting)] == [EndedLine, EndedLine, CutLine]
    assert other.access_token.encode() not in studio.contents[2]


@in_virtual_time
async def test_a_token_that_was_renewed_since_is_still_known(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    renewed = Token(access_token="made-up-renewed-access-token", refresh_token=None, auth_method="social")
    prompt = [{"role": "user", "content": f"What is {SECRETS.access_token}?"}]
    async with at_work(studio):
        for token in (SECRETS, renewed):
            studio.begin().call("a", token).answer(HELLO)
            await settle()
        studio.begin(messages=prompt).call("a", renewed).answer(HELLO)
        await settle()
    assert isinstance(parse_recording(studio.contents[2]).lines[-1], CutLine)
    assert SECRETS.access_token.encode() not in studio.contents[2]
