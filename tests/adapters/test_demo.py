"""The emulator on a socket, alone and behind a gateway: what is written for it, what is said, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from adapters.cli import main
from adapters.configfile import load_config
from adapters.demo import run_demo, run_emulator, write_config
from adapters.emulator import ScenarioFile, ScenarioSource, always
from adapters.gateway import Gateway, check_token_files
from adapters.serve import listen, url_of
from core.http import Call
from tests.adapters.harness import HELLO
from tests.adapters.processes import ask


def test_a_written_configuration_can_be_used_and_is_nobody_elses(tmp_path: Path) -> None:
    file = write_config(tmp_path / "new" / "folder", "http://127.0.0.1:1")
    config = load_config(str(file), {})
    assert [provider.id for provider in config.providers] == ["emulated"]
    assert config.providers[0].endpoint == "http://127.0.0.1:1"
    assert config.providers[0].refresh_url == "http://127.0.0.1:1/refreshToken"
    assert check_token_files(config) == ([], [])
    assert (config.state.kind, config.state.path) == ("file", str(tmp_path / "new" / "folder" / "state.sqlite3"))
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert (file.parent / "token.json").stat().st_mode & 0o777 == 0o600
    again = write_config(tmp_path / "new" / "folder", "http://127.0.0.1:2")
    assert load_config(str(again), {}).providers[0].endpoint == "http://127.0.0.1:2"


@pytest.mark.parametrize("source", ["name", "file", "none"])
async def test_an_emulator_plays_its_scenario_until_a_signal(tmp_path: Path, source: str) -> None:
    scenarios = tmp_path / "scenarios.json"
    scenarios.write_text('{"default": "throttled", "refresh": "refresh-refused"}')
    sources: dict[str, ScenarioSource | ScenarioFile | None] = {
        "name": always("throttled"),
        "file": ScenarioFile(scenarios),
        "none": None,
    }
    listener = listen("127.0.0.1", 0)
    url = url_of(listener)
    gateway = Gateway(load_config(str(write_config(tmp_path, url)), {}))
    statuses: list[int] = []
    async with trio.open_nursery() as nursery:
        ready = trio.Event()
        nursery.start_soon(partial(run_emulator, listener, ready.set, scenario=sources[source]))
        await ready.wait()
        upstream = gateway._upstream
        for path, body in (("/refreshToken", {"refreshToken": "emulated-refresh-token-emulated-1"}), ("/nothing", {})):
            data = json.dumps(body).encode()
            headers = {"content-type": "application/json"}
            statuses.append((await upstream.fetch(Call(method="POST", url=url + path, headers=headers, body=data)))[0])
        signal.raise_signal(signal.SIGTERM)
    await gateway._close()
    assert statuses == [401 if source == "file" else 200, 404]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_demo_says_what_works_and_leaves_nothing_behind(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    listener = listen("127.0.0.1", 0)
    url = url_of(listener)
    said: list[str] = []
    answers: list[Any] = []
    ready = trio.Event()

    def say(text: str) -> None:
        said.append(text)
        ready.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_demo, listener, say)
        await ready.wait()
        answers.append(await trio.to_thread.run_sync(ask, url, "POST", "/v1/messages", HELLO))
        kept = [path.name for path in tmp_path.glob("*/*")]
        signal.raise_signal(number)
    assert {"config.json", "token.json", "state.sqlite3"} <= set(kept)
    assert list(tmp_path.iterdir()) == []
    (text,) = said
    match = re.search(r"-d '(.*)'$", text, re.MULTILINE)
    assert match is not None
    assert json.loads(match[1])["messages"] == HELLO["messages"]
    assert text.count(url) == 3
    assert answers[0][0] == 200


def test_the_commands_end_well_on_a_signal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each stops itself as soon as it says that it is ready."""
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        if not text.startswith("wrote "):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("adapters.cli._say", say)
    anywhere = ["--bind", "127.0.0.1:0"]
    scenarios = tmp_path / "scenarios.json"
    scenarios.write_text("{}")
    assert main(["emulate", *anywhere, "--write-config", str(tmp_path), "--scenario", "fine"]) == 0
    assert main(["emulate", *anywhere, "--scenario-file", str(scenarios)]) == 0
    assert main(["serve", *anywhere, "--config", str(tmp_path / "config.json")]) == 0
    assert main(["demo", *anywhere]) == 0
    openings = [text.split("127.0.0.1")[0] for text in said if not text.startswith("wrote ")]
    assert openings == ["emulating on http://"] * 2 + ["listening on http://", "The gateway listens on http://"]
    assert "Traceback" not in capsys.readouterr().err
