"""What the gateway has done so far: counters, as a fold over finished requests.

`render` makes the JSON of `/admin/stats`. The counters outlive the process, so only dates are in them. What stands
in the file is read as if anybody had written it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Annotated, TypeAlias, TypeVar

import msgspec

from core.errors import StagewhisperError
from core.failures import Kind
from core.summary import Outcome, Summary
from core.times import Epoch

WINDOW = 300.0
"""Seconds over which `requestsPerMinute` is taken."""

_BUCKET = 10.0  # seconds
_BUCKETS = int(WINDOW / _BUCKET)

_MOST = 2**53 - 1
"""Where counting ends: every reader of JSON has integers up to here exactly."""

_LONGEST = 1e15
"""Where adding up seconds ends: thirty million years, and still no infinity, which JSON has not."""

_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=_MOST)]
_Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=_LONGEST)]
_NotEmpty = msgspec.Meta(min_length=1)

K = TypeVar("K")


class StatsUnreadable(StagewhisperError):
    """What was to be read holds no statistics."""


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """The counters. Their mappings hold what was counted at all, and are never changed in place."""

    outcomes: dict[Outcome, _Count] = {}
    """Clients' requests, by how they ended."""
    models: dict[str, _Count] = {}
    """Clients' requests, by the model's name."""
    attempts: dict[str, Annotated[dict[str, _Count], _NotEmpty]] = {}
    """Attempts, by account and then by model."""
    failures: dict[str, Annotated[dict[Kind, _Count], _NotEmpty]] = {}
    """Failed attempts, by account and then by kind."""
    response_time: _Seconds = 0.0
    """Seconds that the requests took that were answered or refused."""
    processing_time: _Seconds = 0.0
    """Seconds that the core took for the bytes of what was answered."""
    recent: tuple[tuple[int, _Count], ...] = ()
    """Requests by when they ended, in buckets of ten seconds: the bucket's number since 1970, and how many.

    In order, and never further apart than the window is long.
    """


START = Stats()


# --- counting --------------------------------------------------------------------------------------------------


def add(stats: Stats, summary: Summary, *, now: Epoch) -> Stats:
    """The counters after one more request, which ended at `now`."""
    attempts, failures = stats.attempts, stats.failures
    for attempt in summary.attempts:
        attempts = {**attempts, attempt.account: _one_more(attempts.get(attempt.account, {}), summary.model)}
        if attempt.failure is not None:
            failures = {**failures, attempt.account: _one_more(failures.get(attempt.account, {}), attempt.failure)}
    response_time, processing_time = stats.response_time, stats.processing_time
    if summary.outcome.is_timed:
        response_time = _add_seconds(response_time, summary.duration)
    if summary.outcome is Outcome.ANSWERED:
        processing_time = _add_seconds(processing_time, summary.processing)
    return Stats(
        outcomes=_one_more(stats.outcomes, summary.outcome),
        models=_one_more(stats.models, summary.model),
        attempts=attempts,
        failures=failures,
        response_time=response_time,
        processing_time=processing_time,
        recent=_count_recent(stats.recent, now),
    )


def _one_more(counts: dict[K, int], key: K) -> dict[K, int]:
    return {**counts, key: min(counts.get(key, 0) + 1, _MOST)}


def _add_seconds(total: float, duration: float) -> float:
    return min(total + max(0.0, duration), _LONGEST)


def _count_recent(recent: tuple[tuple[int, int], ...], now: Epoch) -> tuple[tuple[int, int], ...]:
    number = _present(recent, now)
    if recent and recent[-1][0] == number:
        return (*recent[:-1], (number, min(recent[-1][1] + 1, _MOST)))
    # What was counted at dates that are still to come was counted by a clock that was wrong.
    return (*(bucket for bucket in recent if number - _BUCKETS < bucket[0] <= number), (number, 1))


def _present(recent: tuple[tuple[int, int], ...], now: Epoch) -> int:
    """The bucket of that date; the newest that there is where the clock was set back by less than the window.

    So a clock that is put right, or another machine's that is a little ahead, costs no counts.
    """
    number = math.floor(now.seconds / _BUCKET)
    newest = recent[-1][0] if recent else number
    return newest if 0 < newest - number < _BUCKETS else number


# --- reading them ----------------------------------------------------------------------------------------------


