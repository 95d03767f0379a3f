"""A gateway in front of recordings: its clients get what those of the recorded gateway got."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from adapters.cli import main
from adapters.emulator import Emulator, Recordings, default_account, read_recordings, team_accounts
from core.dialogue import CallFailed, NoProvider
from tests.adapters.emulated import START, generate
from tests.adapters.harness import Site, account, running
from tests.adapters.processes import ask, commands
from tests.adapters.recorded import asked_in
from tests.builders import MODEL, SHELL_TOOL, body, text
from tests.recordings import CALLED, HELLO, THROTTLED, Taped

KNOWN = {"models": {MODEL.name: MODEL.id}}
"""The configuration of a gateway that knows the model of the recordings."""


class Stand:
    """A gateway, and what the emulator behind it logged."""

    def __init__(self, site: Site, log: list[str]) -> None:
        self.site = site
        self.log = log

    async def ask(self, **members: Any) -> tuple[int, Any]:
        """Status and JSON of the answer to the request that was recorded."""
        request = {
            "model": MODEL.name,
            "max_tokens": 100,
            "messages": [{"role": "user", "content": "Hello"}],
            **members,
        }
        talk = await self.site.ask("POST", "/v1/messages", request)
        return talk.status, talk.json


@asynccontextmanager
async def gateway(
    folder: Path, *recordings: bytes, accounts: tuple[str, ...] = ("a",), waits: bool = True, **document: Any
) -> AsyncIterator[Stand]:
    """A gateway with so many accounts on recordings."""
    kept = folder / "recordings"
    kept.mkdir()
    for number, recording in enumerate(recordings):
        (kept / f"{number}.jsonl").write_bytes(recording)
    found, remarks = read_recordings(kept)
    assert remarks == ()
    log: list[str] = []
    emulator = Emulator(
        accounts=tuple(map(account, accounts)),
        recordings=Recordings(found, waits=waits),
        log=log.append,
        epoch=lambda: START,
    )
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(emulator.serve, listeners)
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        async with running(folder, {**KNOWN, **document}, accounts=accounts, endpoint=url) as site:
            yield Stand(site, log)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("arguments", [(), ("--accounts", "3")])
def test_the_command_serves_recordings_until_a_signal(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    recording = Taped(pause=12.0).call().answer(HELLO, pieces=3).taped
    (tmp_path / "one.jsonl").write_bytes(recording)
    token = (team_accounts(3)[-1] if arguments else default_account()).access_token
    options = ("--replay", tmp_path, "--no-waits", *arguments, "--bind", "127.0.0.1:0")
    with commands() as start:
        emulator = start("adapters.cli", "emulate", *options)
        url = emulator.until(r"emulating on (\S+)")
        asked = generate(asked_in(recording), token=token)
        answers = [ask(url, "POST", asked.target, asked_in(recording), **asked.headers) for _ in range(2)]
        emulator.signal(signal.SIGTERM)
        assert emulator.wait() == 0
    assert [(status, body) for status, _, body in answers] == [(200, HELLO)] * 2
    assert "INFO    recordings: 1, answers in them: 1" in emulator.lines[0]
    assert sum(line.endswith("answer 1 of 1 in 'one.jsonl', asked the same") for line in emulator.lines) == 2


def test_the_command_says_that_it_is_ready_and_ends_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "one.jsonl"
    file.write_bytes(Taped().call().answer(HELLO).taped)
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("adapters.cli._say", say)
    assert main(["emulate", "--bind", "127.0.0.1:0", "--replay", str(file)]) == 0
    assert [text.split("127.0.0.1")[0] for text in said] == ["emulating on http://"]
    assert "Traceback" not in capsys.readouterr().err


CALL_BLOCK = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}}


@pytest.mark.parametrize("stream", [True, False])
async def test_the_message_is_the_recorded_one(
    tmp_path: Path, stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    recording = Taped(tools=[SHELL_TOOL], stream=stream).call().answer(CALLED, pieces=7).taped
    async with gateway(tmp_path, recording) as stand:
        status, message = await stand.ask(tools=[SHELL_TOOL])
    assert status == 200
    assert message["content"] == [{"type": "text", "text": "Hello"}, CALL_BLOCK]
    assert message["stop_reason"] == "tool_use"
    assert stand.log[-1].endswith("answer 1 of 1 in '0.jsonl', asked the same")


async def test_a_stream_is_the_recorded_one_but_for_its_ids(tmp_path: Path) -> None:
    recording = Taped(tools=[SHELL_TOOL]).call().answer(CALLED, pieces=7).taped
    async with gateway(tmp_path, recording, waits=False) as stand:
        request = {"model": MODEL.name, "max_tokens": 100, "tools": [SHELL_TOOL], "stream": True}
        messages = [{"role": "user", "content": "Hello"}]
        talk = await stand.site.ask("POST", "/v1/messages", {**request, "messages": messages})
    got = [msgspec.json.decode(line[6:]) for line in talk.data.splitlines() if line.startswith(b"data: ")]
    then = [
        event
        for line in map(msgspec.json.decode, recording.splitlines())
        if line["what"] == "delivered"
        for event in line["events"]
    ]
    assert then[0]["message"].pop("id") != got[0]["message"].pop("id")
    assert got == then


async def test_a_failover_happens_as_it_did(tmp_path: Path) -> None:
    recording = Taped().call("x").refuse(429, THROTTLED, retry_after="30").call("y").answer(HELLO).taped
    async with gateway(tmp_path, recording, accounts=("a", "b"), waits=False) as stand:
        status, message = await stand.ask()
        health = await stand.site.health()
    assert (status, message["content"]) == (200, [{"type": "text", "text": "Hello"}])
    assert [line.split(": ")[1].split(",")[0] for line in stand.log] == ["429", "200"]
    assert (health["a"]["rateLimitFailureCount"], health["b"]["successCount"]) == (1, 1)


async def test_a_broken_connection_is_one_again_and_the_retry_gets_the_retrys_answer(tmp_path: Path) -> None:
    broken = Taped().call().begin_answer(HELLO[:50])
    broken.tell(CallFailed("network", "http://127.0.0.1:1: RemoteProtocolError: peer closed connection"))
    recording = broken.answer(body(text("again"))).taped
    async with gateway(tmp_path, recording, waits=False) as stand:
        status, message = await stand.ask()
        health = await stand.site.health()
    assert (status, message["content"]) == (200, [{"type": "text", "text": "again"}])
    assert len(stand.log) == 2
    assert health["a"]["networkFailureCount"] == 1


@pytest.mark.parametrize("problem", ["ConnectError", "ReadError: reset", "RemoteProtocolError", ""])
@pytest.mark.parametrize("begun", [False, True])
async def test_each_kind_of_breach_is_a_network_failure_to_the_gateway(
    tmp_path: Path, problem: str, begun: bool
) -> None:
    played = Taped().call()
    if begun:
        played.begin_answer(HELLO[:50])
    recording = played.tell(CallFailed("network", problem)).cut("the gateway was stopped")
    async with gateway(tmp_path, recording, waits=False) as stand:
        status, answer = await stand.ask()
        health = await stand.site.health()
    assert (status, answer["error"]["type"]) == (529, "overloaded_error")
    assert health["a"]["networkFailureCount"] == 2


async def test_a_silence_is_one_again_until_the_gateway_gives_up(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    silent = Taped(stream=False).call().begin_answer(HELLO[:50])
    while silent.is_reading:
        silent.wake()
    recording = silent.tell(NoProvider()).taped
    async with gateway(tmp_path, recording, timeouts={"idleMs": 60_000}) as stand:
        started = autojump_clock.current_time()
        status, answer = await stand.ask()
        assert (status, answer["error"]["type"]) == (504, "timeout_error")
        assert autojump_clock.current_time() - started == pytest.approx(60, abs=1)


async def test_a_client_that_left_then_leaves_a_cut_answer_and_no_silence(tmp_path: Path) -> None:
    left = Taped().call().begin_answer(HELLO[:50]).cut("the client left")
    again = Taped().call().answer(HELLO).taped
    async with gateway(tmp_path, left, again, waits=False) as stand:
        status, message = await stand.ask()
    assert (status, message["content"]) == (200, [{"type": "text", "text": "Hello"}])
    assert ["'0.jsonl'" in line for line in stand.log] == [True, False]
