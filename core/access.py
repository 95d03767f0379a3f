"""Who may ask: a client's key where there are keys, else only what comes from this machine and means it.

Without keys a browser is the danger: any page may send requests to a loopback address, and by rebinding its
name even read the answers. Both show in `Host` and `Origin`, which a page cannot choose.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

from core.addresses import is_loopback
from core.errors import ClientRequestError


def check_access(
    headers: Mapping[str, str], *, api_keys: Sequence[str], client: str | None, server: str | None
) -> None:
    """Let a request pass, by its headers (lower-case names) and the two ends of its connection.

    Raises:
        ClientRequestError: a wrong key or none (401), or a request that is not from this machine (403).
    """
    if api_keys:
        _check_key(headers, api_keys)
    else:
        _check_origin(headers, client, server)


def _check_key(headers: Mapping[str, str], api_keys: Sequence[str]) -> None:
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    given = [headers.get("x-api-key", ""), bearer.strip() if scheme.lower() == "bearer" else ""]
    # Digests are of one length, every pair is compared, and so the time tells nothing of any key.
    matches = [hmac.compare_digest(_digest(key), _digest(offer)) for key in api_keys for offer in given]
    if not any(matches):
        raise ClientRequestError(
            "", "a key of this gateway is needed, in x-api-key or Authorization", error_type="authentication_error"
        )


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()


def _check_origin(headers: Mapping[str, str], client: str | None, server: str | None) -> None:
    for end, address in (("peer", client), ("server", server)):
        if address is None or not is_loopback(address):
            raise _forbidden(f"the {end}'s address is not a loopback address, and the gateway has no keys")
    host = headers.get("host")
    if host is not None and not _names_this_machine(host):
        raise _forbidden("the Host header does not name this machine, and the gateway has no keys")
    origin = headers.get("origin")
    # `Origin: null` has neither scheme nor host.
    scheme = _SCHEME.match(origin or "")
    if origin is not None and not (scheme and _names_this_machine(origin[scheme.end() :])):
        raise _forbidden("the Origin header does not name this machine, and the gateway has no keys")


# Strict, for what readers of URLs make of the odd ones differs: a tab is dropped, a user is passed over.
_HOST = re.compile(r"(\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9.-]+))(:[0-9]{1,5})?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def _names_this_machine(host: str) -> bool:
    """Whether a host, with its port, is localhost, in 127.0.0.0/8 or [::1]."""
    match = _HOST.fullmatch(host)
    return match is not None and is_loopback(match["v6"] or match["name"])


def _forbidden(problem: str) -> ClientRequestError:
    return ClientRequestError("", problem, error_type="permission_error")
