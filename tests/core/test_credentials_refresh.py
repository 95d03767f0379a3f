"""The refresh of a token: when, with which call, and what the answers mean."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.credentials import (
    CredentialsError,
    Refreshed,
    RefreshFailed,
    RefreshRefused,
    Registration,
    Token,
    is_expired,
    needs_refresh,
    parse_refresh,
    refresh_call,
)
from core.http import Call
from core.times import Epoch

NOW = Epoch(1_700_000_000.0)
ARN = "arn:aws:codewhisperer:eu-central-1:123456789012:profile/ABCDEFGHIJKL"
OTHER_ARN = ARN.replace("ABCDEFGHIJKL", "MNOPQRSTUVWX")
SOCIAL = Token(access_token="old-access", refresh_token="old-refresh", auth_method="social", profile_arn=ARN)
OIDC = Token(
    access_token="old-access",
    refresh_token="old-refresh",
    auth_method="IdC",
    region="eu-west-1",
    registration=Registration(client_id="made-up-client", client_secret="made-up-secret"),
)


# --- when ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "is_due", "is_over"),
    [
        (None, False, False),
        (3600.0, False, False),
        (300.001, False, False),
        (300.0, True, False),
        (0.001, True, False),
        (0.0, True, True),
        (-1e12, True, True),
    ],
)
def test_a_token_is_refreshed_five_minutes_before_it_expires(left: float | None, is_due: bool, is_over: bool) -> None:
    token = msgspec.structs.replace(SOCIAL, expires_at=None if left is None else NOW + left)
    assert (needs_refresh(token, NOW), is_expired(token, NOW)) == (is_due, is_over)


# --- the call --------------------------------------------------------------------------------------------------


def ask(token: Token, refresh_url: str | None = None) -> Call:
    return refresh_call(token, refresh_url=refresh_url, user_agent="made-up/1")


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({}, "https://prod.eu-central-1.auth.desktop.kiro.dev/refreshToken"),
        ({"region": "us-west-2"}, "https://prod.us-west-2.auth.desktop.kiro.dev/refreshToken"),
        ({"profile_arn": None}, "https://prod.us-east-1.auth.desktop.kiro.dev/refreshToken"),
    ],
)
def test_a_social_token_is_refreshed_where_kiro_signs_in(changes: dict[str, Any], url: str) -> None:
    call = ask(msgspec.structs.replace(SOCIAL, **changes))
    assert (call.method, call.url) == ("POST", url)
    assert json.loads(call.body) == {"refreshToken": "old-refresh"}
    assert call.headers == {
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "made-up/1",
    }


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({}, "https://oidc.eu-west-1.amazonaws.com/token"),
        ({"region": None, "profile_arn": ARN}, "https://oidc.eu-central-1.amazonaws.com/token"),
        ({"profile_arn": ARN}, "https://oidc.eu-west-1.amazonaws.com/token"),
    ],
)
def test_an_oidc_token_is_refreshed_with_its_registration(changes: dict[str, Any], url: str) -> None:
    call = ask(msgspec.structs.replace(OIDC, **changes))
    assert (call.method, call.url) == ("POST", url)
    assert json.loads(call.body) == {
        "clientId": "made-up-client",
        "clientSecret": "made-up-secret",
        "grantType": "refresh_token",
        "refreshToken": "old-refresh",
    }


@pytest.mark.parametrize("token", [SOCIAL, OIDC, msgspec.structs.replace(OIDC, region=None)])
def test_a_refresh_url_replaces_the_whole_address(token: Token) -> None:
    assert ask(token, "http://127.0.0.1:9/x").url == "http://127.0.0.1:9/x"


@pytest.mark.parametrize(
    ("token", "member"),
    [
        (msgspec.structs.replace(SOCIAL, refresh_token=None), "refreshToken"),
        (msgspec.structs.replace(OIDC, registration=None), "clientIdHash"),
        (msgspec.structs.replace(OIDC, region=None), "region"),
    ],
)
def test_a_token_without_what_it_takes_has_no_call(token: Token, member: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        ask(token)
    assert caught.value.member == member


def test_any_refresh_token_is_carried_as_it_is() -> None:
    token = msgspec.structs.replace(SOCIAL, refresh_token='"\\\n\u2028é🎭')
    assert json.loads(ask(token).body) == {"refreshToken": '"\\\n\u2028é🎭'}


# --- the answer ------------------------------------------------------------------------------------------------


def renewed(members: dict[str, Any], token: Token = SOCIAL) -> Token:
    outcome = parse_refresh(token, 200, json.dumps({"accessToken": "new"} | members).encode(), NOW)
    assert isinstance(outcome, Refreshed)
    return outcome.token


def test_an_answer_renews_the_token() -> None:
    members = {"refreshToken": "new-r", "expiresIn": 3600, "profileArn": OTHER_ARN, "tokenType": "Bearer"}
    assert renewed(members) == Token(
        access_token="new",
        refresh_token="new-r",
        expires_at=NOW + 3600,
        profile_arn=OTHER_ARN,
        auth_method="social",
    )


@pytest.mark.parametrize("members", [{}, {"refreshToken": None}, {"refreshToken": ""}, {"refreshToken": [1]}])
def test_the_old_refresh_token_stays_where_no_new_one_comes(members: dict[str, Any]) -> None:
    assert renewed(members, OIDC) == msgspec.structs.replace(OIDC, access_token="new")


@pytest.mark.parametrize("arn", [None, "", 5, "not an ARN", ARN + "\r\n"])
def test_the_old_profile_stays_where_no_new_one_comes(arn: object) -> None:
    assert renewed({"profileArn": arn}).profile_arn == ARN


LATER = "2023-11-14T23:13:20.5Z"  # 3600.5 seconds after NOW


@pytest.mark.parametrize(
    ("members", "left"),
    [
        ({"expiresIn": 3600}, 3600.0),
        ({"expiresIn": 0.5}, 0.5),
        ({"expiresIn": 3600, "expiresAt": "1999-01-01T00:00:00Z"}, 3600.0),
        ({"expiresAt": LATER}, 3600.5),
        ({"expiresIn": 0, "expiresAt": LATER}, 3600.5),
        ({"expiresIn": -1, "expiresAt": LATER}, 3600.5),
        ({"expiresIn": True, "expiresAt": LATER}, 3600.5),
        ({"expiresIn": "3600", "expiresAt": LATER}, 3600.5),
        ({"expiresIn": None, "expiresAt": LATER}, 3600.5),
        ({"expiresIn": 10**30, "expiresAt": LATER}, 3600.5),
        ({"expiresIn": 10**400, "expiresAt": LATER}, 3600.5),
        ({"expiresIn": [], "expiresAt": LATER}, 3600.5),
        ({"expiresAt": "1999-01-01T00:00:00Z"}, None),
        ({"expiresAt": "9999-01-01T00:00:00Z"}, None),
        ({"expiresAt": "soon"}, None),
        ({"expiresAt": 1_700_003_600}, None),
        ({}, None),
    ],
)
def test_an_expiry_is_what_was_said_and_reasonable_else_unknown(members: dict[str, Any], left: float | None) -> None:
    token = msgspec.structs.replace(SOCIAL, expires_at=NOW)
    assert renewed(members, token).expires_at == (None if left is None else NOW + left)


UNUSABLE = "the refresh was answered with 200, but without a usable accessToken"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>MARKED-SECRET</html>",
        b"{}",
        b"[]",
        b'{"accessToken": null}',
        b'{"accessToken": ""}',
        b'{"accessToken": 5}',
        b'{"accessToken": "MARKED-SECRET\\n"}',
        b'{"accessToken": "MARKED-SECRET", ',
        b'{"accessToken": "MARKED-SECRET", "x": ' + b"[" * 100_000,
        b'\xff{"accessToken": "MARKED-SECRET"}',
    ],
)
def test_a_success_that_cannot_be_read_is_a_failure_of_this_time(body: bytes) -> None:
    assert parse_refresh(SOCIAL, 200, body, NOW) == RefreshFailed(UNUSABLE, 200)


@pytest.mark.parametrize(
    ("token", "status", "body", "answered"),
    [
        (OIDC, 400, b'{"error": "invalid_grant", "error_description": "MARKED-SECRET"}', "400 invalid_grant"),
        (OIDC, 401, b'{"error": "invalid_client"}', "401 invalid_client"),
        (OIDC, 400, b'{"error": "invalid_client"}', "400 invalid_client"),
        (SOCIAL, 400, b'{"error": "invalid_grant"}', "400 invalid_grant"),
        (SOCIAL, 401, b'{"message": "MARKED-SECRET"}', "401"),
        (SOCIAL, 403, b"<html>", "403"),
        (SOCIAL, 401, b"", "401"),
    ],
)
def test_some_refusals_are_final(token: Token, status: int, body: bytes, answered: str) -> None:
    expected = RefreshRefused(f"the refresh token was refused ({answered})")
    assert parse_refresh(token, status, body, NOW) == expected


@pytest.mark.parametrize(
    ("token", "status", "body", "answered"),
    [
        (OIDC, 500, b"", "500"),
        (OIDC, 503, b'{"error": "invalid_grant"}', "503 invalid_grant"),
        (OIDC, 429, b'{"error": "slow_down"}', "429 slow_down"),
        (OIDC, 400, b'{"error": "invalid_request"}', "400 invalid_request"),
        (OIDC, 400, b'{"error": "MARKED-SECRET"}', "400"),
        (OIDC, 400, b'{"error": {"invalid_grant": 1}}', "400"),
        (OIDC, 400, b"<html>invalid_grant</html>", "400"),
        (OIDC, 401, b"", "401"),
        (OIDC, 403, b"", "403"),
        (OIDC, 302, b"", "302"),
        (SOCIAL, 400, b"", "400"),
        (SOCIAL, 407, b"", "407"),
        (SOCIAL, 502, b"<html>", "502"),
    ],
)
def test_all_other_refusals_pass(token: Token, status: int, body: bytes, answered: str) -> None:
    expected = RefreshFailed(f"the refresh was answered with {answered}", status)
    assert parse_refresh(token, status, body, NOW) == expected


@settings(max_examples=200, deadline=None)
@given(
    token=st.sampled_from([SOCIAL, OIDC]),
    status=st.sampled_from([200, 201, 204, 301, 400, 401, 403, 429, 500]) | st.integers(100, 599),
    body=st.binary(max_size=40)
    | st.dictionaries(
        st.sampled_from(["accessToken", "refreshToken", "expiresIn", "expiresAt", "profileArn", "error"]),
        st.text(max_size=6) | st.integers() | st.none() | st.booleans() | st.floats(allow_nan=False),
    ).map(lambda members: json.dumps(members).encode()),
)
def test_any_answer_has_a_meaning_and_never_costs_the_refresh_token(token: Token, status: int, body: bytes) -> None:
    outcome = parse_refresh(token, status, body, NOW)
    if isinstance(outcome, Refreshed):
        assert 200 <= status < 300
        assert outcome.token.refresh_token
        assert outcome.token.expires_at is None or outcome.token.expires_at > NOW
        assert ask(outcome.token).url == ask(token).url
    else:
        assert isinstance(outcome, RefreshRefused) == (status == 403 and token is SOCIAL) or status in (400, 401)
