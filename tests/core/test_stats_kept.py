"""The counters on disk, and those of two processes put together."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import StagewhisperError
from core.failures import Kind
from core.stats import START, Stats, StatsUnreadable, add, encode_stats, merge, parse_stats
from core.summary import Outcome, Summary
from core.times import Epoch
from tests.notices import ended

AT = 1_700_000_000.0

summaries = st.builds(
    lambda outcome, attempts, duration, processing, model: ended(
        outcome, *attempts, duration=duration, processing=processing, model=model
    ),
    st.sampled_from(Outcome),
    st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.sampled_from(Kind)), max_size=4),
    st.floats(0, 1800),
    st.floats(0, 1),
    st.sampled_from(["claude-x", "claude-y"]) | st.text(max_size=3),
)
happenings = st.lists(st.tuples(summaries, st.floats(-400, 400)), max_size=8)


def after(stats: Stats, happened: list[tuple[Summary, float]]) -> Stats:
    """The counters after these, each with its date as seconds from one moment."""
    for summary, at in happened:
        stats = add(stats, summary, now=Epoch(AT + at))
    return stats


def document(**members: Any) -> bytes:
    """Statistics with these members, as somebody might write them."""
    return json.dumps({**json.loads(encode_stats(START)), **members}).encode()


# --- written and read ------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(happenings)
def test_what_was_written_is_read_as_it_was(happened: list[tuple[Summary, float]]) -> None:
    stats = after(START, happened)
    assert parse_stats(encode_stats(stats)) == stats


def test_what_is_written_is_plain_json_with_dates_and_no_instants() -> None:
    summary = ended(Outcome.ANSWERED, ("a", Kind.NETWORK), ("b", None), duration=2.0, processing=0.5)
    assert json.loads(encode_stats(after(START, [(summary, 5.0)]))) == {
        "outcomes": {"answered": 1},
        "models": {"claude-test": 1},
        "attempts": {"a": {"claude-test": 1}, "b": {"claude-test": 1}},
        "failures": {"a": {"network": 1}},
        "response_time": 2.0,
        "processing_time": 0.5,
        "recent": [[170000000, 1]],
    }


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{}", id="no members"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"\x00\xff\xfe" * 10, id="bytes"),
        pytest.param(b'{"accessToken": "made-up-secret"}', id="another file"),
        pytest.param(encode_stats(START)[:-1], id="cut"),
        pytest.param(encode_stats(START) + b"{}", id="more after it"),
        pytest.param(document(more=1), id="a member more"),
        pytest.param(encode_stats(START).replace(b'"models":{},', b""), id="a member less"),
        pytest.param(document(models={"m": -1}), id="a negative count"),
        pytest.param(document(models={"m": 0}), id="a count of nothing"),
        pytest.param(document(models={"m": 1.0}), id="a broken count"),
        pytest.param(document(models={"m": True}), id="a truth for a count"),
        pytest.param(document(models={"m": "1"}), id="a text for a count"),
        pytest.param(document(models={"m": 2**53}), id="a count that JSON's readers round"),
        pytest.param(document(models={"m": 10**4000}), id="a count of 4000 digits"),
        pytest.param(document(models=[]), id="a list for a mapping"),
        pytest.param(document(outcomes={"won": 1}), id="an outcome that is none"),
        pytest.param(document(outcomes={"w" * 1000: 1}), id="a long outcome that is none"),
        pytest.param(document(failures={"a": {"bad luck": 1}}), id="a kind that is none"),
        pytest.param(document(failures={"a": {}}), id="an account without failures"),
        pytest.param(document(attempts={"a": {}}), id="an account without attempts"),
        pytest.param(document(attempts={"a": 1}), id="attempts without models"),
        pytest.param(document(response_time=float("nan")), id="NaN"),
        pytest.param(document(response_time=float("inf")), id="Infinity"),
        pytest.param(document(response_time=-0.1), id="negative seconds"),
        pytest.param(document(processing_time=1e16), id="seconds without end"),
        pytest.param(document(response_time=0).replace(b'time": 0', b'time": 1e999'), id="1e999"),
        pytest.param(document(processing_time=None), id="no seconds"),
        pytest.param(document(recent=[[1, 0]]), id="an empty bucket"),
        pytest.param(document(recent=[[1, -1]]), id="a negative bucket"),
        pytest.param(document(recent=[[1.5, 1]]), id="a bucket between buckets"),
        pytest.param(document(recent=[[1, 1, 1]]), id="a bucket of three"),
        pytest.param(document(recent=[[2, 1], [1, 1]]), id="buckets out of order"),
        pytest.param(document(recent=[[1, 1], [1, 1]]), id="a bucket twice"),
        pytest.param(document(recent=[[1, 1], [31, 1]]), id="buckets of more than a window"),
        pytest.param(document(recent={"1": 1}), id="buckets in a mapping"),
        pytest.param(document(models={"m": 1}).replace(b'"m"', b'"\xff"'), id="not UTF-8"),
        pytest.param(b'{"outcomes":' + b"[" * 200_000, id="deeply nested"),
        pytest.param(b"[" * 200_000, id="nested without members"),
    ],
)
def test_what_is_no_statistics_is_refused_with_a_line(data: bytes) -> None:
    with pytest.raises(StatsUnreadable) as caught:
        parse_stats(data)
    assert isinstance(caught.value, StagewhisperError)
    text = str(caught.value)
    assert text.startswith("expected ")
    assert text.isprintable()
    assert len(text) < 300
    assert "made-up-secret" not in text


@pytest.mark.parametrize(
    "members",
    [
        {"models": {"m": 2**53 - 1}},
        {"response_time": 3, "processing_time": 1e15},
        {"recent": [[-5, 1], [24, 9]]},
        {"outcomes": {each.value: 1 for each in Outcome}},
        {"failures": {"a": {each.value: 1 for each in Kind}}},
    ],
)
def test_what_is_at_the_edge_is_read(members: dict[str, Any]) -> None:
    stats = parse_stats(document(**members))
    assert json.loads(encode_stats(stats)) == json.loads(document(**members))


@settings(max_examples=200, deadline=None)
@given(happenings, st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_gives_statistics_or_a_refusal(
    happened: list[tuple[Summary, float]], place: int, byte: int
) -> None:
    data = bytearray(encode_stats(after(START, happened)))
    data[place % len(data)] = byte
    try:
        stats = parse_stats(bytes(data))
    except StatsUnreadable:
        return
    assert parse_stats(encode_stats(stats)) == stats


def test_counting_at_the_edge_stays_there_and_can_still_be_read() -> None:
    full = 2**53 - 1
    stats = parse_stats(
        document(
            outcomes={"answered": full},
            models={"claude-test": full},
            attempts={"a": {"claude-test": full}},
            failures={"a": {"network": full}},
            response_time=1e15,
            processing_time=1e15,
            recent=[[170000000, full]],
        )
    )
    summary = ended(Outcome.ANSWERED, ("a", Kind.NETWORK), duration=float("inf"), processing=1e300)
    assert after(stats, [(summary, 0.0)]) == stats
    assert merge(START, stats, stats) == stats
    assert parse_stats(encode_stats(after(stats, [(summary, 0.0)]))) == stats


# --- put together ----------------------------------------------------------------------------------------------


def forgetful(stats: Stats) -> Stats:
    """The counters without what is rounded and what is forgotten with time."""
    return msgspec.structs.replace(stats, response_time=0.0, processing_time=0.0, recent=())


@settings(max_examples=100, deadline=None)
@given(happenings, happenings, happenings)
def test_two_that_began_alike_make_what_one_would_have_counted(
    before: list[tuple[Summary, float]], mine: list[tuple[Summary, float]], theirs: list[tuple[Summary, float]]
) -> None:
    base = after(START, before)
    both = after(base, [*theirs, *mine])
    merged = merge(base, after(base, mine), after(base, theirs))
    assert forgetful(merged) == forgetful(both)
    assert merged.response_time == pytest.approx(both.response_time, abs=1e-6)
    assert merged.processing_time == pytest.approx(both.processing_time, abs=1e-6)
    assert parse_stats(encode_stats(merged)) == merged


def test_recent_requests_of_both_are_recent() -> None:
    summary = ended(Outcome.ANSWERED)
    base = after(START, [(summary, 0.0), (summary, 10.0)])
    mine = after(base, [(summary, 10.0), (summary, 20.0)])
    theirs = after(base, [(summary, 10.0), (summary, 300.0)])
    numbers = {int(AT // 10) + offset: count for offset, count in {1: 3, 2: 1, 30: 1}.items()}
    assert dict(merge(base, mine, theirs).recent) == numbers


@pytest.mark.parametrize(("apart", "expected"), [(280.0, [1, 1]), (290.0, [1, 1]), (300.0, [1]), (1e6, [1])])
def test_what_one_counted_a_window_before_the_other_is_not_recent(apart: float, expected: list[int]) -> None:
    early, late = (after(START, [(ended(Outcome.ANSWERED), at)]) for at in (0.0, apart))
    assert [count for _, count in merge(START, early, late).recent] == expected


@settings(max_examples=100, deadline=None)
@given(happenings, happenings, happenings)
def test_any_three_can_be_merged_and_it_does_not_matter_who_is_who(
    one: list[tuple[Summary, float]], two: list[tuple[Summary, float]], three: list[tuple[Summary, float]]
) -> None:
    """Also where the store was emptied or exchanged, so that less is there than was before."""
    base, mine, theirs = after(START, one), after(START, two), after(START, three)
    merged = merge(base, mine, theirs)
    assert merged == merge(base, theirs, mine)
    assert parse_stats(encode_stats(merged)) == merged  # which refuses what is negative


@settings(max_examples=100, deadline=None)
@given(happenings, happenings)
def test_who_added_nothing_changes_nothing(
    before: list[tuple[Summary, float]], theirs: list[tuple[Summary, float]]
) -> None:
    base, other = after(START, before), after(START, theirs)
    assert merge(base, base, other) == other
    assert merge(base, base, base) == base
    assert merge(START, START, other) == other


def test_counters_that_were_thrown_away_are_gone_and_what_came_since_is_kept() -> None:
    summary = ended(Outcome.ANSWERED, ("a", None), duration=2.0, processing=0.5)
    base = after(START, [(summary, 0.0)] * 5)
    mine = after(base, [(summary, 0.0)] * 2)
    assert merge(base, mine, START) == after(START, [(summary, 0.0)] * 2)
