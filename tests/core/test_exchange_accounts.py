"""A client request on its way through several accounts: tokens, refreshes, failover, and what is told of each."""

import msgspec
import pytest

from core.credentials import fingerprint
from core.dialogue import (
    AnswerBegan,
    AttemptFailed,
    BodyEnded,
    CallFailed,
    DataArrived,
    Deliver,
    HeadArrived,
    NoProvider,
    ProviderChosen,
    Refused,
    StreamEnded,
    Succeeded,
    TokenReady,
    TokenRefused,
    TokenRejected,
    TokenUnavailable,
    TokenUnreadable,
    WantCall,
    WantFreshToken,
    WantPause,
    WantProvider,
    Woken,
)
from core.errors import ShellError
from core.failures import Failure, Kind
from core.http import Head
from core.refusals import Absence
from core.sse import Error
from core.times import Epoch
from tests.builders import body, exception, text
from tests.exchanges import EVENT_STREAM, TOKEN, Play, provider

HELLO = body(text("Hello"))
INVALID_TOKEN = {"message": "The bearer token included in the request is invalid.", "reason": None}
OVERLOAD = {"reason": "INSUFFICIENT_MODEL_CAPACITY"}
BACK_AT = Epoch(1_700_001_030.0)

# --- tokens ----------------------------------------------------------------------------------------------------


def test_a_refused_token_is_refreshed_once_and_the_request_goes_again() -> None:
    play = Play().call().refuse(403, INVALID_TOKEN)
    assert isinstance(play.want, WantFreshToken)
    assert play.want.rejected == TOKEN
    assert play.notices == [TokenRejected("a")]
    fresh = msgspec.structs.replace(TOKEN, access_token="made-up-fresh")
    play.tell(TokenReady(fresh))
    assert isinstance(play.want, WantCall)
    assert play.want.call.headers["authorization"] == "Bearer made-up-fresh"
    assert play.want.call.headers["amz-sdk-request"] == "attempt=2; max=3"
    assert play.answer(HELLO).whole.status == 200


def test_a_token_that_is_refused_again_sends_the_request_to_another_account() -> None:
    play = Play().call().refuse(403, INVALID_TOKEN).tell(TokenReady(TOKEN)).refuse(401)
    assert isinstance(play.want, WantProvider)
    assert play.want.excluded == ("a",)
    play.tell(NoProvider())
    status, error_type, message = play.error
    assert (status, error_type) == (403, "permission_error")
    assert "a: " in message
    assert play.whole.headers["x-should-retry"] == "false"


def test_what_is_told_of_a_token_that_was_refused_again_is_which_one_it_was() -> None:
    fresh = msgspec.structs.replace(TOKEN, access_token="made-up-fresh")
    play = Play().call().refuse(403, INVALID_TOKEN).tell(TokenReady(fresh)).refuse(403, INVALID_TOKEN)
    assert play.notices[0] == TokenRejected("a")
    (failed,) = [notice for notice in play.notices if isinstance(notice, AttemptFailed)]
    assert (failed.failure.kind, failed.fingerprint) == (Kind.AUTHENTICATION, fingerprint(fresh))
    assert failed.fingerprint != fingerprint(TOKEN)
    assert "made-up-fresh" not in repr(play.notices)


@pytest.mark.parametrize("status", [429, 500, 400])
def test_a_failure_of_another_kind_names_no_token(status: int) -> None:
    play = Play().call().refuse(status)
    assert [notice.fingerprint for notice in play.notices if isinstance(notice, AttemptFailed)] == [None]


def test_each_account_has_a_refresh_of_its_own() -> None:
    play = Play().call("a").refuse(401).tell(TokenReady(TOKEN)).refuse(401).call("b").refuse(401)
    assert isinstance(play.want, WantFreshToken)
    assert play.want.provider.id == "b"
    assert play.tell(TokenReady(TOKEN)).answer(HELLO).whole.status == 200


def test_an_account_without_a_token_is_passed_over() -> None:
    play = Play().tell(ProviderChosen(provider("a")), TokenRefused("its refresh token was refused", "0123"))
    assert play.notices == [
        AttemptFailed("a", Failure(kind=Kind.AUTHENTICATION, message="its refresh token was refused"), "0123")
    ]
    assert isinstance(play.want, WantProvider)
    play.tell(NoProvider())
    assert play.error[:2] == (403, "permission_error")
    assert "its refresh token was refused" in play.error[2]


def test_a_refresh_that_failed_for_now_is_no_reason_to_sign_in_again() -> None:
    play = Play().tell(ProviderChosen(provider("a")), TokenUnavailable("503"), NoProvider())
    assert play.failed == [("a", "server")]
    assert play.error[:2] == (529, "overloaded_error")


