"""The routes: each reads a request, asks the core, and renders what comes of it. None of them decides."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, TypeAlias, cast

import msgspec
import trio
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from adapters import admin, ambient
from adapters.accounts import Accounts
from adapters.connection import Connection, Lifespan, Reply, incoming
from adapters.driver import Driver
from adapters.outbox import Outbox
from adapters.places import NoPlace, Places
from adapters.recorder import OpenRecording, Recorder
from adapters.stopping import EXPLANATION, Stopping
from adapters.telemetry import Following, Telemetry
from core.access import check_access, check_admin
from core.anthropic import STATUS_OF_ERROR, MessagesRequest, parse_request
from core.catalogue import find_model, render_model, render_models
from core.config import Config
from core.dialogue import WholeAnswer
from core.errors import ClientRequestError
from core.phases import Asked, Policy, ask_for_delivery
from core.request import convert
from core.sse import Error, ErrorDetail, encode_error, encode_events
from core.summary import Outcome

_log = logging.getLogger("stagewhisper")
_REQUEST_ID = "stagewhisper.request_id"
_EXCHANGE = "stagewhisper.exchange"
_DETAIL = "stagewhisper.detail"
_MESSAGES = "/v1/messages"
_JSON = {"content-type": "application/json"}
_BUSY = {**_JSON, "retry-after": "1"}
"""With what comes of the gateway's own limits. They pass quickly, and clients that honour it need no backoff."""

_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
_OPEN = ("/health", "/ready")
"""What anyone may ask: both say one word."""

Scope: TypeAlias = dict[str, Any]
"""ASGI's of a request, in which what is known of it is kept too."""

_CLOSING_SECONDS = 80.0
"""How long the last writes may take: a token file's lock is waited for up to a minute."""


