r"""Answers: upstream events to stream events, through the whole exchange, as a client that forgives nothing sees them.

For every sequence of events, cut into pieces anywhere, over several attempts:

- what reaches the client is a stream by all rules of `fuzz.strict_client`, or an HTTP error with the error form;
- a success is the last attempt's, which was whole, and its content is that of `fuzz.reference_answer`: the text is
  all that came, minus what became a call, and a call is delivered only if it was whole;
- an attempt that was whole is never turned into an error; a call that was not whole is never tried again;
- a client that asks for no stream gets the same message, and no cut changes anything;
- the token is nowhere.

An input is lines, each a letter and words (`fuzz.lines`):

    t h g x     text; thinking, its signature, redacted thinking
    c e         a fragment of a call: a digit for the id, one for the name, then JSON text; e stops the call
    o O         a call's whole input as an object; O stops it
    m p         metadata: a digit for the stop reason, then tokens; the share of the window that is used
    u k         metering; an event of a type that nobody knows
    ! #         an exception `name|reason|message`; an error `code|message`
    j           a digit for an event's type, then its payload, which may be anything
    w           so much time passes that the client is to hear something
    |           the attempt ends and the next begins. E: well; N, T: by network or time-out; X, D: a digit for how many
                bytes are missing, which byte is damaged; R: a refusal, `status|body`, instead of all events
    q z v       a stop sequence; no tool may be called; written-out calls are left alone
    =           sizes of the pieces, each the number of a character
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as a script, so that the modules beside it are the ones that are tried
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from core.anthropic import STATUS_OF_ERROR, parse_request
from core.catalogue import Model
from core.codewhisperer import encode_request
from core.dialogue import WholeAnswer
from core.request import Conversion, convert
from fuzz import reference_answer
from fuzz.eventstream import frame
from fuzz.lines import read_json, read_lines, take_index
from fuzz.play import SECRET, Attempt, Outcome, play
from fuzz.reference_answer import Block, Said, Terms
from fuzz.strict_client import Rebuilt, rebuild

MODEL = Model(name="claude-test", id="CLAUDE_TEST_V1_0", display_name="A model made up for tests")
LETTERS = "thgxceoOmpuk!#jw|qzv="
_STOP_REASONS = {
    "END_TURN": "end_turn",
    "TOOL_USE": "tool_use",
    "MAX_TOKENS": "max_tokens",
    "CONTENT_FILTERED": "refusal",
    "MODEL_CONTEXT_WINDOW_EXCEEDED": "model_context_window_exceeded",
    "PAUSE_TURN": "pause_turn",
    "": "end_turn",
    "SOMETHING_NEW": "end_turn",
}
_LIMITS = {"max_tokens", "model_context_window_exceeded"}
_EVENTS = ("assistantResponseEvent", "toolUseEvent", "reasoningContentEvent", "metadataEvent", "contextUsageEvent")
_OTHERS = ("initial-response", "codeReferenceEvent", "invalidStateEvent", "error", "", "followupPromptEvent")
_FOREIGN_NAME = "mcp.files/list"
_FOREIGN_ID = "an id with spaces"
_BYTEWISE = 700
"""Up to this many bytes of bodies they are also fed byte by byte."""


@dataclass
class Written:
    """An attempt, and what was meant by it. `is_open`: nobody says what becomes of it."""

    attempt: Attempt = field(default_factory=Attempt)
    said: list[Said] = field(default_factory=list)
    is_broken: bool = False
    is_open: bool = False


@dataclass
class Script:
    """What a service says, and what a client asked."""

    attempts: list[Written] = field(default_factory=lambda: [Written()])
    stop_sequences: list[str] = field(default_factory=list)
    none_allowed: bool = False
    leave_written: bool = False
    sizes: list[int] = field(default_factory=list)


def one_input(data: bytes) -> None:
    """One exchange, by the rules above."""
    script = read_script(data)
    streamed, plain = convert_script(script, stream=True), convert_script(script, stream=False)
    attempts = [written.attempt for written in script.attempts]
    converts = not script.leave_written

    def run(conversion: Conversion, sizes: Sequence[int]) -> Outcome:
        return play(conversion, attempts, sizes, convert_written_calls=converts)

    outcome = run(streamed, ())
    whole = run(plain, ())
    assert run(streamed, script.sizes or (7,)) == outcome
    assert run(plain, script.sizes or (13,)) == whole
    if sum(len(part) for attempt in attempts for part in attempt.parts) <= _BYTEWISE:
        assert run(streamed, (1,)) == outcome
    terms = _terms(script, streamed)
    rebuilt = _check_streamed(outcome)
    _check_plain(whole)
    assert outcome.called == whole.called
    if rebuilt is not None and rebuilt.error is None:
        assert rebuilt.start is not None
        assert rebuilt.end is not None
        assert isinstance(whole.final, WholeAnswer)
        assert whole.final.status == 200
        message = json.loads(whole.final.body)
        assert message["content"] == rebuilt.content
        assert {**rebuilt.start, **rebuilt.end["delta"], "usage": rebuilt.end["usage"]} == {**message, "content": []}
        _check_success(script, outcome, message, terms)
    else:
        assert isinstance(whole.final, WholeAnswer)
        assert whole.final.status >= 400
        _check_failure(script, outcome, terms, whole.final)


# --- judging ---------------------------------------------------------------------------------------------------


def _check_streamed(outcome: Outcome) -> Rebuilt | None:
    """What the client's stream was; None where it got an error before any stream."""
    assert SECRET not in outcome.stream
    if isinstance(outcome.final, WholeAnswer):
        assert not outcome.stream
        assert outcome.final.status >= 400
        _check_plain(outcome)
        return None
    return rebuild(outcome.stream)


