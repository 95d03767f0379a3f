"""The only clock and the only maker of ids and chance. Everything else takes what these give as arguments."""

from __future__ import annotations

import random
import time
import uuid
from importlib.metadata import version

import trio

from core.times import Epoch, Instant, Now

VERSION = version("stagewhisper")
USER_AGENT = f"stagewhisper/{VERSION}"
"""What the gateway says that it is, to the service and to the refresh endpoints."""


def now() -> Now:
    """Both clocks. The monotonic one is trio's, so that tests can move it."""
    return Now(Instant(trio.current_time()), epoch())


def stopwatch() -> float:
    """Seconds, to the microsecond, from an arbitrary start: for how long something took that did not wait."""
    return time.perf_counter()


def epoch() -> Epoch:
    """The date."""
    return Epoch(time.time())


def new_uuid() -> str:
    """A random UUID in its 36 characters."""
    return str(uuid.uuid4())


def new_message_id() -> str:
    """An id for an answer, of the form that Anthropic's have."""
    return f"msg_{uuid.uuid4().hex}"


def new_request_id() -> str:
    """An id for a client's request, of the form that Anthropic's have."""
    return f"req_{uuid.uuid4().hex}"


def new_jitter() -> float:
    """A number from 0 to 1 to spread retries with."""
    return random.random()
