"""Live delivery: what a client is sent as it comes adds up to what buffered delivery sends, however it comes.

For every script of `fuzz.answer`, in its own pieces, whole, and byte by byte:

- a stream that ends well has the content, the end and the attempts of the buffered one, byte for byte of content;
- so has an error before the first word, be it a status or an event: not a byte is different;
- an error behind the first word is the first one that buffered delivery meets, and no call is sent that is not whole;
- at every event, what was sent is a beginning of what buffered delivery would send if the answer ended well there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as a script, so that the modules beside it are the ones that are tried
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from core import intake, live, sse
from core.credentials import Token
from core.dialogue import WholeAnswer
from core.exchange import begin
from core.failures import Failure
from core.phases import Policy, Streaming
from core.request import Conversion
from core.response import EventLog, Reading, fold
from core.selection import Provider
from core.times import Epoch, Instant, Now
from fuzz.answer import convert_script, read_script
from fuzz.play import Attempt, Outcome, ask, play
from fuzz.strict_client import Rebuilt, rebuild

_BYTEWISE = 1500
"""Up to this many bytes of bodies they are also fed byte by byte."""

_NOW = Now(Instant(0.0), Epoch(1.7e9))
_PROVIDER = Provider(id="a", original_provider_id="a", token_file="/a.json")
_TOKEN = Token(access_token="made-up", auth_method="social")


def one_input(data: bytes) -> None:
    """One exchange, by the rules above."""
    script = read_script(data)
    conversion = convert_script(script, stream=True)
    attempts = [written.attempt for written in script.attempts]
    converts = not script.leave_written
    ways: list[Sequence[int]] = [(), script.sizes or (7,)]
    if sum(len(part) for attempt in attempts for part in attempt.parts) <= _BYTEWISE:
        ways.append((1,))
    buffered = play(conversion, attempts, (), convert_written_calls=converts)
    for sizes in ways:
        outcome = play(conversion, attempts, sizes, convert_written_calls=converts, delivery="live")
        _check(outcome, buffered)
    policy = Policy(convert_written_calls=converts)
    reading = begin(ask(conversion), policy=policy, now=_NOW).exchange.reading
    for attempt in attempts:
        if attempt.status == 200:
            _check_beginnings(attempt, reading, conversion)


def _check(outcome: Outcome, buffered: Outcome) -> None:
    if isinstance(outcome.final, WholeAnswer):
        assert outcome == buffered
        return
    rebuilt = rebuild(outcome.stream)
    if rebuilt.error is None:
        expected = rebuild(buffered.stream)
        assert outcome.called == buffered.called
        assert outcome.failures == buffered.failures
        assert rebuilt.content == expected.content
        assert rebuilt.partial_json == expected.partial_json
        assert (rebuilt.start, rebuilt.end) == (expected.start, expected.end)
    elif not rebuilt.content:
        assert outcome == buffered
    else:
        _check_calls(rebuilt)
        assert outcome.called <= buffered.called
        assert buffered.failures[: len(outcome.failures)] == outcome.failures


def _check_calls(rebuilt: Rebuilt) -> None:
    """Every call that was begun was ended."""
    for block, text in zip(rebuilt.content, rebuilt.partial_json, strict=True):
        if block["type"] == "tool_use":
            assert json.loads(text) == block["input"]


def _check_beginnings(attempt: Attempt, reading: Reading, conversion: Conversion) -> None:
    phase = Streaming(provider=_PROVIDER, token=_TOKEN, deadline=Instant(0.0))
    for byte in b"".join(attempt.parts):
        read = intake.read_stream(phase, bytes((byte,)), request_size=0)
        if isinstance(read, Failure):
            break
        phase = read
    start = sse.message_start(reading.message_id, reading.model, conversion.estimated_input)
    error = sse.Error(sse.ErrorDetail("api_error", "it stops here"), "req_0001")
    sent: list[sse.StreamEvent] = [start]
    sending, taken = live.begin(reading), EventLog()
    for event in phase.log.events():
        taken = taken.extend([event])
        sending, events = live.advance(sending, taken)
        sent += events
        response = fold(taken.events(), reading=reading, provider="a")
        if isinstance(response, Failure):
            continue
        expected = rebuild(sse.encode_events([start, *sse.render_events(response.message)]))
        _check_beginning(rebuild(sse.encode_events([*sent, error])).content, expected.content)
        ended = rebuild(sse.encode_events([*sent, *live.end(sending, taken, response.message)]))
        assert (ended.content, ended.end) == (expected.content, expected.end)


def _check_beginning(sent: list[dict[str, Any]], whole: list[dict[str, Any]]) -> None:
    """The last block that was sent may be a part of its own."""
    assert len(sent) <= len(whole)
    assert sent[:-1] == whole[: len(sent[:-1])]
    for last, there in zip(sent[-1:], whole[len(sent) - 1 :], strict=False):
        assert set(last) == set(there)
        for name, value in last.items():
            expected = there[name]
            assert expected == value or (name != "type" and str(expected).startswith(str(value)))


if __name__ == "__main__":
    from fuzz.runner import run

    run(one_input)
