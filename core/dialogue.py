"""What the core and the shell say to each other while one client request is carried out.

The shell says what happened, in the past tense; the core says what it wants, and tells whoever listens what came
of it. Every want carries `wake_at`: when that passes first the shell says `Woken`, and the want stands unless the
next one replaces it (`WantStill` does not). A call that is open ends with any want but `WantData` and `WantStill`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from core.credentials import Token
from core.failures import Failure
from core.http import Call, Head
from core.refusals import Absence, Refusal
from core.response import BufferedResponse
from core.selection import Provider
from core.sse import StreamEvent
from core.times import Instant

# --- what happened ---------------------------------------------------------------------------------------------


class ProviderChosen(msgspec.Struct, frozen=True):
    """The answer to `WantProvider`."""

    provider: Provider


class NoProvider(msgspec.Struct, frozen=True):
    """No account that is not excluded can be used; why is said of all of which that is true for everyone."""

    absences: tuple[Absence, ...] = ()


class TokenReady(msgspec.Struct, frozen=True):
    """The answer to `WantFreshToken`."""

    token: Token


class TokenRefused(msgspec.Struct, frozen=True):
    """The account has no token and will get none without a person. `fingerprint` is that of its last one."""

    problem: str
    fingerprint: str


class TokenUnreadable(msgspec.Struct, frozen=True):
    """The account's token file cannot be read."""

    problem: str


class TokenUnavailable(msgspec.Struct, frozen=True):
    """The account's token could not be refreshed now; later it may."""

    problem: str


class HeadArrived(msgspec.Struct, frozen=True):
    """The service began to answer."""

    head: Head


class DataArrived(msgspec.Struct, frozen=True):
    """More of the answer's body. `more`: what follows came in one piece with it, so nothing is sent in between."""

    data: bytes
    more: bool = False


class BodyEnded(msgspec.Struct, frozen=True):
    """The answer's body ended as HTTP says that it does."""


class CallFailed(msgspec.Struct, frozen=True):
    """The call broke: the network did, or the shell's limit on connecting passed."""

    cause: Literal["network", "timeout"]
    problem: str


class Woken(msgspec.Struct, frozen=True):
    """A want's `wake_at` passed."""


Happening: TypeAlias = (
    ProviderChosen
    | NoProvider
    | TokenReady
    | TokenRefused
    | TokenUnreadable
    | TokenUnavailable
    | HeadArrived
    | DataArrived
    | BodyEnded
    | CallFailed
    | Woken
)


# --- what is wanted --------------------------------------------------------------------------------------------


class WantProvider(msgspec.Struct, frozen=True, kw_only=True):
    """An account whose turn it is, none of `excluded`."""

    excluded: tuple[str, ...]
    wake_at: Instant


class WantFreshToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token of that account that is not about to expire and is not the `rejected` one."""

    provider: Provider
    rejected: Token | None
    wake_at: Instant


class WantCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call to the service: its head next."""

    provider: Provider
    call: Call
    wake_at: Instant


class WantData(msgspec.Struct, frozen=True, kw_only=True):
    """The next piece of the open call's body."""

    wake_at: Instant


class WantPause(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing, until `wake_at`."""

    wake_at: Instant


class WantStill(msgspec.Struct, frozen=True, kw_only=True):
    """What was wanted before."""

    wake_at: Instant


Want: TypeAlias = WantProvider | WantFreshToken | WantCall | WantData | WantPause | WantStill


class WholeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The end of an exchange whose client has been sent nothing yet."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StreamEnded(msgspec.Struct, frozen=True):
    """The end of an exchange whose client has been sent all of its stream."""


Final: TypeAlias = WholeAnswer | StreamEnded


# --- what is told ----------------------------------------------------------------------------------------------


class Deliver(msgspec.Struct, frozen=True):
    """Stream events for the client. The first of these begins the answer: 200, an event stream."""

    events: tuple[StreamEvent, ...]


class AttemptFailed(msgspec.Struct, frozen=True):
    """An account was tried in vain. `fingerprint` is that of its token where that was the reason."""

    provider_id: str
    failure: Failure
    fingerprint: str | None = None


class AnswerBegan(msgspec.Struct, frozen=True):
    """The service began to answer with an event stream."""

    provider_id: str


class TokenRejected(msgspec.Struct, frozen=True):
    """The service refused a token that looked valid; it is refreshed once."""

    provider_id: str


class Succeeded(msgspec.Struct, frozen=True):
    """The client has its answer."""

    response: BufferedResponse


class Refused(msgspec.Struct, frozen=True):
    """The client has an error instead of an answer."""

    refusal: Refusal


Notice: TypeAlias = Deliver | AnswerBegan | AttemptFailed | TokenRejected | Succeeded | Refused
