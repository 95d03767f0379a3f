"""The limit of open files: raised as far as it goes, on systems that say odd things of it, and said where it is low."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapters.descriptors import explain_shortage, raise_limit
from tests.adapters.harness import config_file
from tests.adapters.processes import Command, commands

if sys.platform == "win32":
    pytest.skip("there is no such limit", allow_module_level=True)

import resource

NONE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "most", "limit", "tried"),
    [
        (256, 4096, 4096, 4096, [4096]),
        (4096, 4096, 4096, 4096, []),
        (1024, NONE, NONE, None, [NONE]),
        (256, NONE, 10_240, 10_240, [NONE, 10_240]),
        (20_000, NONE, 20_000, 20_000, [NONE]),
        (256, 4096, 0, 256, [4096, 10_240]),
        (NONE, NONE, NONE, None, []),
    ],
)
def test_the_limit_is_raised_as_far_as_the_system_lets_it(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, most: int, limit: int | None, tried: list[int]
) -> None:
    asked: list[int] = []

    def set_limit(_kind: int, limits: tuple[int, int]) -> None:
        asked.append(limits[0])
        assert limits[1] == hard, "what was lowered stays so"
        if most != NONE and (limits[0] == NONE or limits[0] > most):
            raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", set_limit)
    assert raise_limit() == limit
    assert asked == tried


@pytest.mark.parametrize(
    ("limit", "running", "waiting", "needed"),
    [
        (1024, 256, 256, None),
        (868, 256, 256, None),
        (867, 256, 256, 868),
        (1024, 1000, 0, 2100),
        (None, 10**5, 0, None),
    ],
)
def test_a_limit_that_is_too_low_is_explained(
    limit: int | None, running: int, waiting: int, needed: int | None
) -> None:
    said = explain_shortage(limit, running=running, waiting=waiting)
    assert (said is None) == (needed is None)
    if said is not None:
        assert f"may open {limit} files" in said
        assert f"may take {needed}:" in said


@pytest.fixture
def start() -> Iterator[Callable[..., Command]]:
    """A way to start processes whose limit is low, and may be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with commands() as started:
            yield started
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the limits of another process")
@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_server_raises_its_limit_and_says_if_it_is_too_low(
    tmp_path: Path, start: Callable[..., Command], command: str
) -> None:
    file = config_file(tmp_path, "http://127.0.0.1:1", server={"maxConcurrent": 100_000})
    more = ("--config", file) if command == "serve" else ()
    server = start("adapters.cli", command, "--bind", "127.0.0.1:0", *more)
    server.until(r"(listening on|The gateway listens on)")
    soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    assert soft == hard > 256
    is_short = re.compile(rf"this process may open {hard} files .*may take 200356:")
    assert any(map(is_short.search, server.lines)) == (command == "serve" and hard < 200_356)
