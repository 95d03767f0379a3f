"""Scenarios by name: `NAME` or `NAME:ARGUMENT:...`, each with what it does in a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from adapters.emulator import failures, streams, tokencalls
from adapters.emulator.stage import CallKind, Stage
from adapters.emulator.wire import Reply

FINE = "fine"


class UnknownScenario(ValueError):
    """A scenario that cannot be played. The text says why, and what can."""


class Argument(msgspec.Struct, frozen=True):
    """An argument: a number within bounds, or text. Without a default it must be given."""

    name: str
    default: int | str | None = None
    lowest: int = 0
    highest: int | None = None
    kind: Literal["number", "text"] = "number"

    def read(self, text: str | None) -> int | str:
        """The value that was given, or the default.

        Raises:
            UnknownScenario: it is no such value.
        """
        if text is None or text == "":
            if self.default is None:
                raise UnknownScenario(f"{self.name} is missing")
            return self.default
        if self.kind == "text":
            # It may be sent as a header.
            if not (text.isascii() and text.isprintable() and len(text) <= 200):
                raise UnknownScenario(f"{self.name}: expected up to 200 printable ASCII characters")
            return text
        if not (text.isascii() and text.isdigit() and len(text) <= 12):
            raise UnknownScenario(f"{self.name}: expected a number, got {text[:40]!a}")
        if not (self.lowest <= int(text) and (self.highest is None or int(text) <= self.highest)):
            raise UnknownScenario(f"{self.name}: expected {self.lowest} to {self.highest}, got {text}")
        return int(text)


def _number(name: str, default: int | None = None, lowest: int = 0, highest: int | None = None) -> Argument:
    return Argument(name, default, lowest, highest)


def _text(name: str, default: str | None = None) -> Argument:
    return Argument(name, default, kind="text")


class Scenario(msgspec.Struct, frozen=True):
    """One way to answer. `calls` are the kinds of call that can be answered so."""

    description: str
    play: Callable[..., Reply]
    arguments: tuple[Argument, ...] = ()
    calls: tuple[CallKind, ...] = ("generate",)

    def usage(self, name: str) -> str:
        """How the scenario is written: `name:WHAT[:MORE]`."""
        usage = name
        for argument in self.arguments:
            usage += f":{argument.name}" if argument.default is None else f"[:{argument.name}]"
        return usage


def _fine(stage: Stage) -> Reply:
    if stage.call == "generate":
        return stage.stream(stage.frames())
    return tokencalls.fine(stage) if stage.call == "token" else stage.json(stage.content)


def _body_limit(stage: Stage, most: int) -> Reply:
    return failures.FAILURES["improperly-formed"].play(stage) if stage.prompt().size > most else _fine(stage)


def _slow_head(stage: Stage, milliseconds: int) -> Reply:
    return failures.slow_head(milliseconds, _fine(stage))


def _max_tokens(stage: Stage) -> Reply:
    return streams.stop_reason(stage, "MAX_TOKENS")


_ANY: tuple[CallKind, ...] = ("generate", "token", "other")
_TOKEN: tuple[CallKind, ...] = ("token",)
_COUNT = _number("BYTES")
_FRAME = _number("FRAME", 1, lowest=1)
_STATUS = _number("CODE", 500, 200, 599)
_DAY_MS = 86_400_000
_MOST = 1 << 26

SCENARIOS: dict[str, Scenario] = {
    FINE: Scenario("the ordinary answer", _fine, calls=_ANY),
    # no answer, or a late one
    "stall-head": Scenario("the request is never answered", failures.stall_head, calls=_ANY),
    "slow-head": Scenario(
        "the ordinary answer, after a wait of MS", _slow_head, (_number("MS", highest=_DAY_MS),), calls=_ANY
    ),
    "close-early": Scenario("the connection ends without an answer", failures.close_early, calls=_ANY),
    "refuse-connection": Scenario("the connection is reset without an answer", failures.refuse_connection, calls=_ANY),
    "half-head": Scenario("a JSON answer that ends before the length it declares", failures.half_head, calls=_ANY),
    # refusals
    **{name: Scenario(row.description, row.play, calls=_ANY) for name, row in failures.FAILURES.items()},
    "status": Scenario(
        "any status, error name, reason and message",
        failures.status,
        (_number("CODE", None, 200, 599), _text("NAME", ""), _text("REASON", ""), _text("MESSAGE", "")),
        calls=_ANY,
    ),
    "retry-after": Scenario(
        "429 ThrottlingException with a Retry-After of SECONDS",
        failures.retry_after,
        (_number("SECONDS", 30),),
        calls=_ANY,
    ),
    "html": Scenario("an HTML page with the status CODE", failures.html, (_STATUS,), calls=_ANY),
    "empty-body": Scenario("the status CODE and no body", failures.empty_body, (_STATUS,), calls=_ANY),
    "truncated-json": Scenario(
        "the status CODE and a body that ends amid its JSON", failures.truncated_json, (_STATUS,), calls=_ANY
    ),
    "namespaced-name": Scenario(
        "429 with `namespace#Name` in the body's `__type`", failures.namespaced_name, calls=_ANY
    ),
    "name-in-code": Scenario("429 with the name in the body's `code`", failures.name_in_code, calls=_ANY),
    "deep-name": Scenario("429 with the name in the body's `Output.__type`", failures.deep_name, calls=_ANY),
    "name-with-address": Scenario("429 with `Name:http://...` in the header", failures.name_with_address, calls=_ANY),
    "redirect": Scenario("307 to another address", failures.redirect, calls=_ANY),
    "token-revoked": Scenario(
        "403, and the account's access tokens end: good again after a refresh", failures.token_revoked
    ),
    "body-limit": Scenario(
        "'Improperly formed request.' for a body over BYTES", _body_limit, (_number("BYTES", 615_000),)
    ),
    # streams that are cut or late
    "cut": Scenario("the connection ends after BYTES of the body", streams.cut, (_COUNT,)),
    "reset": Scenario("the connection is reset after BYTES of the body", streams.reset, (_COUNT,)),
    "clean-cut": Scenario("the body ends cleanly after BYTES", streams.clean_cut, (_COUNT,)),
    "stall": Scenario("FRAMES frames, then nothing more", streams.stall, (_number("FRAMES", 1),)),
    "slow": Scenario("a wait of MS before each frame", streams.slow, (_number("MS", highest=_DAY_MS),)),
    "drip": Scenario(
        "BYTES at a time, with a wait of MS before each",
        streams.drip,
        (_number("BYTES", lowest=1), _number("MS", highest=_DAY_MS)),
    ),
    # broken streams
    "bad-prelude-crc": Scenario("a wrong checksum of the FRAME-th frame's lengths", streams.bad_prelude_crc, (_FRAME,)),
    "bad-message-crc": Scenario("a wrong checksum of the FRAME-th frame", streams.bad_message_crc, (_FRAME,)),
    "flipped-payload": Scenario("a changed byte in the FRAME-th frame's payload", streams.flipped_payload, (_FRAME,)),
    "huge-length": Scenario("a frame that says it is a gigabyte long", streams.huge_length),
    "trailing-bytes": Scenario("five bytes after the last frame", streams.trailing_bytes),
    # errors inside a 200
    "exception": Scenario(
        "the exception NAME after half of the answer", streams.exception, (_text("NAME"), _text("REASON", ""))
    ),
    "exception-first": Scenario(
        "the exception NAME as the first frame", streams.exception_first, (_text("NAME"), _text("REASON", ""))
    ),
    "error-frame": Scenario("an error frame after half of the answer", streams.error_frame, (_text("CODE"),)),
    "error-event": Scenario("the event `error` after half of the answer", streams.error_event),
    "invalid-state": Scenario("an invalidStateEvent after half of the answer", streams.invalid_state),
    # other bodies
    "empty": Scenario("a 200 without a frame", streams.empty),
    "no-assistant-event": Scenario("a 200 with figures only", streams.no_assistant_event),
    "html-200": Scenario("a 200 that is an HTML page", streams.html_200),
    "wrong-content-type": Scenario("the ordinary answer as text/plain", streams.wrong_content_type),
    "gzipped": Scenario("the ordinary answer, compressed though nobody asked for it", streams.gzipped),
    "big": Scenario("BYTES of text", streams.big, (_number("BYTES", 1 << 20, highest=_MOST),)),
    "big-frame": Scenario(
        "one frame with BYTES of text", streams.big_frame, (_number("BYTES", 1 << 24, highest=_MOST),)
    ),
    # unusual answers
    "old-style": Scenario("the ordinary answer without figures or a reason to stop", streams.old_style),
    "max-tokens": Scenario("the ordinary answer, stopped by MAX_TOKENS", _max_tokens),
    "stop-reason": Scenario("the ordinary answer, stopped by NAME", streams.stop_reason, (_text("NAME"),)),
    "thinking": Scenario("thinking with a signature before the answer", streams.thinking),
    "unknown-events": Scenario("unknown events and header types among the others", streams.unknown_events),
    "equal-fragments": Scenario("text in fragments of which neighbours are equal", streams.equal_fragments),
    "foreign-text": Scenario("text of many scripts, in chunks of three bytes", streams.foreign_text),
    # tool calls
    "interleaved-tools": Scenario("two calls whose fragments take turns", streams.interleaved_tools),
    "whole-input": Scenario("a call whose input is one object", streams.whole_input),
    "no-input": Scenario("a call without input", streams.no_input),
    "invalid-tool-json": Scenario("a call whose input is no JSON", streams.invalid_tool_json),
    "non-object-input": Scenario("a call whose input is a list", streams.non_object_input),
    "no-stop": Scenario("a call without its stop, at the body's clean end", streams.no_stop),
    "long-tool-cut": Scenario(
        "a call cut after BYTES of input, without stop, at the body's clean end",
        streams.long_tool_cut,
        (_number("BYTES", 12_000, 1, _MOST),),
    ),
    "written-call": Scenario(
        "a call written out as text; FORM is tool-call, called or fenced",
        streams.written_call,
        (_text("FORM", "tool-call"),),
    ),
    # token calls
    "oidc-error": Scenario(
        "a token call's error, such as invalid_grant or slow_down",
        tokencalls.oidc_error,
        (_text("ERROR"),),
        calls=_TOKEN,
    ),
    "refresh-refused": Scenario("the refresh token is refused", tokencalls.refused, calls=_TOKEN),
    "refresh-lost": Scenario(
        "the tokens are rotated, and the connection ends without an answer", tokencalls.lost, calls=_TOKEN
    ),
    "keep-refresh-token": Scenario("the answer has no refresh token: the old stays", tokencalls.kept, calls=_TOKEN),
    "expires-at-only": Scenario("the answer has expiresAt and no expiresIn", tokencalls.dated, calls=_TOKEN),
    "short-lived": Scenario(
        "access tokens that live for SECONDS", tokencalls.short_lived, (_number("SECONDS", 1),), calls=_TOKEN
    ),
    "no-access-token": Scenario("an answer without an access token", tokencalls.without_access, calls=_TOKEN),
    "wrong-types": Scenario("an answer whose members have other types", tokencalls.wrong_types, calls=_TOKEN),
}
"""Every scenario, by its name."""


def describe() -> dict[str, str]:
    """What each scenario does, by how it is written."""
    return {scenario.usage(name): scenario.description for name, scenario in SCENARIOS.items()}


def play(text: str, stage: Stage) -> Reply:
    """The reply that a scenario gives on this stage.

    Raises:
        UnknownScenario: there is none of that name, its arguments are no such ones, or it is for other calls.
    """
    scenario, values = _find(text)
    if stage.call not in scenario.calls:
        name = text.partition(":")[0]
        raise UnknownScenario(f"scenario {name}: not for this call, but for: {', '.join(scenario.calls)}")
    return scenario.play(stage, *values)


def check(text: str) -> None:
    """Look whether there is such a scenario, for some call.

    Raises:
        UnknownScenario: there is none of that name, or its arguments are no such ones.
    """
    _find(text)


def _find(text: str) -> tuple[Scenario, list[Any]]:
    name, _, rest = text.partition(":")
    scenario = SCENARIOS.get(name)
    if scenario is None:
        raise UnknownScenario(f"unknown scenario {name[:60]!a}; there are: {', '.join(SCENARIOS)}")
    try:
        return scenario, _read_arguments(scenario, rest)
    except UnknownScenario as problem:
        raise UnknownScenario(f"scenario {scenario.usage(name)}: {problem}") from None


def _read_arguments(scenario: Scenario, rest: str) -> list[Any]:
    if not scenario.arguments:
        if rest:
            raise UnknownScenario("takes no arguments")
        return []
    # The last one may have colons in it.
    given: list[str | None] = list(rest.split(":", len(scenario.arguments) - 1))
    given += [None] * (len(scenario.arguments) - len(given))
    return [argument.read(text) for argument, text in zip(scenario.arguments, given, strict=True)]
