"""How many exchanges run at once, how many more wait for that, and for how long."""

from __future__ import annotations

import trio

from core.errors import StagewhisperError


class NoPlace(StagewhisperError):
    """As many exchanges are running as may, and one more is not to wait, or has waited in vain. Says which."""


class Places:
    """The places of all exchanges. Those who wait get them in the order in which they came.

    `queue` is how many may wait at once, `patience` for how many seconds each.
    """

    def __init__(self, count: int, *, queue: int, patience: float) -> None:
        self._limiter = trio.CapacityLimiter(count)
        self._queue = queue
        self._patience = patience

    @property
    def taken(self) -> int:
        """How many are taken."""
        return self._limiter.borrowed_tokens

    async def take(self, nursery: trio.Nursery) -> trio.CancelScope:
        """Take a place. It is given back when the scope that this gives is cancelled, or the nursery is.

        So an exchange whose client left holds none while it is still being unwound: a refresh of a token that is
        under way goes on to its end, which may take half a minute.

        Raises:
            NoPlace: there was none.
        """
        busy = f"{self.taken} requests are being answered already (server.maxConcurrent)"
        if self._limiter.available_tokens == 0 and self._limiter.statistics().tasks_waiting >= self._queue:
            raise NoPlace(f"{busy}, and {self._queue} wait (server.maxQueued)")
        place, scope = object(), trio.CancelScope()
        with trio.move_on_after(self._patience) as waiting:
            await self._limiter.acquire_on_behalf_of(place)
        if waiting.cancelled_caught:
            raise NoPlace(f"{busy}, and none has ended within {self._patience:g} seconds (timeouts.connectMs)")
        nursery.start_soon(self._hold, place, scope)
        return scope

    async def _hold(self, place: object, scope: trio.CancelScope) -> None:
        try:
            with scope:
                await trio.sleep_forever()
        finally:
            self._limiter.release_on_behalf_of(place)
