"""The driver's loop: each want carried out once, one at a time, stopped when it is replaced, and nothing left over."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias, cast

import pytest
import trio

from adapters.driver import Driver, Rotation
from adapters.outbox import Outbox
from adapters.tokens import TokenRefreshFailed, TokenUnreadable
from adapters.upstream import Upstream
from core.credentials import Token
from core.dialogue import (
    BodyEnded,
    CallFailed,
    DataArrived,
    Happening,
    HeadArrived,
    Notice,
    Succeeded,
    TokenRejected,
)
from core.http import Call, Head
from core.phases import Policy
from core.selection import Provider
from tests.adapters.token_files import in_virtual_time
from tests.builders import asked, body, text
from tests.exchanges import EVENT_STREAM, POLICY, provider

GOOD: Sequence[Happening] = (HeadArrived(EVENT_STREAM), DataArrived(body(text("Hello"))), BodyEnded())
STALL: Sequence[Happening] = ()

Script: TypeAlias = Sequence[Sequence[Happening] | BaseException]


def refusal(status: int, name: str) -> Sequence[Happening]:
    """A refused call."""
    head = Head(status=status, headers={"content-type": "application/json", "x-amzn-errortype": name})
    return HeadArrived(head), DataArrived(b'{"message":"made up","reason":null}'), BodyEnded()


class Line:
    """In place of the service: what happens to the first call, the second, ... One that does not end, stalls."""

    def __init__(self, script: Script) -> None:
        self._script = iter(script)
        self.calls: list[Call] = []
        self.running = 0

    async def call(self, call: Call, tell: Callable[[Happening], Awaitable[None]]) -> None:
        """Play the next call."""
        # The one before was told to stop, and may not have come to it yet: nobody waits for a call's cleanup.
        assert self.running <= 1, "a call was begun while others were open"
        self.calls.append(call)
        self.running += 1
        try:
            happenings = next(self._script)
            if isinstance(happenings, BaseException):
                raise happenings
            for happening in happenings:
                await tell(happening)
            if not happenings or not isinstance(happenings[-1], BodyEnded | CallFailed):
                await trio.sleep_forever()
        finally:
            self.running -= 1

    @property
    def bearers(self) -> list[str]:
        """The tokens that were sent."""
        return [call.headers["authorization"].removeprefix("Bearer ") for call in self.calls]


class Tokens:
    """In place of a token file. An error, or the number of seconds it takes, may be given."""

    def __init__(self, name: str, *, error: Exception | None = None, delay: float = 0.0) -> None:
        self._name = name
        self._error = error
        self._delay = delay
        self.rejected: list[str | None] = []
        self.running = 0

    async def fresh(self, rejected: str | None = None) -> Token:
        """The next token."""
        self.rejected.append(rejected)
        self.running += 1
        try:
            await trio.sleep(self._delay)
        finally:
            self.running -= 1
        if self._error is not None:
            raise self._error
        return Token(access_token=f"{self._name}{len(self.rejected)}", refresh_token="made-up", auth_method="social")


class Run:
    """One exchange, driven to its end, and all that could be seen of it."""

    def __init__(self, script: Script, tokens: dict[str, Tokens] | None = None, policy: Policy = POLICY) -> None:
        self.tokens = tokens or {"a": Tokens("a")}
        self.line = Line(script)
        self.outbox = Outbox()
        self.notices: list[Notice] = []
        providers: tuple[Provider, ...] = tuple(map(provider, self.tokens))
        self.driver = Driver(
            rotation=Rotation(providers),
            tokens=self.tokens,
            upstream=cast("Upstream", self.line),
            policy=policy,
        )

    async def drive(self, **members: Any) -> Run:
        """Drive it, and see that no task is left."""
        before = trio.lowlevel.current_statistics().tasks_living
        try:
            await self.driver.drive(asked(**members), self.outbox, self.notices.append)
        finally:
            assert self.line.running == 0
            assert all(tokens.running == 0 for tokens in self.tokens.values())
            assert trio.lowlevel.current_statistics().tasks_living == before
        return self

    @property
    async def status(self) -> int:
        """The status of the whole answer."""
        whole = await self.outbox.first()
        assert whole is not None
        return whole.status

    @property
    async def error(self) -> str:
        """The type of the error that the whole answer is."""
        whole = await self.outbox.first()
        assert whole is not None
        return str(json.loads(whole.body)["error"]["type"])

    async def stream(self) -> str:
        """The stream that the client got."""
        assert await self.outbox.first() is None
        return b"".join([chunk async for chunk in self.outbox.chunks()]).decode()


@in_virtual_time
async def test_an_account_a_token_and_a_call_make_an_answer() -> None:
    run = await Run([GOOD]).drive()
    assert await run.status == 200
    assert run.line.bearers == ["a1"]
    assert [type(notice) for notice in run.notices] == [Succeeded]


@in_virtual_time
async def test_a_streaming_client_gets_events_and_an_end() -> None:
    stream = await (await Run([GOOD]).drive(stream=True)).stream()
    assert stream.startswith("event: message_start\n")
    assert stream.endswith('event: message_stop\ndata: {"type":"message_stop"}\n\n')


@in_virtual_time
async def test_a_refused_token_is_asked_for_again_with_its_name() -> None:
    run = await Run([refusal(403, "AccessDeniedException"), GOOD]).drive()
    assert await run.status == 200
    assert run.tokens["a"].rejected == [None, "a1"]
    assert run.line.bearers == ["a1", "a2"]
    assert [type(notice) for notice in run.notices] == [TokenRejected, Succeeded]


@in_virtual_time
async def test_a_retry_without_backoff_is_made_at_once_and_then_another_account_is_asked() -> None:
    cut: Sequence[Happening] = (HeadArrived(EVENT_STREAM), CallFailed("network", "made up"))
    run = await Run([cut, cut, GOOD], {"a": Tokens("a"), "b": Tokens("b")}).drive()
    assert await run.status == 200
    assert run.line.bearers == ["a1", "a1", "b1"]
    assert trio.current_time() == 0


@in_virtual_time
async def test_a_pause_is_kept() -> None:
    head = Head(status=500, headers={"content-type": "application/json"})
    reason = b'{"message":"x","reason":"MODEL_TEMPORARILY_UNAVAILABLE"}'
    busy: Sequence[Happening] = (HeadArrived(head), DataArrived(reason), BodyEnded())
    run = await Run([busy, busy, GOOD]).drive()
    assert await run.status == 200
    assert trio.current_time() == pytest.approx(0.75 + 1.5)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TokenUnreadable("/made-up.json", "is missing"), "permission_error"),
        (TokenRefreshFailed("/made-up.json", "the refresh got no answer"), "overloaded_error"),
    ],
)
@in_virtual_time
async def test_an_account_without_a_token_is_passed_over(error: Exception, expected: str) -> None:
    run = await Run([GOOD], {"a": Tokens("a", error=error), "b": Tokens("b")}).drive()
    assert await run.status == 200
    assert run.line.bearers == ["b1"]
    alone = await Run([GOOD], {"a": Tokens("a", error=error)}).drive()
    assert await alone.error == expected
    assert alone.line.calls == []


@in_virtual_time
async def test_pings_go_out_while_a_want_stands() -> None:
    run = Run([STALL], policy=Policy(first_byte=50, idle=20, total=100, ping_quiet=10, ping_interval=15))
    stream = await (await run.drive(stream=True)).stream()
    assert stream.count("event: ping") == 3  # at 10, 25 and 40
    assert stream.count("event: message_start") == 1
    assert "event: message_stop" not in stream
    assert '"timeout_error"' in stream


@pytest.mark.parametrize(
    ("script", "delay", "moment"),
    [
        ([STALL], 0.0, 30.0),
        ([GOOD[:1]], 0.0, 20.0),
        ([GOOD[:2]], 0.0, 20.0),
        ([], 1000.0, 100.0),
    ],
)
@in_virtual_time
async def test_every_wait_has_an_end(script: Script, delay: float, moment: float) -> None:
    run = await Run(script, {"a": Tokens("a", delay=delay)}).drive()
    assert await run.error == "timeout_error"
    assert trio.current_time() == pytest.approx(moment)


@in_virtual_time
async def test_an_answer_that_is_too_much_is_left_in_the_middle() -> None:
    page = HeadArrived(Head(status=503, headers={"content-type": "text/html"}))
    endless: Sequence[Happening] = (page, *[DataArrived(b"x" * 65536)] * 5)
    run = await Run([endless, GOOD], {"a": Tokens("a"), "b": Tokens("b")}).drive()
    assert await run.status == 200
    assert run.line.bearers == ["a1", "b1"]


@pytest.mark.parametrize("moment", [0.0, 5.0, 12.0, 22.0])
@pytest.mark.parametrize(
    ("script", "delay"), [([STALL], 0.0), ([GOOD[:1]], 0.0), ([GOOD[:2]], 0.0), ([GOOD], 50.0), ([], 1000.0)]
)
@in_virtual_time
async def test_a_cancellation_at_any_stage_leaves_no_task(script: Script, delay: float, moment: float) -> None:
    run = Run(script, {"a": Tokens("a", delay=delay)})
    with trio.move_on_after(moment) as scope:
        await run.drive(stream=True)  # which looks at the tasks
    assert scope.cancelled_caught or moment >= 20


@in_virtual_time
async def test_a_bug_in_carrying_out_a_want_comes_out_and_leaves_no_task() -> None:
    with pytest.RaisesGroup(LookupError):
        await Run([LookupError("a made-up bug")]).drive()


async def test_a_rotation_gives_each_account_its_turn() -> None:
    rotation = Rotation(tuple(map(provider, "abc")))
    chosen = [rotation.choose(()) for _ in range(7)]
    assert [one.id for one in chosen if one] == list("abcabca")
    assert [one.id for one in (rotation.choose(("b",)), rotation.choose(("b",))) if one] == ["c", "a"]
    assert rotation.choose(("a", "b", "c")) is None
