"""The configuration: any document is taken, or all its problems are told, each with its place, and no secret is.

- `ConfigError` is the only exception; it has one problem at least, each of one printable line of bounded length;
- what is taken has accounts, no two of one name or one token file, and listens without keys on loopback only;
- its admin key is no client's, its state is in no token file, and in none at all where it is kept in memory;
- a pause after a failure is a second at least, a month at most, and the longest is no shorter than the first;
- a client's key, an admin key, and what stands in an address before `@`, are in no problem and in no `repr`.

An input is a document: JSON where it begins with a bracket, else TOML.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as a script, so that the modules beside it are the ones that are tried
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from core.addresses import is_loopback
from core.config import Config, ConfigError, parse_config
from fuzz.lines import read_json

_SHIPPED = {
    "model-one": {
        "id": "MODEL_ONE_V1_0",
        "displayName": "Model One",
        "contextWindow": 200_000,
        "createdAt": "2025-01-01T00:00:00Z",
    }
}
_SECRET = "sëcret"
_HOME = "/home/somebody"
_ENVIRONMENT = {"KEY": "made-up-key", "EMPTY": "", "TORN": f"torn\n{_SECRET}"}
_LONGEST = 3000
_LONGEST_PATH = 4096 + len(_HOME)
_MONTH = 31 * 86_400


def one_input(data: bytes) -> None:
    """One document, by the rules above."""
    document = _decode(data)
    if document is None:
        return
    _check(document)
    # A key that is one, so that it is taken where one may stand, and is one no more with the mark in it.
    _check(_mark(document))


def _decode(data: bytes) -> Any:
    text = data.decode(errors="replace")
    if text.startswith(("{", "[")):
        return read_json(text)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        return None


def _check(document: Any) -> None:
    for bind in (None, "127.0.0.1:0", "0.0.0.0:8990"):
        try:
            config = parse_config(document, environment=_ENVIRONMENT, shipped_models=_SHIPPED, home=_HOME, bind=bind)
        except ConfigError as error:
            _check_problems(error)
        else:
            _check_config(config)


def _check_problems(error: ConfigError) -> None:
    assert error.problems
    for problem in error.problems:
        assert problem.problem.isprintable()
        assert len(str(problem)) < _LONGEST
    assert _SECRET not in str(error)


def _check_config(config: Config) -> None:
    assert config.providers
    assert len({provider.id for provider in config.providers}) == len(config.providers)
    assert len({provider.token_file for provider in config.providers}) == len(config.providers)
    assert config.server.api_keys or is_loopback(config.server.host)
    keys = config.server.api_keys
    if (admin_key := config.server.admin_key) is not None:
        assert admin_key not in keys
        keys += (admin_key,)
    assert all(key.isascii() and key.isprintable() and " " not in key and 1 <= len(key) <= 1024 for key in keys)
    assert not any(key in repr(config.server) for key in keys if len(key) > len("127.0.0.1"))
    _check_state(config)
    assert 1 <= config.health.backoff_base <= config.health.backoff_cap <= _MONTH
    assert 1 <= config.health.rate_limit_cooldown <= _MONTH
    assert all(
        url is None or url.startswith(("https://", "http://"))
        for provider in config.providers
        for url in (provider.endpoint, provider.refresh_url)
    )
    assert _SECRET not in repr(config)


def _check_state(config: Config) -> None:
    if (path := config.state.path) is not None:
        assert config.state.kind == "file"
        assert path.isprintable()
        assert 1 <= len(path) <= _LONGEST_PATH
        assert path not in {provider.token_file for provider in config.providers}


def _mark(document: Any) -> Any:
    """The document with a mark in each text that may be a key or a password."""
    if not isinstance(document, dict):
        return document
    marked = dict(document)
    if isinstance(server := marked.get("server"), dict):
        marked["server"] = {
            name: _mark_texts(value) if name in ("apiKeys", "adminKey") else value for name, value in server.items()
        }
    if isinstance(providers := marked.get("providers"), dict):
        marked["providers"] = {name: _mark_addresses(value) for name, value in providers.items()}
    return marked


def _mark_texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {f"{name[:5]}{_SECRET}" if name != "env" else name: _mark_texts(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_mark_texts(each) for each in value]
    return f"{value[:5]}{_SECRET}" if isinstance(value, str) else value


def _mark_addresses(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: f"https://somebody:{_SECRET}@{each}"
            if name in ("endpoint", "refreshUrl") and isinstance(each, str)
            else _mark_addresses(each)
            for name, each in value.items()
        }
    return [_mark_addresses(each) for each in value] if isinstance(value, list) else value


if __name__ == "__main__":
    from fuzz.runner import run

    run(one_input)
