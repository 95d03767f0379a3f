"""Everything that the emulator can do wrong, through the gateway's driver over real sockets: what the client gets.

Each scenario has one row; a scenario without one fails the test that counts them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from adapters import ambient
from adapters.accounts import Accounts
from adapters.driver import Driver
from adapters.emulator import Emulator, always, default_account, describe, render_token_file
from adapters.keeping import Keeper
from adapters.outbox import Outbox
from adapters.stores import MemoryStore
from adapters.tokens import TokenFile
from adapters.upstream import Upstream
from core.dialogue import AttemptFailed, Notice
from core.health import HealthPolicy
from core.phases import Policy
from core.selection import Provider
from fuzz.strict_client import rebuild
from tests.builders import SHELL_TOOL, asked

GOOD = 200
CUT = (500, "api_error")
BUSY = (529, "overloaded_error")
LIMIT = (429, "rate_limit_error")
SIGN_IN = (403, "permission_error")
CLIENT = (400, "invalid_request_error")
TIMEOUT = (504, "timeout_error")
GONE = (404, "not_found_error")

ROWS: dict[str, tuple[Any, list[str]]] = {
    # what the client gets, and the kinds of the attempts that failed
    "fine": (GOOD, []),
    "stall-head": (TIMEOUT, ["timeout"]),
    "slow-head:20": (GOOD, []),
    "close-early": (BUSY, ["network", "network"]),
    "refuse-connection": (BUSY, ["network", "network"]),
    "half-head": (BUSY, ["server"]),
    "throttled": (LIMIT, ["rate_limit"]),
    "daily-quota": (LIMIT, ["quota"]),
    "monthly-quota": (LIMIT, ["quota"]),
    "monthly-quota-402": (LIMIT, ["quota"]),
    "overage-limit": (LIMIT, ["quota"]),
    "quota": (LIMIT, ["quota"]),
    "conversation-limit": (CLIENT, ["client"]),
    "no-capacity": (BUSY, ["overload"] * 3),
    "model-unavailable": (BUSY, ["overload"] * 3),
    "high-load": (BUSY, ["overload"] * 3),
    "improperly-formed": (CLIENT, ["client"]),
    "too-long": (CLIENT, ["too_long"]),
    "too-long-message": (CLIENT, ["too_long"]),
    "prompt-too-long": (CLIENT, ["too_long"]),
    "invalid-conversation-id": (CLIENT, ["client"]),
    "invalid-kms-grant": (CLIENT, ["client"]),
    "invalid-model": (GONE, ["no_such_model"]),
    "tool-use-result-mismatch": (CLIENT, ["client"]),
    "tool-schema-invalid": (CLIENT, ["client"]),
    "tool-duplicate": (CLIENT, ["client"]),
    "tool-config-missing": (CLIENT, ["client"]),
    "thinking-signature-invalid": (CLIENT, ["client"]),
    # a refresh, once; then it is the account
    "bad-token": (SIGN_IN, ["authentication"]),
    "unauthorized": (SIGN_IN, ["authentication"]),
    "forbidden": (SIGN_IN, ["authentication"]),
    "suspended": (BUSY, ["suspended"]),
    "feature-not-supported": (SIGN_IN, ["not_allowed"]),
    "unauthorized-customization": (SIGN_IN, ["not_allowed"]),
    "internal-error": (BUSY, ["server"]),
    "unavailable": (BUSY, ["server"]),
    "unavailable-500": (BUSY, ["server"]),
    "status:418": (BUSY, ["server"]),
    "retry-after:5": (LIMIT, ["rate_limit"]),
    "html:502": (BUSY, ["server"]),
    "empty-body:500": (BUSY, ["server"]),
    "truncated-json:429": (LIMIT, ["rate_limit"]),
    "namespaced-name": (LIMIT, ["rate_limit"]),
    "name-in-code": (LIMIT, ["rate_limit"]),
    "deep-name": (LIMIT, ["rate_limit"]),
    "name-with-address": (LIMIT, ["rate_limit"]),
    "redirect": (BUSY, ["server"]),
    "token-revoked": (SIGN_IN, ["authentication"]),
    "body-limit:10": (CLIENT, ["client"]),
    "cut:200": (BUSY, ["network"] * 2),
    "reset:200": (BUSY, ["network"] * 2),
    "clean-cut:200": (BUSY, ["network"] * 2),
    "stall:2": (TIMEOUT, ["timeout"]),
    "slow:1": (GOOD, []),
    "drip:50:1": (GOOD, []),
    "bad-prelude-crc": (BUSY, ["network"] * 2),
    "bad-message-crc": (BUSY, ["network"] * 2),
    "flipped-payload": (BUSY, ["network"] * 2),
    "huge-length": (BUSY, ["network"] * 2),
    "trailing-bytes": (BUSY, ["network"] * 2),
    "exception:ThrottlingException": (LIMIT, ["rate_limit"]),
    "exception-first:throttlingException:MONTHLY_REQUEST_COUNT": (LIMIT, ["quota"]),
    "error-frame:InternalError": (BUSY, ["server"]),
    "error-event": (BUSY, ["server"]),
    "invalid-state": (BUSY, ["server"]),
    "empty": (BUSY, ["server"]),
    "no-assistant-event": (BUSY, ["server"]),
    "html-200": (BUSY, ["server"]),
    "wrong-content-type": (BUSY, ["server"]),
    "gzipped": (BUSY, ["network"] * 2),
    "big:100000": (GOOD, []),
    "big-frame:100000": (GOOD, []),
    "old-style": (GOOD, []),
    "max-tokens": (GOOD, []),
    "stop-reason:PAUSE_TURN": (GOOD, []),
    "thinking": (GOOD, []),
    "unknown-events": (GOOD, []),
    "equal-fragments": (GOOD, []),
    "foreign-text": (GOOD, []),
    "interleaved-tools": (GOOD, []),
    "whole-input": (GOOD, []),
    "no-input": (GOOD, []),
    "invalid-tool-json": (CUT, ["answer"]),
    "non-object-input": (CUT, ["answer"]),
    "no-stop": (CUT, ["answer"]),
    "long-tool-cut": (CUT, ["answer"]),
    "written-call": (GOOD, []),
}

TOKEN_CALLS = {
    "oidc-error", "refresh-refused", "refresh-lost", "keep-refresh-token", "expires-at-only", "short-lived",
    "no-access-token", "wrong-types",
}  # fmt: skip
"""Scenarios for refreshes, which the token files' tests play."""

