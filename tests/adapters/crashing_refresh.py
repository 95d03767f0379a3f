"""A process that refreshes a token and is killed at a given step of writing it down. Run by the crash tests.

`python crashing_refresh.py FOLDER KIND` makes `FOLDER/0`, `FOLDER/1`, ... with a token file each, and in each lets a
child of its own get a fresh token which kills itself (SIGKILL) before its nth call of the system on files. It ends with
the first child that comes to its end, and says before which call each of the others was killed. The kinds:

    plain      a refresh, counted from the service's answer on
    link       the same, of a file that is reached by a link
    rewritten  the same, while another program adds a member to the file and gives it a date in the future
    left       no refresh: the new token is in the journal already. Counted from the beginning
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

from adapters.files import Journal
from adapters.tokens import TokenFile
from core.credentials import fingerprint, parse_token_file
from core.http import Call
from core.times import Epoch
from tests.adapters.token_files import MARK, START

CALLS = ("open", "close", "unlink", "replace", "fsync", "fstat", "stat", "lstat", "write")
OLD: dict[str, Any] = {
    "accessToken": f"access-{MARK}-0",
    "refreshToken": f"refresh-{MARK}-0",
    "expiresAt": "2001-01-01T00:00:00Z",
    "kept": [1.50],
}
NEW: dict[str, Any] = {"accessToken": f"access-{MARK}-1", "refreshToken": f"refresh-{MARK}-1", "expiresIn": 3600}
EXPIRES_AT = "2023-11-14T23:13:20.000Z"


class Killer:
    """Counts calls, and kills the process before one of them."""

    def __init__(self, step: int, note: Path) -> None:
        self.left = step
        self.note = note
        self.is_armed = False
        self.lock = threading.Lock()

    def passes(self, name: str) -> None:
        with self.lock:
            self.left -= self.is_armed
            if self.is_armed and self.left < 0:
                self.is_armed = False
                self.note.write_text(name)
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, name: str) -> Callable[..., Any]:
        call = getattr(os, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            self.passes(name)
            return call(*arguments, **named)

        return watched


def make(path: Path, kind: str) -> Path:
    """The file to begin with; gives back where it is reached."""
    path.parent.mkdir()
    path.write_text(json.dumps(OLD))
    if kind == "link":
        link = path.parent / "links" / "token.json"
        link.parent.mkdir()
        link.symlink_to(path)
        return link
    if kind == "left":
        expiry = {"expiresAt": EXPIRES_AT}
        entry = Journal(str(path)).open()
        entry.write(fingerprint(parse_token_file(path.read_bytes())), json.dumps(OLD | NEW | expiry).encode())
        entry.close()
    return path


def refresh(path: Path, kind: str, killer: Killer) -> None:
    async def post(call: Call) -> tuple[int, bytes]:
        await trio.lowlevel.checkpoint()
        if kind == "left" or json.loads(call.body) != {"refreshToken": OLD["refreshToken"]}:
            return 400, b'{"error": "invalid_grant"}'
        if kind == "rewritten":
            path.write_text(json.dumps(OLD | {"added": True}))
            os.utime(path, (4e9, 4e9))
        killer.is_armed = True
        return 200, json.dumps(NEW).encode()

    for name in CALLS:
        setattr(os, name, killer.around(name))
    source = TokenFile(
        str(path), refresh_url=None, post=post, epoch=lambda: Epoch(START), user_agent="made-up/1", log=lambda _: None
    )
    killer.is_armed = kind == "left"
    trio.run(source.fresh)


def main(folder: Path, kind: str) -> None:
    for step in range(100):
        path = make(folder / str(step) / "token.json", kind)
        note = folder / f"{step}.txt"
        child = os.fork()
        if child == 0:
            refresh(path, kind, Killer(step, note))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            killed = [(folder / f"{killed}.txt").read_text() for killed in range(step)]
            sys.stdout.write(json.dumps({"killed_before": killed, "exit": os.WEXITSTATUS(status)}))
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
