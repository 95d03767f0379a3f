"""The gateway on a real socket, run by hypercorn as `serve` runs it, and a client that speaks plain HTTP/1.1."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import h11
import trio

from adapters.serve import listen, serve
from tests.adapters.harness import Site


class Served:
    """A server that runs in this process. `over` is set when `serve` has returned."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.wires: list[Wire] = []
        self.over = trio.Event()

    async def connect(self, trust: ssl.SSLContext | None = None) -> Wire:
        """A new connection to it, over TLS where `trust` is given. It ends with the server at the latest."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        tls = trio.SSLStream(stream, trust, https_compatible=True) if trust else None
        self.wires.append(Wire(stream, tls))
        if tls is not None:
            await tls.do_handshake()
        return self.wires[-1]

    async def is_well(self) -> bool:
        """Whether it answers on a new connection."""
        wire = await self.connect()
        return (await wire.ask("GET", "/health")).status == 200


class Reply:
    """A response. `is_whole` is whether it ended as HTTP says."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.data = bytearray()
        self.is_whole = False

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.data)

    @property
    def events(self) -> list[str]:
        """The names of a stream's events."""
        return [line[7:] for line in self.data.decode().splitlines() if line.startswith("event: ")]


class Wire:
    """One connection of a client: `stream` is what carries it, `talk` what is said over it, with TLS or without."""

    def __init__(self, stream: trio.SocketStream, tls: trio.SSLStream[trio.SocketStream] | None = None) -> None:
        self.stream = stream
        self.tls = tls
        self.talk: trio.abc.Stream = tls or stream
        self.http = h11.Connection(h11.CLIENT)

    async def send(self, method: str, path: str, body: object = b"", headers: Mapping[str, str] | None = None) -> None:
        """Send a whole request."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"host": "localhost", "content-length": str(len(data)), **(headers or {})}
        request = h11.Request(method=method, target=path, headers=list(fields.items()))
        wire = self.http.send(request) or b""
        wire += self.http.send(h11.Data(data=data)) or b""
        await self.talk.send_all(wire + (self.http.send(h11.EndOfMessage()) or b""))

    async def receive(self, *, until: bytes | None = None) -> Reply:
        """A response, to its end or to the connection's, or until its body has something in it."""
        reply = Reply()
        while True:
            try:
                event = self.http.next_event()
            except h11.RemoteProtocolError:
                return reply
            if event is h11.NEED_DATA:
                try:
                    self.http.receive_data(bytes(await self.talk.receive_some()))
                except trio.BrokenResourceError:
                    return reply
            elif isinstance(event, h11.Response):
                reply.status = event.status_code
                reply.headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
            elif isinstance(event, h11.Data):
                reply.data += event.data
                if until is not None and until in reply.data:
                    return reply
            elif isinstance(event, h11.EndOfMessage):
                reply.is_whole = True
                if self.http.our_state is h11.DONE and self.http.their_state is h11.DONE:
                    self.http.start_next_cycle()
                return reply
            elif isinstance(event, h11.ConnectionClosed):
                return reply

    async def ask(self, method: str, path: str, body: object = b"", headers: Mapping[str, str] | None = None) -> Reply:
        """A whole request and its response."""
        await self.send(method, path, body, headers)
        return await self.receive()

    async def until_closed(self) -> bytes:
        """All that still comes, to the connection's end."""
        data = b""
        try:
            while piece := await self.talk.receive_some():
                data += piece
        except trio.BrokenResourceError:
            data += b"<reset>"
        return data


@asynccontextmanager
async def served(site: Site) -> AsyncIterator[Served]:
    """The site's gateway, served on a free port. It may be stopped inside by a signal; it ends with the block."""
    listener = listen("127.0.0.1", 0, send_timeout=site.gateway.config.send_timeout)
    server = Served(listener.getsockname()[1])
    ready = trio.Event()

    async def run() -> None:
        try:
            await serve(site.gateway, listener, announce=ready.set)
        finally:
            server.over.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await ready.wait()
        try:
            yield server
        finally:
            for wire in server.wires:
                await trio.aclose_forcefully(wire.stream)
        nursery.cancel_scope.cancel()
