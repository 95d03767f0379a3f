"""Processes that share one file of a store, each of which says in the end what it saw. Run by the tests of stores.

`python storing.py count FILE TIMES` lets two count together, by compare-and-set, TIMES each. `python storing.py open
FILE 1` lets four open a file at once, and write something. `python storing.py kill FILE TIMES` lets one after the other
count, and kills it. What they saw comes out as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import trio

from adapters.stores import SqliteStore
from core.times import Epoch

Say: TypeAlias = Callable[[object], object]
"""Tells something to the parent."""

Work: TypeAlias = Callable[[Say], object]


def store(path: str) -> SqliteStore:
    return SqliteStore(path, lambda: Epoch(1_795_355_101.0))


def child(work: Work) -> tuple[int, int]:
    """The id of a process that does some work and where to read what it says."""
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    try:
        work(lambda thing: os.write(writing, json.dumps(thing).encode() + b"\n"))
        os._exit(0)
    except BaseException as error:
        os.write(2, repr(error).encode())
        os._exit(1)


def together(works: list[Work]) -> list[list[Any]]:
    """Let processes do their work at the same time. Gives back what each said."""
    waiting, gate = os.pipe()

    def behind_the_gate(work: Work, say: Say) -> None:
        os.close(gate)
        os.read(waiting, 1)
        work(say)

    children = [child(partial(behind_the_gate, work)) for work in works]
    os.close(gate)
    said = []
    for process, reading in children:
        with open(reading) as lines:
            said.append([json.loads(line) for line in lines])
        assert os.waitpid(process, 0)[1] == 0
    return said


def count(path: str, times: int, say: Say) -> None:
    async def run() -> None:
        shared = store(path)
        await shared.open()
        for _ in range(times):
            written: dict[str, int] = {}
            while not written:
                found = (await shared.load()).get("count")
                version, number = (found.version, int(found.value)) if found else (0, 0)
                written = await shared.compare_and_set({"count": (version, b"%d" % (number + 1))})
        await shared.close()

    trio.run(run)
    say("counted")


def open_at_once(path: str, name: str, say: Say) -> None:
    async def run() -> None:
        shared = store(path)
        say(await shared.open())
        await shared.replace({name: b""})
        await shared.close()

    trio.run(run)


def count_on(path: str, say: Say) -> None:
    async def run() -> None:
        shared = store(path)
        say(["opens"])
        lines = await shared.open()
        found = (await shared.load()).get("count")
        number = int(found.value) if found else 0
        say(["found", number, lines])
        while True:
            number += 1
            await shared.replace({"count": b"%d" % number, f"other{number % 7}": bytes(5000)})
            say(["wrote", number])

    trio.run(run)


def kill(path: str, times: int) -> list[list[Any]]:
    """What each process said until it was killed, after having said one, two, ... things."""
    seen = []
    for turn in range(times):
        process, reading = child(partial(count_on, path))
        with open(reading) as lines:
            said = [json.loads(lines.readline()) for _ in range(1 + turn % 9)]
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            said += [json.loads(line) for line in lines]
        seen.append(said)
    return seen


def main(mode: str, path: str, times: int) -> list[list[Any]]:
    if mode == "count":
        return together([partial(count, path, times) for _ in range(2)])
    if mode == "open":
        return together([partial(open_at_once, path, name) for name in "abcd"])
    return kill(path, times)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
