"""One HTTP request as hypercorn hands it over: its body, its life and its end.

Quart-Trio's own class is replaced in four points, each of which breaks a gateway that stays up:

- It cancels the request when hypercorn says `http.disconnect`, which hypercorn also does right after the last
  byte of the answer; the cancelled connection then never gets its keep-alive timer back, and a graceful stop
  waits for it.
- It buffers a chunked body without any limit (in quart 0.23).
- It answers a client that is still sending, and the server then closes on it.
- What a view began is nobody's when the client leaves before the answer's body was begun, for a generator that
  never started runs no `finally`. So each request has a nursery of its own, around all of it.

And where an answer is worth its cost, quart is passed by: its contexts, wrappers and hooks, and the two tasks of
quart-trio, are a fifth of what `POST /v1/messages` costs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, NamedTuple, TypeAlias, cast

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, HTTPScope
from quart.typing import ResponseTypes
from quart.wrappers import Request
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection, TrioASGILifespan

from core.errors import ClientRequestError

MAX_BODY_BYTES: Final = 32_000_000
"""The Messages API's limit on a request's body."""

MAX_HELD_BYTES: Final = 1 << 29
"""How much of bodies that are not whole yet is held for all clients together: 16 of the largest."""

SLOWEST_BODY: Final = 16 * 1024
"""Bytes a second that a body has to come at in the end: the largest one may take half an hour, over ISDN."""

_LINGER_SECONDS = 5.0
"""How long an early answer waits for a body that nobody wants (nginx lingers for as long)."""

_SCOPE_KEY = "stagewhisper.connection"


class Held:
    """How many bytes of bodies are held that are not whole yet, of all requests."""

    def __init__(self) -> None:
        self.total = 0


_held = Held()


class Incoming:
    """A request's body as it comes in, and the nursery in which work for the request runs."""

    def __init__(self, nursery: trio.Nursery, declared: int | None, held: Held = _held) -> None:
        self._held = held
        self._no_room = False
        self.nursery = nursery
        self._body = bytearray()
        self._too_large = declared is not None and declared > MAX_BODY_BYTES
        self._more = trio.Event()
        self._complete = False
        self._unwanted = False
        self._linger = _LINGER_SECONDS

    def take(self, data: bytes, *, more: bool) -> None:
        """Take in a piece. Past the limits nothing is kept."""
        if len(self._body) + len(data) > MAX_BODY_BYTES:
            self._too_large = True
        elif self._held.total + len(data) > MAX_HELD_BYTES:
            self._no_room = True
        if self._too_large or self._unwanted or self._no_room:
            self.drop()
        else:
            self._body += data
            self._held.total += len(data)
        self._complete = not more
        self._more.set()

    async def body(self, *, patience: float) -> bytes:
        """The whole body. Each piece of it must come within `patience` seconds, and it at `SLOWEST_BODY` after these.

        Raises:
            ClientRequestError: it is over the limit (413), as declared or as it turned out, it stalled (400), or
                there is no room for it beside all others (529).
        """
        began = trio.current_time()
        while not (self._complete or self._too_large or self._no_room):
            self._more = trio.Event()
            last = trio.current_time()
            earned = began + len(self._body) / SLOWEST_BODY
            with trio.move_on_at(min(earned, last) + patience) as waiting:
                await self._more.wait()
            if waiting.cancelled_caught:
                how = "stalled" if earned >= last else f"came at less than {SLOWEST_BODY} bytes a second"
                problem = f"the request's body {how} for {patience:g} seconds (timeouts.requestMs)"
                raise ClientRequestError("", problem)
        if self._too_large:
            raise ClientRequestError(
                "", f"the request's body is larger than {MAX_BODY_BYTES} bytes", error_type="request_too_large"
            )
        if self._no_room:
            raise ClientRequestError(
                "", "too much is being uploaded to this gateway at once; try again", error_type="overloaded_error"
            )
        body = bytes(self._body)
        self.drop()
        return body

    def drop(self) -> None:
        """Hold nothing any more."""
        self._held.total -= len(self._body)
        self._body.clear()

    def hurry(self) -> None:
        """Let no early answer wait for long: the gateway is stopping."""
        self._linger = _LINGER_SECONDS / 5

    async def discard(self) -> None:
        """Let what is left of the body come, and keep nothing of it. A client that takes too long is not waited for.

        The server closes a connection on which a body is still coming once it has answered. The rest of the body
        then makes the system reset it, and a client in the middle of sending hears of that, not of the answer.
        """
        self._unwanted = True
        self.drop()
        with trio.move_on_after(self._linger):
            while not self._complete:
                self._more = trio.Event()
                await self._more.wait()


