"""A job in somebody's hand: who may have it, and what only that hand may change. Functions inside a transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.orm import Session

from storage.errors import LostJob
from storage.records import Job, JobState
from storage.rows import NOT_MEASURED, job_of, record, record_all, update_one
from storage.schema import CLAIMABLE, JobRow, OutputRow
from storage.segments import remove_segments
from storage.texts import utc_text

_FARTHEST_WAIT: Final = timedelta(hours=2)
"""Longer than any delay that is asked for: a job due later than this was put off under a clock that was wrong."""

# From inbox to inbox through the index, so that it does not matter how many jobs one has that is passed over.
OLDEST: Final = text(
    f"""
WITH RECURSIVE place(inbox) AS (
    SELECT min(inbox) FROM job WHERE {CLAIMABLE}
    UNION ALL
    SELECT (SELECT min(job.inbox) FROM job WHERE {CLAIMABLE} AND job.inbox > place.inbox)
    FROM place WHERE place.inbox IS NOT NULL
)
SELECT min((
    SELECT job.id FROM job
    WHERE {CLAIMABLE} AND job.inbox = place.inbox
      AND (not_before_at IS NULL OR not_before_at <= :at OR not_before_at > :far)
    ORDER BY job.id LIMIT 1
))
FROM place WHERE place.inbox NOT IN :but_not_in
"""  # noqa: S608  # our own words
).bindparams(bindparam("but_not_in", expanding=True))

_IN_HAND: Final = (JobState.RUNNING, JobState.PUBLISHING)


def claim(session: Session, owner: str, at: datetime, but_not_in: Collection[bytes]) -> Job | None:
    """See `JobStore.claim`."""
    asked = {"at": utc_text(at), "far": utc_text(at + _FARTHEST_WAIT), "but_not_in": list(but_not_in)}
    job_id: int | None = session.scalar(OLDEST, asked)
    if job_id is None:
        return None
    values: dict[str, object] = {
        "state": JobState.RUNNING,
        "reason": "",
        "attempt": JobRow.attempt + 1,
        "lease": JobRow.lease + 1,
        "owner": owner,
        "started_at": at,
        "not_before_at": None,
    }
    update_one(session, [JobRow.id == job_id], NOT_MEASURED | values)
    row = session.get_one(JobRow, job_id)
    record(session, JobState.RUNNING, {"attempt": row.attempt, "owner": owner}, at, job_id)
    return job_of(row)


def recover(session: Session, owner: str, at: datetime) -> list[Job]:
    """See `JobStore.recover`."""
    reason = "the service stopped while this was running"
    others = JobRow.owner.is_distinct_from(owner)
    requeued = session.scalars(
        update(JobRow)
        .where(JobRow.state == JobState.RUNNING, others)
        .values(state=JobState.QUEUED, reason=reason, attempt=func.max(JobRow.attempt - 1, 0))
        .returning(JobRow.id),
        execution_options={"synchronize_session": False},
    ).all()
    record_all(session, [(JobState.QUEUED, {"reason": reason}, job_id) for job_id in sorted(requeued)], at)
    left = select(JobRow).where(JobRow.state == JobState.PUBLISHING, others).order_by(JobRow.id)
    return [job_of(row) for row in session.scalars(left)]


def change(session: Session, job: Job, values: Mapping[str, object]) -> None:
    """A job in hand has *values*, if it is still in the hand that *job* came from. Raises LostJob."""
    mine = [JobRow.id == job.id, JobRow.lease == job.lease, JobRow.owner == job.owner, JobRow.state.in_(_IN_HAND)]
    if update_one(session, mine, values) is None:
        raise LostJob(f"job {job.id} (claim {job.lease} of {job.owner}) is in other hands; its result is dropped")


def give_up_outputs(session: Session, job_id: int) -> None:
    """The job has no outputs and no text; the files that it was about to write stay known as ours."""
    session.execute(
        update(OutputRow).where(OutputRow.job_id == job_id, OutputRow.current == 1).values(current=0),
        execution_options={"synchronize_session": False},
    )
    remove_segments(session, job_id)


def take_over_outputs(session: Session, job_id: int) -> None:
    """The files of this job belong to no earlier one."""
    written = select(OutputRow.path).where(OutputRow.job_id == job_id, OutputRow.current == 1).scalar_subquery()
    session.execute(
        update(OutputRow)
        .where(OutputRow.path.in_(written), OutputRow.job_id != job_id, OutputRow.current == 1)
        .values(current=0),
        execution_options={"synchronize_session": False},
    )
