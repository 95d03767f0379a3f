"""Secrets covered by as many other bytes: in text, in JSON, in frames, and where only a part of one came."""

from __future__ import annotations

import json
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.credentials import Token
from core.eventstream import START, Fault, FaultReason, feed
from core.masking import Mask, Removed, add_account, hide_number, removed_from
from tests.builders import body, event, exception, message, text
from tests.exchanges import provider
from tests.frames import raw_frame

ACCESS, REFRESH = "made/up+access=1234", "made-up-refresh-5678"
NUMBER = "123456789012"
PROFILE = f"arn:aws:codewhisperer:us-east-1:{NUMBER}:profile/MADEUP"
NO_PROFILE = PROFILE.replace(NUMBER, "000000000000")


def token(access: str = ACCESS, refresh: str | None = REFRESH, profile: str | None = PROFILE) -> Token:
    """A token with these secrets."""
    return Token(access_token=access, refresh_token=refresh, profile_arn=profile, auth_method="social")


MASK = add_account(Mask(), provider("a"), token())
ACCESS_COVER, REFRESH_COVER = Removed(1, len(ACCESS)).cover, Removed(2, len(REFRESH)).cover


def careful(value: str) -> str:
    """A text as JSON has it that may stand in HTML."""
    return json.dumps(value).replace("/", r"\/").replace("=", r"\u003d").replace("+", r"\u002B")


def test_what_covers_a_secret_is_as_long_and_says_which_one_it_is() -> None:
    assert (ACCESS_COVER, REFRESH_COVER) == ("//1//removed//1//re", "//2//removed//2//rem")
    assert Removed(17, 8).cover == "//17//re"


@given(st.integers(1, 9999), st.integers(1, 9999), st.integers(8, 60), st.integers(8, 60))
@settings(max_examples=100, deadline=None)
def test_no_secrets_cover_is_in_that_of_another(one: int, other: int, length: int, longer: int) -> None:
    first, second = Removed(one, length).cover, Removed(other, longer).cover
    assert (len(first), len(second)) == (length, longer)
    assert one == other or (first not in second and second not in first)


@pytest.mark.parametrize(
    ("given", "covered"),
    [
        ("", ""),
        ("nothing", "nothing"),
        (ACCESS, ACCESS_COVER),
        (f"a {ACCESS}{REFRESH} b", f"a {ACCESS_COVER}{REFRESH_COVER} b"),
        (f"{ACCESS[:-1]} is none", f"{ACCESS[:-1]} is none"),
        (PROFILE, NO_PROFILE),
        (f"arn:aws:sts::{NUMBER}:role", f"arn:aws:sts::{NUMBER}:role"),
    ],
)
def test_secrets_are_covered_in_text_and_account_numbers_are_not(given: str, covered: str) -> None:
    assert MASK.cover(given.encode(), is_error=False) == covered.encode()


@pytest.mark.parametrize(
    ("given", "covered"),
    [
        (f"arn:aws:sts::{NUMBER}:role", "arn:aws:sts::000000000000:role"),
        ("arn:aws:sts::999999999999:role", "arn:aws:sts::000000000000:role"),
        (f"account {NUMBER}", "account 000000000000"),
        ("account 999999999999", "account 999999999999"),
        ("at 12:9876543210123:0", "at 12:9876543210123:0"),
        (f"{ACCESS} of {PROFILE}", f"{ACCESS_COVER} of {NO_PROFILE}"),
    ],
)
def test_what_tells_of_an_error_has_no_account_number(given: str, covered: str) -> None:
    assert MASK.cover(given.encode(), is_error=True) == covered.encode()


@pytest.mark.parametrize("write", [json.dumps, careful, lambda value: json.dumps(value).replace("+", r"\u002b")])
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("secret", [ACCESS, REFRESH, PROFILE])
def test_secrets_are_covered_however_their_json_escapes_them(secret: str, levels: int, write: object) -> None:
    assert callable(write)
    given, covered = f'a "{secret}" b', f'a "{MASK.cover(secret.encode(), is_error=False).decode()}" b'
    for _ in range(levels):
        given = write(given)
    found = MASK.cover(given.encode(), is_error=False)
    assert len(found) == len(given)
    plain = found.decode()
    for _ in range(levels):
        plain = json.loads(plain)
    assert plain == covered


