"""Events folded into content the slow and obvious way: what `core.response` is compared with.

It takes what the harness meant to send, not what was on the wire, and follows the rules sentence by sentence:
blocks in the order of their first event, neighbouring text joined, fragments of a call joined by its id, the text
cut at the first stop sequence, written-out calls found by `fuzz.reference_toolcalls`, and no call that is not whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from fuzz import reference_toolcalls


@dataclass(frozen=True)
class Said:
    """One event as it was meant: `kind` is text, call, thinking, signature, redacted or stop_reason."""

    kind: str
    text: str = ""
    tool_use_id: str = ""
    name: str = ""
    input: str | dict[str, Any] = ""
    stop: bool = False


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What of the request matters."""

    client_names: Mapping[str, str]
    """Tools as the client names them, by every spelling that they may be called by."""
    client_ids: Mapping[str, str]
    written_calls: bool
    calls_allowed: bool
    stop_sequences: Sequence[str] = ()


@dataclass
class _Piece:
    kind: str
    said: list[Said] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(each.text for each in self.said if each.kind != "signature")


Block: TypeAlias = dict[str, Any]

DEEPEST = 200
"""Levels of a call's input: the client's next request would be refused if there were more."""


def fold(said: Sequence[Said], terms: Terms) -> list[Block] | None:
    """The content of the answer, made-up ids being `""`; None where it is none and must not be shown as one."""
    pieces, _ = cut(collect(said), terms.stop_sequences)
    content: list[Block] = []
    for piece in pieces:
        match piece.kind:
            case "text":
                content += _read_text(piece.text, terms)
            case "call":
                call = _read_call(piece.said, terms)
                if call is None:
                    return None
                content.append(call)
            case "thinking":
                signatures = [each.text for each in piece.said if each.kind == "signature"]
                content.append({"type": "thinking", "thinking": piece.text, "signature": "".join(signatures)})
            case _:
                content.append({"type": "redacted_thinking", "data": piece.text})
    return content


def collect(said: Sequence[Said]) -> list[_Piece]:
    """Events in pieces that become blocks, in the order of their first event."""
    pieces: list[_Piece] = []
    calls: dict[str, _Piece] = {}
    for each in said:
        last = pieces[-1] if pieces else _Piece("nothing")
        match each.kind:
            case "text" if each.text:
                if last.kind != "text":
                    pieces.append(_Piece("text"))
                pieces[-1].said.append(each)
            case "call":
                if each.tool_use_id not in calls:
                    calls[each.tool_use_id] = _Piece("call")
                    pieces.append(calls[each.tool_use_id])
                calls[each.tool_use_id].said.append(each)
            case "thinking" if each.text:
                if last.kind != "thinking" or _is_signed(last):
                    pieces.append(_Piece("thinking"))
                pieces[-1].said.append(each)
            case "signature" if each.text:
                if last.kind != "thinking" or _is_signed(last):
                    pieces.append(_Piece("thinking"))
                pieces[-1].said.append(each)
            case "redacted" if each.text:
                pieces.append(_Piece("redacted", [each]))
            case _:
                pass
    return pieces


def _is_signed(piece: _Piece) -> bool:
    return any(each.kind == "signature" for each in piece.said)


def cut(pieces: Sequence[_Piece], sequences: Sequence[str]) -> tuple[list[_Piece], str | None]:
    """All before the first stop sequence in the text, and which one that is; of two at one place the first named."""
    for index, piece in enumerate(pieces):
        for place in range(len(piece.text) if piece.kind == "text" else 0):
            for sequence in sequences:
                if piece.text[place:].startswith(sequence):
                    head = [_Piece("text", [Said("text", piece.text[:place])])] if place else []
                    return [*pieces[:index], *head], sequence
    return list(pieces), None


def _read_text(text: str, terms: Terms) -> list[Block]:
    names = terms.client_names if terms.written_calls and terms.calls_allowed else ()
    blocks: list[Block] = []
    for piece in reference_toolcalls.find_calls(text, names):
        if isinstance(piece, str):
            blocks.append({"type": "text", "text": piece})
        else:
            name = terms.client_names[piece[0]]
            blocks.append({"type": "tool_use", "id": "", "name": name, "input": json.loads(piece[1])})
    return blocks


def _read_call(fragments: Sequence[Said], terms: Terms) -> Block | None:
    """The call that these fragments are, where they are a whole one and nothing else."""
    name = fragments[0].name
    if not name or not fragments[0].tool_use_id:
        return None
    if not terms.calls_allowed or any(each.name != name for each in fragments):
        return None
    given = [each.input for each in fragments if each.input]
    stops = [index for index, each in enumerate(fragments) if each.stop]
    if not stops or any(each.input for each in fragments[stops[0] + 1 :]):
        return None
    if any(isinstance(each, dict) for each in given):
        if len(given) > 1:
            return None
        arguments: Any = given[0]
    else:
        text = "".join(each for each in given if isinstance(each, str))
        arguments = parse_json(text or "{}")
    if not isinstance(arguments, dict) or depth(arguments) > DEEPEST:
        return None
    tool_use_id = terms.client_ids.get(fragments[0].tool_use_id, fragments[0].tool_use_id)
    return {"type": "tool_use", "id": tool_use_id, "name": terms.client_names.get(name, name), "input": arguments}


def is_answer(said: Sequence[Said], terms: Terms) -> bool | None:
    """Whether the events say enough to be an answer; None where that depends on the reason to stop.

    Words and calls do, and so does a stop sequence; thinking or nothing does where a reason to stop is given.
    """
    pieces, sequence = cut(collect(said), terms.stop_sequences)
    if sequence is not None or any(piece.kind in ("text", "call") for piece in pieces):
        return True
    return None if any(each.kind == "stop_reason" and each.text for each in said) else False


def depth(value: Any) -> int:
    """How deep objects and lists nest."""
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def parse_json(text: str) -> Any:
    """A JSON value by the letter of RFC 8259, if all its strings are Unicode and all its numbers finite; else None."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        value = json.loads(text, parse_constant=refuse)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return None
    return value