def _check_plain(outcome: Outcome) -> None:
    assert isinstance(outcome.final, WholeAnswer)
    assert not outcome.stream
    assert SECRET not in outcome.final.body
    assert SECRET.decode() not in str(outcome.final.headers)
    assert outcome.final.headers["content-type"] == "application/json"
    body = json.loads(outcome.final.body)
    if outcome.final.status != 200:
        assert set(body) == {"type", "error", "request_id"}
        assert body["type"] == "error"
        assert STATUS_OF_ERROR[body["error"]["type"]] == outcome.final.status
        assert body["error"]["message"]


def _check_success(script: Script, outcome: Outcome, message: dict[str, Any], terms: Terms) -> None:
    written = script.attempts[outcome.called - 1]
    assert outcome.called <= len(script.attempts)
    assert not written.is_broken
    ids = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
    assert all(ids)
    if written.is_open:
        return
    assert reference_answer.is_answer(written.said, terms) is not False
    content = reference_answer.fold(written.said, terms)
    assert content is not None
    assert len(message["content"]) == len(content)
    for block, expected in zip(message["content"], content, strict=True):
        assert block == (expected | {"id": block["id"]} if _is_made_up(expected) else expected)
    _check_stop(written.said, message, terms)


def _is_made_up(block: Block) -> bool:
    return block.get("id") == ""


def _check_stop(said: Sequence[Said], message: dict[str, Any], terms: Terms) -> None:
    reasons = {_STOP_REASONS[each.text] for each in said if each.kind == "stop_reason"}
    _, sequence = reference_answer.cut(reference_answer.collect(said), terms.stop_sequences)
    if any(block["type"] == "tool_use" for block in message["content"]):
        assert message["stop_reason"] in {"tool_use"} | (reasons & _LIMITS)
    elif sequence is not None:
        assert message["stop_sequence"] == sequence
    else:
        assert message["stop_reason"] in ({"end_turn"} | reasons) - {"tool_use"}