def create_app(
    config: Config,
    *,
    driver: Driver,
    accounts: Accounts,
    telemetry: Telemetry,
    stopping: Stopping,
    recorder: Recorder | None = None,
) -> QuartTrio:
    """The gateway as an ASGI application."""
    app = QuartTrio("stagewhisper", static_folder=None)
    app.asgi_lifespan_class = Lifespan
    # Quart's limits are set aside on purpose: the exchange has deadlines of its own, `Incoming` bounds the body.
    app.config.update(
        RESPONSE_TIMEOUT=None, BODY_TIMEOUT=None, MAX_CONTENT_LENGTH=None, PROVIDE_AUTOMATIC_OPTIONS=False,
        BACKGROUND_TASK_SHUTDOWN_TIMEOUT=_CLOSING_SECONDS,
    )  # fmt: skip
    app.url_map.merge_slashes = False  # it redirects; here, what is not a route is a 404
    places = Places(config.server.max_concurrent, queue=config.server.max_queued, patience=config.connect_timeout)

    async def body_of(scope: Scope) -> bytes:
        with trio.CancelScope() as reading, stopping.refusing(reading.cancel):
            return await incoming(scope).body(patience=config.request_timeout)
        raise ClientRequestError("", EXPLANATION, error_type="overloaded_error")

    def admit(scope: Scope, path: str, headers: Mapping[str, str]) -> None:
        if path in _OPEN:
            return
        client, server = _address(scope.get("client")), _address(scope.get("server"))
        if admin.is_guarded(path):
            settings = config.server
            check_admin(headers, admin_key=settings.admin_key, bind=settings.host, client=client, server=server)
        else:
            check_access(headers, api_keys=config.server.api_keys, client=client, server=server)
            if stopping.has_begun:
                raise ClientRequestError("", EXPLANATION, error_type="overloaded_error")

    def end(scope: Scope, method: str, path: str, status: int) -> dict[str, str]:
        """See to what every answer has, and to its line in the log; the headers that all have."""
        if _EXCHANGE not in scope:  # an exchange writes its own line when it has ended
            line = f"{_request_id(scope)} {method} {path[:100]!a}: {status}"
            _log.info("%s%s", line, scope.get(_DETAIL, ""))
        headers = {"request-id": _request_id(scope)}
        if stopping.has_begun:
            headers["connection"] = "close"
            incoming(scope).hurry()
        return headers

    async def messages(scope: Scope, headers: Mapping[str, str]) -> Reply:
        policy = ask_for_delivery(config.policy, headers.get("x-stagewhisper-delivery"))
        parsed = parse_request(await body_of(scope))
        asked = _ask(parsed, config, scope)
        following = telemetry.follow(request_id=asked.request_id, model=asked.conversion.model.name)
        outbox = Outbox()
        scope[_EXCHANGE] = True
        recording = _recording(recorder, asked, parsed, policy)
        nursery = incoming(scope).nursery
        nursery.start_soon(_exchange, driver, places, nursery, stopping, asked, policy, outbox, following, recording)
        whole = await outbox.first()
        if whole is not None:
            return Reply(whole.status, whole.headers, whole.body)
        return Reply(200, _STREAM, outbox.chunks(), outbox.is_over)

    async def messages_alone(scope: Scope) -> Reply:
        """The same with what quart sees to elsewhere."""
        headers = _headers(scope)
        try:
            admit(scope, _MESSAGES, headers)
            reply = await messages(scope, headers)
        except ClientRequestError as error:
            reply = _refuse(error, scope)
        except Exception as error:
            reply = _crash(error, scope)
        return reply._replace(headers={**reply.headers, **end(scope, "POST", _MESSAGES, reply.status)})

    app.asgi_http_class = partial(  # type: ignore[assignment]  # used like a class
        Connection, routes={("POST", _MESSAGES): messages_alone}
    )

    @app.before_request
    async def admit_to_others() -> None:
        admit(_scope(), request.path, _headers(_scope()))

    @app.after_request
    async def name_and_log(response: Response) -> Response:
        response.headers.update(end(_scope(), request.method, request.path, response.status_code))
        return response

    async def read_body() -> bytes:
        return await body_of(_scope())

    @app.post("/v1/messages/count_tokens")
    async def count_tokens() -> Response:
        asked = _ask(parse_request(await read_body(), counting=True), config, _scope())
        return _json({"input_tokens": asked.conversion.estimated_input})

    @app.get("/v1/models")
    async def models() -> Response:
        query = request.args
        page = render_models(
            config.catalogue,
            limit=query.get("limit"),
            after_id=query.get("after_id"),
            before_id=query.get("before_id"),
        )
        return _json(page)

    @app.get("/v1/models/<path:name>")
    async def model(name: str) -> Response:
        return _json(render_model(find_model(config.catalogue, name)))

    @app.get("/health")
    async def health() -> Response:
        return _json({"status": "ok"})

    admin.add_routes(app, accounts, telemetry, recorder, stopping, read_body)

    @app.errorhandler(ClientRequestError)
    async def refuse(error: ClientRequestError) -> Response:
        return _response(_refuse(error, _scope()))

    @app.errorhandler(HTTPException)
    async def no_such_route(_: HTTPException) -> Response:
        problem = f"there is no {request.method} {request.path[:200]} here"
        return _response(_error("not_found_error", problem, _JSON, _scope()))

    @app.errorhandler(Exception)
    async def crash(error: Exception) -> Response:
        return _response(_crash(error, _scope()))

    return app


async def _exchange(
    driver: Driver,
    places: Places,
    nursery: trio.Nursery,
    stopping: Stopping,
    asked: Asked,
    policy: Policy,
    outbox: Outbox,
    following: Following,
    recording: AbstractContextManager[OpenRecording | None],
) -> None:
    """Run one exchange in its place. Whatever becomes of it, the view is let go and one line is logged."""
    scope = trio.CancelScope()

    def stop() -> None:
        # At once: what is cancelled may have a refresh of a token to wait for.
        _fail(outbox, "overloaded_error", EXPLANATION, asked.request_id)
        scope.cancel()

    def refuse() -> None:
        following.outcome = Outcome.NO_PLACE
        stop()

    try:
        with scope:
            with stopping.refusing(refuse):
                place = await places.take(nursery)
            try:
                with stopping.ending(stop), recording as recorded:
                    await driver.drive(asked, policy, outbox, following, recorded)
            finally:
                place.cancel()
    except NoPlace as problem:
        following.outcome = Outcome.NO_PLACE
        _fail(outbox, "overloaded_error", str(problem), asked.request_id)
    except Exception as error:
        _log.exception("request %s: a bug of the gateway", asked.request_id, exc_info=error)
        following.outcome = Outcome.BUG
        _fail(outbox, "api_error", "the gateway has a bug; its log says more", asked.request_id)
    finally:
        outbox.close()
        following.end()


