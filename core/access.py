"""Who may ask, and who may look and act: whoever has the key, else only what comes from this machine and means it.

Without keys a browser is the danger: any page may send requests to a loopback address, and by rebinding its
name even read the answers. Both show in `Host` and `Origin`, which a page cannot choose. The other danger is a
reverse proxy on this machine, behind which everyone seems to be here: those that say so are believed.
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
    if not api_keys:
        if problem := _find_outsider(headers, client, server):
            raise _forbidden(f"{problem}, and the gateway has no keys")
    elif not _has_key(headers, api_keys):
        raise _unauthenticated("a key of this gateway is needed, in x-api-key or Authorization")


def check_admin(
    headers: Mapping[str, str], *, admin_key: str | None, bind: str, client: str | None, server: str | None
) -> None:
    """Let a request look at the accounts and act on them, by what `check_access` takes. Clients' keys are none here.

    `bind` is the host that the gateway listens on: one that others reach is likely to be behind a proxy.

    Raises:
        ClientRequestError: not the admin key where there is one (401); where there is none, a request that is not
            from this machine, was passed on by a proxy, or is a page's of another origin (403).
    """
    if admin_key is None:
        problem = None if is_loopback(bind) else "the gateway listens for other machines too"
        if problem := problem or _find_outsider(headers, client, server) or _find_proxy(headers) or _find_page(headers):
            raise _forbidden(f"{problem}, and the gateway has no admin key: set server.adminKey, and send it")
    elif not _has_key(headers, [admin_key]):
        raise _unauthenticated("the gateway's admin key (server.adminKey) is needed, in x-api-key or Authorization")


def _has_key(headers: Mapping[str, str], keys: Sequence[str]) -> bool:
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    given = [headers.get("x-api-key", ""), bearer.strip() if scheme.lower() == "bearer" else ""]
    # Digests are of one length, every pair is compared, and so the time tells nothing of any key.
    matches = [hmac.compare_digest(_digest(key), _digest(offer)) for key in keys for offer in given if offer]
    return any(matches)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()


def _find_outsider(headers: Mapping[str, str], client: str | None, server: str | None) -> str | None:
    """What shows that a request is not from this machine, or not meant for it; None if nothing does."""
    for end, address in (("peer", client), ("server", server)):
        if address is None or not is_loopback(address):
            return f"the {end}'s address is not a loopback address"
    host = headers.get("host")
    if host is not None and not _names_this_machine(host):
        return "the Host header does not name this machine"
    origin = headers.get("origin")
    # `Origin: null` has neither scheme nor host.
    scheme = _SCHEME.match(origin or "")
    if origin is not None and not (scheme and _names_this_machine(origin[scheme.end() :])):
        return "the Origin header does not name this machine"
    return None


# What proxies and tunnels add: the standard's (RFC 7239; RFC 9110, 7.6.3), the X-Forwarded family with its bare and
# dashed forms, what IIS, Envoy and Cloudflare name their own (`X-Original-URL`, `X-Envoy-...`, `CF-Ray`), and the
# many whose last word is the address that they pass on (`X-Real-IP`, `True-Client-IP`, `X-Azure-ClientIP`,
# `CloudFront-Viewer-Address`, `Remote-Addr`). No program on this machine has a reason to send one of these.
_FORWARDING = re.compile(
    r"via|cdn-loop|(.*-)?forwarded(-.*)?|(x-original|x-arr|x-envoy|x-real|cf)-.*|(.*-)?([a-z]*ip|addr|address)",
    re.DOTALL,  # or a line's end would make it try every `forwarded` anew
)


def _find_proxy(headers: Mapping[str, str]) -> str | None:
    """What shows that a request was passed on; None if nothing does. Not every proxy says so (nginx has to be told)."""
    if any(map(_FORWARDING.fullmatch, headers)):
        return "a proxy passed the request on"
    return None


def _find_page(headers: Mapping[str, str]) -> str | None:
    """What shows that a page which is not the gateway's own sent a request; None if nothing does.

    Such as one of another server on this machine, whose `Origin` names this machine too.
    """
    # Not every browser has `Sec-Fetch-Site` (W3C Fetch Metadata); every one sends `Origin` with what acts.
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return "the Sec-Fetch-Site header says that another site's page sent the request"
    host, origin = headers.get("host", "").lower(), headers.get("origin")
    if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
        return "the Origin header names another server of this machine"
    return None


# Strict, for what readers of URLs make of the odd ones differs: a tab is dropped, a user is passed over.
_HOST = re.compile(r"(\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9.-]+))(:[0-9]{1,5})?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def _names_this_machine(host: str) -> bool:
    """Whether a host, with its port, is localhost, in 127.0.0.0/8 or [::1]."""
    match = _HOST.fullmatch(host)
    return match is not None and is_loopback(match["v6"] or match["name"])


def _unauthenticated(problem: str) -> ClientRequestError:
    return ClientRequestError("", problem, error_type="authentication_error")


def _forbidden(problem: str) -> ClientRequestError:
    return ClientRequestError("", problem, error_type="permission_error")