# What covers a secret has a slash in three characters: one that has more, all of them escaped, would be padded.
_secrets = st.text(st.sampled_from("ab/+=-_. 1"), min_size=8, max_size=30).filter(
    lambda secret: secret.strip(" /") and 3 * secret.count("/") <= len(secret)
)
_words = st.text(st.sampled_from('xy \\"/\n{}[]:,é\U0001f98a'), max_size=20)


@given(_secrets, _words, _words, st.lists(st.sampled_from([json.dumps, careful]), min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_what_is_around_a_secret_stays(secret: str, before: str, after: str, writers: list[object]) -> None:
    mask = add_account(Mask(), provider("a"), token(secret, None, None))
    given = before + secret + after
    for write in writers:
        assert callable(write)
        given = write(given)
    covered = mask.cover(given.encode(), is_error=False)
    assert len(covered) == len(given.encode())
    plain = covered.decode()
    for _ in writers:
        plain = json.loads(plain)
    # A slash more of a secret's may be one of the text's before it, so its place is not compared.
    assert plain.replace(Removed(1, len(secret)).cover, "") == (before + secret + after).replace(secret, "")


@given(st.text(st.sampled_from('abc12345/+= "\\'), min_size=8, max_size=30), st.integers(1, 3))
@settings(max_examples=200, deadline=None)
def test_a_secret_of_any_characters_goes_and_nothing_moves(secret: str, levels: int) -> None:
    mask = add_account(Mask(), provider("a"), token("made-up-access", secret, None))
    written = f"<{secret}>"
    for _ in range(levels):
        written = json.dumps(written)
    covered = mask.cover(written.encode(), is_error=False)
    assert len(covered) == len(written)
    assert json.dumps(secret)[1:-1].encode() not in covered


def test_a_secret_of_which_a_text_seems_to_escape_the_first_character_is_covered_once() -> None:
    mask = add_account(Mask(), provider("a"), token("0/made+up", None, None))
    written = rb'"\\u0030\/made+up"'
    assert mask.cover(written, is_error=False) == rb'"\\u003' + rb"\//1//remo" + b'"'


# --- accounts --------------------------------------------------------------------------------------------------


def test_the_tokens_that_are_used_now_come_first_and_keep_their_numbers() -> None:
    other = token("another-access", REFRESH, None)
    mask = add_account(MASK, provider("b"), other)
    assert removed_from(mask, other) == (Removed(3, 14), Removed(2, len(REFRESH)))
    assert removed_from(mask, token()) == (Removed(1, len(ACCESS)), Removed(2, len(REFRESH)))
    assert [removed.number for _, removed in mask.tokens] == [3, 2, 1]
    again = add_account(mask, provider("a"), token())
    assert removed_from(again, token()) == removed_from(mask, token())
    assert [removed.number for _, removed in again.tokens] == [1, 2, 3]


def test_a_secret_in_a_secret_is_looked_for_as_a_clients_errors_are_searched() -> None:
    mask = add_account(Mask(), provider("a"), token("made-up-secret", "made-up-secret-too", None))
    covered = mask.cover(b"made-up-secret-too made-up-secret", is_error=True)
    assert covered == b"//1//removed//-too //1//removed//"


@pytest.mark.parametrize("secret", ["", "short", "1234567", "x" * (1 << 20) + "x"])
def test_what_is_too_short_or_too_long_for_a_secret_is_none(secret: str) -> None:
    given = token("made-up-access", secret, None)
    mask = add_account(Mask(), provider("a"), given)
    assert removed_from(mask, given) == (Removed(1, 14), None)
    assert mask.cover(f"it is {secret}".encode(), is_error=True) == f"it is {secret}".encode()


def test_a_token_of_eight_bytes_and_one_without_a_refresh_token_are_known() -> None:
    given = token("made/up8", None, None)
    mask = add_account(Mask(), provider("a"), given)
    assert removed_from(mask, given) == (Removed(1, 8), None)
    assert mask.cover(b"made/up8", is_error=False) == b"//1//rem"


@pytest.mark.parametrize("arn", ["arn:aws:codewhisperer:us-east-1::profile/MADEUP", "none", None])
def test_an_arn_without_an_account_number_hides_nothing(arn: str | None) -> None:
    mask = add_account(Mask(), provider("a", profile_arn=arn), token(profile=None))
    assert (mask.profiles, mask.numbers) == ((), ())
    assert hide_number(arn) == arn


def test_the_profile_of_the_configuration_and_that_of_the_token_are_both_covered() -> None:
    other = PROFILE.replace(NUMBER, "999999999999")
    mask = add_account(Mask(), provider("a", profile_arn=other), token())
    assert mask.cover(f"{other} {PROFILE}".encode(), is_error=False) == f"{NO_PROFILE} {NO_PROFILE}".encode()
    assert hide_number(PROFILE) == NO_PROFILE
    assert add_account(mask, provider("a", profile_arn=other), token()) == mask


@pytest.mark.parametrize("members", [{"number": 0}, {"number": 10_000}, {"length": 7}, {"length": 1 << 30}, {"a": 1}])
def test_what_was_removed_is_read_within_bounds(members: dict[str, int]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"number": 1, "length": 8} | members, Removed)


# --- frames ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "gone", "there"),
    [
        (text(f"a {ACCESS}"), ACCESS, ACCESS_COVER),
        (text(f"a {PROFILE}"), NUMBER, NO_PROFILE),
        (exception("ThrottlingException", f"account {NUMBER}"), NUMBER, "account 000000000000"),
        (event("invalidStateEvent", reason="r", message=f"account {NUMBER}"), NUMBER, "account 000000000000"),
        (event("error", message=f"account {NUMBER}"), NUMBER, "account 000000000000"),
        (event("assistantResponseEvent", content=[NUMBER]), NUMBER, "000000000000"),
        (message(b"", message_type="error", error_code="No", error_message=REFRESH), REFRESH, REFRESH_COVER),
    ],
)
def test_a_frame_without_its_secrets_is_as_sound_as_it_was(frame: object, gone: str, there: str) -> None:
    assert isinstance(frame, type(text("")))
    whole = body(frame)
    covered = MASK.cover_frame(whole)
    assert len(covered) == len(whole)
    assert gone.encode() not in covered
    assert there.encode() in covered
    fed = feed(START, covered)
    assert fed.fault is None
    assert fed.messages[0].headers.keys() == frame.headers.keys()