def _check_failure(script: Script, outcome: Outcome, terms: Terms, final: WholeAnswer) -> None:
    """No attempt that was made was whole, and none was made after a call that is not to be delivered."""
    for number, written in enumerate(script.attempts[: outcome.called], 1):
        if written.is_broken or written.is_open:
            continue
        content = reference_answer.fold(written.said, terms)
        assert content is None or reference_answer.is_answer(written.said, terms) is not True
        if content is None:
            assert number == outcome.called
            assert final.status == 500
            assert final.headers["x-should-retry"] == "false"


def _terms(script: Script, conversion: Conversion) -> Terms:
    service_name, service_id = _foreign(conversion)
    spellings = ("Bash", "Read", _FOREIGN_NAME)
    return Terms(
        client_names={**{name: name for name in spellings}, service_name: _FOREIGN_NAME},
        client_ids={service_id: _FOREIGN_ID},
        written_calls=not script.leave_written,
        calls_allowed=not script.none_allowed,
        stop_sequences=script.stop_sequences,
    )


def _foreign(conversion: Conversion) -> tuple[str, str]:
    """What the service calls the tool and the call whose names it cannot take, as the request tells it."""
    body = json.loads(encode_request(conversion.request))
    (use,) = body["conversationState"]["history"][1]["assistantResponseMessage"]["toolUses"]
    return use["name"], use["toolUseId"]


# --- reading ---------------------------------------------------------------------------------------------------


def render_request(script: Script, *, stream: bool, prompt: str = "Hello") -> bytes:
    """The client's request as JSON."""
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in ("Bash", "Read", _FOREIGN_NAME)]
    use = {"type": "tool_use", "id": _FOREIGN_ID, "name": _FOREIGN_NAME, "input": {}}
    request = {
        "model": MODEL.name,
        "max_tokens": 100,
        "messages": [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": _FOREIGN_ID}]},
        ],
        "tools": tools,
        "tool_choice": {"type": "none" if script.none_allowed else "auto"},
        "stop_sequences": script.stop_sequences,
        "stream": stream,
    }
    return json.dumps(request).encode()


def convert_script(script: Script, *, stream: bool) -> Conversion:
    """The client's request, converted."""
    return convert(parse_request(render_request(script, stream=stream)), model=MODEL, conversation_id="c0ffee")


_NAMES = _foreign(convert_script(Script(), stream=False))
_SERVICE_NAMES = ("Bash", "Read", _NAMES[0], "Nobody", "")
_SERVICE_IDS = ("tooluse_1", "tooluse_2", _NAMES[1], "tooluse_3", "")


def read_script(data: bytes) -> Script:
    """The script that lines are."""
    script = Script()
    for letter, words in read_lines(data, LETTERS, most=40):
        match letter:
            case "q":
                if words.strip() and len(script.stop_sequences) < 4:
                    script.stop_sequences.append(words)
            case "z":
                script.none_allowed = True
            case "v":
                script.leave_written = True
            case "=":
                script.sizes = [1 + ord(character) % 512 for character in words]
            case "|":
                _end(script.attempts[-1], words)
                script.attempts.append(Written())
            case "w":
                script.attempts[-1].attempt.parts.append(b"")
            case _:
                _add_event(script.attempts[-1], letter, words)
    return script


def _end(written: Written, words: str) -> None:
    attempt = written.attempt
    how, words = words[:1] or "E", words[1:]
    number, rest = take_index(words, 10)
    attempt.ending = how if how in "EN" else "T" if how == "T" else "E"
    written.is_broken = written.is_broken or attempt.ending != "E"
    last = attempt.parts[-1]
    match how:
        case "X" if last:
            attempt.parts[-1] = last[: -1 - number]
            written.is_broken = True
        case "D" if last:
            place = (number * 37 + len(rest)) % len(last)
            attempt.parts[-1] = last[:place] + bytes((last[place] ^ (1 << number % 8),)) + last[place + 1 :]
            written.is_broken = True
        case "R":
            status, _, body = words.partition("|")
            digits = status.isascii() and status.isdigit()
            attempt.status = min(599, max(201, int(status[:3]))) if digits else 500
            attempt.parts = [body.encode()]
            written.is_broken = True
        case _:
            pass


