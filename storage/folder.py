"""What the people of one inbox want to know: what waits, what is done lately, what failed. Newest or first few of each.

Functions inside a transaction, on indexes only: they are asked every few seconds while something happens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session, aliased

from storage.records import Job, JobState, Outcome
from storage.rows import job_of
from storage.schema import CLAIMABLE, FAILED, JobRow
from storage.turns import PRIORITIES

LATELY: Final = 2000
"""Among so many done jobs of all inboxes those of one are looked for."""


def waiting(session: Session, inbox: bytes, limit: int) -> list[Job]:
    """The first *limit* jobs that are to begin, and as many of those that the intake must move on, in their order."""
    query = select(JobRow).where(JobRow.inbox == inbox).limit(limit)
    rows: list[JobRow] = []
    for priority in PRIORITIES:
        rows += sorted(_in_line(session, query.where(JobRow.priority == priority)), key=_turn)
        if len(rows) >= limit:
            break
    held = JobRow.state == JobState.WAITING, JobRow.not_before_at.is_(None)
    return [job_of(row) for row in [*rows[:limit], *session.scalars(query.where(*held).order_by(JobRow.id))]]


def _in_line(session: Session, query: Select[JobRow]) -> Iterator[JobRow]:
    """The first of the short line, and of the long one: together, the planner would sort all of them."""
    for is_long in (0, 1):
        line = query.where(CLAIMABLE, JobRow.is_long == is_long).order_by(JobRow.turn_s, JobRow.id)
        yield from session.scalars(line)


def _turn(row: JobRow) -> tuple[float, int]:
    return row.turn_s, row.id


def n_waiting(session: Session, inbox: bytes) -> int:
    """How many jobs are to begin."""
    query = select(func.count()).select_from(JobRow).where(CLAIMABLE, JobRow.inbox == inbox)
    return session.execute(query).scalar_one()


def done_lately(session: Session, inbox: bytes, limit: int) -> list[Job]:
    """The newest *limit* transcripts, one for each recording, as far as they are among the LATELY newest of all."""
    newest = (
        select(JobRow.id)
        .where(JobRow.state == JobState.DONE)
        .order_by(JobRow.finished_at.desc())
        .limit(LATELY)
        .scalar_subquery()
    )
    query = select(JobRow).where(JobRow.id.in_(newest), JobRow.inbox == inbox, JobRow.outcome != Outcome.DUPLICATE)
    by_file: dict[int, JobRow] = {}
    for row in session.scalars(query.order_by(JobRow.finished_at.desc()).limit(2 * limit)):
        by_file.setdefault(row.file_id, row)
    return [job_of(row) for row in list(by_file.values())[:limit]]


def failed(session: Session, inbox: bytes, limit: int) -> list[Job]:
    """The newest *limit* failed or quarantined jobs after which none came for their recording."""
    later = aliased(JobRow)
    is_last = ~exists().where(later.file_id == JobRow.file_id, later.id > JobRow.id)
    query = select(JobRow).where(FAILED, JobRow.inbox == inbox, is_last)
    rows = session.scalars(query.order_by(JobRow.finished_at.desc()).limit(limit))
    return [job_of(row) for row in rows]
