"""The configuration: defaults, the whole document, the server's section, and what is not there yet."""

from typing import Any

import msgspec
import pytest

from core.config import Config, ConfigError, Problem, RecordingSettings, Server, State, parse_bind
from core.health import HealthPolicy
from core.phases import Policy
from tests.config_documents import SHIPPED, full_document, problems_of, read


def test_an_empty_document_is_the_default_configuration() -> None:
    config = read({})
    assert config.server == Server(
        host="127.0.0.1", port=8990, api_keys=(), admin_key=None, max_concurrent=256, max_queued=256, drain=30.0
    )
    assert config.policy == Policy(
        first_byte=300.0, idle=300.0, total=1800.0, ping_quiet=10.0, ping_interval=15.0, convert_written_calls=True
    )
    assert (config.connect_timeout, config.request_timeout, config.send_timeout) == (10.0, 60.0, 60.0)
    assert config.state == State(kind="file", path=None)
    assert config.health == HealthPolicy(rate_limit_cooldown=3600.0, backoff_base=60.0, backoff_cap=3600.0)
    assert list(config.catalogue) == list(SHIPPED)
    assert [provider.id for provider in config.providers] == ["kiro"]


def test_the_full_document_passes_and_gives_the_defaults_that_it_repeats() -> None:
    config = read(full_document())
    default = read({})
    assert config == msgspec.structs.replace(default, catalogue=config.catalogue, providers=config.providers)
    assert [provider.id for provider in config.providers] == ["kiro-gmail", "team-account1", "team-account2"]


@pytest.mark.parametrize("section", sorted(set(full_document()) - {"delivery", "writtenToolCalls", "providers"}))
def test_an_empty_section_is_its_default(section: str) -> None:
    assert read({section: {}}) == read({})


@pytest.mark.parametrize(
    ("document", "server", "policy"),
    [
        ({"server": {"bind": "[::1]:0"}}, {"host": "::1", "port": 0}, {}),
        ({"server": {"bind": "localhost:65535"}}, {"host": "localhost", "port": 65535}, {}),
        ({"server": {"apiKeys": ["made-up", "other"]}}, {"api_keys": ("made-up", "other")}, {}),
        ({"server": {"maxConcurrent": 1}}, {"max_concurrent": 1}, {}),
        ({"server": {"maxQueued": 0}}, {"max_queued": 0}, {}),
        ({"server": {"drainMs": 0}}, {"drain": 0.0}, {}),
        (
            {"server": {"tlsCertFile": "/made/up.crt", "tlsKeyFile": "~/up.key"}},
            {"tls_cert_file": "/made/up.crt", "tls_key_file": "/home/somebody/up.key"},
            {},
        ),
        ({"timeouts": {"firstByteMs": 2000}}, {}, {"first_byte": 2.0}),
        ({"timeouts": {"idleMs": 0.5e3}}, {}, {"idle": 0.5}),
        ({"timeouts": {"totalMs": 86_400_000}}, {}, {"total": 86_400.0}),
        ({"pings": {"quietMs": 0}}, {}, {"ping_quiet": 0.0}),
        ({"pings": {"intervalMs": 250}}, {}, {"ping_interval": 0.25}),
        ({"writtenToolCalls": "leave"}, {}, {"convert_written_calls": False}),
    ],
)
def test_every_key_sets_its_own_value_and_no_other(
    document: dict[str, Any], server: dict[str, Any], policy: dict[str, Any]
) -> None:
    default = read({})
    assert read(document) == msgspec.structs.replace(
        default,
        server=msgspec.structs.replace(default.server, **server),
        policy=msgspec.structs.replace(default.policy, **policy),
    )


