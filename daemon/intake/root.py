"""The folder of an inbox: ours by a lock in it, and told from the empty folder below a lost mount."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

from daemon.locks import INBOX_MARKER, Lock, Owner

log = logging.getLogger(__name__)

_Identity = tuple[int, int]  # device and inode


class Root:
    """The folder at a path, which may go away, come back, or be another one later."""

    def __init__(self, folder: Path, owner: Owner) -> None:
        self._folder = folder
        self._marker = folder / INBOX_MARKER
        self._owner = owner
        self._lock: Lock | None = None
        self._taken: _Identity | None = None

    def open(self, *, has_history: bool) -> None:
        """Take the folder for us. Raises AlreadyRunning.

        With *has_history*, recordings in it are known. A folder that is empty and without our marker all the same
        looks like a mount point whose share is not there: it is not taken, and `check` says so.
        """
        if has_history and self._looks_unmounted():
            return
        try:
            self._take()
        except OSError:
            pass  # it has just gone: `check` says so

    def check(self) -> bool:
        """Whether the folder is another one than at the last call; it is ours then too.

        Raises OSError while it is not there, AlreadyRunning while it belongs to another daemon.
        """
        if self._lock is not None and self._lock.in_place():
            return False
        identity = _identity_of(self._folder)
        if self._lock is None and self._taken == identity:
            return False  # it cannot be marked, as was said when it was taken
        if self._taken is None and self._looks_unmounted():
            raise OSError(errno.ENODEV, "it is empty and without our marker; is the share mounted?")
        if self._taken is not None and self._taken[0] != identity[0] and not self._is_marked():
            raise OSError(errno.ENODEV, "another filesystem is in its place; is the share mounted?")
        self.release()  # the folder was made anew, or the marker was deleted
        self._take()
        return True

    def release(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _is_marked(self) -> bool:
        return os.path.lexists(self._marker)

    def _looks_unmounted(self) -> bool:
        try:
            return not self._is_marked() and not os.listdir(self._folder)
        except OSError:
            return True

    def _take(self) -> None:
        try:
            self._lock = Lock.take(self._marker, self._owner, f"the inbox {self._folder}")
        except OSError as error:
            log.warning(
                "inbox %s: not marked as ours: %s; make sure that no other daemon watches it, and that transcripts can "
                "be written",
                self._folder,
                error.strerror,
                extra={"event": "inbox_unmarked", "inbox": str(self._folder)},
            )
        self._taken = _identity_of(self._folder)


def _identity_of(folder: Path) -> _Identity:
    status = os.stat(folder)
    return status.st_dev, status.st_ino
