"""Tokens: the service's figures first, then the share of the window, then estimates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.anthropic import Usage
from core.events import TokenUsage
from core.usage import count_usage, estimate_text, estimate_tokens


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("", 0, 0),
        ("a", 1, 1),
        ("The quick brown fox jumps over the lazy dog.", 9, 14),
        ("def f(x):\n    return x + 1\n", 7, 12),
        ("日本語の文章です", 8, 12),
        ("Привет, как дела?", 8, 14),
        ("🎉🎉🎉", 3, 6),
        ("\ud800", 1, 2),
    ],
)
def test_an_estimate_is_near_what_tokenizers_make_of_a_text(text: str, low: int, high: int) -> None:
    assert low <= estimate_text(text) <= high


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_an_estimate_is_of_characters_and_bytes_alone(text: str) -> None:
    assert estimate_text(text) == estimate_tokens(len(text), len(text.encode()))


FIGURES = TokenUsage(10, 20, cache_read_input_tokens=3, cache_write_input_tokens=2)


@pytest.mark.parametrize(
    ("figures", "percentage", "expected"),
    [
        (
            FIGURES,
            50.0,
            Usage(input_tokens=10, output_tokens=20, cache_read_input_tokens=3, cache_creation_input_tokens=2),
        ),
        (TokenUsage(-1, -2, -4, -5), None, Usage(input_tokens=0, output_tokens=0)),
        (None, 50.0, Usage(input_tokens=99_993, output_tokens=7)),
        (None, 0.001, Usage(input_tokens=0, output_tokens=7)),
        (None, 0.0, Usage(input_tokens=500, output_tokens=7)),
        (None, -1.0, Usage(input_tokens=500, output_tokens=7)),
        (None, 1e300, Usage(input_tokens=500, output_tokens=7)),
        (None, None, Usage(input_tokens=500, output_tokens=7)),
    ],
)
def test_the_best_source_of_figures_counts(
    figures: TokenUsage | None, percentage: float | None, expected: Usage
) -> None:
    counted = count_usage(figures, percentage, window=200_000, estimated_input=500, estimated_output=7)
    assert counted == expected
