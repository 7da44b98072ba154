"""Every error that the history of the figures raises on purpose, and what SQLite's mean. Knows the driver alone.

After any of them nothing of the call is in the file.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import Final


class HistoryError(Exception):
    """Base of them: the figures cannot be kept or read at present; the message is fit for a person to read."""


class HistoryBusy(HistoryError):
    """Raised when the file stayed locked for the whole wait."""


class HistoryFull(HistoryError):
    """Raised when the disk of the file is full."""


class HistoryUnavailable(HistoryError):
    """Raised when the file is missing, cannot be opened or written, or its disk reports an error."""


class HistoryDamaged(HistoryError):
    """Raised when SQLite finds the file malformed, or it is not a file of ours."""


_MEANING: Final[dict[int, tuple[type[HistoryError], str]]] = {
    sqlite3.SQLITE_BUSY: (HistoryBusy, "another program has it locked; end its transaction"),
    sqlite3.SQLITE_LOCKED: (HistoryBusy, "another program has it locked; end its transaction"),
    sqlite3.SQLITE_FULL: (HistoryFull, "make room on its disk"),
    sqlite3.SQLITE_CORRUPT: (HistoryDamaged, "the service sets it aside and begins anew"),
    sqlite3.SQLITE_NOTADB: (HistoryDamaged, "the service sets it aside and begins anew"),
    sqlite3.SQLITE_IOERR: (HistoryUnavailable, "look at its disk"),
    sqlite3.SQLITE_CANTOPEN: (HistoryUnavailable, "check the folder and its permissions"),
    sqlite3.SQLITE_READONLY: (HistoryUnavailable, "check its permissions and the mount"),
    sqlite3.SQLITE_PERM: (HistoryUnavailable, "check its permissions"),
}


@contextlib.contextmanager
def history_errors(path: Path, doing: str) -> Generator[None]:
    """Turn what the driver reports about *path* into the errors of this module; the rest is a bug."""
    try:
        yield
    except sqlite3.Error as error:
        # The low byte is the primary code (sqlite.org/rescode.html); errors of the driver itself have none.
        code: int | None = getattr(error, "sqlite_errorcode", None)
        if code is None or (code & 0xFF) not in _MEANING:
            raise
        kind, remedy = _MEANING[code & 0xFF]
        raise kind(f"cannot {doing} {path}: {error}: {remedy}") from error
