r"""An exchange that is played and taped as a script says, with accounts that have secrets, and time that passes.

A script is lines in the language of `fuzz.answer`, and

    P       the client's prompt
    S       the client asks for no stream
    V       it is sent the answer live
    A       what each wish for a token comes to, one after the other: y, there is one; r, it is refused; u, its file
            cannot be read; n, not now
    H       a header of this attempt's answer, `name:value`
    T       seconds that pass before each thing that happens, over and over: digits for themselves, letters for eighths
    L       who is late is not woken first
    B       why there is no other account, at the end
    F       after so many steps the client leaves
    I       sizes of the pieces in which it is run again, each the number of a character
    X Y     where the file is cut, `place`; where it is changed, `place,value`

In them `$A` and `$R` are the tokens that are used for that attempt, `$O` the first one, `$P` the account's profile and
(in errors) `$N` its number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from core.anthropic import parse_request
from core.credentials import Token
from core.dialogue import (
    Deliver,
    Happening,
    NoProvider,
    ProviderChosen,
    TokenReady,
    TokenRefused,
    TokenUnavailable,
    TokenUnreadable,
    Want,
    WantFreshToken,
    WantProvider,
    Woken,
)
from core.exchange import Step
from core.failures import Kind
from core.masking import Mask
from core.phases import Policy
from core.refusals import Absence
from core.request import convert
from core.taping import Moment, begin_tape, end_tape, record
from core.times import Epoch
from fuzz.answer import LETTERS, MODEL, read_script, render_request
from fuzz.play import PROVIDERS, Player, ask

_POLICY = Policy(first_byte=30, idle=20, total=100, ping_quiet=10, ping_interval=15)
_OWN_LETTERS = [letter.encode() for letter in "PSVAHTLBFIXY"]

NUMBERS = {"a": "111122223333", "b": "444455556666"}
"""The account numbers of the accounts that have a profile."""

SIGNS = (b"access-", b"fresh-", *(number.encode() for number in NUMBERS.values()))
"""Parts of the accounts' secrets that stand nowhere else."""


def in_json(text: str) -> str:
    """A text as careful libraries write it for JSON that may stand in HTML."""
    return json.dumps(text)[1:-1].replace("/", r"\/").replace("=", r"\u003d").replace("+", r"\u002B")


@dataclass
class Script:
    """What is in the lines beside what `fuzz.answer` reads."""

    prompt: str = "Hello"
    streams: bool = True
    is_live: bool = False
    wishes: str = ""
    headers: dict[int, dict[str, str]] = field(default_factory=dict)
    pauses: list[float] = field(default_factory=lambda: [0.0])
    is_late: bool = False
    absence: str = ""
    leaves: int = -1
    sizes: list[int] = field(default_factory=list)
    cut: int = 0
    place: int = 0
    value: int = 0


@dataclass
class Taped:
    """An exchange that was played and taped. `tokens` are all that it was given, `delivered` what the client got."""

    script: Script
    file: bytes = b""
    tokens: list[Token] = field(default_factory=list)
    delivered: list[bytes] = field(default_factory=list)
    has_left: bool = False


class _LeftError(Exception):
    """The client did."""


def tape(lines: bytes) -> Taped:
    """The exchange of a script."""
    player = _Player(lines)
    try:
        player.run(player.asked, player.policy)
    except _LeftError:
        player.taped.file += end_tape(player.tape, "the client left")
        player.taped.has_left = True
    return player.taped


