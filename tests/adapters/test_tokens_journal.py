"""What a process left behind: a new token that is in the journal, and the spent one that is in the file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from adapters.files import Journal
from adapters.tokens import TokenRefreshFailed, TokenRefused
from core.credentials import fingerprint, parse_token_file
from tests.adapters.token_files import MARK, SignIn, expiry, in_virtual_time, is_locked, locked, read, token_file, write

TAKEN_UP = "a new token that was left in its journal is used from now on"


@pytest.fixture
def service() -> SignIn:
    """A service that has given out the next token already: the refresh token in the file is used up."""
    service = SignIn()
    service.round = 1
    return service


def journal(path: Path) -> Path:
    return path.parent / f".{path.name}.stagewhisper-journal"


def leave(path: Path, *, round_: int = 1, left: float = 3600.0, **members: Any) -> None:
    """Put a new token into the journal of the file as it is now."""
    seen = path.read_bytes()
    new = {
        "accessToken": f"access-{MARK}-{round_}",
        "refreshToken": f"refresh-{MARK}-{round_}",
        "expiresAt": expiry(left),
    }
    entry = Journal(str(path)).open()
    entry.write(fingerprint(parse_token_file(seen)), json.dumps(json.loads(seen) | new | members).encode())
    entry.close()


def only_the_file_and_its_lock(path: Path) -> bool:
    return sorted(os.listdir(path.parent)) == ["token.json", "token.json.lock"]


@pytest.mark.parametrize("left", [-1.0, 100.0, 3600.0])
@in_virtual_time
async def test_a_token_that_was_left_is_taken_up_whether_or_not_the_old_one_looks_good(
    path: Path, service: SignIn, left: float
) -> None:
    write(path, left=left)
    leave(path)
    told: list[str] = []
    source = token_file(path, service.post, told.append)
    assert [(await source.fresh()).access_token for _ in range(3)] == [f"access-{MARK}-1"] * 3
    after = read(path)
    assert (after["refreshToken"], after["provider"]) == (f"refresh-{MARK}-1", "Google")
    assert (service.calls, told) == ([], [f"{path}: {TAKEN_UP}"])
    assert only_the_file_and_its_lock(path)
    assert path.stat().st_mode & 0o777 == 0o600


@in_virtual_time
async def test_a_token_that_was_left_and_has_expired_is_refreshed(path: Path, service: SignIn) -> None:
    write(path, left=-7200)
    leave(path, left=-3600)
    assert (await token_file(path, service.post).fresh()).access_token == service.access == f"access-{MARK}-2"
    assert read(path)["refreshToken"] == f"refresh-{MARK}-2"
    assert only_the_file_and_its_lock(path)


def dated(seconds: float) -> Callable[[Path], object]:
    return lambda path: os.utime(path, (seconds, seconds))


def rewritten(path: Path) -> None:
    """What a program does that writes back what it has read."""
    path.write_text(json.dumps(read(path) | {"added": "later"}, indent=4))


@pytest.mark.parametrize("meanwhile", [dated(1.0), dated(4e9), rewritten, lambda path: path.chmod(0o644)])
@in_virtual_time
async def test_no_clock_and_no_rewriting_of_the_old_token_costs_the_new_one(
    path: Path, service: SignIn, meanwhile: Callable[[Path], object]
) -> None:
    write(path)
    leave(path)
    meanwhile(path)
    before = read(path)
    assert (await token_file(path, service.post).fresh()).access_token == f"access-{MARK}-1"
    assert read(path).get("added") == before.get("added")
    assert read(path)["refreshToken"] == f"refresh-{MARK}-1"
    assert service.calls == []


@pytest.mark.parametrize("date", [1.0, 4e9])
@pytest.mark.parametrize("left", [-1.0, 3600.0])
@in_virtual_time
async def test_one_who_has_signed_in_since_keeps_that_token(
    path: Path, service: SignIn, date: float, left: float
) -> None:
    write(path)
    leave(path)
    service.round = 50
    write(path, left=left, round_=50)
    os.utime(path, (date, date))
    told: list[str] = []
    token = await token_file(path, service.post, told.append).fresh()
    assert token.access_token == service.access == f"access-{MARK}-{51 if left < 0 else 50}"
    assert read(path)["refreshToken"] == service.refresh
    assert told == []
    assert only_the_file_and_its_lock(path)


HALVES = [b"", b"{", b'{"accessToken": ""}', b'{"refreshToken": "made-up"}', b"\0" * 100]


@pytest.mark.parametrize("half", HALVES)
@in_virtual_time
async def test_half_a_token_is_dropped(path: Path, half: bytes) -> None:
    write(path)
    service = SignIn()
    entry = Journal(str(path)).open()
    entry.write(fingerprint(parse_token_file(path.read_bytes())), half)
    entry.close()
    told: list[str] = []
    assert (await token_file(path, service.post, told.append).fresh()).access_token == f"access-{MARK}-1"
    assert (len(service.calls), told) == (1, [])
    assert only_the_file_and_its_lock(path)


@in_virtual_time
async def test_a_journal_of_somebody_else_is_dropped(path: Path) -> None:
    write(path)
    leave(path, round_=66)
    journal(path).chmod(0o666)
    service = SignIn()
    assert (await token_file(path, service.post).fresh()).access_token == service.access == f"access-{MARK}-1"
    assert only_the_file_and_its_lock(path)


@in_virtual_time
async def test_of_several_the_last_whole_one_counts(path: Path, service: SignIn) -> None:
    write(path)
    leave(path, round_=1)
    leave(path, round_=2)
    with journal(path).open("ab") as file:
        file.write(b"\n0123")
    service.round = 2
    source = token_file(path, service.post)
    assert (await source.fresh()).access_token == f"access-{MARK}-2"
    assert (await source.fresh(service.access)).access_token == f"access-{MARK}-3"
    assert only_the_file_and_its_lock(path)


@in_virtual_time
async def test_a_token_that_is_the_files_own_is_not_taken_up(path: Path) -> None:
    write(path, left=3600)
    leave(path, round_=0)
    told: list[str] = []
    service = SignIn()
    assert (await token_file(path, service.post, told.append).fresh()).access_token == f"access-{MARK}-0"
    assert (service.calls, told) == ([], [])
    assert only_the_file_and_its_lock(path)


@in_virtual_time
async def test_a_journal_that_cannot_be_read_stops_a_refresh_with_what_may_be_spent(
    path: Path, service: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path)
    leave(path)
    source = token_file(path, service.post)

    def exhausted(*_: object) -> bytes:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "read", exhausted)
        with pytest.raises(TokenRefreshFailed, match="its journal cannot be read: Too many open files"):
            await source.fresh()
    assert service.calls == []
    assert not is_locked(path)
    assert (await source.fresh()).access_token == f"access-{MARK}-1"


@in_virtual_time
async def test_a_process_that_runs_takes_up_what_another_left(path: Path, service: SignIn) -> None:
    write(path, left=3600)
    source = token_file(path, service.post)
    assert (await source.fresh()).access_token == f"access-{MARK}-0"
    leave(path)
    assert (await source.fresh()).access_token == f"access-{MARK}-1"
    assert only_the_file_and_its_lock(path)


@in_virtual_time
async def test_a_refresh_that_is_under_way_elsewhere_is_not_waited_for(path: Path, service: SignIn) -> None:
    write(path, left=3600)
    source = token_file(path, service.post)
    await source.fresh()
    with locked(path):
        leave(path)
        assert (await source.fresh()).access_token == f"access-{MARK}-0"
        assert trio.current_time() == 0
    await trio.sleep(31)
    assert (await source.fresh()).access_token == f"access-{MARK}-1"


@in_virtual_time
async def test_the_new_token_is_in_the_journal_while_its_file_cannot_be_written(path: Path) -> None:
    service = SignIn()
    write(path)
    in_the_way = path.parent / ".token.json.stagewhisper-new"
    in_the_way.mkdir()
    first, other = token_file(path, service.post), token_file(path, service.post)
    assert (await first.fresh()).access_token == f"access-{MARK}-1"
    await trio.sleep(4000)
    assert (await other.fresh()).access_token == f"access-{MARK}-2"  # with the refresh token of the other's
    await trio.sleep(31)
    assert (await first.fresh()).access_token == f"access-{MARK}-2"
    assert read(path)["refreshToken"] == f"refresh-{MARK}-0"
    in_the_way.rmdir()
    assert await first.flush()
    assert (await other.current()).access_token == f"access-{MARK}-2"
    assert read(path)["refreshToken"] == service.refresh == f"refresh-{MARK}-2"
    assert only_the_file_and_its_lock(path)


@in_virtual_time
async def test_a_token_in_memory_that_never_came_into_the_journal_is_newer_than_what_is_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = SignIn()
    write(path)
    in_the_way = path.parent / ".token.json.stagewhisper-new"
    in_the_way.mkdir()
    told: list[str] = []
    source = token_file(path, service.post, told.append)
    await source.fresh()
    await trio.sleep(4000)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda *_: 0)
        assert (await source.fresh()).access_token == f"access-{MARK}-2"
    in_the_way.rmdir()
    assert await source.flush()
    assert read(path)["refreshToken"] == service.refresh == f"refresh-{MARK}-2"
    assert told[1:] == [f"{path}: the new token is written now"]


@in_virtual_time
async def test_the_service_is_asked_with_the_journal_open_and_without_one_too(path: Path) -> None:
    service = SignIn()
    write(path)
    there: list[bool] = []
    service.while_asked = lambda: there.append(journal(path).is_file())
    source = token_file(path, service.post)
    await source.fresh()
    journal(path).mkdir()
    await source.fresh(service.access)
    assert there == [True, False]
    assert read(path)["refreshToken"] == service.refresh == f"refresh-{MARK}-2"


@pytest.mark.parametrize("answer", [(503, b""), (400, b'{"error": "invalid_grant"}'), ZeroDivisionError()])
@in_virtual_time
async def test_a_refresh_that_gives_nothing_leaves_nothing(path: Path, answer: Any) -> None:
    service = SignIn()
    service.answer = answer
    write(path)
    with pytest.raises((TokenRefreshFailed, TokenRefused, ZeroDivisionError)):
        await token_file(path, service.post).fresh()
    assert only_the_file_and_its_lock(path)


@in_virtual_time
async def test_a_refusal_of_what_was_left_is_about_the_token_that_the_file_has_then(path: Path) -> None:
    service = SignIn()
    service.round = 9
    write(path)
    leave(path, left=-1)
    source = token_file(path, service.post)
    with pytest.raises(TokenRefused) as caught:
        await source.fresh()
    assert read(path)["refreshToken"] == f"refresh-{MARK}-1"
    assert caught.value.fingerprint == fingerprint(parse_token_file(path.read_bytes()))
    assert caught.value.fingerprint == fingerprint(await source.current())
    assert only_the_file_and_its_lock(path)
