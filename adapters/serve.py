"""Runs a gateway on a socket until a signal says to stop: the composition root of the server.

Hypercorn is run from our own `trio.run`, in one process. Three hazards of running it otherwise are met here or
in `connection`: its worker processes stop badly, its sends to a client that no longer reads cannot be cancelled,
and its idle connections hold up a graceful stop.
"""

from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import cast

import hypercorn.trio
import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.typing import ASGIFramework

from adapters.descriptors import explain_shortage, raise_limit
from adapters.gateway import Gateway
from adapters.http1 import SEND_BYTES, cut_connections, speak_http1_alone
from core.config import Config

_log = logging.getLogger("stagewhisper")

_BACKLOG = 1024
_VANISHED = 10
"""After so many times what a send may take, a client that acknowledges nothing has vanished."""
_KEEP_ALIVE_SECONDS = 75.0
"""Longer than clients keep an idle connection (httpx 5 s, node 4 s), so that they close first and never race us."""


_LAST_SECONDS = 5.0
"""How long the last errors of a stop may take to their clients: a thousand at once took one and a half of them."""


class CannotListen(Exception):
    """An address cannot be listened on. The text says why, in one line."""


def listen(host: str, port: int, *, send_timeout: float = 60.0) -> socket.socket:
    """A listening socket; port 0 takes a free one. A client may leave what it is sent unread for that many seconds.

    Raises:
        CannotListen: the port is taken, or the address is not this machine's.
    """
    try:
        family, kind, protocol, _, address = min(
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE),
            key=lambda found: found[0] != socket.AF_INET,  # `localhost` means 127.0.0.1 to most clients
        )
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotListen(f"cannot listen on {host}: {error.strerror or error}") from None
    try:
        if sys.platform != "win32":  # there it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Accepted sockets inherit both. The first is for what a client that vanished never acknowledges although
        # nothing is being sent: longer than a send may take, for Linux also counts the time for which a small window
        # stays full although bytes go through it. The second is for memory: a system holds megabytes for a client
        # that does not read.
        if sys.platform == "linux":
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(send_timeout * 1000 * _VANISHED))
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, SEND_BYTES)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotListen(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    return listener


def url_of(listener: socket.socket, *, tls: bool = False) -> str:
    """The base URL under which a client on this machine reaches a listening socket."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


async def serve(gateway: Gateway, listener: socket.socket, *, announce: Callable[[], None] = lambda: None) -> None:
    """Serve a gateway until a signal says to stop, then let running requests end for its configured time.

    Those that have not ended then are sent an error; a client that does not take it is cut off soon.
    `announce` is called when requests are answered. A second signal ends everything at once.
    """
    server = gateway.config.server
    if shortage := explain_shortage(raise_limit(), running=server.max_concurrent, waiting=server.max_queued):
        _log.warning("%s", shortage)
    speak_http1_alone(gateway.limits, stop=gateway.stopping.begin)
    patience = server.drain + _LAST_SECONDS
    async with trio.open_nursery() as nursery:
        stop = trio.Event()
        await nursery.start(_heed_signals, stop, nursery.cancel_scope)
        nursery.start_soon(_cut_late, stop, patience)
        async with trio.open_nursery() as serving:
            config = _hypercorn_config(listener, gateway.config, patience)
            app = cast("ASGIFramework", gateway.app)
            await serving.start(partial(hypercorn.trio.serve, app, config, shutdown_trigger=stop.wait))
            announce()
        nursery.cancel_scope.cancel()


def _hypercorn_config(listener: socket.socket, settings: Config, patience: float) -> HypercornConfig:
    """Hypercorn's settings, each of which is decided here. It takes the socket over."""
    config = HypercornConfig()
    config.certfile = settings.server.tls_cert_file
    config.keyfile = settings.server.tls_key_file
    config.ssl_handshake_timeout = settings.request_timeout
    config.bind = [f"fd://{listener.detach()}"]
    config.backlog = _BACKLOG
    config.graceful_timeout = patience
    config.shutdown_timeout = 90.0  # writing a token back may wait for its lock, and for the disk
    config.keep_alive_timeout = _KEEP_ALIVE_SECONDS
    config.read_timeout = None  # it would end long answers, during which a client sends nothing
    config.alpn_protocols = ["http/1.1"]
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("stagewhisper.server")
    config.errorlog.setLevel(logging.WARNING)  # it would say where it runs, and so do we
    return config


async def _cut_late(stop: trio.Event, patience: float) -> None:
    """End what still sends when the time is over: hypercorn's own cancelling does not reach it."""
    await stop.wait()
    await trio.sleep(patience)
    cut_connections()


async def _heed_signals(
    stop: trio.Event, scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Stop gracefully on the first signal, and at once on the second."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            if stop.is_set():
                scope.cancel()
                cut_connections()  # hypercorn shields its sends from being cancelled
                return
            _log.info("stopping on %s, once the running requests have ended", signal.Signals(number).name)
            stop.set()
