"""What the canned service answers: how long, in which frames, and in which rhythm. A model's name says which.

The service sends a word or two a frame. A name is `bench-LENGTH-RHYTHM`; it is the client's model and the service's, so
that it stands in a request whichever way that comes. Where there is a rhythm, the first frame says when it was sent:
the monotonic clock is one for all processes of a machine.
"""

from __future__ import annotations

import sys
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.builders import body, event, text

LENGTHS = {"ordinary": 120, "large": 10_000}
"""Words of an answer."""


class Rhythm(NamedTuple):
    """How an answer is sent: in how many pieces at the most, over how many seconds. The first goes at once."""

    pieces: int
    seconds: float


RHYTHMS = {
    "whole": Rhythm(1, 0.0),
    "paced": Rhythm(20, 0.5),
    "slow": Rhythm(20, 20.0),
}

PREFIX = "bench-"
STAMP = "@{:.6f}@ "
STAMPED = rb"@(\d+\.\d+)@ "
"""The time at which a first frame was sent, in its text, and how it is found again."""

_WORDS = (
    "the",
    "gateway",
    "reads",
    "an",
    "answer",
    "as",
    "it",
    "comes,",
    "and",
    "gives",
    "it",
    "to",
    "whoever",
    "asked.",
)
_PIECE = 16 * 1024
"""Bytes of a piece where there is no rhythm: what one read of a TLS connection gives."""


def name(length: str, rhythm: str) -> str:
    """The model whose answers are like that."""
    return f"{PREFIX}{length}-{rhythm}"


def names() -> list[str]:
    """All such models."""
    return [name(length, rhythm) for length in LENGTHS for rhythm in RHYTHMS]


def rhythm_of(model: str) -> Rhythm:
    """The rhythm that a name says."""
    return RHYTHMS[model.removeprefix(PREFIX).partition("-")[2]]


def _parts(model: str) -> list[str]:
    """The answer's text as it is in its frames: one word, two words, one, two."""
    count = LENGTHS[model.removeprefix(PREFIX).partition("-")[0]]
    words = iter([f"{_WORDS[index % len(_WORDS)]} " for index in range(count)])
    parts: list[str] = []
    while part := "".join(islice(words, 1 + len(parts) % 2)):
        parts.append(part)
    return parts


@cache
def text_of(model: str) -> str:
    """What the client has to be told, but for the first frame's time."""
    return "".join(_parts(model))


def stamp_frame(seconds: float) -> bytes:
    """The frame that says when it was sent."""
    return body(text(STAMP.format(seconds)))


def frames(model: str) -> list[bytes]:
    """The answer's frames: the text, and what it cost."""
    costs = [event("contextUsageEvent", contextUsagePercentage=12.5), event("meteringEvent", unit="credit", usage=0.02)]
    return [body(message) for message in [*map(text, _parts(model)), *costs]]


@cache
def pieces(model: str) -> tuple[bytes, ...]:
    """The answer's bytes as they are sent, but for the frame with the time."""
    whole = frames(model)
    most, seconds = rhythm_of(model)
    if not seconds:
        stream = b"".join(whole)
        return tuple(stream[start : start + _PIECE] for start in range(0, len(stream), _PIECE))
    size = -(-len(whole) // most)
    return tuple(b"".join(whole[start : start + size]) for start in range(0, len(whole), size))


def document(model: str) -> dict[str, object]:
    """A client's request for such an answer, with a tool, so that calls are looked for in the text."""
    schema = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
    return {
        "model": model,
        "max_tokens": 32_000,
        "stream": True,
        "system": "You are a helpful assistant.",
        "tools": [{"name": "Bash", "description": "Runs a command", "input_schema": schema}],
        "messages": [{"role": "user", "content": "Tell me what the gateway does."}],
    }
