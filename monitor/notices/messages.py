"""What people are told: alerts and ended jobs as plain text. Knows nothing of when it is sent, or how.

Nothing that a file's name or a driver's complaint holds can forge a line, turn its direction, or call a whole channel.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final, Literal

from monitor.alert import SEVERITIES, Alert
from monitor.wording import duration, one_line, say

Kind = Literal["info", "success", "warning", "failure"]
"""How a service may colour it."""

_BADNESS: Final[Mapping[Kind, int]] = {"success": 0, "info": 1, "warning": 2, "failure": 3}

MOST_LISTED: Final = 20
_MOST_TITLE_CHARS: Final = 180
_MOST_FIELD_CHARS: Final = 600
_MOST_BODY_CHARS: Final = 12_000

_MENTION: Final = re.compile(r"@(?=(everyone|here|channel|all|room)\b)|<(?=[!@#])", re.IGNORECASE)
"""What chats take for a call to all who read them."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent: a line, and text of several lines."""

    title: str
    body: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that ended: *outcome* as in the history, *recording* its path, *reason* empty if there is none."""

    outcome: str
    recording: str
    reason: str

    @property
    def failed(self) -> bool:
        """Whether there is no transcript."""
        return self.outcome in ("failed", "quarantined")


@dataclass(frozen=True, slots=True)
class News:
    """What is to be told of alerts: *opened* and not yet told, *resolved* since they were, *standing*: told before."""

    opened: Sequence[Alert] = ()
    resolved: Sequence[Alert] = ()
    standing: Sequence[Alert] = ()


def plain(text: str) -> str:
    """*text* on one line, with what could forge or hide part of it escaped, and of a length that a person reads."""
    text = _MENTION.sub(lambda match: f"{match[0]} ", one_line(text[: _MOST_FIELD_CHARS + 1].strip()))
    return text if len(text) <= _MOST_FIELD_CHARS else f"{text[:_MOST_FIELD_CHARS]} ..."


def of_alerts(news: News, host: str, at: datetime, zone: tzinfo | None = None) -> Message:
    """The message for *news*: the worst first; what it says of times is local to *zone*, None: this machine's."""
    told = [*_worst_first(news.opened), *_worst_first(news.resolved), *_worst_first(news.standing)]
    entries = [_entry(alert, at, zone, again=alert in news.standing) for alert in told[:MOST_LISTED]]
    if len(told) > MOST_LISTED:
        entries.append(f"and {len(told) - MOST_LISTED} more: transcribed alerts")
    return Message(_title(news, host), _body(entries), _kind(news))


def of_ended(inbox: str, ended: Sequence[Ended], n_more: int, host: str) -> Message:
    """The message for jobs that ended in *inbox*; *n_more* ended besides these."""
    counts = Counter("failed" if job.failed else "done" for job in ended)
    if len(ended) == 1 and not n_more:
        what = f"{ended[0].outcome}: {plain(_base(ended[0].recording))}"
    else:
        words = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
        what = f"{len(ended) + n_more} recordings" + ("" if n_more else f": {words}")
    entries = [_ended_entry(job) for job in ended[:MOST_LISTED]]
    n_left = n_more + len(ended) - len(entries)
    if n_left:
        entries.append(f"and {n_left} more: transcribed jobs")
    kind: Kind = "failure" if counts["failed"] else "success"
    return Message(_cut(f"transcribed on {host}: {what}"), _body([f"Inbox {plain(inbox)}", *entries]), kind)


def of_test(host: str) -> Message:
    """What ``transcribed alerts test`` sends."""
    body = "This is a test. Alerts of transcribed, and that they are resolved, will come this way."
    return Message(f"transcribed on {host}: test", body, "info")


