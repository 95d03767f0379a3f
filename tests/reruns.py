"""What tests of recordings that are run again share."""

from __future__ import annotations

from functools import partial

from core.playback import chop, single_bytes
from core.recording import Recording, parse_recording
from core.rerun import Pieces, Rerun, rerun

OTHER_PIECES: list[Pieces] = [single_bytes, *(partial(chop, seed=1, turn=turn) for turn in range(8))]


def then_and_now(data: bytes, pieces: Pieces | None = None) -> tuple[Recording, Rerun]:
    """A recording, and what it comes to."""
    recording = parse_recording(data)
    return recording, rerun(recording, pieces)


def attempts(run: Rerun) -> list[tuple[str, int | None, str | None]]:
    """Account, status and failure of each attempt."""
    return [
        (each.provider, each.head.status if each.head else None, each.failure.kind.value if each.failure else None)
        for each in run.attempts
    ]
