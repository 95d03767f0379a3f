"""`stagewhisper replay`: what it prints of a body and of a raw response, and with which exit code it ends."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core import intake
from core.eventstream import Header, HeaderType, Message, encode
from tests.adapters.replaying import Run
from tests.builders import body, event, exception, text

HELLO = body(text("Hel"), text("lo"))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\n"
RESPONSE = HEAD + b"Content-Length: %d\r\n\r\n" % len(HELLO) + HELLO


# --- the forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [HELLO, RESPONSE], ids=["body", "response"])
def test_a_message_is_printed_as_json_indented_or_in_one_line(run: Run, data: bytes) -> None:
    message = json.loads(run(data, "--model", "claude-x").said)
    assert run.code == 0
    assert (message["model"], message["id"]) == ("claude-x", "msg_replay")
    assert message["content"] == [{"type": "text", "text": "Hello"}]
    assert run.said.count("\n") > 10
    assert run(data, "--model", "claude-x", "--json").values == [message]


def test_frames_are_a_table_with_places_headers_and_payloads(run: Run) -> None:
    other = encode(Message({"n": Header(HeaderType.LONG, -5), "u": Header(HeaderType.UUID, b"0" * 16)}, b"\xff\0"))
    lines = run(body(text("Hel")) + other, "--as", "frames").said.splitlines()
    assert [line.strip() for line in lines] == [
        "frame     offset    bytes  headers, payload",
        "0          0      125  :event-type: assistantResponseEvent",
        ":content-type: application/json",
        ":message-type: event",
        '{"content":"Hel"}',
        "1        125       48  n: -5 (long)",
        "u: 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 (uuid)",
        "ff 00",
    ]
    # They are sound, whatever an answer of the service would be.
    assert run.code == 0


def test_frames_for_a_program_have_all_of_their_values(run: Run) -> None:
    first, second = run(HELLO, "--as", "frames", "--json").values
    assert first["frame"]["payload"] == {"json": {"content": "Hel"}}
    assert first["frame"]["headers"][":message-type"] == {"type": "string", "value": "event"}
    assert (second["frame"]["offset"], second["frame"]["length"]) == (125, 124)


def test_a_table_fits_into_the_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    for form in ("frames", "events"):
        assert max(map(len, run(body(text("a" * 100)), "--as", form).said.splitlines())) == 50
        assert "a" * 100 in run(body(text("a" * 100)), "--as", form, "--json").said


def test_events_are_said_with_their_frames(run: Run) -> None:
    data = body(text("Hel"), event("meteringEvent", usage=1))
    assert [line.split() for line in run(data, "--as", "events").said.splitlines()] == [
        ["frame", "offset", "event"],
        ["0", "0", "AssistantText", 'text="Hel"'],
        ["1", "125", "OtherEvent", 'event_type="meteringEvent"'],
    ]
    assert run.code == 0
    assert run(data, "--as", "events", "--json").values[0] == {
        "event": {"frame": 0, "offset": 0, "type": "AssistantText", "text": "Hel"}
    }


def test_sse_is_what_a_streaming_client_gets(run: Run) -> None:
    said = run(HELLO, "--as", "sse").said
    assert run.code == 0
    assert said.startswith('event: message_start\ndata: {"type":"message_start"')
    assert said.endswith('event: message_stop\ndata: {"type":"message_stop"}\n\n')
    types = [value["type"] for value in run(HELLO, "--as", "sse", "--json").values]
    assert types == [line[7:] for line in said.splitlines() if line.startswith("event: ")]


def test_written_out_calls_are_found_by_the_tools_that_are_named(run: Run) -> None:
    data = body(text("Tool call: Read({})"))
    assert run(data, "--json").values[0]["stop_reason"] == "end_turn"
    (message,) = run(data, "--json", "--tool", "Write", "--tool", "Read").values
    assert (message["content"][0]["name"], message["stop_reason"]) == ("Read", "tool_use")


@pytest.mark.parametrize("form", ["frames", "events", "message", "sse"])
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_nothing_that_is_printed_does_anything_to_a_terminal(run: Run, form: str, as_json: list[str]) -> None:
    wild = "\x1b[2J\x07\x9b\u202e\x7f\ud7ff\U0001f98a"
    frames = body(text(wild), event(wild, a=wild), exception(wild, wild)) + b"\x1b" * 20
    for data in (frames, body(text(wild)), HEAD + b"\r\n" + frames, b"HTTP/1.1 500 \x9b\r\nA: \x9b\r\n\r\n\x1b"):
        said = run(data, "--as", form, *as_json).said
        assert said.replace("\n", "").isprintable()


# --- what is wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["frames", "events", "message", "sse"])
def test_a_damaged_byte_is_a_fault_with_the_bytes_around_it(run: Run, form: str) -> None:
    damaged = HELLO[:200] + b"\0" + HELLO[201:]
    assert run(damaged, "--as", form).code == 1
    assert "fault in the frame at byte 125 of the body: message_crc (expected 0x" in run.said
    (row,) = [line for line in run.said.splitlines() if line.startswith("> ")]
    assert row.startswith("> 00000070 ")
    assert "[00]" in row
    assert "failure (network): the service's answer broke at byte 125: message_crc" in run.said
    run(damaged, "--as", form, "--json")
    (fault,) = [value["fault"] for value in run.values if "fault" in value]
    assert (run.code, fault["reason"], fault["offset"], len(fault["bytes"])) == (1, "message_crc", 125, 5)


@pytest.mark.parametrize(("form", "code"), [("frames", 0), ("events", 1), ("message", 1), ("sse", 1)])
def test_an_error_in_sound_frames_is_one_of_what_they_say(run: Run, form: str, code: int) -> None:
    data = body(text("Hel"), exception("ThrottlingException", "slow down"))
    assert run(data, "--as", form).code == code
    assert ("failure (rate_limit): the service said in its answer ThrottlingException: slow down" in run.said) == code


def test_a_cut_response_is_a_fault_of_the_capture(run: Run) -> None:
    whole = body(text("Hel"))
    data = RESPONSE[: RESPONSE.index(whole) + len(whole)]
    assert run(data).code == 1
    assert f"the capture broke at byte {len(data)}: cut_body (expected more of the body, got the end)" in run.said
    assert "[the end]" in run.said
    assert '"Hel"' in run(data, "--as", "frames").said
    assert run.code == 1
    assert [*run(data, "--json").values[0]] == ["captureFault"]


def test_what_is_no_http_response_is_a_fault(run: Run) -> None:
    assert run(b"HTTP/1.1 nonsense\r\n\r\n").code == 1
    assert run.said.startswith("the capture broke at byte 0: bad_head (illegal status line)\n> 00000000  [48]")


def test_a_refusal_is_said_as_the_failure_that_it_is(run: Run) -> None:
    content = b'{"message":"used up","reason":"MONTHLY_REQUEST_COUNT"}'
    data = b"HTTP/1.1 402 Payment\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(content)
    for form in ("frames", "message"):
        assert run(data, "--as", form).code == 1
        assert "failure (quota): the service answered 402 (MONTHLY_REQUEST_COUNT): used up\n" in run.said


def test_what_stands_behind_a_response_is_counted(run: Run) -> None:
    assert run(RESPONSE + b"HTTP/1.1 408 Late\r\n\r\n").code == 0
    assert run.said.endswith("left over behind the response: 21 bytes\n")
    assert run(RESPONSE + b"rubbish", "--json").values[1] == {"rest": 7}


# --- other pieces ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [HELLO, RESPONSE, HELLO[:200], HELLO[:125]])
def test_other_pieces_make_no_difference(run: Run, data: bytes) -> None:
    code = run(data).code
    assert run(data, "--cuts", "10", "--seed", "7", "--bytewise").code == code
    assert run.said.endswith("the same in 10 chunkings of seed 7, single bytes\n")
    assert run(data, "--bytewise", "--json").values[-1] == {"chunkings": ["single bytes"], "difference": None}


@pytest.mark.parametrize(("option", "where"), [("--cuts=5", "chunking "), ("--bytewise", "single bytes")])
def test_the_first_difference_is_said(run: Run, monkeypatch: pytest.MonkeyPatch, option: str, where: str) -> None:
    real = intake.read_stream

    def wrong(phase: Any, data: bytes, *, request_size: int) -> Any:
        return real(phase, data if len(data) == len(HELLO) else data[:-1], request_size=request_size)

    monkeypatch.setattr(intake, "read_stream", wrong)
    assert run(HELLO, option).code == 1
    assert f"different in {where}" in run.said
    assert ": answer 0\n  expected: BufferedResponse(" in run.said
    assert "\n  got:      Failure(" in run.said
    difference = run(HELLO, option, "--json").values[-1]["difference"]
    assert (run.code, difference["part"], difference["index"]) == (1, "answer", 0)
    assert difference["in"].startswith(where)


# --- files -----------------------------------------------------------------------------------------------------


def test_each_of_several_files_is_named_and_the_worst_code_counts(run: Run, tmp_path: Path) -> None:
    good, bad, none = (tmp_path / name for name in ("good.bin", "bad\x1b.bin", "none.bin"))
    good.write_bytes(HELLO)
    bad.write_bytes(HELLO[:-1])
    assert run(None, str(good), str(bad)).code == 1
    assert run.said.startswith(f"{good}:\n{{\n")
    assert f"\n\n{tmp_path}/bad\\u001b.bin:\nfault in the frame" in run.said
    assert run(None, str(none), str(bad), str(good)).code == 3
    assert run.complained == f"{none}: cannot be read: No such file or directory\n"
    run(None, str(good), str(bad), "--json")
    assert [value["file"] for value in run.values if "file" in value] == [str(good), str(bad)]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "there is nothing in it"),
        (b'{"stagewhisper": 1, "kind": "recording"}\n{}\n', "line 1: "),
        (b'{"stagewhisper":null}', "line 1: expected the first line of a recording: "),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(run: Run, data: bytes, problem: str) -> None:
    assert run(data).code == 3
    assert (run.said, run.complained.count("\n")) == ("", 1)
    assert problem in run.complained


@pytest.mark.parametrize("data", [b'{"Output":{}}', b'{"stagewhisper', b"[1]", b"{" * 100_000, b'{"a":"\xff"}', b"\n"])
def test_anything_else_is_a_bare_body(run: Run, data: bytes) -> None:
    assert run(data).code == 1
    assert "fault in the frame at byte 0 of the body" in run.said


def test_folders_and_impossible_names_cannot_be_read(run: Run, tmp_path: Path) -> None:
    assert run(None, str(tmp_path)).code == 3
    assert run.complained == f"{tmp_path}: cannot be read: Is a directory\n"
    assert run(None, "a\0b").code == 3
    assert run.complained == "a\\u0000b: cannot be read: embedded null byte\n"


def test_a_file_that_is_too_large_cannot_be_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.replay.MAX_BYTES", len(HELLO) - 1)
    assert run(HELLO).code == 3
    assert "expected at most 248 bytes, got more" in run.complained


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (gzip.compress(HELLO), "it is compressed with gzip: unpack it first"),
        (b"\xef\xbb\xbf" + b'{"what":"opening"}', "it begins with a byte order mark, as no capture does"),
    ],
)
def test_what_is_wrapped_in_something_else_is_said_to_be(run: Run, data: bytes, problem: str) -> None:
    assert run(data).code == 3
    assert problem in run.complained


def test_standard_input_is_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(HELLO)))
    assert run(None, "-", "--json").values[0]["content"][0]["text"] == "Hello"


def _start(*options: str, **environment: str) -> subprocess.Popen[bytes]:
    """The command in a process of its own, with its standard input and output in our hands."""
    command = [sys.executable, "-m", "adapters.cli", "replay", *options]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
    )


def test_a_reader_that_has_enough_ends_it_without_a_word() -> None:
    with _start("-", "--as", "frames") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(HELLO * 1000)
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk here that is always full")
def test_an_output_that_cannot_be_written_is_said_in_a_line() -> None:
    command = [sys.executable, "-m", "adapters.cli", "replay", "-"]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            command, input=HELLO, stdout=full, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2], check=False
        )
    assert (ended.returncode, ended.stderr) == (1, b"nothing can be printed: No space left on device\n")


def test_an_output_that_has_few_characters_gets_the_others_as_escapes() -> None:
    with _start("-", "--json", PYTHONIOENCODING="ascii") as process:
        said, complained = process.communicate(body(text("é日🦊")), 30)
    assert (process.returncode, complained) == (0, b"")
    assert json.loads(said)["content"] == [{"type": "text", "text": "é日🦊"}]
    assert said.isascii()
