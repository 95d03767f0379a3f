"""Where the scenario of a request comes from: a function, one name for all, or a file that may change meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import msgspec

from adapters.emulator.scenarios import FINE, UnknownScenario

ScenarioSource: TypeAlias = Callable[[str, int], str]
"""`(account_id, request_number) -> scenario`: the number counts that account's requests, from 1."""


def always(scenario: str) -> ScenarioSource:
    """The same scenario for every request."""
    return lambda _account_id, _number: scenario


def in_turn(*scenarios: str) -> ScenarioSource:
    """These scenarios for an account's first requests, one each; after them, the ordinary answer."""
    return lambda _account_id, number: scenarios[number - 1] if number <= len(scenarios) else FINE


class _File(msgspec.Struct, forbid_unknown_fields=True):
    default: str = FINE
    refresh: str = FINE
    accounts: dict[str, str] = {}
    sequence: list[str] = []
    refreshes: dict[str, str] = {}


class ScenarioFile:
    """A JSON file, all of whose members may be left out.

    `{"default": NAME, "accounts": {ID: NAME}, "sequence": [NAME, ...], "refresh": NAME, "refreshes": {ID: NAME}}`.

    The sequence is for the first requests of all, in the order in which they come, whoever's they are; it begins
    anew when the file's content changes. Then an account's own scenario counts, else the default. For token calls,
    an account's own stands in `refreshes`, the default is `refresh`. The file is read at each request.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content: bytes | None = None
        self._taken = 0

    def scenario(self, account_id: str, _number: int) -> str:
        """The scenario of the next request for an answer.

        Raises:
            UnknownScenario: the file cannot be read.
        """
        content = self._read()
        if self._taken < len(content.sequence):
            self._taken += 1
            return content.sequence[self._taken - 1]
        return content.accounts.get(account_id, content.default)

    def refresh_scenario(self, account_id: str, _number: int) -> str:
        """The scenario of a token call.

        Raises:
            UnknownScenario: the file cannot be read.
        """
        content = self._read()
        return content.refreshes.get(account_id, content.refresh)

    def _read(self) -> _File:
        try:
            content = self._path.read_bytes()
            parsed = msgspec.json.decode(content, type=_File)
        except OSError as error:
            raise UnknownScenario(f"the scenario file cannot be read: {error.strerror}") from None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UnknownScenario(f"the scenario file: {error}") from None
        if content != self._content:
            self._content = content
            self._taken = 0
        return parsed
