"""Tool calls written out as text: found, or left alone.

Models sometimes write a call instead of making it. It has one of two forms, exactly:

    Tool call: blanks* NAME blanks* ( whitespace* [OBJECT] whitespace* )
    [Called blanks+ NAME blanks+ with args: whitespace* OBJECT whitespace* ]

NAME is one of the names that are handed in, OBJECT one JSON object (RFC 8259), blanks are spaces and tabs,
whitespace is JSON's (space, tab, LF, CR). Directly before a call stands nothing or whitespace, directly after it
nothing, whitespace or one of `.,;:!?` (so that a quoted call stays a quotation).

A call does not begin where Markdown shows text as text: in a line of a block quote, in a code fence, in inline
code. Of Markdown this module knows those three and nothing else: no lists, no indented code, no backslash
before a backtick. In doubt it is code, so text is never taken for a call: a line with backticks after its
opening backticks opens a fence, a closing fence has nothing but blanks after it (as in CommonMark), and where a
fence and inline code overlap, both count. Lines end with LF, CR LF or CR.

It refuses to know which tools there are, what their arguments mean, and what becomes of a call.

Time is linear in the text, for given names:
- Reading goes from left to right over line ends, runs of backticks and markers. A fence is skipped once; a
  paragraph's runs are paired once; no look ever goes back to a line's beginning.
- Only the scan of an OBJECT goes on for long and can be in vain, after which reading resumes at its start. No
  place is scanned more than twice so. Take three beginnings of calls, each within the scans of the ones before it.
  Outside JSON strings no marker can stand, so the first scan is inside a string where the second call begins,
  and still at its `{`. Then comes `"`, or the second is over at once. That quote ends the first scan's string and
  begins the second's: from here on one is inside strings where the other is outside. A backslash does not change
  that, since outside strings it ends a scan. So at the third marker one of the two is outside, and ends.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterator, Mapping

import msgspec


class WrittenCall(msgspec.Struct, frozen=True, gc=False):
    """A call that was written as text: its name, and its OBJECT exactly as it stood (`{}` where there was none)."""

    name: str
    arguments: str


def find_calls(text: str, names: Collection[str]) -> tuple[str | WrittenCall, ...]:
    """One text block's pieces in order: its calls, and byte for byte what stands before, between and after them.

    `names` has every spelling of a tool that counts. Text between calls that is only whitespace is left out.
    Without a call the text is the one piece, untouched; an empty text has none.
    """
    if not text:
        return ()
    # Most texts hold no marker, and cost no more than two searches in C.
    last_marker = max(text.rfind(form.marker) for form in _FORMS)
    if last_marker < 0 or not names:
        return (text,)
    pieces: list[str | WrittenCall] = []
    done = 0
    for start, match in _read(text, index_names(names), last_marker):
        if (before := text[done:start]).strip(SPACE):
            pieces.append(before)
        pieces.append(match.call)
        done = match.end
    if (after := text[done:]).strip(SPACE):
        pieces.append(after)
    return tuple(pieces)


# --- one call --------------------------------------------------------------------------------------------------


class Match(msgspec.Struct, frozen=True, gc=False):
    """A call stands here, and `end` is the place behind it."""

    call: WrittenCall
    end: int


class Miss(enum.Enum):
    """Why nothing matched: it can be no call whatever follows, or that cannot be said before more text has come."""

    NO = enum.auto()
    NEED_MORE = enum.auto()


class _Missed(Exception):
    def __init__(self, miss: Miss) -> None:
        super().__init__(miss)
        self.miss = miss


class _Form(msgspec.Struct, frozen=True, kw_only=True):
    """One way to write a call. `spaced`: blanks must stand around the name; else they may stand there."""

    marker: str
    spaced: bool
    opening: str
    closing: str
    may_be_empty: bool


_FORMS = (
    _Form(marker="Tool call:", spaced=False, opening="(", closing=")", may_be_empty=True),
    _Form(marker="[Called", spaced=True, opening="with args:", closing="]", may_be_empty=False),
)
MARKERS = tuple(form.marker for form in _FORMS)
"""What each form begins with."""

SPACE = " \t\r\n"
"""JSON's whitespace."""

