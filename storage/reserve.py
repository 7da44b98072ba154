"""A file that takes up room, so that there is some for the last writes when the disk is full."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_ROOM_RATIO: Final = 4
"""It is made again when this much more than itself is free: not in the moment in which somebody made a little room."""


class Reserve:
    """The file at *path*; of *n_bytes*, 0 for none."""

    def __init__(self, path: Path, n_bytes: int) -> None:
        self._path = path
        self._n_bytes = n_bytes

    @property
    def held(self) -> bool:
        """Whether it takes up its room; one of no size always does."""
        try:
            return not self._n_bytes or self._path.stat().st_size >= self._n_bytes
        except OSError:
            return False

    def make(self) -> bool:
        """It takes up its room, if there is plenty; whether it does now."""
        if self.held:
            return True
        try:
            status = os.statvfs(self._path.parent)
            if status.f_bavail * status.f_frsize < _ROOM_RATIO * self._n_bytes:
                return False
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, self._n_bytes)
            finally:
                os.close(fd)
        except OSError:
            self.release()
            return False
        return True

    def release(self) -> bool:
        """It takes up nothing; whether that made room."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return self._n_bytes > 0
