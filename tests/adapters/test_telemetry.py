"""What is told of a request when it is over: one line, one count in each place, whatever became of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from adapters.keeping import Keeper
from adapters.stores import MemoryStore
from adapters.telemetry import Following, Telemetry
from core.dialogue import AnswerBegan, Notice, TokenRejected
from core.failures import Kind
from core.summary import Outcome
from tests.adapters.driven import House
from tests.adapters.log_output import logged
from tests.adapters.token_files import in_virtual_time
from tests.notices import failed, refused, succeeded


def telemetry(keeper: Keeper | None = None) -> Telemetry:
    """The counters of a gateway with the accounts a and b."""
    house = House({"a": [], "b": []})
    return Telemetry(account_ids=["a", "b"], accounts=house.accounts, keeper=keeper or house.keeper)


def sample(told: Telemetry, name: str, **labels: str) -> float | None:
    """One figure of the metrics."""
    for family in text_string_to_metric_families(told.metrics.render()[1].decode()):
        for one in family.samples:
            if (one.name, one.labels) == (f"stagewhisper_{name}", labels):
                return float(one.value)
    return None


@in_virtual_time
async def test_a_request_is_told_once_in_each_place() -> None:
    told = telemetry()
    with logged("console") as log:
        following = told.follow(request_id="req_1", model="claude-test")
        await trio.sleep(1)
        following.hear(failed("a", Kind.SERVER))
        await trio.sleep(1)
        following.hear(TokenRejected("b"))
        following.hear(AnswerBegan("b"))
        following.processed(0.002)
        following.processed(0.003)
        await trio.sleep(1)
        following.hear(succeeded("b"))
        assert sample(told, "requests_in_progress") == 1
        following.end()
    lines = log.getvalue().splitlines()
    assert len(lines) == 3, lines
    assert "req_1 account=a failed: server: made-up reason" in lines[0]
    assert "req_1 account=b token refused" in lines[1]
    assert "req_1 account=b model=claude-test attempts=2 failed=1 refreshes=1 ms=3000 first_byte_ms=2000" in lines[2]
    assert "processing_ms=5.00" in lines[2]
    assert lines[2].endswith(": answered")
    shown = told.render()
    assert shown["accounts"] == {"a": 1, "b": 1}
    assert shown["models"] == {"claude-test": 1}
    assert shown["failures"] == {"failuresByAccount": {"a": 1}, "failuresByError": {"server": 1}}
    performance = {"avgResponseTime": 3000.0, "requestsPerMinute": 0.2, "avgBufferProcessingTime": 5.0}
    assert shown["performance"] == performance
    assert sample(told, "requests_total", account="b", model="claude-test", outcome="answered") == 1
    assert sample(told, "failures_total", account="a", kind="server") == 1
    assert sample(told, "buffer_processing_seconds_sum") == pytest.approx(0.005)
    assert sample(told, "requests_in_progress") == 0


def _no_place(following: Following) -> None:
    following.outcome = Outcome.NO_PLACE


def _bug(following: Following) -> None:
    following.hear(failed("a", Kind.SERVER))
    following.outcome = Outcome.BUG


def _hears(*notices: Notice) -> Callable[[Following], None]:
    def play(following: Following) -> None:
        for notice in notices:
            following.hear(notice)

    return play


@pytest.mark.parametrize(
    ("play", "outcome", "account", "line"),
    [
        (_hears(), "abandoned", "none", "ended early: the client left, or the gateway was stopped"),
        (_hears(AnswerBegan("a")), "abandoned", "a", "ended early: the client left, or the gateway was stopped"),
        (_hears(failed("a", Kind.TIMEOUT), refused("timeout_error")), "refused", "a", "refused with timeout_error"),
        (_no_place, "no_place", "none", "no place"),
        (_bug, "bug", "a", "a bug"),
    ],
)
async def test_however_a_request_ends_it_is_counted_as_that(
    play: Callable[[Following], None], outcome: str, account: str, line: str
) -> None:
    told = telemetry()
    with logged("console") as log:
        following = told.follow(request_id="req_1", model="claude-test")
        play(following)
        following.end()
    assert log.getvalue().splitlines()[-1].endswith(f": {line}")
    assert sample(told, "requests_total", account=account, model="claude-test", outcome=outcome) == 1
    assert sample(told, "requests_in_progress") == 0
    summary = told.render()["summary"]
    assert isinstance(summary, dict)
    assert summary["totalRequests"] == 1
    assert summary["overallSuccessRate"] == (1.0 if outcome == "abandoned" else 0.0)


async def test_statistics_go_on_where_the_last_process_ended() -> None:
    store = MemoryStore()
    keeper = Keeper(store, log=pytest.fail)
    told = telemetry(keeper)
    await keeper.open()
    for _ in range(3):
        following = told.follow(request_id="req_1", model="claude-test")
        following.hear(succeeded("a"))
        following.end()
    before = told.render()
    await keeper.close()
    again = Keeper(store, log=pytest.fail)
    later = telemetry(again)
    await again.open()
    assert later.render() == before
    assert later.render()["accounts"] == {"a": 3, "b": 0}


async def test_statistics_that_are_none_are_begun_anew_and_health_stays() -> None:
    store = MemoryStore()
    await store.open()
    await store.replace({"stats": b'{"outcomes": "rubbish"}'})
    said: list[str] = []
    keeper = Keeper(store, log=said.append)
    told = telemetry(keeper)
    await keeper.open()
    assert told.render()["models"] == {}
    assert len(said) == 1
    assert said[0].startswith("the stored state of stats is set aside, and written anew: ")
