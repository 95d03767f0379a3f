"""One exchange as lines of JSON, secrets removed by construction, and back.

A recording is what an exchange was begun with, each thing that happened with its time, and what the client was sent:
enough to run it again without a network. Its types have no place for a token, a header of a call, or a member of the
request that the gateway does not read, `metadata` among them. The first three lines are `OpeningLine`,
`AskedLine` and `ConvertedLine`; the rest stand in the order in which it happened, what the client was sent behind what
it came of. What makes these lines of an exchange is `taping`, what runs them again `rerun`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec

from core.anthropic import MessagesRequest, parse_request, shorten
from core.catalogue import Model
from core.codewhisperer import GenerateAssistantResponse
from core.errors import ClientRequestError, StagewhisperError
from core.masking import Removed
from core.phases import Policy
from core.refusals import Absence

VERSION = 1
"""The format's. A change that an older reader would misread makes a new one."""


class RecordingError(StagewhisperError):
    """A file that is no recording, or a damaged one. `line` counts from 1."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line
        self.problem = problem


# --- the lines -------------------------------------------------------------------------------------------------


class _Line(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", forbid_unknown_fields=True):
    """What all lines share: the member `what` says which one it is, and none has a member that is not listed."""


class _Timed(_Line, frozen=True):
    """`at` is in seconds of a monotonic clock that began anywhere, `date` in seconds since 1970-01-01 UTC."""

    at: float
    date: float


_Status: TypeAlias = Annotated[int, msgspec.Meta(ge=100, le=999)]

_LARGEST_WINDOW = 10**12
"""Tokens of a context window: a larger one is no model's, but might be more than arithmetic bears."""


class OpeningLine(_Timed, frozen=True, tag="opening"):
    """What the exchange was begun with. `stagewhisper` is the format's version, `program` the gateway's."""

    stagewhisper: int
    program: str
    request_id: str
    message_id: str
    jitter: float
    model: Model
    policy: Policy


class AskedLine(_Line, frozen=True, tag="asked"):
    """The client's request, as far as the gateway reads it."""

    request: MessagesRequest


class ConvertedLine(_Line, frozen=True, tag="converted"):
    """The service's request, without the account's profile."""

    request: GenerateAssistantResponse


class ChosenLine(_Timed, frozen=True, tag="chosen"):
    """The account whose turn it was. `profile_arn` has zeros for the account's number."""

    provider: str
    endpoint: str | None
    profile_arn: str | None


class NoneLeftLine(_Timed, frozen=True, tag="none_left"):
    """No account could be used, and why not."""

    absences: tuple[Absence, ...]


class TokenLine(_Timed, frozen=True, tag="token"):
    """There was a token. `removed` says how its access token and its refresh token are covered where they stand."""

    region: str | None
    profile_arn: str | None
    removed: tuple[Removed | None, Removed | None]


class NoTokenLine(_Timed, frozen=True, tag="no_token"):
    """There was none: it was refused, its file could not be read, or it could not be refreshed then."""

    cause: Literal["refused", "unreadable", "unavailable"]
    problem: str


class CallLine(_Line, frozen=True, tag="call"):
    """The service was called. `size` is that of the request's body, in bytes."""

    url: str
    size: int


class HeadLine(_Timed, frozen=True, tag="head"):
    """The service began to answer. Cookies are left out."""

    status: _Status
    headers: dict[str, str]


class DataLine(_Timed, frozen=True, tag="data"):
    """A piece of the body, as it came: in base64, as JSON has bytes."""

    data: bytes


class BodyEndLine(_Timed, frozen=True, tag="body_end"):
    """The body ended as HTTP says that it does."""


class FailedLine(_Timed, frozen=True, tag="failed"):
    """The call broke."""

    cause: Literal["network", "timeout"]
    problem: str


class WokenLine(_Timed, frozen=True, tag="woken"):
    """A moment came at which something was to be done."""


class DeliveredLine(_Line, frozen=True, tag="delivered"):
    """Stream events that the client was sent."""

    events: tuple[msgspec.Raw, ...]


class AnsweredLine(_Line, frozen=True, tag="answered"):
    """The end: the client was sent this, and no stream. `body` is `on_one_line`."""

    status: _Status
    headers: dict[str, str]
    body: msgspec.Raw


class EndedLine(_Line, frozen=True, tag="ended"):
    """The end of a stream."""


