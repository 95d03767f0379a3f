"""Ten accounts, of which one fails: every request is answered, whatever the way in which it fails.

A gateway and an emulator, each a process as its user runs it. For each way of failing that is neither the client's
nor the answer's fault, one account fails in it while many clients ask at once:

    python tests/end_to_end/ten_accounts.py [--requests 1000] [--concurrency 50] [--scenario NAME ...]

Prints a line for each, and ends with 1 where a request was not answered, or something else was not as it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.adapters.processes import ask, poll
from tests.end_to_end.load import ask_many
from tests.end_to_end.servers import Process
from tests.end_to_end.ways import PERMANENT, WAYS, Way, unlisted

ACCOUNTS = 10


def impatient(milliseconds: int) -> dict[str, object]:
    """Settings for accounts that stall. Streams begin before the time-out, and the account changes behind them.

    A machine that is busy with all else must not seem to stall: so the time is far longer than an answer takes.
    """
    timeouts = {"firstByteMs": milliseconds, "idleMs": milliseconds}
    return {"timeouts": timeouts, "pings": {"quietMs": milliseconds // 5, "intervalMs": milliseconds // 5}}


_ANSWERED = re.compile(r"account=(\S+) model=\S+ attempts=\d+ failed=(\d+) .*: answered$")
_LONG_AGO = "2020-01-01T00:00:00.000Z"


class Stand:
    """A gateway in front of an emulator, with their accounts."""

    def __init__(self, folder: Path, server: Process, emulator: Process) -> None:
        self.folder = folder
        self.server = server
        self.emulator = emulator

    @property
    def url(self) -> str:
        return self.server.url

    def play(self, scenarios: Mapping[str, object]) -> None:
        """Let the emulator answer like that from now on."""
        replace(self.folder / "scenarios.json", json.dumps(scenarios))

    def get(self, path: str) -> Any:
        status, _, body = ask(self.url, "GET", path)
        assert status == 200, body
        return json.loads(body)

    def accounts(self) -> dict[str, dict[str, Any]]:
        """What /admin/accounts says, by account."""
        return {account["providerId"]: account for account in self.get("/admin/accounts")["accounts"]}

    def act(self, account: str, action: str) -> dict[str, Any]:
        """Recover, disable or enable an account; its state after that."""
        status, _, body = ask(self.url, "POST", f"/admin/accounts/{account}/{action}")
        assert status == 200, body
        state: dict[str, Any] = json.loads(body)
        return state

    def refreshes(self) -> int:
        """How many refreshes the gateway has asked for, whatever came of them."""
        _, _, body = ask(self.url, "GET", "/metrics")
        counts = re.findall(r"^stagewhisper_token_refreshes_total\{.*\} (\S+)$", body.decode(), re.MULTILINE)
        assert counts, body
        return round(sum(map(float, counts)))


def replace(path: Path, text: str) -> None:
    """Replace a file as a whole, for whoever reads it just now."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.chmod(0o600)
    os.replace(new, path)


def expire(token_file: Path) -> str:
    """Let a token file say that its access token has expired long ago; gives back what it said before."""
    text = token_file.read_text()
    replace(token_file, json.dumps({**json.loads(text), "expiresAt": _LONG_AGO}))
    return text


@contextmanager
def emulator(folder: Path, *, accounts: int) -> Iterator[Process]:
    """An emulator that ends with the block. Its scenarios, and what a gateway needs for it, are in the folder."""
    scenarios = folder / "scenarios.json"
    scenarios.write_text("{}")
    process = Process(
        "emulate", "--bind", "127.0.0.1:0", "--accounts", str(accounts), "--write-config", str(folder),
        "--scenario-file", str(scenarios),
    )  # fmt: skip
    try:
        process.wait_ready()
        yield process
    finally:
        process.stop()


