"""When people are told, and of what: grouped, not at night, again if it lasts, never a storm.

Pure: it sends nothing. The log has everything at once; what is here is only for messages.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, tzinfo
from typing import Final

from monitor.alert import SEVERITIES, Alert, Matter, Severity
from monitor.notices.messages import Ended, News

FREE_PER_HOUR: Final = 6
"""So many messages go out in an hour at the pace that was asked for; more are a storm, which is slowed down."""

STORM_GAP_S: Final = 600.0
STORM_GAP_CRITICAL_S: Final = 300.0

_HOUR_S: Final = 3600.0
_MOST_ENDED: Final = 200  # of those that wait to be told, the rest is counted


@dataclass(frozen=True, slots=True)
class Policy:
    """As ``[alerts]`` of the configuration; *quiet_hours* are local times, from and to. *zone* None: this machine's."""

    min_severity: Severity = "warning"
    group_s: float = 60.0
    repeat_s: float = 86_400.0
    quiet_hours: tuple[time, time] | None = None
    zone: tzinfo | None = None

    def quiet(self, at: datetime) -> bool:
        """Whether *at* is in the quiet hours."""
        if self.quiet_hours is None:
            return False
        begin, end = self.quiet_hours
        local = at.astimezone(self.zone).time()
        return begin <= local < end if begin < end else (local >= begin or local < end) and begin != end


class Pace:
    """How soon after the last message the next one may go."""

    def __init__(self) -> None:
        self._sent: deque[float] = deque(maxlen=FREE_PER_HOUR)

    def may(self, now: float, group_s: float, *, urgent: bool) -> bool:
        """Whether a message may go at *now*; one that is *urgent* may sooner, in a storm."""
        if not self._sent:
            return True
        storm = len(self._sent) == FREE_PER_HOUR and now - self._sent[0] < _HOUR_S
        gap_s = max(group_s, STORM_GAP_CRITICAL_S if urgent else STORM_GAP_S) if storm else group_s
        return now - self._sent[-1] >= gap_s

    def sent(self, now: float) -> None:
        """A message went at *now*."""
        self._sent.append(now)


class Notices:
    """Which alerts are told of, and when. *told*: when alerts that are still open were told before this start, by id.

    Not for several threads.
    """

    def __init__(self, policy: Policy, told: Mapping[int, datetime] | None = None) -> None:
        self.policy = policy
        self._told_before = dict(told or {})
        self._told: dict[Matter, float] = {}
        self._open: tuple[Alert, ...] = ()
        self._resolved: dict[Matter, Alert] = {}
        self._pace = Pace()

    def take(self, opened: tuple[Alert, ...], resolved: tuple[Alert, ...], now: float, at: datetime) -> None:
        """Know that all of *opened* are open, and that *resolved* just ended.

        What was never told is not told when it is over; what opens again before its end was told never ended.
        """
        self._remember((*opened, *resolved), now, at)
        self._open = tuple(alert for alert in opened if self._matters(alert))
        for alert in resolved:
            if alert.matter in self._told:
                self._resolved[alert.matter] = alert
        for alert in self._open:
            self._resolved.pop(alert.matter, None)
        kept = {alert.matter for alert in self._open} | self._resolved.keys()
        self._told = {matter: told for matter, told in self._told.items() if matter in kept}

    def due(self, now: float, at: datetime) -> News | None:
        """What goes out at *now*, which counts as told from then on; None if nothing does."""
        quiet = self.policy.quiet(at)
        heard = [alert for alert in self._open if not quiet or alert.severity == "critical"]
        opened = [alert for alert in heard if alert.matter not in self._told]
        resolved = [alert for alert in self._resolved.values() if not quiet or alert.severity == "critical"]
        standing = [alert for alert in heard if alert.matter in self._told]
        if not any(self._lasts(alert, now) for alert in standing):
            standing = []
        urgent = any(alert.severity == "critical" for alert in opened)
        if not (opened or resolved or standing) or not self._pace.may(now, self.policy.group_s, urgent=urgent):
            return None
        self._pace.sent(now)
        for alert in resolved:
            del self._resolved[alert.matter], self._told[alert.matter]
        self._told |= {alert.matter: now for alert in (*opened, *standing)}
        return News(opened, resolved, standing)

    def never_told(self, alert_ids: Collection[int]) -> None:
        """What was to be told of these did not reach anybody: those that are still open are told anew."""
        for alert in self._open:
            if alert.id in alert_ids:
                self._told.pop(alert.matter, None)

    def _lasts(self, alert: Alert, now: float) -> bool:
        return 0 < self.policy.repeat_s <= now - self._told[alert.matter]

    def _matters(self, alert: Alert) -> bool:
        return SEVERITIES.index(alert.severity) >= SEVERITIES.index(self.policy.min_severity)

    def _remember(self, alerts: tuple[Alert, ...], now: float, at: datetime) -> None:
        """Take over what was told before the start; the wall clock may have jumped, so no time is in the future."""
        if not self._told_before:
            return
        for alert in alerts:
            told_at = None if alert.id is None else self._told_before.pop(alert.id, None)
            if told_at is not None:
                self._told[alert.matter] = now - max((at - told_at).total_seconds(), 0.0)


@dataclass(slots=True)
class _Waiting:
    ended: list[Ended] = field(default_factory=list[Ended])
    n_more: int = 0
    pace: Pace = field(default_factory=Pace)


class EndedJobs:
    """Jobs that ended and are to be told of, by inbox. Not for several threads."""

    def __init__(self) -> None:
        self._inboxes: dict[str, _Waiting] = {}

    def take(self, inbox: str, job: Ended) -> None:
        """*job* ended in *inbox*. Of very many, the failed ones are kept before the others, and the rest is counted."""
        waiting = self._inboxes.setdefault(inbox, _Waiting())
        # The failed ones first, each kind in the order of its end.
        waiting.ended.insert(
            bisect.bisect_right(waiting.ended, not job.failed, key=lambda other: not other.failed), job
        )
        if len(waiting.ended) > _MOST_ENDED:
            waiting.ended.pop()
            waiting.n_more += 1

    def due(
        self, policy: Policy, now: float, at: datetime, *, last: bool = False
    ) -> dict[str, tuple[list[Ended], int]]:
        """By inbox: the jobs that are told at *now*, and how many ended besides. *last*: there is no later."""
        found: dict[str, tuple[list[Ended], int]] = {}
        if policy.quiet(at):
            return found
        for inbox, waiting in self._inboxes.items():
            if waiting.ended and (last or waiting.pace.may(now, policy.group_s, urgent=False)):
                waiting.pace.sent(now)
                found[inbox] = waiting.ended, waiting.n_more
                waiting.ended, waiting.n_more = [], 0
        return found
