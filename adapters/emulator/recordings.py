"""Recordings as an upstream: how their calls were answered, and which of those answers a request gets.

The first version of the format is read with types of this module's own: of the lines, those that tell of calls, and of
these the members that an answer is made of. All others are passed over, so that newer recordings can be read as well.
It knows nothing of what the gateway made of an answer.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from adapters.emulator.wire import Close, Head, Reply, Reset, Send, Stall, Step, Wait, hasten

VERSION: Final = 1

MOST_BYTES: Final = 256 * 1024 * 1024
"""A larger file is no recording of one exchange."""


class Unservable(ValueError):
    """There is nothing that could be served. The text says why, in one line."""


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """What the service was asked in one exchange, and how each of its calls was answered.

    `date` is in seconds since 1970. `conversation` is the same for the same conversation. `problem`: why it was not
    read to its end, where it was not.
    """

    name: str
    date: float
    conversation: bytes
    model: str | None
    replies: tuple[Reply, ...]
    problem: str | None = None


# --- the lines -------------------------------------------------------------------------------------------------


class _Sign(msgspec.Struct):
    stagewhisper: int


class _Opening(msgspec.Struct):
    at: float
    date: float


class _Line(msgspec.Struct):
    what: str
    at: float | None = None


class _Asked(msgspec.Struct, rename="camel"):
    conversation_state: dict[str, Any]


class _Converted(msgspec.Struct):
    request: _Asked


class _Head(msgspec.Struct):
    # h11 sends no other status as that of an answer.
    status: Annotated[int, msgspec.Meta(ge=200, le=999)]
    headers: dict[str, str]


class _Data(msgspec.Struct):
    data: bytes


class _Failed(msgspec.Struct):
    cause: Literal["network", "timeout"]
    problem: str = ""


class _UserMessage(msgspec.Struct, rename="camel"):
    model_id: str | None = None


class _Message(msgspec.Struct, rename="camel"):
    user_input_message: _UserMessage


class _State(msgspec.Struct, rename="camel"):
    current_message: _Message


class _Damaged(Exception):
    """A line that is none, or not in its place. The text says why."""


def _decode(text: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except _UNDECODABLE as error:
        raise _Damaged(str(error)[:200]) from None


_UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


# --- reading ---------------------------------------------------------------------------------------------------


def read_recordings(path: Path) -> tuple[tuple[Recording, ...], tuple[str, ...]]:
    """The recordings of a folder, or that of a file, oldest first; and a line for each file not read to its end.

    Raises:
        Unservable: nothing in it could be served.
    """
    recordings: list[Recording] = []
    remarks: list[str] = []
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
    except OSError as error:
        raise Unservable(f"{path}: cannot be read: {error.strerror}") from None
    for file in files:
        try:
            recording = parse_recording(file.name, _read(file))
        except Unservable as problem:
            if file is path:
                raise Unservable(f"{path}: {problem}") from None
            remarks.append(f"{file.name!a} is not served: {problem}")
            continue
        recordings.append(recording)
        if recording.problem is not None:
            remarks.append(f"{file.name!a} is served in part: {recording.problem}")
    if not recordings:
        first = f"none: {remarks[0]}" if remarks else "no file"
        others = f" (and {len(remarks) - 1} more)" if len(remarks) > 1 else ""
        raise Unservable(f"{path}: expected recordings, found {first}{others}")
    return tuple(sorted(recordings, key=lambda each: (each.date, each.name))), tuple(remarks)


def _read(file: Path) -> bytes:
    try:
        # To open a pipe would wait for its other end.
        if file.exists() and not file.is_file():
            raise Unservable("no file")
        with file.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise Unservable(f"cannot be read: {error.strerror}") from None
    if len(data) > MOST_BYTES:
        raise Unservable(f"expected at most {MOST_BYTES} bytes, got more")
    return data


def parse_recording(name: str, data: bytes) -> Recording:
    """The recording that these bytes are, as far as it can be read.

    Raises:
        Unservable: they are none, or none of this version, or no call is in what can be read of it.
    """
    texts = data.split(b"\n")
    try:
        version = _decode(texts[0], _Sign).stagewhisper
    except _Damaged:
        raise Unservable("no recording") from None
    if version != VERSION:
        raise Unservable(f"expected version {VERSION} of the format, got {version}")
    try:
        opening = _decode(texts[0], _Opening)
    except _Damaged as damage:
        raise Unservable(f"line 1: {damage}") from None
    calls = _Calls(opening.at)
    number, problem = 1, None
    conversation, model = None, None
    try:
        for number, text in enumerate(texts[1:], 2):
            if number == len(texts) and not text:
                break
            line = _decode(text, _Line)
            if line.what == "converted" and conversation is None:
                conversation, model = _conversation(_decode(text, _Converted).request.conversation_state)
            if line.what == "call" and conversation is None:
                raise _Damaged("a call, and it is not said what was asked")
            calls.take(line, text)
    except _Damaged as damage:
        problem = f"line {number}: {damage}"
    replies = calls.end()
    if not replies:
        raise Unservable(problem or "no call to the service in it")
    assert conversation is not None, "a call stands behind what was asked"
    return Recording(
        name=name, date=opening.date, conversation=conversation, model=model, replies=replies, problem=problem
    )


def _conversation(state: Mapping[str, Any]) -> tuple[bytes, str | None]:
    """What is the same for the same conversation, whatever its id and whoever has it; and the model that is asked."""
    try:
        current = msgspec.convert(state, _State).current_message
        return _fingerprint(state), current.user_input_message.model_id
    except _UNDECODABLE as error:
        raise _Damaged(str(error)[:200]) from None


def _fingerprint(state: Mapping[str, Any]) -> bytes:
    said = msgspec.json.encode([state.get("history", []), state["currentMessage"]], order="sorted")
    return hashlib.sha256(said).digest()


# --- calls and their answers -----------------------------------------------------------------------------------


class _Calls:
    """The answers of one recording, put together line by line. `at` is the moment at which it begins."""

    def __init__(self, at: float) -> None:
        self._replies: list[Reply] = []
        self._now = at
        self._is_open = False
        self._is_after_data = False
        self._head: Head | None = None
        self._steps: list[Step] = []
        self._delay = 0.0
        self._last = at

    def take(self, line: _Line, text: bytes) -> None:
        """Take in the next line.

        Raises:
            _Damaged: it is not what can come here.
        """
        if line.at is not None:
            self._now = line.at
        match line.what:
            case "call":
                self._abandon()
                self._is_open, self._head, self._steps, self._delay, self._last = True, None, [], 0.0, self._now
            case "head":
                if not self._is_open or self._head is not None:
                    raise _Damaged("a head, and no call waits for one")
                head = _to_head(_decode(text, _Head))
                self._wait()
                self._head = head
            case "data":
                self._expect_head()
                if data := _decode(text, _Data).data:
                    self._wait()
                    self._steps.append(Send(data))
            case "body_end":
                self._expect_head()
                self._wait()
                self._answered()
            case "failed":
                if not self._is_open:
                    raise _Damaged("a failure, and no call is open")
                failed = _decode(text, _Failed)
                if failed.cause == "network":
                    self._wait()
                self._answered(Stall() if failed.cause == "timeout" else _breach(failed.problem))
            case "chosen" | "none_left" | "token" | "no_token" | "answered" | "ended":
                self._abandon()
            case _:
                pass
        if line.at is not None:
            self._is_after_data = line.what == "data"

    def end(self) -> tuple[Reply, ...]:
        """All answers, at the end of what can be read."""
        if self._is_open:
            # What came behind that is not known. That nothing came up to there is.
            self._wait()
            self._answered(Close())
        return tuple(self._replies)

    def _abandon(self) -> None:
        """The gateway goes on although the body has not ended: it waited in vain, or what came last was enough."""
        if self._is_open and self._is_after_data:
            self._answered()  # an exception, say, behind which the service sends nothing
        elif self._is_open:
            self._answered(Stall())

    def _expect_head(self) -> None:
        if not self._is_open or self._head is None:
            raise _Damaged("a body, and no head before it")

    def _wait(self) -> None:
        """Wait for as long as it took then. A monotonic clock does not go back; a damaged one may."""
        seconds = max(0.0, self._now - self._last)
        self._last = self._now
        if self._head is None:
            self._delay += seconds
        elif seconds:
            self._steps.append(Wait(seconds))

    def _answered(self, *ending: Step) -> None:
        self._replies.append(Reply(self._head, (*self._steps, *ending), self._delay))
        self._is_open = False


# A connection has its own, and frames the body itself; a date would be an old one.
_NOT_SERVED: Final = frozenset(
    {
        "connection", "content-length", "date", "keep-alive", "proxy-authenticate", "proxy-authorization",
        "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip

_NAME = re.compile(r"[-!#$%&'*+.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"(?:[^\x00\s]+(?:[ \t]+[^\x00\s]+)*)?")


def _to_head(head: _Head) -> Head:
    """The head as it is served."""
    headers = {name.lower(): value for name, value in head.headers.items()}
    if not all(_NAME.fullmatch(name) and _VALUE.fullmatch(value.encode()) for name, value in headers.items()):
        raise _Damaged("a header that HTTP cannot carry")
    left_out = _NOT_SERVED | {name.strip().lower() for name in headers.get("connection", "").split(",")}
    return Head(head.status, tuple((name, value) for name, value in headers.items() if name not in left_out))


_BY_RESET = re.compile(r"reset|ConnectError|ReadError|WriteError", re.IGNORECASE)


def _breach(problem: str) -> Step:
    """How a connection ended that broke. Of one that never was, a reset without an answer comes nearest."""
    return Reset() if _BY_RESET.search(problem) else Close()


# --- serving ---------------------------------------------------------------------------------------------------


class Recordings:
    """Recordings that requests are answered from. Each answer is given once; when all were, all begin again.

    They are taken in the order in which they are given here. With `waits`, an answer comes as slowly as it did then.
    """

    def __init__(self, recordings: Sequence[Recording], *, waits: bool = True) -> None:
        if not recordings:
            raise ValueError("expected a recording at least")
        self._recordings = tuple(recordings)
        self._given = [0] * len(recordings)
        self._waits = waits

    @property
    def models(self) -> tuple[str, ...]:
        """The models that were asked for, each once."""
        return tuple(dict.fromkeys(each.model for each in self._recordings if each.model is not None))

    @property
    def size(self) -> tuple[int, int]:
        """How many recordings there are, and how many answers in all of them."""
        return len(self._recordings), sum(len(each.replies) for each in self._recordings)

    def answer(self, state: Mapping[str, Any], *, longest_wait: float) -> tuple[Reply, str]:
        """The reply to a good request with this `conversationState`, and what the log says of it.

        It is from a recording of the same conversation, else from the next one, whatever was asked then. No wait in it
        is longer than `longest_wait`, in seconds.

        Raises:
            RecursionError: the state is nested too deeply.
        """
        asked = _fingerprint(state)
        left = self._left()
        if not left:
            self._given = [0] * len(self._given)
            left = self._left()
        index = next((each for each in left if self._recordings[each].conversation == asked), left[0])
        recording = self._recordings[index]
        reply = recording.replies[self._given[index]]
        self._given[index] += 1
        alike = "asked the same" if recording.conversation == asked else "asked something else"
        how = f"answer {self._given[index]} of {len(recording.replies)} in {recording.name!a}, {alike}"
        return hasten(reply, longest_wait if self._waits else 0.0), how

    def _left(self) -> list[int]:
        """The recordings that have answers left."""
        both = zip(self._recordings, self._given, strict=True)
        return [index for index, (recording, given) in enumerate(both) if given < len(recording.replies)]
