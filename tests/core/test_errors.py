"""The project's exceptions: whose fault, where, in one line."""

import pytest

from core.errors import ClientRequestError, ShellError, StagewhisperError


def test_a_client_s_error_says_where_and_keeps_the_parts() -> None:
    error = ClientRequestError("messages[2].content[0]", "expected text, got 5")
    assert str(error) == "messages[2].content[0]: expected text, got 5"
    assert (error.place, error.problem) == ("messages[2].content[0]", "expected text, got 5")
    assert error.error_type == "invalid_request_error"


def test_a_client_s_error_about_the_whole_request_has_no_place_in_its_text() -> None:
    error = ClientRequestError("", "prompt is too long", error_type="request_too_large")
    assert (str(error), error.place, error.error_type) == ("prompt is too long", "", "request_too_large")


@pytest.mark.parametrize("error", [ClientRequestError("a", "b"), ShellError("a")])
def test_whoever_wants_all_of_them_catches_the_base(error: StagewhisperError) -> None:
    with pytest.raises(StagewhisperError) as caught:
        raise error
    assert caught.value is error


def test_a_bug_of_ours_is_not_taken_for_somebody_else_s_fault() -> None:
    assert not issubclass(ShellError, ClientRequestError)
