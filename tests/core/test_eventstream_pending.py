"""What lies between two feeds: forks, long frames, the fault that stays, what is remembered, and threads."""

from __future__ import annotations

import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import eventstream
from core.eventstream import MAX_FRAME_LENGTH, START, FaultReason, Message, Pending, feed, finish
from tests.decoding import Decoded, decode, decode_pieces, forget
from tests.frames import raw_frame, raw_prelude, raw_text, service_block, service_frame

GOOD = service_frame("assistantResponseEvent", b'{"content":"Hello"}')
LONG = raw_frame(raw_text("n", "long"), bytes(range(256)) * 100)
STREAM = GOOD + LONG + GOOD + LONG + GOOD


def pieces(stream: bytes, size: int) -> list[bytes]:
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def go_on(pending: Pending, rest: bytes, size: int) -> Decoded:
    """What a stream gives from `pending` on, in pieces of `size` bytes."""
    messages: list[Message] = []
    for piece in pieces(rest, size):
        fed = feed(pending, piece)
        messages += fed.messages
        pending = fed.pending
    return Decoded(tuple(messages), finish(pending))


@pytest.mark.parametrize("size", [1, 7, 1000, 4095, 4096, 4097, 9000, 10**6])
def test_a_long_frame_is_whole_in_pieces_of_any_size(size: int) -> None:
    decoded = decode_pieces(pieces(STREAM, size))
    assert decoded == decode(STREAM)
    assert [len(message.payload) for message in decoded.messages] == [19, 25600, 19, 25600, 19]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 9000), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 99), st.integers(500, 9000)), min_size=1, max_size=12),
)
def test_an_old_pending_may_be_fed_again_and_disturbs_nobody(sizes: list[int], forks: list[tuple[int, int]]) -> None:
    everything = decode_pieces([STREAM]).messages
    states = [(START, 0, 0)]
    for size, (index, other_size) in zip(sizes * 2, forks * 24, strict=False):
        pending, place, count = states[-1]
        fed = feed(pending, STREAM[place : place + size])
        states.append((fed.pending, min(place + size, len(STREAM)), count + len(fed.messages)))
        fork, fork_place, fork_count = states[index % len(states)]
        feed(fork, bytes(other_size))
        again = go_on(fork, STREAM[fork_place:], other_size)
        assert (again.messages, again.fault) == (everything[fork_count:], None)
    for pending, place, count in states:
        assert go_on(pending, STREAM[place:], 5000).messages == everything[count:]


def go_on_to(begun: bytes, size: int) -> Pending:
    """What is pending after `begun` in pieces of `size` bytes."""
    pending = START
    for piece in pieces(begun, size):
        pending = feed(pending, piece).pending
    return pending


def test_a_fork_in_the_middle_of_a_long_frame_copies_what_it_shares() -> None:
    middle = go_on_to(LONG[:20000], 4096)
    first = feed(middle, LONG[20000:24000]).pending
    second = feed(middle, b"x" * 4000).pending
    assert (first.count, second.count) == (middle.count + 1, middle.count + 1)
    assert first.chunks is middle.chunks
    assert second.chunks is not middle.chunks
    assert feed(first, LONG[24000:]).messages == decode(LONG).messages
    broken = feed(second, LONG[24000:]).fault
    assert broken is not None
    assert broken.reason is FaultReason.MESSAGE_CRC


class Raced(list[bytes]):
    """A shared list to which another thread appends just before we do."""

    def append(self, chunk: bytes) -> None:
        super().append(b"of another thread")
        super().append(chunk)


def test_a_race_for_the_shared_list_is_noticed() -> None:
    middle = go_on_to(LONG[:20000], 4096)
    raced = Pending(0, 20000, len(LONG), tail=middle.tail, chunks=Raced(middle.chunks), count=middle.count)
    after = feed(raced, LONG[20000:24000]).pending
    assert after.chunks == [*middle.chunks, middle.tail + LONG[20000:24000]]
    assert feed(after, LONG[24000:]).messages == decode(LONG).messages


def test_successive_values_share_what_they_hold() -> None:
    pending, lists = START, []
    for piece in pieces(LONG[:-1], 4096):
        pending = feed(pending, piece).pending
        lists.append(pending.chunks)
    assert pending.count == len(pending.chunks) == 5
    assert all(chunks is pending.chunks for chunks in lists[1:])


def test_the_initial_value_holds_nothing_after_use() -> None:
    decode_pieces(pieces(LONG, 5000))
    feed(START, LONG[:-1])
    assert (START.offset, START.length, START.tail, START.chunks) == (0, 0, b"", [])