def together(messages: Sequence[Message]) -> Message:
    """*messages*, which waited for a way out, as one: the newest first, of the worst kind among them."""
    if len(messages) == 1:
        return messages[0]
    body = _body(f"{message.title}\n\n{message.body}" for message in reversed(messages))
    worst = max(messages, key=lambda message: _BADNESS[message.kind])
    return Message(_cut(f"{messages[-1].title} (and {len(messages) - 1} earlier)"), body, worst.kind)


def _worst_first(alerts: Iterable[Alert]) -> list[Alert]:
    return sorted(alerts, key=lambda alert: (-SEVERITIES.index(alert.severity), alert.opened_at))


def _title(news: News, host: str) -> str:
    opened, standing = _worst_first(news.opened), _worst_first(news.standing)
    all_told = [*opened, *news.resolved, *standing]
    if len(all_told) == 1:
        alert = all_told[0]
        sign = "resolved" if news.resolved else f"still {alert.severity}" if standing else alert.severity
        return _cut(f"transcribed on {host}: {sign}: {plain(alert.title)}")
    parts = [(opened, "new"), (list(news.resolved), "resolved"), (standing, "still open")]
    counts = ", ".join(f"{len(alerts)} {word}" for alerts, word in parts if alerts)
    first = f": {plain(opened[0].title)}" if opened else ""
    return _cut(f"transcribed on {host}: {counts}{first}")


def _kind(news: News) -> Kind:
    alerts = [*news.opened, *news.standing]
    if not alerts:
        return "success"
    worst = max(alerts, key=lambda alert: SEVERITIES.index(alert.severity)).severity
    return "failure" if worst == "critical" else worst


def _entry(alert: Alert, at: datetime, zone: tzinfo | None, *, again: bool) -> str:
    name, since = alert.key.name, _time(alert.opened_at, zone)
    worst = say(name, alert.peak)
    if alert.resolved_at is not None:
        lasted = duration(max((alert.resolved_at - alert.opened_at).total_seconds(), 0.0))
        at_worst = "" if worst in ("yes", "no") else f"; worst {worst}"
        lines = [f"RESOLVED {plain(alert.title)}", f"open for {lasted}, from {since}{at_worst}"]
        return _indented([*lines, _more(alert)])
    lasted = duration(max((at - alert.opened_at).total_seconds(), 0.0))
    limit = say(name, alert.limit)
    # Of a figure that is yes or no, the title says all.
    figure = (
        "" if limit in ("yes", "no") else f"{_figure(alert)}: now {say(name, alert.last)}, worst {worst}, limit {limit}"
    )
    open_for = f"since {since}" + (f", still open after {lasted}" if again else "")
    advice = f"next: {plain(alert.advice)}" if alert.advice else ""
    return _indented([f"{alert.severity.upper()} {plain(alert.title)}", _more(alert), figure, open_for, advice])


def _more(alert: Alert) -> str:
    """Its words, unless the title has them."""
    return "" if alert.words in alert.title else plain(alert.words)


def _figure(alert: Alert) -> str:
    return f"{alert.key.name} of {plain(alert.key.subject)}" if alert.key.subject else alert.key.name


def _ended_entry(job: Ended) -> str:
    return _indented([f"{job.outcome}: {plain(job.recording)}", plain(job.reason)])


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _indented(lines: Sequence[str]) -> str:
    first, *rest = lines
    return "\n".join([first, *(f"  {line}" for line in rest if line)])


def _time(at: datetime, zone: tzinfo | None) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M}"


def _cut(line: str) -> str:
    return line if len(line) <= _MOST_TITLE_CHARS else f"{line[:_MOST_TITLE_CHARS]} ..."


def _body(entries: Iterable[str]) -> str:
    return "\n\n".join(_fitting(entries))


def _fitting(entries: Iterable[str]) -> Iterator[str]:
    left = _MOST_BODY_CHARS
    for entry in entries:
        if len(entry) > left:
            if left == _MOST_BODY_CHARS:  # the first: a part of it is better than nothing
                yield f"{entry[:left]} ..."
            yield "and more: transcribed alerts --all"
            return
        left -= len(entry)
        yield entry
