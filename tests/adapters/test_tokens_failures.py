"""Tokens when something goes wrong: the file, the lock, or the service."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from adapters.tokens import (
    TokenError,
    TokenFile,
    TokenLocked,
    TokenRefreshFailed,
    TokenRefused,
    TokenUnreadable,
    check_writable,
)
from adapters.upstream import Unreachable
from tests.adapters.token_files import HASH, MARK, SignIn, in_virtual_time, is_locked, locked, token_file, write


async def failure_of(source: TokenFile, rejected: str | None = None) -> TokenError:
    """What `fresh` raises, after a look at all that a traceback would show of it."""
    with pytest.raises(TokenError) as caught:
        await source.fresh(rejected)
    shown = "".join(traceback.format_exception(caught.value, chain=True))
    assert MARK not in shown
    assert "\n" not in str(caught.value)
    return caught.value


# --- the file --------------------------------------------------------------------------------------------------


def make_nothing(path: Path) -> None:
    """Leaves it out."""


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (make_nothing, "cannot be read: No such file or directory"),
        (Path.mkdir, "cannot be read: not a regular file"),
        (os.mkfifo, "cannot be read: not a regular file"),
        (Path.touch, "is empty"),
        (lambda path: path.write_bytes(b"{" + MARK.encode()), "is not JSON in UTF-8"),
        (lambda path: path.write_bytes(b'{"accessToken": 1}'), "accessToken: expected a string"),
        (lambda path: path.write_bytes(b" " * (1 << 20) + b"{}"), "cannot be read: larger than 1048576 bytes"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
    ],
)
@in_virtual_time
async def test_a_file_without_a_token_is_told_in_one_line(
    path: Path, service: SignIn, make: Callable[[Path], object], reason: str
) -> None:
    make(path)
    error = await failure_of(token_file(path, service.post))
    assert (isinstance(error, TokenUnreadable), str(error)) == (True, f"{path}: {reason}")
    with pytest.raises(TokenUnreadable) as caught:
        check_writable(str(path))
    assert str(caught.value) == f"{path}: {reason}"


@in_virtual_time
async def test_a_path_that_can_be_none_is_told(service: SignIn) -> None:
    error = await failure_of(token_file("a\0b", service.post))
    assert isinstance(error, TokenUnreadable)
    assert "cannot be read: " in error.reason
    assert "embedded null" in error.reason


@pytest.mark.parametrize("seconds", [0.01, 0.1, 0.3])
@in_virtual_time
async def test_a_file_that_is_being_written_in_place_is_waited_for(path: Path, service: SignIn, seconds: float) -> None:
    path.write_text('{"accessToken": "hal')

    async def owner() -> None:
        await trio.sleep(seconds)
        write(path, left=3600)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(owner)
        assert (await token_file(path, service.post).fresh()).access_token == service.access


@in_virtual_time
async def test_a_file_that_was_removed_gives_no_token_from_memory(path: Path, service: SignIn) -> None:
    write(path, left=3600)
    source = token_file(path, service.post)
    await source.fresh()
    path.unlink()
    assert isinstance(await failure_of(source), TokenUnreadable)
    write(path, left=3600, round_=3)
    assert (await source.fresh()).access_token == f"access-{MARK}-3"


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"refreshToken": None}, "refreshToken: is missing"),
        ({"authMethod": "IdC"}, "clientIdHash: there is no registration for this token"),
    ],
)
@in_virtual_time
async def test_what_a_refresh_needs_and_the_file_has_not_is_final(
    path: Path, service: SignIn, members: dict[str, Any], reason: str
) -> None:
    write(path, **{"region": "eu-west-1"} | members)
    error = await failure_of(token_file(path, service.post))
    assert (type(error), str(error)) == (TokenRefused, f"{path}: cannot be refreshed: {reason}")
    assert service.calls == []
    assert not is_locked(path)


@pytest.mark.parametrize(
    ("registration", "reason"),
    [
        (None, f"there is no {HASH}.json beside the file"),
        (f'{{"clientId": "{MARK}"}}', f"{HASH}.json: clientSecret: is missing"),
        (MARK, f"{HASH}.json: is not JSON in UTF-8"),
        ("", f"{HASH}.json: is empty"),
    ],
)
@in_virtual_time
async def test_a_registration_that_cannot_be_read_now_is_looked_for_again(
    path: Path, service: SignIn, registration: str | None, reason: str
) -> None:
    write(path, authMethod="IdC", clientIdHash=HASH, region="eu-west-1")
    file = path.parent / f"{HASH}.json"
    if registration is not None:
        file.write_text(registration)
    source = token_file(path, service.post)
    error = await failure_of(source)
    assert (type(error), str(error)) == (TokenRefreshFailed, f"{path}: cannot be refreshed: {reason}")
    assert service.calls == []
    assert not is_locked(path)
    file.write_text('{"clientId": "made-up", "clientSecret": "made-up"}')
    assert (await source.fresh()).access_token
    assert len(service.calls) == 1


# --- the lock --------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_lock_is_not_waited_for_without_end(path: Path, service: SignIn) -> None:
    write(path)
    source = token_file(path, service.post, lock_timeout=12)
    with locked(path):
        error = await failure_of(source)
        assert (type(error), error.reason) == (TokenLocked, "another process has held its lock for 12 seconds")
        assert 12 <= trio.current_time() < 12.1
    assert (await source.fresh()).access_token == service.access
    assert len(service.calls) == 1


@in_virtual_time
async def test_a_lock_that_cannot_be_made_is_told(path: Path, service: SignIn) -> None:
    write(path)
    Path(f"{path}.lock").mkdir()
    error = await failure_of(token_file(path, service.post))
    assert (type(error), error.reason) == (TokenRefreshFailed, "its lock cannot be taken: Is a directory")


@in_virtual_time
async def test_a_lock_is_no_link_to_elsewhere(path: Path, service: SignIn) -> None:
    write(path)
    Path(f"{path}.lock").symlink_to(path.parent / "elsewhere")
    assert isinstance(await failure_of(token_file(path, service.post)), TokenRefreshFailed)
    assert not (path.parent / "elsewhere").exists()


# --- the service -----------------------------------------------------------------------------------------------

PASSING: list[tuple[object, str]] = [
    ((503, MARK.encode()), "the refresh was answered with 503"),
    ((200, MARK.encode()), "the refresh was answered with 200, but without a usable accessToken"),
    (Unreachable("https://x: ConnectError"), "the refresh got no answer: https://x: ConnectError"),
    (OSError(111, "Connection refused"), "the refresh got no answer: [Errno 111] Connection refused"),
]


@pytest.mark.parametrize(("answer", "reason"), PASSING)
@in_virtual_time
async def test_a_service_that_fails_is_asked_again(path: Path, service: SignIn, answer: Any, reason: str) -> None:
    write(path)
    service.answer = answer
    source = token_file(path, service.post)
    before = path.read_bytes()
    error = await failure_of(source)
    assert (type(error), str(error)) == (TokenRefreshFailed, f"{path}: {reason}")
    assert path.read_bytes() == before
    service.answer = None
    assert (await source.fresh()).access_token == service.access


@in_virtual_time
async def test_a_service_that_is_silent_is_given_up(path: Path, service: SignIn) -> None:
    write(path)
    service.delay = 1e9
    error = await failure_of(token_file(path, service.post, refresh_timeout=7))
    assert (type(error), error.reason) == (TokenRefreshFailed, "the refresh got no answer within 7 seconds")
    assert trio.current_time() == 7
    assert not is_locked(path)


@pytest.mark.parametrize("answer", [*(answer for answer, _ in PASSING), (400, b'{"error": "invalid_grant"}')])
@in_virtual_time
async def test_a_token_that_is_still_good_outlives_a_failed_refresh(path: Path, service: SignIn, answer: Any) -> None:
    write(path, left=100)
    service.answer = answer
    told: list[str] = []
    source = token_file(path, service.post, told.append)
    for _ in range(5):
        assert (await source.fresh()).access_token == f"access-{MARK}-0"
    assert len(service.calls) == 1
    await trio.sleep(31)
    assert (await source.fresh()).access_token == f"access-{MARK}-0"
    assert len(service.calls) == 2
    assert [line.endswith("; the present token is used until it expires") for line in told] == [True, True]
    assert MARK not in "".join(told)
    await failure_of(source, f"access-{MARK}-0")
    await trio.sleep(70)
    await failure_of(source)
    assert len(service.calls) == 4


@in_virtual_time
async def test_a_token_that_expires_while_a_refresh_fails_is_not_given(path: Path, service: SignIn) -> None:
    write(path, left=5)
    service.delay = 1e9
    error = await failure_of(token_file(path, service.post, refresh_timeout=7))
    assert isinstance(error, TokenRefreshFailed)


@in_virtual_time
async def test_a_refused_refresh_token_is_final(path: Path, service: SignIn) -> None:
    write(path, round_=99)
    error = await failure_of(token_file(path, service.post))
    assert (type(error), str(error)) == (
        TokenRefused,
        f"{path}: the refresh token was refused (400 invalid_grant); its user has to sign in again",
    )


@in_virtual_time
async def test_a_refresh_token_that_another_program_used_up_leaves_us_with_its_token(
    path: Path, service: SignIn
) -> None:
    write(path, round_=0)
    service.answer = 400, b'{"error": "invalid_grant"}'
    service.while_asked = lambda: write(path, left=3600, round_=5)
    assert (await token_file(path, service.post).fresh()).access_token == f"access-{MARK}-5"
