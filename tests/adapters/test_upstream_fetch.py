"""Small answers over real sockets, and whether a proxy is asked for them."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
import trio

from adapters.upstream import Unreachable, Upstream
from tests.adapters.test_upstream import NO_HEAD, OK, SECRET, WHOLE, answering, call, summed, told

# --- small answers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (OK + b"content-length: 4\r\n\r\nbody", (200, b"body")),
        (b"HTTP/1.1 400 \r\ncontent-length: 2\r\n\r\n{}", (400, b"{}")),
        (b"HTTP/1.1 204 \r\n\r\n", (204, b"")),
    ],
)
async def test_a_small_answer_is_fetched_whole(answer: bytes, expected: tuple[int, bytes]) -> None:
    upstream = Upstream(connect_timeout=5.0)
    async with answering(answer) as origin:
        assert await upstream.fetch(call(origin.url)) == expected
    await upstream.aclose()


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (OK + b"content-length: 400\r\n\r\nbody", "close"),
        (OK + b"content-length: 400\r\n\r\nbody", "reset"),
        (b"", "close"),
        (OK + b"content-length: 3000000\r\n\r\n" + b"x" * 3_000_000, "stall"),
    ],
)
async def test_a_small_answer_that_is_cut_or_large_is_none(answer: bytes, end: str) -> None:
    upstream = Upstream(connect_timeout=5.0)
    async with answering(answer, end) as origin:
        with pytest.raises(Unreachable) as raised:
            await upstream.fetch(call(origin.url))
    await upstream.aclose()
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(("size", "is_whole"), [(1000, True), (1001, False)])
async def test_how_much_of_an_answer_is_fetched_is_for_whoever_asks(size: int, is_whole: bool) -> None:
    upstream = Upstream(connect_timeout=5.0)
    async with answering(OK + b"content-length: %d\r\n\r\n%b" % (size, b"x" * size)) as origin:
        if is_whole:
            assert await upstream.fetch(call(origin.url), max_bytes=1000) == (200, b"x" * 1000)
        else:
            with pytest.raises(Unreachable) as raised:
                await upstream.fetch(call(origin.url), max_bytes=1000)
            assert str(raised.value) == f"{origin.url} answered with more than 1000 bytes"
    await upstream.aclose()


# --- proxies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "is_used"),
    [
        ({}, False),
        ({"http_proxy": "PROXY"}, True),
        ({"all_proxy": "PROXY"}, True),
        ({"http_proxy": "PROXY", "no_proxy": "service.invalid"}, False),
    ],
)
async def test_the_usual_proxy_variables_are_honoured(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], is_used: bool
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    async with answering(OK + b"content-length: 4\r\n\r\nbody") as proxy:
        for name, value in variables.items():
            monkeypatch.setenv(name, value.replace("PROXY", proxy.url))

        async def no_such_name(*_: object, **__: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(trio.socket, "getaddrinfo", _only_numbers(no_such_name))
        happenings = await told("http://service.invalid")
    assert summed(happenings) == (WHOLE if is_used else NO_HEAD)
    assert [request.split(b" ")[1] for request in proxy.requests] == [b"http://service.invalid/path"] * is_used


async def test_where_a_proxy_has_no_business_none_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = Upstream(connect_timeout=5.0, proxies=False)
    answer = OK + b"content-length: 4\r\n\r\nbody"
    async with answering(answer) as proxy, answering(answer) as origin:
        for name in ("http_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert await upstream.fetch(call(origin.url)) == (200, b"body")
        assert (len(proxy.requests), len(origin.requests)) == (0, 1)
        await upstream.aclose()


def _only_numbers(otherwise: Callable[..., object]) -> Callable[..., object]:
    original = trio.socket.getaddrinfo

    async def getaddrinfo(host: str, *arguments: object, **named: object) -> object:
        if host in (b"127.0.0.1", "127.0.0.1"):
            return await original(host, *arguments, **named)  # type: ignore[arg-type]  # handed on as they came
        return await otherwise()  # type: ignore[misc]  # it is async

    return getaddrinfo
