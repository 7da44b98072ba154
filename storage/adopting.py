"""Puts a published job into a history that does not know it. Functions inside a transaction of the writer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import exists, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.orm import Session

from storage import versions
from storage.records import (
    LIVE_STATES,
    Fingerprint,
    JobState,
    Output,
    Result,
    StoredSegment,
    StoredSuspect,
    Version,
)
from storage.rows import file_values, fingerprint_values, output_values, record, result_values
from storage.schema import FileRow, JobRow, OutputRow
from storage.segments import write_document, write_segments, write_suspects

_BEFORE_INTENT: Final = JobState.RUNNING


@dataclass(frozen=True, slots=True)
class Published:
    """All that the history knows of a job whose transcript was about to be put in place, and its claim.

    *version*: the text is one that a person corrected.
    """

    job_id: int
    lease: int
    owner: str
    attempt: int
    max_attempts: int
    path: bytes
    inbox: bytes
    fingerprint: Fingerprint
    options: Mapping[str, object]
    options_digest: str
    source_sha256: str
    audio_s: float
    declared_s: float | None
    created_at: datetime
    started_at: datetime | None
    published_at: datetime
    result: Result
    outputs: tuple[Output, ...]
    segments: tuple[StoredSegment, ...]
    document: bytes
    suspects: tuple[StoredSuspect, ...] = ()
    origins: Mapping[str, object] = field(default_factory=dict[str, object])
    version: Version | None = None


def adopt(session: Session, published: Published, at: datetime, *, done: bool) -> int | None:
    """See `JobStore.adopt`."""
    file_id = _file_id(session, published)
    row = session.get(JobRow, published.job_id)
    ours = row is not None and row.file_id == file_id
    if row is not None and ours and not _is_older(row, published):
        return None
    if not done and _has_rival(session, file_id, published.job_id):
        return None
    values = _values(published, file_id) | (
        {"state": JobState.DONE, "finished_at": published.published_at} if done else {"state": JobState.PUBLISHING}
    )
    if row is not None and ours:
        job_id = row.id
        session.execute(update(JobRow).where(JobRow.id == job_id).values(**values))
        session.execute(update(OutputRow).where(OutputRow.job_id == job_id, OutputRow.current == 1).values(current=0))
    else:
        free_id = {"id": published.job_id} if row is None else {}
        job_id = session.scalars(insert(JobRow).returning(JobRow.id), [values | free_id]).one()
    session.execute(insert(OutputRow), [output_values(job_id, output) for output in published.outputs])
    write_segments(session, job_id, published.segments)
    write_suspects(session, job_id, published.suspects)
    write_document(session, job_id, published.document)
    versions.forget(session, [job_id])
    if published.version is not None:
        versions.begin(session, job_id, published.version, published.document)
    record(session, "adopted", {"state": str(values["state"])}, at, job_id)
    return job_id


def _is_older(row: JobRow, published: Published) -> bool:
    """Whether the row is from before the intent of *published* was written into it."""
    return row.lease < published.lease or (row.lease == published.lease and row.state == _BEFORE_INTENT)


def _has_rival(session: Session, file_id: int, job_id: int) -> bool:
    rival = exists().where(JobRow.file_id == file_id, JobRow.id != job_id, JobRow.state.in_(LIVE_STATES))
    return bool(session.scalar(select(rival)))


def _file_id(session: Session, published: Published) -> int:
    session.execute(upsert(FileRow).on_conflict_do_nothing(), [file_values(published.path, published.inbox)])
    return session.scalars(select(FileRow.id).where(FileRow.path == published.path)).one()


def _values(published: Published, file_id: int) -> dict[str, object]:
    return {
        "file_id": file_id,
        "inbox": published.inbox,
        "attempt": published.attempt,
        "max_attempts": published.max_attempts,
        "owner": published.owner,
        "lease": published.lease,
        "options": published.options,
        "options_digest": published.options_digest,
        "origins": published.origins,
        "source_sha256": published.source_sha256,
        "audio_s": published.audio_s,
        "declared_s": published.declared_s,
        "created_at": published.created_at,
        "started_at": published.started_at,
        "not_before_at": None,
        **fingerprint_values(published.fingerprint),
        **result_values(published.result),
    }
