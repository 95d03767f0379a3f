"""One HTTP/1.1 connection, as h11 over a trio stream: requests in, replies played.

Knows nothing of what is asked. Sizes are bounded, and a quiet client is let go.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping

import h11
import msgspec
import trio

from adapters.emulator.wire import Head, Reply, Reset, Send, Stall, Step, Wait

# The service takes 10,000,000 characters of content and ten images of as many bytes; a body that uses all of it
# at once is nobody's. Longer ones are not read.
MOST_BODY = 64 * 1024 * 1024
_MOST_HEAD = 64 * 1024
_READ = 64 * 1024


class Request(msgspec.Struct, frozen=True):
    """A whole request. `headers` by lower-case name; of equal ones, the last."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Unreadable(Exception):
    """What came is no request that is read here. `status` is HTTP's for it."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Gone(Exception):
    """The client left, or was quiet for too long."""


class Connection:
    """A client's connection. `patience` is how long it may be quiet, in seconds."""

    def __init__(self, stream: trio.abc.Stream, patience: float) -> None:
        self._stream = stream
        self._patience = patience
        self._method = ""
        self._has_no_body = False
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_HEAD)

    async def read_request(self) -> Request | None:
        """The next request, or None if the client has no more.

        Raises:
            Unreadable: what came is not HTTP, or its body is too long.
            Gone: it broke off.
        """
        head: h11.Request | None = None
        body = bytearray()
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                # After the colon h11 quotes what came, in which a token may be.
                why = str(error).partition(":")[0]
                raise Unreadable(error.error_status_hint, f"not HTTP/1.1: {why}") from None
            if event is h11.NEED_DATA:
                await self._read_more()
            elif isinstance(event, h11.Request):
                head = event
                self._method = event.method.decode()
                declared = dict(event.headers).get(b"content-length", b"0")
                if int(declared) > MOST_BODY:
                    raise Unreadable(413, f"a body of {int(declared)} bytes")
            elif isinstance(event, h11.Data):
                if len(body) + len(event.data) > MOST_BODY:
                    raise Unreadable(413, f"a body of more than {MOST_BODY} bytes")
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None, "h11 gives a request's head before its end"
                headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
                return Request(self._method, head.target.decode("latin-1"), headers, bytes(body))
            else:
                return None

    async def _read_more(self) -> None:
        if self._http.they_are_waiting_for_100_continue:
            await self._send(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
        data = b""
        with trio.move_on_after(self._patience) as scope:
            try:
                data = bytes(await self._stream.receive_some(_READ))
            except trio.BrokenResourceError:
                raise Gone from None
        # An end between two requests is for h11 to see; one inside a request is nothing that could be answered.
        if scope.cancelled_caught or (not data and self._is_inside_request()):
            raise Gone
        self._http.receive_data(data)

    def _is_inside_request(self) -> bool:
        return self._http.their_state is not h11.IDLE or self._http.trailing_data[0] != b""

    async def play(self, reply: Reply) -> bool:
        """Do what a reply says. Gives back whether the connection can be used for another request.

        Raises:
            Gone: the client left before the end.
        """
        await trio.sleep(reply.delay)
        if reply.head is not None:
            await self._send_head(reply.head)
        for step in reply.steps:
            if not await self._play_step(step):
                return False
        if reply.head is None:
            return False
        await self._send(self._http.send(h11.EndOfMessage()))
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def _send_head(self, head: Head) -> None:
        # HTTP has no body after these, whatever the reply would say.
        self._has_no_body = self._method == "HEAD" or head.status in {204, 304}
        headers = [(name.encode(), value.encode()) for name, value in head.headers]
        await self._send(self._http.send(h11.Response(status_code=head.status, headers=headers)))

    async def _play_step(self, step: Step) -> bool:
        """Play one step. Gives back whether there may be a next one."""
        match step:
            case Send(data):
                if not self._has_no_body:
                    await self._send(self._http.send(h11.Data(data=data)))
                return True
            case Wait(seconds):
                await trio.sleep(seconds)
                return True
            case Stall():
                await self._until_gone()
            case Reset():
                self._arm_reset()
        return False

    async def _until_gone(self) -> None:
        try:
            while await self._stream.receive_some(_READ):
                pass
        except trio.BrokenResourceError:
            raise Gone from None

    def _arm_reset(self) -> None:
        # Without linger, closing a socket sends RST instead of FIN. A stream that is no socket is just closed.
        if isinstance(self._stream, trio.SocketStream):
            self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def _send(self, data: bytes | None) -> None:
        if not data:
            return
        with trio.move_on_after(self._patience) as scope:
            try:
                await self._stream.send_all(data)
            except trio.BrokenResourceError:
                raise Gone from None
        if scope.cancelled_caught:
            raise Gone

    async def refuse(self, status: int) -> None:
        """Answer what could not be read with a bare status, if the client is still there."""
        headers = [("content-length", "0"), ("connection", "close")]
        try:
            await self._send(self._http.send(h11.Response(status_code=status, headers=headers)))
            await self._send(self._http.send(h11.EndOfMessage()))
        except Gone:
            pass
