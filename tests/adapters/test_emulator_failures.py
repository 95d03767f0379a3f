"""The emulator's refusals, and its table of scenarios: each does what it says, everything else is refused clearly."""

from __future__ import annotations

import json
import re

import pytest

from adapters.emulator import describe
from adapters.emulator.failures import FAILURES
from adapters.emulator.scenarios import SCENARIOS
from tests.adapters.emulated import World, long_request, shell_request

REASONS = {
    ("ThrottlingException", None, 429),
    ("ThrottlingException", "DAILY_REQUEST_COUNT", 429),
    ("ThrottlingException", "MONTHLY_REQUEST_COUNT", 400),
    ("ThrottlingException", "INSUFFICIENT_MODEL_CAPACITY", 429),
    ("ServiceQuotaExceededException", "CONVERSATION_LIMIT_EXCEEDED", 402),
    ("ServiceQuotaExceededException", "MONTHLY_REQUEST_COUNT", 402),
    ("ServiceQuotaExceededException", "OVERAGE_REQUEST_LIMIT_EXCEEDED", 402),
    ("ValidationException", "CONTENT_LENGTH_EXCEEDS_THRESHOLD", 400),
    ("ValidationException", "INVALID_CONVERSATION_ID", 400),
    ("ValidationException", "INVALID_KMS_GRANT", 400),
    ("ValidationException", "INVALID_MODEL_ID", 400),
    ("ValidationException", "PROMPT_TOO_LONG", 400),
    ("ValidationException", "TOOL_USE_RESULT_MISMATCH", 400),
    ("ValidationException", "TOOL_SCHEMA_INVALID", 400),
    ("ValidationException", "TOOL_DUPLICATE", 400),
    ("ValidationException", "TOOL_CONFIG_MISSING", 400),
    ("ValidationException", "THINKING_SIGNATURE_INVALID", 400),
    ("AccessDeniedException", None, 403),
    ("AccessDeniedException", "TEMPORARILY_SUSPENDED", 403),
    ("AccessDeniedException", "FEATURE_NOT_SUPPORTED", 403),
    ("AccessDeniedException", "UNAUTHORIZED_CUSTOMIZATION_RESOURCE_ACCESS", 403),
    ("InternalServerException", "MODEL_TEMPORARILY_UNAVAILABLE", 500),
    ("InternalServerException", None, 500),
    ("ServiceUnavailableException", None, 500),
    ("ServiceUnavailableException", None, 503),
}


def test_every_known_reason_can_be_had() -> None:
    assert {(row.name, row.reason, row.status) for row in FAILURES.values()} >= REASONS


@pytest.mark.parametrize("name", FAILURES)
def test_a_refusal_has_its_status_name_reason_and_message(name: str) -> None:
    row = FAILURES[name]
    reply = World().play(name)
    assert reply.head is not None
    headers = dict(reply.head.headers)
    assert (reply.head.status, headers["x-amzn-errortype"]) == (row.status, row.name)
    assert json.loads(reply.body()) == {"message": row.message, "reason": row.reason}
    assert int(headers["content-length"]) == len(reply.body())
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", headers["x-amzn-requestid"])


