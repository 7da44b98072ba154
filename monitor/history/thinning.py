"""How metrics.db stays small: samples become minutes, minutes become hours, and what does not fit goes, oldest first.

Each function does one small step inside the transaction of the caller and says whether there is more to do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from monitor.figures import Meaning
from monitor.history.rows import Row, fold, pack, pack_words, to_ms, unpack
from monitor.history.tables import WAL_BYTES

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
KEEP_SAMPLES: Final = timedelta(hours=6)
KEEP_MINUTES: Final = timedelta(days=14)
KEEP_ALERTS: Final = 2000
"""So many of the newest, about 1 MB; those that are open stay."""

_ROWS_AT_ONCE: Final = 600
"""The samples of more than an hour, the minutes of ten hours: some 20 ms of work."""
_FREED_PAGES: Final = 128
_BITE: Final = 20
"""What does not fit goes in such parts of what there is: finding out how much there is reads all of it."""

MeaningOf = Callable[[int], Meaning | None]
"""What a series says, by its number; None for one that is not kept when samples are thinned."""


@dataclass(frozen=True, slots=True)
class _Level:
    """Rows of *source* become rows of *target*, one for each *step_ms*."""

    source: str
    target: str
    step_ms: int


_LEVELS: Final = (_Level("sample", "minute", MINUTE_MS), _Level("minute", "hour", HOUR_MS))
_KEEP: Final = (KEEP_SAMPLES, KEEP_MINUTES)


def thin(connection: sqlite3.Connection, now_at: datetime, meaning_of: MeaningOf) -> bool:
    """Fold what is old enough at *now_at*."""
    more = [
        _fold(connection, level, to_ms(now_at - keep), meaning_of) for level, keep in zip(_LEVELS, _KEEP, strict=True)
    ]
    return any(more)


def fit(connection: sqlite3.Connection, max_bytes: int, now_at: datetime, meaning_of: MeaningOf) -> bool:
    """Make room if the file is larger than *max_bytes*.

    While minutes are more than hours, the oldest hour of them is folded before its time; else the oldest hours go, so
    that a small file too has both a fine picture of the last days and a coarse one of a long time.
    """
    if _used_bytes(connection) <= max_bytes - WAL_BYTES:
        return False
    n_minutes, n_hours = _count(connection, "minute"), _count(connection, "hour")
    if n_minutes > max(n_hours, 60):
        last_ms = _nth(connection, "minute", max(60, n_minutes // _BITE) - 1)
        _fold(connection, _LEVELS[1], last_ms + HOUR_MS, meaning_of)
    elif n_hours:
        # What a clock that was wrong dated into the future is the least use of all.
        future = _nth(connection, "hour", n_hours - 1) > to_ms(now_at) + HOUR_MS
        _drop(connection, "hour", max(24, n_hours // _BITE), newest=future)
    else:
        _drop(connection, "minute" if n_minutes else "sample", 60, newest=False)
    return True


def give_back(connection: sqlite3.Connection, max_bytes: int) -> None:
    """Shrink the file by some pages that nothing lies in, if it is larger than it may be. Outside of a transaction."""
    if _pragma(connection, "page_count") * _pragma(connection, "page_size") > max_bytes - WAL_BYTES:
        # Not execute(): it steps once, and this frees a page with each step.
        connection.executescript(f"PRAGMA incremental_vacuum({_FREED_PAGES})")


def forget_alerts(connection: sqlite3.Connection) -> None:
    """Let go of the oldest alerts that were resolved."""
    connection.execute(
        "DELETE FROM alert WHERE resolved_at IS NOT NULL AND id <= (SELECT max(id) FROM alert) - ?", (KEEP_ALERTS,)
    )


def _fold(connection: sqlite3.Connection, level: _Level, before_ms: int, meaning_of: MeaningOf) -> bool:
    before_ms -= before_ms % level.step_ms
    found = connection.execute(
        f"SELECT at_ms, n_samples, figures, words FROM {level.source} WHERE at_ms < ? ORDER BY at_ms LIMIT ?",  # noqa: S608
        (before_ms, _ROWS_AT_ONCE),
    ).fetchall()
    more = len(found) == _ROWS_AT_ONCE
    steps = [(at_ms, list(rows)) for at_ms, rows in groupby(found, key=lambda row: row[0] - row[0] % level.step_ms)]
    if more and len(steps) > 1:
        steps.pop()  # the rest of it was not read
    for at_ms, rows in steps:
        _fold_step(connection, level, at_ms, [unpack(row) for row in rows], meaning_of)
    return more


def _fold_step(
    connection: sqlite3.Connection, level: _Level, at_ms: int, rows: list[Row], meaning_of: MeaningOf
) -> None:
    # Where the clock was put back, there is a row already.
    there = connection.execute(
        f"SELECT at_ms, n_samples, figures, words FROM {level.target} WHERE at_ms = ?",  # noqa: S608
        (at_ms,),
    ).fetchall()
    row = fold(at_ms, [*(unpack(one) for one in there), *rows], meaning_of)
    connection.execute(
        f"INSERT OR REPLACE INTO {level.target} VALUES (?, ?, ?, ?)",  # noqa: S608
        (at_ms, row.n_samples, pack(row), pack_words(row.words)),
    )
    connection.execute(
        f"DELETE FROM {level.source} WHERE at_ms BETWEEN ? AND ?",  # noqa: S608
        (rows[0].at_ms, rows[-1].at_ms),
    )


def _drop(connection: sqlite3.Connection, table: str, n_rows: int, *, newest: bool) -> None:
    order = "DESC" if newest else "ASC"
    connection.execute(
        f"DELETE FROM {table} WHERE at_ms IN (SELECT at_ms FROM {table} ORDER BY at_ms {order} LIMIT ?)",  # noqa: S608
        (n_rows,),
    )


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608


def _nth(connection: sqlite3.Connection, table: str, n: int) -> int:
    """The time of the *n*-th row, from 0."""
    query = f"SELECT at_ms FROM {table} ORDER BY at_ms LIMIT 1 OFFSET ?"  # noqa: S608
    return int(connection.execute(query, (n,)).fetchone()[0])


def _used_bytes(connection: sqlite3.Connection) -> int:
    used = _pragma(connection, "page_count") - _pragma(connection, "freelist_count")
    return used * _pragma(connection, "page_size")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
