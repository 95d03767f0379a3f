"""TLS on the gateway's own socket: what can be served is, what cannot is said before, and the wire is as without."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from adapters.certificates import CertificateUnusable, check_certificate, trust_in
from adapters.cli import main
from adapters.emulator import always
from tests.adapters.canned import canned, deliver_as_it_comes, noted_places, pieces
from tests.adapters.certificates import Certificate, make_certificate, written
from tests.adapters.harness import HELLO, STREAMED, config_file, running
from tests.adapters.processes import Command, commands
from tests.adapters.token_files import in_virtual_time
from tests.adapters.wire import Served, Wire, served


@pytest.fixture(scope="module")
def own() -> Certificate:
    """One that is signed by itself, for a name that this machine has not."""
    return make_certificate("gateway.example")


@pytest.fixture
def files(tmp_path: Path, own: Certificate) -> dict[str, str]:
    """Its files, as the configuration names them."""
    return written(tmp_path, own)


# --- what can be served ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_rsa", [False, True])
@pytest.mark.parametrize("has_chain", [False, True])
def test_a_certificate_with_its_key_can_be_used(tmp_path: Path, is_rsa: bool, has_chain: bool) -> None:
    authority = make_certificate("authority.example")
    chain = (authority,) if has_chain else ()
    files = written(tmp_path, make_certificate("gateway.example", by=authority, is_rsa=is_rsa), *chain)
    check_certificate(files["tlsCertFile"], files["tlsKeyFile"])


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda cert, _key, _own: cert.unlink(), "{cert} cannot be read: No such file or directory"),
        (lambda _cert, key, _own: key.unlink(), "{key} cannot be read: No such file or directory"),
        (lambda cert, _key, _own: (cert.unlink(), cert.mkdir()), "{cert} cannot be read: Is a directory"),
        (lambda cert, _key, _own: cert.write_bytes(b""), "{cert} holds no certificate in PEM"),
        (lambda cert, _key, own: cert.write_bytes(own.key_pem()), "{cert} holds no certificate in PEM"),
        (lambda cert, _key, own: cert.write_bytes(own.pem[:100] + own.pem[-60:]), "{cert} holds no certificate in PEM"),
        (lambda cert, _key, _own: cert.write_bytes(b"\xff\xfe\x00"), "{cert} holds no certificate in PEM"),
        (lambda _cert, key, _own: key.write_bytes(b""), "{key} holds no private key in PEM"),
        (lambda _cert, key, own: key.write_bytes(own.pem), "{key} holds no private key in PEM"),
        (
            lambda _cert, key, own: key.write_bytes(own.key_pem(b"made-up")),
            "{key} is protected by a passphrase, which is not supported",
        ),
        (
            lambda _cert, key, _own: key.write_bytes(make_certificate("other.example").key_pem()),
            "{key} is not the key of {cert}",
        ),
        (
            lambda _cert, key, _own: key.write_bytes(make_certificate("other.example", is_rsa=True).key_pem()),
            "{key} is not the key of {cert}",
        ),
    ],
)
def test_what_cannot_be_served_is_said_in_a_line_before_anything_is_listened_on(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    own: Certificate,
    files: dict[str, str],
    spoil: Callable[[Path, Path, Certificate], object],
    problem: str,
) -> None:
    cert, key = Path(files["tlsCertFile"]), Path(files["tlsKeyFile"])
    spoil(cert, key, own)
    with pytest.raises(CertificateUnusable) as raised:
        check_certificate(str(cert), str(key))
    place = "server.tlsCertFile" if problem.startswith("{cert}") else "server.tlsKeyFile"
    expected = f"{place}: {problem.format(cert=cert, key=key)}"
    assert str(raised.value) == expected
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        file = config_file(tmp_path / "written", "http://127.0.0.1:1", server={"bind": bind, **files})
        for command in ("check", "serve"):
            assert main([command, "--config", str(file)]) == 1
            assert capsys.readouterr() == ("", f"{expected}\n")


# --- the wire --------------------------------------------------------------------------------------------------


def trusting(files: dict[str, str], *protocols: str) -> ssl.SSLContext:
    """A client's trust in that certificate."""
    context = trust_in(files["tlsCertFile"])
    context.set_alpn_protocols(list(protocols))
    return context


