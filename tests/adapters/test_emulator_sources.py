"""Where the emulator takes its scenarios from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.emulator import ScenarioFile, UnknownScenario, always, in_turn
from tests.adapters.emulated import World, shell_request


def test_a_source_in_code_is_asked_with_the_account_and_its_requests_number() -> None:
    asked: list[tuple[str, int]] = []

    def source(account: str, number: int) -> str:
        asked.append((account, number))
        return "throttled" if number == 1 else "fine"

    world = World(scenario=source)
    statuses = [reply.head.status for _ in range(3) if (reply := world.ask(shell_request())).head is not None]
    assert statuses == [429, 200, 200]
    assert asked == [("emulated", 1), ("emulated", 2), ("emulated", 3)]
    assert world.log[0] == "answered POST /generateAssistantResponse: 429, account emulated, scenario 'throttled'"


def test_the_header_comes_before_the_source() -> None:
    world = World(scenario=always("throttled"))
    reply = world.ask(shell_request(), x_emulator_scenario="fine")
    assert reply.head is not None
    assert reply.head.status == 200


def test_scenarios_in_turn_end_in_the_ordinary_answer() -> None:
    source = in_turn("cut:1", "html")
    assert [source("a", number) for number in range(1, 5)] == ["cut:1", "html", "fine", "fine"]


def test_a_file_gives_its_sequence_first_and_then_each_accounts_own(tmp_path: Path) -> None:
    path = tmp_path / "scenarios.json"
    path.write_text(json.dumps({"sequence": ["html", "fine"], "accounts": {"a": "stall:1"}, "default": "empty"}))
    file = ScenarioFile(path)
    assert [file.scenario(account, 1) for account in "abaab"] == [
        "html",
        "fine",
        "stall:1",
        "stall:1",
        "empty",
    ]
    assert file.refresh_scenario("a", 1) == "fine"


def test_a_file_is_read_again_at_each_request_and_a_changed_one_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "scenarios.json"
    path.write_text('{"sequence": ["html"]}')
    file = ScenarioFile(path)
    assert [file.scenario("a", 1), file.scenario("a", 2)] == ["html", "fine"]
    path.write_text('{"sequence": ["empty"], "refresh": "refresh-refused"}')
    assert [file.scenario("a", 3), file.scenario("a", 4)] == ["empty", "fine"]
    assert file.refresh_scenario("a", 1) == "refresh-refused"


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"defaults": "fine"}', '{"sequence": "fine"}', "[" * 5000])
def test_a_file_that_cannot_be_used_is_a_clear_answer(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "scenarios.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UnknownScenario, match="the scenario file"):
        ScenarioFile(path).scenario("a", 1)
    world = World(scenario=ScenarioFile(path).scenario)
    reply = world.ask(shell_request())
    assert reply.head is not None
    assert reply.head.status == 500
    assert "The emulator cannot play this: the scenario file" in json.loads(reply.body())["message"]
    assert world.log[0].startswith("cannot play POST /generateAssistantResponse: the scenario file")
