"""The figures that Prometheus fetches: the one door to its client library.

Every label is an account's id, a model's name or a word of ours, so what a client or the service writes gets into
none, and how many there are is bounded by the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from adapters.ambient import VERSION
from core.ledger import STATES
from core.summary import Outcome, Summary

REFRESHES = ("refreshed", "refused", "failed")
"""What may come of a refresh."""

NO_ACCOUNT = "none"

# From what the smallest model says at once to an agent's longest turn, which `timeouts.totalMs` ends.
_SECONDS = (0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800)
# From a short answer in one piece to one that would be felt.
_PROCESSING = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1)

# Each series would have a second one that says since when it is there. The switch is the library's, for the process.
disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations


class Metrics:
    """The figures of one gateway, in a registry of their own.

    `accounts` are the configured ids. `states` gives the name of each account's present state; it is asked whenever
    somebody fetches the figures.
    """

    def __init__(self, *, accounts: Sequence[str], states: Callable[[], Mapping[str, str]]) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "stagewhisper_requests",
            "Clients' requests that have ended, by the account that answered or was tried last, and how they ended.",
            ["account", "model", "outcome"],
            registry=registry,
        )
        self._in_progress = Gauge(
            "stagewhisper_requests_in_progress", "Clients' requests that have not ended.", registry=registry
        )
        self._duration = Histogram(
            "stagewhisper_request_duration_seconds",
            "What requests took that were answered or refused, from first to last.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._first_byte = Histogram(
            "stagewhisper_first_byte_seconds",
            "From a request's beginning to when the service began the answer that counted.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._processing = Histogram(
            "stagewhisper_buffer_processing_seconds",
            "What the gateway took to make an answer of the service's bytes.",
            buckets=_PROCESSING,
            registry=registry,
        )
        self._attempts = Counter(
            "stagewhisper_attempts", "Tries of accounts, answers and failures.", ["account"], registry=registry
        )
        self._failures = Counter(
            "stagewhisper_failures", "Tries of accounts that failed.", ["account", "kind"], registry=registry
        )
        self._refreshes = Counter(
            "stagewhisper_token_refreshes", "Refreshes of tokens.", ["account", "outcome"], registry=registry
        )
        self._tokens = Counter(
            "stagewhisper_tokens", "Tokens of answers, as clients were told.", ["model", "kind"], registry=registry
        )
        Info("stagewhisper_build", "The program.", registry=registry).info({"version": VERSION})
        ProcessCollector(registry=registry)
        registry.register(_AccountStates(accounts, states))
        # What is there with 0 from the start shows its first increase as one.
        for account in accounts:
            self._attempts.labels(account)
            for outcome in REFRESHES:
                self._refreshes.labels(account, outcome)

    def in_progress(self) -> AbstractContextManager[object]:
        """A context in which one request more is in progress."""
        return self._in_progress.track_inprogress()

    def observe(self, summary: Summary) -> None:
        """Count a request that has ended."""
        model = summary.model
        self._requests.labels(summary.account or NO_ACCOUNT, model, summary.outcome.value).inc()
        for attempt in summary.attempts:
            self._attempts.labels(attempt.account).inc()
            if attempt.failure is not None:
                self._failures.labels(attempt.account, attempt.failure.value).inc()
        if summary.first_byte is not None:
            self._first_byte.observe(summary.first_byte)
        if summary.outcome.is_timed:
            self._duration.observe(summary.duration)
        if summary.outcome is Outcome.ANSWERED:
            self._processing.observe(summary.processing)
            self._tokens.labels(model, "input").inc(summary.input_tokens)
            self._tokens.labels(model, "output").inc(summary.output_tokens)
            self._tokens.labels(model, "cache_read").inc(summary.cache_read_input_tokens)
            self._tokens.labels(model, "cache_creation").inc(summary.cache_creation_input_tokens)

    def refreshed(self, account: str, outcome: str) -> None:
        """Count a refresh of an account's token; `outcome` is one of `REFRESHES`."""
        self._refreshes.labels(account, outcome).inc()

    def render(self) -> tuple[str, bytes]:
        """The content type of Prometheus's text format, and all figures in it."""
        return CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self._registry)


class _AccountStates(Collector):
    """The accounts' states, asked for when the figures are fetched: they change with time alone too."""

    def __init__(self, accounts: Sequence[str], states: Callable[[], Mapping[str, str]]) -> None:
        self._accounts = accounts
        self._states = states

    def collect(self) -> Iterable[Metric]:
        """One family: for each account and each state, whether it is in it."""
        family = GaugeMetricFamily(
            "stagewhisper_account_state", "1 for the state that an account is in.", labels=["account", "state"]
        )
        present = self._states()
        for account in self._accounts:
            for state in STATES:
                family.add_metric([account, state], float(present.get(account) == state))
        return [family]
