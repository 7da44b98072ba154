"""One inbox: when its folder is searched, and whether it is there. What is found goes to its `Admission`."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from daemon.clock import monotonic_s, utc_now
from daemon.config import InboxConfig
from daemon.errors import AlreadyRunning
from daemon.folderpage.gathering import LISTED, Seen
from daemon.folderpage.keeping import FolderPages
from daemon.intake.admission import Admission, after
from daemon.intake.disk import Disk
from daemon.intake.root import Root
from daemon.intake.scanner import Scan, scan
from daemon.intake.settings_files import SettingsFiles
from daemon.intake.settings_mistakes import Mistake
from daemon.intake.watch import Watch
from daemon.intake.watching import POLL_SCAN_S, Watching
from daemon.locks import Owner
from daemon.outputs.leftovers import FolderTrial, remove_leftovers
from daemon.shares import Share, Touch
from storage.errors import StorageBusy, StorageFull, StorageUnavailable
from storage.jobs import JobStore
from storage.records import Fingerprint

log = logging.getLogger(__name__)

RESTAT_S: Final = 1.0
"""How often files that are not finished are looked at between two scans."""

_PASSES: Final = (StorageBusy, StorageFull, StorageUnavailable)
"""The history does not answer now; it is asked again."""

_RESTING: Final = 5.0
_SHORT_S: Final = 0.05


class Inbox:
    """An actor. `open` first, then `step` by a thread of its own: the only one that touches the folder, and may hang.

    After each scan *settle* is called to end what an earlier daemon was publishing there. When the folder is seen first
    and whenever it comes back, leftovers are removed; no job of it may begin before (`ready`). *pages* tell people in
    the folder how it stands.
    """

    def __init__(
        self,
        config: InboxConfig,
        store: JobStore,
        *,
        max_attempts: int,
        on_new: Callable[[], None],
        share: Share | None = None,
        settle: Callable[[Touch], None] = lambda _touch: None,
        pages: FolderPages | None = None,
    ) -> None:
        self.config = config
        self._share = share or Share()
        self._settle_leftovers = settle
        self._pages = pages
        self._notes: Collection[bytes] = ()
        self.path: Final = os.fsencode(config.path)
        self._done_folder = os.fsencode(config.done_path) if config.done_path is not None else None
        self._watch = Watch(config, self.scan_now)
        self._store = store
        self._on_new = on_new
        self._settings = SettingsFiles(config, store)
        self._admission = Admission(
            config,
            store,
            settings=lambda: self._settings.settings,
            max_attempts=max_attempts,
            watching=lambda: self.watching,
            touching=self._touching,
            on_new=on_new,
        )
        self._forgotten: deque[bytes] = deque()
        self._taken: deque[tuple[bytes, Fingerprint]] = deque()
        self._root: Root | None = None
        self._wake: Callable[[], None] | None = None
        self._alive: Callable[[], None] = lambda: None
        self._away: Callable[[], None] = lambda: None
        self._blocked: dict[bytes, FolderTrial] = {}
        self._look_now = True
        self._scanned_at = float("-inf")
        self._scan_took_s = 0.0
        self._disk: Disk | None = None
        self._offline = ""
        self._arrived = self._learned = False
        self.looked: Final = threading.Event()
        """Set once it is known whether the folder is there and ours."""
        self.refused: AlreadyRunning | None = None
        """Why it was not ours at the first look."""

    @property
    def offline(self) -> str:
        """Why the folder cannot be searched at present; empty while it can. Safe from any thread, touches nothing."""
        return self._share.silence() or self._offline

    @property
    def mistakes(self) -> Mapping[bytes, Sequence[Mistake]]:
        """What is wrong with the settings in its folders, as of the last scan. Safe from any thread."""
        return self._settings.mistakes

    @property
    def ready(self) -> bool:
        """Whether jobs of it may begin. Safe from any thread, touches nothing."""
        return self._arrived and not self.offline

    @property
    def watching(self) -> Watching:
        """How it is watched at present."""
        return self._watch.how

    @property
    def degraded(self) -> str:
        """Why it is polled although events should tell; empty where they do, or never could. Safe from any thread."""
        return self._watch.degraded

    @property
    def scan_took_s(self) -> float | None:
        """How long the last scan took; None before the first. Safe from any thread."""
        return self._scan_took_s if self._arrived else None

    @property
    def disk(self) -> Disk | None:
        """The room that its disk had at the last scan; None while it is not known. Safe from any thread."""
        return None if self.offline else self._disk

    def open(self, owner: Owner) -> None:
        """Learn from the history what is known of the inbox; the first step takes it for *owner*.

        Where the history does not answer now, the steps ask it again before they do anything.
        """
        self._root = Root(self.config.path, owner)
        with suppress(*_PASSES):
            self._learn()

    def _learn(self) -> None:
        self._settings.learn()
        self._admission.learn()
        self._learned = True

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

    def taken(self, path: bytes, fingerprint: Fingerprint) -> None:
        """The recording at *path* has a job already, which others made. Safe from any thread."""
        self._taken.append((path, fingerprint))

    def blocked(self, folder: bytes) -> None:
        """A transcript could not be written to *folder*: see when that is over. Safe from any thread."""
        self._blocked.setdefault(folder, FolderTrial(folder))

    def stands(self) -> bool:
        """Whether its folder is there and ours. Touches it, and may hang. Safe from any thread."""
        root = self._root
        return self.ready and root is not None and root.stands()

    def close(self) -> None:
        """Stop watching and give the inbox back. It touches the folder, and may hang with that."""
        with self._share.touching():
            if self._pages is not None and self._root is not None and self._root.stands():
                self._pages.stop()
            self._watch.end()
            if self._root is not None:
                self._root.release()

    def step(self, now: float) -> float:
        """Search the folder if that is due, look at unfinished files, make jobs of the finished ones."""
        try:
            return self._step(now)
        except _PASSES as error:
            # Nothing counts as done before the history has it, so the next step comes back to it.
            log.warning("inbox %s: %s; tried again", self.config.path, error, extra={"event": "storage_trouble"})
            return _RESTING

    def _step(self, now: float) -> float:
        if not self._learned:
            self._learn()
        while self._forgotten:
            self._admission.forget(self._forgotten.popleft())
        while self._taken:
            self._admission.settled(*self._taken.popleft())
        due = self._scan_due(now)
        if self._wake is not None and self._arrived and not self._offline and not due:
            with self._touching():
                if self._watch.check(now):
                    self._look_now = True
        if due or self._scan_due(now):
            self._scan(now)
        elif not self._admission.backlog:  # else they are looked at when their turn comes
            self._admission.look_again(now)
        self._admission.admit(now)
        if not self._admission.tell(now):
            self._look_now = True
        self._tell_people(now)
        if self._admission.backlog:
            return _SHORT_S
        if self._admission.active(now):
            return min(RESTAT_S, self.watching.settle_s / 2)
        until_scan_s = self._scanned_at + self._scan_interval_s - now
        return max(_SHORT_S, min(self._gap_s if self._look_now else _RESTING, until_scan_s))

    def _tell_people(self, now: float) -> None:
        pages, admission = self._pages, self._admission
        if pages is None or not pages.due(now) or self._root is None or not self._arrived or self._offline:
            return
        seen = Seen(admission.known, admission.arriving(LISTED), admission.n_arriving, self._notes, self._done_folder)
        pages.look(now, seen, self._touching, self._root.stands)

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
        self._notes = found.failure_notes
        with self._touching() as touch:
            self._disk = Disk.of(self.path)
            self._settle_leftovers(touch)
        if self._offline or not self._arrived:
            self._come_back(found)
        with self._touching() as touch:
            if self._settings.update(found, touch.renew):
                self._look_now = True
        ignored = self._settings.leave_alone(found, self._admission.known)
        if not self._admission.compare(found, after(now, began), ignored):
            self._look_now = True
        self._try_blocked()

    def _search(self, touch: Touch, now: float) -> Scan:
        """What is in the folder, if it is ours and stays the same all the while. Raises OSError, AlreadyRunning."""
        assert self._root is not None, "open first"
        try:
            other = self._root.check(has_history=bool(self._admission.known))
        except AlreadyRunning as error:
            if not self.looked.is_set():
                self.refused = error
            raise
        self.looked.set()
        if other:
            self._watch.choose_anew()
            self._admission.settle_anew()
        elif self._offline:
            self._watch.end()  # after a mount it is alive and blind
        if self._wake is not None:
            self._watch.check(now)  # before the scan, so that nothing comes in between
        found = scan(
            self.path,
            recursive=self.config.recursive,
            alive=touch.renew,
            known=self._admission.known,
            ignored=self._settings.ignored(),
            but_not=self._done_folder,
        )
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

    def explain(self, path: bytes, now: float) -> str | None:
        """What the intake makes of an unfinished file, in words; None for one that it does not wait for."""
        return self._admission.explain(path, now)