POLICY = Policy(first_byte=15.0, idle=15.0, total=20.0, ping_quiet=10.0, ping_interval=10.0)
# Only for what stalls: half a second is a short time on a machine that is busy.
IMPATIENT = msgspec.structs.replace(POLICY, first_byte=0.5, idle=0.5)


def test_every_scenario_has_a_row() -> None:
    names = {usage.partition("[")[0].partition(":")[0] for usage in describe()}
    assert {row.partition(":")[0] for row in ROWS} | TOKEN_CALLS == names


@asynccontextmanager
async def _driver(folder: Path, scenario: str) -> AsyncIterator[Driver]:
    emulator = Emulator(scenario=always(scenario), log=lambda _: None, epoch=lambda: ambient.epoch().seconds)
    (folder / "token.json").write_text(render_token_file(default_account(), ambient.epoch().seconds))
    upstream = Upstream(connect_timeout=5.0)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(emulator.serve, listeners)
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        provider = Provider(
            id="a", original_provider_id="a", token_file=str(folder / "token.json"), endpoint=url,
            refresh_url=f"{url}/refreshToken",
        )  # fmt: skip
        tokens = TokenFile(
            provider.token_file, refresh_url=provider.refresh_url, post=upstream.fetch, epoch=ambient.epoch,
            user_agent="test", log=lambda _: None,
        )  # fmt: skip
        accounts = Accounts(
            (provider,), policy=HealthPolicy(), keeper=Keeper(MemoryStore(), log=lambda _: None),
            tokens={"a": tokens}, epoch=ambient.epoch, tell=lambda *_: None,
        )  # fmt: skip
        yield Driver(accounts=accounts, tokens={"a": tokens}, upstream=upstream)
        nursery.cancel_scope.cancel()
    await upstream.aclose()


