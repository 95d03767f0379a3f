"""HTTP/1.1 on hypercorn's connections and nothing else, each of which ends when it is over and takes no other along.

Hypercorn 0.18 also speaks HTTP/2 on a plain port, to whoever begins with its preface or asks for an upgrade to it,
and what goes wrong there is no matter of one connection: a late piece of a body that was answered already, a path
that is not ASCII, or settings that are no base64 raise in the task that reads, and end the whole server. A refused
WebSocket handshake keeps its connection for as long as the client likes, and holds up a stop. No client of the
Messages API needs either, so neither is there: both are answered as the HTTP/1.1 requests that they also are.

More things are mended here. While more bytes than its request have come from a client, nobody sees it leave, and its
connection waits for an answer that nobody will finish, for ever. One that was closed after its last answer keeps its
descriptor until the keep-alive time has passed. Sends are shielded from being cancelled and have no limit, so that a
client which reads a byte now and then, or nothing, keeps its connection, and a stop of the server, for as long as it
likes; TLS's goodbye is such a send too. And the head of a request has only what the keep-alive time left of itself.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import socket
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import msgspec
import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol import h11 as hypercorn_h11
from hypercorn.protocol.events import Body, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio import run as hypercorn_run
from hypercorn.trio import tcp_server
from hypercorn.trio.worker_context import EventWrapper, WorkerContext
from hypercorn.typing import ASGISendEvent

from adapters import ambient
from core.sse import encode_error

_log = logging.getLogger("stagewhisper.server")

_CLEANUP_SECONDS = 1.0
"""To cancel a timer takes no time at all, nor does a goodbye; but nothing that is shielded goes without a bound."""

_CROSSING_SECONDS = 0.25
"""How long an idle connection is kept when the server stops: a request that is on its way is told so, not reset."""

_AHEAD_BYTES = 64 * 1024
"""How much is read of what comes behind a request that is being answered. Behind that, nobody is seen to leave."""

SEND_BYTES: Final = 64 * 1024
"""What a client has to take in the time that it has to take something: so much at once is what is read at most, too."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long clients may take, in seconds: to send a head, and to take the next `SEND_BYTES` of what they are sent.

    A head's time begins with its first byte.
    """

    head: float
    send: float


class ReadAhead(Event):
    """A connection's wish that what comes behind the request which is being answered be read, within bounds."""


class _Turn(EventWrapper):
    """Hypercorn's wait for the turn of a request that came ahead. It reads nothing then, and sees no client leave."""

    def __init__(self, send: Callable[[Event], Awaitable[None]]) -> None:
        super().__init__()
        self._send = send

    async def wait(self) -> None:
        """Wait for the turn, or until the client has left, which cancels this."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send, ReadAhead())
            await super().wait()
            nursery.cancel_scope.cancel()


class Answering(HTTPStream):
    """A request and its answer, which knows whether a piece of its body is the last."""

    is_at_last = False

    async def app_send(self, message: ASGISendEvent | None) -> None:
        """Send what the application says."""
        if message is not None and message["type"] == "http.response.body":
            self.is_at_last = not message.get("more_body", False)
        await super().app_send(message)


class Http1(H11Protocol):
    """What hypercorn takes for its choice of protocols."""

    def __init__(self, *arguments: Any) -> None:
        """Take what that takes. The last is the protocol that TLS agreed on."""
        super().__init__(*arguments[:9])
        self._is_over = False
        self._reading = trio.CancelScope()
        self.can_read = _Turn(self.send)
        self.is_in_head = False
        """Whether a part of a request's head has come, and no more."""
        self._transmit = self.send
        self.send = self._join
        self._is_held = False
        self._held = b""

    async def stream_send(self, event: StreamEvent) -> None:
        """Send a part of an answer: the head with what follows it, the end with what comes before it.

        Each send of its own is a system call and wakes the client: three for a short answer are a tenth of its cost.
        """
        is_last = isinstance(event, Body) and isinstance(self.stream, Answering) and self.stream.is_at_last
        self._is_held = isinstance(event, Response) or is_last
        await super().stream_send(event)

    async def _join(self, event: Event) -> None:
        if isinstance(event, RawData):
            self._held += event.data
            if self._is_held or not self._held:
                return
            event, self._held = RawData(self._held), b""
        await self._transmit(event)

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
                await self._look_for_head()

    async def _handle(self, event: Event) -> None:
        try:
            await super().handle(event)
        except trio.BusyResourceError:
            pass  # two tasks closed it at once
        except Exception:
            _log.exception("a connection ended by a bug of the server")
            await super().handle(Closed())
            await self.send(Closed())

    async def _look_for_head(self) -> None:
        """Give a head that has begun its own time, once."""
        has_begun = self.stream is None and not self._is_over and self.connection.trailing_data[0] != b""
        if has_begun and not self.is_in_head:
            self.is_in_head = True
            await self.send(Updated(idle=True))  # which begins the time anew

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
        self.is_in_head = False
        headers = [(name, value) for name, value in request.headers.raw_items() if name.lower() != b"upgrade"]
        await super()._create_stream(dataclasses.replace(request, headers=headers))


