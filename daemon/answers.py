"""What the running daemon answers to the command line: its state, and changes to jobs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from daemon import retention
from daemon.actor import Pulse
from daemon.canary import Canary
from daemon.clock import iso, monotonic_s, utc_now
from daemon.config import Config
from daemon.control import Command, Request
from daemon.dispatch import Dispatcher
from daemon.engine.client import Engine
from daemon.figures import ServiceFigures
from daemon.health import HistoryHealth
from daemon.intake.inbox import Inbox
from daemon.monitoring import Monitoring
from daemon.redo import redo
from daemon.version import VERSION
from daemon.workshop import Activity
from monitor.alert import Alert
from monitor.thread import flat
from storage.jobs import JobStore
from storage.records import JobState


@dataclass(frozen=True, slots=True)
class Live:
    """What is known of how it goes: figures, the monitor, the history's trouble, and the canary, if there is one."""

    figures: ServiceFigures
    monitoring: Monitoring
    health: HistoryHealth
    canary: Canary | None

    def is_ours(self, inbox: bytes) -> bool:
        """Whether it is the canary's, which people do not see."""
        return self.canary is not None and inbox == self.canary.inbox

    def answer(self, n_queued: int) -> dict[str, Any]:
        """What the status tells of it."""
        sample = self.monitoring.latest
        speed, left_s = self.figures.pace().speed, self.figures.queue_eta_s(n_queued)
        return {
            "speed_ratio": round(speed, 2) if speed is not None else None,
            "queue_eta_s": round(left_s, 1) if left_s is not None else None,
            "history_trouble": self.health.trouble(),
            "alerts": [_alert(alert) for alert in self.monitoring.open_alerts],
            "canary": self.canary.status() if self.canary is not None else None,
            "figures": flat(sample) if sample is not None else {},
            "sampled_at": iso(sample.at) if sample is not None else None,
        }


class Answers:
    """The commands of the control socket, over the parts of a running service. Called from many threads."""

    def __init__(
        self,
        store: JobStore,
        engine: Engine,
        dispatcher: Dispatcher,
        inboxes: Mapping[bytes, Inbox],
        pulse: Pulse,
        started_at: datetime,
        config: Callable[[], Config],
        live: Live | None = None,
    ) -> None:
        """*inboxes* is the service's own, and *config* asks for it: they change when the file is read again."""
        self._live = live
        self._store = store
        self._engine = engine
        self._dispatcher = dispatcher
        self._inboxes = inboxes
        self._pulse = pulse
        self._started_at = started_at
        self._config = config
        self._gone = retention.Presence().gone

    def commands(self) -> Mapping[str, Command]:
        """The commands by name."""
        return {
            "status": self._status,
            "retry": self._retry,
            "cancel": self._cancel,
            "redo": self._redo,
            "prune": self._prune,
            "unfinished": self._unfinished,
        }

    def _status(self, request: Request) -> dict[str, Any]:
        del request
        live = self._live
        counts = live.figures.counts(exact=True) if live is not None else self._store.counts()
        etas = live.figures.etas() if live is not None else {}
        return {
            "state": "ready",
            "version": VERSION,
            "pid": os.getpid(),
            "started_at": iso(self._started_at),
            "jobs": {state.value: count for state, count in counts.items()},
            "engine": asdict(self._engine.status()),
            "in_hand": [
                _activity(activity, etas.get(activity.job.id))
                for activity in self._dispatcher.activities()
                if not self._is_ours(activity.job.inbox)
            ],
            "inboxes": [_inbox(inbox) for inbox in list(self._inboxes.values()) if not self._is_ours(inbox.path)],
            "stuck": self._stuck(),
            **(live.answer(counts[JobState.QUEUED]) if live is not None else {}),
        }

    def _stuck(self) -> list[str]:
        now = monotonic_s()
        monitor_too = self._live is not None and self._live.monitoring.stuck(now)
        return self._pulse.stale(now) + (["monitor"] if monitor_too else [])

    def _is_ours(self, inbox: bytes) -> bool:
        return self._live is not None and self._live.is_ours(inbox)

    def _retry(self, request: Request) -> list[int]:
        changed = self._store.retry(_job_ids(request), utc_now())
        self._dispatcher.wake()
        return changed

    def _cancel(self, request: Request) -> list[int]:
        job_ids = _job_ids(request)
        in_hand = [job_id for job_id in job_ids if self._dispatcher.cancel(job_id)]
        return sorted({*in_hand, *self._store.cancel(job_ids, utc_now())})

    def _redo(self, request: Request) -> dict[str, int | None]:
        config = self._config()
        made = redo(self._store, _job_ids(request), config.inbox, config.max_attempts, utc_now())
        self._dispatcher.wake()
        return {str(job_id): new_id for job_id, new_id in made.items()}

    def _prune(self, request: Request) -> dict[str, Any]:
        """One step, from where the last one ended."""
        place = retention.Place(retention.Stage(request["stage"]), int(request["after"]))
        if place == retention.Place():  # a share that did not answer in an earlier pass may do so now
            self._gone = retention.Presence().gone
        removed, rest = retention.step(self._store, self._config().history, self._gone, utc_now(), place)
        return {"removed": asdict(removed), "rest": asdict(rest) if rest is not None else None}

    def _unfinished(self, request: Request) -> str | None:
        path = os.fsencode(str(request["path"]))
        answers = [inbox.explain(path, monotonic_s()) for inbox in list(self._inboxes.values())]
        return next((answer for answer in answers if answer), None)


def _job_ids(request: Request) -> list[int]:
    return [int(job_id) for job_id in request["jobs"]]


def _activity(activity: Activity, left_s: float | None) -> dict[str, Any]:
    return {
        "job": activity.job.id,
        "path": activity.job.path.decode("utf-8", "backslashreplace"),
        "stage": activity.stage,
        "done_s": round(activity.done_s, 1),
        "total_s": round(activity.total_s, 1),
        "eta_s": round(left_s, 1) if left_s is not None else None,
    }


def _alert(alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.id,
        "rule": alert.rule,
        "subject": alert.key.subject,
        "severity": alert.severity,
        "title": alert.title,
        "advice": alert.advice,
        "words": alert.words,
        "opened_at": iso(alert.opened_at),
    }


def _inbox(inbox: Inbox) -> dict[str, Any]:
    return {
        "path": str(inbox.config.path),
        "watched_by": "events" if inbox.watching.events else "polling",
        "because": inbox.watching.reason,
        "settle_s": inbox.watching.settle_s,
        "offline": inbox.offline,
        "degraded": inbox.degraded,
    }