@pytest.mark.parametrize("protocols", [(), ("http/1.1",), ("h2", "http/1.1"), ("h2",)])
async def test_http_1_1_alone_is_spoken_over_tls(
    tmp_path: Path, files: dict[str, str], protocols: tuple[str, ...]
) -> None:
    async with running(tmp_path, {"server": files}) as site, served(site) as server:
        wire = await server.connect(trusting(files, *protocols))
        assert wire.tls is not None
        agreed = wire.tls.selected_alpn_protocol()
        assert agreed == ("http/1.1" if "http/1.1" in protocols else None)
        assert (await wire.ask("POST", "/v1/messages", HELLO)).json["type"] == "message"
        reply = await wire.ask("POST", "/v1/messages", STREAMED)
    assert reply.is_whole
    assert reply.events[-1] == "message_stop"


@pytest.mark.parametrize("data", [b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n", b"\x16\x03\x01garbage", b""])
async def test_what_is_not_tls_ends_its_connection_alone(tmp_path: Path, files: dict[str, str], data: bytes) -> None:
    async with running(tmp_path, {"server": files}) as site, served(site) as server:
        plain = await server.connect()
        await plain.stream.send_all(data)
        await plain.stream.send_eof()
        assert b"HTTP" not in await plain.until_closed()
        wire = await server.connect(trusting(files))
        assert (await wire.ask("GET", "/health")).status == 200


@in_virtual_time
async def test_a_client_that_agrees_on_nothing_is_let_go(tmp_path: Path, files: dict[str, str]) -> None:
    document = {"server": files, "timeouts": {"requestMs": 20_000}}
    async with running(tmp_path, document) as site, served(site) as server:
        silent = await server.connect()
        assert await silent.until_closed() == b""
        assert trio.current_time() == pytest.approx(20, abs=0.5)


@in_virtual_time
async def test_a_client_that_agrees_on_nothing_holds_up_no_stop(tmp_path: Path, files: dict[str, str]) -> None:
    async with running(tmp_path, {"server": files}) as site, served(site) as server:
        await server.connect()
        idle = await server.connect(trusting(files))
        assert (await idle.ask("GET", "/health")).status == 200
        signal.raise_signal(signal.SIGTERM)
        await server.over.wait()
        assert trio.current_time() < 1
        assert await idle.until_closed() == b""


@in_virtual_time
async def test_a_stop_ends_a_stream_over_tls_with_an_error(tmp_path: Path, files: dict[str, str]) -> None:
    document = {"server": {**files, "drainMs": 15_000}}
    async with running(tmp_path, document, scenario=always("stall:1")) as site, served(site) as server:
        wire = await server.connect(trusting(files))
        await wire.send("POST", "/v1/messages", STREAMED)
        await site.until_said("answered POST /generate")
        signal.raise_signal(signal.SIGTERM)
        reply = await wire.receive()
        assert trio.current_time() == pytest.approx(15, abs=0.5)
        await server.over.wait()
    assert reply.is_whole
    assert reply.events == ["message_start", "ping", "error"]


async def _say_goodbye(wire: Wire) -> None:
    assert wire.tls is not None
    await wire.tls.aclose()


async def _just_go(wire: Wire) -> None:
    await trio.aclose_forcefully(wire.stream)


async def _do_not_read(_wire: Wire) -> None:
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("leave", [_say_goodbye, _just_go, _do_not_read])
async def test_a_client_that_leaves_or_stops_reading_takes_its_call_along_over_tls_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], leave: Callable[[Wire], Any]
) -> None:
    deliver_as_it_comes(monkeypatch)
    places = noted_places(monkeypatch)
    document = {"server": {**files, "maxConcurrent": 1}, "timeouts": {"sendMs": 500}}
    async with (
        canned(pieces(10_000)) as service,
        running(tmp_path, document, endpoint=service.url) as site,
        served(site) as server,
    ):
        wire = await server.connect(trusting(files))
        wire.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await wire.send("POST", "/v1/messages", STREAMED)
        await service.until_asked()
        await service.until_stuck(0.1)
        await leave(wire)
        taken = await service.until_free(places)
        assert taken < (0.1 if leave is not _do_not_read else 1.0)
        another = await server.connect(trusting(files))
        await another.send("POST", "/v1/messages", STREAMED)
        await service.until_asked(2)