def incoming(scope: object) -> Incoming:
    """The incoming request that an ASGI scope belongs to."""
    return cast("Incoming", cast("dict[str, Any]", scope)[_SCOPE_KEY])


class Reply(NamedTuple):
    """An answer: whole, or in pieces as they come. `is_over`: whether the piece that has just come was the last."""

    status: int
    headers: Mapping[str, str]
    body: bytes | AsyncGenerator[bytes]
    is_over: Callable[[], bool] = lambda: False


Route: TypeAlias = Callable[[dict[str, Any]], Awaitable[Reply]]
"""What answers a request, given its ASGI scope; what it raises cuts the connection."""

_NO_ROUTES: Mapping[tuple[str, str], Route] = {}


class Connection(TrioASGIHTTPConnection):
    """Quart-Trio's handling of one request, mended. `routes`, by method and path, are those that quart does not see."""

    def __init__(
        self, app: QuartTrio, scope: HTTPScope, *, routes: Mapping[tuple[str, str], Route] = _NO_ROUTES
    ) -> None:
        super().__init__(app, scope)
        self._routes = routes

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Handle the request. Everything that was begun for it is over when this returns."""
        self._answered = False
        scope = cast("dict[str, Any]", self.scope)
        scope["path"] = _path_of(scope["path"])
        async with trio.open_nursery() as nursery:
            self._incoming = Incoming(nursery, self._declared_length())
            scope[_SCOPE_KEY] = self._incoming
            route = self._routes.get((scope["method"], scope["path"].removeprefix(scope.get("root_path", ""))))
            try:
                if route is None:
                    await super().__call__(receive, self._watch(send))
                else:
                    nursery.start_soon(self.handle_messages, nursery, None, receive)
                    await self._send_response(self._watch(send), await route(scope))
            finally:
                self._incoming.drop()
            nursery.cancel_scope.cancel()

    def _declared_length(self) -> int | None:
        for name, value in self.scope["headers"]:
            # h11 has let only digits through; of several equal ones it keeps one.
            if name == b"content-length":
                return int(value)
        return None

    def _watch(self, send: ASGISendCallable) -> ASGISendCallable:
        async def watched(event: ASGISendEvent) -> None:
            if event["type"] == "http.response.start":
                await self._incoming.discard()
            if event["type"] == "http.response.body" and not event.get("more_body", False):
                self._answered = True
            await send(event)

        return watched

    async def _send_response(self, send: ASGISendCallable, response: ResponseTypes | Reply) -> None:
        if not isinstance(response, Reply):
            return await super()._send_response(send, response)
        status, named, body, is_over = response
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
        if isinstance(body, bytes):
            headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers, "trailers": False})
        if isinstance(body, bytes):
            return await send({"type": "http.response.body", "body": body, "more_body": False})
        more = True
        async with aclosing(body) as pieces:
            async for piece in pieces:
                more = not is_over()
                await send({"type": "http.response.body", "body": piece, "more_body": more})
        if more:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        return None

    async def handle_messages(  # type: ignore[override]  # as in quart-trio, which has the nursery as well
        self, nursery: trio.Nursery, _request: Request | None, receive: Callable[[], Awaitable[Any]]
    ) -> None:
        """Take in the body, and notice that the client left. Nothing goes into quart's own buffer."""
        while True:
            message = await receive()
            match message["type"]:
                case "http.request":
                    self._incoming.take(message.get("body", b""), more=message.get("more_body", False))
                case "http.disconnect":
                    break
        if not self._answered:
            nursery.cancel_scope.cancel()


def _path_of(target: str) -> str:
    """The path in a request's target, which may be a whole URL, `*`, or nothing but a query. Quart fails on some."""
    if target.startswith("/"):
        return target
    return "/" + target.partition("://")[2].partition("/")[2]


class Lifespan(TrioASGILifespan):
    """The application's start and end. Under another event loop than trio's it says so, instead of failing later."""

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Start and end the application."""
        if trio.lowlevel.in_trio_run():
            await super().__call__(receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "this runs on trio: start hypercorn with -k trio"})
