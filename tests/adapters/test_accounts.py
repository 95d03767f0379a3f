"""Accounts under running exchanges: trials, late answers, what is in the store before a client hears of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import trio
import trio.testing

from adapters.accounts import NotKept, UnknownAccount
from adapters.stores import MemoryStore, StoreError
from core.phases import Policy
from tests.adapters.driven import GOOD, STALL, House, Run, Tokens, refusal, slowly
from tests.adapters.token_files import in_virtual_time

THROTTLED = refusal(429, "ThrottlingException")
BROKEN = refusal(500, "InternalServerException")
FORBIDDEN = refusal(403, "AccessDeniedException")
NO_SUCH_MODEL = refusal(400, "ValidationException", "INVALID_MODEL_ID")


async def opened(house: House, nursery: trio.Nursery) -> House:
    """The house with its store read, and what goes on beside the requests."""
    await house.keeper.open()
    nursery.start_soon(house.keeper.run)
    nursery.start_soon(house.accounts.watch)
    await trio.testing.wait_all_tasks_blocked()
    return house


def account(house: House, name: str = "a") -> dict[str, Any]:
    """What is shown of an account."""
    return next(one for one in house.accounts.render() if one["providerId"] == name)


@in_virtual_time
async def test_what_a_person_does_through_one_gateway_holds_whatever_another_did_just_before() -> None:
    shared = MemoryStore()
    async with trio.open_nursery() as nursery:
        houses = [await opened(House({"a": [GOOD]}, store=shared), nursery) for _ in range(2)]
        for action, state in (("disable", "disabled"), ("enable", "healthy"), ("disable", "disabled")):
            for house in houses:  # for the second, nothing seems left to do before it has looked
                assert (await house.accounts.act("a", action))["state"] == state
        assert (await houses[0].accounts.act("a", "enable"))["state"] == "healthy"
        assert (await houses[1].accounts.act("a", "disable"))["state"] == "disabled"
        assert (await houses[0].accounts.act("a", "disable"))["state"] == "disabled"
        nursery.cancel_scope.cancel()


@in_virtual_time
async def test_what_a_person_did_and_could_not_be_kept_is_said() -> None:
    class Full(MemoryStore):
        async def compare_and_set(self, writes: Mapping[str, tuple[int, bytes]]) -> dict[str, int]:
            raise StoreError("/made-up", f"the disk is too full for {len(writes)} more")

    async with trio.open_nursery() as nursery:
        house = await opened(House({"a": [GOOD]}, store=Full()), nursery)
        with pytest.raises(NotKept, match="disable a: done in this process, but it could not be written"):
            await house.accounts.act("a", "disable")
        assert account(house)["state"] == "disabled"
        nursery.cancel_scope.cancel()


# --- turns and trials ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_accounts_take_turns_and_one_that_failed_is_left_alone_until_it_is_back() -> None:
    house = House({"a": [GOOD, THROTTLED, GOOD], "b": [GOOD] * 9, "c": [GOOD] * 9})
    assert await house.answered_by(3) == ["a", "b", "c"]
    assert (await house.ask()).by in ("b", "c"), "another account stands in"
    assert "a" not in await house.answered_by(6)
    assert house.states == {"a": "cooldown", "b": "healthy", "c": "healthy"}
    await trio.sleep(3600)
    assert "a" in await house.answered_by(3)
    assert account(house) | {"state": "healthy", "totalRequests": 3, "successCount": 2} == account(house)


@in_virtual_time
async def test_after_a_cooldown_one_request_tries_the_account_and_not_all_of_them() -> None:
    house = House({"a": [THROTTLED, slowly(20.0)], "b": [slowly(1.0)] * 60})
    assert (await house.ask()).by == "b"
    await trio.sleep(3600)
    runs = [Run(house) for _ in range(50)]
    async with trio.open_nursery() as nursery:
        for run in runs:
            nursery.start_soon(run.drive)
    answered = [run.by for run in runs]
    assert (answered.count("a"), answered.count("b")) == (1, 49)
    assert house.states["a"] == "healthy"


@in_virtual_time
async def test_a_trial_that_fails_costs_one_request_an_attempt_and_lengthens_the_pause() -> None:
    house = House({"a": [BROKEN, slowly(5.0, BROKEN), slowly(5.0, BROKEN)], "b": [GOOD] * 60})
    await house.ask()
    pauses = [account(house)["temporaryBackoffLevel"]]
    for pause in (60, 120):
        await trio.sleep(pause)
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(house.ask)
        pauses.append(account(house)["temporaryBackoffLevel"])
    assert sum(bearer.startswith("a") for bearer in house.line.bearers) == 3
    assert pauses == [1, 2, 3]


@pytest.mark.parametrize("seconds", [0.0, 3.0])
@in_virtual_time
async def test_a_client_that_leaves_during_a_trial_frees_it(seconds: float) -> None:
    """Before the call is made, while the token is fetched, or while the service is silent."""
    house = House({"a": [THROTTLED, STALL, GOOD]}, {"a": Tokens("a", delay=2.0)})
    await house.ask()
    await trio.sleep(3600)
    with trio.move_on_after(seconds) as leaving:
        await house.ask()
    assert leaving.cancelled_caught
    assert account(house)["isUsable"]
    if not seconds:
        next(house.line._scripts["a"])  # that call was not made
    assert (await house.ask()).by == "a"


@in_virtual_time
async def test_a_trial_whose_answer_has_begun_keeps_nobody_else_waiting() -> None:
    house = House({"a": [THROTTLED, (*GOOD[:2], 15.0, *GOOD[2:]), *[slowly(5.0)] * 3]})
    await house.ask()
    await trio.sleep(3600)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.ask)
        await trio.sleep(1)
        runs = [Run(house), Run(house)]  # the next trial, and a last resort
        for run in runs:
            nursery.start_soon(run.drive)
    assert [run.by for run in runs] == ["a", "a"]


@in_virtual_time
async def test_a_trial_that_finds_out_nothing_is_over_when_its_request_goes_on_to_another_account() -> None:
    house = House({"a": [THROTTLED, NO_SUCH_MODEL, GOOD], "b": [GOOD] * 9})
    await house.ask()
    await trio.sleep(3600)
    assert await house.answered_by(2) == ["b", "b"]
    assert [bearer[0] for bearer in house.line.bearers] == ["a", "b", "b", "a", "b"]
    assert account(house) | {"state": "cooldown", "isUsable": True} == account(house)


@in_virtual_time
async def test_a_late_success_does_not_end_a_cooldown() -> None:
    house = House({"a": [slowly(25.0), THROTTLED], "b": [GOOD] * 9})
    early = Run(house)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(early.drive)
        await trio.sleep(1)
        assert (await house.ask()).by == "b"
        assert (await house.ask()).by == "b", "whose call to a was throttled first"
        assert house.states["a"] == "cooldown"
    assert early.by == "a"
    assert account(house) | {"state": "cooldown", "successCount": 1} == account(house)


@in_virtual_time
async def test_of_many_requests_that_one_breakdown_fails_only_the_first_makes_the_pause_longer() -> None:
    house = House({"a": [slowly(5.0, BROKEN)] * 20})
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(house.ask)
    assert account(house) | {"temporaryBackoffLevel": 1, "failureCount": 20} == account(house)


@in_virtual_time
async def test_an_account_that_timed_out_is_used_when_nothing_better_is_there_and_for_five_minutes_only_then() -> None:
    house = House({"a": [STALL, GOOD, GOOD, GOOD], "b": [GOOD, GOOD, GOOD, THROTTLED]})
    assert (await house.ask()).by == "b"
    assert house.states == {"a": "degraded", "b": "healthy"}
    assert await house.answered_by(2) == ["b", "b"]
    assert (await house.ask()).by == "a", "the better one was throttled just now"
    assert house.states == {"a": "healthy", "b": "cooldown"}


@in_virtual_time
async def test_being_degraded_ends_by_itself() -> None:
    house = House({"a": [STALL, GOOD], "b": [GOOD] * 9})
    await house.ask()
    await trio.sleep(300)
    assert sorted(await house.answered_by(2)) == ["a", "b"]


@in_virtual_time
async def test_when_all_are_away_one_request_a_minute_tries_the_one_that_comes_back_first() -> None:
    soon = refusal(429, "ThrottlingException", retry_after="1000")
    house = House({"a": [THROTTLED] * 9, "b": [soon, soon, GOOD, GOOD], "c": [FORBIDDEN] * 2})
    assert await (await house.ask()).error == "overloaded_error", "the causes differ"
    assert house.states == {"a": "cooldown", "b": "cooldown", "c": "permanently_blacklisted"}
    tried = []
    for _ in range(2):
        before = len(house.line.calls)
        runs = [Run(house) for _ in range(10)]
        async with trio.open_nursery() as nursery:
            for run in runs:
                nursery.start_soon(run.drive)
        tried.append((house.line.bearers[before:], [run.by for run in runs if run.by]))
        await trio.sleep(60)
    assert tried == [(["b1"], []), (["b1"], ["b"])]
    assert house.states["b"] == "healthy"


# --- what is in the store, and when ----------------------------------------------------------------------------


class Slow(MemoryStore):
    """A store whose writes take their time, cancelled or not; or that fails."""

    def __init__(self) -> None:
        super().__init__()
        self.delay = 0.0
        self.fails = False

    async def compare_and_set(self, writes: Mapping[str, tuple[int, bytes]]) -> dict[str, int]:
        with trio.CancelScope(shield=True):
            await trio.sleep(self.delay)
        if self.fails:
            raise StoreError("/made-up", "the disk is full")
        return await super().compare_and_set(writes)


@pytest.mark.parametrize(
    ("delay", "waits", "is_stored"), [(0.0, 0.0, True), (2.0, 2.0, True), (4.9, 4.9, True), (60.0, 5.0, False)]
)
@in_virtual_time
async def test_a_permanent_blacklist_is_in_the_store_before_its_client_hears_but_a_disk_that_hangs_is_not_waited_for(
    delay: float, waits: float, is_stored: bool
) -> None:
    store = Slow()
    async with trio.open_nursery() as nursery:
        house = await opened(House({"a": [FORBIDDEN, FORBIDDEN]}, store=store), nursery)
        store.delay = delay
        began = trio.current_time()
        run = await house.ask()
        assert await run.error == "permission_error"
        assert run.ended == pytest.approx(began + waits, abs=0.001)
        found = [stored.value for key, stored in (await store.load()).items() if key.startswith("account:a:")]
        assert [b"permanently_blacklisted" in value for value in found] == ([True] if is_stored else [])
        nursery.cancel_scope.cancel()


@in_virtual_time
async def test_a_stream_that_has_begun_ends_with_its_error_once_that_is_in_the_store() -> None:
    store, policy = Slow(), Policy(total=15.0, ping_quiet=10.0)
    heard: list[tuple[float, bytes]] = []

    async def listen(run: Run) -> None:
        heard.extend([(trio.current_time(), chunk) async for chunk in run.outbox.chunks()])

    async with trio.open_nursery() as nursery:
        # The second refusal is not over when the total time is.
        house = await opened(House({"a": [FORBIDDEN, FORBIDDEN[:1]]}, policy=policy, store=store), nursery)
        store.delay = 2.0
        run = Run(house)
        nursery.start_soon(listen, run)
        await run.drive(stream=True)
        assert house.states == {"a": "permanently_blacklisted"}
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    (begun, start), (ended, error) = heard
    assert (b"message_start" in start, b"event: error" in error) == (True, True)
    assert (begun, round(ended, 3)) == (10.0, 17.0)


@in_virtual_time
async def test_what_need_not_be_on_the_disk_costs_a_client_no_wait() -> None:
    store = Slow()
    async with trio.open_nursery() as nursery:
        house = await opened(House({"a": [THROTTLED], "b": [GOOD] * 3}, store=store), nursery)
        store.delay = 60.0
        for _ in range(3):
            run = await house.ask()
            assert await run.status == 200
        assert trio.current_time() == 0
        nursery.cancel_scope.cancel()


@in_virtual_time
async def test_a_store_that_fails_costs_no_request() -> None:
    store = Slow()
    async with trio.open_nursery() as nursery:
        house = await opened(House({"a": [FORBIDDEN, FORBIDDEN], "b": [GOOD] * 3}, store=store), nursery)
        store.fails = True
        assert await house.answered_by(3) == ["b", "b", "b"]
        assert house.states == {"a": "permanently_blacklisted", "b": "healthy"}
        nursery.cancel_scope.cancel()
    assert len(house.said) == 1


@in_virtual_time
async def test_what_a_person_did_is_in_the_store_before_he_hears_of_it() -> None:
    store = Slow()
    async with trio.open_nursery() as nursery:
        house = await opened(House({"a": []}, store=store), nursery)
        store.delay = 2.0
        for action, is_disabled in (("disable", True), ("enable", False)):
            began = trio.current_time()
            await house.accounts.act("a", action)
            assert trio.current_time() == began + 2.0
            (kept,) = [stored.value for key, stored in (await store.load()).items() if key.startswith("account:a:")]
            assert (b'"is_disabled":true' in kept) == is_disabled
        nursery.cancel_scope.cancel()


# --- what a person does ----------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_disabled_account_gets_no_request_and_an_enabled_one_its_turn_again() -> None:
    house = House({"a": [GOOD] * 9, "b": [GOOD] * 9})
    await house.keeper.open()
    shown = await house.accounts.act("a", "disable")
    assert (shown["state"], shown["isUsable"], shown["isDisabled"]) == ("disabled", False, True)
    assert await house.answered_by(4) == ["b"] * 4
    assert (await house.accounts.act("a", "enable"))["state"] == "healthy"
    assert sorted(await house.answered_by(4)) == ["a", "a", "b", "b"]


@in_virtual_time
async def test_a_person_brings_a_barred_account_back_and_what_began_before_does_not_bar_it_again() -> None:
    house = House({"a": [slowly(20.0, FORBIDDEN), FORBIDDEN, FORBIDDEN, FORBIDDEN, GOOD, GOOD]})
    await house.keeper.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.ask)
        await trio.sleep(1)
        await house.ask()
        assert house.states == {"a": "permanently_blacklisted"}
        assert (await house.accounts.act("a", "recover"))["state"] == "healthy"
    assert house.states == {"a": "healthy"}
    assert (await house.ask()).by == "a"


@in_virtual_time
async def test_readiness_is_whether_a_request_would_find_an_account() -> None:
    house = House({"a": [THROTTLED], "b": [STALL]})
    await house.keeper.open()
    assert house.accounts.is_ready()
    await house.accounts.act("b", "disable")
    await house.ask()
    assert not house.accounts.is_ready()
    await trio.sleep(3600)
    assert house.accounts.is_ready()


async def test_an_account_that_is_none_is_refused_with_those_that_are() -> None:
    house = House({"a": [], "b": []})
    await house.keeper.open()
    with pytest.raises(UnknownAccount) as raised:
        await house.accounts.act("c" * 100 + "\n", "recover")
    assert str(raised.value) == f"there is no account '{'c' * 64}'; there are a, b"
