"""What one client is sent: a whole answer, or a stream that begins when there is something to send.

The exchange's driver fills it, the view empties it, and a driver that is far ahead of its view waits: so a client
that reads slowly slows down the reading of the service's answer, and costs no more memory than a fast one. A stream
whose driver ended without ending it is cut: its reader gets an exception, so that the connection is dropped and no
client takes the rest for whole.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from typing import Final

import trio

from core.dialogue import WholeAnswer

MAX_AHEAD_BYTES: Final = 64 * 1024
"""How far a driver may be ahead of its view when it adds to a stream: what one read from the service gives at most.

With less, a client that keeps up would make the two take turns; more keeps nobody from anything.
"""


class StreamBroken(Exception):
    """A stream has to be cut because it cannot be ended well."""


class Outbox:
    """The meeting point of one driver and one view."""

    def __init__(self) -> None:
        self._begun = trio.Event()
        self._whole: WholeAnswer | None = None
        self._ended = False
        self._ahead = 0
        self._is_read = True
        self._taken = trio.Event()
        self._send: trio.MemorySendChannel[bytes]
        self._receive: trio.MemoryReceiveChannel[bytes]
        # A channel counts pieces and not bytes, so its own limit is of no use here. And an error that ends a stream,
        # or its end, never waits for whoever reads it.
        self._send, self._receive = trio.open_memory_channel[bytes](math.inf)

    async def first(self) -> WholeAnswer | None:
        """Wait for the beginning: the whole answer, or None for a stream."""
        await self._begun.wait()
        return self._whole

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The stream's bytes as they come.

        Raises:
            StreamBroken: the stream was not ended.
        """
        try:
            async for chunk in self._receive:
                self._take(len(chunk))
                yield chunk
        finally:
            self._is_read = False  # nobody waits for a view that is gone
            self._take(0)
        if not self._ended:
            raise StreamBroken

    def is_over(self) -> bool:
        """Whether the stream has been ended, and all of it taken."""
        return self._ended and self._receive.statistics().current_buffer_used == 0

    def _take(self, size: int) -> None:
        self._ahead -= size
        self._taken.set()

    async def send(self, data: bytes) -> None:
        """Add to the stream, which this begins. Waits first until the view has no more than `MAX_AHEAD_BYTES` to take.

        What is sent at once is never divided, however large it is.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._is_read and self._ahead > MAX_AHEAD_BYTES:
            self._taken = trio.Event()
            await self._taken.wait()
        self._add(data)

    def _add(self, data: bytes) -> None:
        self._ahead += len(data)
        self._send.send_nowait(data)
        self._begun.set()

    def answer(self, whole: WholeAnswer) -> None:
        """Give the whole answer, in place of a stream."""
        self._whole = whole
        self.end()

    def fail(self, whole: WholeAnswer, event: bytes) -> None:
        """Give an error: as the whole answer, or as the last event of a stream that has begun; none after the end."""
        if self._ended:
            return
        if self._begun.is_set():
            self._add(event)
            self.end()
        else:
            self.answer(whole)

    def end(self) -> None:
        """End the stream. What has been sent ends well, or says itself that it does not."""
        self._ended = True
        self.close()

    def close(self) -> None:
        """Let the view go. A stream that was not ended is cut."""
        self._send.close()
        self._begun.set()
