"""Commands as processes of their own: started, read line by line, asked over HTTP, stopped by real signals."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

PATIENCE = 30.0
"""Seconds that anything may take here; ordinarily it is less than one."""


class Command:
    """A process that runs. `lines` is all that it has said and complained so far."""

    def __init__(self, *arguments: object, **environment: str) -> None:
        self.lines: list[str] = []
        self._said: Queue[str | None] = Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            start_new_session=True,  # so that hypercorn's own processes can be ended with it
        )
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self._said.put(line.rstrip("\n"))
        self._said.put(None)

    def until(self, pattern: str) -> str:
        """Read on to the line in which a pattern is found; the pattern's first group there."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                line = self._said.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise AssertionError(f"{pattern!r} was not said: {self.lines}") from None
            assert line is not None, f"it ended before {pattern!r} was said: {self.lines}"
            self.lines.append(line)
            if match := re.search(pattern, line):
                return match[1]

    def wait(self) -> int:
        """Wait for the end; the exit code. `lines` is complete then."""
        code = self.process.wait(PATIENCE)
        while (line := self._said.get(timeout=PATIENCE)) is not None:
            self.lines.append(line)
        return code

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)


@contextmanager
def commands() -> Iterator[Callable[..., Command]]:
    """A way to start processes, none of which outlives the block."""
    started: list[Command] = []

    def start(*arguments: object, **environment: str) -> Command:
        started.append(Command(*arguments, **environment))
        return started[-1]

    try:
        yield start
    finally:
        for command in started:
            if command.process.poll() is None:
                os.killpg(command.process.pid, signal.SIGKILL)
                command.wait()


def ask(url: str, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.headers.items()}, response.read()
    finally:
        connection.close()


def poll(condition: Callable[[], Any]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never was true"
        time.sleep(0.005)
