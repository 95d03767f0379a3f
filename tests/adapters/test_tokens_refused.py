"""What others hear of a token file: which token was refused, which it has now, how each refresh went."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from adapters.tokens import TokenError, TokenFile, TokenRefused, TokenUnreadable
from core.credentials import fingerprint
from tests.adapters.token_files import MARK, SignIn, in_virtual_time, locked, token_file, write

REFUSAL = 400, b'{"error": "invalid_grant"}'


async def refusal_of(source: TokenFile, rejected: str | None = None) -> TokenRefused:
    with pytest.raises(TokenRefused) as caught:
        await source.fresh(rejected)
    assert caught.value.fingerprint not in str(caught.value)
    return caught.value


# --- the token as it is now ------------------------------------------------------------------------------------


@in_virtual_time
async def test_the_current_token_is_the_files_however_old_and_nobody_is_asked(path: Path, service: SignIn) -> None:
    source = token_file(path, service.post)
    with locked(path):
        for round_, left in ((0, -1.0), (1, 3600.0), (22, -1.0)):
            write(path, left=left, round_=round_)
            assert (await source.current()).access_token == f"access-{MARK}-{round_}"
    assert (service.calls, trio.current_time()) == ([], 0)


@in_virtual_time
async def test_a_file_that_has_not_changed_is_not_read_for_its_current_token(
    path: Path, service: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, left=3600)
    source = token_file(path, service.post)
    first = await source.current()
    monkeypatch.setattr("adapters.files.read_file", None)
    assert await source.current() is first


@in_virtual_time
async def test_a_file_without_a_token_has_no_current_one(path: Path, service: SignIn) -> None:
    source = token_file(path, service.post)
    with pytest.raises(TokenUnreadable):
        await source.current()
    path.write_text("{torn")
    with pytest.raises(TokenUnreadable):
        await source.current()
    assert trio.current_time() < 1


@in_virtual_time
async def test_a_token_that_is_not_written_yet_is_the_current_one(path: Path, service: SignIn) -> None:
    write(path)
    (path.parent / ".token.json.stagewhisper-new").mkdir()
    source = token_file(path, service.post)
    token = await source.fresh()
    assert await source.current() is token
    write(path, left=3600, round_=50)
    assert (await source.current()).access_token == f"access-{MARK}-50"


# --- which token was refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [{}, {"refreshToken": None}, {"authMethod": "IdC"}])
@pytest.mark.parametrize("rejected", [None, f"access-{MARK}-99"])
@in_virtual_time
async def test_the_refused_token_is_the_current_one_until_another_program_writes_one(
    path: Path, service: SignIn, members: dict[str, Any], rejected: str | None
) -> None:
    write(path, round_=99, left=-1 if rejected is None else 3600, **members)
    source = token_file(path, service.post)
    before = fingerprint(await source.current())
    error = await refusal_of(source, rejected)
    assert error.fingerprint == before == fingerprint(await source.current())
    assert (await refusal_of(source, rejected)).fingerprint == before
    write(path, left=3600, round_=3)
    assert fingerprint(await source.current()) != before


@in_virtual_time
async def test_a_refusal_of_a_token_that_is_not_written_yet_is_about_that_one(path: Path, service: SignIn) -> None:
    write(path)
    (path.parent / ".token.json.stagewhisper-new").mkdir()
    source = token_file(path, service.post)
    await source.fresh()
    service.answer = REFUSAL
    await trio.sleep(4000)
    error = await refusal_of(source)
    current = await source.current()
    assert (error.fingerprint, current.access_token) == (fingerprint(current), f"access-{MARK}-1")


@in_virtual_time
async def test_a_refusal_is_about_the_token_that_was_sent_when_another_program_wrote_a_poor_one_meanwhile(
    path: Path, service: SignIn
) -> None:
    write(path)
    source = token_file(path, service.post)
    before = fingerprint(await source.current())
    service.answer = REFUSAL
    service.while_asked = lambda: write(path, left=-1, round_=50)
    assert (await refusal_of(source)).fingerprint == before != fingerprint(await source.current())


@in_virtual_time
async def test_all_who_wait_hear_which_token_was_refused(path: Path, service: SignIn) -> None:
    write(path, round_=99)
    source = token_file(path, service.post)
    errors: list[TokenRefused] = []

    async def ask() -> None:
        errors.append(await refusal_of(source))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
    assert {error.fingerprint for error in errors} == {fingerprint(await source.current())}
    assert (len({id(error) for error in errors}), len(service.calls)) == (20, 1)


def test_a_refusal_that_is_raised_again_is_the_same() -> None:
    error = TokenRefused("made-up.json", "the reason", "0123456789abcdef")
    again = error.again()
    assert again is not error
    assert (type(again), str(again), again.path, again.reason, again.fingerprint) == (
        TokenRefused,
        "made-up.json: the reason",
        "made-up.json",
        "the reason",
        "0123456789abcdef",
    )


# --- how each refresh went -------------------------------------------------------------------------------------


def same_token(path: Path) -> None:
    """Nothing happens meanwhile."""


@pytest.mark.parametrize(
    ("answer", "meanwhile", "heard"),
    [
        (None, same_token, ["refreshed"]),
        (None, lambda path: write(path, left=3600, round_=50), ["refreshed"]),
        (REFUSAL, same_token, ["refused"]),
        (REFUSAL, lambda path: write(path, left=3600, round_=50), ["refused"]),
        ((503, b""), same_token, ["failed"]),
        ((200, b"{}"), same_token, ["failed"]),
        (OSError(111, "Connection refused"), same_token, ["failed"]),
        (ZeroDivisionError(), same_token, ["failed"]),
    ],
)
@in_virtual_time
async def test_each_refresh_that_the_service_was_asked_for_is_told_once(
    path: Path, service: SignIn, answer: Any, meanwhile: Callable[[Path], object], heard: list[str]
) -> None:
    write(path)
    service.answer = answer
    service.while_asked = lambda: meanwhile(path)
    told: list[str] = []
    source = token_file(path, service.post, heard=told.append)

    async def ask() -> None:
        try:
            await source.fresh()
        except (TokenError, ZeroDivisionError):
            assert answer is not None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        if not isinstance(answer, ZeroDivisionError):  # after a bug, each who waited tries for himself
            for _ in range(9):
                nursery.start_soon(ask)
    assert told == heard
    assert len(service.calls) == 1


@in_virtual_time
async def test_a_service_that_is_silent_is_a_failed_refresh(path: Path, service: SignIn) -> None:
    write(path, left=100)
    service.delay = 1e9
    told: list[str] = []
    source = token_file(path, service.post, heard=told.append, refresh_timeout=7)
    await source.fresh()
    assert told == ["failed"]


@in_virtual_time
async def test_what_is_found_asks_nobody_and_tells_nothing(path: Path, service: SignIn) -> None:
    told: list[str] = []
    source = token_file(path, service.post, heard=told.append)
    write(path, left=3600)
    await source.fresh()
    write(path, left=3600, round_=7)
    await source.fresh(f"access-{MARK}-0")
    write(path, refreshToken=None)
    await refusal_of(source)
    assert (told, service.calls) == ([], [])


@in_virtual_time
async def test_the_new_token_is_kept_before_anybody_hears_of_it(path: Path, service: SignIn) -> None:
    write(path)
    kept: list[bool] = []

    def hear(result: str) -> None:
        journal = path.parent / ".token.json.stagewhisper-journal"
        kept.append(result == "refreshed" and journal.stat().st_size > 0)

    await token_file(path, service.post, heard=hear).fresh()
    assert kept == [True]
    assert json.loads(path.read_bytes())["refreshToken"] == service.refresh
