"""The server on a real socket: connections that are used again, and what a stop does to each kind of client."""

from __future__ import annotations

import json
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from adapters import http1
from adapters import serve as module
from adapters.emulator import always
from adapters.http1 import SEND_BYTES
from adapters.serve import CannotListen, listen, url_of
from tests.adapters.harness import HELLO, STREAMED, Site, running
from tests.adapters.token_files import in_virtual_time
from tests.adapters.wire import Served, Wire, served

DRAIN = {"server": {"drainMs": 30_000}}


# --- listening -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1:"), ("localhost", "http://127.0.0.1:")])
def test_a_free_port_is_taken_and_named(host: str, url: str) -> None:
    with listen(host, 0) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener) == f"{url}{port}"
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_ipv6_address_stands_in_brackets_in_its_url() -> None:
    try:
        listener = listen("::1", 0)
    except CannotListen as problem:
        pytest.skip(f"no IPv6 here: {problem}")
    with listener:
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"


def test_a_taken_port_is_said_in_one_line() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen) as raised:
            listen("127.0.0.1", port)
    assert str(raised.value) == f"cannot listen on 127.0.0.1:{port}: Address already in use"


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_this_machines_is_said_in_one_line(host: str) -> None:
    with pytest.raises(CannotListen) as raised:
        listen(host, 0)
    assert str(raised.value).startswith(f"cannot listen on {host}")
    assert "\n" not in str(raised.value)


# --- connections -----------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_connection_is_used_again_and_an_idle_one_is_closed_in_time(tmp_path: Path) -> None:
    async with running(tmp_path) as site, served(site) as server:
        wire = await server.connect()
        kinds = [("POST", "/v1/messages", HELLO), ("POST", "/v1/messages", STREAMED), ("GET", "/nothing", b"")]
        statuses = []
        for method, path, body in kinds * 2:
            reply = await wire.ask(method, path, body)
            assert reply.is_whole
            statuses.append(reply.status)
            await trio.sleep(50)
        began = trio.current_time()
        assert await wire.until_closed() == b""
        waited = trio.current_time() - began
    assert statuses == [200, 200, 404] * 2
    assert waited == pytest.approx(module._KEEP_ALIVE_SECONDS - 50, abs=0.5)


@in_virtual_time
async def test_a_client_that_says_nothing_is_let_go(tmp_path: Path) -> None:
    async with running(tmp_path) as site, served(site) as server:
        silent = await server.connect()
        assert await silent.until_closed() == b""
        assert trio.current_time() == pytest.approx(module._KEEP_ALIVE_SECONDS, abs=0.5)


async def test_requests_that_are_sent_ahead_are_answered_in_order(tmp_path: Path) -> None:
    async with running(tmp_path) as site, served(site) as server:
        wire = await server.connect()
        requests = [b"GET /%d HTTP/1.1\r\nhost: localhost\r\n\r\n" % number for number in range(5)]
        await wire.stream.send_all(b"".join(requests))
        data = b""
        while data.count(b" here") < 5:
            data += await wire.stream.receive_some()
    places = [data.index(b"no GET /%d here" % number) for number in range(5)]
    assert places == sorted(places)


async def test_a_large_body_that_is_refused_early_hears_why_and_keeps_its_connection(tmp_path: Path) -> None:
    async with running(tmp_path, {"server": {"apiKeys": ["made-up-key"]}}) as site, served(site) as server:
        wire = await server.connect()
        refused = await wire.ask("POST", "/v1/messages", bytes(6_000_000), {"x-api-key": "wrong"})
        again = await wire.ask("GET", "/health")
        too_large = await wire.ask("POST", "/v1/messages", bytes(33_000_000), {"x-api-key": "made-up-key"})
        once_more = await wire.ask("GET", "/health")
    assert [reply.status for reply in (refused, again, too_large, once_more)] == [401, 200, 413, 200]


@in_virtual_time
async def test_an_error_in_a_stream_is_an_event_and_the_streams_end(tmp_path: Path) -> None:
    document = {"timeouts": {"idleMs": 25_000}}
    async with running(tmp_path, document, scenario=always("stall:2")) as site, served(site) as server:
        wire = await server.connect()
        reply = await wire.ask("POST", "/v1/messages", STREAMED)
        assert reply.events[0] == "message_start"
        assert reply.events[-1] == "error"
        assert reply.is_whole
        assert (await wire.ask("GET", "/health")).status == 200


