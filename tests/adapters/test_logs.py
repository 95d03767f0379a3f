"""The log: its lines, and what is in none of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from adapters.logs import RequestLog, configure
from core.anthropic import AnswerMessage, AnswerText, Usage
from core.dialogue import AttemptFailed, Deliver, Notice, Refused, Succeeded, TokenRejected
from core.failures import Failure, Kind, Refusal
from core.response import AnswerMetadata, BufferedResponse
from core.sse import Ping
from core.times import Instant

MESSAGE = AnswerMessage(
    id="msg_1",
    model="claude-test",
    content=(AnswerText("made-up words"),),
    stop_reason="end_turn",
    usage=Usage(input_tokens=12, output_tokens=34),
)
METADATA = AnswerMetadata(original_model="x", target_provider="b")
SUCCESS = Succeeded(BufferedResponse(message=MESSAGE, metadata=METADATA))
FAILURE = AttemptFailed("a", Failure(kind=Kind.NETWORK, message="made-up reason"))


LEFT = "ended early: the client left, or the gateway was stopped"


def lines(caplog: pytest.LogCaptureFixture, *notices: Notice) -> list[tuple[str, str]]:
    """Level and text of what is logged of a request that took a quarter of a second."""
    caplog.set_level("DEBUG", logger="stagewhisper")
    log = RequestLog(request_id="req_1", model="claude-test", began=Instant(10.0))
    for notice in notices:
        log.hear(notice)
    log.write(Instant(10.25))
    return [(record.levelname, record.getMessage()) for record in caplog.records]


@pytest.mark.parametrize(
    ("notices", "expected"),
    [
        ((), [("INFO", "req_1 account=- model=claude-test failed=0 ms=250: " + LEFT)]),
        (
            (Deliver((Ping(),)), SUCCESS),
            [
                (
                    "INFO",
                    "req_1 account=b model=claude-test failed=0 ms=250"
                    " stop=end_turn blocks=1 input=12 output=34: answered",
                )
            ],
        ),
        (
            (TokenRejected("a"), FAILURE, Refused(Refusal(error_type="overloaded_error", message="made up"))),
            [
                ("INFO", "req_1 account=a token refused by the service, refreshing it"),
                ("WARNING", "req_1 account=a failed: network: made-up reason"),
                ("INFO", "req_1 account=a model=claude-test failed=1 ms=250: refused with overloaded_error"),
            ],
        ),
    ],
)
def test_a_request_is_one_line_and_each_failed_attempt_one_more(
    caplog: pytest.LogCaptureFixture, notices: tuple[Notice, ...], expected: list[tuple[str, str]]
) -> None:
    assert lines(caplog, *notices) == expected
    assert "made-up words" not in caplog.text


@contextmanager
def bare_logging() -> Iterator[None]:
    """The loggers as a new process has them."""
    loggers = [logging.getLogger(name) for name in (None, "httpx", "httpcore")]
    levels = [logger.level for logger in loggers]
    handlers = loggers[0].handlers[:]
    loggers[0].handlers.clear()
    try:
        yield
    finally:
        loggers[0].handlers[:] = handlers
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_log_goes_to_standard_error_from_its_level_on(capsys: pytest.CaptureFixture[str], level: str) -> None:
    with bare_logging():
        configure(level)
        for number, name in ((10, "debug"), (20, "info"), (30, "warning"), (40, "error")):
            logging.getLogger("stagewhisper.made-up").log(number, "said at %s", name)
            logging.getLogger("httpx").log(number, "httpx at %s", name)
            logging.getLogger("httpcore.http11").log(number, "httpcore at %s", name)
    said = capsys.readouterr()
    names = ["debug", "info", "warning", "error"]
    assert said.out == ""
    assert [line.rsplit(" ", 1)[1] for line in said.err.splitlines() if "said" in line] == names[names.index(level) :]
    for other in ("httpx", "httpcore"):
        assert f"{other} at info" not in said.err
        assert f"{other} at debug" not in said.err
        assert (f"{other} at warning" in said.err) == (level != "error")
