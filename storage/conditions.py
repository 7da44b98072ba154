"""Which jobs a person means: a condition in SQL on v_jobs. It can read, and nothing else."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, cast

from sqlalchemy.orm import Session

from storage.records import LIVE_STATES

LONGEST_S: Final = 10.0
"""How long a condition may be evaluated."""

_QUERY: Final = """
SELECT job_id FROM v_jobs
WHERE job_id IN (SELECT max(id) FROM job GROUP BY file_id) AND state NOT IN ({live}) AND (
{condition}
) ORDER BY job_id
"""

_READING: Final = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
_OURS: Final = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG})
_INSTRUCTIONS: Final = 10_000  # of SQLite's machine between two looks at the clock: some milliseconds


class BadCondition(ValueError):
    """Raised when a condition cannot be evaluated; the message is fit for a person."""


def matching(session: Session, condition: str) -> list[int]:
    """The newest job of each recording, where it has ended and *condition* is true of it, in order of their numbers.

    Raises BadCondition.
    """
    if not condition.strip():
        raise BadCondition("the condition is empty")
    live = ", ".join(f"'{state}'" for state in LIVE_STATES)
    connection = cast("sqlite3.Connection", session.connection().connection.driver_connection)
    with _reading_only(connection):
        try:
            found = connection.execute(_QUERY.format(live=live, condition=condition)).fetchall()
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
            raise _meaning(condition, error) from error
    return [job_id for (job_id,) in found if isinstance(job_id, int)]


@contextmanager
def _reading_only(connection: sqlite3.Connection) -> Generator[None]:
    # Its first use declares a table, which the authorizer would take for a change.
    connection.execute("SELECT rowid FROM segment_search LIMIT 0").close()
    deadline = time.monotonic() + LONGEST_S
    connection.set_authorizer(_allowed)
    connection.set_progress_handler(lambda: int(time.monotonic() > deadline), _INSTRUCTIONS)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)
        connection.set_authorizer(None)


def _allowed(action: int, first: str | None, _second: str | None, _database: str | None, _by: str | None) -> int:
    # FTS5 asks for the version of the data when it is searched.
    harmless = action in _READING or (action == sqlite3.SQLITE_PRAGMA and first == "data_version")
    return sqlite3.SQLITE_OK if harmless else sqlite3.SQLITE_DENY


def _meaning(condition: str, error: Exception) -> Exception:
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_INTERRUPT:
        return BadCondition(f"the condition {condition!r} takes longer than {LONGEST_S:g} s")
    if isinstance(error, sqlite3.Error) and code is not None and code & 0xFF not in _OURS:
        return error  # of the database, not of the condition
    return BadCondition(f"the condition {condition!r} is no SQL condition on the columns of v_jobs: {error}")
