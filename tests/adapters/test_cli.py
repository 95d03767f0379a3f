"""The command line: exit codes, and what is said of each thing that its user has to mend. Never a traceback."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.ambient import VERSION
from adapters.cli import main
from adapters.emulator import default_account, render_token_file

KEYS_PROBLEM = "server.apiKeys: expected a key, because '0.0.0.0' is not a loopback address; got none"


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's user is looked at."""
    monkeypatch.delenv("STAGEWHISPER_CONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nobody"))


@pytest.fixture
def taken() -> Iterator[str]:
    """An address on which another listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def config(folder: Path, **members: Any) -> Path:
    """A configuration on a token file that is there."""
    token_file = folder / "token.json"
    token_file.write_text(render_token_file(default_account(), 4_000_000_000.0))
    account = {"tokenFilePath": str(token_file)}
    providers = {"one": {"type": "codewhisperer", "authentication": account}}
    file = folder / "config.json"
    file.write_text(json.dumps({"providers": providers, **members}))
    return file


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str], list[str]]:
    """The exit code, and the lines that were said and that were complained."""
    code: object
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as end:
        code = end.code
    assert isinstance(code, int)
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out.splitlines(), said.err.splitlines()


def test_a_good_configuration_is_said_to_be_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, complained = run(capsys, "check", "--config", config(tmp_path))
    assert (code, complained) == (0, [])
    assert said[0].startswith(f"configuration: {tmp_path / 'config.json'}; 14 models; accounts, in turn:")
    assert len(said) == 2
    assert said[1].startswith("  one: ")
    assert said[1].endswith(", is refreshed before that")


def test_where_is_recorded_is_checked_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "recordings"
    file = config(tmp_path, recording={"directory": str(folder), "maxFiles": 7}, state={"kind": "memory"})
    code, said, _ = run(capsys, "check", "--config", file)
    assert code == 0
    assert said[-1] == f"prompts and answers are recorded in {folder}: at most 7 files and 1000000000 bytes"
    folder.rmdir()
    folder.write_bytes(b"")
    problem = f"recordings cannot be kept in {folder}: Not a directory"
    assert run(capsys, "check", "--config", file) == (1, [], [f"recording.directory: {problem}"])
    for command in (["serve", "--config", str(file)], ["demo", "--record", str(folder)]):
        code, said, complained = run(capsys, *command, "--bind", "127.0.0.1:0")
        assert (code, said, complained[-1]) == (1, [], problem)


@pytest.mark.parametrize("folder", ["", "a\nb", "~nobody/x"])
@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_folder_for_recordings_is_named_as_in_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, folder: str
) -> None:
    options = ["--config", str(config(tmp_path, state={"kind": "memory"}))] if command == "serve" else []
    code, said, complained = run(capsys, command, "--bind", "127.0.0.1:0", "--record", folder, *options)
    assert (code, said) == (1, [])
    assert complained[-1].startswith("--record: expected a ")


def test_the_configuration_is_found_by_its_variable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGEWHISPER_CONFIG", str(config(tmp_path)))
    assert run(capsys, "check")[0] == 0
    monkeypatch.setenv("STAGEWHISPER_CONFIG", str(tmp_path / "elsewhere.json"))
    assert run(capsys, "check")[0] == 1


@pytest.mark.parametrize("command", ["check", "serve"])
def test_all_problems_of_a_configuration_are_said_with_their_paths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    wrong = {"server": {"bind": "0.0.0.0:8990", "made": 1}, "timeouts": {"idleMs": "x"}, "providers": {}}
    file = config(tmp_path, **wrong)
    code, said, complained = run(capsys, command, "--config", file)
    assert (code, said) == (1, [])
    assert len(complained) >= 4
    assert all(line.startswith(f"{file}: ") for line in complained)
    for path in ("server.made", "server.apiKeys", "timeouts.idleMs", "providers"):
        assert any(line.startswith(f"{file}: {path}: ") for line in complained), path


@pytest.mark.parametrize("command", ["check", "serve"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"{", "is no JSON"),
        (b"\xff\xfe", "UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_configuration_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, content: bytes | None, expected: str
) -> None:
    file = tmp_path / "config.json"
    if content is not None:
        file.write_bytes(content)
    code, said, complained = run(capsys, command, "--config", file)
    assert (code, said, len(complained)) == (1, [], 1)
    assert complained[0].startswith(f"{file}: ")
    assert expected in complained[0]


@pytest.mark.parametrize("command", ["check", "serve"])
@pytest.mark.parametrize("kind", ["missing", "folder", "no JSON", "no token"])
def test_a_token_file_that_cannot_be_used_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, kind: str
) -> None:
    file = config(tmp_path)
    token_file = tmp_path / "token.json"
    match kind:
        case "no JSON":
            token_file.write_text("made-up-secret")
        case "no token":
            token_file.write_text('{"refreshToken": "made-up-secret"}')
        case _:
            token_file.unlink()
            if kind == "folder":
                token_file.mkdir()
    code, said, complained = run(capsys, command, "--config", file)
    assert (code, said, len(complained)) == (1, [], 1)
    assert complained[0].startswith(f"providers.one: {token_file}: ")
    assert "made-up-secret" not in complained[0]


def test_a_state_that_cannot_be_kept_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state"
    state.mkdir()
    file = config(tmp_path, state={"path": str(state)})
    code, said, complained = run(capsys, "serve", "--bind", "127.0.0.1:0", "--config", file)
    advice = "(state.path names another file; state.kind memory keeps none)"
    assert (code, said, complained) == (1, [], [f"{state}: state is not a regular file {advice}"])


def test_without_a_configuration_the_default_account_is_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, complained = run(capsys, "serve")
    assert code == 1
    expected = tmp_path / "nobody" / ".aws" / "sso" / "cache" / "kiro-auth-token.json"
    assert len(complained) == 1
    assert complained[0].startswith(f"providers.kiro: {expected}: cannot be read: No such file or directory (sign in ")


@pytest.mark.parametrize("arguments", [["serve", "--config", "CONFIG"], ["demo"], ["emulate"]])
def test_a_taken_port_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], taken: str, arguments: list[str]
) -> None:
    named = [str(config(tmp_path)) if argument == "CONFIG" else argument for argument in arguments]
    assert run(capsys, *named, "--bind", taken) == (1, [], [f"cannot listen on {taken}: Address already in use"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["serve", "--bind", "8990"], "--bind: expected HOST:PORT"),
        (["serve", "--bind", "0.0.0.0:0"], KEYS_PROBLEM),
        (["serve", "--bind", "127.0.0.1:65536"], "--bind: expected a port from 0 to 65535, got 65536"),
        (["demo", "--bind", "localhost"], "--bind: expected HOST:PORT"),
        (["demo", "--bind", "0.0.0.0:0"], "--bind: 0.0.0.0 can be reached from other machines"),
        (["emulate", "--bind", "192.0.2.1:0"], "--bind: 192.0.2.1 can be reached from other machines"),
        (["emulate", "--scenario", "fine", "--scenario-file", "x"], "--scenario and --scenario-file exclude each"),
        (["emulate", "--scenario", "nonsense:1"], "unknown scenario 'nonsense'; there are: fine, "),
        (["emulate", "--scenario", "cut"], "scenario cut:BYTES: BYTES is missing"),
        (["emulate", "--scenario-file", "/none"], "the scenario file cannot be read: No such file or directory"),
        (["emulate", "--replay", "x", "--scenario", "fine"], "--scenario and --replay exclude each other"),
        (["emulate", "--replay", "x", "--scenario-file", "x"], "--scenario-file and --replay exclude each other"),
        (["emulate", "--no-waits"], "--no-waits is for --replay, which is not given"),
        (["emulate", "--replay", "/none"], "/none: cannot be read: No such file or directory"),
        (["emulate", "--replay", "FILE"], "FILE: no recording"),
        (["emulate", "--bind", "127.0.0.1:0", "--write-config", "FILE"], "FILE cannot be written: File exists"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    file = config(tmp_path)
    named = [argument.replace("FILE", str(file)) for argument in arguments]
    if arguments[0] == "serve":
        named += ["--config", str(file)]
    code, said, complained = run(capsys, *named)
    assert (code, said, len(complained)) == (1, [], 1)
    assert expected.replace("FILE", str(file)) in complained[0]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["serve", "--nonsense"],
        ["serve", "--log-level", "loud"],
        ["check", "--config"],
        ["replay"],
        ["replay", "--as", "nonsense", "a"],
        ["replay", "--cuts", "-1", "a"],
        ["replay", "--cuts", "x", "a"],
    ],
)
def test_what_is_no_command_line_is_a_usage_error(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    code, said, complained = run(capsys, *arguments)
    assert (code, said) == (2, [])
    assert complained[0].startswith("usage: stagewhisper")


def test_the_version_and_the_help_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, [f"stagewhisper {VERSION}"], [])
    code, said, _ = run(capsys, "--help")
    assert code == 0
    assert all(
        any(command in line for line in said) for command in ("serve", "check", "accounts", "replay", "demo", "emulate")
    )


def test_the_scenarios_are_listed_with_what_they_do(capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = run(capsys, "emulate", "--scenarios")
    assert code == 0
    assert len(said) > 50
    assert all(len(line.split(maxsplit=1)) == 2 for line in said)
    assert said[0].split() == ["fine", "the", "ordinary", "answer"]


def test_an_interrupt_before_anything_runs_is_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("adapters.cli._load", interrupt)
    assert run(capsys, "check") == (130, [], [])
