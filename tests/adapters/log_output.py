"""What the log says to whoever listens, in both of its forms."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from adapters.logs import Form, formatter

FORMS: tuple[Form, ...] = ("console", "json")


class _Strict(logging.StreamHandler[io.StringIO]):
    """A handler under which a record that cannot be written fails the test, where others say so and go on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the standard library's name
        """Raise what went wrong."""
        del record
        raise  # noqa: PLE0704  # it is called where the exception is being handled


@contextmanager
def logged(form: Form, level: int = logging.DEBUG) -> Iterator[io.StringIO]:
    """All that is logged from a level on, as it goes to standard error in this form."""
    stream = io.StringIO()
    handler = _Strict(stream)
    handler.setFormatter(formatter(form))
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(level)
    try:
        yield stream
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
