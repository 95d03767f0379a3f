"""The emulator's tokens: who is let in, how they are refreshed, and what a file holds of them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from adapters.emulator import (
    EmulatedAccount,
    always,
    default_account,
    render_registration_file,
    render_token_file,
)
from adapters.emulator.accounts import DEVICE_GRANT, Accounts
from adapters.emulator.wire import Reply
from tests.adapters.emulated import START, World, shell_request

ORGANIZATION = EmulatedAccount(
    id="work",
    access_token="made-up-access",
    refresh_token="made-up-refresh",
    auth_method="IdC",
    expires_in=60.0,
)
CLIENT = {"clientId": "emulated-client", "clientSecret": "emulated-client-secret"}
REFRESH = {**CLIENT, "grantType": "refresh_token", "refreshToken": "made-up-refresh"}
FIRST = default_account()


def status_of(reply: Reply) -> int:
    assert reply.head is not None
    return reply.head.status


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer x", f"Basic {FIRST.access_token}", FIRST.access_token, "Bearer "]
)
def test_an_unknown_token_is_refused_in_the_services_words(authorization: str) -> None:
    world = World()
    reply = world.ask(shell_request(), authorization=authorization)
    assert status_of(reply) == 403
    assert json.loads(reply.body()) == {
        "message": "The bearer token included in the request is invalid.",
        "reason": None,
    }
    assert reply.head is not None
    assert dict(reply.head.headers)["x-amzn-errortype"] == "AccessDeniedException"
    assert world.log == ["answered POST /generateAssistantResponse: 403, no valid token"]
    assert world.emulator.counts["emulated"].requests == 0


def test_a_token_ends_with_its_time() -> None:
    world = World()
    assert status_of(world.ask(shell_request())) == 200
    world.now += 3599.9
    assert status_of(world.ask(shell_request())) == 200
    world.now += 0.1
    assert status_of(world.ask(shell_request())) == 403


def test_a_refresh_rotates_both_tokens_and_the_old_refresh_token_is_refused() -> None:
    world = World()
    status, tokens = world.post("/refreshToken", {"refreshToken": FIRST.refresh_token})
    assert status == 200
    assert tokens == {
        "accessToken": "emulated-access-token-emulated-2",
        "refreshToken": "emulated-refresh-token-emulated-2",
        "expiresIn": 3600,
        "profileArn": FIRST.profile_arn,
    }
    assert world.post("/refreshToken", {"refreshToken": FIRST.refresh_token})[0] == 401
    assert status_of(world.ask(shell_request(), token=tokens["accessToken"])) == 200
    # The old access token lives until its own end.
    assert status_of(world.ask(shell_request())) == 200
    world.now += 3600
    assert status_of(world.ask(shell_request(), token=tokens["accessToken"])) == 403
    again = world.post("/refreshToken", {"refreshToken": tokens["refreshToken"]})[1]
    assert status_of(world.ask(shell_request(), token=again["accessToken"])) == 200
    assert world.emulator.counts["emulated"].refreshes == 2
    assert world.emulator.accounts.tokens("emulated") == (again["accessToken"], again["refreshToken"])
    assert not any("-token-" in line for line in world.log)


def test_an_organizations_account_refreshes_with_its_registration() -> None:
    world = World(accounts=(ORGANIZATION,))
    status, tokens = world.post("/token", REFRESH)
    assert status == 200
    assert tokens == {
        "accessToken": "emulated-access-token-work-2",
        "refreshToken": "emulated-refresh-token-work-2",
        "expiresIn": 60,
        "tokenType": "Bearer",
    }
    status, problem = world.post("/token", REFRESH)
    assert status == 400
    assert problem == {"error": "invalid_grant", "error_description": "Invalid refresh token provided"}
    assert world.log[-1] == "refused POST /token: invalid_grant: Invalid refresh token provided"


@pytest.mark.parametrize(
    ("path", "content", "status", "error"),
    [
        ("/token", {**REFRESH, "clientSecret": "wrong"}, 401, "invalid_client"),
        ("/token", {**REFRESH, "clientId": 7}, 401, "invalid_client"),
        ("/token", {"grantType": "refresh_token"}, 401, "invalid_client"),
        ("/token", {**REFRESH, "grantType": "password"}, 400, "unsupported_grant_type"),
        ("/token", {**REFRESH, "refreshToken": ""}, 400, "invalid_grant"),
        ("/token", {**REFRESH, "refreshToken": ["made-up-refresh"]}, 400, "invalid_grant"),
        ("/token", {**CLIENT, "grantType": DEVICE_GRANT, "deviceCode": "x"}, 400, "invalid_grant"),
        ("/device_authorization", CLIENT, 400, "invalid_request"),
        ("/device_authorization", {}, 401, "invalid_client"),
        ("/refreshToken", {"refreshToken": "made-up-refresh"}, 401, None),
        ("/refreshToken", {}, 401, None),
        ("/refreshToken", b"{", 400, None),
        ("/token", b"[]", 400, None),
    ],
)
def test_a_token_call_that_is_wrong_is_refused(path: str, content: object, status: int, error: str | None) -> None:
    world = World(accounts=(ORGANIZATION,))
    got, problem = world.post(path, content)
    assert (got, problem.get("error")) == (status, error)
    assert world.emulator.counts["work"].refreshes == 0


def test_a_device_signs_in_at_the_second_asking() -> None:
    world = World(accounts=(FIRST, ORGANIZATION))
    client = world.post("/client/register", {"clientName": "x", "clientType": "public"})[1]
    assert client["clientSecretExpiresAt"] > START
    identity = {name: client[name] for name in ("clientId", "clientSecret")}
    codes = world.post("/device_authorization", {**identity, "startUrl": "https://example.com"}, host="here:1")[1]
    assert codes["verificationUriComplete"] == "http://here:1/device?user_code=EMUL-0001"
    poll = {**identity, "grantType": DEVICE_GRANT, "deviceCode": codes["deviceCode"]}
    assert world.post("/token", poll)[1]["error"] == "authorization_pending"
    assert world.post("/token", {**poll, **CLIENT})[1]["error"] == "invalid_grant"
    status, tokens = world.post("/token", poll)
    assert (status, tokens["tokenType"]) == (200, "Bearer")
    assert world.emulator.accounts.holder(tokens["accessToken"]) == "work"
    assert world.post("/token", poll)[1]["error"] == "invalid_grant"


def test_a_device_cannot_sign_in_where_no_account_does() -> None:
    world = World()
    codes = world.post("/device_authorization", {**CLIENT, "startUrl": "https://example.com"})[1]
    poll = {**CLIENT, "grantType": DEVICE_GRANT, "deviceCode": codes["deviceCode"]}
    assert world.post("/token", poll)[1]["error"] == "authorization_pending"
    assert world.post("/token", poll)[1]["error"] == "access_denied"


def test_tokens_can_be_revoked() -> None:
    world = World()
    world.emulator.accounts.revoke("emulated")
    assert status_of(world.ask(shell_request())) == 403
    assert world.emulator.accounts.tokens("emulated")[0] == ""
    world.emulator.accounts.revoke_refresh("emulated")
    for token in (FIRST.refresh_token, ""):
        assert world.post("/refreshToken", {"refreshToken": token})[0] == 401


def test_accounts_are_told_apart() -> None:
    with pytest.raises(ValueError, match="two accounts are called 'work'"):
        Accounts((ORGANIZATION, ORGANIZATION), lambda: START)


@pytest.mark.parametrize(
    ("scenario", "status", "content", "refreshes"),
    [
        (
            "keep-refresh-token",
            200,
            {"accessToken": "emulated-access-token-emulated-2", "expiresIn": 3600},
            1,
        ),
        (
            "expires-at-only",
            200,
            {"refreshToken": "emulated-refresh-token-emulated-2", "expiresAt": "2023-11-14T23:13:20Z"},
            1,
        ),
        ("short-lived:5", 200, {"expiresIn": 5}, 1),
        ("no-access-token", 200, {"expiresIn": 3600}, 1),
        ("wrong-types", 200, {"accessToken": 7}, 0),
        ("refresh-refused", 401, {"message": "Invalid refresh token provided"}, 0),
        ("internal-error", 500, {"reason": None}, 0),
        ("oidc-error:slow_down", 400, {"error": "slow_down"}, 0),
        ("oidc-error:invalid_client", 401, {"error": "invalid_client"}, 0),
    ],
)
def test_a_refresh_goes_as_its_scenario_says(
    scenario: str, status: int, content: dict[str, Any], refreshes: int
) -> None:
    world = World(refresh_scenario=always(scenario))
    got, tokens = world.post("/refreshToken", {"refreshToken": FIRST.refresh_token})
    assert (got, {name: tokens.get(name) for name in content}) == (status, content)
    assert world.emulator.counts["emulated"].refreshes == refreshes
    kept = scenario == "keep-refresh-token"
    assert ("refreshToken" in tokens) == ((refreshes == 1 and not kept) or scenario == "wrong-types")
    assert ("accessToken" in tokens) == (status == 200 and scenario != "no-access-token")
    assert (world.emulator.accounts.tokens("emulated")[1] == FIRST.refresh_token) == (kept or refreshes == 0)


@pytest.mark.parametrize(
    ("scenario", "status", "error"),
    [
        ("refresh-refused", 400, "invalid_grant"),
        ("internal-error", 500, "server_error"),
        ("throttled", 429, "invalid_request"),
    ],
)
def test_an_organizations_refresh_is_refused_in_its_own_form(scenario: str, status: int, error: str) -> None:
    world = World(accounts=(ORGANIZATION,), refresh_scenario=always(scenario))
    got, problem = world.post("/token", REFRESH)
    assert (got, problem["error"]) == (status, error)


def test_a_lost_answer_leaves_the_client_with_a_dead_refresh_token() -> None:
    world = World(refresh_scenario=lambda _account, number: "refresh-lost" if number == 1 else "fine")
    with pytest.raises(AssertionError):
        world.post("/refreshToken", {"refreshToken": FIRST.refresh_token})
    assert world.post("/refreshToken", {"refreshToken": FIRST.refresh_token})[0] == 401
    assert world.log[0] == "answered POST /refreshToken: no head, account emulated, scenario 'refresh-lost'"


def test_a_token_file_holds_what_the_ide_writes() -> None:
    content = json.loads(render_token_file(FIRST, START))
    assert content == {
        "accessToken": FIRST.access_token,
        "refreshToken": FIRST.refresh_token,
        "expiresAt": "2023-11-14T23:13:20.000Z",
        "profileArn": "arn:aws:codewhisperer:us-east-1:000000000000:profile/EMULATOR0000",
        "region": "us-east-1",
        "authMethod": "social",
        "provider": "Google",
    }
    assert datetime.fromisoformat(content["expiresAt"]).timestamp() == START + 3600


def test_an_organizations_token_file_names_its_registration() -> None:
    content = json.loads(render_token_file(ORGANIZATION, START))
    assert (content["authMethod"], content["clientIdHash"]) == ("IdC", "0" * 40)
    assert json.loads(render_registration_file(ORGANIZATION, START)) == {
        **CLIENT,
        "expiresAt": "2024-02-12T22:13:20.000Z",
    }
