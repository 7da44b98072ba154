"""The history of the figures and of the alerts: metrics.db, a file of its own, written by the monitor's thread alone.

It is not precious and nothing waits for it: what is damaged is set aside, what cannot be written is an error for the
log, and each sample that is added takes care of a little of what is old.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Self

from monitor.alert import Alert, Judgement, Matter
from monitor.figures import Key, Meaning, Sample
from monitor.history.alerts import file_alerts, open_matters, read_alerts
from monitor.history.errors import HistoryBusy, HistoryDamaged, HistoryError, HistoryUnavailable, history_errors
from monitor.history.reading import in_steps, rows_between, series_keys
from monitor.history.rows import from_ms, meaning, pack_values, pack_words, readable, to_ms, to_text
from monitor.history.tables import has_room, open_to_write, set_aside
from monitor.history.thinning import KEEP_SAMPLES, fit, forget_alerts, give_back, thin

log = logging.getLogger(__name__)

_TIDY_EVERY: Final = timedelta(minutes=1)
_FAR: Final = timedelta(days=36_500)


class MetricsHistory:
    """The writer of the file *path*, which stays under *max_bytes*. Every method may be called from any thread."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._series: dict[Key, int] = {}
        self._keys: dict[int, Key] = {}
        self._passing: dict[int, datetime] = {}  # series of jobs: when each was last seen
        self._open: dict[Matter, int] = {}
        self._tidy_at: datetime | None = None
        self._untidy: str | None = None
        self._closed = False

    @classmethod
    def open(cls, path: Path, max_bytes: int) -> Self:
        """The history at *path*, made if there is none.

        If it cannot be opened now, that is logged, and each `add` tries again: the service does not depend on it.
        """
        history = cls(path, max_bytes)
        try:
            with history._lock:
                history._ready()
        except HistoryError as error:
            log.warning("Figures are not kept: %s", error, extra={"event": "metrics_unavailable"})
        return history

    def close(self) -> None:
        """End it. Safe to call again; every other method raises HistoryUnavailable from now on."""
        with self._lock:
            self._forget()
            self._closed = True

    def add(self, sample: Sample, judgement: Judgement) -> Judgement:
        """Keep *sample* and what it changed, all or nothing; *judgement* with the numbers of its alerts.

        What is open in the file afterwards is what is open in *judgement*, whatever could not be written before.
        Raises HistoryError, also while somebody's open transaction has let the log beside the file grow too large.
        """
        with self._lock:
            try:
                filed = self._add(sample, judgement)
            except HistoryDamaged as error:
                self._set_aside(error)
                filed = self._add(sample, judgement)
            self._tidy_if_due(sample.at)
        return filed

    def tidy(self, now_at: datetime) -> bool:
        """Thin and drop a little of what is old at *now_at*; whether there is more. Raises HistoryError.

        `add` does it each minute by itself.
        """
        with self._lock:
            return self._tidy(now_at)

    def open_alerts(self) -> tuple[Alert, ...]:
        """The alerts that are open, the oldest first. Raises HistoryError."""
        with self._lock, history_errors(self._path, "read"):
            return read_alerts(self._ready())[::-1]

    def told_times(self) -> dict[int, datetime]:
        """When somebody was last told of each open alert, by number; without those never told. Raises HistoryError."""
        with self._lock, history_errors(self._path, "read"):
            found = self._ready().execute(
                "SELECT id, told_at FROM alert WHERE resolved_at IS NULL AND told_at IS NOT NULL"
            )
            return {number: datetime.fromisoformat(told_at) for number, told_at in found}

    def told(self, alert_ids: Iterable[int], at: datetime) -> None:
        """Somebody was told of these alerts at *at*. Raises HistoryError."""
        with self._lock, self._writing() as connection:
            connection.executemany(
                "UPDATE alert SET told_at = ? WHERE id = ?", [(to_text(at), number) for number in alert_ids]
            )

    def recent(self, names: Collection[str], since_at: datetime, step_s: float) -> Sequence[Sample]:
        """Samples of the figures *names* since *since_at*, at least *step_s* apart, in the order of time.

        A figure is the mean over its step, or over a minute or an hour where there is only that; of a counter the last
        value. *at* is the start of the step. Raises HistoryError.
        """
        with self._lock, history_errors(self._path, "read"):
            connection = self._ready()
            keys = series_keys(connection, names)
            rows = rows_between(connection, since_at, since_at + _FAR, keys)
        samples: dict[int, dict[Key, float]] = {}
        for number, cells in in_steps(rows, keys, round(step_s * 1000)).items():
            for at_ms, cell in cells.items():
                samples.setdefault(at_ms, {})[keys[number]] = cell.mean
        return [Sample(from_ms(at_ms), samples[at_ms]) for at_ms in sorted(samples)]

    def _ready(self) -> sqlite3.Connection:
        """The connection, made if there is none."""
        if self._closed:
            raise HistoryUnavailable(f"{self._path} is closed: the service ends")
        if self._connection is None:
            connection = open_to_write(self._path)
            try:
                with history_errors(self._path, "open"):
                    self._keys = series_keys(connection, None)
                    self._open = open_matters(connection)
                self._inode = _inode(self._path)
            except BaseException:
                connection.close()
                raise
            self._series = {key: number for number, key in self._keys.items()}
            self._connection = connection
        return self._connection

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._passing.clear()

    def _set_aside(self, reason: HistoryDamaged) -> None:
        self._forget()
        set_aside(self._path, reason)

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Connection]:
        with history_errors(self._path, "write to"):
            connection = self._ready()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _add(self, sample: Sample, judgement: Judgement) -> Judgement:
        with history_errors(self._path, "write to"):
            connection = self._ready()
            if not has_room(connection, self._path, self._max_bytes):
                raise HistoryBusy(
                    f"{self._path}-wal is larger than {self._max_bytes} bytes: another program reads in a transaction "
                    "that it does not end; end that program"
                )
        with self._writing() as connection:
            new = {key: _new_series(connection, key) for key in sample.figures if key not in self._series}
            series = self._series | new if new else self._series
            connection.execute(
                "INSERT OR REPLACE INTO sample VALUES (?, 1, ?, ?)",
                (
                    to_ms(sample.at),
                    pack_values({series[key]: value for key, value in sample.figures.items()}),
                    pack_words({series[key]: words for key, words in sample.words.items() if key in series and words}),
                ),
            )
            filed, still_open = file_alerts(connection, sample.at, judgement, self._open)
        # In memory only what was committed.
        self._series, self._open = series, still_open
        self._keys.update({number: key for key, number in new.items()})
        self._passing.update({series[key]: sample.at for key in sample.figures if _passes(key)})
        return filed

    def _tidy_if_due(self, at: datetime) -> None:
        if self._tidy_at is not None and abs(at - self._tidy_at) < _TIDY_EVERY:
            return
        try:
            more = self._tidy(at)
        except HistoryDamaged as error:
            self._set_aside(error)
            more = False
        except HistoryError as error:
            # Once per trouble; the sample itself is kept.
            if str(error) != self._untidy:
                log.warning("Old figures are not thinned: %s", error, extra={"event": "metrics_untidy"})
            self._untidy, more = str(error), False
        else:
            self._untidy = None
        self._tidy_at = None if more else at

    def _tidy(self, now_at: datetime) -> bool:
        if self._connection is not None and _inode(self._path) != self._inode:
            # SQLite would go on writing into a file without a name.
            log.warning("%s was removed or replaced; begun anew", self._path, extra={"event": "metrics_replaced"})
            self._forget()
        self._let_go_of_jobs(now_at)
        with self._writing() as connection:
            more = thin(connection, now_at, self._meaning_of)
            more = fit(connection, self._max_bytes, now_at, self._meaning_of) or more
            forget_alerts(connection)
        with history_errors(self._path, "shrink"):
            give_back(connection, self._max_bytes)
        return more

    def _meaning_of(self, number: int) -> Meaning | None:
        key = self._keys.get(number)
        return None if key is None or _passes(key) else meaning(key.name)

    def _let_go_of_jobs(self, now_at: datetime) -> None:
        """Series of jobs that ended so long ago that no sample has them: the job history has what became of them."""
        for number, key in self._keys.items():
            if _passes(key):
                self._passing.setdefault(number, now_at)
        gone = [number for number, at in self._passing.items() if now_at - at > 2 * KEEP_SAMPLES]
        if gone:
            with self._writing() as connection:
                connection.executemany("DELETE FROM series WHERE id = ?", [(number,) for number in gone])
            for number in gone:
                self._passing.pop(number)
                self._series.pop(self._keys.pop(number))


def _passes(key: Key) -> bool:
    """Whether its subjects come and go without end."""
    return meaning(key.name).subject == "job"


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _new_series(connection: sqlite3.Connection, key: Key) -> int:
    """Its number. A subject that is no text has the one of the text that it is stored as, which may be there."""
    row = (key.name, readable(key.subject))
    connection.execute("INSERT OR IGNORE INTO series (name, subject) VALUES (?, ?)", row)
    (number,) = connection.execute("SELECT id FROM series WHERE name = ? AND subject = ?", row).fetchone()
    return int(number)