@contextmanager
def stand(
    folder: Path,
    *,
    accounts: int = ACCOUNTS,
    settings: Mapping[str, object] | None = None,
    endpoint: str | None = None,
) -> Iterator[Stand]:
    """A stand whose processes end with the block.

    With `endpoint` the last account is a provider of its own, `elsewhere`, which is looked for at that address;
    {address} in it is the emulator's host and port.
    """
    with emulator(folder, accounts=accounts) as service:
        config_file = folder / "config.json"
        config = {**json.loads(config_file.read_text()), **(settings or {})}
        if endpoint is not None:
            team = config["providers"]["team"]
            config["providers"]["elsewhere"] = {
                "type": team["type"],
                "endpoint": endpoint.format(address=service.url.removeprefix("http://")),
                "authentication": team["accounts"].pop(),
            }
        config_file.write_text(json.dumps(config))
        server = Process("serve", "--bind", "127.0.0.1:0", "--config", str(config_file))
        try:
            server.wait_ready()
            yield Stand(folder, server, service)
        finally:
            code = server.stop()
        assert code == 0, server.lines


# --- one account fails -----------------------------------------------------------------------------------------


class Report(NamedTuple):
    """What came of many requests while one account failed. `problems` is what was not as it should be."""

    way: str
    requests: int
    succeeded: int
    failed_attempts: int
    failovers: int
    refreshes: int
    state: str
    fewest: int
    most: int
    seconds: float
    problems: list[str]


def try_way(stand: Stand, way: Way, failing: str, *, requests: int, concurrency: int) -> Report:
    """Ask while that account fails in that way; in the end it is as good as it was before."""
    stand.play(way.scenarios(failing))
    token_file = stand.folder / f"{failing}.json"
    token = expire(token_file) if way.on_refresh else ""
    before, refreshes, said = stand.get("/admin/stats"), stand.refreshes(), len(stand.server.lines)

    began = time.monotonic()
    unanswered = ask_many(stand.url, requests, concurrency=concurrency)
    seconds = time.monotonic() - began

    # A client has its answer a moment before it is counted, and the line is read a moment later.
    total = before["summary"]["totalRequests"] + requests
    poll(lambda: stand.get("/admin/stats")["summary"]["totalRequests"] >= total)
    answered = requests - len(unanswered)
    poll(lambda: len(_answered(stand.server.lines[said:])) >= answered)
    after = stand.get("/admin/stats")
    lines = _answered(stand.server.lines[said:])
    attempts = _difference(before["accounts"], after["accounts"])
    failures = _difference(before["failures"]["failuresByAccount"], after["failures"]["failuresByAccount"])
    healthy = [count for account, count in attempts.items() if account != failing]
    states = {account: state["state"] for account, state in stand.accounts().items()}
    report = Report(
        way=way.name,
        requests=requests,
        succeeded=answered,
        failed_attempts=failures.get(failing, 0),
        failovers=sum(account != failing and failed > 0 for account, failed in lines),
        refreshes=stand.refreshes() - refreshes,
        state=states[failing],
        fewest=min(healthy),
        most=max(healthy),
        seconds=seconds,
        problems=unanswered[:3],
    )
    others = [line for line in stand.server.lines[said:] if " failed: " in line and f"account={failing} " not in line]
    report.problems.extend(others[:3])
    report.problems.extend(_problems(report, way, failing, attempts, failures, states))

    stand.play({})
    if way.on_refresh:  # its first access token is still good, whatever became of it since
        current = json.loads(token_file.read_text())["refreshToken"]
        replace(token_file, json.dumps({**json.loads(token), "refreshToken": current}))
    state = stand.act(failing, "recover")["state"]
    if state != "healthy":
        report.problems.append(f"recovered, {failing} is {state}")
    if PERMANENT in way.states:
        # The service may have ended its token: a round of requests lets it refresh that before something is measured.
        report.problems.extend(ask_many(stand.url, ACCOUNTS, concurrency=1))
    return report


def _answered(lines: Sequence[str]) -> list[tuple[str, int]]:
    """Of each answered request that the log tells of, the account, and how many attempts had failed before."""
    return [(match[1], int(match[2])) for line in lines if (match := _ANSWERED.search(line))]


