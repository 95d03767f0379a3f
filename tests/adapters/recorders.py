"""What the tests of the recorder share: one in virtual time, and exchanges that it follows."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from adapters.recorder import OpenRecording, Recorder
from core.anthropic import parse_request
from core.dialogue import NoProvider
from core.exchange import Step
from core.recording import CutLine, parse_recording
from core.taping import Moment
from core.times import Epoch, Instant, Now
from tests.adapters.token_files import START, inline
from tests.builders import SHELL_TOOL, asked, body, text
from tests.exchanges import POLICY
from tests.recordings import CALLED, Taped, streamed

TEXT = len(body(text("Hel"), text("lo")))
"""The bytes of the text in the answer that tests use; the rest of it is a call."""

CUT_ROOM = 256
"""Bytes that are kept free for the last line of each recording that is being written."""

GIVEN_UP = "recordings are given up until it works again: no request is affected"
"""What is said with every fault."""
AGAIN = "recordings are written again"
"""What is said once there is none."""

FOREIGN = {
    "notes.txt": b"1",
    "recording.jsonl": b"2",
    "2023-11-14T22-13-21.000Z-req_0001.json": b"3",
    "2023-11-14T22:13:21.000Z-req_0001.jsonl": b"4",
    "x2023-11-14T22-13-21.000Z-req_0001.jsonl": b"5",
    "2023-11-14T22-13-21.000Z-req 1.jsonl": b"6",
    "2023-11-14T22-13-21.000Z-.jsonl": b"7",
}
"""Files whose names are nearly those of recordings."""


class Studio:
    """A recorder, what it said, and its folder."""

    def __init__(self, folder: Path, *, max_files: int = 1000, max_bytes: int = 10**9, **settings: Any) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.dates = 0
        self.recorder = Recorder(
            folder,
            max_files=max_files,
            max_bytes=max_bytes,
            program="0.0.0",
            epoch=self._epoch,
            log=self.said.append,
            **{"in_thread": inline, **settings},
        )

    def _epoch(self) -> Epoch:
        """A date that is later each time."""
        self.dates += 1
        return Epoch(START + self.dates)

    @property
    def names(self) -> list[str]:
        """What is in the folder."""
        return sorted(os.listdir(self.folder))

    @property
    def contents(self) -> list[bytes]:
        """The files in the folder, by their names."""
        return [(self.folder / name).read_bytes() for name in self.names]

    def begin(self, **members: Any) -> Followed:
        """An exchange that begins now."""
        return Followed(self.recorder, **members)

    def record(self, *, pieces: int = 3, **members: Any) -> Followed:
        """An exchange that comes to its end now."""
        followed = self.begin(tools=[SHELL_TOOL], **members).call()
        followed.answer(CALLED, pieces=pieces)
        return followed

    @property
    def is_on(self) -> bool:
        """Whether it records."""
        return self.recorder.is_on


class Followed(Taped):
    """An exchange that a recorder follows, and a tape of the test's own beside it."""

    recording: OpenRecording | None

    def __init__(self, recorder: Recorder, *, pause: float = 0.25, **members: Any) -> None:
        document = streamed(**members)
        request = parse_request(msgspec.json.encode(document))
        self.recording = recorder.begin(asked(**document), request, POLICY)
        super().__init__(pause=pause, **members)

    def _take(self, step: Step) -> None:
        super()._take(step)
        if self.recording is not None:
            now = Now(Instant(self.now), Epoch(1_700_000_000.0 + self.now))
            self.recording.add(Moment(happening=self._happening, at=now, notices=step.notices, want=step.want))

    def call(self, *arguments: Any, **members: Any) -> Followed:
        """Go on to the call of an account."""
        super().call(*arguments, **members)
        return self

    def begin_answer(self, *arguments: Any, **members: Any) -> Followed:
        """Answer the call, up to where the exchange reads no more; the body does not end."""
        super().begin_answer(*arguments, **members)
        return self

    def leave(self, why: str = "the client left") -> None:
        """End the recording where the exchange came to no end."""
        assert self.recording is not None
        self.recording.end(why)

    def fail(self) -> None:
        """Come to an end for the want of an account."""
        self.tell(NoProvider())


async def settle() -> None:
    """Let the writer write; virtual time passes."""
    await trio.sleep(1)


@asynccontextmanager
async def at_work(*studios: Studio) -> AsyncIterator[None]:
    """The recorders, open and with their writers running."""
    for studio in studios:
        studio.recorder.open()
    async with trio.open_nursery() as nursery:
        for studio in studios:
            nursery.start_soon(studio.recorder.run)
        yield
        nursery.cancel_scope.cancel()


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, folder: Path, error: int, *calls: str) -> Iterator[list[str]]:
    """What the system does to calls for paths in a folder. Gives back the calls that were refused."""
    refused: list[str] = []

    def wrap(name: str, real: Any) -> Any:
        @functools.wraps(real)
        def call(path: Any, *arguments: Any, **members: Any) -> Any:
            if str(path).startswith(str(folder)):
                refused.append(name)
                raise OSError(error, os.strerror(error), path)
            return real(path, *arguments, **members)

        return call

    with monkeypatch.context() as patch:
        for name in calls:
            patch.setattr(os, name, wrap(name, getattr(os, name)))
        yield refused


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch, room: int, error: int, *, again: int = 0) -> Iterator[None]:
    """A disk on which there is room for so many bytes, and after a write that was refused for `again` more.

    The write that reaches the end of it is a short one.
    """
    rooms = [again, room]
    write = os.write

    def call(descriptor: int, data: Any) -> int:
        if not rooms or not rooms[-1]:
            if rooms:
                rooms.pop()
            raise OSError(error, os.strerror(error))
        size = write(descriptor, memoryview(data)[: rooms[-1]])
        rooms[-1] -= size
        return size

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", call)
        yield


def recordings(studio: Studio) -> dict[str, int]:
    """The recordings in a folder, and their sizes."""
    return {name: os.stat(studio.folder / name).st_size for name in studio.names if name not in FOREIGN}


def name(number: int) -> str:
    """The name of a studio's recording of that number."""
    return f"2023-11-14T22-13-{20 + number}.000Z-req_0001.jsonl"


def why_cut(data: bytes) -> str | None:
    """What the last line says where a recording was cut."""
    end = parse_recording(data).lines[-1]
    return end.why if isinstance(end, CutLine) else None
