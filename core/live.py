"""Upstream events to stream events as they come: each thing as soon as it can no longer turn out to be something else.

What is sent adds up to what buffered delivery sends of the same events, block for block and byte for byte: blocks
stand in the order of their first events, so one that is not whole holds up those behind it, and what is held is
decided by the same functions of `response` that decide a whole answer. Of an answer that does not end well it is a
beginning.

- Text is sent as far as it is certain (`livetext`).
- Thinking is sent as it comes.
- A call is sent when it is whole. The service cuts long ones, and a client runs a call that it has received: so none
  of its input goes out before the service has said that this was all, and it has been read as JSON.

Nothing is ever taken back. Where the end of an answer shows that it was none, what has been sent stays sent, and the
error that follows it is for `exchange`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, assert_never

import msgspec

from core import sse
from core.anthropic import AnswerBlock, AnswerMessage, AnswerText, AnswerThinking
from core.drafts import CallDraft, ContentEvent, Draft, Drafts, RedactedDraft, TextDraft, ThinkingDraft
from core.errors import ShellError
from core.failures import Failure
from core.livetext import LiveText
from core.response import EventLog, Reading, find_stop, finish, read_text, written_call
from core.sse import ContentBlockDelta, ContentBlockStart, ContentBlockStop, StreamEvent
from core.toolcalls import index_names


class Live(msgspec.Struct, frozen=True):
    """What of an answer has been sent. Only `begin` and `advance` make these.

    Successive values share one sender, which has taken in as many events as the newest of them. An older value makes
    its own again, of the log: so each stays what it was.
    """

    reading: Reading
    taken: int
    """How many of the log's events are taken in."""
    sender: _Sender


def begin(reading: Reading) -> Live:
    """Nothing is sent yet."""
    return Live(reading, 0, _Sender(reading))


def advance(live: Live, log: EventLog) -> tuple[Live, tuple[StreamEvent, ...]]:
    """The answer with all events of the log taken in, and what can be sent now and could not before."""
    sender = _sender(live, log)
    events = sender.take(log.items[live.taken : log.length])
    return Live(live.reading, sender.taken, sender), events


def end(live: Live, log: EventLog, message: AnswerMessage) -> tuple[StreamEvent, ...]:
    """What is left to be sent of an answer that has ended well, and is this message."""
    sender = _sender(live, log)
    events = sender.take(log.items[live.taken : log.length], are_last=True)
    sender.taken = -1  # it is of no use to whoever goes on from an older value
    return (*events, *sender.end(message))


def _sender(live: Live, log: EventLog) -> _Sender:
    if live.sender.taken == live.taken:
        return live.sender
    sender = _Sender(live.reading)
    sender.take(log.items[: live.taken])
    return sender


