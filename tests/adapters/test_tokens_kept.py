"""No new token is lost: not to the disk, not to another program, not to the one who asked and left."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from adapters.tokens import (
    TokenFile,
    TokenUnwritable,
    check_writable,
)
from core.credentials import Token
from tests.adapters.token_files import MARK, SignIn, in_virtual_time, is_locked, locked, read, token_file, write

T = TypeVar("T")


# --- the disk --------------------------------------------------------------------------------------------------


def in_the_way(path: Path) -> Path:
    """What stands here lets nothing be written in the file's place, even by root."""
    return path.parent / f".{path.name}.stagewhisper-new"


def journal(path: Path) -> Path:
    return path.parent / f".{path.name}.stagewhisper-journal"


@pytest.mark.parametrize("has_journal", [True, False])
@in_virtual_time
async def test_a_token_that_cannot_be_written_is_used_and_written_later(
    path: Path, service: SignIn, has_journal: bool
) -> None:
    write(path)
    in_the_way(path).mkdir()
    if not has_journal:
        journal(path).mkdir()
    told: list[str] = []
    source = token_file(path, service.post, told.append)
    before = path.read_bytes()
    tokens = [await source.fresh() for _ in range(5)]
    await trio.sleep(31)
    tokens.append(await source.fresh())
    assert {token.access_token for token in tokens} == {f"access-{MARK}-1"}
    assert path.read_bytes() == before
    assert not await source.flush()
    where = "its journal" if has_journal else "memory only"
    lines = [f"{path}: the new token is in {where}, it cannot be written yet: Is a directory"]
    if not has_journal:
        lines.insert(0, f"{path}: has no journal, a crash would cost the new token: Is a directory")
    assert told == lines
    in_the_way(path).rmdir()
    await trio.sleep(31)
    assert (await source.fresh()).access_token == f"access-{MARK}-1"
    assert read(path)["refreshToken"] == f"refresh-{MARK}-1"
    assert told == [*lines, f"{path}: the new token is written now"]
    assert await source.flush()
    assert len(service.calls) == 1
    assert journal(path).exists() is not has_journal


@in_virtual_time
async def test_the_next_refresh_uses_the_refresh_token_in_memory(path: Path, service: SignIn) -> None:
    write(path)
    in_the_way(path).mkdir()
    source = token_file(path, service.post)
    await source.fresh()
    await trio.sleep(4000)
    assert (await source.fresh()).access_token == f"access-{MARK}-2"
    assert read(path)["refreshToken"] == f"refresh-{MARK}-0"
    in_the_way(path).rmdir()
    assert await source.flush()
    assert read(path)["refreshToken"] == f"refresh-{MARK}-2"


@in_virtual_time
async def test_a_new_refresh_token_beside_the_old_access_token_is_kept_too(path: Path, service: SignIn) -> None:
    write(path)
    in_the_way(path).mkdir()
    body = {"accessToken": f"access-{MARK}-0", "refreshToken": f"refresh-{MARK}-9", "expiresIn": 3600}
    service.answer = 200, json.dumps(body).encode()
    source = token_file(path, service.post)
    await source.fresh()
    in_the_way(path).rmdir()
    assert await source.flush()
    assert read(path)["refreshToken"] == f"refresh-{MARK}-9"


@in_virtual_time
async def test_a_flush_waits_for_the_lock_but_does_not_insist(path: Path, service: SignIn) -> None:
    write(path)
    in_the_way(path).mkdir()
    source = token_file(path, service.post, lock_timeout=3)
    await source.fresh()
    in_the_way(path).rmdir()
    with locked(path):
        assert not await source.flush()
    assert await source.flush()
    assert read(path)["refreshToken"] == f"refresh-{MARK}-1"


@pytest.mark.parametrize("gets_done", [True, False])
@in_virtual_time
async def test_a_disk_that_hangs_is_not_waited_for_without_end(path: Path, service: SignIn, gets_done: bool) -> None:
    write(path)
    works: list[Callable[[], object]] = []

    async def hang(work: Callable[[], T], /) -> T:
        works.append(work)
        if gets_done:
            work()
        await trio.sleep_forever()
        raise AssertionError

    told: list[str] = []
    source = token_file(path, service.post, told.append, in_thread=hang, write_timeout=4)
    assert (await source.fresh()).access_token == f"access-{MARK}-1"
    assert trio.current_time() == 5
    problem = "the new token is in its journal, it cannot be written yet: the disk took longer than 4 seconds"
    assert told == [f"{path}: {problem}"]
    assert not is_locked(path)
    works[0]()  # begins too late: the lock is another's by now, so nothing may be written any more
    assert read(path)["refreshToken"] == f"refresh-{MARK}-{int(gets_done)}"
    assert (await source.fresh()).access_token == f"access-{MARK}-1"
    assert told[1:] == ([f"{path}: the new token is written now"] if gets_done else [])


@in_virtual_time
async def test_a_system_without_threads_loses_no_token(path: Path, service: SignIn) -> None:
    write(path)

    async def no_thread(work: Callable[[], T], /) -> T:
        raise RuntimeError(f"can't start new thread for {work}")

    source = token_file(path, service.post, in_thread=no_thread)
    assert (await source.fresh()).access_token == f"access-{MARK}-1"
    assert not is_locked(path)


