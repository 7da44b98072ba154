"""One inbox: scans it, waits until files are finished, makes their jobs. Knows nothing of how a job is done."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from daemon.clock import monotonic_s, utc_now
from daemon.config import InboxConfig
from daemon.intake.examine import Examined, Finding, examine
from daemon.intake.mounts import (
    EVENTS_SCAN_S,
    LOCAL_SETTLE_S,
    NETWORK_SETTLE_S,
    POLL_SCAN_S,
    filesystem_of,
    is_network,
)
from daemon.intake.scanner import Scan, scan
from daemon.intake.settle import Settling
from daemon.intake.watcher import Watcher
from daemon.locks import INBOX_MARKER, Lock, Owner
from storage.jobs import JobStore
from storage.records import Fingerprint, JobState, NewJob

log = logging.getLogger(__name__)

RESTAT_S: Final = 1.0
"""How often files that are not finished are looked at between two scans."""

PROBE_S: Final = 5.0
"""How long events may take to prove themselves before the folder is polled."""

TELL_AFTER_S: Final = 10.0
"""A file that is not finished by then gets a job in state waiting, so that people see why nothing happens."""

BLOCKED_RETRY_S: Final = 60.0
"""How often a file that cannot be opened is tried again; a change of its permissions is seen by the next scan."""

BATCH: Final = 500
"""Jobs made in one transaction."""

_RESTING: Final = 5.0


@dataclass(frozen=True, slots=True)
class Watching:
    """How an inbox is watched, and why."""

    events: bool
    reason: str
    settle_s: float
    scan_interval_s: float


def choose_watching(config: InboxConfig, filesystem: str) -> Watching:
    """How to watch a folder on *filesystem*: as forced by the configuration, else by what the filesystem can do."""
    network = is_network(filesystem)
    events = config.watch == "events" or (config.watch == "auto" and not network)
    reason = f"watch = {config.watch!r}" if config.watch != "auto" else f"the folder is on {filesystem}"
    return Watching(
        events,
        reason,
        config.settle_s or (NETWORK_SETTLE_S if network else LOCAL_SETTLE_S),
        config.scan_interval_s or (EVENTS_SCAN_S if events else POLL_SCAN_S),
    )


class Inbox:
    """An actor. `open` first; `sweep` once before jobs begin; then `step` by its thread."""

    def __init__(self, config: InboxConfig, store: JobStore, *, max_attempts: int, on_new: Callable[[], None]) -> None:
        self.config = config
        self.path: Final = os.fsencode(config.path)
        self.watching = choose_watching(config, filesystem_of(config.path))
        self._store = store
        self._max_attempts = max_attempts
        self._on_new = on_new
        self._options = config.job_options()
        self._settling = Settling(self.watching.settle_s)
        self._known: dict[bytes, Fingerprint] = {}
        self._forgotten: deque[bytes] = deque()
        self._told: dict[bytes, str] = {}
        self._owner: Owner | None = None
        self._lock: Lock | None = None
        self._device = 0
        self._watcher: Watcher | None = None
        self._wake: Callable[[], None] = lambda: None
        self._look_now = True
        self._scanned_at = float("-inf")
        self._scan_took_s = 0.0
        self._started_at = 0.0
        self.offline = ""
        """Why the folder cannot be searched at present; empty while it can."""

    def open(self, owner: Owner, now: float) -> None:
        """Take the inbox for us and learn from the history what is known of it. Raises AlreadyRunning."""
        self._owner = owner
        self._started_at = now
        self._take_lock()
        for known in self._store.known_files(self.path):
            # A file that only the intake can move on is looked at afresh; one that came back is a new job.
            if known.state not in (JobState.WAITING, JobState.VANISHED) or known.not_before_at is not None:
                self._known[known.path] = known.fingerprint

    def _take_lock(self) -> None:
        assert self._owner is not None
        try:
            self._lock = Lock.take(self.config.path / INBOX_MARKER, self._owner, f"the inbox {self.config.path}")
        except OSError as error:
            log.warning(
                "inbox %s: not marked as ours: %s; make sure that no other daemon watches it, and that transcripts can "
                "be written",
                self.config.path,
                error.strerror,
                extra={"event": "inbox_unmarked", "inbox": str(self.config.path)},
            )
        self._device = self.config.path.stat().st_dev

    def sweep(self) -> int:
        """Remove the temporary files that an earlier daemon of ours left; must run before jobs begin. Their number."""
        try:
            leftovers = scan(self.path, recursive=True).temporary
        except OSError:
            return 0  # offline: the first step says so
        for path in leftovers:
            try:
                os.unlink(path)
            except OSError as error:
                log.warning("cannot remove %s: %s", os.fsdecode(path), error, extra={"event": "sweep_failed"})
        return len(leftovers)

    def start_watching(self, wake: Callable[[], None]) -> None:
        """Let events wake us where they are to be had; *wake* lets the next step begin at once."""
        self._wake = wake
        if self.watching.events:
            self._watcher = Watcher(self.config.path, recursive=self.config.recursive, wake=self._hear)
            if not self._watcher.start():
                self._poll_instead("the system refuses to watch it")

    def _hear(self) -> None:
        self._look_now = True
        self._wake()

    def scan_now(self) -> None:
        """Let the next step search the folder."""
        self._hear()

    def forget(self, path: bytes) -> None:
        """Look at *path* afresh: it is not what its job was made for. Safe from any thread."""
        self._forgotten.append(path)
        self._hear()

    def close(self) -> None:
        """Stop watching and give the inbox back."""
        if self._watcher is not None:
            self._watcher.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def step(self, now: float) -> float:
        """Search the folder if that is due, look at unfinished files, make jobs of the finished ones."""
        while self._forgotten:
            self._known.pop(self._forgotten.popleft(), None)
        self._check_watcher(now)
        if self._scan_due(now):
            self._scan(now)
        else:
            self._look_again(now)
        self._admit(now)
        self._tell(now)
        if self._settling.active(now):
            return min(RESTAT_S, self.watching.settle_s / 2)
        until_scan_s = self._scanned_at + self.watching.scan_interval_s - now
        return max(0.05, min(self._gap_s if self._look_now else _RESTING, until_scan_s))

    @property
    def _gap_s(self) -> float:
        # A storm of events must not become a storm of scans: at most a tenth of the time goes into them.
        return max(0.5, 10 * self._scan_took_s)

    def _scan_due(self, now: float) -> bool:
        since_s = now - self._scanned_at
        return since_s >= self.watching.scan_interval_s or (self._look_now and since_s >= self._gap_s)

    def _check_watcher(self, now: float) -> None:
        watcher = self._watcher
        if watcher is None:
            return
        if not watcher.working() and not self.offline:
            log.info("watch of %s is begun anew", self.config.path, extra={"event": "watch_restarted"})
            watcher.close()
            self.start_watching(self._wake)
            self._look_now = True
        elif now - self._started_at > PROBE_S:
            watcher.end_probe()
            if not watcher.proved and self.config.watch == "auto":
                self._poll_instead(f"no event came within {PROBE_S:.0f} s")

    def _poll_instead(self, reason: str) -> None:
        if self._watcher is not None:
            self._watcher.close()
        self._watcher = None
        interval_s = self.config.scan_interval_s or POLL_SCAN_S
        self.watching = Watching(False, reason, self.watching.settle_s, interval_s)
        log.info("inbox %s is polled: %s", self.config.path, reason, extra={"event": "inbox_polled"})

    def _scan(self, now: float) -> None:
        self._look_now = False
        began = monotonic_s()
        try:
            self._check_root()
            found = scan(self.path, recursive=self.config.recursive)
        except OSError as error:
            self._go_offline(error.strerror or str(error), now)
            return
        self._scan_took_s = monotonic_s() - began
        self._scanned_at = now
        if self.offline:
            log.info("inbox %s is back", self.config.path, extra={"event": "inbox_online"})
            self.offline = ""
        self._compare(found, now)

    def _check_root(self) -> None:
        """Tell an inbox that is there from the empty folder below a lost mount. Raises OSError for the latter."""
        if self._lock is None or self._lock.in_place():
            return
        if not (self.config.path / INBOX_MARKER).exists() and self.config.path.stat().st_dev != self._device:
            raise OSError(errno.ENODEV, "another filesystem is in its place; is the share mounted?")
        self._lock.release()  # the folder was made anew, or the marker was deleted
        self._lock = None
        self._take_lock()

    def _go_offline(self, reason: str, now: float) -> None:
        self._scanned_at = now
        if self.offline != reason:
            self.offline = reason
            log.warning(
                "inbox %s cannot be searched: %s; nothing in it counts as deleted, it is tried again",
                self.config.path,
                reason,
                extra={"event": "inbox_offline", "inbox": str(self.config.path)},
            )

    def _compare(self, found: Scan, now: float) -> None:
        for path, fingerprint in found.recordings.items():
            if self._known.get(path) != fingerprint:
                self._settling.observe(path, fingerprint, now)
        hidden = tuple(folder + b"/" for folder in found.unreadable)
        for folder, reason in found.unreadable.items():
            log.debug("cannot search %s: %s", os.fsdecode(folder), reason)
        gone = [path for path in self._known if path not in found.recordings and not path.startswith(hidden)]
        for path in gone:
            self._lost(path)
        self._settling.keep_only(found.recordings)

    def _lost(self, path: bytes) -> None:
        self._known.pop(path, None)
        self._settling.forget(path)
        if self._store.vanished(path, utc_now()):
            log.info("gone before its turn: %s", os.fsdecode(path), extra={"event": "job_vanished"})

    def _look_again(self, now: float) -> None:
        for path in self._settling.active(now):
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                self._lost(path)
            except OSError:
                continue  # the next scan tells whether the folder is still there
            else:
                if stat.S_ISREG(status.st_mode):
                    self._settling.observe(path, Fingerprint.of(status), now)
                else:
                    self._lost(path)

    def _admit(self, now: float) -> None:
        ready: list[NewJob] = []
        for path in self._settling.still(now):
            watched = self._settling.watched(path)
            assert watched is not None
            examined = examine(path, watched.fingerprint)
            if examined.finding is Finding.READY:
                self._settling.forget(path)
                self._known[path] = watched.fingerprint
                if not self._same_as_before(path, watched.fingerprint):
                    ready.append(self._new_job(path, watched.fingerprint))
            else:
                self._put_off(path, examined, now)
            if len(ready) == BATCH:
                self._enqueue(ready)
                ready = []
        if ready:
            self._enqueue(ready)

    def _enqueue(self, jobs: list[NewJob]) -> None:
        self._store.enqueue(jobs, utc_now())
        self._on_new()

    def _put_off(self, path: bytes, examined: Examined, now: float) -> None:
        match examined.finding:
            case Finding.GONE | Finding.NOT_REGULAR:
                self._lost(path)
            case Finding.BLOCKED:
                self._settling.postpone(path, now + BLOCKED_RETRY_S, examined.reason)
            case Finding.EMPTY | Finding.BUSY:
                self._settling.postpone(path, now + self.watching.settle_s, examined.reason)
            case _:
                pass  # changed since: the next look sees it

    def _same_as_before(self, path: bytes, fingerprint: Fingerprint) -> bool:
        """Whether only the metadata of a file that we are done with changed: a chmod, a rename there and back."""
        newest = self._store.newest(path)
        if newest is None or newest.state in (JobState.WAITING, JobState.VANISHED):
            return False
        before = newest.fingerprint
        if (before.size_bytes, before.mtime_ns) != (fingerprint.size_bytes, fingerprint.mtime_ns):
            return False
        if newest.state is JobState.DONE and not all(os.path.lexists(output.path) for output in newest.outputs):
            return False  # moved here without its transcripts
        self._store.touched(path, fingerprint, utc_now())
        return True

    def _tell(self, now: float) -> None:
        """Give files that are not finished for long a job that says why."""
        for path, reason in self._late(now).items():
            watched = self._settling.watched(path)
            assert watched is not None
            self._store.wait(self._new_job(path, watched.fingerprint), reason, utc_now())

    def _late(self, now: float) -> Mapping[bytes, str]:
        reasons = {
            path: watched.reason or "still being written: it keeps changing"
            for path, watched in self._settling.items()
            if watched.reason or now - watched.first_seen >= TELL_AFTER_S
        }
        late = {path: reason for path, reason in reasons.items() if self._told.get(path) != reason}
        self._told = reasons
        return late

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