def test_a_frame_without_secrets_is_left_alone_and_numbers_in_texts_are() -> None:
    for frame in (text("Hello"), text(f"arn:aws:sts::{NUMBER}:role"), event("newEvent", account=NUMBER)):
        assert MASK.cover_frame(body(frame)) == body(frame)


def test_a_damaged_frame_stays_damaged_and_loses_its_numbers_too() -> None:
    whole = body(text(f"{ACCESS} :{NUMBER}:"))
    damaged = whole[:-1] + bytes((whole[-1] ^ 1,))
    covered = MASK.cover_frame(damaged)
    assert len(covered) == len(damaged)
    assert (ACCESS.encode() in covered, NUMBER.encode() in covered) == (False, False)
    fault = feed(START, covered).fault
    assert isinstance(fault, Fault)
    assert fault.reason is FaultReason.MESSAGE_CRC


def test_bytes_in_a_frame_that_are_no_text_are_covered_too() -> None:
    covered = MASK.cover_frame(raw_frame(b"", b"\xff" + ACCESS.encode() + b"\\\xff"))
    assert covered[12:-4] == b"\xff" + ACCESS_COVER.encode() + b"\\\xff"


# --- cut -------------------------------------------------------------------------------------------------------


def test_the_beginning_of_a_secret_at_the_end_is_covered() -> None:
    for end in range(8, len(ACCESS) + 1):
        assert MASK.cover_rest(b"a " + ACCESS[:end].encode()) == b"a " + ACCESS_COVER[:end].encode()
    for end in range(8):
        assert MASK.cover_rest(b"a " + ACCESS[:end].encode()) == b"a " + ACCESS[:end].encode()
    assert MASK.cover_rest(ACCESS[:9].encode()) == ACCESS_COVER[:9].encode()
    assert MASK.cover_rest(b"") == b""
    assert MASK.cover_rest(f":{NUMBER}:".encode()) == b":000000000000:"


def test_a_long_text_with_many_escapes_is_covered_in_one_go() -> None:
    part = json.dumps("\n".join(f'"{a}{b}/"' for a, b in pairwise("abcdefgh"))) * 300
    written = (part + careful(ACCESS)).encode() * 2
    covered = MASK.cover(written, is_error=False)
    assert covered.count(part.encode()) == 2
    assert len(covered) == len(written)
    assert careful(ACCESS).encode() not in covered
