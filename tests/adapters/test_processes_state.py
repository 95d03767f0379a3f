"""What outlives a process: the state of two runs of a real gateway, with a good end between them and a bad one."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from adapters.stores import SqliteStore
from core.stats import parse_stats
from core.times import Epoch
from tests.adapters.harness import HELLO
from tests.adapters.processes import Command, ask, commands, poll

CLI = "adapters.cli"
ANY = ("--bind", "127.0.0.1:0")
SERVE = (CLI, "serve", *ANY, "--config")
HYPERCORN = ("hypercorn", "-k", "trio", *ANY, "adapters.asgi:app")

UNUSED = ("nextTry", "expectedBack", "isUsable")
"""What of an account's health moves with time."""


@pytest.fixture
def start() -> Iterator[Callable[..., Command]]:
    """A way to start processes."""
    with commands() as started:
        yield started


class Site:
    """An emulator, and a configuration of four accounts on it, each of which fails in its own way."""

    def __init__(self, folder: Path, start: Callable[..., Command]) -> None:
        self._start = start
        emulator = start(CLI, "emulate", *ANY, "--write-config", folder / "one", "--scenario-file", self._play(folder))
        self.file = Path(emulator.until(r"^wrote (.*)$"))
        url = emulator.until(r"emulating on (http://\S+)")
        document = json.loads(self.file.read_text())
        self.token = (self.file.parent / "token.json").read_text()
        providers = {}
        for name in "abcd":
            (folder / f"{name}.json").write_text(self.token)
            account = {"tokenFilePath": str(folder / f"{name}.json"), "refreshUrl": f"{url}/refreshToken"}
            providers[name] = {"type": "codewhisperer", "endpoint": url, "authentication": account}
        self.file.write_text(json.dumps({**document, "providers": providers}))
        self.store = folder / "one" / "state.sqlite3"

    def _play(self, folder: Path) -> Path:
        file = folder / "scenarios.json"
        sequence = ["forbidden", "forbidden", "throttled", "internal-error", "fine", "fine", "fine"]
        file.write_text(json.dumps({"sequence": sequence, "default": "fine"}))
        return file

    def serve(self) -> tuple[Command, str]:
        """Start the gateway."""
        served = self._start(*SERVE, self.file)
        return served, served.until(r"listening on (http://\S+)")

    def serve_by_hypercorn(self) -> tuple[Command, str]:
        """Start it under a server that is not ours."""
        served = self._start(*HYPERCORN, STAGEWHISPER_CONFIG=str(self.file))
        return served, served.until(r"Running on (http://\S+)")


