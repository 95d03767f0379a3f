"""Tokens: any file is a token or a problem that names its member, and a refresh loses nothing.

An input is a letter and the rest.

    f   a token file. What is read from it is safe in a header, a host name and a file name. Written back with what a
        refresh gave, it reads as the new token, and every member that a refresh does not change is as it was, numbers
        to the digit; to write it again changes nothing. Its fingerprint tells it from the old one, or is the same.
    g   a registration
    a   the answer to a refresh: a line with the status, then the body. It never raises; a new token is usable, has a
        refresh token, and expires within a year if that is known.
    F A the same as f and a, but the object comes as lines: a letter for the member's name, then its value as JSON or,
        where it is none, as text. So nothing is lost on what no reader of JSON takes.
    d   a date. What is read is what Python's own reader makes of it, and it can be written and read again.

No problem and no `repr` shows a value: their words are those that are listed here, and nothing else.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as a script, so that the modules beside it are the ones that are tried
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import msgspec

from core.credentials import (
    CredentialsError,
    Refreshed,
    RefreshFailed,
    RefreshRefused,
    Registration,
    Token,
    fingerprint,
    is_expired,
    needs_refresh,
    parse_refresh,
    parse_registration,
    parse_token_file,
    refresh_call,
    region_of_profile,
    registration_file,
    render_token_file,
)
from core.times import Epoch, parse_date, render_date
from fuzz.lines import read_json, read_lines

_NOW = Epoch(1.78e9)
_YEAR = 366 * 86_400.0
_LAST = 253_402_300_799.999
_MEMBERS = (
    "accessToken|refreshToken|expiresAt|profileArn|region|authMethod|clientId|clientSecret|clientIdHash|startUrl|when"
)
_PROBLEM = re.compile(
    rf"(?:(?:{_MEMBERS}): )?(?:is empty|is missing|is missing, and there is no profileArn to take it from"
    r"|is not JSON in UTF-8|expected a JSON object|expected a string|expected social or IdC"
    r"|has characters that an HTTP header cannot carry|expected 40 to 64 hexadecimal digits"
    r"|expected a date such as 2026-01-02T03:04:05\.678Z|expected the ARN of a profile"
    r"|expected an AWS region such as us-east-1|there is no registration for this token)"
)
_ANSWERED = re.compile(
    r"the refresh token was refused \([0-9]+(?: [a-z_]+)?\)|the refresh was answered with [0-9]+"
    r"(?: [a-z_]+|, but without a usable accessToken)?"
)
_REPR = re.compile(r"Token\((?:social|IdC), region (?:None|[a-z0-9-]+), expiry (?:unknown|[0-9TZ:.-]+), \.\.\.\)")
_URL = re.compile(
    r"https://(?:prod\.[a-z0-9-]+\.auth\.desktop\.kiro\.dev/refreshToken|oidc\.[a-z0-9-]+\.amazonaws\.com/token)"
)
_CHANGED = {"accessToken", "refreshToken", "expiresAt", "profileArn"}
_LETTERS = {
    "a": "accessToken",
    "r": "refreshToken",
    "x": "expiresAt",
    "i": "expiresIn",
    "p": "profileArn",
    "g": "region",
    "m": "authMethod",
    "c": "clientId",
    "s": "clientSecret",
    "h": "clientIdHash",
    "e": "error",
    "u": "startUrl",
}
_ARN = "arn:aws:codewhisperer:eu-central-1:000000000000:profile/MADEUPMADEUP"
_TOKEN = Token(
    access_token="made-up-access",
    refresh_token="made-up-refresh",
    auth_method="social",
    region="us-east-1",
    registration=Registration(client_id="made-up-client", client_secret="made-up-client-secret"),
)


def one_input(data: bytes) -> None:
    """One file, answer or date, by the rules above."""
    mode, rest = data[:1], data[1:]
    problem = None
    try:
        if mode == b"g":
            assert repr(parse_registration(rest)) == "Registration(...)"
        elif mode == b"a":
            _check_answer(rest)
        elif mode == b"F":
            _check_file(_object(rest))
        elif mode == b"A":
            first, _, lines = rest.partition(b"\n")
            _check_answer(first + b"\n" + _object(lines))
        elif mode == b"d":
            _check_date(rest.decode(errors="replace"))
        else:
            _check_file(rest)
    except CredentialsError as error:
        problem = str(error)
    assert problem is None or _PROBLEM.fullmatch(problem), problem


def _object(data: bytes) -> bytes:
    members = {}
    for letter, words in read_lines(data, "".join(_LETTERS), most=20):
        value = read_json(words)
        members[_LETTERS[letter]] = words if value is None and words != "null" else value
    return json.dumps(members, ensure_ascii=len(data) % 2 == 0).encode(errors="replace")


# --- files -----------------------------------------------------------------------------------------------------


def _check_file(data: bytes) -> None:
    token = parse_token_file(data)
    _check_token(token)
    refreshed = msgspec.structs.replace(token, access_token="made-up-new", expires_at=Epoch(1.79e9))
    for new in (
        refreshed,
        msgspec.structs.replace(refreshed, refresh_token="made-up-rotated", profile_arn=_ARN, expires_at=None),
        token,
    ):
        _check_written(data, token, new)
    _check_call(token)


def _check_token(token: Token) -> None:
    assert re.fullmatch(r"[!-~]+", token.access_token)
    assert token.refresh_token != ""
    assert token.region is None or re.fullmatch(r"[a-z0-9-]{5,60}", token.region)
    assert token.profile_arn is None or re.fullmatch(r"[a-z0-9-]{5,60}", region_of_profile(token.profile_arn) or "")
    file = registration_file(token)
    assert file is None or re.fullmatch(r"[0-9a-fA-F]{40,64}\.json", file)
    assert _REPR.fullmatch(repr(token)), repr(token)
    assert needs_refresh(token, _NOW) or not is_expired(token, _NOW)


def _check_written(data: bytes, old: Token, new: Token) -> None:
    written = render_token_file(data, new)
    read = parse_token_file(written)
    assert (read.access_token, read.refresh_token, read.profile_arn) == (
        new.access_token,
        new.refresh_token,
        new.profile_arn,
    )
    if new.expires_at is None or new.expires_at == old.expires_at:
        assert read.expires_at == new.expires_at
    else:
        assert read.expires_at is not None
        assert abs(read.expires_at - new.expires_at) <= 0.001
    assert render_token_file(written, new) == written
    assert fingerprint(read) == fingerprint(new)
    is_same = (new.access_token, new.refresh_token) == (old.access_token, old.refresh_token)
    assert (fingerprint(read) == fingerprint(old)) is is_same
    before, after = _members(data), _members(written)
    if before is not None:
        assert after is not None
        kept = [name for name in before if name not in _CHANGED]
        assert [name for name in after if name not in _CHANGED] == kept
        assert [after[name] for name in kept] == [before[name] for name in kept]


def _members(data: bytes) -> dict[str, Any] | None:
    """The members, numbers as they are written; None where Python's reader is stricter about what nobody looks at."""
    try:
        document = json.loads(data.decode("utf-8-sig"), parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _check_call(token: Token) -> None:
    call = refresh_call(token, refresh_url=None, user_agent="stagewhisper/fuzz")
    assert _URL.fullmatch(call.url), call.url
    assert repr(call) == f"Call(POST {call.url})"
    assert json.loads(call.body)["refreshToken"] == token.refresh_token


# --- answers and dates -----------------------------------------------------------------------------------------


def _check_answer(rest: bytes) -> None:
    first, _, body = rest.partition(b"\n")
    status = int(first) if re.fullmatch(rb"[1-5][0-9]{2}", first) else 200
    for token in (_TOKEN, msgspec.structs.replace(_TOKEN, auth_method="IdC", profile_arn=_ARN)):
        match parse_refresh(token, status, body, _NOW):
            case Refreshed(new):
                assert 200 <= status < 300
                _check_token(new)
                assert new.refresh_token is not None
                assert new.expires_at is None or 0 <= new.expires_at - _NOW <= _YEAR
                assert new.profile_arn is not None or token.profile_arn is None
                assert (new.auth_method, new.registration) == (token.auth_method, token.registration)
                refresh_call(new, refresh_url=None, user_agent="stagewhisper/fuzz")
            case RefreshRefused(reason):
                assert status in (400, 401, 403)
                assert _ANSWERED.fullmatch(reason), reason
            case RefreshFailed(problem, answered):
                assert answered == status
                assert _ANSWERED.fullmatch(problem), problem


def _check_date(text: str) -> None:
    date = parse_date(text)
    if date is None:
        return
    # What the notation has no dates for becomes its nearest one.
    nearest = Epoch(min(max(date.seconds, 0), _LAST))
    again = parse_date(render_date(date))
    assert again is not None
    assert abs(again - nearest) <= 0.0006
    assert render_date(again) == render_date(date)
    try:
        expected = datetime.fromisoformat(text)
    except ValueError:
        return
    assert expected.tzinfo is not None
    assert abs(expected.timestamp() - date.seconds) < 0.00001


if __name__ == "__main__":
    from fuzz.runner import run

    run(one_input)
