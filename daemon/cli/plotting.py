"""A page of panels that shows what was measured, with the alerts shaded. The only module that loads matplotlib."""

from __future__ import annotations

import importlib
import io
import socket
import statistics
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from daemon.cli.metrics import Span
from daemon.errors import TranscribedError
from daemon.log import escape
from monitor.alert import SEVERITIES, Alert, Severity
from monitor.figures import Key
from monitor.history.reading import Point, Series
from monitor.history.rows import meaning
from monitor.wording import say

_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31")
"""Told apart by those who do not see all colours (Okabe and Ito's palette)."""

_SEVERE: Final[Mapping[Severity, str]] = {"critical": "#c1272d", "warning": "#e69f00", "info": "#56b4e9"}
_GREY: Final = "#666666"
_N_LINES: Final = 8
_N_ALERTS: Final = 10
_N_PANELS: Final = 16
_WIDTH_IN: Final = 11.0
_PANEL_IN: Final = 1.75
_LABEL_CHARS: Final = 34

_STYLE: Final[dict[str, Any]] = {
    "svg.fonttype": "none",  # letters stay letters
    "font.size": 9,
    "axes.edgecolor": _GREY,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "text.parse_math": False,  # a folder may be called $x$
}


_LABELS: Final = {
    "host_cpu_used_ratio": "processor",
    "host_memory_used_ratio": "memory",
    "host_swap_used_ratio": "swap",
    "host_temperature_celsius": "machine",
    "gpu_utilisation_ratio": "GPU {} busy",
    "gpu_memory_used_ratio": "GPU {} memory",
    "gpu_temperature_celsius": "GPU {}",
    "recent_speed_ratio": "audio per time",
}
"""What a line is called where its panel has several figures; else it is called by its subject."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One drawing of the figures *names*. *low* and *high* are the ends of its axis, None where the values decide."""

    title: str
    names: tuple[str, ...]
    low: float | None = 0.0
    high: float | None = None
    subjects: Collection[str] | None = None


_PAGE: Final = (
    Panel("Queue", ("jobs",), subjects=("waiting", "queued", "running", "publishing")),
    Panel("Speed", ("recent_speed_ratio",)),
    Panel("Processor and memory", ("host_cpu_used_ratio", "host_memory_used_ratio", "host_swap_used_ratio"), 0, 1),
    Panel("Memory of our processes", ("process_rss_bytes",)),
    Panel("GPU", ("gpu_utilisation_ratio", "gpu_memory_used_ratio"), 0, 1),
    Panel("Disks, free", ("folder_free_ratio",), 0, 1),
    Panel("Temperature", ("host_temperature_celsius", "gpu_temperature_celsius"), None),
)


def draw(path: Path, span: Span, *, named: bool) -> None:
    """Draw *span* into *path*, in the format that its name says; *named*: a panel for each figure, else our page.

    Raises TranscribedError where there is nothing to draw or the file cannot be written.
    """
    panels = _panels(span, named=named)
    if not panels:
        raise TranscribedError("nothing was measured in that time that could be drawn")
    content = io.BytesIO()
    with warnings.catch_warnings(), _module("matplotlib").rc_context(_STYLE):
        warnings.simplefilter("ignore")  # signs that the font lacks become boxes: no reason for noise
        _page(span, panels).savefig(content, format=path.suffix[1:].lower(), dpi=110)
    try:
        path.write_bytes(content.getvalue())
    except OSError as error:
        raise TranscribedError(f"cannot write {path}: {error.strerror}") from error


def _panels(span: Span, *, named: bool) -> list[tuple[Panel, list[Series]]]:
    """The panels that have something to show, with it."""
    wanted: Sequence[Panel] = _PAGE
    if named:
        names = dict.fromkeys(series.key.name for series in span.series)
        wanted = [_panel_of(name) for name in list(names)[:_N_PANELS]]
    found = [(panel, _lines(panel, span.series)) for panel in wanted]
    return [(panel, series) for panel, series in found if series]


def _panel_of(name: str) -> Panel:
    return Panel(f"{name}: {meaning(name).help}", (name,), None if name.endswith("_celsius") else 0.0)


def _lines(panel: Panel, series: Sequence[Series]) -> list[Series]:
    """Those of *series* that belong to *panel*, in the order of its names."""
    found = [one for one in series if _belongs(one, panel)]
    return sorted(found, key=lambda one: panel.names.index(one.key.name))


def _belongs(series: Series, panel: Panel) -> bool:
    if series.key.name not in panel.names or (panel.subjects is not None and series.key.subject not in panel.subjects):
        return False
    # A state that no job was in all the time is a line on the axis.
    return panel.subjects is None or any(point.worst for point in series.points)


def _page(span: Span, panels: Sequence[tuple[Panel, list[Series]]]) -> Any:
    shown = _worst_alerts(span.alerts)
    heights = ([0.25 + 0.17 * len(shown)] if shown else []) + [_PANEL_IN] * len(panels)
    figure = _module("matplotlib.figure").Figure(figsize=(_WIDTH_IN, sum(heights) + 1.0), layout="constrained")
    rows = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    if shown:
        _strip(rows[0], shown, span, len(span.alerts) - len(shown))
    for axes, (panel, series) in zip(rows[bool(shown) :], panels, strict=True):
        _draw_panel(axes, panel, series, span)
        for alert in shown:
            axes.axvspan(*_extent(alert, span), color=_SEVERE[alert.severity], alpha=0.15, linewidth=0)
    _time_axis(rows[-1], span)
    host = escape(socket.gethostname())
    figure.suptitle(f"transcribed on {host}: {_local(span.since)} to {_local(span.until)}", fontsize=11)
    return figure


