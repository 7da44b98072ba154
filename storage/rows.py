"""Rows to records and back; what every statement of this package shares."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, cast

from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy.orm import Session

from storage.records import Event, Fingerprint, Job, Output, Result, Told
from storage.schema import EventRow, FileRow, JobRow, OutputRow
from storage.texts import readable

NOT_MEASURED: Final = dict.fromkeys(
    (
        *("outcome", "source_sha256", "audio_s", "declared_s", "speech_s", "wall_s", "language"),
        *(
            "language_probability",
            "model",
            "device",
            "compute_type",
            "n_segments",
            "n_words",
            "same_as",
            "finished_at",
            "told",
        ),
    )
)
"""The columns of a job row that tell of a try that came to nothing, as those of a new try."""


def file_values(path: bytes, inbox: bytes) -> dict[str, object]:
    """The columns of a file row."""
    folder, name = os.path.split(path)
    return {
        "path": path,
        "inbox": inbox,
        "path_text": readable(path),
        "folder_text": readable(folder),
        "name_text": readable(name),
        "inbox_text": readable(inbox),
    }


def fingerprint_values(fingerprint: Fingerprint) -> dict[str, int]:
    """The columns of a job row that hold *fingerprint*."""
    return {
        "size_bytes": fingerprint.size_bytes,
        "mtime_ns": fingerprint.mtime_ns,
        "ctime_ns": fingerprint.ctime_ns,
        "source_device": fingerprint.device,
        "source_inode": fingerprint.inode,
    }


def result_values(result: Result) -> dict[str, object]:
    """The columns of a job row that hold *result*."""
    return {
        "outcome": result.outcome,
        "reason": result.reason,
        "language": result.language,
        "language_probability": result.language_probability,
        "model": result.model,
        "device": result.device,
        "compute_type": result.compute_type,
        "wall_s": result.wall_s,
        "n_segments": result.n_segments,
        "n_words": result.n_words,
        "same_as": result.same_as,
    }


def output_values(job_id: int, output: Output) -> dict[str, object]:
    """The columns of an output row."""
    return {
        "job_id": job_id,
        "format": output.format,
        "path": output.path,
        "path_text": readable(output.path),
        "temp_path": output.temp_path,
        "sha256": output.sha256,
    }


def fingerprint_of(row: JobRow) -> Fingerprint:
    """The fingerprint in a job row."""
    return Fingerprint(row.size_bytes, row.mtime_ns, row.ctime_ns, row.source_device, row.source_inode)


def job_of(row: JobRow) -> Job:
    """The record of a job row."""
    return Job(
        id=row.id,
        path=row.file.path,
        inbox=row.file.inbox,
        fingerprint=fingerprint_of(row),
        options=row.options,
        options_digest=row.options_digest,
        state=row.state,
        outcome=row.outcome,
        reason=row.reason,
        attempt=row.attempt,
        max_attempts=row.max_attempts,
        engine_deaths=row.engine_deaths,
        owner=row.owner,
        lease=row.lease,
        source_sha256=row.source_sha256,
        audio_s=row.audio_s,
        declared_s=row.declared_s,
        speech_s=row.speech_s,
        wall_s=row.wall_s,
        language=row.language,
        language_probability=row.language_probability,
        model=row.model,
        device=row.device,
        compute_type=row.compute_type,
        n_segments=row.n_segments,
        n_words=row.n_words,
        outputs=tuple(_output_of(output) for output in row.outputs),
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        not_before_at=row.not_before_at,
        again=bool(row.again),
        same_as=row.same_as,
        origins=row.origins or {},
        told=told_of(row.told),
        priority=row.priority,
        person=row.person,
        expected_s=row.expected_s,
    )


def told_values(told: Told | None) -> dict[str, object]:
    """The column of a job row that goes with its reason."""
    return {"told": None if told is None else {"key": told.key, "figures": dict(told.figures)}}


def told_of(value: Mapping[str, object] | None) -> Told | None:
    """What `told_values` wrote."""
    if value is None:
        return None
    figures = value.get("figures")
    return Told(str(value.get("key")), cast("dict[str, str | float]", figures) if isinstance(figures, dict) else {})


def _output_of(row: OutputRow) -> Output:
    return Output(format=row.format, path=row.path, temp_path=row.temp_path, sha256=row.sha256)


def event_of(row: EventRow) -> Event:
    """The record of an event row; its reason is part of the detail."""
    detail = row.detail if row.reason is None else {"reason": row.reason, **row.detail}
    return Event(id=row.id, at=row.at, job_id=row.job_id, kind=row.kind, detail=detail)


def update_one(session: Session, where: Sequence[ColumnElement[bool]], values: Mapping[str, object]) -> int | None:
    """The id of the one job that matched and has *values* now."""
    return session.scalars(
        update(JobRow).where(*where).values(**values).returning(JobRow.id),
        execution_options={"synchronize_session": False},
    ).one_or_none()


def newest_row(session: Session, path: bytes) -> JobRow | None:
    """The job row of *path* that was made last."""
    return session.scalars(
        select(JobRow).join(JobRow.file).where(FileRow.path == path).order_by(JobRow.id.desc()).limit(1)
    ).one_or_none()


def record(session: Session, kind: str, detail: Mapping[str, object], at: datetime, job_id: int | None) -> None:
    """Add one event."""
    record_all(session, [(kind, detail, job_id)], at)


def record_all(session: Session, events: Sequence[tuple[str, Mapping[str, object], int | None]], at: datetime) -> None:
    """Add events of (kind, detail, job id), all of the same time; empty texts are left out."""
    if events:
        session.execute(
            insert(EventRow),
            [
                {
                    "at": at,
                    "job_id": job_id,
                    "kind": kind,
                    "reason": str(detail["reason"]) if detail.get("reason") else None,
                    "detail": {key: value for key, value in detail.items() if key != "reason" and value != ""},
                }
                for kind, detail, job_id in events
            ],
        )
