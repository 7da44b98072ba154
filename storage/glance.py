"""What a person asks most, by the driver alone: importing SQLAlchemy takes longer than all these answers together.

Gives what `storage.reading` gives, on one connection that only reads.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

from storage import searching, suspects
from storage.errors import StorageUnavailable
from storage.faults import sqlite_errors
from storage.records import Event, Fingerprint, Job, JobState, Outcome, Output, Told
from storage.searching import Hit
from storage.standing import Standing, standing
from storage.suspects import Place
from storage.version import check_readable

_BUSY_TIMEOUT_S: Final = 10.0

_JOBS: Final = "SELECT file.path, file.inbox, job.* FROM job JOIN file ON file.id = job.file_id"
_OUTPUTS: Final = "SELECT format, path, temp_path, sha256 FROM output WHERE job_id = ? AND current = 1 ORDER BY id"
_EVENTS: Final = "SELECT id, at, job_id, kind, reason, detail FROM event WHERE job_id = ? ORDER BY id"


class Glance:
    """A job history, to be read once and closed."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """The existing history *path*. Raises StorageError."""
        if not path.exists():
            raise StorageUnavailable(f"there is no job history at {path}; it is made when the service first runs")
        with sqlite_errors(path, "open"):
            connection = sqlite3.connect(
                f"file:{quote(os.fsencode(path.absolute()))}?mode=ro",
                uri=True,
                timeout=_BUSY_TIMEOUT_S,
                isolation_level=None,
            )
            try:
                connection.row_factory = sqlite3.Row
                connection.execute("PRAGMA trusted_schema = OFF")
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                check_readable(version, path)
                connection.execute("BEGIN")  # one state for all questions
            except BaseException:
                connection.close()
                raise
        return cls(path, connection)

    def close(self) -> None:
        """End it. Safe to call again."""
        self._connection.close()

    def jobs(self, states: Collection[JobState] | None = None, limit: int = 50) -> list[Job]:
        """See `JobQueries.jobs`."""
        with sqlite_errors(self._path, "read"):
            if states is None:
                rows = self._rows(f"{_JOBS} ORDER BY job.id DESC LIMIT ?", limit)
            else:  # state by state: together, the planner would sort all that match
                one = f"{_JOBS} WHERE job.state = ? ORDER BY job.id DESC LIMIT ?"
                rows = [row for state in set(states) for row in self._rows(one, state.value, limit)]
            rows.sort(key=lambda row: int(row["id"]), reverse=True)
            return [self._job(row) for row in rows[:limit]]

    def job(self, job_id: int) -> Job | None:
        """See `JobQueries.job`."""
        with sqlite_errors(self._path, "read"):
            return next((self._job(row) for row in self._rows(f"{_JOBS} WHERE job.id = ?", job_id)), None)

    def events(self, job_id: int) -> list[Event]:
        """See `JobQueries.events`."""
        with sqlite_errors(self._path, "read"):
            return [event_of(row) for row in self._rows(_EVENTS, job_id)]

    def search(
        self, words: Sequence[str], limit: int = 20, folder: bytes | None = None, since: datetime | None = None
    ) -> list[Hit]:
        """See `storage.searching.search`. Raises NothingToFind."""
        with sqlite_errors(self._path, "read"):
            return searching.search(
                lambda query, values: self._connection.execute(query, dict(values)), words, limit, folder, since
            )

    def suspects(self, limit: int, folder: bytes | None = None, since: datetime | None = None) -> list[Place]:
        """See `storage.suspects.suspects`."""
        with sqlite_errors(self._path, "read"):
            return suspects.suspects(
                lambda query, values: self._connection.execute(query, dict(values)), limit, folder, since
            )

    def standing(self, job_id: int) -> Standing | None:
        """See `storage.standing.standing`."""
        with sqlite_errors(self._path, "read"):
            return standing(lambda query, values: self._connection.execute(query, dict(values)).fetchall(), job_id)

    def _rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        return self._connection.execute(query, values).fetchall()

    def _job(self, row: sqlite3.Row) -> Job:
        outputs = tuple(Output(*output) for output in self._rows(_OUTPUTS, row["id"]))
        return job_of(row, outputs)


_PLAIN: Final = (
    *("id", "path", "inbox", "options_digest", "reason", "attempt", "max_attempts", "engine_deaths", "owner", "lease"),
    *("source_sha256", "audio_s", "declared_s", "speech_s", "wall_s", "language", "language_probability"),
    *("model", "device", "compute_type", "n_segments", "n_words", "same_as"),
    *("priority", "person", "expected_s"),
)
_STAT: Final = ("size_bytes", "mtime_ns", "ctime_ns", "source_device", "source_inode")
_TIMES: Final = ("created_at", "started_at", "finished_at", "not_before_at")


def job_of(row: sqlite3.Row, outputs: tuple[Output, ...]) -> Job:
    """The record of a row of `job` with the path and the inbox of its file."""
    values: dict[str, Any] = {name: row[name] for name in _PLAIN}
    values |= {name: _time(row[name]) for name in _TIMES}
    return Job(
        **values,
        fingerprint=Fingerprint(*(row[name] for name in _STAT)),
        options=json.loads(row["options"]),
        state=JobState(row["state"]),
        outcome=Outcome(row["outcome"]) if row["outcome"] is not None else None,
        outputs=outputs,
        again=bool(row["again"]),
        origins=json.loads(row["origins"]) if row["origins"] else {},
        told=_told(row["told"]),
    )


def _told(text: str | None) -> Told | None:
    if text is None:
        return None
    value: dict[str, Any] = json.loads(text)
    return Told(str(value.get("key")), value.get("figures") or {})


def event_of(row: sqlite3.Row) -> Event:
    """The record of a row of `event`; its reason is part of the detail."""
    detail: dict[str, object] = json.loads(row["detail"])
    if row["reason"] is not None:
        detail = {"reason": row["reason"], **detail}
    return Event(row["id"], datetime.fromisoformat(row["at"]), row["job_id"], row["kind"], detail)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text is not None else None