def test_the_time_to_connect_is_no_part_of_the_policy() -> None:
    assert read({"timeouts": {"connectMs": 1500}}) == msgspec.structs.replace(read({}), connect_timeout=1.5)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([], "expected an object, got a list"),
        (None, "expected an object, got null"),
        ("text", "expected an object, got a text"),
        ({"server": []}, "server: expected an object, got a list"),
        ({"timeouts": 5}, "timeouts: expected an object, got a number"),
        ({"models": None}, "models: expected an object, got null"),
        ({"server": {"bind": 8990}}, "server.bind: expected HOST:PORT, got 8990"),
        (
            {"server": {"bind": "localhost"}},
            "server.bind: expected HOST:PORT, such as 127.0.0.1:8990 or [::1]:8990, got 'localhost'",
        ),
        ({"server": {"bind": "localhost:70000"}}, "server.bind: expected a port from 0 to 65535, got 70000"),
        ({"server": {"maxConcurrent": 0}}, "server.maxConcurrent: expected a whole number from 1 to 100000, got 0"),
        ({"server": {"maxQueued": -1}}, "server.maxQueued: expected a whole number from 0 to 100000, got -1"),
        (
            {"server": {"tlsCertFile": "/made/up.crt"}},
            "server.tlsKeyFile: expected a file, because tlsCertFile names one; got none",
        ),
        (
            {"server": {"tlsKeyFile": "/made/up.key", "tlsCertFile": None}},
            "server.tlsCertFile: expected a file, because tlsKeyFile names one; got none",
        ),
        (
            {"server": {"tlsKeyFile": "/made/up.key", "tlsCertFile": ""}},
            "server.tlsCertFile: expected a file's path of 1 to 4096 printable characters, got ''",
        ),
        ({"server": {"drainMs": -1}}, "server.drainMs: expected milliseconds from 0 to 86400000, got -1"),
        ({"timeouts": {"connectMs": 0}}, "timeouts.connectMs: expected milliseconds from 1 to 86400000, got 0"),
        ({"timeouts": {"idleMs": True}}, "timeouts.idleMs: expected milliseconds from 1 to 86400000, got true"),
        ({"timeouts": {"totalMs": "1h"}}, "timeouts.totalMs: expected milliseconds from 1 to 86400000, got '1h'"),
        ({"pings": {"intervalMs": 0}}, "pings.intervalMs: expected milliseconds from 1 to 86400000, got 0"),
        ({"delivery": "Live"}, 'delivery: expected "buffered" or "live", got \'Live\''),
        ({"delivery": None}, 'delivery: expected "buffered" or "live", got null'),
        ({"writtenToolCalls": "Convert"}, 'writtenToolCalls: expected "convert" or "leave", got \'Convert\''),
        ({"sever": {}}, "sever: unknown key; did you mean server?"),
        ({"pings": {"quiet_ms": 5}}, "pings.quiet_ms: unknown key; did you mean quietMs?"),
        ({"pings": {"zzz": 5}}, "pings.zzz: unknown key; the keys here are quietMs, intervalMs"),
    ],
)
def test_one_mistake_is_one_problem_with_its_path(document: object, expected: str) -> None:
    assert problems_of(document) == [expected]


@pytest.mark.parametrize(
    ("recording", "expected"),
    [
        ({"directory": ""}, "directory: expected a file's path of 1 to 4096 printable characters, got ''"),
        ({"directory": "~root/x"}, "directory: expected a path whose ~ is followed by /: other users' folders are not"),
        ({"maxFiles": 0}, "maxFiles: expected a whole number from 1 to 1000000000, got 0"),
        ({"maxBytes": 1.5}, "maxBytes: expected a whole number from 1 to 1000000000000000, got 1.5"),
        ({"enabled": True}, "enabled: "),
    ],
)
def test_what_is_wrong_with_recording_is_told(recording: object, expected: str) -> None:
    (problem,) = problems_of({"recording": recording})
    assert problem.startswith(f"recording.{expected}")


@pytest.mark.parametrize(
    ("recording", "expected"),
    [
        ({}, RecordingSettings(directory=None, max_files=1000, max_bytes=1_000_000_000)),
        ({"directory": "~/rec", "maxFiles": 1}, RecordingSettings(directory="/home/me/rec", max_files=1)),
        ({"directory": "/rec", "maxBytes": 5}, RecordingSettings(directory="/rec", max_bytes=5)),
    ],
)
def test_recording_is_off_unless_a_folder_is_named(recording: object, expected: RecordingSettings) -> None:
    assert read({"recording": recording}, home="/home/me").recording == expected


