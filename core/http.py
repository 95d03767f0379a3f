"""HTTP calls as values: what the core asks the shell to send, and the head of what came back.

The `repr` of a call shows no header and no body, so that a token cannot reach a log through it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request. `headers` may hold a bearer token, `body` a refresh token."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Call({self.method} {self.url})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Nothing: msgspec's own would show every member to whoever prints with rich."""
        return []


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The head of an answer: its status, and its headers by lower-case name (the last of equal ones)."""

    status: int
    headers: Mapping[str, str]
