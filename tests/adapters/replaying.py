"""`stagewhisper replay` as tests run it: with bytes for a file, and what it said of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.cli import main


class Run:
    """`stagewhisper replay`, run."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        self.code = -1
        self.said = ""
        self.complained = ""

    def __call__(self, data: bytes | None, *options: str) -> Run:
        """Of one file with these bytes, if any."""
        names = []
        if data is not None:
            (self.folder / "capture.bin").write_bytes(data)
            names = [str(self.folder / "capture.bin")]
        self.code = main(["replay", *names, *options])
        self.said, self.complained = self._capsys.readouterr()
        return self

    @property
    def values(self) -> list[Any]:
        """What was said, each line as JSON."""
        return [json.loads(line) for line in self.said.splitlines()]