class _Player(Player):
    """An exchange that is taped, with accounts that have tokens of their own, and time that passes."""

    def __init__(self, lines: bytes) -> None:
        self.lines = lines
        self.script = script = _read_script(lines, _token(first := _first(lines), 0))
        self.taped = Taped(script)
        read = read_script(_expand_all(_others(lines), _token(first, 0), _token(first, 0)))
        super().__init__([], read.sizes, script.streams)
        request = parse_request(render_request(read, stream=script.streams, prompt=script.prompt))
        self.asked = ask(convert(request, model=MODEL, conversation_id="c0ffee"))
        policy = msgspec.structs.replace(
            _POLICY,
            convert_written_calls=not read.leave_written,
            delivery="live" if script.is_live else "buffered",
        )
        self.tape = begin_tape(self.asked, request, policy, program="0.0.0", mask=Mask())
        self.policy = policy
        self.wishes = list(script.wishes)
        self.steps = 0
        self.awaited: tuple[Want, Happening, float] | None = None

    def see(self, happening: Happening | None, step: Step) -> None:
        """Tape it."""
        if self.steps == self.script.leaves:
            raise _LeftError
        self.steps += 1
        assert self.steps < 1_000_000, "it comes to no end"
        moment = Moment(happening=happening, at=self.now, notices=step.notices, want=step.want)
        self.tape, lines = record(self.tape, moment)
        self.taped.file += lines
        for notice in step.notices:
            if isinstance(notice, Deliver):
                self.taped.delivered += map(msgspec.json.encode, notice.events)

    def next(self, want: Want, wake_at: float) -> Happening:
        """What happens next, after its pause. Who waits for it is woken in between, or is late."""
        if self.awaited is None or self.awaited[0] is not want:
            pause = self.script.pauses[self.steps % len(self.script.pauses)]
            self.awaited = want, self.answer(want), self.seconds + pause
        _, happening, at = self.awaited
        if isinstance(happening, Woken) or (wake_at < at and not self.script.is_late):
            if isinstance(happening, Woken):
                self.awaited = None
            self.seconds = max(self.seconds, wake_at)
            return Woken()
        self.awaited = None
        self.seconds = max(self.seconds, at)
        return happening

    def answer(self, want: Want) -> Happening:
        """What is said to a want: the accounts are those of `fuzz.play`, with tokens."""
        match want:
            case WantProvider(excluded=excluded) if len(excluded) == len(PROVIDERS):
                return NoProvider(self._absences())
            case WantProvider(excluded=excluded):
                chosen = PROVIDERS[len(excluded)]
                return ProviderChosen(msgspec.structs.replace(chosen, profile_arn=_profile("b", chosen.id)))
            case WantFreshToken(provider=provider, rejected=rejected):
                token = _token(provider.id, 0 if rejected is None else 1)
                match self.wishes.pop(0) if self.wishes else "y":
                    case "r":
                        return TokenRefused("invalid_grant", "0" * 16)
                    case "u":
                        return TokenUnreadable("it is not JSON")
                    case "n":
                        return TokenUnavailable("the sign-in service answered 500")
                self.taped.tokens.append(token)
                self._script_attempts(token)
                return TokenReady(token)
            case _:
                return super().answer(want)

    def _script_attempts(self, token: Token) -> None:
        lines = _expand_all(_others(self.lines), token, self.taped.tokens[0])
        self.attempts = [written.attempt for written in read_script(lines).attempts]
        for index, headers in _read_script(self.lines, token).headers.items():
            if index < len(self.attempts):
                self.attempts[index].headers = headers

    def _absences(self) -> tuple[Absence, ...]:
        if not self.script.absence:
            return ()
        return (
            Absence(provider_id="d", kind=Kind.SERVER, problem=self.script.absence, back_in=5.0, back_at=Epoch(1.7e9)),
        )


def _token(name: str, number: int) -> Token:
    # They begin with digits, because an error's name begins with a capital, and have neither `:` nor `#`, at which it
    # is cut. And no damaged bit makes one of another.
    return Token(
        access_token=f"0/made+up=access-{name * 3}{number}",
        refresh_token=None if name == "c" else f"0+made/up re=fresh-{name * 3}",
        auth_method="social",
        profile_arn=_profile("a", name),
    )


def _profile(of: str, name: str) -> str | None:
    """The ARN of an account's profile. That of `a` stands in its token, that of `b` in the configuration."""
    return f"arn:aws:codewhisperer:us-east-1:{NUMBERS[name]}:profile/MADEUP" if of == name else None


# --- reading ---------------------------------------------------------------------------------------------------


def _own(lines: bytes) -> list[bytes]:
    return [line for line in lines.split(b"\n")[:60] if line[:1] in [*_OWN_LETTERS, b"|"]]


