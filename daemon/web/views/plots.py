"""Lines over time as SVG: where each goes on the paper. Pure; the template draws it.

Nothing in it says how it looks but names of classes, so it follows the page into the dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 640.0
HEIGHT: Final = 200.0
LEFT: Final = 84.0
RIGHT: Final = 10.0
TOP: Final = 16.0
BOTTOM: Final = 28.0

_N_LINES: Final = 4  # of the grid
_GAP: Final = 4  # steps without a point: the line is broken there

Point = tuple[float, float]
"""Seconds since the beginning of the plot, and a value."""


@dataclass(frozen=True, slots=True)
class Line:
    """Values over time, in its order."""

    label: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark at a place on the paper."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """A line on the paper: *path* as SVG has it. *number* counts the lines from 1: its colour and its dashes."""

    number: int
    label: str
    path: str
    last: str


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of time in which something was wrong."""

    x: float
    width: float
    tone: str
    label: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot on paper of WIDTH by HEIGHT; *summary* says in words what is to be seen."""

    title: str
    lines: tuple[Drawn, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    bands: tuple[Band, ...]
    summary: str
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM


@dataclass(frozen=True, slots=True)
class Paper:
    """What a plot is of: *length_s* of time with a point every *step_s*, values said by *say*.

    *mark* says those at the grid, shorter. *least_top* is the least that its highest line stands for: 1.0 for a share.
    """

    title: str
    length_s: float
    step_s: float
    say: Callable[[float], str]
    mark: Callable[[float], str]
    least_top: float = 0.0


def plot(
    paper: Paper, lines: Sequence[Line], across: Sequence[tuple[float, str]] = (), bands: Sequence[Band] = ()
) -> Plot:
    """*lines* on *paper*; *across* are times to be marked, with their words; *bands* are in seconds, as points are."""
    lines = [line for line in lines if line.points]
    highest = max((value for line in lines for _, value in line.points), default=0.0)
    top = _round_up(max(highest, paper.least_top)) if paper.least_top < 1 or highest > 1 else paper.least_top
    scale = _Scale(paper.length_s, top or 1.0)
    grid = [top * n / _N_LINES for n in range(_N_LINES + 1)]
    return Plot(
        title=paper.title,
        lines=tuple(
            Drawn(number, line.label, scale.path(line.points, paper.step_s * _GAP), paper.say(line.points[-1][1]))
            for number, line in enumerate(lines, start=1)
        ),
        across=tuple(Tick(round(scale.x(at_s), 1), label) for at_s, label in across if 0 <= at_s <= paper.length_s),
        up=tuple(Tick(round(scale.y(value), 1), paper.mark(value)) for value in grid),
        bands=tuple(scale.band(band) for band in bands),
        summary="; ".join(_summary(line, paper.say) for line in lines),
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    length_s: float
    top: float

    def x(self, at_s: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, at_s / self.length_s))

    def y(self, value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(1.0, max(0.0, value / self.top)))

    def path(self, points: Sequence[Point], gap_s: float) -> str:
        parts: list[str] = []
        last_s = -math.inf
        for at_s, value in points:
            stroke = "M" if at_s - last_s > gap_s else "L"
            parts.append(f"{stroke}{self.x(at_s):.1f} {self.y(value):.1f}")
            last_s = at_s
        if len(points) == 1:
            parts.append("h1")
        return "".join(parts)

    def band(self, band: Band) -> Band:
        x, end = self.x(band.x), self.x(band.x + band.width)
        return Band(round(x, 1), round(max(2.0, end - x), 1), band.tone, band.label)


def _summary(line: Line, say: Callable[[float], str]) -> str:
    values = [value for _, value in line.points]
    spread = f"{say(min(values))} … {say(max(values))}" if min(values) != max(values) else say(values[0])
    return f"{line.label}: {spread}" if line.label else spread


def _round_up(value: float) -> float:
    """The next value of which a quarter is easy to read; binary and decimal units alike."""
    if value <= 0:
        return 1.0
    base = 10.0 ** math.floor(math.log10(value))
    return next(base * step for step in (1.0, 1.2, 2.0, 4.0, 6.0, 8.0, 10.0) if base * step >= value * 0.999)
