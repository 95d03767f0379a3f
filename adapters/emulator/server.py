"""The emulator itself: which call a request is, whose it is, whether it is a good one, and how it is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

import msgspec
import trio

from adapters.emulator import rules, scenarios
from adapters.emulator.accounts import (
    DEVICE_GRANT,
    REFRESH_TOKEN_GRANT,
    Accounts,
    Counts,
    EmulatedAccount,
    TokenRefused,
    default_account,
)
from adapters.emulator.assistant import read_request
from adapters.emulator.connection import Connection, Gone, Request, Unreadable
from adapters.emulator.events import WINDOW_TOKENS
from adapters.emulator.failures import BAD_MODEL, BAD_TOKEN, IMPROPER
from adapters.emulator.recordings import Recordings
from adapters.emulator.shapes import ORIGIN, PROFILE_ARN, Refused, check, shown
from adapters.emulator.sources import ScenarioSource, always
from adapters.emulator.stage import Stage, oidc_error, refusal, seed_from, uuid_from
from adapters.emulator.wire import JSON, Reply, encode_payload, whole

SCENARIO_HEADER = "x-emulator-scenario"
TARGET = "AmazonCodeWhispererStreamingService.GenerateAssistantResponse"

DEFAULT_MODELS = (
    "CLAUDE_SONNET_4_20250514_V1_0",
    "CLAUDE_3_5_SONNET_20241022_V2_0",
    "CLAUDE_3_7_SONNET_20250219_V1_0",
    "auto",
    "claude-sonnet-4",
    "claude-sonnet-4.5",
    "claude-sonnet-4.6",
    "claude-opus-4.5",
    "claude-opus-4.6",
    "claude-opus-4.7",
    "claude-opus-4.8",
    "claude-haiku-4.5",
)
"""Ids that were seen at the service."""

_MODELS_A_PAGE = 10


class _Call(msgspec.Struct, frozen=True):
    """A request as it is answered: with its ids, and in the form that its binding has for errors."""

    request: Request
    path: str
    query: Mapping[str, list[str]]
    request_id: str
    aws_json: bool


class Emulator:
    """A CodeWhisperer to run against.

    `scenario` is asked how each good request for an answer is to go, `refresh_scenario` each good token call; with
    `recordings`, these answer instead of a scenario, and their models are known too. The header `x-emulator-scenario`
    comes before all. `log` gets one line for each request, never with a token in
    it. `epoch` tells the date, in seconds since 1970.
    """

    def __init__(
        self,
        *,
        accounts: Sequence[EmulatedAccount] = (),
        models: tuple[str, ...] = DEFAULT_MODELS,
        scenario: ScenarioSource | None = None,
        refresh_scenario: ScenarioSource | None = None,
        recordings: Recordings | None = None,
        log: Callable[[str], None],
        epoch: Callable[[], float],
        patience: float = 300.0,
    ) -> None:
        self.accounts = Accounts(accounts or (default_account(),), epoch)
        self._models = tuple(dict.fromkeys((*models, *(recordings.models if recordings else ()))))
        self._recordings = recordings
        self._scenario = scenario or always(scenarios.FINE)
        self._refresh_scenario = refresh_scenario or always(scenarios.FINE)
        self._log = log
        self._patience = patience
        self._answered = 0

    @property
    def counts(self) -> Mapping[str, Counts]:
        """What each account has done so far, by its id."""
        return self.accounts.counts

    # --- connections ---

    async def serve(
        self,
        listeners: Sequence[trio.abc.Listener[trio.abc.Stream]],
        *,
        task_status: trio.TaskStatus[list[trio.abc.Listener[trio.abc.Stream]]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve every connection to these listeners, until cancelled."""
        async with trio.open_nursery() as nursery:
            task_status.started(await nursery.start(trio.serve_listeners, self.serve_stream, list(listeners)))

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one connection to its end. What a client does wrong ends its own connection and no other."""
        connection = Connection(stream, self._patience)
        try:
            while (request := await connection.read_request()) is not None:
                if not await connection.play(self.answer(request)):
                    break
        except Unreadable as problem:
            self._log(f"refused a connection: {shown(str(problem))}")
            await connection.refuse(problem.status)
        except Gone:
            self._log("a client left before the end")
        finally:
            # Closing without a goodbye does not wait, so it needs no shield from a cancellation.
            await trio.aclose_forcefully(stream)

    # --- requests ---

    def answer(self, request: Request) -> Reply:
        """The reply to a request, which is logged in a line."""
        self._answered += 1
        request_id = uuid_from(f"{self._answered}/{seed_from(request.body)}")
        path, _, query = request.target.partition("?")
        aws_json = path == "/" and request.method == "POST"
        call = _Call(request, path, parse_qs(query), request_id, aws_json)
        name = f"{shown(request.method)[1:-1]} {shown(path)[1:-1]}"
        try:
            reply, how = self._route(call)
        except RecursionError:
            broken = Refused("", "nested too deeply")
            self._log(f"refused {name}: {broken}")
            return _improper(call, broken)
        except Refused as broken:
            self._log(f"refused {name}: {broken}")
            return _improper(call, broken)
        except TokenRefused as problem:
            self._log(f"refused {name}: {problem}")
            if path == "/refreshToken":
                return refusal(problem.status, "UnauthorizedException", problem.description, None, request_id)
            return oidc_error(problem.status, problem.error, problem.description, request_id)
        except scenarios.UnknownScenario as problem:
            self._log(f"cannot play {name}: {problem}")
            content = encode_payload({"message": f"The emulator cannot play this: {problem}", "reason": None})
            return whole(500, content, (("content-type", JSON), ("x-amzn-requestid", request_id)))
        status = "no head" if reply.head is None else reply.head.status
        self._log(f"answered {name}: {status}{how}")
        return reply

    def _route(self, call: _Call) -> tuple[Reply, str]:
        """The reply to a call, and what the log says of it beside the status."""
        match call.request.method, call.path:
            case "POST", "/generateAssistantResponse":
                return self._generate(call)
            case "POST", "/" if call.request.headers.get("x-amz-target") == TARGET:
                return self._generate(call)
            case "GET", "/ListAvailableModels":
                return self._other(call, self._list_models)
            case "GET", "/getUsageLimits":
                return self._other(call, self._usage_limits)
            case "POST", "/refreshToken":
                return self._refresh_social(call)
            case "POST", "/token":
                return self._token(call)
            case "POST", "/client/register":
                rules.parse_body(call.request.body)
                return self._plain(call, self.accounts.register())
            case "POST", "/device_authorization":
                return self._plain(call, self._start_sign_in(call))
            case _:
                return _unknown_operation(call.request_id), ", an unknown operation"

    def _plain(self, call: _Call, content: dict[str, Any]) -> tuple[Reply, str]:
        stage = Stage(call="other", seed=0, request_id=call.request_id, content=content)
        return self._play(call, scenarios.FINE, stage)

    def _play(self, call: _Call, scenario: str, stage: Stage) -> tuple[Reply, str]:
        scenario = call.request.headers.get(SCENARIO_HEADER, scenario)
        return scenarios.play(scenario, stage), "" if scenario == scenarios.FINE else f", scenario {shown(scenario)}"

    def _bearer(self, call: _Call) -> str | None:
        scheme, _, token = call.request.headers.get("authorization", "").partition(" ")
        return self.accounts.holder(token.strip()) if scheme.lower() == "bearer" else None

    def _generate(self, call: _Call) -> tuple[Reply, str]:
        account = self._bearer(call)
        if account is None:
            return _bad_token(call), ", no valid token"
        counts = self.accounts.counts[account]
        counts.requests += 1
        try:
            rules.check_headers(call.request.headers, aws_json=call.aws_json)
            body = rules.parse_body(call.request.body)
            rules.check_request(body, self._models)
        except Refused:
            counts.refused += 1
            raise
        if self._recordings is not None and SCENARIO_HEADER not in call.request.headers:
            reply, how = self._recordings.answer(body["conversationState"], longest_wait=self._patience)
            return reply, f", account {account}, {how}"
        seed = seed_from(call.request.body)
        stage = Stage(
            call="generate",
            seed=seed,
            request_id=call.request_id,
            aws_json=call.aws_json,
            conversation_id=body["conversationState"].get("conversationId", uuid_from(str(seed))),
            asked=read_request(body, len(call.request.body)),
            revoke=lambda: self.accounts.revoke(account),
        )
        reply, how = self._play(call, self._scenario(account, counts.requests), stage)
        return reply, f", account {account}{how}"

    # --- the small calls ---

    def _other(self, call: _Call, content: Callable[[_Call], dict[str, Any]]) -> tuple[Reply, str]:
        if (account := self._bearer(call)) is None:
            return _bad_token(call), ", no valid token"
        check(ORIGIN, call.query.get("origin", [""])[-1], "query origin")
        if "profileArn" in call.query:
            check(PROFILE_ARN, call.query["profileArn"][-1], "query profileArn")
        reply, how = self._plain(call, content(call))
        return reply, f", account {account}{how}"

    def _list_models(self, call: _Call) -> dict[str, Any]:
        cursor = call.query.get("nextToken", ["0"])[-1]
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 6 and int(cursor) <= len(self._models)):
            raise Refused("query nextToken", f"{shown(cursor)} was not given out here")
        start, end = int(cursor), int(cursor) + _MODELS_A_PAGE
        models = [
            {
                "modelId": model,
                "modelName": model.replace("-", " ").replace("_", " ").title(),
                "description": "A made-up model of the emulator's",
                "tokenLimits": {"maxInputTokens": WINDOW_TOKENS, "maxOutputTokens": 64_000},
                "supportedInputTypes": ["TEXT", "IMAGE"],
            }
            for model in self._models[start:end]
        ]
        content: dict[str, Any] = {"models": models}
        if self._models:
            content["defaultModel"] = {"modelId": self._models[0]}
        if end < len(self._models):
            content["nextToken"] = str(end)
        return content

    def _usage_limits(self, _call: _Call) -> dict[str, Any]:
        used = sum(counts.requests for counts in self.counts.values())
        usage = {"currentUsageWithPrecision": float(used), "usageLimitWithPrecision": 1000.0}
        return {
            "usageBreakdownList": [{"resourceType": "AGENTIC_REQUEST", **usage}],
            "subscriptionInfo": {"subscriptionTitle": "EMULATED", "type": "Q_DEVELOPER_STANDALONE_FREE"},
            "nextDateReset": 4_102_444_800,
            "daysUntilReset": 28,
        }

    # --- tokens ---

    def _refresh_social(self, call: _Call) -> tuple[Reply, str]:
        body = rules.parse_body(call.request.body)
        account = self.accounts.check_refresh(body.get("refreshToken"), "social")
        return self._issue(call, account, oidc=False)

    def _token(self, call: _Call) -> tuple[Reply, str]:
        body = rules.parse_body(call.request.body)
        client = self.accounts.check_client(body.get("clientId"), body.get("clientSecret"))
        grant = body.get("grantType")
        if grant == REFRESH_TOKEN_GRANT:
            account = self.accounts.check_refresh(body.get("refreshToken"), "IdC")
        elif grant == DEVICE_GRANT:
            account = self.accounts.poll_sign_in(body.get("deviceCode"), client)
        else:
            raise TokenRefused(400, "unsupported_grant_type", "Unsupported grant type provided")
        return self._issue(call, account, oidc=True)

    def _issue(self, call: _Call, account: str, *, oidc: bool) -> tuple[Reply, str]:
        stage = Stage(
            call="token",
            seed=0,
            request_id=call.request_id,
            oidc=oidc,
            issue=lambda rotate, life: self.accounts.issue(account, rotate=rotate, expires_in=life),
        )
        number = self.accounts.counts[account].refreshes + 1
        reply, how = self._play(call, self._refresh_scenario(account, number), stage)
        return reply, f", account {account}{how}"

    def _start_sign_in(self, call: _Call) -> dict[str, Any]:
        body = rules.parse_body(call.request.body)
        client = self.accounts.check_client(body.get("clientId"), body.get("clientSecret"))
        if not isinstance(body.get("startUrl"), str):
            raise TokenRefused(400, "invalid_request", "Invalid start url provided")
        return self.accounts.start_sign_in(client, f"http://{call.request.headers.get('host', 'localhost')}")


def _improper(call: _Call, broken: Refused) -> Reply:
    """A broken rule in the service's words, which tell nothing. Wrong headers have names of their own."""
    match broken.reason:
        case "UnsupportedMediaTypeException" as name:
            return refusal(415, name, "Unsupported media type.", None, call.request_id, aws_json=call.aws_json)
        case "NotAcceptableException" as name:
            return refusal(406, name, "Not acceptable.", None, call.request_id, aws_json=call.aws_json)
        case reason:
            message = BAD_MODEL if reason == "INVALID_MODEL_ID" else IMPROPER
            return refusal(400, "ValidationException", message, reason, call.request_id, aws_json=call.aws_json)


def _bad_token(call: _Call) -> Reply:
    return refusal(403, "AccessDeniedException", BAD_TOKEN, None, call.request_id, aws_json=call.aws_json)


def _unknown_operation(request_id: str) -> Reply:
    """The captured answer. Its status was not captured; 404 is what AWS's protocols have for it."""
    inner = {
        "__type": "com.amazon.coral.service#UnknownOperationException",
        "message": "The requested operation is not recognized by the service.",
    }
    content = encode_payload({"Output": inner, "Version": "1.0"})
    return whole(404, content, (("content-type", JSON), ("x-amzn-requestid", request_id)))
