"""A gateway and an emulator as their users run them: processes of their own, on loopback, on free ports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_PATIENCE = 30.0
"""Seconds for a process to say that it is ready; it takes one."""


class Process:
    """A `stagewhisper` command that runs. `url` is what it said that it listens on; `lines` all that it said.

    `module` is what stands for the command.
    """

    def __init__(
        self, *arguments: str, environment: dict[str, str] | None = None, module: str = "adapters.cli"
    ) -> None:
        self.lines: list[str] = []
        self._ready = threading.Event()
        self.url = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, **(environment or {})},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            first, _, url = line.strip().rpartition(" on ")
            if first in ("listening", "emulating"):
                self.url = url
                self._ready.set()
        self._ready.set()

    def wait_ready(self) -> str:
        """Wait until it listens; its URL."""
        assert self._ready.wait(_PATIENCE), self.lines
        assert self.url, self.lines
        return self.url

    def stop(self) -> int:
        """End it as an operator does, and give its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self._reader.join(_PATIENCE)
            assert self.process.stdout is not None
            self.process.stdout.close()


@contextmanager
def gateway(
    folder: Path, *emulate: str, settings: Mapping[str, object] | None = None
) -> Iterator[tuple[Process, Process]]:
    """A gateway on an emulator, one with more settings, one with more arguments; both end well with the block."""
    emulator = Process("emulate", "--bind", "127.0.0.1:0", "--write-config", str(folder), *emulate)
    try:
        emulator.wait_ready()
        config = folder / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), **(settings or {})}))
        server = Process("serve", "--bind", "127.0.0.1:0", "--config", str(config))
        try:
            server.wait_ready()
            yield server, emulator
        finally:
            code = server.stop()
        assert code == 0, server.lines
    finally:
        emulator.stop()
