"""What a program that watches us can ask: /metrics, /healthz, /readyz. Knows no socket and nothing of the daemon.

All of it may only be read, and only by who means us: a page in somebody's browser that has a name of its own lead to
this machine (DNS rebinding) is refused.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from monitor.alert import Alert
from monitor.figures import FIGURES, Key, Sample

PREFIX: Final = "transcribed_"

STALE_S: Final = 300.0
"""Figures older than that, or than some intervals, are left out: nobody should draw a line through them."""

_UNITS: Final = {"s": "seconds", "hz": "hertz", "w": "watts", "h": "hour"}
"""Our suffixes, and how Prometheus wants them (https://prometheus.io/docs/practices/naming/)."""

_LABELS: Final[Mapping[str, str | None]] = {"job": None}
"""Kinds of subjects that are no label. Of jobs the worst is told: each would be a series of its own, for ever."""

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


def _no_alerts() -> tuple[Alert, ...]:
    return ()


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Known:
    """What the endpoints ask. Nothing in here may block.

    *sick* and *not_ready* give the reasons why the daemon is not alive, and why no recording would be done now; ""
    where there is none. *sample* gives the newest one, None before the first; older than *stale_s* it is not shown.
    """

    version: str
    sample: Callable[[], Sample | None]
    sick: Callable[[], str]
    not_ready: Callable[[], str]
    alerts: Callable[[], tuple[Alert, ...]] = _no_alerts
    stale_s: float = STALE_S
    clock: Callable[[], datetime] = _utc_now


def metric_name(figure: str) -> str:
    """What *figure* is called on the page; a counter's series have ``_total`` behind it."""
    return PREFIX + "_".join(_UNITS.get(word, word) for word in figure.split("_"))


def series_name(figure: str) -> str:
    """What its series are called."""
    return metric_name(figure) + ("_total" if FIGURES[figure].kind == "counter" else "")


def label_of(figure: str) -> str | None:
    """The label that names the subject of *figure*; None where there is none."""
    subject = FIGURES[figure].subject
    return None if subject is None else _LABELS.get(subject, subject)


def make_app(known: Known) -> ASGIApp:
    """The application, for this machine alone; whoever serves it sees to limits on size and time."""
    return _OnlyUs(make_endpoints(known))


def make_endpoints(known: Known) -> ASGIApp:
    """The same for whoever has checked who asks."""
    registry = CollectorRegistry()
    registry.register(_Page(known))

    async def metrics(request: Request) -> Response:
        del request
        return Response(generate_latest(registry), headers=_HEADERS, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def healthz(request: Request) -> Response:
        del request
        return _answer(known.sick())

    async def readyz(request: Request) -> Response:
        del request
        return _answer(known.sick() or known.not_ready())

    routes = [Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)]
    return Starlette(routes=routes)


def _answer(trouble: str) -> Response:
    text = f"{_text(trouble)}\n" if trouble else "ok\n"
    return PlainTextResponse(text, status_code=503 if trouble else 200, headers=_HEADERS)


def _text(text: str) -> str:
    """*text* as UTF-8 can have it: names of files may hold bytes that are none."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class _Page(Collector):
    """The newest sample, the open alerts, and of what version and when they are."""

    def __init__(self, known: Known) -> None:
        self._known = known

    def collect(self) -> Iterable[Metric]:
        """Everything, in the order of the catalogue. A figure that was not read is not there."""
        build = GaugeMetricFamily(f"{PREFIX}build_info", "1; the version is in the label", labels=["version"])
        build.add_metric([self._known.version], 1.0)
        yield build
        sample = self._known.sample()
        if sample is None:
            return
        yield GaugeMetricFamily(
            f"{PREFIX}sample_timestamp_seconds", "When the figures were read", value=sample.at.timestamp()
        )
        yield _open_alerts(self._known.alerts())
        if (self._known.clock() - sample.at).total_seconds() <= self._known.stale_s:
            yield from _families(sample)


def _open_alerts(alerts: Iterable[Alert]) -> Metric:
    # Not the title: it holds a figure, and each text would be a series of its own.
    labels = ["rule", "subject", "severity"]
    family = GaugeMetricFamily(f"{PREFIX}alert_open", "1 for each alert that is open", labels=labels)
    for alert in alerts:
        family.add_metric([alert.rule, _text(alert.key.subject), alert.severity], 1.0)
    return family


def _families(sample: Sample) -> Iterable[Metric]:
    by_name: dict[str, list[tuple[str, float]]] = {}
    for key, value in sample.figures.items():
        by_name.setdefault(key.name, []).append((key.subject, value))
    for name, meaning in FIGURES.items():
        if found := by_name.get(name):
            label = label_of(name)
            make = CounterMetricFamily if meaning.kind == "counter" else GaugeMetricFamily
            family = make(metric_name(name), meaning.help, labels=[label] if label else [])
            if label is None:
                found = [("", (max if meaning.worst == "high" else min)(value for _, value in found))]
            for subject, value in found:
                family.add_metric([_text(subject)] if label else [], value)
            yield family


class _OnlyUs:
    """Refuses what changes something, and requests that came by way of a foreign page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with a reason."""
        app = self._app
        if scope["type"] != "http":
            return
        if (refusal := _refusal(scope)) is not None:
            status, reason = refusal
            app = PlainTextResponse(f"{reason}\n", status_code=status, headers=_HEADERS)
        await app(scope, receive, send)


def _refusal(scope: Scope) -> tuple[int, str] | None:
    headers: dict[bytes, bytes] = dict(scope["headers"])
    server: tuple[str, int | None] | None = scope.get("server")
    over_tcp = server is not None and server[1] is not None
    if scope["method"] not in ("GET", "HEAD"):
        return 405, "only GET and HEAD"
    if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
        return 403, "not for other sites"
    # No browser can be led to a socket file, and a web server in front of one has a name of its own.
    if over_tcp and not _is_this_machine(headers.get(b"host", b"").decode("latin-1")):
        return 421, "this is only for the machine itself: ask for 127.0.0.1 or localhost"
    return None


def _is_this_machine(host: str) -> bool:
    name = re.sub(r":\d*$", "", host).lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def shown_names() -> Mapping[str, Key]:
    """Every name that a series on the page can have, and its figure: rules and dashboards are checked against them."""
    own = ("build_info", "sample_timestamp_seconds", "alert_open")
    names = {f"{PREFIX}{name}": Key("") for name in own}
    for figure in FIGURES:
        names[series_name(figure)] = Key(figure)
    return names
