"""The gateway for a server that is already there: `hypercorn -k trio adapters.asgi:app`.

The configuration is that of $STAGEWHISPER_CONFIG, else of the platform's folder. What only `stagewhisper serve`
does is written in the README.
"""

from __future__ import annotations

import os
import sys

import trio

from adapters.configfile import load_config
from adapters.gateway import Gateway, check_state, check_token_files, explain_state, warn_of
from adapters.http1 import speak_http1_alone
from adapters.recorder import RecorderError
from adapters.stores import StoreError
from core.config import ConfigError


def _load() -> Gateway:
    try:
        config = load_config(None, os.environ)
    except ConfigError as error:
        sys.exit(str(error))
    grave, light = check_token_files(config)
    if grave:
        sys.exit("\n".join([*grave, *light]))
    warn_of(light)
    if not trio.lowlevel.in_trio_run():  # where it is imported by a server that runs already
        try:
            trio.run(check_state, config)  # later, the server would make a traceback of it
        except StoreError as problem:
            sys.exit(explain_state(problem))
        except RecorderError as problem:
            sys.exit(str(problem))
    gateway = Gateway(config)
    speak_http1_alone(gateway.limits, stop=gateway.stopping.begin)
    return gateway


app = _load().app