class _Sender:
    """One answer's drafts, and how far they are sent: all before `head` are, and a part of it may be."""

    def __init__(self, reading: Reading) -> None:
        self.taken = 0
        self._reading = reading
        self._names = index_names(reading.callable_names)
        self._drafts = Drafts()
        self._head = 0
        self._is_over = False  # behind a stop sequence, or a call that cannot be delivered, nothing is sent
        self._events: list[StreamEvent] = []
        self._index = 0  # of the open block, else of the next one
        self._open: Literal["text", "thinking"] | None = None
        self._begin_draft()

    def _begin_draft(self) -> None:
        self._read = 0  # how many pieces of the head are read
        self._text = LiveText(self._names, self._reading.stop_sequences)
        self._blocks: list[AnswerBlock] = []  # what was sent of the head: whole blocks,
        self._parts: list[str] = []  # and of the block that is open

    def take(self, events: Iterable[ContentEvent], *, are_last: bool = False) -> tuple[StreamEvent, ...]:
        """Take in events. What can be sent now."""
        for event in events:
            self._drafts.add(event)
            self.taken += 1
        drafts = self._drafts.blocks
        while not self._is_over and self._head < len(drafts):
            if not self._send(drafts[self._head], is_whole=are_last or self._head + 1 < len(drafts)):
                break
            self._head += 1
            self._begin_draft()
        sent = tuple(self._events)
        self._events.clear()
        return sent

    def end(self, message: AnswerMessage) -> list[StreamEvent]:
        """The end of the message that was sent.

        Raises:
            ShellError: it was another one.
        """
        if self._index != len(message.content):
            raise ShellError(f"{self._index} blocks were sent of an answer that has {len(message.content)}")
        return sse.render_end(message)

    # --- drafts --------------------------------------------------------------------------------------------------

    def _send(self, draft: Draft, *, is_whole: bool) -> bool:
        """Send what is certain of the head; whether that is all of it."""
        match draft:
            case TextDraft():
                return self._send_text(draft, is_whole)
            case ThinkingDraft():
                return self._send_thinking(draft, is_whole)
            case RedactedDraft():
                return self._send_whole(draft)
            case CallDraft():
                return draft.stopped and self._send_whole(draft)
            case _:
                assert_never(draft)

    def _send_whole(self, draft: Draft) -> bool:
        blocks = finish(draft, self._reading, self._index)
        if isinstance(blocks, Failure):
            self._is_over = True
            return False
        for block in blocks:
            self._add(block)
        return True

    def _send_thinking(self, draft: ThinkingDraft, is_whole: bool) -> bool:
        text, self._read = "".join(draft.pieces[self._read :]), len(draft.pieces)
        is_whole = is_whole or draft.signature is not None
        if self._open is None:
            self._open_block("thinking")
        if text:
            self._events.append(ContentBlockDelta(self._index, sse.ThinkingDelta(text)))
        if is_whole:
            self._events.append(ContentBlockDelta(self._index, sse.SignatureDelta(draft.signature or "")))
            self._close_block()
        return is_whole

    def _send_text(self, draft: TextDraft, is_whole: bool) -> bool:
        text, self._read = "".join(draft.pieces[self._read :]), len(draft.pieces)
        for piece in self._text.feed(text):
            if isinstance(piece, str):
                self._add_text(piece)
            else:
                self._close_text()
                self._add(written_call(piece, self._reading, self._index))
        if is_whole or self._text.is_cut:
            text = "".join(draft.pieces)
            stop = find_stop(text, self._reading.stop_sequences)
            self._send_rest(text if stop is None else text[: stop[0]])
            self._is_over = stop is not None
        return is_whole

    def _send_rest(self, text: str) -> None:
        """Send what is left of a whole text.

        Raises:
            ShellError: what was sent is no beginning of what it is.
        """
        count, begun = len(self._blocks), "".join(self._parts)
        blocks = read_text(text, self._reading, self._index - count)
        rest = blocks[count:]
        if blocks[:count] != self._blocks or (begun and not _begins(rest, begun)):
            raise ShellError("a text was sent that is no beginning of what it turned out to be")
        for block in rest:
            if isinstance(block, AnswerText):
                self._add_text(block.text[len("".join(self._parts)) :])
                self._close_text()
            else:
                self._add(block)

    # --- blocks --------------------------------------------------------------------------------------------------

    def _open_block(self, kind: Literal["text", "thinking"]) -> None:
        self._open = kind
        empty = AnswerText("") if kind == "text" else AnswerThinking("", "")
        self._events.append(ContentBlockStart(self._index, empty))

    def _close_block(self) -> None:
        self._open = None
        self._events.append(ContentBlockStop(self._index))
        self._index += 1

    def _add_text(self, text: str) -> None:
        if self._open is None:
            self._open_block("text")
        if text:
            self._parts.append(text)
            self._events.append(ContentBlockDelta(self._index, sse.TextDelta(text)))

    def _close_text(self) -> None:
        if self._open is not None:
            self._blocks.append(AnswerText("".join(self._parts)))
            self._parts.clear()
            self._close_block()

    def _add(self, block: AnswerBlock) -> None:
        self._blocks.append(block)
        self._events += sse.render_block(self._index, block)
        self._index += 1


def _begins(blocks: list[AnswerBlock], text: str) -> bool:
    return bool(blocks) and isinstance(blocks[0], AnswerText) and blocks[0].text.startswith(text)
