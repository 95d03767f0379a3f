"""The gateway as it is put together: what its token files must be, and what its end does for them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import trio

from adapters.accounts import Accounts
from adapters.emulator import always, default_account, in_turn, render_token_file
from adapters.gateway import Gateway, check_state, check_token_files, explain_state, make_store
from adapters.stores import MemoryStore, SqliteStore, StoreError
from adapters.tokens import TokenError, check_writable
from core.credentials import Token
from tests.adapters.harness import HELLO, configured, running
from tests.adapters.token_files import in_virtual_time


def _config(*token_files: Path) -> dict[str, object]:
    accounts = [{"tokenFilePath": str(file)} for file in token_files]
    return {"providers": {"team": {"type": "codewhisperer", "accounts": accounts}}}


def test_a_gateway_starts_without_the_token_files_that_cannot_be_read(tmp_path: Path) -> None:
    good, missing, empty = (tmp_path / name for name in ("good.json", "missing.json", "empty.json"))
    good.write_text(render_token_file(default_account(), 4_000_000_000.0))
    empty.touch()
    grave, light = check_token_files(configured(_config(good, missing, empty)))
    assert grave == []
    assert [problem.split(": ")[0] for problem in light] == ["providers.team-account2", "providers.team-account3"]
    assert str(missing) in light[0]
    assert str(empty) in light[1]
    assert check_token_files(configured(_config(good))) == ([], [])


def test_a_gateway_does_not_start_where_no_token_file_can_be_used(tmp_path: Path) -> None:
    missing, empty = tmp_path / "missing.json", tmp_path / "empty.json"
    empty.touch()
    grave, light = check_token_files(configured(_config(missing, empty)))
    assert [problem.split(": ")[0] for problem in grave] == ["providers.team-account1", "providers.team-account2"]
    assert light == []


def test_a_token_that_could_not_be_written_back_keeps_a_gateway_from_starting_and_one_that_has_run_out_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent, locked = tmp_path / "spent.json", tmp_path / "locked.json"
    spent.write_text('{"accessToken": "made-up", "expiresAt": "2020-01-01T00:00:00Z"}')

    def check(path: str) -> Token:
        if path == str(locked):
            raise TokenError(path, "its folder cannot be written")
        return check_writable(path)

    monkeypatch.setattr("adapters.gateway.check_writable", check)
    assert check_token_files(configured(_config(spent, locked))) == (
        [f"providers.team-account2: {locked}: its folder cannot be written"],
        [f"providers.team-account1: {spent}: has expired, and has no refreshToken"],
    )


async def test_accounts_take_turns(tmp_path: Path) -> None:
    async with running(tmp_path, accounts=("a", "b", "c")) as site:
        for _ in range(7):
            assert (await site.ask("POST", "/v1/messages", HELLO)).status == 200
        counts = [count.requests for count in site.emulator.counts.values()]
    assert counts == [3, 2, 2]


async def test_requests_at_once_share_one_refresh(tmp_path: Path) -> None:
    async with running(tmp_path) as site:
        site.emulator.accounts.revoke("a")
        talks = [site.begin("POST", "/v1/messages", HELLO) for _ in range(20)]
        for talk in talks:
            await talk.over.wait()
        counts = site.emulator.counts["a"]
    assert [talk.status for talk in talks] == [200] * 20
    assert counts.refreshes == 1


@pytest.mark.parametrize("is_writable", [True, False])
async def test_its_end_writes_a_token_that_could_not_be_written_and_says_so_where_it_still_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_writable: bool
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async with running(tmp_path, scenario=in_turn("token-revoked")) as site:
        with monkeypatch.context() as patched:
            patched.setattr("adapters.files.replace_file", full)
            assert (await site.ask("POST", "/v1/messages", HELLO)).status == 200
            if not is_writable:
                await site.gateway._close()
            assert json.loads((tmp_path / "a.json").read_text())["accessToken"] == "made-up-access-a"
        await site.gateway._close()
        assert json.loads((tmp_path / "a.json").read_text())["accessToken"] == "emulated-access-token-a-2"
    lost = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(lost) == (0 if is_writable else 1)
    assert all(line.startswith(str(tmp_path / "a.json")) for line in lost)
    assert "emulated-" not in caplog.text


async def test_its_end_closes_the_connections_to_the_service(tmp_path: Path) -> None:
    async with running(tmp_path) as site:
        await site.ask("POST", "/v1/messages", HELLO)
        assert site.open == 1
        await site.gateway._close()
        with trio.fail_after(5):
            while site.open:
                await trio.sleep(0.001)


def test_a_gateway_needs_no_event_loop_to_be_made(tmp_path: Path) -> None:
    """`hypercorn` imports its application before it runs anything."""
    file = tmp_path / "token.json"
    file.write_text(render_token_file(default_account(), 4_000_000_000.0))
    assert Gateway(configured(_config(file))).app.name == "stagewhisper"


# --- what goes on beside the requests --------------------------------------------------------------------------


@in_virtual_time
async def test_a_bug_beside_the_requests_is_logged_and_what_it_ended_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bugs = iter(["first", "second"])
    original = Accounts.watch

    async def watch(accounts: Accounts) -> None:
        if (bug := next(bugs, None)) is not None:
            raise LookupError(f"a made-up bug, the {bug}")
        await original(accounts)

    monkeypatch.setattr(Accounts, "watch", watch)
    async with running(tmp_path) as site:
        site.live()
        assert (await site.ask("POST", "/v1/messages", HELLO)).status == 200
        await trio.sleep(10)
        assert await _kept(site.gateway, "stats"), "what is counted is written again"
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.getMessage() for record in errors] == ["a bug of the gateway in what runs beside the requests"] * 2
    assert "a made-up bug, the second" in caplog.text


async def _kept(gateway: Gateway, key: str) -> bytes | None:
    found = await gateway._keeper._store.load()
    return found[key].value if key in found else None


@in_virtual_time
async def test_an_account_whose_token_file_changes_is_used_within_a_second(tmp_path: Path) -> None:
    played = ["forbidden", "forbidden"]
    async with running(tmp_path, scenario=lambda *_: played.pop() if played else "fine") as site:
        site.live()
        assert (await site.ask("POST", "/v1/messages", HELLO)).status == 403
        await trio.sleep(600)
        assert (await site.ask("GET", "/ready")).status == 503
        file = tmp_path / "a.json"
        document = json.loads(file.read_text())
        issued = site.emulator.accounts.issue("a")  # a person signs in again
        file.write_text(json.dumps(document | {"accessToken": issued.access_token}))
        await trio.sleep(1)
        assert (await site.ask("GET", "/ready")).status == 200
        assert (await site.ask("POST", "/v1/messages", HELLO)).status == 200


@in_virtual_time
async def test_a_token_file_that_is_gone_for_a_while_costs_its_account_no_more_than_that(tmp_path: Path) -> None:
    async with running(tmp_path, accounts=("a", "b")) as site:
        site.live()
        (tmp_path / "a.json").rename(tmp_path / "elsewhere")
        assert [(await site.ask("POST", "/v1/messages", HELLO)).status for _ in range(2)] == [200, 200]
        health = (await site.health())["a"]
        assert (health["state"], health["cause"]) == ("temporarily_blacklisted", "token_file")
        (tmp_path / "elsewhere").rename(tmp_path / "a.json")
        await trio.sleep(1)
        assert (await site.health())["a"]["state"] == "healthy"
        assert [(await site.ask("POST", "/v1/messages", HELLO)).status for _ in range(2)] == [200, 200]
        assert site.emulator.counts["a"].requests == 1


async def test_the_next_gateway_on_the_same_file_goes_on_where_this_one_ended(tmp_path: Path) -> None:
    document = {"state": {"path": str(tmp_path / "state.sqlite3")}}
    shown = []
    for scenario in ("fine", "throttled", "fine"):
        async with running(tmp_path, document, scenario=always(scenario), accounts=("a", "b")) as site:
            shown.append(await site.health())
            await site.ask("POST", "/v1/messages", HELLO)
            shown.append(await site.health())
    assert [list(shown[number].values()) for number in (2, 4)] == [list(shown[number].values()) for number in (1, 3)]
    assert [shown[5][name]["totalRequests"] for name in ("a", "b")] != [0, 0]
    assert shown[1]["a"]["successCount"] == 1


async def test_a_state_that_cannot_be_kept_is_no_gateway(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite3").mkdir()
    config = configured({"state": {"path": str(tmp_path / "state.sqlite3")}, **_config(tmp_path / "none.json")})
    with pytest.raises(StoreError):
        await Gateway(config).open()
    with pytest.raises(StoreError) as raised:
        await check_state(config)
    assert explain_state(raised.value).endswith(
        "is not a regular file (state.path names another file; state.kind memory keeps none)"
    )


def test_without_a_path_the_state_is_in_the_platforms_folder(nobodys_state: Path) -> None:
    """It is only named here; no test opens it."""
    config = configured({"state": {"kind": "file"}})
    store = make_store(config)
    assert isinstance(store, SqliteStore)
    if sys.platform == "linux":
        assert store.path == str(nobodys_state / "stagewhisper" / "state.sqlite3")
    assert isinstance(make_store(configured({})), MemoryStore)
