"""The log's two forms: a line for each record, ours or anybody's, that no value breaks; and where the lines go."""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.cli import main
from adapters.logs import Form, configure, formatter
from tests.adapters.harness import HELLO
from tests.adapters.log_output import FORMS, logged
from tests.adapters.processes import ask, commands

_log = logging.getLogger("stagewhisper.made-up")


def record(**attributes: Any) -> logging.LogRecord:
    """A record of the standard library."""
    return logging.makeLogRecord({"name": "made-up", "levelname": "INFO", "levelno": 20, "created": 0.0, **attributes})


# --- any record ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.0, "2023-11-14T22:13:20.000Z"),
        (1_700_000_000.9996, "2023-11-14T22:13:21.000Z"),
        (4_102_444_799.5, "2099-12-31T23:59:59.500Z"),
    ],
)
def test_a_json_line_begins_with_its_date_in_utc_its_level_and_its_event(created: float, expected: str) -> None:
    line = formatter("json").format(record(created=created, msg="made up", levelname="CRITICAL"))
    assert line == f'{{"timestamp":"{expected}","level":"critical","event":"made up","logger":"made-up"}}'


def test_a_console_line_has_its_date_its_level_and_its_text() -> None:
    line = formatter("console").format(record(msg="made %s", args=("up",), created=1_700_000_000.007))
    assert line == "2023-11-14T22:13:20.007Z INFO    made up"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, caf\u00e9 \u96ea \U0001f600", "plain, caf\u00e9 \u96ea \U0001f600"),
        ("C:\\new 'folder' \"x\"", "C:\\new 'folder' \"x\""),
        ("100 %s %d %", "100 %s %d %"),
        ("a\nb\r\nc\td", r"a\nb\r\nc\td"),
        ("\x1b[31mred\x07\x00\x7f", r"\x1b[31mred\x07\x00\x7f"),
        ("\x85\x9b", r"\x85\x9b"),
        ("\u2028\u202e\u200b\ufeff", r"\u2028\u202e\u200b\ufeff"),
        ("\ud83d lone \udcff", r"\ud83d lone \udcff"),
        ("", ""),
    ],
)
def test_what_is_not_printable_is_escaped_on_the_console_and_exact_in_json(text: str, shown: str) -> None:
    assert formatter("console").format(record(msg=text)).split("INFO    ")[1] == shown
    line = formatter("json").format(record(msg=text))
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["event"] == text


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=())), is_argument=st.booleans())
def test_any_text_is_one_line(text: str, is_argument: bool) -> None:
    one = record(msg="%s", args=(text,)) if is_argument else record(msg=text)
    assert formatter("console").format(one).isprintable()
    line = formatter("json").format(one)
    assert line.isprintable()
    assert json.loads(line)["event"] == text


# --- tracebacks ------------------------------------------------------------------------------------------------

FORGED = "made up\n2026-01-01 00:00:00,000 INFO    req_1 forged\r\x1b[2J\u2028x"


def bug(text: str) -> BaseException:
    """An exception with a cause and a group in it, that was raised."""
    try:
        try:
            raise ExceptionGroup("several", [KeyError(text), OSError(28, text)])
        except ExceptionGroup as several:
            raise ValueError(text) from several
    except ValueError as error:
        return error


@pytest.mark.parametrize("by", ["exc_info", "exception"])
def test_a_traceback_stays_in_its_json_line_and_follows_its_line_on_the_console(by: str) -> None:
    written = {}
    error = bug(FORGED)
    for form in FORMS:
        with logged(form) as stream:
            if by == "exc_info":
                _log.error("a bug", exc_info=error)
            else:
                try:
                    raise error
                except ValueError:
                    _log.exception("a bug")
        written[form] = stream.getvalue()
    (line,) = written["json"].splitlines()
    decoded = json.loads(line)
    assert (decoded["level"], decoded["event"], decoded["logger"]) == ("error", "a bug", "stagewhisper.made-up")
    assert decoded["exception"] == "".join(traceback.format_exception(error)).removesuffix("\n")
    assert "exc_info" not in decoded
    first, *rest = written["console"].split("\n")[:-1]
    assert re.fullmatch(r"[\d-]+T[\d:.]+Z ERROR   a bug", first)
    assert all(each.startswith("  ") and each.isprintable() for each in rest)
    assert "  Traceback (most recent call last):" in rest
    assert "  ValueError: made up" in rest
    assert r"  2026-01-01 00:00:00,000 INFO    req_1 forged\r\x1b[2J\u2028x" in rest


