"""HTTP/1.1 on hypercorn's connections, and nothing else.

Hypercorn 0.18 also speaks HTTP/2 on a plain port, to whoever begins with its preface or asks for an upgrade to it,
and what goes wrong there is no matter of one connection: a late piece of a body that was answered already, a path
that is not ASCII, or settings that are no base64 raise in the task that reads, and end the whole server. A refused
WebSocket handshake keeps its connection for as long as the client likes, and holds up a stop. No client of the
Messages API needs either, so neither is there: both are answered as the HTTP/1.1 requests that they also are.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from hypercorn.events import Closed, Event
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio import tcp_server

_log = logging.getLogger("stagewhisper.server")


class Http1(H11Protocol):
    """What hypercorn takes for its choice of protocols."""

    def __init__(self, *arguments: Any) -> None:
        """Take what that takes. The last is the protocol that TLS agreed on."""
        super().__init__(*arguments[:9])

    async def handle(self, event: Event) -> None:
        """Take in what happened to the connection. What goes wrong with it ends this connection alone."""
        try:
            await super().handle(event)
        except Exception:
            _log.exception("a connection ended by a bug of the server")
            await super().handle(Closed())
            await self.send(Closed())

    async def _check_protocol(self, event: Any) -> None:
        """Leave the connection's protocol as it is."""

    async def _create_stream(self, request: Any) -> None:
        """Hand a request (h11's) on without what it says of another protocol."""
        headers = [(name, value) for name, value in request.headers.raw_items() if name.lower() != b"upgrade"]
        await super()._create_stream(dataclasses.replace(request, headers=headers))


def speak_http1_alone() -> None:
    """Have hypercorn's connections speak nothing else from now on, in this process."""
    tcp_server.ProtocolWrapper = Http1  # type: ignore[assignment, attr-defined]  # used like it
