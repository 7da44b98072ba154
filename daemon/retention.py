"""How long the history is kept: what is old goes, in steps so small that no job waits for them. Knows no SQL."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from daemon.clock import utc_now
from daemon.config import HistoryConfig
from daemon.locks import INBOX_MARKER
from daemon.shares import NoAnswer, within
from storage.errors import StorageError
from storage.jobs import JobStore
from storage.reading import JobQueries
from storage.retention import OldJob

log = logging.getLogger(__name__)

EVERY_S: Final = 3600.0
FIRST_S: Final = 60.0
"""After the start: recordings that were dropped meanwhile come first."""

REST_S: Final = 0.1
"""Between two steps, so that the one writer is free most of the time."""

LOOK_S: Final = 5.0
"""How long a share may take to say whether a recording is there; then it counts as there."""

_N_EVENTS: Final = 500
_N_JOBS: Final = 20
_N_TEXTS: Final = 5
"""In one transaction: each of these takes some ten milliseconds."""


class Stage(StrEnum):
    """What is looked at, in this order."""

    EVENTS = "events"
    TEXTS = "texts"
    JOBS = "jobs"


@dataclass(frozen=True, slots=True)
class Place:
    """How far a pass is: the stage, and the job up to which it has looked."""

    stage: Stage = Stage.EVENTS
    after: int = 0


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went, or would go."""

    n_events: int = 0
    n_texts: int = 0
    n_jobs: int = 0

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(self.n_events + other.n_events, self.n_texts + other.n_texts, self.n_jobs + other.n_jobs)


Gone = Callable[[OldJob], bool]
Step = tuple[Pruned, Place | None]
"""What went in one step, and where the next one begins; None at the end of the pass."""


@dataclass(slots=True)
class Presence:
    """Whether recordings are gone. A share that does not answer is asked once; its recordings count as there.

    One that is known to be *silent* is not asked: each such call keeps a thread for as long as the share hangs.
    """

    look: Callable[[bytes], os.stat_result] = os.lstat
    timeout_s: float = LOOK_S
    silent: Callable[[bytes], bool] = lambda _inbox: False
    _silent: set[bytes] = field(default_factory=set[bytes])

    def gone(self, job: OldJob) -> bool:
        """Whether the inbox of *job* is there, with our marker in it, and the recording is not."""
        if job.inbox in self._silent or self.silent(job.inbox):
            return False
        try:
            return within(self.timeout_s, "presence", lambda: self._gone(job))
        except NoAnswer:
            self._silent.add(job.inbox)
            return False

    def _gone(self, job: OldJob) -> bool:
        if not job.path.startswith(job.inbox + b"/"):
            return False  # it went to a folder elsewhere when it was done: nobody knows whether that is there
        # Without the marker it may be an empty mount point, where every recording seems to be gone.
        marker = os.path.join(job.inbox, os.fsencode(INBOX_MARKER))
        return self._there(marker) is True and self._there(job.path) is False

    def _there(self, path: bytes) -> bool | None:
        try:
            self.look(path)
        except OSError as error:
            return False if error.errno in (errno.ENOENT, errno.ENOTDIR) else None
        return True


def step(store: JobStore, rules: HistoryConfig, gone: Gone, at: datetime, place: Place) -> Step:
    """One short transaction of a pass over what *rules* let go at *at*. Raises StorageError."""
    batch = _batch(store, rules, gone, at, place)
    n_jobs = 0
    if batch.events:
        store.remove_events(batch.events)
    if batch.texts:
        store.remove_texts(batch.texts)
    if batch.jobs:
        n_jobs = store.remove_jobs(batch.jobs)
    return Pruned(len(batch.events), len(batch.texts), n_jobs), batch.next_place


def preview(history: JobQueries, rules: HistoryConfig, gone: Gone, at: datetime) -> Pruned:
    """What a pass would remove at *at*; nothing is changed. Raises StorageError."""
    n_events = history.n_old_events(_before(at, rules.keep_events_days)) if rules.keep_events_days else 0
    found = Pruned(n_events)
    place: Place | None = Place(Stage.TEXTS)
    while place is not None:
        batch = _batch(history, rules, gone, at, place)
        found += Pruned(0, len(batch.texts), len(batch.jobs))
        place = batch.next_place
    return found


@dataclass(frozen=True, slots=True)
class _Batch:
    next_place: Place | None
    events: list[int] = field(default_factory=list[int])
    texts: list[int] = field(default_factory=list[int])
    jobs: list[OldJob] = field(default_factory=list[OldJob])


def _batch(history: JobQueries, rules: HistoryConfig, gone: Gone, at: datetime, place: Place) -> _Batch:
    if place.stage is Stage.EVENTS:
        return _events(history, rules, at)
    if place.stage is Stage.TEXTS:
        return _texts(history, rules, place)
    return _jobs(history, rules, gone, at, place)


def _before(at: datetime, n_days: float) -> datetime:
    return at - timedelta(days=n_days)


def _events(history: JobQueries, rules: HistoryConfig, at: datetime) -> _Batch:
    found: list[int] = []
    if rules.keep_events_days:
        found = history.old_events(_before(at, rules.keep_events_days), _N_EVENTS)
    return _Batch(Place(Stage.EVENTS if len(found) == _N_EVENTS else Stage.TEXTS), events=found)


def _texts(history: JobQueries, rules: HistoryConfig, place: Place) -> _Batch:
    found = history.old_texts(rules.keep_versions, place.after, _N_TEXTS) if rules.keep_versions else []
    more = len(found) == _N_TEXTS
    return _Batch(Place(Stage.TEXTS, found[-1]) if more else Place(Stage.JOBS), texts=found)


def _jobs(history: JobQueries, rules: HistoryConfig, gone: Gone, at: datetime, place: Place) -> _Batch:
    found: list[OldJob] = []
    if rules.keep_jobs_days:
        found = history.old_jobs(_before(at, rules.keep_jobs_days), place.after, _N_JOBS)
    next_place = Place(Stage.JOBS, found[-1].job_id) if len(found) == _N_JOBS else None
    return _Batch(next_place, jobs=[job for job in found if not job.needed or gone(job)])


class Retention:
    """The actor: a pass soon after the start, and one every hour."""

    def __init__(
        self, store: JobStore, rules: Callable[[], HistoryConfig], gone: Callable[[], Gone] | None = None
    ) -> None:
        self._store = store
        self._rules = rules
        self._new_gone = gone or (lambda: Presence().gone)
        self._place: Place | None = None
        self._due: float | None = None
        self._removed = Pruned()

    def step(self, now: float) -> float:
        """One step of the pass that is under way, or due."""
        if self._due is None:
            self._due = now + FIRST_S
        if self._place is None:
            if now < self._due:
                return self._due - now
            self._place, self._gone, self._removed = Place(), self._new_gone(), Pruned()
        try:
            removed, self._place = step(self._store, self._rules(), self._gone, utc_now(), self._place)
        except StorageError as error:
            log.warning("The history is not pruned now: %s", error, extra={"event": "prune_failed"})
            self._place = None
        else:
            self._removed += removed
            if self._place is not None:
                return REST_S
        self._end(now)
        return EVERY_S

    def _end(self, now: float) -> None:
        self._due = now + EVERY_S
        removed = self._removed
        if removed != Pruned():
            log.info(
                "Pruned the history: %d events, %d texts, %d jobs",
                *(removed.n_events, removed.n_texts, removed.n_jobs),
                extra={"event": "pruned", **asdict(removed)},
            )
