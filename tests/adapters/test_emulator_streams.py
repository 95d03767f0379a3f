"""The emulator's answers that are cut, late, broken or unusual: each is what its name says, as botocore reads it."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.emulator.wire import Close, Reset, Send, Stall, Wait
from tests.adapters.emulated import World, calls_of, events_of, shell_request, text_of


def types_of(body: bytes) -> list[str]:
    return [kind for kind, _payload in events_of(body)]


def ordinary() -> bytes:
    return World().play("fine").body()


# --- no answer, late, cut --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "end"), [("stall-head", Stall()), ("close-early", Close()), ("refuse-connection", Reset())]
)
def test_no_answer_at_all(scenario: str, end: object) -> None:
    reply = World().play(scenario)
    assert reply.head is None
    assert reply.steps == (end,)


def test_half_an_answer() -> None:
    reply = World().play("half-head")
    assert reply.head is not None
    assert dict(reply.head.headers)["content-length"] == "1000"
    assert reply.steps == (Send(b'{"message":'), Close())


def test_a_late_answer() -> None:
    reply = World().play("slow-head:1500")
    assert reply.delay == 1.5
    assert reply.body() == ordinary()


@given(st.integers(0, 4000), st.sampled_from([("cut", (Close(),)), ("reset", (Reset(),)), ("clean-cut", ())]))
@settings(max_examples=60, deadline=None)
def test_a_cut_comes_after_so_many_bytes(count: int, row: tuple[str, tuple[object, ...]]) -> None:
    name, end = row
    reply = World().play(f"{name}:{count}")
    assert reply.body() == ordinary()[:count]
    assert tuple(step for step in reply.steps if not isinstance(step, Send)) == end
    assert reply.steps[len(reply.steps) - len(end) :] == end


def test_a_stall_comes_after_so_many_frames() -> None:
    reply = World().play("stall:3")
    assert len(events_of(reply.body())) == 3
    assert reply.steps[-1] == Stall()
    assert World().play("stall:0").steps == (Stall(),)


def test_a_slow_answer_waits_before_each_frame() -> None:
    reply = World().play("slow:250")
    frames = len(events_of(ordinary()))
    assert reply.steps[::2] == (Wait(0.25),) * frames
    assert reply.body() == ordinary()


def test_a_dripping_answer_comes_in_small_pieces() -> None:
    reply = World().play("drip:7:10")
    pieces = [step for step in reply.steps if isinstance(step, Send)]
    assert {len(piece.data) for piece in pieces[:-1]} == {7}
    assert [step for step in reply.steps if isinstance(step, Wait)] == [Wait(0.01)] * len(pieces)
    assert reply.body() == ordinary()


# --- broken ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scenario", ["bad-prelude-crc", "bad-message-crc:2", "flipped-payload:3", "flipped-payload:999"]
)
def test_one_bit_of_one_frame_is_wrong(scenario: str) -> None:
    body, good = World().play(scenario).body(), ordinary()
    assert len(body) == len(good)
    changed = [left ^ right for left, right in zip(body, good, strict=True) if left != right]
    assert changed == [1]
    checksum_fails = "ChecksumMismatch"
    with pytest.raises(Exception, match="Checksum mismatch") as caught:
        events_of(body)
    assert type(caught.value).__name__ == checksum_fails


def test_a_huge_length_has_a_right_checksum() -> None:
    body = World().play("huge-length").body()
    assert body[-12:-8] == b"\x40\x00\x00\x00"
    assert int.from_bytes(body[-4:], "big") == zlib.crc32(body[-12:-4])
    assert types_of(body[:-12])[0] == "assistantResponseEvent"


def test_bytes_trail() -> None:
    assert World().play("trailing-bytes").body() == ordinary() + b"\x00\x00\x00\x88\x00"


# --- errors inside a 200 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "kind", "payload"),
    [
        (
            "exception:ThrottlingException:DAILY_REQUEST_COUNT",
            "ThrottlingException",
            {"reason": "DAILY_REQUEST_COUNT"},
        ),
        ("exception:throttlingException", "throttlingException", {"reason": None}),
        ("error-frame:InternalError", "InternalError", None),
        ("error-event", "error", {}),
        ("invalid-state", "invalidStateEvent", {"reason": "INVALID_TASK_ASSIST_PLAN"}),
    ],
)
def test_an_error_comes_in_the_middle(scenario: str, kind: str, payload: dict[str, Any] | None) -> None:
    events = events_of(World().play(scenario).body())
    assert events[0][0] == "assistantResponseEvent"
    assert events[-1][0] == kind
    if payload is None:
        assert events[-1][1] is None
    else:
        assert events[-1][1] == {"message": "The emulator was told to fail here.", **payload}


def test_an_exception_comes_first() -> None:
    assert types_of(World().play("exception-first:error").body()) == ["error"]


# --- other bodies ----------------------------------------------------------------------------------------------


def test_bodies_that_are_no_streams() -> None:
    assert World().play("empty").steps == ()
    page = World().play("html-200")
    assert page.head is not None
    assert (page.head.headers[0], page.body()[:6]) == (("content-type", "text/html"), b"<html>")
    plain = World().play("wrong-content-type")
    assert plain.head is not None
    assert (plain.head.headers[0], plain.body()) == (("content-type", "text/plain"), ordinary())
    packed = World().play("gzipped")
    assert packed.head is not None
    assert dict(packed.head.headers)["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body()) == ordinary()


def test_figures_alone() -> None:
    assert types_of(World().play("no-assistant-event").body()) == [
        "metadataEvent",
        "contextUsageEvent",
        "meteringEvent",
    ]


def test_big_answers_are_as_big_as_they_say() -> None:
    reply = World().play("big:100000")
    assert len(text_of(reply)) == 100_000
    one = World().play("big-frame:300000")
    assert types_of(one.body())[:2] == ["assistantResponseEvent", "metadataEvent"]
    assert len(text_of(one)) == 300_000


# --- unusual answers -------------------------------------------------------------------------------------------


def test_an_ordinary_answer_has_figures_that_add_up() -> None:
    reply = World().ask(shell_request("Hello"))
    events = dict(events_of(reply.body()))
    usage = events["metadataEvent"]["tokenUsage"]
    total = usage["uncachedInputTokens"] + usage["outputTokens"] + usage["cacheReadInputTokens"]
    assert usage["totalTokens"] == total
    assert events["contextUsageEvent"] == {"contextUsagePercentage": round(total / 2000, 4)}
    assert events["meteringEvent"]["unit"] == "credit"


def test_an_old_answer_has_text_alone() -> None:
    reply = World().play("old-style", shell_request("Hello"))
    events = events_of(reply.body())
    assert {kind for kind, _ in events} == {"assistantResponseEvent"}
    assert all(set(payload) == {"content"} for _, payload in events)
    assert text_of(reply) == text_of(World().ask(shell_request("Hello")))


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        ("max-tokens", "MAX_TOKENS"),
        ("stop-reason:CONTENT_FILTERED", "CONTENT_FILTERED"),
        ("thinking", "TOOL_USE"),
    ],
)
def test_the_reason_to_stop_is_the_one_asked_for(scenario: str, reason: str) -> None:
    assert dict(events_of(World().play(scenario).body()))["metadataEvent"]["stopReason"] == reason


def test_thinking_comes_first_and_is_signed() -> None:
    events = events_of(World().play("thinking").body())
    thoughts = [payload for kind, payload in events if kind == "reasoningContentEvent"]
    assert "".join(thought.get("text", "") for thought in thoughts).startswith("The user wrote 36 characters.")
    assert [len(thought["signature"]) for thought in thoughts if "signature" in thought] == [88]
    assert "signature" in thoughts[-1]
    assert [kind for kind, _ in events[: len(thoughts)]] == ["reasoningContentEvent"] * len(thoughts)


def test_unknown_events_stand_between_the_known() -> None:
    body = World().play("unknown-events", shell_request("Hello")).body()
    kinds = set(re.findall(rb"[a-zA-Z]+Event", body))
    assert {
        b"assistantMoodEvent",
        b"codeReferenceEvent",
        b"followupPromptEvent",
        b"messageMetadataEvent",
    } <= kinds
    assert b"urgent\x00\x05funny\x01\x08sequence\x05" in body


def test_equal_fragments_and_foreign_text_are_whole() -> None:
    assert text_of(World().play("equal-fragments")) == "hahaha, very very very funny..."
    foreign = World().play("foreign-text")
    assert {len(step.data) for step in foreign.steps[:-1] if isinstance(step, Send)} == {3}
    assert text_of(foreign).count("你好，世界。") == 5


# --- tool calls ------------------------------------------------------------------------------------------------

CALL = {"name": "Bash", "input": {"command": "echo 'hello from the emulator'"}}


def uses_of(scenario: str) -> list[dict[str, Any]]:
    return [payload for kind, payload in events_of(World().play(scenario).body()) if kind == "toolUseEvent"]


def test_an_ordinary_call_begins_with_its_name_and_ends_with_its_stop() -> None:
    first, *middle, last = uses_of("fine")
    assert set(first) == {"toolUseId", "name"}
    assert all(set(payload) == {"toolUseId", "name", "input"} for payload in middle)
    assert max(len(payload["input"]) for payload in middle) <= 9
    assert last.pop("stop") is True
    assert last == first


def test_two_calls_take_turns() -> None:
    uses = uses_of("interleaved-tools")
    assert [use["toolUseId"] for use in uses[:4]] == [uses[0]["toolUseId"], uses[1]["toolUseId"]] * 2
    assert uses[0]["toolUseId"] != uses[1]["toolUseId"]
    assert calls_of(World().play("interleaved-tools")) == [CALL, CALL]


@pytest.mark.parametrize(
    ("scenario", "inputs", "stops"),
    [
        ("whole-input", [CALL["input"]], 1),
        ("no-input", [], 1),
        ("invalid-tool-json", ['{"command": "echo \'hello from the emulator\'", "unfinished": '], 1),
        ("non-object-input", ['["a", "list"]'], 1),
        ("no-stop", ['{"command": "echo \'hello from the emulator\'"}'], 0),
    ],
)
def test_a_call_with_another_input(scenario: str, inputs: list[object], stops: int) -> None:
    uses = uses_of(scenario)
    given = [use["input"] for use in uses if "input" in use]
    assert (["".join(given)] if given and isinstance(given[0], str) else given) == inputs
    assert sum("stop" in use for use in uses) == stops
    assert ("metadataEvent" in types_of(World().play(scenario).body())) == (scenario != "no-stop")


@pytest.mark.parametrize(("scenario", "size"), [("long-tool-cut", 12_000), ("long-tool-cut:40000", 40_000)])
def test_a_long_call_is_cut_without_a_sign(scenario: str, size: int) -> None:
    text = "".join(use.get("input", "") for use in uses_of(scenario))
    assert len(text) == size
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    assert not any("stop" in use for use in uses_of(scenario))
    reply = World().play(scenario)
    assert set(types_of(reply.body())) == {"assistantResponseEvent", "toolUseEvent"}
    assert all(isinstance(step, Send) for step in reply.steps)


@pytest.mark.parametrize(
    ("scenario", "written"),
    [
        ("written-call", 'Tool call: Bash({"command": "echo \'hello from the emulator\'"})\n'),
        ("written-call:called", '[Called Bash with args: {"command": "echo \'hello from the emulator\'"}]\n'),
        ("written-call:fenced", "\n```\nbut that is only an example.\n"),
    ],
)
def test_a_call_is_written_out(scenario: str, written: str) -> None:
    reply = World().play(scenario)
    assert written in text_of(reply)
    assert calls_of(reply) == []


def test_a_call_is_made_though_no_tool_is_offered() -> None:
    request = shell_request("Hello", tools=[])
    assert calls_of(World().play("interleaved-tools", request)) == [CALL, CALL]
