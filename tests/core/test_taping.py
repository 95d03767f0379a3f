"""An exchange being recorded: which lines are ready when, what is held back, and that no secret is in any."""

from __future__ import annotations

import msgspec
import pytest

from core.credentials import Token
from core.dialogue import (
    BodyEnded,
    CallFailed,
    DataArrived,
    HeadArrived,
    NoProvider,
    ProviderChosen,
    TokenReady,
    TokenRefused,
    TokenUnavailable,
    TokenUnreadable,
    WantCall,
    WantData,
)
from core.failures import Kind
from core.http import Head
from core.masking import Mask
from core.phases import Policy
from core.recording import (
    AnsweredLine,
    BodyEndLine,
    CallLine,
    ChosenLine,
    CutLine,
    DataLine,
    DeliveredLine,
    EndedLine,
    FailedLine,
    Happened,
    HeadLine,
    Line,
    NoneLeftLine,
    NoTokenLine,
    TokenLine,
    WokenLine,
    parse_recording,
)
from core.refusals import Absence
from core.rerun import first_difference_from_then, rerun
from core.taping import Moment, begin_tape, end_tape, record
from core.times import Epoch, Instant, Now
from tests.builders import SHELL_TOOL, asked, body, exception, text, tool
from tests.exchanges import EVENT_STREAM, POLICY, provider
from tests.recordings import HELLO, PROFILE, SECRETS, THROTTLED, Taped

ACCESS = SECRETS.access_token.encode()
NUMBER = b"123456789012"
FORBIDDEN = Head(status=403, headers={"content-type": "application/json", "set-cookie": "made-up-cookie"})


def kinds(taped: bytes) -> list[type[Line]]:
    """The lines from the fourth on, by what they are."""
    return [type(line) for line in parse_recording(taped).lines]


def bodies(taped: bytes) -> bytes:
    """All data."""
    return b"".join(line.data for line in parse_recording(taped).lines if isinstance(line, DataLine))


def assert_clean(taped: bytes) -> None:
    """Assert that nothing of an account is in it, and that it is run again as it went."""
    for secret in (ACCESS, b"made-up-refresh-token-5678", NUMBER, b"made-up-cookie"):
        assert secret not in taped
        assert secret not in bodies(taped)
    recording = parse_recording(taped)
    assert first_difference_from_then(recording, rerun(recording)) is None


def test_lines_stand_in_the_order_in_which_it_happened() -> None:
    taped = Taped().call().answer(HELLO, pieces=2).taped
    assert kinds(taped) == [
        ChosenLine,
        TokenLine,
        CallLine,
        HeadLine,
        DataLine,
        DataLine,
        BodyEndLine,
        DeliveredLine,
        EndedLine,
    ]
    assert taped.endswith(b'{"what":"ended"}\n')


def test_what_an_exchange_was_begun_with_is_said_first() -> None:
    recording = parse_recording(Taped(at=7.5).call().answer(HELLO).taped)
    opening = recording.opening
    assert (opening.at, opening.date, opening.stagewhisper, opening.program) == (7.5, 1_700_000_007.5, 1, "0.0.0")
    assert (opening.request_id, opening.message_id, opening.jitter) == ("req_0001", "msg_0001", 0.5)
    assert opening.policy == POLICY
    assert recording.converted == asked(stream=True).conversion.request


def test_each_happening_has_its_moment() -> None:
    recording = parse_recording(Taped(at=1000.0, pause=2.0).call().answer(HELLO).taped)
    moments = [(line.at, line.date) for line in recording.lines if isinstance(line, Happened)]
    assert moments == [(1000.0 + 2 * turn, 1_700_001_000.0 + 2 * turn) for turn in range(1, 6)]


def test_what_is_recorded_of_a_request_is_what_the_gateway_reads() -> None:
    taped = Taped(metadata={"user_id": "made-up-user"}, temperature=0.5).call().answer(HELLO).taped
    assert b"made-up-user" not in taped
    assert b"temperature" not in taped


