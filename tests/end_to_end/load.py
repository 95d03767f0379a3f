"""Many clients at once, each of which looks at what it was answered: whole and as a stream, text and a tool call."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

from fuzz.strict_client import rebuild

MODEL = "claude-sonnet-4-5"
PATIENCE = 60.0
"""Seconds for one answer. The longest here is one that waits for a stalled account's time-out first."""

BASH: dict[str, Any] = {
    "name": "Bash",
    "description": "Says something",
    "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
}


def question(number: int) -> dict[str, Any]:
    """The body of one request. Its number is in what the emulator answers, and says of which of four sorts it is."""
    words = f"Please run `echo {number}`" if _wants_call(number) else f"Is number {number} heard?"
    return {
        "model": MODEL,
        "max_tokens": 1000,
        "stream": number % 2 == 1,
        "tools": [BASH],
        "messages": [{"role": "user", "content": words}],
    }


def _wants_call(number: int) -> bool:
    return number % 4 >= 2


def problem_of(number: int, status: int, body: bytes) -> str | None:
    """What is wrong with the answer to a question, if anything is."""
    if status != 200:
        return f"{status}: {body.decode(errors='replace')[:300]}"
    if number % 2 == 1:
        rebuilt = rebuild(body)
        if rebuilt.error is not None or rebuilt.end is None:
            return f"the stream ended with {rebuilt.error}"
        content, reason = rebuilt.content, rebuilt.end["delta"]["stop_reason"]
    else:
        message = json.loads(body)
        content, reason = message["content"], message["stop_reason"]
    calls = [block["input"] for block in content if block["type"] == "tool_use"]
    text = "".join(block["text"] for block in content if block["type"] == "text")
    if _wants_call(number):
        is_right = (calls, reason) == ([{"command": f"echo {number}"}], "tool_use")
    else:
        is_right = calls == [] and reason == "end_turn" and f'You said: "Is number {number} heard?".' in text
    return None if is_right else f"{reason}: {content}"[:300]


def ask_many(url: str, count: int, *, concurrency: int) -> list[str]:
    """Ask `count` questions, so many at once; a line for each that was not answered as it should be."""
    numbers = iter(range(count))
    lock = Lock()
    with ThreadPoolExecutor(concurrency) as pool:
        clients = [pool.submit(_ask_on, url, numbers, lock) for _ in range(concurrency)]
    return [problem for client in clients for problem in client.result()]


def _ask_on(url: str, numbers: Iterator[int], lock: Lock) -> list[str]:
    """One client: it takes the next number as long as there is one, over one connection."""
    problems: list[str] = []
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)
    try:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return problems
            try:
                headers = {"content-type": "application/json"}
                connection.request("POST", "/v1/messages", json.dumps(question(number)), headers)
                response = connection.getresponse()
                problem = problem_of(number, response.status, response.read())
            except (OSError, http.client.HTTPException, AssertionError, ValueError, KeyError) as error:
                connection.close()
                problem = f"{type(error).__name__}: {error}"[:300]
            if problem is not None:
                problems.append(f"number {number}: {problem}")
    finally:
        connection.close()
