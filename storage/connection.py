"""SQLite connections as this project wants them.

One writer connection in one process, readers read-only: SQLite before 3.51.3 can corrupt a WAL database that two
connections write and checkpoint at once (sqlite.org/wal.html#walresetbug).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.pool import QueuePool

from storage.errors import StorageBusy, StorageError, StorageUnavailable
from storage.faults import sqlite_errors, translated
from storage.preparing import prepare, version_of
from storage.version import check_readable

BUSY_TIMEOUT_MS: Final = 10_000
"""How long to wait for somebody's open transaction, say in a sqlite3 shell."""

POOL_TIMEOUT_S: Final = 60
"""Threads queue for the one writer; each may sit out a busy timeout before it is our turn."""

_N_READERS: Final = 4
_WAL_LIMIT_BYTES: Final = 64 * 1024 * 1024
_FILE_MODE: Final = 0o640  # less the umask: names of recordings and reasons are not for everybody
_OLDEST_SQLITE: Final = (3, 37, 0)  # STRICT tables


@contextlib.contextmanager
def storage_errors(path: Path, doing: str) -> Generator[None]:
    """Turn what SQLite reports about the database *path* into the errors of this package; the rest is a bug."""
    try:
        with sqlite_errors(path, doing):
            yield
    except exc.TimeoutError as error:
        raise StorageBusy(f"cannot {doing} {path}: its connection stayed in use for {POOL_TIMEOUT_S} s") from error
    except exc.DBAPIError as error:
        raise translated(path, doing, error.orig) or error from error


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    # The mode in the address keeps SQLite from making an empty database where ours was deleted.
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_MS / 1000,
        isolation_level=None,
        check_same_thread=False,  # the pool hands a connection to one thread at a time
    )
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "foreign_keys = ON",
        "trusted_schema = OFF",
        "synchronous = FULL",
        f"journal_size_limit = {_WAL_LIMIT_BYTES}",
    ):
        _set(connection, pragma)
    return connection


def _set(connection: sqlite3.Connection, pragma: str) -> None:
    try:
        connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise


def _engine(path: Path, mode: str, n_connections: int, begin: str) -> Engine:
    engine = create_engine(
        "sqlite+pysqlite://",
        creator=lambda: _connect(path, mode),
        poolclass=QueuePool,
        pool_size=n_connections,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
    )

    # The driver starts transactions late and as readers; one that writes after it has read fails at once, whatever
    # the busy timeout, when somebody else wrote in between.
    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:  # pyright: ignore[reportUnusedFunction]  # called by SQLAlchemy
        connection.exec_driver_sql(begin)

    return engine


def open_writer(path: Path) -> Engine:
    """The engine of the one writer; the database at *path* exists afterwards with the current schema.

    Made readable for owner and group, less the umask. Raises NewerSchema, and StorageError where this SQLite or this
    disk cannot do what we need.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise StorageError(f"SQLite {sqlite3.sqlite_version} is too old for {path}: version 3.37 or later is needed")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE))
    except OSError as error:
        raise StorageUnavailable(f"cannot open {path}: {error.strerror}; check the folder and its rights") from error
    engine = _engine(path, "rw", 1, "BEGIN IMMEDIATE")
    try:
        with storage_errors(path, "open"):
            _prepare(engine, path)
    except BaseException:
        engine.dispose()
        raise
    return engine


def open_reader(path: Path) -> Engine:
    """The engine of readers of the existing database *path*; each transaction sees one state of it."""
    if not path.exists():
        raise StorageUnavailable(f"there is no job history at {path}; it is made when the service first runs")
    engine = _engine(path, "ro", _N_READERS, "BEGIN")
    try:
        with storage_errors(path, "open"), engine.connect() as connection:
            check_readable(version_of(connection, path), path)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _prepare(engine: Engine, path: Path) -> None:
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        answer: tuple[str] | None = cursor.fetchone()
    finally:
        raw.close()
    if answer != ("wal",):
        raise StorageError(f"{path} cannot use a write-ahead log (SQLite answers {answer}); put it on a local disk")
    prepare(engine, path)
