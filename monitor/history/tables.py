"""The tables and views of metrics.db, and how the file is opened. docs/sql.md shows the views to people.

A file that is damaged or of a later version is set aside and begun anew: figures are not precious.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

from monitor.history.errors import HistoryDamaged, HistoryUnavailable, history_errors

log = logging.getLogger(__name__)

VERSION: Final = 1
_PAGE_BYTES: Final = 8192
"""Rows are 1 to 3 kB: pages of 4 kB would be half empty."""
WAL_BYTES: Final = 1024**2
"""What the log beside the file may take; a commit adds two or three pages to it."""
_BUSY_TIMEOUT_S: Final = 1.0
"""The next sample comes soon: better one is lost than that the monitor is held up by somebody's open shell."""
_FILE_MODE: Final = 0o640  # less the umask: names of folders and recordings are not for everybody

_ROWS: Final = "at_ms INTEGER PRIMARY KEY, n_samples INTEGER NOT NULL, figures TEXT NOT NULL, words TEXT"
_TABLES: Final = (
    # AUTOINCREMENT: a number is never given twice, also when the series of a job that ended is let go.
    """CREATE TABLE series (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, subject TEXT NOT NULL, UNIQUE (name, subject)
    ) STRICT""",
    # A table for each age: rows are added at one end and go from the other, so no page is left half empty.
    f"CREATE TABLE sample ({_ROWS}) STRICT",
    f"CREATE TABLE minute ({_ROWS}) STRICT",
    f"CREATE TABLE hour ({_ROWS}) STRICT",
    """CREATE TABLE alert (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        rule TEXT NOT NULL, name TEXT NOT NULL, subject TEXT NOT NULL, severity TEXT NOT NULL,
        title TEXT NOT NULL, advice TEXT NOT NULL, words TEXT NOT NULL,
        limit_value REAL NOT NULL, first REAL NOT NULL, last REAL NOT NULL, peak REAL NOT NULL,
        opened_at TEXT NOT NULL, seen_at TEXT NOT NULL, resolved_at TEXT, told_at TEXT
    ) STRICT""",
    "CREATE UNIQUE INDEX alert_open ON alert (rule, name, subject) WHERE resolved_at IS NULL",
)


_WRITTEN: Final = (
    "SELECT id, name, subject FROM series",
    *(f"SELECT at_ms, n_samples, figures, words FROM {table}" for table in ("sample", "minute", "hour")),  # noqa: S608
    "SELECT id, rule, name, subject, severity, title, advice, words, limit_value, first, last, peak FROM alert",
    "SELECT opened_at, seen_at, resolved_at, told_at FROM alert",
)
"""What is read and written: a file that lacks any of it is not ours, whatever version it says."""


def _part(n: int, otherwise: str = "figure.value") -> str:
    value = f"(SELECT value FROM json_each(figure.value) WHERE key = {n})"  # noqa: S608
    return f"CASE figure.type WHEN 'array' THEN coalesce({value}, {otherwise}) ELSE {otherwise} END"


# json_each() and not json_extract(): older SQLite refuses that in a view where the schema is not trusted.
VIEWS: Final = (
    f"""CREATE VIEW v_metrics AS
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', moment.at_ms / 1000.0, 'unixepoch') AS at,
           moment.step_s AS step_s,
           series.name AS name,
           series.subject AS subject,
           {_part(0)} AS mean,
           {_part(1)} AS worst,
           {_part(2)} AS last,
           {_part(3, "moment.n_samples")} AS n_samples,
           (SELECT value FROM json_each(moment.words) WHERE key = figure.key) AS words
    FROM (SELECT at_ms, 0 AS step_s, n_samples, figures, words FROM sample
          UNION ALL SELECT at_ms, 60, n_samples, figures, words FROM minute
          UNION ALL SELECT at_ms, 3600, n_samples, figures, words FROM hour) AS moment
    JOIN json_each(moment.figures) AS figure
    JOIN series ON series.id = CAST(figure.key AS INTEGER)""",  # noqa: S608
    """CREATE VIEW v_alerts AS
    SELECT id AS alert_id, rule, name, subject, severity, title, advice, words, limit_value, first, last, peak,
           opened_at, seen_at, resolved_at, told_at,
           round((julianday(coalesce(resolved_at, 'now')) - julianday(opened_at)) * 86400, 1) AS open_s
    FROM alert""",
)


def open_to_write(path: Path) -> sqlite3.Connection:
    """The connection of the one writer; the file exists afterwards, with the tables of this version.

    May be used from several threads, by one at a time. Raises HistoryError.
    """
    try:
        return _opened(path)
    except HistoryDamaged as error:
        set_aside(path, error)
    return _opened(path)


def open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that only reads the existing file. Raises HistoryError."""
    if not path.exists():
        raise HistoryUnavailable(
            f"{path}: no figures yet; `transcribed run` makes it, again within a minute if it was removed"
        )
    with history_errors(path, "open"):
        connection = _connect(path, "ro")
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != VERSION:
                raise HistoryUnavailable(f"{path} is of version {version}, this program reads {VERSION}: use that one")
        except BaseException:
            connection.close()
            raise
    return connection


def has_room(connection: sqlite3.Connection, path: Path, most_bytes: int) -> bool:
    """Whether the log beside *path* may grow: it can be begun anew only when nobody reads in an older transaction."""
    try:
        if os.stat(f"{path}-wal").st_size <= most_bytes:
            return True
    except OSError:  # there is none yet
        return True
    _, n_pages, n_copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return bool(n_pages == n_copied)


def set_aside(path: Path, reason: Exception) -> None:
    """Put *path* out of the way, in place of what was put there before. Raises HistoryUnavailable."""
    aside = f"{path}.set-aside"
    try:
        for log_file in (f"{path}-wal", f"{path}-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(log_file)
        os.replace(path, aside)
    except OSError as error:
        raise HistoryUnavailable(f"cannot rename {path} to {aside}: {error.strerror}; remove it by hand") from error
    log.warning("%s; it is %s now", reason, aside, extra={"event": "metrics_set_aside", "path": aside})


def _opened(path: Path) -> sqlite3.Connection:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE))
    except OSError as error:
        raise HistoryUnavailable(f"cannot open {path}: {error.strerror}; check the folder and its rights") from error
    with history_errors(path, "open"):
        connection = _connect(path, "rw")
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    # The mode in the address keeps SQLite from making an empty file where ours was deleted.
    return sqlite3.connect(
        f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}",
        uri=True,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    for pragma in (
        f"page_size = {_PAGE_BYTES}",  # this and the next: before the first table
        "auto_vacuum = INCREMENTAL",
        "journal_mode = WAL",
        "synchronous = NORMAL",  # what a power cut takes are some minutes of figures
        "trusted_schema = OFF",
        f"wal_autocheckpoint = {WAL_BYTES // 2 // _PAGE_BYTES}",
        f"journal_size_limit = {WAL_BYTES}",
    ):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (n_tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if version == 0 and n_tables == 0:
        for statement in (*_TABLES, *VIEWS, f"PRAGMA user_version = {VERSION}"):
            connection.execute(statement)
    elif version != VERSION:
        raise HistoryDamaged(f"{path} is of version {version}, this program writes {VERSION}")
    else:
        _check_tables(connection, path)
    connection.execute("COMMIT")


def _check_tables(connection: sqlite3.Connection, path: Path) -> None:
    for query in _WRITTEN:
        try:
            connection.execute(f"{query} LIMIT 0")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                raise
            raise HistoryDamaged(f"{path} is not as this program makes it: {error}") from error
