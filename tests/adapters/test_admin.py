"""The routes for whoever runs the gateway: what they show, what they do, and for whom."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from adapters.emulator import always, in_turn
from adapters.metrics import REFRESHES
from core.ledger import STATES
from tests.adapters.harness import HELLO, LOCAL, MODEL, STREAMED, End, running
from tests.healths import PROMISED

KEYS = {"server": {"apiKeys": ["made-up-client-key"], "adminKey": "made-up-admin-key"}}
GUARDED = [
    ("GET", "/admin/stats"),
    ("GET", "/admin/accounts"),
    ("POST", "/admin/accounts/a/disable"),
    ("GET", "/metrics"),
    ("GET", "/admin"),
    ("GET", "/admin/nothing"),
]


def by_account(name: str, _: int) -> str:
    """One account that is throttled, others that are fine."""
    return "throttled" if name == "a" else "fine"


# --- accounts --------------------------------------------------------------------------------------------------


async def test_accounts_are_shown_with_all_that_is_known_of_their_health(tmp_path: Path) -> None:
    async with running(tmp_path, scenario=by_account, accounts=("a", "b")) as site:
        await site.ask("POST", "/v1/messages", HELLO)
        talk = await site.ask("GET", "/admin/accounts")
    assert set(talk.json) == {"accounts"}
    assert talk.headers["cache-control"] == "no-store"
    first, second = talk.json["accounts"]
    for shown in (first, second):
        assert {name: type(shown[name]) for name in PROMISED} == PROMISED
    assert (first["providerId"], second["providerId"]) == ("a", "b")
    throttled = {"isHealthy": False, "inCooldown": True, "rateLimitFailureCount": 1, "consecutiveErrors": 1}
    assert throttled.items() <= first.items()
    good = {"isHealthy": True, "inCooldown": False, "successCount": 1, "errorHistory": [], "nextTry": None}
    assert good.items() <= second.items()
    (past,) = first["errorHistory"]
    assert set(past) == {"timestamp", "error"}
    assert past["error"].startswith("rate_limit: the service answered 429 ThrottlingException")
    for date in (past["timestamp"], first["nextTry"], first["expectedBack"], first["since"]):
        assert datetime.fromisoformat(date).tzinfo is not None


async def test_accounts_of_one_provider_know_where_they_come_from(tmp_path: Path) -> None:
    accounts = [{"tokenFilePath": str(tmp_path / f"{name}.json")} for name in "xyz"]
    document = {"providers": {"team": {"type": "codewhisperer", "accounts": accounts}}}
    async with running(tmp_path, document) as site:
        shown = (await site.ask("GET", "/admin/accounts")).json["accounts"]
    places = [
        (one["providerId"], one["originalProviderId"], one["accountIndex"], one["totalAccounts"]) for one in shown
    ]
    assert places == [(f"team-account{number}", "team", number - 1, 3) for number in (1, 2, 3)]


async def test_an_account_is_disabled_enabled_and_recovered_and_its_new_state_is_the_answer(tmp_path: Path) -> None:
    async with running(tmp_path, scenario=always("forbidden")) as site:
        assert (await site.ask("POST", "/v1/messages", HELLO)).status == 403
        states = []
        for action in ("disable", "disable", "recover", "enable", "enable"):
            shown = (await site.ask("POST", f"/admin/accounts/a/{action}")).json
            assert shown == (await site.health())["a"]
            states.append((shown["state"], shown["isDisabled"], shown["isPermanentlyBlacklisted"]))
    assert states == [
        ("disabled", True, True),
        ("disabled", True, True),
        ("disabled", True, False),
        ("healthy", False, False),
        ("healthy", False, False),
    ]


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff" * 100_000])
async def test_what_a_person_sends_along_is_of_no_interest(tmp_path: Path, body: bytes) -> None:
    async with running(tmp_path) as site:
        assert (await site.ask("POST", "/admin/accounts/a/disable?x=1", body)).json["isDisabled"]


@pytest.mark.parametrize("name", ["me@mail.example", "a.b", "a+b", "a_b-c", "..a", "A" * 64])
@pytest.mark.parametrize("is_encoded", [False, True])
async def test_any_name_that_a_provider_may_have_can_be_acted_on(tmp_path: Path, name: str, is_encoded: bool) -> None:
    name = name.lstrip(".") or name
    quoted = "".join(f"%{ord(char):02X}" for char in name) if is_encoded else name
    async with running(tmp_path, accounts=(name,)) as site:
        # The server decodes a path once before it hands it over.
        talk = await site.ask("POST", unquote(f"/admin/accounts/{quoted}/disable"))
    assert (talk.status, talk.json["providerId"], talk.json["isDisabled"]) == (200, name, True)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/admin/accounts/b/recover", "there is no account 'b'; there are a"),
        ("/admin/accounts/A/recover", "there is no account 'A'; there are a"),
        ("/admin/accounts/%61/recover", "there is no account '%61'; there are a"),
        ("/admin/accounts/a /recover", "there is no account 'a '; there are a"),
        ("/admin/accounts/../recover", "there is no account '..'; there are a"),
        ("/admin/accounts/\N{SNOWMAN}\n/recover", "there is no account '\N{SNOWMAN}\\n'; there are a"),
        (f"/admin/accounts/{'x' * 5000}/recover", f"there is no account '{'x' * 64}'; there are a"),
        ("/admin/accounts/a/reset", "there is no action 'reset'; there are recover, disable, enable"),
        ("/admin/accounts/a/Disable", "there is no action 'Disable'; there are recover, disable, enable"),
        ("/admin/accounts/b/" + "x" * 5000, f"there is no action '{'x' * 64}'; there are recover, disable, enable"),
    ],
)
async def test_what_is_not_there_is_a_404_that_says_what_is(tmp_path: Path, path: str, named: str) -> None:
    async with running(tmp_path) as site:
        talk = await site.ask("POST", path)
        assert talk.failure == (404, "not_found_error", named)
        assert not (await site.health())["a"]["isDisabled"]


# --- who may ask -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-api-key": "made-up-admin-key"}, 200),
        ({"authorization": "Bearer made-up-admin-key"}, 200),
        ({"x-api-key": "made-up-admin-key", "x-forwarded-for": "192.0.2.9", "host": "far.example"}, 200),
        ({}, 401),
        ({"x-api-key": "made-up-client-key"}, 401),
        ({"authorization": "Bearer made-up-client-key"}, 401),
        ({"x-api-key": "made-up-admin-keyx"}, 401),
    ],
)
async def test_with_an_admin_key_that_alone_lets_in(
    tmp_path: Path, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    far: End = ("192.0.2.7", 50000)
    async with running(tmp_path, KEYS) as site:
        talk = await site.ask(method, path, headers={**LOCAL, **headers}, client=far, server=far)
        disabled = not site.gateway._accounts.is_ready()
    expected = 404 if status == 200 and path in ("/admin", "/admin/nothing") else status
    assert talk.status == expected
    assert disabled == (status == 200 and method == "POST")
    if status == 401:
        assert talk.failure[1] == "authentication_error"
        assert talk.headers["x-should-retry"] == "false"
        assert "made-up" not in talk.data.decode()


async def test_the_admin_key_is_no_clients_key(tmp_path: Path) -> None:
    async with running(tmp_path, KEYS) as site:
        talk = await site.ask("POST", "/v1/messages", HELLO, headers={**LOCAL, "x-api-key": "made-up-admin-key"})
        assert talk.failure[:2] == (401, "authentication_error")
        assert site.said == []


@pytest.mark.parametrize("keys", [{}, {"server": {"apiKeys": ["made-up-client-key"]}}])
@pytest.mark.parametrize(("method", "path"), GUARDED[:4])
@pytest.mark.parametrize(
    ("headers", "client", "server"),
    [
        ({"host": "far.example"}, ("127.0.0.1", 1), ("127.0.0.1", 2)),
        ({"host": "localhost", "origin": "https://page.example"}, ("127.0.0.1", 1), ("127.0.0.1", 2)),
        ({"host": "localhost:8990", "origin": "http://localhost:3000"}, ("127.0.0.1", 1), ("127.0.0.1", 2)),
        ({"host": "localhost", "origin": "null"}, ("127.0.0.1", 1), ("127.0.0.1", 2)),
        ({"host": "localhost", "sec-fetch-site": "cross-site"}, ("127.0.0.1", 1), ("127.0.0.1", 2)),
        ({"host": "localhost", "x-forwarded-for": "127.0.0.1"}, ("127.0.0.1", 1), ("127.0.0.1", 2)),
        ({"host": "localhost", "forwarded": "for=127.0.0.1"}, ("127.0.0.1", 1), ("127.0.0.1", 2)),
        ({"host": "localhost", "x-real-ip": "127.0.0.1"}, ("127.0.0.1", 1), ("127.0.0.1", 2)),
        ({"host": "localhost"}, ("192.0.2.7", 1), ("127.0.0.1", 2)),
        ({"host": "localhost"}, ("127.0.0.1", 1), ("192.0.2.1", 2)),
        ({"host": "localhost"}, None, None),
    ],
)
async def test_without_an_admin_key_only_this_machine_itself_is_let_in_whatever_key_it_has(
    tmp_path: Path, headers: dict[str, str], client: End, server: End, method: str, path: str, keys: dict[str, Any]
) -> None:
    headers = {**headers, "x-api-key": "made-up-client-key"}
    async with running(tmp_path, keys) as site:
        refused = await site.ask(method, path, headers=headers, client=client, server=server)
        assert refused.failure[:2] == (403, "permission_error")
        assert site.gateway._accounts.is_ready()
        allowed = await site.ask(method, path)
    assert allowed.status == 200


@pytest.mark.parametrize("target", ["//admin/accounts", "http://far.example/admin/accounts", "/%61dmin/accounts"])
async def test_no_way_of_writing_the_target_leads_around_the_guard(tmp_path: Path, target: str) -> None:
    async with running(tmp_path, KEYS) as site:
        headers = {**LOCAL, "x-api-key": "made-up-client-key"}
        talk = await site.ask("GET", unquote(target), headers=headers)
    assert talk.status == 401
    assert b"providerId" not in talk.data


# --- statistics ------------------------------------------------------------------------------------------------


async def test_statistics_have_the_agreed_shape_and_count_what_was_done(tmp_path: Path) -> None:
    async with running(tmp_path, scenario=by_account, accounts=("a", "b")) as site:
        empty = (await site.ask("GET", "/admin/stats")).json
        for body in (HELLO, STREAMED, HELLO, {**HELLO, "model": "no-such-model"}):
            await site.ask("POST", "/v1/messages", body)
        stats = (await site.ask("GET", "/admin/stats")).json
    assert empty["summary"] == {"totalRequests": 0, "totalAccounts": 2, "topAccount": None, "overallSuccessRate": 1.0}
    assert set(stats) == {"summary", "accounts", "models", "distribution", "performance", "failures"}
    assert stats["summary"] == {
        "totalRequests": 3,
        "totalAccounts": 2,
        "topAccount": {"accountId": "b", "count": 3},
        "overallSuccessRate": 1.0,
    }
    assert stats["accounts"] == {"a": 1, "b": 3}
    assert stats["models"] == {MODEL: 3}
    assert stats["distribution"] == {f"a/{MODEL}": 1, f"b/{MODEL}": 3}
    assert stats["failures"] == {"failuresByAccount": {"a": 1}, "failuresByError": {"rate_limit": 1}}
    performance = stats["performance"]
    assert set(performance) == {"avgResponseTime", "requestsPerMinute", "avgBufferProcessingTime"}
    assert performance["requestsPerMinute"] == pytest.approx(3 / 5)
    assert 0 < performance["avgBufferProcessingTime"] < performance["avgResponseTime"] < 30_000


async def test_a_client_that_leaves_counts_as_a_request_and_not_as_a_failure(tmp_path: Path) -> None:
    async with running(tmp_path, scenario=always("stall-head")) as site:
        talk = site.begin("POST", "/v1/messages", STREAMED)
        await site.until_said("answered POST /generate")
        talk.leave()
        await talk.over.wait()
        stats = (await site.ask("GET", "/admin/stats")).json
        health = (await site.health())["a"]
    assert (stats["summary"]["totalRequests"], stats["summary"]["overallSuccessRate"]) == (1, 1.0)
    assert stats["accounts"] == {"a": 0}
    assert (health["state"], health["failureCount"]) == ("healthy", 0)


# --- readiness and metrics -------------------------------------------------------------------------------------


async def test_readiness_follows_the_accounts(tmp_path: Path) -> None:
    async with running(tmp_path, accounts=("a", "b")) as site:
        seen = []
        for path in ("a/disable", "b/disable", "a/enable"):
            await site.ask("POST", f"/admin/accounts/{path}")
            ready, health = await site.ask("GET", "/ready"), await site.ask("GET", "/health")
            seen.append((ready.status, ready.json["status"], health.status))
    assert seen == [(200, "ready", 200), (503, "no account can be used now", 200), (200, "ready", 200)]


def _samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(text)
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


async def test_metrics_can_be_read_and_their_labels_are_ours(tmp_path: Path) -> None:
    strange = "made-up\n" * 3
    async with running(tmp_path, scenario=by_account, accounts=("a", "b")) as site:
        for _ in range(2):
            await site.ask("POST", "/v1/messages", HELLO)
        await site.ask("POST", "/v1/messages", {**HELLO, "model": strange})
        await site.ask("POST", f"/admin/accounts/{strange}/recover")
        held = site.begin("POST", "/v1/messages", b"{", more=True)
        talk = await site.ask("GET", "/metrics")
        held.leave()
    assert talk.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "made-up" not in talk.data.decode()
    samples = _samples(talk.data.decode())
    labels = {pair for _, pairs in samples for pair in pairs if pair[0] not in ("le", "version")}
    assert labels == {
        *(("account", name) for name in ("a", "b")),
        *(("state", name) for name in STATES),
        *(("outcome", name) for name in (*REFRESHES, "answered")),
        *(("kind", name) for name in ("rate_limit", "input", "output", "cache_read", "cache_creation")),
        ("model", MODEL),
    }
    answered = frozenset({"account": "b", "model": MODEL, "outcome": "answered"}.items())
    assert samples["stagewhisper_requests_total", answered] == 2
    assert samples["stagewhisper_failures_total", frozenset({"account": "a", "kind": "rate_limit"}.items())] == 1
    assert samples["stagewhisper_account_state", frozenset({"account": "a", "state": "cooldown"}.items())] == 1
    assert samples["stagewhisper_account_state", frozenset({"account": "a", "state": "healthy"}.items())] == 0
    assert samples["stagewhisper_first_byte_seconds_count", frozenset()] == 2
    assert samples["stagewhisper_requests_in_progress", frozenset()] == 0


async def test_refreshes_and_requests_in_progress_are_counted(tmp_path: Path) -> None:
    async with running(tmp_path, scenario=in_turn("token-revoked", "stall-head")) as site:
        talk = site.begin("POST", "/v1/messages", STREAMED)
        while site.emulator.counts["a"].requests < 2:
            await trio.sleep(0.001)
        during = _samples((await site.ask("GET", "/metrics")).data.decode())
        talk.leave()
        await talk.over.wait()
        after = _samples((await site.ask("GET", "/metrics")).data.decode())
    refreshed = frozenset({"account": "a", "outcome": "refreshed"}.items())
    assert during["stagewhisper_token_refreshes_total", refreshed] == 1
    progress = ("stagewhisper_requests_in_progress", frozenset[tuple[str, str]]())
    assert (during[progress], after[progress]) == (1, 0)
    abandoned = frozenset({"account": "none", "model": MODEL, "outcome": "abandoned"}.items())
    assert after["stagewhisper_requests_total", abandoned] == 1
