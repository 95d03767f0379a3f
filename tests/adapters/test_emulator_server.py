"""The emulator on a wire: HTTP as h11 reads it, over memory streams and real sockets. No test waits for a clock."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h11
import pytest
import trio
import trio.testing

from adapters.emulator import always, connection
from tests.adapters.emulated import World, events_of, generate, shell_request


class Client:
    """An HTTP client on one stream."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.http = h11.Connection(h11.CLIENT)

    async def send(self, method: str, target: str, headers: dict[str, str], body: bytes = b"") -> None:
        fields = [("host", "emulator"), *headers.items(), ("content-length", str(len(body)))]
        data = self.http.send(h11.Request(method=method, target=target, headers=fields)) or b""
        data += self.http.send(h11.Data(data=body)) or b""
        await self.stream.send_all(data + (self.http.send(h11.EndOfMessage()) or b""))

    async def ask(self, world: World, request: object = None, **headers: str) -> None:
        asked = generate(request or shell_request(), token=world.account.access_token, **headers)
        await self.send(asked.method, asked.target, dict(asked.headers), asked.body)

    async def receive(self) -> tuple[h11.Response, bytes]:
        """An answer: its head and its body."""
        head: h11.Response | None = None
        body = bytearray()
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                self.http.receive_data(bytes(await self.stream.receive_some()))
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                return head, bytes(body)

    async def again(self, world: World) -> int:
        """The status of one more answer on this connection."""
        self.http.start_next_cycle()
        await self.ask(world)
        return (await self.receive())[0].status_code


