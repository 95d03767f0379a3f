"""What tests of an emulator on recordings share: recordings that are written line by line, and an emulator on some."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from adapters.emulator import Emulator, Recordings
from adapters.emulator.recordings import parse_recording
from tests.adapters.emulated import World, shell_request

PROFILE = "arn:aws:codewhisperer:us-east-1:000000000000:profile/EMULATOR0000"
EVENT_STREAM = {"content-type": "application/vnd.amazon.eventstream"}


def opening(at: float = 100.0, date: float = 1_700_000_000.0, version: int = 1) -> dict[str, Any]:
    """The first line of a recording."""
    return {"what": "opening", "at": at, "date": date, "stagewhisper": version}


def converted(content: str = "Hi", **state: Any) -> dict[str, Any]:
    """The line that says what the service was asked."""
    request = {"conversationState": {**shell_request(content)["conversationState"], **state}}
    return {"what": "converted", "request": request}


CALL = {"what": "call"}
BODY_END = {"what": "body_end", "at": 100.0}
ENDED = {"what": "ended"}
CUT = {"what": "cut", "why": "the client left"}


def head(status: int = 200, at: float = 100.0, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The line of an answer's head. With no headers of its own, it is that of an event stream."""
    return {"what": "head", "at": at, "status": status, "headers": {**EVENT_STREAM, **(headers or {})}}


def data(content: bytes, at: float = 100.0) -> dict[str, Any]:
    """The line of a piece of the body."""
    return {"what": "data", "at": at, "data": msgspec.json.decode(msgspec.json.encode(content))}


def failed(cause: str, problem: str = "", at: float = 100.0) -> dict[str, Any]:
    """The line of a call that broke."""
    return {"what": "failed", "at": at, "cause": cause, "problem": problem}


def written(*lines: dict[str, Any]) -> bytes:
    """The lines as a file."""
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def saying(*answers: bytes, content: str = "Hi", date: float = 0.0) -> bytes:
    """A recording of a request whose calls were answered with these bodies, each in one piece."""
    calls = [line for answer in answers for line in (CALL, head(), data(answer), BODY_END)]
    return written(opening(date=date), converted(content), *calls, ENDED)


def asked_in(recording: bytes) -> dict[str, Any]:
    """The request that a recording has, as another gateway would make it: with an account, and with another id."""
    lines = map(msgspec.json.decode, recording.splitlines())
    request: dict[str, Any] = next(line["request"] for line in lines if line["what"] == "converted")
    state = {**request["conversationState"], "conversationId": "00000000-0000-4000-8000-00000000ffff"}
    return {**request, "conversationState": state, "profileArn": PROFILE}


class Upstream(World):
    """An emulator that answers from recordings."""

    def __init__(self, *recordings: bytes, waits: bool = True, patience: float = 300.0) -> None:
        super().__init__()
        parsed = [parse_recording(f"{number}.jsonl", each) for number, each in enumerate(recordings, 1)]
        self.emulator = Emulator(
            recordings=Recordings(parsed, waits=waits),
            log=self.log.append,
            epoch=lambda: self.now,
            patience=patience,
        )

    def said(self, content: str = "Hi") -> bytes:
        """The body of the reply to a first message."""
        return self.ask(shell_request(content)).body()
