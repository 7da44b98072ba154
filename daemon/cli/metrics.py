"""``transcribed metrics``."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from daemon.cli import exits
from daemon.cli.common import figures, loaded, print_json, since
from daemon.clock import utc_now
from daemon.config import Config
from daemon.errors import TranscribedError
from daemon.log import escape
from monitor.alert import Alert
from monitor.figures import FIGURES, Key
from monitor.history.errors import HistoryError
from monitor.history.reading import MetricsReader, Point, Series
from monitor.history.rows import meaning
from monitor.wording import number, say

_N_STEPS: Final = 1440
"""A day in minutes: as fine as a page can show."""

_STALE: Final = timedelta(minutes=10)
_N_ALERTS: Final = 10
PICTURES: Final = (".png", ".svg", ".pdf")


@dataclass(frozen=True, slots=True)
class Span:
    """What was measured from *since* to *until*, in steps of *step_s*; *alerts* were open at some time in it."""

    since: datetime
    until: datetime
    step_s: float
    series: Sequence[Series]
    alerts: Sequence[Alert]


@dataclass(frozen=True, slots=True)
class Summary:
    """A figure over a time. *grown* is by how much a counter did, None for what is none."""

    key: Key
    last: Point
    mean: float
    worst: Point
    grown: float | None


def run(file: Path | None, names: Sequence[str], when: str, plot: Path | None, *, as_json: bool) -> int:
    """Print the figures *names* (all if empty) since *when*, or draw them into *plot*; the exit code."""
    begins = since(when)
    if begins is None or begins >= utc_now():
        raise TranscribedError(f"--since {when!r}: that is not in the past")
    if plot is not None and plot.suffix.lower() not in PICTURES:
        raise TranscribedError(f"--plot {plot}: the name must end in {', '.join(PICTURES)}")
    span = read(loaded(file).config, matching(names), begins)
    if plot is not None:
        from daemon.cli import plotting  # only now: it takes a second

        plotting.draw(plot, span, named=bool(names))
    if as_json:
        print_json(as_dict(span, points=bool(names)))
    elif plot is None:
        _show(span, named=bool(names))
    if not span.series:
        print("transcribed: nothing was measured in that time", file=sys.stderr)
        return exits.FAILED
    return exits.OK


def matching(names: Sequence[str]) -> frozenset[str] | None:
    """The figures that *names* are, or begin; None for all. Raises TranscribedError for one that is of none."""
    if not names:
        return None
    found: set[str] = set()
    for asked in names:
        these = {asked} & FIGURES.keys() or {name for name in FIGURES if name.startswith(asked)}
        if not these:
            starts = ", ".join(sorted({name.partition("_")[0] for name in FIGURES}))
            raise TranscribedError(f"{asked!r}: no figure is called so; their names begin with {starts}")
        found |= these
    return frozenset(found)


def read(config: Config, names: Collection[str] | None, begins: datetime) -> Span:
    """The figures since *begins*. Raises TranscribedError."""
    until = utc_now()
    step_s = (until - begins).total_seconds() / _N_STEPS
    try:
        with closing(MetricsReader.open(figures(config))) as reader:
            series = reader.series(names, begins, until, step_s)
            alerts = reader.alerts_between(begins, until)
    except HistoryError as error:
        raise TranscribedError(str(error)) from None
    return Span(begins, until, step_s, series, alerts)


def summed_up(series: Series) -> Summary:
    """*series* in four numbers."""
    of = meaning(series.key.name)
    points = series.points
    n_samples = sum(point.n_samples for point in points)
    mean = sum(point.mean * point.n_samples for point in points) / n_samples
    worst = (min if of.worst == "low" else max)(points, key=lambda point: point.worst)
    grown = None
    if of.kind == "counter":  # it begins again from 0 when what it counts is started again
        grown = sum(
            after.last - before.last if after.last >= before.last else after.last for before, after in pairwise(points)
        )
    return Summary(series.key, points[-1], mean, worst, grown)


def as_dict(span: Span, *, points: bool) -> dict[str, Any]:
    """*span* as JSON types; the keys are a contract with scripts."""
    from daemon.cli.alerts import as_dict as alert_as_dict

    return {
        "since": _iso(span.since),
        "until": _iso(span.until),
        "figures": [_figure(series, points=points) for series in span.series],
        "alerts": [alert_as_dict(alert) for alert in span.alerts],
    }


def _figure(series: Series, *, points: bool) -> dict[str, Any]:
    summary = summed_up(series)
    told: dict[str, Any] = {
        "name": series.key.name,
        "subject": series.key.subject,
        "help": meaning(series.key.name).help,
        "last": summary.last.last,
        "last_at": _iso(summary.last.at),
        "mean": summary.mean,
        "worst": summary.worst.worst,
        "worst_at": _iso(summary.worst.at),
        "grown": summary.grown,
        "words": series.words,
    }
    if points:
        told["points"] = [
            {"at": _iso(point.at), "mean": point.mean, "worst": point.worst, "last": point.last}
            for point in series.points
        ]
    return told


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _show(span: Span, *, named: bool) -> None:
    console = Console(highlight=False)
    # Figures of jobs are as many as there were jobs: who asks for them gets them.
    series = [one for one in span.series if named or meaning(one.key.name).subject != "job"]
    summaries = [summed_up(one) for one in series]
    newest = max((summary.last.at for summary in summaries), default=span.until)
    table = Table(box=None, pad_edge=False)
    table.add_column("figure", no_wrap=True)
    table.add_column("of", overflow="fold")
    for column in ("last", "mean", "worst"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("at", no_wrap=True)
    before = ""
    for summary in summaries:
        name = summary.key.name
        table.add_row(
            "" if name == before else name,
            Text(escape(summary.key.subject)),
            *_values(summary, newest),
        )
        before = name
    if summaries:
        console.print(table)
    for alert in span.alerts[:_N_ALERTS]:
        at = f"{alert.opened_at.astimezone():%Y-%m-%d %H:%M}"
        state = "resolved" if alert.resolved_at else f"{alert.severity}, open"
        console.print(Text(f"alert  {at}  {escape(alert.title)} ({state})"), soft_wrap=True)
    if len(span.alerts) > _N_ALERTS:
        console.print(f"{len(span.alerts) - _N_ALERTS} more alerts: `transcribed alerts --all`")


def _values(summary: Summary, newest: datetime) -> tuple[str, str, str, str]:
    name = summary.key.name
    last = say(name, summary.last.last)
    if newest - summary.last.at > _STALE:
        last = f"{last} at {_clock(summary.last.at, newest)}"
    if summary.grown is not None:
        return last, f"+{say(name, summary.grown)}", "", ""
    mean = say(name, summary.mean)
    if meaning(name).help.startswith("1 if ") and 0 < summary.mean < 1:
        mean = f"{number(100 * summary.mean)} %"  # of the time
    worst = say(name, summary.worst.worst)
    return (last, mean, "", "") if worst == mean else (last, mean, worst, _clock(summary.worst.at, newest))


def _clock(at: datetime, newest: datetime) -> str:
    """The time of *at* on this machine, with the day if it is long ago."""
    local = at.astimezone()
    return f"{local:%H:%M}" if newest - at < timedelta(hours=24) else f"{local:%m-%d %H:%M}"
