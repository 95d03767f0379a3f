"""With one of ten accounts failing, in whatever way, every request is answered; `ten_accounts.py` is the longer run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.adapters.processes import poll
from tests.end_to_end.load import ask_many
from tests.end_to_end.ten_accounts import ACCOUNTS, Stand, failing_account, impatient, render, stand, try_way
from tests.end_to_end.ways import WAYS, unlisted

REQUESTS = 30
CONCURRENCY = 15


class Stands:
    """The stands that the ways need, each made when the first does: to start one costs more than to try a way."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._made: dict[tuple[bool, str | None], Stand] = {}

    def stand_for(self, *, stalls: bool = False, endpoint: str | None = None) -> Stand:
        key = (stalls, endpoint)
        if key not in self._made:
            folder = self._folder / f"stand{len(self._made)}"
            folder.mkdir()
            settings = impatient(1500) if stalls else None
            self._made[key] = self._stack.enter_context(stand(folder, settings=settings, endpoint=endpoint))
        return self._made[key]


@pytest.fixture(scope="module")
def stands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stands]:
    with ExitStack() as stack:
        yield Stands(tmp_path_factory.mktemp("stands"), stack)


def test_every_scenario_of_the_emulator_is_in_one_list() -> None:
    assert unlisted() == set()


def test_a_token_that_the_service_revokes_costs_one_refresh_and_nobody_a_turn(stands: Stands) -> None:
    ready = stands.stand_for()
    before, refreshes = ready.get("/admin/stats")["accounts"], ready.refreshes()
    ready.play({"sequence": ["token-revoked"]})
    assert ask_many(ready.url, REQUESTS, concurrency=CONCURRENCY) == []
    poll(lambda: sum(ready.get("/admin/stats")["accounts"].values()) == sum(before.values()) + REQUESTS)
    attempts = [count - before[account] for account, count in ready.get("/admin/stats")["accounts"].items()]
    assert attempts == [REQUESTS // ACCOUNTS] * ACCOUNTS
    assert ready.refreshes() == refreshes + 1
    assert {state["state"] for state in ready.accounts().values()} == {"healthy"}


def test_an_overload_that_passes_costs_no_request_and_no_account(stands: Stands) -> None:
    ready = stands.stand_for()
    before = ready.get("/admin/stats")
    # Each goes to another request, for a retry waits half a second at least, and by then all these were taken.
    ready.play({"sequence": ["no-capacity", "model-unavailable", "high-load", "no-capacity", "high-load"]})
    assert ask_many(ready.url, REQUESTS, concurrency=CONCURRENCY) == []
    total = before["summary"]["totalRequests"] + REQUESTS
    poll(lambda: ready.get("/admin/stats")["summary"]["totalRequests"] == total)
    after = ready.get("/admin/stats")
    overloads = [stats["failures"]["failuresByError"].get("overload", 0) for stats in (before, after)]
    assert overloads[1] == overloads[0] + 5
    assert sum(after["accounts"].values()) - sum(before["accounts"].values()) == REQUESTS + 5
    assert {state["state"] for state in ready.accounts().values()} == {"healthy"}


@pytest.mark.parametrize("place", range(len(WAYS)), ids=[way.name for way in WAYS])
def test_every_request_is_answered_while_one_account_fails(stands: Stands, place: int) -> None:
    way = WAYS[place]
    failing = failing_account(way, place)
    ready = stands.stand_for(stalls=way.stalls, endpoint=way.endpoint)
    report = try_way(ready, way, failing, requests=REQUESTS, concurrency=CONCURRENCY)
    assert report.problems == [], render(report)
