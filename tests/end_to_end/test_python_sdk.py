"""The Anthropic SDK for Python finishes a turn with a tool call through a gateway, as its user would run both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest

from tests.end_to_end.servers import Process, gateway

# Whether the SDK's authors still recommend a model is not what is tried here.
pytestmark = pytest.mark.filterwarnings("ignore:The model .* is deprecated:DeprecationWarning")

MODEL = "claude-sonnet-4-5"
BASH: dict[str, Any] = {
    "name": "Bash",
    "description": "Runs a command",
    "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with gateway(tmp_path_factory.mktemp("gateway")) as (server, _):
        yield server


@pytest.fixture
def client(server: Process) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="made-up", max_retries=0, timeout=30.0) as client:
        yield client


def ask(
    client: anthropic.Anthropic, messages: list[Any], *, stream: bool, delivery: str = "buffered"
) -> anthropic.types.Message:
    question: dict[str, Any] = {"model": MODEL, "max_tokens": 1000, "tools": [BASH], "messages": messages}
    question["extra_headers"] = {"x-stagewhisper-delivery": delivery}
    if not stream:
        message: anthropic.types.Message = client.messages.create(**question)
        return message
    with client.messages.stream(**question) as events:
        return events.get_final_message()


@pytest.mark.parametrize(
    ("stream", "delivery"), [(False, "buffered"), (True, "buffered"), (True, "live")], ids=["whole", "stream", "live"]
)
def test_a_turn_with_a_tool_call_is_finished(client: anthropic.Anthropic, stream: bool, delivery: str) -> None:
    messages: list[Any] = [{"role": "user", "content": "Run a command and tell me the result"}]
    first = ask(client, messages, stream=stream, delivery=delivery)
    assert first.stop_reason == "tool_use"
    calls = [block for block in first.content if block.type == "tool_use"]
    assert [call.name for call in calls] == ["Bash"]
    assert isinstance(calls[0].input["command"], str)
    result = {"type": "tool_result", "tool_use_id": calls[0].id, "content": "the made-up result 4711"}
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    last = ask(client, messages, stream=stream, delivery=delivery)
    assert last.stop_reason == "end_turn"
    assert "4711" in "".join(block.text for block in last.content if block.type == "text")
    assert last.usage.input_tokens > 0


def test_tokens_are_counted_and_models_listed(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "Hello " * 100}])
    assert 50 < counted.input_tokens < 500
    listed = [model.id for model in client.models.list(limit=3)]
    assert MODEL in listed
    assert len(listed) > 3
    assert client.models.retrieve(MODEL).id == MODEL


def test_an_error_is_the_sdks_own(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="is not offered here"):
        client.messages.create(model="no-such-model", max_tokens=1, messages=[{"role": "user", "content": "a"}])
    with pytest.raises(anthropic.BadRequestError, match=r"messages\[0\]") as caught:
        ask(client, [{"role": "robot", "content": "a"}], stream=False)
    assert caught.value.request_id is not None
    assert caught.value.request_id.startswith("req_")


def test_a_broken_stream_is_an_error_for_the_sdk(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.json"
    scenario.write_text(json.dumps({"default": "long-tool-cut"}))
    with (
        gateway(tmp_path, "--scenario-file", str(scenario)) as (server, _),
        anthropic.Anthropic(base_url=server.url, api_key="made-up", max_retries=0, timeout=30.0) as client,
    ):
        for stream in (False, True):
            with pytest.raises(anthropic.InternalServerError, match="was cut by the service"):
                ask(client, [{"role": "user", "content": "Run a command"}], stream=stream)
