"""Files that only the service may read: who may log in, and with what. Read again as soon as they change."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_BYTES: Final = 1 << 20


class UnsafeFile(Exception):
    """Raised where such a file could be read or changed by others, or cannot be read; the message says the remedy."""


def read(path: Path) -> str:
    """The text of *path*; empty where there is none. Raises UnsafeFile."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UnsafeFile(f"{path}: cannot be read: {error.strerror}") from error
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise UnsafeFile(f"{path}: is no file")
        if found.st_uid not in (0, os.geteuid()):
            raise UnsafeFile(f"{path}: belongs to somebody else; chown it to the user of the service")
        if found.st_mode & 0o077:
            raise UnsafeFile(f"{path}: others may read or change it; chmod 600 it")
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UnsafeFile(f"{path}: is larger than {MAX_BYTES} bytes")
    return content.decode("utf-8", "replace")


def write(path: Path, text: str) -> None:
    """Replace *path* by a file with *text* that only its owner may read: who owns the folder, if root asks."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            if os.geteuid() == 0:
                folder = path.parent.stat()
                os.fchown(fd, folder.st_uid, folder.st_gid)
            file.write(text)
            file.flush()
            os.fsync(fd)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise


class Watched(Generic[T]):
    """What *parse* makes of the file *path*, read again when it has changed. One that is unsafe counts as empty."""

    def __init__(self, path: Path, parse: Callable[[str], T]) -> None:
        self._path = path
        self._parse = parse
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] | None = None
        self._value = parse("")

    def value(self) -> T:
        """What it says now."""
        seen = _seen(self._path)
        with self._lock:
            if seen != self._seen:
                try:
                    self._value = self._parse(read(self._path))
                except UnsafeFile as error:
                    self._value = self._parse("")
                    log.error("Nobody is let in by it: %s", error, extra={"event": "web_access_file"})  # noqa: TRY400  # no trace
                self._seen = seen
            return self._value


def _seen(path: Path) -> tuple[int, ...]:
    try:
        found = path.lstat()
    except OSError:
        return ()
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode, found.st_uid)