def test_all_problems_are_told_at_once_at_least_one_for_each_section() -> None:
    broken = {
        "server": {"bind": "x", "maxConcurrent": "many"},
        "delivery": "soon",
        "timeouts": {"connectMs": -5},
        "pings": {"quietMs": None},
        "state": {"kind": 1},
        "recording": {"directory": 5},
        "writtenToolCalls": "maybe",
        "models": {"name": 5},
        "providers": {"p": {"type": "other"}},
        "health": {"backoffCapMs": 1},
    }
    assert set(broken) == set(full_document())
    told = problems_of(broken)
    for section in broken:
        assert [line for line in told if line.startswith((f"{section}.", f"{section}:"))], section
    assert sum(line.startswith("server.") for line in told) == 2


# --- the address and the keys ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ({"env": "GATEWAY_KEY"}, "made-up-key-from-the-environment"),
        ("!made-up~key{}", "!made-up~key{}"),
        ("k" * 1024, "k" * 1024),
    ],
)
def test_a_key_is_a_text_or_comes_from_the_environment(key: object, expected: str) -> None:
    assert read({"server": {"apiKeys": [key]}}).server.api_keys == (expected,)
    assert read({"server": {"adminKey": key}}).server.admin_key == expected


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (17, 'expected a key, or {"env": NAME}, got a number'),
        (False, 'expected a key, or {"env": NAME}, got false'),
        (["marked-secret"], 'expected a key, or {"env": NAME}, got a list'),
        ("", "expected a key of 1 to 1024 visible ASCII characters, got another text"),
        ("marked secret", "expected a key of 1 to 1024 visible ASCII characters, got another text"),
        ("marked-secret\n", "expected a key of 1 to 1024 visible ASCII characters, got another text"),
        ("marked-sécret", "expected a key of 1 to 1024 visible ASCII characters, got another text"),
        ("marked-secret" * 100, "expected a key of 1 to 1024 visible ASCII characters, got another text"),
        ({"env": "MISSING"}, "expected the environment variable MISSING to hold a key, but it is not set"),
        (
            {"env": "EMPTY"},
            "expected a key of 1 to 1024 visible ASCII characters, got another text in the environment variable EMPTY",
        ),
        (
            {"env": "TORN"},
            "expected a key of 1 to 1024 visible ASCII characters, got another text in the environment variable TORN",
        ),
        (
            {"env": "marked-secret"},
            'expected {"env": NAME} with the name of an environment variable, got another object',
        ),
        ({"env": 5}, 'expected {"env": NAME} with the name of an environment variable, got another object'),
        ({"marked-secret": 5}, 'expected {"env": NAME} with the name of an environment variable, got another object'),
        (
            {"env": "GATEWAY_KEY", "marked-secret": 5},
            'expected {"env": NAME} with the name of an environment variable, got another object',
        ),
        ({}, 'expected {"env": NAME} with the name of an environment variable, got another object'),
    ],
)
def test_a_key_that_is_none_is_refused_unseen(item: object, problem: str) -> None:
    told = problems_of({"server": {"apiKeys": ["made-up", item], "adminKey": item}})
    assert told == [f"server.apiKeys[1]: {problem}", f"server.adminKey: {problem}"]
    assert "marked" not in "".join(told)


def test_null_is_no_client_s_key_and_means_that_there_is_no_admin_key() -> None:
    assert read({"server": {"adminKey": None}}).server.admin_key is None
    told = problems_of({"server": {"apiKeys": [None]}})
    assert told == ['server.apiKeys[0]: expected a key, or {"env": NAME}, got null']


