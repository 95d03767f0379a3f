"""Tokens: from the service's own figures where it sends them, else estimated.

Clients steer by these figures (Claude Code compacts a conversation on them), so an estimate errs upwards. No
tokenizer is used: Anthropic publishes none, and others' differ from it as much as this arithmetic does.
"""

from __future__ import annotations

import math

from core.anthropic import Usage
from core.events import TokenUsage

_CHARACTERS_PER_TOKEN = 3.5
"""English prose has about 4, program text and JSON about 3."""

_TOKENS_PER_EXTRA_BYTE = 0.45
"""What UTF-8 needs beyond a byte a character marks scripts with more tokens: 1.2 a CJK character, 0.7 a Cyrillic."""

IMAGE_TOKENS = 1600
"""An image of the largest size that is not scaled down, by Anthropic's rule of width times height over 750."""


def estimate_tokens(characters: int, utf8_bytes: int) -> int:
    """The tokens of a text of so many characters, which takes so many bytes in UTF-8; rounded up."""
    extra = max(0, utf8_bytes - characters)
    return math.ceil(characters / _CHARACTERS_PER_TOKEN + extra * _TOKENS_PER_EXTRA_BYTE)


def estimate_text(text: str) -> int:
    """The tokens of a text, estimated."""
    return estimate_tokens(len(text), len(text) if text.isascii() else len(text.encode(errors="replace")))


def count_usage(
    figures: TokenUsage | None, percentage: float | None, *, window: int, estimated_input: int, estimated_output: int
) -> Usage:
    """The usage of an answer, from the best source there is.

    In this order: the service's token count; the share of the model's window that is used (`percentage`, which
    includes the answer) times the `window` in tokens; the estimates.
    """
    if figures is not None:
        return Usage(
            input_tokens=max(0, figures.uncached_input_tokens),
            output_tokens=max(0, figures.output_tokens),
            cache_creation_input_tokens=max(0, figures.cache_write_input_tokens or 0),
            cache_read_input_tokens=max(0, figures.cache_read_input_tokens or 0),
        )
    if percentage is not None and 0 < percentage <= 1000:  # above 100 is an overflow that was let through
        used = round(percentage * window / 100)
        return Usage(input_tokens=max(0, used - estimated_output), output_tokens=estimated_output)
    return Usage(input_tokens=estimated_input, output_tokens=estimated_output)
