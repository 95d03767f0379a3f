"""Calls to the service over HTTP: the only module that knows httpx and its exceptions.

There is no connection limit here: httpx's pool loses connections under cancellation when it has one, so how many
exchanges run at once is bounded by whoever starts them. Nor is its pool of any use. At each call it looks at all
connections that it has, which costs more than all else once there are fifty, and beyond its twenty for keeping (of all,
it counts, not of the idle ones) it keeps none, so that each call pays for TLS anew. So each connection has a transport
of its own, and the idle ones are kept here: the last used is used first, and what was idle for long is closed. Httpx's
client above them is left out: nobody wants redirects, cookies or its authentication, and they are a third of a call.
"""

from __future__ import annotations

import math
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import NamedTuple
from urllib.request import getproxies, proxy_bypass

import httpx
import trio

from core.dialogue import BodyEnded, CallFailed, DataArrived, Happening, HeadArrived
from core.errors import StagewhisperError
from core.http import Call, Head

_MAX_FETCHED = 1024 * 1024
"""Bytes of a small answer that are read; those to a refresh are under 10 KiB."""


_CLOSING_SECONDS = 1.0
"""How long giving a connection back may take."""


class Unreachable(StagewhisperError):
    """A call got no whole answer. The text says why, in one line."""


_IDLE_SECONDS = 5.0
"""How long a connection that nobody needs is kept: as long as httpx does, and shorter than the service."""


_LIMITS = httpx.Limits(max_connections=None, keepalive_expiry=_IDLE_SECONDS)


class _Idle(NamedTuple):
    """A transport whose connection is not in use, and since when."""

    transport: httpx.AsyncHTTPTransport
    since: float


class Upstream:
    """HTTP calls to the service's addresses. `connect_timeout` is in seconds.

    `proxies`: whether the environment's proxy variables are honoured. `trust`: in whom, other than in everyone for whom
    an authority of the usual ones vouches.
    """

    def __init__(self, *, connect_timeout: float, proxies: bool = True, trust: ssl.SSLContext | None = None) -> None:
        self._proxies = proxies
        self._idle: dict[str, deque[_Idle]] = {}
        self._tls = trust
        # Waiting for bytes is bounded by the exchange, which knows what it waits for.
        self._timeout = httpx.Timeout(None, connect=connect_timeout)

    def _take(self, origin: str, url: httpx.URL) -> httpx.AsyncHTTPTransport:
        """A transport for one call, with a connection to the URL's origin where one is idle."""
        idle = self._idle.get(origin)
        return idle.pop().transport if idle else self._make_transport(url)

    def _put_back(self, origin: str, transport: httpx.AsyncHTTPTransport) -> None:
        self._idle.setdefault(origin, deque()).append(_Idle(transport, trio.current_time()))

    async def tidy(self) -> None:
        """Close, for as long as this runs, the connections that nobody has needed for a while."""
        while True:
            await trio.sleep(_IDLE_SECONDS)
            await self._close_idle(trio.current_time() - _IDLE_SECONDS)

    async def _close_idle(self, until: float) -> None:
        """Close what has been idle since that moment, or for longer."""
        for origin, idle in list(self._idle.items()):
            while idle and idle[0].since <= until:
                await idle.popleft().transport.aclose()
            if not idle:
                self._idle.pop(origin, None)

    def _make_transport(self, url: httpx.URL) -> httpx.AsyncHTTPTransport:
        if self._tls is None:
            self._tls = httpx.create_ssl_context()  # reads the certificates: some 20 ms, once
        proxy = _proxy_for(url) if self._proxies else None
        return httpx.AsyncHTTPTransport(verify=self._tls, limits=_LIMITS, proxy=proxy)

    async def call(self, call: Call, tell: Callable[[Happening], Awaitable[None]]) -> None:
        """Make a call and tell what happens, to its end: the head, the body's pieces, its end, or its failure.

        The answer is read as fast as `tell` takes it. To stop a call, cancel this.
        """
        try:
            async with self._answer(call) as (response, body):
                headers = {name.lower(): value for name, value in response.headers.items()}
                await tell(HeadArrived(Head(status=response.status_code, headers=headers)))
                async for data in body:
                    await tell(DataArrived(data))
        except httpx.TimeoutException as error:
            await tell(CallFailed("timeout", _explain(call, error)))
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
            await tell(CallFailed("network", _explain(call, error)))
        else:
            await tell(BodyEnded())

    async def fetch(self, call: Call, *, max_bytes: int = _MAX_FETCHED) -> tuple[int, bytes]:
        """Make a call whose answer is small, and give its status and body.

        Raises:
            Unreachable: there was no whole answer, or it is too large.
        """
        whole = bytearray()
        try:
            async with self._answer(call) as (response, body):
                async for data in body:
                    whole += data
                    if len(whole) > max_bytes:
                        raise Unreachable(f"{_origin(call)} answered with more than {max_bytes} bytes")
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
            raise Unreachable(_explain(call, error)) from None
        return response.status_code, bytes(whole)

    @asynccontextmanager
    async def _answer(self, call: Call) -> AsyncIterator[tuple[httpx.Response, AsyncIterator[bytes]]]:
        """The answer to a call, and its body as it comes. Left at any point, it leaves nothing open."""
        request = httpx.Request(call.method, _parse(call.url), headers=dict(call.headers), content=call.body)
        request.stream = _Body(call.body)
        # A request that no client made carries no timeout unless it is put there.
        request.extensions["timeout"] = self._timeout.as_dict()
        origin = f"{request.url.scheme}://{request.url.netloc.decode('ascii', 'replace')}"
        transport, is_whole = self._take(origin, request.url), False
        try:
            response = await transport.handle_async_request(request)
            body = response.aiter_raw()
            try:
                yield response, body
                is_whole = True
            finally:
                with trio.move_on_after(0, shield=True):
                    await _unwind(body)
                # Shielded, or a deadline that passes just here would cost an answer that has been read: a new token.
                with trio.move_on_after(_CLOSING_SECONDS, shield=True):
                    await response.aclose()
        finally:
            if is_whole:
                self._put_back(origin, transport)
            else:  # whatever state its connection is in, nobody meets it
                with trio.move_on_after(_CLOSING_SECONDS, shield=True):
                    await transport.aclose()

    async def aclose(self) -> None:
        """Close all idle connections."""
        await self._close_idle(math.inf)


