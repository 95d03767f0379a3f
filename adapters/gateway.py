"""The gateway put together from its configuration: accounts, their tokens, the way to the service, the routes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import msgspec
import trio
from quart_trio import QuartTrio

from adapters import ambient
from adapters.accounts import Accounts
from adapters.app import create_app
from adapters.configfile import default_state_path
from adapters.driver import Driver
from adapters.http1 import Limits
from adapters.keeping import Keeper
from adapters.recorder import Recorder
from adapters.stopping import Stopping
from adapters.stores import MemoryStore, SqliteStore, Store, StoreError
from adapters.telemetry import Telemetry
from adapters.tokens import TokenError, TokenFile, TokenUnreadable, check_writable
from adapters.upstream import Upstream
from core.config import Config
from core.credentials import is_expired
from core.http import Call
from core.selection import Provider
from core.times import render_date

_log = logging.getLogger("stagewhisper")


class Gateway:
    """A gateway that is ready to be served. Its state is read when it is opened, or by the application's start."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.stopping = Stopping(config.server.drain)
        self.limits = Limits(head=config.request_timeout, send=config.send_timeout)
        self._upstream = Upstream(connect_timeout=config.connect_timeout)
        self._tokens = {provider.id: self._token_file(provider) for provider in config.providers}
        self._keeper = Keeper(make_store(config), log=_log.warning)
        self._background = trio.CancelScope()
        self._accounts = Accounts(
            config.providers,
            policy=config.health,
            keeper=self._keeper,
            tokens=self._tokens,
            epoch=ambient.epoch,
            tell=_tell,
        )
        account_ids = [provider.id for provider in config.providers]
        self._telemetry = Telemetry(account_ids=account_ids, accounts=self._accounts, keeper=self._keeper)
        driver = Driver(accounts=self._accounts, tokens=self._tokens, upstream=self._upstream)
        self._recorder = _make_recorder(config)
        self.app: QuartTrio = create_app(
            config,
            driver=driver,
            accounts=self._accounts,
            telemetry=self._telemetry,
            stopping=self.stopping,
            recorder=self._recorder,
        )
        self.app.before_serving(self._start)
        self.app.after_serving(self._close)

    def _token_file(self, provider: Provider) -> TokenFile:
        return TokenFile(
            provider.token_file,
            refresh_url=provider.refresh_url,
            post=self._refresh,
            epoch=ambient.epoch,
            user_agent=ambient.USER_AGENT,
            log=_log.warning,
            heard=lambda outcome: self._telemetry.metrics.refreshed(provider.id, outcome),
        )

    async def open(self) -> None:
        """Read the state, and see that what is to be recorded can be.

        Raises:
            StoreError: it cannot be kept where the configuration says.
            RecorderError: nothing can be recorded there.
        """
        if self._recorder is not None:
            self._recorder.open()  # first: it leaves nothing open
            for provider in self.config.providers:
                with suppress(TokenError):  # it is met again, and said, when the account is used
                    self._recorder.know(provider, await self._tokens[provider.id].current())
        await self._keeper.open()

    async def _start(self) -> None:
        await self.open()
        self._accounts.tell_who_is_out()
        if self._recorder is not None:
            _log.warning("%s", self._recorder.describe())
        self.app.nursery.start_soon(self._run)

    async def _run(self) -> None:
        """What goes on beside the requests."""
        with self._background:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_go_on, self.stopping.run)
                nursery.start_soon(_go_on, self._keeper.run)
                nursery.start_soon(_go_on, self._accounts.watch)
                nursery.start_soon(_go_on, self._upstream.tidy)
                if self._recorder is not None:
                    nursery.start_soon(_go_on, self._recorder.run)

    async def _refresh(self, call: Call) -> tuple[int, bytes]:
        status, body = await self._upstream.fetch(call)
        _log.info("asked %s for a new token: %d", call.url, status)
        return status, body

    async def _close(self) -> None:
        self._background.cancel()
        async with trio.open_nursery() as nursery:  # each token file may wait for its lock, up to a minute
            nursery.start_soon(self._keeper.close)
            if self._recorder is not None:
                nursery.start_soon(self._recorder.close)
            for token_file in self._tokens.values():
                nursery.start_soon(_flush, token_file)
        await self._upstream.aclose()


