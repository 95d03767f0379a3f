"""The gateway put together from its configuration: accounts, their tokens, the way to the service, the routes."""

from __future__ import annotations

import logging

import trio
from quart_trio import QuartTrio

from adapters import ambient
from adapters.app import create_app
from adapters.driver import Driver, Rotation
from adapters.tokens import TokenError, TokenFile, TokenUnreadable, check_writable
from adapters.upstream import Upstream
from core.config import Config
from core.credentials import is_expired
from core.http import Call
from core.times import render_date

_log = logging.getLogger("stagewhisper")


class Gateway:
    """A gateway that is ready to be served."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._upstream = Upstream(connect_timeout=config.connect_timeout)
        self._tokens = {
            provider.id: TokenFile(
                provider.token_file,
                refresh_url=provider.refresh_url,
                post=self._refresh,
                epoch=ambient.epoch,
                user_agent=ambient.USER_AGENT,
                log=_log.warning,
            )
            for provider in config.providers
        }
        driver = Driver(
            rotation=Rotation(config.providers), tokens=self._tokens, upstream=self._upstream, policy=config.policy
        )
        self.app: QuartTrio = create_app(config, driver)
        self.app.after_serving(self._close)

    async def _refresh(self, call: Call) -> tuple[int, bytes]:
        status, body = await self._upstream.fetch(call)
        _log.info("asked %s for a new token: %d", call.url, status)
        return status, body

    async def _close(self) -> None:
        async with trio.open_nursery() as nursery:  # each may wait for its lock, up to a minute
            for token_file in self._tokens.values():
                nursery.start_soon(_flush, token_file)
        await self._upstream.aclose()


async def _flush(token_file: TokenFile) -> None:
    if not await token_file.flush():
        _log.error("%s: the new token could not be written and is lost with this process", token_file.path)


def check_token_files(config: Config) -> list[str]:
    """What is wrong with the accounts' token files, a line each."""
    problems = []
    for provider in config.providers:
        try:
            token = check_writable(provider.token_file)
        except TokenUnreadable as error:
            advice = "sign in with the program that writes it, or name another file in tokenFilePath"
            problems.append(f"providers.{provider.id}: {error} ({advice})")
        except TokenError as error:
            problems.append(f"providers.{provider.id}: {error}")
        else:
            if token.refresh_token is None and is_expired(token, ambient.epoch()):
                path = provider.token_file
                problems.append(f"providers.{provider.id}: {path}: has expired, and has no refreshToken")
    return problems


def describe_accounts(config: Config) -> list[str]:
    """The accounts whose token files are good, a line each."""
    lines = []
    for provider in config.providers:
        token = check_writable(provider.token_file)
        until = "no date of expiry" if token.expires_at is None else f"good until {render_date(token.expires_at)}"
        renewal = "cannot be refreshed" if token.refresh_token is None else "is refreshed before that"
        lines.append(f"{provider.id}: {provider.token_file}, {until}, {renewal}")
    return lines
