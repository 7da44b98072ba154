"""One screen of `transcribed top`: an answer of the daemon, laid out for so many columns and lines. Asks nobody."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from daemon.cli import standing
from daemon.cli.common import duration
from daemon.cli.standing import Status
from daemon.log import escape
from monitor.wording import duration as in_words

_COLOURS: Final[Mapping[str, str]] = {
    "ready": "green",
    "down": "bold red",
    "LOST": "bold red",
    "critical": "bold red",
    "warning": "yellow",
    "offline": "bold red",
}
"""They only underline: each of these words is there to be read too."""

_LABEL_WIDTH: Final = 9
_BAR_WIDTH: Final = 12
_MAX_ALERTS: Final = 5
_MIN_JOBS: Final = 3

_KEYS: Final = "q ends"


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest answer, None before the first; *silence* says why there is no newer one, since *silent_s*."""

    status: Status | None = None
    silence: str = ""
    silent_s: float = 0.0


def draw(seen: Seen, width: int, height: int, now: datetime) -> RenderableType:
    """The screen for *seen* at *now* (UTC): never more than *height* lines of *width* columns."""
    head = [_head(seen, now)]
    foot = [Text(_KEYS, style="dim", no_wrap=True)]
    if seen.silence:
        head.append(_row("silent", f"for {in_words(seen.silent_s)}: {escape(seen.silence)}", "bold red"))
    if (status := seen.status) is None:
        return Group(*(head + foot)[: max(height, 1)])
    head += [_row("engine", f"{state}, {words}", state) for state, words in standing.engines(status)]
    head += [_row(f"GPU {index}", words, words.split(",")[0]) for index, words in standing.gpus(status)]
    head += [_row("machine", words) for words in (standing.machine(status),) if words]
    head += [_row("jobs", standing.jobs(status))]
    head += [_row("queue", words) for words in (standing.queue(status),) if words]
    head += [_row("history", words, "bold red") for words in (standing.history(status),) if words]
    head += [_row("stuck", escape(", ".join(status["stuck"])), "bold red")] if status.get("stuck") else []
    room = height - len(head) - len(foot)
    alerts = _alerts(status, now, _share(room, _MAX_ALERTS))
    inboxes = _inboxes(status, _share(room - len(alerts), 4))
    jobs = _jobs(status, width, room - len(alerts) - len(inboxes))
    return Group(*_cut([*head, *alerts, *inboxes, jobs, *foot], height, jobs))


def _cut(parts: list[RenderableType], height: int, jobs: Table) -> list[RenderableType]:
    """On a screen that is too small for everything, what is on top stays."""
    n_lines = len(parts) - 1 + jobs.row_count + (1 if jobs.show_header else 0)
    return parts if n_lines <= height else [part for part in parts if part is not jobs][: max(height, 1)]


def _share(room: int, most: int) -> int:
    """How many lines may be taken of *room* while some jobs still fit."""
    return max(0, min(most, room - _MIN_JOBS - 1))


def _head(seen: Seen, now: datetime) -> Text:
    local = now.astimezone().strftime("%H:%M:%S")
    status = seen.status or {}
    line = Text("transcribed", style="bold", no_wrap=True, overflow="ellipsis")
    if status:
        line.append(f" {status.get('version')}, process {status.get('pid')}", style="not bold")
        line.append(f", up {standing.age(status.get('started_at'), now)}", style="not bold")
    line.append(f"  {local}", style="dim not bold")
    return line


def _row(label: str, words: str, state: str = "") -> Text:
    """A line with its label; *state*, a word of it or a style, gives the colour."""
    style = _COLOURS.get(state, state if "red" in state else "")
    line = Text(f"{label:<{_LABEL_WIDTH}}", style="dim", no_wrap=True, overflow="ellipsis")
    line.append(words, style=f"{style} not dim".strip())
    return line


def _alerts(status: Status, now: datetime, most: int) -> list[Text]:
    """The worst is shown on however small a screen."""
    found = standing.alerts(status)
    if not found:
        return [_row("alerts", "none")] if most else []
    if len(found) > most:
        n_shown = max(most - 1, 1)
        more = [_row("", f"and {len(found) - n_shown} more: transcribed alerts", "warning")]
        return [_alert(alert, now) for alert in found[:n_shown]] + more
    return [_alert(alert, now) for alert in found]


def _alert(alert: Mapping[str, Any], now: datetime) -> Text:
    severity = escape(str(alert.get("severity")))
    return _row(severity, escape(f"{alert.get('title')} (for {standing.age(alert.get('opened_at'), now)})"), severity)


def _inboxes(status: Status, most: int) -> list[Text]:
    """Those that are away first: they are why somebody looks."""
    found = sorted(status.get("inboxes", ()), key=lambda inbox: not inbox.get("offline"))
    shown = found if len(found) <= most else found[: max(most - 1, 0)]
    lines = [
        _row(
            "inbox",
            f"{escape(str(inbox.get('path')))}: {standing.inbox(inbox)}",
            "offline" if inbox.get("offline") else "",
        )
        for inbox in shown
    ]
    if len(shown) < len(found):
        lines.append(_row("", f"and {len(found) - len(shown)} more"))
    return lines


def _jobs(status: Status, width: int, room: int) -> Table:
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim", width=width)
    table.add_column("job", justify="right", no_wrap=True)
    table.add_column("is", no_wrap=True)
    table.add_column("done", no_wrap=True)
    table.add_column("of", justify="right", no_wrap=True)
    table.add_column("left", justify="right", no_wrap=True)
    table.add_column("recording", ratio=1, no_wrap=True, overflow="ellipsis")
    found = sorted(status.get("in_hand", ()), key=_nearness)
    shown = found if len(found) <= room - 1 else found[: max(room - 2, 0)]
    for activity in shown:
        table.add_row(*_cells(activity))
    if len(shown) < len(found):
        table.add_row("", "", "", "", "", f"and {len(found) - len(shown)} more")
    if not found:
        table.show_header = False
    return table


def _cells(activity: Mapping[str, Any]) -> Iterable[RenderableType]:
    stage = str(activity.get("stage"))
    done_s, total_s = float(activity.get("done_s") or 0.0), float(activity.get("total_s") or 0.0)
    known = total_s > 0
    left_s = activity.get("eta_s")
    yield str(activity.get("job"))
    yield standing.STAGES.get(stage, escape(stage))
    yield _bar(done_s, total_s) if known else duration(done_s)
    yield duration(total_s) if known else ""
    yield in_words(left_s) if left_s is not None else ""
    yield _name(str(activity.get("path")))


def _bar(done_s: float, total_s: float) -> ProgressBar:
    # Rich's own colour for what is not finished is a red, as if something were wrong.
    return ProgressBar(total=total_s, completed=min(done_s, total_s), width=_BAR_WIDTH, complete_style="cyan")


def _name(path: str) -> Text:
    """The name first, for it is what people know a recording by; then its folder, as far as there is room."""
    folder, name = os.path.split(path)
    text = Text(escape(name), no_wrap=True, overflow="ellipsis")
    return text.append(f"  {escape(folder)}", style="dim")


def _nearness(activity: Mapping[str, Any]) -> tuple[int, float, int]:
    """What is nearest to its end comes first."""
    order = list(standing.STAGES)
    stage = str(activity.get("stage"))
    left_s = activity.get("eta_s")
    return (
        -order.index(stage) if stage in order else 1,
        float("inf") if left_s is None else float(left_s),
        int(activity.get("job") or 0),
    )
