"""A token: how its file reads, when to refresh it, what to ask for that, what the answer means.

Two services give tokens out: Kiro's own sign-in ("social"), and AWS's SSO OIDC (Builder ID and IAM Identity
Center), which also wants the client's registration. This module knows their words and those of the files. Where
the files are, and how one of them is replaced without losing anything, is for the shell to know.

What is read from a file ends up in a header, a host name and a file name: all three are checked here. No problem
found here ever shows a value, only the member that has it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from core.codewhisperer import DEFAULT_REGION
from core.errors import StagewhisperError
from core.http import Call
from core.times import Epoch, parse_date, render_date

REFRESH_MARGIN = 300.0
"""How long before its expiry a token is refreshed, in seconds. Other clients of the service use 60 to 900."""

AuthMethod: TypeAlias = Literal["social", "IdC"]
_AUTH_METHODS: Mapping[str, AuthMethod] = {"social": "social", "idc": "IdC"}


class CredentialsError(StagewhisperError):
    """A token file, or a registration, that cannot be used. `member` is the culprit, `""` for the whole file."""

    def __init__(self, member: str, problem: str) -> None:
        super().__init__(f"{member}: {problem}" if member else problem)
        self.member = member
        self.problem = problem


class _Secretive(msgspec.Struct, frozen=True, kw_only=True):
    """What has secrets in it, and shows none of them: neither to `repr` nor to rich, which msgspec also serves."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    def __rich_repr__(self) -> list[Any]:
        return []


class Registration(_Secretive, frozen=True, kw_only=True):
    """Whom SSO OIDC gave the token to. Its secret is one."""

    client_id: str
    client_secret: str


class Token(_Secretive, frozen=True, kw_only=True):
    """One account's access to the service.

    `expires_at` is None where nobody said, `region` where it follows from the profile or is the default.
    `client_id_hash` names the registration where it does not stand beside the token itself.
    """

    access_token: str
    refresh_token: str | None = None
    expires_at: Epoch | None = None
    profile_arn: str | None = None
    region: str | None = None
    auth_method: AuthMethod
    client_id_hash: str | None = None
    registration: Registration | None = None

    def __repr__(self) -> str:
        expiry = "unknown" if self.expires_at is None else render_date(self.expires_at)
        return f"Token({self.auth_method}, region {self.region}, expiry {expiry}, ...)"


def fingerprint(token: Token) -> str:
    """What tells one token from the next where the token itself must not stand: 16 hexadecimal digits.

    Both of its secrets count, each with its length before it, so that no two pairs are alike. An expiry or a profile
    that changed makes no other token.
    """
    secrets = (token.access_token.encode(), (token.refresh_token or "").encode())
    return hashlib.sha256(b"".join(b"%d:%b" % (len(secret), secret) for secret in secrets)).hexdigest()[:16]


# --- the files -------------------------------------------------------------------------------------------------

# `us-east-1`, `us-gov-west-1`, `eusc-de-east-1`: no dot, no slash, no user info can enter a host name with it.
_REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]{1,16}){1,3}-[0-9]{1,2}")
_PROFILE_ARN = re.compile(
    rf"arn:aws[a-z-]{{0,16}}:[a-z]{{1,32}}:({_REGION.pattern}):[0-9]{{12}}:profile/[A-Za-z0-9]{{1,64}}"
)
_HASH = re.compile(r"[0-9a-fA-F]{40,64}")
# RFC 6750 allows fewer characters; what matters is that none of these ends a header or starts another.
_HEADER_TOKEN = re.compile(r"[!-~]+")

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_string = msgspec.json.Decoder(str)
_number = msgspec.json.Decoder(int | float)
_NULL = b"null"


def parse_token_file(data: bytes) -> Token:
    """The token that a file holds: Kiro's own form, or a standard AWS SSO cache file.

    A missing `refreshToken` is no error: such a token lives until it expires. A missing `authMethod` follows from
    what else is there. Of members that stand twice, the last counts, as for every other reader of these files.

    Raises:
        CredentialsError: no such file is this; names the member, never its value.
    """
    members = _parse_members(data)
    access_token = _required_text(members, "accessToken")
    if _HEADER_TOKEN.fullmatch(access_token) is None:
        raise CredentialsError("accessToken", "has characters that an HTTP header cannot carry")
    client_id, client_secret = _text(members, "clientId"), _text(members, "clientSecret")
    registration = (
        Registration(client_id=client_id, client_secret=client_secret) if client_id and client_secret else None
    )
    client_id_hash = _matching_text(members, "clientIdHash", _HASH, "expected 40 to 64 hexadecimal digits")
    expires_at = _text(members, "expiresAt")
    return Token(
        access_token=access_token,
        refresh_token=_text(members, "refreshToken"),
        expires_at=None if expires_at is None else _parse_expires_at(expires_at),
        profile_arn=_matching_text(members, "profileArn", _PROFILE_ARN, "expected the ARN of a profile"),
        region=_matching_text(members, "region", _REGION, "expected an AWS region such as us-east-1"),
        auth_method=_parse_auth_method(members, is_registered=bool(registration or client_id_hash)),
        client_id_hash=client_id_hash,
        registration=registration,
    )


