"""A stop of the gateway: what is refused from its beginning on, and what is ended when its time is over.

Whoever waits for something that a stop forbids says how it is ended, and for how long that is so.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

_log = logging.getLogger("stagewhisper")

FAREWELL_SECONDS: Final = 2.0
"""What is left for the last errors to reach their clients, when the time of a stop is over."""

EXPLANATION: Final = "the gateway is stopping; try again"


class Stopping:
    """The stop of one gateway. `drain` is for how many seconds requests may go on that run when it begins."""

    def __init__(self, drain: float) -> None:
        self._begun = trio.Event()
        self._drain = drain
        self._is_over = False
        self._refused: dict[object, Callable[[], None]] = {}
        self._ended: dict[object, Callable[[], None]] = {}

    @property
    def has_begun(self) -> bool:
        """Whether the gateway takes nothing new any more."""
        return self._begun.is_set()

    def begin(self, within: float = math.inf) -> None:
        """Begin to stop. In `within` seconds all connections will be cut by others."""
        self._drain = max(0.0, min(self._drain, within - FAREWELL_SECONDS))
        self._begun.set()
        for refuse in list(self._refused.values()):
            refuse()

    async def run(self) -> None:
        """Wait for the beginning of the stop and for the end of its time; then end what still runs. Has no end."""
        await self._begun.wait()
        await trio.sleep(self._drain)
        self._is_over = True
        if self._ended:
            _log.warning("after %g seconds %d requests still ran, and were ended", self._drain, len(self._ended))
        for end in list(self._ended.values()):
            end()
        await trio.sleep_forever()

    @contextmanager
    def refusing(self, refuse: Callable[[], None]) -> Iterator[None]:
        """Have `refuse` called where the stop begins while the block runs, or has begun already."""
        if self.has_begun:
            refuse()
        with _listed(self._refused, refuse):
            yield

    @contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """Have `end` called where the stop's time is over while the block runs, or is over already."""
        if self._is_over:
            end()
        with _listed(self._ended, end):
            yield


@contextmanager
def _listed(calls: dict[object, Callable[[], None]], call: Callable[[], None]) -> Iterator[None]:
    key = object()
    calls[key] = call
    try:
        yield
    finally:
        del calls[key]
