"""What the running daemon answers to the command line: its state, and changes to jobs."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from daemon import asked, retention
from daemon.actor import Pulse
from daemon.canary import Canary
from daemon.clock import iso, monotonic_s, utc_now
from daemon.config import Config
from daemon.control import Command, Request
from daemon.corrections import BadCorrection, Edit, Edits
from daemon.dispatch import Dispatcher
from daemon.engine.client import Engine
from daemon.fairness import RANKS, sender
from daemon.figures import ServiceFigures
from daemon.health import HistoryHealth
from daemon.intake.folder_settings import new_job
from daemon.intake.inbox import Inbox
from daemon.monitoring import Monitoring
from daemon.redo import Wish, redo, settings_of
from daemon.version import VERSION
from daemon.versions import Versions
from daemon.workshop import Activity
from monitor.alert import Alert
from monitor.thread import flat
from storage.jobs import JobStore
from storage.records import Fingerprint, JobState


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
        versions: Versions | None = None,
    ) -> None:
        """*inboxes* is the service's own, and *config* asks for it: they change when the file is read again."""
        self._live = live
        self._versions = versions or Versions(store)
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
            "priority": self._priority,
            "standing": self._standing,
            "take": self._take,
            "offline": self._offline,
            "correct": self._correct,
            "restore": self._restore,
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
        changed = self._store.retry(_job_ids(request), utc_now(), _by(request))
        self._recount()
        self._dispatcher.wake()
        return changed

    def _cancel(self, request: Request) -> list[int]:
        job_ids, by = _job_ids(request), _by(request)
        in_hand = [job_id for job_id in job_ids if self._dispatcher.cancel(job_id, by)]
        cancelled = self._store.cancel(job_ids, utc_now(), by)
        self._recount()
        return sorted({*in_hand, *cancelled})

    def _recount(self) -> None:
        if self._live is not None:
            self._live.figures.changed()

    def _priority(self, request: Request) -> list[int]:
        rank = RANKS.get(str(request["priority"]))
        if rank is None:
            raise asked.BadChoice(f"priority: must be one of {', '.join(RANKS)}")
        changed = self._store.prioritize(_job_ids(request), rank, utc_now(), _by(request))
        self._dispatcher.wake()
        return changed

    def _standing(self, request: Request) -> dict[str, Any] | None:
        """How many jobs are before this one, and in how many seconds it is done; None for one not in the queue."""
        job = self._store.job(int(request["job"]))
        stands = self._store.standing(job.id) if job is not None else None
        if job is None or stands is None:
            return None
        forecast = self._live.figures.forecast() if self._live is not None else None
        left_s = forecast.done_in_s(job.person, stands.before_s, stands.own_s) if forecast is not None else None
        return {"n_before": stands.n_before, "eta_s": round(left_s, 1) if left_s is not None else None}

    def _redo(self, request: Request) -> dict[str, int | None]:
        config = self._config()
        over = bool(request.get("over_corrections"))
        wish = Wish(asked.checked(request.get("options") or {}, config), _by(request), over)
        made = redo(self._store, _job_ids(request), config.inbox, config.max_attempts, utc_now(), wish)
        self._dispatcher.wake()
        return {str(job_id): new_id for job_id, new_id in made.items()}

    def _prune(self, request: Request) -> dict[str, Any]:
        """One step, from where the last one ended."""
        place = retention.Place(retention.Stage(request["stage"]), int(request["after"]))
        if place == retention.Place():  # a share that did not answer in an earlier pass may do so now
            self._gone = retention.Presence().gone
        removed, rest = retention.step(self._store, self._config().history, self._gone, utc_now(), place)
        self._recount()
        return {"removed": asdict(removed), "rest": asdict(rest) if rest is not None else None}

    def _unfinished(self, request: Request) -> str | None:
        path = os.fsencode(str(request["path"]))
        answers = [inbox.explain(path, monotonic_s()) for inbox in list(self._inboxes.values())]
        return next((answer for answer in answers if answer), None)

    def _take(self, request: Request) -> int | None:
        """A job for the recording at ``path``, which is whole, with the ``options`` that a person chose for it.

        Its number; None where it is in no inbox, is no file, or is to be left alone: the intake does what is right.
        """
        path = os.fsencode(str(request["path"]))
        inbox = next((one for one in list(self._inboxes.values()) if path.startswith(one.path + b"/")), None)
        fingerprint = fingerprint_at(path)
        if inbox is None or fingerprint is None or self._is_ours(inbox.path):
            return None
        config = self._config()
        settings = settings_of(self._store, inbox.config)
        if settings.of_recording(path).ignores(path):
            return None
        job = new_job(path, fingerprint, settings, config.max_attempts)
        with suppress(asked.BadChoice):  # not allowed any more since it was begun
            job = asked.with_choices(job, asked.checked(request.get("options") or {}, config), asked.UPLOAD)
        by = _by(request)
        if by and job.person in (b"", settings.root):  # in no folder of anybody
            job = replace(job, person=sender(by))
        (job_id,) = self._store.enqueue([job], utc_now(), by)
        inbox.taken(path, fingerprint)
        self._dispatcher.wake()
        return job_id

    def _correct(self, request: Request) -> dict[str, int]:
        """The newest version of the transcript of ``job``: version ``base`` with ``lines`` and ``speakers`` changed.

        ``lines`` are objects with ``line``, from 0 on, and ``text`` or ``speaker``; ``speakers`` are names, old to new.
        """
        number = self._versions.correct(int(request["job"]), int(request["base"]), _edits(request), _by(request))
        return {"version": number}

    def _restore(self, request: Request) -> dict[str, int]:
        """The newest version of the transcript of ``job``: the text of ``number`` again, in place of ``base``."""
        job_id, base, number = (int(request[key]) for key in ("job", "base", "number"))
        return {"version": self._versions.restore(job_id, base, number, _by(request))}

    def _offline(self, request: Request) -> str:
        """Why the inbox ``inbox`` cannot be written at present; empty where it can."""
        inbox = self._inboxes.get(os.fsencode(str(request["inbox"])))
        return "it is no inbox" if inbox is None else inbox.offline


def fingerprint_at(path: bytes) -> Fingerprint | None:
    """That of the file at *path*; None where there is none. May hang with its share."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return Fingerprint.of(status) if stat.S_ISREG(status.st_mode) else None


def _edits(request: Request) -> Edits:
    try:
        lines = {int(one["line"]): Edit(_text(one, "text"), _text(one, "speaker")) for one in request.get("lines", ())}
        speakers = {str(before): str(name) for before, name in dict(request.get("speakers") or {}).items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        words = "a correction has lines with a number and a text or a speaker, and names of speakers"
        raise BadCorrection(words) from error
    return Edits(lines, speakers)


def _text(line: Mapping[str, Any], key: str) -> str | None:
    value = line.get(key)
    return None if value is None else str(value)


def _job_ids(request: Request) -> list[int]:
    return [int(job_id) for job_id in request["jobs"]]


def _by(request: Request) -> str:
    return str(request.get("by", ""))


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
