"""Failures before an answer begins: every error that the service is known to refuse with, and what stands between.

Names, reasons, statuses and messages are those that are documented or were met in the wild.
"""

from __future__ import annotations

import msgspec

from adapters.emulator.stage import Stage
from adapters.emulator.wire import JSON, Close, Head, Reply, Reset, Send, Stall, encode_payload, whole

IMPROPER = "Improperly formed request."
BAD_TOKEN = "The bearer token included in the request is invalid."
BAD_MODEL = "Invalid model. Please select a different model to continue."


class Failure(msgspec.Struct, frozen=True):
    """One way in which a request is refused."""

    description: str
    status: int
    name: str
    reason: str | None
    message: str
    headers: tuple[tuple[str, str], ...] = ()

    def play(self, stage: Stage) -> Reply:
        """The refusal."""
        return stage.refusal(self.status, self.name, self.message, self.reason, self.headers)


_THROTTLED = "Too many requests, please wait before trying again."
_LIMIT = "You have reached the limit."
_LOAD = "Encountered unexpectedly high load when processing the request, please try again."


def _validation(reason: str, message: str = IMPROPER) -> Failure:
    return Failure(f"400 ValidationException, reason {reason}", 400, "ValidationException", reason, message)


FAILURES = {
    "throttled": Failure("429 ThrottlingException without a reason", 429, "ThrottlingException", None, _THROTTLED),
    "daily-quota": Failure(
        "429 ThrottlingException, reason DAILY_REQUEST_COUNT",
        429,
        "ThrottlingException",
        "DAILY_REQUEST_COUNT",
        _LIMIT,
    ),
    "monthly-quota": Failure(
        "400 ThrottlingException, reason MONTHLY_REQUEST_COUNT",
        400,
        "ThrottlingException",
        "MONTHLY_REQUEST_COUNT",
        _LIMIT,
    ),
    "monthly-quota-402": Failure(
        "402 ServiceQuotaExceededException, reason MONTHLY_REQUEST_COUNT",
        402,
        "ServiceQuotaExceededException",
        "MONTHLY_REQUEST_COUNT",
        _LIMIT,
    ),
    "overage-limit": Failure(
        "402 ServiceQuotaExceededException, reason OVERAGE_REQUEST_LIMIT_EXCEEDED",
        402,
        "ServiceQuotaExceededException",
        "OVERAGE_REQUEST_LIMIT_EXCEEDED",
        _LIMIT,
    ),
    "quota": Failure(
        "402 ServiceQuotaExceededException without a reason",
        402,
        "ServiceQuotaExceededException",
        None,
        _LIMIT,
    ),
    "conversation-limit": Failure(
        "402 ServiceQuotaExceededException, reason CONVERSATION_LIMIT_EXCEEDED",
        402,
        "ServiceQuotaExceededException",
        "CONVERSATION_LIMIT_EXCEEDED",
        "The conversation is too long.",
    ),
    "no-capacity": Failure(
        "429 ThrottlingException, reason INSUFFICIENT_MODEL_CAPACITY",
        429,
        "ThrottlingException",
        "INSUFFICIENT_MODEL_CAPACITY",
        "I am experiencing high traffic, please try again shortly.",
    ),
    "model-unavailable": Failure(
        "500 InternalServerException, reason MODEL_TEMPORARILY_UNAVAILABLE",
        500,
        "InternalServerException",
        "MODEL_TEMPORARILY_UNAVAILABLE",
        "The model is temporarily unavailable.",
    ),
    "high-load": Failure("500 'Encountered unexpectedly high load'", 500, "InternalServerException", None, _LOAD),
    "improperly-formed": Failure(
        "400 'Improperly formed request.', though it was not", 400, "ValidationException", None, IMPROPER
    ),
    "too-long": _validation("CONTENT_LENGTH_EXCEEDS_THRESHOLD", "Input is too long."),
    "too-long-message": Failure(
        "400 that says only in its message that the input is too long",
        400,
        "ValidationException",
        None,
        "Input content length exceeds threshold",
    ),
    "prompt-too-long": _validation("PROMPT_TOO_LONG"),
    "invalid-conversation-id": _validation("INVALID_CONVERSATION_ID"),
    "invalid-kms-grant": _validation("INVALID_KMS_GRANT"),
    "invalid-model": _validation("INVALID_MODEL_ID", BAD_MODEL),
    "tool-use-result-mismatch": _validation("TOOL_USE_RESULT_MISMATCH"),
    "tool-schema-invalid": _validation("TOOL_SCHEMA_INVALID"),
    "tool-duplicate": _validation("TOOL_DUPLICATE"),
    "tool-config-missing": _validation("TOOL_CONFIG_MISSING"),
    "thinking-signature-invalid": _validation("THINKING_SIGNATURE_INVALID"),
    "bad-token": Failure(
        "403 'The bearer token ... is invalid', though it is valid",
        403,
        "AccessDeniedException",
        None,
        BAD_TOKEN,
    ),
    "unauthorized": Failure("401 with that message", 401, "UnauthorizedException", None, BAD_TOKEN),
    "forbidden": Failure(
        "403 AccessDeniedException without a reason",
        403,
        "AccessDeniedException",
        None,
        "User is not authorized to make this call.",
    ),
    "suspended": Failure(
        "403 AccessDeniedException, reason TEMPORARILY_SUSPENDED",
        403,
        "AccessDeniedException",
        "TEMPORARILY_SUSPENDED",
        "Your User ID temporarily is suspended.",
    ),
    "feature-not-supported": Failure(
        "403 AccessDeniedException, reason FEATURE_NOT_SUPPORTED",
        403,
        "AccessDeniedException",
        "FEATURE_NOT_SUPPORTED",
        "This feature is not supported.",
    ),
    "unauthorized-customization": Failure(
        "403 AccessDeniedException, reason UNAUTHORIZED_CUSTOMIZATION_RESOURCE_ACCESS",
        403,
        "AccessDeniedException",
        "UNAUTHORIZED_CUSTOMIZATION_RESOURCE_ACCESS",
        "You may not use this customization.",
    ),
    "internal-error": Failure(
        "500 InternalServerException",
        500,
        "InternalServerException",
        None,
        "Encountered an unexpected error.",
    ),
    "unavailable": Failure("503 ServiceUnavailableException", 503, "ServiceUnavailableException", None, "Unavailable."),
    "unavailable-500": Failure(
        "500 ServiceUnavailableException", 500, "ServiceUnavailableException", None, "Unavailable."
    ),
}
"""Refusals in the service's ordinary form."""


