"""A history that is damaged or gone when its writer comes: set aside, never removed, and a snapshot in its place.

Must be called before the writer opens, by the one who holds the lock.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from storage.errors import StorageDamaged, StorageError, StorageUnavailable
from storage.faults import sqlite_errors
from storage.schema import VERSION
from storage.snapshots import Snapshot, Snapshots, check, schema_version

log = logging.getLogger(__name__)

CHECK_LIMIT_S: Final = 60.0
"""The check at the start reads the whole file; one that takes longer is cut short. See docs/operations.md."""

_LOGS: Final = ("-wal", "-shm")
_JOURNAL: Final = "-journal"  # of the moment before a new database keeps a log


@dataclass(frozen=True, slots=True)
class Mended:
    """What was done. *set_aside* None: there was no file. *snapshot* None: there was none that is sound."""

    problem: str
    set_aside: Path | None
    snapshot: Snapshot | None


@dataclass(frozen=True, slots=True)
class Identity:
    """The files of an open history: (device, inode) of the database, of its log and of the log's index."""

    database: tuple[int, int] | None
    logs: tuple[tuple[int, int] | None, ...]

    @classmethod
    def of(cls, path: Path) -> Identity:
        """That of the files at *path* now."""
        return cls(_inode(path), tuple(_inode(_beside(path, suffix)) for suffix in _LOGS))


def mend(path: Path, *, expected: bool) -> Mended | None:
    """The database at *path* is sound, or a snapshot, or gone with nothing in its place; None where nothing was done.

    *expected*: others have proof that there was a history. Raises StorageError where the disk is the trouble.
    """
    snapshots = Snapshots.beside(path)
    problem = _problem(path, expected=expected or bool(snapshots.all()))
    if problem is None:
        return None
    aside = set_aside(path)
    for snapshot in _sound(snapshots):
        _put_in_place(snapshot.path, path)
        return Mended(problem, aside, snapshot)
    return Mended(problem, aside, None)


def set_aside(path: Path) -> Path | None:
    """No database is at *path* any more; where it went, with its log. None where there was none."""
    aside = _aside_name(path)
    with _in_words(path):
        # The log goes first: left behind, it would be read into whatever takes the place of the database.
        for suffix in (*_LOGS, _JOURNAL):
            if (log_path := _beside(path, suffix)).exists():
                log_path.rename(_beside(aside, suffix))
        if not path.exists():
            return None
        path.rename(aside)
        _sync_folder(path.parent)
    return aside


def set_aside_log(path: Path, identity: Identity) -> None:
    """The log of a history that is gone from *path* is gone too: SQLite would read it into whatever comes there."""
    for suffix, inode in zip(_LOGS, identity.logs, strict=True):
        log_path = _beside(path, suffix)
        if inode is not None and _inode(log_path) == inode:
            log_path.rename(_beside(_aside_name(path), suffix))


def _problem(path: Path, *, expected: bool) -> str | None:
    try:
        if path.stat().st_size == 0:
            return "the file is empty" if expected else None
    except FileNotFoundError:
        return "the file is gone" if expected else None
    except OSError as error:
        raise StorageUnavailable(f"cannot look at {path}: {error.strerror}; check the folder and its rights") from error
    try:
        if _beside(path, _JOURNAL).exists():
            _roll_back(path)
        check(path, CHECK_LIMIT_S)
    except StorageDamaged as error:
        return str(error)
    return None


def _roll_back(path: Path) -> None:
    """A transaction that a crash cut short before there was a log is undone: the check, which only reads, cannot."""
    with sqlite_errors(path, "roll back"), contextlib.closing(sqlite3.connect(path, timeout=10.0)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()


def _sound(snapshots: Snapshots) -> Iterator[Snapshot]:
    for snapshot in snapshots.all():
        try:
            check(snapshot.path)
            if 0 < schema_version(snapshot.path) <= VERSION:
                yield snapshot
        except StorageError as error:
            log.warning("a snapshot is passed over: %s", error, extra={"event": "snapshot_bad"})


def _put_in_place(snapshot: Path, path: Path) -> None:
    part = _beside(path, ".part")
    with _in_words(path):
        with snapshot.open("rb") as source, part.open("wb") as target:
            os.fchmod(target.fileno(), _mode_of(source.fileno()))
            shutil.copyfileobj(source, target, 1 << 20)
            target.flush()
            os.fsync(target.fileno())
        part.rename(path)
        _sync_folder(path.parent)


def _mode_of(fd: int) -> int:
    """The permission bits of an open file."""
    return os.fstat(fd).st_mode & 0o777


def _aside_name(path: Path) -> Path:
    stem = f".damaged-{datetime.now(UTC).strftime('%Y%m%dT%H%M%SZ')}"
    aside, number = _beside(path, stem), 1
    while aside.exists():
        number += 1
        aside = _beside(path, f"{stem}-{number}")
    return aside


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _in_words(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(f"cannot rebuild {path}: {error.strerror}; make room and check the folder") from error