@pytest.mark.parametrize(
    ("scenario", "status", "headers", "body"),
    [
        ("status:418", 418, {"content-type": "application/json"}, b'{"message":"","reason":null}'),
        ("status:500:Odd", 500, {"x-amzn-errortype": "Odd"}, b'{"message":"Odd","reason":null}'),
        ("status:400:A:B:c: d", 400, {"x-amzn-errortype": "A"}, b'{"message":"c: d","reason":"B"}'),
        ("status:400:A::c", 400, {"x-amzn-errortype": "A"}, b'{"message":"c","reason":null}'),
        ("status:200:::hi", 200, {"content-type": "application/json"}, b'{"message":"hi"}'),
        ("retry-after", 429, {"retry-after": "30", "x-amzn-errortype": "ThrottlingException"}, b"{"),
        ("retry-after:7200", 429, {"retry-after": "7200"}, b"{"),
        ("html", 500, {"content-type": "text/html", "content-length": "88"}, b"<html>"),
        ("html:429", 429, {"content-type": "text/html"}, b"<html>"),
        ("empty-body:503", 503, {"content-length": "0"}, b""),
        ("truncated-json:429", 429, {"content-length": "25"}, b'{"message":"Too many requ'),
        ("namespaced-name", 429, {}, b'{"__type":"com.amazon.coral.availability#ThrottlingException"'),
        ("name-in-code", 429, {}, b'{"code":"ThrottlingException"'),
        ("deep-name", 429, {}, b'{"Output":{"__type":"com.amazon.coral.availability#ThrottlingException"'),
        ("name-with-address", 429, {}, b'{"message":"Too many requests'),
        ("redirect", 307, {"location": "http://localhost:9/elsewhere"}, b""),
        ("body-limit:10", 400, {"x-amzn-errortype": "ValidationException"}, b'{"message":"Improperly formed'),
        ("body-limit", 200, {"content-type": "application/vnd.amazon.eventstream"}, b"\x00\x00"),
    ],
)
def test_a_refusal_in_another_form(scenario: str, status: int, headers: dict[str, str], body: bytes) -> None:
    reply = World().play(scenario)
    assert reply.head is not None
    got = dict(reply.head.headers)
    assert reply.head.status == status
    assert {name: got[name] for name in headers} == headers
    assert reply.body().startswith(body)
    if scenario in {"status:418", "namespaced-name", "name-in-code", "deep-name"}:
        assert "x-amzn-errortype" not in got
    if scenario == "name-with-address":
        assert got["x-amzn-errortype"].startswith("ThrottlingException:http://")


def test_a_revoked_token_is_good_again_after_a_refresh() -> None:
    world = World()
    statuses = [world.play("token-revoked").head, world.play("fine").head]
    assert [head.status for head in statuses if head is not None] == [403, 403]
    tokens = world.post("/refreshToken", {"refreshToken": world.account.refresh_token})[1]
    reply = world.ask(shell_request(), token=tokens["accessToken"])
    assert reply.head is not None
    assert reply.head.status == 200


# --- the table -------------------------------------------------------------------------------------------------


def test_every_scenario_is_described_in_a_line() -> None:
    lines = describe()
    assert len(lines) == len(SCENARIOS)
    assert lines["cut:BYTES"] == "the connection ends after BYTES of the body"
    assert "status:CODE[:NAME][:REASON][:MESSAGE]" in lines
    assert all("\n" not in line and len(line) <= 90 for line in lines.values())
    assert len(set(lines.values())) == len(lines)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_plays_on_every_call_that_it_is_for(name: str) -> None:
    values = "".join(
        ":7" if argument.kind == "number" and argument.name != "CODE" else ":500"
        for argument in SCENARIOS[name].arguments
        if argument.default is None
    )
    for request in (shell_request(), shell_request("Hello"), long_request()):
        reply = World().play(name + values, request)
        known = "generate" in SCENARIOS[name].calls
        assert (b"The emulator cannot play this" in reply.body()) == (not known)


@pytest.mark.parametrize(
    ("scenario", "why"),
    [
        ("none-such", "unknown scenario 'none-such'; there are: fine, stall-head"),
        ("", "unknown scenario ''"),
        ("cut", "scenario cut:BYTES: BYTES is missing"),
        ("cut:x", "scenario cut:BYTES: BYTES: expected a number, got 'x'"),
        ("cut:-1", "BYTES: expected a number, got '-1'"),
        ("cut:1:2", "BYTES: expected a number, got '1:2'"),
        ("drip:0:1", "BYTES: expected 1 to None, got 0"),
        ("status:99", "CODE: expected 200 to 599, got 99"),
        ("big:999999999999", "BYTES: expected 0 to 67108864"),
        ("status:500:é", "NAME: expected up to 200 printable ASCII characters"),
        ("exception:a\nb", "NAME: expected up to 200 printable ASCII characters"),
        ("empty:1", "scenario empty: takes no arguments"),
        ("refresh-lost", "scenario refresh-lost: not for this call, but for: token"),
    ],
)
def test_a_scenario_that_cannot_be_played_says_why(scenario: str, why: str) -> None:
    world = World()
    reply = world.play(scenario)
    assert reply.head is not None
    assert reply.head.status == 500
    assert why in json.loads(reply.body())["message"]
    assert why in world.log[0]
