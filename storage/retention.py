"""What may go from the history, and its going. Functions inside a transaction; knows no disk and no clock.

A live job always stays, and one whose recording is on its way to another folder. So does the newest job of a recording,
its newest transcript, and a job whose transcript files nobody has replaced: without them the intake would begin anew,
or take our files for somebody else's. Only where the recording itself is gone may they go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, delete, exists, select, text
from sqlalchemy.orm import Session

from storage import moves, sounds, versions
from storage.records import LIVE_STATES, MoveState
from storage.schema import EventRow, FileRow, JobRow, OutputRow
from storage.segments import remove_segments
from storage.texts import utc_text

_APART: Final = {"synchronize_session": False}
_LIVE: Final = ", ".join(f"'{state}'" for state in sorted(LIVE_STATES))

_OLD_EVENTS: Final = f"""
FROM event LEFT JOIN job ON job.id = event.job_id
WHERE event.at < :before AND (job.id IS NULL OR job.state NOT IN ({_LIVE}))
"""

_OLD_TEXTS: Final = """
SELECT job.id
FROM (SELECT file_id FROM job GROUP BY file_id HAVING count(*) > :keep) AS often
JOIN job ON job.file_id = often.file_id
WHERE job.state = 'done' AND job.id > :after
  AND EXISTS (SELECT 1 FROM segment WHERE segment.job_id = job.id)
  AND NOT EXISTS (SELECT 1 FROM version WHERE version.job_id = job.id)
  AND :keep <= (
      SELECT count(*) FROM job AS later
      WHERE later.file_id = job.file_id AND later.id > job.id AND +later.state = 'done' AND later.outcome <> 'duplicate'
  )
ORDER BY job.id
LIMIT :limit
"""

_NEEDED: Final = """
    NOT EXISTS (SELECT 1 FROM job AS later WHERE later.file_id = job.file_id AND later.id > job.id)
    OR job.state = 'done' AND job.outcome <> 'duplicate' AND NOT EXISTS (
        SELECT 1 FROM job AS later
        WHERE later.file_id = job.file_id AND later.id > job.id
          AND +later.state = 'done' AND later.outcome <> 'duplicate'
    )
    OR EXISTS (SELECT 1 FROM output WHERE output.job_id = job.id AND output.current = 1)
"""

_OLD_JOBS: Final = f"""
SELECT job.id, file.path, file.inbox, {_NEEDED} AS needed
FROM job JOIN file ON file.id = job.file_id
WHERE job.id > :after AND job.finished_at < :before AND job.state NOT IN ({_LIVE})
  AND NOT EXISTS (SELECT 1 FROM move WHERE move.job_id = job.id AND move.state = '{MoveState.BEGUN}')
ORDER BY job.id
LIMIT :limit
"""  # noqa: S608  # our own words


@dataclass(frozen=True, slots=True)
class OldJob:
    """A job that ended long ago. *needed*: it may go only if the recording is gone."""

    job_id: int
    path: bytes
    inbox: bytes
    needed: bool


def old_events(session: Session, before: datetime, limit: int) -> list[int]:
    """Up to *limit* events from before that time that are of no live job."""
    query = f"SELECT event.id {_OLD_EVENTS} ORDER BY event.at LIMIT :limit"  # our own words
    return list(session.execute(text(query), {"before": utc_text(before), "limit": limit}).scalars())


def n_old_events(session: Session, before: datetime) -> int:
    """How many `old_events` there are in all."""
    query = f"SELECT count(*) {_OLD_EVENTS}"  # our own words
    return int(session.execute(text(query), {"before": utc_text(before)}).scalar_one())


def old_texts(session: Session, keep: int, after: int, limit: int) -> list[int]:
    """The first *limit* jobs above *after* that have a text, and *keep* newer ones of their recording."""
    return list(session.execute(text(_OLD_TEXTS), {"keep": keep, "after": after, "limit": limit}).scalars())


def old_jobs(session: Session, before: datetime, after: int, limit: int) -> list[OldJob]:
    """The first *limit* jobs above *after* that ended before that time."""
    found = session.execute(text(_OLD_JOBS), {"before": utc_text(before), "after": after, "limit": limit})
    return [OldJob(job_id, path, inbox, bool(needed)) for job_id, path, inbox, needed in found]


def remove_events(session: Session, event_ids: Sequence[int]) -> None:
    """These events are gone."""
    session.execute(delete(EventRow).where(EventRow.id.in_(event_ids)), execution_options=_APART)


def remove_texts(session: Session, job_ids: Sequence[int]) -> None:
    """The jobs stay, their texts are gone."""
    for job_id in job_ids:
        remove_segments(session, job_id)
    sounds.forget(session, job_ids)  # without the text nobody asks for it


def remove_jobs(session: Session, jobs: Sequence[OldJob]) -> int:
    """Those of *jobs* that still may go are gone with all that belongs to them; how many.

    One that became needed meanwhile stays, unless it was found needed before: then its recording is gone.
    """
    may_go = text(f"SELECT id FROM job WHERE id IN :ids AND state NOT IN ({_LIVE})").bindparams(  # noqa: S608
        bindparam("ids", expanding=True)
    )
    dispensable = text(f"SELECT id FROM job WHERE id IN :ids AND NOT ({_NEEDED})").bindparams(  # noqa: S608
        bindparam("ids", expanding=True)
    )
    asked = {"ids": [job.job_id for job in jobs if not job.needed]}
    ids = [job.job_id for job in jobs if job.needed] + list(session.execute(dispensable, asked).scalars())
    ids = list(session.execute(may_go, {"ids": ids}).scalars())
    file_ids = session.scalars(select(JobRow.file_id).where(JobRow.id.in_(ids)).distinct()).all()
    remove_texts(session, ids)
    moves.forget(session, ids)
    versions.forget(session, ids)
    for row in (EventRow, OutputRow):
        session.execute(delete(row).where(row.job_id.in_(ids)), execution_options=_APART)
    session.execute(delete(JobRow).where(JobRow.id.in_(ids)), execution_options=_APART)
    used = exists().where(JobRow.file_id == FileRow.id)
    session.execute(delete(FileRow).where(FileRow.id.in_(file_ids), ~used), execution_options=_APART)
    return len(ids)
