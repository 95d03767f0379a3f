"""Accounts: who holds which tokens, until when, and what each has done.

Both refresh calls and the device sign-in of SSO OIDC end here. Tokens are made up and say so; they never reach
the log.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

AuthMethod = Literal["social", "IdC"]

REFRESH_TOKEN_GRANT = "refresh_token"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


class EmulatedAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account as it is at the start. `expires_in` is the life of an access token, in seconds.

    `client_id` and `client_secret` are the registration under which an `IdC` account was signed in.
    """

    id: str
    access_token: str
    refresh_token: str
    profile_arn: str = "arn:aws:codewhisperer:us-east-1:000000000000:profile/EMULATOR0000"
    expires_in: float = 3600.0
    auth_method: AuthMethod = "social"
    client_id: str = "emulated-client"
    client_secret: str = "emulated-client-secret"


class Counts(msgspec.Struct):
    """What an account has done so far. `requests` counts those for an answer that carried a valid token."""

    requests: int = 0
    refreshes: int = 0
    refused: int = 0


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that were made just now. Without a new refresh token, the old one stays good."""

    access_token: str
    refresh_token: str | None
    expires_in: float
    expires_at: float
    profile_arn: str


class TokenRefused(Exception):
    """A token call that is answered with an error. `error` is SSO OIDC's name for it."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(f"{error}: {description}")
        self.status = status
        self.error = error
        self.description = description


class _State(msgspec.Struct):
    account: EmulatedAccount
    access_tokens: dict[str, float]
    refresh_token: str
    counts: Counts
    issued: int = 1


class _Sign(msgspec.Struct):
    """A device sign-in that is under way."""

    client_id: str
    polls: int = 0


class Accounts:
    """The accounts of one emulator, and their tokens now. `epoch` tells the date, in seconds since 1970."""

    def __init__(self, accounts: Sequence[EmulatedAccount], epoch: Callable[[], float]) -> None:
        self._epoch = epoch
        self._states: dict[str, _State] = {}
        for account in accounts:
            if account.id in self._states:
                raise ValueError(f"two accounts are called {account.id!r}")
            tokens = {account.access_token: epoch() + account.expires_in}
            self._states[account.id] = _State(account, tokens, account.refresh_token, Counts())
        self._clients = {account.client_id: account.client_secret for account in accounts}
        self._signs: dict[str, _Sign] = {}

    @property
    def counts(self) -> Mapping[str, Counts]:
        """What each account has done, by its id."""
        return {identity: state.counts for identity, state in self._states.items()}

    def tokens(self, account_id: str) -> tuple[str, str]:
        """The newest access token and the refresh token of an account."""
        state = self._states[account_id]
        return next(reversed(state.access_tokens), ""), state.refresh_token

    def holder(self, access_token: str) -> str | None:
        """The id of the account whose access token this is, if it is valid now."""
        for identity, state in self._states.items():
            expires_at = state.access_tokens.get(access_token)
            if expires_at is not None and self._epoch() < expires_at:
                return identity
        return None

    def refresh_holder(self, refresh_token: str) -> str | None:
        """The id of the account whose refresh token this is now."""
        for identity, state in self._states.items():
            if state.refresh_token == refresh_token:
                return identity
        return None

    def revoke(self, account_id: str) -> None:
        """End the account's access tokens before their time. Its refresh token stays good."""
        self._states[account_id].access_tokens.clear()

    def revoke_refresh(self, account_id: str) -> None:
        """End the account's refresh token: only a new sign-in would help."""
        self._states[account_id].refresh_token = ""

    def check_client(self, client_id: object, client_secret: object) -> str:
        """The client's id, if that registration is known.

        Raises:
            TokenRefused: it is not.
        """
        if not isinstance(client_id, str) or self._clients.get(client_id) != client_secret:
            raise TokenRefused(401, "invalid_client", "Invalid client provided")
        return client_id

    def check_refresh(self, refresh_token: object, method: AuthMethod) -> str:
        """The id of the account that may be refreshed with this token by this method.

        Raises:
            TokenRefused: 401 for social sign-in, 400 for SSO OIDC.
        """
        holder = self.refresh_holder(refresh_token) if isinstance(refresh_token, str) and refresh_token else None
        if holder is None or self._states[holder].account.auth_method != method:
            status = 401 if method == "social" else 400
            raise TokenRefused(status, "invalid_grant", "Invalid refresh token provided")
        return holder

    def issue(self, account_id: str, *, rotate: bool = True, expires_in: float | None = None) -> Issued:
        """New tokens. With `rotate`, the old refresh token is good no more.

        Older access tokens live until they expire, as they do at the service.
        """
        state = self._states[account_id]
        life = state.account.expires_in if expires_in is None else expires_in
        now = self._epoch()
        state.issued += 1
        state.counts.refreshes += 1
        state.access_tokens = {token: end for token, end in state.access_tokens.items() if end > now}
        access_token = f"emulated-access-token-{account_id}-{state.issued}"
        state.access_tokens[access_token] = now + life
        if rotate:
            state.refresh_token = f"emulated-refresh-token-{account_id}-{state.issued}"
        return Issued(
            access_token=access_token,
            refresh_token=state.refresh_token if rotate else None,
            expires_in=life,
            expires_at=now + life,
            profile_arn=state.account.profile_arn,
        )

    # --- device sign-in ---

    def register(self) -> dict[str, Any]:
        """A new client registration."""
        number = len(self._clients) + 1
        client_id, client_secret = f"emulated-client-{number}", f"emulated-client-secret-{number}"
        self._clients[client_id] = client_secret
        now = self._epoch()
        return {
            "clientId": client_id,
            "clientSecret": client_secret,
            "clientIdIssuedAt": int(now),
            "clientSecretExpiresAt": int(now + 90 * 86_400),
        }

    def start_sign_in(self, client_id: str, base: str) -> dict[str, Any]:
        """The codes of a new device sign-in, and the page at which a person would enter them."""
        number = len(self._signs) + 1
        device_code = f"emulated-device-code-{number}"
        user_code = f"EMUL-{number:04}"
        self._signs[device_code] = _Sign(client_id)
        return {
            "deviceCode": device_code,
            "userCode": user_code,
            "verificationUri": f"{base}/device",
            "verificationUriComplete": f"{base}/device?user_code={user_code}",
            "expiresIn": 600,
            "interval": 1,
        }

    def poll_sign_in(self, device_code: object, client_id: str) -> str:
        """The id of the account that was signed in: at the second asking, as if a person had agreed between.

        Raises:
            TokenRefused: not yet, or never.
        """
        sign = self._signs.get(device_code) if isinstance(device_code, str) else None
        if sign is None or sign.client_id != client_id:
            raise TokenRefused(400, "invalid_grant", "Invalid device code provided")
        sign.polls += 1
        if sign.polls == 1:
            raise TokenRefused(400, "authorization_pending", "The person has not agreed yet")
        assert isinstance(device_code, str)
        for state in self._states.values():
            if state.account.auth_method == "IdC":
                del self._signs[device_code]
                return state.account.id
        raise TokenRefused(400, "access_denied", "No account here signs in this way")


