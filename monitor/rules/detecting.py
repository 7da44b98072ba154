"""Figures that need a memory: when a disk is full, whose memory creeps, what is slower than usual, if the clock jumped.

Everything is robust (medians, Theil-Sen slopes): single odd values change nothing. What is remembered is bounded, and
on an axis of its own on which a clock that jumps does not jump. Knows neither rules nor storage.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from monitor.figures import Key, Sample
from monitor.rules.estimating import Baseline, Point, Series, slope_between

_HOUR_S: Final = 3600.0
_DAY_S: Final = 24 * _HOUR_S

FAR_S: Final = 30 * _DAY_S
"""The farthest that a forecast reaches: later, and never, are said as this."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `Detectors.remember` should be given at the start: *names*, of the last *back_s*, one sample a *step_s*."""

    names: tuple[str, ...]
    back_s: float
    step_s: float


_USUAL: Final = {
    "recent_speed_ratio": "speed_of_usual_ratio",
    "canary_speed_ratio": "canary_speed_of_usual_ratio",
    "canary_latency_s": "canary_latency_of_usual_ratio",
}
"""Figures that are compared with their own history, and what that makes."""

_DISK_STEP_S: Final = 300.0
_DISK_WINDOWS_S: Final = (1 * _HOUR_S, 6 * _HOUR_S)
_DISK_LEAST: Final = 7  # half an hour: two values make a line, but no trend

_RSS_STEP_S: Final = 900.0
_RSS_WINDOWS_S: Final = (12 * _HOUR_S, 72 * _HOUR_S)
_RSS_LEAST_RATIO: Final = 0.8  # of the values that a part of a window can have
_RSS_RESTART_RATIO: Final = 0.5  # a process does not give half of its memory back by itself


class Detectors:
    """Adds to each sample what only a row of them shows. Not for use from several threads.

    *elapsed* is a clock that nobody sets, in seconds; it must go on while the machine is suspended, as wall time does.
    """

    WANTED: Final = (
        Wanted(("folder_free_bytes",), _DISK_WINDOWS_S[-1], _DISK_STEP_S),
        Wanted(tuple(_USUAL), Baseline.WINDOW_S, Baseline.STEP_S),
    )
    """Memory of processes is not among it: no process of the last run is still there."""

    def __init__(self, *, elapsed: Callable[[], float] | None = None) -> None:
        self._elapsed = elapsed or _since_boot
        self._clock: tuple[float, float] | None = None  # wall time and elapsed time of the sample before
        self._offset_s = 0.0  # what jumps of the clock add up to
        self._disks: dict[str, Series] = {}
        self._processes: dict[str, _Process] = {}
        self._usual = {name: Baseline() for name in _USUAL}
        self._is_begun = False

    def remember(self, samples: Iterable[Sample]) -> None:
        """Learn from *samples* of earlier runs, the oldest first."""
        for sample in samples:
            self._learn(sample.at.timestamp(), sample.figures)

    def derive(self, sample: Sample) -> Sample:
        """*sample* and what it shows beside those before it; a figure that cannot be told yet is left out."""
        wall_s = sample.at.timestamp()
        derived: dict[Key, float] = {}
        step_s = self._clock_step_s(wall_s)
        if step_s is not None:
            derived[Key("host_clock_step_s")] = abs(step_s)
            self._offset_s += step_s
        now_s = wall_s - self._offset_s
        if not self._is_begun:
            self._forget_future(now_s)
            self._is_begun = True
        self._learn(now_s, sample.figures)
        derived |= self._forecasts(sample.figures)
        derived |= self._slopes(now_s, sample.figures)
        derived |= self._comparisons(sample.figures)
        return Sample(sample.at, {**sample.figures, **derived}, sample.words)

    @property
    def n_remembered(self) -> int:
        """How many values are remembered: bounded, whatever comes and goes."""
        series = (*self._disks.values(), *(process.series for process in self._processes.values()))
        return sum(map(len, series)) + sum(map(len, self._usual.values()))

    def _clock_step_s(self, wall_s: float) -> float | None:
        before, self._clock = self._clock, (wall_s, self._elapsed())
        if before is None:
            return None
        return (self._clock[0] - before[0]) - (self._clock[1] - before[1])

    def _forget_future(self, now_s: float) -> None:
        """Drop what was remembered from after now: the clock was set back while nobody ran."""
        for series in self._disks.values():
            series.forget_after(now_s)
        for baseline in self._usual.values():
            baseline.forget_after(now_s)

    def _learn(self, now_s: float, figures: Mapping[Key, float]) -> None:
        for key, value in figures.items():
            if not math.isfinite(value):
                continue
            if key.name == "folder_free_bytes":
                if key.subject not in self._disks:
                    self._disks[key.subject] = Series(_DISK_STEP_S, _DISK_WINDOWS_S[-1], _filling, last=True)
                self._disks[key.subject].add(now_s, value)
            elif key.name in _USUAL:
                self._usual[key.name].add(now_s, value)
        for subject in [name for name, series in self._disks.items() if series.is_stale(now_s)]:
            del self._disks[subject]

    def _forecasts(self, figures: Mapping[Key, float]) -> Mapping[Key, float]:
        """For each folder when its disk is full."""
        found: dict[Key, float] = {}
        for subject, series in self._disks.items():
            free_bytes = figures.get(Key("folder_free_bytes", subject))
            slope = series.estimate()
            if free_bytes is None or slope is None:
                continue
            full_in_s = free_bytes / -slope if slope < 0 else math.inf
            found[Key("folder_full_in_s", subject)] = min(max(full_in_s, 0.0), FAR_S)
        return found

    def _slopes(self, now_s: float, figures: Mapping[Key, float]) -> Mapping[Key, float]:
        """For each process by how much its memory grows."""
        found: dict[Key, float] = {}
        for key, rss_bytes in figures.items():
            if key.name != "process_rss_bytes" or not math.isfinite(rss_bytes):
                continue
            process = self._processes.setdefault(key.subject, _Process())
            process.add(now_s, rss_bytes, figures, key.subject)
            if (slope := process.series.estimate()) is not None:
                found[Key("process_rss_slope_bytes_per_h", key.subject)] = slope * _HOUR_S
        # A role without a process: who comes next is another one.
        self._processes = {
            role: process for role, process in self._processes.items() if Key("process_rss_bytes", role) in figures
        }
        return found

    def _comparisons(self, figures: Mapping[Key, float]) -> Mapping[Key, float]:
        found: dict[Key, float] = {}
        for name, ratio_name in _USUAL.items():
            value = figures.get(Key(name))
            if value is not None and (ratio := self._usual[name].compare(value)) is not None:
                found[Key(ratio_name)] = ratio
        return found