_ENDINGS = f".,;:!?{SPACE}"
_BLANKS = re.compile(r"[ \t]+")
_WHITESPACE = re.compile(r"[ \t\r\n]+")


class NameIndex(msgspec.Struct, frozen=True):
    """Names, and what they look like: so that a look at a text costs as much for many names as for few."""

    names: Collection[str]
    shapes: Mapping[str, tuple[tuple[int, int], ...]]
    """By a name's first character that is no blank: the blanks before it and the length, each once, longest first."""


def index_names(names: Collection[str]) -> NameIndex:
    """The names as `match_call` takes them. One of blanks alone is no name: nobody could see it in a text."""
    visible = frozenset(name for name in names if name.strip(" \t"))
    shapes: dict[str, set[tuple[int, int]]] = {}
    for name in visible:
        blanks = len(name) - len(name.lstrip(" \t"))
        shapes.setdefault(name[blanks], set()).add((blanks, len(name)))
    ordered = {first: tuple(sorted(each, key=lambda shape: (-shape[1], shape[0]))) for first, each in shapes.items()}
    return NameIndex(visible, ordered)


class Progress:
    """How far the object of one call has been read: a memo, so that a longer text is not read from there again.

    It belongs to one call that begins at one place of one text, which only grows.
    """

    __slots__ = ("at", "closers", "due", "start", "string_at", "string_start")

    def __init__(self) -> None:
        self.start = self.at = self.string_start = self.string_at = -1
        self.closers: list[str] = []
        self.due = _Due.FIRST

    @property
    def reach(self) -> int:
        """The place up to which nothing is read again."""
        return max(self.at, self.string_at)


def match_call(
    text: str, start: int, names: NameIndex, *, at_end: bool, progress: Progress | None = None
) -> Match | Miss:
    """The call whose form begins at `start`, whatever stands before it.

    `at_end` says that no text will follow; then there is no `Miss.NEED_MORE`. Without it, what is answered for a
    text is answered for each longer text too, `Miss.NEED_MORE` aside.
    """
    outcome: Match | Miss = Miss.NO
    for form in _FORMS:
        try:
            outcome = _match_form(form, text, start, names, at_end, progress)
        except _Missed as missed:
            if missed.miss is Miss.NEED_MORE:
                outcome = missed.miss
    return Miss.NO if at_end and outcome is Miss.NEED_MORE else outcome


def _match_form(
    form: _Form, text: str, start: int, names: NameIndex, at_end: bool, progress: Progress | None
) -> Match | Miss:
    earliest = _expect(text, start, form.marker) + form.spaced
    at = _skip(_BLANKS, text, earliest - form.spaced)
    if at == len(text):
        raise _Missed(Miss.NEED_MORE)
    for blanks, length in names.shapes.get(text[at], ()):
        if at - blanks < earliest:
            continue
        name = text[at - blanks : at - blanks + length]
        if name in names.names:
            try:
                return _match_named(form, text, at - blanks, name, at_end, progress)
            except _Missed as missed:
                # A longer name that may still turn out to be meant goes before a shorter one that fits.
                if missed.miss is Miss.NEED_MORE and not at_end:
                    raise
        elif not at_end and len(name) < length and any(each.startswith(name) for each in names.names):
            raise _Missed(Miss.NEED_MORE)
    return Miss.NO


def _match_named(form: _Form, text: str, at: int, name: str, at_end: bool, progress: Progress | None) -> Match:
    name_end = at + len(name)
    at = _skip(_BLANKS, text, name_end)
    if form.spaced and at == name_end:
        raise _Missed(Miss.NEED_MORE if at == len(text) else Miss.NO)
    begin = _skip(_WHITESPACE, text, _expect(text, at, form.opening))
    is_empty = form.may_be_empty and text.startswith(form.closing, begin)
    object_end = begin if is_empty else _end_of_object(text, begin, progress)
    end = _expect(text, _skip(_WHITESPACE, text, object_end), form.closing)
    after = text[end : end + 1]
    if after not in _ENDINGS:
        raise _Missed(Miss.NO)
    if not after and not at_end:
        raise _Missed(Miss.NEED_MORE)
    return Match(WrittenCall(name, "{}" if is_empty else text[begin:object_end]), end)


