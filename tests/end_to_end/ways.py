"""The ways in which one account of several can fail, and what is known of each before it is tried.

Each of the emulator's scenarios is in one of the lists here: one that is in none is a way that nobody tries.
"""

from __future__ import annotations

from typing import NamedTuple

from adapters.emulator import describe


class Way(NamedTuple):
    """A way to fail. The account ends in one of the `states`; each of its turns is so many `attempts`."""

    name: str
    scenario: str
    states: tuple[str, ...]
    attempts: int = 1
    fails: bool = True
    stalls: bool = False
    """Whether only a time-out ends it."""
    on_refresh: bool = False
    """Whether it is the refresh of its token that goes so: the token that it has has expired."""
    endpoint: str | None = None
    """The address at which the account is looked for, where that is what is wrong. {address} is the emulator's."""

    def scenarios(self, account: str) -> dict[str, object]:
        """What the emulator is to play."""
        if not self.scenario:
            return {}
        return {"refreshes" if self.on_refresh else "accounts": {account: self.scenario}}


PERMANENT = "permanently_blacklisted"
COOLDOWN = "cooldown"
TEMPORARY = "temporarily_blacklisted"
DEGRADED = "degraded"
HEALTHY = "healthy"

# By kind; the state is what spec and README promise for it.
_AUTHENTICATION = ("bad-token", "unauthorized", "forbidden", "token-revoked", "status:401", "empty-body:403")
_RATE_LIMIT = (
    "throttled", "retry-after:1", "retry-after:3600", "truncated-json:429", "namespaced-name", "name-in-code",
    "deep-name", "name-with-address", "exception:ThrottlingException", "exception-first:throttlingException",
)  # fmt: skip
_QUOTA = (
    "daily-quota", "monthly-quota", "monthly-quota-402", "overage-limit", "quota",
    "exception-first:throttlingException:MONTHLY_REQUEST_COUNT",
)  # fmt: skip
_SUSPENDED = ("suspended",)
_SERVER = (
    "internal-error", "unavailable", "unavailable-500", "status:418", "html:502", "empty-body:500", "redirect",
    "half-head", "error-frame:InternalError", "error-event", "invalid-state", "empty", "no-assistant-event",
    "html-200", "wrong-content-type",
)  # fmt: skip
_OVERLOAD = ("no-capacity", "model-unavailable", "high-load")
_NOT_FOR_THIS_ACCOUNT = ("invalid-model", "feature-not-supported", "unauthorized-customization")
_NETWORK = (
    "close-early", "refuse-connection", "cut:200", "reset:200", "clean-cut:200", "bad-prelude-crc", "bad-message-crc",
    "flipped-payload", "huge-length", "trailing-bytes", "gzipped",
)  # fmt: skip
_TIMEOUT = ("stall-head", "slow-head:60000", "stall:2", "slow:60000", "drip:20:60000")

_REFRESHES: dict[str, tuple[str, ...]] = {
    # refused: only a new sign-in helps
    "refresh-refused": (PERMANENT,),
    "oidc-error:invalid_grant": (PERMANENT,),
    "oidc-error:invalid_client": (PERMANENT,),
    # failing: later it may go well
    "oidc-error:slow_down": (TEMPORARY,),
    "internal-error": (TEMPORARY,),
    "throttled": (TEMPORARY,),
    "html:502": (TEMPORARY,),
    "close-early": (TEMPORARY,),
    "half-head": (TEMPORARY,),
    "wrong-types": (TEMPORARY,),
    # going well, in unusual ways
    "keep-refresh-token": (HEALTHY,),
    "expires-at-only": (HEALTHY,),
    "short-lived:3": (HEALTHY,),
    # The new tokens are lost with the answer. The next turn, if there is one by then, is refused the old one.
    "refresh-lost": (TEMPORARY, PERMANENT),
    "no-access-token": (TEMPORARY, PERMANENT),
}

_NOWHERE = "http://127.0.0.1:9"
"""The discard service's port, at which nobody listens on any machine of today."""


def _ways() -> tuple[Way, ...]:
    ways = [Way(scenario, scenario, (PERMANENT,)) for scenario in _AUTHENTICATION]
    ways += [Way(scenario, scenario, (COOLDOWN,)) for scenario in (*_RATE_LIMIT, *_QUOTA)]
    ways += [Way(scenario, scenario, (TEMPORARY,)) for scenario in (*_SUSPENDED, *_SERVER)]
    ways += [Way(scenario, scenario, (HEALTHY,)) for scenario in _NOT_FOR_THIS_ACCOUNT]
    ways += [Way(scenario, scenario, (HEALTHY,), attempts=3) for scenario in _OVERLOAD]
    ways += [Way(scenario, scenario, (DEGRADED,), attempts=2) for scenario in _NETWORK]
    ways += [Way(scenario, scenario, (DEGRADED,), stalls=True) for scenario in _TIMEOUT]
    ways += [
        Way(f"refresh {scenario}", scenario, states, fails=HEALTHY not in states, on_refresh=True)
        for scenario, states in _REFRESHES.items()
    ]
    ways.append(Way("nobody listens", "", (DEGRADED,), attempts=2, endpoint=_NOWHERE))
    ways.append(Way("no TLS there", "", (DEGRADED,), attempts=2, endpoint="https://{address}"))
    return tuple(ways)


WAYS = _ways()

_OF_THE_CLIENT = (
    "conversation-limit", "improperly-formed", "too-long", "too-long-message", "prompt-too-long",
    "invalid-conversation-id", "invalid-kms-grant", "tool-use-result-mismatch", "tool-schema-invalid",
    "tool-duplicate", "tool-config-missing", "thinking-signature-invalid", "body-limit",
)  # fmt: skip
_OF_THE_ANSWER = ("invalid-tool-json", "non-object-input", "no-stop", "long-tool-cut")
_ANSWERS = (
    "fine", "big", "big-frame", "old-style", "max-tokens", "stop-reason", "thinking", "unknown-events",
    "equal-fragments", "foreign-text", "interleaved-tools", "whole-input", "no-input", "written-call",
)  # fmt: skip
LEFT = {*_OF_THE_CLIENT, *_OF_THE_ANSWER, *_ANSWERS}
"""Scenarios in which no other account would help, or nothing goes wrong."""


def unlisted() -> set[str]:
    """The emulator's scenarios that are in none of the lists, and what the lists have that is none or is in both."""
    names = {usage.partition("[")[0].partition(":")[0] for usage in describe()}
    tried = {way.scenario.partition(":")[0] for way in WAYS if way.scenario}
    return (names ^ (tried | LEFT)) | (tried & LEFT)
