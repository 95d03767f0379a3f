"""The routes, asked as hypercorn asks: what is there, what is not, who may ask, and the form of every refusal."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import trio

from tests.adapters.harness import HELLO, LOCAL, MODEL, End, configured, running

KEYS = {"server": {"apiKeys": ["made-up-key-1", "made-up-key-2"]}}
MODELS = list(configured({"providers": {"a": {"type": "codewhisperer", "authentication": {}}}}).catalogue)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", ""),
        ("GET", "*"),
        ("GET", "v1/models"),
        ("GET", "/v1"),
        ("GET", "/v1/models/"),
        ("GET", "/v1//models"),
        ("GET", "/v1/models/../models"),
        ("GET", "/V1/models"),
        ("GET", "/health/"),
        ("GET", "/static/x"),
        ("GET", "/\x00"),
        ("GET", "/\N{SNOWMAN}" + "x" * 5000),
        ("GET", "http://[bad"),
        ("GET", "/v1/messages"),
        ("PUT", "/v1/messages"),
        ("DELETE", "/v1/messages"),
        ("GET", "/v1/messages/count_tokens"),
        ("POST", "/v1/messages/"),
        ("POST", "/v1/models"),
        ("POST", "/health"),
        ("HEAD", "/api/hello"),
        ("OPTIONS", "/v1/messages"),
        ("OPTIONS", "*"),
        ("TRACE", "/v1/models"),
        ("PROPFIND", "/v1/models"),
        ("GET", "/admin"),
        ("GET", "/admin/"),
        ("GET", "/admin/accounts/"),
        ("GET", "/admin/accounts/a"),
        ("GET", "/admin/accounts/a/recover"),
        ("HEAD", "/admin/accounts/a/disable"),
        ("PUT", "/admin/accounts/a/disable"),
        ("POST", "/admin/accounts/a/recover/"),
        ("POST", "/admin/accounts//recover"),
        ("POST", "/admin/accounts"),
        ("POST", "/admin/stats"),
        ("GET", "/metrics/"),
        ("POST", "/metrics"),
        ("POST", "/ready"),
    ],
)
async def test_all_that_is_no_endpoint_is_a_404_in_the_error_form(tmp_path: Path, method: str, path: str) -> None:
    async with running(tmp_path) as site:
        answer = await site.ask(method, path)
    status, kind, message = answer.failure
    assert (status, kind) == (404, "not_found_error")
    assert len(message) < 600
    assert re.fullmatch(r"req_[0-9a-f]{32}", answer.headers["request-id"])
    assert "location" not in answer.headers


@pytest.mark.parametrize("target", ["http://127.0.0.1:8990/health", "http://[bad/health", "//health", "/%68ealth"])
async def test_a_request_is_routed_by_its_path_however_its_target_is_written(tmp_path: Path, target: str) -> None:
    async with running(tmp_path) as site:
        answer = await site.ask("GET", unquote(target))  # the server has decoded it
    assert (answer.status, answer.json) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/health", "/v1/models", f"/v1/models/{MODEL}"])
async def test_a_head_request_is_answered_like_its_get(tmp_path: Path, path: str) -> None:
    async with running(tmp_path) as site:
        head, get = await site.ask("HEAD", path), await site.ask("GET", path)
    assert (head.status, head.headers["content-type"]) == (200, "application/json")
    assert head.headers["content-length"] == get.headers["content-length"]
    assert head.headers["request-id"] != get.headers["request-id"]


# --- models ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "names", "has_more"),
    [
        ("", MODELS[:20], len(MODELS) > 20),
        ("?limit=2", MODELS[:2], True),
        (f"?limit=3&after_id={MODELS[1]}", MODELS[2:5], True),
        (f"?after_id={MODELS[-1]}", [], False),
        (f"?limit=1&before_id={MODELS[2]}", MODELS[1:2], True),
        ("?beta=true&limit=1000", MODELS, False),
    ],
)
async def test_models_are_listed_in_pages(tmp_path: Path, query: str, names: list[str], has_more: bool) -> None:
    async with running(tmp_path) as site:
        page = (await site.ask("GET", f"/v1/models{query}")).json
    assert [model["id"] for model in page["data"]] == names
    assert all(set(model) == {"type", "id", "display_name", "created_at"} for model in page["data"])
    ends = (names[0], names[-1]) if names else (None, None)
    assert (page["first_id"], page["last_id"], page["has_more"]) == (*ends, has_more)


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "after_id=nothing", "before_id=%ff", "limit=1&limit="])
async def test_a_page_that_is_none_is_refused(tmp_path: Path, query: str) -> None:
    async with running(tmp_path) as site:
        answer = await site.ask("GET", f"/v1/models?{query}")
        status = answer.status
    # Of a repeated parameter the first counts.
    assert status == (200 if query.startswith("limit=1") else 400)


async def test_one_model_is_shown_and_an_unknown_one_is_a_404_that_lists_those_that_are(tmp_path: Path) -> None:
    async with running(tmp_path) as site:
        shown = (await site.ask("GET", f"/v1/models/{MODEL}")).json
        status, kind, message = (await site.ask("GET", "/v1/models/gpt/4")).failure
    assert (shown["type"], shown["id"]) == ("model", MODEL)
    assert (status, kind) == (404, "not_found_error")
    assert "'gpt/4'" in message
    assert all(name in message for name in MODELS)


# --- counting, and what is no request --------------------------------------------------------------------------


async def test_tokens_are_counted_without_asking_the_service(tmp_path: Path) -> None:
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "word " * 1000}]}
    async with running(tmp_path) as site:
        long = (await site.ask("POST", "/v1/messages/count_tokens?beta=true", asked)).json
        short = (await site.ask("POST", "/v1/messages/count_tokens", HELLO)).json
        assert site.said == []
    assert set(long) == {"input_tokens"}
    assert 800 < long["input_tokens"] < 3000
    assert 0 < short["input_tokens"] < 100


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        (b"", 400, "JSON"),
        (b"{", 400, "JSON"),
        (b"[]", 400, ""),
        (b"null", 400, ""),
        (b"\xff\xfe", 400, ""),
        (b"[" * 100_000, 400, ""),
        (b'{"model":"\\ud800","messages":[]}', 400, ""),
        (b'{"messages":[{"role":"user","content":"x"}],"max_tokens":1}', 400, "model"),
        (json.dumps({**HELLO, "messages": []}).encode(), 400, "messages"),
        (json.dumps({**HELLO, "messages": [{"role": "user"}]}).encode(), 400, "messages[0]"),
        (json.dumps({**HELLO, "model": "no-such-model"}).encode(), 404, "no-such-model"),
    ],
)
async def test_what_is_no_request_is_refused_with_its_place(
    tmp_path: Path, path: str, body: bytes, status: int, named: str
) -> None:
    async with running(tmp_path) as site:
        refused = (await site.ask("POST", path, body)).failure
        assert site.said == []
    assert refused[:2] == (status, "not_found_error" if status == 404 else "invalid_request_error")
    assert named in refused[2]


# --- who may ask -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-api-key": "made-up-key-1"}, 200),
        ({"authorization": "Bearer made-up-key-2"}, 200),
        ({"authorization": "bearer   made-up-key-2 "}, 200),
        ({"x-api-key": "wrong", "authorization": "Bearer made-up-key-1"}, 200),
        ({"x-api-key": "made-up-key-1", "authorization": "Bearer wrong"}, 200),
        ({"x-api-key": "made-up-key-1", "host": "gateway.example", "origin": "https://page.example"}, 200),
        ({}, 401),
        ({"x-api-key": ""}, 401),
        ({"x-api-key": "made-up-key-"}, 401),
        ({"x-api-key": "made-up-key-1x"}, 401),
        ({"x-api-key": "\xe9"}, 401),
        ({"authorization": "made-up-key-1"}, 401),
        ({"authorization": "Basic made-up-key-1"}, 401),
        ({"authorization": "Bearer"}, 401),
    ],
)
async def test_with_keys_one_of_them_is_needed_in_either_header(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    far: End = ("192.0.2.7", 50000)
    async with running(tmp_path, KEYS) as site:
        answer = await site.ask("GET", "/v1/models", headers={**LOCAL, **headers}, client=far, server=far)
    assert answer.status == status
    if status == 401:
        assert answer.failure[1] == "authentication_error"
        assert answer.headers["x-should-retry"] == "false"
        assert "made-up-key" not in answer.data.decode()


@pytest.mark.parametrize("path", ["/v1/messages", "/nothing", "/v1/messages/count_tokens"])
async def test_no_route_tells_anything_to_those_without_a_key(tmp_path: Path, path: str) -> None:
    async with running(tmp_path, KEYS) as site:
        assert (await site.ask("POST", path, HELLO)).failure[:2] == (401, "authentication_error")
        assert site.said == []


@pytest.mark.parametrize("server", [{}, {"apiKeys": ["made-up-key-1"], "adminKey": "made-up-key-2"}])
@pytest.mark.parametrize(("path", "word"), [("/health", "ok"), ("/ready", "ready")])
@pytest.mark.parametrize(
    "headers", [{"host": "far.example", "origin": "https://page.example", "x-forwarded-for": "192.0.2.9"}, {}]
)
async def test_health_and_readiness_are_open_to_all(
    tmp_path: Path, server: dict[str, Any], path: str, word: str, headers: dict[str, str]
) -> None:
    """To what watches a server, from another machine as a rule."""
    async with running(tmp_path, {"server": server}) as site:
        answer = await site.ask("GET", path, headers=headers, client=("192.0.2.7", 1), server=("192.0.2.1", 2))
    assert (answer.status, answer.json) == (200, {"status": word})


@pytest.mark.parametrize("path", ["/v1/models", "/nothing"])
@pytest.mark.parametrize(
    ("headers", "client", "server", "passes"),
    [
        ({}, ("127.0.0.1", 1), ("127.0.0.1", 2), True),
        ({"host": "localhost"}, ("::1", 1), ("::1", 2), True),
        ({"host": "[::1]:8990", "origin": "http://localhost:3000"}, ("127.9.9.9", 1), ("127.0.0.1", 2), True),
        ({"host": "127.1.2.3:1"}, ("127.0.0.1", 1), ("127.0.0.1", 2), True),
        ({"host": "gateway.example"}, ("127.0.0.1", 1), ("127.0.0.1", 2), False),
        ({"host": "127.0.0.1.rebound.example"}, ("127.0.0.1", 1), ("127.0.0.1", 2), False),
        ({"host": "localhost", "origin": "null"}, ("127.0.0.1", 1), ("127.0.0.1", 2), False),
        ({"host": "localhost", "origin": "https://page.example"}, ("127.0.0.1", 1), ("127.0.0.1", 2), False),
        ({"host": "localhost"}, ("192.0.2.7", 1), ("127.0.0.1", 2), False),
        ({"host": "localhost"}, ("127.0.0.1", 1), ("192.0.2.1", 2), False),
        ({"host": "localhost"}, None, ("127.0.0.1", 2), False),
        ({"host": "localhost"}, ("127.0.0.1", 1), None, False),
    ],
)
async def test_without_keys_only_this_machine_is_answered_where_it_means_it(
    tmp_path: Path, headers: dict[str, str], client: End, server: End, passes: bool, path: str
) -> None:
    async with running(tmp_path) as site:
        answer = await site.ask("GET", path, headers=headers, client=client, server=server)
    expected = (404 if path == "/nothing" else 200) if passes else 403
    assert answer.status == expected
    if not passes:
        assert answer.failure[1] == "permission_error"


# --- bugs ------------------------------------------------------------------------------------------------------


async def test_a_bug_in_a_route_is_a_500_in_the_error_form_and_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise LookupError("a made-up bug")

    monkeypatch.setattr("adapters.app.render_models", broken)
    async with running(tmp_path) as site:
        answer = await site.ask("GET", "/v1/models")
    assert answer.failure[:2] == (500, "api_error")
    assert "made-up bug" not in answer.data.decode()
    records = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.name for record in records] == ["stagewhisper"]
    assert answer.headers["request-id"] in records[0].getMessage()
    assert "a made-up bug" in caplog.text


async def test_requests_at_once_have_ids_of_their_own(tmp_path: Path) -> None:
    async with running(tmp_path) as site:
        talks = [site.begin("GET", "/health") for _ in range(50)]
        for talk in talks:
            await talk.over.wait()
    assert len({talk.headers["request-id"] for talk in talks}) == 50


async def test_a_client_that_leaves_before_anything_was_answered_costs_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as site:
        with trio.fail_after(5):
            talk = site.begin("POST", "/v1/messages", b'{"mod', more=True)
            talk.leave()
            await talk.over.wait()
    assert (talk.error, talk.status, talk.is_complete) == (None, 0, False)


async def test_a_refusal_is_logged_with_its_place_and_without_what_the_client_wrote(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "stagewhisper")
    question = {**HELLO, "messages": [{"role": "made-up-role", "content": "made-up words"}]}
    async with running(tmp_path) as site:
        talk = await site.ask("POST", "/v1/messages", question)
    assert talk.status == 400
    line = f"{talk.headers['request-id']} POST '/v1/messages': 400 invalid_request_error at messages[0].role"
    assert line in caplog.text
    assert "made-up" not in caplog.text


async def test_every_request_has_a_line_in_the_log_with_its_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "stagewhisper")
    async with running(tmp_path) as site:
        lost = await site.ask("POST", "/v1/v1/messages", HELLO)
        unknown = await site.ask("POST", "/v1/messages", {**HELLO, "model": "no-such-model"})
        good = await site.ask("POST", "/v1/messages", HELLO)
    said = [record.getMessage() for record in caplog.records if record.name == "stagewhisper"]
    assert f"{lost.headers['request-id']} POST '/v1/v1/messages': 404" in said
    (refused,) = [line for line in said if line.startswith(unknown.headers["request-id"])]
    assert "404 'no-such-model' is not offered here" in refused
    (answered,) = [line for line in said if line.startswith(good.headers["request-id"])]
    assert answered.endswith(": answered")
