"""A turn of a real client is recorded, runs again to the same after a restart, and is served again by an emulator."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import anthropic
import pytest

from tests.end_to_end.servers import gateway
from tests.end_to_end.test_python_sdk import ask

# Whether the SDK's authors still recommend a model is not what is tried here.
pytestmark = pytest.mark.filterwarnings("ignore:The model .* is deprecated:DeprecationWarning")

ROOT = Path(__file__).parents[2]


def take_a_turn(url: str) -> list[Any]:
    """Two turns with a tool call, streamed and not: all content that came."""
    contents = []
    with anthropic.Anthropic(base_url=url, api_key="made-up", max_retries=0, timeout=30.0) as client:
        for stream in (True, False):
            messages: list[Any] = [{"role": "user", "content": "Run a command and tell me the result"}]
            first = ask(client, messages, stream=stream)
            call = next(block for block in first.content if block.type == "tool_use")
            result = {"type": "tool_result", "tool_use_id": call.id, "content": "the made-up result 4711"}
            messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
            contents += [first.content, ask(client, messages, stream=stream).content]
    return contents


def replay(*arguments: object) -> tuple[int, str]:
    """What `stagewhisper replay` says, and its exit code."""
    command = [sys.executable, "-m", "adapters.cli", "replay", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stdout + ended.stderr


def test_a_recorded_turn_runs_again_to_the_same_and_is_served_again(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    with gateway(tmp_path / "first", settings={"recording": {"directory": str(folder)}}) as (server, _):
        then = take_a_turn(server.url)
    files = sorted(folder.iterdir())
    assert len(files) == 4
    code, said = replay(*files, "--as", "sse", "--cuts", 20, "--bytewise")
    assert code == 0, said
    assert said.count("event: message_stop") == 4
    assert '"stop_reason":"tool_use"' in said

    with gateway(tmp_path / "second", "--replay", str(folder)) as (server, emulator):
        now = take_a_turn(server.url)
    assert now == then
    assert all(any(file.name in line for line in emulator.lines) for file in files)

    damaged = bytearray(files[0].read_bytes())
    place = damaged.index(b'"data":"') + 12
    damaged[place] = damaged[place] ^ 1
    files[0].write_bytes(damaged)
    code, said = replay(files[0])
    assert code == 1, said
    assert "byte" in said
