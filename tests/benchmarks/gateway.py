"""What the gateway costs beside a bare pass-through on the same stack; exits with 1 where a bar is missed.

Run as `python tests/benchmarks/gateway.py`, which takes some eight minutes; `--quick` measures what has a bar, in one
and a half. Everything is a process of its own on loopback (`stand`): a canned service, clients that check every
answer, and between them the gateway or `bare`, which passes the service's bytes on, with a client for each of its
connections as the gateway has them, or (`plain`) with one for all, as httpx has them. All take turns in each round, and
medians of ratios are compared, because a shared machine is not equally fast all the time. Seconds are of this machine;
the ratios are what there is to compare.

- requests a second: the service sends all of an answer at once, clients ask again at once;
- added: what an answer takes longer than from the service itself, at the same number of clients;
- first content: from when the service sent its first frame, of answers that take half a second, to when its words have
  reached the client; and what such a stream takes of memory, in servers that are new.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median, quantiles
from time import process_time, sleep
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.adapters.processes import ask as fetch
from tests.benchmarks import answers
from tests.benchmarks.pipeline import answer_live, answer_with_core
from tests.benchmarks.stand import BARE, BUFFERED, DELIVERIES, DIRECT, LIVE, PLAIN, Stand, Target, ask, stand

CLIENTS = (1, 16, 64, 256)
SLOW_STREAMS = 1000
CORE_RUNS = 50
CORE_BATCHES = 10
MB = 1024 * 1024


class Rate(NamedTuple):
    """One target at one load. The ratios are of requests a second, and of CPU time; times are in seconds."""

    per_second: float
    to_plain: float
    to_bare: float
    cpu_to_bare: float
    added: float
    added_p99: float


class First(NamedTuple):
    """First content and memory of one target's streams: seconds and bytes."""

    content: float
    memory: float


def rates(targets: Sequence[Target], length: str, clients: int, *, seconds: float, rounds: int) -> dict[str, Rate]:
    """How fast each is, by name, all taking turns."""
    model = answers.name(length, "whole")
    speeds: dict[str, list[float]] = {target.name: [] for target in targets}
    costs: dict[str, list[float]] = {target.name: [] for target in targets}
    latencies: dict[str, list[float]] = {target.name: [] for target in targets}
    for number in range(rounds):
        for target in targets if number % 2 == 0 else targets[::-1]:
            before = target.server.cpu()
            report = ask(target, model, clients, seconds=seconds)
            speeds[target.name].append(report.answered / report.elapsed)
            costs[target.name].append((target.server.cpu() - before) / report.answered)
            latencies[target.name].extend(report.latencies)
    direct, direct_p99 = median(latencies[DIRECT]), _p99(latencies[DIRECT])
    return {
        name: Rate(
            per_second=median(speeds[name]),
            to_plain=_ratio(speeds[name], speeds[PLAIN]),
            to_bare=_ratio(speeds[name], speeds[BARE]),
            cpu_to_bare=_ratio(costs[name], costs[BARE]),
            added=median(latencies[name]) - direct,
            added_p99=_p99(latencies[name]) - direct_p99,
        )
        for name in speeds
    }


def _ratio(figures: Sequence[float], others: Sequence[float]) -> float:
    return median(figure / other for figure, other in zip(figures, others, strict=True))


def _p99(figures: Sequence[float]) -> float:
    return quantiles(figures, n=100, method="inclusive")[98] if len(figures) > 1 else figures[0]


def first(stand: Stand, name: str, length: str, clients: int) -> First:
    """When content comes, and what a stream takes of memory."""
    model = answers.name(length, "paced")
    with stand.targets(name) as (target,):
        target.server.forget_peak()
        idle = target.server.memory()
        rounds = max(1, 9 // clients)
        content = [seconds for _ in range(rounds) for seconds in ask(target, model, clients, once=True).first_content]
        return First(median(content), max(0, target.server.peak() - idle) / clients)


class Slow(NamedTuple):
    """A thousand slow streams on one gateway: how many there were at a time, and the most memory, in bytes."""

    in_progress: int
    peak: int


def slow(stand: Stand, delivery: str) -> Slow:
    """Let a thousand clients wait for slow answers at once. Every one of them is whole, or this raises."""
    with stand.targets(delivery) as (target,), ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask, target, answers.name("ordinary", "slow"), SLOW_STREAMS, once=True, patience=90.0)
        in_progress = max(_in_progress(target, asking.done))
        asking.result()
        return Slow(in_progress, target.server.peak())


def _in_progress(target: Target, is_over: Callable[[], bool]) -> Iterator[int]:
    """What the gateway says of the requests that it is at, now and then."""
    while not is_over():
        _, _, figures = fetch(target.server.url, "GET", "/metrics")
        found = re.search(rb"^stagewhisper_requests_in_progress (\S+)$", figures, re.MULTILINE)
        assert found is not None, figures
        yield round(float(found[1]))
        sleep(0.5)


