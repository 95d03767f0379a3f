"""A gateway for tests: on an emulator behind a loopback socket, asked as hypercorn asks an ASGI application.

Answers are seen piece by piece as they are sent, a client can leave at any moment, and time may be trio's MockClock.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import trio
import trio.testing

from adapters import ambient
from adapters.demo import write_config
from adapters.emulator import EmulatedAccount, Emulator, ScenarioSource, render_token_file
from adapters.gateway import Gateway
from core.config import Config, parse_config
from tests.adapters.token_files import inline

MODEL = "claude-sonnet-4-20250514"
HELLO = {"model": MODEL, "max_tokens": 1000, "messages": [{"role": "user", "content": "Hello"}]}
STREAMED = {**HELLO, "stream": True}
IN_MEMORY = {"kind": "memory"}
LOCAL = {"host": "127.0.0.1:8990", "content-type": "application/json"}

End: TypeAlias = tuple[str, int] | None


class Talk:
    """One request to an ASGI application, and what comes of it. `pieces` has each piece of the body with its time."""

    def __init__(self, app: Any, scope: dict[str, Any]) -> None:
        self._app = app
        self._scope = scope
        self._tell, self._told = trio.open_memory_channel[dict[str, Any]](math.inf)
        self._changed = trio.Event()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.pieces: list[tuple[float, bytes]] = []
        self.is_complete = False
        self.over = trio.Event()
        self.error: Exception | None = None

    async def run(self) -> None:
        """Call the application; `over` is set when it has returned or failed."""
        try:
            await self._app(self._scope, self._told.receive, self._send)
        except Exception as error:
            self.error = error
        finally:
            self._change()
            self.over.set()

    def body(self, data: bytes, *, more: bool = False) -> None:
        """Send a piece of the request's body."""
        self._tell.send_nowait({"type": "http.request", "body": data, "more_body": more})

    def leave(self) -> None:
        """Break off."""
        self._tell.send_nowait({"type": "http.disconnect"})

    async def _send(self, message: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        match message["type"]:
            case "http.response.start":
                assert not self.status, "a head was sent twice"
                self.status = message["status"]
                self.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
            case "http.response.body":
                assert self.status, "a body before its head"
                assert not self.is_complete, "a body after its end"
                if message.get("body"):
                    self.pieces.append((trio.current_time(), bytes(message["body"])))
                if not message.get("more_body", False):
                    self.is_complete = True
                    self.leave()  # as hypercorn does
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, condition: Callable[[Talk], object]) -> None:
        """Wait until something is true of this."""
        while not condition(self):
            assert not self.over.is_set(), "it is over, and that never was true"
            await self._changed.wait()

    @property
    def data(self) -> bytes:
        """The body, as much as there is of it."""
        return b"".join(piece for _, piece in self.pieces)

    @property
    def json(self) -> Any:
        """The body of a JSON answer."""
        assert self.is_complete
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.data)

    @property
    def events(self) -> list[str]:
        """The names of a stream's events."""
        return [line[7:] for line in self.data.decode().splitlines() if line.startswith("event: ")]

    @property
    def failure(self) -> tuple[int, str, str]:
        """Status, type and message of an error in the error form, which names the request as its header does."""
        form = self.json
        assert form["type"] == "error"
        assert form["request_id"] == self.headers["request-id"]
        return self.status, form["error"]["type"], form["error"]["message"]


def scope(method: str, path: str, headers: Mapping[str, str], *, client: End, server: End) -> dict[str, Any]:
    """The ASGI scope of a request."""
    target, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.1"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": target,
        "raw_path": target.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
        "client": client,
        "server": server,
        "state": {},
        "extensions": {},
    }


HERE: End = ("127.0.0.1", 50000)


