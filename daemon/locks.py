"""Locks that say who holds them: one daemon per state folder, one per inbox. They end with their process."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from daemon.errors import AlreadyRunning

STATE_LOCK: Final = "daemon.lock"
INBOX_MARKER: Final = ".transcribed-inbox"

_TRIES: Final = 5
_BETWEEN_TRIES_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Owner:
    """A daemon, as it is written into its locks. *uuid* is new at every start."""

    uuid: str
    pid: int
    host: str
    state_dir: str
    started_at: str

    @classmethod
    def this_process(cls, uuid: str, state_dir: Path, started_at: str) -> Owner:
        """The owner that this process is."""
        return cls(uuid, os.getpid(), socket.gethostname(), str(state_dir), started_at)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, with its state in {self.state_dir}, since {self.started_at}"


class Lock:
    """An exclusive lock on a file (flock(2)), held until `release` or the end of the process."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd

    @classmethod
    def take(cls, path: Path, owner: Owner, what: str) -> Lock:
        """Lock *path* and write *owner* into it. Raises AlreadyRunning naming the holder, OSError if not writable."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            _lock(fd)
        except BlockingIOError:
            holder = _read_owner(fd) or "one that left no name"
            os.close(fd)
            raise AlreadyRunning(f"{what} is in use by another transcribed: {holder}; stop that one first") from None
        except OSError:
            os.close(fd)
            raise
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, (json.dumps(asdict(owner)) + "\n").encode(), 0)
        except OSError:
            pass  # the disk is full: the lock holds all the same, it only cannot say for whom
        return cls(path, fd)

    def in_place(self) -> bool:
        """Whether the file that we hold is still the one at its path."""
        try:
            return os.path.samestat(os.fstat(self._fd), os.lstat(self._path))
        except OSError:
            return False

    def release(self) -> None:
        """Give the lock back. The file stays: removing it would race with one who is about to lock it."""
        os.close(self._fd)


def _lock(fd: int) -> None:
    """Raises BlockingIOError where somebody else has it for longer than `holder_of` needs for its look."""
    for _ in range(_TRIES - 1):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_BETWEEN_TRIES_S)
        else:
            return
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def holder_of(path: Path) -> Owner | None:
    """The daemon that holds the lock at *path* now, or None. Takes nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_owner(fd)
    finally:
        os.close(fd)
    return None


def _read_owner(fd: int) -> Owner | None:
    try:
        return Owner(**json.loads(os.pread(fd, 4096, 0)))
    except (ValueError, TypeError, OSError):
        return None
