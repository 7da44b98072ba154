"""Transcripts of several recordings of one talk: which are to be written, and what was. Functions inside a transaction.

That one is to be written is committed with the end of a job of the talk, so no crash forgets it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final, cast

from sqlalchemy import insert, or_, select, update
from sqlalchemy.orm import Session

from storage.records import JobState, Joint, Outcome, Output, TrackJobs
from storage.schema import TO_WRITE, DocumentRow, FileRow, JobRow, JointRow, MoveRow

MOST_TRACKS: Final = 200
"""Of one talk; more is no talk."""

_MOST_HASHES: Final = 50


def ask(session: Session, talk: bytes, inbox: bytes, job_id: int) -> None:
    """The transcript of *talk* is to be written anew: the job is done, a recording of it."""
    if session.get(JointRow, talk) is None:
        session.execute(insert(JointRow), [{"talk": talk, "inbox": inbox, "due": job_id, "written": {}}])
    else:
        session.execute(update(JointRow).where(JointRow.talk == talk).values(inbox=inbox, due=job_id))


def due(session: Session, inbox: bytes) -> list[Joint]:
    """Those of *inbox* that are to be written."""
    query = select(JointRow).where(TO_WRITE, JointRow.inbox == inbox).order_by(JointRow.talk)
    return [_joint_of(row) for row in session.scalars(query)]


def intend(session: Session, joint: Joint, outputs: Sequence[Output]) -> None:
    """These files of it are going to have their names, and count as ours."""
    written = {path: [*hashes] for path, hashes in joint.written.items()}
    for output in outputs:
        hashes = written.setdefault(output.path, [])
        hashes[:] = [*(one for one in hashes if one != output.sha256), output.sha256][-_MOST_HASHES:]
    named: Mapping[str, object] = {os.fsdecode(path): hashes for path, hashes in written.items()}
    session.execute(update(JointRow).where(JointRow.talk == joint.talk).values(written=named))


def settle(session: Session, joint: Joint) -> None:
    """It is written, unless another job of the talk was done since it was read."""
    session.execute(update(JointRow).where(JointRow.talk == joint.talk, JointRow.due == joint.due).values(due=None))


def tracks(session: Session, beginnings: Sequence[bytes]) -> list[TrackJobs]:
    """The transcripts of recordings whose paths begin so, or did before they went to another folder.

    Up to MOST_TRACKS with each, by the paths that they had.
    """
    found: dict[bytes, int] = {}
    for beginning in beginnings:
        end = beginning + b"\xff"
        here = select(FileRow.path, FileRow.id).where(FileRow.path > beginning, FileRow.path < end)
        went = select(MoveRow.source, JobRow.file_id).join(JobRow, JobRow.id == MoveRow.job_id)
        went = went.where(MoveRow.source > beginning, MoveRow.source < end)
        for query in (went, here):
            found.update((path, file_id) for path, file_id in session.execute(query.limit(MOST_TRACKS)))
    return [_track(session, path, file_id) for path, file_id in sorted(found.items())]


def _track(session: Session, path: bytes, file_id: int) -> TrackJobs:
    jobs = select(JobRow.id).where(JobRow.file_id == file_id).order_by(JobRow.id.desc()).limit(1)
    told = jobs.join(DocumentRow, DocumentRow.job_id == JobRow.id).where(
        JobRow.state == JobState.DONE, or_(JobRow.outcome.is_(None), JobRow.outcome != Outcome.DUPLICATE)
    )
    return TrackJobs(path, session.scalars(told).one_or_none())


def _joint_of(row: JointRow) -> Joint:
    assert row.due is not None
    kept = cast("Mapping[str, Sequence[str]]", row.written)
    written = {os.fsencode(path): tuple(hashes) for path, hashes in kept.items()}
    return Joint(row.talk, row.inbox, row.due, written)