def test_a_token_file_that_cannot_be_read_sends_the_request_to_another_account() -> None:
    play = Play().tell(ProviderChosen(provider("a")), TokenUnreadable("/a.json: is no JSON"))
    assert play.notices == [AttemptFailed("a", Failure(kind=Kind.TOKEN_FILE, message="/a.json: is no JSON"))]
    assert isinstance(play.want, WantProvider)
    assert play.want.excluded == ("a",)
    assert play.call("b").answer(HELLO).whole.status == 200
    alone = Play().tell(ProviderChosen(provider("a")), TokenUnreadable("/a.json: is no JSON"), NoProvider())
    assert alone.error[:2] == (403, "permission_error")
    assert "a: /a.json: is no JSON" in alone.error[2]


@pytest.mark.parametrize("happening", [TokenRefused("no", "0123"), TokenUnreadable("no"), TokenUnavailable("no")])
def test_a_refresh_that_fails_after_a_refusal_ends_the_account_s_turn(
    happening: TokenRefused | TokenUnreadable | TokenUnavailable,
) -> None:
    play = Play().call().refuse(401).tell(happening)
    assert isinstance(play.want, WantProvider)
    assert (play.want.excluded, len(play.failed)) == (("a",), 1)


@pytest.mark.parametrize("happening", [TokenRefused("no", "0123"), TokenUnreadable("no"), NoProvider()])
def test_no_token_is_spoken_of_that_was_not_asked_for(happening: TokenRefused | TokenUnreadable | NoProvider) -> None:
    with pytest.raises(ShellError, match="is not what Calling waits for"):
        Play().call().tell(happening)


def test_a_token_that_is_refused_in_mid_answer_is_refreshed_too() -> None:
    refused = body(exception("AccessDeniedException", INVALID_TOKEN["message"] or ""))
    play = Play().call().tell(HeadArrived(EVENT_STREAM), DataArrived(refused))
    assert isinstance(play.want, WantFreshToken)
    assert play.notices == [AnswerBegan("a"), TokenRejected("a")]


# --- the service begins to answer ------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_it_is_told_when_the_service_begins_an_event_stream(stream: bool) -> None:
    play = Play(stream=stream).call("b").tell(HeadArrived(EVENT_STREAM))
    assert play.notices == [AnswerBegan("b")]
    play.tell(DataArrived(HELLO))
    assert len(play.notices) == 1
    play.tell(BodyEnded())
    assert [type(notice) for notice in play.notices] == [AnswerBegan, Succeeded, *([Deliver] if stream else [])]


@pytest.mark.parametrize(
    "head",
    [
        Head(status=429, headers={"content-type": "application/json"}),
        Head(status=200, headers={"content-type": "text/html"}),
        Head(status=500, headers={"content-type": "application/vnd.amazon.eventstream"}),
    ],
)
def test_a_refusal_is_no_answer_that_began(head: Head) -> None:
    play = Play().call().answer(b"no", head=head)
    assert not [notice for notice in play.notices if isinstance(notice, AnswerBegan)]


def test_each_answer_that_begins_is_told_of() -> None:
    play = Play().call("a").tell(HeadArrived(EVENT_STREAM), CallFailed("network", "reset"))
    play.tell(HeadArrived(EVENT_STREAM), CallFailed("network", "reset"))
    play.call("b").answer(HELLO)
    kinds = [(type(n).__name__, getattr(n, "provider_id", None)) for n in play.notices]
    assert kinds == [
        ("AnswerBegan", "a"), ("AttemptFailed", "a"), ("AnswerBegan", "a"), ("AttemptFailed", "a"),
        ("AnswerBegan", "b"), ("Succeeded", None),
    ]  # fmt: skip


# --- when none is left -----------------------------------------------------------------------------------------


def absence(name: str, kind: Kind | None, back_in: float | None = 30.0) -> Absence:
    """Why an account cannot be used."""
    back_at = None if back_in is None else BACK_AT
    return Absence(provider_id=name, kind=kind, problem="was away", back_in=back_in, back_at=back_at)


@pytest.mark.parametrize(
    ("absences", "status", "headers", "words"),
    [
        ((), 529, {"retry-after": "1"}, "no account can be used now"),
        (
            (absence("a", Kind.RATE_LIMIT),),
            429,
            {"retry-after": "30"},
            "a: was away (it is tried again from 2023-11-14T",
        ),
        (
            (absence("a", Kind.QUOTA, 86_400.0),),
            429,
            {"x-should-retry": "false"},
            "a: was away (it is tried again from",
        ),
        ((absence("a", Kind.SERVER, 59.2),), 529, {"retry-after": "60"}, "a: was away"),
        (
            (absence("a", Kind.AUTHENTICATION, None),),
            403,
            {"x-should-retry": "false"},
            "stagewhisper accounts recover a",
        ),
        ((absence("a", None, None),), 403, {"x-should-retry": "false"}, "stagewhisper accounts enable a"),
        (
            (absence("a", Kind.RATE_LIMIT), absence("b", Kind.AUTHENTICATION, None)),
            529,
            {"retry-after": "30"},
            "; b: was away (sign in again",
        ),
    ],
)
def test_why_no_account_can_be_used_is_passed_on_to_the_client(
    absences: tuple[Absence, ...], status: int, headers: dict[str, str], words: str
) -> None:
    play = Play().tell(NoProvider(absences))
    assert play.whole.status == status
    assert dict(play.whole.headers) == {"content-type": "application/json", **headers}
    assert words in play.error[2]


