"""Hours in minutes: accounts that fail and clients that leave, and whether anything is left behind by them.

An emulator and a gateway, each a process, several accounts, some of which always work:

    python tests/end_to_end/soak.py [--seconds 600] [--clients 32] [--seed N]

While the clients (`restless`) ask, the other accounts fail in one way after the other, and are recovered as an operator
would. Prints a line now and then: memory, descriptors, tasks, connections to the service, requests in progress. At the
end, after a quiet time, all of these are as they were before, and memory has not grown in the last third; every answer
that was read to its end was right, or an error that says so. Else it ends with 1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from statistics import linear_regression
from typing import NamedTuple

import trio

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.adapters.processes import ask
from tests.end_to_end.load import ask_many
from tests.end_to_end.restless import Tally, live_restlessly
from tests.end_to_end.servers import Process
from tests.end_to_end.ten_accounts import emulator, replace

ACCOUNTS = [f"team-account{number}" for number in range(1, 7)]
STEADY, SHAKY = ACCOUNTS[:4], ACCOUNTS[4:]
WORKING = ("fine", "fine", "fine", "slow:20", "drip:50:2", "thinking", "unknown-events", "big:60000", "big:1000000")
FAILING = (
    "fine", "internal-error", "throttled", "retry-after:1", "monthly-quota", "suspended", "unauthorized", "no-capacity",
    "token-revoked", "close-early", "refuse-connection", "half-head", "cut:200", "cut:900", "reset:400", "stall:2",
    "stall-head", "slow-head:2000", "bad-message-crc:3", "huge-length", "trailing-bytes", "gzipped", "empty",
    "exception:ThrottlingException", "error-frame:InternalError", "html:502", "redirect",
)  # fmt: skip

PLACES = 64
SETTINGS: dict[str, object] = {
    "server": {"bind": "127.0.0.1:0", "maxConcurrent": PLACES},
    "timeouts": {"firstByteMs": 5000, "idleMs": 5000, "totalMs": 60_000},
    "pings": {"quietMs": 300, "intervalMs": 500},
}
QUIET_SECONDS = 15.0
"""What idle connections to the service take to be closed, and some more."""

MOST_GROWTH = 0.05
"""By how much of itself memory may have grown over the last third: what malloc gives back comes and goes."""

LONG_ENOUGH = 600.0
"""Seconds from which on that can be told: a few large answers at a time are a tenth of all memory for a minute."""

_SETTLING_SECONDS = 0.3
"""What the gateway needs to be done with a connection on which it was asked for its figures."""

FEWEST_RIGHT = 0.95
"""The least share of right answers: live, a failure behind the first word is the client's."""


class Level(NamedTuple):
    """What a gateway holds. `memory` is in bytes."""

    memory: int
    descriptors: int
    tasks: int
    connections: int
    in_progress: int

    def __str__(self) -> str:
        return (
            f"memory {self.memory / 1e6:.1f} MB, descriptors {self.descriptors}, tasks {self.tasks}, connections to the"
            f" service {self.connections}, requests in progress {self.in_progress}"
        )

    @property
    def kept(self) -> tuple[int, ...]:
        """All of it that has to be the same before and after."""
        return self[1:]


class Watch:
    """Looks at a gateway from outside."""

    def __init__(self, gateway: Process, service: Process) -> None:
        self._gateway = gateway
        self._port = int(service.url.rpartition(":")[2])
        self.tasks = ""

    def look(self) -> Level:
        """What it holds now."""
        pid = self._gateway.process.pid
        status = Path(f"/proc/{pid}/status").read_text()
        _, _, figures = ask(self._gateway.url, "GET", "/metrics")
        in_progress = re.search(rb"^stagewhisper_requests_in_progress (\S+)$", figures, re.MULTILINE)
        assert in_progress is not None, figures
        time.sleep(_SETTLING_SECONDS)
        return Level(
            memory=int(status.partition("VmRSS:")[2].split()[0]) * 1024,
            descriptors=len(os.listdir(f"/proc/{pid}/fd")),
            tasks=self._count_tasks(),
            connections=self._count_connections(),
            in_progress=round(float(in_progress[1])),
        )

    def _count_tasks(self) -> int:
        said = len(self._gateway.lines)
        self._gateway.process.send_signal(signal.SIGUSR1)
        while True:
            for line in self._gateway.lines[said:]:
                if line.startswith("tasks: "):
                    _, count, self.tasks = line.split(": ", 2)
                    return int(count)
            assert self._gateway.process.poll() is None, self._gateway.lines[-20:]
            os.sched_yield()

    def _count_connections(self) -> int:
        """Connections to the service's port that are open at the other end."""
        to_service = f":{self._port:04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(row[2].endswith(to_service) and row[3] in ("01", "08") for row in rows)  # established, to be closed


@contextmanager
def stand(folder: Path) -> Iterator[tuple[Process, Process]]:
    """A gateway whose tasks can be counted, and the service before which it stands."""
    with emulator(folder, accounts=len(ACCOUNTS)) as service:
        config_file = folder / "config.json"
        config_file.write_text(json.dumps({**json.loads(config_file.read_text()), **SETTINGS}))
        server = Process("serve", "--config", str(config_file), module="tests.end_to_end.watched")
        try:
            server.wait_ready()
            yield server, service
        finally:
            ended = server.process.poll()
            code = server.stop()
            if ended is not None:
                print("\n".join([*server.lines[-40:], f"PROBLEM: the gateway ended by itself, with {ended}"]))
        assert code == 0, server.lines[-20:]