def _draw_panel(axes: Any, panel: Panel, series: Sequence[Series], span: Span) -> None:
    axes.set_title(panel.title, loc="left", fontsize=9, fontweight="bold")
    for n, one in enumerate(series[:_N_LINES]):
        points = list(with_gaps(one.points, span.step_s))
        times = [at for at, _ in points]
        colour = _COLOURS[n % len(_COLOURS)]
        counter = meaning(one.key.name).kind == "counter"
        middle = [point.last if counter else point.mean for _, point in points]
        axes.plot(times, middle, color=colour, linewidth=1.2, label=_label(one.key, panel))
        axes.fill_between(times, middle, [point.worst for _, point in points], color=colour, alpha=0.25, linewidth=0)
    if panel.low is not None:
        highest = axes.get_ylim()[1] if panel.high is None else panel.high
        axes.set_ylim(panel.low, highest * 1.02 or 1.0)
    ticker, name = _module("matplotlib.ticker"), panel.names[0]
    axes.yaxis.set_major_locator(
        ticker.MultipleLocator(0.25) if panel.high else ticker.MaxNLocator(4, integer=name == "jobs")
    )

    def said(value: float, _: object) -> str:
        return say(name, value)

    axes.yaxis.set_major_formatter(said)
    axes.grid(axis="y", color=_GREY, alpha=0.2)
    title = f"and {len(series) - _N_LINES} more" if len(series) > _N_LINES else None
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.05), fontsize=8, title=title, title_fontsize=8)


def _strip(axes: Any, alerts: Sequence[Alert], span: Span, n_more: int) -> None:
    """A bar for each alert, its title beside it where there is room."""
    half = span.since + (span.until - span.since) / 2
    for n, alert in enumerate(alerts):
        begin, end = _extent(alert, span)
        axes.barh(n, end - begin, left=begin, height=0.8, color=_SEVERE[alert.severity])
        title = escape(alert.title)
        if begin > half:
            axes.annotate(title, (begin, n), (-4, 0), textcoords="offset points", ha="right", va="center", fontsize=8)
        elif end < half:
            axes.annotate(title, (end, n), (4, 0), textcoords="offset points", ha="left", va="center", fontsize=8)
        else:
            axes.annotate(title, (begin, n), (4, 0), textcoords="offset points", ha="left", va="center", fontsize=8)
    more = f" ({n_more} more are not shown)" if n_more else ""
    axes.set_title(f"Alerts{more}", loc="left", fontsize=9, fontweight="bold")
    axes.set_ylim(len(alerts) - 0.4, -0.6)
    axes.yaxis.set_visible(False)
    axes.xaxis.set_visible(False)
    axes.spines[["left", "bottom"]].set_visible(False)


def _time_axis(axes: Any, span: Span) -> None:
    dates, zone = _module("matplotlib.dates"), span.until.astimezone().tzinfo
    locator = dates.AutoDateLocator(tz=zone, maxticks=12)
    axes.set_xlim(span.since, span.until)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=zone))


def _worst_alerts(alerts: Sequence[Alert]) -> list[Alert]:
    """At most so many, the most severe and the newest, in the order of time."""
    ranked = sorted(alerts, key=lambda alert: (SEVERITIES.index(alert.severity), alert.opened_at), reverse=True)
    return sorted(ranked[:_N_ALERTS], key=lambda alert: alert.opened_at)


def _extent(alert: Alert, span: Span) -> tuple[datetime, datetime]:
    """From when to when it is drawn: inside of the page, and wide enough to be seen."""
    begin = max(alert.opened_at, span.since)
    end = min(alert.resolved_at or span.until, span.until)
    least = (span.until - span.since) / 300
    return (begin, max(end, begin + least)) if begin + least < span.until else (span.until - least, span.until)


def with_gaps(points: Sequence[Point], step_s: float) -> Iterator[tuple[datetime, Point]]:
    """The points, and one that is no number wherever nothing was measured for a while: the line ends there."""
    distances = [(after.at - before.at).total_seconds() for before, after in pairwise(points)]
    most_s = 3 * max(statistics.median(distances), step_s) if distances else 0.0
    nothing = Point(points[0].at, float("nan"), float("nan"), float("nan"), 0)
    yield points[0].at, points[0]
    for distance_s, point in zip(distances, points[1:], strict=True):
        if distance_s > most_s:
            yield point.at - timedelta(seconds=distance_s / 2), nothing
        yield point.at, point


def _label(key: Key, panel: Panel) -> str:
    if len(panel.names) > 1 or not key.subject:
        return _LABELS.get(key.name, "{}").format(_short(key.subject)) or key.name
    return _short(key.subject)


def _short(subject: str) -> str:
    text = escape(subject).lstrip("_")  # matplotlib hides the labels that begin with it
    half = _LABEL_CHARS // 2
    return text if len(text) <= _LABEL_CHARS else f"{text[: half - 1]}…{text[-half:]}"


def _module(name: str) -> Any:
    """A module of matplotlib's. Its types would be half of this page; what is drawn is looked at."""
    return importlib.import_module(name)


def _local(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M}"