def render(stats: Stats, *, now: Epoch, accounts: Collection[str]) -> dict[str, object]:
    """The JSON of `GET /admin/stats`; times are in milliseconds.

    `accounts` are the configured ones: they are what `totalAccounts` counts, and each stands there, if with 0. What
    was counted for an account that is configured no more is kept beside them.
    """
    by_account = dict.fromkeys(accounts, 0)
    by_account.update({account: sum(models.values()) for account, models in stats.attempts.items()})
    top = min(stats.attempts, key=lambda account: (-by_account[account], account), default=None)
    failures_by_error: Counter[str] = Counter()
    for kinds in stats.failures.values():
        failures_by_error.update({kind.value: count for kind, count in kinds.items()})
    answered = stats.outcomes.get(Outcome.ANSWERED, 0)
    refused = stats.outcomes.get(Outcome.REFUSED, 0)
    total = sum(stats.outcomes.values())
    # Those that their clients gave up say nothing of success.
    decided = total - stats.outcomes.get(Outcome.ABANDONED, 0)
    return {
        "summary": {
            "totalRequests": total,
            "totalAccounts": len(accounts),
            "topAccount": None if top is None else {"accountId": top, "count": by_account[top]},
            "overallSuccessRate": answered / decided if decided else 1.0,
        },
        "accounts": by_account,
        "models": dict(stats.models),
        # An account's id has no slash in it, so nothing falls together here.
        "distribution": {
            f"{account}/{model}": count for account, models in stats.attempts.items() for model, count in models.items()
        },
        "performance": {
            "avgResponseTime": _mean_ms(stats.response_time, answered + refused),
            "requestsPerMinute": _requests_in_window(stats.recent, now) * 60 / WINDOW,
            "avgBufferProcessingTime": _mean_ms(stats.processing_time, answered),
        },
        "failures": {
            "failuresByAccount": {account: sum(kinds.values()) for account, kinds in stats.failures.items()},
            "failuresByError": dict(failures_by_error),
        },
    }


def _mean_ms(seconds: float, count: int) -> float:
    return round(seconds * 1000 / count, 3) if count else 0.0


def _requests_in_window(recent: tuple[tuple[int, int], ...], now: Epoch) -> int:
    """How many requests ended in the buckets of the last five minutes, the present one included."""
    number = _present(recent, now)
    return sum(count for bucket, count in recent if number - _BUCKETS < bucket <= number)


# --- keeping them ----------------------------------------------------------------------------------------------

_decode = msgspec.json.Decoder(Stats).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def encode_stats(stats: Stats) -> bytes:
    """The counters as JSON; `parse_stats` reads it."""
    return msgspec.json.encode(stats)


def parse_stats(data: bytes) -> Stats:
    """The counters that `encode_stats` wrote.

    Raises:
        StatsUnreadable: it did not write this.
    """
    try:
        members = _decode_members(data).keys()
        if members != set(Stats.__struct_fields__):
            raise StatsUnreadable("expected the members of statistics, got others")
        stats = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StatsUnreadable(f"expected statistics, got something else: {str(error)[:200]}") from None
    numbers = [number for number, _ in stats.recent]
    if numbers and (numbers != sorted(set(numbers)) or numbers[-1] - numbers[0] >= _BUCKETS):
        raise StatsUnreadable("expected the recent requests of one window in the order of time, got others")
    return stats


def merge(base: Stats, mine: Stats, theirs: Stats) -> Stats:
    """What two processes counted that both began with `base`: theirs, and what mine added since.

    It is the same with `mine` and `theirs` exchanged. Where one of them has less than `base`, because somebody threw
    the counters away, they are gone for both, and what the other added since is kept; nothing becomes negative.
    """
    return Stats(
        outcomes=_merge_counts(base.outcomes, mine.outcomes, theirs.outcomes),
        models=_merge_counts(base.models, mine.models, theirs.models),
        attempts=_merge_tables(base.attempts, mine.attempts, theirs.attempts),
        failures=_merge_tables(base.failures, mine.failures, theirs.failures),
        response_time=_merge_seconds(base.response_time, mine.response_time, theirs.response_time),
        processing_time=_merge_seconds(base.processing_time, mine.processing_time, theirs.processing_time),
        recent=_merge_recent(dict(base.recent), dict(mine.recent), dict(theirs.recent)),
    )


def _merge_counts(base: Mapping[K, int], mine: Mapping[K, int], theirs: Mapping[K, int]) -> dict[K, int]:
    merged = {key: mine.get(key, 0) + theirs.get(key, 0) - base.get(key, 0) for key in {**theirs, **mine}}
    return {key: min(count, _MOST) for key, count in merged.items() if count > 0}


def _merge_tables(
    base: Mapping[str, Mapping[K, int]], mine: Mapping[str, Mapping[K, int]], theirs: Mapping[str, Mapping[K, int]]
) -> dict[str, dict[K, int]]:
    merged = {
        key: _merge_counts(base.get(key, {}), mine.get(key, {}), theirs.get(key, {})) for key in {**theirs, **mine}
    }
    return {key: counts for key, counts in merged.items() if counts}


def _merge_seconds(base: float, mine: float, theirs: float) -> float:
    # The exact sum, rounded once: with any other order of adding, exchanging the two would show.
    return min(max(0.0, math.fsum((mine, theirs, -base))), _LONGEST)


def _merge_recent(
    base: Mapping[int, int], mine: Mapping[int, int], theirs: Mapping[int, int]
) -> tuple[tuple[int, int], ...]:
    merged = _merge_counts(base, mine, theirs)
    newest = max(merged, default=0)
    return tuple(sorted(bucket for bucket in merged.items() if bucket[0] > newest - _BUCKETS))
