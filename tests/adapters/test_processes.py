"""The commands as their users run them: processes on loopback, on free ports, ended by real signals."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.harness import HELLO, STREAMED
from tests.adapters.processes import Command, ask, commands, poll
from tests.recordings import PROFILE

CLI = "adapters.cli"
ANY = ("--bind", "127.0.0.1:0")


@pytest.fixture
def start() -> Iterator[Callable[..., Command]]:
    """A way to start processes."""
    with commands() as started:
        yield started


def normal(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str | None, Any]:
    """What of an answer is the same whoever serves it."""
    status, headers, data = answer
    if headers.get("content-type") != "application/json":
        return status, headers.get("content-type"), data.decode().count("event: ")
    form = json.loads(data)
    if "usage" in form:
        form["usage"] = sorted(form["usage"])  # the figures differ with the conversation's id
    for member in ("id", "request_id"):
        if member in form and isinstance(form[member], str) and form[member][:4] in ("msg_", "req_"):
            form[member] = "made up"
    return status, headers["content-type"], form


def test_a_gateway_on_an_emulator_answers_whoever_runs_it(tmp_path: Path, start: Callable[..., Command]) -> None:
    folder = tmp_path / "written"
    emulator = start(CLI, "emulate", *ANY, "--write-config", folder)
    file = emulator.until(r"^wrote (.*)$")
    emulator.until("(emulating on) ")
    assert Path(file).parent == folder
    assert (folder.stat().st_mode & 0o777, (folder / "token.json").stat().st_mode & 0o777) == (0o700, 0o600)
    served = start(CLI, "serve", *ANY, "--config", file)
    by_hypercorn = start("hypercorn", "-k", "trio", *ANY, "adapters.asgi:app", STAGEWHISPER_CONFIG=file)
    urls = [served.until(r"listening on (http://\S+)"), by_hypercorn.until(r"Running on (http://\S+)")]
    requests: list[tuple[str, str, object, dict[str, str]]] = [
        ("POST", "/v1/messages", HELLO, {}),
        ("POST", "/v1/messages?beta=true", STREAMED, {}),
        ("POST", "/v1/messages/count_tokens", HELLO, {}),
        ("POST", "/v1/messages", {**HELLO, "model": "none"}, {}),
        ("GET", "/v1/models", None, {}),
        ("GET", "/health", None, {}),
        ("GET", "/nothing", None, {}),
        ("GET", "/v1/models", None, {"host": "rebound.example"}),
        ("GET", "/ready", None, {"host": "rebound.example"}),
        ("GET", "/admin/accounts", None, {"host": "rebound.example"}),
        ("GET", "/health", None, {"upgrade": "h2c", "http2_settings": "!!!x", "connection": "upgrade"}),
        ("GET", "/v1/models", None, {}),
    ]
    answers = [[ask(url, method, path, body, **headers) for method, path, body, headers in requests] for url in urls]
    statuses = [200, 200, 200, 404, 200, 200, 404, 403, 200, 403, 200, 200]
    assert [[status for status, _, _ in one] for one in answers] == [statuses] * 2
    assert all(headers["request-id"].startswith("req_") for one in answers for _, headers, _ in one)
    ours, theirs = ([normal(answer) for answer in one] for one in answers)
    assert ours == theirs
    for command in (served, by_hypercorn, emulator):
        command.signal(signal.SIGTERM)
    assert [command.wait() for command in (served, by_hypercorn, emulator)] == [0, 0, 0]
    assert not any("Traceback" in line for command in (served, by_hypercorn, emulator) for line in command.lines)
    assert sum(": answered" in line for line in served.lines) == 2


def test_a_second_signal_ends_a_server_at_once_and_the_first_lets_streams_end(
    tmp_path: Path, start: Callable[..., Command]
) -> None:
    emulator = start(CLI, "emulate", *ANY, "--scenario", "stall:1", "--write-config", tmp_path)
    file = emulator.until(r"^wrote (.*)$")
    emulator.until("(emulating on) ")
    served = start(CLI, "serve", *ANY, "--config", file)
    url = served.until(r"listening on (http://\S+)")
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as client:
        data = json.dumps(STREAMED).encode()
        head = f"POST /v1/messages HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(data)}\r\n\r\n"
        client.sendall(head.encode() + data)
        emulator.until("(answered POST /generateAssistantResponse)")
        served.signal(signal.SIGTERM)

        def refuses() -> bool:
            try:
                socket.create_connection((host, int(port))).close()
            except ConnectionRefusedError:
                return True
            return False

        poll(refuses)
        assert served.process.poll() is None, "the stream was not waited for"
        served.signal(signal.SIGTERM)
        assert served.wait() == 0
    assert not any("Traceback" in line for line in served.lines)


@pytest.mark.parametrize("runner", [(CLI, "serve"), ("hypercorn", "-k", "trio")])
def test_what_still_runs_when_the_time_of_a_stop_is_over_ends_with_an_error(
    tmp_path: Path, start: Callable[..., Command], runner: tuple[str, ...]
) -> None:
    emulator = start(CLI, "emulate", *ANY, "--scenario", "stall:1", "--write-config", tmp_path)
    file = Path(emulator.until(r"^wrote (.*)$"))
    emulator.until("(emulating on) ")
    settings = {"server": {"drainMs": 500}, "pings": {"quietMs": 100}}
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    more = ("--config", file) if runner[0] == CLI else ("adapters.asgi:app",)
    server = start(*runner, *ANY, *more, STAGEWHISPER_CONFIG=str(file))
    url = server.until(r"(?:listening|Running) on (http://\S+)")
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/messages", json.dumps(STREAMED))
        response = connection.getresponse()
        server.signal(signal.SIGTERM)
        data = response.read().decode()
    assert data.startswith("event: message_start\n")
    assert "event: error\ndata: " in data
    assert '"overloaded_error"' in data
    assert server.wait() == 0
    assert not any("Traceback" in line for line in server.lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_says_how_to_ask_it_and_answers(start: Callable[..., Command], number: signal.Signals) -> None:
    demo = start(CLI, "demo", *ANY)
    url = demo.until(r"listens on (http://[0-9.:]+), with an emulator")
    body = json.loads(demo.until(r"""-d '(\{.*\})'$"""))
    model = demo.until(r"ANTHROPIC_MODEL=(\S+) ANTHROPIC_SMALL_FAST_MODEL=")
    demo.until("(claude -p) ")
    assert any(f"curl -sS {url}/v1/messages" in line for line in demo.lines)
    assert any(f"ANTHROPIC_BASE_URL={url}" in line for line in demo.lines)
    status, _, data = ask(url, "POST", "/v1/messages", body)
    assert (status, json.loads(data)["stop_reason"]) == (200, "end_turn")
    assert model == body["model"]
    demo.signal(number)
    assert demo.wait() == 0
    assert not any("Traceback" in line for line in demo.lines)


def test_hypercorn_is_told_what_is_wrong_without_a_traceback(tmp_path: Path, start: Callable[..., Command]) -> None:
    (tmp_path / "wrong.json").write_text('{"server": {"made": 1}, "providers": {}}')
    (tmp_path / "good.json").write_text("{}")
    token_file = {"authentication": {"tokenFilePath": str(tmp_path / "token.json")}}
    token = {"accessToken": "made-up-access-token", "expiresAt": "2099-01-01T00:00:00Z", "region": "us-east-1"}
    (tmp_path / "token.json").write_text(json.dumps({**token, "profileArn": PROFILE}))
    unrecorded = {"providers": {"a": {"type": "codewhisperer", **token_file}}, "state": {"kind": "memory"}}
    unrecorded |= {"recording": {"directory": str(tmp_path / "good.json" / "recordings")}}
    (tmp_path / "unrecorded.json").write_text(json.dumps(unrecorded))
    runs = {
        "wrong.json": "server.made: ",
        "none.json": "cannot be read: No such file or directory",
        "good.json": "kiro-auth-token.json: cannot be read: No such file or directory",
        "unrecorded.json": "good.json/recordings: Not a directory",
    }
    command = ("hypercorn", "-k", "trio", *ANY, "adapters.asgi:app")
    started = {name: start(*command, STAGEWHISPER_CONFIG=str(tmp_path / name), HOME=str(tmp_path)) for name in runs}
    for name, expected in runs.items():
        started[name].wait()
        text = "\n".join(started[name].lines)
        assert expected in text, name
        assert "Traceback" not in text
