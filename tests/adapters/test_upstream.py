"""Calls over real sockets, and what is told of each way in which one can go wrong. No message has a header in it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from adapters.upstream import Unreachable, Upstream
from core.dialogue import CallFailed, DataArrived, Happening, HeadArrived
from core.http import Call
from tests.adapters.token_files import in_virtual_time

SECRET = "made-up-secret-in-a-header"
OK = b"HTTP/1.1 200 OK\r\n"


class Origin:
    """A server that answers each connection's first request with these bytes, and then does `end`."""

    def __init__(self, answer: bytes, end: str) -> None:
        self._answer = answer
        self._end = end
        self.requests: list[bytes] = []
        self.url = ""

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection."""
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data or not data.endswith(b"made-up-body"):
                piece = await stream.receive_some()
                if not piece:
                    return
                data += piece
            self.requests.append(data)
            await stream.send_all(self._answer)
            if self._end == "stall":
                await stream.receive_some()
            elif self._end == "reset":
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


@asynccontextmanager
async def answering(answer: bytes, end: str = "close") -> AsyncIterator[Origin]:
    """A server on loopback."""
    origin = Origin(answer, end)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, origin.serve, 0, host="127.0.0.1"))
        origin.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        yield origin
        nursery.cancel_scope.cancel()


def call(url: str, headers: Mapping[str, str] | None = None) -> Call:
    """A call with a secret in it."""
    named = {"authorization": f"Bearer {SECRET}", "accept-encoding": "identity", **(headers or {})}
    return Call(method="POST", url=f"{url}/path", headers=named, body=b"made-up-body")


async def told(url: str, headers: Mapping[str, str] | None = None, *, connect_timeout: float = 5.0) -> list[Happening]:
    """All that is told of one call."""
    upstream = Upstream(connect_timeout=connect_timeout)
    happenings: list[Happening] = []

    async def tell(happening: Happening) -> None:
        await trio.lowlevel.checkpoint()
        happenings.append(happening)

    try:
        await upstream.call(call(url, headers), tell)
    finally:
        await upstream.aclose()
    return happenings


def summed(happenings: list[Happening]) -> list[str]:
    """Happenings by their names, pieces of a body joined."""
    names: list[str] = []
    for happening in happenings:
        name = f"{type(happening).__name__}"
        if isinstance(happening, CallFailed):
            name += f" {happening.cause}"
        if not (isinstance(happening, DataArrived) and names and names[-1] == name):
            names.append(name)
    return names


WHOLE = ["HeadArrived", "DataArrived", "BodyEnded"]
BROKEN = ["HeadArrived", "DataArrived", "CallFailed network"]
NO_HEAD = ["CallFailed network"]


@pytest.mark.parametrize(
    ("answer", "end", "expected"),
    [
        (OK + b"content-length: 4\r\n\r\nbody", "stall", WHOLE),
        (OK + b"content-length: 0\r\n\r\n", "stall", ["HeadArrived", "BodyEnded"]),
        (OK + b"transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", "stall", WHOLE),
        (OK + b"\r\nto the end", "close", WHOLE),
        (OK + b"\r\nto the end", "reset", BROKEN),
        (OK + b"content-length: 400\r\n\r\nbody", "close", BROKEN),
        (OK + b"content-length: 400\r\n\r\nbody", "reset", BROKEN),
        (OK + b"transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n", "close", BROKEN),
        (OK + b"transfer-encoding: chunked\r\n\r\n4\r\nbo", "close", BROKEN),
        (OK + b"transfer-encoding: chunked\r\n\r\n4\r\nbody\r\nzz\r\n", "stall", BROKEN),
        (OK + b"content-le", "close", NO_HEAD),
        (b"", "close", NO_HEAD),
        (b"", "reset", NO_HEAD),
        (b"hello\r\n\r\n", "close", NO_HEAD),
        (b"HTTP/2 200\r\n\r\n", "close", NO_HEAD),
        (OK + b"x: " + b"y" * 200_000 + b"\r\n\r\n", "close", NO_HEAD),
        (OK + b"content-length: -1\r\n\r\n", "close", NO_HEAD),
    ],
)
async def test_what_comes_is_told_to_its_end_or_its_failure(answer: bytes, end: str, expected: list[str]) -> None:
    async with answering(answer, end) as origin:
        with trio.fail_after(10):
            happenings = await told(origin.url)
    assert summed(happenings) == expected
    assert SECRET not in repr(happenings)
    if isinstance(happenings[-1], CallFailed):
        problem = happenings[-1].problem
        assert problem.startswith(origin.url + ": ")
        assert len(problem) < 300
        assert "\n" not in problem


async def test_a_call_is_sent_as_it_is_and_nothing_is_added_but_what_http_needs() -> None:
    async with answering(OK + b"content-length: 0\r\n\r\n", "stall") as origin:
        await told(origin.url, {"user-agent": "stagewhisper/test"})
    head, _, body = origin.requests[0].partition(b"\r\n\r\n")
    first, *fields = head.decode().split("\r\n")
    assert first == "POST /path HTTP/1.1"
    assert sorted(field.partition(":")[0].lower() for field in fields) == [
        "accept-encoding",
        "authorization",
        "content-length",
        "host",
        "user-agent",
    ]
    assert body == b"made-up-body"


async def test_a_body_is_given_as_it_came_whatever_its_encoding_says() -> None:
    answer = OK + b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\nbody"
    async with answering(answer) as origin:
        happenings = await told(origin.url)
    assert [happening.data for happening in happenings if isinstance(happening, DataArrived)] == [b"body"]


async def test_headers_come_by_lower_case_name_in_whatever_bytes() -> None:
    answer = b"HTTP/1.1 402 \r\nX-One: \xe9\xff\r\nx-two: a\r\nX-Two: b\r\ncontent-length: 0\r\n\r\n"
    async with answering(answer) as origin:
        happenings = await told(origin.url)
    assert isinstance(happenings[0], HeadArrived)
    head = happenings[0].head
    assert head.status == 402
    assert {"x-one", "x-two", "content-length"} == set(head.headers)


async def test_a_redirect_is_an_answer_like_any_other() -> None:
    async with answering(OK, "close") as elsewhere:
        moved = f"HTTP/1.1 307 \r\nlocation: {elsewhere.url}/\r\ncontent-length: 0\r\n\r\n".encode()
        async with answering(moved) as origin:
            happenings = await told(origin.url)
        assert elsewhere.requests == []
    assert isinstance(happenings[0], HeadArrived)
    assert happenings[0].head.status == 307


async def test_an_informational_answer_is_passed_over() -> None:
    async with answering(b"HTTP/1.1 103 \r\n\r\n" + OK + b"content-length: 4\r\n\r\nbody") as origin:
        assert summed(await told(origin.url)) == WHOLE


async def test_a_refused_connection_is_the_networks_failure() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening: no one else gets the port, and it refuses
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        happenings = await told(url)
    assert summed(happenings) == ["CallFailed network"]


@in_virtual_time
async def test_a_connection_that_does_not_come_about_is_a_timeout() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        fillers = []
        try:
            for _ in range(4):  # Linux drops what comes to a full queue, and the client goes on trying
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(address)
                fillers.append(filler)
            happenings = await told(f"http://127.0.0.1:{address[1]}", connect_timeout=7.0)
        finally:
            for filler in fillers:
                filler.close()
    assert summed(happenings) == ["CallFailed timeout"]
    assert trio.current_time() == pytest.approx(7.0)


async def test_a_name_that_is_none_is_the_networks_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_such_name(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(trio.socket, "getaddrinfo", no_such_name)
    happenings = await told("http://service.invalid")
    assert summed(happenings) == ["CallFailed network"]


async def test_what_is_no_tls_is_the_networks_failure() -> None:
    async def speak_plain(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, speak_plain, 0, host="127.0.0.1"))
        happenings = await told(f"https://127.0.0.1:{listeners[0].socket.getsockname()[1]}")
        nursery.cancel_scope.cancel()
    assert summed(happenings) == ["CallFailed network"]


PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.mark.parametrize(
    ("variables", "is_asked"),
    [
        ({"http_proxy": "http://{}"}, True),
        ({"HTTP_PROXY": "http://{}"}, True),
        ({"http_proxy": "{}"}, True),
        ({"all_proxy": "http://{}"}, True),
        ({"https_proxy": "http://{}"}, False),
        ({}, False),
        ({"http_proxy": "http://{}", "no_proxy": "127.0.0.1"}, False),
        ({"http_proxy": "http://{}", "no_proxy": "*"}, False),
        ({"http_proxy": "http://{}", "no_proxy": "elsewhere.example"}, True),
    ],
)
async def test_the_environments_proxy_is_asked_unless_it_excepts_the_host(
    variables: dict[str, str], is_asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    answer = OK + b"content-length: 4\r\n\r\nbody"
    async with answering(answer) as proxy, answering(answer) as origin:
        for name, value in variables.items():
            monkeypatch.setenv(name, value.format(proxy.url.removeprefix("http://")))
        assert summed(await told(origin.url)) == WHOLE
        assert (len(proxy.requests), len(origin.requests)) == (is_asked, not is_asked)
        if is_asked:
            assert proxy.requests[0].startswith(f"POST {origin.url}/path HTTP/1.1\r\n".encode())
        upstream = Upstream(connect_timeout=5.0, proxies=False)
        assert await upstream.fetch(call(origin.url)) == (200, b"body")
        await upstream.aclose()
    assert len(proxy.requests) == is_asked


async def test_a_proxy_is_asked_for_a_tunnel_to_an_https_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    asked: list[bytes] = []

    async def refuse(stream: trio.SocketStream) -> None:
        async with stream:
            asked.append(await stream.receive_some())
            await stream.send_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, refuse, 0, host="127.0.0.1"))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}")
        assert summed(await told("https://service.example")) == NO_HEAD
        nursery.cancel_scope.cancel()
    assert asked[0].startswith(b"CONNECT service.example:443 HTTP/1.1\r\n")
    assert SECRET.encode() not in asked[0]


async def test_certificates_are_checked() -> None:
    upstream = Upstream(connect_timeout=1.0)
    with pytest.raises(Unreachable):
        await upstream.fetch(Call(method="GET", url="https://127.0.0.1:1", headers={}))
    assert upstream._tls is not None
    assert upstream._tls.verify_mode is ssl.CERT_REQUIRED
    assert upstream._tls.check_hostname
    await upstream.aclose()


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {SECRET}\r\nx: y"},
        {"authorization": f"Bearer {SECRET}\N{SNOWMAN}"},
        {"authorization": f"Bearer {SECRET}\x00"},
        {f"x {SECRET}": "y"},
    ],
)
async def test_a_header_that_cannot_be_sent_fails_the_call_and_is_not_quoted(headers: dict[str, str]) -> None:
    async with answering(OK) as origin:
        happenings = await told(origin.url, headers)
        assert origin.requests == []
    assert summed(happenings) == ["CallFailed network"]
    assert SECRET not in repr(happenings)
    assert SECRET[:10] not in repr(happenings)


@pytest.mark.parametrize(
    "url", ["http://[bad", "http://127.0.0.1:99999", "made-up", "ftp://127.0.0.1", "", "http://\x00"]
)
async def test_an_address_that_is_none_fails_the_call(url: str) -> None:
    assert summed(await told(url)) == ["CallFailed network"]
    with pytest.raises(Unreachable):
        await Upstream(connect_timeout=1.0).fetch(call(url))


# --- stopping --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        OK + b"content-length: 400\r\n\r\n",
        OK + b"content-length: 400\r\n\r\nbody",
        OK + b"transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n4\r\nmore\r\n",
        OK + b"content-length: 4\r\n\r\nbody",
    ],
)
@pytest.mark.parametrize("in_tell", [False, True])
async def test_a_call_that_is_cancelled_closes_its_connection_and_leaves_nothing(answer: bytes, in_tell: bool) -> None:
    """In `tell` the body's generators are not running: they would be left open, and say so when they are collected."""
    gone = trio.Event()
    stop = trio.CancelScope()
    upstream = Upstream(connect_timeout=5.0)

    async def tell(happening: Happening) -> None:
        if in_tell and isinstance(happening, DataArrived):
            stop.cancel()
            await trio.sleep_forever()

    async def serve(stream: trio.SocketStream) -> None:
        stop.deadline = trio.current_time() + 0.1  # only now: a call that has not connected has nothing to close
        await Origin(answer, "stall").serve(stream)
        gone.set()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        with stop:
            await upstream.call(call(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"), tell)
        await upstream.aclose()
        with trio.fail_after(5):
            await gone.wait()
        nursery.cancel_scope.cancel()
