"""A CodeWhisperer to run against: the real wire, strict about requests, able to misbehave on demand.

Nothing here is shared with `core`, which it is there to try; it is written from the descriptions of the service.
`Emulator` serves connections, `describe` tells what it can be made to do wrong, `read_recordings` finds answers that
the service gave once, and the rest gives it accounts.
"""

from adapters.emulator.accounts import (
    CLIENT_ID_HASH,
    MOST_ACCOUNTS,
    Counts,
    EmulatedAccount,
    default_account,
    render_registration_file,
    render_token_file,
    team_accounts,
)
from adapters.emulator.connection import Request
from adapters.emulator.recordings import Recordings, Unservable, read_recordings
from adapters.emulator.scenarios import UnknownScenario, check, describe
from adapters.emulator.server import DEFAULT_MODELS, SCENARIO_HEADER, Emulator
from adapters.emulator.sources import ScenarioFile, ScenarioSource, always, in_turn

__all__ = [
    "CLIENT_ID_HASH",
    "DEFAULT_MODELS",
    "MOST_ACCOUNTS",
    "SCENARIO_HEADER",
    "Counts",
    "EmulatedAccount",
    "Emulator",
    "Recordings",
    "Request",
    "ScenarioFile",
    "ScenarioSource",
    "UnknownScenario",
    "Unservable",
    "always",
    "check",
    "default_account",
    "describe",
    "in_turn",
    "read_recordings",
    "render_registration_file",
    "render_token_file",
    "team_accounts",
]
