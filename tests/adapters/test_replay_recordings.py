"""`stagewhisper replay` of recordings: what it prints of them, and whether the client is sent the same as then."""

from __future__ import annotations

import io
import json
from pathlib import Path

import msgspec
import pytest

from adapters.printing import AS_RECORDED
from core.dialogue import BodyEnded, CallFailed, DataArrived, NoProvider
from core.http import Head
from core.recording import DeliveredLine, parse_recording
from tests.adapters.replaying import Run
from tests.builders import body, exception, text
from tests.recordings import HELLO, SAMPLES, Taped, with_other_text

SAME = "the client is sent the same as then"
FORMS = ["frames", "events", "message", "sse"]


# --- the forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["stream", "whole", "pings"])
def test_the_message_is_what_the_client_was_answered_with(run: Run, name: str) -> None:
    said = run(SAMPLES[name]()).said
    message = json.loads(said.removesuffix(f"{SAME}\n"))
    assert run.code == 0
    assert message["id"] == "msg_0001"
    assert [block["type"] for block in message["content"]] == ["text", "tool_use"]
    assert message["content"][1]["input"] == {"command": "ls"}
    assert run(SAMPLES[name](), "--json").values == [message, {"chunkings": [AS_RECORDED], "difference": None}]


def test_sse_is_what_a_streaming_client_is_sent_or_would_have_been(run: Run) -> None:
    stream = run(SAMPLES["stream"](), "--as", "sse").said
    assert run.code == 0
    assert stream.startswith('event: message_start\ndata: {"type":"message_start"')
    assert stream.endswith(f'event: message_stop\ndata: {{"type":"message_stop"}}\n\n{SAME}\n')
    assert run(SAMPLES["whole"](), "--as", "sse").said == stream
    types = [value["type"] for value in run(SAMPLES["pings"](), "--as", "sse", "--json").values[:-1]]
    assert types[:4] == ["message_start", "ping", "ping", "content_block_start"]


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("form", FORMS)
def test_a_recording_is_the_same_in_any_form_and_pieces(run: Run, name: str, form: str) -> None:
    assert run(SAMPLES[name](), "--as", form, "--cuts", "5", "--seed", "3", "--bytewise").code == 0
    assert run.said.endswith(", in the recorded pieces, 5 chunkings of seed 3, single bytes\n")
    assert (" the same as " in run.said) != ("cut" in name) or "as far as the recording goes" in run.said
    assert run.complained == ""
    last = run(SAMPLES[name](), "--as", form, "--bytewise", "--json").values[-1]
    assert (run.code, last) == (0, {"chunkings": ["the recorded pieces", "single bytes"], "difference": None})


def test_frames_are_tables_of_each_attempt(run: Run) -> None:
    assert [line.strip() for line in run(SAMPLES["failover"](), "--as", "frames").said.splitlines()] == [
        "attempt 0, account a: status 429, application/json",
        '{"__type":"com.amazon.coral.service#ThrottlingException","message":"slow down"}',
        "attempt 0, account a: failure (rate_limit): the service answered 429 ThrottlingException: slow down",
        "attempt 1, account b: status 200, application/vnd.amazon.eventstream",
        "frame     offset    bytes  headers, payload",
        "0          0      125  :event-type: assistantResponseEvent",
        ":content-type: application/json",
        ":message-type: event",
        '{"content":"Hel"}',
        "1        125      124  :event-type: assistantResponseEvent",
        ":content-type: application/json",
        ":message-type: event",
        '{"content":"lo"}',
        SAME,
    ]


def test_events_are_tables_of_each_attempt(run: Run) -> None:
    assert [line.split()[:3] for line in run(SAMPLES["exception"](), "--as", "events").said.splitlines()] == [
        ["attempt", "0,", "account"],
        ["frame", "offset", "event"],
        ["0", "0", "AssistantText"],
        ["1", "125", "ServiceError"],
        ["attempt", "0,", "account"],
        ["attempt", "1,", "account"],
        ["frame", "offset", "event"],
        ["0", "0", "AssistantText"],
        ["1", "125", "AssistantText"],
        SAME.split()[:3],
    ]


