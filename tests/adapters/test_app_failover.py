"""Each row of the table of failures through real sockets: with another account, and with none."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio

from adapters import ambient
from adapters.emulator import always, in_turn
from core.times import Epoch
from tests.adapters.harness import HELLO, running
from tests.adapters.token_files import in_virtual_time

ASKED = {**HELLO, "tools": [{"name": "Bash", "description": "x", "input_schema": {"type": "object"}}]}
SHORT = {"timeouts": {"firstByteMs": 30_000, "idleMs": 30_000}}


class Row(NamedTuple):
    """What a failure of account `a` leads to, beside a good account `b` and alone."""

    scenario: str
    calls: int
    """How often `a` is called for one request."""
    state: str
    """That of `a` afterwards."""
    fails_over: bool
    status: int
    error: str
    retry_after: str | None
    should_retry: str | None
    message: str


PERMANENT = ("permanently_blacklisted", True, 403, "permission_error", None, "false", "stagewhisper accounts recover a")
AN_HOUR = ("cooldown", True, 429, "rate_limit_error", None, "false", "it is tried again from ")
# A single account is tried again at once, as the last resort of this minute.
A_MOMENT = ("temporarily_blacklisted", True, 529, "overloaded_error", "1", None, "it is tried again from ")
DEGRADED = ("degraded", True)
OVERLOADED = ("healthy", True, 529, "overloaded_error", None, None)
UNTOUCHED = ("healthy", False)

ROWS = [
    Row("bad-token", 2, *PERMANENT),
    Row("unauthorized", 2, *PERMANENT),
    Row("forbidden", 2, *PERMANENT),
    Row("throttled", 1, *AN_HOUR),
    Row("retry-after:7200", 1, *AN_HOUR),
    Row("retry-after:30", 1, "cooldown", True, 429, "rate_limit_error", "30", None, "it is tried again from "),
    Row("exception:ThrottlingException", 1, *AN_HOUR),
    Row("daily-quota", 1, *AN_HOUR),
    Row("monthly-quota", 1, *AN_HOUR),
    Row("monthly-quota-402", 1, *AN_HOUR),
    Row("overage-limit", 1, *AN_HOUR),
    Row("quota", 1, *AN_HOUR),
    Row("suspended", 1, "temporarily_blacklisted", True, 529, "overloaded_error", None, "false", "SUSPENDED"),
    Row("internal-error", 1, *A_MOMENT),
    Row("unavailable", 1, *A_MOMENT),
    Row("html:503", 1, *A_MOMENT),
    Row("empty-body:500", 1, *A_MOMENT),
    Row("truncated-json:500", 1, *A_MOMENT),
    Row("redirect", 1, *A_MOMENT),
    Row("empty", 1, *A_MOMENT),
    Row("html-200", 1, *A_MOMENT),
    Row("exception:InternalServerException", 1, *A_MOMENT),
    Row("no-capacity", 3, *OVERLOADED, "INSUFFICIENT_MODEL_CAPACITY"),
    Row("model-unavailable", 3, *OVERLOADED, "MODEL_TEMPORARILY_UNAVAILABLE"),
    Row("high-load", 3, *OVERLOADED, "unexpectedly high load"),
    Row("invalid-model", 1, "healthy", True, 404, "not_found_error", None, "false", "INVALID_MODEL_ID"),
    Row("feature-not-supported", 1, "healthy", True, 403, "permission_error", None, "false", "FEATURE_NOT_SUPPORTED"),
    Row("refuse-connection", 2, *DEGRADED, 529, "overloaded_error", None, None, "a: http://127.0.0.1:"),
    Row("cut:300", 2, *DEGRADED, 529, "overloaded_error", None, None, "a: http://127.0.0.1:"),
    Row("bad-message-crc:2", 2, *DEGRADED, 529, "overloaded_error", None, None, "broke at byte"),
    Row("stall-head", 1, *DEGRADED, 504, "timeout_error", None, None, "timeouts.firstByteMs"),
    Row("stall:1", 1, *DEGRADED, 504, "timeout_error", None, None, "timeouts.idleMs"),
    Row("long-tool-cut", 1, *UNTOUCHED, 500, "api_error", None, "false", "was cut by the service"),
    Row("invalid-tool-json", 1, *UNTOUCHED, 500, "api_error", None, "false", "cannot be read as JSON"),
    Row("improperly-formed", 1, *UNTOUCHED, 400, "invalid_request_error", None, None, "Improperly formed request"),
    Row("too-long", 1, *UNTOUCHED, 400, "invalid_request_error", None, None, "prompt is too long: 200001 tokens > 200"),
    Row("conversation-limit", 1, *UNTOUCHED, 400, "invalid_request_error", None, None, "CONVERSATION_LIMIT"),
]


@pytest.mark.parametrize("row", ROWS, ids=[row.scenario for row in ROWS])
@in_virtual_time
async def test_beside_a_good_account_a_failure_costs_what_its_row_says(tmp_path: Path, row: Row) -> None:
    played = [row.scenario]

    def scenario(name: str, _: int) -> str:
        return played[-1] if name == "a" else "fine"

    async with running(tmp_path, SHORT, scenario=scenario, accounts=("a", "b")) as site:
        first = await site.ask("POST", "/v1/messages", ASKED)
        calls = {name: count.requests for name, count in site.emulator.counts.items()}
        health = await site.health()
        played.append("fine")
        second = await site.ask("POST", "/v1/messages", ASKED)
        used = {name for name, count in site.emulator.counts.items() if count.requests > calls[name]}
    assert first.status == (200 if row.fails_over else row.status)
    assert calls == {"a": row.calls, "b": int(row.fails_over)}
    assert (health["a"]["state"], health["b"]["state"]) == (row.state, "healthy")
    assert health["b"]["successCount"] == int(row.fails_over)
    assert (second.status, used) == (200, {"b"}), "b's turn has come, and a's not, whatever a did"


@pytest.mark.parametrize("row", ROWS, ids=[row.scenario for row in ROWS])
@in_virtual_time
async def test_where_no_account_is_left_the_client_hears_why_and_whether_to_come_back(tmp_path: Path, row: Row) -> None:
    async with running(tmp_path, SHORT, scenario=always(row.scenario)) as site:
        talk = await site.ask("POST", "/v1/messages", ASKED)
        state = (await site.health())["a"]["state"]
    status, error, message = talk.failure
    assert (status, error, state) == (row.status, row.error, row.state)
    assert talk.headers.get("retry-after") == row.retry_after
    assert talk.headers.get("x-should-retry") == row.should_retry
    assert row.message in message
    assert message.startswith("a: ") == row.fails_over, "where it is the account's matter, it is named"


@in_virtual_time
async def test_different_causes_are_told_together(tmp_path: Path) -> None:
    turns = {"a": "throttled", "b": "forbidden", "c": "internal-error"}
    async with running(tmp_path, scenario=lambda name, _: turns[name], accounts=("a", "b", "c")) as site:
        talk = await site.ask("POST", "/v1/messages", HELLO)
        await site.ask("POST", "/admin/accounts/a/disable")
        again = await site.ask("POST", "/v1/messages", HELLO)
        later = await site.ask("POST", "/v1/messages", HELLO)
    assert talk.failure[:2] == (529, "overloaded_error")
    assert talk.headers["retry-after"] == "1"
    parts = talk.failure[2].split("; ")
    assert [part[:3] for part in parts if part[1:3] == ": "] == ["a: ", "b: ", "c: "]
    assert "stagewhisper accounts recover b" in talk.failure[2]
    assert "a: is disabled (stagewhisper accounts enable a)" in again.failure[2]
    assert "a: is disabled (stagewhisper accounts enable a)" in later.failure[2]


class Date:
    """A date that trio's clock moves."""

    def __call__(self) -> Epoch:
        return Epoch(1_800_000_000.0 + trio.current_time())