def _others(lines: bytes) -> bytes:
    """The lines for `fuzz.answer`. A stop sequence might stop at what is a part of a secret."""
    left = _OWN_LETTERS + ([b"q"] if b"$" in lines else [])
    return b"\n".join(line for line in lines.split(b"\n")[:60] if line[:1] not in left)


def _first(lines: bytes) -> str:
    """The first account that has a token."""
    wishes = [b"", *(line[1:] for line in _own(lines) if line[:1] == b"A")][-1]
    unready = len(wishes) - len(wishes.lstrip(b"run"))
    return "abc"[min(unready, 2)]


def _read_script(lines: bytes, token: Token) -> Script:
    script = Script()
    attempt = 0
    for line in _own(lines):
        letter, words = line[:1].decode(), line[1:].decode(errors="replace")
        match letter:
            case "|":
                attempt += 1
            case "P":
                script.prompt = _expand(words, _values(token, token, "PN")) or "Hello"
            case "S":
                script.streams = False
            case "V":
                script.is_live = True
            case "A":
                script.wishes = words
            case "H":
                name, _, value = words.partition(":")
                header = {name.strip().lower(): _expand(value.strip(), _values(token, token, "PN"))}
                script.headers[attempt] = script.headers.get(attempt, {}) | header
            case "T":
                script.pauses = [int(each) if each in "0123456789" else ord(each) % 128 / 8 for each in words] or [0.0]
            case "L":
                script.is_late = True
            case "B":
                script.absence = _expand(words, _values(token, token, ""))
            case "F":
                script.leaves = _number(words)
            case "I":
                script.sizes = [1 + ord(each) % 512 for each in words]
            case "X":
                script.cut = _number(words)
            case _:
                place, _, value = words.partition(",")
                script.place, script.value = _number(place), _number(value)
    return script


def _number(words: str) -> int:
    digits = words.strip()[:9]
    return int(digits) if digits.isascii() and digits.isdigit() else int.from_bytes(words.encode()[:4])


def _expand_all(lines: bytes, token: Token, first: Token) -> bytes:
    return b"\n".join(_expand_line(line.decode(errors="replace"), token, first).encode() for line in lines.split(b"\n"))


def _expand_line(line: str, token: Token, first: Token) -> str:
    letter = line[:1]
    if letter not in LETTERS:
        return line  # it stands for another one, which may read a secret's first characters as numbers
    if letter in {"!", "#"}:
        # Only in what is told: a name is cut at a colon, and what the service writes into a name is none.
        before, bar, after = line.rpartition("|")
        return before + bar + _expand(after, _values(token, first, ""))
    values = _values(token, first, "" if line[:2] == "|R" else "N")
    if letter in _JSON_AT:
        at = _JSON_AT[letter]
        return line[:at] + _expand(line[at:], {name: in_json(value) for name, value in values.items()}, is_json=True)
    return _expand(line, values)


_JSON_AT = {"j": 2, "o": 3, "O": 3, "c": 3, "e": 3, "|": 2}
"""Where JSON begins in lines that have some: what is before it stands for numbers."""


def _values(token: Token, first: Token, without: str) -> Mapping[str, str]:
    name = token.access_token[-2]
    values = {
        "A": token.access_token,
        "R": token.refresh_token or "none",
        "O": first.access_token,
        "P": _profile(name, name) if name in NUMBERS else "none",
        "N": NUMBERS.get(name, "none"),
    }
    return {name: value or "" for name, value in values.items() if name not in without}


def _expand(words: str, values: Mapping[str, str], *, is_json: bool = False) -> str:
    """Two of them at most, in few words: what is told of an error is cut, and a secret with it.

    In JSON only in texts: of what is none, the place is told at which it stops being some, and that is in the secret.
    """

    def value(match: re.Match[str]) -> str:
        before = match.string[: match.start()]
        is_outside = is_json and (before.count('"') % 2 == 0 or before.endswith("\\"))
        return match[0] if is_outside else values.get(match[1], match[0])

    return re.sub(r"\$([A-Z])", value, words[:100], count=2) if "$" in words else words
