"""Answers to calls for new tokens, other than the ordinary one. New tokens are only made where an answer says so."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from adapters.emulator.accounts import Issued
from adapters.emulator.stage import Stage
from adapters.emulator.wire import Close, Reply


def _issue(stage: Stage, *, rotate: bool = True, expires_in: float | None = None) -> Issued:
    assert stage.issue is not None, "only a token call issues tokens"
    return stage.issue(rotate, expires_in)


def _content(stage: Stage, tokens: Issued) -> dict[str, Any]:
    """The members of an answer: those that both services send, and one of each one's own."""
    content: dict[str, Any] = {"accessToken": tokens.access_token, "expiresIn": int(tokens.expires_in)}
    if tokens.refresh_token is not None:
        content["refreshToken"] = tokens.refresh_token
    return content | ({"tokenType": "Bearer"} if stage.oidc else {"profileArn": tokens.profile_arn})


def fine(stage: Stage) -> Reply:
    """New tokens, both of them."""
    return stage.json(_content(stage, _issue(stage)))


def oidc_error(stage: Stage, error: str) -> Reply:
    """One of SSO OIDC's errors."""
    return stage.oidc_error(401 if error == "invalid_client" else 400, error, "The emulator was told to refuse.")


def refused(stage: Stage) -> Reply:
    """The refresh token is no good, in the words of the call that was made."""
    message = "Invalid refresh token provided"
    if stage.oidc:
        return stage.oidc_error(400, "invalid_grant", message)
    return stage.refusal(401, "UnauthorizedException", message)


def lost(stage: Stage) -> Reply:
    """The old refresh token ends, and the new one is never heard of."""
    _issue(stage)
    return Reply(None, (Close(),))


def kept(stage: Stage) -> Reply:
    """No new refresh token; the old one stays good."""
    return stage.json(_content(stage, _issue(stage, rotate=False)))


def dated(stage: Stage) -> Reply:
    """A date instead of a duration."""
    tokens = _issue(stage)
    content = _content(stage, tokens)
    del content["expiresIn"]
    date = datetime.fromtimestamp(tokens.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return stage.json({**content, "expiresAt": date})


def short_lived(stage: Stage, seconds: int) -> Reply:
    """Tokens that expire soon."""
    return stage.json(_content(stage, _issue(stage, expires_in=seconds)))


def without_access(stage: Stage) -> Reply:
    """An answer that has not what was asked for."""
    content = _content(stage, _issue(stage))
    del content["accessToken"]
    return stage.json(content)


def wrong_types(stage: Stage) -> Reply:
    """An answer whose members are not what they should be."""
    return stage.json({"accessToken": 7, "refreshToken": ["x"], "expiresIn": "soon"})
