"""A graceful stop, over real sockets: what it does to a request at each stage, and that each hears of it."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path
from typing import Any

import h11
import pytest
import trio
import trio.testing

from adapters.emulator import always
from adapters.stopping import EXPLANATION, Stopping
from tests.adapters.canned import canned, deliver_as_it_comes, pieces
from tests.adapters.harness import HELLO, STREAMED, running
from tests.adapters.token_files import in_virtual_time
from tests.adapters.wire import Reply, served

DRAIN = 30


def settings(**changes: Any) -> dict[str, Any]:
    """A configuration with half a minute to stop in."""
    return {"server": {"drainMs": DRAIN * 1000, **changes}}


def is_refusal(reply: Reply) -> bool:
    """Whether an answer says as a whole that the gateway is stopping, and its connection ends with it."""
    error = reply.json["error"]
    return (
        reply.is_whole
        and (reply.status, error["type"], error["message"]) == (529, "overloaded_error", EXPLANATION)
        and reply.json["request_id"] == reply.headers["request-id"]
        and (reply.headers["retry-after"], reply.headers["connection"]) == ("1", "close")
    )


def ends_in_an_error(reply: Reply) -> bool:
    """Whether a stream ends well and says that the gateway is stopping."""
    last = bytes(reply.data).rstrip(b"\n").splitlines()[-1]
    error = json.loads(last.removeprefix(b"data: "))["error"]
    return (
        reply.is_whole and reply.events[-1] == "error" and error == {"type": "overloaded_error", "message": EXPLANATION}
    )


@pytest.mark.parametrize(
    ("scenario", "body", "quiet", "has_begun"),
    [
        ("stall-head", HELLO, 1000, False),
        ("stall-head", STREAMED, 1000, True),
        ("stall-head", STREAMED, 3_600_000, False),
        ("stall:2", HELLO, 1000, False),
        ("stall:2", STREAMED, 1000, True),
        ("stall:2", STREAMED, 3_600_000, False),
    ],
)
@in_virtual_time
async def test_a_request_that_has_not_ended_in_time_is_ended_with_an_error(
    tmp_path: Path, scenario: str, body: dict[str, Any], quiet: int, has_begun: bool
) -> None:
    document = {**settings(), "pings": {"quietMs": quiet}}
    async with running(tmp_path, document, scenario=always(scenario)) as site, served(site) as server:
        wire = await server.connect()
        await wire.send("POST", "/v1/messages", body)
        await site.until_said("answered POST /generate")
        await trio.sleep(5)
        signal.raise_signal(signal.SIGTERM)
        reply = await wire.receive()
        assert trio.current_time() == pytest.approx(5 + DRAIN, abs=0.2)
        await server.over.wait()
        assert trio.current_time() == pytest.approx(5 + DRAIN, abs=1)
    assert ends_in_an_error(reply) if has_begun else is_refusal(reply)


@in_virtual_time
async def test_a_request_that_waits_for_its_turn_is_refused_at_once_and_those_that_run_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    document = {**settings(maxConcurrent=1), "timeouts": {"connectMs": 60_000}}
    async with running(tmp_path, document, scenario=always("slow-head:20000")) as site, served(site) as server:
        wires = [await server.connect() for _ in range(3)]
        for wire, body in zip(wires, (HELLO, HELLO, STREAMED), strict=True):
            await wire.send("POST", "/v1/messages", body)
            await site.until_said("answered POST /generate")
        await trio.sleep(5)
        signal.raise_signal(signal.SIGTERM)
        refused = [await wire.receive() for wire in wires[1:]]
        assert trio.current_time() == pytest.approx(5, abs=0.2)
        assert (await wires[0].receive()).json["type"] == "message"
        await server.over.wait()
        assert trio.current_time() == pytest.approx(20, abs=1)
    assert all(map(is_refusal, refused))
    assert [line.split(": ")[-1] for line in caplog.messages if " ms=" in line] == ["no place"] * 2


@in_virtual_time
async def test_a_request_whose_body_is_still_coming_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path, settings()) as site, served(site) as server:
        wire = await server.connect()
        await wire.stream.send_all(b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{")
        await trio.sleep(5)
        wire.http.send(h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", "0")]))
        wire.http.send(h11.EndOfMessage())
        signal.raise_signal(signal.SIGTERM)
        assert is_refusal(await wire.receive())
        await server.over.wait()
        assert trio.current_time() < 7


@in_virtual_time
async def test_a_request_that_crosses_with_the_stop_is_refused_and_the_gateway_says_that_it_is_not_ready(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, settings()) as site, served(site) as server:
        wires = [await server.connect() for _ in range(5)]
        for wire in wires:
            assert (await wire.ask("GET", "/ready")).status == 200
        signal.raise_signal(signal.SIGTERM)
        await trio.sleep(0.01)
        with pytest.raises(OSError, match="all attempts to connect"):
            await server.connect()
        asked = [("POST", "/v1/messages", HELLO), ("POST", "/v1/messages", STREAMED), ("GET", "/v1/models", b"")]
        assert all([is_refusal(await wires.pop().ask(*one)) for one in asked])
        assert (await wires.pop().ask("GET", "/ready")).status == 503
        assert (await wires.pop().ask("GET", "/health")).status == 200
        await server.over.wait()
        assert trio.current_time() < 1


@in_virtual_time
async def test_a_refresh_that_is_under_way_is_not_lost_and_its_request_is_told_in_time(tmp_path: Path) -> None:
    document = settings(drainMs=5000)
    slow = always("slow-head:20000")
    async with running(tmp_path, document, refresh_scenario=slow) as site, served(site) as server:
        site.emulator.accounts.revoke("a")
        wire = await server.connect()
        await wire.send("POST", "/v1/messages", HELLO)
        await site.until_said("answered POST /refreshToken")
        signal.raise_signal(signal.SIGTERM)
        assert is_refusal(await wire.receive())
        assert trio.current_time() == pytest.approx(5, abs=0.2)
        await server.over.wait()
        assert trio.current_time() == pytest.approx(20, abs=1)
    assert json.loads((tmp_path / "a.json").read_text())["accessToken"] == "emulated-access-token-a-2"


async def test_a_stream_that_is_held_up_by_a_client_that_does_not_read_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver_as_it_comes(monkeypatch)
    monkeypatch.setattr("adapters.stopping.FAREWELL_SECONDS", 0.3)
    monkeypatch.setattr("adapters.serve._LAST_SECONDS", 0.3)
    async with (
        canned(pieces(10_000)) as service,
        running(tmp_path, settings(drainMs=200), endpoint=service.url) as site,
        served(site) as server,
    ):
        wire = await server.connect()
        wire.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await wire.send("POST", "/v1/messages", STREAMED)
        await service.until_asked()
        await service.until_stuck()
        began = trio.current_time()
        signal.raise_signal(signal.SIGTERM)
        with trio.fail_after(5):
            await server.over.wait()
        assert 0.5 <= trio.current_time() - began < 1
        assert service.open == 0


async def test_what_is_begun_after_the_stop_has_begun_is_told_at_once() -> None:
    stopping = Stopping(10.0)
    told: list[str] = []
    with stopping.refusing(lambda: told.append("over before")):
        pass
    stopping.begin(within=1.0)
    with stopping.refusing(lambda: told.append("refused")), stopping.ending(lambda: told.append("ended")):
        assert told == ["refused"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stopping.run)
            await trio.testing.wait_all_tasks_blocked()
            assert told == ["refused", "ended"], "less time is left than the last errors take"
            nursery.cancel_scope.cancel()
    with stopping.ending(lambda: told.append("ended at once")):
        assert told[-1] == "ended at once"
