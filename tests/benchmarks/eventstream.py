"""How fast `core.eventstream` is, as ratios of CPU time within one run; exits with 1 where a bar is missed.

Run as `python tests/benchmarks/eventstream.py`. The stream is an ordinary answer: 2,561 frames of 168 bytes on
the average, with the service's three string headers, in chunks of 4 KiB. Peers take turns with what is measured,
in many short rounds, and medians are compared, because a shared machine is not equally fast all the time.

- the peer: botocore's `EventStreamBuffer` over the same chunks;
- the floor: for each frame one slice and one `crc32` of what the message's checksum covers, at known offsets;
- a frame of 16 MiB beside one of 4 MiB, in chunks of 4 KiB: 4 times is linear;
- a frame of 1 MiB in single bytes beside one of 256 KiB: 4 times is linear; and its peak of memory.
"""

from __future__ import annotations

import gc
import random
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import process_time
from zlib import crc32

sys.path.insert(0, str(Path(__file__).parents[2]))

from botocore.eventstream import EventStreamBuffer

from core.eventstream import START, Header, HeaderType, Message, encode, feed

FRAMES = 2561
CHUNK = 4096
MIB = 1024 * 1024


def service_message(event_type: str, payload: bytes) -> Message:
    """A message with the headers of the service, in its order."""
    texts = {":event-type": event_type, ":content-type": "application/json", ":message-type": "event"}
    return Message({name: Header(HeaderType.STRING, text) for name, text in texts.items()}, payload)


def ordinary_messages() -> list[Message]:
    """Answers as they come: runs of text, then of a tool's input, then what the answer cost, and again."""
    chance = random.Random(2561)
    messages: list[Message] = []
    while len(messages) < FRAMES:
        for _ in range(chance.randint(40, 160)):
            text = b"x" * min(200, int(chance.gammavariate(1.6, 29.0)))
            messages.append(service_message("assistantResponseEvent", b'{"content":"%s"}' % text))
        for _ in range(chance.choice([0, 1, 2]) * chance.randint(5, 30)):
            piece = b"y" * min(60, int(chance.gammavariate(1.3, 9.0)))
            payload = b'{"input":"%s","name":"Bash","toolUseId":"tooluse_0123456789abcdefghij"}' % piece
            messages.append(service_message("toolUseEvent", payload))
        share, cost = 100 * chance.random(), chance.random()
        messages.append(service_message("contextUsageEvent", b'{"contextUsagePercentage":%f}' % share))
        messages.append(service_message("meteringEvent", b'{"unit":"credit","usage":%.8f}' % cost))
    return messages[:FRAMES]


def chunked(stream: bytes, size: int) -> list[bytes]:
    """The stream in pieces of `size` bytes."""
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def decode(chunks: Sequence[bytes]) -> int:
    """The number of messages that `feed` finds."""
    pending, count = START, 0
    for chunk in chunks:
        fed = feed(pending, chunk)
        pending = fed.pending
        count += len(fed.messages)
    return count


def decode_with_botocore(chunks: Sequence[bytes]) -> int:
    """The number of messages that botocore finds."""
    buffer, count = EventStreamBuffer(), 0
    for chunk in chunks:
        buffer.add_data(chunk)
        for _ in buffer:
            count += 1
    return count


def touch(stream: bytes, places: Sequence[tuple[int, int]]) -> int:
    """The floor: slices and sums what lies at `places`."""
    for start, end in places:
        crc32(stream[start:end])
    return len(places)


def seconds(work: Callable[[], int], expected: int) -> float:
    """The CPU time of one run, whose result is checked so that nothing is measured that did not happen."""
    begin = process_time()
    result = work()
    spent = process_time() - begin
    if result != expected:
        raise SystemExit(f"expected {expected} messages, got {result}")
    return spent


def medians(rounds: int, works: Sequence[tuple[Callable[[], int], int]]) -> list[float]:
    """The median CPU time of each work, all taking turns; the first round only warms up."""
    spent = [[seconds(work, expected) for work, expected in works] for _ in range(rounds + 1)][1:]
    return [median(column) for column in zip(*spent, strict=True)]


def peak_of_single_bytes(frame: bytes) -> int:
    """The most memory in use, in bytes, while `frame` is fed byte by byte; the frame itself is not counted."""
    singles = chunked(frame, 1)
    gc.collect()
    tracemalloc.start()
    decode(singles)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def main() -> int:
    """Measures, prints the table, and says whether all bars are met."""
    messages = ordinary_messages()
    frames = [encode(message) for message in messages]
    stream = b"".join(frames)
    places, end = [], 0
    for frame in frames:
        places.append((end + 8, end + len(frame) - 4))
        end += len(frame)
    chunks = chunked(stream, CHUNK)
    ours, peer, floor = medians(
        60,
        [
            (lambda: decode(chunks), FRAMES),
            (lambda: decode_with_botocore(chunks), FRAMES),
            (lambda: touch(stream, places), FRAMES),
        ],
    )
    payload = sum(len(message.payload) for message in messages)
    print(f"{FRAMES} frames of {len(stream) / FRAMES:.0f} bytes, payload {payload / FRAMES:.0f}; microseconds a frame:")
    for what, spent in (("core", ours), ("botocore", peer), ("floor", floor)):
        print(f"    {what:10}{spent / FRAMES * 1e6:6.2f}")
    longer, long = (chunked(encode(Message({}, bytes(size * MIB))), CHUNK) for size in (16, 4))
    slow, quick = medians(9, [(lambda: decode(longer), 1), (lambda: decode(long), 1)])
    frame = encode(Message({}, bytes(MIB)))
    singles, fewer = chunked(frame, 1), chunked(encode(Message({}, bytes(MIB // 4))), 1)
    many, few = medians(3, [(lambda: decode(singles), 1), (lambda: decode(fewer), 1)])
    bars = [
        ("botocore / core, 4 KiB chunks", peer / ours, ">=", 8.0),
        ("core / floor, 4 KiB chunks", ours / floor, "<=", 3.5),
        ("16 MiB frame / 4 MiB frame, 4 KiB chunks", slow / quick, "<=", 6.0),
        ("1 MiB frame / 256 KiB frame, single bytes", many / few, "<=", 6.0),
        ("peak memory / 1 MiB frame, single bytes", peak_of_single_bytes(frame) / len(frame), "<=", 8.0),
    ]
    missed = 0
    for what, figure, relation, bar in bars:
        met = figure >= bar if relation == ">=" else figure <= bar
        missed += not met
        print(f"{what:45} {figure:6.2f}   bar {relation} {bar:.1f}   {'met' if met else 'MISSED'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
