"""The configuration's file: found, read, and decoded for `core.config`, which says what is in it.

The only module that knows where files of this user lie, and how JSON and TOML look.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import platformdirs

from core.config import Config, ConfigError, Problem, parse_config
from core.errors import StagewhisperError

ENVIRONMENT_VARIABLE = "STAGEWHISPER_CONFIG"
"""Names the configuration's file where the command line does not."""

MAX_BYTES = 1024 * 1024
"""A larger file is none that a person wrote."""


def load_config(
    path: str | None,
    environment: Mapping[str, str],
    *,
    bind: str | None = None,
    user_folder: Path | None = None,
) -> Config:
    """The configuration in `path`, else in the file that `find_config` finds, else the default one.

    `bind` is the command line's address to listen on, which replaces the file's.

    Raises:
        ConfigError: the file cannot be read, or its content cannot be used. Its `source` is the file.
    """
    file = Path(path) if path is not None else find_config(environment, user_folder=user_folder)
    source = "" if file is None else str(file)
    try:
        return parse_config(
            {} if file is None else _decode(file, _read(file)),
            environment=environment,
            shipped_models=json.loads(resources.files("adapters").joinpath("models.json").read_bytes()),
            home=environment.get("HOME") or _home(),
            bind=bind,
        )
    except ConfigError as error:
        raise ConfigError(error.problems, source=source) from None
    except _Unreadable as unreadable:
        raise ConfigError((Problem("", str(unreadable)),), source=source) from None


def find_config(environment: Mapping[str, str], *, user_folder: Path | None = None) -> Path | None:
    """The file that $STAGEWHISPER_CONFIG names, else config.json or config.toml in the user's folder, else None.

    `user_folder` stands in for the platform's folder for this user's configuration.

    Raises:
        ConfigError: the folder has both files, or cannot be looked into.
    """
    if named := environment.get(ENVIRONMENT_VARIABLE):
        return Path(named)
    folder = user_folder or platformdirs.user_config_path("stagewhisper", appauthor=False)
    try:
        # A link that leads nowhere is there all the same: to pass over it would be to start unconfigured.
        found = [file for file in (folder / "config.json", folder / "config.toml") if _is_there(file)]
    except OSError as error:
        problem = f"cannot be looked into for a configuration: {_reason(error)}"
        raise ConfigError((Problem("", problem),), source=str(folder)) from None
    if len(found) > 1:
        problem = "expected config.json or config.toml, got both: one of them would have no effect"
        raise ConfigError((Problem("", problem),), source=str(folder))
    return found[0] if found else None


def default_state_path() -> Path:
    """The file in the platform's folder for this user's state, for a configuration that names none."""
    return platformdirs.user_state_path("stagewhisper", appauthor=False) / "state.sqlite3"


class _Unreadable(StagewhisperError):
    """The file gives no document. Its text says why, in one line."""


def _is_there(file: Path) -> bool:
    return file.is_symlink() or file.exists()


def _home() -> str:
    try:
        return str(Path.home())
    except RuntimeError:
        return ""


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _Unreadable(f"cannot be read: {_reason(error)}") from None
    except ValueError as error:
        raise _Unreadable(f"is no file's name: {error}") from None
    if len(content) > MAX_BYTES:
        raise _Unreadable(f"expected at most {MAX_BYTES} bytes, got more")
    return content


def _decode(file: Path, content: bytes) -> object:
    suffix = file.suffix.lower()
    if suffix not in (".json", ".toml"):
        raise _Unreadable("expected a name that ends in .json or .toml, which says what is in the file")
    try:
        # Editors on Windows write a byte order mark; JSON and TOML forbid it, and nobody can see it.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Unreadable(f"expected UTF-8, got another byte at offset {error.start}") from None
    try:
        return _decode_json(text) if suffix == ".json" else tomllib.loads(text)
    except json.JSONDecodeError as error:
        raise _Unreadable(f"is no JSON: {error.msg} (at line {error.lineno}, column {error.colno})") from None
    except tomllib.TOMLDecodeError as error:
        raise _Unreadable(f"is no TOML: {error}") from None
    except ValueError:
        # Neither decoder limits what it hands to int(), which limits itself.
        raise _Unreadable("has a number of too many digits") from None
    except RecursionError:
        raise _Unreadable("is nested too deeply") from None


def _decode_json(text: str) -> object:
    return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)


def _object(members: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object. Of two members alike one would have no effect, such as an account, so both are refused."""
    made: dict[str, object] = {}
    for key, value in members:
        if key in made:
            raise _Unreadable(f"has the key {key[:40]!r} twice in one object")
        made[key] = value
    return made


def _constant(name: str) -> object:
    raise _Unreadable(f"is no JSON: {name} is no number there")