class _Heard:
    """What an exchange tells."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    def hear(self, notice: Notice) -> None:
        self.notices.append(notice)

    def processed(self, seconds: float) -> None:
        assert seconds >= 0


async def _ask(
    driver: Driver, outbox: Outbox, policy: Policy, *, stream: bool, heard: _Heard | None = None
) -> list[Notice]:
    heard = heard or _Heard()
    question = asked(
        stream=stream, tools=[SHELL_TOOL], messages=[{"role": "user", "content": "Run a command, please"}],
        model="claude-test",
    )  # fmt: skip
    conversion = question.conversion
    state = conversion.request.conversation_state
    current = state.current_message.user_input_message
    assert current is not None
    known = msgspec.structs.replace(current, model_id="claude-sonnet-4.5")
    state = msgspec.structs.replace(
        state, current_message=msgspec.structs.replace(state.current_message, user_input_message=known)
    )
    request = msgspec.structs.replace(conversion.request, conversation_state=state)
    question = msgspec.structs.replace(
        question, conversion=msgspec.structs.replace(conversion, request=request), jitter=0.0
    )
    await driver.drive(question, policy, outbox, heard)
    return heard.notices


@pytest.mark.parametrize("scenario", ROWS)
async def test_a_client_gets_an_answer_or_the_error_that_it_is(
    scenario: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.exchange.BACKOFF_BASE", 0.01)
    expected, kinds = ROWS[scenario]
    policy = IMPATIENT if expected == TIMEOUT else POLICY
    for stream in (False, True):
        # Each with a driver of its own: the account's health would remember what the other met.
        async with _driver(tmp_path, scenario) as driver:
            outbox = Outbox()
            notices = await _ask(driver, outbox, policy, stream=stream)
            whole = await outbox.first()
            failed = [notice.failure.kind.value for notice in notices if isinstance(notice, AttemptFailed)]
            if expected == GOOD:
                assert failed == []
                if whole is None:
                    sent = b"".join([chunk async for chunk in outbox.chunks()])
                    assert sent.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
                else:
                    assert (whole.status, msgspec.json.decode(whole.body)["role"]) == (200, "assistant")
            else:
                assert whole is not None
                error = msgspec.json.decode(whole.body)["error"]
                assert (whole.status, error["type"]) == expected, error
                assert failed == kinds


async def test_a_stream_that_has_begun_ends_with_the_error(tmp_path: Path) -> None:
    policy = msgspec.structs.replace(POLICY, ping_quiet=0.0)
    async with _driver(tmp_path, "long-tool-cut") as driver:
        outbox = Outbox()
        await _ask(driver, outbox, policy, stream=True)
        assert await outbox.first() is None
        sent = b"".join([chunk async for chunk in outbox.chunks()])
    assert sent.startswith(b"event: message_start\n")
    assert b"\nevent: error\n" in sent
    assert b"message_stop" not in sent
    assert b"tool_use" not in sent


@pytest.mark.parametrize("scenario", ROWS)
async def test_a_live_client_gets_the_same_answer_or_a_beginning_of_one_and_the_error(
    scenario: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.exchange.BACKOFF_BASE", 0.01)
    expected, kinds = ROWS[scenario]
    policy = msgspec.structs.replace(IMPATIENT if expected == TIMEOUT else POLICY, delivery="live")
    async with _driver(tmp_path, scenario) as driver:
        outbox, heard = Outbox(), _Heard()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(_ask, driver, outbox, policy, stream=True, heard=heard))
            whole = await outbox.first()
            sent = b"" if whole else b"".join([chunk async for chunk in outbox.chunks()])
    failed = [notice.failure.kind.value for notice in heard.notices if isinstance(notice, AttemptFailed)]
    if expected == GOOD:
        async with _driver(tmp_path, scenario) as driver:
            buffered = Outbox()
            await _ask(driver, buffered, POLICY, stream=False)
            answer = await buffered.first()
        assert answer is not None
        message = msgspec.json.decode(answer.body)
        live = rebuild(sent)
        assert (live.content, failed) == (message["content"], [])
        assert live.end is not None
        assert live.end["delta"]["stop_reason"] == message["stop_reason"]
    elif whole is not None:
        error = msgspec.json.decode(whole.body)["error"]
        assert (whole.status, error["type"]) == expected, error
        assert failed == kinds
    else:
        live = rebuild(sent)
        assert live.error is not None
        assert live.error["type"] == expected[1]
        assert live.content
        assert failed == kinds[:1]
