"""The routes for whoever runs the gateway: accounts, statistics, metrics, and whether it is ready.

Who may ask for them is decided before a route is reached, in `app`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from quart import Response
from quart_trio import QuartTrio

from adapters.accounts import ACTIONS, Accounts, NotKept, UnknownAccount
from adapters.recorder import Recorder
from adapters.stopping import Stopping
from adapters.telemetry import Telemetry
from core.errors import ClientRequestError

_JSON = {"content-type": "application/json", "cache-control": "no-store"}


def is_guarded(path: str) -> bool:
    """Whether a path is for whoever runs the gateway alone."""
    return path in ("/metrics", "/admin") or path.startswith("/admin/")


class _Switch(msgspec.Struct, forbid_unknown_fields=True):
    enabled: bool


def add_routes(
    app: QuartTrio,
    accounts: Accounts,
    telemetry: Telemetry,
    recorder: Recorder | None,
    stopping: Stopping,
    read_body: Callable[[], Awaitable[bytes]],
) -> None:
    """Add the routes to the application. `read_body` gives the present request's."""

    @app.get("/ready")
    async def ready() -> Response:
        if stopping.has_begun:
            return _json({"status": "the gateway is stopping"}, 503)
        if accounts.is_ready():
            return _json({"status": "ready"})
        return _json({"status": "no account can be used now"}, 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        content_type, body = telemetry.metrics.render()
        return Response(body, 200, headers={"content-type": content_type, "cache-control": "no-store"})

    @app.get("/admin/stats")
    async def stats() -> Response:
        return _json(telemetry.render())

    @app.get("/admin/accounts")
    async def list_accounts() -> Response:
        return _json({"accounts": accounts.render()})

    @app.post("/admin/accounts/<account_id>/<action>")
    async def act(account_id: str, action: str) -> Response:
        if action not in ACTIONS:
            problem = f"there is no action {action[:64]!r}; there are {', '.join(ACTIONS)}"
            raise ClientRequestError("", problem, error_type="not_found_error")
        try:
            return _json(await accounts.act(account_id, action))
        except UnknownAccount as error:
            raise ClientRequestError("", str(error), error_type="not_found_error") from None
        except NotKept as error:
            raise ClientRequestError("", str(error), error_type="api_error") from None

    @app.get("/admin/recording")
    async def recording() -> Response:
        return _json(_recording(recorder))

    @app.post("/admin/recording")
    async def switch_recording() -> Response:
        try:
            wish = msgspec.json.decode(await read_body(), type=_Switch)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise ClientRequestError("", 'expected {"enabled": true} or {"enabled": false}') from None
        if recorder is not None:
            recorder.switch(wish.enabled)
        elif wish.enabled:
            problem = "where to is not said: start the gateway with recording.directory, or with --record"
            raise ClientRequestError("enabled", problem)
        return _json(_recording(recorder))


def _recording(recorder: Recorder | None) -> dict[str, object]:
    return {"enabled": recorder is not None and recorder.is_on}


def _json(value: dict[str, object], status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, headers=_JSON)
