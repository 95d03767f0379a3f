"""What `stagewhisper accounts` does: it asks a running gateway, or works on the stored state where none answers.

Both ways lead to the same state: a gateway takes in within a second what another process wrote there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
import trio

from adapters import ambient
from adapters.accounts import Accounts, UnknownAccount
from adapters.gateway import make_store
from adapters.keeping import Keeper
from adapters.stores import StoreError
from adapters.upstream import Unreachable, Upstream
from core.addresses import is_loopback, local_url
from core.config import Config
from core.http import Call

_PATIENCE = 15.0  # seconds, for a gateway to answer
_MAX_BYTES = 64 * 1024 * 1024


class Unmanageable(Exception):
    """It cannot be done. The text says why, in one line."""


class _PastError(msgspec.Struct):
    timestamp: str
    error: str


class _Account(msgspec.Struct, rename="camel"):
    """What is looked at in an account's health as a gateway gives it: another program may have answered."""

    provider_id: str
    state: str
    is_usable: bool
    next_try: str | None
    error_history: list[_PastError]
    total_requests: int
    success_count: int
    failure_count: int


class _ErrorDetail(msgspec.Struct):
    message: str


class _Error(msgspec.Struct):
    error: _ErrorDetail


async def manage(
    config: Config, action: str | None, account_id: str, *, url: str | None
) -> tuple[list[dict[str, Any]], str]:
    """The accounts' health, or that of the one account after an action; and a note for the user, if there is one.

    Raises:
        Unmanageable: it cannot be done.
    """
    found = local_url(config.server.host, config.server.port) if url is None else url
    notes = []
    if found is not None:
        try:
            return await _manage_through(found, config.server.admin_key, action, account_id), ""
        except Unreachable as error:
            if url is not None:
                raise Unmanageable(str(error)) from None
            notes.append(f"no gateway answers on {found}: this is the stored state")
    rendered, troubles = await _manage_stored(config, action, account_id)
    return rendered, "\n".join([*notes, *troubles])


async def _manage_through(url: str, admin_key: str | None, action: str | None, account_id: str) -> list[dict[str, Any]]:
    """That, from the gateway at a base URL.

    Raises:
        Unreachable: nothing answers there.
        Unmanageable: the gateway refuses, or it is none.
    """
    headers = {"accept": "application/json", "user-agent": ambient.USER_AGENT}
    if admin_key is not None:
        headers["x-api-key"] = admin_key
    # Bytes that are no text are sent as they are, to be found unknown.
    target = f"/{quote(account_id, safe='', errors='surrogateescape')}/{action}" if action is not None else ""
    method, address = "GET" if action is None else "POST", f"{url.rstrip('/')}/admin/accounts{target}"
    call = Call(method=method, url=address, headers=headers, body=b"")
    # A proxy has no business with an address of this machine, nor with the key that goes there.
    upstream = Upstream(connect_timeout=_PATIENCE, proxies=not is_loopback(_host_of(url)))
    try:
        with trio.fail_after(_PATIENCE):
            status, body = await upstream.fetch(call, max_bytes=_MAX_BYTES)
    except trio.TooSlowError:
        raise Unreachable(f"{url}: no answer within {_PATIENCE:g} seconds") from None
    finally:
        await upstream.aclose()
    try:
        if status == 200:
            answer = msgspec.json.decode(body)
            accounts = answer["accounts"] if action is None else [answer]
            msgspec.convert(accounts, list[_Account])
            return list(accounts)
        problem = _printable(msgspec.json.decode(body, type=_Error).error.message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError):
        raise Unmanageable(f"{url} answered {status}, and not as a gateway does") from None
    raise Unmanageable(f"{url} answered {status}: {problem}")


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


async def _manage_stored(config: Config, action: str | None, account_id: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The same on the stored state, and what there was to say of that.

    Raises:
        Unmanageable: there is no such account, or the state cannot be read or written.
    """
    if config.state.kind == "memory":
        raise Unmanageable("a gateway's state is in its memory alone (state.kind), and none answers")
    troubles: list[str] = []
    keeper = Keeper(make_store(config), log=troubles.append)
    accounts = Accounts(config.providers, policy=config.health, keeper=keeper, tokens={}, epoch=ambient.epoch)
    try:
        await keeper.open()
        try:
            rendered = accounts.render() if action is None else [await accounts.act(account_id, action)]
            if action is not None and not await keeper.settle():
                raise Unmanageable("; ".join(troubles) or "other processes write the state all the time; try again")
            return rendered, troubles
        finally:
            with trio.move_on_after(_PATIENCE, shield=True):
                await keeper.close()
    except (StoreError, UnknownAccount) as error:
        raise Unmanageable(str(error)) from None


# --- for a person ----------------------------------------------------------------------------------------------

_HEADINGS = ("ACCOUNT", "STATE", "NEXT TRY", "ATTEMPTS", "ANSWERED", "FAILED", "LAST ERROR")


def render_table(accounts: Sequence[dict[str, Any]]) -> str:
    """Accounts as a table, a line each."""
    rows = [_HEADINGS, *(_row(account) for account in accounts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(account: dict[str, Any]) -> tuple[str, ...]:
    history = account["errorHistory"]
    last = f"{_moment(history[-1]['timestamp'])} {history[-1]['error']}" if history else ""
    next_try = "now" if account["isUsable"] else "never by itself"
    if account["nextTry"]:
        next_try = _moment(account["nextTry"])
    counts = (account["totalRequests"], account["successCount"], account["failureCount"])
    state = account["state"].replace("_", " ")
    cells = (
        account["providerId"],
        state,
        next_try,
        *map(str, counts),
        last if len(last) <= 160 else last[:160] + "...",
    )
    return tuple(map(_printable, cells))


def _printable(text: str) -> str:
    """A text as one line that says nothing to a terminal, whoever wrote it."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)[:1000]


def _moment(date: str) -> str:
    """An ISO 8601 date to the second, as people write it."""
    return date[:19].replace("T", " ") + "Z"


def render_json(accounts: Sequence[dict[str, Any]], *, single: bool) -> str:
    """The same as the gateway's own answer."""
    shown = accounts[0] if single else {"accounts": accounts}
    return msgspec.json.format(msgspec.json.encode(shown), indent=2).decode()
