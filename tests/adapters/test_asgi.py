"""What `hypercorn -k trio adapters.asgi:app` imports: an application, or an end in plain words."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypercorn.trio import tcp_server
from quart_trio import QuartTrio

from adapters.demo import write_config
from adapters.emulator import team_accounts
from adapters.http1 import Http1


def imported(monkeypatch: pytest.MonkeyPatch, config: Path) -> ModuleType:
    """The module, anew, with this configuration."""
    monkeypatch.setenv("STAGEWHISPER_CONFIG", str(config))
    monkeypatch.delitem(sys.modules, "adapters.asgi", raising=False)
    monkeypatch.setattr(tcp_server, "ProtocolWrapper", object)
    return importlib.import_module("adapters.asgi")


def test_a_good_configuration_becomes_an_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = imported(monkeypatch, write_config(tmp_path, "http://127.0.0.1:1"))
    assert isinstance(module.app, QuartTrio)
    assert vars(tcp_server)["ProtocolWrapper"] is Http1


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "cannot be read"),
        ('{"server": {"made": 1, "up": 2}}', "server.made: "),
        ('{"providers": {"one": {"type": "codewhisperer", "authentication": {"tokenFilePath": "/none"}}}}', "/none: "),
    ],
)
def test_a_bad_configuration_is_an_end_in_plain_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, named: str
) -> None:
    file = tmp_path / "config.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SystemExit) as raised:
        imported(monkeypatch, file)
    assert isinstance(raised.value.code, str), "hypercorn's worker prints it, and exits with 1"
    assert named in raised.value.code


def test_accounts_without_a_token_file_are_said_and_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = write_config(tmp_path, "http://127.0.0.1:1", team_accounts(3))
    (tmp_path / "team-account2.json").unlink()
    assert isinstance(imported(monkeypatch, config).app, QuartTrio)
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith(f"providers.team-account2: {tmp_path / 'team-account2.json'}: cannot be read")


def test_a_state_that_cannot_be_kept_is_an_end_in_plain_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_config(tmp_path, "http://127.0.0.1:1")
    (tmp_path / "state.sqlite3").mkdir()
    with pytest.raises(SystemExit) as raised:
        imported(monkeypatch, config)
    assert str(raised.value.code).startswith(f"{tmp_path / 'state.sqlite3'}: state.sqlite3 is not a regular file (")


def test_a_damaged_state_is_said_before_the_server_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = write_config(tmp_path, "http://127.0.0.1:1")
    (tmp_path / "state.sqlite3").write_bytes(b"made-up rubbish" * 1000)
    assert isinstance(imported(monkeypatch, config).app, QuartTrio)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"{tmp_path / 'state.sqlite3'}: ")


async def test_a_server_that_runs_already_may_import_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(imported(monkeypatch, write_config(tmp_path, "http://127.0.0.1:1")).app, QuartTrio)