class Site:
    """A gateway, and the emulator that is behind it. `open` counts connections between them."""

    def __init__(self, gateway: Gateway, emulator: Emulator, said: list[str], nursery: trio.Nursery) -> None:
        self.gateway = gateway
        self.emulator = emulator
        self.said = said
        self.open = 0
        self.nursery = nursery

    def begin(
        self,
        method: str,
        path: str,
        body: object = b"",
        *,
        more: bool = False,
        headers: Mapping[str, str] = LOCAL,
        client: End = HERE,
        server: End = HERE,
    ) -> Talk:
        """Begin a request. A body that is not bytes is sent as JSON, None is none yet."""
        talk = Talk(self.gateway.app, scope(method, path, headers, client=client, server=server))
        if body is not None:
            talk.body(body if isinstance(body, bytes) else json.dumps(body).encode(), more=more)
        self.nursery.start_soon(talk.run)
        return talk

    async def ask(self, method: str, path: str, body: object = b"", **arguments: Any) -> Talk:
        """A whole request and its whole answer."""
        talk = self.begin(method, path, body, **arguments)
        await talk.over.wait()
        assert talk.error is None, talk.error
        assert talk.is_complete, "the answer was cut"
        return talk

    def live(self) -> None:
        """Let go on what goes on beside requests: what `served` does by itself."""
        self.nursery.start_soon(self.gateway._run)

    async def health(self) -> dict[str, Any]:
        """What `/admin/accounts` says, by account."""
        return {one["providerId"]: one for one in (await self.ask("GET", "/admin/accounts")).json["accounts"]}

    async def until_said(self, text: str) -> None:
        """Wait until the emulator's log says something."""
        while not any(text in line for line in self.said):
            await trio.sleep(0.001)


def configured(document: Mapping[str, Any]) -> Config:
    """A configuration out of its document. Its state is in memory unless that says something else."""
    shipped = json.loads(resources.files("adapters").joinpath("models.json").read_bytes())
    return parse_config({"state": IN_MEMORY, **document}, environment={}, shipped_models=shipped, home="")


class _Counting(Emulator):
    """An emulator that counts its connections."""

    site: Site | None = None

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one connection."""
        assert self.site is not None
        self.site.open += 1
        try:
            await super().serve_stream(stream)
        finally:
            self.site.open -= 1


def account(name: str) -> EmulatedAccount:
    """A made-up account of the emulator."""
    return EmulatedAccount(id=name, access_token=f"made-up-access-{name}", refresh_token=f"made-up-refresh-{name}")


@asynccontextmanager
async def running(
    folder: Path,
    document: Mapping[str, Any] | None = None,
    *,
    scenario: ScenarioSource | None = None,
    refresh_scenario: ScenarioSource | None = None,
    accounts: tuple[str, ...] = ("a",),
    endpoint: str | None = None,
) -> AsyncIterator[Site]:
    """A gateway with so many accounts on an emulator (or on `endpoint`). Nothing of it is left at the end."""
    said: list[str] = []
    emulated = tuple(map(account, accounts))
    emulator = _Counting(
        accounts=emulated,
        scenario=scenario,
        refresh_scenario=refresh_scenario,
        log=said.append,
        epoch=lambda: ambient.epoch().seconds,
    )
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        providers = {}
        for one in emulated:
            file = folder / f"{one.id}.json"
            file.write_text(render_token_file(one, ambient.epoch().seconds))
            authentication = {"tokenFilePath": str(file), "refreshUrl": f"{url}/refreshToken"}
            providers[one.id] = {
                "type": "codewhisperer",
                "endpoint": endpoint or url,
                "authentication": authentication,
            }
        gateway = Gateway(configured({"providers": providers, **(document or {})}))
        if isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock):
            for token_file in gateway._tokens.values():
                token_file._in_thread = inline
        site = Site(gateway, emulator, said, nursery)
        emulator.site = site
        await nursery.start(emulator.serve, listeners)
        await gateway.open()
        try:
            yield site
        finally:
            with trio.CancelScope(shield=True):
                await gateway._close()
            nursery.cancel_scope.cancel()


def text_of(message: Any) -> str:
    """The text of an answer in the Messages API's form."""
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")


def config_file(folder: Path, url: str, **changes: Any) -> Path:
    """The configuration that `emulate --write-config` writes, with changes at its top level."""
    file = write_config(folder, url)
    document = msgspec.json.decode(file.read_bytes())
    file.write_bytes(msgspec.json.encode({**document, **changes}))
    return file
