"""The gateway for a server that is already there: `hypercorn -k trio adapters.asgi:app`.

The configuration is that of $STAGEWHISPER_CONFIG, else of the platform's folder. What only `stagewhisper serve`
does is written in the README.
"""

from __future__ import annotations

import os
import sys

from adapters.configfile import load_config
from adapters.gateway import Gateway, check_token_files
from adapters.http1 import speak_http1_alone
from core.config import ConfigError


def _load() -> Gateway:
    try:
        config = load_config(None, os.environ)
    except ConfigError as error:
        sys.exit(str(error))
    if problems := check_token_files(config):
        sys.exit("\n".join(problems))
    speak_http1_alone()
    return Gateway(config)


app = _load().app
