"""The figures for Prometheus, as its own library reads them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import msgspec
import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from adapters.ambient import VERSION
from adapters.metrics import REFRESHES, Metrics
from core.failures import Kind
from core.ledger import STATES
from core.summary import Outcome, Summary
from tests.notices import ended

Labels = frozenset[tuple[str, str]]


def fetch(metrics: Metrics) -> dict[tuple[str, Labels], float]:
    """Every sample, by its name and labels."""
    content_type, body = metrics.render()
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    samples: dict[tuple[str, Labels], float] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            place = (sample.name, frozenset(sample.labels.items()))
            assert place not in samples, f"{place} stands there twice"
            samples[place] = sample.value
    return samples


def read(metrics: Metrics, name: str, **labels: str) -> float | None:
    """One sample; None where there is none."""
    return fetch(metrics).get((name, frozenset(labels.items())))


def made(*accounts: str, states: Mapping[str, str] | None = None) -> Metrics:
    """The figures of a gateway with these accounts."""
    return Metrics(accounts=accounts, states=lambda: states or {})


def test_a_gateway_that_has_done_nothing_says_so() -> None:
    samples = fetch(made("a", "b"))
    ours = {place: value for place, value in samples.items() if place[0].startswith("stagewhisper_")}
    assert ours.pop(("stagewhisper_build_info", frozenset({("version", VERSION)}))) == 1.0
    assert set(ours.values()) == {0.0}
    for account in ("a", "b"):
        assert ("stagewhisper_attempts_total", frozenset({("account", account)})) in ours
        for outcome in REFRESHES:
            labels = frozenset({("account", account), ("outcome", outcome)})
            assert ("stagewhisper_token_refreshes_total", labels) in ours


@pytest.mark.parametrize("outcome", Outcome)
def test_a_request_is_counted_by_account_model_and_outcome(outcome: Outcome) -> None:
    metrics = made("a", "b")
    metrics.observe(ended(outcome, ("a", Kind.NETWORK), ("b", None)))
    metrics.observe(ended(outcome, ("b", None)))
    labels = {"account": "b", "model": "claude-test", "outcome": outcome.value}
    assert read(metrics, "stagewhisper_requests_total", **labels) == 2.0
    assert read(metrics, "stagewhisper_attempts_total", account="a") == 1.0
    assert read(metrics, "stagewhisper_attempts_total", account="b") == 2.0
    assert read(metrics, "stagewhisper_failures_total", account="a", kind="network") == 1.0
    assert read(metrics, "stagewhisper_failures_total", account="b", kind="network") is None


def test_a_request_that_tried_nobody_is_counted_for_no_account() -> None:
    metrics = made("a")
    metrics.observe(ended(Outcome.NO_PLACE))
    labels = {"account": "none", "model": "claude-test", "outcome": "no_place"}
    assert read(metrics, "stagewhisper_requests_total", **labels) == 1.0
    assert read(metrics, "stagewhisper_attempts_total", account="none") is None


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_failure_has_its_name(kind: Kind) -> None:
    metrics = made("a")
    metrics.observe(ended(Outcome.REFUSED, ("a", kind), ("a", kind)))
    assert read(metrics, "stagewhisper_failures_total", account="a", kind=kind.value) == 2.0


def histogram(metrics: Metrics, name: str) -> tuple[float | None, float | None, list[tuple[float, float]]]:
    """How many were observed, their sum, and by each upper bound how many are at most that."""
    samples = fetch(metrics)
    buckets = sorted(
        (float(dict(labels)["le"]), value) for (each, labels), value in samples.items() if each == f"{name}_bucket"
    )
    return samples.get((f"{name}_count", frozenset())), samples.get((f"{name}_sum", frozenset())), buckets


DURATION = "stagewhisper_request_duration_seconds"
FIRST_BYTE = "stagewhisper_first_byte_seconds"
PROCESSING = "stagewhisper_buffer_processing_seconds"


@pytest.mark.parametrize(
    ("outcome", "durations", "processings"),
    [
        (Outcome.ANSWERED, 1.0, 1.0),
        (Outcome.REFUSED, 1.0, 0.0),
        (Outcome.ABANDONED, 0.0, 0.0),
        (Outcome.NO_PLACE, 0.0, 0.0),
        (Outcome.BUG, 0.0, 0.0),
    ],
)
def test_times_are_of_those_that_say_something(outcome: Outcome, durations: float, processings: float) -> None:
    metrics = made("a")
    metrics.observe(ended(outcome, duration=7.0, processing=0.0003))
    assert histogram(metrics, DURATION)[:2] == (durations, 7.0 * durations)
    assert histogram(metrics, PROCESSING)[:2] == (processings, 0.0003 * processings)
    assert histogram(metrics, FIRST_BYTE)[:2] == (0.0, 0.0)


def test_the_first_byte_is_observed_where_there_was_one() -> None:
    metrics = made("a")
    for outcome in (Outcome.ANSWERED, Outcome.ABANDONED):
        metrics.observe(msgspec.structs.replace(ended(outcome), first_byte=2.0))
    count, total, buckets = histogram(metrics, FIRST_BYTE)
    assert (count, total) == (2.0, 4.0)
    assert [value for bound, value in buckets if bound in (1.0, 2.5)] == [0.0, 2.0]


@pytest.mark.parametrize(
    ("name", "lowest", "highest"), [(DURATION, 0.25, 1800.0), (FIRST_BYTE, 0.25, 1800.0), (PROCESSING, 1e-5, 1.0)]
)
def test_the_buckets_fit_what_is_measured(name: str, lowest: float, highest: float) -> None:
    bounds = [bound for bound, _ in histogram(made(), name)[2]]
    assert (bounds[0], bounds[-2], bounds[-1]) == (lowest, highest, float("inf"))
    assert all(later <= 4 * earlier for earlier, later in itertools.pairwise(bounds[:-1]))


def test_tokens_are_counted_by_model_and_kind_and_only_where_there_was_an_answer() -> None:
    figures = {
        "input_tokens": 1,
        "output_tokens": 20,
        "cache_read_input_tokens": 300,
        "cache_creation_input_tokens": 4000,
    }
    metrics = made("a")
    for outcome in (Outcome.ANSWERED, Outcome.ANSWERED, Outcome.REFUSED):
        metrics.observe(msgspec.structs.replace(ended(outcome), **figures))
    told = {
        kind: read(metrics, "stagewhisper_tokens_total", model="claude-test", kind=kind)
        for kind in ("input", "output", "cache_read", "cache_creation")
    }
    assert told == {"input": 2.0, "output": 40.0, "cache_read": 600.0, "cache_creation": 8000.0}


def test_refreshes_are_counted_by_account_and_outcome() -> None:
    metrics = made("a", "b")
    for outcome in ("refreshed", "refreshed", "refused", "failed"):
        metrics.refreshed("a", outcome)
    told = [read(metrics, "stagewhisper_token_refreshes_total", account="a", outcome=each) for each in REFRESHES]
    assert told == [2.0, 1.0, 1.0]
    assert read(metrics, "stagewhisper_token_refreshes_total", account="b", outcome="refreshed") == 0.0


def states(metrics: Metrics) -> dict[tuple[str, str], float]:
    """Whether each account is in each state."""
    return {
        (dict(labels)["account"], dict(labels)["state"]): value
        for (name, labels), value in fetch(metrics).items()
        if name == "stagewhisper_account_state"
    }


@pytest.mark.parametrize("state", STATES)
def test_an_account_is_in_one_state(state: str) -> None:
    told = states(made("a", "b", states={"a": state, "b": "healthy"}))
    assert {each for each in STATES if told["a", each]} == {state}
    assert {each for each in STATES if told["b", each]} == {"healthy"}
    assert len(told) == 2 * len(STATES)


def test_states_are_asked_for_at_each_fetch() -> None:
    present = {"a": "healthy"}
    asked: list[None] = []

    def ask() -> Mapping[str, str]:
        asked.append(None)
        return present

    metrics = Metrics(accounts=["a"], states=ask)
    assert asked == []
    assert states(metrics)["a", "healthy"] == 1.0
    present["a"] = "cooldown"
    told = states(metrics)
    assert (told["a", "healthy"], told["a", "cooldown"], len(asked)) == (0.0, 1.0, 2)


def test_an_account_of_which_no_state_is_known_is_in_none_and_one_that_is_not_ours_is_not_told() -> None:
    told = states(made("a", states={"stranger": "healthy"}))
    assert set(told) == {("a", state) for state in STATES}
    assert set(told.values()) == {0.0}


def test_requests_in_progress_are_those_within_the_context() -> None:
    metrics = made("a")
    name = "stagewhisper_requests_in_progress"
    with metrics.in_progress():
        with metrics.in_progress():
            assert read(metrics, name) == 2.0
        assert read(metrics, name) == 1.0
    assert read(metrics, name) == 0.0


def test_a_request_that_breaks_is_no_longer_in_progress() -> None:
    metrics = made("a")
    with pytest.raises(ValueError, match="made up"), metrics.in_progress():
        raise ValueError("made up")
    assert read(metrics, "stagewhisper_requests_in_progress") == 0.0


def test_two_gateways_in_one_process_count_each_for_itself() -> None:
    one, other = made("a"), made("a")
    one.observe(ended(Outcome.ANSWERED, ("a", None)))
    assert read(one, "stagewhisper_attempts_total", account="a") == 1.0
    assert read(other, "stagewhisper_attempts_total", account="a") == 0.0
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("stagewhisper")]


def test_no_series_says_since_when_it_is_there() -> None:
    metrics = made("a")
    metrics.observe(ended(Outcome.ANSWERED, ("a", None)))
    assert not [name for name, _ in fetch(metrics) if name.endswith("_created")]


def test_names_are_told_as_they_are_whatever_is_in_them() -> None:
    names = ["j.doe+x@example.test", 'quoted"name', "back\\slash", "two\nlines", "Größe 模型"]
    metrics = made(*names)
    for name in names:
        metrics.observe(ended(Outcome.ANSWERED, (name, None), model=name))
        labels = {"account": name, "model": name, "outcome": "answered"}
        assert read(metrics, "stagewhisper_requests_total", **labels) == 1.0


def every_summary(accounts: Sequence[str]) -> list[Summary]:
    """Requests of each outcome with each kind of failure by each account."""
    return [
        ended(outcome, (account, kind), ("a", None)) for outcome in Outcome for account in accounts for kind in Kind
    ]


def test_more_requests_make_no_more_series_and_their_ids_are_in_none() -> None:
    metrics = made("a", "b")
    for summary in every_summary(["a", "b"]):
        metrics.observe(summary)
    before = fetch(metrics)
    for summary in every_summary(["a", "b"]):
        metrics.observe(msgspec.structs.replace(summary, request_id="req_2", error_type="api_error"))
    after = fetch(metrics)
    assert after.keys() == before.keys()
    assert not [value for _, labels in after for _, value in labels if value.startswith("req_") or "error" in value]
