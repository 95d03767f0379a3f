"""Addresses to listen on and to send tokens to: read strictly, judged without resolving a name.

An address to send to is never repeated in an error: what makes it none may be a password in it.
"""

from __future__ import annotations

import ipaddress
import re

from core.errors import StagewhisperError

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_BIND = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*):([0-9]{1,5})")
_URL = re.compile(r"(?i:(https?)://)(\[[^\[\]]*\]|[^:/?#\[\]]*)(?::([0-9]{1,5}))?(/[!-~]*)?")


class AddressError(StagewhisperError):
    """A text is no address of the sort that is wanted. Its text says what was expected."""


def is_loopback(host: str) -> bool:
    """Whether a bare host (no port, no brackets) is this machine alone: `localhost`, 127.0.0.0/8 or `::1`.

    No name is resolved. An IPv4 address mapped into IPv6 is none, whatever Python's version says of it.
    """
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return address in ipaddress.IPv4Network("127.0.0.0/8")
    return address == ipaddress.IPv6Address("::1")


def split_bind(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`. An IPv6 host stands in brackets there, and comes without them. Port 0 is any.

    Raises:
        AddressError: it is none.
    """
    match = _BIND.fullmatch(text)
    host = _bare_host(match[1]) if match else None
    if match is None or host is None:
        shown = repr(text) if len(text) <= 40 else f"{text[:40]!r}..."
        raise AddressError(f"expected HOST:PORT, such as 127.0.0.1:8990 or [::1]:8990, got {shown}")
    if int(match[2]) > 65535:
        raise AddressError(f"expected a port from 0 to 65535, got {match[2]}")
    return host, int(match[2])


def split_url(text: str) -> tuple[str, str]:
    """The origin (`https://host[:port]`) and the path of an address that tokens may be sent to.

    Raises:
        AddressError: it is none, has a user, a query or a fragment, or is plain http to another machine.
    """
    match = _URL.fullmatch(text)
    host = _bare_host(match[2]) if match else None
    # A backslash is a slash to some parsers of addresses and none to others.
    if match is None or host is None or re.search(r"[?#\\]", match[4] or ""):
        raise AddressError("expected https://HOST[:PORT][/PATH] without user, query and fragment, got another text")
    if match[3] and not 1 <= int(match[3]) <= 65535:
        raise AddressError(f"expected a port from 1 to 65535, got {match[3]}")
    scheme = match[1].lower()
    if scheme == "http" and not is_loopback(host):
        raise AddressError("expected https, which only a loopback address may do without; got http")
    return f"{scheme}://{match[2]}" + (f":{match[3]}" if match[3] else ""), match[4] or ""


def local_url(host: str, port: int) -> str | None:
    """The base URL at which a program on this machine reaches a server that listens there; None for port 0.

    Takes what `split_bind` gives. A server on every address is reached at the loopback one, so that both ends of
    the connection are this machine's.
    """
    if port == 0:
        return None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{port}"
    reached = _EVERY_ADDRESS.get(address, address)
    return f"http://[{reached}]:{port}" if reached.version == 6 else f"http://{reached}:{port}"


_EVERY_ADDRESS = {
    ipaddress.ip_address("0.0.0.0"): ipaddress.ip_address("127.0.0.1"),
    ipaddress.ip_address("::"): ipaddress.ip_address("::1"),
}


def _bare_host(text: str) -> str | None:
    """A host without its brackets, or None where it is none. Zones (`fe80::1%eth0`) are not taken."""
    if text.startswith("["):
        return text[1:-1] if _is_address(ipaddress.IPv6Address, text[1:-1]) else None
    labels = text.split(".")
    # What ends in a number is an IPv4 address or nothing (WHATWG URL, 3.5): resolvers take "127.1" for one too.
    if labels[-1].isdigit():
        return text if _is_address(ipaddress.IPv4Address, text) else None
    return text if len(text) <= 253 and all(map(_LABEL.fullmatch, labels)) else None


def _is_address(kind: type[ipaddress.IPv4Address | ipaddress.IPv6Address], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return "%" not in text
