"""The configuration of the accounts' health, and of where it is kept."""

from typing import Any

import msgspec
import pytest

from core.config import State
from tests.config_documents import problems_of, read

MONTH = 31 * 86_400_000


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({}, State(kind="file", path=None)),
        ({"kind": "file", "path": None}, State(kind="file", path=None)),
        ({"kind": "memory"}, State(kind="memory", path=None)),
        ({"kind": "memory", "path": None}, State(kind="memory", path=None)),
        ({"path": "/var/lib/kept.sqlite3"}, State(kind="file", path="/var/lib/kept.sqlite3")),
        ({"kind": "file", "path": "kept here/Ünser"}, State(kind="file", path="kept here/Ünser")),
        ({"path": "~/kept"}, State(kind="file", path="/home/somebody/kept")),
        ({"path": "x" * 4096}, State(kind="file", path="x" * 4096)),
    ],
)
def test_the_state_is_in_a_file_or_in_memory(section: object, expected: State) -> None:
    assert read({"state": section}) == msgspec.structs.replace(read({}), state=expected)


def test_a_home_that_nobody_knows_leaves_the_tilde_as_it_is() -> None:
    assert read({"state": {"path": "~/kept"}}, home="").state.path == "~/kept"
    assert read({"state": {"path": "~/kept"}}, home="/").state.path == "/kept"


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"kind": "sqlite"}, """state.kind: expected "file" or "memory", got 'sqlite'"""),
        ({"kind": None}, 'state.kind: expected "file" or "memory", got null'),
        ({"kind": "File"}, """state.kind: expected "file" or "memory", got 'File'"""),
        ({"path": ""}, "state.path: expected a file's path of 1 to 4096 printable characters, got ''"),
        ({"path": 5}, "state.path: expected a file's path of 1 to 4096 printable characters, got 5"),
        ({"path": "a\nb"}, "state.path: expected a file's path of 1 to 4096 printable characters, got 'a\\nb'"),
        ({"path": "a\0"}, "state.path: expected a file's path of 1 to 4096 printable characters, got 'a\\x00'"),
        (
            {"path": "x" * 4097},
            f"state.path: expected a file's path of 1 to 4096 printable characters, got '{'x' * 40}'...",
        ),
        (
            {"path": "~other/kept"},
            "state.path: expected a path whose ~ is followed by /: other users' folders are not looked up, "
            "got '~other/kept'",
        ),
        (
            {"kind": "memory", "path": "/kept"},
            "state.path: expected none with kind \"memory\", which keeps nothing in a file; got '/kept'",
        ),
        (
            {"kind": "memory", "path": ""},
            "state.path: expected a file's path of 1 to 4096 printable characters, got ''",
        ),
        ({"file": "/kept"}, "state.file: unknown key; the keys here are kind, path"),
    ],
)
def test_a_state_that_is_wrong_is_refused_where_it_is(section: object, expected: str) -> None:
    assert problems_of({"state": section}) == [expected]


@pytest.mark.parametrize(
    ("path", "token_file"),
    [
        ("/a/token.json", "/a/token.json"),
        ("//a/./b/../token.json", "/a/token.json"),
        ("~/token.json", "/home/somebody//token.json"),
        ("token.json", "./token.json"),
    ],
)
def test_the_state_is_not_kept_in_a_token_file(path: str, token_file: str) -> None:
    team = {"type": "codewhisperer", "accounts": [{"tokenFilePath": "/other"}, {"tokenFilePath": token_file}]}
    assert problems_of({"state": {"path": path}, "providers": {"team": team}}) == [
        "state.path: expected a file of its own, got the token file of 'team-account2'"
    ]
    assert read({"state": {"path": f"{path}.sqlite3"}, "providers": {"team": team}}).state.path is not None


def test_a_token_file_that_is_wrong_is_no_state_s_either() -> None:
    wrong = {"p": {"type": "codewhisperer", "authentication": {"tokenFilePath": ""}}}
    assert problems_of({"state": {"path": "."}, "providers": wrong}) == [
        "providers.p.authentication.tokenFilePath: expected a file's path of 1 to 4096 printable characters, got ''"
    ]


@pytest.mark.parametrize(
    ("section", "changed"),
    [
        ({}, {}),
        ({"rateLimitCooldownMs": 1000}, {"rate_limit_cooldown": 1.0}),
        ({"rateLimitCooldownMs": MONTH}, {"rate_limit_cooldown": 31 * 86_400.0}),
        ({"backoffBaseMs": 1500}, {"backoff_base": 1.5}),
        ({"backoffBaseMs": 3_600_000}, {"backoff_base": 3600.0}),
        ({"backoffCapMs": 60_000}, {"backoff_cap": 60.0}),
        ({"backoffCapMs": MONTH}, {"backoff_cap": 31 * 86_400.0}),
        ({"backoffBaseMs": 1000, "backoffCapMs": 1000}, {"backoff_base": 1.0, "backoff_cap": 1.0}),
    ],
)
def test_every_pause_is_set_alone(section: object, changed: dict[str, Any]) -> None:
    default = read({})
    health = msgspec.structs.replace(default.health, **changed)
    assert read({"health": section}) == msgspec.structs.replace(default, health=health)


@pytest.mark.parametrize("key", ["rateLimitCooldownMs", "backoffBaseMs", "backoffCapMs"])
@pytest.mark.parametrize(
    ("value", "got"),
    [
        (999, "999"),
        (MONTH + 1, "2678400001"),
        (0, "0"),
        (-1000, "-1000"),
        (True, "true"),
        (None, "null"),
        ("1h", "'1h'"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (10**30, "a number of more than 18 digits"),
    ],
)
def test_a_pause_lasts_from_a_second_to_a_month(key: str, value: object, got: str) -> None:
    expected = f"health.{key}: expected milliseconds from 1000 to 2678400000, got {got}"
    assert problems_of({"health": {key: value}}) == [expected]


@pytest.mark.parametrize(
    ("section", "base", "cap"),
    [
        ({"backoffBaseMs": 5000, "backoffCapMs": 4999}, "5000", "4999"),
        ({"backoffBaseMs": 3_600_001}, "3600001", "3600000"),
        ({"backoffCapMs": 59_999.5}, "60000", "59999.5"),
        ({"backoffBaseMs": MONTH, "backoffCapMs": 1000}, "2678400000", "1000"),
    ],
)
def test_the_longest_pause_is_not_shorter_than_the_first(section: object, base: str, cap: str) -> None:
    expected = f"health.backoffCapMs: expected at least backoffBaseMs, which is {base}, got {cap}"
    assert problems_of({"health": section}) == [expected]


def test_a_pause_that_is_wrong_is_told_once() -> None:
    told = problems_of({"health": {"backoffBaseMs": MONTH, "backoffCapMs": 1}})
    assert told == ["health.backoffCapMs: expected milliseconds from 1000 to 2678400000, got 1"]
