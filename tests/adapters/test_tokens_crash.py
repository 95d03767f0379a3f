"""Token files and real processes: killed at every step of a write, and waiting for each other's locks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from adapters.files import replace_file
from adapters.tokens import TokenRefused
from tests.adapters.crashing_refresh import EXPIRES_AT, NEW, OLD
from tests.adapters.token_files import MARK, SignIn, in_virtual_time, is_locked, read, token_file, write

ROOT = Path(__file__).parents[2]
TOKENS = ("accessToken", "refreshToken")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def run(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, script, *arguments],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def killed_at_each_step(folder: Path, kind: str) -> list[str]:
    """Before which call each process was killed, in the order of the folders `0`, `1`, ...; one more ended well."""
    with run(str(ROOT / "tests" / "adapters" / "crashing_refresh.py"), str(folder), kind) as process:
        output, _ = process.communicate(timeout=60)
    outcome = json.loads(output)
    assert outcome["exit"] == 0
    killed: list[str] = outcome["killed_before"]
    return killed


def refreshed_by_the_next(path: Path, told: list[str]) -> str | None:
    """The access token of another process whose service takes each refresh token once; None if it is refused."""
    service = SignIn()
    service.round = 1
    tokens: list[str] = []

    @in_virtual_time
    async def ask() -> None:
        with suppress(TokenRefused):
            tokens.append((await token_file(path, service.post, told.append).fresh(NEW["accessToken"])).access_token)

    ask()
    assert len(service.calls) == 1
    return tokens[0] if tokens else None


@pytest.mark.parametrize("kind", ["plain", "link", "rewritten", "left"])
def test_whatever_step_a_process_is_killed_at_no_refresh_token_is_lost(tmp_path: Path, kind: str) -> None:
    killed_before = killed_at_each_step(tmp_path, kind)
    assert len(killed_before) >= 15
    kept = {"kept": [1.5]} | ({"added": True} if kind == "rewritten" else {})
    new = OLD | {name: NEW[name] for name in TOKENS} | {"expiresAt": EXPIRES_AT} | kept
    document: dict[str, Any] = {}
    found: Counter[str] = Counter()
    lost = []
    for step in range(len(killed_before) + 1):
        folder = tmp_path / str(step)
        path = folder / ("links/token.json" if kind == "link" else "token.json")
        # The file is the old one or the new one, whole.
        document = read(path)
        found[document["accessToken"]] += 1
        assert document in (OLD | kept, new)
        assert document == OLD | kept or path.stat().st_mode & 0o777 == 0o600
        assert not is_locked(path.resolve())
        # Whichever it is, the next process has the new token, and cleans up.
        told: list[str] = []
        if refreshed_by_the_next(path, told) is None:
            lost.append(step)
        else:
            refreshed = {"accessToken": f"access-{MARK}-2", "refreshToken": f"refresh-{MARK}-2"}
            assert read(path) == new | refreshed | {"expiresAt": "2023-11-14T23:13:21.000Z"}
        assert sorted(set(os.listdir(folder)) - {"links"}) == ["token.json", "token.json.lock"]
        is_recovered = document["accessToken"] == OLD["accessToken"] and step not in lost
        assert told == [f"{path}: a new token that was left in its journal is used from now on"] * is_recovered
    assert min(found[OLD["accessToken"]], found[NEW["accessToken"]]) >= 3
    assert document == new
    # What is killed before the new token's first write has it in memory only. That write is the first thing it does.
    assert lost == ([] if kind == "left" else [0])
    assert kind == "left" or killed_before[0] == "write"


HOLDER = """
import sys, trio
from adapters.files import take_lock
lock = trio.run(lambda: take_lock(sys.argv[1], patience=0))
print("held" if lock else "busy", flush=True)
sys.stdin.read()
"""


def test_another_process_lock_is_respected_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "token.json"
    write(path)
    service = SignIn()
    with run("-c", HOLDER, str(path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"

        @in_virtual_time
        async def refresh() -> None:
            async with trio.open_nursery() as nursery:
                source = token_file(path, service.post, lock_timeout=1e6)
                nursery.start_soon(source.fresh)
                await trio.sleep(100)
                assert service.calls == []
                process.kill()
                process.wait()

        refresh()
    assert len(service.calls) == 1
    assert read(path)["accessToken"] == service.access


REFRESHER = """
import json, sys, trio
from adapters.tokens import TokenFile
from core.times import Epoch

async def post(call):
    with open(sys.argv[2], "a") as asked:
        asked.write("asked\\n")
    await trio.sleep(0.05)
    return 200, b'{"accessToken": "new-access", "refreshToken": "new-refresh", "expiresIn": 3600}'

async def main():
    settings = {"refresh_url": None, "user_agent": "made-up/1", "log": print}
    source = TokenFile(sys.argv[1], post=post, epoch=lambda: Epoch(1.7e9), **settings)
    sys.stdin.readline()
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(source.fresh)
    print((await source.fresh()).access_token)

trio.run(main)
"""


def test_two_real_processes_ask_once(tmp_path: Path) -> None:
    path, asked = tmp_path / "token.json", tmp_path / "asked"
    path.write_text(json.dumps(OLD))
    with run("-c", REFRESHER, str(path), str(asked)) as one, run("-c", REFRESHER, str(path), str(asked)) as other:
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        outputs = [process.communicate(timeout=60)[0] for process in (one, other)]
    assert outputs == ["new-access\n"] * 2
    assert asked.read_text() == "asked\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only there a descriptor tells its file's name")
def test_the_data_is_on_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "token.json"
    path.write_bytes(b"old")
    happened: list[str] = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor: int) -> None:
        what = os.readlink(f"/proc/self/fd/{descriptor}")
        happened.append(f"fsync {Path(what).name} of {os.fstat(descriptor).st_size if what != str(tmp_path) else 0}")
        fsync(descriptor)

    def watched_replace(source: str, target: str) -> None:
        happened.append(f"rename to {Path(target).name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    replace_file(str(path), b"new")
    assert happened == [
        "fsync .token.json.stagewhisper-new of 3",
        "rename to token.json",
        f"fsync {tmp_path.name} of 0",
    ]