def _add_event(written: Written, letter: str, words: str) -> None:
    match letter:
        case "t":
            _say(written, Said("text", words), "assistantResponseEvent", {"content": words})
        case "h":
            _say(written, Said("thinking", words), "reasoningContentEvent", {"text": words})
        case "g":
            _say(written, Said("signature", words), "reasoningContentEvent", {"signature": words})
        case "x":
            _say(written, Said("redacted", words), "reasoningContentEvent", {"redactedContent": words})
        case "c" | "e" | "o" | "O":
            _add_fragment(written, letter, words)
        case "m":
            index, words = take_index(words, len(_STOP_REASONS))
            reason = list(_STOP_REASONS)[index]
            tokens = ord(words[0]) if words else 0
            usage = {"uncachedInputTokens": tokens, "outputTokens": tokens - 50, "totalTokens": tokens}
            members: dict[str, Any] = {"stopReason": reason} | ({"tokenUsage": usage} if words else {})
            _say(written, Said("stop_reason", reason), "metadataEvent", members)
        case "p":
            share = read_json(words)
            share = share if type(share) in (int, float) and abs(share) < 1e6 else 12.5
            _send(written, _event("contextUsageEvent", {"contextUsagePercentage": share}))
        case "u":
            _send(written, _event("meteringEvent", {"usage": 0.1, "unit": words, "unitPlural": words}))
        case "k":
            _send(written, frame(_headers({":message-type": "event", ":event-type": "newEvent"}), words.encode()))
        case "!":
            name, reason, message, *_ = [*words.split("|"), "", "", ""]
            payload = json.dumps({"message": message} | ({"reason": reason} if reason else {})).encode()
            _send(written, frame(_headers({":message-type": "exception", ":exception-type": name}), payload))
            written.is_broken = True
        case "#":
            code, _, message = words.partition("|")
            named = {":message-type": "error", ":error-code": code, ":error-message": message}
            _send(written, frame(_headers(named), b""))
            written.is_broken = True
        case _:
            index, words = take_index(words, len(_EVENTS + _OTHERS))
            headers = {":message-type": "event", ":event-type": (_EVENTS + _OTHERS)[index]}
            _send(written, frame(_headers(headers), words.encode()))
            written.is_open = True


def _add_fragment(written: Written, letter: str, words: str) -> None:
    id_index, words = take_index(words, len(_SERVICE_IDS))
    name_index, words = take_index(words, len(_SERVICE_NAMES))
    fragment: Any = words
    if letter in "oO":
        value = reference_answer.parse_json(words)
        fragment = value if isinstance(value, dict) else {}
    stop = letter in "eO"
    tool_use_id, name = _SERVICE_IDS[id_index], _SERVICE_NAMES[name_index]
    said = Said("call", tool_use_id=tool_use_id, name=name, input=fragment, stop=stop)
    members: dict[str, Any] = {"name": name, "toolUseId": tool_use_id}
    if fragment or letter == "o":
        members["input"] = fragment
    if stop:
        members["stop"] = True
    _say(written, said, "toolUseEvent", members)


def _say(written: Written, said: Said, event_type: str, members: Mapping[str, Any]) -> None:
    written.said.append(said)
    _send(written, _event(event_type, members))


def _send(written: Written, sent: bytes) -> None:
    written.attempt.parts[-1] += sent


def _event(event_type: str, members: Mapping[str, Any]) -> bytes:
    headers = {":event-type": event_type, ":content-type": "application/json", ":message-type": "event"}
    return frame(_headers(headers), json.dumps(members, ensure_ascii=False).encode())


def _headers(texts: Mapping[str, str]) -> bytes:
    block = b""
    for name, text in texts.items():
        value = text.encode()[:1000].decode(errors="ignore").encode()
        block += bytes((len(name),)) + name.encode() + b"\x07" + len(value).to_bytes(2) + value
    return block


if __name__ == "__main__":
    from fuzz.runner import run

    run(one_input)
