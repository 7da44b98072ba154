"""What crashes and full disks leave in the folders of recordings, and when a blocked folder can be written again."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from daemon.outputs.publish import is_staged

log = logging.getLogger(__name__)

TRIAL_BYTES: Final = 64 * 1024
"""What has to fit before publishing is tried again: most transcripts are smaller."""


def remove_leftovers(paths: Iterable[bytes], alive: Callable[[], None] = lambda: None) -> int:
    """Remove those temporary files of ours that no job is publishing now; how many. *alive* is called for each."""
    n_removed = 0
    for path in paths:
        alive()
        if is_staged(path):
            continue
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            log.warning("cannot remove %s: %s", os.fsdecode(path), error, extra={"event": "sweep_failed"})
        else:
            n_removed += 1
    return n_removed


class FolderTrial:
    """Tells when the trouble with one folder is over, by writing a file in it and removing that again."""

    def __init__(self, folder: bytes) -> None:
        self._folder = folder
        self._failed = False

    def over(self) -> bool | None:
        """None while the folder cannot be written; True once it can again.

        False where it could be all along: then the trouble is of another kind, and waiting longer each time is right.
        """
        path = os.path.join(self._folder, f".tr-probe-{secrets.token_hex(8)}".encode())
        try:
            _write(path)
        except OSError:
            self._failed = True
            return None
        return self._failed


def _write(path: bytes) -> None:
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        # Some filesystems find out only at the end that there is no room.
        if os.write(fd, bytes(TRIAL_BYTES)) < TRIAL_BYTES:
            raise OSError("no room for all of it")
        os.fsync(fd)
    finally:
        os.close(fd)
        with suppress(OSError):
            os.unlink(path)
