"""How machine and service fared, as a page: plots of a time, and the alerts in it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from daemon.folderpage.names import shown_text, shown_words
from daemon.web.views.now import SEVERITY_TONES
from daemon.web.views.plots import Band, Line, Paper, Plot, plot
from daemon.web.views.telling import Badge, Moment, Teller
from monitor.alert import Alert
from monitor.history.reading import Series
from monitor.wording import say as figure_words

_MOST_LINES: Final = 5
_MOST_ALERTS: Final = 50


@dataclass(frozen=True, slots=True)
class Span:
    """A time that can be looked at: how long, how far points are apart, and marks on its axis."""

    length: timedelta
    step_s: float
    tick: timedelta


SPANS: Final[Mapping[str, Span]] = {
    "hour": Span(timedelta(hours=1), 30, timedelta(minutes=15)),
    "day": Span(timedelta(days=1), 300, timedelta(hours=6)),
    "month": Span(timedelta(days=30), 2 * 3600, timedelta(days=7)),
}


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn together: figures with all their subjects, or only *subjects*. *is_share*: up to 100 %."""

    key: str
    figures: tuple[str, ...]
    subjects: tuple[str, ...] = ()
    is_share: bool = False


CHARTS: Final = (
    Chart("cpu", ("host_cpu_used_ratio",), is_share=True),
    Chart("memory", ("host_memory_used_ratio", "host_swap_used_ratio"), is_share=True),
    Chart("gpu", ("gpu_utilisation_ratio", "gpu_memory_used_ratio"), is_share=True),
    Chart("gpu_heat", ("gpu_temperature_celsius",)),
    Chart("queue", ("jobs",), ("queued", "waiting", "running")),
    Chart("wait", ("queue_oldest_wait_s",)),
    Chart("speed", ("recent_speed_ratio",)),
    Chart("errors", ("recent_failed_ratio",), is_share=True),
    Chart("process", ("process_rss_bytes",)),
    Chart("disk", ("folder_free_ratio",), is_share=True),
)

_TIMES_AS_FAST: Final = frozenset({"recent_speed_ratio"})

FIGURES: Final = frozenset(name for chart in CHARTS for name in chart.figures)


@dataclass(frozen=True, slots=True)
class AlertRow:
    """An alert, open or over."""

    title: str
    advice: str
    words: str
    badge: Badge
    opened: Moment
    resolved: Moment | None
    lasted: str


@dataclass(frozen=True, slots=True)
class HealthPage:
    """The page. *trouble* says why there is nothing to draw."""

    span: str
    spans: tuple[tuple[str, str], ...]
    plots: tuple[Plot, ...]
    open: tuple[AlertRow, ...]
    past: tuple[AlertRow, ...]
    trouble: str = ""


def health_page(
    span: str, series: Sequence[Series], alerts: Sequence[Alert], teller: Teller, trouble: str = ""
) -> HealthPage:
    """The page of the *span* that ends now."""
    rows = [(alert, _row(alert, teller)) for alert in alerts[:_MOST_ALERTS]]
    since = teller.at - SPANS[span].length
    bands = [_band(alert, since, teller) for alert in alerts if (alert.resolved_at or teller.at) >= since]
    return HealthPage(
        span=span,
        spans=tuple((name, teller.say(f"health.{name}")) for name in SPANS),
        plots=tuple(_plots(span, series, bands, teller)),
        open=tuple(row for alert, row in rows if alert.resolved_at is None),
        past=tuple(row for alert, row in rows if alert.resolved_at is not None),
        trouble=shown_words(trouble),
    )


def _plots(span: str, series: Sequence[Series], bands: Sequence[tuple[Alert, Band]], teller: Teller) -> Iterator[Plot]:
    at, length, step_s = teller.at, SPANS[span].length, SPANS[span].step_s
    for chart in CHARTS:
        lines = [_line(one, chart, at - length, teller) for one in series if _is_of(one, chart)]
        lines.sort(key=lambda line: -max((value for _, value in line.points), default=0.0))
        if not any(line.points for line in lines):
            continue
        paper = Paper(
            title=teller.say(f"health.chart_{chart.key}"),
            length_s=length.total_seconds(),
            step_s=max(step_s, 60.0),
            say=partial(_said, chart.figures[0], teller),
            mark=partial(_marked, chart.figures[0], teller),
            least_top=1.0 if chart.is_share else 0.0,
        )
        ours = [band for alert, band in bands if alert.key.name in chart.figures]
        yield plot(paper, sorted(lines[:_MOST_LINES], key=lambda line: line.label), _ticks(span, teller), ours)


def _is_of(series: Series, chart: Chart) -> bool:
    return series.key.name in chart.figures and (not chart.subjects or series.key.subject in chart.subjects)


def _line(series: Series, chart: Chart, since: datetime, teller: Teller) -> Line:
    name, subject = series.key
    words = [teller.say(f"health.line_{name}")] if len(chart.figures) > 1 else []
    if subject:
        key = f"state.{subject}"
        words.append(teller.say(key) if chart.subjects and teller.words.has(key) else shown_text(subject))
    unit = _unit(name)
    return Line(" ".join(words), [((point.at - since).total_seconds(), point.mean / unit) for point in series.points])


def _unit(name: str) -> float:
    """What 1 stands for in a plot: times are in minutes, which are round there."""
    return 60.0 if name.endswith("_s") else 1.0


def _said(name: str, teller: Teller, value: float) -> str:
    if name in _TIMES_AS_FAST:
        return teller.say("web.times", n=value)
    return teller.duration(60 * value) if name.endswith("_s") else figure_words(name, value)


def _marked(name: str, teller: Teller, value: float) -> str:
    """As short as a mark at the grid has to be."""
    return teller.say("time.min", min=value) if name.endswith("_s") else _said(name, teller, value)


def _ticks(span: str, teller: Teller) -> list[tuple[float, str]]:
    """Round times of the span, as seconds since its beginning."""
    length, tick = SPANS[span].length, SPANS[span].tick
    local = teller.local(teller.at)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    last = midnight if tick >= timedelta(days=1) else midnight + (local - midnight) // tick * tick
    begin = teller.at - length
    found: list[tuple[float, str]] = []
    while (at_s := (last - begin).total_seconds()) >= 0:
        found.append((at_s, f"{last:%H:%M}" if tick < timedelta(days=1) else teller.day(last)))
        last -= tick
    return found


def _band(alert: Alert, since: datetime, teller: Teller) -> tuple[Alert, Band]:
    begin = max(0.0, (alert.opened_at - since).total_seconds())
    end = ((alert.resolved_at or teller.at) - since).total_seconds()
    return alert, Band(begin, max(0.0, end - begin), SEVERITY_TONES[alert.severity], shown_words(alert.title))


def _row(alert: Alert, teller: Teller) -> AlertRow:
    over = alert.resolved_at
    return AlertRow(
        title=shown_words(alert.title),
        advice=shown_words(alert.advice),
        words=shown_words(alert.words),
        badge=Badge(teller.say(f"severity.{alert.severity}"), SEVERITY_TONES[alert.severity]),
        opened=teller.moment(alert.opened_at),
        resolved=teller.moment(over) if over is not None else None,
        lasted=teller.duration(((over or teller.at) - alert.opened_at).total_seconds()),
    )
