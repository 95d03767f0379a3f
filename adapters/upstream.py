"""Calls to the service over HTTP: the only module that knows httpx and its exceptions.

There is no connection limit here: httpx's pool loses connections under cancellation when it has one, so how many
exchanges run at once is bounded by whoever starts them. Each origin has pools of its own: one for few calls at a
time, and more for many, for what the pool does at each call grows with the connections that it has.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

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


_CALLS_A_POOL = 50
"""Calls under way before the next pool is used. Small pools cost less; one that is seldom used is seldom connected."""


class _Origin:
    """One address of the service: its pools, and how many calls to it are under way."""

    def __init__(self) -> None:
        self.pools: list[httpx.AsyncClient] = []
        self.busy = 0


class Upstream:
    """HTTP calls to the service's addresses. `connect_timeout` is in seconds.

    `proxies`: whether the environment's proxy variables are honoured. `trust`: in whom, other than in everyone for whom
    an authority of the usual ones vouches.
    """

    def __init__(self, *, connect_timeout: float, proxies: bool = True, trust: ssl.SSLContext | None = None) -> None:
        self._proxies = proxies
        self._origins: dict[str, _Origin] = {}
        self._tls = trust
        # Waiting for bytes is bounded by the exchange, which knows what it waits for.
        self._timeout = httpx.Timeout(None, connect=connect_timeout)

    @contextmanager
    def _client(self, url: httpx.URL) -> Iterator[httpx.AsyncClient]:
        """The pool for one more call to this address, while the block runs."""
        origin = self._origins.setdefault(f"{url.scheme}://{url.host}:{url.port}", _Origin())
        index = origin.busy // _CALLS_A_POOL
        if index >= len(origin.pools):
            index = len(origin.pools)
            origin.pools.append(self._make_client())
        origin.busy += 1
        try:
            yield origin.pools[index]
        finally:
            origin.busy -= 1

    def _make_client(self) -> httpx.AsyncClient:
        if self._tls is None:
            self._tls = httpx.create_ssl_context()  # reads the certificates: some 20 ms, once
        return httpx.AsyncClient(
            verify=self._tls,
            timeout=self._timeout,
            limits=httpx.Limits(max_connections=None),
            follow_redirects=False,
            trust_env=self._proxies,
        )

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
        request = httpx.Request(call.method, call.url, headers=dict(call.headers), content=call.body)
        request.stream = _Body(call.body)
        # A request that is made by hand carries no timeout of its client's unless it is put there.
        request.extensions["timeout"] = self._timeout.as_dict()
        with self._client(request.url) as client:
            response = await client.send(request, stream=True)
            body = response.aiter_raw()
            try:
                yield response, body
            finally:
                with trio.move_on_after(0, shield=True):
                    await _unwind(body)
                # Shielded, or a deadline that passes just here would cost an answer that has been read: a new token.
                with trio.move_on_after(_CLOSING_SECONDS, shield=True):
                    await response.aclose()

    async def aclose(self) -> None:
        """Close all idle connections."""
        for origin in self._origins.values():
            for pool in origin.pools:
                await pool.aclose()


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
