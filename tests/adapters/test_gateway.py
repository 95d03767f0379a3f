"""The gateway as it is put together: what its token files must be, and what its end does for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from adapters.emulator import default_account, in_turn, render_token_file
from adapters.gateway import Gateway, check_token_files
from tests.adapters.harness import HELLO, configured, running


def _config(*token_files: Path) -> dict[str, object]:
    accounts = [{"tokenFilePath": str(file)} for file in token_files]
    return {"providers": {"team": {"type": "codewhisperer", "accounts": accounts}}}


def test_each_token_file_that_cannot_be_used_is_a_line(tmp_path: Path) -> None:
    good, missing, empty = (tmp_path / name for name in ("good.json", "missing.json", "empty.json"))
    good.write_text(render_token_file(default_account(), 4_000_000_000.0))
    empty.touch()
    problems = check_token_files(configured(_config(good, missing, empty)))
    assert [problem.split(": ")[0] for problem in problems] == ["providers.team-account2", "providers.team-account3"]
    assert str(missing) in problems[0]
    assert str(empty) in problems[1]
    assert check_token_files(configured(_config(good))) == []


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
