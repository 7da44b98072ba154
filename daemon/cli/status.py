"""``transcribed status``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from daemon.cli import exits, standing
from daemon.cli.common import loaded, print_json
from daemon.clock import utc_now
from daemon.control import NoDaemon, ask
from daemon.log import escape


def run(file: Path | None, *, as_json: bool) -> int:
    """Print how the daemon is; the exit code."""
    config = loaded(file).config
    try:
        status: dict[str, Any] = ask(config.state_dir, "status")
    except NoDaemon as error:
        if as_json:
            print_json({"state": "stopped", "reason": str(error)})
        else:
            print(f"not running: {error}")
        return exits.FAILED
    if as_json:
        print_json(status)
    else:
        _show(status)
    return exits.FAILED if standing.trouble(status) else exits.OK


def _show(status: standing.Status) -> None:
    now = utc_now()
    print(f"transcribed {status['version']}, process {status['pid']}, since {status['started_at']}")
    for state, words in standing.engines(status):
        _line("engine", f"{state}, {words}")
    for index, words in standing.gpus(status):
        _line(f"GPU {index}", words)
    if words := standing.machine(status):
        _line("machine", words)
    _line("jobs", standing.jobs(status))
    if words := standing.queue(status):
        _line("queue", words)
    if words := standing.history(status):
        _line("history", words)
    for activity in status.get("in_hand", ()):
        print(f"  {activity['job']:>6}    {standing.progress(activity)}  {escape(activity['path'])}")
    for inbox in status.get("inboxes", ()):
        _line("inbox", f"{escape(inbox['path'])}: {standing.inbox(inbox)}")
    if words := standing.canary(status, now):
        _line("canary", words)
    for alert in standing.alerts(status):
        _line("alert", escape(f"{alert['severity']}, for {standing.age(alert['opened_at'], now)}: {alert['title']}"))
    if status.get("stuck"):
        _line("stuck", escape(", ".join(status["stuck"])))


def _line(label: str, words: str) -> None:
    print(f"{label:<11} {words}")