def test_a_call_is_recorded_without_its_headers_and_body() -> None:
    played = Taped().call("a", profile_arn=PROFILE)
    assert isinstance(played.want, WantCall)
    call, taped = played.want.call, played.answer(HELLO).taped
    assert parse_recording(taped).lines[2] == CallLine(url=call.url, size=len(call.body))
    assert b"Bearer" not in taped
    assert_clean(taped)


# --- what is held ----------------------------------------------------------------------------------------------


def test_nothing_is_given_out_until_there_is_a_token() -> None:
    played = Taped(messages=[{"role": "user", "content": f"mine is {ACCESS.decode()}"}])
    played.tell(ProviderChosen(provider("a")), TokenUnavailable("the sign-in service answered 500"))
    assert played.taped == b""
    played.tell(ProviderChosen(provider("b")))
    assert played.taped == b""
    played.tell(TokenReady(SECRETS))
    assert kinds(played.taped) == [ChosenLine, NoTokenLine, ChosenLine, TokenLine, CallLine]
    assert_clean(played.answer(HELLO).taped)


def test_an_exchange_that_ends_without_a_token_is_given_out_at_its_end() -> None:
    played = Taped(stream=False)
    played.tell(ProviderChosen(provider("a")), TokenRefused("gone", ""))
    played.tell(ProviderChosen(provider("b")), TokenUnreadable("no"))
    played.tell(ProviderChosen(provider("c")), TokenUnavailable("500"))
    assert played.taped == b""
    taped = played.tell(NoProvider()).taped
    lines = parse_recording(taped).lines
    assert [line.cause for line in lines if isinstance(line, NoTokenLine)] == ["refused", "unreadable", "unavailable"]
    assert isinstance(lines[-1], AnsweredLine)
    assert_clean(taped)


def test_signs_of_life_before_a_token_are_held_too() -> None:
    played = Taped().wake()
    assert played.taped == b""
    taped = played.call().answer(HELLO).taped
    assert kinds(taped)[:3] == [WokenLine, DeliveredLine, ChosenLine]
    assert_clean(taped)


def test_an_exchange_out_of_time_before_a_token_is_given_out() -> None:
    played = Taped(stream=False, policy=Policy(total=10.0)).wake()
    assert kinds(played.taped) == [WokenLine, AnsweredLine]


def test_bytes_are_given_out_when_their_frame_is_whole() -> None:
    first, second = body(text("Hel")), body(text("lo"))
    played = Taped().call().begin_answer()
    played.tell(DataArrived(first[:2]), DataArrived(first[2:50]))
    assert bodies(played.taped) == b""
    played.tell(DataArrived(first[50:] + second[:20]))
    assert bodies(played.taped) == first[:50]
    played.tell(DataArrived(second[20:]))
    assert bodies(played.taped) == first + second
    played.tell(DataArrived(first))
    assert bodies(played.taped) == first + second + first
    assert_clean(played.tell(BodyEnded()).taped)


def test_what_is_given_out_so_far_is_a_recording_at_any_time() -> None:
    data = body(*(text(f"word {number} ") for number in range(5)), exception("ThrottlingException", "slow"))
    played = Taped().call().begin_answer()
    whole, at = b"", 0
    while isinstance(played.want, WantData):
        played.tell(DataArrived(data[at : at + 13]))
        at += 13
        assert played.taped.startswith(whole)
        whole = played.taped
        recording = parse_recording(whole)
        assert not recording.is_torn
        assert first_difference_from_then(recording, rerun(recording)) is None
    assert bodies(whole) == data


def test_signs_of_life_amid_a_frame_stay_behind_the_bytes_before_them() -> None:
    data = body(text("Hello"))
    played = Taped().call().begin_answer(data[:30]).wake()
    assert bodies(played.taped) == b""
    taped = played.tell(DataArrived(data[30:]), BodyEnded()).taped
    assert kinds(taped)[3:] == [
        HeadLine,
        DataLine,
        WokenLine,
        DeliveredLine,
        DataLine,
        BodyEndLine,
        DeliveredLine,
        EndedLine,
    ]
    assert_clean(taped)


