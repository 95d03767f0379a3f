"""HTTP calls as values: what they hold, and what they do not show."""

import pytest

from core.http import Call, Head


def test_a_call_shows_neither_its_headers_nor_its_body() -> None:
    call = Call(
        method="POST",
        url="https://auth.example.com/refreshToken",
        headers={"authorization": "Bearer marked-secret"},
        body=b'{"refreshToken": "marked-secret"}',
    )
    assert repr(call) == str(call) == "Call(POST https://auth.example.com/refreshToken)"
    assert "marked-secret" not in f"{[call]!r} {call}"


def test_a_call_without_a_body_has_an_empty_one() -> None:
    call = Call(method="GET", url="https://example.com/", headers={})
    assert (call.method, call.body) == ("GET", b"")


def test_calls_and_heads_are_values() -> None:
    head = Head(status=200, headers={"content-type": "application/json"})
    assert head == Head(status=200, headers={"content-type": "application/json"})
    assert head != Head(status=201, headers={"content-type": "application/json"})
    with pytest.raises(AttributeError):
        head.status = 500  # type: ignore[misc]  # that it is refused is the point
