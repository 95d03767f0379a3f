"""Two clocks, two types: monotonic instants to measure with, and dates that mean something to others.

Neither can be compared with the other by accident. Durations are plain floats, in seconds, and the names of
those that are not end in their unit. No clock is read here: both readings arrive as arguments. Dates are written
and read here, as ISO 8601 has them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import msgspec


class Instant(msgspec.Struct, frozen=True, order=True, gc=False):
    """A reading of a monotonic clock, in seconds from an arbitrary start. Never leaves the process."""

    seconds: float

    def __add__(self, duration: float) -> Instant:
        """The instant `duration` seconds later."""
        return Instant(self.seconds + duration)

    def __sub__(self, earlier: Instant) -> float:
        """The seconds that passed since `earlier`."""
        return self.seconds - earlier.seconds


class Epoch(msgspec.Struct, frozen=True, order=True, gc=False):
    """A date, in seconds since 1970-01-01 UTC. May be written down and compared with other machines' dates."""

    seconds: float

    def __add__(self, duration: float) -> Epoch:
        """The date `duration` seconds later."""
        return Epoch(self.seconds + duration)

    def __sub__(self, earlier: Epoch) -> float:
        """The seconds that passed since `earlier`."""
        return self.seconds - earlier.seconds


class Now(msgspec.Struct, frozen=True, gc=False):
    """Both clocks, read at one moment."""

    instant: Instant
    epoch: Epoch


_ZERO = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MILLISECOND = 253_402_300_799_999  # of the year 9999, beyond which the notation has no dates
# `UTC` was botocore's way to write Z for some years, and token files of that time are still about.
_DATE = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?"
    r"(?:[Zz]|UTC|([+-])([0-9]{2})(?::?([0-9]{2}))?)"
)


def parse_date(text: str) -> Epoch | None:
    """An ISO 8601 date with its offset. None for anything else; without an offset it could mean any zone."""
    if (match := _DATE.fullmatch(text)) is None:
        return None
    *date, second, fraction, sign, hours, minutes = match.groups(default="0")
    year, month, day, hour, minute = map(int, date)
    if int(hours) > 23 or int(minutes) > 59:
        return None
    try:
        moment = datetime(year, month, day, hour, minute, int(second), tzinfo=UTC)
    except ValueError:
        return None
    offset = 3600 * int(hours) + 60 * int(minutes)
    since = (moment - _ZERO) // timedelta(seconds=1) + (offset if sign == "-" else -offset)
    # One division of whole numbers, so that a date is the float nearest to it. More digits would change nothing.
    return Epoch((since * 10**9 + int(f"{fraction[:9]:0<9}")) / 10**9)


def render_date(date: Epoch) -> str:
    """ISO 8601 in UTC with milliseconds. What is beyond the notation becomes its nearest date."""
    milliseconds = round(min(max(date.seconds * 1000, 0), _LAST_MILLISECOND))
    moment = _ZERO + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
