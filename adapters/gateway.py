"""The gateway put together from its configuration: accounts, their tokens, the way to the service, the routes."""

from __future__ import annotations

import logging

import trio
from quart_trio import QuartTrio

from adapters import ambient
from adapters.app import create_app
from adapters.driver import Driver, Rotation
from adapters.tokens import TokenError, TokenFile, check_writable
from adapters.upstream import Upstream
from core.config import Config

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
                post=self._upstream.fetch,
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
            check_writable(provider.token_file)
        except TokenError as error:
            problems.append(f"providers.{provider.id}: {error}")
    return problems