def parse_registration(data: bytes) -> Registration:
    """The registration that `<clientIdHash>.json` holds.

    Raises:
        CredentialsError: it holds none; names the member, never its value.
    """
    members = _parse_members(data)
    client_id, client_secret = _required_text(members, "clientId"), _required_text(members, "clientSecret")
    return Registration(client_id=client_id, client_secret=client_secret)


def registration_file(token: Token) -> str | None:
    """The name of the file that has the token's registration, or None where none is needed any more."""
    if token.auth_method == "social" or token.registration is not None or token.client_id_hash is None:
        return None
    return f"{token.client_id_hash}.json"


def region_of_profile(profile_arn: str) -> str | None:
    """The region that a profile lives in, or None where that is no profile's ARN."""
    match = _PROFILE_ARN.fullmatch(profile_arn)
    return None if match is None else match[1]


def render_token_file(original: bytes, token: Token) -> bytes:
    """The file `original` with what a refresh changes: both tokens, the expiry, the profile.

    Everything else stays as it was, in its place, numbers to the digit. The form is always the same: two blanks
    for each level, a newline at the end. An expiry that is not known any more goes, since the old one would make
    every reader refresh at once.

    Raises:
        CredentialsError: the original is no token file.
    """
    members = _parse_members(original)
    old = parse_token_file(original)
    new = {"accessToken": token.access_token, "refreshToken": token.refresh_token, "profileArn": token.profile_arn}
    if token.expires_at is None:
        members.pop("expiresAt", None)
    elif token.expires_at != old.expires_at:
        new["expiresAt"] = render_date(token.expires_at)
    members |= {name: msgspec.Raw(msgspec.json.encode(text)) for name, text in new.items() if text is not None}
    return msgspec.json.format(msgspec.json.encode(members), indent=2) + b"\n"


def _parse_members(data: bytes) -> dict[str, msgspec.Raw]:
    """The members of a JSON object, each as the text that it was: what is not looked at needs no meaning."""
    data = data.removeprefix(b"\xef\xbb\xbf")  # some editors on Windows put this mark at the head
    if not data.strip():
        raise CredentialsError("", "is empty")
    try:
        data.decode()  # msgspec does not look into strings that it passes over, and would write them out again
        return _object.decode(data)
    except msgspec.ValidationError:
        raise CredentialsError("", "expected a JSON object") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Their own texts and objects have pieces of the file, so neither they nor their context go any further.
        raise CredentialsError("", "is not JSON in UTF-8") from None


def _text(members: Mapping[str, msgspec.Raw], name: str) -> str | None:
    """A member that is text, or None where it is missing or null."""
    raw = members.get(name)
    if raw is None or bytes(raw) == _NULL:
        return None
    try:
        text = _string.decode(raw)
    except msgspec.DecodeError:
        raise CredentialsError(name, "expected a string") from None
    if not text:
        raise CredentialsError(name, "is empty")
    return text


def _required_text(members: Mapping[str, msgspec.Raw], name: str) -> str:
    if (text := _text(members, name)) is None:
        raise CredentialsError(name, "is missing")
    return text


def _text_if_any(members: Mapping[str, msgspec.Raw], name: str) -> str | None:
    """A member that is text, else None: for answers, whose every other member may be anything."""
    try:
        return _text(members, name)
    except CredentialsError:
        return None


def _matching_text(members: Mapping[str, msgspec.Raw], name: str, pattern: re.Pattern[str], problem: str) -> str | None:
    text = _text(members, name)
    if text is not None and pattern.fullmatch(text) is None:
        raise CredentialsError(name, problem)
    return text


def _parse_expires_at(text: str) -> Epoch:
    if (date := parse_date(text)) is None:
        raise CredentialsError("expiresAt", "expected a date such as 2026-01-02T03:04:05.678Z")
    return date


def _parse_auth_method(members: Mapping[str, msgspec.Raw], *, is_registered: bool) -> AuthMethod:
    text = _text(members, "authMethod") or ("IdC" if is_registered else "social")
    if (method := _AUTH_METHODS.get(text.lower())) is None:
        raise CredentialsError("authMethod", "expected social or IdC")
    return method


# --- the refresh -----------------------------------------------------------------------------------------------

_SOCIAL_URL = "https://prod.{region}.auth.desktop.kiro.dev/refreshToken"
_OIDC_URL = "https://oidc.{region}.amazonaws.com/token"

_FINAL_CODES = frozenset({"invalid_grant", "invalid_client"})
# Only codes that are in OAuth's and SSO OIDC's documents are ever repeated: other text may hold anything.
_KNOWN_CODES = _FINAL_CODES | {
    "access_denied",
    "authorization_pending",
    "expired_token",
    "invalid_request",
    "invalid_scope",
    "server_error",
    "slow_down",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_grant_type",
}
_LONGEST_LIFETIME = 366 * 86_400.0  # beyond it a figure is in other units, or a mistake


