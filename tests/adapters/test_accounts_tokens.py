"""Tokens that are refused and tokens that change under running exchanges: who is barred by it, and for how long."""

from __future__ import annotations

import pytest
import trio

from adapters.tokens import TokenRefused, TokenUnreadable
from core.credentials import Token, fingerprint
from tests.adapters.driven import GOOD, House, Tokens, slowly
from tests.adapters.test_accounts import FORBIDDEN, THROTTLED, account, opened
from tests.adapters.token_files import in_virtual_time


class Reading(Tokens):
    """A token file that is just being written, which takes a second."""

    async def current(self) -> Token:
        await trio.sleep(1)
        return await super().current()


@in_virtual_time
async def test_a_token_that_another_process_had_refreshed_when_it_was_refused_bars_nobody() -> None:
    """The file has a newer one by the time that the second refusal comes."""
    house = House({"a": [FORBIDDEN, slowly(5.0, FORBIDDEN), GOOD]})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.ask)
        await trio.sleep(1)
        house.tokens["a"].present += 1
    assert house.states == {"a": "healthy"}
    assert account(house)["authFailureCount"] == 1
    assert (await house.ask()).by == "a"


@in_virtual_time
async def test_no_request_in_between_is_told_that_an_account_is_barred_whose_old_token_was_refused() -> None:
    house = House({"a": [FORBIDDEN, slowly(5.0, FORBIDDEN), GOOD]}, {"a": Reading("a")})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.ask)
        await trio.sleep(1)
        house.tokens["a"].present += 1
        await trio.sleep(4.5)
        assert (await house.ask()).by == "a"
    assert house.states == {"a": "healthy"}


@in_virtual_time
async def test_a_token_that_another_process_refreshes_after_it_was_refused_is_used_within_a_second() -> None:
    async with trio.open_nursery() as nursery:
        house = await opened(House({"a": [FORBIDDEN, FORBIDDEN, GOOD]}), nursery)
        assert await (await house.ask()).error == "permission_error"
        assert house.states == {"a": "permanently_blacklisted"}
        await trio.sleep(100)
        assert house.states == {"a": "permanently_blacklisted"}
        house.tokens["a"].present += 1
        await trio.sleep(1)
        assert house.states == {"a": "healthy"}
        assert (await house.ask()).by == "a"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("stagger", [0.0, 0.1, 0.3, 0.5, 0.99, 1.0])
@in_virtual_time
async def test_requests_that_refresh_a_barred_accounts_token_do_not_put_it_back_for_each_other(stagger: float) -> None:
    """Each that meets the newest token refused makes another one."""
    house = House(
        {"a": [slowly(1.0, FORBIDDEN)] * 100, "b": [slowly(1.0)] * 100}, {"a": Tokens("a", delay=0.2), "b": Tokens("b")}
    )
    async with trio.open_nursery() as background:
        await opened(house, background)
        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(house.ask)
                await trio.sleep(stagger)
        assert house.states == {"a": "permanently_blacklisted", "b": "healthy"}
        await trio.sleep(5)
        calls = len(house.line.calls)
        assert await house.answered_by(5) == ["b"] * 5
        assert len(house.line.calls) == calls + 5
        background.cancel_scope.cancel()


@in_virtual_time
async def test_a_refresh_that_was_refused_bars_the_account_until_its_file_changes() -> None:
    tokens = Tokens("a")
    mark = fingerprint(await tokens.current())
    tokens.error = TokenRefused("/made-up.json", "the refresh was refused", mark)
    async with trio.open_nursery() as nursery:
        house = await opened(House({"a": [GOOD]}, {"a": tokens}), nursery)
        assert await (await house.ask()).error == "permission_error"
        await trio.sleep(10)
        assert house.states == {"a": "permanently_blacklisted"}
        tokens.error, tokens.present = None, 7
        await trio.sleep(1)
        assert (await house.ask()).by == "a"
        nursery.cancel_scope.cancel()


@in_virtual_time
async def test_a_token_file_that_cannot_be_read_bars_nobody_for_good_and_is_used_a_second_after_it_can_be() -> None:
    tokens = Tokens("a", error=TokenUnreadable("/made-up.json", "is missing"))
    async with trio.open_nursery() as nursery:
        house = await opened(House({"a": [GOOD]}, {"a": tokens}), nursery)
        assert await (await house.ask()).error == "permission_error"
        assert house.states == {"a": "temporarily_blacklisted"}
        await trio.sleep(5)
        assert not account(house)["isUsable"]
        tokens.error = None
        await trio.sleep(1)
        assert account(house)["isUsable"]
        assert (await house.ask()).by == "a"
        nursery.cancel_scope.cancel()


@in_virtual_time
async def test_token_files_of_healthy_accounts_are_not_watched() -> None:
    async with trio.open_nursery() as nursery:
        house = await opened(House({"a": [GOOD], "b": [THROTTLED]}), nursery)
        await trio.sleep(10)
        assert [tokens.looks for tokens in house.tokens.values()] == [0, 0]
        nursery.cancel_scope.cancel()


@in_virtual_time
async def test_a_client_that_leaves_while_its_refused_token_is_compared_takes_the_failure_not_along() -> None:
    house = House({"a": [FORBIDDEN, FORBIDDEN]}, {"a": Reading("a")})
    with trio.move_on_after(0.5) as leaving:
        await house.ask()
    assert leaving.cancelled_caught
    assert account(house) | {"state": "permanently_blacklisted", "authFailureCount": 1} == account(house)


@in_virtual_time
async def test_a_client_that_leaves_does_not_bar_an_account_whose_token_was_refreshed_elsewhere() -> None:
    house = House({"a": [FORBIDDEN, slowly(5.0, FORBIDDEN), GOOD]}, {"a": Reading("a")})
    with trio.move_on_after(5.5):  # while the refused token is compared with the file's
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.ask)
            await trio.sleep(1)
            house.tokens["a"].present += 1
    assert house.states == {"a": "healthy"}
    assert account(house)["authFailureCount"] == 1
