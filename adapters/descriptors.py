"""How many files and sockets this process may have open: raised at the start, for each request takes two."""

from __future__ import annotations

import sys
from typing import Final

A_REQUEST: Final = 2
"""The client's connection, and the one to the service."""

OTHERS: Final = 100
"""Listener, state, token files, recordings, idle connections of both sides, and some to spare."""

_MOST_ON_MACOS = 10_240
"""OPEN_MAX there. It says that there is no hard limit, and refuses to raise the soft one beyond this."""


def raise_limit() -> int | None:
    """Raise the limit as far as this process may. The limit that there is now, or None for none."""
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    for wanted in (hard, _MOST_ON_MACOS):
        if wanted != resource.RLIM_INFINITY and wanted <= soft:
            break
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            continue
        return None if wanted == resource.RLIM_INFINITY else wanted
    return soft


def explain_shortage(limit: int | None, *, running: int, waiting: int) -> str | None:
    """What is to be said where so many requests at once need more than the limit; None where they do not."""
    needed = A_REQUEST * running + waiting + OTHERS
    if limit is None or limit >= needed:
        return None
    return (
        f"this process may open {limit} files and sockets (ulimit -Hn), and {running} requests at once with {waiting} "
        f"that wait (server.maxConcurrent, server.maxQueued) may take {needed}: clients beyond that are not let in"
    )
