"""Clients that leave, in each way and at every stage, over real sockets: a tenth of a second later nothing is left.

The call to the service is closed, as the service sees it, and the place is another's.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trio
import trio.testing

from adapters import connection, http1
from adapters.emulator import always
from tests.adapters.canned import HEAD, Canned, canned, deliver_as_it_comes, noted_places, pieces, say_nothing
from tests.adapters.harness import HELLO, STREAMED, running
from tests.adapters.wire import Wire, served
from tests.builders import body, text

SOON = 0.1
ONE_PLACE = {"server": {"maxConcurrent": 1}}


# --- ways ------------------------------------------------------------------------------------------------------


async def _close(wire: Wire) -> None:
    await wire.stream.aclose()


async def _reset(wire: Wire) -> None:
    wire.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await wire.stream.aclose()


async def _half_close(wire: Wire) -> None:
    await wire.stream.send_eof()


async def _close_after_more(wire: Wire) -> None:
    """Old clients send an empty line behind a body, and others the next request."""
    await wire.stream.send_all(b"\r\nGET /health HTTP/1.1\r\n")
    await trio.sleep(0.05)
    await wire.stream.aclose()


WAYS = [_close, _reset, _half_close, _close_after_more]


# --- stages ----------------------------------------------------------------------------------------------------


async def _some_frames(service: Canned, stream: trio.SocketStream) -> None:
    await stream.send_all(HEAD)
    await service.send(stream, body(text("Hello")))
    await trio.sleep_forever()


def _as_it_is(_patch: pytest.MonkeyPatch) -> None:
    """Nothing is different."""


def _never_begin_a_body(patch: pytest.MonkeyPatch) -> None:
    """The view has returned, the head is being sent, and no generator was started that could clean up."""

    async def hold(*_: Any) -> None:
        await trio.sleep_forever()

    deliver_as_it_comes(patch)
    patch.setattr(connection.Connection, "_send_response", hold)


Play: TypeAlias = Callable[[Canned, trio.SocketStream], Awaitable[None]]

STAGES: Mapping[str, tuple[Play, Callable[[pytest.MonkeyPatch], None]]] = {
    "before the head": (say_nothing, _as_it_is),
    "while the answer is buffered": (_some_frames, _as_it_is),
    "between two pieces of a live answer": (pieces(3, and_end=False), deliver_as_it_comes),
    "while a live answer waits for the client": (pieces(10_000), deliver_as_it_comes),
    "before the body begins": (pieces(3, and_end=False), _never_begin_a_body),
}


@pytest.mark.parametrize("request_body", [HELLO, STREAMED])
@pytest.mark.parametrize("leave", WAYS)
@pytest.mark.parametrize("stage", STAGES)
async def test_a_client_that_leaves_takes_its_call_along_and_gives_its_place_back(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    leave: Callable[[Wire], Awaitable[None]],
    request_body: dict[str, Any],
) -> None:
    play, prepare = STAGES[stage]
    prepare(monkeypatch)
    places = noted_places(monkeypatch)
    async with (
        canned(play) as service,
        running(tmp_path, ONE_PLACE, endpoint=service.url) as site,
        served(site) as server,
    ):
        wire = await server.connect()
        await wire.send("POST", "/v1/messages", request_body)
        await service.until_asked()
        if play is not say_nothing:
            await service.until_stuck(0.1)
        assert (service.open, places[0].taken) == (1, 1)
        await leave(wire)
        assert await service.until_free(places) < SOON
        another = await server.connect()
        await another.send("POST", "/v1/messages", HELLO)
        await service.until_asked(2)


@pytest.mark.parametrize("leave", WAYS)
async def test_a_client_that_leaves_while_it_waits_for_its_turn_makes_room_for_another(
    tmp_path: Path, leave: Callable[[Wire], Awaitable[None]]
) -> None:
    document = {"server": {"maxConcurrent": 1, "maxQueued": 1}}
    async with (
        canned(say_nothing) as service,
        running(tmp_path, document, endpoint=service.url) as site,
        served(site) as server,
    ):
        first, second, third, fourth = [await server.connect() for _ in range(4)]
        for wire in (first, second):
            await wire.send("POST", "/v1/messages", HELLO)
            await service.until_asked()
            await trio.testing.wait_all_tasks_blocked(0.05)
        assert (await third.ask("POST", "/v1/messages", HELLO)).status == 529
        await leave(second)
        await trio.sleep(SOON)
        await third.send("POST", "/v1/messages", HELLO)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert (await fourth.ask("POST", "/v1/messages", HELLO)).status == 529, "the third waits in its place"
        await leave(first)
        with trio.fail_after(5):
            await service.until_asked(2)


@pytest.mark.parametrize("leave", WAYS)
async def test_a_client_that_leaves_during_a_refresh_gives_its_place_back_and_the_refresh_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leave: Callable[[Wire], Awaitable[None]]
) -> None:
    places = noted_places(monkeypatch)
    slow = always("slow-head:1000")
    async with (
        running(tmp_path, ONE_PLACE, refresh_scenario=slow, accounts=("a", "b")) as site,
        served(site) as server,
    ):
        site.emulator.accounts.revoke("a")
        wire = await server.connect()
        await wire.send("POST", "/v1/messages", HELLO)
        await site.until_said("answered POST /refreshToken")
        await leave(wire)
        with trio.fail_after(SOON):
            while places[0].taken:
                await trio.sleep(0.001)
        other = await server.connect()
        assert (await other.ask("POST", "/v1/messages", HELLO)).status == 200

        def token() -> object:
            return json.loads((tmp_path / "a.json").read_text())["accessToken"]

        with trio.fail_after(5):
            while token() != "emulated-access-token-a-2":
                await trio.sleep(0.01)
    assert site.emulator.counts["a"].refreshes == 1


@pytest.mark.parametrize("leave", WAYS)
async def test_a_client_that_leaves_in_the_middle_of_a_long_answer_leaves_no_connection_behind(
    tmp_path: Path, leave: Callable[[Wire], Awaitable[None]]
) -> None:
    async with running(tmp_path, scenario=always("big:8000000")) as site, served(site) as server:
        wire = await server.connect()
        wire.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await wire.send("POST", "/v1/messages", STREAMED)
        assert (await wire.receive(until=b"content_block_start")).status == 200
        await trio.testing.wait_all_tasks_blocked(0.05)
        (kept,) = http1._connections
        await leave(wire)
        with trio.fail_after(SOON):
            while kept in http1._connections:
                await trio.sleep(0.001)