@pytest.mark.parametrize(
    ("keys", "admin_key"),
    [
        (["made-up", "marked-secret"], "marked-secret"),
        ([{"env": "GATEWAY_KEY"}], {"env": "GATEWAY_KEY"}),
        (["made-up-key-from-the-environment"], {"env": "GATEWAY_KEY"}),
    ],
)
def test_a_key_that_clients_have_is_no_admin_key(keys: list[object], admin_key: object) -> None:
    told = problems_of({"server": {"apiKeys": keys, "adminKey": admin_key}})
    assert told == ["server.adminKey: expected a key that no client has, got one of apiKeys"]


def test_an_admin_key_is_not_the_key_that_another_address_than_loopback_needs() -> None:
    assert problems_of({"server": {"bind": "0.0.0.0:1", "adminKey": "made-up"}}) == [
        "server.apiKeys: expected a key, because '0.0.0.0' is not a loopback address; got none"
    ]


@pytest.mark.parametrize(
    ("keys", "got"), [("marked-secret", "a text"), ({"marked-secret": 1}, "an object"), (None, "null")]
)
def test_keys_that_are_no_list_are_refused_unseen(keys: object, got: str) -> None:
    assert problems_of({"server": {"apiKeys": keys}}) == [f"server.apiKeys: expected a list of keys, got {got}"]


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1", "gateway.example.com"])
def test_an_address_that_others_reach_needs_a_key(host: str) -> None:
    bare = host.strip("[]")
    needed = f"server.apiKeys: expected a key, because '{bare}' is not a loopback address; got none"
    assert problems_of({"server": {"bind": f"{host}:8990"}}) == [needed]
    assert problems_of({"server": {"bind": f"{host}:8990", "apiKeys": []}}) == [needed]
    assert problems_of({}, bind=f"{host}:8990") == [needed]
    assert read({"server": {"bind": f"{host}:8990", "apiKeys": ["made-up"]}}).server.host == bare
    assert read({"server": {"apiKeys": ["made-up"]}}, bind=f"{host}:8990").server.host == bare


def test_a_key_that_is_wrong_is_told_once_and_not_as_missing() -> None:
    told = problems_of({"server": {"bind": "0.0.0.0:1", "apiKeys": [""]}})
    assert told == ["server.apiKeys[0]: expected a key of 1 to 1024 visible ASCII characters, got another text"]


def test_the_command_line_s_address_replaces_the_document_s_before_it_is_judged() -> None:
    config = read({"server": {"bind": "0.0.0.0:1"}}, bind="[::1]:0")
    assert (config.server.host, config.server.port) == ("::1", 0)


def test_a_wrong_address_on_the_command_line_is_named_after_it() -> None:
    assert problems_of({}, bind="nowhere") == [
        "--bind: expected HOST:PORT, such as 127.0.0.1:8990 or [::1]:8990, got 'nowhere'"
    ]
    assert parse_bind("[::1]:80") == ("::1", 80)
    with pytest.raises(ConfigError) as caught:
        parse_bind("localhost:99999", place="--emulator")
    assert caught.value.problems == (Problem("--emulator", "expected a port from 0 to 65535, got 99999"),)


# --- what is shown ---------------------------------------------------------------------------------------------


def test_neither_the_server_nor_the_configuration_shows_a_key() -> None:
    config = read({"server": {"apiKeys": ["marked-secret", {"env": "GATEWAY_KEY"}]}})
    assert repr(config.server) == "Server('127.0.0.1', 8990, with 2 keys)"
    assert isinstance(config, Config)
    for text in (repr(config), str(config)):
        assert "with 2 keys" in text
        assert "marked-secret" not in text
        assert "made-up-key" not in text
    server = read({"server": {"apiKeys": ["made-up"], "adminKey": "marked-secret"}}).server
    assert repr(server) == "Server('127.0.0.1', 8990, with 1 keys and an admin key)"


def test_an_error_lists_its_problems_in_one_line_after_the_file() -> None:
    problems = (Problem("a", "expected b, got c"), Problem("", "is empty"))
    assert str(ConfigError(problems)) == "a: expected b, got c; is empty"
    assert str(ConfigError(problems, source="config.json")) == "config.json: a: expected b, got c; is empty"
    assert ConfigError(list(problems), source="f").problems == problems
