"""What many tests begin with: a sign-in service and the path of a token file, or `stagewhisper replay`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.adapters.replaying import Run
from tests.adapters.token_files import SignIn


@pytest.fixture
def service() -> SignIn:
    return SignIn()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "token.json"


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`stagewhisper replay` without a terminal: lines are as long as they are."""
    monkeypatch.delenv("COLUMNS", raising=False)
    return Run(tmp_path, capsys)
