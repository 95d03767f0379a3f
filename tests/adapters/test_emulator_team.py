"""An emulator of several accounts: what is written for a gateway, and how one of them alone is made to fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.cli import main
from adapters.configfile import load_config
from adapters.demo import write_config
from adapters.emulator import MOST_ACCOUNTS, ScenarioFile, team_accounts
from adapters.gateway import check_token_files
from tests.adapters.emulated import World, shell_request


@pytest.mark.parametrize("count", [1, 2, 10, MOST_ACCOUNTS])
def test_the_accounts_of_a_team_have_nothing_in_common(count: int) -> None:
    team = team_accounts(count)
    assert len(team) == count
    for member in ("id", "access_token", "refresh_token", "profile_arn"):
        assert len({getattr(account, member) for account in team}) == count
    assert team[-1].id == f"team-account{count}"


def test_a_written_configuration_names_the_accounts_as_the_emulator_does(tmp_path: Path) -> None:
    team = team_accounts(3)
    file = write_config(tmp_path, "http://127.0.0.1:1", team)
    config = load_config(str(file), {})
    assert [provider.id for provider in config.providers] == [account.id for account in team]
    assert {provider.original_provider_id for provider in config.providers} == {"team"}
    assert {provider.refresh_url for provider in config.providers} == {"http://127.0.0.1:1/refreshToken"}
    assert check_token_files(config) == ([], [])
    for provider, account in zip(config.providers, team, strict=True):
        token_file = Path(provider.token_file)
        assert token_file.stat().st_mode & 0o777 == 0o600
        assert json.loads(token_file.read_text())["accessToken"] == account.access_token
        assert json.loads(token_file.read_text())["profileArn"] == account.profile_arn


def test_an_account_alone_fails_in_its_answers_and_in_its_refreshes(tmp_path: Path) -> None:
    path = tmp_path / "scenarios.json"
    refreshes = {"refresh": "keep-refresh-token", "refreshes": {"team-account1": "internal-error"}}
    path.write_text(json.dumps({"accounts": {"team-account2": "throttled"}, **refreshes}))
    file, team = ScenarioFile(path), team_accounts(2)
    world = World(accounts=team, scenario=file.scenario, refresh_scenario=file.refresh_scenario)
    for account, status, refreshed in zip(team, (200, 429), (500, 200), strict=True):
        answer = world.ask(shell_request(), token=account.access_token)
        assert answer.head is not None
        assert answer.head.status == status
        assert world.post("/refreshToken", {"refreshToken": account.refresh_token})[0] == refreshed


@pytest.mark.parametrize("count", ["0", "-1", str(MOST_ACCOUNTS + 1)])
def test_a_number_of_accounts_that_cannot_be_played_is_refused(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["emulate", "--bind", "127.0.0.1:0", "--accounts", count]) == 1
    assert capsys.readouterr().err == f"--accounts: expected 1 to {MOST_ACCOUNTS}, got {count}\n"
