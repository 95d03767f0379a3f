"""What is told of accounts for whoever runs the gateway: a line when one goes out of use, and when it is back."""

from __future__ import annotations

import re

import trio

from core.health import Disabled
from tests.adapters.driven import GOOD, House, refusal
from tests.adapters.token_files import in_virtual_time

DATE = re.compile(r"20[0-9-]{8}T[0-9:.]{12}Z")


def lines(house: House) -> list[tuple[str, bool]]:
    """What was told, without its dates."""
    return [(DATE.sub("DATE", line), is_good) for line, is_good in house.told]


@in_virtual_time
async def test_an_account_that_goes_out_of_use_and_comes_back_is_two_lines() -> None:
    house = House({"a": [refusal(429, "ThrottlingException"), *[GOOD] * 9], "b": [GOOD] * 9})
    await house.ask()
    await trio.sleep(3600)
    await house.answered_by(4)
    assert lines(house) == [("account=a is cooldown until DATE", False), ("account=a is healthy", True)]


@in_virtual_time
async def test_a_barred_account_is_told_with_what_puts_it_back() -> None:
    house = House({"a": [refusal(403, "AccessDeniedException")] * 2, "b": [GOOD] * 9})
    await house.ask()
    barred = "account=a is permanently blacklisted: sign in again, or run: stagewhisper accounts recover a"
    assert lines(house) == [(barred, False)]
    await house.keeper.open()
    await house.accounts.act("a", "recover")
    assert lines(house)[1:] == [("account=a is healthy", True)]


@in_virtual_time
async def test_what_changes_nothing_is_told_once() -> None:
    house = House({"a": [GOOD] * 9, "b": [GOOD] * 9})
    await house.answered_by(5)
    assert lines(house) == []
    await house.keeper.open()
    for _ in range(3):
        await house.accounts.act("a", "disable")
    assert lines(house) == [("account=a is disabled (stagewhisper accounts enable a)", False)]


@in_virtual_time
async def test_at_the_start_those_are_told_that_are_out() -> None:
    house = House({"a": [GOOD], "b": [GOOD]})
    house.accounts.signal("b", Disabled())
    house.told.clear()
    house.accounts.tell_who_is_out()
    assert lines(house) == [("account=b is disabled (stagewhisper accounts enable b)", False)]
