"""Filesystem events of one inbox, as a wake-up for its scan and nothing more.

The door to watchdog. Events get lost (queue overflow, recreated roots, network mounts), so they carry no meaning here
beyond "look now"; a watcher that fails costs speed, never a file.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

log = logging.getLogger(__name__)

PROBE_PREFIX: Final = ".tr-probe-"

_WAKING: Final = frozenset({"created", "modified", "moved", "closed", "deleted"})
"""Not the events of reading: our own reading would wake us for ever."""


class _Wake(FileSystemEventHandler):
    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def on_any_event(self, event: FileSystemEvent) -> None:
        # An exception in here would end watchdog's thread without a word, so nothing here can raise.
        if event.event_type in _WAKING:
            self._watcher.heard(event.src_path)


class Watcher:
    """Watches *folder* until closed; `working` tells whether events can be trusted to come."""

    def __init__(self, folder: Path, *, recursive: bool, wake: Callable[[], None]) -> None:
        self._folder = folder
        self._wake = wake
        self._recursive = recursive
        self._probe = folder / f"{PROBE_PREFIX}{secrets.token_hex(8)}"
        self._proved = False
        self._inode = 0
        self._observer = Observer()
        self._observer.name = "watcher"

    def start(self) -> bool:
        """Begin to watch, and write a probe file to see whether events come at all. False if the system refuses."""
        try:
            self._inode = self._folder.stat().st_ino
            self._observer.schedule(_Wake(self), str(self._folder), recursive=self._recursive)
            self._observer.start()
        except OSError as error:
            self._refused(error)
            return False
        try:
            os.close(os.open(self._probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError:
            pass  # not ours to write in: then only a real file can prove that events come
        return True

    def _refused(self, error: OSError) -> None:
        remedy = ""
        if error.errno == errno.ENOSPC:
            remedy = "; raise it with: sysctl fs.inotify.max_user_watches=524288"
        elif error.errno == errno.EMFILE:
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
        if PROBE_PREFIX not in os.fsdecode(path):
            self._wake()

    @property
    def proved(self) -> bool:
        """Whether at least one event has come."""
        return self._proved

    def working(self) -> bool:
        """Whether the watch is alive and still on the folder that is there now."""
        if not self._observer.is_alive() or not all(emitter.is_alive() for emitter in self._observer.emitters):
            return False
        try:
            return self._folder.stat().st_ino == self._inode
        except OSError:
            return False

    def end_probe(self) -> None:
        """Remove the probe file."""
        with contextlib.suppress(OSError):
            self._probe.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop watching."""
        self.end_probe()
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join(5.0)
