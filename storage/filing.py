"""The intake's side of the history: files become jobs. Functions inside a transaction of the writer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from sqlalchemy import exists, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.orm import Session, lazyload

from storage.records import Fingerprint, JobState, NewJob
from storage.rows import file_values, fingerprint_of, fingerprint_values, newest_row, record, record_all
from storage.schema import LIVE, FileRow, JobRow
from storage.turns import Line, turns

_CHUNK: Final = 500  # well below the parameters that SQLite takes in one statement
_PENDING: Final = (JobState.WAITING, JobState.QUEUED)


@dataclass(frozen=True, slots=True)
class _Aim:
    """The state in which jobs are to be."""

    state: JobState
    reason: str
    at: datetime
    again: bool = False
    by: str = ""


def enqueue(session: Session, jobs: Sequence[NewJob], at: datetime, by: str = "") -> list[int]:
    """Queue *jobs*; see `JobStore.enqueue`."""
    return _file(session, jobs, _Aim(JobState.QUEUED, "", at, by=by))


def wait(session: Session, job: NewJob, reason: str, at: datetime) -> int:
    """Let *job* wait; see `JobStore.wait`."""
    return _file(session, [job], _Aim(JobState.WAITING, reason, at))[0]


def redo(session: Session, jobs: Sequence[NewJob], at: datetime, by: str = "") -> list[int | None]:
    """See `JobStore.redo`."""
    aim = _Aim(JobState.QUEUED, "a person asked for it", at, again=True, by=by)
    by_path = {job.path: job for job in jobs}
    file_ids = _file_ids(session, list(by_path.values()))
    live = _live_rows(session, list(file_ids.values()))
    job_ids = _insert(session, [job for path, job in by_path.items() if file_ids[path] not in live], file_ids, aim)
    return [job_ids.get(job.path) for job in jobs]


def touched(session: Session, path: bytes, fingerprint: Fingerprint, at: datetime) -> None:
    """See `JobStore.touched`."""
    row = newest_row(session, path)
    if row is not None and fingerprint_of(row) != fingerprint:
        session.execute(update(JobRow).where(JobRow.id == row.id).values(**fingerprint_values(fingerprint)))
        record(session, "touched", {}, at, row.id)


def vanished(session: Session, paths: Sequence[bytes], at: datetime, reason: str) -> list[bytes]:
    """See `JobStore.vanished`."""
    pending = select(FileRow.path, JobRow.id).join(JobRow, JobRow.file_id == FileRow.id)
    pending = pending.where(LIVE, JobRow.state.in_(_PENDING))
    found = [row for some in _chunks(paths) for row in session.execute(pending.where(FileRow.path.in_(some)))]
    values: dict[str, object] = {"state": JobState.VANISHED, "reason": reason, "told": None}
    values |= {"not_before_at": None, "finished_at": at}
    for _path, job_id in found:
        _update(session, job_id, values)
    record_all(session, [(JobState.VANISHED, {"reason": reason}, job_id) for _path, job_id in found], at)
    return [path for path, _job_id in found]


def hasten(session: Session, inbox: bytes, at: datetime) -> int:
    """See `JobStore.hasten`."""
    here = exists().where(FileRow.id == JobRow.file_id, FileRow.inbox == inbox)
    hastened = session.scalars(
        update(JobRow)
        .where(JobRow.state == JobState.WAITING, JobRow.not_before_at > at, here)
        .values(not_before_at=at)
        .returning(JobRow.id),
        execution_options={"synchronize_session": False},
    ).all()
    return len(hastened)


def _file(session: Session, jobs: Sequence[NewJob], aim: _Aim) -> list[int]:
    by_path = {job.path: job for job in jobs}  # the last one of a path counts
    file_ids = _file_ids(session, list(by_path.values()))
    live = _live_rows(session, list(file_ids.values()))
    fresh = [job for path, job in by_path.items() if file_ids[path] not in live]
    job_ids = _insert(session, fresh, file_ids, aim)
    for path, job in by_path.items():
        row = live.get(file_ids[path])
        if row is not None:
            job_ids[path] = row.id
            if row.inbox != job.inbox:
                _update(session, row.id, {"inbox": job.inbox})
            _refile(session, row, job, aim)
    return [job_ids[job.path] for job in jobs]


def _file_ids(session: Session, jobs: Sequence[NewJob]) -> dict[bytes, int]:
    if jobs:
        files = upsert(FileRow)
        session.execute(
            files.on_conflict_do_update(
                index_elements=[FileRow.path],
                set_={"inbox": files.excluded.inbox, "inbox_text": files.excluded.inbox_text},
                where=FileRow.inbox != files.excluded.inbox,
            ),
            [file_values(job.path, job.inbox) for job in jobs],
        )
    found: dict[bytes, int] = {}
    for paths in _chunks([job.path for job in jobs]):
        found.update(session.execute(select(FileRow.path, FileRow.id).where(FileRow.path.in_(paths))).all())
    return found


def _live_rows(session: Session, file_ids: Sequence[int]) -> dict[int, JobRow]:
    query = select(JobRow).options(lazyload(JobRow.file), lazyload(JobRow.outputs)).where(LIVE)
    return {
        row.file_id: row for some in _chunks(file_ids) for row in session.scalars(query.where(JobRow.file_id.in_(some)))
    }


def _insert(session: Session, jobs: Sequence[NewJob], file_ids: dict[bytes, int], aim: _Aim) -> dict[bytes, int]:
    if not jobs:
        return {}
    places = turns(session, [_place_wanted(job) for job in jobs])
    added = session.scalars(
        insert(JobRow).returning(JobRow.id, sort_by_parameter_order=True),
        [
            {
                "file_id": file_ids[job.path],
                "inbox": job.inbox,
                "state": aim.state,
                "reason": aim.reason,
                "max_attempts": job.max_attempts,
                "options": job.options,
                "options_digest": job.options_digest,
                "origins": job.origins,
                "created_at": aim.at,
                "again": int(aim.again),
            }
            | fingerprint_values(job.fingerprint)
            | place
            for job, place in zip(jobs, places, strict=True)
        ],
    ).all()
    record_all(session, [(aim.state, {"reason": aim.reason, "by": aim.by}, job_id) for job_id in added], aim.at)
    return {job.path: job_id for job, job_id in zip(jobs, added, strict=True)}


def _refile(session: Session, row: JobRow, job: NewJob, aim: _Aim) -> None:
    """Bring a live job up to date, unless somebody works on it."""
    if row.state not in _PENDING:
        return
    same_content = fingerprint_of(row) == job.fingerprint
    same_work = same_content and dict(row.options) == dict(job.options)
    same_state = (row.state, row.reason) == (aim.state, aim.reason) and row.not_before_at is None
    if same_work and (same_state or row.state == aim.state == JobState.QUEUED):
        return  # also a queued retry that waits for its time: seeing the file again is no news
    values: dict[str, object] = {
        "state": aim.state,
        "reason": aim.reason,
        "told": None,
        "not_before_at": None,
        "options": job.options,
        "options_digest": job.options_digest,
        "origins": job.origins,
        "max_attempts": job.max_attempts,
    }
    if not same_work:  # tries at other content or with other options count for nothing
        values |= {"attempt": 0, "engine_deaths": 0}
    (place,) = turns(session, [_place_wanted(job)], but=row.id)
    if not (same_content and row.state == JobState.QUEUED and row.priority == job.priority):
        values |= place
    _update(session, row.id, values | fingerprint_values(job.fingerprint))
    if not same_state or aim.state == JobState.QUEUED:
        reason = aim.reason or ("" if same_content else "the recording changed")
        record(session, aim.state, {"reason": reason, "by": aim.by}, aim.at, row.id)


def _place_wanted(job: NewJob) -> tuple[Line, float]:
    return Line.of(job.person, job.priority, job.expected_s), job.expected_s


def _update(session: Session, job_id: int, values: dict[str, object]) -> None:
    session.execute(
        update(JobRow).where(JobRow.id == job_id).values(**values), execution_options={"synchronize_session": False}
    )


_T = bytes | int


def _chunks(items: Sequence[_T]) -> Iterator[list[_T]]:
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
