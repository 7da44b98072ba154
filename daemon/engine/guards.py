"""Is this text to be believed? The checks on what the model said about one window.

Pure; the thresholds and their order are those of the original algorithm (Radford et al. 2022, section 4.5).
"""

from __future__ import annotations

import zlib
from typing import Final

TEMPERATURES: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Tried in turn until a text passes."""

MAX_COMPRESSION_RATIO: Final = 2.4
MIN_AVG_LOGPROB: Final = -1.0
MAX_NO_SPEECH_PROB: Final = 0.6

REPETITION: Final = "repetition"
LOW_CONFIDENCE: Final = "low_confidence"


def compression_ratio(text: str) -> float:
    """Bytes of *text* over its bytes compressed: high for a text that repeats itself. 0.0 for an empty one."""
    raw = text.strip().encode()
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0


def average_logprob(score: float, n_tokens: int) -> float:
    """The mean log probability of a token, the end included, from CTranslate2's *score* (divided by *n_tokens*)."""
    return score * n_tokens / (n_tokens + 1)


def is_silence(no_speech_prob: float, avg_logprob: float) -> bool:
    """Whether the window holds no speech: the model says so, and does not believe its own words."""
    return no_speech_prob > MAX_NO_SPEECH_PROB and avg_logprob < MIN_AVG_LOGPROB


def failed_checks(ratio: float, avg_logprob: float) -> tuple[str, ...]:
    """The names of the checks that a text did not pass; empty for a text to be believed."""
    failed: list[str] = []
    if ratio > MAX_COMPRESSION_RATIO:
        failed.append(REPETITION)
    if avg_logprob < MIN_AVG_LOGPROB:
        failed.append(LOW_CONFIDENCE)
    return tuple(failed)
