"""What tests of the emulator share: a request that keeps every rule, and a way to send one and look at the answer."""

from __future__ import annotations

import copy
import importlib
import json
from collections.abc import Callable
from typing import Any

from adapters.emulator import (
    DEFAULT_MODELS,
    EmulatedAccount,
    Emulator,
    Request,
    ScenarioSource,
    default_account,
)
from adapters.emulator.wire import Reply

# botocore has no types; imported in this way, it is Any.
EventStreamBuffer: Any = importlib.import_module("botocore.eventstream").EventStreamBuffer

START = 1_700_000_000.0

SHELL = {
    "toolSpecification": {
        "name": "Bash",
        "description": "Runs a command.",
        "inputSchema": {
            "json": {
                "type": "object",
                "properties": {"command": {"type": "string"}, "timeout": {"type": "integer", "minimum": 5}},
                "required": ["command"],
            }
        },
    }
}


def shell_request(content: str = "Run a command and tell me the result", **context: Any) -> dict[str, Any]:
    """A first request that offers a shell."""
    message = {
        "content": content,
        "modelId": "claude-sonnet-4",
        "origin": "AI_EDITOR",
        "userInputMessageContext": {"tools": [copy.deepcopy(SHELL)], **context},
    }
    return {
        "conversationState": {
            "chatTriggerType": "MANUAL",
            "conversationId": "00000000-0000-4000-8000-000000000001",
            "currentMessage": {"userInputMessage": message},
        },
        "profileArn": "arn:aws:codewhisperer:us-east-1:000000000000:profile/EMULATOR0000",
    }


def long_request() -> dict[str, Any]:
    """A request that uses every part: two calls and their results in history, one more answered just now."""
    request = shell_request("And now?", toolResults=[{"toolUseId": "c3", "content": [{"json": {"exit": 0}}]}])
    calls = [
        {"toolUseId": "c1", "name": "Bash", "input": {"command": "ls"}},
        {"toolUseId": "c2", "name": "Bash", "input": {}},
    ]
    results = [
        {"toolUseId": "c2", "content": [{"text": ""}], "status": "error"},
        {"toolUseId": "c1", "content": [{"text": "a.txt"}, {"text": "b.txt"}], "status": "success"},
    ]
    thought = {"reasoningText": {"text": "hm", "signature": "made-up"}}
    request["conversationState"]["history"] = [
        {"userInputMessage": {"content": "Look around", "images": [image()]}},
        {"assistantResponseMessage": {"content": "", "toolUses": calls, "reasoningContent": thought}},
        {"userInputMessage": {"content": "", "userInputMessageContext": {"toolResults": results}}},
        {"assistantResponseMessage": {"content": "ok", "toolUses": [{**calls[0], "toolUseId": "c3"}]}},
    ]
    return request


def image(data: str = "aGVsbG8=") -> dict[str, Any]:
    """An image, which nobody looks at."""
    return {"format": "png", "source": {"bytes": data}}


class World:
    """An emulator, its log and its clock."""

    def __init__(
        self,
        scenario: ScenarioSource | None = None,
        refresh_scenario: ScenarioSource | None = None,
        accounts: tuple[EmulatedAccount, ...] = (),
        models: tuple[str, ...] = DEFAULT_MODELS,
    ) -> None:
        self.log: list[str] = []
        self.now = START
        self.account = accounts[0] if accounts else default_account()
        self.emulator = Emulator(
            accounts=accounts,
            models=models,
            scenario=scenario,
            refresh_scenario=refresh_scenario,
            log=self.log.append,
            epoch=lambda: self.now,
        )

    def ask(self, request: object, *, token: str | None = None, **headers: str) -> Reply:
        """The reply to a request for an answer."""
        return self.emulator.answer(generate(request, token=token or self.account.access_token, **headers))

    def play(self, scenario: str, request: object | None = None) -> Reply:
        """The reply to a good request for an answer, in a scenario."""
        return self.ask(request or shell_request(), x_emulator_scenario=scenario)

    def post(self, path: str, content: object, **headers: str) -> tuple[int, Any]:
        """The status and JSON of the reply to some other POST."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        reply = self.emulator.answer(Request("POST", path, named(headers), body))
        assert reply.head is not None
        return reply.head.status, json.loads(reply.body() or b"null")


def named(headers: dict[str, str]) -> dict[str, str]:
    """Headers by the names that Python's keywords can have."""
    return {name.replace("_", "-"): value for name, value in headers.items()}


def generate(request: object, *, token: str, **headers: str) -> Request:
    """A request for an answer. Bytes stand for themselves."""
    ordinary = {
        "content-type": "application/json",
        "accept": "application/vnd.amazon.eventstream",
        "authorization": f"Bearer {token}",
    }
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    return Request("POST", "/generateAssistantResponse", {**ordinary, **named(headers)}, body)


def events_of(body: bytes) -> list[tuple[str, Any]]:
    """Event types and payloads, as botocore reads them: with both checksums, and nothing left over."""
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    events = []
    length = 0
    for message in buffer:
        length += message.prelude.total_length
        headers = message.headers
        kind = headers.get(":event-type") or headers.get(":exception-type") or headers.get(":error-code")
        events.append((kind, json.loads(message.payload) if message.payload else None))
    assert length == len(body), "bytes after the last frame"
    return events


def text_of(reply: Reply) -> str:
    """The text of an answer."""
    return "".join(payload["content"] for kind, payload in events_of(reply.body()) if kind == "assistantResponseEvent")


def calls_of(reply: Reply) -> list[dict[str, Any]]:
    """The whole calls of an answer: those that were stopped, their input's fragments joined."""
    inputs: dict[str, str] = {}
    calls = []
    for kind, payload in events_of(reply.body()):
        if kind == "toolUseEvent":
            identity = payload["toolUseId"]
            inputs[identity] = inputs.get(identity, "") + payload.get("input", "")
            if payload.get("stop"):
                calls.append({"name": payload["name"], "input": json.loads(inputs[identity])})
    return calls


Change = Callable[[dict[str, Any]], None]
"""A change to a good request that makes it a bad one."""


def put(target: str, value: object) -> Change:
    """A change that puts a value at a path such as `history[1].assistantResponseMessage.content`."""

    def change(request: dict[str, Any]) -> None:
        place, last = _found(request, target)
        place[last] = value

    return change


def drop(target: str) -> Change:
    """A change that removes what is at a path."""

    def change(request: dict[str, Any]) -> None:
        place, last = _found(request, target)
        del place[last]

    return change


def _found(request: dict[str, Any], target: str) -> tuple[Any, Any]:
    steps = [int(step[1:-1]) if step.startswith("[") else step for step in target.replace("[", ".[").split(".")]
    place: Any = request
    for step in steps[:-1]:
        place = place[step]
    return place, steps[-1]
