"""`stagewhisper replay` of a recording in which one byte is another: that is said, or the message is the same."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from adapters.printing import Wish
from adapters.replay import replay
from tests.recordings import HELLO, SAMPLES, Taped


def _replay(file: Path, data: bytes) -> tuple[int, list[str], list[str]]:
    """The exit code, what was said, and what was complained of."""
    said, complained = list[str](), list[str]()
    file.write_bytes(data)
    return replay([str(file)], Wish(json=True), say=said.append, complain=complained.append), said, complained


def _sent(said: list[str]) -> list[str]:
    """The message or the error that the client is sent."""
    return [line for line in said if line.startswith(('{"type":', '{"error":'))]


def _names_a_place(said: list[str]) -> bool:
    values = [json.loads(line) for line in said]
    return any("fault" in value or value.get("difference") for value in values)


# A bit that is flipped, or a byte that means something in JSON.
@pytest.mark.parametrize(
    ("name", "change"),
    [("hello", 0x01), ("hello", 0x80), ("hello", "\n"), ("hello", "9"), ("refusal", 0x20), ("refusal", "}")],
)
def test_any_byte_that_is_another_is_noticed_or_changes_nothing(tmp_path: Path, name: str, change: int | str) -> None:
    good = Taped().call().answer(HELLO, pieces=3).taped if name == "hello" else SAMPLES[name]()
    file = tmp_path / "recording.jsonl"
    code, then, _ = _replay(file, good)
    assert (code, len(_sent(then))) == (0, 1)
    codes: Counter[int] = Counter()
    for place, byte in enumerate(good):
        other = byte ^ change if isinstance(change, int) else ord(change)
        code, said, complained = _replay(file, good[:place] + bytes((other,)) + good[place + 1 :])
        match code:
            case 0:
                assert _sent(said) == _sent(then), place
            case 1:
                assert _names_a_place(said), place
            case 3:
                assert said == []
                assert complained[0].startswith(f"{file}: line "), place
        codes[code] += 1
    assert set(codes) == {0, 1, 3}
    # Dates, the clock's own beginning, ids of requests and the like are no part of what a client is sent.
    assert codes[0] < len(good) / 2
