"""A day of what a healthy daemon samples opens no alert; the same day with one thing wrong opens that alert alone.

tests/data/figures.json was recorded (tests/record_figures.py); the day is made of pieces of it. Made up are only the
canary, which comes every six hours, and the room on the disk, which shrinks by two gigabytes until it is tidied at ten.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from monitor.alert import Alert
from monitor.figures import FIGURES, Key, Sample
from monitor.rules.detecting import Detectors
from monitor.rules.judging import Judge
from monitor.rules.loading import load

RECORDED = Path(__file__).parents[1] / "data" / "figures.json"
STEP_S = 10
DAY = 86_400 // STEP_S
PIECE = 30  # samples
AT = datetime(2025, 3, 3, tzinfo=UTC)

Figures = Mapping[Key, float]
Spoil = Callable[[float, dict[Key, float]], None]
"""Changes the figures of an hour of the day."""


@cache
def recorded() -> list[dict[Key, float]]:
    """The recorded samples."""
    content = json.loads(RECORDED.read_text(encoding="ascii"))
    samples: list[dict[Key, float]] = [{} for _ in range(content["n_samples"])]
    figures: dict[str, list[float | None] | float] = content["figures"]
    for name, values in figures.items():
        key = Key(*name.split(" ", 1))
        for index, sample in enumerate(samples):
            value = values[index] if isinstance(values, list) else values
            if value is not None:
                sample[key] = value
    return samples


def pieces(rng: random.Random, n_samples: int) -> Iterator[tuple[Figures, bool]]:
    """*n_samples* recorded ones, piece after piece, and whether one follows the one before it."""
    samples = recorded()
    while n_samples > 0:
        begin = rng.randrange(len(samples) - PIECE)
        for index in range(min(PIECE, n_samples)):
            yield samples[begin + index], index > 0
        n_samples -= PIECE


def day(seed: int, n_samples: int = DAY) -> Iterator[tuple[float, dict[Key, float]]]:
    """The hour and the figures of each sample. What only grows does so, also where pieces meet."""
    rng = random.Random(seed)
    grown: dict[Key, float] = {}
    before: Figures = {}
    canary = {Key("canary_wrong_words_ratio"): 0.0}
    for index, (sample, follows) in enumerate(pieces(rng, n_samples)):
        hour = index * STEP_S / 3600
        if index % (6 * 360) == 300:
            canary |= {Key("canary_speed_ratio"): rng.gauss(9, 1.2), Key("canary_latency_s"): rng.gauss(3, 0.6)}
        figures = {**sample, **canary}
        for key, value in sample.items():
            if key.name == "process_age_s":
                figures[key] = 86_400.0 + index * STEP_S
            elif FIGURES[key.name].kind == "counter":
                grown[key] = grown.get(key, value) + (max(value - before.get(key, value), 0) if follows else 0)
                figures[key] = grown[key]
            elif key.name == "folder_free_bytes":
                figures[key] = 60e9 - 2e9 * min(hour, 22) / 22 + (2e9 if hour > 22 else 0) + rng.uniform(-5e7, 5e7)
        before = sample
        yield hour, figures


def watched(begin_hour: float, end_hour: float, spoil: Spoil | None = None) -> list[Alert]:
    """What opens between two hours of a day, which a fortnight of such days came before."""
    detectors, judge = Detectors(elapsed=lambda: now_s), Judge(load())
    for hours_back in range(14 * 24, 0, -1):
        sample = recorded()[hours_back * 7 % len(recorded())]
        canary = {Key("canary_speed_ratio"): 9 + hours_back % 5 / 4, Key("canary_latency_s"): 3 + hours_back % 7 / 10}
        speed = {key: value for key, value in sample.items() if key.name == "recent_speed_ratio"}
        detectors.remember([Sample(AT - timedelta(hours=hours_back), {**speed, **canary})])
    opened: list[Alert] = []
    for index, (hour, figures) in enumerate(day(1)):
        now_s = float(index * STEP_S)
        if not begin_hour <= hour < end_hour:
            continue
        if spoil:
            spoil(hour, figures)
        whole = detectors.derive(Sample(AT + timedelta(seconds=now_s), figures))
        opened += judge.judge(whole).opened
    return opened


def test_the_record_is_whole() -> None:
    """It has all that a machine without a GPU has, at least a quarter of an hour of it, from a daemon that worked."""
    samples = recorded()
    assert len(samples) >= 90
    names = {key.name for sample in samples for key in sample}
    assert names <= FIGURES.keys()
    assert names >= {"host_memory_used_ratio", "process_rss_bytes", "queue_still_s", "engine_up", "recent_speed_ratio"}
    assert max(sample[Key("jobs", "done")] for sample in samples) >= 10
    assert max(sample.get(Key("process_cpu_cores", "engine"), 0) for sample in samples) > 0.1


def test_a_normal_day_opens_nothing() -> None:
    """8640 samples, all rules, all detectors: silence."""
    assert [(alert.rule, alert.title) for alert in watched(0, 24)] == []


def memory(hour: float, figures: dict[Key, float]) -> None:
    figures[Key("host_memory_used_ratio")] = 0.95 if 9 < hour < 10 else figures[Key("host_memory_used_ratio")]


def filling(hour: float, figures: dict[Key, float]) -> None:
    for key in [key for key in figures if key.name == "folder_free_bytes"]:
        figures[key] -= 5e9 * max(hour - 9, 0)


def slower(hour: float, figures: dict[Key, float]) -> None:
    if hour > 9 and Key("recent_speed_ratio") in figures:
        figures[Key("recent_speed_ratio")] *= 0.1


def still(hour: float, figures: dict[Key, float]) -> None:
    figures[Key("queue_still_s")] = max(hour - 9, 0) * 3600
    figures[Key("queue_oldest_wait_s")] = max(hour - 8, 0) * 3600


@pytest.mark.parametrize(
    ("spoil", "rules"),
    [
        (memory, {"host_memory"}),
        (filling, {"disk_full_soon"}),
        (slower, {"slow"}),
        (still, {"queue_still"}),
    ],
    ids=["memory", "filling", "slower", "still"],
)
def test_one_thing_wrong_is_one_alert(spoil: Spoil, rules: set[str]) -> None:
    """The same day, with one thing wrong from nine on: by noon it is told, and nothing else is."""
    assert {alert.rule for alert in watched(8, 12, spoil)} == rules