@pytest.fixture
def moving_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway's date goes with the tests' clock."""
    monkeypatch.setattr(ambient, "epoch", Date())


@pytest.mark.usefixtures("moving_date")
@in_virtual_time
async def test_a_single_account_that_is_away_is_tried_once_a_minute_and_is_back_when_that_works(tmp_path: Path) -> None:
    statuses, calls = [], []
    async with running(tmp_path, scenario=in_turn("throttled", "throttled", "throttled")) as site:
        for moment in range(10):
            talks = [site.begin("POST", "/v1/messages", HELLO) for _ in range(4 if moment else 1)]
            for talk in talks:
                await talk.over.wait()
            statuses.append(sum(talk.status == 200 for talk in talks))
            calls.append(site.emulator.counts["a"].requests)
            await trio.sleep(20)
        state = (await site.health())["a"]["state"]
    assert calls == [1, 2, 2, 2, 3, 3, 3, 4, 8, 12]
    assert statuses == [0, 0, 0, 0, 0, 0, 0, 1, 4, 4]
    assert state == "healthy"


@pytest.mark.usefixtures("moving_date")
@in_virtual_time
async def test_an_account_is_back_when_its_client_was_told(tmp_path: Path) -> None:
    async with running(tmp_path, scenario=in_turn("retry-after:30", "retry-after:30")) as site:
        first = await site.ask("POST", "/v1/messages", HELLO)
        assert (first.status, first.headers["retry-after"]) == (429, "30")
        tried = await site.ask("POST", "/v1/messages", HELLO)
        assert (tried.status, tried.headers["retry-after"]) == (429, "30")
        await trio.sleep(float(first.headers["retry-after"]))
        assert (await site.ask("POST", "/v1/messages", HELLO)).status == 200
        assert site.emulator.counts["a"].requests == 3


@pytest.mark.usefixtures("moving_date")
@in_virtual_time
async def test_failures_after_pings_reach_health_too(tmp_path: Path) -> None:
    document: dict[str, Any] = {"pings": {"quietMs": 1000, "intervalMs": 1000}, **SHORT}
    async with running(tmp_path, document, scenario=always("stall:1")) as site:
        talk = await site.ask("POST", "/v1/messages", {**HELLO, "stream": True})
        health = (await site.health())["a"]
    assert (talk.status, talk.events[-1]) == (200, "error")
    assert (health["state"], health["failureCount"], health["errorHistory"][0]["error"][:8]) == (
        "degraded",
        1,
        "timeout:",
    )
