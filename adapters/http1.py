"""HTTP/1.1 on hypercorn's connections and nothing else, each of which ends when it is over and takes no other along.

Hypercorn 0.18 also speaks HTTP/2 on a plain port, to whoever begins with its preface or asks for an upgrade to it,
and what goes wrong there is no matter of one connection: a late piece of a body that was answered already, a path
that is not ASCII, or settings that are no base64 raise in the task that reads, and end the whole server. A refused
WebSocket handshake keeps its connection for as long as the client likes, and holds up a stop. No client of the
Messages API needs either, so neither is there: both are answered as the HTTP/1.1 requests that they also are.

Three more things are mended here. A connection whose client left while more bytes than its request had come waits
for an answer that nobody will finish, for ever. One that was closed after its last answer keeps its descriptor until
the keep-alive time has passed. And a send to a client that reads a byte now and then cannot be cancelled by anyone.
"""

from __future__ import annotations

import dataclasses
import logging
import socket
import weakref
from contextlib import suppress
from typing import Any

import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio import run as hypercorn_run
from hypercorn.trio import tcp_server

from adapters import ambient
from core.sse import encode_error

_log = logging.getLogger("stagewhisper.server")

_CLEANUP_SECONDS = 1.0
"""To cancel a timer takes no time at all; but nothing that is shielded goes without a bound."""


class Http1(H11Protocol):
    """What hypercorn takes for its choice of protocols."""

    def __init__(self, *arguments: Any) -> None:
        """Take what that takes. The last is the protocol that TLS agreed on."""
        super().__init__(*arguments[:9])
        self._is_over = False
        self._reading = trio.CancelScope()

    async def handle(self, event: Event) -> None:
        """Take in what happened to the connection. What goes wrong with it ends this connection alone."""
        if isinstance(event, Closed):
            try:
                await self._handle(event)
            finally:  # this may be a task that is being cancelled
                self._is_over = True
                self._reading.cancel()  # a reader that waits for a request's end which will not come
                with trio.move_on_after(_CLEANUP_SECONDS, shield=True):
                    await self._stop_idling()
        elif not self._is_over:
            with trio.CancelScope() as self._reading:
                await self._handle(event)

    async def _handle(self, event: Event) -> None:
        try:
            await super().handle(event)
        except trio.BusyResourceError:
            pass  # two tasks closed it at once
        except Exception:
            _log.exception("a connection ended by a bug of the server")
            await super().handle(Closed())
            await self.send(Closed())

    async def _stop_idling(self) -> None:
        """Let the connection go: hypercorn keeps it, and its descriptor, while the timer for idle ones runs."""
        await self.send(Updated(idle=False))

    async def _maybe_recycle(self) -> None:
        await super()._maybe_recycle()
        if self._is_over:
            await self._stop_idling()

    async def _send_error_response(self, status_code: int) -> None:
        """What h11 refused, in the form of all errors."""
        request_id = ambient.new_request_id()
        _log.info("%s not HTTP/1.1: %d", request_id, status_code)
        body = encode_error("invalid_request_error", "this is not a request of HTTP/1.1", request_id)
        head = (
            f"HTTP/1.1 {status_code} \r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            f"request-id: {request_id}\r\nconnection: close\r\n\r\n"
        )
        await self.send(RawData(head.encode() + body))

    async def _check_protocol(self, event: Any) -> None:
        """Leave the connection's protocol as it is."""

    async def _create_stream(self, request: Any) -> None:
        """Hand a request (h11's) on without what it says of another protocol."""
        headers = [(name, value) for name, value in request.headers.raw_items() if name.lower() != b"upgrade"]
        await super()._create_stream(dataclasses.replace(request, headers=headers))


class Server(tcp_server.TCPServer):
    """One connection, as hypercorn serves it, that can be cut, and whose failure is its own."""

    async def run(self) -> None:
        """Serve the connection to its end."""
        _connections.add(self)
        try:
            await super().run()
        except Exception:
            _log.exception("a connection ended by a bug of the server")
        finally:
            _connections.discard(self)

    def cut(self) -> None:
        """End it now, in the middle of a send too."""
        with suppress(OSError, AttributeError):
            self.stream.socket.shutdown(socket.SHUT_RDWR)


_connections: weakref.WeakSet[Server] = weakref.WeakSet()


def cut_connections() -> None:
    """End all connections now."""
    for connection in list(_connections):
        connection.cut()


def speak_http1_alone() -> None:
    """Have hypercorn's connections be like this from now on, in this process."""
    tcp_server.ProtocolWrapper = Http1  # type: ignore[assignment, attr-defined]  # used like it
    hypercorn_run.TCPServer = Server  # type: ignore[attr-defined]  # not exported, and used like it
