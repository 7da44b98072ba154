"""One inbox: scans it, waits until files are finished, makes their jobs. Knows nothing of how a job is done."""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

from daemon.clock import monotonic_s, utc_now
from daemon.config import InboxConfig
from daemon.errors import AlreadyRunning
from daemon.failpoints import reached
from daemon.intake.examine import Examined, Finding, examine
from daemon.intake.root import Root
from daemon.intake.scanner import Scan, scan
from daemon.intake.settle import Settling
from daemon.intake.watch import Watch
from daemon.intake.watching import POLL_SCAN_S, Watching
from daemon.locks import Owner
from daemon.outputs.leftovers import FolderTrial, remove_leftovers
from daemon.shares import Share, Touch
from storage.errors import StorageBusy, StorageFull, StorageUnavailable
from storage.jobs import JobStore
from storage.records import LIVE_STATES, Fingerprint, Job, JobState, NewJob

log = logging.getLogger(__name__)

RESTAT_S: Final = 1.0
"""How often files that are not finished are looked at between two scans."""

TELL_AFTER_S: Final = 10.0
"""A file that could be finished for so long and is not gets a job in state waiting, so that people see why."""

BLOCKED_RETRY_S: Final = 60.0
"""How often a file that cannot be opened is tried again; a change of its permissions is seen by the next scan."""

BATCH: Final = 500
"""Recordings that go to the history in one transaction."""

_WORK_S: Final = 5.0  # a step ends after about this much work, whatever is left: a loop must show that it is alive
_RESTING: Final = 5.0
_SHORT_S: Final = 0.05
_UNSEEN: Final = Fingerprint(-1, 0, 0, 0, 0)  # that of no file: whatever is there is new
_IN_HAND: Final = (JobState.RUNNING, JobState.PUBLISHING)
_SLOW_S: Final = 1.0
_T = TypeVar("_T")


