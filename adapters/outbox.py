"""What one client is sent: a whole answer, or a stream that begins when there is something to send.

The exchange's driver fills it, the view empties it. A stream whose driver ended without ending it is cut: its
reader gets an exception, so that the connection is dropped and no client takes the rest for whole.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import trio

from core.dialogue import WholeAnswer


class StreamBroken(Exception):
    """A stream has to be cut because it cannot be ended well."""


class Outbox:
    """The meeting point of one driver and one view."""

    def __init__(self) -> None:
        self._begun = trio.Event()
        self._whole: WholeAnswer | None = None
        self._ended = False
        self._send: trio.MemorySendChannel[bytes]
        self._receive: trio.MemoryReceiveChannel[bytes]
        # Unbounded, for all that is ever in it is one answer of bounded size and a ping now and then; so a
        # client that reads slowly keeps no one from noticing that it left.
        self._send, self._receive = trio.open_memory_channel[bytes](math.inf)

    async def first(self) -> WholeAnswer | None:
        """Wait for the beginning: the whole answer, or None for a stream."""
        await self._begun.wait()
        return self._whole

    async def chunks(self) -> AsyncIterator[bytes]:
        """The stream's bytes as they come.

        Raises:
            StreamBroken: the stream was not ended.
        """
        async for chunk in self._receive:
            yield chunk
        if not self._ended:
            raise StreamBroken

    def send(self, data: bytes) -> None:
        """Add to the stream, which this begins."""
        self._send.send_nowait(data)
        self._begun.set()

    def answer(self, whole: WholeAnswer) -> None:
        """Give the whole answer, in place of a stream."""
        self._whole = whole
        self.end()

    def fail(self, whole: WholeAnswer, event: bytes) -> None:
        """Give an error: as the whole answer, or as the last event of a stream that has begun."""
        if self._begun.is_set():
            self.send(event)
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
