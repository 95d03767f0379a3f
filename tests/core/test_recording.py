"""The lines of a recording: there and back, what a file has to begin with, and what is wrong with one that is none."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.failures import Kind
from core.masking import Removed
from core.recording import (
    AnsweredLine,
    AskedLine,
    BodyEndLine,
    CallLine,
    ChosenLine,
    ConvertedLine,
    CutLine,
    DataLine,
    DeliveredLine,
    EndedLine,
    FailedLine,
    HeadLine,
    Line,
    NoneLeftLine,
    NoTokenLine,
    OpeningLine,
    RecordingError,
    TokenLine,
    WokenLine,
    encode_line,
    is_recording,
    on_one_line,
    parse_recording,
)
from core.refusals import Absence
from core.times import Epoch
from tests.builders import SHELL_TOOL
from tests.recordings import HELLO, SAMPLES, Taped

WHOLE = Taped(stream=False).call().answer(HELLO).taped
OPENING, ASKED, CONVERTED, *REST = WHOLE.splitlines()


def file(*lines: bytes) -> bytes:
    """A file of these lines, all of them whole."""
    return b"".join(line + b"\n" for line in lines)


def refused(data: bytes) -> tuple[int, str]:
    """The line of a file that is none of ours, and what is wrong with it."""
    with pytest.raises(RecordingError) as caught:
        parse_recording(data)
    assert str(caught.value) == f"line {caught.value.line}: {caught.value.problem}"
    return caught.value.line, caught.value.problem


MOMENT = {"at": 1.5, "date": 1_700_000_000.25}
ABSENCE = Absence(provider_id="b", kind=Kind.QUOTA, problem="used up", back_in=5.0, back_at=Epoch(1.7e9))
LINES: list[Line] = [
    ChosenLine(**MOMENT, provider="a", endpoint=None, profile_arn="arn:aws:x:y:000000000000:profile/Z"),
    NoneLeftLine(**MOMENT, absences=(ABSENCE,)),
    TokenLine(**MOMENT, region="us-east-1", profile_arn=None, removed=(Removed(1, 40), None)),
    NoTokenLine(**MOMENT, cause="unreadable", problem="it is not JSON"),
    CallLine(url="https://q.us-east-1.amazonaws.com/generateAssistantResponse", size=300),
    HeadLine(**MOMENT, status=200, headers={"content-type": "text/html"}),
    DataLine(**MOMENT, data=b"\x00\xff\n"),
    BodyEndLine(**MOMENT),
    FailedLine(**MOMENT, cause="timeout", problem="silence"),
    WokenLine(**MOMENT),
    DeliveredLine(events=(msgspec.Raw(b'{"type":"ping"}'),)),
]
ENDS: list[Line] = [
    AnsweredLine(status=429, headers={"retry-after": "1"}, body=msgspec.Raw(b'{"a":1}')),
    EndedLine(),
    CutLine(why="the client left"),
]


@pytest.mark.parametrize("line", [*LINES, *ENDS], ids=lambda line: type(line).__name__)
def test_a_line_is_read_as_what_was_written(line: Line) -> None:
    encoded = encode_line(line)
    assert b"\n" not in encoded
    assert parse_recording(file(OPENING, ASKED, CONVERTED, encoded)).lines == (line,)
    assert parse_recording(file(OPENING, ASKED, CONVERTED) + encoded).lines == (line,)


def test_a_file_is_its_first_three_lines_and_what_happened() -> None:
    recording = parse_recording(WHOLE)
    assert recording.opening == msgspec.json.decode(OPENING, type=OpeningLine)
    assert recording.request == msgspec.json.decode(ASKED, type=AskedLine).request
    assert recording.converted == msgspec.json.decode(CONVERTED, type=ConvertedLine).request
    assert [encode_line(line) for line in recording.lines] == REST
    assert recording.is_torn is False


def test_data_is_in_base64() -> None:
    (line,) = (line for line in REST if b'"data"' in line)
    assert base64.b64decode(msgspec.json.decode(line)["data"]) == HELLO


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_that_is_cut_anywhere_is_read_up_to_there_or_ends_in_its_first_lines(name: str) -> None:
    data = SAMPLES[name]()
    whole = parse_recording(data).lines
    heads = len(b"\n".join(data.split(b"\n")[:3]))
    for end in range(0, len(data), 3):
        if end < heads:
            line, problem = refused(data[:end])
            assert line <= data.count(b"\n", 0, end) + 2
            assert problem.startswith("expected ")
        else:
            cut = parse_recording(data[:end])
            assert cut.lines == whole[: len(cut.lines)]
            assert len(cut.lines) >= data.count(b"\n", 0, end) - 3
            assert cut.is_torn == (data[end - 1 : end] != b"\n" and data[end : end + 1] != b"\n")


@pytest.mark.parametrize(
    ("data", "is_one"),
    [
        (WHOLE, True),
        (OPENING, True),
        (b'{"stagewhisper":7}', True),
        (OPENING[:-1], False),
        (b" " + WHOLE, False),
        (b"", False),
        (b"{}", False),
        (b"[]", False),
        (b'{"stagewhisper":true}', False),
        (b'{"stagewhisper":1.5}', False),
        (b'{"stagewhisper":-1}', False),
        (b'{"a":"\xff"}', False),
        (b"\x00\x00\x00\x85", False),
        (b"HTTP/1.1 200 OK\r\n", False),
        (b'{"a":' * 100_000, False),
    ],
)
def test_a_recording_says_at_its_beginning_that_it_is_one(data: bytes, is_one: bool) -> None:
    assert is_recording(data) is is_one


def changed(line: bytes, old: bytes, new: bytes) -> bytes:
    """A line with one thing in it changed."""
    assert line.count(old) == 1, line
    return line.replace(old, new)


ANSWERED = b'{"what":"answered","status":7,"headers":{},"body":{}}'
HEAD = b'{"what":"head","at":1,"date":1,"status":1000,"headers":{}}'
NO_FIRST_LINE = "expected the first line of a recording: "


@pytest.mark.parametrize(
    ("data", "line", "problem"),
    [
        (b"", 1, NO_FIRST_LINE + "Input data was truncated"),
        (b"{}", 1, NO_FIRST_LINE + "Object missing required field `stagewhisper`"),
        (b" " + WHOLE, 1, NO_FIRST_LINE + "it begins with a blank"),
        (changed(WHOLE, b'"program":"0.0.0"', b'"program":"\xff"'), 1, "it is not UTF-8"),
        (b'{"stagewhisper":1,"a":' + b"[" * 100_000, 1, NO_FIRST_LINE + "it nests too deeply"),
        (changed(WHOLE, b'"stagewhisper":1', b'"stagewhisper":2'), 1, "expected version 1 of the format, got 2"),
        (
            changed(WHOLE, b'"context_window":200000', b'"context_window":0'),
            1,
            "expected a context window of 1 to 1000000000000 tokens",
        ),
        (
            changed(WHOLE, b'"context_window":200000', b'"context_window":' + b"9" * 400),
            1,
            "expected a context window of 1 to 1000000000000 tokens",
        ),
        (OPENING, 2, "expected 'asked', but the recording ends before it"),
        (file(OPENING, ASKED), 3, "expected 'converted', but the recording ends before it"),
        (file(OPENING, CONVERTED, ASKED), 2, "expected 'asked', got 'converted'"),
        (file(OPENING, ASKED, OPENING), 3, "expected 'converted', got 'opening'"),
        (file(OPENING, ASKED, CONVERTED, ASKED), 4, "expected what happened then, got 'asked'"),
        (file(OPENING, ASKED, CONVERTED, b""), 4, "Input data was truncated"),
        (file(OPENING, ASKED, CONVERTED, b'{"what":"sung"}'), 4, "Invalid value 'sung' - at `$.what`"),
        (file(OPENING, ASKED, CONVERTED, b'{"what":"ended","a":1}'), 4, "Object contains unknown field `a`"),
        (file(OPENING, ASKED, CONVERTED, b'{"what":"ended"}', REST[0]), 5, "expected nothing behind 'ended'"),
        (file(OPENING, ASKED, CONVERTED, b'{"what":"cut","why":""}') + REST[0], 5, "expected nothing behind 'cut'"),
        (WHOLE + REST[0], 11, "expected nothing behind 'answered'"),
        (file(OPENING, changed(ASKED, b'"max_tokens":100', b'"max_tokens":null')), 3, "but the recording ends"),
        (
            file(OPENING, changed(ASKED, b'"max_tokens":100', b'"max_tokens":null'), CONVERTED),
            2,
            "max_tokens: field required",
        ),
        (
            file(OPENING, changed(ASKED, b'"container":null', b'"container":{}'), CONVERTED),
            2,
            "container: code that runs on the server",
        ),
        (changed(WHOLE, b'"number":1', b'"number":0'), 5, "Expected `int` >= 1"),
        (changed(WHOLE, b'"length":25', b'"length":1' + b"0" * 15), 5, "Expected `int` <= 1048576"),
        (file(OPENING, ASKED, CONVERTED, ANSWERED), 4, "Expected `int` >= 100"),
        (file(OPENING, ASKED, CONVERTED, HEAD), 4, "Expected `int` <= 999"),
        (changed(WHOLE, b'"at":1000.125', b'"at":1e999'), 1, "Number out of range"),
        (changed(WHOLE, b'"at":1000.125', b'"at":NaN'), 1, "JSON is malformed"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(data: bytes, line: int, problem: str) -> None:
    got, said = refused(data)
    assert got == line
    assert problem in said
    assert len(said) < 200


@pytest.mark.parametrize("depth", [100, 500, 900, 985, 995, 1005, 10_000])
@pytest.mark.parametrize("member", [b'"container":null', b'"mcp_servers":null'])
def test_a_request_that_nests_deeply_is_refused(member: bytes, depth: int) -> None:
    deep = member.partition(b":")[0] + b":" + b"[" * depth + b"]" * depth
    line, _ = refused(file(OPENING, changed(ASKED, member, deep), CONVERTED))
    assert line == 2


@given(st.binary(max_size=60), st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_bytes_from_nowhere_are_no_line(data: bytes, before: int) -> None:
    lines = [OPENING, ASKED, CONVERTED][:before]
    line, _ = refused(file(*lines, data, b""))
    assert line <= before + 1 + data.count(b"\n")


def test_a_request_that_was_recorded_is_read_as_a_clients() -> None:
    played = Taped(tools=[SHELL_TOOL], system="Be brief.", stop_sequences=["END"], tool_choice={"type": "any"})
    recording = parse_recording(played.call().answer(HELLO).taped)
    assert recording.request.tools is not None
    assert recording.request.tools[0].input_schema == SHELL_TOOL["input_schema"]
    assert (recording.request.system, recording.request.stop_sequences) == ("Be brief.", ("END",))


@pytest.mark.parametrize(
    ("body", "line"), [(b"{}", b"{}"), (b'{\r\n "a":\n"\\n"}', b'{   "a": "\\n"}'), ("é".encode(), "é".encode())]
)
def test_a_body_is_on_one_line_and_as_long_as_before(body: bytes, line: bytes) -> None:
    assert bytes(on_one_line(body)) == line