class Inbox:
    """An actor. `open` first, then `step` by a thread of its own: the only one that touches the folder, and may hang.

    After each scan *settle* is called to end what an earlier daemon was publishing there. When the folder is seen first
    and whenever it comes back, leftovers are removed; no job of it may begin before (`ready`).
    """

    def __init__(
        self,
        config: InboxConfig,
        store: JobStore,
        *,
        max_attempts: int,
        on_new: Callable[[], None],
        share: Share | None = None,
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        self._share = share or Share()
        self._settle_leftovers = settle
        self.path: Final = os.fsencode(config.path)
        self._watch = Watch(config, self.scan_now)
        self._store = store
        self._max_attempts = max_attempts
        self._on_new = on_new
        self._options = config.job_options()
        self._settling = Settling(self.watching.settle_s)
        self._known: dict[bytes, Fingerprint] = {}
        self._forgotten: deque[bytes] = deque()
        self._told: dict[bytes, str] = {}
        self._root: Root | None = None
        self._wake: Callable[[], None] | None = None
        self._alive: Callable[[], None] = lambda: None
        self._away: Callable[[], None] = lambda: None
        self._blocked: dict[bytes, FolderTrial] = {}
        self._look_now = True
        self._backlog = False  # finished files are left from the last step
        self._scanned_at = float("-inf")
        self._scan_took_s = 0.0
        self._offline = ""
        self._arrived = False
        self.looked: Final = threading.Event()
        """Set once it is known whether the folder is there and ours."""
        self.refused: AlreadyRunning | None = None
        """Why it was not ours at the first look."""

    @property
    def offline(self) -> str:
        """Why the folder cannot be searched at present; empty while it can. Safe from any thread, touches nothing."""
        return self._share.silence() or self._offline

    @property
    def ready(self) -> bool:
        """Whether jobs of it may begin. Safe from any thread, touches nothing."""
        return self._arrived and not self.offline

    @property
    def watching(self) -> Watching:
        """How it is watched at present."""
        return self._watch.how

    def open(self, owner: Owner) -> None:
        """Learn from the history what is known of the inbox; the first step takes it for *owner*."""
        known_files = self._store.known_files(self.path)
        self._root = Root(self.config.path, owner)
        for known in known_files:
            if known.state is JobState.VANISHED:
                continue  # one that came back is a new job
            # A file that only the intake can move on is looked at afresh.
            waits_for_us = known.state is JobState.WAITING and known.not_before_at is None
            self._known[known.path] = _UNSEEN if waits_for_us else known.fingerprint

    def start_watching(
        self,
        wake: Callable[[], None],
        alive: Callable[[], None] = lambda: None,
        away: Callable[[], None] = lambda: None,
    ) -> None:
        """Let events wake us where they are to be had; *wake* lets the next step begin at once, which begins that.

        *alive* is called all through a step, and *away* before each part of it that a dead share may hold for hours.
        """
        self._alive = alive
        self._away = away
        self._wake = wake
        wake()

    def scan_now(self) -> None:
        """Let the next step search the folder. Safe from any thread."""
        already, self._look_now = self._look_now, True
        if not already and self._wake is not None:  # a storm of events is one wake-up
            self._wake()

    def forget(self, path: bytes) -> None:
        """Look at *path* afresh: it is not what its job was made for. Safe from any thread."""
        self._forgotten.append(path)
        self.scan_now()

    def blocked(self, folder: bytes) -> None:
        """A transcript could not be written to *folder*: see when that is over. Safe from any thread."""
        self._blocked.setdefault(folder, FolderTrial(folder))

    def close(self) -> None:
        """Stop watching and give the inbox back. It touches the folder, and may hang with that."""
        with self._share.touching():
            self._watch.end()
            if self._root is not None:
                self._root.release()

    def step(self, now: float) -> float:
        """Search the folder if that is due, look at unfinished files, make jobs of the finished ones."""
        try:
            return self._step(now)
        except (StorageBusy, StorageFull, StorageUnavailable) as error:
            # Nothing counts as done before the history has it, so the next step comes back to it.
            log.warning("inbox %s: %s; tried again", self.config.path, error, extra={"event": "storage_trouble"})
            return _RESTING

    def _step(self, now: float) -> float:
        while self._forgotten:
            self._known[self._forgotten.popleft()] = _UNSEEN
        due = self._scan_due(now)
        if self._wake is not None and self._arrived and not self._offline and not due:
            with self._touching():
                self._look_now = self._watch.check(now) or self._look_now
        if due or self._scan_due(now):
            self._scan(now)
        elif not self._backlog:  # else they are looked at when their turn comes
            self._look_again(now)
        self._admit(now)
        self._tell(now)
        if self._backlog:
            return _SHORT_S
        if self._settling.active(now):
            return min(RESTAT_S, self.watching.settle_s / 2)
        until_scan_s = self._scanned_at + self._scan_interval_s - now
        return max(_SHORT_S, min(self._gap_s if self._look_now else _RESTING, until_scan_s))

    # When to search.

    @property
    def _gap_s(self) -> float:
        # At most a tenth of the time goes into scans, however many events come and however slow the share is.
        return max(0.5, 10 * self._scan_took_s)

    @property
    def _scan_interval_s(self) -> float:
        # No event tells of a folder that comes back.
        interval_s = self.watching.scan_interval_s
        return max(min(interval_s, POLL_SCAN_S) if self._offline else interval_s, self._gap_s)

    def _scan_due(self, now: float) -> bool:
        return now - self._scanned_at >= (self._gap_s if self._look_now else self._scan_interval_s)

    # Searching.

    @contextmanager
    def _touching(self) -> Generator[Touch]:
        """Inside the block the share may hang; nothing of ours but this thread may wait for it."""
        self._away()
        try:
            with self._share.touching() as touch:
                yield touch
        finally:
            self._alive()

    def _scan(self, now: float) -> None:
        self._look_now = False
        began = monotonic_s()
        try:
            with self._touching() as touch:
                found = self._search(touch, now)
        except (OSError, AlreadyRunning) as error:
            self._go_offline((error.strerror if isinstance(error, OSError) else None) or str(error), now)
            return
        finally:
            self.looked.set()
        self._scan_took_s = monotonic_s() - began
        self._scanned_at = now
        with self._touching():
            self._settle_leftovers()
        if self._offline or not self._arrived:
            self._come_back(found)
        self._compare(found, _after(now, began))
        self._try_blocked()

    def _search(self, touch: Touch, now: float) -> Scan:
        """What is in the folder, if it is ours and stays the same all the while. Raises OSError, AlreadyRunning."""
        assert self._root is not None, "open first"
        try:
            other = self._root.check(has_history=bool(self._known))
        except AlreadyRunning as error:
            if not self.looked.is_set():
                self.refused = error
            raise
        self.looked.set()
        if other:
            self._watch.choose_anew()
            self._settling.settle_s = self.watching.settle_s
        elif self._offline:
            self._watch.end()  # after a mount it is alive and blind
        if self._wake is not None:
            self._watch.check(now)  # before the scan, so that nothing comes in between
        found = scan(self.path, recursive=self.config.recursive, alive=touch.renew, known=self._known)
        if not self._root.stands():
            raise OSError(errno.ESTALE, "it went away while it was searched")
        return found

    def _come_back(self, found: Scan) -> None:
        """The folder is there, for the first time or again."""
        with self._touching() as touch:
            remove_leftovers([path for path in found.temporary if path != self._watch.probe], touch.renew)
        if self._offline:
            log.info("inbox %s is back", self.config.path, extra={"event": "inbox_online"})
            self._store.hasten(self.path, utc_now())
        self._arrived, self._offline = True, ""
        self._on_new()

    def _try_blocked(self) -> None:
        """Where no transcript could be written and now can, let the jobs that wait for it begin."""
        for folder, trial in list(self._blocked.items()):
            with self._touching():
                over = trial.over()
            if over is None:
                continue  # not yet
            del self._blocked[folder]
            if over:
                self._store.hasten(self.path, utc_now())
                self._on_new()

    def _go_offline(self, reason: str, now: float) -> None:
        self._scanned_at = now
        if self._offline != reason:
            self._offline = reason
            log.warning(
                "inbox %s cannot be searched: %s; nothing in it counts as deleted, it is tried again",
                self.config.path,
                reason,
                extra={"event": "inbox_offline", "inbox": str(self.config.path)},
            )

    def _compare(self, found: Scan, now: float) -> None:
        for path, fingerprint in found.recordings.items():
            known = self._known.get(path)
            if known is not fingerprint and known != fingerprint:
                self._settling.observe(path, fingerprint, now)
        for place, reason in found.unreadable.items():
            log.debug("cannot look at %s: %s", os.fsdecode(place), reason)
        hidden = tuple(place + b"/" for place in found.unreadable)
        missing = (self._known.keys() | self._settling.paths()) - found.recordings.keys() - found.unreadable.keys()
        for batch in self._for_a_while(_batches([path for path in missing if not path.startswith(hidden)])):
            self._lost(batch)

    def _for_a_while(self, items: Iterable[_T]) -> Iterator[_T]:
        """*items*, until a step has taken long enough; then the rest is for the next one."""
        until = monotonic_s() + _WORK_S
        for item in items:
            yield item
            if monotonic_s() > until:
                self._look_now = True
                return

    def _lost(self, paths: Sequence[bytes]) -> None:
        for path in self._store.vanished(paths, utc_now()):
            log.info("gone before its turn: %s", os.fsdecode(path), extra={"event": "job_vanished"})
        for path in paths:
            self._known.pop(path, None)
            self._settling.forget(path)

    def _look_again(self, now: float) -> None:
        began = monotonic_s()
        with self._touching() as touch:
            for path in self._settling.active(now):
                touch.renew()
                try:
                    status = os.lstat(path)
                except OSError:
                    continue  # the next scan tells a file that is gone from a folder that is
                if stat.S_ISREG(status.st_mode):
                    self._settling.observe(path, Fingerprint.of(status), _after(now, began))

    # Finished files.

    def _admit(self, now: float) -> None:
        until = monotonic_s() + _WORK_S
        batches = deque(_batches(self._settling.still(now)))
        while batches:
            self._admit_batch(batches.popleft(), now)
            if monotonic_s() > until:
                break
        self._backlog = bool(batches)

    def _admit_batch(self, paths: Sequence[bytes], now: float) -> None:
        ready = self._examine(paths, now)
        newest = self._store.newest_of([path for path, _ in ready])
        jobs = [
            job
            for path, fingerprint in ready
            if (job := self._job_for(path, fingerprint, newest.get(path), now)) is not None
        ]
        if jobs:
            self._store.enqueue(jobs, utc_now())
            reached("inbox.queued")
            for job in jobs:
                self._settle(job.path, job.fingerprint)
            self._on_new()

    def _examine(self, paths: Sequence[bytes], now: float) -> list[tuple[bytes, Fingerprint]]:
        """Those of *paths* that are finished, as they are now; the others are put off."""
        ready: list[tuple[bytes, Fingerprint]] = []
        with self._touching() as touch:
            for path in paths:
                touch.renew()
                watched = self._settling.watched(path)
                assert watched is not None
                examined = examine(path, watched.fingerprint, leases=self.watching.leases)
                if examined.finding is Finding.READY:
                    ready.append((path, watched.fingerprint))
                else:
                    self._put_off(path, examined, now)
        return ready

    def _job_for(self, path: bytes, fingerprint: Fingerprint, newest: Job | None, now: float) -> NewJob | None:
        """The job that *path* needs, *newest* being its last one; None for one that is put off or done with."""
        if newest is not None and self._is_same(newest, fingerprint):
            self._store.touched(path, fingerprint, utc_now())
            self._settle(path, fingerprint)
            return None
        if newest is not None and newest.state in _IN_HAND:
            reason = "it changed while it was transcribed; its new content comes next"
            self._settling.postpone(path, now + self.watching.settle_s, reason)
            return None
        return self._new_job(path, fingerprint)

    def _settle(self, path: bytes, fingerprint: Fingerprint) -> None:
        self._known[path] = fingerprint
        self._settling.forget(path)

    def _put_off(self, path: bytes, examined: Examined, now: float) -> None:
        match examined.finding:
            case Finding.BLOCKED:
                self._settling.postpone(path, now + BLOCKED_RETRY_S, examined.reason)
            case Finding.EMPTY | Finding.BUSY:
                self._settling.postpone(path, now + self.watching.settle_s, examined.reason)
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

    def _tell(self, now: float) -> None:
        """Give files that are not finished for long a job that says why."""
        self._told = {path: reason for path, reason in self._told.items() if self._settling.watched(path) is not None}
        for path, reason in self._for_a_while(self._late(now)):
            watched = self._settling.watched(path)
            assert watched is not None
            self._store.wait(self._new_job(path, watched.fingerprint), reason, utc_now())
            self._told[path] = reason

    def _late(self, now: float) -> list[tuple[bytes, str]]:
        settle_s = self.watching.settle_s
        since = now - settle_s - TELL_AFTER_S
        # One that is still only waits for its turn to get a job: of many that came at once, the last ones do for long.
        reasons = [
            (path, watched.reason or "still being written: it keeps changing")
            for path, watched in self._settling.items()
            if watched.reason or (watched.first_seen <= since and now - watched.changed_at < settle_s)
        ]
        return [(path, reason) for path, reason in reasons if self._told.get(path) != reason]

    def _new_job(self, path: bytes, fingerprint: Fingerprint) -> NewJob:
        options = self._options
        return NewJob(path, self.path, fingerprint, options.to_dict(), options.digest(), self._max_attempts)

    def explain(self, path: bytes, now: float) -> str | None:
        """What the intake makes of an unfinished file, in words; None for one that it does not wait for."""
        watched = self._settling.watched(path)
        if watched is None:
            return None
        if watched.reason:
            return f"waiting: {watched.reason}"
        still_s = now - watched.changed_at
        return f"settling: unchanged for {still_s:.0f} s of {self.watching.settle_s:g} s"


def _batches(paths: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [paths[begin : begin + BATCH] for begin in range(0, len(paths), BATCH)]


def _after(now: float, began: float) -> float:
    """The time of what was seen since *began*, when it was *now*: a share may have held the look for hours.

    A file seen after that has been still from there on, as far as is known, and not from the time before.
    """
    took_s = monotonic_s() - began
    return now + took_s if took_s > _SLOW_S else now
