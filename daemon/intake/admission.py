"""From what a scan found to jobs: which files changed, which are finished, which are to be told why they wait.

One thread uses it, that of its inbox. Knows nothing of when to search, nor of whether the folder is there.
"""

from __future__ import annotations

import logging
import os
import stat
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import Final, TypeVar

from daemon.clock import monotonic_s, utc_now
from daemon.config import InboxConfig
from daemon.failpoints import reached
from daemon.folderpage.gathering import Arriving
from daemon.intake.examine import Examined, Finding, examine
from daemon.intake.folder_settings import FolderSettings, new_job
from daemon.intake.scanner import Scan
from daemon.intake.settle import Settling
from daemon.intake.watching import Watching
from daemon.shares import Touch
from storage.jobs import JobStore
from storage.records import LIVE_STATES, Fingerprint, Job, JobState, NewJob

log = logging.getLogger(__name__)

TELL_AFTER_S: Final = 10.0
"""A file that could be finished for so long and is not gets a job in state waiting, so that people see why."""

BLOCKED_RETRY_S: Final = 60.0
"""How often a file that cannot be opened is tried again; a change of its permissions is seen by the next scan."""

BATCH: Final = 500
"""Recordings that go to the history in one transaction."""

_WORK_S: Final = 5.0  # a step ends after about this much work, whatever is left: a loop must show that it is alive
_UNSEEN: Final = Fingerprint(-1, 0, 0, 0, 0)  # that of no file: whatever is there is new
_SLOW_S: Final = 1.0
_GONE: Final = "the recording was removed or renamed before its turn"
_IGNORED: Final = "the settings of its folder say that it is to be ignored"
_IN_HAND: Final = (JobState.RUNNING, JobState.PUBLISHING)
_T = TypeVar("_T")