async def _go_on(service: Callable[[], Awaitable[None]]) -> None:
    """Run what has no end. A bug in it costs a moment of what it does, never the server or another service."""
    while True:
        try:
            await service()
        except Exception as error:
            _log.error("a bug of the gateway in what runs beside the requests", exc_info=error)
        await trio.sleep(1.0)


def record_into(config: Config, directory: str) -> Config:
    """The configuration with exchanges recorded into that folder."""
    settings = msgspec.structs.replace(config.recording, directory=directory)
    return msgspec.structs.replace(config, recording=settings)


def _make_recorder(config: Config) -> Recorder | None:
    settings = config.recording
    if settings.directory is None:
        return None
    return Recorder(
        settings.directory,
        max_files=settings.max_files,
        max_bytes=settings.max_bytes,
        program=ambient.VERSION,
        epoch=ambient.epoch,
        log=_log.warning,
    )


def make_store(config: Config) -> Store:
    """Where the state is kept."""
    if config.state.kind == "memory":
        return MemoryStore()
    return SqliteStore(config.state.path or str(default_state_path()), epoch=ambient.epoch)


async def check_state(config: Config) -> None:
    """See that state and recordings can be kept where the configuration says, before anything is begun.

    Raises:
        StoreError: the state cannot.
        RecorderError: recordings cannot.
    """
    check_recordings(config)
    store = make_store(config)
    for line in await store.open():
        _log.warning("%s", line)
    await store.close()


def explain_state(error: StoreError) -> str:
    """What its user can do about it, beside what is wrong."""
    return f"{error} (state.path names another file; state.kind memory keeps none)"


def _tell(line: str, is_good: bool) -> None:
    _log.log(logging.INFO if is_good else logging.WARNING, "%s", line)


async def _flush(token_file: TokenFile) -> None:
    if not await token_file.flush():
        _log.error("%s: the new token could not be written into its file", token_file.path)


def check_token_files(config: Config) -> tuple[list[str], list[str]]:
    """What is wrong with the accounts' token files, a line each: what keeps a gateway from starting, and what does not.

    One that cannot be read leaves its account out until it can. A token that could not be written back would be lost
    with its first refresh.
    """
    grave, light = [], []
    for provider in config.providers:
        try:
            token = check_writable(provider.token_file)
        except TokenUnreadable as error:
            advice = "sign in with the program that writes it, or name another file in tokenFilePath"
            light.append(f"providers.{provider.id}: {error} ({advice})")
        except TokenError as error:
            grave.append(f"providers.{provider.id}: {error}")
        else:
            if token.refresh_token is None and is_expired(token, ambient.epoch()):
                path = provider.token_file
                light.append(f"providers.{provider.id}: {path}: has expired, and has no refreshToken")
    return (grave, light) if grave or len(light) < len(config.providers) else (light, [])


def warn_of(problems: Sequence[str]) -> None:
    """Say in the log what the gateway does without."""
    for problem in problems:
        _log.warning("%s", problem)


def check_recordings(config: Config) -> str | None:
    """See that exchanges can be recorded, if they are to be: what is recorded, and where.

    Raises:
        RecorderError: they cannot.
    """
    if (recorder := _make_recorder(config)) is None:
        return None
    recorder.open()
    return recorder.describe()


def describe_accounts(config: Config) -> list[str]:
    """The accounts whose token files are good, a line each."""
    lines = []
    for provider in config.providers:
        token = check_writable(provider.token_file)
        until = "no date of expiry" if token.expires_at is None else f"good until {render_date(token.expires_at)}"
        renewal = "cannot be refreshed" if token.refresh_token is None else "is refreshed before that"
        lines.append(f"{provider.id}: {provider.token_file}, {until}, {renewal}")
    return lines