class Server(tcp_server.TCPServer):
    """One connection, as hypercorn serves it, that can be cut, that has limits, and whose failure is its own."""

    protocol: Http1  # type: ignore[assignment]  # what stands in for hypercorn's

    def __init__(self, limits: Limits, *arguments: Any) -> None:
        """Take what that takes, after the limits."""
        super().__init__(*arguments)
        self._limits = limits
        if isinstance(self.context, Context):
            self.context.graceful_timeout = self.config.graceful_timeout

    async def run(self) -> None:
        """Serve the connection to its end."""
        _connections.add(self)
        try:
            await super().run()
        except Exception:
            _log.exception("a connection ended by a bug of the server")
        finally:
            _connections.discard(self)

    async def _read_data(self) -> None:
        """Read on to the connection's end, or until this is cancelled, which ends what is being sent as well."""
        try:
            await super()._read_data()
        finally:
            self.cut()

    async def _read_ahead(self) -> None:
        """Read what a client sends before it has its answer, up to a bound; and see whether it leaves."""
        room = _AHEAD_BYTES
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await self.stream.receive_some(room):
                self.protocol.connection.receive_data(bytes(data))
                if (room := room - len(data)) == 0:
                    return
        await self.protocol.handle(Closed())

    async def protocol_send(self, event: Event) -> None:
        """Send, or do to the connection what the protocol wants."""
        if isinstance(event, ReadAhead):
            await self._read_ahead()
            return
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        async with self.send_lock:
            try:
                for start in range(0, len(event.data), SEND_BYTES):
                    # Shielded, as hypercorn has it: an error that ends a stream goes out although all is cancelled.
                    with trio.fail_after(self._limits.send, shield=True):
                        await self.stream.send_all(event.data[start : start + SEND_BYTES])
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                await self.protocol.handle(Closed())
            except trio.TooSlowError:
                _log.warning("a client that took less than %d bytes in %g s was cut off", SEND_BYTES, self._limits.send)
                self.cut()
                await self.protocol.handle(Closed())

    async def _idle_timeout(self) -> None:
        """Close the connection when there is no request in it for too long, or its head takes too long."""
        with trio.move_on_after(self._limits.head if self.protocol.is_in_head else self.config.keep_alive_timeout):
            await self.context.terminated.wait()
            await trio.sleep(_CROSSING_SECONDS)
        with trio.CancelScope(shield=True):
            await self._initiate_server_close()

    async def _initiate_server_close(self) -> None:
        with trio.move_on_after(_CLEANUP_SECONDS):
            await super()._initiate_server_close()

    async def _close(self) -> None:
        with trio.move_on_after(_CLEANUP_SECONDS):
            await super()._close()

    @property
    def is_greeting(self) -> bool:
        """Whether TLS is still being agreed on."""
        return not hasattr(self, "protocol")

    def cut(self) -> None:
        """End it now, in the middle of a send too."""
        with suppress(OSError, AttributeError):
            getattr(self.stream, "transport_stream", self.stream).socket.shutdown(socket.SHUT_RDWR)


class _Terminated(EventWrapper):
    """Hypercorn's word that it takes no new connections, passed on."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    async def set(self) -> None:
        """Say so."""
        await super().set()
        self._tell()


class Context(WorkerContext):
    """What a server's connections share: whether it stops. It tells, with the seconds that they have left then."""

    def __init__(self, tell: Callable[[float], None], max_requests: int | None) -> None:
        """Take what that takes, after whom to tell."""
        super().__init__(max_requests)
        self.graceful_timeout = math.inf  # the first connection knows; without one there is nothing to end
        self.terminated = _Terminated(lambda: self._stop(tell))

    def _stop(self, tell: Callable[[float], None]) -> None:
        for connection in list(_connections):
            if connection.context is self and connection.is_greeting:
                connection.cut()  # it would hold up the stop, and there is nothing in it yet
        tell(self.graceful_timeout)


_connections: weakref.WeakSet[Server] = weakref.WeakSet()


def cut_connections() -> None:
    """End all connections now."""
    for connection in list(_connections):
        connection.cut()


def speak_http1_alone(limits: Limits, *, stop: Callable[[float], None]) -> None:
    """Have the connections of servers that hypercorn begins from now on, in this process, be like this.

    `stop` is called when such a server stops, with the seconds after which it cuts its connections.
    """
    hypercorn_run.WorkerContext = partial(Context, stop)  # type: ignore[assignment, attr-defined]  # as below
    hypercorn_h11.HTTPStream = Answering  # type: ignore[attr-defined]  # as below
    tcp_server.ProtocolWrapper = Http1  # type: ignore[assignment, attr-defined]  # used like it
    hypercorn_run.TCPServer = partial(Server, limits)  # type: ignore[assignment, attr-defined]  # not exported, and used like it