def _expect(text: str, at: int, literal: str) -> int:
    """The place behind the literal, which must stand here."""
    if text.startswith(literal, at):
        return at + len(literal)
    raise _Missed(Miss.NEED_MORE if literal.startswith(text[at : at + len(literal)]) else Miss.NO)


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    return at if (skipped := pattern.match(text, at)) is None else skipped.end()


# --- the object ------------------------------------------------------------------------------------------------

_DEEPEST = 100  # parsers differ in how deep they go (msgspec: some 1,000), and no tool's schema comes near this

# Raw surrogates cannot be encoded for the client. Of escaped ones only pairs are taken, because the parsers of
# strict clients refuse lone ones, and a call that the client cannot read must stay text that it can.
_CHARACTERS = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]+')
_ESCAPE = re.compile(
    r"""\\(?: ["\\/bfnrt]
      | u (?: [0-9A-CEFa-cef] [0-9A-Fa-f]{3}
            | [Dd] [0-7] [0-9A-Fa-f]{2}
            | [Dd] [89ABab] [0-9A-Fa-f]{2} \\u [Dd] [C-Fc-f] [0-9A-Fa-f]{2} ) )""",
    re.VERBOSE,
)
_COMPLETE_ESCAPES = (r"\n", r"\u0000", r"\ud800\udc00")
_LITERALS = {"t": "true", "f": "false", "n": "null"}
_NUMBER_CHARACTERS = re.compile(r"[-+.0-9Ee]+")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[Ee][-+]?[0-9]+)?")


class _Due(enum.Enum):
    """What has to come next in an object."""

    FIRST = enum.auto()
    """The first item of the innermost bracket, or its end."""
    COMMA = enum.auto()
    """A comma, or the innermost bracket's end."""
    ITEM = enum.auto()
    COLON = enum.auto()
    VALUE = enum.auto()


def _end_of_object(text: str, start: int, progress: Progress | None) -> int:
    """The place behind the JSON object that begins here."""
    if progress is not None and progress.start == start:
        at, closers, due = progress.at, list(progress.closers), progress.due
    else:
        at = _expect(text, start, "{")
        closers, due = ["}"], _Due.FIRST  # of all open brackets, the innermost last
    known = at, due
    try:
        while closers:
            at = _skip(_WHITESPACE, text, at)
            known = at, due
            if due in (_Due.FIRST, _Due.COMMA) and text.startswith(closers[-1], at):
                closers.pop()
                at, due = at + 1, _Due.COMMA
            elif due is _Due.COMMA:
                at, due = _expect(text, at, ","), _Due.ITEM
            elif due is _Due.COLON:
                at, due = _expect(text, at, ":"), _Due.VALUE
            elif due is not _Due.VALUE and closers[-1] == "}":
                at, due = _end_of_string(text, _expect(text, at, '"'), progress), _Due.COLON
            elif text[at : at + 1] not in ("{", "["):
                at, due = _end_of_scalar(text, at, progress), _Due.COMMA
            elif len(closers) == _DEEPEST:
                raise _Missed(Miss.NO)
            else:
                closers.append("}" if text[at] == "{" else "]")
                at, due = at + 1, _Due.FIRST
    except _Missed:
        if progress is not None:
            progress.start, progress.closers, (progress.at, progress.due) = start, closers, known
        raise
    return at


def _end_of_scalar(text: str, at: int, progress: Progress | None) -> int:
    first = text[at : at + 1]
    if first == '"':
        return _end_of_string(text, at + 1, progress)
    if first in _LITERALS:
        return _expect(text, at, _LITERALS[first])
    end = _skip(_NUMBER_CHARACTERS, text, at)
    if end == len(text):
        # A number may go on, and `-`, `1.` and `1e` are some that have begun.
        has_begun = any(_NUMBER.fullmatch(text[at:] + more) for more in ("", "0"))
        raise _Missed(Miss.NEED_MORE if has_begun else Miss.NO)
    if _NUMBER.fullmatch(text, at, end) is None:
        raise _Missed(Miss.NO)
    return end


