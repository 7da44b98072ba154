"""Robust estimates from values that come one by one: slopes over some hours, and what is usual over days. Pure."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

Point = tuple[float, float]
"""When, in seconds, and how much."""

Estimate = Callable[[Sequence[Point]], float | None]

_NORMAL: Final = 1.4826
"""Times the median absolute deviation: the standard deviation, where values are spread normally."""


class Series:
    """The last *window_s* of a figure, one value for each *step_s*: the least, or the *last* one.

    A step that is not over yet is not in it. *estimate* makes of the points what is wanted of them.
    """

    def __init__(self, step_s: float, window_s: float, estimate: Estimate, *, last: bool = False) -> None:
        self._step_s = step_s
        self._window_s = window_s
        self._estimate = estimate
        self._keeps_last = last
        self._points: deque[Point] = deque(maxlen=round(window_s / step_s))
        self._step: int | None = None
        self._value = 0.0
        self._estimated: float | None = None

    def add(self, now_s: float, value: float) -> None:
        """Take *value* of *now_s*; one from before the last is left out."""
        step = int(now_s // self._step_s)
        if self._step is not None and step < self._step:
            return
        if step == self._step:
            self._value = value if self._keeps_last else min(self._value, value)
            return
        if self._step is not None:
            self._points.append(((self._step + 0.5) * self._step_s, self._value))
            self._estimated = self._estimate(self._points)
        self._step, self._value = step, value

    def __len__(self) -> int:
        return len(self._points)

    def forget_after(self, now_s: float) -> None:
        """Drop what is from after *now_s*."""
        if self._step is not None and self._step * self._step_s > now_s:
            self._step = None
        while self._points and self._points[-1][0] > now_s:
            self._points.pop()
        self._estimated = self._estimate(self._points)

    def is_stale(self, now_s: float) -> bool:
        """Whether nothing came for as long as the window is."""
        return self._step is not None and now_s - self._step * self._step_s > self._window_s

    def estimate(self) -> float | None:
        """What the points show up to the last step that is over; None if they are too few."""
        return self._estimated


def slope_between(points: Sequence[Point], from_s: float, to_s: float, n_least: int) -> float | None:
    """The slope per second of the *points* in *from_s* <= time < *to_s*; None if there are less than *n_least*."""
    inside = [point for point in points if from_s <= point[0] < to_s]
    return slope(inside) if len(inside) >= max(n_least, 2) else None


def slope(points: Sequence[Point]) -> float:
    """The median slope of all pairs (Theil 1950, Sen 1968): up to 29 % of *points* may be anything. At least two."""
    return median((y - before_y) / (x - before_x) for (before_x, before_y), (x, y) in itertools.combinations(points, 2))


class Baseline:
    """What is usual for a figure: the median of its hours over two weeks, and their spread."""

    STEP_S: Final = 3600.0
    WINDOW_S: Final = 14 * 86_400.0
    _LEAST: Final = 24  # hours with a value
    _SPREADS: Final = 3.0  # standard deviations that are nothing to speak of

    def __init__(self) -> None:
        self._hours: deque[tuple[float, float]] = deque(maxlen=round(self.WINDOW_S / self.STEP_S))
        self._hour: int | None = None
        self._values: list[float] = []
        self._usual: tuple[float, float] | None = None

    def add(self, now_s: float, value: float) -> None:
        """Take *value* of *now_s*; the hour counts once it is over, by the median of its values."""
        hour = int(now_s // self.STEP_S)
        if self._hour is not None and hour < self._hour:
            return
        if hour != self._hour:
            self._close_hour()
            self._hour, self._values = hour, []
        self._values.append(value)

    def __len__(self) -> int:
        return len(self._hours)

    def forget_after(self, now_s: float) -> None:
        """Drop what is from after *now_s*."""
        if self._hour is not None and self._hour * self.STEP_S > now_s:
            self._hour, self._values = None, []
        while self._hours and self._hours[-1][0] > now_s:
            self._hours.pop()
        self._estimate()

    def compare(self, value: float) -> float | None:
        """*value* over the usual one; 1 within the usual spread. None while too little is known."""
        if self._usual is None:
            return None
        usual, spread = self._usual
        return 1.0 if abs(value - usual) <= self._SPREADS * spread else value / usual

    def _close_hour(self) -> None:
        if self._hour is None or not self._values:
            return
        self._hours.append((self._hour * self.STEP_S, median(self._values)))
        # By time, too: a machine that is off at night has fewer hours in two weeks.
        while self._hours[-1][0] - self._hours[0][0] > self.WINDOW_S:
            self._hours.popleft()
        self._estimate()

    def _estimate(self) -> None:
        values = [value for _, value in self._hours]
        usual = median(values) if len(values) >= self._LEAST else 0.0
        self._usual = (usual, _NORMAL * median(abs(value - usual) for value in values)) if usual > 0 else None