# --- the commands ----------------------------------------------------------------------------------------------


async def _accounts(capsys: pytest.CaptureFixture[str], file: Path, *arguments: str) -> tuple[int, str, str]:
    command = ["accounts", *arguments, "--config", str(file)]
    code = await trio.to_thread.run_sync(lambda: main(command))
    return code, *capsys.readouterr()


def _config(folder: Path, server: Served, files: dict[str, str]) -> Path:
    bind = f"127.0.0.1:{server.port}"
    return config_file(folder, "http://127.0.0.1:1", server={"bind": bind, "adminKey": "made-up", **files})


@pytest.mark.parametrize("has_chain", [False, True])
@pytest.mark.parametrize("by_url", [False, True])
async def test_the_accounts_command_knows_the_gateway_by_its_certificate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], has_chain: bool, by_url: bool
) -> None:
    authority = make_certificate("authority.example")
    by = (authority,) if has_chain else ()
    files = written(tmp_path, make_certificate("gateway.example", by=authority if has_chain else None), *by)
    document = {"server": {**files, "adminKey": "made-up"}}
    async with running(tmp_path, document) as site, served(site) as server:
        url = f"https://127.0.0.1:{server.port}"
        more = ["--url", url] if by_url else []
        file = _config(tmp_path / "written", server, files)
        code, out, err = await _accounts(capsys, file, "--json", *more)
    assert (code, err) == (0, "" if by_url else f"from the gateway on {url}\n")
    assert [account["providerId"] for account in json.loads(out)["accounts"]] == ["a"]


@pytest.mark.parametrize("is_same_authority", [False, True])
async def test_the_admin_key_goes_to_no_server_with_another_certificate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], is_same_authority: bool
) -> None:
    authority = make_certificate("authority.example")
    (tmp_path / "ours").mkdir()
    ours = written(tmp_path / "ours", make_certificate("gateway.example", by=authority), authority)
    other = authority if is_same_authority else make_certificate("authority.example")
    files = written(tmp_path, make_certificate("gateway.example", by=other), other)
    document = {"server": {**files, "adminKey": "made-up"}}
    async with running(tmp_path, document) as site, served(site) as server:
        url = f"https://127.0.0.1:{server.port}"
        file = _config(tmp_path / "written", server, ours)
        code, out, err = await _accounts(capsys, file, "--url", url)
    assert (code, out) == (1, "")
    assert "CERTIFICATE_VERIFY_FAILED" in err


async def test_a_certificate_that_cannot_be_read_is_said_by_the_accounts_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: dict[str, str]
) -> None:
    Path(files["tlsCertFile"]).write_bytes(b"")
    file = config_file(tmp_path / "written", "http://127.0.0.1:1", server={"bind": "127.0.0.1:1", **files})
    code, out, err = await _accounts(capsys, file)
    assert (code, out) == (1, "")
    assert err == f"server.tlsCertFile: {files['tlsCertFile']} holds no certificate in PEM\n"


@pytest.fixture
def start() -> Iterator[Callable[..., Command]]:
    """A way to start processes."""
    with commands() as started:
        yield started


def test_serve_says_https_and_answers_there(
    tmp_path: Path, start: Callable[..., Command], files: dict[str, str]
) -> None:
    emulator = start("adapters.cli", "emulate", "--bind", "127.0.0.1:0", "--write-config", tmp_path)
    file = Path(emulator.until(r"^wrote (.*)$"))
    emulator.until("(emulating on) ")
    file.write_text(json.dumps({**json.loads(file.read_text()), "server": files}))
    server = start("adapters.cli", "serve", "--bind", "127.0.0.1:0", "--config", file)
    address = server.until(r"listening on https://(\S+)")
    connection = http.client.HTTPSConnection(address, context=trusting(files), timeout=30)
    connection.request("POST", "/v1/messages", json.dumps(HELLO))
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["type"]) == (200, "message")
    connection.close()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
