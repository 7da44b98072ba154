"""Recordings that go to another folder once they are done. Functions inside a transaction; knows no disk and no clock.

That one is to go is committed with the end of its job, so no crash forgets it. A file row is a path, so it follows its
recording, and all jobs of that with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import delete, exists, insert, select, update
from sqlalchemy.orm import Session, aliased, lazyload

from storage.records import Fingerprint, Move, MoveState, Output
from storage.rows import file_values, fingerprint_of, fingerprint_values, record
from storage.schema import MOVING, FileRow, JobRow, MoveRow, OutputRow
from storage.texts import readable

_APART: Final = {"synchronize_session": False}


def ask(session: Session, job_id: int, inbox: bytes, source: bytes) -> None:
    """The recording of the job is to go; once, however often that is said."""
    if session.get(MoveRow, job_id) is None:
        values = {"job_id": job_id, "inbox": inbox, "state": MoveState.DUE, "source": source}
        session.execute(insert(MoveRow), [values])


def waiting(session: Session, inbox: bytes, limit: int, after: int = 0) -> list[Move]:
    """The first *limit* that are to go from *inbox*, of jobs above *after*."""
    query = select(MoveRow).where(MOVING, MoveRow.inbox == inbox, MoveRow.job_id > after)
    return [_move_of(row) for row in session.scalars(query.order_by(MoveRow.job_id).limit(limit))]


def of_job(session: Session, job_id: int) -> Move | None:
    """That of the job."""
    row = session.get(MoveRow, job_id)
    return None if row is None else _move_of(row)


def gone_from(session: Session, path: bytes) -> Move | None:
    """The last that was at *path* and went."""
    query = select(MoveRow).where(MoveRow.source == path, MoveRow.state == MoveState.MOVED)
    row = session.scalars(query.order_by(MoveRow.job_id.desc()).limit(1)).one_or_none()
    return None if row is None else _move_of(row)


def any_in(session: Session, folder: bytes) -> bool:
    """Whether anything went to *folder*, or below it."""
    inside = MoveRow.target > folder + b"/", MoveRow.target < folder + b"0", MoveRow.state == MoveState.MOVED
    return session.scalars(select(MoveRow.job_id).where(*inside).limit(1)).one_or_none() is not None


def is_newest(session: Session, job_id: int) -> bool:
    """Whether no later job is of the recording of the job."""
    later = aliased(JobRow)
    query = select(exists().where(JobRow.id == job_id, later.file_id == JobRow.file_id, later.id > job_id))
    return not session.scalar(query)


def outputs_of(session: Session, job_id: int) -> list[Output]:
    """The transcripts of the recording of the job, those of its earlier jobs too as far as they were not replaced."""
    file_id = select(JobRow.file_id).where(JobRow.id == job_id).scalar_subquery()
    query = select(OutputRow).join(JobRow, JobRow.id == OutputRow.job_id)
    query = query.where(JobRow.file_id == file_id, OutputRow.current == 1).order_by(OutputRow.id)
    found = {row.path: Output(row.format, row.path, row.temp_path, row.sha256) for row in session.scalars(query)}
    return list(found.values())


def begin(session: Session, job_id: int, target: bytes, plan: bytes) -> None:
    """What is done next is *plan*; an earlier one is over."""
    _change(session, job_id, state=MoveState.BEGUN, target=target, plan=plan, reason="")


def put_off(session: Session, job_id: int, reason: str, at: datetime) -> None:
    """It is tried again later, for *reason*."""
    _change(session, job_id, reason=reason)
    record(session, "move_waits", {"reason": reason}, at, job_id)


def give_up(session: Session, job_id: int, reason: str, at: datetime) -> None:
    """It stays where it is, for *reason*."""
    _change(session, job_id, state=MoveState.GIVEN_UP, plan=None, reason=reason)
    record(session, "not_moved", {"reason": reason}, at, job_id)


def end(session: Session, move: Move, places: Mapping[bytes, bytes], fingerprint: Fingerprint, at: datetime) -> None:
    """Its files are where *places* says, the recording with this fingerprint; the history knows all of it there."""
    target = places[move.source]
    _change(session, move.job_id, state=MoveState.MOVED, target=target, plan=None, reason="")
    row = session.get_one(JobRow, move.job_id)
    file_id, was = row.file_id, fingerprint_of(row)
    newer = select(JobRow).options(lazyload(JobRow.outputs)).where(JobRow.file_id == file_id, JobRow.id > row.id)
    # What came to the old path meanwhile is another recording, and stays there.
    others = [later.id for later in session.scalars(newer) if _differs(fingerprint_of(later), was)]
    session.execute(
        update(JobRow).where(JobRow.id == move.job_id).values(**fingerprint_values(fingerprint)),
        execution_options=_APART,
    )
    jobs = select(JobRow.id).where(JobRow.file_id == file_id, JobRow.id.not_in(others)).scalar_subquery()
    for source, place in places.items():
        session.execute(
            update(OutputRow)
            .where(OutputRow.path == source, OutputRow.job_id.in_(jobs))
            .values(path=place, path_text=readable(place)),
            execution_options=_APART,
        )
    _follow(session, file_id, file_values(target, move.inbox), others)
    detail = {"from": readable(move.source), "to": readable(target), "n_files": len(places)}
    record(session, "moved", detail, at, move.job_id)


def _differs(one: Fingerprint, other: Fingerprint) -> bool:
    return (one.size_bytes, one.mtime_ns) != (other.size_bytes, other.mtime_ns)


def _follow(session: Session, file_id: int, values: Mapping[str, object], others: Sequence[int]) -> None:
    """The jobs of the file are of that with *values* now, all but *others*.

    If a file of that path is known, which went away, they are one.
    """
    known = session.scalars(select(FileRow.id).where(FileRow.path == values["path"])).one_or_none()
    if known is None and not others:
        session.execute(update(FileRow).where(FileRow.id == file_id).values(**values), execution_options=_APART)
        return
    if known is None:
        known = session.scalars(insert(FileRow).returning(FileRow.id), [dict(values)]).one()
    following = update(JobRow).where(JobRow.file_id == file_id, JobRow.id.not_in(others))
    session.execute(following.values(file_id=known), execution_options=_APART)
    if not others:
        session.execute(delete(FileRow).where(FileRow.id == file_id), execution_options=_APART)


def forget(session: Session, job_ids: Sequence[int]) -> None:
    """Nothing is known of the going of these jobs' recordings."""
    session.execute(delete(MoveRow).where(MoveRow.job_id.in_(job_ids)), execution_options=_APART)


def _change(session: Session, job_id: int, **values: object) -> None:
    session.execute(update(MoveRow).where(MoveRow.job_id == job_id).values(**values), execution_options=_APART)


def _move_of(row: MoveRow) -> Move:
    return Move(row.job_id, row.inbox, row.state, row.source, row.target, row.plan or b"", row.reason)
