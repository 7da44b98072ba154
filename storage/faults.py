"""What SQLite's errors mean to this package. Knows the driver alone."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import Final

from storage.errors import StorageBusy, StorageDamaged, StorageError, StorageFull, StorageUnavailable

_MEANING: Final = {
    sqlite3.SQLITE_BUSY: (StorageBusy, "another program has it locked; end its transaction"),
    sqlite3.SQLITE_LOCKED: (StorageBusy, "another program has it locked; end its transaction"),
    sqlite3.SQLITE_FULL: (StorageFull, "the disk is full; make room"),
    sqlite3.SQLITE_CORRUPT: (StorageDamaged, "the file is damaged; put a backup in its place"),
    sqlite3.SQLITE_NOTADB: (StorageDamaged, "the file is no SQLite database; put a backup in its place"),
    sqlite3.SQLITE_IOERR: (StorageUnavailable, "the disk reports an error"),
    sqlite3.SQLITE_CANTOPEN: (StorageUnavailable, "it cannot be opened; check the folder and its permissions"),
    sqlite3.SQLITE_READONLY: (StorageUnavailable, "it cannot be written; check its permissions and the mount"),
    sqlite3.SQLITE_PERM: (StorageUnavailable, "access is refused; check its permissions"),
}


@contextlib.contextmanager
def sqlite_errors(path: Path, doing: str) -> Generator[None]:
    """Turn what the driver reports about the database *path* into the errors of this package; the rest is a bug."""
    try:
        yield
    except sqlite3.Error as error:
        raise translated(path, doing, error) or error from error


def translated(path: Path, doing: str, error: BaseException | None) -> StorageError | None:
    """*error* as one of this package; None where it is no error of SQLite's that has a meaning."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    meaning = _MEANING.get(code & 0xFF)  # the low byte is the primary code (sqlite.org/rescode.html)
    if meaning is None:
        return None
    kind, remedy = meaning
    return kind(f"cannot {doing} {path}: {error}: {remedy}")
