r"""Recordings: what a service says is taped while an exchange goes on, and run again, whole, cut and changed.

An input is a letter and the rest.

    r   a file as it is: it is read, or an error says which line is wrong; what was read runs again without an
        exception, and each of its beginnings is read or wrong in its first three lines.
    s   a script of `fuzz.taped`: an exchange is played and taped.
        - No secret is in the file, nor in the bodies that it holds, escaped or not.
        - What the file says was delivered is what the client was sent, its secrets covered. Where a token stands in the
          prompt, the file ends where an answer begins.
        - Run again it delivers the same: in the same pieces, in others, and in single bytes. So does a file that was
          cut, up to there, if it was not cut in its first three lines.
        - One changed byte makes an error, a difference, or nothing: never another answer.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as a script, so that the modules beside it are the ones that are tried
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import msgspec

from core.credentials import Token
from core.playback import single_bytes
from core.recording import (
    AnsweredLine,
    CallLine,
    DataLine,
    DeliveredLine,
    EndedLine,
    Recording,
    RecordingError,
    is_recording,
    parse_recording,
)
from core.rerun import Rerun, first_difference_from_then, rerun
from core.response import BufferedResponse
from core.sse import Ping
from fuzz.taped import NUMBERS, SIGNS, Taped, in_json, tape

_LONGEST_BODY = 4000
"""Bytes of bodies up to which they are run again byte by byte."""


_CHECKSUM = re.compile(rb"0x[0-9a-f]{8}")


def one_input(data: bytes) -> None:
    """One file or one exchange, by the rules above."""
    if data[:1] == b"s":
        _check_exchange(data[1:])
    else:
        _check_file(data[1:])


# --- a file ----------------------------------------------------------------------------------------------------


def _check_file(data: bytes) -> None:
    recording = read(data)
    if isinstance(recording, RecordingError):
        assert 1 <= recording.line <= data.count(b"\n") + 2
        assert str(recording).isprintable()
        assert len(str(recording)) < 1000
        return
    assert is_recording(data)
    for pieces in (None, single_bytes, _cutter((7, 100))):
        first_difference_from_then(recording, rerun(recording, pieces))
    for end in (len(data) // 3, len(data) * 2 // 3, len(data) - 1):
        _read_beginning(data, end)


def read(data: bytes) -> Recording | RecordingError:
    """The recording, or what is wrong with it."""
    try:
        return parse_recording(data)
    except RecordingError as error:
        return error


def _read_beginning(data: bytes, end: int) -> Recording | None:
    """A recording's beginning is one, or ends in its first lines."""
    beginning = read(data[:end])
    if isinstance(beginning, Recording):
        return beginning
    assert beginning.line <= 3
    assert data.count(b"\n", 0, end) < 3
    return None


# --- an exchange -----------------------------------------------------------------------------------------------


def _check_exchange(lines: bytes) -> None:
    if any(word in lines for word in SIGNS):
        return  # A secret that an account has which is not used yet is none so far.
    taped = tape(lines)
    check_secrets(taped.file, taped.tokens)
    if not taped.file:
        assert taped.has_left
        return
    recording = parse_recording(taped.file)
    assert not recording.is_torn
    _check_delivered(recording, taped)
    run = check_alike(recording, taped)
    script = taped.script
    if (cut := _read_beginning(taped.file, script.cut % (len(taped.file) + 1))) is not None:
        beginning = rerun(cut)
        assert first_difference_from_then(cut, beginning) is None
        assert _sent(run)[: len(_sent(beginning))] == _sent(beginning)
    check_change(taped.file, script.place, script.value, run)


def check_alike(recording: Recording, taped: Taped) -> Rerun:
    """It is run again as it was, and in other pieces."""
    run = rerun(recording)
    assert run.is_converted_alike
    assert first_difference_from_then(recording, run) is None
    ways = [_cutter(taped.script.sizes or (5, 50))]
    if sum(len(line.data) for line in recording.lines if isinstance(line, DataLine)) <= _LONGEST_BODY:
        ways.append(single_bytes)
    for way in ways:
        again = rerun(recording, way)
        assert first_difference_from_then(recording, again) is None
        assert _sent(again) == _sent(run)
    return run


def check_change(file: bytes, place: int, value: int, run: Rerun) -> str:
    """One byte is changed: what came of it. `run` is that of the file as it was."""
    place %= len(file)
    changed = file[:place] + bytes((value % 256,)) + file[place + 1 :]
    recording = read(changed)
    if isinstance(recording, RecordingError):
        assert recording.line <= file.count(b"\n", 0, place) + 2
        return "error"
    again = rerun(recording)
    if first_difference_from_then(recording, again) is not None:
        return "difference"
    # Where there is no end to compare with, an error may have become of it, but not another answer. And in a frame that
    # was damaged before, the checksum may be wrong in another way.
    has_end = recording.lines and isinstance(recording.lines[-1], AnsweredLine | EndedLine)
    if has_end or isinstance(again.outcome, BufferedResponse):
        assert [_CHECKSUM.sub(b"", each) for each in _sent(again)] == [_CHECKSUM.sub(b"", each) for each in _sent(run)]
    return "same"


def _sent(run: Rerun) -> list[bytes]:
    """What the client is sent, pings aside."""
    events = [msgspec.json.encode(event) for event in run.stream if not isinstance(event, Ping)]
    return events + ([msgspec.json.encode((run.answer, run.answer.body.decode()))] if run.answer else [])


def _cutter(sizes: Sequence[int]) -> Any:
    def cut(data: bytes) -> Iterator[bytes]:
        at = turn = 0
        while at < len(data):
            size = sizes[turn % len(sizes)]
            yield data[at : at + size]
            at, turn = at + size, turn + 1

    return cut


# --- secrets ---------------------------------------------------------------------------------------------------


def check_secrets(file: bytes, tokens: Sequence[Token]) -> None:
    """None is in the file, nor in what it holds in base64."""
    bodies = [b""]
    if file.count(b"\n") >= 3:
        for line in parse_recording(file).lines:
            if isinstance(line, CallLine):
                bodies.append(b"")
            elif isinstance(line, DataLine):
                bodies[-1] += line.data
    for token in tokens:
        secrets = [token.access_token, token.refresh_token, NUMBERS.get(token.access_token[-2])]
        for secret in filter(None, secrets):
            forms = {secret, json.dumps(secret)[1:-1], in_json(secret), json.dumps(in_json(secret))[1:-1]}
            for form in forms:
                assert form.encode() not in file, form
                assert not any(form.encode() in body for body in bodies), form


def _check_delivered(recording: Recording, taped: Taped) -> None:
    delivered = [bytes(event) for line in recording.lines if isinstance(line, DeliveredLine) for event in line.events]
    final = recording.lines[-1] if recording.lines else None
    is_ended = isinstance(final, AnsweredLine | EndedLine)
    # An answer that may quote a token of the prompt is none of the file's.
    is_withheld = not is_ended and not taped.has_left
    assert not is_withheld or b"removed" in taped.file.split(b"\n")[2]
    assert len(delivered) == len(taped.delivered) or (is_withheld and len(delivered) < len(taped.delivered))
    for one, other in zip(delivered, taped.delivered, strict=False):
        assert len(one) == len(other)
        assert one == other or _holds_secret(other)
    assert not (is_ended and taped.has_left)


def _holds_secret(text: bytes) -> bool:
    return any(sign in text for sign in SIGNS)


if __name__ == "__main__":
    from fuzz.runner import run

    run(one_input)