# --- an account to begin with ----------------------------------------------------------------------------------


def default_account() -> EmulatedAccount:
    """The made-up account of an emulator that was given none."""
    return EmulatedAccount(
        id="emulated",
        access_token="emulated-access-token-emulated-1",
        refresh_token="emulated-refresh-token-emulated-1",
    )


MOST_ACCOUNTS = 1000
"""How many accounts an emulator may be told to play: far more than anybody has."""


def team_accounts(count: int) -> tuple[EmulatedAccount, ...]:
    """Made-up accounts for an emulator that plays several: `team-account1` and so on, as a gateway calls them."""
    return tuple(
        EmulatedAccount(
            id=f"team-account{number}",
            access_token=f"emulated-access-token-team-account{number}-1",
            refresh_token=f"emulated-refresh-token-team-account{number}-1",
            profile_arn=f"arn:aws:codewhisperer:us-east-1:000000000000:profile/EMULATOR{number:04}",
        )
        for number in range(1, count + 1)
    )


def render_token_file(account: EmulatedAccount, now: float) -> str:
    """The text of a token file that holds the account's first tokens, as the IDE writes such files."""
    region = account.profile_arn.split(":")[3]
    expires_at = datetime.fromtimestamp(now + account.expires_in, UTC)
    content = {
        "accessToken": account.access_token,
        "refreshToken": account.refresh_token,
        "expiresAt": expires_at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{expires_at.microsecond // 1000:03}Z",
        "profileArn": account.profile_arn,
        "region": region,
        "authMethod": account.auth_method,
        "provider": "Google" if account.auth_method == "social" else "BuilderId",
    }
    if account.auth_method == "IdC":
        content["clientIdHash"] = CLIENT_ID_HASH
    return json.dumps(content, indent=2) + "\n"


CLIENT_ID_HASH = "0" * 40
"""The name, without `.json`, of the registration's file beside an `IdC` account's token file."""


def render_registration_file(account: EmulatedAccount, now: float) -> str:
    """The text of the client registration's file, for an account whose method is `IdC`."""
    expires_at = datetime.fromtimestamp(now + 90 * 86_400, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    content = {"clientId": account.client_id, "clientSecret": account.client_secret, "expiresAt": expires_at}
    return json.dumps(content, indent=2) + "\n"
