"""Plots of what was measured, as SVG that can be read on a light and on a dark page. Needs matplotlib.

Nothing is painted behind the drawing, text and axes are a grey that stands out from white and from black, and the
colours are told apart by those who do not see all of them (Okabe and Ito's palette).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import tables
from benchmarks.figures import Spread
from benchmarks.results import Result

_GREY: Final = "#808080"
_OURS: Final = "#009e73"
_PEER: Final = "#0072b2"
_WARM: Final = "#d55e00"
_CORNERS: Final = ((8, 8), (-8, -8), (8, -8), (-8, 8), (0, 11), (0, -11))

_STYLE: Final[dict[str, Any]] = {
    "svg.fonttype": "none",  # letters stay letters
    "svg.hashsalt": "transcribed",  # the same figures make the same file
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _GREY,
    "axes.labelcolor": _GREY,
    "axes.edgecolor": _GREY,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def speeds(result: Result, path: Path) -> None:
    """A bar for each row: seconds of audio per second, the whiskers from the slowest to the quickest run."""
    rows = result.rows[::-1]
    values = [tables.speed(row, result.workload.audio_s) for row in rows]
    colours = [_OURS if row.name.startswith("ours") else _PEER for row in rows]
    figure, axes = _blank(8.0, 0.8 + 0.36 * len(rows))
    labels = [f"{row.title}  ({tables.error_rate(row):.1f} % errors)" for row in rows]
    axes.barh(labels, [value.median for value in values], color=colours, xerr=_whiskers(values), ecolor=_GREY)
    for n, value in enumerate(values):
        axes.annotate(f"{value.median:.1f}", (value.most, n), (6, 0), textcoords="offset points", va="center")
    axes.set_xlabel("seconds of audio per second")
    _save(figure, path)


def accuracy_against_speed(result: Result, path: Path) -> None:
    """A numbered point for each row: further right is quicker, further down makes fewer errors."""
    figure, axes = _blank(8.0, 4.0)
    for n, row in enumerate(result.rows, 1):
        at = tables.speed(row, result.workload.audio_s).median, tables.error_rate(row)
        colour = _OURS if row.name.startswith("ours") else _PEER
        axes.scatter(*at, color=colour, s=36, zorder=3, label=f"{n}  {row.title}")
        # Neighbours lie close together: each number stands at another corner of its point.
        beside = _CORNERS[n % len(_CORNERS)]
        axes.annotate(str(n), at, beside, textcoords="offset points", ha="center", va="center", fontsize=8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="x", which="minor", labelsize=7)
    axes.set_xlabel("seconds of audio per second")
    axes.set_ylabel("errors, %")
    axes.grid(color=_GREY, alpha=0.25)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, handletextpad=0.2)
    _save(figure, path)


def batches(result: Result, path: Path) -> None:
    """Throughput over the batch size, and how much of the device was busy."""
    sizes = [row.name.rpartition("-")[2] for row in result.rows]
    values = [tables.speed(row, result.workload.audio_s) for row in result.rows]
    figure, axes = _blank(7.0, 3.4)
    axes.errorbar(sizes, [value.median for value in values], yerr=_whiskers(values), color=_OURS, marker="o")
    axes.set_xlabel("largest batch, windows")
    axes.set_ylabel("seconds of audio per second", color=_OURS)
    axes.set_ylim(bottom=0)
    busy = axes.twinx()
    busy.plot(sizes, [_busy_percent(result, n) for n in range(len(sizes))], color=_WARM, marker="s", linestyle="--")
    busy.set_ylabel("GPU busy, %" if result.device != "cpu" else "processor busy, %", color=_WARM)
    busy.set_ylim(0, 105)
    _save(figure, path)


def precisions(result: Result, path: Path) -> None:
    """Speed and memory of each precision, side by side."""
    names = [row.title for row in result.rows]
    values = [tables.speed(row, result.workload.audio_s) for row in result.rows]
    figure, (left, right) = _blank(7.0, 3.0, n_axes=2)
    left.bar(names, [value.median for value in values], color=_OURS, yerr=_whiskers(values), ecolor=_GREY)
    left.set_ylabel("seconds of audio per second")
    right.bar(names, [row.gpu_mb or row.peak_mb for row in result.rows], color=_PEER)
    right.set_ylabel("memory, MB")
    for axes in (left, right):
        axes.tick_params(axis="x", rotation=30)
    _save(figure, path)


def lengths(data: Mapping[str, Any], path: Path) -> None:
    """Peak memory over the length of the recording."""
    minutes = [one["audio_s"] / 60.0 for one in data["lengths"]]
    figure, axes = _blank(7.0, 3.0)
    axes.plot(minutes, [one["engine_mb"] for one in data["lengths"]], color=_OURS, marker="o", label="engine")
    axes.plot(minutes, [one["decode_mb"] for one in data["lengths"]], color=_PEER, marker="s", label="decoder")
    axes.set_xscale("log")
    axes.set_xticks(minutes, [f"{value:g}" for value in (round(one) for one in minutes)])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("length of the recording, minutes")
    axes.set_ylabel("peak memory, MB")
    axes.legend()
    _save(figure, path)


def day(data: Mapping[str, Any], path: Path) -> None:
    """How long each kind of recording waited: half of them, 95 % and 99 %."""
    kinds = list(data["waits"])
    figure, axes = _blank(7.0, 3.0)
    for n, (key, colour) in enumerate((("p50_s", _OURS), ("p95_s", _PEER), ("p99_s", _WARM))):
        at = [place + 0.26 * (n - 1) for place in range(len(kinds))]
        axes.bar(at, [data["waits"][kind][key] for kind in kinds], width=0.24, color=colour, label=key[:3])
    axes.set_xticks(range(len(kinds)), kinds)
    axes.set_ylabel("seconds from drop to text")
    axes.legend()
    _save(figure, path)


def _busy_percent(result: Result, n: int) -> float:
    row = result.rows[n]
    uses = [run.gpu_percent for run in row.runs if run.gpu_percent is not None]
    if uses:
        return sum(uses) / len(uses)
    return 100.0 * tables.cores_used(row).median / int(result.machine["cores"])


def _whiskers(values: Sequence[Spread]) -> list[list[float]]:
    return [[one.median - one.least for one in values], [one.most - one.median for one in values]]


def _blank(width: float, height: float, n_axes: int = 1) -> tuple[Any, Any]:
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    matplotlib.rcParams.update(_STYLE)
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    made: tuple[Any, Any] = pyplot.subplots(1, n_axes, figsize=(width, height), layout="constrained")
    return made


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})
    importlib.import_module("matplotlib.pyplot").close(figure)
