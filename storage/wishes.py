"""What a person wants of jobs that exist: again, or not at all. Functions inside a transaction."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

from sqlalchemy import exists, or_
from sqlalchemy.orm import Session, aliased

from storage.records import LIVE_STATES, JobState
from storage.rows import NOT_MEASURED, record_all, update_one
from storage.schema import JobRow

_RETRYABLE: Final = (
    JobState.FAILED,
    JobState.QUARANTINED,
    JobState.CANCELLED,
    JobState.VANISHED,
    JobState.WAITING,
)


def retry(session: Session, job_ids: Collection[int], at: datetime) -> list[int]:
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
    record_all(session, [(JobState.QUEUED, {"reason": "a person asked for it"}, job_id) for job_id in changed], at)
    return changed


def cancel(session: Session, job_ids: Collection[int], at: datetime) -> list[int]:
    """See `JobStore.cancel`."""
    reason = "a person cancelled it"
    values: dict[str, object] = {"state": JobState.CANCELLED, "reason": reason, "told": None}
    values |= {"not_before_at": None, "finished_at": at}
    pending = JobRow.state.in_((JobState.WAITING, JobState.QUEUED))
    changed = [job_id for job_id in sorted(set(job_ids)) if update_one(session, [JobRow.id == job_id, pending], values)]
    record_all(session, [(JobState.CANCELLED, {"reason": reason}, job_id) for job_id in changed], at)
    return changed