def shown(url: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All accounts without what moves with time, and the statistics."""
    accounts = json.loads(ask(url, "GET", "/admin/accounts")[2])["accounts"]
    stats = json.loads(ask(url, "GET", "/admin/stats")[2])
    return [{name: value for name, value in one.items() if name not in UNUSED} for one in accounts], stats


def use(url: str) -> None:
    """Requests that bring the accounts into different states, and a disable."""
    statuses = [ask(url, "POST", "/v1/messages", HELLO)[0] for _ in range(4)]
    assert statuses == [200] * 4
    assert ask(url, "POST", "/admin/accounts/d/disable")[0] == 200


@pytest.mark.parametrize("by", ["serve", "serve_by_hypercorn"])
def test_the_state_after_a_restart_equals_the_state_before(
    tmp_path: Path, start: Callable[..., Command], by: str
) -> None:
    site = Site(tmp_path, start)
    first, url = getattr(site, by)()
    use(url)
    before = shown(url)
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    second, url = getattr(site, by)()
    assert shown(url) == before
    assert [one["state"] for one in before[0]] == [
        "permanently_blacklisted",
        "cooldown",
        "temporarily_blacklisted",
        "disabled",
    ]
    # Whose turn it was outlives the process too: the one that is left has it, and nothing was tried that is barred.
    assert before[1]["accounts"]["a"] == 1
    second.signal(signal.SIGTERM)
    assert second.wait() == 0
    assert not any("Traceback" in line for command in (first, second) for line in command.lines)


def test_what_was_written_by_the_way_survives_a_kill(tmp_path: Path, start: Callable[..., Command]) -> None:
    site = Site(tmp_path, start)
    first, url = site.serve()
    use(url)
    assert ask(url, "POST", "/v1/messages", HELLO)[0] == 200
    before = shown(url)
    poll(lambda: trio.run(_requests_kept, site.store) == 5)  # how soon that is, `test_keeping` says
    first.signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    _, url = site.serve()
    assert shown(url) == before


async def _requests_kept(path: Path) -> int:
    """How many requests the statistics on the disk have counted."""
    store = SqliteStore(str(path), lambda: Epoch(0.0))
    await store.open()
    try:
        return sum(parse_stats((await store.load())["stats"].value).outcomes.values())
    finally:
        with trio.move_on_after(5, shield=True):
            await store.close()


@pytest.mark.parametrize("what", ["blacklist", "disable", "recover"])
def test_disables_and_permanent_blacklists_are_there_however_soon_the_process_is_killed(
    tmp_path: Path, start: Callable[..., Command], what: str
) -> None:
    site = Site(tmp_path, start)
    first, url = site.serve()
    assert ask(url, "POST", "/v1/messages", HELLO)[0] == 200
    if what != "blacklist":
        assert ask(url, "POST", f"/admin/accounts/a/{what}")[0] == 200
    first.signal(signal.SIGKILL)
    first.wait()
    _, url = site.serve()
    (account, *_), _ = shown(url)
    expected = {"blacklist": (False, True), "disable": (True, True), "recover": (False, False)}[what]
    assert (account["isDisabled"], account["isPermanentlyBlacklisted"]) == expected


def test_two_gateways_on_one_state_hear_of_each_other_and_lose_no_count(
    tmp_path: Path, start: Callable[..., Command]
) -> None:
    site = Site(tmp_path, start)
    (one, first), (two, second) = site.serve(), site.serve_by_hypercorn()
    use(first)
    for _ in range(3):
        assert ask(second, "POST", "/v1/messages", HELLO)[0] == 200
    poll(lambda: shown(first)[1]["summary"] == shown(second)[1]["summary"])
    poll(lambda: shown(first) == shown(second))
    accounts, stats = shown(second)
    assert stats["summary"]["totalRequests"] == 7
    assert sum(account["totalRequests"] for account in accounts) == sum(stats["accounts"].values())
    assert accounts[0]["isPermanentlyBlacklisted"]
    for command in (one, two):
        command.signal(signal.SIGTERM)
        assert command.wait() == 0


@pytest.mark.parametrize("by", [SERVE, HYPERCORN])
def test_a_state_that_cannot_be_kept_is_a_clear_failure_at_the_start(
    tmp_path: Path, start: Callable[..., Command], by: tuple[str, ...]
) -> None:
    site = Site(tmp_path, start)
    site.store.mkdir()
    command = start(*by, site.file) if by is SERVE else start(*by, STAGEWHISPER_CONFIG=str(site.file))
    code = command.wait()
    text = "\n".join(command.lines)
    assert f"{site.store}: " in text
    assert "is not a regular file" in text
    assert "state.kind" in text
    assert "Traceback" not in text, text
    if by is SERVE:
        assert code == 1
        assert len(command.lines) == 1


def test_a_damaged_state_is_kept_aside_and_the_gateway_starts(tmp_path: Path, start: Callable[..., Command]) -> None:
    site = Site(tmp_path, start)
    site.store.write_bytes(b"made-up rubbish" * 1000)
    served, url = site.serve()
    assert ask(url, "GET", "/ready")[0] == 200
    assert any(str(site.store) in line for line in served.lines)
    kept = [file for file in site.store.parent.glob("state.sqlite3*") if file.read_bytes()[:7] == b"made-up"]
    assert len(kept) == 1
