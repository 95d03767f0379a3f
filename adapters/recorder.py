"""Writes down exchanges while they run: moments go into a queue, and one thread makes lines and files of them.

What a line is, `core.taping` knows, and what may be in the folder, `adapters.archive`. This module decides when
something is written and what is given up. No exchange ever waits for it, or hears of what goes wrong in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path

import msgspec
import trio

from adapters import files
from adapters.archive import Archive, File, Outcome
from core.anthropic import MessagesRequest
from core.credentials import Token
from core.dialogue import DataArrived, Deliver, StreamEnded, TokenReady, WantCall, WholeAnswer
from core.errors import StagewhisperError
from core.masking import Mask, mask_accounts
from core.phases import Asked, Policy
from core.selection import Provider
from core.sse import Ping
from core.taping import Moment, Tape, begin_tape, end_tape, record
from core.times import Epoch

_INTERVAL = 0.05
"""Seconds between something that happens and its being written, with all that happened by then: what a crash costs."""

_CLOSING_SECONDS = 5.0
"""How long the last writes may take; a disk that hangs keeps no gateway from stopping."""

_MOST_WAITING = 64 << 20
"""Bytes that may wait to be written. They come as fast as the network, and go as fast as the disk."""

_AGAIN = "recordings are written again"

_MOMENT_BYTES = 512  # what a moment takes beside its data, roughly
_TOKEN_BYTES = 4  # of a request's text, roughly

_KNOWN_TOKENS = 4
"""How many tokens of an account are looked for: a conversation goes on quoting one that was renewed meanwhile, and
what it can be renewed with may be good for longer than itself."""


class RecorderError(StagewhisperError):
    """The folder for recordings cannot be used. One line: which, and why."""


class _End(msgspec.Struct, frozen=True):
    """No more moments come. `why` is None where the last one was the exchange's end."""

    why: str | None


class OpenRecording:
    """One exchange, as far as it is known to its recorder."""

    def __init__(self, recorder: Recorder, tape: Tape, file: File) -> None:
        self._recorder = recorder
        self._is_over = False
        self._uncounted = _TOKEN_BYTES * tape.asked.conversion.estimated_input
        self._data = 0  # bytes that came since something was delivered that was made of them
        # Only the writer uses these; there is no tape any more once the recording is over.
        self.tape: Tape | None = tape
        self.file = file
        self.faults = 0

    @property
    def held(self) -> int:
        """Bytes of data that came and are not ready to be written."""
        return 0 if self.tape is None else self.tape.size

    def add(self, moment: Moment) -> None:
        """Take in what happened. The last moment of an exchange ends its recording."""
        if self._is_over or self.tape is None:
            return
        weight, self._uncounted = _MOMENT_BYTES + self._uncounted, 0
        if isinstance(moment.happening, DataArrived):
            weight += len(moment.happening.data)
            self._data += len(moment.happening.data)
        for notice in moment.notices:
            if isinstance(notice, Deliver) and not any(isinstance(event, Ping) for event in notice.events):
                weight, self._data = weight + self._data, 0
        want = moment.want
        if isinstance(want, WantCall):
            weight += len(want.call.body)
        elif isinstance(want, WholeAnswer):
            weight += len(want.body)
        if not self._recorder.put(self, moment, weight):
            self.end("more waited to be written than may")
        elif isinstance(want, WholeAnswer | StreamEnded):
            self.end()

    def end(self, why: str | None = None) -> None:
        """Take note that nothing more comes: because of `why`, where the exchange came to no end of its own."""
        if not self._is_over:
            self._is_over = True
            self._recorder.put_end(self, _End(why))


