"""Three accounts whose tokens expire at once, and many who wait: three refreshes, however many ask and from where."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio

from adapters import ambient
from adapters.emulator import Emulator, render_token_file
from adapters.tokens import TokenFile
from adapters.upstream import Upstream
from tests.adapters.harness import HELLO, account, running

ACCOUNTS = ("a", "b", "c")
WAITING = 100


def expire(folder: Path, emulator: Emulator) -> None:
    """Let the tokens in all files, and at the service, have just expired."""
    for name in ACCOUNTS:
        emulator.accounts.revoke(name)
        expired = msgspec.structs.replace(account(name), expires_in=-0.001)
        (folder / f"{name}.json").write_text(render_token_file(expired, ambient.epoch().seconds))


@asynccontextmanager
async def emulated(folder: Path) -> AsyncIterator[tuple[Emulator, str]]:
    """An emulator of three accounts behind a socket, and its address; their files have expired tokens."""
    emulator = Emulator(
        accounts=tuple(map(account, ACCOUNTS)), log=lambda _: None, epoch=lambda: ambient.epoch().seconds
    )
    expire(folder, emulator)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(emulator.serve, listeners)
        try:
            yield emulator, f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        finally:
            nursery.cancel_scope.cancel()


async def ask_for_tokens(folder: Path, url: str, began: trio.Event) -> list[tuple[str, str]]:
    """What each of a hundred requests, spread over the accounts, gets in one gateway: account and access token."""
    upstream = Upstream(connect_timeout=5.0)
    sources = {
        name: TokenFile(
            str(folder / f"{name}.json"),
            refresh_url=f"{url}/refreshToken",
            post=upstream.fetch,
            epoch=ambient.epoch,
            user_agent="made-up/1",
            log=lambda _: None,
        )
        for name in ACCOUNTS
    }
    got: list[tuple[str, str]] = []

    async def ask(name: str) -> None:
        got.append((name, (await sources[name].fresh()).access_token))

    async with trio.open_nursery() as nursery:
        for number in range(WAITING):
            nursery.start_soon(ask, ACCOUNTS[number % len(ACCOUNTS)])
        began.set()
    await upstream.aclose()
    return got


def check(emulator: Emulator, got: list[tuple[str, str]], asked: int) -> None:
    """One refresh an account, and a good token for everyone."""
    assert {name: count.refreshes for name, count in emulator.counts.items()} == dict.fromkeys(ACCOUNTS, 1)
    assert {name: count.refused for name, count in emulator.counts.items()} == dict.fromkeys(ACCOUNTS, 0)
    assert len(got) == asked
    assert [(name, emulator.accounts.holder(token)) for name, token in got] == [(name, name) for name, _ in got]
    assert max(Counter(name for name, _ in got).values()) - asked // 3 <= 2


@pytest.mark.parametrize("gateways", [1, 2])
async def test_a_hundred_requests_in_each_gateway_cost_one_refresh_an_account(tmp_path: Path, gateways: int) -> None:
    got: list[tuple[str, str]] = []

    async def gateway() -> None:
        got.extend(await ask_for_tokens(tmp_path, url, trio.Event()))

    async with emulated(tmp_path) as (emulator, url):
        async with trio.open_nursery() as nursery:
            for _ in range(gateways):
                nursery.start_soon(gateway)
        check(emulator, got, WAITING * gateways)


async def test_two_processes_that_share_the_files_cost_one_refresh_an_account(tmp_path: Path) -> None:
    async with emulated(tmp_path) as (emulator, url):
        command = [sys.executable, __file__, str(tmp_path), url]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        async with trio.open_nursery() as nursery:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            process: trio.Process = await nursery.start(partial(trio.run_process, command, env=environment, **pipes))
            assert process.stdin is not None
            assert process.stdout is not None
            said = b""
            while b"\n" not in said:  # it has come up
                said += await process.stdout.receive_some()
            await process.stdin.send_all(b"\n")
            while said.count(b"\n") < 2:  # its hundred wait
                said += await process.stdout.receive_some()
            got = await ask_for_tokens(tmp_path, url, trio.Event())
            async for piece in process.stdout:
                said += piece
        theirs = [(name, token) for name, token in json.loads(said.splitlines()[-1])]
        check(emulator, [*got, *theirs], 2 * WAITING)


async def test_a_hundred_requests_through_a_gateway_cost_one_refresh_an_account(tmp_path: Path) -> None:
    async with running(tmp_path, accounts=ACCOUNTS) as site:
        expire(tmp_path, site.emulator)
        talks = [site.begin("POST", "/v1/messages", HELLO) for _ in range(WAITING)]
        for talk in talks:
            await talk.over.wait()
        counts = site.emulator.counts
    assert [talk.status for talk in talks] == [200] * WAITING
    assert {name: count.refreshes for name, count in counts.items()} == dict.fromkeys(ACCOUNTS, 1)
    assert sum(count.requests for count in counts.values()) == WAITING


async def _other_process(folder: Path, url: str) -> None:
    """The second process: says that it is there, waits for a line, asks, says so, and says what it got."""
    began = trio.Event()
    got: list[tuple[str, str]] = []

    async def ask() -> None:
        got.extend(await ask_for_tokens(folder, url, began))

    _say("ready")
    sys.stdin.readline()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await began.wait()
        _say("asking")
    _say(json.dumps(got))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    trio.run(_other_process, Path(sys.argv[1]), sys.argv[2])