@pytest.mark.parametrize("form", FORMS)
def test_an_exception_that_is_none_is_not_told(form: Form) -> None:
    line = formatter(form).format(record(msg="made up", exc_info=(None, None, None)))
    assert "exc" not in line
    assert "None" not in line
    assert "\n" not in line


def test_a_stack_is_told_as_a_traceback_is() -> None:
    one = record(msg="made up", stack_info="Stack (most recent call last):\n  made\tup")
    assert formatter("console").format(one).split("\n")[1:] == ["  Stack (most recent call last):", r"    made\tup"]
    assert json.loads(formatter("json").format(one))["stack_info"].endswith("\n  made\tup")


@pytest.mark.parametrize("form", FORMS)
def test_a_record_can_be_written_by_several_handlers(form: Form) -> None:
    one = record(msg="made %s", args=("up",), exc_info=(ValueError, ValueError("x"), None))
    first = formatter(form).format(one)
    assert formatter(form).format(one) == first
    assert (one.getMessage(), one.exc_text) == ("made up", None)


# --- where they go ---------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_log_goes_to_standard_error_from_its_level_on(
    capsys: pytest.CaptureFixture[str], level: str, form: Form
) -> None:
    with bare_logging():
        configure(level, form)
        for number, name in ((10, "debug"), (20, "info"), (30, "warning"), (40, "error")):
            logging.getLogger("stagewhisper.made-up").log(number, "said at %s", name)
            logging.getLogger("httpx").log(number, "httpx at %s", name)
            logging.getLogger("httpcore.http11").log(number, "httpcore at %s", name)
    said = capsys.readouterr()
    names = ["debug", "info", "warning", "error"]
    assert said.out == ""
    lines = [json.loads(line)["event"] if form == "json" else line for line in said.err.splitlines()]
    assert [line.rsplit(" ", 1)[1] for line in lines if "said" in line] == names[names.index(level) :]
    for other in ("httpx", "httpcore"):
        assert f"{other} at info" not in said.err
        assert f"{other} at debug" not in said.err
        assert (f"{other} at warning" in said.err) == (level != "error")


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_form_that_is_none_is_a_usage_error(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--log-format", "xml"])
    assert ended.value.code == 2
    assert "argument --log-format: invalid choice: 'xml'" in capsys.readouterr().err


@pytest.mark.parametrize("form", FORMS)
def test_a_command_logs_each_request_in_the_form_that_it_was_told(form: Form) -> None:
    with commands() as start:
        arguments = ("demo", "--bind", "127.0.0.1:0", "--log-level", "info", "--log-format", form)
        demo = start("adapters.cli", *arguments)
        url = demo.until(r"The gateway listens on (\S+),")
        ids = [ask(url, *request)[1]["request-id"] for request in (("POST", "/v1/messages", HELLO), ("GET", "/none"))]
        demo.until(f"({ids[1]})")
    logged_lines = [line for line in demo.lines if any(request_id in line for request_id in ids)]
    assert len(logged_lines) == 2
    for line in logged_lines:
        if form == "json":
            assert {"timestamp", "level", "event", "logger"} <= set(json.loads(line))
        else:
            assert re.match(r"[\d-]+T[\d:.]+Z INFO    req_[0-9a-f]{32} ", line)
