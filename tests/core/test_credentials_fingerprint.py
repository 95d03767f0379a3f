"""Fingerprints: one for each pair of an access and a refresh token, and nothing of either in it."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core.credentials import Registration, Token, fingerprint
from core.times import Epoch

TOKEN = Token(access_token="made-up-access", refresh_token="made-up-refresh", auth_method="social")


def test_a_fingerprint_is_written_down_and_so_never_changes_its_form() -> None:
    digest = hashlib.sha256(b"14:made-up-access15:made-up-refresh").hexdigest()
    assert fingerprint(TOKEN) == digest[:16] == "9d098ddf7857f5ae"
    assert re.fullmatch("[0-9a-f]{16}", fingerprint(TOKEN))


@pytest.mark.parametrize(
    "changed",
    [
        {"expires_at": Epoch(1.0)},
        {"profile_arn": "arn:aws:codewhisperer:us-east-1:000000000000:profile/MADEUP"},
        {"region": "eu-west-1"},
        {"auth_method": "IdC"},
        {"client_id_hash": "0" * 40},
        {"registration": Registration(client_id="made-up-client", client_secret="made-up-client-secret")},
    ],
)
def test_what_is_no_secret_of_the_token_makes_no_other(changed: dict[str, Any]) -> None:
    assert fingerprint(msgspec.structs.replace(TOKEN, **changed)) == fingerprint(TOKEN)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ab", "c"), ("a", "bc")),
        (("a", None), ("a", "0:")),
        (("1:a", "b"), ("1", "a1:b")),
        (("a", "b"), ("b", "a")),
        (("a1:b", None), ("a", "b0:")),
    ],
)
def test_no_secret_can_reach_into_the_other(one: tuple[str, str | None], other: tuple[str, str | None]) -> None:
    assert _fingerprint(*one) != _fingerprint(*other)


_secrets = st.text(st.sampled_from("01:ab"), min_size=1, max_size=6) | st.text(min_size=1, max_size=6)


@settings(max_examples=300, deadline=None)
@given(one=st.tuples(_secrets, st.none() | _secrets), other=st.tuples(_secrets, st.none() | _secrets))
def test_different_tokens_have_different_fingerprints(
    one: tuple[str, str | None], other: tuple[str, str | None]
) -> None:
    assume(one != other)
    assert _fingerprint(*one) != _fingerprint(*other)


def _fingerprint(access_token: str, refresh_token: str | None) -> str:
    return fingerprint(Token(access_token=access_token, refresh_token=refresh_token, auth_method="social"))