# --- ten minutes -----------------------------------------------------------------------------------------------


async def shake(gateway: Process, folder: Path, chance: Random) -> None:
    """Let accounts fail, one way after the other, and recover those that are out of use. It has no end."""
    while True:
        scenes = {account: chance.choice(WORKING) for account in STEADY}
        scenes |= {account: chance.choice(FAILING) for account in SHAKY}
        replace(folder / "scenarios.json", json.dumps({"accounts": scenes}))
        await trio.sleep(chance.uniform(0.5, 3))
        for account in SHAKY:
            path = f"/admin/accounts/{account}/recover"
            await trio.to_thread.run_sync(ask, gateway.url, "POST", path)


async def sample(watch: Watch, levels: list[tuple[float, Level]], *, every: float) -> None:
    """Look now and then, and print what is seen. It has no end."""
    began = trio.current_time()
    while True:
        level = await trio.to_thread.run_sync(watch.look)
        levels.append((trio.current_time() - began, level))
        if len(levels) % 10 == 1:
            print(f"{levels[-1][0]:6.0f} s: {level}", flush=True)
        await trio.sleep(every)


async def soak(gateway: Process, watch: Watch, folder: Path, options: argparse.Namespace) -> Outcome:
    """Let everybody do as they do for so long, then let it get quiet."""
    host, port = gateway.url.removeprefix("http://").split(":")
    tally, levels = Tally(), list[tuple[float, Level]]()
    async with trio.open_nursery() as others:
        others.start_soon(shake, gateway, folder, Random(f"{options.seed} accounts"))
        others.start_soon(partial(sample, watch, levels, every=max(0.5, options.seconds / 300)))
        async with trio.open_nursery() as clients:
            for number in range(options.clients):
                seed = f"{options.seed} client {number}"
                clients.start_soon(partial(live_restlessly, (host, int(port)), seed, tally, seconds=options.seconds))
        others.cancel_scope.cancel()
    return Outcome(options.seconds, tally, levels)


class Outcome(NamedTuple):
    """What came of a run of so many seconds."""

    seconds: float
    tally: Tally
    levels: list[tuple[float, Level]]

    @property
    def growth(self) -> float:
        """By how much of itself memory grew over the last third, as a line through all that was seen of it."""
        last = [(time, level.memory) for time, level in self.levels if 2 / 3 <= time / self.seconds <= 1]
        times, memory = [time for time, _ in last], [size for _, size in last]
        return linear_regression(times, memory).slope * (times[-1] - times[0]) / memory[0]

    @property
    def right(self) -> float:
        """The share of right answers of those that were read to their end."""
        counts = self.tally.counts
        finished = sum(counts[verdict] for verdict in ("right", "error", "error event", "wrong"))
        return counts["right"] / max(1, finished)


def warm_up(gateway: Process, folder: Path) -> None:
    """Have everything been there once: as many requests at a time as there may be, of each kind."""
    (folder / "scenarios.json").write_text(json.dumps({"default": "slow:20"}))
    assert ask_many(gateway.url, 4 * PLACES, concurrency=PLACES) == []


def get_quiet(watch: Watch, before: Level | None = None) -> Level:
    """The level after a quiet time. It is waited for a little longer when it is not yet the one of before."""
    time.sleep(QUIET_SECONDS)
    level, patience = watch.look(), 10
    while before is not None and level.kept != before.kept and patience:
        time.sleep(1)
        level, patience = watch.look(), patience - 1
    return level


def judge(before: Level, after: Level, outcome: Outcome) -> Iterator[str]:
    """What is not as it should be, a line each."""
    yield from outcome.tally.problems[:20]
    for name, was, now in zip(Level._fields[1:], before.kept, after.kept, strict=True):
        if was != now:
            yield f"{name}: {was} before, {now} after"
    if outcome.growth > MOST_GROWTH and outcome.seconds >= LONG_ENOUGH:
        yield f"memory grew by {outcome.growth:.1%} in the last third, at most {MOST_GROWTH:.0%} was expected"
    if outcome.right < FEWEST_RIGHT:
        yield f"{outcome.right:.1%} of the answers were right, at least {FEWEST_RIGHT:.0%} were expected"


def main() -> int:
    """Soak a gateway, and say whether it is as good as new."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stagewhisper-soak-") as name, stand(Path(name)) as (gateway, service):
        folder, watch = Path(name), Watch(gateway, service)
        warm_up(gateway, folder)
        before = get_quiet(watch)
        tasks_before = watch.tasks
        print(f"before: {before}", flush=True)
        outcome = trio.run(soak, gateway, watch, folder, options)
        print(f"seed {options.seed}: {dict(outcome.tally.counts.most_common())}")
        after = get_quiet(watch, before)
        print(f"after:  {after}")
        problems = list(judge(before, after, outcome))
        if before.tasks != after.tasks:
            print(f"tasks before: {tasks_before}\ntasks after:  {watch.tasks}")
        (folder / "scenarios.json").write_text("{}")
        if not_answered := ask_many(gateway.url, 4 * PLACES, concurrency=PLACES):
            problems.append(f"{len(not_answered)} of {4 * PLACES} were not answered afterwards: {not_answered[0]}")
        print(f"{outcome.right:.2%} right, memory {outcome.growth:+.1%} in the last third")
    for problem in problems:
        print(f"PROBLEM: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
