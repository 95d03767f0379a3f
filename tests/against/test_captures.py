"""Bodies that the real service sent come out as the messages that they are. Read from beside the project."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from botocore.eventstream import EventStreamBuffer

from core import sse
from core.dialogue import NoProvider, StreamEnded, WantProvider
from core.http import Head
from tests.against.sdk import Judge
from tests.exchanges import Play

CAPTURES = Path(__file__).parents[3] / "shared" / "captures"

if not CAPTURES.is_dir():
    pytest.skip("there are no captures beside the project", allow_module_level=True)

STREAMS = sorted(CAPTURES.glob("*.bin"))
ERRORS = sorted(CAPTURES.glob("*.json"))


def text_of(body: bytes) -> str:
    """The answer's text, by botocore's frames and the standard library's JSON."""
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    return "".join(json.loads(message.payload)["content"] for message in buffer)


def test_there_are_four_streams_and_an_error() -> None:
    assert (len(STREAMS), len(ERRORS)) == (4, 1)


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_a_stream_is_a_message_at_any_chunking(path: Path) -> None:
    body = path.read_bytes()
    text = text_of(body)
    assert text
    for pieces in (1, 2, 7, len(body)):
        message = msgspec.json.decode(Play().call().answer(body, pieces=pieces).whole.body)
        assert message["content"] == [{"type": "text", "text": text}]
        assert message["stop_reason"] == "end_turn"
    streamed = Play(stream=True).call().answer(body)
    assert streamed.want == StreamEnded()
    rebuilt = Judge().rebuild(sse.encode_events(streamed.delivered))
    assert [block.text for block in rebuilt.content if block.type == "text"] == [text]


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_a_stream_that_is_cut_inside_a_frame_is_no_message(path: Path) -> None:
    body = path.read_bytes()
    for end in range(1, len(body), 37):
        play = Play().call()
        if play.answer(body[:end]).failed:
            assert play.failed == [("a", "network")]
        else:
            # It ended between two frames, which nobody can tell from an end.
            assert text_of(body).startswith(text_of(body[:end]))


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("path", ERRORS, ids=lambda path: path.stem)
def test_an_error_is_the_error_that_it_is(path: Path, status: int) -> None:
    head = Head(status=status, headers={"content-type": "application/json"})
    play = Play().call().answer(path.read_bytes(), head=head)
    assert isinstance(play.want, WantProvider)
    code, error_type, message = play.tell(NoProvider()).error
    assert (code, error_type) == (529, "overloaded_error")
    assert "UnknownOperationException: The requested operation is not recognized by the service." in message