def test_the_body_of_an_error_is_held_to_its_end() -> None:
    played = Taped().call().tell(HeadArrived(FORBIDDEN))
    played.tell(DataArrived(b'{"message":"' + ACCESS[:9]), DataArrived(ACCESS[9:] + b' is of 123456789012"}'))
    assert bodies(played.taped) == b""
    taped = played.tell(BodyEnded(), TokenRefused("gone", "")).tell(NoProvider()).taped
    assert bodies(taped) == b'{"message":"//1//removed//1//removed/ is of 000000000000"}'
    assert_clean(taped)


# --- secrets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 40, 1000])
@pytest.mark.parametrize(
    "data",
    [
        body(text(f"{ACCESS.decode()} {PROFILE}"), tool("t1", "Bash", f'{{"a":"{ACCESS.decode()}"}}', stop=True)),
        body(text("Hello"), exception("ValidationException", f"{ACCESS.decode()} {PROFILE} 123456789012")),
        body(text(ACCESS.decode()))[:-5],
        body(text(ACCESS.decode()))[:-25],
        b"\x00\x00\x00\x05" + ACCESS * 2,
        b"\x00\x00\x00\x30" + ACCESS * 3,
        body(text("Hello")) + b"<html>" + ACCESS + b"</html>",
    ],
)
def test_a_secret_in_an_answer_goes_however_it_is_cut(data: bytes, size: int) -> None:
    played = Taped(tools=[SHELL_TOOL]).call().answer(data, pieces=-(-len(data) // size))
    taped = played.taped if not hasattr(played.want, "excluded") else played.tell(NoProvider()).taped
    if played.is_reading or hasattr(played.want, "call"):
        taped = played.tell(CallFailed("network", "refused"), NoProvider()).taped
    assert ACCESS not in bodies(taped)
    assert ACCESS[:8] not in taped
    assert b"123456789012" not in bodies(taped)
    assert_clean(taped)


def test_a_secret_that_was_cut_off_leaves_no_beginning() -> None:
    data = body(text(f"mine is {ACCESS.decode()}"))
    taped = Taped().call().begin_answer(data[: data.index(ACCESS) + 20]).cut()
    assert bodies(taped).endswith(b"mine is //1//removed//1//rem")


def test_heads_lose_cookies_and_secrets() -> None:
    head = Head(status=500, headers={"x-amzn-errortype": f"No {ACCESS.decode()}", "set-cookie": "made-up-cookie"})
    taped = Taped(stream=False).call().answer(b"", head=head).tell(NoProvider()).taped
    (line,) = (line for line in parse_recording(taped).lines if isinstance(line, HeadLine))
    assert (line.status, line.headers) == (500, {"x-amzn-errortype": "No //1//removed//1//removed/"})
    assert_clean(taped)


def test_problems_and_absences_lose_account_numbers() -> None:
    absence = Absence(provider_id="b", kind=Kind.SERVER, problem=f"no {PROFILE}", back_in=5.0, back_at=Epoch(1.7e9))
    played = Taped(stream=False).call().tell(CallFailed("timeout", f"at {PROFILE}")).tell(NoProvider((absence,)))
    lines = parse_recording(played.taped).lines
    assert [line.problem for line in lines if isinstance(line, FailedLine)] == [
        f"at {PROFILE}".replace("123456789012", "000000000000")
    ]
    assert [line.absences[0].problem for line in lines if isinstance(line, NoneLeftLine)] == [
        f"no {PROFILE}".replace("123456789012", "000000000000")
    ]
    assert_clean(played.taped)


def test_a_token_that_was_refused_stays_covered_as_what_it_was() -> None:
    renewed = msgspec.structs.replace(SECRETS, access_token="made-up-access-token-9999")
    invalid = {"message": "The bearer token included in the request is invalid."}
    played = Taped(stream=False).call().refuse(403, invalid).tell(TokenReady(renewed))
    taped = played.refuse(400, {"message": f"not {ACCESS.decode()}, not {renewed.access_token}"}).taped
    assert b"made-up-access" not in taped + bodies(taped)
    assert b"not //1//removed//1//removed/, not //3//removed//3//removed/" in bodies(taped)
    answer = parse_recording(taped).lines[-1]
    assert isinstance(answer, AnsweredLine)
    assert b"not //1//removed//1//removed/, not ***" in bytes(answer.body)
    assert_clean(taped)


def test_an_answer_with_line_ends_between_its_values_is_one_line() -> None:
    data = body(tool("t1", "Bash", '{\r\n "a": "b\\n"\n}', stop=True))
    taped = Taped(stream=False, tools=[SHELL_TOOL]).call().answer(data).taped
    assert taped.count(b"\n") == 3 + len(kinds(taped))
    answer = parse_recording(taped).lines[-1]
    assert isinstance(answer, AnsweredLine)
    assert b'{   "a": "b\\n" }' in bytes(answer.body)
    assert_clean(taped)


@pytest.mark.parametrize("secret", [SECRETS.access_token, SECRETS.refresh_token, PROFILE])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_may_quote_a_token_of_the_prompt_is_not_recorded(secret: str, stream: bool) -> None:
    pieces = [text(secret[start : start + 5]) for start in range(0, len(secret), 5)]
    asked = [{"role": "user", "content": f"My file says {secret}"}]
    played = Taped(stream=stream, messages=asked).call().refuse(429, THROTTLED).call("b").answer(body(*pieces))
    lines = parse_recording(played.taped).lines
    assert [type(line) for line in lines[-3:]] == [CallLine, HeadLine, CutLine]
    assert lines[-1] == CutLine(why="a token or a profile's ARN stands in the prompt, which the answer may quote")
    assert msgspec.json.decode(bodies(played.taped)) == THROTTLED
    assert_clean(played.taped)
    assert played.cut() == played.taped


def test_the_secrets_of_accounts_that_were_used_before_are_known_from_the_start() -> None:
    other = Token(access_token="made-up-other-access", refresh_token=None, auth_method="social")
    prompt = [{"role": "user", "content": f"My other file says {other.access_token}"}]
    for accounts in ((), ((provider("b"), other),)):
        taped = Taped(messages=prompt, accounts=accounts).call().answer(HELLO).taped
        assert (other.access_token.encode() in taped) == (not accounts)
        assert (bodies(taped) == HELLO) == (not accounts)


# --- the end ---------------------------------------------------------------------------------------------------


def test_an_exchange_that_came_to_no_end_says_why() -> None:
    taped = Taped().call().begin_answer(HELLO[:100]).cut("the client left")
    assert parse_recording(taped).lines[-1] == CutLine(why="the client left")
    assert bodies(taped) == HELLO[:100]
    assert_clean(taped)
    assert_clean(Taped().call().tell(HeadArrived(FORBIDDEN), DataArrived(ACCESS)).cut(f"no {PROFILE}"))


def test_of_an_exchange_without_a_token_that_came_to_no_end_there_is_nothing() -> None:
    assert Taped().cut() == b""
    assert Taped().tell(ProviderChosen(provider())).cut() == b""


def test_a_tape_is_a_value_that_can_be_gone_on_from_twice() -> None:
    began = asked()
    tape = begin_tape(began, parse_recording(Taped().call().cut()).request, POLICY, program="1.2.3", mask=Mask())
    now = Now(Instant(1.0), Epoch(2.0))
    moment = Moment(happening=ProviderChosen(provider()), at=now, notices=(), want=Taped().want)
    one, lines = record(tape, moment)
    other, _ = record(tape, moment)
    assert (one, lines) == (other, b"")
    assert tape.held == ()
    assert end_tape(one, "x") == b""


def test_a_long_frame_in_single_bytes_is_taped_whole() -> None:
    data = body(text("a" * 3000))
    taped = Taped(pause=0.0).call().answer(data, head=EVENT_STREAM, pieces=len(data)).taped
    assert bodies(taped) == data
    assert_clean(taped)
