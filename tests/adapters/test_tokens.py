"""Fresh tokens: read, refreshed once however many wait, written back with everything else kept."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import trio

from adapters import files
from adapters.tokens import TokenError, TokenRefreshFailed, TokenRefused, check_writable
from core.credentials import Token
from tests.adapters.token_files import HASH, MARK, SignIn, in_virtual_time, is_locked, locked, read, token_file, write


async def gather(count: int, source: Any, rejected: str | None = None) -> list[Token | TokenError]:
    """What each of so many tasks gets, all asking at once."""
    outcomes: list[Token | TokenError] = []

    async def ask() -> None:
        try:
            outcomes.append(await source.fresh(rejected))
        except TokenError as error:
            outcomes.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(ask)
    return outcomes


@in_virtual_time
async def test_a_good_token_is_given_without_asking_and_read_once(
    path: Path, service: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, left=3600)
    reads: list[str] = []
    read_file = files.read_file

    def counted(path: str, *, max_bytes: int) -> tuple[files.Stamp, bytes]:
        reads.append(path)
        return read_file(path, max_bytes=max_bytes)

    monkeypatch.setattr(files, "read_file", counted)
    source = token_file(path, service.post)
    assert [(await source.fresh()).access_token for _ in range(5)] == [service.access] * 5
    assert (len(reads), service.calls) == (1, [])


@in_virtual_time
async def test_a_file_that_its_owner_changed_is_read_again(path: Path, service: SignIn) -> None:
    source = token_file(path, service.post)
    for round_ in (0, 1, 22):
        write(path, left=3600, round_=round_)
        assert (await source.fresh()).access_token == f"access-{MARK}-{round_}"
    assert service.calls == []


@in_virtual_time
async def test_an_expired_token_is_refreshed_and_the_rest_of_its_file_kept(path: Path, service: SignIn) -> None:
    write(path, left=-1, startUrl="https://example.com", big=10**40)
    path.chmod(0o644)
    token = await token_file(path, service.post).fresh()
    assert (token.access_token, token.refresh_token) == (f"access-{MARK}-1", f"refresh-{MARK}-1")
    assert read(path) == {
        "accessToken": f"access-{MARK}-1",
        "refreshToken": f"refresh-{MARK}-1",
        "expiresAt": "2023-11-14T23:13:21.000Z",
        "authMethod": "social",
        "provider": "Google",
        "startUrl": "https://example.com",
        "big": 10**40,
    }
    assert {name: (path.parent / name).stat().st_mode & 0o777 for name in os.listdir(path.parent)} == {
        "token.json": 0o600,
        "token.json.lock": 0o600,
    }
    assert not is_locked(path)


@in_virtual_time
async def test_a_hundred_tasks_that_wait_cost_one_refresh(path: Path, service: SignIn) -> None:
    write(path)
    tokens = await gather(100, token_file(path, service.post))
    assert {token.access_token for token in tokens if isinstance(token, Token)} == {service.access}
    assert (len(tokens), len(service.calls)) == (100, 1)


@pytest.mark.parametrize(
    ("answer", "kind"), [((503, b""), TokenRefreshFailed), ((400, b'{"error": "invalid_grant"}'), TokenRefused)]
)
@in_virtual_time
async def test_a_hundred_tasks_that_wait_share_a_failure_too(
    path: Path, service: SignIn, answer: tuple[int, bytes], kind: type[TokenError]
) -> None:
    write(path)
    service.answer = answer
    errors = await gather(100, token_file(path, service.post))
    assert {type(error) for error in errors} == {kind}
    assert len({id(error) for error in errors}) == 100
    assert len(service.calls) == 1


@in_virtual_time
async def test_two_processes_on_one_file_cost_one_refresh(path: Path, service: SignIn) -> None:
    write(path)
    outcomes: list[Token | TokenError] = []

    async def process() -> None:
        outcomes.extend(await gather(10, token_file(path, service.post)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(process)
        nursery.start_soon(process)
    assert [token.access_token for token in outcomes if isinstance(token, Token)] == [service.access] * 20
    assert len(service.calls) == 1


@in_virtual_time
async def test_before_expiry_one_task_refreshes_and_the_others_go_on(path: Path, service: SignIn) -> None:
    write(path, left=200)
    source = token_file(path, service.post)
    tokens = await gather(10, source)
    assert sorted(token.access_token for token in tokens if isinstance(token, Token)) == [
        *[f"access-{MARK}-0"] * 9,
        f"access-{MARK}-1",
    ]
    assert (await source.fresh()).access_token == f"access-{MARK}-1"
    assert len(service.calls) == 1


@in_virtual_time
async def test_before_expiry_a_lock_that_is_held_is_not_waited_for(path: Path, service: SignIn) -> None:
    write(path, left=200)
    source = token_file(path, service.post)
    with locked(path):
        began = trio.current_time()
        assert (await source.fresh()).access_token == f"access-{MARK}-0"
        assert trio.current_time() == began
    await trio.sleep(31)
    assert (await source.fresh()).access_token == f"access-{MARK}-1"


@pytest.mark.parametrize("lifetime", [1, 60, None])
@in_virtual_time
async def test_a_token_that_lives_shortly_is_not_refreshed_by_every_request(
    path: Path, service: SignIn, lifetime: int | None
) -> None:
    write(path)
    service.lifetime = lifetime
    source = token_file(path, service.post)
    for _ in range(20):
        await source.fresh()
    assert len(service.calls) == 1


# --- rejected tokens -------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_rejected_token_is_refreshed_however_good_it_looks(path: Path, service: SignIn) -> None:
    write(path, left=3600)
    source = token_file(path, service.post)
    old = await source.fresh()
    assert (await source.fresh(old.access_token)).access_token == service.access == f"access-{MARK}-1"
    assert (await source.fresh(old.access_token)).access_token == f"access-{MARK}-1"
    assert len(service.calls) == 1


@in_virtual_time
async def test_many_rejections_of_one_token_cost_one_refresh(path: Path, service: SignIn) -> None:
    write(path, left=3600)
    tokens = await gather(50, token_file(path, service.post), f"access-{MARK}-0")
    assert {token.access_token for token in tokens if isinstance(token, Token)} == {f"access-{MARK}-1"}
    assert len(service.calls) == 1


@in_virtual_time
async def test_a_rejected_token_that_somebody_replaced_costs_no_refresh(path: Path, service: SignIn) -> None:
    write(path, left=3600)
    source = token_file(path, service.post)
    old = await source.fresh()
    write(path, left=3600, round_=7)
    assert (await source.fresh(old.access_token)).access_token == f"access-{MARK}-7"
    assert service.calls == []


@in_virtual_time
async def test_a_change_that_no_stamp_shows_is_seen_before_a_refresh(path: Path, service: SignIn) -> None:
    write(path, left=3600)
    source = token_file(path, service.post)
    old = await source.fresh()
    stamp = path.stat().st_mtime_ns
    write(path, left=3600, round_=7)
    os.utime(path, ns=(stamp, stamp))
    assert (await source.fresh()).access_token == old.access_token
    assert (await source.fresh(old.access_token)).access_token == f"access-{MARK}-7"
    assert service.calls == []


@in_virtual_time
async def test_a_token_that_is_replaced_while_we_wait_for_the_lock_costs_no_refresh(
    path: Path, service: SignIn
) -> None:
    write(path)
    source = token_file(path, service.post)
    async with trio.open_nursery() as nursery:
        with locked(path):
            nursery.start_soon(source.fresh)
            await trio.sleep(5)
            write(path, left=3600, round_=7)
    assert (await source.fresh()).access_token == f"access-{MARK}-7"
    assert service.calls == []


@in_virtual_time
async def test_a_waiter_who_rejects_what_was_found_leads_a_refresh_of_his_own(path: Path, service: SignIn) -> None:
    write(path)
    source = token_file(path, service.post)
    found: list[str] = []

    async def ask(rejected: str | None) -> None:
        found.append((await source.fresh(rejected)).access_token)

    async with trio.open_nursery() as nursery:
        with locked(path):
            nursery.start_soon(ask, None)
            await trio.sleep(1)
            nursery.start_soon(ask, f"access-{MARK}-7")
            await trio.sleep(1)
            service.round = 7
            write(path, left=3600, round_=7)
    assert found == [f"access-{MARK}-7", f"access-{MARK}-8"]


@in_virtual_time
async def test_a_service_that_gives_the_rejected_token_again_is_asked_once(path: Path, service: SignIn) -> None:
    write(path, left=3600)
    body = {"accessToken": f"access-{MARK}-0", "refreshToken": f"refresh-{MARK}-9", "expiresIn": 3600}
    service.answer = 200, json.dumps(body).encode()
    tokens = await gather(5, token_file(path, service.post), f"access-{MARK}-0")
    assert {token.access_token for token in tokens if isinstance(token, Token)} == {f"access-{MARK}-0"}
    assert len(service.calls) == 1
    assert read(path)["refreshToken"] == f"refresh-{MARK}-9"


# --- where the files are ---------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path, service: SignIn) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "token.json", tmp_path / "link.json"
    write(real)
    link.symlink_to(real)
    await token_file(link, service.post).fresh()
    assert link.is_symlink()
    assert read(real)["accessToken"] == read(link)["accessToken"] == service.access
    assert sorted(os.listdir(tmp_path / "real")) == ["token.json", "token.json.lock"]
    assert sorted(os.listdir(tmp_path)) == ["link.json", "real"]


@in_virtual_time
async def test_a_home_folder_is_found(tmp_path: Path, service: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "token.json")
    check_writable("~/token.json")
    source = token_file("~/token.json", service.post)
    assert (await source.fresh()).access_token == service.access
    assert source.path == str(tmp_path / "token.json")


@pytest.mark.parametrize("beside", ["link", "file"])
@in_virtual_time
async def test_a_registration_is_found_beside_the_file_or_beside_a_link_to_it(
    tmp_path: Path, service: SignIn, beside: str
) -> None:
    (tmp_path / "link").mkdir()
    (tmp_path / "file").mkdir()
    write(tmp_path / "file" / "token.json", authMethod="IdC", clientIdHash=HASH, region="eu-west-1")
    (tmp_path / "link" / "token.json").symlink_to(tmp_path / "file" / "token.json")
    registration = {"clientId": "made-up-client", "clientSecret": f"client-{MARK}"}
    (tmp_path / beside / f"{HASH}.json").write_text(json.dumps(registration))
    await token_file(tmp_path / "link" / "token.json", service.post).fresh()
    assert [call.url for call in service.calls] == ["https://oidc.eu-west-1.amazonaws.com/token"]
    assert json.loads(service.calls[0].body) == {
        "clientId": "made-up-client",
        "clientSecret": f"client-{MARK}",
        "grantType": "refresh_token",
        "refreshToken": f"refresh-{MARK}-0",
    }
    assert "clientSecret" not in read(tmp_path / "file" / "token.json")


@in_virtual_time
async def test_the_address_and_our_name_are_as_configured(path: Path, service: SignIn) -> None:
    write(path)
    await token_file(path, service.post, refresh_url="http://127.0.0.1:9/refresh").fresh()
    assert service.calls[0].url == "http://127.0.0.1:9/refresh"
    assert service.calls[0].headers["user-agent"] == "made-up/1"
