"""What the gateway's core adds to a request, as ratios of CPU time within one run. No bars: figures to watch.

Run as `python tests/benchmarks/pipeline.py`.

- An ordinary answer (the frames of `eventstream.py`, as text and calls of a tool) from the service's bytes to the
  client's, in chunks of 4 KiB: the peer is botocore's `EventStreamBuffer` and one `json.loads` a payload, which
  makes no answer yet.
- A request like Claude Code's (some 90 kB, 20 tools) from the client's bytes to the service's: the peer is one
  `json.loads` and one `json.dumps` of it.
- The same answer delivered live, a few frames at a time: the peer is buffered delivery of the same chunks.
- The same answer with all of it made into the lines of a recording, which the gateway does in a thread: the peer is the
  core's way without that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time

sys.path.insert(0, str(Path(__file__).parents[2]))

import msgspec
from botocore.eventstream import EventStreamBuffer

from core.anthropic import parse_request
from core.codewhisperer import encode_request
from core.dialogue import BodyEnded, DataArrived, Deliver, HeadArrived, StreamEnded
from core.request import convert
from core.sse import encode_events
from tests.builders import MODEL, SHELL_TOOL, body, event, text, tool
from tests.exchanges import EVENT_STREAM, POLICY, Play
from tests.recordings import Taped

ROUNDS = 15
CHUNK = 4096
PIECE = 512
LIVE = msgspec.structs.replace(POLICY, delivery="live")


def ordinary_answer() -> bytes:
    """Text in fragments of a few words, two calls in fragments of a few characters, and the figures."""
    words = ("Let me ", "look at ", "that ", "file, ", "and then ", "run ", "the tests.\n")
    messages = [text(words[index % len(words)]) for index in range(600)]
    for call in ("t1", "t2"):
        messages.append(tool(call, "Bash"))
        messages.append(tool(call, "Bash", '{"command": "'))
        messages.extend(tool(call, "Bash", "echo a; ") for _ in range(200))
        messages.append(tool(call, "Bash", '"}'))
        messages.append(tool(call, "Bash", stop=True))
    messages.append(event("contextUsageEvent", contextUsagePercentage=12.5))
    return body(*messages)


def claude_code_request() -> bytes:
    """A request of the size and the parts that Claude Code's have."""
    schema = {
        "type": "object",
        "properties": {
            f"member_{index}": {"type": "string", "description": "What this member of the input is for. " * 4}
            for index in range(8)
        },
        "required": ["member_0"],
        "additionalProperties": False,
    }
    tools = [
        {"name": f"Tool{index}", "description": "What the tool does and when to use it. " * 30, "input_schema": schema}
        for index in range(20)
    ]
    turns: list[dict[str, object]] = []
    for index in range(20):
        call = {"type": "tool_use", "id": f"toolu_{index:04}", "name": "Tool1", "input": {"member_0": "x" * 200}}
        result = {"type": "tool_result", "tool_use_id": f"toolu_{index:04}", "content": "a line of output\n" * 60}
        turns += [
            {"role": "user" if not index else "assistant", "content": "Please go on." if not index else [call]},
            {"role": "assistant" if not index else "user", "content": [call] if not index else [result]},
        ]
        if not index:
            turns.append({"role": "user", "content": [result]})
    document = {
        "model": MODEL.name,
        "max_tokens": 32000,
        "system": [
            {"type": "text", "text": "You are a helpful assistant. " * 400, "cache_control": {"type": "ephemeral"}}
        ],
        "messages": turns,
        "tools": tools,
        "stream": True,
    }
    return msgspec.json.encode(document)


def answer_with_core(chunks: list[bytes]) -> None:
    """The whole way: frames, events, one answer, stream events, bytes."""
    play = Play(stream=True, tools=[SHELL_TOOL]).call()
    play.tell(HeadArrived(EVENT_STREAM), *map(DataArrived, chunks), BodyEnded())
    assert play.want == StreamEnded()
    encode_events(play.delivered)


def answer_live(chunks: list[bytes]) -> None:
    """The whole way, each thing as it comes."""
    play = Play(policy=LIVE, stream=True, tools=[SHELL_TOOL]).call()
    play.tell(HeadArrived(EVENT_STREAM), *map(DataArrived, chunks), BodyEnded())
    assert play.want == StreamEnded()
    for notice in play.notices:
        if isinstance(notice, Deliver):
            encode_events(notice.events)


def answer_taped(chunks: list[bytes]) -> None:
    """The whole way, and a recording of it."""
    played = Taped(pause=0.0, tools=[SHELL_TOOL]).call()
    played.tell(HeadArrived(EVENT_STREAM), *map(DataArrived, chunks), BodyEnded())
    encode_events(played.delivered)
    assert played.taped.endswith(b'{"what":"ended"}\n')


def answer_with_peer(chunks: list[bytes]) -> None:
    """Frames as botocore reads them, and their payloads as objects."""
    buffer = EventStreamBuffer()
    for chunk in chunks:
        buffer.add_data(chunk)
        for message in buffer:
            json.loads(message.payload)


def request_with_core(request: bytes) -> None:
    """The whole way: parsed, converted, checked, encoded."""
    conversion = convert(parse_request(request), model=MODEL, conversation_id="0" * 36)
    encode_request(conversion.request)


def request_with_peer(request: bytes) -> None:
    """The standard library's JSON, both ways."""
    json.dumps(json.loads(request)).encode()


def compare(name: str, ours: Callable[[], None], peer: Callable[[], None]) -> None:
    """Take turns, and print the medians' ratio."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for run, taken in zip((ours, peer), times, strict=True):
            began = process_time()
            run()
            taken.append(process_time() - began)
    mine, other = median(times[0]), median(times[1])
    print(f"{name}: core / peer = {mine / other:.2f} (core's median here: {mine * 1000:.2f} ms)")


def main() -> None:
    """Print all figures."""
    answer, request = ordinary_answer(), claude_code_request()
    chunks = [answer[start : start + CHUNK] for start in range(0, len(answer), CHUNK)]
    compare(f"answer of {len(answer)} bytes", lambda: answer_with_core(chunks), lambda: answer_with_peer(chunks))
    pieces = [answer[start : start + PIECE] for start in range(0, len(answer), PIECE)]
    compare("the same answer, live", lambda: answer_live(pieces), lambda: answer_with_core(pieces))
    compare("the same answer, recorded", lambda: answer_taped(chunks), lambda: answer_with_core(chunks))
    compare(f"request of {len(request)} bytes", lambda: request_with_core(request), lambda: request_with_peer(request))


if __name__ == "__main__":
    main()
