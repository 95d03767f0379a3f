"""The configuration's file: which one is taken, how it is read, and the models that ship with the package."""

import json
import re
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.configfile import MAX_BYTES, default_state_path, find_config, load_config
from core.config import Config, ConfigError


def _write(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def _load(file: Path, **environment: str) -> Config:
    return load_config(str(file), {"HOME": "/home/somebody"} | environment)


def _refusal(file: Path) -> str:
    """Why a file is refused: one problem with the file as a whole, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        _load(file)
    (problem,) = caught.value.problems
    assert problem.path == ""
    assert caught.value.source == str(file)
    assert str(caught.value) == f"{file}: {problem.problem}"
    assert "\n" not in problem.problem
    return problem.problem


# --- which file ------------------------------------------------------------------------------------------------


def test_without_any_file_the_configuration_is_the_default(tmp_path: Path) -> None:
    config = load_config(None, {"HOME": "/home/somebody"}, user_folder=tmp_path / "missing")
    assert (config.server.host, config.server.port) == ("127.0.0.1", 8990)
    assert [provider.token_file for provider in config.providers] == [
        "/home/somebody/.aws/sso/cache/kiro-auth-token.json"
    ]


def test_the_command_line_comes_before_the_environment_and_that_before_the_user_s_folder(tmp_path: Path) -> None:
    named, variable = (
        _write(tmp_path, f"{port}.json", json.dumps({"server": {"bind": f"localhost:{port}"}})) for port in (1, 2)
    )
    folder = tmp_path / "folder"
    folder.mkdir()
    _write(folder, "config.json", '{"server": {"bind": "localhost:3"}}')
    environment = {"STAGEWHISPER_CONFIG": str(variable)}
    assert load_config(str(named), environment, user_folder=folder).server.port == 1
    assert load_config(None, environment, user_folder=folder).server.port == 2
    assert load_config(None, {"STAGEWHISPER_CONFIG": ""}, user_folder=folder).server.port == 3
    assert load_config(None, {}, user_folder=folder, bind="[::1]:4").server.port == 4


@pytest.mark.parametrize("name", ["config.json", "config.toml"])
def test_either_file_in_the_user_s_folder_is_found(tmp_path: Path, name: str) -> None:
    file = _write(tmp_path, name, "")
    assert find_config({}, user_folder=tmp_path) == file
    assert find_config({}, user_folder=tmp_path / "missing") is None


def test_two_files_in_the_user_s_folder_are_one_too_many(tmp_path: Path) -> None:
    _write(tmp_path, "config.json", "{}")
    _write(tmp_path, "config.toml", "")
    with pytest.raises(ConfigError) as caught:
        load_config(None, {}, user_folder=tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: expected config.json or config.toml, got both: one of them would have no effect"
    )


def test_the_user_s_folder_is_the_platform_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("platformdirs.user_config_path", lambda name, *, appauthor: tmp_path / f"{name}-{appauthor}")
    (tmp_path / "stagewhisper-False").mkdir()
    file = _write(tmp_path / "stagewhisper-False", "config.toml", "")
    assert find_config({}) == file


def test_the_state_is_kept_in_the_platform_s_folder_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("platformdirs.user_state_path", lambda name, *, appauthor: tmp_path / f"{name}-{appauthor}")
    assert default_state_path() == tmp_path / "stagewhisper-False" / "state.sqlite3"
    assert not (tmp_path / "stagewhisper-False").exists()


def test_a_state_of_one_s_own_is_looked_for_from_home(tmp_path: Path) -> None:
    file = _write(tmp_path, "a.toml", '[state]\npath = "~/kept.sqlite3"\n')
    assert _load(file).state.path == "/home/somebody/kept.sqlite3"


def test_a_link_that_leads_nowhere_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to(tmp_path / "gone.json")
    with pytest.raises(ConfigError) as caught:
        load_config(None, {}, user_folder=tmp_path)
    assert str(caught.value) == f"{tmp_path / 'config.json'}: cannot be read: No such file or directory"


def test_a_folder_that_cannot_be_looked_into_is_an_error_and_no_default(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, {}, user_folder=tmp_path / ("x" * 300))
    assert str(caught.value).endswith("x: cannot be looked into for a configuration: File name too long")


def test_a_home_that_nobody_knows_leaves_the_tilde_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    (provider,) = load_config(None, {}, user_folder=tmp_path).providers
    assert provider.token_file == "~/.aws/sso/cache/kiro-auth-token.json"
    monkeypatch.setattr(Path, "home", lambda: Path("/home/other"))
    (provider,) = load_config(None, {}, user_folder=tmp_path).providers
    assert provider.token_file == "/home/other/.aws/sso/cache/kiro-auth-token.json"


# --- what is in it ---------------------------------------------------------------------------------------------


def test_json_and_toml_say_the_same(tmp_path: Path) -> None:
    one = _write(
        tmp_path,
        "a.json",
        '{"server": {"bind": "[::1]:1", "apiKeys": [{"env": "KEY"}]}, "models": {"mine": {"id": "theirs"}}}',
    )
    other = _write(
        tmp_path,
        "b.TOML",
        '[server]\r\nbind = "[::1]:1"\r\napiKeys = [{env = "KEY"}]\r\n\r\n[models.mine]\r\nid = "theirs"\r\n',
    )
    config = _load(one, KEY="made-up")
    assert config == _load(other, KEY="made-up")
    assert (config.server.port, config.server.api_keys, config.catalogue["mine"].id) == (1, ("made-up",), "theirs")


@pytest.mark.parametrize(("name", "content"), [("a.json", "{}"), ("a.toml", 'delivery = "buffered"')])
def test_a_byte_order_mark_is_looked_through(tmp_path: Path, name: str, content: str) -> None:
    assert _load(_write(tmp_path, name, "\ufeff" + content)).server.port == 8990


def test_problems_in_a_file_have_their_paths_and_the_file_s_name(tmp_path: Path) -> None:
    file = _write(tmp_path, "a.toml", 'delivery = 2026-01-01\n[server]\nbind = "x"\napiKeys = ["marked secret"]\n')
    with pytest.raises(ConfigError) as caught:
        _load(file)
    assert [problem.path for problem in caught.value.problems] == ["server.bind", "server.apiKeys[0]", "delivery"]
    assert str(caught.value).startswith(f"{file}: server.bind: expected HOST:PORT")
    assert "marked" not in str(caught.value)


def test_what_the_command_line_and_the_environment_have_wrong_is_told_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, {}, bind="0.0.0.0:80", user_folder=tmp_path)
    assert str(caught.value) == (
        "server.apiKeys: expected a key, because '0.0.0.0' is not a loopback address; got none"
    )


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.json", '{"server": {,}}', r"is no JSON: .+ \(at line 1, column 13\)"),
        ("a.json", '{\n "server": {}\n', r"is no JSON: .+ \(at line \d, column \d\)"),
        ("a.json", "", r"is no JSON: Expecting value \(at line 1, column 1\)"),
        ("a.json", "{} {}", r"is no JSON: Extra data \(at line 1, column 4\)"),
        ("a.json", '{"drainMs": NaN}', "is no JSON: NaN is no number there"),
        ("a.json", '{"drainMs": -Infinity}', "is no JSON: -Infinity is no number there"),
        ("a.json", '{"a": {"team": 1, "team": 2}}', "has the key 'team' twice in one object"),
        ("a.json", f'{{"{"k" * 99}": 1, "{"k" * 99}": 2}}', f"has the key '{'k' * 40}' twice in one object"),
        ("a.json", f'{{"a": {"1" * 5000}}}', "has a number of too many digits"),
        ("a.json", "[" * 500_000, "is nested too deeply"),
        ("a.json", b'{"a": "\xe4"}', "expected UTF-8, got another byte at offset 7"),
        ("a.json", '{"a": 1}'.encode("utf-16"), "expected UTF-8, got another byte at offset 0"),
        ("a.json", b" " * (MAX_BYTES + 1), f"expected at most {MAX_BYTES} bytes, got more"),
        ("a.toml", "[server\nbind = 1", r"is no TOML: .+ \(at line 1, column \d+\)"),
        ("a.toml", "a = 1\na = 2\nb = 3", r"is no TOML: .+ \(at line 2, column \d+\)"),
        ("a.toml", "a = " + "1" * 5000, "has a number of too many digits"),
        ("a.toml", "a = " + "[" * 100_000, "is nested too deeply|is no TOML: .*nested.*"),
        ("a.yaml", "a: 1", r"expected a name that ends in \.json or \.toml, which says what is in the file"),
        ("config", "{}", r"expected a name that ends in \.json or \.toml, which says what is in the file"),
    ],
)
def test_a_file_that_holds_no_document_is_refused_in_one_line(
    tmp_path: Path, name: str, content: str | bytes, problem: str
) -> None:
    assert re.fullmatch(problem, _refusal(_write(tmp_path, name, content)))


def test_a_file_at_the_limit_is_read(tmp_path: Path) -> None:
    assert _load(_write(tmp_path, "a.json", b"{}".ljust(MAX_BYTES))).server.port == 8990


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "loop.json").symlink_to(tmp_path / "loop.json")
    assert _refusal(tmp_path / "missing.json") == "cannot be read: No such file or directory"
    assert _refusal(tmp_path / "folder.json") == "cannot be read: Is a directory"
    assert _refusal(tmp_path / "loop.json") == "cannot be read: Too many levels of symbolic links"
    assert _refusal(tmp_path / "missing.json" / "a.json") == "cannot be read: No such file or directory"
    assert _refusal(Path("a\0b.json")).startswith("is no file's name: embedded null")


def test_a_file_that_others_keep_to_themselves_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert _refusal(tmp_path / "a.json") == "cannot be read: Permission denied"


def test_an_error_without_a_text_of_its_own_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(Path, "open", broken)
    assert _refusal(tmp_path / "a.json") == "cannot be read: OSError"


def test_an_empty_name_on_the_command_line_is_not_taken_for_none(tmp_path: Path) -> None:
    _write(tmp_path, "config.json", "{}")
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory$"):
        load_config("", {}, user_folder=tmp_path)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["a.json", "a.toml"]), st.binary(max_size=80) | st.text(max_size=60).map(str.encode))
@example("a.json", b'{"server": {"apiKeys": ["\\ud800"]}}')
@example("a.json", b'{"\\ud800": 1}')
@example("a.json", b'{"models": {"claude-sonnet-4-5": {"displayName": "\\udfff"}}}')
@example("a.toml", b"a = 1979-05-27T07:32:00+99:99")
@example("a.toml", b"[a]\n[a.b]\n[[a]]")
def test_whatever_a_file_holds_is_a_configuration_or_told_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes
) -> None:
    file = _write(tmp_path_factory.getbasetemp(), name, content)
    try:
        assert _load(file).providers
    except ConfigError as error:
        told = [str(problem) for problem in error.problems]
        assert told
        assert all(line and "\n" not in line for line in told)


# --- the shipped models ----------------------------------------------------------------------------------------


def test_the_shipped_models_are_named_as_clients_name_them_newest_first(tmp_path: Path) -> None:
    catalogue = load_config(None, {}, user_folder=tmp_path).catalogue
    listed = json.loads(resources.files("adapters").joinpath("models.json").read_text(encoding="utf-8"))
    assert list(catalogue) == list(listed)
    dates = [model.created_at for model in catalogue.values()]
    assert dates == sorted(dates, reverse=True)
    assert all(re.fullmatch(r"20\d\d-[01]\d-[0-3]\dT00:00:00Z", date) for date in dates)
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in catalogue)


@pytest.mark.parametrize(
    ("name", "upstream"),
    [
        ("claude-sonnet-4-20250514", "CLAUDE_SONNET_4_20250514_V1_0"),
        ("claude-3-5-sonnet-20241022", "CLAUDE_3_5_SONNET_20241022_V2_0"),
        ("claude-3-7-sonnet-20250219", "CLAUDE_3_7_SONNET_20250219_V1_0"),
        ("claude-sonnet-4-5", "claude-sonnet-4.5"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4.5"),
        ("claude-opus-4-5-20251101", "claude-opus-4.5"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4.5"),
        ("claude-opus-4-8", "claude-opus-4.8"),
    ],
)
def test_a_name_that_clients_send_leads_to_the_service_s_model(tmp_path: Path, name: str, upstream: str) -> None:
    assert load_config(None, {}, user_folder=tmp_path).catalogue[name].id == upstream


def test_a_dated_name_means_the_same_model_as_the_one_without(tmp_path: Path) -> None:
    catalogue = load_config(None, {}, user_folder=tmp_path).catalogue
    for name, model in catalogue.items():
        undated = re.sub(r"-20\d{6}$", "", name)
        if undated in catalogue:
            assert (catalogue[undated].id, catalogue[undated].display_name) == (model.id, model.display_name)
