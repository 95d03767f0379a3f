"""The command line, in a process that says how many tasks it has: a line on standard output for each SIGUSR1.

Run as `python -m tests.end_to_end.watched serve ...`, in place of `stagewhisper serve ...`.
"""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Iterator

import trio

from adapters.cli import main


def _names(task: trio.lowlevel.Task) -> Iterator[str]:
    """The names of a task and of all below it."""
    yield task.name.rpartition(".")[2]
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from _names(child)


def _heed(_number: int, _frame: object) -> None:
    """Have it said between two steps of the loop: amid one, a look at trio's figures can break its timers."""
    trio.lowlevel.current_trio_token().run_sync_soon(_say)


def _say() -> None:
    root = trio.lowlevel.current_root_task()
    assert root is not None
    names = Counter(_names(root))
    what = ", ".join(f"{count} {name}" for name, count in sorted(names.items()))
    sys.stdout.write(f"tasks: {trio.lowlevel.current_statistics().tasks_living}: {what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _heed)
    sys.exit(main())
