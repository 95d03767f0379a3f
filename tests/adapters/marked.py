"""A gateway all of whose secrets are marked, and all that comes out of it while it is asked.

Who adds a place where something comes out adds it to `Said`, and every test looks there too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest
import trio

from adapters import ambient
from adapters.emulator import CLIENT_ID_HASH, EmulatedAccount, Emulator, render_registration_file, render_token_file
from adapters.gateway import Gateway, check_token_files, describe_accounts
from adapters.manage import manage, render_json, render_table
from core.config import Config
from core.recording import DataLine, parse_recording
from tests.adapters.harness import LOCAL, Site, configured
from tests.adapters.log_output import logged
from tests.adapters.token_files import inline
from tests.adapters.wire import Served, served

MARK = "SECRET"
KEY = f"{MARK}-client-key"
ADMIN_KEY = f"{MARK}-admin-key"
ACCOUNT = EmulatedAccount(
    id="a",
    access_token=f"{MARK}-access",
    refresh_token=f"{MARK}-refresh",
    client_id=f"{MARK}-client-id",
    client_secret=f"{MARK}-client-secret",
    auth_method="IdC",
)
RIGHT = {**LOCAL, "x-api-key": KEY}
ADMIN = {**LOCAL, "x-api-key": ADMIN_KEY}

Ask: TypeAlias = tuple[str, str, object, Mapping[str, str]]
"""A request: method, target, body (not bytes: as JSON), headers."""


class Marked(Emulator):
    """An emulator all of whose tokens are marked, also those that it makes."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(accounts=(ACCOUNT,), **arguments)
        self._newest = {"access": ACCOUNT.access_token, "refresh": ACCOUNT.refresh_token}
        original = self.accounts.issue

        def issue(account_id: str, *, rotate: bool = True, expires_in: float | None = None) -> Any:
            issued = original(account_id, rotate=rotate, expires_in=expires_in)
            state = self.accounts._states[account_id]
            state.access_tokens[f"{MARK}-{issued.access_token}"] = state.access_tokens.pop(issued.access_token)
            state.refresh_token = f"{MARK}-{state.refresh_token}"
            members = {"access_token": f"{MARK}-{issued.access_token}", "refresh_token": state.refresh_token}
            self._newest = {"access": members["access_token"], "refresh": members["refresh_token"]}
            return type(issued)(**{**_members(issued), **members})

        self.accounts.issue = issue  # type: ignore[method-assign]  # its tokens, marked

    def quote(self, scenario: str) -> str:
        """A scenario in which {access} and {refresh} are the last tokens that the account was given."""
        return scenario.format(**self._newest)


