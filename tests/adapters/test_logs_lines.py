"""What is said of a request: the line that it ends with, and one for each thing that went wrong before."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.logs import Form, write_notice, write_request
from core.anthropic import AnswerMessage, AnswerText, Usage
from core.dialogue import AnswerBegan, AttemptFailed, Deliver, Notice, Succeeded, TokenRejected
from core.failures import Failure, Kind
from core.response import AnswerMetadata, BufferedResponse
from core.sse import Ping
from core.summary import Attempt, Outcome, Summary
from core.times import Instant
from tests.adapters.log_output import FORMS, logged

ID = "req_1"
BEGUN = Summary(request_id=ID, model="claude-test", began=Instant(10.0), ended=Instant(10.25))
TRIED = msgspec.structs.replace(BEGUN, attempts=(Attempt("a", Kind.NETWORK), Attempt("b", None)))
ANSWERED = msgspec.structs.replace(
    TRIED,
    outcome=Outcome.ANSWERED,
    ended=Instant(12.345678),
    first_byte=0.71239,
    processing=0.00034567,
    refreshes=1,
    stop_reason="end_turn",
    blocks=2,
    input_tokens=12,
    output_tokens=34,
    cache_read_input_tokens=5,
    cache_creation_input_tokens=6,
)
REFUSED = msgspec.structs.replace(TRIED, outcome=Outcome.REFUSED, error_type="overloaded_error")


def said(form: Form, write: Any, *arguments: Any) -> list[str]:
    """The lines that a call writes."""
    with logged(form) as stream:
        write(*arguments)
    return stream.getvalue().splitlines()


def members(write: Any, *arguments: Any) -> dict[str, Any]:
    """The one JSON line that a call writes, without its date."""
    (line,) = said("json", write, *arguments)
    decoded = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", decoded.pop("timestamp"))
    assert decoded.pop("logger") == "stagewhisper"
    assert isinstance(decoded, dict)
    return decoded


COUNTS = {"attempts": 2, "failed": 1, "refreshes": 0, "duration_ms": 250.0}
NONE_TRIED = {"attempts": 0, "failed": 0, "refreshes": 0, "duration_ms": 250.0}
BEGINNING = {"event": "request", "request_id": ID, "model": "claude-test"}
BEGUN_TEXT = "req_1 account=- model=claude-test attempts=0 failed=0 ms=250: "
TRIED_TEXT = "req_1 account=b model=claude-test attempts=2 failed=1 ms=250: "


@pytest.mark.parametrize(
    ("summary", "level", "expected", "text"),
    [
        (
            ANSWERED,
            "info",
            {
                "account": "b",
                "outcome": "answered",
                "attempts": 2,
                "failed": 1,
                "refreshes": 1,
                "duration_ms": 2345.7,
                "first_byte_ms": 712.4,
                "processing_ms": 0.346,
                "stop_reason": "end_turn",
                "blocks": 2,
                "input_tokens": 12,
                "output_tokens": 34,
                "cache_read_tokens": 5,
                "cache_creation_tokens": 6,
            },
            "req_1 account=b model=claude-test attempts=2 failed=1 refreshes=1 ms=2346 first_byte_ms=712"
            " processing_ms=0.35 stop=end_turn blocks=2 input=12 output=34 cache_read=5 cache_creation=6: answered",
        ),
        (
            BEGUN,
            "info",
            {"outcome": "abandoned", **NONE_TRIED},
            BEGUN_TEXT + "ended early: the client left, or the gateway was stopped",
        ),
        (
            REFUSED,
            "warning",
            {"account": "b", "outcome": "refused", "error_type": "overloaded_error", **COUNTS},
            TRIED_TEXT + "refused with overloaded_error",
        ),
        (
            msgspec.structs.replace(BEGUN, outcome=Outcome.NO_PLACE),
            "warning",
            {"outcome": "no_place", **NONE_TRIED},
            BEGUN_TEXT + "no place",
        ),
        (
            msgspec.structs.replace(TRIED, outcome=Outcome.BUG),
            "warning",
            {"account": "b", "outcome": "bug", **COUNTS},
            TRIED_TEXT + "a bug",
        ),
    ],
    ids=lambda value: value.outcome.value if isinstance(value, Summary) else "",
)
def test_a_request_is_one_line_with_what_is_known_of_it(
    summary: Summary, level: str, expected: dict[str, Any], text: str
) -> None:
    assert members(write_request, summary) == {"level": level, **BEGINNING, **expected}
    (line,) = said("console", write_request, summary)
    assert re.fullmatch(r"[\d-]+T[\d:.]+Z (INFO|WARNING) +" + re.escape(text), line)
    assert f" {level.upper():7} " in line


@pytest.mark.parametrize(
    ("error_type", "level"),
    [
        ("invalid_request_error", "info"),
        ("not_found_error", "warning"),  # the configuration names a model that no account has
        ("permission_error", "warning"),  # the accounts', never the client's
        ("rate_limit_error", "warning"),
        ("overloaded_error", "warning"),
        ("timeout_error", "warning"),
        ("api_error", "warning"),
        (None, "warning"),
    ],
)
def test_only_what_the_client_did_itself_is_no_warning(error_type: str | None, level: str) -> None:
    line = members(write_request, msgspec.structs.replace(REFUSED, error_type=error_type))
    assert (line["level"], line.get("error_type")) == (level, error_type)


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_its_end_and_no_figure_that_is_unknown(outcome: Outcome) -> None:
    summary = msgspec.structs.replace(ANSWERED, outcome=outcome, first_byte=None, processing=0.0)
    decoded = members(write_request, summary)
    assert decoded["outcome"] == outcome.value
    assert not {"first_byte_ms", "processing_ms"} & set(decoded)
    figures = {"stop_reason", "blocks", "input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens"}
    assert figures & set(decoded) == (figures if outcome is Outcome.ANSWERED else set())


def test_a_failed_attempt_is_a_warning_and_a_refused_token_is_none() -> None:
    failed = AttemptFailed("a", Failure(kind=Kind.NETWORK, message="made-up reason: 100 %s"))
    expected = {"failure": "network", "message": "made-up reason: 100 %s"}
    assert members(write_notice, ID, failed) == {
        "level": "warning", "event": "attempt failed", "request_id": ID, "account": "a", **expected
    }  # fmt: skip
    assert members(write_notice, ID, TokenRejected("a")) == {
        "level": "info", "event": "token refused", "request_id": ID, "account": "a"
    }  # fmt: skip
    lines = [said("console", write_notice, ID, notice)[0] for notice in (failed, TokenRejected("a"))]
    assert [line.split(None, 1)[1] for line in lines] == [
        "WARNING req_1 account=a failed: network: made-up reason: 100 %s",
        "INFO    req_1 account=a token refused by the service, refreshing it",
    ]


MESSAGE = AnswerMessage(
    id="msg_1",
    model="claude-test",
    content=(AnswerText("made-up words"),),
    stop_reason="end_turn",
    usage=Usage(input_tokens=12, output_tokens=34),
)
SUCCESS = Succeeded(BufferedResponse(message=MESSAGE, metadata=AnswerMetadata(original_model="x", target_provider="b")))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("notice", [Deliver((Ping(),)), AnswerBegan("a"), SUCCESS], ids=lambda it: type(it).__name__)
def test_what_the_requests_own_line_says_is_not_said_before(form: Form, notice: Notice) -> None:
    assert said(form, write_notice, ID, notice) == []


@pytest.mark.parametrize("form", FORMS)
def test_below_the_level_nothing_is_written(form: Form) -> None:
    with logged(form, logging.WARNING) as stream:
        write_request(ANSWERED)
        write_notice(ID, TokenRejected("a"))
        assert stream.getvalue() == ""
        write_request(REFUSED)
    assert len(stream.getvalue().splitlines()) == 1


def test_a_handler_of_somebody_elses_gets_the_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="stagewhisper")
    write_request(REFUSED)
    write_notice("req\n1", TokenRejected("a"))
    assert [record.getMessage() for record in caplog.records] == [
        TRIED_TEXT + "refused with overloaded_error",
        r"'req\n1' account=a token refused by the service, refreshing it",
    ]


ANYTHING = st.text(st.characters(exclude_categories=()))
HOSTILE = ["a\nb", "x account=b", "\x1b[2J", "\x7f", "\x9b1m", "\u2028", "\u202e", "\ud800", "'", '"', "", "%s", "{}"]


@settings(max_examples=150, deadline=None)
@given(model=ANYTHING | st.sampled_from(HOSTILE), account=ANYTHING, message=ANYTHING | st.sampled_from(HOSTILE))
def test_no_value_breaks_its_line_or_reaches_a_terminal_as_it_is(model: str, account: str, message: str) -> None:
    summary = msgspec.structs.replace(BEGUN, model=model, attempts=(Attempt(account, Kind.SERVER),))
    notice = AttemptFailed(account, Failure(kind=Kind.SERVER, message=message))
    for write, arguments in ((write_request, (summary,)), (write_notice, (ID, notice))):
        for form in FORMS:
            with logged(form) as stream:
                write(*arguments)
            line = stream.getvalue()
            assert line.endswith("\n")
            assert line[:-1].isprintable()
            if form == "json":
                assert line.isascii()
    assert members(write_request, summary)["model"] == model
    assert members(write_notice, ID, notice)["message"] == message


@pytest.mark.parametrize("value", HOSTILE)
def test_no_value_passes_for_more_than_one(value: str) -> None:
    (line,) = said("console", write_request, msgspec.structs.replace(BEGUN, model=value))
    shown = value if value in ("%s", "{}") else ascii(value)
    assert f" account=- model={shown} attempts=0 " in line
