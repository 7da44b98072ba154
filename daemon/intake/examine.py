"""One look at a file that has been still for long enough: may its job begin? Opens it, changes nothing."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from enum import StrEnum

from daemon.intake.writers import Writers, writers_of
from storage.records import Fingerprint


class Finding(StrEnum):
    """What a look at a settled file found."""

    READY = "ready"
    GONE = "gone"
    CHANGED = "changed"
    NOT_REGULAR = "not regular"
    BLOCKED = "blocked"
    EMPTY = "empty"
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class Examined:
    """A finding and its reason in words; empty for READY, which has the *owner* of the file."""

    finding: Finding
    reason: str = ""
    owner: int | None = None


def open_recording(path: bytes) -> int:
    """A descriptor on *path*: never through a link in its last part, never stuck on a FIFO. Raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)


def examine(path: bytes, settled: Fingerprint, *, leases: bool) -> Examined:
    """Look at *path*, which was last seen as *settled*. *leases*: ask the kernel who has it open for writing."""
    try:
        fd = open_recording(path)
    except FileNotFoundError:
        return Examined(Finding.GONE)
    except OSError as error:
        return Examined(Finding.BLOCKED, f"cannot be opened: {error.strerror}; it is tried again by itself")
    try:
        return _examine_open(fd, settled, leases=leases)
    finally:
        os.close(fd)


def _examine_open(fd: int, settled: Fingerprint, *, leases: bool) -> Examined:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        return Examined(Finding.NOT_REGULAR, "not a regular file")
    if Fingerprint.of(status) != settled:
        return Examined(Finding.CHANGED)
    if status.st_size == 0:
        return Examined(Finding.EMPTY, "the file is empty (0 bytes); it is transcribed once it has content")
    if leases and writers_of(fd) is Writers.SOME:
        return Examined(Finding.BUSY, "another program still has it open for writing")
    return Examined(Finding.READY, owner=status.st_uid)