class Recorder:
    """The recordings of a gateway, in one folder. `log` takes a line for whoever runs it.

    Bounds are on all recordings in the folder: the oldest are deleted. What cannot be written is given up.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        max_files: int,
        max_bytes: int,
        program: str,
        epoch: Callable[[], Epoch],
        log: Callable[[str], None],
        in_thread: files.InThread | None = None,
    ) -> None:
        self._archive = Archive(str(directory), max_files=max_files, max_bytes=max_bytes)
        self._program = program
        self._epoch = epoch
        self._log = log
        # A thread of its own, and one at a time: where a task has left it to its work, the next one waits for that.
        self._thread = trio.CapacityLimiter(1)
        self._in_thread = in_thread or self._in_own_thread
        self._is_on = True
        self._is_open = False
        self._running: set[OpenRecording] = set()
        self._queue: deque[tuple[OpenRecording, Moment | _End, int]] = deque()
        self._is_wanted = trio.Event()
        self._put = 0  # bytes that came into the queue, ever
        self._is_behind = False
        # The writer's, but for reading:
        self._done = 0  # bytes of these that are written, or given up
        self._faults = 0
        self._is_failing = False
        self._has_refused = False
        # The secrets of all accounts: one may stand in the prompt of an exchange that uses another.
        self._known: dict[str, tuple[tuple[Provider, Token], ...]] = {}
        self._mask = Mask()  # replaced whole: exchanges that begin meanwhile are given it
        self._said: deque[str] = deque()

    def open(self) -> None:
        """Make the folder ready, before anything is recorded.

        Raises:
            RecorderError: it cannot be used.
        """
        if self._is_open:
            return
        try:
            self._archive.prepare()
        except (OSError, ValueError) as error:  # the latter for paths that are none
            raise RecorderError(
                f"recordings cannot be kept in {self._archive.folder}: {files.explain(error)}"
            ) from None
        self._is_open = True

    @property
    def is_on(self) -> bool:
        """Whether exchanges are recorded that begin now."""
        return self._is_on

    def switch(self, enabled: bool) -> None:
        """Record the exchanges that begin from now on, or no more: then those that run are cut."""
        if enabled != self._is_on:
            self._log(f"{self._archive.folder}: recording was switched {'on' if enabled else 'off'}")
        self._is_on = enabled
        if not enabled:
            self._end_all("recording was switched off")

    def describe(self) -> str:
        """What is kept, and where, in a line."""
        return f"prompts and answers are recorded in {self._archive.describe()}"

    def know(self, provider: Provider, token: Token) -> None:
        """Take note of an account's token, before it is used: from then on it is covered in all recordings that begin.

        Before the writer runs; later it does so itself, of all tokens that are used.
        """
        before = self._known.get(provider.id, ())
        if (provider, token) not in before:
            self._known[provider.id] = (*before, (provider, token))[-_KNOWN_TOKENS:]
            self._mask = mask_accounts(chain.from_iterable(self._known.values()))

    def begin(self, asked: Asked, request: MessagesRequest, policy: Policy) -> OpenRecording | None:
        """The recording of an exchange that is about to begin; None where it is not to be recorded."""
        if not self._is_open or not self._is_on or not self._has_room(_MOMENT_BYTES):
            return None
        tape = begin_tape(asked, request, policy, program=self._program, mask=self._mask)
        recording = OpenRecording(self, tape, File(self._epoch(), asked.request_id))
        self._running.add(recording)
        return recording

    def _end_all(self, why: str) -> None:
        for recording in list(self._running):
            recording.end(why)

    # --- the queue ---------------------------------------------------------------------------------------------

    def put(self, recording: OpenRecording, moment: Moment, weight: int) -> bool:
        """Take in a moment of so many bytes; False where too many are waiting."""
        if not self._has_room(weight):
            return False
        self._put += weight
        self._queue.append((recording, moment, weight))
        self._is_wanted.set()
        return True

    def put_end(self, recording: OpenRecording, end: _End) -> None:
        """Take in the end of a recording."""
        self._running.discard(recording)
        self._queue.append((recording, end, 0))
        self._is_wanted.set()

    def _has_room(self, weight: int) -> bool:
        if self._put - self._done + weight <= _MOST_WAITING:
            return True
        if not self._is_behind:
            self._is_behind = True
            self._log(self._trouble(f"more than {_MOST_WAITING >> 20} MiB wait to be written"))
        return False

    # --- the writer --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write what there is, every now and then, until it is cancelled."""
        while True:
            if not self._queue:
                self._is_wanted = trio.Event()
                await self._is_wanted.wait()
            await trio.sleep(_INTERVAL)
            if (bug := await self._write()) is not None:
                raise bug

    async def close(self) -> None:
        """Write what is not written yet, but not for ever. Nothing is recorded from then on."""
        self._is_open = False
        self._end_all("the gateway was stopped")
        with trio.move_on_after(_CLOSING_SECONDS, shield=True) as patience:
            # Also where there is nothing: a thread that `run` left to its work is waited for in this way.
            if (bug := await self._write()) is not None:
                self._log(f"a bug of the gateway cost the end of a recording: {type(bug).__name__}")
        if patience.cancelled_caught:
            late = f"the last lines of recordings could not be written within {_CLOSING_SECONDS:g} seconds"
            self._log(f"{self._archive.folder}: {late}")

    async def _write(self) -> Exception | None:
        """Write all that waits. Gives back a bug that was met, which has cost no more than one recording."""
        try:
            return await self._in_thread(partial(self._write_all, trio.current_time()))
        except RuntimeError as error:
            self._fail(str(error))  # the system has no thread for us, and what waits goes on waiting
            return None
        finally:
            while self._said:
                self._log(self._said.popleft())
            if self._is_behind and self._put - self._done <= _MOST_WAITING // 2:
                self._is_behind = False
                self._log(f"{self._archive.folder}: {_AGAIN}")

    async def _in_own_thread(self, work: Callable[[], files.T], /) -> files.T:
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._thread)

    # --- in its thread -----------------------------------------------------------------------------------------

    def _write_all(self, now: float) -> Exception | None:
        self._archive.look(now)
        batch: dict[OpenRecording, list[tuple[Moment | _End, int]]] = {}
        for _ in range(len(self._queue)):
            recording, item, weight = self._queue.popleft()
            batch.setdefault(recording, []).append((item, weight))
        bugs = []
        for recording, items in batch.items():
            held = recording.held
            try:
                self._write_one(recording, [item for item, _ in items])
            except Exception as bug:
                bugs.append(bug)
                self._close(recording)
            # What the tape holds back is still there, and goes on counting.
            self._done += sum(weight for _, weight in items) + held - recording.held
        return bugs[0] if len(bugs) == 1 else ExceptionGroup("recordings were lost", bugs) if bugs else None

    def _write_one(self, recording: OpenRecording, items: list[Moment | _End]) -> None:
        """Write what has become of one exchange."""
        lines = []
        bug = None
        try:
            for item in items:
                if recording.tape is None:
                    return
                if isinstance(item, Moment):
                    recording.tape, more = record(recording.tape, item)
                    lines.append(more)
                    self._note_token(recording.tape, item)
                elif item.why is not None:
                    lines.append(end_tape(recording.tape, item.why))
        except Exception as error:
            bug = error
        is_going_on = self._append(recording, b"".join(lines))
        if bug is not None:
            self._archive.cut(recording.file, "a bug of the gateway")
            raise bug
        if is_going_on and isinstance(items[-1], _End):
            self._close(recording)
            # Only now: on a disk that is almost full, some lines can be written that are short enough.
            if self._is_failing and recording.file.name is not None and recording.faults == self._faults:
                self._is_failing = False
                self._said.append(f"{self._archive.folder}: {_AGAIN}")

    def _note_token(self, tape: Tape, moment: Moment) -> None:
        if isinstance(moment.happening, TokenReady) and tape.provider is not None:
            self.know(tape.provider, moment.happening.token)

    def _append(self, recording: OpenRecording, lines: bytes) -> bool:
        """Write lines of a recording; False where it is given up."""
        if not lines:
            return True
        if recording.file.name is None:
            recording.faults = self._faults
        try:
            outcome = self._archive.append(recording.file, lines)
        except OSError as error:
            self._fail(files.explain(error))
        else:
            if outcome is Outcome.WRITTEN:
                return True
            if outcome is Outcome.REFUSED and not self._has_refused:
                self._has_refused = True
                why = "there is no room for all that are running (recording.maxFiles, recording.maxBytes)"
                self._said.append(f"{self._archive.folder}: some exchanges are not recorded: {why}")
        self._close(recording)
        return False

    def _close(self, recording: OpenRecording) -> None:
        """Let go of all there is of a recording but its file."""
        recording.tape = None
        self._archive.let_go(recording.file)

    # --- what is said ------------------------------------------------------------------------------------------

    def _fail(self, problem: str) -> None:
        """Take note of a fault. It is said once until a recording was written, from its first line to its last."""
        self._faults += 1
        if not self._is_failing:
            self._is_failing = True
            self._said.append(self._trouble(problem))

    def _trouble(self, problem: str) -> str:
        given_up = "recordings are given up until it works again: no request is affected"
        return f"{self._archive.folder}: {problem}; {given_up}"
