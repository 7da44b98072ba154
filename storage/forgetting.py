"""Takes the jobs of an inbox out of the history, as if they had never been. Functions inside a transaction.

For jobs that the service makes for itself. What people's recordings leave behind is for `storage.retention`.
"""

from __future__ import annotations

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from storage import moves, sounds, versions
from storage.records import LIVE_STATES
from storage.schema import EventRow, FileRow, JobRow, OutputRow
from storage.segments import remove_segments

_APART = {"synchronize_session": False}


def forget(session: Session, inbox: bytes, *, live: bool) -> list[int]:
    """The jobs of *inbox* are gone with all that belongs to them, those that are *live* too if asked; their ids."""
    query = select(JobRow.id).join(FileRow, FileRow.id == JobRow.file_id).where(FileRow.inbox == inbox)
    if not live:
        query = query.where(JobRow.state.not_in(sorted(LIVE_STATES)))
    job_ids = list(session.scalars(query))
    _remove(session, job_ids)
    used = exists().where(JobRow.file_id == FileRow.id)
    session.execute(delete(FileRow).where(FileRow.inbox == inbox, ~used), execution_options=_APART)
    return job_ids


def forget_one(session: Session, job_id: int) -> bool:
    """That job is gone with all that belongs to it; False where it has not ended, or there is none."""
    row = session.get(JobRow, job_id)
    if row is None or row.state in LIVE_STATES:
        return False
    file_id = row.file_id
    session.expunge(row)
    _remove(session, [job_id])
    used = exists().where(JobRow.file_id == FileRow.id)
    session.execute(delete(FileRow).where(FileRow.id == file_id, ~used), execution_options=_APART)
    return True


def _remove(session: Session, job_ids: list[int]) -> None:
    for job_id in job_ids:
        remove_segments(session, job_id)
    sounds.forget(session, job_ids)
    moves.forget(session, job_ids)
    versions.forget(session, job_ids)
    for row in (EventRow, OutputRow):
        session.execute(delete(row).where(row.job_id.in_(job_ids)), execution_options=_APART)
    session.execute(delete(JobRow).where(JobRow.id.in_(job_ids)), execution_options=_APART)
