"""The configuration under any document: it is taken, or refused with places, and no secret is told."""

import re
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from core.config import Config, ConfigError
from core.document import join
from tests.config_documents import full_document, read

_SECTIONS = tuple(full_document())
_KEYS = sorted(
    {*_SECTIONS, "p", "team", "sever", "env", "a b"}
    | {key for section in full_document().values() if isinstance(section, dict) for key in section}
    | {"type", "authentication", "accounts", "endpoint", "tokenFilePath", "profileArn", "refreshUrl", "id"}
)
_words = st.sampled_from(
    ["codewhisperer", "buffered", "convert", "memory", "/a.json", "~/b.json", "0.0.0.0:1", "https://a.b"]
)
_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([999, 1000, 5000, 60_000, 7_200_000, 31 * 86_400_000])
    | st.floats()
    | st.text(max_size=12)
    | _words
    | st.datetimes()
    | st.dates()
    | st.times()
)
_values = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_KEYS) | st.text(max_size=6), inner, max_size=5)
    ),
    max_leaves=20,
)
_accounts = st.fixed_dictionaries({}, optional={"tokenFilePath": _values, "profileArn": _values, "refreshUrl": _values})
_providers = st.fixed_dictionaries(
    {},
    optional={
        "type": st.just("codewhisperer") | _values,
        "endpoint": _values,
        "authentication": _accounts | _values,
        "accounts": st.lists(_accounts, max_size=3) | _values,
    },
)
_keys = st.sampled_from(["made-up", {"env": "GATEWAY_KEY"}, None]) | _values
_documents = _values | st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(_SECTIONS, _values),
        "server": st.fixed_dictionaries({}, optional={"apiKeys": st.lists(_keys, max_size=2), "adminKey": _keys}),
        "state": st.fixed_dictionaries({}, optional={"kind": _words, "path": _words | _values}) | _values,
        "health": st.fixed_dictionaries({}, optional=dict.fromkeys(full_document()["health"], _scalars)) | _values,
        "providers": st.dictionaries(st.sampled_from(["p", "team", "team-account1"]), _providers | _values),
    },
)


def _outcome(document: object) -> Config | ConfigError:
    try:
        return read(document)
    except ConfigError as error:
        return error


@settings(max_examples=150, deadline=None)
@given(_documents)
@example({"providers": {"p": {"type": "codewhisperer", "authentication": {}}}})
def test_any_document_is_a_configuration_or_a_list_of_problems_with_places(document: object) -> None:
    outcome = _outcome(document)
    if isinstance(outcome, Config):
        assert outcome.providers
        assert len({provider.id for provider in outcome.providers}) == len(outcome.providers)
        assert len({provider.token_file for provider in outcome.providers}) == len(outcome.providers)
        assert outcome.state.path not in {provider.token_file for provider in outcome.providers}
        assert outcome.state.kind == "file" or outcome.state.path is None
        assert 1 <= outcome.health.backoff_base <= outcome.health.backoff_cap <= 31 * 86_400
        assert outcome.server.admin_key not in outcome.server.api_keys
        return
    assert outcome.problems
    keys = [join("", key) for key in document] if isinstance(document, dict) else []
    for problem in outcome.problems:
        assert problem.problem.isprintable()
        assert len(str(problem)) < 2000
        if isinstance(document, dict):
            assert problem.path.startswith((*_SECTIONS, *keys))
        else:
            assert problem.path == ""


def _mark(value: object) -> object:
    """The value with every text and key in it replaced by a secret that is no variable's name."""
    match value:
        case dict():
            return {f"{number}-sëcret": _mark(member) for number, member in enumerate(value.values())}
        case list():
            return [_mark(member) for member in value]
        case str():
            return f"{value[:5]}-sëcret"
        case _:
            return value


@settings(max_examples=150, deadline=None)
@given(_values, _values, st.booleans())
def test_no_value_that_may_be_a_key_is_told(keys: object, admin_key: object, is_in_env: bool) -> None:
    marked = [{"env": _mark(keys)}] if is_in_env else _mark(keys)
    outcome = _outcome({"server": {"apiKeys": marked, "adminKey": _mark(admin_key)}})
    assert "sëcret" not in str(outcome)
    assert "sëcret" not in repr(outcome)


# --- the full document with one place changed ------------------------------------------------------------------


def _places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    members: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, list):
        members = list(enumerate(value))
    return [place for key, member in members for place in ((*path, key), *_places(member, (*path, key)))]


def _written(place: tuple[str | int, ...]) -> str:
    path = ""
    for key in place:
        path = f"{path}[{key}]" if isinstance(key, int) else join(path, key)
    return path


def _member(document: Any, place: tuple[str | int, ...]) -> Any:
    for key in place:
        document = document[key]
    return document


def _replace(document: dict[str, Any], place: tuple[str | int, ...], value: object) -> None:
    _member(document, place[:-1])[place[-1]] = value


_PLACES = _places(full_document())


@pytest.mark.parametrize("place", _PLACES, ids=_written)
def test_a_value_of_another_type_is_named_wherever_it_stands(place: tuple[str | int, ...]) -> None:
    document = full_document()
    _replace(document, place, {1, 2})
    outcome = _outcome(document)
    assert isinstance(outcome, ConfigError)
    assert [problem.path for problem in outcome.problems] == [_written(place)]


_OBJECTS = [place for place in [(), *_PLACES] if isinstance(_member(full_document(), place), dict)]


@pytest.mark.parametrize(
    "place", [place for place in _OBJECTS if place not in (("models",), ("providers",))], ids=_written
)
def test_an_unknown_key_is_named_wherever_it_stands(place: tuple[str | int, ...]) -> None:
    document = full_document()
    _member(document, place)["unheardOf"] = 1
    outcome = _outcome(document)
    assert isinstance(outcome, ConfigError)
    (problem,) = outcome.problems
    assert problem.path == join(_written(place), "unheardOf")
    assert re.match(r"unknown key; (did you mean \w+\?|the keys here are \w+)", problem.problem)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(_PLACES), _values)
def test_a_changed_place_is_the_one_that_is_named(place: tuple[str | int, ...], value: object) -> None:
    document = full_document()
    _replace(document, place, value)
    outcome = _outcome(document)
    assume(isinstance(outcome, ConfigError))
    assert isinstance(outcome, ConfigError)
    named = [problem.path for problem in outcome.problems]
    # A bind address that others reach asks for keys, a first pause beyond the longest is named where that is, an
    # account on another's token file where the second is, and of authentication and accounts together neither is
    # the wrong one.
    also = {"server.bind": "server.apiKeys", "health.backoffBaseMs": "health.backoffCapMs"}.get(_written(place))
    assert all(
        path.startswith((_written(place), "providers.team") if place[0] == "providers" else _written(place))
        or path == also
        or (place[0] == "providers" and _written(place).startswith(path))
        for path in named
    )


def test_deep_nesting_is_refused_like_any_other_value() -> None:
    deep: object = "bottom"
    for level in range(100_000):
        deep = {"server": deep} if level % 2 else [deep]
    outcome = _outcome({"server": deep, "models": {"m": deep}, "providers": {"p": deep}})
    assert isinstance(outcome, ConfigError)
    assert [problem.path for problem in outcome.problems][:1] == ["server.server"]
    while isinstance(deep, dict | list):
        # Freed step by step: it is Python's own recursion that this would otherwise put to the test.
        deep = deep["server"] if isinstance(deep, dict) else deep[0]
