"""The `accounts` command: through a gateway that runs, on the store where none does, and with what is none of ours."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from adapters import manage as module
from adapters.cli import main
from adapters.emulator import always, default_account, render_token_file
from tests.adapters.harness import HELLO, IN_MEMORY, running
from tests.adapters.wire import served

KEY = {"server": {"adminKey": "made-up-admin-key"}}
FINE = {
    "providerId": "a",
    "state": "healthy",
    "isUsable": True,
    "nextTry": None,
    "errorHistory": [],
    "totalRequests": 0,
    "successCount": 0,
    "failureCount": 0,
}


@pytest.fixture
def a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that nobody listens on: what goes to this machine must not go there."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")


@pytest.fixture
def closed() -> Iterator[str]:
    """An address on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def config(folder: Path, bind: object, *, kind: str = "file", names: str = "ab", **server: str) -> Path:
    """A configuration with these accounts, whose token files are those of the harness."""
    providers = {}
    for name in names:
        file = folder / f"{name}.json"
        if not file.exists():
            file.write_text(render_token_file(default_account(), 4_000_000_000.0))
        providers[name] = {"type": "codewhisperer", "authentication": {"tokenFilePath": str(file)}}
    state = IN_MEMORY if kind == "memory" else {"path": str(folder / "state.sqlite3")}
    document = {"server": {"bind": str(bind), **server}, "state": state, "providers": providers}
    file = folder / "config.json"
    file.write_text(json.dumps(document))
    return file