async def test_a_client_of_http_1_0_gets_its_stream_to_the_connections_end(tmp_path: Path) -> None:
    async with running(tmp_path) as site, served(site) as server:
        wire = await server.connect()
        body = json.dumps(STREAMED).encode()
        await wire.stream.send_all(b"POST /v1/messages HTTP/1.0\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        answer = await wire.until_closed()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"transfer-encoding" not in answer.lower()
    assert answer.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')


# --- stopping --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@in_virtual_time
async def test_idle_connections_do_not_hold_up_a_stop(tmp_path: Path, number: signal.Signals) -> None:
    async with running(tmp_path, DRAIN) as site, served(site) as server:
        idle = [await server.connect() for _ in range(4)]
        for wire in idle[1:]:
            assert (await wire.ask("POST", "/v1/messages", HELLO)).status == 200
        await idle[3].stream.send_all(b"GET /health HT")
        began = trio.current_time()
        signal.raise_signal(number)
        await server.over.wait()
        assert trio.current_time() - began < 1
        assert [await wire.until_closed() for wire in idle] == [b""] * 4
        with pytest.raises(OSError, match="all attempts to connect"):
            await server.connect()


async def asking(site: Site, server: Served) -> Wire:
    """A client whose request the service has got."""
    wire = await server.connect()
    await wire.send("POST", "/v1/messages", STREAMED)
    await site.until_said("answered POST /generate")
    return wire


async def reading_slowly(server: Served) -> Wire:
    """A client that has got the beginning of a large answer, and has little room for more."""
    wire = await server.connect()
    wire.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await wire.send("POST", "/v1/messages", STREAMED)
    assert (await wire.receive(until=b"content_block_start")).status == 200
    return wire


@in_virtual_time
async def test_a_running_stream_may_end_within_the_drain_time(tmp_path: Path) -> None:
    async with running(tmp_path, DRAIN, scenario=always("slow-head:20000")) as site, served(site) as server:
        wire = await asking(site, server)
        signal.raise_signal(signal.SIGTERM)
        reply = await wire.receive()
        assert reply.is_whole
        assert reply.events[-1] == "message_stop"
        await server.over.wait()
        assert trio.current_time() == pytest.approx(20, abs=1)


@in_virtual_time
async def test_a_stream_that_takes_longer_ends_with_an_error(tmp_path: Path) -> None:
    async with running(tmp_path, DRAIN, scenario=always("slow-head:90000")) as site, served(site) as server:
        wire = await asking(site, server)
        signal.raise_signal(signal.SIGTERM)
        reply = await wire.receive()
        await server.over.wait()
        assert trio.current_time() == pytest.approx(30, abs=1)
        while site.open:
            await trio.sleep(1)
    assert reply.is_whole
    assert set(reply.events) == {"message_start", "ping", "error"}


@in_virtual_time
async def test_a_second_signal_ends_everything_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, DRAIN, scenario=always("stall:1")) as site, served(site) as server:
        wire = await asking(site, server)
        signal.raise_signal(signal.SIGTERM)
        await trio.sleep(2)
        assert not server.over.is_set()
        signal.raise_signal(signal.SIGINT)
        await server.over.wait()
        assert trio.current_time() == pytest.approx(2, abs=1)
        reply = await wire.receive()
        while site.open:
            await trio.sleep(0.1)
    assert not reply.is_whole


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has TCP_USER_TIMEOUT")
def test_the_system_drops_a_client_that_vanished_and_keeps_little_for_one_that_does_not_read() -> None:
    with listen("127.0.0.1", 0, send_timeout=1.5) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 15_000
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == SEND_BYTES


@pytest.mark.skipif(sys.platform != "linux", reason="how much the system buffers is Linux's")
async def test_a_client_that_stops_reading_holds_up_no_stop(tmp_path: Path) -> None:
    """It is there, and its connection is well. Hypercorn shields its sends from whatever cancels them."""
    document = {"server": {"drainMs": 200}}
    async with running(tmp_path, document, scenario=always("big:16000000")) as site, served(site) as server:
        wire = await reading_slowly(server)
        signal.raise_signal(signal.SIGTERM)
        with trio.move_on_after(15) as patience:
            await server.over.wait()
        await wire.stream.aclose()
    assert not patience.cancelled_caught, "the stop waited for a client that does not read"


@pytest.mark.skipif(sys.platform != "linux", reason="how much the system buffers is Linux's")
async def test_a_client_that_reads_a_little_now_and_then_holds_up_no_stop(tmp_path: Path) -> None:
    """It takes bytes, so the system sees no fault with it, and hypercorn's send to it cannot be cancelled."""
    document = {"server": {"drainMs": 300}}
    async with running(tmp_path, document, scenario=always("big:16000000")) as site, served(site) as server:
        wire = await reading_slowly(server)
        signal.raise_signal(signal.SIGTERM)
        with trio.move_on_after(15) as patience:
            while not server.over.is_set():
                with trio.move_on_after(0.05), suppress(trio.BrokenResourceError):
                    await wire.stream.receive_some(64)
    assert not patience.cancelled_caught, "the stop waited for a client that trickles"


@pytest.mark.parametrize(
    ("rest", "begun"),
    [(b"", False), (b"", True), (b"\r\n", False), (b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n", False)],
)
async def test_a_connection_whose_client_left_is_gone(tmp_path: Path, rest: bytes, begun: bool) -> None:
    scenario = "stall:1" if begun else "stall-head"
    document = {"pings": {"quietMs": 0}}
    async with running(tmp_path, document, scenario=always(scenario)) as site, served(site) as server:
        for _ in range(3):
            wire = await server.connect()
            await wire.send("POST", "/v1/messages", STREAMED)
            await wire.stream.send_all(rest)
            if begun:
                await wire.receive(until=b"message_start")
            wire.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await trio.aclose_forcefully(wire.stream)
        signal.raise_signal(signal.SIGTERM)
        with trio.move_on_after(10) as patience:
            await server.over.wait()
    assert not patience.cancelled_caught
    assert len(http1._connections) == 0


async def test_a_connection_that_its_client_closed_after_an_answer_is_not_kept(tmp_path: Path) -> None:
    async with running(tmp_path) as site, served(site) as server:
        for _ in range(3):
            wire = await server.connect()
            assert (await wire.ask("GET", "/health")).status == 200
            await trio.testing.wait_all_tasks_blocked(0.01)  # until the server waits for the next request
            await wire.stream.aclose()
        with trio.fail_after(10):
            while http1._connections:
                await trio.sleep(0.01)
        assert await server.is_well()
