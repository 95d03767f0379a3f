"""What a gateway knows of its accounts, and has counted, survives its end, however it ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.processes import poll
from tests.end_to_end.load import ask_many
from tests.end_to_end.servers import Process
from tests.end_to_end.ten_accounts import Stand, emulator

COOLING, BLACKLISTED, DISABLED, HEALTHY = (f"team-account{number}" for number in range(1, 5))


@contextmanager
def serving(folder: Path, service: Process, *, ended_by: signal.Signals = signal.SIGTERM) -> Iterator[Stand]:
    """A gateway, which is ended in that way where the block ends."""
    server = Process("serve", "--bind", "127.0.0.1:0", "--config", str(folder / "config.json"))
    try:
        server.wait_ready()
        yield Stand(folder, server, service)
        server.process.send_signal(ended_by)
    finally:
        server.stop()


def known(gateway: Stand) -> tuple[dict[str, dict[str, Any]], Any]:
    return gateway.accounts(), gateway.get("/admin/stats")


@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_states_and_statistics_are_the_same_after_a_restart(tmp_path: Path, ended_by: signal.Signals) -> None:
    with emulator(tmp_path, accounts=4) as service:
        with serving(tmp_path, service, ended_by=ended_by) as gateway:
            gateway.play({"accounts": {COOLING: "throttled", BLACKLISTED: "bad-token"}})
            assert ask_many(gateway.url, 20, concurrency=2) == []
            poll(lambda: gateway.get("/admin/stats")["summary"]["totalRequests"] == 20)
            # This is on the disk when it is answered, and with it all that came before.
            assert gateway.act(DISABLED, "disable")["state"] == "disabled"
            before, counted = known(gateway)
        assert {account: state["state"] for account, state in before.items()} == {
            COOLING: "cooldown",
            BLACKLISTED: "permanently_blacklisted",
            DISABLED: "disabled",
            HEALTHY: "healthy",
        }
        assert before[HEALTHY]["successCount"] + before[DISABLED]["successCount"] == 20
        with serving(tmp_path, service) as gateway:
            assert known(gateway) == (before, counted)
            # And it goes by what it knows: everything is asked of the one that is left, without a failure.
            assert ask_many(gateway.url, 8, concurrency=4) == []
            poll(lambda: gateway.get("/admin/stats")["summary"]["totalRequests"] == 28)
            after, counts = known(gateway)
        assert after[HEALTHY]["successCount"] == before[HEALTHY]["successCount"] + 8
        assert counts["failures"] == counted["failures"]
        assert {account: state for account, state in after.items() if account != HEALTHY} == {
            account: state for account, state in before.items() if account != HEALTHY
        }


def test_a_permanent_blacklist_is_on_the_disk_before_the_request_that_caused_it_is_answered(tmp_path: Path) -> None:
    with emulator(tmp_path, accounts=4) as service:
        with serving(tmp_path, service, ended_by=signal.SIGKILL) as gateway:
            gateway.play({"accounts": {COOLING: "bad-token"}})
            assert ask_many(gateway.url, 1, concurrency=1) == []
        with serving(tmp_path, service) as gateway:
            assert gateway.accounts()[COOLING]["state"] == "permanently_blacklisted"
            assert gateway.act(COOLING, "recover")["state"] == "healthy"


def test_a_damaged_state_is_told_and_kept_aside_and_the_gateway_starts(tmp_path: Path) -> None:
    damage = b"This is no database. " * 500
    state = tmp_path / "state.sqlite3"
    with emulator(tmp_path, accounts=4) as service:
        with serving(tmp_path, service) as gateway:
            assert gateway.act(DISABLED, "disable")["state"] == "disabled"
        state.write_bytes(damage)
        for name in ("state.sqlite3-wal", "state.sqlite3-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        with serving(tmp_path, service) as gateway:
            said = [line for line in gateway.server.lines if str(state) in line]
            assert len(said) == 1, gateway.server.lines
            aside = [path for path in tmp_path.iterdir() if path.name.startswith("state.sqlite3.damaged-")]
            assert [path.read_bytes() for path in aside] == [damage]
            assert str(aside[0]) in said[0]
            assert {account["state"] for account in gateway.accounts().values()} == {"healthy"}
            assert ask_many(gateway.url, 4, concurrency=2) == []
            assert gateway.act(COOLING, "disable")["state"] == "disabled"
        with serving(tmp_path, service) as gateway:
            assert gateway.accounts()[COOLING]["state"] == "disabled"
            assert gateway.accounts()[DISABLED]["state"] == "healthy"
