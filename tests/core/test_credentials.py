"""Token files: what is read from them, what is refused, and what a write-back keeps."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.credentials import (
    CredentialsError,
    Refreshed,
    Registration,
    Token,
    parse_registration,
    parse_token_file,
    region_of_profile,
    registration_file,
    render_token_file,
)
from core.times import Epoch

ARN = "arn:aws:codewhisperer:eu-central-1:123456789012:profile/ABCDEFGHIJKL"
HASH = "0123456789abcdef0123456789abcdef01234567"
KIRO = {
    "accessToken": "aoa-made-up-access",
    "refreshToken": "aor-made-up-refresh",
    "profileArn": ARN,
    "expiresAt": "2026-01-02T03:04:05.678Z",
    "authMethod": "social",
    "provider": "Google",
}
SSO = {
    "startUrl": "https://view.awsapps.com/start",
    "region": "eu-west-1",
    "accessToken": "made-up-access",
    "expiresAt": "2026-01-02T03:04:05Z",
    "clientId": "made-up-client",
    "clientSecret": "made-up-secret",
    "registrationExpiresAt": "2026-03-02T03:04:05Z",
    "refreshToken": "made-up-refresh",
}
NO_HEADER = "accessToken: has characters that an HTTP header cannot carry"


def at(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> Epoch:
    return Epoch(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())


def test_kiros_own_file_is_read() -> None:
    assert parse_token_file(json.dumps(KIRO).encode()) == Token(
        access_token="aoa-made-up-access",
        refresh_token="aor-made-up-refresh",
        expires_at=Epoch(at(2026, 1, 2, 3, 4, 5).seconds + 0.678),
        profile_arn=ARN,
        region=None,
        auth_method="social",
    )


def test_a_standard_sso_cache_file_is_read_with_the_registration_inside() -> None:
    assert parse_token_file(json.dumps(SSO).encode()) == Token(
        access_token="made-up-access",
        refresh_token="made-up-refresh",
        expires_at=at(2026, 1, 2, 3, 4, 5),
        region="eu-west-1",
        auth_method="IdC",
        registration=Registration(client_id="made-up-client", client_secret="made-up-secret"),
    )


@pytest.mark.parametrize(
    ("members", "method", "file"),
    [
        ({}, "social", None),
        ({"authMethod": None}, "social", None),
        ({"authMethod": "Social", "clientIdHash": HASH}, "social", None),
        ({"clientIdHash": HASH}, "IdC", f"{HASH}.json"),
        ({"authMethod": "idc", "clientIdHash": HASH.upper()}, "IdC", f"{HASH.upper()}.json"),
        ({"authMethod": "IdC", "clientIdHash": "a" * 64}, "IdC", f"{'a' * 64}.json"),
        ({"authMethod": "IdC"}, "IdC", None),
        ({"clientId": "i", "clientSecret": "s"}, "IdC", None),
        ({"clientId": "i", "clientSecret": "s", "clientIdHash": HASH}, "IdC", None),
        ({"clientId": "i"}, "social", None),
    ],
)
def test_how_a_token_was_given_out_follows_from_the_file(
    members: dict[str, Any], method: str, file: str | None
) -> None:
    token = parse_token_file(json.dumps({"accessToken": "a"} | members).encode())
    assert (token.auth_method, registration_file(token)) == (method, file)


@pytest.mark.parametrize("missing", [{}, {"expiresAt": None, "refreshToken": None, "region": None}])
def test_an_access_token_alone_is_a_token_of_unknown_expiry(missing: dict[str, None]) -> None:
    token = parse_token_file(json.dumps({"accessToken": "a"} | missing).encode())
    assert token == Token(access_token="a", auth_method="social")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"null", "expected a JSON object"),
        (b"[]", "expected a JSON object"),
        (b'"MARKED-SECRET"', "expected a JSON object"),
        (b'{"accessToken": "MARKED-SECRET"', "is not JSON in UTF-8"),
        (b'{"accessToken": "MARKED-SECRET"} x', "is not JSON in UTF-8"),
        (b'{"accessToken": MARKED-SECRET}', "is not JSON in UTF-8"),
        (b'{"accessToken": "MARKED-SECRET", "x": "\xff"}', "is not JSON in UTF-8"),
        (b'{"accessToken": "MARKED-SECRET", "\\ud800": 1}', "is not JSON in UTF-8"),
        (b'{"accessToken": "MARKED-SECRET", "x": ' + b"[" * 100_000 + b"}", "is not JSON in UTF-8"),
        ('{"accessToken": "MARKED-SECRET"}'.encode("utf-16"), "is not JSON in UTF-8"),
        (b"{}", "accessToken: is missing"),
        (b'{"accessToken": null}', "accessToken: is missing"),
        (b'{"accessToken": ""}', "accessToken: is empty"),
        (b'{"accessToken": 17}', "accessToken: expected a string"),
        (b'{"accessToken": 1e999}', "accessToken: expected a string"),
        (b'{"accessToken": ["MARKED-SECRET"]}', "accessToken: expected a string"),
        (b'{"accessToken": "MARKED-SECRET\\r\\nx: y"}', NO_HEADER),
        (b'{"accessToken": "MARKED-SECRET\\n"}', NO_HEADER),
        (b'{"accessToken": "MARKED-SECRET\\u00e9"}', NO_HEADER),
        (b'{"accessToken": "MARKED SECRET"}', NO_HEADER),
    ],
)
def test_what_is_no_token_file_is_refused_without_showing_it(data: bytes, text: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        parse_token_file(data)
    assert str(caught.value) == text
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("member", "value", "problem"),
    [
        ("refreshToken", "", "is empty"),
        ("refreshToken", 5, "expected a string"),
        ("refreshToken", {}, "expected a string"),
        ("expiresAt", 1767323045, "expected a string"),
        ("expiresAt", True, "expected a string"),
        ("expiresAt", "tomorrow", "expected a date"),
        ("expiresAt", "2027-01-02T03:04:05", "expected a date"),
        ("expiresAt", "2026-13-02T03:04:05Z", "expected a date"),
        ("expiresAt", "0000-01-02T03:04:05Z", "expected a date"),
        ("expiresAt", "2026-01-02T03:04:05+24:00", "expected a date"),
        ("expiresAt", "2026-01-02T03:04:05+00:60", "expected a date"),
        ("expiresAt", "2026-01-02T03:04:05Z\n", "expected a date"),
        ("expiresAt", "２026-01-02T03:04:05Z", "expected a date"),
        ("region", "", "is empty"),
        ("region", 1, "expected a string"),
        ("region", "us-east-1.evil.example", "expected an AWS region"),
        ("region", "evil.example/#-east-1", "expected an AWS region"),
        ("region", "us-east-1\n", "expected an AWS region"),
        ("region", "us-east-1/", "expected an AWS region"),
        ("region", "user@us-east-1", "expected an AWS region"),
        ("region", "US-EAST-1", "expected an AWS region"),
        ("region", "eu-west", "expected an AWS region"),
        ("region", "us-east-１", "expected an AWS region"),
        ("profileArn", "arn:aws:codewhisperer:us-east-1", "expected the ARN"),
        ("profileArn", ARN.replace("eu-central-1", "evil.example"), "expected the ARN"),
        ("profileArn", ARN + "/x", "expected the ARN"),
        ("clientIdHash", "", "is empty"),
        ("clientIdHash", "../../etc/passwd", "expected 40 to 64"),
        ("clientIdHash", HASH[:-1], "expected 40 to 64"),
        ("clientIdHash", HASH + "\n", "expected 40 to 64"),
        ("clientIdHash", HASH[:-1] + "/", "expected 40 to 64"),
        ("clientIdHash", "a" * 65, "expected 40 to 64"),
        ("authMethod", "MARKED-SECRET", "expected social or IdC"),
        ("authMethod", [], "expected a string"),
        ("clientId", 4, "expected a string"),
        ("clientSecret", "", "is empty"),
    ],
)
def test_a_member_that_cannot_be_is_named(member: str, value: Any, problem: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        parse_token_file(json.dumps(KIRO | {member: value}).encode())
    assert caught.value.member == member
    assert caught.value.problem.startswith(problem)
    if value:
        assert str(value) not in str(caught.value)


def test_the_last_of_equal_members_counts_and_a_byte_order_mark_does_not() -> None:
    token = parse_token_file(b'\xef\xbb\xbf{"accessToken": "first", "accessToken": "last"}')
    assert token.access_token == "last"


@pytest.mark.parametrize(
    "region", ["us-east-1", "us-gov-west-1", "us-iso-east-1", "ap-southeast-5", "eusc-de-east-1", "il-central-1"]
)
def test_real_regions_are_regions_also_in_a_profile(region: str) -> None:
    assert parse_token_file(json.dumps(KIRO | {"region": region}).encode()).region == region
    assert region_of_profile(ARN.replace("eu-central-1", region)) == region


def test_what_is_no_profile_has_no_region() -> None:
    assert region_of_profile("us-east-1") is None


# --- registrations ---------------------------------------------------------------------------------------------


def test_a_registration_is_read() -> None:
    data = b'{"clientId": "i", "clientSecret": "s", "expiresAt": "2026-01-02T03:04:05Z", "scopes": []}'
    assert parse_registration(data) == Registration(client_id="i", client_secret="s")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "is empty"),
        (b'{"clientSecret": "MARKED-SECRET"}', "clientId: is missing"),
        (b'{"clientId": "i", "clientSecret": ["MARKED-SECRET"]}', "clientSecret: expected a string"),
    ],
)
def test_what_is_no_registration_is_refused_without_showing_it(data: bytes, text: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        parse_registration(data)
    assert str(caught.value) == text


# --- write-back ------------------------------------------------------------------------------------------------


def test_a_write_back_changes_four_members_and_nothing_else() -> None:
    original = (
        '{"first": 1.10, "accessToken": "old", "big": 123456789012345678901234567890, "refreshToken": "old-r",'
        ' "expiresAt": null, "nested": {"accessToken": "not this", "n": [1e999, -0.0]}, "é": "\\u00e9"}'
    ).encode()
    token = Token(
        access_token="new",
        refresh_token="new-r",
        expires_at=Epoch(1767323045.678),
        profile_arn=ARN,
        auth_method="social",
    )
    assert render_token_file(original, token).decode() == (
        "{\n"
        '  "first": 1.10,\n'
        '  "accessToken": "new",\n'
        '  "big": 123456789012345678901234567890,\n'
        '  "refreshToken": "new-r",\n'
        '  "expiresAt": "2026-01-02T03:04:05.678Z",\n'
        '  "nested": {\n'
        '    "accessToken": "not this",\n'
        '    "n": [\n'
        "      1e999,\n"
        "      -0.0\n"
        "    ]\n"
        "  },\n"
        '  "é": "\\u00e9",\n'
        f'  "profileArn": "{ARN}"\n'
        "}\n"
    )


def test_a_write_back_keeps_what_the_token_does_not_know_and_drops_an_expiry_that_is_over() -> None:
    token = Token(access_token="new", auth_method="social")
    rendered = json.loads(render_token_file(json.dumps(KIRO).encode(), token))
    assert rendered == {k: v for k, v in KIRO.items() if k != "expiresAt"} | {"accessToken": "new"}


def test_nothing_is_rendered_on_top_of_what_is_no_token_file() -> None:
    with pytest.raises(CredentialsError):
        render_token_file(b'{"accessToken": 1}', Token(access_token="new", auth_method="social"))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_known = {"accessToken", "refreshToken", "expiresAt", "profileArn", "region", "authMethod"}
_known |= {"clientId", "clientSecret", "clientIdHash"}
_words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)


@settings(max_examples=150, deadline=None)
@given(
    unknown=st.dictionaries(st.text(max_size=8).filter(lambda name: name not in _known), _json, max_size=5),
    place=st.integers(0, 5),
    access=_words,
    refresh=st.text(min_size=1, max_size=20),
    expiry=st.none() | st.integers(0, 253_402_300_799_999),
    indent=st.sampled_from([None, 1, 4, "\t"]),
)
def test_unknown_members_survive_any_write_back_in_their_order(
    unknown: dict[str, Any], place: int, access: str, refresh: str, expiry: int | None, indent: int | str | None
) -> None:
    entries = list(unknown.items())
    entries[place:place] = KIRO.items()
    original = json.dumps(dict(entries), indent=indent).encode()
    before = parse_token_file(original)
    expires_at = None if expiry is None else Epoch(expiry / 1000)
    token = msgspec.structs.replace(before, access_token=access, refresh_token=refresh, expires_at=expires_at)
    rendered = render_token_file(original, token)
    after = json.loads(rendered)
    assert {name: after[name] for name in unknown} == unknown
    assert [name for name in after if name in unknown or name in KIRO] == [
        name for name, _ in entries if name != "expiresAt" or expiry is not None
    ]
    assert parse_token_file(rendered) == token
    assert render_token_file(rendered, token) == rendered
    assert rendered.endswith(b"}\n")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.dictionaries(st.sampled_from(sorted(_known)), _json).map(json.dumps).map(str.encode))
def test_any_bytes_are_a_token_or_an_error_of_one_line(data: bytes) -> None:
    try:
        token = parse_token_file(data)
    except CredentialsError as error:
        problem = str(error)
    else:
        problem = ""
        assert parse_token_file(render_token_file(data, token)) == token
    assert "\n" not in problem


# --- what shows ------------------------------------------------------------------------------------------------


def rich_parts(value: Any) -> Any:
    """What rich would print of it: msgspec gives every Struct this method."""
    return value.__rich_repr__()


def test_no_secret_shows_in_what_is_printed_of_a_token() -> None:
    token = Token(
        access_token="MARKED-SECRET-1",
        refresh_token="MARKED-SECRET-2",
        profile_arn=ARN,
        auth_method="IdC",
        registration=Registration(client_id="MARKED-SECRET-3", client_secret="MARKED-SECRET-4"),
    )
    for value in (token, token.registration, Refreshed(token)):
        shown = f"{value} {value!r} {[*rich_parts(value)]}"
        assert "MARKED" not in shown
        assert "123456789012" not in shown
    assert repr(token) == "Token(IdC, region None, expiry unknown, ...)"
    assert repr(Registration(client_id="i", client_secret="s")) == "Registration(...)"
    assert repr(parse_token_file(json.dumps(SSO).encode())) == (
        "Token(IdC, region eu-west-1, expiry 2026-01-02T03:04:05.000Z, ...)"
    )
