"""The folder of an inbox: ours by a lock in it, and told from the empty folder below a lost mount."""

from __future__ import annotations

import errno
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from daemon.folderpage.names import is_own_sign
from daemon.locks import INBOX_MARKER, Lock, Owner

log = logging.getLogger(__name__)

_Identity = tuple[int, int]  # device and inode

_REMEDY: Final = f"If this is the right folder, make an empty file {INBOX_MARKER} in it"


class Root:
    """The folder at a path, which may go away, come back, or be another one later."""

    def __init__(self, folder: Path, owner: Owner) -> None:
        self._folder = folder
        self._marker = folder / INBOX_MARKER
        self._owner = owner
        self._lock: Lock | None = None
        self._taken: _Identity | None = None

    def check(self, *, has_history: bool) -> bool:
        """Whether the folder is another one than at the last call; it is ours then too.

        With *has_history*, recordings in it are known: an empty folder without our marker then looks like a mount
        point whose share is not there. Raises OSError while it is not there, AlreadyRunning while it belongs to another
        daemon.
        """
        if self._lock is not None and self._lock.in_place():
            return False
        identity = _identity_of(self._folder)
        if self._lock is None and self._taken == identity:
            return False  # it cannot be marked, as was said when it was taken
        if has_history and self._taken != identity and not self._is_marked():
            self._refuse_the_unknown(identity)
        self.release()  # the folder was made anew, or the marker was deleted
        self._take()
        return True

    def stands(self) -> bool:
        """Whether the folder is still the one of the last `check`."""
        if self._lock is not None:
            return self._lock.in_place()
        try:
            return self._taken == _identity_of(self._folder)
        except OSError:
            return False

    def _refuse_the_unknown(self, identity: _Identity) -> None:
        # A page of ours may have been written just when the mount went away.
        if all(is_own_sign(name) for name in os.listdir(self._folder)):
            raise OSError(errno.ENODEV, f"it is empty and without our marker; is the share mounted? {_REMEDY}")
        if self._taken is not None and self._taken[0] != identity[0]:
            raise OSError(errno.ENODEV, f"another filesystem is in its place; is the share mounted? {_REMEDY}")

    def release(self) -> None:
        """Give the folder back."""
        lock, self._lock = self._lock, None
        if lock is not None:
            with suppress(OSError):  # on a dead share; the descriptor is gone all the same (close(2))
                lock.release()

    def _is_marked(self) -> bool:
        return os.path.lexists(self._marker)

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