def test_attempts_for_a_program_are_values_of_their_own(run: Run) -> None:
    values = run(SAMPLES["failover"](), "--as", "events", "--json").values
    assert [[*value] for value in values] == [
        ["attempt"],
        ["body"],
        ["failure"],
        ["attempt"],
        ["event"],
        ["event"],
        ["chunkings", "difference"],
    ]
    assert values[0]["attempt"] == {"number": 0, "account": "a", "status": 429, "contentType": "application/json"}
    assert values[1]["body"]["json"]["message"] == "slow down"
    assert values[2]["failure"]["attempt"] == 0
    assert values[5] == {"event": {"frame": 1, "offset": 125, "type": "AssistantText", "text": "lo"}}
    frames = run(SAMPLES["failover"](), "--as", "frames", "--json").values[4:6]
    assert [(frame["frame"]["offset"], frame["frame"]["payload"]) for frame in frames] == [
        (0, {"json": {"content": "Hel"}}),
        (125, {"json": {"content": "lo"}}),
    ]


@pytest.mark.parametrize("form", ["frames", "events"])
def test_a_damaged_body_is_shown_with_its_place_and_is_still_the_same_as_then(run: Run, form: str) -> None:
    taped = Taped(stream=False).call().answer(HELLO[:200] + b"\0" + HELLO[201:])
    data = taped.tell(CallFailed("network", "refused"), NoProvider()).taped
    assert run(data, "--as", form).code == 0
    assert "fault in the frame at byte 125 of the body: message_crc (expected 0x" in run.said
    (row,) = [line for line in run.said.splitlines() if line.startswith("> ")]
    assert row.startswith("> 00000070 ")
    assert "attempt 0, account a: failure (network): the service's answer broke at byte 125: message_crc" in run.said
    assert "\nattempt 1, account a: no answer\nattempt 1, account a: failure (network): refused\n" in run.said
    values = run(data, "--as", form, "--json").values
    (fault,) = [value["fault"] for value in values if "fault" in value]
    assert (fault["reason"], fault["offset"], len(fault["bytes"])) == ("message_crc", 125, 5)
    assert {"attempt": {"number": 1, "account": "a", "status": None, "contentType": None}} in values


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (b"", "  (no body)"),
        (b"<html>\x1b[2J\n</html>", "  <html>\\u001b[2J\\u000a</html>"),
        (b"\xff\0", "  ff 00"),
        (b"a" * 5000, "  " + "a" * 1995 + "..."),
    ],
)
def test_the_body_of_a_refused_call_is_escaped_and_not_too_long(run: Run, content: bytes, shown: str) -> None:
    data = Taped().call().answer(content, head=Head(status=400, headers={})).taped
    lines = run(data, "--as", "frames").said.splitlines()
    assert lines[:2] == ["attempt 0, account a: status 400, no content type", shown]
    assert run.code == 0


# --- errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["message", "sse"])
def test_an_error_that_was_an_answer_is_said_with_what_led_to_it(run: Run, form: str) -> None:
    data = Taped().call("a").refuse(429, {"message": "slow"}).call("b").refuse(400, {"message": "no"}).taped
    assert run(data, "--as", form).said.splitlines() == [
        "attempt 0, account a: failure (rate_limit): the service answered 429: slow",
        "attempt 1, account b: failure (client): the service answered 400: no",
        "the client is sent an error (status 400, invalid_request_error): the service answered 400: no",
        SAME,
    ]
    assert run.code == 0
    assert run(data, "--as", form, "--json").values[:3] == [
        {
            "failure": {
                "attempt": 0,
                "account": "a",
                "kind": "rate_limit",
                "message": "the service answered 429: slow",
            }
        },
        {"failure": {"attempt": 1, "account": "b", "kind": "client", "message": "the service answered 400: no"}},
        {"error": {"status": 400, "type": "invalid_request_error", "message": "the service answered 400: no"}},
    ]


def test_an_error_in_a_stream_is_said_as_one(run: Run) -> None:
    assert run(SAMPLES["error event"]()).said.splitlines() == [
        "attempt 0, account a: failure (network): the connection broke",
        "attempt 1, account a: failure (network): refused",
        "the client is sent an error (in its stream, overloaded_error): a: refused",
        SAME,
    ]
    assert 'event: error\ndata: {"type":"error"' in run(SAMPLES["error event"](), "--as", "sse").said
    assert run(SAMPLES["error event"](), "--json").values[2]["error"]["status"] is None


def test_an_error_that_no_account_had_a_part_in_has_no_attempts(run: Run) -> None:
    for form in FORMS:
        (line, same) = run(SAMPLES["nobody"](), "--as", form).said.splitlines()
        assert line == "the client is sent an error (status 529, overloaded_error): no account can be used now"
        assert (same, run.code) == (SAME, 0)