@asynccontextmanager
async def connected(world: World) -> AsyncIterator[Client]:
    """A client on a memory stream. At the end, its connection is closed and the emulator is through with it."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.emulator.serve_stream, theirs)
        yield Client(ours)
        await ours.aclose()


async def test_an_answer_has_the_services_headers_and_frames_in_chunks() -> None:
    world = World()
    async with connected(world) as client:
        await client.ask(world)
        head, body = await client.receive()
    headers = dict(head.headers)
    assert head.status_code == 200
    assert headers[b"content-type"] == b"application/vnd.amazon.eventstream"
    assert headers[b"transfer-encoding"] == b"chunked"
    assert headers[b"x-amzn-codewhisperer-conversation-id"] == b"00000000-0000-4000-8000-000000000001"
    assert len(headers[b"x-amzn-requestid"]) == 36
    assert events_of(body)[-1][0] == "meteringEvent"
    first = b"\x0b:event-type\x07\x00\x16assistantResponseEvent\r:content-type\x07\x00\x10application/json"
    assert body[12 : 12 + len(first)] == first


async def test_a_connection_is_used_again_after_answers_and_refusals() -> None:
    world = World()
    async with connected(world) as client:
        await client.ask(world)
        first, _ = await client.receive()
        client.http.start_next_cycle()
        await client.ask(world, {"conversationState": {}})
        refused, body = await client.receive()
        assert await client.again(world) == 200
    assert (first.status_code, refused.status_code) == (200, 400)
    assert json.loads(body)["message"] == "Improperly formed request."
    assert world.emulator.counts["emulated"].requests == 3


async def test_requests_may_come_in_pieces_and_wait_to_be_let_on() -> None:
    world = World()
    asked = generate(shell_request(), token=world.account.access_token, expect="100-continue")
    async with connected(world) as client:
        fields = [("host", "emulator"), *asked.headers.items(), ("transfer-encoding", "chunked")]
        head = client.http.send(h11.Request(method="POST", target=asked.target, headers=fields))
        assert head is not None
        for byte in head:
            await client.stream.send_all(bytes([byte]))
        event = client.http.next_event()
        while event is h11.NEED_DATA:
            client.http.receive_data(bytes(await client.stream.receive_some()))
            event = client.http.next_event()
        assert isinstance(event, h11.InformationalResponse)
        await client.stream.send_all(client.http.send(h11.Data(data=asked.body)) or b"")
        await client.stream.send_all(client.http.send(h11.EndOfMessage()) or b"")
        assert (await client.receive())[0].status_code == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"POST /generateAssistantResponse HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"x" * 100_000, 431),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n", 501),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 300 + b"\r\n\r\n", 400),
    ],
)
async def test_what_is_not_http_is_refused_and_its_connection_ends(data: bytes, status: int) -> None:
    world = World()
    async with connected(world) as client:
        await client.stream.send_all(data)
        answer = b""
        while piece := await client.stream.receive_some():
            answer += piece
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert world.log[-1].startswith("refused a connection: ")


async def test_a_body_that_is_declared_too_long_is_refused_before_it_comes() -> None:
    world = World()
    async with connected(world) as client:
        await client.stream.send_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 67108865\r\n\r\n")
        assert (await client.stream.receive_some()).startswith(b"HTTP/1.1 413 ")
    assert world.log == ["refused a connection: 'a body of 67108865 bytes'"]


async def test_a_body_that_grows_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MOST_BODY", 1000)
    world = World()
    async with connected(world) as client:
        await client.stream.send_all(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(2):
            await client.stream.send_all(b"200\r\n" + b"x" * 512 + b"\r\n")
        assert (await client.stream.receive_some()).startswith(b"HTTP/1.1 413 ")
    assert world.log == ["refused a connection: 'a body of more than 1000 bytes'"]


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/"),
        ("POST", "/"),
        ("GET", "/generateAssistantResponse"),
        ("DELETE", "//[x?\xff"),
        ("PUT", "*"),
    ],
)
async def test_an_unknown_operation_is_answered_as_in_the_captured_one(method: str, target: str) -> None:
    world = World()
    async with connected(world) as client:
        target_bytes = target.encode("latin-1", "replace").replace(b"\xff", b"%FF").decode()
        await client.send(method, target_bytes, {})
        head, body = await client.receive()
    assert head.status_code == 404
    assert json.loads(body) == {
        "Output": {
            "__type": "com.amazon.coral.service#UnknownOperationException",
            "message": "The requested operation is not recognized by the service.",
        },
        "Version": "1.0",
    }


@pytest.mark.parametrize(("method", "scenario"), [("HEAD", "fine"), ("GET", "status:204"), ("GET", "html:304")])
async def test_where_http_has_no_body_none_is_sent(method: str, scenario: str) -> None:
    world = World()
    headers = {"authorization": f"Bearer {world.account.access_token}", "x-emulator-scenario": scenario}
    async with connected(world) as client:
        await client.send(method, "/getUsageLimits?origin=IDE", headers)
        head, body = await client.receive()
        assert body == b""
        assert head.status_code == {"HEAD": 404}.get(method, int(scenario[-3:]) if ":" in scenario else 0)
        assert await client.again(world) == 200


async def test_an_old_client_gets_a_body_that_ends_with_its_connection() -> None:
    world = World()
    asked = generate(shell_request(), token=world.account.access_token)
    lines = [f"POST {asked.target} HTTP/1.0", *(f"{name}: {value}" for name, value in asked.headers.items())]
    async with connected(world) as client:
        head = "\r\n".join([*lines, f"content-length: {len(asked.body)}", "", ""]).encode()
        await client.stream.send_all(head + asked.body)
        answer = b""
        while piece := await client.stream.receive_some():
            answer += piece
    assert events_of(answer.partition(b"\r\n\r\n")[2])[-1][0] == "meteringEvent"


@pytest.mark.parametrize("scenario", ["cut:100", "reset:100", "half-head"])
async def test_a_cut_answer_is_not_a_whole_one(scenario: str) -> None:
    world = World(scenario=always(scenario))
    async with connected(world) as client:
        await client.ask(world)
        with pytest.raises(h11.RemoteProtocolError, match="without sending complete message body"):
            await client.receive()


async def test_a_clean_cut_is_a_whole_one_as_far_as_http_can_tell() -> None:
    world = World(scenario=always("clean-cut:100"))
    async with connected(world) as client:
        await client.ask(world)
        assert len((await client.receive())[1]) == 100
        assert await client.again(world) == 200


@pytest.mark.parametrize("scenario", ["close-early", "refuse-connection"])
async def test_no_byte_comes_where_none_should(scenario: str) -> None:
    world = World(scenario=always(scenario))
    async with connected(world) as client:
        await client.ask(world)
        assert await client.stream.receive_some() == b""


async def test_a_stalled_answer_waits_for_its_client_to_give_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for scenario in ("stall:2", "stall-head"):
        world = World(scenario=always(scenario))
        started = autojump_clock.current_time()
        async with connected(world) as client:
            await client.ask(world)
            with trio.move_on_after(1000) as patience:
                await client.receive()
            assert patience.cancelled_caught
        assert autojump_clock.current_time() - started == pytest.approx(1000)


@pytest.mark.parametrize(
    ("scenario", "seconds"), [("slow-head:90000", 90.0), ("stall-head", None), ("slow:1000", None)]
)
async def test_a_slow_answer_takes_its_time(
    scenario: str, seconds: float | None, autojump_clock: trio.testing.MockClock
) -> None:
    world = World(scenario=always(scenario))
    async with connected(world) as client:
        started = autojump_clock.current_time()
        await client.ask(world)
        with trio.move_on_after(500):
            _, body = await client.receive()
            expected = len(events_of(body)) if seconds is None else seconds
            assert autojump_clock.current_time() - started == pytest.approx(expected)
            return
    assert scenario == "stall-head"


async def test_a_client_that_is_quiet_for_too_long_is_let_go(autojump_clock: trio.testing.MockClock) -> None:
    world = World()
    async with connected(world) as client:
        await client.stream.send_all(b"POST /gen")
        assert await client.stream.receive_some() == b""
        assert autojump_clock.current_time() == pytest.approx(300)
    assert world.log == ["a client left before the end"]


async def test_a_client_that_does_not_read_is_let_go(autojump_clock: trio.testing.MockClock) -> None:
    world = World(scenario=always("big:1000"))
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.emulator.serve_stream, theirs)
        await Client(ours).ask(world)
    assert autojump_clock.current_time() == pytest.approx(300)
    assert world.log[-1] == "a client left before the end"


@pytest.mark.parametrize("scenario", ["fine", "stall:1", "stall-head", "slow:10"])
async def test_a_client_that_leaves_ends_its_own_connection_only(
    scenario: str, autojump_clock: trio.testing.MockClock
) -> None:
    world = World(scenario=always(scenario))
    async with connected(world) as client:
        await client.ask(world)
        await trio.testing.wait_all_tasks_blocked()
        await trio.aclose_forcefully(client.stream)
    async with connected(world) as client:
        await client.send("POST", "/refreshToken", {}, json.dumps({"refreshToken": "x"}).encode())
        assert (await client.receive())[0].status_code == 401
    assert autojump_clock.current_time() < 1


async def test_real_sockets_are_served_cut_and_reset() -> None:
    world = World()
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        (listener,) = await nursery.start(world.emulator.serve, listeners)
        port = listener.socket.getsockname()[1]
        outcomes: dict[str, str] = {}
        for scenario in ("fine", "cut:200", "close-early", "refuse-connection", "reset:200"):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                client = Client(stream)
                await client.ask(world, x_emulator_scenario=scenario)
                try:
                    outcomes[scenario] = str(len(events_of((await client.receive())[1])) > 10)
                except (trio.BrokenResourceError, h11.RemoteProtocolError) as error:
                    outcomes[scenario] = type(error).__name__
        nursery.cancel_scope.cancel()
    assert outcomes == {
        "fine": "True",
        "cut:200": "RemoteProtocolError",
        "close-early": "RemoteProtocolError",
        "refuse-connection": "BrokenResourceError",
        "reset:200": "BrokenResourceError",
    }


async def test_many_clients_are_served_at_once() -> None:
    world = World()
    sizes: list[int] = []

    async def visit() -> None:
        async with connected(world) as client:
            await client.ask(world)
            sizes.append(len((await client.receive())[1]))

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(visit)
    assert len(sizes) == 100
    assert len(set(sizes)) == 1
    assert world.emulator.counts["emulated"].requests == 100
