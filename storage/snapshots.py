"""Whole copies of the history beside it: made while it is in use, checked before they count, the oldest removed.

Each is a database of its own, without a log. Knows nothing of when one is due.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import sqlite3
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from storage.errors import StorageDamaged, StorageUnavailable
from storage.faults import sqlite_errors
from storage.records import JobState

log = logging.getLogger(__name__)

FOLDER_NAME: Final = "snapshots"
DAILY: Final = "daily"
RESCUE: Final = "rescue"

_N_OTHERS: Final = 2
"""Copies kept of those that are not daily: from before a change of schema, or of a history that lost its name."""

_NAME: Final = re.compile(r"(\d{6,})-(\d{8}T\d{6}Z)-([a-z0-9-]+)\.db")
_TIME: Final = "%Y%m%dT%H%M%SZ"
_FILE_MODE: Final = 0o640  # as the history itself
_STEPS_BETWEEN_LOOKS: Final = 100_000  # of SQLite's virtual machine: some milliseconds


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A finished copy. *kind* is ``daily``, ``rescue``, or ``schema-N`` for one made before a migration from schema N.

    *number* grows from copy to copy: clocks jump, and the newest is what a rebuild begins with.
    """

    path: Path
    number: int
    at: datetime
    kind: str


class Snapshots:
    """The folder of the copies of one database."""

    def __init__(self, database: Path, folder: Path) -> None:
        self._database = database
        self._folder = folder

    @classmethod
    def beside(cls, database: Path) -> Self:
        """Those in the folder next to *database*."""
        return cls(database, database.parent / FOLDER_NAME)

    def take(self, kind: str = DAILY, source: sqlite3.Connection | None = None) -> Path:
        """A copy of the database as it is now, on disk and checked; its path.

        Writers go on meanwhile. *source*: an open connection to it, where its file has no name any more. Of those that
        are not daily the newest two are left. Raises StorageError, and then no copy counts.
        """
        with sqlite_errors(self._database, "copy"), _in_words(self._folder):
            self._folder.mkdir(mode=0o750, exist_ok=True)
            self._remove_parts()
            number = max((snapshot.number for snapshot in self.all()), default=0) + 1
            final = self._folder / f"{number:06}-{datetime.now(UTC).strftime(_TIME)}-{kind}.db"
            part = final.with_suffix(".part")
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, _FILE_MODE))
            try:
                with contextlib.nullcontext(source) if source else _reading(self._database) as connection:
                    connection.execute("VACUUM INTO ?", (os.fsdecode(part),))
                _sync(part)
                check(part)
                part.rename(final)
                _sync(self._folder)
                if kind != DAILY:
                    self._remove(self._others()[_N_OTHERS:])
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        return final

    def all(self) -> list[Snapshot]:
        """Every finished copy, the newest first."""
        found: list[Snapshot] = []
        with contextlib.suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                if match := _NAME.fullmatch(path.name):
                    at = datetime.strptime(match[2], _TIME).replace(tzinfo=UTC)
                    found.append(Snapshot(path, int(match[1]), at, match[3]))
        return sorted(found, key=lambda snapshot: snapshot.number, reverse=True)

    def prune(self, n_daily: int) -> list[Path]:
        """Of the daily ones the newest *n_daily* are left, of the others the newest two; what was removed."""
        daily = [snapshot for snapshot in self.all() if snapshot.kind == DAILY]
        return self._remove(daily[n_daily:] + self._others()[_N_OTHERS:])

    def _others(self) -> list[Snapshot]:
        return [snapshot for snapshot in self.all() if snapshot.kind != DAILY]

    def _remove(self, surplus: Sequence[Snapshot]) -> list[Path]:
        paths = [snapshot.path for snapshot in surplus]
        for path in paths:
            path.unlink(missing_ok=True)
        return paths

    def _remove_parts(self) -> None:
        for leftover in self._folder.glob("*.part*"):
            leftover.unlink(missing_ok=True)


def check(path: Path, limit_s: float = math.inf) -> int:
    """The number of jobs in the sound database at *path*. Raises StorageError: StorageDamaged where it is not sound.

    After *limit_s* it counts as sound: what is read later is not looked at.
    """
    deadline = time.monotonic() + limit_s
    with sqlite_errors(path, "check"), _reading(path) as connection:
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
        try:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            log.warning("%s: its check did not end in %.0f s", path, limit_s, extra={"event": "check_cut_short"})
            verdict = "ok"
        connection.set_progress_handler(None, 0)
        if verdict != "ok":
            raise StorageDamaged(f"{path} is damaged: {verdict}")
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'job'").fetchone():
            return 0
        (n_jobs,) = connection.execute("SELECT count(*) FROM job").fetchone()
    return int(n_jobs)


def count_jobs(path: Path) -> int:
    """The number of jobs in the copy at *path*. Raises StorageError."""
    with sqlite_errors(path, "read"), _reading(path) as connection:
        (n_jobs,) = connection.execute("SELECT count(*) FROM job").fetchone()
    return int(n_jobs)


def standing(path: Path, job_ids: Iterable[int]) -> dict[int, tuple[int, JobState]]:
    """Claims so far and state, by job id, of these jobs and of the newest, as far as the copy at *path* has them.

    Raises StorageError.
    """
    with sqlite_errors(path, "read"), _reading(path) as connection:
        (newest,) = connection.execute("SELECT max(id) FROM job").fetchone()
        ids = {*job_ids, newest}
        one = "SELECT id, lease, state FROM job WHERE id = ?"
        found = [row for job_id in ids for row in connection.execute(one, (job_id,))]
    return {job_id: (lease, JobState(state)) for job_id, lease, state in found}


def newest_versions(path: Path, job_ids: Iterable[int]) -> dict[int, int]:
    """By job id, the newest version of the transcripts of these jobs that the copy at *path* has.

    Raises StorageError.
    """
    with sqlite_errors(path, "read"), _reading(path) as connection:
        one = "SELECT job_id, max(number) FROM version WHERE job_id = ? GROUP BY job_id"
        return dict(row for job_id in set(job_ids) for row in connection.execute(one, (job_id,)))


def schema_version(path: Path) -> int:
    """PRAGMA user_version of the database at *path*. Raises StorageError."""
    with sqlite_errors(path, "read"), _reading(path) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


@contextlib.contextmanager
def _reading(path: Path) -> Generator[sqlite3.Connection]:
    address = f"file:{quote(os.fsencode(path.absolute()))}?mode=ro"
    connection = sqlite3.connect(address, uri=True, timeout=10.0, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def _in_words(folder: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(f"cannot write a snapshot to {folder}: {error.strerror}; check it") from error


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