@pytest.mark.parametrize("blocked", [False, True])
@in_virtual_time
async def test_a_sign_in_meanwhile_is_not_written_over(path: Path, service: SignIn, blocked: bool) -> None:
    write(path)
    told: list[str] = []
    source = token_file(path, service.post, told.append)
    if blocked:
        in_the_way(path).mkdir()
        await source.fresh()
        write(path, left=3600, round_=50)
        in_the_way(path).rmdir()
    else:
        service.while_asked = lambda: write(path, left=3600, round_=50)
    assert (await source.fresh()).access_token == f"access-{MARK}-50"
    assert read(path)["refreshToken"] == f"refresh-{MARK}-50"
    assert told[-1] == f"{path}: another program wrote a token of its own meanwhile, which is used from now on"
    assert await source.flush()


@pytest.mark.parametrize(
    ("meanwhile", "kept"),
    [
        (lambda path: write(path, added="by another"), "by another"),
        (lambda path: write(path, round_=50, left=10, added="an old one"), "an old one"),
        (lambda path: path.write_text("{torn"), None),
        (Path.unlink, None),
    ],
)
@in_virtual_time
async def test_all_other_changes_meanwhile_are_kept_or_mended(
    path: Path, service: SignIn, meanwhile: Callable[[Path], object], kept: str | None
) -> None:
    write(path)
    service.while_asked = lambda: meanwhile(path)
    assert (await token_file(path, service.post).fresh()).access_token == f"access-{MARK}-1"
    after = read(path)
    assert (after["refreshToken"], after["provider"], after.get("added")) == (f"refresh-{MARK}-1", "Google", kept)


# --- who asked leaves ------------------------------------------------------------------------------------------


class CancelAt(trio.abc.Instrument):
    """Cancels a scope when its task is about to go on for the nth time."""

    def __init__(self, step: int) -> None:
        self.left = step
        self.scope = trio.CancelScope()
        self.task: trio.lowlevel.Task | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()

    async def run(self, source: TokenFile) -> None:
        self.task = trio.lowlevel.current_task()
        trio.lowlevel.add_instrument(self)
        with self.scope:
            await source.fresh()
        trio.lowlevel.remove_instrument(self)


@pytest.mark.parametrize("step", range(1, 16))
@pytest.mark.parametrize("followers", [0, 3])
@in_virtual_time
async def test_a_leader_who_leaves_at_any_step_loses_no_token_and_leaves_nobody_waiting(
    path: Path, service: SignIn, step: int, followers: int
) -> None:
    path.write_text("{torn")
    tokens: list[Token] = []

    async def follow(source: TokenFile) -> None:
        tokens.append(await source.fresh())

    async def owner() -> None:
        await trio.sleep(0.06)
        write(path)

    source = token_file(path, service.post)
    leader = CancelAt(step)
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            with locked(path):
                nursery.start_soon(owner)
                nursery.start_soon(leader.run, source)
                await trio.sleep(0.01)
                for _ in range(followers):
                    nursery.start_soon(follow, source)
                await trio.sleep(0.2)
    assert [token.access_token for token in tokens] == [f"access-{MARK}-1"] * followers
    assert len(service.calls) == service.round
    assert read(path)["refreshToken"] == service.refresh
    assert not is_locked(path)
    assert sorted(os.listdir(path.parent)) == ["token.json", "token.json.lock"]


@in_virtual_time
async def test_a_leader_who_left_after_the_call_was_sent_still_writes_its_answer(path: Path, service: SignIn) -> None:
    write(path)
    source = token_file(path, service.post)
    with trio.move_on_after(0.5):
        await source.fresh()
    assert trio.current_time() == 1.0
    assert read(path)["refreshToken"] == service.refresh == f"refresh-{MARK}-1"


@in_virtual_time
async def test_one_who_has_left_already_does_not_begin_a_refresh(path: Path, service: SignIn) -> None:
    write(path)
    with trio.CancelScope() as scope:
        scope.cancel()
        await token_file(path, service.post).fresh()
    assert scope.cancelled_caught
    assert service.calls == []


@in_virtual_time
async def test_a_follower_who_leaves_disturbs_nobody(path: Path, service: SignIn) -> None:
    write(path)
    source = token_file(path, service.post)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(source.fresh)
        await trio.sleep(0.1)
        with trio.move_on_after(0.1) as scope:
            await source.fresh()
    assert scope.cancelled_caught
    assert read(path)["accessToken"] == service.access


@in_virtual_time
async def test_a_bug_in_the_way_out_leaves_no_lock_and_nobody_waiting(path: Path, service: SignIn) -> None:
    write(path)
    service.answer = ZeroDivisionError()
    source = token_file(path, service.post)
    with pytest.raises(ZeroDivisionError):
        await source.fresh()
    assert not is_locked(path)
    service.answer = None
    assert (await source.fresh()).access_token == service.access


# --- the start -------------------------------------------------------------------------------------------------


def test_a_file_that_can_be_replaced_passes_and_is_left_as_it_was(path: Path) -> None:
    write(path)
    before = path.read_bytes()
    check_writable(str(path))
    assert path.read_bytes() == before
    assert sorted(os.listdir(path.parent)) == ["token.json", "token.json.lock"]


def test_a_folder_that_cannot_be_written_is_refused_at_the_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path)
    Path(f"{path}.lock").mkdir()
    with pytest.raises(TokenUnwritable) as caught:
        check_writable(str(path))
    assert str(caught.value) == f"{path}: its folder cannot be written: Is a directory"
    Path(f"{path}.lock").rmdir()

    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(TokenUnwritable) as caught:
        check_writable(str(path))
    assert str(caught.value) == f"{path}: its folder cannot be written: No space left on device"


@in_virtual_time
async def test_no_secret_shows_in_what_is_printed_of_a_token_file(path: Path, service: SignIn) -> None:
    write(path)
    in_the_way(path).mkdir()
    source = token_file(path, service.post)
    await source.fresh()
    assert MARK in json.dumps(read(path))
    assert MARK not in repr(source) + repr(vars(source))
