"""The log: to standard error, a line for each thing said. No line has a token, a key or a word of a conversation in it.

The rest of the shell writes to loggers of the standard library, as libraries do; what is said of a request has
members that a program can read, and is written here. Both come out in one form: text for a person, or JSON.
What a client chose, such as a path, can neither break a line nor speak to a terminal.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, assert_never, cast

import structlog
from structlog.stdlib import BoundLogger, ProcessorFormatter
from structlog.typing import EventDict, Processor

from core import dialogue
from core.summary import Outcome, Summary
from core.times import Epoch, render_date

_log = logging.getLogger("stagewhisper")

Form: TypeAlias = Literal["console", "json"]


def configure(level: str, form: Form) -> None:
    """Send the log to standard error, from `level` (a name of the standard library's) on."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(form))
    logging.basicConfig(handlers=[handler], level=level.upper())
    # They tell of each call, the second of each of its steps; the request's own line says more.
    for library in ("httpx", "httpcore"):
        logging.getLogger(library).setLevel(max(logging.WARNING, logging.getLogger().level))


def formatter(form: Form) -> logging.Formatter:
    """What makes a record of the standard library, ours or anybody's, a line (on the console, a traceback follows)."""
    render = _render_json if form == "json" else _render_text
    layout = "%(message)s" if form == "json" else "%(asctime)s %(levelname)-7s %(message)s"
    processors: list[Processor] = [structlog.processors.format_exc_info, cast("Processor", render)]
    return _Formatter(processors=processors, fmt=layout)


class _Formatter(ProcessorFormatter):
    """Dates as everything else that is shown has them: in UTC."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002  # logging's
        return render_date(Epoch(record.created))


# --- what is said of a request ---------------------------------------------------------------------------------


class _Line(dict[str, Any]):
    """The members of a line. As text it is what a person reads, also for handlers that are not ours."""

    def __str__(self) -> str:
        return on_one_line(_TEXTS[self["event"]](self))


def _to_line(_logger: object, _method: str, members: EventDict) -> EventDict:
    return _Line(members)


_lines: BoundLogger = structlog.wrap_logger(
    _log,
    processors=[structlog.stdlib.filter_by_level, _to_line, ProcessorFormatter.wrap_for_formatter],
    wrapper_class=BoundLogger,
    cache_logger_on_first_use=True,
)


def write_request(summary: Summary) -> None:
    """Write the line of a request that has ended. What is not known of it is not there."""
    members: dict[str, Any] = {
        "request_id": summary.request_id,
        "account": summary.account,
        "model": summary.model,
        "outcome": summary.outcome.value,
        "error_type": summary.error_type,
        "attempts": len(summary.attempts),
        "failed": sum(attempt.failure is not None for attempt in summary.attempts),
        "refreshes": summary.refreshes,
        "duration_ms": round(summary.duration * 1000, 1),
    }
    if summary.first_byte is not None:
        members["first_byte_ms"] = round(summary.first_byte * 1000, 1)
    if summary.processing:
        members["processing_ms"] = round(summary.processing * 1000, 3)
    if summary.outcome is Outcome.ANSWERED:
        members |= {
            "stop_reason": summary.stop_reason,
            "blocks": summary.blocks,
            "input_tokens": summary.input_tokens,
            "output_tokens": summary.output_tokens,
            "cache_read_tokens": summary.cache_read_input_tokens,
            "cache_creation_tokens": summary.cache_creation_input_tokens,
        }
    write = _lines.info if _is_ordinary(summary) else _lines.warning
    write("request", **{name: value for name, value in members.items() if value is not None})


def _is_ordinary(summary: Summary) -> bool:
    """Whether nothing went wrong but what the client did itself."""
    if summary.outcome is Outcome.REFUSED:
        return summary.error_type == "invalid_request_error"
    return summary.outcome in (Outcome.ANSWERED, Outcome.ABANDONED)


def write_notice(request_id: str, notice: dialogue.Notice) -> None:
    """Write the line of what an exchange tells before it ends, where that has one."""
    match notice:
        case dialogue.AttemptFailed(provider_id=account, failure=failure):
            _lines.warning(
                "attempt failed",
                request_id=request_id,
                account=account,
                failure=failure.kind.value,
                message=failure.message,
            )
        case dialogue.TokenRejected(provider_id=account):
            _lines.info("token refused", request_id=request_id, account=account)
        case dialogue.Deliver() | dialogue.AnswerBegan() | dialogue.Succeeded() | dialogue.Refused():
            pass
        case _:
            assert_never(notice)


# --- for a person ----------------------------------------------------------------------------------------------

_SHOWN = {
    "model": "model={}",
    "attempts": "attempts={}",
    "failed": "failed={}",
    "refreshes": "refreshes={}",
    "duration_ms": "ms={:.0f}",
    "first_byte_ms": "first_byte_ms={:.0f}",
    "processing_ms": "processing_ms={:.2f}",
    "stop_reason": "stop={}",
    "blocks": "blocks={}",
    "input_tokens": "input={}",
    "output_tokens": "output={}",
    "cache_read_tokens": "cache_read={}",
    "cache_creation_tokens": "cache_creation={}",
}
"""A request's members as they are shown, in their order."""

_SHOWN_UNLESS_NONE = {"refreshes", "cache_read_tokens", "cache_creation_tokens"}

_ENDS = {
    Outcome.ANSWERED.value: "answered",
    Outcome.REFUSED.value: "refused with {error_type}",
    Outcome.ABANDONED.value: "ended early: the client left, or the gateway was stopped",
    Outcome.NO_PLACE.value: "no place",
    Outcome.BUG.value: "a bug",
}


def _describe_request(line: _Line) -> str:
    shown = [
        layout.format(_in_one_word(line[name]))
        for name, layout in _SHOWN.items()
        if name in line and (line[name] or name not in _SHOWN_UNLESS_NONE)
    ]
    end = _ENDS[line["outcome"]].format(error_type=line.get("error_type", "an error"))
    return f"{_beginning(line)} {' '.join(shown)}: {end}"


def _describe_failure(line: _Line) -> str:
    return f"{_beginning(line)} failed: {line['failure']}: {line['message']}"


def _describe_refused_token(line: _Line) -> str:
    return f"{_beginning(line)} token refused by the service, refreshing it"


_TEXTS: dict[str, Callable[[_Line], str]] = {
    "request": _describe_request,
    "attempt failed": _describe_failure,
    "token refused": _describe_refused_token,
}
"""The lines that there are, by their event."""


def _beginning(line: _Line) -> str:
    return f"{_in_one_word(line['request_id'])} account={_in_one_word(line.get('account', '-'))}"


_WORD = re.compile(r"[!#-&(-~]+")


def _in_one_word(value: object) -> object:
    """A value as it is, or in quotes where it could be taken for more than one."""
    return value if not isinstance(value, str) or _WORD.fullmatch(value) else ascii(value)


def on_one_line(text: str) -> str:
    """A text in which all that is not printable is escaped: ends of lines, and what terminals obey."""
    return text if text.isprintable() else "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _render_text(_logger: object, _method: str, members: EventDict) -> str:
    # A line of ours is its own text; what is copied out of it for us is not.
    event = str(members["_record"].msg) if members["_from_structlog"] else on_one_line(members["event"])
    # Indented, no line of an exception's text can pass for one of the log.
    more = "\n".join(members.get(name, "") for name in ("stack_info", "exception"))
    return "\n".join([event, *(f"  {on_one_line(line)}" for line in more.split("\n") if line)])


# --- for a program ---------------------------------------------------------------------------------------------

_encode = json.JSONEncoder(separators=(",", ":")).encode
"""ASCII alone, so that lone surrogates can be written and no terminal is told anything; msgspec's has neither."""


def _render_json(_logger: object, _method: str, members: EventDict) -> str:
    record: logging.LogRecord = members.pop("_record")
    del members["_from_structlog"]
    beginning = {
        "timestamp": render_date(Epoch(record.created)),
        "level": record.levelname.lower(),
        "event": members.pop("event"),
        "logger": record.name,
    }
    # DEL is the one control character that JSON does not escape.
    return _encode({**beginning, **members}).replace("\x7f", "\\u007f")
