"""``/health``: figures of the last hour, day or month, and the alerts."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from daemon.clock import monotonic_s
from daemon.web.pages.asking import teller
from daemon.web.rendering import render
from daemon.web.site import Site
from daemon.web.views.health import FIGURES, SPANS, health_page
from monitor.alert import Alert
from monitor.history.errors import HistoryError
from monitor.history.reading import MetricsReader, Series

MOST_ROWS: Final = 500
"""Rows of a table that are read for a picture: some 40 ms of each table."""

_FRESH_S: Final = {"hour": 5.0, "day": 30.0, "month": 300.0}
_N_ALERTS: Final = 60

_Read = tuple[tuple[Series, ...], tuple[Alert, ...]]


class _Figures:
    """What is read of the figures, kept for a while: whoever asks often learns nothing new."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, _Read]] = {}

    def of(self, span: str, at: datetime) -> _Read:
        """The series and the alerts of *span*. Raises HistoryError."""
        with self._lock:
            read_at, read = self._kept.get(span, (float("-inf"), ((), ())))
            if monotonic_s() - read_at >= _FRESH_S[span]:
                read = self._read(span, at)
                self._kept[span] = (monotonic_s(), read)
            return read

    def _read(self, span: str, at: datetime) -> _Read:
        length, step_s = SPANS[span].length, SPANS[span].step_s
        with closing(MetricsReader.open(self._site.metrics)) as reader:
            return reader.series(FIGURES, at - length, at, step_s, MOST_ROWS), reader.alerts(_N_ALERTS)


def routes(site: Site) -> list[BaseRoute]:
    """``GET /health``."""
    figures = _Figures(site)

    def show(request: Request) -> Response:
        wish = request.query_params.get("span", "")
        span = wish if wish in SPANS else "day"
        series: tuple[Series, ...] = ()
        alerts: tuple[Alert, ...] = tuple(site.open_alerts())
        trouble = ""
        try:
            series, alerts = figures.of(span, site.clock())
        except HistoryError as error:
            trouble = str(error)
        return render(request, "health.html", health_page(span, series, alerts, teller(request, site), trouble))

    return [Route("/health", show)]
