"""Whose turn it is: round robin over the accounts that may be used now."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One account of the service, as one entry of the rotation.

    A configured provider with several accounts becomes several of these (`team-account1`, ...), each of which
    remembers where it came from. `endpoint` and `refresh_url` are None where the service's own addresses for
    the token's region apply; `profile_arn` is None where the token file's applies.
    """

    id: str
    token_file: str
    profile_arn: str | None = None
    endpoint: str | None = None
    refresh_url: str | None = None
    original_provider_id: str
    account_index: int = 0
    total_accounts: int = 1


def choose(providers: Sequence[Provider], cursor: int, excluded: Collection[str] = ()) -> tuple[Provider | None, int]:
    """The next provider in the round that is not excluded by its id, and the cursor for the next choice."""
    for step in range(len(providers)):
        position = (cursor + step) % len(providers)
        if providers[position].id not in excluded:
            return providers[position], position + 1
    return None, cursor
