"""Every file of every fuzz corpus, seeds and past failures alike, through its target."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.document import ValueProblem
from core.failures import Failure, Kind

CORPUS = Path(__file__).parent.parent / "fuzz" / "corpus"
FILES = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.name}")
def test_a_file_of_the_corpus_breaks_nothing(file: Path) -> None:
    import_module(f"fuzz.{file.parent.name}").one_input(file.read_bytes())


@pytest.mark.parametrize("file", sorted((CORPUS / "answer").iterdir()), ids=lambda file: file.name)
def test_answers_are_delivered_live_as_they_are_buffered(file: Path) -> None:
    import_module("fuzz.live").one_input(file.read_bytes())


def test_every_corpus_has_a_target_and_is_small() -> None:
    folders = {file.parent for file in FILES}
    assert {"eventstream", "toolcalls", "request", "answer", "live", "recording"} <= {folder.name for folder in folders}
    assert all((CORPUS.parent / f"{folder.name}.py").is_file() for folder in folders)
    assert all(10 <= len(list(folder.iterdir())) <= 100 for folder in folders)
    assert max(file.stat().st_size for file in FILES) < 10_000


Wrong = Callable[[Any], Any]


def _lose_a_message(feed: Any) -> Any:
    def wrong(pending: Any, data: bytes) -> Any:
        fed = feed(pending, data)
        return msgspec.structs.replace(fed, messages=fed.messages[1:])

    return wrong


def _take_code_for_text(find_calls: Any) -> Any:
    return lambda text, names: find_calls(text.replace("`", " "), names)


def _lose_an_event(render_events: Any) -> Any:
    return lambda message: [event for event in render_events(message) if "Delta" not in type(event).__name__]


def _forget_that_it_spoke(speak: Any) -> Any:
    def wrong(exchange: Any, events: Any, now: Any) -> Any:
        exchange, notices = speak(exchange, events, now)
        return msgspec.structs.replace(exchange, spoken=False), notices

    return wrong


def _lose_the_system_prompt(convert: Any) -> Any:
    return lambda request, **others: convert(msgspec.structs.replace(request, system=None), **others)


def _blame_the_server(__: Any) -> Any:
    return lambda error, **_: Failure(kind=Kind.SERVER, message=error.name or "none")


def _lose_unknown_members(render_token_file: Any) -> Any:
    return lambda _, token: render_token_file(b'{"accessToken":"a"}', token)


def _forget_the_rest(parse_response: Any) -> Any:
    def wrong(data: bytes, **others: Any) -> Any:
        read = parse_response(data, **others)
        return msgspec.structs.replace(read, rest=0) if hasattr(read, "rest") else read

    return wrong


def _repeat_keys(__: Any) -> Any:
    def wrong(item: object, _: object) -> str:
        raise ValueProblem(f"expected a key, got {item} instead")

    return wrong


def _cover_nothing(__: Any) -> Any:
    return lambda mask, *_: mask


@pytest.mark.parametrize(
    ("target", "data", "place", "wrong"),
    [
        ("eventstream", b"f0\x00\x03\x00\x01a\x00", "fuzz.eventstream.feed", _lose_a_message),
        ("toolcalls", b"t`Tool call: Read({})`", "fuzz.toolcalls.find_calls", _take_code_for_text),
        ("answer", b"tHello\nt, world", "core.sse.render_events", _lose_an_event),
        ("live", b"tHello\nw\nt!\n!ThrottlingException||\n|\ntAnother", "core.exchange._speak", _forget_that_it_spoke),
        ("request", b"sBe brief.\nUHello", "fuzz.request.convert", _lose_the_system_prompt),
        ("failures", b'402\n\n{"reason":"MONTHLY_REQUEST_COUNT"}', "fuzz.failures.classify", _blame_the_server),
        ("credentials", b'f{"accessToken":"a","k":1}', "fuzz.credentials.render_token_file", _lose_unknown_members),
        ("rawhttp", b"rHTTP/1.1 204 \n\nrest", "fuzz.rawhttp.parse_response", _forget_the_rest),
        ("recording", b"stHello $A", "core.taping.add_account", _cover_nothing),
        ("config", b'{"server":{"apiKeys":["a b"]}}', "core.config._read_key", _repeat_keys),
    ],
)
def test_a_target_notices_a_core_that_does_wrong(
    target: str, data: bytes, place: str, wrong: Wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_input = import_module(f"fuzz.{target}").one_input
    one_input(data)
    module, _, name = place.rpartition(".")
    monkeypatch.setattr(place, wrong(getattr(import_module(module), name)))
    with pytest.raises(AssertionError):
        one_input(data)
