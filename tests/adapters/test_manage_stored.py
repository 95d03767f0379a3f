"""The `accounts` command on the stored state, with and without a gateway that uses it; and what it prints."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio

from adapters.emulator import always
from adapters.manage import render_json, render_table
from adapters.stores import MemoryStore, StoreError
from tests.adapters.harness import HELLO, running
from tests.adapters.test_manage import FINE, Command, closed, config
from tests.adapters.wire import served

__all__ = ["closed"]  # a fixture

ELSEWHERE = "(--config names another configuration, --url another gateway)"


def test_where_none_runs_the_stored_state_is_shown_and_changed_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], closed: str
) -> None:
    command = Command(capsys, config(tmp_path, closed))
    said = [command.run(*arguments) for arguments in ([], ["disable", "b"], ["list", "--json"], ["enable", "b"])]
    note = f"no gateway answers on http://{closed} (--url names another address): this is the stored state"
    assert [one.complaints for one in said] == [[note]] * 4
    assert [line.split()[:2] for line in said[0].lines[1:]] == [["a", "healthy"], ["b", "healthy"]]
    assert [line.split()[:2] for line in said[1].lines[1:]] == [["b", "disabled"]]
    assert [one["state"] for one in said[2].json["accounts"]] == ["healthy", "disabled"]
    assert [line.split()[:2] for line in said[3].lines[1:]] == [["b", "healthy"]]


def test_where_the_port_is_not_known_the_store_is_the_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = Command(capsys, config(tmp_path, "127.0.0.1:0")).run("disable", "a", "--json")
    assert (said.json["state"], said.complaints) == ("disabled", [])


@pytest.mark.parametrize("arguments", [[], ["disable", "a"]])
def test_a_state_in_memory_is_gone_with_its_gateway(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], closed: str, arguments: list[str]
) -> None:
    said = Command(capsys, config(tmp_path, closed, kind="memory")).run(*arguments)
    assert said.problem == "a gateway's state is in its memory alone (state.kind), and none answers"


def test_an_account_that_is_not_configured_is_said_with_those_that_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], closed: str
) -> None:
    command = Command(capsys, config(tmp_path, closed))
    assert command.run("recover", "c").problem == f"there is no account 'c'; there are a, b {ELSEWHERE}"
    assert command.run("recover", "\udcff").problem == (f"there is no account '\\udcff'; there are a, b {ELSEWHERE}")


@pytest.mark.parametrize("arguments", [[], ["disable", "a"]])
def test_a_store_that_cannot_be_used_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], closed: str, arguments: list[str]
) -> None:
    command = Command(capsys, config(tmp_path, closed))
    (tmp_path / "state.sqlite3").mkdir()
    problem = command.run(*arguments).problem
    assert problem.startswith(f"{tmp_path / 'state.sqlite3'}: ")
    assert "not a regular file" in problem


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("the disk is full", "/made-up: the disk is full; what changes is kept in memory until it can be written"),
        (None, "other processes write the state all the time; try again"),
    ],
)
def test_a_change_that_could_not_be_written_is_said_and_not_shown_as_done(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: str | None,
    expected: str,
) -> None:
    class Unwritable(MemoryStore):
        async def compare_and_set(self, writes: Mapping[str, tuple[int, bytes]]) -> dict[str, int]:
            await trio.lowlevel.checkpoint()
            if error is not None:
                raise StoreError("/made-up", error)
            return dict.fromkeys(list(writes)[1:], 1)

    monkeypatch.setattr("adapters.manage.make_store", lambda _: Unwritable())
    command = Command(capsys, config(tmp_path, "127.0.0.1:0"))
    assert command.run("disable", "a").problem == expected
    assert command.run().lines[1].split()[:2] == ["a", "healthy"]


@pytest.mark.skipif(os.name == "nt", reason="names of files are others there")
def test_a_damaged_store_is_kept_aside_and_said_and_the_accounts_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(capsys, config(tmp_path, "127.0.0.1:0"))
    (tmp_path / "state.sqlite3").write_bytes(b"made-up rubbish" * 1000)
    said = command.run("disable", "a")
    assert said.lines[1].split()[:2] == ["a", "disabled"]
    assert str(tmp_path / "state.sqlite3") in said.complaints[0]
    assert len(list(tmp_path.glob("state.sqlite3*"))) >= 2
    assert command.run("--json").complaints == []


@pytest.mark.parametrize(
    "arguments", [["reset", "a"], ["list", "a", "b"], ["--nothing"], ["list", "a"], ["recover"], ["disable", "--json"]]
)
def test_what_is_no_command_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        Command(capsys, config(tmp_path, "127.0.0.1:0")).run(*arguments)
    assert raised.value.code == 2


# --- beside a gateway that runs --------------------------------------------------------------------------------


async def test_a_gateway_takes_in_within_a_second_what_the_command_wrote_to_the_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], closed: str
) -> None:
    """Where the command finds no gateway although one runs: it listens elsewhere than its configuration says."""
    document = {"state": {"path": str(tmp_path / "state.sqlite3")}}
    async with running(tmp_path, document, accounts=("a", "b"), scenario=always("forbidden")) as site:
        async with served(site) as server:
            wire = await server.connect()
            assert (await wire.ask("POST", "/v1/messages", HELLO)).status == 403
            command = Command(capsys, config(tmp_path, closed))
            seen = await command.asked("--json")
            assert [one["state"] for one in seen.json["accounts"]] == ["permanently_blacklisted"] * 2
            assert [one["failureCount"] for one in seen.json["accounts"]] == [1, 1]
            for arguments, state in ((["recover", "a"], "healthy"), (["disable", "a"], "disabled")):
                assert (await command.asked(*arguments)).code == 0
                with trio.fail_after(30):
                    while (await site.health())["a"]["state"] != state:
                        await trio.sleep(0.01)
            assert (await site.health())["b"]["state"] == "permanently_blacklisted"
        after = await command.asked("--json")
    assert [one["state"] for one in after.json["accounts"]] == ["disabled", "permanently_blacklisted"]
    assert [one["failureCount"] for one in after.json["accounts"]] == [1, 1]


# --- what is printed -------------------------------------------------------------------------------------------


def _account(**members: Any) -> dict[str, Any]:
    return {**FINE, **members}


def test_the_table_says_of_each_account_what_a_person_asks_first() -> None:
    past = [
        {"timestamp": "2026-11-22T09:30:00.123Z", "error": "server: first"},
        {"timestamp": "2026-11-22T10:30:00.456Z", "error": "rate_limit: the service answered 429 " + "x" * 500},
    ]
    accounts = [
        _account(),
        _account(
            providerId="team-account12",
            state="temporarily_blacklisted",
            isUsable=False,
            nextTry="2026-11-22T11:30:00.456Z",
            errorHistory=past,
            totalRequests=1200,
            successCount=1198,
            failureCount=2,
        ),
        _account(providerId="b", state="permanently_blacklisted", isUsable=False),
    ]
    heading, fine, away, *error, barred = render_table(accounts).splitlines()
    assert heading.split("  ")[0] == "ACCOUNT"
    columns = [
        line.index(word) for line, word in ((heading, "STATE"), (fine, "healthy"), (away, "temp"), (barred, "perm"))
    ]
    assert len(set(columns)) == 1
    assert "temporarily blacklisted  2026-11-22 11:30Z  1200   1198  2" in away
    assert error[0].startswith("    2026-11-22 10:30Z rate_limit: the service answered 429 ")
    assert sum(line.count("x") for line in error) == 500
    assert fine.split() == ["a", "healthy", "now", "0", "0", "0"]
    assert "once recovered" in barred
    assert all(line == line.rstrip() and len(line) <= 100 for line in (heading, fine, away, *error, barred))


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"state": "degraded", "nextTry": "2026-11-22T11:30:00.456Z"}, "where no other is"),
        ({"state": "disabled", "isUsable": False}, "once enabled"),
        ({"state": "cooldown", "isUsable": False}, "soon"),
        ({"state": "cooldown"}, "now"),
    ],
)
def test_the_table_says_when_an_account_is_tried_next(members: dict[str, Any], expected: str) -> None:
    assert expected in render_table([_account(**members)]).splitlines()[1]


@pytest.mark.parametrize("single", [True, False])
def test_json_is_what_the_gateway_answers(single: bool) -> None:
    text = render_json([FINE], single=single)
    assert json.loads(text) == (FINE if single else {"accounts": [FINE]})
    assert text.count("\n") > 5
