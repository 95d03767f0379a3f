"""The emulator on a socket, alone or with a gateway in front of it: for trying things without an account."""

from __future__ import annotations

import json
import logging
import signal
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from adapters import ambient
from adapters.configfile import load_config
from adapters.emulator import (
    EmulatedAccount,
    Emulator,
    Recordings,
    ScenarioFile,
    ScenarioSource,
    default_account,
    read_recordings,
    render_token_file,
)
from adapters.gateway import Gateway, record_into
from adapters.serve import listen, serve, url_of

_log = logging.getLogger("stagewhisper.emulator")


def write_config(folder: Path, emulator_url: str, accounts: Sequence[EmulatedAccount] = ()) -> Path:
    """Write token files and a configuration for a gateway on an emulator; gives back the configuration's path.

    Several accounts are one provider `team`. Without any, the emulator's default account is the provider `emulated`.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    provider: dict[str, object] = {"type": "codewhisperer", "endpoint": emulator_url}
    if accounts:
        provider["accounts"] = [_write_token_file(folder / f"{each.id}.json", each, emulator_url) for each in accounts]
    else:
        provider["authentication"] = _write_token_file(folder / "token.json", default_account(), emulator_url)
    config_file = folder / "config.json"
    state = {"kind": "file", "path": str((folder / "state.sqlite3").absolute())}
    providers = {"team" if accounts else "emulated": provider}
    config_file.write_text(json.dumps({"state": state, "providers": providers}, indent=2) + "\n")
    return config_file


def _write_token_file(path: Path, account: EmulatedAccount, emulator_url: str) -> dict[str, str]:
    """The entry of the configuration for an account whose token file was written."""
    path.write_text(render_token_file(account, ambient.epoch().seconds))
    path.chmod(0o600)
    return {"tokenFilePath": str(path.absolute()), "refreshUrl": f"{emulator_url}/refreshToken"}


def open_recordings(path: Path, *, waits: bool) -> Recordings:
    """The recordings of a folder or file, for an emulator to answer with; what is not served of them is logged.

    Raises:
        Unservable: none is.
    """
    found, remarks = read_recordings(path)
    for remark in remarks:
        _log.warning("%s", remark)
    recordings = Recordings(found, waits=waits)
    _log.info("recordings: %d, answers in them: %d", *recordings.size)
    return recordings


async def run_emulator(
    listener: socket.socket,
    announce: Callable[[], None],
    *,
    scenario: ScenarioSource | ScenarioFile | None = None,
    recordings: Recordings | None = None,
    accounts: Sequence[EmulatedAccount] = (),
) -> None:
    """Run an emulator until a signal says to stop."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(_emulator(scenario, recordings, accounts).serve, _listeners(listener))
            announce()
            await anext(aiter(signals))
            nursery.cancel_scope.cancel()


def _emulator(
    scenario: ScenarioSource | ScenarioFile | None = None,
    recordings: Recordings | None = None,
    accounts: Sequence[EmulatedAccount] = (),
) -> Emulator:
    return Emulator(
        accounts=accounts,
        scenario=scenario.scenario if isinstance(scenario, ScenarioFile) else scenario,
        refresh_scenario=scenario.refresh_scenario if isinstance(scenario, ScenarioFile) else None,
        recordings=recordings,
        log=_log.info,
        epoch=lambda: ambient.epoch().seconds,
    )


def _listeners(listener: socket.socket) -> list[trio.SocketListener]:
    return [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]


async def run_demo(listener: socket.socket, say: Callable[[str], None], record: str | None = None) -> None:
    """Run a gateway on an emulator of its own until a signal says to stop. `record`: a folder for recordings.

    Raises:
        RecorderError: nothing can be recorded there.
    """
    with listen("127.0.0.1", 0) as behind, tempfile.TemporaryDirectory(prefix="stagewhisper-demo-") as folder:
        config = load_config(str(write_config(Path(folder), url_of(behind))), {})
        gateway = Gateway(config if record is None else record_into(config, record))
        await gateway.open()
        url, model = url_of(listener), next(iter(config.catalogue))
        async with trio.open_nursery() as nursery:
            await nursery.start(_emulator().serve, _listeners(behind))
            await serve(gateway, listener, announce=lambda: say(_INVITATION.format(url=url, model=model)))
            nursery.cancel_scope.cancel()


_INVITATION = """\
The gateway listens on {url}, with an emulator behind it. Ctrl-C ends both.

Ask it something:

  curl -sS {url}/v1/messages -H 'content-type: application/json' \\
    -d '{{"model": "{model}", "max_tokens": 1000, "messages": [{{"role": "user", "content": "Hello"}}]}}'

Let Claude Code work through it:

  ANTHROPIC_BASE_URL={url} ANTHROPIC_AUTH_TOKEN=demo \\
  ANTHROPIC_MODEL={model} ANTHROPIC_SMALL_FAST_MODEL={model} \\
    claude -p "Run a command and tell me the result" --allowedTools Bash
"""
