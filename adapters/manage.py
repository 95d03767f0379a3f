"""What `stagewhisper accounts` does: it asks a running gateway, or works on the stored state where none answers.

Both ways lead to the same state: a gateway takes in within a second what another process wrote there.
"""

from __future__ import annotations

import ssl
import textwrap
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
import trio

from adapters import ambient
from adapters.accounts import Accounts, NotKept, UnknownAccount
from adapters.certificates import CertificateUnusable, trust_in
from adapters.gateway import explain_state, make_store
from adapters.keeping import Keeper
from adapters.logs import on_one_line
from adapters.stores import StoreError
from adapters.upstream import Unreachable, Upstream
from core.addresses import AddressError, is_loopback, local_url, split_url
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
    found = local_url(config.server.host, config.server.port)
    if found is not None and config.server.tls_cert_file is not None:
        found = f"https{found.removeprefix('http')}"
    if url is not None:
        try:
            found = "".join(split_url(url))
        except AddressError as error:
            raise Unmanageable(f"--url: {error}") from None
    notes = []
    if found is not None:
        # The configuration's own gateway is known by its certificate, as is one on this machine.
        trust = _trust(config) if url is None or is_loopback(urlsplit(found).hostname or "") else None
        try:
            rendered = await _manage_through(found, config.server.admin_key, action, account_id, trust)
            return rendered, "" if url is not None else f"from the gateway on {found}"
        except Unreachable as error:
            if url is not None:
                raise Unmanageable(str(error)) from None
            notes.append(f"no gateway answers on {found} (--url names another address): this is the stored state")
    rendered, troubles = await _manage_stored(config, action, account_id)
    return rendered, "\n".join([*notes, *troubles])


async def _manage_through(
    url: str, admin_key: str | None, action: str | None, account_id: str, trust: ssl.SSLContext | None
) -> list[dict[str, Any]]:
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
    is_here = is_loopback(urlsplit(url).hostname or "")
    upstream = Upstream(connect_timeout=_PATIENCE, proxies=not is_here, trust=trust)
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
    if status == 401:
        sent = "none was sent" if admin_key is None else "that of the configuration was sent"
        problem = f"{problem} ({sent}; --config names another configuration)"
    raise Unmanageable(f"{url} answered {status}: {problem}")


def _trust(config: Config) -> ssl.SSLContext | None:
    if config.server.tls_cert_file is None:
        return None
    try:
        return trust_in(config.server.tls_cert_file)
    except CertificateUnusable as problem:
        raise Unmanageable(str(problem)) from None


async def _manage_stored(config: Config, action: str | None, account_id: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The same on the stored state, and what there was to say of that.

    Raises:
        Unmanageable: there is no such account, or the state cannot be read or written.
    """
    if config.state.kind == "memory":
        raise Unmanageable("a gateway's state is in its memory alone (state.kind), and none answers")
    troubles: list[str] = []
    keeper = Keeper(make_store(config), log=troubles.append)
    accounts = Accounts(
        config.providers,
        policy=config.health,
        keeper=keeper,
        tokens={},
        epoch=ambient.epoch,
        tell=lambda *_: None,  # what is done is shown anyway
    )
    try:
        await keeper.open()
        try:
            return accounts.render() if action is None else [await accounts.act(account_id, action)], troubles
        except NotKept:
            problem = "; ".join(troubles) or "other processes write the state all the time; try again"
            raise Unmanageable(problem) from None
        finally:
            with trio.move_on_after(_PATIENCE, shield=True):
                await keeper.close()
    except UnknownAccount as error:
        raise Unmanageable(f"{error} (--config names another configuration, --url another gateway)") from None
    except StoreError as error:
        raise Unmanageable(explain_state(error)) from None


# --- for a person ----------------------------------------------------------------------------------------------

_HEADINGS = ("ACCOUNT", "STATE", "NEXT TRY", "TRIED", "GOOD", "FAILED")
_WIDTH = 100

_NEXT_TRIES = {
    "permanently_blacklisted": "once recovered",
    "disabled": "once enabled",
    "degraded": "where no other is",
}


def render_table(accounts: Sequence[dict[str, Any]]) -> str:
    """Accounts as a table, a line each. Below those that are not healthy stands their last error."""
    rows = [_row(account) for account in accounts]
    widths = [max(len(row[column]) for row in [_HEADINGS, *rows]) for column in range(len(_HEADINGS))]
    lines = [_render_row(_HEADINGS, widths)]
    for account, row in zip(accounts, rows, strict=True):
        lines.append(_render_row(row, widths))
        if account["state"] != "healthy" and account["errorHistory"]:
            last = account["errorHistory"][-1]
            text = _printable(f"{_moment(last['timestamp'])} {last['error']}")
            lines += textwrap.wrap(text, _WIDTH, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


def _render_row(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(account: dict[str, Any]) -> tuple[str, ...]:
    state = account["state"]
    if (next_try := _NEXT_TRIES.get(state)) is None:
        next_try = _moment(account["nextTry"]) if account["nextTry"] else "now" if account["isUsable"] else "soon"
    counts = (account["totalRequests"], account["successCount"], account["failureCount"])
    cells = (account["providerId"], state.replace("_", " "), next_try, *map(str, counts))
    return tuple(map(_printable, cells))


def _printable(text: str) -> str:
    """A text as one line that says nothing to a terminal, whoever wrote it."""
    return on_one_line(text)[:1000]


def _moment(date: str) -> str:
    """An ISO 8601 date to the minute, as people write it."""
    return date[:16].replace("T", " ") + "Z"


def render_json(accounts: Sequence[dict[str, Any]], *, single: bool) -> str:
    """The same as the gateway's own answer."""
    shown = accounts[0] if single else {"accounts": accounts}
    return msgspec.json.format(msgspec.json.encode(shown), indent=2).decode()
