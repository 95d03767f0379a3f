"""What went wrong is one of the kinds, by reason, wording, name and status, in this order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.events import ServiceError, Undecodable, parse_error
from core.eventstream import Fault, FaultReason
from core.failures import ROWS, Failure, Kind, Row, classify, classify_fault, parse_retry_after
from core.times import Epoch


@pytest.mark.parametrize(
    ("name", "reason", "message", "status", "kind"),
    [
        # every name and reason of the service's model
        ("ThrottlingException", None, "Rate exceeded", 429, Kind.RATE_LIMIT),
        ("ThrottlingException", "DAILY_REQUEST_COUNT", "", 429, Kind.QUOTA),
        ("ThrottlingException", "MONTHLY_REQUEST_COUNT", "", 400, Kind.QUOTA),
        ("ThrottlingException", "INSUFFICIENT_MODEL_CAPACITY", "", 429, Kind.OVERLOAD),
        ("ServiceQuotaExceededException", None, "", 402, Kind.QUOTA),
        ("ServiceQuotaExceededException", "CONVERSATION_LIMIT_EXCEEDED", "", 402, Kind.CLIENT),
        ("ServiceQuotaExceededException", "MONTHLY_REQUEST_COUNT", "", 402, Kind.QUOTA),
        ("ServiceQuotaExceededException", "OVERAGE_REQUEST_LIMIT_EXCEEDED", "", 402, Kind.QUOTA),
        ("ValidationException", None, "Improperly formed request.", 400, Kind.CLIENT),
        ("ValidationException", "CONTENT_LENGTH_EXCEEDS_THRESHOLD", "", 400, Kind.TOO_LONG),
        ("ValidationException", "PROMPT_TOO_LONG", "", 400, Kind.TOO_LONG),
        ("ValidationException", "INVALID_MODEL_ID", "Invalid model", 400, Kind.NO_SUCH_MODEL),
        ("ValidationException", "INVALID_CONVERSATION_ID", "", 400, Kind.CLIENT),
        ("ValidationException", "INVALID_KMS_GRANT", "", 400, Kind.CLIENT),
        ("ValidationException", "TOOL_USE_RESULT_MISMATCH", "", 400, Kind.CLIENT),
        ("ValidationException", "TOOL_SCHEMA_INVALID", "", 400, Kind.CLIENT),
        ("ValidationException", "TOOL_DUPLICATE", "", 400, Kind.CLIENT),
        ("ValidationException", "TOOL_CONFIG_MISSING", "", 400, Kind.CLIENT),
        ("ValidationException", "THINKING_SIGNATURE_INVALID", "", 400, Kind.CLIENT),
        ("ValidationException", "IMAGE_SIZE_EXCEEDED", "", 400, Kind.CLIENT),
        ("ValidationException", "DOCUMENT_SIZE_EXCEEDED", "", 400, Kind.CLIENT),
        ("AccessDeniedException", None, "User is not authorized", 403, Kind.AUTHENTICATION),
        ("AccessDeniedException", "TEMPORARILY_SUSPENDED", "", 403, Kind.SUSPENDED),
        ("AccessDeniedException", "FEATURE_NOT_SUPPORTED", "", 403, Kind.NOT_ALLOWED),
        ("AccessDeniedException", "UNAUTHORIZED_CUSTOMIZATION_RESOURCE_ACCESS", "", 403, Kind.NOT_ALLOWED),
        ("AccessDeniedException", "MADE_UP_LATER", "", None, Kind.NOT_ALLOWED),
        ("InternalServerException", None, "", 500, Kind.SERVER),
        ("InternalServerException", "MODEL_TEMPORARILY_UNAVAILABLE", "", 500, Kind.OVERLOAD),
        ("ServiceUnavailableException", None, "", 500, Kind.SERVER),
        ("ServiceUnavailableException", None, "", 503, Kind.SERVER),
        ("ContentLengthExceededException", None, "", 400, Kind.TOO_LONG),
        ("ContentLengthExceededException", None, "", None, Kind.TOO_LONG),
        ("UnknownOperationException", None, "", 404, Kind.SERVER),
        ("UnknownOperationException", None, "", 200, Kind.SERVER),
        ("InvalidStateEvent", "INVALID_TASK_ASSIST_PLAN", "", None, Kind.SERVER),
        # wordings that decide
        (
            "AccessDeniedException",
            None,
            "The bearer token included in the request is invalid.",
            403,
            Kind.AUTHENTICATION,
        ),
        ("ValidationException", None, "The bearer token included in the request is invalid", 400, Kind.AUTHENTICATION),
        ("ValidationException", None, "Input is too long.", 400, Kind.TOO_LONG),
        ("ValidationException", None, "Input content length exceeds threshold of X", 400, Kind.TOO_LONG),
        ("ThrottlingException", None, "Encountered unexpectedly high load when processing", 429, Kind.OVERLOAD),
        ("InternalServerException", None, "Encountered unexpectedly high load", None, Kind.OVERLOAD),
        # a wording that a client could have written into its request decides nothing further in
        ("ValidationException", None, "Bad value 'Input is too long.'", 400, Kind.CLIENT),
        # by status where the name says nothing
        ("", None, "", 400, Kind.CLIENT),
        ("", None, "", 401, Kind.AUTHENTICATION),
        ("ExpiredTokenException", None, "", 403, Kind.AUTHENTICATION),
        ("SomethingException", "SOMETHING", "", 403, Kind.NOT_ALLOWED),
        ("", None, "", 402, Kind.QUOTA),
        ("", None, "", 404, Kind.SERVER),
        ("", None, "", 413, Kind.TOO_LONG),
        ("", None, "", 429, Kind.RATE_LIMIT),
        ("", None, "", 500, Kind.SERVER),
        ("", None, "", 502, Kind.SERVER),
        ("", None, "", 503, Kind.SERVER),
        ("", None, "", 301, Kind.SERVER),
        ("", None, "", 200, Kind.SERVER),
        ("", None, "", None, Kind.SERVER),
    ],
)
def test_an_error_is_of_the_kind_that_its_words_say(
    name: str, reason: str | None, message: str, status: int | None, kind: Kind
) -> None:
    assert classify(ServiceError(name, reason, message, status)).kind is kind


@pytest.mark.parametrize(("size", "kind"), [(600_000, Kind.CLIENT), (600_001, Kind.TOO_LONG)])
def test_an_improperly_formed_request_that_is_large_is_too_long(size: int, kind: Kind) -> None:
    error = ServiceError("ValidationException", None, "Improperly formed request.", 400)
    assert classify(error, body_size=size).kind is kind


@pytest.mark.parametrize("body", [b"", b"<html><body>Forbidden</body></html>", b'{"message": "cut o', b"[1]", b"null"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, Kind.AUTHENTICATION), (429, Kind.RATE_LIMIT), (500, Kind.SERVER), (400, Kind.CLIENT), (402, Kind.QUOTA)],
)
def test_a_body_that_says_nothing_leaves_it_to_the_status(body: bytes, status: int, kind: Kind) -> None:
    assert classify(parse_error(status, {"content-type": "text/html"}, body)).kind is kind


def test_a_failure_is_one_line_of_bounded_length() -> None:
    failure = classify(ServiceError("ValidationException", "TOOL_DUPLICATE", "a\nb\r\n" + "c" * 5000, 400))
    assert failure.message.startswith("the service answered 400 ValidationException (TOOL_DUPLICATE): a b ccc")
    assert len(failure.message) < 700
    assert "\n" not in failure.message


@pytest.mark.parametrize("length", range(430, 470))
def test_a_message_is_not_cut_amid_an_accounts_number(length: int) -> None:
    message = "x" * length + " arn:aws:sts::111122223333:role is not allowed"
    cut = classify(ServiceError("AccessDeniedException", "FEATURE", message, 403)).message
    assert (":1" in cut) == (":111122223333:" in cut)


def test_names_and_reasons_are_in_that_line_too() -> None:
    failure = classify(ServiceError("a\nb", "x\nINFO a made-up line\n" + "y" * 60_000, "m", 400))
    assert failure.message.startswith("the service answered 400 a b (x INFO a made-up line yyy")
    assert len(failure.message) < 700
    assert "\n" not in failure.message


def test_a_secret_that_the_service_quotes_goes_no_further() -> None:
    error = ServiceError("made-up-token", "made-up-token", "x" * 490 + " 'made-up-token' is no key=value pair", 403)
    assert "made-up" not in classify(error, secrets=("made-up-token",)).message


def test_no_control_character_gets_into_a_log() -> None:
    failure = classify(ServiceError("a\x1b[31m", "\x00", "b\x1b]0;c\x07\u2028d", 400))
    assert failure.message == "the service answered 400 a [31m ( ): b ]0;c d"


def test_an_event_that_is_none_is_the_services_error() -> None:
    failure = classify(Undecodable("made up"))
    assert failure == Failure(kind=Kind.SERVER, message="the service sent an event that is none: made up")


def test_a_damaged_stream_is_the_networks_and_names_the_place() -> None:
    failure = classify_fault(Fault(FaultReason.MESSAGE_CRC, 42, "made up"))
    assert failure.kind is Kind.NETWORK
    assert failure.message == "the service's answer broke at byte 42: message_crc (made up)"


def test_an_error_inside_an_answer_says_so() -> None:
    assert classify(ServiceError("InternalServerException", None, "")).message == (
        "the service said in its answer InternalServerException"
    )


@given(
    st.builds(
        ServiceError,
        name=st.text(max_size=20),
        reason=st.none() | st.text(max_size=20),
        message=st.text(max_size=50),
        status=st.none() | st.integers(100, 599),
    ),
    st.integers(0, 1_000_000),
)
@settings(deadline=None)
def test_every_error_is_of_some_kind_that_has_a_row(error: ServiceError, size: int) -> None:
    assert classify(error, body_size=size).kind in ROWS


def test_every_kind_has_a_row() -> None:
    assert set(ROWS) == set(Kind)
    assert ROWS[Kind.TOKEN_FILE] == Row(retries=0, backoff=False, another_account=True)


@pytest.mark.parametrize(
    ("name", "reason", "status", "is_daily"),
    [
        ("ThrottlingException", "DAILY_REQUEST_COUNT", 429, True),
        ("ThrottlingException", "MONTHLY_REQUEST_COUNT", 429, False),
        ("ServiceQuotaExceededException", "OVERAGE_REQUEST_LIMIT_EXCEEDED", 402, False),
        ("ServiceQuotaExceededException", None, 402, False),
        ("", "DAILY_REQUEST_COUNT", None, True),
        ("ThrottlingException", None, 429, False),
    ],
)
def test_a_quota_of_a_day_is_told_from_one_of_a_month(
    name: str, reason: str | None, status: int | None, is_daily: bool
) -> None:
    assert classify(ServiceError(name, reason, "", status)).is_daily is is_daily


def test_how_long_to_wait_goes_with_the_failure() -> None:
    error = ServiceError("ThrottlingException", None, "slow down", 429)
    assert classify(error, retry_after=30.0) == Failure(
        kind=Kind.RATE_LIMIT, message="the service answered 429 ThrottlingException: slow down", retry_after=30.0
    )


NOW = Epoch(1_700_000_000.0)  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("30", 30.0),
        (" 0 ", 0.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        ("Tue, 14 Nov 2023 22:13:50 -0000", 30.0),
        ("Tue, 14 Nov 2023 22:13:50", 30.0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("", None),
        ("9" * 5000, 999999999.0),
    ],
)
def test_retry_after_holds_seconds_or_a_date(value: str | None, expected: float | None) -> None:
    assert parse_retry_after(value, NOW) == expected