# --- files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (SAMPLES["stream"]().replace(b'"stagewhisper":1', b'"stagewhisper":2'), "line 1: expected version 1"),
        (SAMPLES["stream"]().replace(b'"stagewhisper":1', b'"stagewhisper":"x"'), "line 1: expected the first line"),
        (SAMPLES["stream"]().replace(b"stagewhisper", b"stagewhispes"), "line 1: expected the first line"),
        (SAMPLES["stream"]().replace(b"}\n", b"\n", 1), "line 1: expected the first line"),
        (SAMPLES["stream"]().replace(b'"what":"head"', b'"what":"\x9bhead"'), "line 7: "),
        (SAMPLES["stream"]().replace(b'"what":"head"', b'"what":"\\u009bhead"'), "line 7: "),
        (SAMPLES["stream"]() + b'{"what":"ended"}\n', "line 18: expected nothing behind 'ended'"),
    ],
)
def test_a_recording_that_is_damaged_cannot_be_read(run: Run, data: bytes, problem: str) -> None:
    assert run(data).code == 3
    assert (run.said, run.complained.count("\n")) == ("", 1)
    assert f"capture.bin: {problem}" in run.complained
    assert run.complained.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("options", "unused"),
    [
        (["--model", "x"], "--model is not used"),
        (["--tool", "x", "--tool", "y"], "--tool is not used"),
        (["--tool", "x", "--model", "y"], "--model and --tool are not used"),
    ],
)
def test_what_a_recording_knows_itself_is_not_taken_from_options(run: Run, options: list[str], unused: str) -> None:
    plain = run(SAMPLES["stream"]()).said
    assert run(SAMPLES["stream"](), *options).said == plain
    assert run.complained.endswith(f"capture.bin: it is a recording, which knows its own: {unused}\n")
    assert run(HELLO, *options).complained == ""


def test_recordings_and_bodies_may_be_mixed_and_the_worst_code_counts(run: Run, tmp_path: Path) -> None:
    files = {
        "good.jsonl": SAMPLES["stream"](),
        "other.jsonl": with_other_text(SAMPLES["stream"](), "Hullo"),
        "body.bin": HELLO,
        "bad.jsonl": b'{"stagewhisper":1}',
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    good, other, bare, bad = (str(tmp_path / name) for name in files)
    assert run(None, good, bare).code == 0
    assert run(None, good, other, bare).code == 1
    assert run(None, bad, good, other).code == 3
    assert run.said.count("stream event 2") == 1


def test_a_recording_is_read_from_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(SAMPLES["stream"]())))
    assert run(None, "-", "--json").values[0]["id"] == "msg_0001"
    assert run.code == 0


# --- what is printed -------------------------------------------------------------------------------------------

WILD = "\x1b[2J\x07\x9b\u202e\x7f\ud7ff\U0001f98a"


def _wild() -> list[bytes]:
    """Recordings with what would do something to a terminal wherever a text stands."""
    wild = Taped(messages=[{"role": "user", "content": WILD}]).call(WILD)
    failed = wild.refuse(429, {"__type": WILD, "message": WILD}, content_type=WILD).call("b" + WILD)
    cut = Taped().call(WILD).begin_answer(body(text(WILD), exception(WILD, WILD)) + b"\x1b" * 20).cut(WILD)
    broken = Taped().call(WILD).tell(CallFailed("network", WILD), CallFailed("network", WILD), NoProvider()).taped
    whole = failed.begin_answer().tell(DataArrived(body(text(WILD))), BodyEnded()).taped
    recording = parse_recording(whole)
    (delivered,) = [line for line in recording.lines if isinstance(line, DeliveredLine)]
    event = msgspec.json.encode({"type": WILD})
    other = whole.replace(bytes(delivered.events[1]), event)
    return [whole, cut, broken, other, whole[:-5], whole.replace(b'"call"', msgspec.json.encode(WILD))]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_nothing_that_is_printed_does_anything_to_a_terminal(run: Run, form: str, as_json: list[str]) -> None:
    codes = []
    for data in _wild():
        codes.append(run(data, "--as", form, *as_json).code)
        assert run.said.replace("\n", "").isprintable()
        assert run.complained.replace("\n", "").isprintable()
    assert codes == [0, 0, 0, 1, 0, 3]
