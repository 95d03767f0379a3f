"""Recording through the gateway: what clients are sent is in the files, and runs again; and the switch for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters.emulator import in_turn
from core.playback import chop, single_bytes
from core.recording import CutLine, EndedLine, Recording, parse_recording
from core.rerun import first_difference_from_then, rerun
from core.response import BufferedResponse
from tests.adapters.harness import HELLO, LOCAL, STREAMED, Site, account, running

TOOLS = [{"name": "Bash", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}]
WITH_TOOLS = {**STREAMED, "tools": TOOLS, "messages": [{"role": "user", "content": "Run a command"}]}


def recordings(folder: Path) -> list[Recording]:
    """All that is recorded there, oldest first."""
    return [parse_recording(file.read_bytes()) for file in sorted(folder.iterdir())]


async def record(tmp_path: Path, *bodies: dict[str, Any], **arguments: Any) -> tuple[list[Recording], list[bytes]]:
    """What is recorded of these requests to a gateway, and what its clients were sent."""
    document = {"recording": {"directory": str(tmp_path / "recordings")}}
    async with running(tmp_path, document, **arguments) as site:
        site.live()
        sent = [(await site.ask("POST", "/v1/messages", body)).data for body in bodies]
    return recordings(tmp_path / "recordings"), sent


@pytest.mark.parametrize(
    ("body", "scenarios", "accounts"),
    [
        (STREAMED, ("fine",), "a"),
        (WITH_TOOLS, ("fine",), "a"),
        (HELLO, ("fine",), "a"),
        (STREAMED, ("throttled", "fine"), "ab"),
        (STREAMED, ("token-revoked",), "a"),
        (STREAMED, ("cut:200",), "ab"),
        (HELLO, ("throttled", "internal-error", "forbidden"), "abc"),
        (STREAMED, ("long-tool-cut",), "a"),
        (STREAMED, ("exception:InternalServerException",), "a"),
        (HELLO, ("refuse-connection",), "a"),
    ],
)
async def test_what_is_recorded_runs_again_to_the_same_in_all_pieces(
    tmp_path: Path, body: dict[str, Any], scenarios: tuple[str, ...], accounts: str
) -> None:
    remaining = iter(scenarios)
    (recording,), (sent,) = await record(
        tmp_path, body, scenario=lambda *_: next(remaining, "fine"), accounts=tuple(accounts)
    )
    runs = [rerun(recording, pieces) for pieces in (None, single_bytes, lambda data: chop(data, seed=1, turn=4))]
    for run in runs:
        assert first_difference_from_then(recording, run) is None
        assert run.is_ended
        assert run.is_converted_alike
    run = runs[0]
    if isinstance(run.outcome, BufferedResponse):
        assert run.outcome.message.id.encode() in sent
    else:
        assert run.outcome is not None
        assert run.outcome.error_type.encode() in sent


async def test_each_exchange_has_a_file_of_its_own(tmp_path: Path) -> None:
    found, _ = await record(tmp_path, HELLO, STREAMED, HELLO)
    assert len({each.opening.request_id for each in found}) == 3
    assert [each.request.stream for each in found] == [None, True, None]


async def test_what_never_became_an_exchange_is_not_recorded(tmp_path: Path) -> None:
    found, _ = await record(tmp_path, {**HELLO, "model": "none"}, {**HELLO, "max_tokens": 0}, {})
    assert found == []


async def test_the_recording_of_a_client_that_left_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    async with running(tmp_path, {"recording": {"directory": str(folder)}}, scenario=in_turn("stall:2")) as site:
        site.live()
        talk = site.begin("POST", "/v1/messages", STREAMED)
        await site.until_said("stall")
        talk.leave()
        await talk.over.wait()
    (recording,) = recordings(folder)
    assert recording.lines[-1] == CutLine(why="the client left, or the gateway was stopped")
    assert first_difference_from_then(recording, rerun(recording)) is None


async def test_the_tokens_of_all_accounts_are_known_from_the_start(tmp_path: Path) -> None:
    secret = account("b").access_token
    quoting = {**STREAMED, "messages": [{"role": "user", "content": f"My file says {secret}"}]}
    (recording,), _ = await record(tmp_path, quoting, accounts=("a", "b"))
    assert recording.lines[-1] == CutLine(
        why="a token or a profile's ARN stands in the prompt, which the answer may quote"
    )
    (file,) = (tmp_path / "recordings").iterdir()
    assert secret.encode() not in file.read_bytes()


# --- the switch ------------------------------------------------------------------------------------------------


async def switch(site: Site, body: object) -> Any:
    return await site.ask("POST", "/admin/recording", body)


async def test_recording_is_switched_off_and_on_while_the_gateway_runs(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    async with running(tmp_path, {"recording": {"directory": str(folder)}}) as site:
        site.live()
        assert (await site.ask("GET", "/admin/recording")).json == {"enabled": True}
        assert (await switch(site, {"enabled": False})).json == {"enabled": False}
        await site.ask("POST", "/v1/messages", HELLO)
        assert (await site.ask("GET", "/admin/recording")).json == {"enabled": False}
        assert (await switch(site, {"enabled": True})).json == {"enabled": True}
        last = await site.ask("POST", "/v1/messages", STREAMED)
    (recording,) = recordings(folder)
    assert recording.opening.request_id == last.headers["request-id"]
    assert isinstance(recording.lines[-1], EndedLine)


async def test_switching_off_ends_what_is_being_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    async with running(tmp_path, {"recording": {"directory": str(folder)}}, scenario=in_turn("slow:20")) as site:
        site.live()
        talk = site.begin("POST", "/v1/messages", STREAMED)
        await site.until_said("slow")
        await switch(site, {"enabled": False})
        await talk.over.wait()
        assert talk.events[-1] == "message_stop"
    for recording in recordings(folder):
        assert isinstance(recording.lines[-1], CutLine)


async def test_without_a_folder_recording_cannot_be_switched_on(tmp_path: Path) -> None:
    async with running(tmp_path) as site:
        assert (await site.ask("GET", "/admin/recording")).json == {"enabled": False}
        assert (await switch(site, {"enabled": False})).json == {"enabled": False}
        refused = await switch(site, {"enabled": True})
    status, kind, problem = refused.failure
    assert (status, kind) == (400, "invalid_request_error")
    assert problem.startswith("enabled: where to is not said: start the gateway with recording.directory, or with")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"null", b"{}", {"enabled": None}, {"enabled": 1}, {"enabled": True, "directory": "/tmp/x"}],
)
async def test_the_switch_takes_nothing_but_on_and_off(tmp_path: Path, body: object) -> None:
    folder = tmp_path / "recordings"
    async with running(tmp_path, {"recording": {"directory": str(folder)}}) as site:
        refused = await switch(site, body)
        assert refused.failure[:2] == (400, "invalid_request_error")
        assert refused.failure[2] == 'expected {"enabled": true} or {"enabled": false}'
        assert (await site.ask("GET", "/admin/recording")).json == {"enabled": True}


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_switch_is_guarded_as_all_of_admin_is(tmp_path: Path, method: str) -> None:
    document = {"server": {"apiKeys": ["made-up-client-key"], "adminKey": "made-up-admin-key"}}
    async with running(tmp_path, document) as site:
        for headers in (LOCAL, {**LOCAL, "x-api-key": "made-up-client-key"}):
            assert (await site.ask(method, "/admin/recording", {"enabled": False}, headers=headers)).status == 401
        right = {**LOCAL, "x-api-key": "made-up-admin-key"}
        assert (await site.ask(method, "/admin/recording", {"enabled": False}, headers=right)).status == 200
