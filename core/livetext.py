"""A block of text while it comes in: what of it can no longer turn out to be something else.

Text is certain at once, but for the shortest end of it that may still become a stop sequence or a call that is written
out (`toolcalls` has the rules, and decides once all of the text is there). Such an end begins where

- the beginning of a stop sequence stands;
- a call has begun, and may still be one;
- a whole call stands behind backticks that have found no partner yet: in inline code it is none;
- nothing but whitespace has come since the block's beginning or its last call: before a call it is left out.

It reads as `toolcalls` does, from left to right over line ends, runs of backticks and markers, once; what it cannot
tell yet it looks at again when more has come. What is certain is never taken back.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import msgspec

from core.toolcalls import (
    LINE_BEGINNING,
    LINE_END,
    MARKERS,
    SPACE,
    TOKEN,
    Match,
    Miss,
    NameIndex,
    Progress,
    WrittenCall,
    match_call,
)


class LiveText:
    """One block of text. `is_cut`: a stop sequence has come, and what is behind it does not matter."""

    __slots__ = ("_calls", "_end", "_length", "_stops", "_tail", "is_cut")

    def __init__(self, names: NameIndex, stop_sequences: Sequence[str]) -> None:
        self._calls = _Calls(names) if names.names else None
        self._stops = [_Stop(sequence) for sequence in stop_sequences]
        self._length = 0  # of the text
        self._tail = ""  # its end, of which it is not known whether it is before a stop sequence
        self._end = math.inf  # the place of the first whole one
        self.is_cut = False

    def feed(self, text: str) -> list[str | WrittenCall]:
        """What is certain now and was not before, in order: text, none of it empty, and calls."""
        if self._stops:
            text = self._before_stop(text)
        if self._calls is not None:
            return self._calls.feed(text)
        return [text] if text else []

    def _before_stop(self, text: str) -> str:
        """What no stop sequence begins in, nor may when more comes."""
        for stop in self._stops:
            if stop.feed(text):
                self._end = min(self._end, self._length + stop.end - len(stop.sequence))
        self._length += len(text)
        begun = max((stop.matched for stop in self._stops), default=0)
        self.is_cut = self._end <= self._length - begun
        tail, self._tail = self._tail, ""
        tail += text  # in place, as long as nothing else refers to it
        length = len(tail) - (self._length - int(min(self._end, self._length - begun)))
        if length == 0:
            self._tail = tail
            return ""
        self._tail = tail[length:]
        return tail[:length]


class _Stop:
    """A stop sequence, and how much of it the text ends with (Knuth, Morris and Pratt: no character is read twice)."""

    __slots__ = ("_borders", "end", "matched", "sequence")

    def __init__(self, sequence: str) -> None:
        self.sequence = sequence
        self.matched = 0
        self.end = 0  # in the last piece, where the whole of it ended
        self._borders = [0, 0]  # by the length of a beginning, how long one it also ends with; as far as was asked

    def feed(self, text: str) -> bool:
        """Take in more text. Whether the sequence has come with it; behind that it is not looked for again."""
        sequence, matched = self.sequence, self.matched
        at = 0 if matched < len(sequence) else len(text)
        while at < len(text):
            if matched == 0 and (at := text.find(sequence[0], at)) < 0:
                break
            while matched and sequence[matched] != text[at]:
                matched = self._border(matched)
            matched += sequence[matched] == text[at]
            at += 1
            if matched == len(sequence):
                self.matched, self.end = matched, at
                return True
        self.matched = matched
        return False

    def _border(self, length: int) -> int:
        sequence, borders = self.sequence, self._borders
        while len(borders) <= length:
            last = sequence[len(borders) - 1]
            border = borders[-1]
            while border and sequence[border] != last:
                border = borders[border]
            borders.append(border + (sequence[border] == last))
        return borders[length]


# --- calls -----------------------------------------------------------------------------------------------------

_BLANKS = re.compile(r"[ \t]*+")
_FENCE_TOKEN = re.compile(rf"{LINE_END}|`+")
_PERHAPS_A_FENCE = re.compile(r" {0,3}(?:`{1,2}|~{1,2})\Z")
_PERHAPS_CLOSING = {mark: re.compile(rf" {{0,3}}({mark}*+)[ \t]*+") for mark in ("`", "~")}
_LONGEST_MARKER = max(map(len, MARKERS))
_BEGUN_MARKER = re.compile(
    rf"(?:{'|'.join(re.escape(marker[:end]) for marker in MARKERS for end in range(len(marker) - 1, 0, -1))})\Z"
)

_MOST_REREAD = 4096
"""Characters that may be read again whenever more have come."""

_LONG_RUNS = " \t\r\n`~+-.0123456789Ee"
"""What long runs are made of that say nothing before their end: blanks, marks, a number. Where more than that is to be
read again, they wait until an eighth has been added or something else comes: so a text takes linear time."""


class _Pending(msgspec.Struct, frozen=True, gc=False):
    """A whole call behind so many runs of backticks that have no partner yet: it is one if none of them finds it."""

    start: int
    match: Match
    openers: int


class _Calls:
    """The calls of a text while it comes in, and what stands around them."""

    __slots__ = (
        "_at", "_before", "_call", "_fence", "_found", "_has_ink", "_is_line_new", "_is_quoted", "_look",
        "_looked", "_names", "_openers", "_pending", "_progress", "_safe", "_searched", "_sent", "_text",
    )  # fmt: skip

    def __init__(self, names: NameIndex) -> None:
        self._names = names
        self._text = ""  # from where it is not done with; places are in this
        self._before = ""  # the character before that
        self._at = 0  # up to here it is read
        self._safe = 0  # up to here it is text, or calls that were found
        self._sent = 0  # up to here it was given out
        self._looked = 0  # from `sent` up to here there is only whitespace
        self._look = 0  # the length from which on it is worth while to read again
        self._is_line_new = True  # whether a line begins at `at`
        self._is_quoted = False
        self._fence: tuple[str, int] | None = None
        self._openers: dict[int, int] = {}  # by the lengths of runs without a partner, how many are before each
        self._call: int | None = None  # where a call has begun that may be one
        self._progress = Progress()
        self._searched = 0  # up to here there is no partner in what has begun as a call
        self._pending: list[_Pending] = []
        self._found: list[tuple[int, Match]] = []
        self._has_ink = False

    def feed(self, text: str) -> list[str | WrittenCall]:
        whole, self._text = self._text, ""
        whole += text  # in place, as long as nothing else refers to it
        self._text = whole
        if len(whole) >= self._look or text.strip(_LONG_RUNS):
            while self._read():
                pass
        elif self._safe == len(whole) - len(text):
            self._safe = len(whole)
        given = self._give()
        if self._call is None and not self._pending:
            self._forget(min(self._at, self._sent))
        length = len(self._text)
        reach = max(self._at, self._progress.reach)
        if self._call is not None and self._openers:
            reach = min(reach, self._searched)
        if length - reach <= _MOST_REREAD:
            self._look = 0
        elif length >= self._look:
            self._look = length + length // 8
        return given

    def _give(self) -> list[str | WrittenCall]:
        """What is certain, each piece once."""
        given: list[str | WrittenCall] = []
        for start, match in self._found:
            self._give_text(given, start)
            given.append(match.call)
            self._sent = self._looked = match.end
            self._has_ink = False
        self._found.clear()
        self._give_text(given, self._pending[0].start if self._pending else self._safe)
        return given

    def _give_text(self, given: list[str | WrittenCall], end: int) -> None:
        if not self._has_ink and end > self._looked:
            self._has_ink = bool(self._text[self._looked : end].strip(SPACE))
            self._looked = end
        if self._has_ink and end > self._sent:
            given.append(self._text[self._sent : end])
            self._sent = end

    def _forget(self, length: int) -> None:
        if length:
            self._before = self._text[length - 1]
            self._text = self._text[length:]
            self._at -= length
            self._safe -= length
            self._sent -= length
            self._looked = max(0, self._looked - length)

    # --- reading: each step says whether there may be another one before more text has come ----------------------

    def _read(self) -> bool:
        if self._is_line_new:
            return self._begin_line()
        return self._read_plain() if self._fence is None else self._read_fence(*self._fence)

    def _wait(self, at: int, safe: int) -> bool:
        self._at, self._safe = at, safe
        return False

    def _begin_line(self) -> bool:
        text, at = self._text, self._at
        content = _end(_BLANKS, text, at)
        if content == len(text) or _PERHAPS_A_FENCE.match(text, at) is not None:
            return self._wait(at, len(text))
        line = LINE_BEGINNING.match(text, at)
        fence = None if line is None else line["fence"]
        if fence is not None and line is not None and line.end() == len(text):
            return self._wait(at, len(text))
        if text[content] in "\r\n":
            self._end_paragraph()
        self._is_line_new = False
        self._is_quoted = line is not None and fence is None
        if line is not None:
            self._at = line.end()
        if fence is not None:
            self._fence = fence[0], len(fence)
            self._close(fence)
        return True

    def _read_fence(self, mark: str, length: int) -> bool:
        text = self._text
        token = _FENCE_TOKEN.search(text, self._at)
        if token is None or (token.end() == len(text) and token[0] != "\n"):
            return self._wait(len(text) if token is None else token.start(), len(text))
        self._at = token.end()
        if token[0][0] == "`":
            self._close(token[0])
            return True
        line = _PERHAPS_CLOSING[mark].match(text, self._at)
        assert line is not None, "it matches an empty text"
        if line.end() == len(text):
            return self._wait(token.start(), len(text))
        if text[_end(_BLANKS, text, self._at)] in "\r\n":
            self._end_paragraph()
        if len(line[1]) >= length and text[line.end()] in "\r\n":
            self._close(line[1])
            self._fence = None
            self._at = line.end()
        return True

    def _read_plain(self) -> bool:
        text = self._text
        token = TOKEN.search(text, self._at)
        if token is None:
            begun = _begun_marker(text, self._at)
            return self._wait(begun, begun if self._may_begin(begun) else len(text))
        start, end = token.span()
        kind = text[start]
        if kind in "`\r" and end == len(text):
            return self._wait(start, len(text))
        if kind not in "\r\n`":
            return self._read_call(start, end) if self._may_begin(start) else self._pass(end)
        self._at = end
        if kind != "`":
            self._is_line_new = True
        elif not self._close(token[0]):
            self._openers[end - start] = len(self._openers)
        return True

    def _pass(self, end: int) -> bool:
        self._at = end
        return True

    def _may_begin(self, at: int) -> bool:
        """Whether a call may begin at a place, by what stands before it."""
        before = self._text[at - 1] if at else self._before
        return not self._is_quoted and (not before or before in SPACE)

    def _read_call(self, start: int, marker_end: int) -> bool:
        """Read what begins with a marker: a call, none, or it is not to be told yet."""
        text = self._text
        match = match_call(text, start, self._names, at_end=False, progress=self._progress)
        if match is Miss.NO:
            return self._read_on(marker_end)
        end = match.end if isinstance(match, Match) else len(text)
        if self._openers and self._has_partner(marker_end, end):
            return self._read_on(marker_end)
        if not isinstance(match, Match):
            self._call = start
            return self._wait(start, start)
        if self._openers:
            self._pending.append(_Pending(start, match, len(self._openers)))
        else:
            self._found.append((start, match))
        return self._read_on(match.end)

    def _read_on(self, at: int) -> bool:
        """Read on behind what began as a call, and is decided now."""
        if self._call is not None or self._progress.start >= 0:
            self._call, self._progress = None, Progress()
        self._searched = 0
        return self._pass(at)

    # --- inline code ---------------------------------------------------------------------------------------------

    def _has_partner(self, start: int, end: int) -> bool:
        """Whether a run between two places makes inline code of what is before it."""
        self._searched = max(self._searched, start)
        while (token := _FENCE_TOKEN.search(self._text, self._searched, end)) is not None:
            self._searched = token.start()
            if token[0][0] == "`":
                if token.end() == len(self._text):
                    return False
                if len(token[0]) in self._openers:
                    return True
            else:
                content = _end(_BLANKS, self._text, token.end())
                if content == len(self._text):
                    return False
                if self._text[content] in "\r\n":
                    self._end_paragraph()
                    return False
            self._searched = token.end()
        self._searched = end
        return False

    def _close(self, run: str) -> bool:
        """Whether a run is the partner of one before it. What stands between the two is code."""
        if run[0] != "`" or (opener := self._openers.get(len(run))) is None:
            return False
        while len(self._openers) > opener:
            self._openers.popitem()
        while self._pending and self._pending[-1].openers > opener:  # each is behind as many as the one before, or more
            self._pending.pop()
        return True

    def _end_paragraph(self) -> None:
        """At a blank line, runs without a partner are text, and the calls behind them are some."""
        self._openers.clear()
        self._found += [(each.start, each.match) for each in self._pending]
        self._pending.clear()


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    matched = pattern.match(text, at)
    return at if matched is None else matched.end()


def _begun_marker(text: str, at: int) -> int:
    """The place from which on the text's end may be the beginning of a marker; its length where there is none."""
    begun = _BEGUN_MARKER.search(text, max(at, len(text) - _LONGEST_MARKER + 1))
    return len(text) if begun is None else begun.start()
