"""What was sent then, what the recording says of it and what a rerun sends are the same, in whatever pieces it came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.playback import chop, single_bytes
from core.recording import (
    AnsweredLine,
    DataLine,
    DeliveredLine,
    EndedLine,
    Recording,
    parse_recording,
)
from core.rerun import Rerun, first_difference_from_then, rerun
from core.sse import Ping
from fuzz.recording import check_change, check_secrets
from fuzz.taped import Taped, tape

PING = b'{"type":"ping"}'

EVENTS = [
    b"tHello",
    b"t, w\xc3\xb6rld",
    b"hI think",
    b"gc2ln",
    b'c00{"command":',
    b'c00"ls"}',
    b"e00",
    b'o11{"a":[1,\\n2]}',
    b"e11",
    b"e03{\\n}",
    b'tTool call: Bash({"command":"ls"})',
    b"p12.5",
    b"m5a",
    b"umetering",
    b"t$A and $R",
    b'j0{"content":"$A of $P"}',
    b'c22{"a":"$R"}',
    b"e22",
    b"!ThrottlingException||Rate exceeded",
    b"!ThrottlingException|INSUFFICIENT_MODEL_CAPACITY|busy $A",
    b"!AccessDeniedException|FEATURE_NOT_SUPPORTED|not for $P of $N",
    b"#InternalError|$O",
    b"Hx-amzn-errortype:$A",
    b"w",
]
ENDINGS = [
    b"|",
    b"|N",
    b"|T",
    b"|X4",
    b'|R400|{"message":"Improperly formed request.","reason":null}',
    b'|R403|{"message":"The bearer token included in the request is invalid"}',
    b'|R429|{"message":"slow down, $A"}',
    b"|R500|<html>$A",
]
ACCOUNTS = [b"", b"An", b"Ary", b"Arrr"]
CLIENTS = [b"", b"S", b"V", b"V", b"P$A is mine, $R too", b"P$A is mine, live\nV"]

scripts = st.builds(
    lambda events, accounts, client: [*events, accounts, client],
    st.lists(st.sampled_from(EVENTS) | st.sampled_from(EVENTS) | st.sampled_from(ENDINGS), min_size=1, max_size=9),
    st.sampled_from(ACCOUNTS),
    st.sampled_from(CLIENTS),
)
# A script has sizes as characters, of which one ends a line.
sizes = st.lists(st.integers(1, 120).filter(lambda size: size != 11), min_size=1, max_size=3)
pauses = st.text(st.sampled_from("0001259APp"), min_size=1, max_size=4)


def played(script: Sequence[bytes], pieces: Sequence[int] = (), timing: str = "") -> Taped:
    """The exchange of a script, its answers in pieces of these sizes, with pauses."""
    own = [b"=" + bytes(size - 1 for size in pieces)] if pieces else []
    return tape(b"\n".join([*script, *own, *([b"T" + timing.encode()] if timing else [])]))


def sent_then(recording: Recording) -> list[bytes]:
    """What the recording says that the client was sent, pings aside."""
    events = [bytes(each) for line in recording.lines if isinstance(line, DeliveredLine) for each in line.events]
    end = recording.lines[-1]
    return [each for each in events if each != PING] + ([bytes(end.body)] if isinstance(end, AnsweredLine) else [])


def sent_now(run: Rerun) -> list[bytes]:
    """What a rerun sends, pings aside."""
    events = [msgspec.json.encode(event) for event in run.stream if not isinstance(event, Ping)]
    return events + ([run.answer.body.replace(b"\n", b" ")] if run.answer else [])


@given(scripts, sizes, sizes, st.integers(0, 1000))
@settings(max_examples=120, deadline=None)
def test_any_pieces_then_and_any_pieces_now_come_to_the_same(
    script: list[bytes], then: list[int], other: list[int], seed: int
) -> None:
    taped = played(script, then)
    check_secrets(taped.file, taped.tokens)
    recording = parse_recording(taped.file)
    sent = sent_then(recording)
    for pieces in (
        None,
        single_bytes,
        lambda data: chop(data, seed=seed, turn=4),
        lambda data: chop(data, seed=seed, turn=5),
    ):
        run = rerun(recording, pieces)
        assert first_difference_from_then(recording, run) is None
        assert sent_now(run) == sent
    # The same bytes in other pieces are recorded as the same answer. The rest of a body that ended early is not there.
    if taped.script.is_live:
        return  # its pieces are those in which it came, and it may have begun before a fault or not
    again = parse_recording(played(script, other).file)
    assert sent_then(again) == sent
    if not any(line[:1] in (b"!", b"#") for line in script):
        assert joined(again) == joined(recording)


def joined(recording: Recording) -> bytes:
    """All data."""
    return b"".join(line.data for line in recording.lines if isinstance(line, DataLine))


@given(scripts, sizes, pauses, st.booleans(), st.integers(0, 1000))
@settings(max_examples=120, deadline=None)
def test_times_and_signs_of_life_come_to_the_same_in_other_pieces(
    script: list[bytes], then: list[int], timing: str, is_late: bool, seed: int
) -> None:
    taped = played([*script, b"L"] if is_late else script, then, timing)
    recording = parse_recording(taped.file)
    for pieces in (None, single_bytes, lambda data: chop(data, seed=seed, turn=4)):
        run = rerun(recording, pieces)
        assert first_difference_from_then(recording, run) is None
        assert sent_now(run) == sent_then(recording)


@given(scripts, sizes)
@settings(max_examples=60, deadline=None)
def test_what_the_client_was_sent_is_what_is_recorded(script: list[bytes], then: list[int]) -> None:
    script = [line for line in script if b"$" not in line]
    taped = played(script, then)
    recording = parse_recording(taped.file)
    events = [bytes(each) for line in recording.lines if isinstance(line, DeliveredLine) for each in line.events]
    assert events == taped.delivered
    assert isinstance(recording.lines[-1], AnsweredLine | EndedLine)


@given(scripts, sizes, st.integers(0, 100_000))
@settings(max_examples=60, deadline=None)
def test_a_file_that_was_cut_comes_to_the_same_up_to_there(script: list[bytes], then: list[int], place: int) -> None:
    data = played(script, then, "1").file
    whole = sent_now(rerun(parse_recording(data)))
    heads = len(b"\n".join(data.split(b"\n")[:3]))
    recording = parse_recording(data[: heads + place % (len(data) - heads)])
    run = rerun(recording)
    assert first_difference_from_then(recording, run) is None
    sent = sent_now(run)
    assert sent == whole[: len(sent)]


# --- one changed byte ------------------------------------------------------------------------------------------

SMALL = {
    "stream": b"tHi\nc00{}\ne00",
    "refusal": b'S\n|R400|{"message":"Improperly formed request."}',
}


@cache
def small(name: str) -> tuple[bytes, Rerun]:
    """A small file, and what it comes to."""
    data = tape(SMALL[name]).file
    return data, rerun(parse_recording(data))


def others(byte: int) -> Iterator[int]:
    """What a byte is changed into: a neighbour, the other case or a control character, and one that is no UTF-8."""
    yield from (byte ^ 1, byte ^ 0x20, byte ^ 0x80)


@pytest.mark.parametrize("name", SMALL)
def test_no_changed_byte_makes_another_answer_in_silence(name: str) -> None:
    data, run = small(name)
    found = {check_change(data, place, value, run) for place, byte in enumerate(data) for value in others(byte)}
    assert found == {"error", "difference", "same"}


@pytest.mark.parametrize("name", SMALL)
def test_a_changed_byte_of_a_body_is_found(name: str) -> None:
    data, _ = small(name)
    recording = parse_recording(data)
    for number, line in enumerate(recording.lines):
        if not isinstance(line, DataLine):
            continue
        for place in range(len(line.data)):
            body = line.data[:place] + bytes((line.data[place] ^ 4,)) + line.data[place + 1 :]
            changed = msgspec.structs.replace(line, data=body)
            lines = (*recording.lines[:number], changed, *recording.lines[number + 1 :])
            differing = msgspec.structs.replace(recording, lines=lines)
            difference = first_difference_from_then(differing, rerun(differing))
            # White space and escapes may say the same in another way: in a refusal, which no checksum guards.
            assert difference is not None or (name == "refusal" and sent_now(rerun(differing)) == sent_then(recording))


def test_bits_that_base64_does_not_use_change_nothing() -> None:
    files = (tape(b"tHi" + b"!" * more).file for more in range(3))
    data = next(file for file in files if b'="}' in file)
    place = data.index(b"=", data.index(b'"data":"')) - 1
    changed = data[:place] + bytes((data[place] + 1,)) + data[place + 1 :]
    assert parse_recording(changed) == parse_recording(data)
