"""Bodies that the real service sent, replayed: the frames are botocore's, and damage is never another message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from botocore.eventstream import EventStreamBuffer

from adapters.cli import main
from core.failures import Failure
from core.playback import BARE_HEAD, Playback, bare_reading, chop, first_difference, play, single_bytes
from core.rawhttp import RawResponse, parse_response
from core.times import Epoch

CAPTURES = Path(__file__).parents[3] / "shared" / "captures"

if not CAPTURES.is_dir():
    pytest.skip("there are no captures beside the project", allow_module_level=True)

STREAMS = sorted(CAPTURES.glob("*.bin"))


def run(*pieces: bytes) -> Playback:
    """What the core makes of a body in these pieces."""
    return play(BARE_HEAD, pieces, reading=bare_reading("claude-test", ()), now=Epoch(1_700_000_000.0))


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_the_frames_are_those_that_botocore_finds(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = path.read_bytes()
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    expected = [(message.prelude.total_length, message.headers, json.loads(message.payload)) for message in buffer]
    assert main(["replay", str(path), "--as", "frames", "--json"]) == 0
    frames = [json.loads(line)["frame"] for line in capsys.readouterr().out.splitlines()]
    assert [
        (
            frame["length"],
            {name: header["value"] for name, header in frame["headers"].items()},
            frame["payload"]["json"],
        )
        for frame in frames
    ] == expected


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_the_message_is_printed_and_no_chunking_changes_it(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(path), "--as", "message", "--cuts", "20", "--bytewise"]) == 0
    assert capsys.readouterr().out.endswith("the same in 20 chunkings of seed 0, single bytes\n")


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_a_body_in_a_chunked_response_is_the_body(path: Path) -> None:
    data = path.read_bytes()
    pieces = tuple(chop(data, seed=0, turn=5))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))
    read = parse_response(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    assert isinstance(read, RawResponse)
    assert read.pieces == pieces
    assert first_difference(run(data), run(*read.pieces)) is None


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_a_damaged_byte_is_a_fault_that_names_its_frame_and_never_another_message(path: Path) -> None:
    data = path.read_bytes()
    frames = run(data).frames
    for place in range(0, len(data), 1 if len(data) < 300 else 7):
        damaged = data[:place] + bytes((data[place] ^ (1 << place % 8),)) + data[place + 1 :]
        hit = next(frame for frame in frames if place < frame.offset + frame.length)
        for played in (run(damaged), run(*single_bytes(damaged))):
            assert played.fault is not None
            assert played.fault.offset == hit.offset
            assert isinstance(played.outcome, Failure)
            assert f"at byte {hit.offset}:" in played.outcome.message
