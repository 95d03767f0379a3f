"""`stagewhisper replay` of recordings whose client is sent something else than then, and of those without an end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core import intake
from tests.adapters.replaying import Run
from tests.recordings import CALLED, HELLO, SAMPLES, Taped, with_other_text

SAME = "the client is sent the same as then"
FORMS = ["frames", "events", "message", "sse"]


# --- not the same as then --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_the_first_difference_from_then_is_said(run: Run, form: str) -> None:
    data = with_other_text(SAMPLES["stream"](), "Hullo")
    assert run(data, "--as", form).code == 1
    assert run.said.endswith(
        "different from then: stream event 2\n"
        '  expected: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hullo"}}\n'
        '  got:      {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}\n'
    )
    difference = run(data, "--as", form, "--json").values[-1]["difference"]
    assert (difference["in"], difference["part"], difference["index"]) == ("the recorded pieces", "stream event", 2)
    assert json.loads(difference["expected"])["delta"]["text"] == "Hullo"
    assert json.loads(difference["got"])["delta"]["text"] == "Hello"


@pytest.mark.parametrize("columns", [30, 50, 80])
def test_a_difference_fits_into_the_terminal_and_is_seen(
    run: Run, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    expected, got = run(with_other_text(SAMPLES["stream"](), "Hullo")).said.splitlines()[-2:]
    assert max(len(expected), len(got)) <= columns
    assert (expected[:12], got[:12]) == ("  expected: ", "  got:      ")
    assert expected != got
    assert "ullo" in expected


def test_an_event_that_is_missing_is_nothing(run: Run) -> None:
    data = SAMPLES["stream"]().replace(b',{"type":"message_stop"}', b"")
    assert run(data).code == 1
    assert run.said.splitlines()[-3:] == [
        "different from then: stream event 8",
        "  expected: nothing",
        '  got:      {"type":"message_stop"}',
    ]
    assert run(data, "--json").values[-1]["difference"]["expected"] is None


@pytest.mark.parametrize(("name", "status"), [("whole", b"200"), ("refusal", b"400")])
def test_another_answer_is_a_difference(run: Run, name: str, status: bytes) -> None:
    data = SAMPLES[name]().replace(b'{"what":"answered","status":' + status, b'{"what":"answered","status":418')
    assert run(data).code == 1
    said, expected, got = run.said.splitlines()[-3:]
    assert said == "different from then: answer 0"
    assert expected.startswith('  expected: {"what":"answered","status":418,')
    assert got.startswith(f'  got:      {{"what":"answered","status":{status.decode()},')


def test_where_the_exchange_takes_another_turn_the_line_is_said(run: Run) -> None:
    data = Taped().call("a").refuse(429, {"message": "slow"}).call("b").answer(HELLO).taped
    assert run(data).code == 0
    assert run(data.replace(b'"status":429', b'"status":400')).code == 1
    assert "the client is sent an error (status 400, invalid_request_error)" in run.said
    assert run.said.endswith(
        "different from then: line 10\n"
        "  expected: to go on as then\n"
        "  got:      ProviderChosen is not what Ended waits for\n"
    )


@pytest.mark.parametrize(("option", "where"), [("--cuts=5", "chunking "), ("--bytewise", "single bytes")])
def test_the_first_pieces_that_make_a_difference_are_said(
    run: Run, monkeypatch: pytest.MonkeyPatch, option: str, where: str
) -> None:
    real = intake.read_stream

    def wrong(phase: Any, data: bytes, *, request_size: int) -> Any:
        return real(phase, data if len(data) == len(CALLED) else data[:-1], request_size=request_size)

    monkeypatch.setattr(intake, "read_stream", wrong)
    data = Taped(stream=False).call().answer(CALLED).taped
    assert run(data).code == 0
    assert run(data, option).code == 1
    assert f"different from then in {where}" in run.said
    difference = run(data, option, "--json").values[-1]["difference"]
    assert difference["in"].startswith(where)


def test_a_request_that_is_converted_otherwise_is_said_and_is_no_difference(run: Run) -> None:
    data = SAMPLES["stream"]().replace(b'Message":{"content":"Hello"', b'Message":{"content":"Hallo"')
    assert run(data).code == 0
    assert run.said.endswith(f"\nthe service's request is not what it was then\n{SAME}\n")
    assert {"convertedAlike": False} in run(data, "--json").values


def test_a_request_that_is_refused_now_is_a_difference(run: Run) -> None:
    data = SAMPLES["stream"]().replace(b'"role":"user"', b'"role":"assistant"')
    assert run(data, "--bytewise").code == 1
    assert "different from then in the recorded pieces: line 2\n" in run.said
    assert "  got:      the request is refused now: " in run.said


# --- recordings without an end ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "line", "why"),
    [
        (SAMPLES["cut"](), 11, "the client left"),
        (SAMPLES["cut before a call"](), 7, "the gateway was stopped"),
        (b"".join(SAMPLES["stream"]().splitlines(keepends=True)[:8]), 8, "the exchange had not ended"),
        (b"".join(SAMPLES["stream"]().splitlines(keepends=True)[:3]), 3, "the exchange had not ended"),
        (SAMPLES["stream"]()[:-30], 16, "the line is not whole"),
        (SAMPLES["stream"]() + b"\0", 18, "the line is not whole"),
    ],
)
def test_where_a_recording_ends_is_said(run: Run, data: bytes, line: int, why: str) -> None:
    assert run(data, "--as", "events").code == 0
    end, same = run.said.splitlines()[-2:]
    assert end == f"the recording ends at line {line}: {why}"
    assert same == (SAME if b'"ended"' in data else "the same as then, as far as the recording goes")
    assert {"end": {"line": line, "why": why}} in run(data, "--as", "events", "--json").values


def test_what_there_is_of_a_torn_recording_is_compared(run: Run) -> None:
    data = with_other_text(SAMPLES["stream"](), "Hullo")
    assert run(data[:-5]).code == 1
    assert "different from then: stream event 2\n" in run.said


def test_a_recording_may_end_at_any_byte(run: Run) -> None:
    data = SAMPLES["pings"]()
    begin = len(b"".join(data.splitlines(keepends=True)[:3]))
    for end in range(begin, len(data), 7):
        assert run(data[:end]).code == 0
    assert run(data[: begin - 20]).code == 3
    assert "line 3: expected 'converted', but the recording ends before it" in run.complained
