"""``transcribed alerts`` and ``transcribed alerts test``."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from daemon.alerting import setup_of
from daemon.cli import exits
from daemon.cli.common import loaded, print_json
from daemon.config import Config
from daemon.config.schema import METRICS_NAME
from daemon.errors import TranscribedError
from daemon.log import escape
from monitor.alert import Alert, Severity
from monitor.history.errors import HistoryError
from monitor.history.reading import MetricsReader
from monitor.notices.courier import Courier, Letter
from monitor.notices.messages import of_test
from monitor.wording import duration, say

_HINT: Final = (
    "; what only the service itself is given is tried with "
    "`sudo CREDENTIALS_DIRECTORY=/etc/transcribed transcribed alerts test`"
)

_STYLES: Final[dict[Severity, str]] = {"info": "cyan", "warning": "yellow", "critical": "bold red"}


def show(file: Path | None, limit: int, *, everything: bool, as_json: bool) -> None:
    """Print the alerts that are open; with *everything* those that are over too, at most *limit*."""
    alerts = _alerts(loaded(file).config, limit, open_only=not everything)
    if as_json:
        print_json([as_dict(alert) for alert in alerts])
        return
    console = Console(highlight=False, soft_wrap=True)
    if not alerts:
        console.print("no alert" if everything else "no alert is open; --all shows those that are over")
    for alert in alerts:
        console.print(_entry(alert))


def test(file: Path | None) -> int:
    """Send a test message to each address now and print which took it; the exit code."""
    addresses = setup_of(loaded(file).config, os.environ).everybody()
    if not addresses:
        hint = "" if "CREDENTIALS_DIRECTORY" in os.environ else _HINT
        raise TranscribedError(f"nobody is told of alerts: set [alerts] to or to_files in the configuration{hint}")
    message = of_test(socket.gethostname())
    with closing(Courier()) as courier:
        reasons = courier.send([Letter(address, message) for address in addresses])
    for address, reason in zip(addresses, reasons, strict=True):
        print(
            f"{'ok ' if reason is None else 'bad'}  {escape(address.name)}" + (f": {escape(reason)}" if reason else "")
        )
    return exits.OK if all(reason is None for reason in reasons) else exits.FAILED


def as_dict(alert: Alert) -> dict[str, Any]:
    """An alert as JSON types; the keys are a contract with scripts."""
    return {
        "id": alert.id,
        "rule": alert.rule,
        "figure": alert.key.name,
        "subject": alert.key.subject,
        "severity": alert.severity,
        "title": alert.title,
        "advice": alert.advice,
        "words": alert.words,
        "limit": alert.limit,
        "first": alert.first,
        "last": alert.last,
        "peak": alert.peak,
        "opened_at": _iso(alert.opened_at),
        "seen_at": _iso(alert.seen_at),
        "resolved_at": _iso(alert.resolved_at) if alert.resolved_at else None,
    }


def _alerts(config: Config, limit: int, *, open_only: bool) -> tuple[Alert, ...]:
    path = config.state_dir / METRICS_NAME
    if not path.exists():
        raise TranscribedError(
            f"{path}: no figures yet; `transcribed run` makes it, again within a minute if it was removed"
        )
    try:
        with closing(MetricsReader.open(path)) as reader:
            return reader.alerts(limit, open_only=open_only)
    except HistoryError as error:
        raise TranscribedError(str(error)) from None


def _entry(alert: Alert) -> Text:
    name = alert.key.name
    over = alert.resolved_at is not None
    style = "green" if over else _STYLES[alert.severity]
    lines = ["" if alert.words in alert.title else alert.words, _since(alert)]
    if not over:
        now, worst, limit = (say(name, value) for value in (alert.last, alert.peak, alert.limit))
        figure = "" if limit in ("yes", "no") else f"now {now}, worst {worst}, limit {limit}"
        lines += [figure, f"next: {alert.advice}" if alert.advice else ""]
    details = "".join(f"\n          {escape(line)}" for line in lines if line)
    return Text.assemble(("resolved" if over else f"{alert.severity:8}", style), f"  {escape(alert.title)}", details)


def _since(alert: Alert) -> str:
    since = f"{alert.opened_at.astimezone():%Y-%m-%d %H:%M}"
    if alert.resolved_at is None:
        return f"since {since}"
    lasted = duration(max((alert.resolved_at - alert.opened_at).total_seconds(), 0.0))
    worst = say(alert.key.name, alert.peak)
    return f"open for {lasted}, from {since}" + ("" if worst in ("yes", "no") else f"; worst {worst}")


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