def _members(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


class Said(msgspec.Struct, kw_only=True):
    """All that came out, by where: of the log, to clients, to whoever runs it, on disk. `statuses` are the answers'."""

    logs: dict[str, str]
    answers: list[str]
    output: str
    shown: dict[str, str]
    kept: dict[str, str]
    recorded: dict[str, str]
    emulator: list[str]
    statuses: list[int]

    def having(self, mark: str = MARK, *, answers: bool = True) -> dict[str, str]:
        """The texts that have it in them; not looking at the answers, and at recordings of them, where these may."""
        texts = {**self.logs, "output": self.output, **self.shown, **self.kept}
        if answers:
            texts |= {"answers": "\n".join(self.answers), **self.recorded}
        return {name: text for name, text in texts.items() if mark in text}


class MarkedGateway:
    """Runs a gateway with one marked account on a marked emulator, with every logger at its most talkative."""

    def __init__(self, folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
        self._folder = folder
        self._caplog = caplog
        self._capfd = capfd

    def _configure(self, url: str, keys: Sequence[str], *, keep: bool) -> Config:
        token_file = self._folder / "token.json"
        token_file.write_text(render_token_file(ACCOUNT, ambient.epoch().seconds))
        registration = render_registration_file(ACCOUNT, ambient.epoch().seconds)
        (self._folder / f"{CLIENT_ID_HASH}.json").write_text(registration)
        account = {"tokenFilePath": str(token_file), "refreshUrl": f"{url}/token"}
        provider = {"type": "codewhisperer", "endpoint": url, "authentication": account}
        state = {"kind": "file", "path": str(self._folder / "state" / "state.db")} if keep else {"kind": "memory"}
        server = {"apiKeys": list(keys), "adminKey": ADMIN_KEY, "bind": "127.0.0.1:1"}  # where nobody listens
        recording = {"directory": str(self._folder / "recordings")}
        return configured({"server": server, "providers": {"one": provider}, "state": state, "recording": recording})

    async def ask(
        self,
        asks: Sequence[Ask],
        *,
        scenario: str = "fine",
        refresh: str = "fine",
        keys: Sequence[str] = (KEY,),
        raw: bytes = b"",
        keep: bool = False,
    ) -> Said:
        """Ask all of it in turn, and look everywhere. With `keep` the state is in a file, and shown by `accounts`.

        In the scenarios, {access} and {refresh} stand for the account's tokens.
        """
        said = Said(logs={}, answers=[], output="", shown={}, kept={}, recorded={}, emulator=[], statuses=[])
        self._caplog.set_level(logging.DEBUG)
        emulator: Marked = Marked(
            scenario=lambda *_: emulator.quote(scenario),
            refresh_scenario=lambda *_: emulator.quote(refresh),
            log=said.emulator.append,
            epoch=lambda: ambient.epoch().seconds,
        )
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
            await nursery.start(emulator.serve, listeners)
            config = self._configure(url, keys, keep=keep)
            gateway = Gateway(config)
            assert gateway._recorder is not None
            gateway._recorder._in_thread = inline
            site = Site(gateway, emulator, said.emulator, nursery)
            with logged("console") as console, logged("json") as json_lines:
                async with served(site) as server:
                    await _ask_all(server, asks, raw, said)
                    if keep:
                        said.shown |= await _show(config, url=f"http://127.0.0.1:{server.port}")
                await gateway._close()
                if keep:
                    said.shown |= await _show(config, url=None)
            nursery.cancel_scope.cancel()
        assert not [line for line in said.emulator if line.startswith("cannot play")], "its text is too long, say"
        output = self._capfd.readouterr()
        said.output = output.out + output.err
        said.logs = {
            "log": self._caplog.text,
            "log for a person": console.getvalue(),
            "log in JSON": json_lines.getvalue(),
        }
        said.shown["configuration"] = repr(config)
        said.shown["check"] = repr(check_token_files(config)) + repr(describe_accounts(config))
        files = (self._folder / "state").glob("*")
        said.kept = {file.name: file.read_bytes().decode("latin-1") for file in files}
        for file in (self._folder / "recordings").glob("*"):
            said.recorded[file.name] = file.read_text()
            lines = parse_recording(file.read_bytes()).lines
            data = b"".join(line.data for line in lines if isinstance(line, DataLine))
            said.recorded[f"the answers in {file.name}"] = data.decode("latin-1")
        return said


async def _ask_all(server: Served, asks: Sequence[Ask], raw: bytes, said: Said) -> None:
    wire = await server.connect()
    for method, target, body, headers in asks:
        reply = await wire.ask(method, target, body, headers)
        said.statuses.append(reply.status)
        said.answers += [str(reply.headers), reply.data.decode()]
    if raw:
        wire = await server.connect()
        await wire.stream.send_all(raw)
        said.answers.append((await wire.until_closed()).decode())


async def _show(config: Config, *, url: str | None) -> dict[str, str]:
    """What `accounts` shows in both its forms, of a gateway or of the stored state."""
    accounts, note = await manage(config, None, "", url=url)
    assert len(accounts) == 1
    by = "the gateway" if url else "the state"
    return {
        f"accounts by {by}": render_table(accounts) + note,
        f"accounts by {by} in JSON": render_json(accounts, single=False),
    }
