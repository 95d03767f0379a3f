"""What a request came to, by what its exchange told."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.anthropic import AnswerMessage, AnswerText, Usage
from core.dialogue import AnswerBegan, AttemptFailed, Deliver, Notice, Succeeded, TokenRejected
from core.failures import Failure, Kind
from core.response import AnswerMetadata, BufferedResponse
from core.sse import Ping
from core.summary import Attempt, Outcome, Summary, end, hear
from core.times import Instant
from tests.notices import failed, refused, succeeded

START = Summary(request_id="req_1", model="claude-test", began=Instant(100.0))


def told(*notices: tuple[float, Notice]) -> Summary:
    """The summary after notices, each so many seconds after the request's beginning."""
    summary = START
    for after, notice in notices:
        summary = hear(summary, notice, now=Instant(100.0 + after))
    return summary


def test_a_request_of_which_nothing_was_told_was_abandoned_and_tried_nobody() -> None:
    summary = end(START, now=Instant(100.5), processing=0.0)
    assert (summary.outcome, summary.account, summary.attempts) == (Outcome.ABANDONED, None, ())
    assert (summary.duration, summary.first_byte, summary.refreshes) == (0.5, None, 0)
    assert (summary.error_type, summary.stop_reason, summary.blocks) == (None, None, 0)


def test_a_request_takes_no_time_until_it_has_ended() -> None:
    assert told((3.0, AnswerBegan("a"))).duration == 0.0


def test_an_answer_is_told_with_its_account_reason_blocks_and_tokens() -> None:
    message = AnswerMessage(
        id="msg_1",
        model="claude-test",
        content=(AnswerText("made-up words"), AnswerText("more of them")),
        stop_reason="max_tokens",
        usage=Usage(input_tokens=1, output_tokens=2, cache_creation_input_tokens=3, cache_read_input_tokens=4),
    )
    response = BufferedResponse(
        message=message, metadata=AnswerMetadata(original_model="claude-test", target_provider="b")
    )
    summary = told((1.5, AnswerBegan("b")), (2.0, Succeeded(response)))
    summary = end(summary, now=Instant(102.25), processing=0.002)
    assert summary == Summary(
        request_id="req_1",
        model="claude-test",
        began=Instant(100.0),
        ended=Instant(102.25),
        first_byte=1.5,
        processing=0.002,
        attempts=(Attempt("b", None),),
        outcome=Outcome.ANSWERED,
        stop_reason="max_tokens",
        blocks=2,
        input_tokens=1,
        output_tokens=2,
        cache_creation_input_tokens=3,
        cache_read_input_tokens=4,
    )
    assert (summary.account, summary.duration) == ("b", 2.25)
    assert "made-up words" not in repr(summary)


def test_a_refusal_is_told_with_its_error_and_the_account_that_was_tried_last() -> None:
    summary = told((1.0, failed("a", Kind.NETWORK)), (2.0, failed("b", Kind.TIMEOUT)), (2.0, refused("timeout_error")))
    assert summary.outcome is Outcome.REFUSED
    assert summary.error_type == "timeout_error"
    assert summary.account == "b"
    assert summary.attempts == (Attempt("a", Kind.NETWORK), Attempt("b", Kind.TIMEOUT))


def test_no_word_of_a_failure_or_a_refusal_is_kept() -> None:
    secret = "made-up-secret"
    failure = AttemptFailed("a", Failure(kind=Kind.CLIENT, message=secret))
    assert secret not in repr(told((1.0, failure), (1.0, refused("invalid_request_error", secret))))


def test_the_first_byte_is_that_of_the_answer_that_counted() -> None:
    summary = told(
        (1.0, AnswerBegan("a")),
        (2.0, failed("a", Kind.NETWORK)),
        (3.0, AnswerBegan("a")),
        (4.0, TokenRejected("a")),
        (6.0, AnswerBegan("b")),
        (7.0, succeeded("b")),
    )
    assert (summary.first_byte, summary.account, summary.refreshes) == (6.0, "b", 1)
    assert summary.attempts == (Attempt("a", Kind.NETWORK), Attempt("b", None))


@pytest.mark.parametrize("notice", [failed("a", Kind.SERVER), TokenRejected("a")])
def test_an_answer_that_broke_off_has_no_first_byte(notice: Notice) -> None:
    summary = told((1.0, AnswerBegan("a")), (2.0, notice))
    assert (summary.first_byte, summary.answering) == (None, None)


def test_who_was_answering_when_the_client_left_is_the_request_s_account_but_has_not_failed() -> None:
    summary = end(told((1.0, failed("a", Kind.SERVER)), (2.0, AnswerBegan("b"))), now=Instant(103.0), processing=0.0)
    assert (summary.account, summary.first_byte, summary.outcome) == ("b", 2.0, Outcome.ABANDONED)
    assert summary.attempts == (Attempt("a", Kind.SERVER),)


def test_what_is_delivered_changes_nothing() -> None:
    assert told((9.0, Deliver((Ping(),)))) == START


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("notices", [(), ((1.0, succeeded("a")),), ((1.0, refused("api_error")),)])
def test_the_shell_may_know_better_how_it_ended(notices: Sequence[tuple[float, Notice]], outcome: Outcome) -> None:
    assert end(told(*notices), now=Instant(102.0), processing=0.0, outcome=outcome).outcome is outcome


notices = st.one_of(
    st.just(Deliver((Ping(),))),
    st.builds(AnswerBegan, st.sampled_from("abc")),
    st.builds(TokenRejected, st.sampled_from("abc")),
    st.builds(failed, st.sampled_from("abc"), st.sampled_from(Kind)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 100), notices), max_size=12), st.sampled_from(["abc", "", "x"]))
def test_every_attempt_is_told_once_and_in_order(happened: list[tuple[float, Notice]], answering: str) -> None:
    happened.sort(key=lambda each: each[0])
    last = [(100.0, succeeded(answering))] if answering else [(100.0, refused("api_error"))]
    before = told(*happened)
    after = hear(before, last[0][1], now=Instant(200.0))
    failures = [(each.provider_id, each.failure.kind) for _, each in happened if isinstance(each, AttemptFailed)]
    expected = [*failures, (answering, None)] if answering else failures
    assert [(each.account, each.failure) for each in after.attempts] == expected
    assert after.refreshes == sum(isinstance(each, TokenRejected) for _, each in happened)
    assert after.outcome is (Outcome.ANSWERED if answering else Outcome.REFUSED)
    assert before.outcome is Outcome.ABANDONED
    began = [(at, each) for at, each in happened if not isinstance(each, Deliver)]
    answer_stands = bool(began) and isinstance(began[-1][1], AnswerBegan)
    assert after.first_byte == ((100.0 + began[-1][0]) - 100.0 if answer_stands else None)
