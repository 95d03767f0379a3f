"""No secret anywhere: marked ones go through what works and what fails, and nothing that comes out has the mark."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import trio

from adapters import ambient
from adapters.emulator import CLIENT_ID_HASH, EmulatedAccount, Emulator, render_registration_file, render_token_file
from adapters.gateway import Gateway, check_token_files
from core.config import ConfigError
from tests.adapters.harness import HELLO, LOCAL, STREAMED, Site, configured
from tests.adapters.token_files import in_virtual_time
from tests.adapters.wire import served

MARK = "SECRET"
KEY = f"{MARK}-client-key"
ACCOUNT = EmulatedAccount(
    id="a",
    access_token=f"{MARK}-access",
    refresh_token=f"{MARK}-refresh",
    client_id=f"{MARK}-client-id",
    client_secret=f"{MARK}-client-secret",
    auth_method="IdC",
)
HEADERS = {**LOCAL, "x-api-key": KEY, "authorization": f"Bearer {MARK}-other"}


class Marked(Emulator):
    """An emulator all of whose tokens are marked, also those that it makes."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(accounts=(ACCOUNT,), **arguments)
        original = self.accounts.issue

        def issue(account_id: str, *, rotate: bool = True, expires_in: float | None = None) -> Any:
            issued = original(account_id, rotate=rotate, expires_in=expires_in)
            state = self.accounts._states[account_id]
            state.access_tokens[f"{MARK}-{issued.access_token}"] = state.access_tokens.pop(issued.access_token)
            state.refresh_token = f"{MARK}-{state.refresh_token}"
            members = {"access_token": f"{MARK}-{issued.access_token}", "refresh_token": state.refresh_token}
            return type(issued)(**{**_members(issued), **members})

        self.accounts.issue = issue  # type: ignore[method-assign]  # its tokens, marked


def _members(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Every logger there is, at its most talkative."""
    caplog.set_level(logging.DEBUG)
    return caplog


SCENARIOS = [
    "fine",
    "token-revoked",
    "bad-token",
    "throttled",
    "internal-error",
    "html:503",
    "redirect",
    "improperly-formed",
    "too-long",
    "cut:200",
    "reset:200",
    "bad-message-crc:2",
    "exception:InternalServerException",
    "refuse-connection",
    "stall:1",
]
REFRESHES = ["fine", "refresh-refused", "refresh-lost", "no-access-token", "wrong-types", "html:500", "truncated-json"]


@pytest.mark.parametrize(
    ("scenario", "refresh"), [*((name, "fine") for name in SCENARIOS), *(("token-revoked", name) for name in REFRESHES)]
)
@in_virtual_time
async def test_no_secret_is_logged_or_answered(
    tmp_path: Path,
    everything_logged: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    scenario: str,
    refresh: str,
) -> None:
    said: list[str] = []
    answers: list[str] = []
    statuses: list[int] = []
    emulator = Marked(
        scenario=lambda *_: scenario,
        refresh_scenario=lambda *_: refresh,
        log=said.append,
        epoch=lambda: ambient.epoch().seconds,
    )
    file = tmp_path / "token.json"
    file.write_text(render_token_file(ACCOUNT, ambient.epoch().seconds))
    (tmp_path / f"{CLIENT_ID_HASH}.json").write_text(render_registration_file(ACCOUNT, ambient.epoch().seconds))
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        await nursery.start(emulator.serve, listeners)
        account = {"tokenFilePath": str(file), "refreshUrl": f"{url}/token"}
        provider = {"type": "codewhisperer", "endpoint": url, "authentication": account}
        config = configured({"server": {"apiKeys": [KEY]}, "providers": {"one": provider}})
        gateway = Gateway(config)
        site = Site(gateway, emulator, said, nursery)
        async with served(site) as server:
            wire = await server.connect()
            for headers in (HEADERS, {**HEADERS, "x-api-key": f"{MARK}-wrong"}):
                for body in (HELLO, STREAMED, b"{", {**HELLO, "model": "none"}):
                    reply = await wire.ask("POST", "/v1/messages", body, headers)
                    statuses.append(reply.status)
                    answers += [str(reply.headers), reply.data.decode()]
        await gateway._close()
        nursery.cancel_scope.cancel()
    output = capfd.readouterr()
    texts = {
        "log": everything_logged.text,
        "standard output": output.out,
        "standard error": output.err,
        "answers": "\n".join(answers),
        "emulator": "\n".join(said),
        "configuration": repr(config) + repr(check_token_files(config)),
    }
    assert {name: text for name, text in texts.items() if MARK in text} == {}
    assert (statuses[0] == 200) == (scenario == "fine")  # the second may begin with pings
    assert statuses[2:] == [400, 404, 401, 401, 401, 401]
    assert any("POST /token" in line for line in said) == (scenario in ("token-revoked", "bad-token"))


@pytest.mark.parametrize("secret", [f"{MARK} with a blank", f"{MARK}\n", f"{MARK}\N{SNOWMAN}", 17])
def test_a_key_that_cannot_be_one_is_not_shown(secret: Any) -> None:
    with pytest.raises(ConfigError) as raised:
        configured({"server": {"apiKeys": [secret]}})
    assert MARK not in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [
        f"{MARK}",
        json.dumps({"refreshToken": MARK}),
        json.dumps({"accessToken": 1, "refreshToken": MARK}),
        json.dumps({"accessToken": f"{MARK}\x00", "refreshToken": f"{MARK}\n", "authMethod": "social"}),
        json.dumps({"accessToken": MARK, "refreshToken": MARK, "region": f"{MARK}.example"}),
    ],
)
def test_a_token_file_that_is_none_is_not_quoted(tmp_path: Path, content: str) -> None:
    file = tmp_path / "token.json"
    file.write_text(content)
    account = {"tokenFilePath": str(file)}
    config = configured({"providers": {"one": {"type": "codewhisperer", "authentication": account}}})
    problems = check_token_files(config)
    assert len(problems) == 1
    assert MARK not in problems[0]