# --- refusals in other forms -----------------------------------------------------------------------------------


def status(stage: Stage, code: int, name: str, reason: str, message: str) -> Reply:
    """Any status, name, reason and message."""
    if 200 <= code <= 299:
        return stage.json({"message": message}, code)
    return stage.refusal(code, name, message or name, reason or None)


def retry_after(stage: Stage, seconds: int) -> Reply:
    """A throttling that says for how long."""
    return stage.refusal(429, "ThrottlingException", _THROTTLED, None, (("retry-after", str(seconds)),))


def html(stage: Stage, code: int) -> Reply:
    """What a proxy on the way says."""
    page = f"<html><head><title>{code}</title></head><body><center><h1>{code}</h1></center></body></html>\r\n"
    return whole(code, page.encode(), (("content-type", "text/html"), ("x-amzn-requestid", stage.request_id)))


def empty_body(stage: Stage, code: int) -> Reply:
    """A status alone."""
    return whole(code, b"", (("x-amzn-requestid", stage.request_id),))


def truncated_json(stage: Stage, code: int) -> Reply:
    """A body that ends in the middle of itself, though as long as it says."""
    body = b'{"message":"Too many requ'
    headers = (("content-type", JSON), ("x-amzn-requestid", stage.request_id))
    return whole(code, body, headers)


def _named_in_body(stage: Stage, content: dict[str, object]) -> Reply:
    headers = (("content-type", JSON), ("x-amzn-requestid", stage.request_id))
    return whole(429, encode_payload(content), headers)


def namespaced_name(stage: Stage) -> Reply:
    """A name with its namespace before it."""
    name = "com.amazon.coral.availability#ThrottlingException"
    return _named_in_body(stage, {"__type": name, "message": _THROTTLED})


def name_in_code(stage: Stage) -> Reply:
    """A name in the body's `code`."""
    return _named_in_body(stage, {"code": "ThrottlingException", "message": _THROTTLED})


def deep_name(stage: Stage) -> Reply:
    """A name one level down, as in the captured answer to an unknown operation."""
    inner = {"__type": "com.amazon.coral.availability#ThrottlingException", "message": _THROTTLED}
    return _named_in_body(stage, {"Output": inner, "Version": "1.0"})


def name_with_address(stage: Stage) -> Reply:
    """A name with an address after it."""
    name = "ThrottlingException:http://internal.amazon.com/coral/com.amazon.coral.availability/"
    return stage.refusal(429, name, _THROTTLED)


def redirect(stage: Stage) -> Reply:
    """Another address, which no client may follow with a token in its hands."""
    return whole(307, b"", (("location", "http://localhost:9/elsewhere"), ("x-amzn-requestid", stage.request_id)))


def token_revoked(stage: Stage) -> Reply:
    """The account's access tokens end with this request."""
    assert stage.revoke is not None, "the table lets only generate calls come here"
    stage.revoke()
    return stage.refusal(403, "AccessDeniedException", BAD_TOKEN)


# --- no answer -------------------------------------------------------------------------------------------------


def stall_head(_stage: Stage) -> Reply:
    """Nothing at all."""
    return Reply(None, (Stall(),))


def close_early(_stage: Stage) -> Reply:
    """The request was read, and then the connection ended."""
    return Reply(None, (Close(),))


def refuse_connection(_stage: Stage) -> Reply:
    """A reset: as near to a refused connection as one who has already accepted can come."""
    return Reply(None, (Reset(),))


def half_head(stage: Stage) -> Reply:
    """A head that says how much comes, and less than that."""
    head = Head(200, (("content-type", JSON), ("content-length", "1000"), ("x-amzn-requestid", stage.request_id)))
    return Reply(head, (Send(b'{"message":'), Close()))


def slow_head(milliseconds: int, reply: Reply) -> Reply:
    """A reply that lets its client wait for the first byte."""
    return msgspec.structs.replace(reply, delay=milliseconds / 1000)
