"""The processes of a benchmark: the canned service, the gateway or the bare pass-through before it, and clients."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from adapters.demo import write_config
from tests.benchmarks import answers
from tests.benchmarks.clients import Order, Report

HERE = Path(__file__).parent
_PATIENCE = 30.0
"""Seconds for a process to say where it listens; it takes one."""

_LISTENING = re.compile(r"^(?:.* )?listening on (http://\S+)$", re.MULTILINE)
_TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """A process that says where it listens. What it says goes into a file, as a service's log does."""

    def __init__(self, *arguments: str) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        self.process = subprocess.Popen(
            [sys.executable, *arguments], stdout=self._said, stderr=subprocess.STDOUT, cwd=HERE.parents[1]
        )
        self.url = self._wait_ready()

    def said(self) -> str:
        """All that it has said."""
        size = os.fstat(self._said.fileno()).st_size
        return os.pread(self._said.fileno(), size, 0).decode(errors="replace")

    def _wait_ready(self) -> str:
        deadline = time.monotonic() + _PATIENCE
        while (found := _LISTENING.search(self.said())) is None:
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = self.said()
                self.stop()
                raise RuntimeError(f"it does not listen: {said}")
            time.sleep(0.02)
        return found[1]

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        self._said.close()

    def memory(self) -> int:
        """Bytes of memory now."""
        return self._status("VmRSS")

    def forget_peak(self) -> None:
        """Let the peak of memory be what it has now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def peak(self) -> int:
        """The most bytes of memory since then."""
        return self._status("VmHWM")

    def _status(self, name: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition(f"{name}:")[2].split()[0]) * 1024

    def cpu(self) -> float:
        """Seconds of CPU time that it has had."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


BUFFERED, LIVE = DELIVERIES = ("buffered", "live")
BARE, PLAIN, DIRECT = "bare", "plain", "direct"
"""The other ways to the service: the pass-through with a client for each connection, or one for all, and nothing."""


class Target(NamedTuple):
    """What clients ask: a server, how, and what comes back."""

    name: str
    server: Server
    is_raw: bool
    headers: dict[str, str]


class Stand:
    """The canned service, and what has been started before it."""

    def __init__(self, folder: Path, service: Server) -> None:
        self.folder = folder
        self.service = service

    @contextmanager
    def target(self, name: str) -> Iterator[Target]:
        """A server of its own for one of the ways to the service; it ends with the block."""
        if name == DIRECT:
            yield Target(name, self.service, True, {})
            return
        is_raw = name not in DELIVERIES
        server = self._bare(name) if is_raw else self._gateway()
        try:
            yield Target(name, server, is_raw, {} if is_raw else {"x-stagewhisper-delivery": name})
        finally:
            server.stop()

    @contextmanager
    def targets(self, *names: str) -> Iterator[list[Target]]:
        """Several, each of which has answered once."""
        with ExitStack() as stack:
            targets = [stack.enter_context(self.target(name)) for name in names]
            for target in targets:
                ask(target, answers.name("ordinary", "whole"), 1, once=True)
            yield targets

    def _bare(self, name: str) -> Server:
        return Server(str(HERE / "bare.py"), self.service.url, *(["shared"] if name == PLAIN else []))

    def _gateway(self) -> Server:
        config_file = write_config(self.folder, self.service.url)
        config = json.loads(config_file.read_text())
        config["state"] = {"kind": "memory"}
        config["server"] = {"bind": "127.0.0.1:0", "maxConcurrent": 2000}
        config["models"] = {name: name for name in answers.names()}
        config_file.write_text(json.dumps(config))
        return Server("-m", "adapters.cli", "serve", "--config", str(config_file))


@contextmanager
def stand() -> Iterator[Stand]:
    """A stand whose processes end with the block."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory(prefix="stagewhisper-bench-") as folder:
        service = Server(str(HERE / "canned.py"))
        try:
            yield Stand(Path(folder), service)
        finally:
            service.stop()


def ask(
    target: Target,
    model: str,
    concurrency: int,
    *,
    seconds: float = 0.0,
    once: bool = False,
    patience: float = 60.0,
) -> Report:
    """Let clients ask in a process of their own; every answer is whole and right, or this raises."""
    order = Order(
        url=target.server.url,
        model=model,
        concurrency=concurrency,
        seconds=seconds,
        is_raw=target.is_raw,
        once=once,
        headers=target.headers,
        patience=patience,
    )
    done = subprocess.run(
        [sys.executable, str(HERE / "clients.py"), msgspec.json.encode(order).decode()],
        stdout=subprocess.PIPE,
        timeout=patience + _PATIENCE,
        check=True,
    )
    report = msgspec.json.decode(done.stdout, type=Report)
    if report.problems:
        raise RuntimeError(f"{target.name}, {model}, {concurrency} clients: {report.problems[0]}")
    return report
