"""What the history of the figures tells: series and alerts of a time. Reads only, beside the one that writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from monitor.alert import Alert
from monitor.figures import Key
from monitor.history.alerts import read_alerts
from monitor.history.errors import history_errors
from monitor.history.rows import Cell, Row, from_ms, meaning, merged, to_ms, to_text, unpack
from monitor.history.tables import open_to_read

_TABLES: Final = ("hour", "minute", "sample")


@dataclass(frozen=True, slots=True)
class Point:
    """A figure from *at* on: over *n_samples* samples, or of one."""

    at: datetime
    mean: float
    worst: float
    last: float
    n_samples: int


@dataclass(frozen=True, slots=True)
class Series:
    """A figure over time; *points* in the order of time. *words* are the last that were said of it in that time."""

    key: Key
    points: tuple[Point, ...]
    words: str = ""


class MetricsReader:
    """The history at *path*, for one thread; closed after use."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """The existing history *path*. Raises HistoryError."""
        return cls(path, open_to_read(path))

    def close(self) -> None:
        """End it. Safe to call again."""
        self._connection.close()

    def series(
        self,
        names: str | Collection[str] | None,
        since: datetime,
        until: datetime,
        step_s: float = 0,
        most_rows: int | None = None,
    ) -> tuple[Series, ...]:
        """The figures *names* (all if None), a series for each subject, by name and subject.

        Points are at least *step_s* apart; 0 gives all there are. Of more samples or minutes than *most_rows* some are
        passed over, evenly: enough for a picture. Raises HistoryError.
        """
        wanted = {names} if isinstance(names, str) else names
        with self._reading():
            keys = series_keys(self._connection, wanted)
            rows = rows_between(self._connection, since, until, keys, most_rows)
        return _series(rows, keys, round(step_s * 1000))

    def alerts(self, limit: int = 50, *, open_only: bool = False) -> tuple[Alert, ...]:
        """The newest alerts; those that are open first. Raises HistoryError."""
        with self._reading():
            return read_alerts(self._connection, "resolved_at IS NULL" if open_only else "1", (), limit)

    def alerts_between(self, since: datetime, until: datetime) -> tuple[Alert, ...]:
        """The alerts that were open at some time between *since* and *until*. Raises HistoryError."""
        during = "opened_at <= ? AND coalesce(resolved_at, ?) >= ?"
        with self._reading():
            return read_alerts(self._connection, during, (to_text(until), to_text(until), to_text(since)), -1)

    @contextmanager
    def _reading(self) -> Generator[None]:
        with history_errors(self._path, "read"):
            self._connection.execute("BEGIN")  # one state for all questions
            try:
                yield
            finally:
                self._connection.execute("ROLLBACK")


def series_keys(connection: sqlite3.Connection, names: Collection[str] | None) -> dict[int, Key]:
    """The series called one of *names*, by number."""
    found = connection.execute("SELECT id, name, subject FROM series ORDER BY name, subject").fetchall()
    return {number: Key(name, subject) for number, name, subject in found if names is None or name in names}


def rows_between(
    connection: sqlite3.Connection,
    since: datetime,
    until: datetime,
    wanted: Collection[int],
    most_rows: int | None = None,
) -> list[Row]:
    """What is kept from *since* to *until*, in the order of time, with the *wanted* series.

    Of each table at most about *most_rows*, evenly, where that is said.
    """
    since_ms, until_ms = to_ms(since), to_ms(until)
    keys = [str(number) for number in wanted]
    # One row of each stretch of time: the last.
    apart_ms = max(1, (until_ms - since_ms) // most_rows) if most_rows is not None else 1
    rows = [
        unpack(row, keys)
        for table in _TABLES
        for row in connection.execute(
            f"SELECT at_ms, n_samples, figures, words FROM {table} WHERE at_ms IN"  # noqa: S608
            f" (SELECT max(at_ms) FROM {table} WHERE at_ms BETWEEN ? AND ? GROUP BY at_ms / ?) ORDER BY at_ms",
            (since_ms, until_ms, apart_ms),
        )
    ]
    # Each age has a table, so they lie in order, but for the times after the clock was put back.
    rows.sort(key=lambda row: row.at_ms)
    return rows


def in_steps(rows: Sequence[Row], keys: Mapping[int, Key], step_ms: int) -> dict[int, dict[int, Cell]]:
    """The cells of each series by time; those of one step as one, at the start of it."""
    steps: dict[int, dict[int, Cell]] = {number: {} for number in keys}
    meanings = {number: meaning(key.name) for number, key in keys.items()}
    for row in rows:
        at_ms = row.at_ms - row.at_ms % step_ms if step_ms else row.at_ms
        for number, cell in row.figures.items():
            before = steps[number].get(at_ms)
            steps[number][at_ms] = cell if before is None else merged(before, cell, meanings[number])
    return steps


def _series(rows: Sequence[Row], keys: Mapping[int, Key], step_ms: int) -> tuple[Series, ...]:
    words: dict[int, str] = {}
    for row in rows:
        words.update(row.words)
    found = in_steps(rows, keys, step_ms)
    return tuple(
        Series(key, tuple(Point(from_ms(at_ms), *cell) for at_ms, cell in found[number].items()), words.get(number, ""))
        for number, key in keys.items()
        if found[number]
    )
