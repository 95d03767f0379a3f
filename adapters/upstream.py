"""Calls to the service over HTTP: the only module that knows httpx and its exceptions.

There is no connection limit here: httpx's pool loses connections under cancellation when it has one, so how many
exchanges run at once is bounded by whoever starts them. Each origin has a pool of its own.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import httpx
import trio

from core.dialogue import BodyEnded, CallFailed, DataArrived, Happening, HeadArrived
from core.errors import StagewhisperError
from core.http import Call, Head

_MAX_ANSWER_TO_REFRESH = 1024 * 1024
"""Bytes of an answer to a refresh that are read; real ones are under 10 KiB."""


class Unreachable(StagewhisperError):
    """A call got no whole answer. The text says why, in one line."""


class Upstream:
    """HTTP calls to the service's addresses. `connect_timeout` is in seconds."""

    def __init__(self, *, connect_timeout: float) -> None:
        self._clients: dict[str, httpx.AsyncClient] = {}
        self._tls: ssl.SSLContext | None = None
        # Waiting for bytes is bounded by the exchange, which knows what it waits for.
        self._timeout = httpx.Timeout(None, connect=connect_timeout)

    def _client(self, url: httpx.URL) -> httpx.AsyncClient:
        origin = f"{url.scheme}://{url.host}:{url.port}"
        client = self._clients.get(origin)
        if client is None:
            if self._tls is None:
                self._tls = httpx.create_ssl_context()  # reads the certificates: some 20 ms, once
            client = httpx.AsyncClient(
                verify=self._tls,
                timeout=self._timeout,
                limits=httpx.Limits(max_connections=None),
                follow_redirects=False,
            )
            self._clients[origin] = client
        return client

    async def call(self, call: Call, tell: Callable[[Happening], Awaitable[None]]) -> None:
        """Make a call and tell what happens, to its end: the head, the body's pieces, its end, or its failure.

        The answer is read as fast as `tell` takes it. To stop a call, cancel this.
        """
        try:
            response = await self._send(call)
            body = response.aiter_raw()
            try:
                headers = {name.lower(): value for name, value in response.headers.items()}
                await tell(HeadArrived(Head(status=response.status_code, headers=headers)))
                async for data in body:
                    await tell(DataArrived(data))
            finally:
                with trio.move_on_after(0, shield=True):
                    await _unwind(body)
                await response.aclose()
        except httpx.TimeoutException as error:
            await tell(CallFailed("timeout", _explain(call, error)))
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
            await tell(CallFailed("network", _explain(call, error)))
        else:
            await tell(BodyEnded())

    async def fetch(self, call: Call) -> tuple[int, bytes]:
        """Make a call whose answer is small, and give its status and body.

        Raises:
            Unreachable: there was no whole answer, or it is too large.
        """
        body = bytearray()
        try:
            response = await self._send(call)
            try:
                # Read to its end, however long: leaving httpx's generators early leaves them unclosed.
                async for data in response.aiter_raw():
                    if len(body) <= _MAX_ANSWER_TO_REFRESH:
                        body += data
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
            raise Unreachable(_explain(call, error)) from None
        if len(body) > _MAX_ANSWER_TO_REFRESH:
            raise Unreachable(f"{_origin(call)} answered with more than {_MAX_ANSWER_TO_REFRESH} bytes")
        return response.status_code, bytes(body)

    async def _send(self, call: Call) -> httpx.Response:
        request = httpx.Request(call.method, call.url, headers=dict(call.headers), content=call.body)
        request.stream = _Body(call.body)
        # A request that is made by hand carries no timeout of its client's unless it is put there.
        request.extensions["timeout"] = self._timeout.as_dict()
        return await self._client(request.url).send(request, stream=True)

    async def aclose(self) -> None:
        """Close all idle connections."""
        for client in self._clients.values():
            await client.aclose()


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
    try:
        return f"{_origin(call)}: {what}"
    except httpx.InvalidURL:
        return what
