"""What the tests of token files begin with: a sign-in service, and the path of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.adapters.token_files import SignIn


@pytest.fixture
def service() -> SignIn:
    return SignIn()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "token.json"
