"""Secrets covered in what is written down: each by as many other bytes, so that nothing moves.

What is recorded has no place for a token. But a service may quote one, and a prompt or an answer may hold one that was
read from its file. This module knows how to find what it was told of in text, in JSON (also as a text in JSON again)
and in frames, and nothing else: a secret in an encoding of another kind, or in pieces, it does not see.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, Final
from zlib import crc32

import msgspec

from core import eventstream
from core.credentials import Token
from core.events import ServiceError, Undecodable, parse_event
from core.selection import Provider

_SHORTEST: Final = 8
"""Bytes of the shortest secret that is looked for: less would be found in words that mean something else."""

_LONGEST: Final = 1 << 20

_ACCOUNT_NUMBER: Final = re.compile(r"(?<=:)[0-9]{12}(?=:)")
_ACCOUNT_NUMBER_IN_BYTES: Final = re.compile(rb":[0-9]{12}(?=:)")
_NO_NUMBER: Final = "0" * 12


class Removed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A secret that was covered: the how many-th of its exchange it is, and how many bytes it has."""

    number: Annotated[int, msgspec.Meta(ge=1, le=9999)]
    length: Annotated[int, msgspec.Meta(ge=_SHORTEST, le=_LONGEST)]

    @property
    def cover(self) -> str:
        """What stands in its place. No service says such words; no two secrets have the same, nor one in another."""
        # Slashes can be escaped in JSON, as those of a secret may be.
        word = f"//{self.number}//removed"
        return (word * (self.length // len(word) + 1))[: self.length]


class Mask(msgspec.Struct, frozen=True):
    """What is to be covered: `tokens` and `profiles` wherever they stand, account numbers in what tells of an error.

    Tokens stand in the order in which `intake` looks for them: those of the last account first.
    """

    tokens: tuple[tuple[bytes, Removed], ...] = ()
    profiles: tuple[tuple[bytes, bytes], ...] = ()
    numbers: tuple[bytes, ...] = ()

    def may_cover(self, data: bytes) -> bool:
        """Whether anything may have to be covered in these bytes: cheap, and mostly the end of it."""
        signs = (*(_sign(secret) for secret, _ in self.tokens), *self.numbers)  # a profile's ARN has the number
        return any(sign in data for sign in signs) or _ACCOUNT_NUMBER_IN_BYTES.search(data) is not None

    def cover(self, text: bytes, *, is_error: bool) -> bytes:
        """A text, or JSON, with all that is to be covered in it covered."""
        for secret, removed in self.tokens:
            text = _replace(text, secret, removed.cover.encode())
        for arn, instead in self.profiles:
            text = _replace(text, arn, instead)
        if is_error:
            for number in self.numbers:
                text = text.replace(number, _NO_NUMBER.encode())
            text = _ACCOUNT_NUMBER_IN_BYTES.sub(b":%b" % _NO_NUMBER.encode(), text)
        return text

    def finds(self, text: bytes) -> bool:
        """Whether a token or a profile stands in a text, or in JSON."""
        return self.cover(text, is_error=False) != text

    def cover_rest(self, text: bytes) -> bytes:
        """The same of bytes that nobody reads as a whole, with the beginning of a secret at their end covered too."""
        text = self.cover(text, is_error=True)
        for secret, removed in self.tokens:
            for length in range(min(len(secret), len(text)), _SHORTEST - 1, -1):
                if text.endswith(secret[:length]):
                    text = text[:-length] + removed.cover.encode()[:length]
        return text

    def cover_frame(self, frame: bytes) -> bytes:
        """A whole event-stream frame, with a checksum that is right if it was right before, and else wrong."""
        covered = self.cover(frame[12:-4], is_error=False)
        as_error = self.cover(covered, is_error=True)
        if as_error != covered and _says_error(frame):
            covered = as_error
        if covered == frame[12:-4]:
            return frame
        covered = frame[:12] + covered
        was_right = crc32(frame[:-4]).to_bytes(4) == frame[-4:]
        return covered + struct.pack(">I", crc32(covered) ^ (not was_right))


def _says_error(frame: bytes) -> bool:
    """Whether what a frame says comes to the client as an error's message. A damaged one says nothing to anybody."""
    messages = eventstream.feed(eventstream.START, frame).messages
    return not messages or isinstance(parse_event(messages[0]), ServiceError | Undecodable)


def mask_accounts(accounts: Iterable[tuple[Provider, Token]]) -> Mask:
    """What covers the secrets of all of these."""
    mask = Mask()
    for provider, token in accounts:
        mask = add_account(mask, provider, token)
    return mask


def add_account(mask: Mask, provider: Provider, token: Token) -> Mask:
    """The mask with an account's secrets too."""
    known = dict(mask.tokens)
    used = {}
    for secret in (token.access_token, token.refresh_token or ""):
        text = secret.encode()
        if _SHORTEST <= len(text) <= _LONGEST:
            used[text] = known.setdefault(text, Removed(len(known) + 1, len(text)))
    profiles, numbers = list(mask.profiles), list(mask.numbers)
    for arn in (provider.profile_arn, token.profile_arn):
        if arn and (number := _ACCOUNT_NUMBER.search(arn)):
            profiles.append((arn.encode(), arn.replace(number[0], _NO_NUMBER).encode()))
            numbers.append(number[0].encode())
    # What is used now comes first, as it is all that a client's errors are searched for.
    tokens = (used | {text: known[text] for text in known if text not in used}).items()
    return Mask(tuple(tokens), tuple(dict.fromkeys(profiles)), tuple(dict.fromkeys(numbers)))


def removed_from(mask: Mask, token: Token) -> tuple[Removed | None, Removed | None]:
    """What says of a token's two secrets how they are covered; None for one that it does not have, or is no secret."""
    known = dict(mask.tokens)
    return known.get(token.access_token.encode()), known.get((token.refresh_token or "").encode())


def hide_number(arn: str | None) -> str | None:
    """An ARN with zeros for the account's number."""
    return None if arn is None else _ACCOUNT_NUMBER.sub(_NO_NUMBER, arn)


# --- in JSON ---------------------------------------------------------------------------------------------------

_ESCAPE: Final = re.compile(rb'\\(?:u([0-9a-fA-F]{4})|(["\\/]))')
_PLAIN: Final = re.compile(rb"[A-Za-z0-9_-]+")

_LONGEST_ESCAPE: Final = 16
"""Bytes that one character may take in a form that is looked for."""

_LEVELS: Final = 3
"""How often JSON may be a text in JSON: a tool's arguments in an event are, and a file's content in those."""


def _replace(text: bytes, secret: bytes, instead: bytes) -> bytes:
    """A text with this for a secret of the same length, also where any of its characters are escaped as in JSON."""
    text = text.replace(secret, instead)
    sign, reach = _sign(secret), _LONGEST_ESCAPE * len(secret)
    pieces, last, at = list[bytes](), 0, text.find(sign) if b"\\" in text else -1
    while at >= 0:
        # Only around what is never escaped: the rest of a long text need not be unescaped for it.
        begin = max(last, at - reach)
        found = _find_escaped(text[begin : at + len(sign) + reach], secret, at - begin)
        if found is None:
            at = text.find(sign, at + 1)
            continue
        start, forms = found
        cover = instead
        for form in forms:
            cover = _escape_like(form, cover)
        pieces += (text[last : begin + start], cover)
        last = begin + start + len(forms[-1])
        at = text.find(sign, last)
    return b"".join((*pieces, text[last:]))


@lru_cache(maxsize=256)
def _sign(secret: bytes) -> bytes:
    """What of a secret nobody escapes: where this is not, there is no escaped form either. In an ARN, its number."""
    number = _ACCOUNT_NUMBER_IN_BYTES.search(secret)
    return number[0][1:] if number else max(_PLAIN.findall(secret), key=len, default=b"")


def _find_escaped(text: bytes, secret: bytes, sign_at: int) -> tuple[int, list[bytes]] | None:
    """Where a secret stands that is escaped, and its forms, from the one that is escaped once to that in the text.

    It is one whose sign is there; what is found with fewer escapes is what it is.
    """
    texts, places = [text], list[list[int]]()
    for _ in range(_LEVELS if b"\\" in text else 0):
        plain, into = _unescape(texts[-1])
        places.append(into)
        at = plain.find(secret)
        while at >= 0:
            start, end, forms = at, at + len(secret), list[bytes]()
            for outer, into in zip(reversed(texts), reversed(places), strict=True):
                start, end = into[start], into[end]
                forms.append(outer[start:end])
            if start <= sign_at < end:
                return start, forms
            at = plain.find(secret, at + len(secret))
        texts.append(plain)
    return None


def _unescape(text: bytes) -> tuple[bytes, list[int]]:
    """A text without one level of escapes, and where each of its bytes, and its end, stood before."""
    pieces, places, last = list[bytes](), list[int](), 0
    for match in _ESCAPE.finditer(text):
        character = chr(int(match[1], 16)).encode(errors="surrogatepass") if match[1] else match[2]
        pieces += (text[last : match.start()], character)
        places += range(last, match.start())
        places += [match.start()] * len(character)
        last = match.end()
    return b"".join((*pieces, text[last:])), [*places, *range(last, len(text) + 1)]


def _escape_like(form: bytes, text: bytes) -> bytes:
    r"""A text escaped to the length of a form in which another one of its length is: so many `\/`, so many `\u002f`."""
    numbers = [match[1] is not None for match in _ESCAPE.finditer(form)]
    long, short = sum(numbers), len(numbers) - sum(numbers) - sum(map(text.count, (b'"', b"\\")))
    written = []
    for byte in text:
        if byte in b'"\\' or (byte == ord("/") and short > 0):
            short -= byte == ord("/")
            written.append(b"\\%c" % byte)
        elif long > 0:
            long -= 1
            written.append(b"\\u%04x" % byte)
        else:
            written.append(b"%c" % byte)
    return b"".join(written)[: len(form)].ljust(len(form), b"-")