def _end_of_string(text: str, start: int, progress: Progress | None) -> int:
    """The place behind the string whose characters begin here."""
    at = progress.string_at if progress is not None and progress.string_start == start else start
    while True:
        at = _skip(_CHARACTERS, text, at)
        if text.startswith('"', at):
            return at + 1
        if (escape := _ESCAPE.match(text, at)) is None:
            break
        at = escape.end()
    if progress is not None:
        progress.string_start, progress.string_at = start, at
    # Is it an escape that has only begun, at the end of what has come so far?
    begun = text[at : at + len(_COMPLETE_ESCAPES[-1])]
    could_be = (_ESCAPE.fullmatch(begun + complete[len(begun) :]) for complete in _COMPLETE_ESCAPES)
    raise _Missed(Miss.NEED_MORE if any(could_be) else Miss.NO)


# --- where a call may begin ------------------------------------------------------------------------------------

# A CR before LF is not a line's end of its own: a blank line would appear between the two.
LINE_END = r"(?:\n|\r(?!\n))"
TOKEN = re.compile("|".join([LINE_END, "`+", *(re.escape(form.marker) for form in _FORMS)]))
LINE_BEGINNING = re.compile(r" {0,3}(?:(?P<quote>>)|(?P<fence>~{3,}+|`{3,}+))")
_CLOSING_FENCE = {mark: re.compile(rf"{LINE_END} {{0,3}}({mark}{{3,}}+)[ \t]*+(?=[\r\n]|\Z)") for mark in ("`", "~")}
_PARAGRAPH_END = re.compile(rf"{LINE_END}[ \t]*+(?:[\r\n]|\Z)")
_RUN = re.compile(r"`+")


def _read(text: str, names: NameIndex, last_marker: int) -> Iterator[tuple[int, Match]]:
    """The calls of a text with the places where they begin. Nothing is of interest after the last marker."""
    code_end = 0
    paragraph_end = 0
    partners: Mapping[int, int] = {}
    quoted, at = _begin_line(text, 0)
    while (token := TOKEN.search(text, at)) is not None and token.start() <= last_marker:
        start, at = token.span()
        kind = text[start]
        if kind in "\r\n":
            quoted, at = _begin_line(text, at)
        elif start < code_end:
            continue
        elif kind == "`":
            if start >= paragraph_end:
                partners, paragraph_end = _pair_runs(text, start)
            code_end = partners.get(start, code_end)
        elif not quoted and (start == 0 or text[start - 1] in SPACE):
            match = match_call(text, start, names, at_end=True)
            if isinstance(match, Match):
                yield start, match
                at = match.end


def _begin_line(text: str, at: int) -> tuple[bool, int]:
    """Whether a block quote's line begins here, and where to read on: behind the fence if one opens here."""
    line = LINE_BEGINNING.match(text, at)
    if line is None:
        return False, at
    fence = line["fence"]
    if fence is None:
        return True, line.end()
    for closing in _CLOSING_FENCE[fence[0]].finditer(text, line.end()):
        if closing.end(1) - closing.start(1) >= len(fence):
            return False, closing.end()
    return False, len(text)


def _pair_runs(text: str, start: int) -> tuple[Mapping[int, int], int]:
    """From `start` to where its paragraph ends: by each run of backticks the end of the next equally long one."""
    ending = _PARAGRAPH_END.search(text, start)
    end = len(text) if ending is None else ending.start()
    partners: dict[int, int] = {}
    nearest: dict[int, int] = {}  # by length, the end of the run that is next to the right
    for run_start, run_end in reversed([run.span() for run in _RUN.finditer(text, start, end)]):
        length = run_end - run_start
        if length in nearest:
            partners[run_start] = nearest[length]
        nearest[length] = run_end
    return partners, end
