"""The log: one line a request, to standard error. No line has a token, a key or a word of a conversation in it."""

from __future__ import annotations

import logging
from typing import assert_never

from core import dialogue
from core.times import Instant

_log = logging.getLogger("stagewhisper")


def configure(level: str) -> None:
    """Send the log to standard error, from `level` (a name of the standard library's) on."""
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", level=level.upper())
    # They tell of each call, the second of each of its steps; the request's own line says more.
    for library in ("httpx", "httpcore"):
        logging.getLogger(library).setLevel(max(logging.WARNING, logging.getLogger().level))


class RequestLog:
    """What is said of one client request when it has ended: one line, and one for each failed attempt."""

    def __init__(self, *, request_id: str, model: str, began: Instant) -> None:
        self._request_id = request_id
        self._model = model
        self._began = began
        self._account = "-"
        self._failed = 0
        self._detail = ""
        self.outcome = "ended early: the client left, or the gateway was stopped"

    def hear(self, notice: dialogue.Notice) -> None:
        """Take in what the exchange tells."""
        match notice:
            case dialogue.AttemptFailed(provider_id=account, failure=failure):
                self._failed += 1
                self._account = account
                kind = failure.kind.value
                _log.warning("%s account=%s failed: %s: %s", self._request_id, account, kind, failure.message)
            case dialogue.TokenRejected(provider_id=account):
                _log.info("%s account=%s token refused by the service, refreshing it", self._request_id, account)
            case dialogue.Succeeded(response=response):
                message = response.message
                self.outcome = "answered"
                self._account = response.metadata.target_provider
                usage = message.usage
                self._detail = (
                    f" stop={message.stop_reason} blocks={len(message.content)}"
                    f" input={usage.input_tokens} output={usage.output_tokens}"
                )
            case dialogue.Refused(refusal=refusal):
                self.outcome = f"refused with {refusal.error_type}"
            case dialogue.Deliver():
                pass
            case _:
                assert_never(notice)

    def write(self, ended: Instant) -> None:
        """Write the request's line."""
        _log.info(
            "%s account=%s model=%s failed=%d ms=%.0f%s: %s",
            self._request_id,
            self._account,
            self._model,
            self._failed,
            (ended - self._began) * 1000,
            self._detail,
            self.outcome,
        )
