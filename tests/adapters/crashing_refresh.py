"""A process that refreshes a token and is killed at a given step of writing it down. Run by the crash tests.

`python crashing_refresh.py FOLDER` makes `FOLDER/0`, `FOLDER/1`, ... with a token file each, and in each lets a child
of its own refresh it which kills itself (SIGKILL) before its nth call of the system on files, counted from the
service's answer on. It ends with the first child that comes to its end, and says how many were killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from adapters.tokens import TokenFile
from core.http import Call
from core.times import Epoch

CALLS = ("open", "close", "unlink", "replace", "fsync", "fstat", "stat")
OLD = {"accessToken": "old-access", "refreshToken": "old-refresh", "expiresAt": "2001-01-01T00:00:00Z", "kept": [1.50]}
NEW = {"accessToken": "new-access", "refreshToken": "new-refresh", "expiresIn": 3600}


class Killer:
    """Counts calls, and kills the process before one of them."""

    def __init__(self, step: int) -> None:
        self.left = step
        self.is_armed = False
        self.lock = threading.Lock()

    def passes(self) -> None:
        with self.lock:
            self.left -= self.is_armed
            if self.is_armed and self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **named: Any) -> Any:
            self.passes()
            return call(*arguments, **named)

        return watched


def refresh(path: Path, step: int) -> None:
    killer = Killer(step)

    async def post(call: Call) -> tuple[int, bytes]:
        await trio.lowlevel.checkpoint()
        killer.is_armed = json.loads(call.body) == {"refreshToken": "old-refresh"}
        return 200, json.dumps(NEW).encode()

    for name in CALLS:
        setattr(os, name, killer.around(getattr(os, name)))
    source = TokenFile(
        str(path), refresh_url=None, post=post, epoch=lambda: Epoch(1.7e9), user_agent="made-up/1", log=lambda _: None
    )
    trio.run(source.fresh)


def main(folder: Path) -> None:
    for step in range(100):
        path = folder / str(step) / "token.json"
        path.parent.mkdir()
        path.write_text(json.dumps(OLD))
        child = os.fork()
        if child == 0:
            refresh(path, step)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            sys.stdout.write(json.dumps({"killed": step, "exit": os.WEXITSTATUS(status)}))
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
