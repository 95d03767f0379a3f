"""Documents that the tests of the configuration share, and how they read them. All keys and accounts are made up."""

from __future__ import annotations

from typing import Any

import pytest

from core.config import Config, ConfigError, parse_config

ARN = "arn:aws:codewhisperer:us-east-1:000000000000:profile/MADEUPMADEUP"
HOME = "/home/somebody"
ENVIRONMENT = {"GATEWAY_KEY": "made-up-key-from-the-environment", "EMPTY": "", "TORN": "marked\nsecret"}
SHIPPED = {
    "model-two-20260101": {
        "id": "model-two",
        "displayName": "Model Two",
        "contextWindow": 1_000_000,
        "createdAt": "2026-01-01T00:00:00Z",
    },
    "model-one": {
        "id": "MODEL_ONE_V1_0",
        "displayName": "Model One",
        "contextWindow": 200_000,
        "createdAt": "2025-01-01T00:00:00Z",
    },
}


def full_document() -> dict[str, Any]:
    """A document with every section and key, each at a value that this version takes."""
    return {
        "server": {
            "bind": "127.0.0.1:8990",
            "apiKeys": [],
            "adminKey": None,
            "maxConcurrent": 256,
            "maxQueued": 256,
            "drainMs": 30000,
            "tlsCertFile": None,
            "tlsKeyFile": None,
        },
        "delivery": "buffered",
        "timeouts": {
            "connectMs": 10000,
            "firstByteMs": 300000,
            "idleMs": 300000,
            "totalMs": 1800000,
            "requestMs": 60000,
            "sendMs": 60000,
        },
        "pings": {"quietMs": 10000, "intervalMs": 15000},
        "state": {"kind": "file", "path": None},
        "recording": {"directory": None, "maxFiles": 1000, "maxBytes": 1000000000},
        "writtenToolCalls": "convert",
        "models": {
            "claude-sonnet-4-20250514": "CLAUDE_SONNET_4_20250514_V1_0",
            "claude-3-5-sonnet-20241022": "CLAUDE_3_5_SONNET_20241022_V2_0",
        },
        "providers": {
            "kiro-gmail": {
                "type": "codewhisperer",
                "authentication": {"tokenFilePath": "~/.aws/sso/cache/kiro-auth-token.json", "profileArn": ARN},
            },
            "team": {
                "type": "codewhisperer",
                "endpoint": "https://q.us-east-1.amazonaws.com",
                "accounts": [
                    {"tokenFilePath": "~/.aws/sso/cache/a.json", "profileArn": ARN},
                    {"tokenFilePath": "~/.aws/sso/cache/b.json", "profileArn": ARN},
                ],
            },
        },
        "health": {"rateLimitCooldownMs": 3600000, "backoffBaseMs": 60000, "backoffCapMs": 3600000},
    }


def read(document: object, *, bind: str | None = None, home: str = HOME) -> Config:
    """The document's configuration, with the shipped models, the environment and the home above."""
    return parse_config(document, environment=ENVIRONMENT, shipped_models=SHIPPED, home=home, bind=bind)


def problems_of(document: object, *, bind: str | None = None) -> list[str]:
    """What is wrong with a document, as lines."""
    with pytest.raises(ConfigError) as caught:
        read(document, bind=bind)
    return [str(problem) for problem in caught.value.problems]


def provider(**members: object) -> dict[str, Any]:
    """A document with one provider `p`, which has one account unless `members` say otherwise."""
    return {"providers": {"p": {"type": "codewhisperer", "authentication": {}} | members}}


def account(**members: object) -> dict[str, Any]:
    """A document with one provider `p` with one account of those members."""
    return provider(authentication=members)
