"""The limit of this stack: an ASGI application that passes the service's bytes on, and does nothing else.

Run as `python tests/benchmarks/bare.py URL [shared]`, the canned service's; it says where it listens. The same
hypercorn with the same settings as `adapters.serve`'s, the same httpx with the same settings as `adapters.upstream`'s;
no routes, no core, no accounts, no log. Like there each connection has a client of its own; `shared`: one client has
all of them, as httpx's documentation has it.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

import httpx
import hypercorn.trio
import trio
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework

_BACKLOG = 2048
_HEAD: dict[str, Any] = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/vnd.amazon.eventstream")],
}


class PassThrough:
    """The application, in front of one address."""

    def __init__(self, url: str, *, shared: bool) -> None:
        self._url = url
        self._shared = shared
        self._tls = httpx.create_ssl_context()
        self._idle: list[httpx.AsyncClient] = []

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Pass one request on, and its answer back."""
        if scope["type"] == "lifespan":
            for _ in range(2):
                await send({"type": f"{(await receive())['type']}.complete"})
            return
        body, more = b"", True
        while more:
            event = await receive()
            body, more = body + event.get("body", b""), event.get("more_body", False)
        client = self._take()
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        async with client.stream("POST", self._url, headers=headers, content=body) as response:
            await send(_HEAD)
            async for data in response.aiter_raw():
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body"})
        if not self._shared:
            self._idle.append(client)

    def _take(self) -> httpx.AsyncClient:
        if self._idle:
            return self._idle[0] if self._shared else self._idle.pop()
        client = httpx.AsyncClient(
            verify=self._tls,
            timeout=httpx.Timeout(None, connect=10.0),
            limits=httpx.Limits(max_connections=None),
            follow_redirects=False,
        )
        if self._shared:
            self._idle.append(client)
        return client


async def main(url: str, option: str) -> None:
    """Serve until the process is ended."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    port = listener.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.backlog = _BACKLOG
    config.keep_alive_timeout = 75.0
    config.read_timeout = None
    config.alpn_protocols = ["http/1.1"]
    config.include_server_header = False
    config.accesslog = config.errorlog = None
    async with trio.open_nursery() as nursery:
        app = cast("ASGIFramework", PassThrough(url, shared=option == "shared"))
        await nursery.start(partial(hypercorn.trio.serve, app, config))
        print(f"listening on http://127.0.0.1:{port}", flush=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], "".join(sys.argv[2:]))
