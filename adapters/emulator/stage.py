"""What a scenario has to play with: the request that came, the ordinary answer to it, and the forms of a refusal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from adapters.emulator.accounts import Issued
from adapters.emulator.assistant import Asked, decide
from adapters.emulator.chance import Chance
from adapters.emulator.events import answer_events, closing_events, figures, stop_reason_of
from adapters.emulator.wire import (
    AWS_JSON,
    EVENT_STREAM,
    JSON,
    Head,
    Reply,
    cut_into_chunks,
    encode_payload,
    event,
    whole,
)

CallKind = Literal["generate", "token", "other"]


def uuid_from(text: str) -> str:
    """An id in the form of a UUID (version 4), the same for the same text."""
    digits = hashlib.sha256(text.encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"


def seed_from(body: bytes) -> int:
    """What stands in for chance: a number that is the same for the same request."""
    return int.from_bytes(hashlib.sha256(body).digest()[:8], "big")


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One call that was found good, and is now to be answered in some way.

    `asked` is there for a `generate` call. `issue(rotate, expires_in)` is there for a `token` call; it makes new
    tokens. `content` is the ordinary body of the `other` calls.
    """

    call: CallKind
    seed: int
    request_id: str
    aws_json: bool = False
    conversation_id: str = ""
    asked: Asked | None = None
    revoke: Callable[[], None] | None = None
    issue: Callable[[bool, float | None], Issued] | None = None
    oidc: bool = False
    content: dict[str, Any] = msgspec.field(default_factory=dict)

    def chance(self) -> Chance:
        """A source of numbers that begins anew each time, from the request's seed."""
        return Chance(self.seed)

    # --- the ordinary answer ---

    def prompt(self) -> Asked:
        """What was asked, of a `generate` call."""
        assert self.asked is not None, "only a generate call asks anything"
        return self.asked

    def body_frames(self) -> list[bytes]:
        """The ordinary answer's frames, without what closes it."""
        chance = self.chance()
        return answer_events(decide(self.prompt()), self.seed, chance, model=self.prompt().model)

    def closing(self, frames: list[bytes], stop_reason: str) -> list[bytes]:
        """What closes an answer of these frames."""
        return closing_events(figures(self.prompt(), sum(map(len, frames)) // 3), stop_reason)

    def frames(self) -> list[bytes]:
        """The ordinary answer's frames, all of them."""
        frames = self.body_frames()
        return frames + self.closing(frames, stop_reason_of(decide(self.prompt())))

    def stream_head(self, content_type: str = EVENT_STREAM) -> Head:
        """The head of a good answer."""
        headers = [("content-type", content_type), ("x-amzn-requestid", self.request_id)]
        if not self.aws_json:
            headers.append(("x-amzn-codewhisperer-conversation-id", self.conversation_id))
        return Head(200, tuple(headers))

    def opening(self) -> list[bytes]:
        """What comes before an answer's own frames: in the older binding, the conversation's id."""
        if not self.aws_json:
            return []
        return [event("initial-response", {"conversationId": self.conversation_id}, content_type=AWS_JSON)]

    def stream(self, frames: list[bytes]) -> Reply:
        """A good answer of these frames, cut into chunks at places of no meaning."""
        body = b"".join([*self.opening(), *frames])
        return Reply(self.stream_head(), cut_into_chunks(body, self.chance()))

    def json(self, content: dict[str, Any], status: int = 200) -> Reply:
        """A good answer that is one JSON object."""
        headers = (("content-type", JSON), ("x-amzn-requestid", self.request_id))
        return whole(status, encode_payload(content), headers)

    # --- refusals ---

    def refusal(
        self,
        status: int,
        name: str,
        message: str,
        reason: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Reply:
        """The service's error, in the form of the binding that was used."""
        if self.call == "token" and self.oidc:
            return self.oidc_error(status, "server_error" if status >= 500 else "invalid_request", message)
        return refusal(status, name, message, reason, self.request_id, aws_json=self.aws_json, headers=headers)

    def oidc_error(self, status: int, error: str, description: str) -> Reply:
        """SSO OIDC's error."""
        return oidc_error(status, error, description, self.request_id)


def refusal(
    status: int,
    name: str,
    message: str,
    reason: str | None,
    request_id: str,
    *,
    aws_json: bool = False,
    headers: tuple[tuple[str, str], ...] = (),
) -> Reply:
    """The service's error: its name stands in a header (REST), or in the body (awsJson1.0)."""
    content: dict[str, Any] = {"message": message, "reason": reason}
    if aws_json:
        content = {"__type": f"com.amazon.aws.codewhisperer#{name}", **content}
        named: tuple[tuple[str, str], ...] = (("content-type", AWS_JSON),)
    else:
        named = (("content-type", JSON), *((("x-amzn-errortype", name),) if name else ()))
    return whole(status, encode_payload(content), (*named, ("x-amzn-requestid", request_id), *headers))


def oidc_error(status: int, error: str, description: str, request_id: str) -> Reply:
    """SSO OIDC's error: a name in small letters, and what it means."""
    name = error.title().replace("_", "") + "Exception"
    headers = (
        ("content-type", JSON),
        ("x-amzn-errortype", name),
        ("x-amzn-requestid", request_id),
    )
    return whole(status, encode_payload({"error": error, "error_description": description}), headers)
