"""Who may ask: keys where there are keys, this machine where there are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.access import check_access
from core.errors import ClientRequestError

KEYS = ("made-up-key-one", "made-up-key-two")


def judge(
    headers: dict[str, str],
    *,
    keys: tuple[str, ...] = (),
    client: str | None = "127.0.0.1",
    server: str | None = "127.0.0.1",
) -> str:
    """`""` for a request that may pass, else the error's type."""
    try:
        check_access(headers, api_keys=keys, client=client, server=server)
    except ClientRequestError as error:
        return error.error_type
    return ""


def test_no_key_is_ever_repeated() -> None:
    with pytest.raises(ClientRequestError) as caught:
        check_access({"x-api-key": "made-up-wrong"}, api_keys=KEYS, client="127.0.0.1", server="127.0.0.1")
    assert "made-up" not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-api-key": "made-up-key-one"}, ""),
        ({"x-api-key": "made-up-key-two"}, ""),
        ({"authorization": "Bearer made-up-key-two"}, ""),
        ({"authorization": "bearer  made-up-key-one "}, ""),
        ({"x-api-key": "wrong", "authorization": "Bearer made-up-key-one"}, ""),
        ({"x-api-key": "made-up-key-one", "authorization": "Bearer wrong"}, ""),
        ({}, "authentication_error"),
        ({"x-api-key": ""}, "authentication_error"),
        ({"x-api-key": "made-up-key-on"}, "authentication_error"),
        ({"x-api-key": "made-up-key-one "}, "authentication_error"),
        ({"authorization": "Basic made-up-key-one"}, "authentication_error"),
        ({"authorization": "made-up-key-one"}, "authentication_error"),
        ({"authorization": "Bearer"}, "authentication_error"),
        ({"x-api-key": "\udcff\u00e9"}, "authentication_error"),
    ],
)
def test_any_key_passes_in_either_header(headers: dict[str, str], expected: str) -> None:
    assert judge(headers, keys=KEYS) == expected


def test_a_key_passes_from_anywhere() -> None:
    headers = {"x-api-key": KEYS[0], "host": "example.com", "origin": "https://example.com"}
    assert judge(headers, keys=KEYS, client="203.0.113.9", server="203.0.113.1") == ""


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", ""),
        ("LOCALHOST:8990", ""),
        ("127.0.0.1:8990", ""),
        ("127.9.9.9", ""),
        ("[::1]:8990", ""),
        ("example.com", "permission_error"),
        ("127.0.0.1.example.com", "permission_error"),
        ("localhost.example.com:8990", "permission_error"),
        ("example.com:127.0.0.1", "permission_error"),
        ("localhost@example.com", "permission_error"),
        ("example.com@localhost", "permission_error"),
        ("example.com#localhost", "permission_error"),
        ("0.0.0.0:8990", "permission_error"),
        ("[::1", "permission_error"),
        ("", "permission_error"),
    ],
)
def test_without_keys_the_host_has_to_name_this_machine(host: str, expected: str) -> None:
    assert judge({"host": host}) == expected


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://localhost:3000", ""),
        ("https://127.0.0.1", ""),
        ("http://[::1]:8990", ""),
        ("null", "permission_error"),
        ("https://example.com", "permission_error"),
        ("http://localhost.example.com", "permission_error"),
        ("file://", "permission_error"),
        ("", "permission_error"),
        ("http://[::1", "permission_error"),
    ],
)
def test_without_keys_the_origin_has_to_name_this_machine(origin: str, expected: str) -> None:
    assert judge({"host": "localhost", "origin": origin}) == expected


@pytest.mark.parametrize(
    ("client", "server", "expected"),
    [
        ("127.0.0.1", "127.0.0.1", ""),
        ("::1", "::1", ""),
        ("203.0.113.9", "127.0.0.1", "permission_error"),
        ("127.0.0.1", "203.0.113.1", "permission_error"),
        (None, "127.0.0.1", "permission_error"),
        ("127.0.0.1", None, "permission_error"),
        ("", "127.0.0.1", "permission_error"),
    ],
)
def test_without_keys_both_ends_have_to_be_loopback(client: str | None, server: str | None, expected: str) -> None:
    assert judge({}, client=client, server=server) == expected


@given(st.dictionaries(st.sampled_from(["host", "origin", "x-api-key", "authorization"]), st.text()), st.booleans())
def test_any_header_is_judged(headers: dict[str, str], keyed: bool) -> None:
    assert judge(headers, keys=KEYS if keyed else ()) in ("", "authentication_error", "permission_error")