def core_time(answer: Callable[[list[bytes]], None], reads: list[bytes]) -> float:
    """Seconds of CPU time of the core for an ordinary answer: the request's conversion, and the answer in these reads.

    The best of some medians, for a neighbour on the machine only ever adds to them.
    """

    def spent() -> float:
        began = process_time()
        answer(reads)
        return process_time() - began

    return min(median(spent() for _ in range(CORE_RUNS)) for _ in range(CORE_BATCHES))


# --- the table -------------------------------------------------------------------------------------------------

_COLUMNS = "{:9} {:9} {:>7}  {:>7} {:>8} {:>7} {:>7}  {:>10} {:>10}  {:>9} {:>8}"


_HEADS = ("answer", "delivery", "clients", "req/s", "/ plain", "/ bare", "CPU /", "added", "p99", "content", "kB each")


def _print_row(length: str, name: str, clients: int, rate: Rate, first: First) -> None:
    times = [f"{seconds * 1000:.1f} ms" for seconds in (rate.added, rate.added_p99, first.content)]
    ratios = [f"{ratio:.2f}" for ratio in (rate.to_plain, rate.to_bare, rate.cpu_to_bare)]
    memory = f"{first.memory / 1024:.0f}"
    print(_COLUMNS.format(length, name, clients, f"{rate.per_second:.1f}", *ratios, *times, memory), flush=True)


def table(stand: Stand, *, seconds: float, rounds: int, only: Sequence[str]) -> None:
    """Measure and print everything, a row for each answer, number of clients and way to the service."""
    print(_COLUMNS.format(*_HEADS), flush=True)
    for length in only:
        for clients in CLIENTS:
            with stand.targets(DIRECT, PLAIN, BARE, *DELIVERIES) as targets:
                found = rates(targets, length, clients, seconds=seconds, rounds=rounds)
            for name in (PLAIN, BARE, *DELIVERIES):
                _print_row(length, name, clients, found[name], first(stand, name, length, clients))


# --- the bars --------------------------------------------------------------------------------------------------


class Bar(NamedTuple):
    """A figure that has to be on one side of another."""

    what: str
    figure: float
    relation: str
    bar: float

    @property
    def is_met(self) -> bool:
        return self.figure >= self.bar if self.relation == ">=" else self.figure <= self.bar


def bars(stand: Stand, *, seconds: float, rounds: int, slowly: Sequence[str]) -> Iterator[Bar]:
    """The figures that have a bar, one by one as they are measured; `slowly`: the deliveries of slow streams."""
    frames = answers.frames(answers.name("ordinary", "whole"))
    reads = list(answers.pieces(answers.name("ordinary", "paced")))
    for delivery, answer in ((BUFFERED, answer_with_core), (LIVE, answer_live)):
        print(f"{delivery}: {core_time(answer, frames) * 1000:.2f} ms of the core's, were each frame a read")
        what = f"{delivery}: the core's time for an ordinary answer in {len(reads)} reads, ms"
        yield Bar(what, core_time(answer, reads) * 1000, "<=", 1.0)
    content = first(stand, LIVE, "ordinary", 1).content
    yield Bar("live: first content after the service's first frame, ms", content * 1000, "<=", 5.0)
    with stand.targets(DIRECT, PLAIN, BARE, BUFFERED) as targets:
        rate = rates(targets, "ordinary", 64, seconds=seconds, rounds=rounds)[BUFFERED]
    yield Bar("buffered / plain, requests a second, 64 clients", rate.to_plain, ">=", 0.75)
    yield Bar("buffered / bare, requests a second, 64 clients", rate.to_bare, ">=", 0.3)
    for delivery in slowly:
        found = slow(stand, delivery)
        yield Bar(f"{delivery}: slow streams at a time, all whole", found.in_progress, ">=", SLOW_STREAMS)
        yield Bar(f"{delivery}: the gateway's memory with them, MB", found.peak / MB, "<=", 400.0)


def main() -> int:
    """Measures, prints the table, and says whether all bars are met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only what has a bar")
    parser.add_argument("--rounds", type=int, help="of each measurement")
    parser.add_argument("--only", choices=list(answers.LENGTHS), action="append", help="only rows of this answer")
    options = parser.parse_args()
    missed = 0
    with stand() as it:
        if options.quick:
            # Live, a stream is sent at as often as it is read, so that of the two it is the one that costs more.
            found = bars(it, seconds=1.2, rounds=options.rounds or 4, slowly=[LIVE])
        else:
            rounds = options.rounds or 3
            table(it, seconds=1.2, rounds=rounds, only=options.only or list(answers.LENGTHS))
            found = bars(it, seconds=1.5, rounds=rounds + 2, slowly=DELIVERIES)
        for bar in found:
            missed += not bar.is_met
            verdict = "met" if bar.is_met else "MISSED"
            print(f"{bar.what:62} {bar.figure:7.2f}   bar {bar.relation} {bar.bar:g}   {verdict}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
