"""What is told of each request when it is over: a line in the log, the statistics, the metrics."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from adapters import ambient, logs
from adapters.accounts import Accounts
from adapters.keeping import Codec, Keeper
from adapters.metrics import Metrics
from core import stats, summary
from core.dialogue import Notice
from core.summary import Outcome, Summary

_STATS_CODEC = Codec(stats.encode_stats, stats.parse_stats, stats.merge)


class Telemetry:
    """The counters of one gateway."""

    def __init__(self, *, account_ids: Sequence[str], accounts: Accounts, keeper: Keeper) -> None:
        self._account_ids = account_ids
        self._stats = keeper.cell("stats", stats.START, _STATS_CODEC)
        self.metrics = Metrics(accounts=account_ids, states=accounts.states)

    def follow(self, *, request_id: str, model: str) -> Following:
        """Follow a request from now on."""
        return Following(self, Summary(request_id=request_id, model=model, began=ambient.now().instant))

    def take(self, ended: Summary) -> None:
        """Count a request that is over."""
        logs.write_request(ended)
        self.metrics.observe(ended)
        self._stats.value = stats.add(self._stats.value, ended, now=ambient.epoch())

    def render(self) -> dict[str, object]:
        """The statistics as JSON."""
        return stats.render(self._stats.value, accounts=self._account_ids, now=ambient.epoch())


class Following:
    """One request: what its exchange tells, and at last what it came to."""

    def __init__(self, telemetry: Telemetry, begun: Summary) -> None:
        self._telemetry = telemetry
        self._summary = begun
        self._processing = 0.0
        self._progress = ExitStack()
        self._progress.enter_context(telemetry.metrics.in_progress())
        self.outcome: Outcome | None = None
        """How it ended, where that is not for the exchange to tell."""

    def hear(self, notice: Notice) -> None:
        """Take in what the exchange tells."""
        logs.write_notice(self._summary.request_id, notice)
        self._summary = summary.hear(self._summary, notice, now=ambient.now().instant)

    def processed(self, seconds: float) -> None:
        """Take note of how long the core was at a piece of an answer."""
        self._processing += seconds

    def end(self) -> None:
        """The request is over."""
        self._progress.close()
        now = ambient.now().instant
        self._telemetry.take(summary.end(self._summary, now=now, processing=self._processing, outcome=self.outcome))
