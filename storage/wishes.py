"""What a person wants of jobs that exist: again, or not at all. Functions inside a transaction."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session, aliased

from storage.records import LIVE_STATES, JobState
from storage.rows import NOT_MEASURED, record_all, update_one
from storage.schema import JobRow
from storage.turns import Line, turns

_RETRYABLE: Final = (
    JobState.FAILED,
    JobState.QUARANTINED,
    JobState.CANCELLED,
    JobState.VANISHED,
    JobState.WAITING,
)


def retry(session: Session, job_ids: Collection[int], at: datetime, by: str = "") -> list[int]:
    """See `JobStore.retry`."""
    other = aliased(JobRow)
    is_rival = or_(other.id > JobRow.id, other.state.in_(LIVE_STATES))
    rival = exists().where(other.file_id == JobRow.file_id, other.id != JobRow.id, is_rival)
    values: dict[str, object] = {
        "state": JobState.QUEUED,
        "reason": "",
        "attempt": 0,
        "engine_deaths": 0,
        "not_before_at": None,
    }
    changed = [
        job_id
        for job_id in sorted(set(job_ids))
        if update_one(session, [JobRow.id == job_id, JobRow.state.in_(_RETRYABLE), ~rival], NOT_MEASURED | values)
    ]
    _line_up(session, changed)
    detail = {"reason": "a person asked for it", "by": by}
    record_all(session, [(JobState.QUEUED, detail, job_id) for job_id in changed], at)
    return changed


def cancel(session: Session, job_ids: Collection[int], at: datetime, by: str = "") -> list[int]:
    """See `JobStore.cancel`."""
    reason = "a person cancelled it"
    values: dict[str, object] = {"state": JobState.CANCELLED, "reason": reason, "told": None}
    values |= {"not_before_at": None, "finished_at": at}
    pending = JobRow.state.in_((JobState.WAITING, JobState.QUEUED))
    changed = [job_id for job_id in sorted(set(job_ids)) if update_one(session, [JobRow.id == job_id, pending], values)]
    record_all(session, [(JobState.CANCELLED, {"reason": reason, "by": by}, job_id) for job_id in changed], at)
    return changed


def prioritize(session: Session, job_ids: Collection[int], priority: int, at: datetime, by: str) -> list[int]:
    """See `JobStore.prioritize`."""
    pending = JobRow.state.in_((JobState.WAITING, JobState.QUEUED))
    others = [JobRow.priority != priority, pending]
    changed = [
        job_id
        for job_id in sorted(set(job_ids))
        if update_one(session, [JobRow.id == job_id, *others], {"priority": priority})
    ]
    _line_up(session, changed)
    detail = {"priority": priority, "by": by}
    record_all(session, [("prioritized", detail, job_id) for job_id in changed], at)
    return changed


def _line_up(session: Session, job_ids: Collection[int]) -> None:
    """They stand at the end of their lines."""
    of_job = select(JobRow.person, JobRow.priority, JobRow.expected_s)
    for job_id in job_ids:
        person, priority, expected_s = session.execute(of_job.where(JobRow.id == job_id)).one()
        (place,) = turns(session, [(Line.of(person, priority, expected_s), expected_s)], but=job_id)
        update_one(session, [JobRow.id == job_id], place)
