"""No secret anywhere: marked ones go through what works and what fails, and nothing that comes out has the mark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from adapters.gateway import check_token_files
from core.config import ConfigError
from tests.adapters.harness import HELLO, LOCAL, STREAMED, configured
from tests.adapters.marked import ACCOUNT, ADMIN, ADMIN_KEY, KEY, MARK, RIGHT, Ask, MarkedGateway
from tests.adapters.token_files import in_virtual_time

HEADERS = {**RIGHT, "authorization": f"Bearer {MARK}-other"}


@pytest.fixture
def marked(tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> MarkedGateway:
    return MarkedGateway(tmp_path, caplog, capfd)


# --- what the service says -------------------------------------------------------------------------------------

ASKS: tuple[Ask, ...] = tuple(
    ("POST", "/v1/messages", body, headers)
    for headers in (HEADERS, {**HEADERS, "x-api-key": f"{MARK}-wrong"})
    for body in (HELLO, STREAMED, b"{", {**HELLO, "model": "none"})
)

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
async def test_no_secret_is_logged_or_answered(marked: MarkedGateway, scenario: str, refresh: str) -> None:
    said = await marked.ask(ASKS, scenario=scenario, refresh=refresh)
    assert said.having() == {}
    assert len(said.recorded) == 4, "both good requests, and what the service answered each"
    assert [line for line in said.emulator if MARK in line] == []
    assert [text.count(": 401 ") for text in said.logs.values()] == [4, 4, 4]
    assert (said.statuses[0] == 200) == (scenario == "fine")  # the second may begin with pings
    assert said.statuses[2:] == [400, 404, 401, 401, 401, 401]
    assert any("POST /token" in line for line in said.emulator) == (scenario in ("token-revoked", "bad-token"))


QUOTE = "got: Authorization: Bearer {access}, {refresh}."


@pytest.mark.parametrize(
    "scenario",
    [
        f"status:400:ValidationException::{QUOTE}",
        f"status:403:AccessDeniedException:{{access}}:{QUOTE}",
        f"status:429:ThrottlingException::{QUOTE}",
        f"status:500:InternalServerException::{QUOTE}{QUOTE}",
        f"status:200:::{QUOTE}",
        "exception:{access}",
        "exception-first:InternalServerException:{access}",
        "error-frame:{refresh}",
    ],
)
@in_virtual_time
async def test_a_service_that_quotes_the_token_is_not_quoted(marked: MarkedGateway, scenario: str) -> None:
    said = await marked.ask([ASKS[0]], scenario=scenario)
    assert said.having() == {}
    assert said.statuses[0] >= 400
    assert any("removed" in text for text in said.recorded.values())
    if not scenario.startswith("status:200"):  # that answer's words are not looked at
        assert all("***" in text for text in said.logs.values())


QUOTE_ALL = f"{QUOTE} {ACCOUNT.client_id} {ACCOUNT.client_secret}"


@pytest.mark.parametrize(
    "refresh",
    [
        f"status:400:invalid_grant::{QUOTE_ALL}",
        f"status:401:{{refresh}}::{QUOTE_ALL}",
        f"status:400:InvalidRequestException:{ACCOUNT.client_secret}:{QUOTE_ALL}",
        f"status:429:ThrottlingException::{QUOTE_ALL}",
        f"status:503:::{QUOTE_ALL}",
        f"status:200:::{QUOTE_ALL}",
        f"oidc-error:{ACCOUNT.client_secret}",
    ],
)
@in_virtual_time
async def test_a_sign_in_service_that_quotes_what_it_was_asked_is_not_quoted(
    marked: MarkedGateway, refresh: str
) -> None:
    said = await marked.ask([ASKS[0]], scenario="token-revoked", refresh=refresh)
    assert said.having() == {}
    assert said.statuses[0] >= 400
    assert any("POST /token" in line for line in said.emulator)


ADMIN_ASKS: tuple[Ask, ...] = (
    ("GET", "/admin/accounts", b"", ADMIN),
    ("GET", "/admin/stats", b"", {**LOCAL, "authorization": f"Bearer {ADMIN_KEY}"}),
    ("GET", "/metrics", b"", ADMIN),
    ("POST", "/admin/accounts/one/enable", b"", ADMIN),
    ("POST", "/admin/accounts/other/enable", b"", ADMIN),
    ("GET", "/admin/stats", b"", {**LOCAL, "x-api-key": f"{ADMIN_KEY}-wrong"}),
    ("GET", f"/admin/accounts?key={ADMIN_KEY}", b"", RIGHT),
)


@pytest.mark.parametrize(
    ("scenario", "state"),
    [
        ("fine", "healthy"),
        ("throttled", "cooldown"),
        (f"status:402:ServiceQuotaExceededException:MONTHLY_REQUEST_COUNT:{QUOTE}", "cooldown"),
        (f"status:403:AccessDeniedException::{QUOTE}", "permanently_blacklisted"),
        (f"status:500:InternalServerException::{QUOTE}", "temporarily_blacklisted"),
        ("token-revoked", "permanently_blacklisted"),
    ],
)
async def test_no_secret_is_kept_or_shown_to_whoever_runs_it(marked: MarkedGateway, scenario: str, state: str) -> None:
    refresh = "refresh-refused" if scenario == "token-revoked" else "fine"
    said = await marked.ask([ASKS[0], *ADMIN_ASKS], scenario=scenario, refresh=refresh, keep=True)
    assert said.having() == {}
    assert said.statuses[1:] == [200, 200, 200, 200, 404, 401, 401]
    assert json.loads(said.answers[3])["accounts"][0]["state"] == state
    assert all(state in text or state.replace("_", " ") in text for name, text in said.shown.items() if "acc" in name)
    assert len(said.shown) == 6
    assert any("account:one:" in text for text in said.kept.values())


# --- what a client says ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/v1/models", {**LOCAL, "authorization": f"Bearer {KEY}"}, 200),
        ("/v1/models", {**LOCAL, "authorization": f"bearer   {KEY}"}, 200),
        ("/v1/models", {**LOCAL, "authorization": KEY}, 401),
        ("/v1/models", {**LOCAL, "authorization": f"Basic {KEY}"}, 401),
        ("/v1/models", {**LOCAL, "authorization": f"Bearer {KEY} {KEY}"}, 401),
        ("/v1/models", {**LOCAL, "x-api-key": f"{KEY}, {KEY}"}, 401),
        ("/v1/models", {**LOCAL, "cookie": f"key={KEY}"}, 401),
        ("/v1/models", {**LOCAL, "proxy-authorization": f"Bearer {KEY}"}, 401),
        (f"/v1/models?x-api-key={KEY}", LOCAL, 401),
        (f"/v1/models?api_key={KEY}", RIGHT, 200),
        (f"/none?{KEY}", RIGHT, 404),
        ("/none", {**RIGHT, "referer": f"http://localhost/?key={KEY}", "user-agent": KEY}, 404),
        ("/v1/models", {**RIGHT, "host": f"{MARK}@localhost", KEY: "x"}, 200),
        ("/v1/models", {**RIGHT, "request-id": f"{MARK}-id", "x-request-id": f"{MARK}-id"}, 200),
    ],
)
async def test_a_key_in_an_odd_place_goes_nowhere(
    marked: MarkedGateway, target: str, headers: Mapping[str, str], status: int
) -> None:
    said = await marked.ask([("GET", target, b"", headers)])
    assert (said.statuses, said.having()) == ([status], {})
    assert all(f": {status}" in text for text in said.logs.values())


@pytest.mark.parametrize("headers", [{"host": f"{MARK}@localhost"}, {"origin": f"http://{MARK}@localhost"}])
async def test_an_address_with_a_password_is_refused_without_it(
    marked: MarkedGateway, headers: Mapping[str, str]
) -> None:
    said = await marked.ask([("GET", "/v1/models", b"", {**LOCAL, **headers})], keys=())
    assert (said.statuses, said.having()) == ([403], {})


@pytest.mark.parametrize(
    "raw",
    [
        f"GET / HTTP/1.1\r\nauthorization: Bearer {KEY}\x00\r\n\r\n",
        f"GET / HTTP/9\r\nx-api-key: {KEY}\r\n\r\n",
        f"authorization: Bearer {KEY}\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_not_quoted(marked: MarkedGateway, raw: str) -> None:
    said = await marked.ask([], raw=raw.encode())
    assert said.having() == {}
    assert said.answers[0].startswith("HTTP/1.1 400 ")


WORDS = f"{MARK} words"
CONVERSATION = {
    **HELLO,
    "system": WORDS,
    "metadata": {"user_id": WORDS},
    "stop_sequences": [WORDS],
    "tools": [{"name": "run", "description": WORDS, "input_schema": {"type": "object", "title": WORDS}}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": WORDS}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": f"{MARK}-1", "name": "run", "input": {MARK: 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": f"{MARK}-1", "content": WORDS}]},
    ],
}
USER = {"role": "user", "content": WORDS}


@pytest.mark.parametrize("scenario", [*SCENARIOS, "long-tool-cut:100", "no-stop", "invalid-tool-json", "thinking"])
@in_virtual_time
async def test_no_word_of_a_conversation_is_logged(marked: MarkedGateway, scenario: str) -> None:
    bodies = (CONVERSATION, {**CONVERSATION, "stream": True})
    said = await marked.ask([("POST", "/v1/messages", body, RIGHT) for body in bodies], scenario=scenario)
    assert said.having(answers=False) == {}  # its own words are the client's to hear
    assert any("POST /generateAssistantResponse" in line for line in said.emulator)


@pytest.mark.parametrize(
    "members",
    [
        {"messages": [USER, {"role": MARK, "content": WORDS}]},
        {"messages": [{"role": "user", "content": [{"type": MARK}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64", MARK: MARK}}]}]},
        {"messages": [USER, {"role": "assistant", "content": WORDS}]},
        {"messages": [USER], "tools": [{"name": WORDS, "input_schema": {"type": MARK}}]},
        {"messages": [USER], "tools": [{"name": MARK, "input_schema": {}}] * 2},
        {"messages": [USER], "tool_choice": {"type": "tool", "name": MARK}},
        {"messages": [USER], "max_tokens": MARK},
        {"messages": {MARK: MARK}},
    ],
)
async def test_no_word_of_a_request_that_is_none_is_logged(marked: MarkedGateway, members: dict[str, Any]) -> None:
    said = await marked.ask([("POST", "/v1/messages", {**HELLO, **members}, RIGHT)])
    # What is wrong may be quoted to who said it.
    assert (said.statuses, said.having(answers=False)) == ([400], {})


# --- what is in files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [f"{MARK} with a blank", f"{MARK}\n", f"{MARK}\N{SNOWMAN}", 17])
@pytest.mark.parametrize("name", ["apiKeys", "adminKey"])
def test_a_key_that_cannot_be_one_is_not_shown(name: str, secret: Any) -> None:
    with pytest.raises(ConfigError) as raised:
        configured({"server": {name: secret if name == "adminKey" else [secret]}})
    assert f"server.{name}" in str(raised.value)
    assert MARK not in str(raised.value)


def test_an_admin_key_that_a_client_has_is_not_shown() -> None:
    with pytest.raises(ConfigError, match=r"server\.adminKey: expected a key that no client has") as raised:
        configured({"server": {"apiKeys": [KEY], "adminKey": KEY}})
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
    (problem,), _ = check_token_files(config)
    assert MARK not in problem
