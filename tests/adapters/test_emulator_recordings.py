"""Recordings on the disk, as the emulator finds them: whole, torn, of another version, or something else altogether."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.demo import open_recordings
from adapters.emulator import Recordings, Unservable, read_recordings, recordings
from adapters.emulator.recordings import parse_recording
from adapters.emulator.wire import Close, Reply, Send
from tests.adapters.emulated import shell_request
from tests.adapters.log_output import logged
from tests.adapters.recorded import (
    BODY_END,
    CALL,
    ENDED,
    Upstream,
    converted,
    data,
    failed,
    head,
    opening,
    saying,
    written,
)
from tests.recordings import HELLO, SAMPLES

# --- folders ---------------------------------------------------------------------------------------------------


def test_a_folder_is_read_oldest_first_whatever_its_files_are_called(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(saying(b"late", date=3.0))
    (tmp_path / "b").write_bytes(saying(b"early", date=1.0))
    (tmp_path / "d.txt").write_bytes(saying(b"middle 2", date=2.0))
    (tmp_path / "c.txt").write_bytes(saying(b"middle 1", date=2.0))
    found, remarks = read_recordings(tmp_path)
    assert [each.name for each in found] == ["b", "c.txt", "d.txt", "a.jsonl"]
    assert remarks == ()
    everything = Recordings(found)
    assert (everything.size, everything.models) == ((4, 4), ("claude-sonnet-4",))


def test_a_file_alone_is_read_too(tmp_path: Path) -> None:
    file = tmp_path / "one.jsonl"
    file.write_bytes(saying(b"a", b"b"))
    (tmp_path / "two.jsonl").write_bytes(saying(b"c"))
    (found,), remarks = read_recordings(file)
    assert (found.name, len(found.replies), remarks) == ("one.jsonl", 2, ())


def test_what_is_no_recording_in_a_folder_is_said_and_the_rest_is_served(tmp_path: Path) -> None:
    (tmp_path / "good.jsonl").write_bytes(saying(b"a"))
    (tmp_path / "torn.jsonl").write_bytes(saying(b"a")[:-3])
    (tmp_path / "notes.txt").write_text("nothing of interest")
    (tmp_path / "body.bin").write_bytes(HELLO)
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "later.jsonl").write_bytes(written(opening(version=2), converted(), CALL))
    (tmp_path / "none.jsonl").write_bytes(SAMPLES["nobody"]())
    (tmp_path / "link").symlink_to(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    found, remarks = read_recordings(tmp_path)
    assert [each.name for each in found] == ["good.jsonl", "torn.jsonl"]
    assert list(remarks) == [
        "'body.bin' is not served: no recording",
        "'empty' is not served: no recording",
        "'folder' is not served: no file",
        "'later.jsonl' is not served: expected version 1 of the format, got 2",
        "'link' is not served: cannot be read: No such file or directory",
        "'none.jsonl' is not served: no call to the service in it",
        "'notes.txt' is not served: no recording",
        "'pipe' is not served: no file",
        "'torn.jsonl' is served in part: line 7: Input data was truncated",
    ]


def test_what_is_not_served_is_in_the_log_and_how_much_is(tmp_path: Path) -> None:
    (tmp_path / "good.jsonl").write_bytes(saying(b"a", b"b"))
    (tmp_path / "a\nb").touch()
    with logged("console") as said:
        assert open_recordings(tmp_path, waits=True).size == (1, 2)
    first, second = said.getvalue().splitlines()
    assert first.endswith(" WARNING 'a\\nb' is not served: no recording")
    assert second.endswith(" INFO    recordings: 1, answers in them: 2")


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (None, "cannot be read: No such file or directory"),
        ({}, "expected recordings, found no file"),
        ({"a": b"x"}, "expected recordings, found none: 'a' is not served: no recording"),
        (
            {"b": b"", "a": SAMPLES["no call"](), "c": b""},
            "expected recordings, found none: 'a' is not served: no call to the service in it (and 2 more)",
        ),
    ],
)
def test_a_folder_in_which_nothing_can_be_served_is_an_error(
    tmp_path: Path, files: dict[str, bytes] | None, problem: str
) -> None:
    folder = tmp_path / "folder"
    if files is not None:
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
    with pytest.raises(Unservable) as raised:
        read_recordings(folder)
    assert str(raised.value) == f"{folder}: {problem}"


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(Unservable, match=r"cannot be read: Permission denied$"):
        read_recordings(tmp_path)


def test_a_file_that_is_too_large_is_no_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "large"
    file.write_bytes(saying(b"a"))
    monkeypatch.setattr(recordings, "MOST_BYTES", file.stat().st_size)
    assert len(read_recordings(file)[0]) == 1
    monkeypatch.setattr(recordings, "MOST_BYTES", file.stat().st_size - 1)
    with pytest.raises(Unservable, match=r": expected at most \d+ bytes, got more$"):
        read_recordings(file)


# --- what is in a file -----------------------------------------------------------------------------------------

BEGUN = (opening(), converted(), CALL, head(), data(b"x"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no recording"),
        (b"\n", "no recording"),
        (b"[]", "no recording"),
        (b'{"what":"opening"}', "no recording"),
        (b'{"stagewhisper":true}', "no recording"),
        (b'{"stagewhisper":"1"}', "no recording"),
        (b"\xff", "no recording"),
        (b'{"stagewhisper":1,"x":"\xff"}', "line 1: "),
        (b'{"stagewhisper":' + b"[" * 100_000, "no recording"),
        (b'{"stagewhisper":0}', "expected version 1 of the format, got 0"),
        (b'{"stagewhisper":1}', "line 1: Object missing required field `at`"),
        (b'{"stagewhisper":1,"at":1e999,"date":0}', "line 1: Number out of range - at `$.at`"),
        (written(opening()), "no call to the service in it"),
        (written(opening(), converted(), ENDED), "no call to the service in it"),
        (written(opening(), CALL), "line 2: a call, and it is not said what was asked"),
        (written(opening(), head()), "line 2: a head, and no call waits for one"),
        (written(opening(), converted(), data(b"x")), "line 3: a body, and no head before it"),
        (written(opening(), converted(), failed("timeout")), "line 3: a failure, and no call is open"),
        (written(opening(), {"what": "converted", "request": {}}), "line 2: Object missing required field"),
        (written(opening(), converted(currentMessage={})), "line 2: Object missing required field"),
        (written(opening()) + b"\n" + written(converted(), CALL), "line 2: Input data was truncated"),
    ],
)
def test_a_file_without_an_answer_is_said_to_have_none(content: bytes, problem: str) -> None:
    with pytest.raises(Unservable) as raised:
        parse_recording("x", content)
    assert str(raised.value).startswith(problem)
    assert len(str(raised.value)) < 250


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{}", "Object missing required field `what`"),
        (b'{"what":"data","data":"%%%"}', "Invalid base64 encoded string - at `$.data`"),
        (b'{"what":"data"}', "Object missing required field `data`"),
        (b'{"what":"failed","cause":"a', "Input data was truncated"),
        (b'{"what":"failed","cause":"a\\u001bb"}', "Invalid enum value 'a\\x1bb' - at `$.cause`"),
        (b'{"what":"data","at":"now","data":""}', "Expected `float | null`, got `str` - at `$.at`"),
        (msgspec.json.encode(head()), "a head, and no call waits for one"),
        (b'{"what":"made up later","x":' + b"[" * 100_000, "maximum recursion depth exceeded"),
    ],
)
def test_a_damaged_recording_is_served_up_to_there_and_then_breaks_off(line: bytes, problem: str) -> None:
    recording = parse_recording("x", written(*BEGUN) + line + b"\n" + written(data(b"y"), BODY_END))
    assert recording.replies[-1].steps == (Send(b"x"), Close())
    assert recording.problem is not None
    assert recording.problem.startswith("line 6: ")
    assert problem in recording.problem


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"status": 101}, "Expected `int` >= 200 - at `$.status`"),
        ({"status": 1000}, "Expected `int` <= 999 - at `$.status`"),
        ({"headers": {"x y": "1"}}, "a header that HTTP cannot carry"),
        ({"headers": {"": "1"}}, "a header that HTTP cannot carry"),
        ({"headers": {"x": "1\r\ny: 2"}}, "a header that HTTP cannot carry"),
        ({"headers": {"x": " 1"}}, "a header that HTTP cannot carry"),
        ({"headers": {"x": "\0"}}, "a header that HTTP cannot carry"),
    ],
)
def test_a_head_that_nobody_could_have_sent_is_damage(change: dict[str, Any], problem: str) -> None:
    recording = parse_recording("x", written(opening(), converted(), CALL, {**head(), **change}))
    assert (recording.problem, recording.replies[0].head) == (f"line 4: {problem}", None)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_a_recording_that_was_cut_is_served_as_far_as_it_goes(name: str, chosen: st.DataObject) -> None:
    whole = SAMPLES[name]()
    cut = whole[: chosen.draw(st.integers(0, len(whole)))]
    lines = [msgspec.json.decode(line)["what"] for line in cut.splitlines() if _is_json(line)]
    try:
        served = parse_recording("x", cut).replies
    except Unservable:
        assert "call" not in lines
        return
    expected = parse_recording("x", whole).replies[: len(served)]
    assert len(served) == lines.count("call")
    assert served[:-1] == expected[:-1]
    assert expected[-1].body().startswith(served[-1].body())
    if served[-1] != expected[-1]:
        assert served[-1].steps[-1] == Close()


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except msgspec.DecodeError:
        return False
    return True


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_a_changed_byte_makes_no_recording_or_one_that_can_be_served(name: str, chosen: st.DataObject) -> None:
    changed = bytearray(SAMPLES[name]())
    changed[chosen.draw(st.integers(0, len(changed) - 1))] = chosen.draw(st.integers(0, 255))
    replies: tuple[Reply, ...] = ()
    try:
        recording = parse_recording("x", bytes(changed))
        replies, problem = recording.replies, recording.problem or ""
    except Unservable as error:
        problem = str(error)
    assert problem.isprintable()
    assert problem or replies
    if replies:
        world = Upstream(bytes(changed), patience=math.inf)
        assert [world.ask(shell_request()) for _ in replies] == list(replies)