class Admission:
    """The files of one inbox, each until its job is in the history.

    *settings* are those of its folders at present. *touching* is entered around whatever a dead share may hold up,
    *watching* tells how the folder is watched at present, and *on_new* is called when there are new jobs.
    """

    def __init__(
        self,
        config: InboxConfig,
        store: JobStore,
        *,
        settings: Callable[[], FolderSettings],
        max_attempts: int,
        watching: Callable[[], Watching],
        touching: Callable[[], AbstractContextManager[Touch]],
        on_new: Callable[[], None],
    ) -> None:
        self._inbox: Final = os.fsencode(config.path)
        self._settings = settings
        self._store = store
        self._max_attempts = max_attempts
        self._watching = watching
        self._touching = touching
        self._on_new = on_new
        self._settling = Settling(watching().settle_s)
        self._known: dict[bytes, Fingerprint] = {}
        self._told: dict[bytes, str] = {}
        self._in_time = True
        self.backlog = False
        """Whether finished files are left from the last `admit`."""

    @property
    def known(self) -> dict[bytes, Fingerprint]:
        """The newest fingerprint of each file that has a job: what a scan need not look at twice."""
        return self._known

    def learn(self) -> None:
        """Take what the history knows of the inbox."""
        for known in self._store.known_files(self._inbox):
            if known.state is JobState.VANISHED:
                continue  # one that came back is a new job
            # A file that only the intake can move on is looked at afresh.
            waits_for_us = known.state is JobState.WAITING and known.not_before_at is None
            self._known[known.path] = _UNSEEN if waits_for_us else known.fingerprint

    def forget(self, path: bytes) -> None:
        """Look at *path* afresh: it is not what its job was made for."""
        self._known[path] = _UNSEEN

    def settle_anew(self) -> None:
        """The folder is watched in another way, with another settle time."""
        self._settling.settle_s = self._watching().settle_s

    def active(self, now: float) -> bool:
        """Whether files are unfinished that are worth looking at between two scans."""
        return bool(self._settling.active(now))

    def compare(self, found: Scan, now: float, ignored: Collection[bytes] = ()) -> bool:
        """Take what a scan found at *now*; whether there was time to note all that is gone.

        Those *ignored* are there and count as gone.
        """
        for path, fingerprint in found.recordings.items():
            known = self._known.get(path)
            if known is not fingerprint and known != fingerprint:
                self._settling.observe(path, fingerprint, now)
        for place, reason in found.unreadable.items():
            log.debug("cannot look at %s: %s", os.fsdecode(place), reason)
        hidden = tuple(place + b"/" for place in found.unreadable)
        missing = (self._known.keys() | self._settling.paths()) - found.recordings.keys() - found.unreadable.keys()
        for batch in self._for_a_while(_batches([path for path in missing if not path.startswith(hidden)])):
            self._lost([path for path in batch if path not in ignored], _GONE)
            self._lost([path for path in batch if path in ignored], _IGNORED)
        return self._in_time

    def _for_a_while(self, items: Iterable[_T]) -> Iterator[_T]:
        """*items*, until a step has taken long enough; then the rest is for the next one."""
        self._in_time = True
        until = monotonic_s() + _WORK_S
        for item in items:
            yield item
            if monotonic_s() > until:
                self._in_time = False
                return

    def _lost(self, paths: Sequence[bytes], reason: str) -> None:
        for path in self._store.vanished(paths, utc_now(), reason) if paths else ():
            log.info("%s: %s", os.fsdecode(path), reason, extra={"event": "job_vanished"})
        for path in paths:
            self._known.pop(path, None)
            self._settling.forget(path)

    def look_again(self, now: float) -> None:
        """Look at the unfinished files alone."""
        began = monotonic_s()
        with self._touching() as touch:
            for path in self._settling.active(now):
                touch.renew()
                try:
                    status = os.lstat(path)
                except OSError:
                    continue  # the next scan tells a file that is gone from a folder that is
                if stat.S_ISREG(status.st_mode):
                    self._settling.observe(path, Fingerprint.of(status), after(now, began))

    # Finished files.

    def admit(self, now: float) -> None:
        """Make the jobs of the files that are finished, as many as a step has time for."""
        until = monotonic_s() + _WORK_S
        batches = deque(_batches(self._settling.still(now)))
        while batches:
            self._admit_batch(batches.popleft(), now)
            if monotonic_s() > until:
                break
        self.backlog = bool(batches)

    def _admit_batch(self, paths: Sequence[bytes], now: float) -> None:
        ready = self._examine(paths, now)
        newest = self._store.newest_of([path for path, _, _ in ready])
        jobs = [
            job
            for path, fingerprint, owner in ready
            if (job := self._job_for(path, fingerprint, owner, newest.get(path), now)) is not None
        ]
        if jobs:
            self._store.enqueue(jobs, utc_now())
            reached("inbox.queued")
            for job in jobs:
                self.settled(job.path, job.fingerprint)
            self._on_new()

    def _examine(self, paths: Sequence[bytes], now: float) -> list[tuple[bytes, Fingerprint, int | None]]:
        """Those of *paths* that are finished, as they are now, with their owners; the others are put off."""
        ready: list[tuple[bytes, Fingerprint, int | None]] = []
        with self._touching() as touch:
            for path in paths:
                touch.renew()
                watched = self._settling.watched(path)
                assert watched is not None
                examined = examine(path, watched.fingerprint, leases=self._watching().leases)
                if examined.finding is Finding.READY:
                    ready.append((path, watched.fingerprint, examined.owner))
                else:
                    self._put_off(path, examined, now)
        return ready

    def _job_for(
        self, path: bytes, fingerprint: Fingerprint, owner: int | None, newest: Job | None, now: float
    ) -> NewJob | None:
        """The job that *path* needs, *newest* being its last one; None for one that is put off or done with."""
        if newest is not None and self._is_same(newest, fingerprint):
            self._store.touched(path, fingerprint, utc_now())
            self.settled(path, fingerprint)
            return None
        if newest is not None and newest.state in _IN_HAND:
            reason = "it changed while it was transcribed; its new content comes next"
            self._settling.postpone(path, now + self._watching().settle_s, reason, "changed")
            return None
        return self._new_job(path, fingerprint, owner)

    def settled(self, path: bytes, fingerprint: Fingerprint) -> None:
        """The recording at *path*, as it is with *fingerprint*, has its job."""
        self._known[path] = fingerprint
        self._settling.forget(path)

    def _put_off(self, path: bytes, examined: Examined, now: float) -> None:
        match examined.finding:
            case Finding.BLOCKED:
                self._settling.postpone(path, now + BLOCKED_RETRY_S, examined.reason, "source_blocked")
            case Finding.EMPTY | Finding.BUSY:
                until = now + self._watching().settle_s
                self._settling.postpone(path, until, examined.reason, examined.finding.value)
            case _:
                pass  # changed or gone since: the next look or scan sees it

    def _is_same(self, job: Job, fingerprint: Fingerprint) -> bool:
        """Whether only the metadata changed since its newest job: a chmod, a rename there and back."""
        if job.state in (JobState.WAITING, JobState.VANISHED):
            return False
        before = job.fingerprint
        if (before.size_bytes, before.mtime_ns) != (fingerprint.size_bytes, fingerprint.mtime_ns):
            return False
        if job.state is JobState.DONE:  # else it was moved here without its transcripts
            with self._touching():
                return all(os.path.lexists(output.path) for output in job.outputs)
        # Whoever takes a failed file away and drops it again wants it tried again. One that lay here all the time and
        # waited was ended by a person.
        return job.state in LIVE_STATES or job.path in self._known or job.path in self._told

    # Unfinished files.

    def tell(self, now: float) -> bool:
        """Give files that are not finished for long a job that says why; whether there was time for all."""
        self._told = {path: reason for path, reason in self._told.items() if self._settling.watched(path) is not None}
        for path, reason in self._for_a_while(self._late(now)):
            watched = self._settling.watched(path)
            assert watched is not None
            self._store.wait(self._new_job(path, watched.fingerprint), reason, utc_now())
            self._told[path] = reason
        return self._in_time

    def _late(self, now: float) -> list[tuple[bytes, str]]:
        settle_s = self._watching().settle_s
        since = now - settle_s - TELL_AFTER_S
        # One that is still only waits for its turn to get a job: of many that came at once, the last ones do for long.
        reasons = [
            (path, watched.reason or "still being written: it keeps changing")
            for path, watched in self._settling.items()
            if watched.reason or (watched.first_seen <= since and now - watched.changed_at < settle_s)
        ]
        return [(path, reason) for path, reason in reasons if self._told.get(path) != reason]

    def _new_job(self, path: bytes, fingerprint: Fingerprint, owner: int | None = None) -> NewJob:
        return new_job(path, fingerprint, self._settings(), self._max_attempts, owner)

    @property
    def n_arriving(self) -> int:
        """How many files are unfinished."""
        return len(self._settling.paths())

    def arriving(self, limit: int) -> list[Arriving]:
        """The unfinished files, *limit* at the most."""
        return [
            Arriving(path, watched.key or ("" if watched.reason else "arriving"), watched.reason)
            for path, watched in islice(self._settling.items(), limit)
        ]

    def explain(self, path: bytes, now: float) -> str | None:
        """What the intake makes of an unfinished file, in words; None for one that it does not wait for."""
        watched = self._settling.watched(path)
        if watched is None:
            return None
        if watched.reason:
            return f"waiting: {watched.reason}"
        still_s = now - watched.changed_at
        return f"settling: unchanged for {still_s:.0f} s of {self._watching().settle_s:g} s"


def _batches(paths: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [paths[begin : begin + BATCH] for begin in range(0, len(paths), BATCH)]


def after(now: float, began: float) -> float:
    """The time of what was seen since *began*, when it was *now*: a share may have held the look for hours.

    A file seen after that has been still from there on, as far as is known, and not from the time before.
    """
    took_s = monotonic_s() - began
    return now + took_s if took_s > _SLOW_S else now