class Said:
    """What the command said, and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.lines = out.splitlines()
        self.complaints = err.splitlines()
        assert "Traceback" not in err
        assert (code == 1) == (out == "")
        assert len(self.complaints) <= 1

    @property
    def json(self) -> Any:
        """What was said, decoded."""
        return json.loads(self.out)

    @property
    def problem(self) -> str:
        """The one line in which it failed."""
        assert self.code == 1
        (line,) = self.complaints
        return line


class Command:
    """The command with a configuration."""

    def __init__(self, capsys: pytest.CaptureFixture[str], file: Path) -> None:
        self._capsys = capsys
        self._file = file

    def run(self, *arguments: str) -> Said:
        """Run it."""
        code = main(["accounts", *arguments, "--config", str(self._file)])
        return Said(code, *self._capsys.readouterr())

    async def asked(self, *arguments: str) -> Said:
        """Run it beside what runs here."""
        return await trio.to_thread.run_sync(lambda: self.run(*arguments))


# --- through a gateway that runs -------------------------------------------------------------------------------


@pytest.mark.usefixtures("a_proxy")
@pytest.mark.parametrize("by", ["bind", "url", "url with a slash"])
@pytest.mark.parametrize("document", [{}, KEY])
async def test_a_gateway_that_runs_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], by: str, document: Mapping[str, Any]
) -> None:
    async with running(tmp_path, document, accounts=("a", "b")) as site, served(site) as server:
        place = f"127.0.0.1:{server.port}"
        file = config(tmp_path, place if by == "bind" else "127.0.0.1:1", **document.get("server", {}))
        command = Command(capsys, file)
        url = [] if by == "bind" else ["--url", f"http://{place}{'/' if 'slash' in by else ''}"]
        listed = await command.asked("--json", *url)
        disabled = await command.asked("disable", "a", *url)
        shown = await command.asked("list", *url)
        enabled = await command.asked("enable", "a", "--json", *url)
        health = site.gateway._accounts.render()
    assert listed.json == {"accounts": [{**one} for one in health]}
    assert enabled.json == health[0]
    assert [line.split()[:2] for line in disabled.lines] == [["ACCOUNT", "STATE"], ["a", "disabled"]]
    assert [line.split()[:2] for line in shown.lines] == [["ACCOUNT", "STATE"], ["a", "disabled"], ["b", "healthy"]]
    assert not (tmp_path / "state.sqlite3").exists(), "the store was not looked at"
    note = [f"from the gateway on http://{place}"] if by == "bind" else []
    assert [one.complaints for one in (listed, disabled, shown, enabled)] == [note] * 4


async def test_an_account_is_recovered_as_the_error_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with running(tmp_path, scenario=always("forbidden")) as site, served(site) as server:
        wire = await server.connect()
        refused = await wire.ask("POST", "/v1/messages", HELLO)
        words = refused.json["error"]["message"].rpartition("stagewhisper ")[2].strip(")").split()
        assert words == ["accounts", "recover", "a"]
        command = Command(capsys, config(tmp_path, f"127.0.0.1:{server.port}"))
        before = await command.asked()
        after = await command.asked(*words[1:])
    assert "permanently blacklisted  once recovered" in before.lines[1]
    assert "AccessDeniedException" in before.lines[2]
    assert after.lines[1].split()[:3] == ["a", "healthy", "now"]


@pytest.mark.parametrize("key", [None, "made-up-wrong-key"])
async def test_a_gateway_that_refuses_is_quoted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str | None
) -> None:
    async with running(tmp_path, KEY) as site, served(site) as server:
        keys = {} if key is None else {"adminKey": key}
        command = Command(capsys, config(tmp_path, f"127.0.0.1:{server.port}", **keys))
        said = [await command.asked(*arguments) for arguments in ([], ["disable", "a"])]
        assert site.gateway._accounts.is_ready()
    sent = "none was sent" if key is None else "that of the configuration was sent"
    words = (
        "the gateway's admin key (server.adminKey) is needed, in x-api-key or Authorization "
        f"({sent}; --config names another configuration)"
    )
    assert [one.problem for one in said] == [f"http://127.0.0.1:{server.port} answered 401: {words}"] * 2


@pytest.mark.parametrize(
    ("name", "shown"),
    [("c", "'c'"), ("", "POST"), ("..", "POST"), ("a/b", "POST"), ("a?b", "'a?b'"), ("\udcff\n", "account")],
)
async def test_an_account_that_a_gateway_does_not_know_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, shown: str
) -> None:
    async with running(tmp_path) as site, served(site) as server:
        command = Command(capsys, config(tmp_path, f"127.0.0.1:{server.port}"))
        said = await command.asked("recover", name)
    assert said.problem.startswith(f"http://127.0.0.1:{server.port} answered 404: there is no ")
    assert shown in said.problem
    assert said.problem.isprintable()


# --- what is none of ours --------------------------------------------------------------------------------------


@asynccontextmanager
async def saying(answer: bytes | None) -> AsyncIterator[str]:
    """A server that says the same to everyone, or nothing; its address."""

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        if answer is None:
            await trio.sleep_forever()
        else:
            await stream.send_all(answer)
            await stream.send_eof()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield f"127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


def http(body: bytes, status: int = 200) -> bytes:
    """An answer with that body."""
    return b"HTTP/1.1 %d Made Up\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


@pytest.mark.parametrize("arguments", [[], ["recover", "a"], ["--json"]])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 200),
        (b"<html>", 404),
        (b"{}", 200),
        (b"[]", 200),
        (b"null", 200),
        (b'{"accounts": 1}', 200),
        (b'{"accounts": [{}]}', 200),
        (b'{"accounts": [{"providerId": "a"}], "providerId": "a"}', 200),
        (b'"\xff"', 200),
        (b'{"accounts": [{"providerId": "\\ud800"}]}', 200),
        (b"[" * 100_000, 200),
        (b'{"error": "made up"}', 500),
        (b'{"error": {"message": 1}}', 500),
        (json.dumps({**FINE, "errorHistory": [{}], "accounts": [{**FINE, "totalRequests": "1"}]}).encode(), 200),
    ],
)
async def test_a_server_that_is_no_gateway_is_said_to_be_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], body: bytes, status: int
) -> None:
    async with saying(http(body, status)) as place:
        said = await Command(capsys, config(tmp_path, place)).asked(*arguments)
    assert said.problem == f"http://{place} answered {status}, and not as a gateway does"


async def test_what_a_stranger_says_cannot_speak_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b[2J\r\nforged\x9b\N{RIGHT-TO-LEFT OVERRIDE}"
    command = Command(capsys, config(tmp_path, "127.0.0.1:1"))
    async with saying(http(json.dumps({"error": {"message": evil * 1000}}).encode(), 403)) as place:
        problem = (await command.asked("--url", f"http://{place}")).problem
    assert problem.startswith(f"http://{place} answered 403: \\x1b[2J\\r\\nforged\\x9b\\u202e")
    assert problem.isprintable()
    assert len(problem) < 1200
    strange = {**FINE, "providerId": evil, "state": evil, "nextTry": evil}
    async with saying(http(json.dumps({"accounts": [strange]}).encode())) as place:
        shown = await command.asked("--url", f"http://{place}")
        as_json = await command.asked("--url", f"http://{place}", "--json")
    assert len(shown.lines) == 2
    assert all(line.isprintable() for line in shown.lines)
    assert as_json.json == {"accounts": [strange]}
    assert "\x1b" not in as_json.out


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (b"", "RemoteProtocolError"),
        (b"SSH-2.0-made-up\r\n", "RemoteProtocolError"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{", "RemoteProtocolError"),
        (http(b"x" * 2000), "answered with more than 1000 bytes"),
        (None, "no answer within 0.2 seconds"),
    ],
)
async def test_a_url_whose_server_does_not_answer_is_said_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes | None,
    named: str,
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.2)
    monkeypatch.setattr(module, "_MAX_BYTES", 1000)
    async with saying(answer) as place:
        said = await Command(capsys, config(tmp_path, "127.0.0.1:1")).asked("--url", f"http://{place}")
    assert said.problem.startswith(f"http://{place}")
    assert named in said.problem


@pytest.mark.parametrize(
    "url",
    ["", "x", "localhost:1", "ftp://localhost", "http://", "http://[bad", "http://a b/", "http://\udcff/", "file:///"],
)
def test_what_is_no_url_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str) -> None:
    command = Command(capsys, config(tmp_path, "127.0.0.1:1"))
    assert command.run("--url", url).problem
    assert not (tmp_path / "state.sqlite3").exists()


def test_a_url_with_nothing_behind_it_is_an_error_and_the_store_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], closed: str
) -> None:
    said = Command(capsys, config(tmp_path, closed)).run("disable", "a", "--url", f"http://{closed}")
    assert said.problem.startswith(f"http://{closed}: ConnectError")
    assert not (tmp_path / "state.sqlite3").exists()
