"""What the shell relies on in the frameworks, and what it works around: an upgrade that changes either shows here."""

from __future__ import annotations

import binascii
import gc
import math
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, cast

import httpx
import hypercorn.protocol
import hypercorn.trio
import msgspec
import pytest
import trio
import trio.testing
from hypercorn.config import Config
from hypercorn.trio import tcp_server
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework
from quart import Response
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection

from adapters.connection import Connection
from adapters.http1 import Http1, Limits, speak_http1_alone
from tests.adapters.token_files import in_virtual_time

GET = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
App = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


async def _lifespan(receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    for _ in range(2):
        await send({"type": (await receive())["type"] + ".complete"})


@pytest.fixture(autouse=True)
def stock_hypercorn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypercorn as it comes, whatever tests before this one did."""
    monkeypatch.setattr(tcp_server, "ProtocolWrapper", hypercorn.protocol.ProtocolWrapper)
    monkeypatch.setattr("hypercorn.trio.run.TCPServer", tcp_server.TCPServer)
    monkeypatch.setattr("hypercorn.trio.run.WorkerContext", WorkerContext)


def listening() -> socket.socket:
    """A socket on a free port of this machine."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener


async def serving(
    app: App,
    listener: socket.socket,
    shutdown_trigger: Callable[[], Awaitable[None]] | None = None,
    task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Hypercorn on a socket that it takes over, with a keep-alive time of five seconds."""
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.keep_alive_timeout = 5.0
    config.errorlog = None
    framework = cast("ASGIFramework", app)
    await hypercorn.trio.serve(framework, config, shutdown_trigger=shutdown_trigger, task_status=task_status)


async def asked(app: App, request: bytes = GET) -> bytes:
    """All that comes on one connection to a server with this application, until it is closed."""
    listener = listening()
    port = listener.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(serving, app, listener)
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(request)
            data = b""
            with trio.move_on_after(60):
                while piece := await stream.receive_some():
                    data += piece
        nursery.cancel_scope.cancel()
    return data


# --- hypercorn -------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_hypercorn_takes_a_socket_by_its_number_and_says_disconnect_inside_the_last_send() -> None:
    told: list[str] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        assert (await receive())["type"] == "http.request"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok", "more_body": True})
        with trio.move_on_after(1) as early:
            await receive()
        assert early.cancelled_caught, "it said something before the end"
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        told.append((await receive())["type"])

    answer = await asked(app)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"ok")
    assert told == ["http.disconnect"]


def quart_app(connection: type[TrioASGIHTTPConnection]) -> QuartTrio:
    """An application with one answer."""
    app = QuartTrio("frameworks", static_folder=None)
    app.asgi_http_class = connection

    @app.get("/")
    async def root() -> str:
        return "ok"

    return app


@pytest.mark.parametrize(("connection", "closed_after"), [(TrioASGIHTTPConnection, math.inf), (Connection, 5.0)])
@in_virtual_time
async def test_stock_quart_trio_loses_the_keep_alive_timer_and_ours_does_not(
    connection: type[TrioASGIHTTPConnection], closed_after: float
) -> None:
    """It cancels itself on the `http.disconnect` that hypercorn says from inside the last send."""
    answer = await asked(cast("App", quart_app(connection)))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert trio.current_time() == pytest.approx(min(closed_after, 60.0), abs=0.5)


@pytest.mark.parametrize("request_bytes", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", GET[:-2] + b"upgrade: h2c\r\n\r\n"])
@in_virtual_time
async def test_stock_hypercorn_speaks_http_2_on_a_plain_port_and_ours_does_not(request_bytes: bytes) -> None:
    app = cast("App", quart_app(Connection))
    stock = await asked(app, request_bytes)
    assert not stock.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4"))
    speak_http1_alone(Limits(head=60.0, send=60.0), stop=lambda _: None)
    assert tcp_server.ProtocolWrapper is Http1  # type: ignore[attr-defined, comparison-overlap]  # as it is set
    ours = await asked(app, request_bytes)
    assert ours.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4"))


@in_virtual_time
async def test_one_connection_of_http_2_ends_stock_hypercorn() -> None:
    """The day this fails, `adapters.http1` has one reason less."""
    listener = listening()
    port = listener.getsockname()[1]

    async def ask_and_stay() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(serving, cast("App", quart_app(Connection)), listener)
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(GET[:-2] + b"upgrade: h2c\r\nhttp2-settings: !!!x\r\n\r\n")
                await trio.sleep(60)

    with pytest.raises(BaseExceptionGroup) as raised:
        await ask_and_stay()
    assert raised.group_contains(binascii.Error)


@pytest.mark.parametrize(("connects", "left"), [(True, 3.0), (False, math.inf)])
@in_virtual_time
async def test_hypercorn_tells_our_context_that_it_stops_and_our_connection_how_long_it_waits(
    connects: bool, left: float
) -> None:
    told: list[float] = []
    speak_http1_alone(Limits(head=60.0, send=60.0), stop=told.append)
    stop = trio.Event()
    listener = listening()
    port = listener.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serving, cast("App", quart_app(Connection)), listener, shutdown_trigger=stop.wait))
        if connects:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(GET)
                assert await stream.receive_some()
        assert told == []
        stop.set()
    assert told == [left]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has TCP_USER_TIMEOUT")
def test_an_accepted_socket_inherits_the_limit_on_unacknowledged_bytes() -> None:
    with listening() as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 12_345)
        listener.listen()
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 12_345


# --- quart -----------------------------------------------------------------------------------------------------


async def test_a_body_that_is_never_begun_runs_no_cleanup_of_its_generator() -> None:
    """So nothing that must be closed may be closed by the generator alone."""
    closed: list[bool] = []

    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"x"
        finally:
            closed.append(True)

    response = Response(body(), 200)
    del response
    gc.collect()
    await trio.testing.wait_all_tasks_blocked()
    assert closed == []


async def test_quart_gives_a_response_that_is_bytes_its_length_and_a_stream_none() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"

    assert Response(b"four", 200).headers["content-length"] == "4"
    assert "content-length" not in Response(body(), 200).headers


# --- msgspec ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"[" * 100_000, RecursionError),
        (b'"\\ud800"', msgspec.DecodeError),
        (b'"\xff"', UnicodeDecodeError),
        (b"{", msgspec.DecodeError),
        (b"NaN", msgspec.DecodeError),
        (b'{"a":1}{}', msgspec.DecodeError),
    ],
)
def test_msgspec_refuses_what_is_no_json_with_these_errors(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        msgspec.json.decode(data)


def test_msgspec_drops_members_that_a_struct_does_not_have() -> None:
    class One(msgspec.Struct):
        a: int

    assert msgspec.json.decode(b'{"a":1,"b":2}', type=One) == One(1)


# --- httpx -----------------------------------------------------------------------------------------------------


def _pool(limits: httpx.Limits) -> Any:
    return cast("Any", httpx.AsyncHTTPTransport(limits=limits))._pool


def test_httpx_takes_no_limit_for_no_limit_and_keeps_twenty_idle_connections() -> None:
    pool = _pool(httpx.Limits(max_connections=None))
    assert pool._max_connections >= sys.maxsize
    assert pool._max_keepalive_connections >= 20
    assert _pool(httpx.Limits(max_connections=10))._max_connections == 10


async def test_httpx_opens_a_connection_for_each_request_at_once_where_there_is_no_limit() -> None:
    everyone = trio.Event()
    connections: list[object] = []

    async def serve(stream: trio.SocketStream) -> None:
        connections.append(stream)
        if len(connections) == 40:
            everyone.set()
        async with stream:
            await stream.receive_some()
            await everyone.wait()
            await stream.send_all(b"HTTP/1.1 204 \r\n\r\n")
            await stream.receive_some()

    client = httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None))
    async with client, trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        with trio.fail_after(10):
            async with trio.open_nursery() as calls:
                for _ in range(40):
                    calls.start_soon(client.get, url)
        nursery.cancel_scope.cancel()
    assert len(connections) == 40


def test_a_request_of_httpx_that_is_made_by_hand_has_no_time_limits_of_its_client() -> None:
    assert "timeout" not in httpx.Request("GET", "http://localhost").extensions