@pytest.mark.parametrize("size", [1, 300, 4096, 10**6])
def test_pending_values_are_equal_when_they_hold_the_same(size: int) -> None:
    whole, cut = feed(START, STREAM[:-200]).pending, go_on_to(STREAM[:-200], size)
    assert (whole == cut, whole != cut) == (True, False)
    with pytest.raises(TypeError, match="unhashable"):
        hash(whole)


@pytest.mark.parametrize("other", [START, feed(START, GOOD).pending, feed(START, GOOD[:-1]).pending, None, b""])
def test_pending_values_differ_when_they_hold_different_bytes(other: object) -> None:
    held = feed(START, GOOD[:-2] + b"x").pending
    assert (held == other, held != other) == (False, True)


def test_a_pending_value_shows_no_bytes_of_the_stream() -> None:
    assert repr(feed(START, GOOD + GOOD[:100]).pending) == f"Pending(offset={len(GOOD)}, length=100, fault=None)"


def test_a_fault_stays_and_holds_no_bytes() -> None:
    fed = feed(START, GOOD + b"no frame at all")
    assert len(fed.messages) == 1
    assert fed.fault is not None
    for piece in (b"", GOOD, b"no frame at all"):
        again = feed(fed.pending, piece)
        assert (again.messages, again.fault, again.pending) == ((), fed.fault, fed.pending)
    assert finish(fed.pending) == fed.fault
    assert (fed.pending.length, fed.pending.tail, fed.pending.count) == (0, b"", 0)


def test_feeding_nothing_changes_nothing() -> None:
    for pending in (START, feed(START, GOOD[:5]).pending, go_on_to(LONG[:20000], 4096)):
        fed = feed(pending, b"")
        assert (fed.messages, fed.pending, fed.fault) == ((), pending, None)


def test_the_longest_frame_is_taken_and_a_longer_one_refused_at_its_prelude() -> None:
    longest = raw_frame(payload=bytes(MAX_FRAME_LENGTH - 16))
    assert [len(message.payload) for message in feed(START, longest).messages] == [MAX_FRAME_LENGTH - 16]
    fault = feed(START, raw_prelude(MAX_FRAME_LENGTH + 1, 0)[:12]).fault
    assert fault is not None
    assert fault.reason is FaultReason.FRAME_TOO_LARGE


def test_headers_and_payloads_over_the_services_limits_are_taken() -> None:
    block = b"".join(raw_text(f"n{number}", "v" * 30000) for number in range(5))
    (message,) = feed(START, raw_frame(block, b"x")).messages
    assert [header.value for header in message.headers.values()] == ["v" * 30000] * 5
    assert len(feed(START, raw_frame(payload=bytes(24 * 1024 * 1024 + 1))).messages) == 1


def test_single_bytes_take_a_bounded_multiple_of_the_frame_in_memory() -> None:
    frame = raw_frame(payload=bytes(64 * 1024))
    tracemalloc.start()
    try:
        pending, count = START, 0
        for place in range(len(frame)):
            fed = feed(pending, frame[place : place + 1])
            pending = fed.pending
            count += len(fed.messages)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 1
    assert peak < 8 * len(frame)


def test_what_is_remembered_is_bounded_in_count_and_size() -> None:
    forget()
    frames = [service_frame("e", bytes(length)) for length in range(1500)]
    frames += [raw_frame(service_block("x" * length)) for length in range(1500)]
    fed = feed(START, b"".join(frames))
    assert (len(fed.messages), fed.fault) == (3000, None)
    assert 0 < len(eventstream._remembered) <= eventstream._MOST_REMEMBERED
    assert eventstream._parse_headers.cache_info().currsize <= eventstream._MOST_REMEMBERED
    assert max(map(len, eventstream._remembered)) == eventstream._LONGEST_REMEMBERED
    assert feed(START, b"".join(frames)) == fed


def test_threads_that_share_pending_values_and_memory_do_not_disturb_each_other() -> None:
    stream = STREAM + b"".join(service_frame("e", bytes(length)) for length in range(1100))
    expected = decode_pieces([stream])
    shared = go_on_to(stream[:20000], 4096)
    begun = len(decode_pieces([stream[:20000]]).messages)

    def work(size: int) -> bool:
        tail = go_on(shared, stream[20000:], size)
        return decode_pieces(pieces(stream, size)) == expected and tail.messages == expected.messages[begun:]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, [1000, 4096, 5000, 6000] * 6))
    finally:
        sys.setswitchinterval(interval)
