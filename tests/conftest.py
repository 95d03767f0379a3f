"""What all tests begin with: a state folder of their own, in which nothing may ever come to be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def nobodys_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In place of the platform's folder for this user's state, for processes that tests start too.

    Each test that needs a state on the disk names a file of its own. One that forgets it is noticed here.
    """
    folder = tmp_path_factory.mktemp("state-of-nobody")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_STATE_HOME", "LOCALAPPDATA"):
            patch.setenv(name, str(folder))
        yield folder
    assert list(folder.iterdir()) == [], "a test used the state folder of whoever runs it"
