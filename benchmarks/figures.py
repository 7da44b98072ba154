"""Medians, spread, percentiles and intervals: the arithmetic of every table. Pure; knows nothing of audio or models."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_N_RESAMPLES: Final = 1000
_SEED: Final = 7  # a table made twice from the same runs has the same figures


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of some figures, and the least and the most of them. *n* is how many there were."""

    median: float
    least: float
    most: float
    n: int


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one value."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that *percent* of the values do not exceed (nearest rank); at least one value is needed."""
    ordered = sorted(values)
    rank = math.ceil(percent / 100.0 * len(ordered))
    return ordered[max(0, rank - 1)]


def paired_ratios(mine: Sequence[float], reference: Sequence[float]) -> list[float]:
    """How many times quicker *mine* was, round by round: *reference* / *mine*, for the rounds that both ran.

    What disturbs a machine lasts longer than a contestant's turn, so two walls of one round are disturbed alike.
    """
    return [theirs / ours for ours, theirs in zip(mine, reference, strict=False)]


def rate_interval(counts: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """The 95 % interval of the pooled error rate in percent, by resampling recordings.

    *counts* has (errors, words) of each recording. Words of one recording share a speaker and a microphone, so
    recordings are drawn, not words (percentile bootstrap, 1000 draws).
    """
    if not counts:
        return 0.0, 0.0
    chance = random.Random(_SEED)  # noqa: S311  # not for secrets
    rates = [pooled_rate(chance.choices(counts, k=len(counts))) for _ in range(_N_RESAMPLES)]
    return percentile(rates, 2.5), percentile(rates, 97.5)


def pooled_rate(counts: Sequence[tuple[int, int]]) -> float:
    """All errors over all words, in percent."""
    return 100.0 * sum(n_errors for n_errors, _ in counts) / max(1, sum(n_words for _, n_words in counts))