class CutLine(_Line, frozen=True, tag="cut"):
    """The recording ends here, and the exchange did not, or not well."""

    why: str


Happened: TypeAlias = (
    ChosenLine | NoneLeftLine | TokenLine | NoTokenLine | HeadLine | DataLine | BodyEndLine | FailedLine | WokenLine
)
Told: TypeAlias = CallLine | DeliveredLine | AnsweredLine | EndedLine | CutLine
Line: TypeAlias = OpeningLine | AskedLine | ConvertedLine | Happened | Told


_encoder = msgspec.json.Encoder()


def encode_line(line: Line) -> bytes:
    """A line as JSON, without its end."""
    return _encoder.encode(line)


def on_one_line(body: bytes) -> msgspec.Raw:
    """JSON without line ends, which a tool's input has where the model wrote them: never in texts, only between."""
    return msgspec.Raw(body.replace(b"\r", b" ").replace(b"\n", b" "))


# --- reading ---------------------------------------------------------------------------------------------------


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange as it was recorded. `lines` are those from the fourth on; `is_torn`: the last one was not whole."""

    opening: OpeningLine
    request: MessagesRequest
    converted: GenerateAssistantResponse
    lines: tuple[Line, ...]
    is_torn: bool


class _Sign(msgspec.Struct):
    stagewhisper: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


_T = TypeVar("_T")


def is_recording(data: bytes) -> bool:
    """Whether bytes say at their beginning that they are a recording."""
    return data.startswith(b"{") and isinstance(_decode(data.partition(b"\n")[0], _Sign), _Sign)


def parse_recording(data: bytes) -> Recording:
    """The recording that these bytes are, as far as it goes: where its writer was ended, the last line may be torn.

    Raises:
        RecordingError: they are none, or are damaged, or end before it is said what was asked.
    """
    *texts, last = data.split(b"\n")
    sign = _decode(texts[0] if texts else last, _Sign)
    if isinstance(sign, str) or not data.startswith(b"{"):
        problem = sign if isinstance(sign, str) else "it begins with a blank"
        raise RecordingError(1, f"expected the first line of a recording: {problem}")
    if sign.stagewhisper != VERSION:
        raise RecordingError(1, f"expected version {VERSION} of the format, got {sign.stagewhisper}")
    lines: list[Line] = []
    for number, text in enumerate(texts, 1):
        line: Line | str = _decode(text, Line)
        if isinstance(line, str):
            raise RecordingError(number, line)
        lines.append(line)
    end: Line | str = _decode(last, Line)
    if not isinstance(end, str):
        lines.append(end)
    opening = _expect(lines, 1, OpeningLine)
    if not 1 <= opening.model.context_window <= _LARGEST_WINDOW:
        raise RecordingError(1, f"expected a context window of 1 to {_LARGEST_WINDOW} tokens")
    asked = _expect(lines, 2, AskedLine)
    converted = _expect(lines, 3, ConvertedLine)
    for number, line in enumerate(lines[3:], 4):
        if isinstance(line, OpeningLine | AskedLine | ConvertedLine):
            raise RecordingError(number, f"expected what happened then, got {_tag(type(line))}")
        if isinstance(line, AnsweredLine | EndedLine | CutLine) and number < len(lines):
            raise RecordingError(number + 1, f"expected nothing behind {_tag(type(line))}")
    try:
        request = parse_request(_encoder.encode(asked.request))
    except ClientRequestError as error:
        raise RecordingError(2, str(error)) from None
    return Recording(
        opening=opening,
        request=request,
        converted=converted.request,
        lines=tuple(lines[3:]),
        is_torn=bool(last) and isinstance(end, str),
    )


def _decode(text: bytes, kind: Any) -> Any:
    """What a line says, or what is wrong with it."""
    try:
        return msgspec.json.decode(text, type=kind)
    except UnicodeDecodeError:
        return "it is not UTF-8"
    except RecursionError:
        return "it nests too deeply"
    except msgspec.MsgspecError as error:
        return shorten(str(error))[1:-1]


def _expect(lines: Sequence[Line], number: int, kind: type[_T]) -> _T:
    if len(lines) < number:
        raise RecordingError(number, f"expected {_tag(kind)}, but the recording ends before it")
    if not isinstance(line := lines[number - 1], kind):
        raise RecordingError(number, f"expected {_tag(kind)}, got {_tag(type(line))}")
    return line


def _tag(kind: Any) -> str:
    return repr(kind.__struct_config__.tag)
