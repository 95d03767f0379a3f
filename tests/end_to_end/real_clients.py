"""Real clients finish a turn with a tool call through `stagewhisper serve`, against `stagewhisper emulate`.

What they are sent is recorded, and has to be the same when it is run again, in other pieces too.

On demand, for it installs several hundred megabytes of other people's programs into a folder (which is kept for
the next time):

    python tests/end_to_end/real_clients.py --folder /var/tmp/clients [NAME ...]

Prints a line for each client, and ends with 1 where one did not finish.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.end_to_end.servers import gateway

MODEL = "claude-sonnet-4-5"
CLAUDE_CODE = "2.1.330"
TYPESCRIPT_SDK = "1.12.0"
OLD_PYTHON_SDK = "0.121.0"
NEW_PYTHON_SDK = "2.12.0"
PROMPT = "Run a command and tell me the result"
PROOF = "hello from the emulator"
"""What the emulator's assistant makes a shell say: in the end it stands in the client's answer."""


class Failed(Exception):
    """A client did not finish its turn."""


class Setting(NamedTuple):
    """What stands between a client and the service: settings of the gateway, scenarios of the emulator's.

    One of the `proofs` stands in the client's answer in the end.
    """

    settings: dict[str, object]
    sequence: tuple[str, ...]
    proofs: tuple[str, ...] = (PROOF,)


ORDINARY = Setting({}, ())
ERROR_FIRST = Setting({"pings": {"quietMs": 0}}, ("exception:InternalServerException",))
"""The first answer begins at once, and ends with an `error` event: Claude Code asks again without a stream."""
LIVE = Setting({"delivery": "live"}, ())
LIVE_ERROR_FIRST = Setting({"delivery": "live"}, ("cut:700",), proofs=(PROOF, "cut off mid-stream"))
"""The first answer breaks behind its first words: Claude Code asks again, or keeps these and asks the model to go on,
in words that the emulator's assistant repeats.
"""


def claude_code(folder: Path, url: str) -> str:
    """Claude Code runs a command with its own shell and tells the result."""
    root = _npm(folder, f"@anthropic-ai/claude-code@{CLAUDE_CODE}")
    program = root / "node_modules/@anthropic-ai/claude-code-linux-x64/claude"
    with tempfile.TemporaryDirectory() as home:
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": home,
            "IS_SANDBOX": "1",
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": "made-up",
            "ANTHROPIC_MODEL": MODEL,
            "ANTHROPIC_SMALL_FAST_MODEL": MODEL,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_ERROR_REPORTING": "1",
        }
        command = [str(program), "-p", PROMPT, "--output-format", "json", "--allowedTools", "Bash"]
        answer = json.loads(_run(command, environment, cwd=Path(home)))
    if answer["is_error"] or answer["num_turns"] != 2:
        raise Failed(json.dumps(answer)[:500])
    return str(answer["result"])


def typescript_sdk(folder: Path, url: str) -> str:
    """The SDK for TypeScript, streaming and not."""
    root = _npm(folder, f"@anthropic-ai/sdk@{TYPESCRIPT_SDK}")
    script = root / "turn.mjs"
    script.write_text(_TYPESCRIPT)
    return _run(["node", str(script), url, MODEL, PROMPT], {**os.environ, "ANTHROPIC_API_KEY": "made-up"}, cwd=root)


def old_python_sdk(folder: Path, url: str) -> str:
    """The SDK for Python before its second version, streaming and not."""
    return _python_sdk(folder, OLD_PYTHON_SDK, url)


def new_python_sdk(folder: Path, url: str) -> str:
    """The SDK for Python, streaming and not."""
    return _python_sdk(folder, NEW_PYTHON_SDK, url)


def _python_sdk(folder: Path, version: str, url: str) -> str:
    root = folder / f"anthropic-{version}"
    python = root / "bin" / "python"
    if not (root / "installed").exists():
        venv.create(root, with_pip=True, clear=True)
        _run([str(python), "-m", "pip", "install", "-q", f"anthropic=={version}"], dict(os.environ), cwd=folder)
        (root / "installed").touch()
    environment = {**os.environ, "ANTHROPIC_API_KEY": "made-up"}
    return _run([str(python), "-W", "ignore", "-c", _PYTHON, url, MODEL, PROMPT], environment, cwd=root)


CLIENTS: dict[str, tuple[Callable[[Path, str], str], Setting]] = {
    "claude-code": (claude_code, ORDINARY),
    "claude-code-error": (claude_code, ERROR_FIRST),
    "typescript-sdk": (typescript_sdk, ORDINARY),
    "python-sdk-0.x": (old_python_sdk, ORDINARY),
    "python-sdk-2.x": (new_python_sdk, ORDINARY),
    "claude-code-live": (claude_code, LIVE),
    "claude-code-live-error": (claude_code, LIVE_ERROR_FIRST),
    "typescript-sdk-live": (typescript_sdk, LIVE),
    "python-sdk-0.x-live": (old_python_sdk, LIVE),
    "python-sdk-2.x-live": (new_python_sdk, LIVE),
}

_PYTHON = """
import sys
import anthropic
url, model, prompt = sys.argv[1:]
client = anthropic.Anthropic(base_url=url, max_retries=0)
tool = {"name": "Bash", "description": "Runs a command", "input_schema": {
    "type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}}
def ask(messages, stream):
    question = dict(model=model, max_tokens=1000, tools=[tool], messages=messages)
    if not stream:
        return client.messages.create(**question)
    with client.messages.stream(**question) as events:
        return events.get_final_message()
for stream in (False, True):
    messages = [{"role": "user", "content": prompt}]
    first = ask(messages, stream)
    assert first.stop_reason == "tool_use", first
    call = next(block for block in first.content if block.type == "tool_use")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": call.input["command"]}
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    last = ask(messages, stream)
    assert last.stop_reason == "end_turn", last
    print("".join(block.text for block in last.content if block.type == "text"))
"""

_TYPESCRIPT = """
import Anthropic from "@anthropic-ai/sdk";
const [url, model, prompt] = process.argv.slice(2);
const client = new Anthropic({ baseURL: url, maxRetries: 0 });
const tools = [{ name: "Bash", description: "Runs a command", input_schema: {
  type: "object", properties: { command: { type: "string" } }, required: ["command"] } }];
const ask = (messages, stream) => stream
  ? client.messages.stream({ model, max_tokens: 1000, tools, messages }).finalMessage()
  : client.messages.create({ model, max_tokens: 1000, tools, messages });
for (const stream of [false, true]) {
  const messages = [{ role: "user", content: prompt }];
  const first = await ask(messages, stream);
  if (first.stop_reason !== "tool_use") throw new Error(JSON.stringify(first));
  const call = first.content.find((block) => block.type === "tool_use");
  const result = { type: "tool_result", tool_use_id: call.id, content: call.input.command };
  const last = await ask(
    [...messages, { role: "assistant", content: first.content }, { role: "user", content: [result] }], stream);
  if (last.stop_reason !== "end_turn") throw new Error(JSON.stringify(last));
  console.log(last.content.map((block) => block.text ?? "").join(""));
}
"""


def _npm(folder: Path, package: str) -> Path:
    """A folder with the package installed in it."""
    root = folder / package.replace("/", "-").lstrip("@")
    if not (root / "node_modules").exists():
        root.mkdir(parents=True)
        _run(["npm", "install", "--silent", "--no-fund", "--no-audit", package], dict(os.environ), cwd=root)
    return root


def _run(command: list[str], environment: dict[str, str], *, cwd: Path) -> str:
    ended = subprocess.run(
        command,
        check=False,
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
        stdin=subprocess.DEVNULL,
    )
    if ended.returncode != 0:
        raise Failed(f"{Path(command[0]).name} ended with {ended.returncode}: {(ended.stderr or ended.stdout)[-800:]}")
    return ended.stdout


def _turn(folder: Path, client: Callable[[Path, str], str], setting: Setting) -> str:
    """What a client says at the end of its turn, with servers of its own, once its recordings ran again to the same."""
    with tempfile.TemporaryDirectory() as servers:
        scenarios = Path(servers) / "scenarios.json"
        scenarios.write_text(json.dumps({"sequence": setting.sequence}))
        recordings = Path(servers) / "recordings"
        settings = {**setting.settings, "recording": {"directory": str(recordings)}}
        with gateway(Path(servers), "--scenario-file", str(scenarios), settings=settings) as (server, _):
            answer = client(folder, server.url)
        # The servers are gone: nothing but the recordings says what was delivered.
        command = [sys.executable, "-m", "adapters.cli", "replay", "--cuts", "20", "--bytewise"]
        command += sorted(map(str, recordings.iterdir()))
        _run(command, dict(os.environ), cwd=Path(__file__).parents[2])
    if not any(proof in answer for proof in setting.proofs):
        raise Failed(f"the result does not stand in the answer: {answer[:300]}")
    return answer


def main() -> int:
    """Try the clients that are named, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CLIENTS)} (default: all)")
    parser.add_argument("--folder", type=Path, required=True, help="where the clients are installed")
    options = parser.parse_args()
    if unknown := set(options.names) - set(CLIENTS):
        parser.error(f"no such client: {', '.join(sorted(unknown))}")
    options.folder.mkdir(parents=True, exist_ok=True)
    failures = 0
    for name in options.names or CLIENTS:
        try:
            print(f"{name}: finished: {' '.join(_turn(options.folder.absolute(), *CLIENTS[name]).split())[:160]}")
        except (Failed, subprocess.TimeoutExpired) as problem:
            failures += 1
            print(f"{name}: FAILED: {problem}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