@contextmanager
def _recording(
    recorder: Recorder | None, asked: Asked, request: MessagesRequest, policy: Policy
) -> Iterator[OpenRecording | None]:
    """The recording of an exchange that runs while the block does, where there is to be one."""
    recording = None if recorder is None else recorder.begin(asked, request, policy)
    if recording is None:
        yield None
        return
    try:
        yield recording
    except Exception:
        recording.end("the gateway has a bug")
        raise
    except BaseException:
        recording.end("the client left, or the gateway was stopped")
        raise
    recording.end()


def _ask(parsed: MessagesRequest, config: Config, scope: Scope) -> Asked:
    """A client's request as what an exchange is begun with."""
    return Asked(
        conversion=convert(
            parsed, model=find_model(config.catalogue, parsed.model), conversation_id=ambient.new_uuid()
        ),
        message_id=ambient.new_message_id(),
        request_id=_request_id(scope),
        invocation_id=ambient.new_uuid(),
        user_agent=ambient.USER_AGENT,
        jitter=ambient.new_jitter(),
    )


def _fail(outbox: Outbox, error_type: str, message: str, request_id: str) -> None:
    body = encode_error(error_type, message, request_id)
    headers = _BUSY if error_type == "overloaded_error" else _JSON
    whole = WholeAnswer(status=STATUS_OF_ERROR[error_type], headers=headers, body=body)
    outbox.fail(whole, encode_events([Error(ErrorDetail(error_type, message), request_id)]))


def _refuse(error: ClientRequestError, scope: Scope) -> Reply:
    headers = dict(_BUSY if error.error_type == "overloaded_error" else _JSON)
    if error.error_type == "authentication_error":
        headers["x-should-retry"] = "false"  # Claude Code tries a 401 eleven times otherwise
    # The problem may quote the client, so the log has it only where it is the name of a model.
    detail = error.problem[:60] if error.error_type == "not_found_error" else error.error_type
    scope[_DETAIL] = f" {detail}" + (f" at {error.place}" if error.place else "")
    return _error(error.error_type, str(error), headers, scope)


def _crash(error: Exception, scope: Scope) -> Reply:
    _log.error("request %s: a bug of the gateway", _request_id(scope), exc_info=error)
    return _error("api_error", "the gateway has a bug; its log says more", _JSON, scope)


def _error(error_type: str, message: str, headers: dict[str, str], scope: Scope) -> Reply:
    return Reply(STATUS_OF_ERROR[error_type], headers, encode_error(error_type, message, _request_id(scope)))


def _response(reply: Reply) -> Response:
    """A reply as quart has them."""
    return Response(reply.body, reply.status, headers=dict(reply.headers))


def _json(value: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(value), 200, headers=_JSON)


def _scope() -> Scope:
    """The ASGI scope of the request that quart is at."""
    return cast("Scope", request.scope)


def _headers(scope: Scope) -> dict[str, str]:
    """The request's headers by lower-case name; of several alike, all, as HTTP joins them.

    Not quart's own, to which it adds an empty Host where a client of HTTP/1.0 sent none.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _request_id(scope: Scope) -> str:
    """The request's id; what is refused before it has one gets one here."""
    return cast("str", scope.setdefault(_REQUEST_ID, ambient.new_request_id()))


def _address(end: Any) -> str | None:
    """The host of one end of an ASGI connection, where it has one."""
    return end[0] if end else None