def _difference(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    return {account: count - before.get(account, 0) for account, count in after.items()}


def _problems(
    report: Report,
    way: Way,
    failing: str,
    attempts: Mapping[str, int],
    failures: Mapping[str, int],
    states: Mapping[str, str],
) -> list[str]:
    problems = []
    if report.succeeded != report.requests:
        problems.append(f"{report.requests - report.succeeded} requests were not answered")
    if blamed := {account: count for account, count in failures.items() if account != failing and count}:
        problems.append(f"other accounts failed: {blamed}")
    if ill := {account: state for account, state in states.items() if account != failing and state != "healthy"}:
        problems.append(f"other accounts are not healthy: {ill}")
    if report.state not in way.states:
        problems.append(f"{failing} is {report.state}, expected {' or '.join(way.states)}")
    if way.fails and not report.failed_attempts:
        problems.append(f"{failing} never failed")
    # Each request ends with one success, so what is more than the requests are the failures.
    if sum(attempts.values()) != report.succeeded + sum(failures.values()):
        problems.append(f"{sum(attempts.values())} attempts for {report.succeeded} answers and {failures}")
    # The failing account has its turns, and no more: nobody's failure makes it a stand-in, and each of its turns is
    # as many attempts as its kind of failure has a row for.
    turns = -(-report.requests // len(attempts))
    if report.failed_attempts > turns * way.attempts:
        problems.append(f"{failing} failed {report.failed_attempts} times, in {turns} turns of {way.attempts} attempts")
    # The healthy accounts' first turns are dealt round in one order, in which a failing one that comes or goes
    # changes no other's place: their counts differ by at most one. Stand-ins are dealt round in a rotation of their
    # own, which only ever leaves the failing account out: one more.
    most = 2 if report.failovers else 1
    if report.most - report.fewest > most:
        problems.append(f"healthy accounts had {report.fewest} to {report.most} attempts, expected {most} apart")
    return problems


# --- the table -------------------------------------------------------------------------------------------------

_HEADINGS = (
    "SCENARIO", "REQUESTS", "ANSWERED", "FAILED ATTEMPTS", "FAILOVERS", "REFRESHES", "FAILING ACCOUNT IS", "OTHERS",
    "SECONDS",
)  # fmt: skip
_LAYOUT = "{:57} {:>8} {:>8} {:>15} {:>9} {:>9}  {:24} {:>9} {:>7}"


def render(report: Report) -> str:
    """A line of the table, and one for each problem."""
    line = _LAYOUT.format(
        report.way, report.requests, report.succeeded, report.failed_attempts, report.failovers, report.refreshes,
        report.state, f"{report.fewest}-{report.most}", f"{report.seconds:.1f}",
    )  # fmt: skip
    return "\n".join([line, *(f"    PROBLEM: {problem}" for problem in report.problems)])


def failing_account(way: Way, place: int) -> str:
    """The account that fails: each in its turn."""
    return "elsewhere" if way.endpoint else f"team-account{place % ACCOUNTS + 1}"


def main() -> int:
    """Try the scenarios that are named, or all, each with a gateway and an emulator of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", metavar="N", type=int, default=1000)
    parser.add_argument("--concurrency", metavar="N", type=int, default=50)
    parser.add_argument("--scenario", metavar="NAME", action="append", help="may be given again (default: all)")
    options = parser.parse_args()
    ways = [way for way in WAYS if not options.scenario or options.scenario.count(way.name)]
    if unknown := set(options.scenario or ()) - {way.name for way in ways}:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are: {', '.join(w.name for w in WAYS)}")
    if missing := unlisted():
        print(f"PROBLEM: the emulator can do what is not listed here: {', '.join(sorted(missing))}")
        return 1
    print(_LAYOUT.format(*_HEADINGS))
    bad = 0
    for place, way in enumerate(ways):
        settings = impatient(4000) if way.stalls else None
        with (
            tempfile.TemporaryDirectory() as folder,
            stand(Path(folder), settings=settings, endpoint=way.endpoint) as ready,
        ):
            failing = failing_account(way, place)
            report = try_way(ready, way, failing, requests=options.requests, concurrency=options.concurrency)
        print(render(report), flush=True)
        bad += bool(report.problems)
    print(f"{len(ways) - bad} of {len(ways)} as they should be")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
