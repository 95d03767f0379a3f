"""Three accounts whose tokens have all expired, and a hundred requests at once: three refreshes, and no more."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.adapters.processes import poll
from tests.end_to_end.load import ask_many
from tests.end_to_end.servers import Process
from tests.end_to_end.ten_accounts import Stand, expire, stand

IDS = ("team-account1", "team-account2", "team-account3")
_REFRESH = re.compile(r"answered POST /refreshToken: (\d+)(?:, account (\S+))?$")


def refreshes(emulator: Process) -> Counter[str]:
    """How many refreshes the emulator has granted, by account; those that it refused are under their status."""
    matches = [match for line in emulator.lines if (match := _REFRESH.search(line))]
    return Counter(match[2] if match[1] == "200" else match[1] for match in matches)


@contextmanager
def expired(folder: Path) -> Iterator[Stand]:
    with stand(folder, accounts=3) as ready:
        for account in IDS:
            expire(folder / f"{account}.json")
        yield ready


def check(ready: Stand, gateways: list[Stand]) -> None:
    """What must be so afterwards."""
    assert refreshes(ready.emulator) == dict.fromkeys(IDS, 1)
    for gateway in gateways:
        stats = gateway.get("/admin/stats")
        assert stats["failures"] == {"failuresByAccount": {}, "failuresByError": {}}
        assert [state["state"] for state in gateway.accounts().values()] == ["healthy"] * 3
        assert [state["failureCount"] for state in gateway.accounts().values()] == [0] * 3
    for account in IDS:
        token = json.loads((ready.folder / f"{account}.json").read_text())
        assert token["accessToken"] == f"emulated-access-token-{account}-2"
        assert token["refreshToken"] == f"emulated-refresh-token-{account}-2"
        assert token["profileArn"].endswith(f"profile/EMULATOR000{account[-1]}")


def test_a_hundred_requests_at_once_through_one_gateway(tmp_path: Path) -> None:
    with expired(tmp_path) as ready:
        assert ask_many(ready.url, 100, concurrency=100) == []
        poll(lambda: ready.get("/admin/stats")["summary"]["totalRequests"] == 100)
        poll(lambda: sum(refreshes(ready.emulator).values()) >= 3)
        assert sorted(ready.get("/admin/stats")["accounts"].values()) == [33, 33, 34]
        check(ready, [ready])


def test_fifty_and_fifty_through_two_gateways_that_share_the_files(tmp_path: Path) -> None:
    with expired(tmp_path) as ready:
        second = Process("serve", "--bind", "127.0.0.1:0", "--config", str(tmp_path / "config.json"))
        try:
            gateways = [ready, Stand(tmp_path, second, ready.emulator)]
            urls = [ready.url, second.wait_ready()]
            with ThreadPoolExecutor(2) as pool:
                assert list(pool.map(partial(ask_many, count=50, concurrency=50), urls)) == [[], []]
            # Each takes in within a second what the other has counted.
            poll(lambda: [each.get("/admin/stats")["summary"]["totalRequests"] for each in gateways] == [100, 100])
            poll(lambda: sum(refreshes(ready.emulator).values()) >= 3)
            for gateway in gateways:
                assert sum(state["successCount"] for state in gateway.accounts().values()) == 100
            check(ready, gateways)
        finally:
            code = second.stop()
        assert code == 0, second.lines