class _Process:
    """The least memory that a process had, in steps; begun anew when another process is in the role."""

    _ONLY_GROW: Final = ("process_age_s", "process_read_bytes", "process_written_bytes")

    def __init__(self) -> None:
        self.series = Series(_RSS_STEP_S, _RSS_WINDOWS_S[-1], _creeping)
        self._before: dict[str, float] = {}

    def add(self, now_s: float, rss_bytes: float, figures: Mapping[Key, float], role: str) -> None:
        seen = {name: value for name in self._ONLY_GROW if (value := figures.get(Key(name, role))) is not None}
        is_new = any(value < self._before.get(name, value) for name, value in seen.items())
        is_new |= rss_bytes < _RSS_RESTART_RATIO * self._before.get("rss", 0.0)
        self._before = {**self._before, **seen, "rss": rss_bytes}
        if is_new:
            self.series = Series(_RSS_STEP_S, _RSS_WINDOWS_S[-1], _creeping)
        self.series.add(now_s, rss_bytes)


def _filling(points: Sequence[Point]) -> float | None:
    """By how much the room changes per second: the mildest of the windows, so that one large copy is no trend.

    A window that is longer than what there is counts for what there is.
    """
    end_s = points[-1][0] + 1 if points else 0.0
    slopes = [slope_between(points, end_s - window_s, end_s, _DISK_LEAST) for window_s in _DISK_WINDOWS_S]
    known = [slope for slope in slopes if slope is not None]
    return max(known) if len(known) == len(slopes) else None


def _creeping(points: Sequence[Point]) -> float | None:
    """By how much memory grows per second in each third of a window, the least: a leak goes on, a busy morning ends.

    So does a model that is loaded: it is in the first third only.

    In twelve hours, or in each of three days: what leaks only with work rests at night.
    """
    end_s = points[-1][0] + 1 if points else 0.0
    steady = [_least_of_thirds(points, end_s, window_s) for window_s in _RSS_WINDOWS_S]
    return max((slope for slope in steady if slope is not None), default=None)


def _least_of_thirds(points: Sequence[Point], end_s: float, window_s: float) -> float | None:
    third_s = window_s / 3
    n_least = math.floor(_RSS_LEAST_RATIO * third_s / _RSS_STEP_S)
    slopes = [slope_between(points, end_s - (n + 1) * third_s, end_s - n * third_s, n_least) for n in range(3)]
    known = [slope for slope in slopes if slope is not None]
    return min(known) if len(known) == len(slopes) else None


def _since_boot() -> float:
    # Unlike CLOCK_MONOTONIC it counts the time in suspend, as the wall clock does.
    return time.clock_gettime(time.CLOCK_BOOTTIME)