def test_what_this_request_met_and_what_was_known_are_told_together() -> None:
    play = (
        Play().call("b").refuse(429).tell(NoProvider((absence("a", Kind.QUOTA, 3600.0), absence("b", Kind.RATE_LIMIT))))
    )
    status, error_type, message = play.error
    assert (status, error_type) == (429, "rate_limit_error")
    assert play.whole.headers["retry-after"] == "30"
    assert message.index("b: the service answered 429") < message.index("a: was away")


def test_a_begun_stream_is_told_of_it_in_an_event() -> None:
    play = Play(stream=True).wake().tell(NoProvider((absence("a", Kind.RATE_LIMIT, 3600.0),)))
    assert play.want == StreamEnded()
    error = play.delivered[-1]
    assert isinstance(error, Error)
    assert error.error.type == "rate_limit_error"
    assert "a: was away (it is tried again from" in error.error.message
    assert [type(notice) for notice in play.notices] == [Deliver, Refused, Deliver]


# --- how often each is tried -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failing", "calls"),
    [
        ([(429, b"")], 1),
        ([(402, b"")], 1),
        ([(500, b"")], 1),
        ([(403, {"reason": "TEMPORARILY_SUSPENDED"})], 1),
        ([(403, {"reason": "FEATURE_NOT_SUPPORTED"})], 1),
        ([(400, {"reason": "INVALID_MODEL_ID"})], 1),
        # twice around a refresh
        ([(401, b""), (401, b"")], 2),
        ([(401, b""), (500, b"")], 2),
        ([(401, b""), (429, b"")], 2),
    ],
)
def test_each_account_is_tried_once_and_twice_around_a_refresh(failing: list[tuple[int, object]], calls: int) -> None:
    play = Play()
    for name in "abc":
        assert isinstance(play.want, WantProvider)
        assert play.want.excluded == tuple("abc"["abc".index("a") : "abc".index(name)])
        play.call(name)
        for status, answer in failing:
            if isinstance(play.want, WantFreshToken):
                play.tell(TokenReady(TOKEN))
            assert isinstance(play.want, WantCall)
            assert play.want.provider.id == name
            play.refuse(status, answer)
    assert isinstance(play.want, WantProvider)
    assert play.want.excluded == ("a", "b", "c")
    assert play.step.exchange.attempts == 3 * calls
    assert [name for name, _ in play.failed] == ["a", "b", "c"]
    assert [name for name, _ in play.step.exchange.failures] == ["a", "b", "c"]


def test_an_overloaded_model_is_tried_on_other_accounts_without_further_pauses() -> None:
    play = Play().call("a")
    for _ in range(2):
        play.refuse(429, OVERLOAD)
        assert isinstance(play.want, WantPause)
        play.wake()
    for name in "bc":
        play.refuse(429, OVERLOAD)
        assert isinstance(play.want, WantProvider)
        play.call(name)
    assert play.answer(HELLO).whole.status == 200
    assert play.failed == [("a", "overload")] * 3 + [("b", "overload")]


def test_retries_and_the_refresh_are_each_accounts_own() -> None:
    play = Play()
    for name in "ab":
        play.call(name).tell(CallFailed("network", "reset")).refuse(401)
        assert isinstance(play.want, WantFreshToken)
        play.tell(TokenReady(TOKEN), CallFailed("network", "reset"))
        assert isinstance(play.want, WantProvider)
    assert play.failed == [("a", "network"), ("a", "network"), ("b", "network"), ("b", "network")]


@pytest.mark.parametrize("is_refreshed", [False, True])
def test_a_refusal_that_trickles_to_the_total_deadline_is_held_against_a_token_only_after_its_refresh(
    is_refreshed: bool,
) -> None:
    play = Play().call()
    if is_refreshed:
        play.refuse(403, INVALID_TOKEN).tell(TokenReady(TOKEN))
    play.tell(HeadArrived(Head(status=403, headers={"content-type": "application/json"})))
    while play.now < 1090.0:
        play.now += 10.0
        play.tell(DataArrived(b" "))
    play.now = 1100.0
    play.tell(Woken())
    (told,) = [notice for notice in play.notices if isinstance(notice, AttemptFailed)]
    if is_refreshed:
        assert (told.failure.kind, told.fingerprint) == (Kind.AUTHENTICATION, fingerprint(TOKEN))
        assert play.whole.status == 403
    else:
        assert (told.failure.kind, told.fingerprint) == (Kind.TIMEOUT, None)
        assert play.whole.status == 504