_parse = lru_cache(maxsize=256)(httpx.URL)
"""A URL, of which there are as many as accounts' addresses; it cannot be changed."""


def _proxy_for(url: httpx.URL) -> str | None:
    """The proxy that the environment names for a URL. `NO_PROXY` names hosts, their domains, or `*`."""
    proxies = getproxies()
    proxy = proxies.get(url.scheme, proxies.get("all"))
    if proxy is None or proxy_bypass(f"{url.host}:{url.port}" if url.port else url.host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


class _Body(httpx.AsyncByteStream):
    """A request's body. Httpx's own is a generator, which stays open where a call is cancelled while it sends."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._rest = iter((self._data,))
        return self

    async def __anext__(self) -> bytes:
        for data in self._rest:
            return data
        raise StopAsyncIteration


async def _unwind(body: AsyncIterator[bytes]) -> None:
    """End the generators behind a body that was left early, by being cancelled in the innermost of the five.

    To close the first leaves the others open.
    """
    with suppress(httpx.HTTPError):
        async for _ in body:
            pass


def _origin(call: Call) -> str:
    url = httpx.URL(call.url)
    return f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}"


def _explain(call: Call, error: Exception) -> str:
    """What went wrong, without the request's headers, which some of these exceptions quote when they are unlawful."""
    what = type(error).__name__
    if isinstance(error, httpx.TransportError) and not isinstance(error, httpx.LocalProtocolError) and str(error):
        what = f"{what}: {str(error).splitlines()[0][:200]}"
    elif (reason := _tls_reason(error)) is not None:
        what = f"{what}: {reason}"
    try:
        return f"{_origin(call)}: {what}"
    except httpx.InvalidURL:
        return what


def _tls_reason(error: BaseException | None) -> str | None:
    """What TLS says is wrong, such as CERTIFICATE_VERIFY_FAILED. Httpx passes the cause on, and no word of it."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error.reason
        error = error.__cause__ or error.__context__  # httpcore raises its own `from None`
    return None