class Refreshed(msgspec.Struct, frozen=True):
    """The service gave a new token."""

    token: Token


class RefreshRefused(msgspec.Struct, frozen=True):
    """The service will never take this refresh token again: somebody has to sign in."""

    reason: str


class RefreshFailed(msgspec.Struct, frozen=True):
    """The service did not give a token this time."""

    problem: str
    status: int


RefreshOutcome: TypeAlias = Refreshed | RefreshRefused | RefreshFailed


def needs_refresh(token: Token, now: Epoch) -> bool:
    """Whether the token expires within the margin, or has. One of unknown expiry is good until it is refused."""
    return token.expires_at is not None and token.expires_at - now <= REFRESH_MARGIN


def is_expired(token: Token, now: Epoch) -> bool:
    """Whether the service would refuse the token for its age."""
    return token.expires_at is not None and token.expires_at <= now


def refresh_call(token: Token, *, refresh_url: str | None, user_agent: str) -> Call:
    """The call that asks for a new token. `refresh_url` replaces the service's whole address.

    Raises:
        CredentialsError: the token has not what it takes: a refresh token, a registration, a region.
    """
    if token.refresh_token is None:
        raise CredentialsError("refreshToken", "is missing")
    region = token.region or (token.profile_arn and region_of_profile(token.profile_arn))
    body = {"refreshToken": token.refresh_token}
    if token.auth_method == "social":
        url = refresh_url or _SOCIAL_URL.format(region=region or DEFAULT_REGION)
    else:
        if token.registration is None:
            raise CredentialsError("clientIdHash", "there is no registration for this token")
        if region is None and refresh_url is None:
            raise CredentialsError("region", "is missing, and there is no profileArn to take it from")
        url = refresh_url or _OIDC_URL.format(region=region)
        body = {
            "clientId": token.registration.client_id,
            "clientSecret": token.registration.client_secret,
            "grantType": "refresh_token",
            "refreshToken": token.refresh_token,
        }
    headers = {"content-type": "application/json", "accept": "application/json", "accept-encoding": "identity"}
    return Call(method="POST", url=url, headers=headers | {"user-agent": user_agent}, body=msgspec.json.encode(body))


def parse_refresh(token: Token, status: int, body: bytes, now: Epoch) -> RefreshOutcome:
    """What the answer to `refresh_call(token)`, which came at `now`, means. Never raises."""
    try:
        members = _parse_members(body)
    except CredentialsError:
        members = {}
    if 200 <= status < 300:
        return _parse_refreshed(token, status, members, now)
    code = _text_if_any(members, "error")
    answered = f"{status} {code}" if code in _KNOWN_CODES else f"{status}"
    is_final = status in (400, 401, 403) and code in _FINAL_CODES
    # Kiro's sign-in has no codes: these two statuses are how it says that it does not know the token (any more).
    if is_final or (token.auth_method == "social" and status in (401, 403)):
        return RefreshRefused(f"the refresh token was refused ({answered})")
    return RefreshFailed(f"the refresh was answered with {answered}", status)


def _parse_refreshed(
    token: Token, status: int, members: Mapping[str, msgspec.Raw], now: Epoch
) -> Refreshed | RefreshFailed:
    """The new token. Of the rest, what cannot be read must not cost it: there the old token's stays."""
    access_token = _text_if_any(members, "accessToken")
    if access_token is None or _HEADER_TOKEN.fullmatch(access_token) is None:
        return RefreshFailed(f"the refresh was answered with {status}, but without a usable accessToken", status)
    profile_arn = _text_if_any(members, "profileArn")
    if profile_arn is None or region_of_profile(profile_arn) is None:
        profile_arn = token.profile_arn
    refresh_token = _text_if_any(members, "refreshToken") or token.refresh_token
    expires_at = _parse_expiry(members, now)
    tokens = {"access_token": access_token, "refresh_token": refresh_token}
    return Refreshed(msgspec.structs.replace(token, **tokens, expires_at=expires_at, profile_arn=profile_arn))


def _parse_expiry(members: Mapping[str, msgspec.Raw], now: Epoch) -> Epoch | None:
    """When the new token expires; None where that is not said, or cannot be.

    `expiresIn` goes before `expiresAt`: it is right whatever our clock shows.
    """
    try:
        lifetime = _number.decode(members.get("expiresIn", _NULL))
    except msgspec.DecodeError:
        lifetime = 0
    if 0 < lifetime <= _LONGEST_LIFETIME:
        return now + float(lifetime)
    if (text := _text_if_any(members, "expiresAt")) is None:
        return None
    date = parse_date(text)
    return date if date is not None and 0 < date - now <= _LONGEST_LIFETIME else None
