"""What the user of an Anthropic SDK sees of several accounts: nothing while one works, else why, and at once."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import anthropic
import pytest

from tests.adapters.processes import poll
from tests.end_to_end.load import BASH, MODEL
from tests.end_to_end.servers import Process
from tests.end_to_end.ten_accounts import Stand, stand

# Whether the SDK's authors still recommend a model is not what is tried here.
pytestmark = pytest.mark.filterwarnings("ignore:The model .* is deprecated:DeprecationWarning")

IDS = ("team-account1", "team-account2", "team-account3")
QUESTION: dict[str, Any] = {
    "model": MODEL,
    "max_tokens": 1000,
    "tools": [BASH],
    "messages": [{"role": "user", "content": "Is anybody there?"}],
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with stand(tmp_path_factory.mktemp("three"), accounts=3) as ready:
        yield ready


@pytest.fixture
def ready(shared: Stand) -> Iterator[Stand]:
    yield shared
    shared.play({})
    for account in IDS:
        shared.act(account, "recover")


@pytest.fixture
def client(ready: Stand) -> Iterator[anthropic.Anthropic]:
    """A client with the SDK's own number of retries."""
    with anthropic.Anthropic(base_url=ready.url, api_key="made-up", timeout=30.0) as client:
        assert client.max_retries == 2
        yield client


def calls(process: Process, what: str) -> int:
    return sum(what in line for line in process.lines)


@pytest.mark.parametrize("scenario", ["throttled", "cut:200", "exception:InternalServerException", "bad-token"])
def test_a_stream_is_whole_while_one_of_three_accounts_fails(
    ready: Stand, client: anthropic.Anthropic, scenario: str
) -> None:
    ready.play({"accounts": {"team-account2": scenario}})
    asked = client.with_options(max_retries=0)  # nothing is left for the client to mend
    for _ in range(6):
        with asked.messages.stream(**QUESTION) as events:
            text = "".join(events.text_stream)
            assert events.get_final_message().stop_reason == "end_turn"
        assert text.startswith('You said: "Is anybody there?".')
    assert ready.accounts()["team-account2"]["failureCount"] >= 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("is_known", [False, True], ids=["met", "known"])
@pytest.mark.parametrize(
    ("scenarios", "expected", "hours"),
    [
        ({"default": "throttled"}, anthropic.RateLimitError, 1),
        ({"default": "retry-after:7200"}, anthropic.RateLimitError, 2),
        ({"default": "bad-token"}, anthropic.PermissionDeniedError, None),
        ({"default": "bad-token", "refresh": "refresh-refused"}, anthropic.PermissionDeniedError, None),
    ],
    ids=["throttled", "retry-after", "bad-token", "refresh-refused"],
)
def test_with_all_accounts_away_for_long_the_sdk_gives_up_at_once(
    ready: Stand,
    client: anthropic.Anthropic,
    scenarios: dict[str, object],
    expected: type[anthropic.APIStatusError],
    hours: int | None,
    is_known: bool,
    stream: bool,
) -> None:
    """Whether this request meets the failures itself, or others did before."""
    ready.play(scenarios)
    said, before = len(ready.server.lines), "none"
    if is_known:
        with pytest.raises(expected) as first:
            client.messages.create(**QUESTION)
        before = str(first.value.request_id)  # its line may still be on its way
    began = time.monotonic()
    with pytest.raises(expected) as caught:
        client.messages.create(**QUESTION, stream=stream)
    seconds = time.monotonic() - began

    headers, message = caught.value.response.headers, caught.value.message
    assert headers["x-should-retry"] == "false"
    assert "retry-after" not in headers
    assert headers["request-id"] == caught.value.request_id
    for account in IDS:
        assert f"{account}: " in message
        if hours is None:
            assert f"stagewhisper accounts recover {account}" in message
    dates = [datetime.fromisoformat(date) for date in re.findall(r"it is tried again from (\S+) on", message)]
    assert len(dates) == (0 if hours is None else 3), message
    for date in dates:
        assert abs(date - datetime.now(UTC) - timedelta(hours=hours or 0)) < timedelta(minutes=2)
    # The SDK's own retries would be two more requests, each after a pause of some half a second.
    lines = ready.server.lines
    poll(lambda: any(str(caught.value.request_id) in line and " model=" in line for line in lines[said:]))
    assert sum(" model=" in line and before not in line for line in lines[said:]) == 1
    assert seconds < 5.0


def test_a_short_wait_is_waited_for(ready: Stand, client: anthropic.Anthropic) -> None:
    """All three are throttled for a second, and say so: the SDK comes back then, and its user sees an answer."""
    ready.play({"sequence": ["retry-after:1"] * 3})
    before = calls(ready.server, " model=")
    assert client.messages.create(**QUESTION).stop_reason == "end_turn"
    assert calls(ready.server, ": refused with rate_limit_error") >= 1
    assert calls(ready.server, " model=") <= before + 2
