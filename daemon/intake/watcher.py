"""Filesystem events of one inbox, as a wake-up for its scan and nothing more.

The door to watchdog. Events get lost (queue overflow, recreated roots, network mounts), so they carry no meaning here
beyond "look now"; a watcher that fails costs speed, never a file.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from daemon.folderpage.names import is_own_sign

log = logging.getLogger(__name__)

PROBE_PREFIX: Final = ".tr-probe-"
_PROBE_NAME: Final = re.compile(re.escape(PROBE_PREFIX) + "[0-9a-f]{16}")

_WAKING: Final[list[type[FileSystemEvent]]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
]
"""Not reading: our own would wake us for ever. Not each write: a copy makes thousands, and its end is an event too."""


class _Wake(FileSystemEventHandler):
    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def on_any_event(self, event: FileSystemEvent) -> None:
        try:
            self._watcher.heard(event.src_path)
        except Exception:  # it would end watchdog's thread without a word
            log.exception("an event was lost", extra={"event": "bug"})


class Watcher:
    """Watches *folder* until closed; `working` tells whether events can be trusted to come."""

    def __init__(self, folder: Path, *, recursive: bool, wake: Callable[[], None]) -> None:
        self._folder = folder
        self._wake = wake
        self._recursive = recursive
        self.probe = folder / f"{PROBE_PREFIX}{secrets.token_hex(8)}"
        self._proved = False
        self._identity = (0, 0)
        self._observer: BaseObserver | None = None

    def start(self) -> bool:
        """Begin to watch, and write a probe file to see whether events come at all. False if the system refuses.

        Raises OSError where the folder is not there.
        """
        self._identity = self._identity_now()
        try:
            observer = self._observer = Observer()
            observer.name = "watcher"
            # A link is not followed by inotify as watchdog asks it, so it gets what the link leads to.
            observer.schedule(
                _Wake(self), os.path.realpath(self._folder), recursive=self._recursive, event_filter=_WAKING
            )
            observer.start()
        except (OSError, RuntimeError) as error:  # RuntimeError: no more threads
            self._refused(error)
            self.close()
            return False
        self._remove_old_probes()
        try:
            os.close(os.open(self.probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except OSError:
            pass  # not ours to write in: then only a real file can prove that events come
        return True

    def _remove_old_probes(self) -> None:
        """Probes of a daemon that was killed; the inbox is locked, so none is of one that lives."""
        try:
            with os.scandir(self._folder) as entries:
                old = [entry.path for entry in entries if _PROBE_NAME.fullmatch(entry.name)]
            for path in old:
                if os.lstat(path).st_size == 0:
                    os.unlink(path)
        except OSError:
            pass  # it costs nothing but the sight of it

    def _identity_now(self) -> tuple[int, int]:
        status = os.stat(self._folder)
        return status.st_dev, status.st_ino

    def _refused(self, error: Exception) -> None:
        number = error.errno if isinstance(error, OSError) else None
        remedy = ""
        if number == errno.ENOSPC:
            remedy = "; raise it with: sysctl fs.inotify.max_user_watches=524288"
        elif number == errno.EMFILE:
            remedy = "; raise it with: sysctl fs.inotify.max_user_instances=1024"
        log.warning(
            "no events for %s, it is polled instead: %s%s",
            self._folder,
            error,
            remedy,
            extra={"event": "watch_refused", "inbox": str(self._folder)},
        )

    def heard(self, path: str | bytes) -> None:
        """An event came (called on watchdog's thread)."""
        self._proved = True
        if not is_own_sign(os.path.basename(os.fsdecode(path))):
            self._wake()

    @property
    def proved(self) -> bool:
        """Whether at least one event has come."""
        return self._proved

    def working(self) -> bool:
        """Whether the watch is alive and still on the folder that is there now."""
        observer = self._observer
        if observer is None or not observer.is_alive():
            return False
        if not observer.emitters or not all(emitter.is_alive() for emitter in observer.emitters):
            return False
        try:
            return self._identity_now() == self._identity
        except OSError:
            return False

    def end_probe(self) -> None:
        """Remove the probe file."""
        with contextlib.suppress(OSError):
            self.probe.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop watching. Safe to call again."""
        self.end_probe()
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()  # also one that never ran: it has opened inotify
            if observer.is_alive():
                observer.join(5.0)
