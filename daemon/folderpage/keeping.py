"""Keeps the page of one inbox and the notes beside its failed recordings true. Touches the folder, on its thread alone.

Nothing is written while nothing changes, and at most every WRITE_S while something does: an SMB server and those who
look at the folder are to be spared. A file that is not ours stays as it is, and a folder that cannot be written is no
trouble: it is said once.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from daemon.clock import monotonic_s, utc_now
from daemon.config import InboxConfig
from daemon.folderpage import page
from daemon.folderpage.gathering import Live, Seen, failures, gather, without
from daemon.folderpage.names import NOTE_SUFFIX, PAGE_NAMES, note_name
from daemon.folderpage.note import note
from daemon.folderpage.state import Awaiting, Failure, State
from daemon.folderpage.view import Writer
from daemon.intake.settings_mistakes import NOTE_NAME
from daemon.outputs import notes
from daemon.outputs.access import access_for
from daemon.outputs.naming import NAME_MAX_BYTES
from daemon.shares import Touch
from daemon.words import catalogue
from storage.reading import JobQueries

log = logging.getLogger(__name__)

WRITE_S: Final = 10.0
"""A page is written no more often."""

BLOCKED_S: Final = 60.0
"""How often it is tried again to write where that failed."""

_COST_RATIO: Final = 200.0
# Of many recordings it takes a while to know how it stands: that takes at most one part in so many of the time.

Touching = Callable[[], AbstractContextManager[Touch]]


@dataclass(slots=True)
class _Blocked:
    """Places that could not be written, or that are taken by files of others: each is said once."""

    until: dict[bytes, float] = field(default_factory=dict[bytes, float])
    said: set[tuple[bytes, str]] = field(default_factory=set[tuple[bytes, str]])

    def holds(self, folder: bytes, now: float) -> bool:
        """Whether *folder* was tried in vain a moment ago."""
        return self.until.get(folder, now) > now

    def note(self, folder: bytes, path: bytes, reason: str, now: float) -> None:
        """*path* could not be written for *reason*."""
        self.until[folder] = now + BLOCKED_S
        self.tell(path, reason)

    def tell(self, path: bytes, reason: str) -> None:
        """Say it, if it is new."""
        if (path, reason) not in self.said:
            self.said.add((path, reason))
            words = "not written: %s: %s; transcription goes on"
            log.info(words, os.fsdecode(path), reason, extra={"event": "folder_not_told"})


class FolderPages:
    """`look` from time to time, on the thread of the inbox; `stop` at the end, whether or not the folder answers.

    *live* tells how the service is at present, *clock* what a look costs.
    """

    def __init__(
        self,
        config: InboxConfig,
        store: JobQueries,
        live: Callable[[], Live],
        *,
        utc: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = monotonic_s,
    ) -> None:
        self._on = config.status_page
        self._inbox: Final = os.fsencode(config.path)
        self._words = catalogue(config.messages)
        self._store = store
        self._live = live
        self._utc = utc
        self._clock = clock
        self._due = float("-inf")
        self._told: State | None = None
        self._shown: State | None = None  # what of it may be named
        self._noted: dict[bytes, int] = {}
        self._foreign: set[bytes] = set()
        self._blocked = _Blocked()
        self._pages_removed = False

    def due(self, now: float) -> bool:
        """Whether it is time to look again."""
        return now >= self._due

    def look(self, now: float, seen: Seen, touching: Touching, stands: Callable[[], bool] = lambda: True) -> None:
        """Bring page and notes up to date, if the folder *stands*: nothing may get below a mount that is lost.

        Raises StorageError; an error of the folder is said.
        """
        began = self._clock()
        self._due = now + WRITE_S
        failed = failures(self._store, self._inbox, seen.recordings) if self._on else []
        state = gather(self._store, self._inbox, seen, self._live(), failed) if self._on else None
        self._due = now + max(WRITE_S, _COST_RATIO * (self._clock() - began))
        with touching() as touch:
            if not stands():
                return
            self._keep_notes(failed, seen.notes, now, touch)
            if state is not None:
                self._show(state, now, touch)
            elif not self._pages_removed:
                self._remove_pages()

    def stop(self) -> None:
        """The service ends: the page says so, where there is one. May hang with the share."""
        if self._shown is None:
            return
        waiting = (*(Awaiting(one.place) for one in self._shown.running), *self._shown.waiting)
        n_waiting = self._shown.n_waiting + self._shown.n_running
        ended = replace(self._shown, running=(), n_running=0, waiting=waiting, n_waiting=n_waiting, left_s=None)
        self._write(replace(ended, stopped_at=self._utc()), 0.0)

    # The page.

    def _show(self, state: State, now: float, touch: Touch) -> None:
        if state == self._told or self._blocked.holds(self._inbox, now):
            return
        shown = without(state, _Listable(self._inbox, touch).includes)
        touch.renew()
        if self._write(shown, now):
            self._told, self._shown = state, shown

    def _write(self, state: State, now: float) -> bool:
        view = Writer(self._words, self._utc()).view(state)
        contents = zip(PAGE_NAMES, (page.html(view), page.text(view)), (page.is_html, page.is_text), strict=True)
        for name, content, is_ours in contents:
            path = os.path.join(self._inbox, name.encode())
            try:
                if not notes.put(self._inbox, path, content, self._inbox, is_ours):
                    self._blocked.tell(path, "a file that is not ours has this name")
            except OSError as error:
                self._blocked.note(self._inbox, path, error.strerror or str(error), now)
                return False
        return True

    def _remove_pages(self) -> None:
        self._pages_removed = True
        for name, is_ours in zip(PAGE_NAMES, (page.is_html, page.is_text), strict=True):
            path = os.path.join(self._inbox, name.encode())
            try:
                notes.take_away(self._inbox, path, is_ours)
            except OSError as error:
                self._blocked.tell(path, error.strerror or str(error))

    # The notes.

    def _keep_notes(self, failed: Sequence[Failure], present: Collection[bytes], now: float, touch: Touch) -> None:
        wanted = {self._note_path(one): one for one in failed}
        self._foreign &= set(present)
        for path in {*self._noted, *present} - wanted.keys() - self._foreign:
            if not self._blocked.holds(os.path.dirname(path), now):
                touch.renew()
                self._remove_note(path, now)
        for path, one in wanted.items():
            # One that a person removed has been read; it comes back with the next failure.
            if self._noted.get(path) != one.job_id and not self._blocked.holds(os.path.dirname(path), now):
                touch.renew()
                self._write_note(path, one, now)

    def _note_path(self, one: Failure) -> bytes:
        folder, name = os.path.split(os.path.join(self._inbox, one.place))
        return os.path.join(folder, note_name(name, NAME_MAX_BYTES))

    def _write_note(self, path: bytes, one: Failure, now: float) -> None:
        recording = os.path.join(self._inbox, one.place)
        try:
            from_us = self._words.say("note.from_us")
            if not notes.write_note(self._inbox, path, note(one, self._words), recording, from_us):
                self._blocked.tell(path, "a file that is not ours has this name")
            self._noted[path] = one.job_id
        except OSError as error:
            self._blocked.note(os.path.dirname(path), path, error.strerror or str(error), now)

    def _remove_note(self, path: bytes, now: float) -> None:
        if os.path.basename(path) == NOTE_NAME.encode() or not path.endswith(NOTE_SUFFIX.encode()):
            return
        try:
            if not notes.remove_note(self._inbox, path):
                self._foreign.add(path)
            self._noted.pop(path, None)
        except FileNotFoundError:
            self._noted.pop(path, None)  # with its folder
        except OSError as error:
            self._blocked.note(os.path.dirname(path), path, error.strerror or str(error), now)


class _Listable:
    """Which recordings the page may name: those whose folders everybody may list who may read the page."""

    def __init__(self, inbox: bytes, touch: Touch) -> None:
        self._inbox = inbox
        self._touch = touch
        self._known: dict[bytes, bool] = {inbox: True}
        try:
            access = access_for(inbox, inbox)
            self._mode, self._gid = access.mode, access.gid
        except OSError:
            self._mode, self._gid = 0, -1

    def includes(self, place: bytes) -> bool:
        """Whether the recording at *place* may be named."""
        return self._may_list(os.path.dirname(os.path.join(self._inbox, place)))

    def _may_list(self, folder: bytes) -> bool:
        if folder not in self._known:
            self._known[folder] = self._is_as_open(folder) and self._may_list(os.path.dirname(folder))
        return self._known[folder]

    def _is_as_open(self, folder: bytes) -> bool:
        self._touch.renew()
        try:
            status = os.lstat(folder)
        except OSError:
            return False
        others = bool(status.st_mode & stat.S_IROTH)
        group = others if status.st_gid != self._gid else bool(status.st_mode & stat.S_IRGRP)
        return (others or not self._mode & stat.S_IROTH) and (group or not self._mode & stat.S_IRGRP)
