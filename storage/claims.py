"""A job in somebody's hand: who may have it, and what only that hand may change. Functions inside a transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.orm import Session

from storage import turns, versions
from storage.errors import LostJob
from storage.records import Job, JobState
from storage.rows import NOT_MEASURED, job_of, record, record_all, update_one
from storage.schema import CLAIMABLE, LIVE, JobRow, OutputRow
from storage.segments import remove_segments
from storage.texts import time_of, utc_text
from storage.turns import PRIORITIES, Head, Turn, pick

_FARTHEST_WAIT: Final = timedelta(hours=2)
"""Longer than any delay that is asked for: a job due later than this was put off under a clock that was wrong."""

_LOOKED_AT: Final = 2000
"""Jobs of a line that are looked at for one of a person that may begin, before it is gone from person to person."""

_DUE: Final = "(not_before_at IS NULL OR not_before_at <= :at OR not_before_at > :far)"
_IN_LINE: Final = f"""
    FROM job
    WHERE {CLAIMABLE} AND job.inbox = place.inbox AND job.priority = :priority AND job.is_long = :is_long AND {_DUE}
    ORDER BY job.turn_s, job.id"""

# From inbox to inbox through the index, so that it does not matter how many jobs one has that is passed over.
_OF_INBOXES: Final = """
WITH RECURSIVE place(inbox) AS (
    SELECT min(inbox) FROM job WHERE {claimable}
    UNION ALL
    SELECT (SELECT min(job.inbox) FROM job WHERE {claimable} AND job.inbox > place.inbox)
    FROM place WHERE place.inbox IS NOT NULL
)
SELECT job.id, job.created_at, job.starts_s, job.turn_s, job.expected_s, job.person FROM (
    SELECT ({found}) AS id FROM place WHERE place.inbox NOT IN :but_not_in
) AS first JOIN job ON job.id = first.id
ORDER BY job.turn_s, job.id LIMIT 1
"""

NEXT: Final = text(_OF_INBOXES.format(claimable=CLAIMABLE, found=f"SELECT job.id {_IN_LINE} LIMIT 1")).bindparams(
    bindparam("but_not_in", expanding=True)
)

_NEXT_BUT: Final = text(
    _OF_INBOXES.format(
        claimable=CLAIMABLE,
        found=f"""
SELECT id FROM (SELECT job.id, job.person {_IN_LINE} LIMIT {_LOOKED_AT}) WHERE person NOT IN :but_not_of LIMIT 1
""",  # noqa: S608  # our own words
    )
).bindparams(bindparam("but_not_in", expanding=True), bindparam("but_not_of", expanding=True))

# Where those who may not begin now fill the line: from person to person.
NEXT_OF_PERSONS: Final = text(
    f"""
WITH RECURSIVE place(person) AS (
    SELECT min(person) FROM job WHERE {LIVE}
    UNION ALL
    SELECT (SELECT min(job.person) FROM job WHERE {LIVE} AND job.person > place.person)
    FROM place WHERE place.person IS NOT NULL
)
SELECT job.id, job.created_at, job.starts_s, job.turn_s, job.expected_s, job.person FROM (
    SELECT (
        SELECT job.id FROM job
        WHERE {LIVE} AND {CLAIMABLE} AND job.person = place.person AND job.priority = :priority
          AND job.is_long = :is_long AND job.inbox NOT IN :but_not_in AND {_DUE}
        ORDER BY job.starts_s LIMIT 1
    ) AS id FROM place WHERE place.person NOT IN :but_not_of
) AS first JOIN job ON job.id = first.id
ORDER BY job.turn_s, job.id LIMIT 1
"""  # noqa: S608  # our own words
).bindparams(bindparam("but_not_in", expanding=True), bindparam("but_not_of", expanding=True))

_IN_HAND: Final = (JobState.RUNNING, JobState.PUBLISHING)


@dataclass(frozen=True, slots=True)
class Open:
    """Which jobs may begin: none of the inboxes *but_not_in*, none of the persons *but_not_of*.

    No long one of the persons *but_no_long_of*, and none at all unless *long_too*.
    """

    but_not_in: Collection[bytes] = ()
    but_not_of: Collection[bytes] = ()
    but_no_long_of: Collection[bytes] = ()
    long_too: bool = True


@dataclass(frozen=True, slots=True)
class _Found:
    """A job that may be next."""

    id: int
    created_at: str
    starts_s: float
    turn_s: float
    expected_s: float


def claim(session: Session, owner: str, at: datetime, door: Open) -> Job | None:
    """See `JobStore.claim`."""
    passed = turns.n_passed(session)
    found = {priority: first for priority in PRIORITIES if (first := _first(session, priority, at, door)) is not None}
    heads = [
        Head(first.id, priority, time_of(first.created_at), passed.get(priority, 0))
        for priority, first in found.items()
    ]
    picked = pick(heads, at)
    if picked is None:
        return None
    job_id = picked.head.job_id
    chosen = found[picked.head.priority]
    turns.advance(session, picked, Turn(chosen.starts_s, chosen.expected_s))
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


def _first(session: Session, priority: int, at: datetime, door: Open) -> _Found | None:
    """The job of *priority* whose turn it is, of the short line or of the long one."""
    full = {False: set(door.but_not_of), True: {*door.but_not_of, *door.but_no_long_of}}
    asked: dict[str, object] = {"priority": priority, "at": utc_text(at), "far": utc_text(at + _FARTHEST_WAIT)}
    asked["but_not_in"] = list(door.but_not_in)
    found = [
        first
        for is_long in ((False, True) if door.long_too else (False,))
        if (first := _first_of(session, asked | {"is_long": int(is_long)}, full[is_long])) is not None
    ]
    return min(found, key=lambda one: (one.turn_s, one.id), default=None)


def _first_of(session: Session, asked: Mapping[str, object], full: Collection[bytes]) -> _Found | None:
    first = session.execute(NEXT, asked).one_or_none()
    if first is None or first[5] not in full:
        return None if first is None else _Found(*first[:5])
    asked = {**asked, "but_not_of": list(full)}
    row = session.execute(_NEXT_BUT, asked).one_or_none() or session.execute(NEXT_OF_PERSONS, asked).one_or_none()
    return None if row is None else _Found(*row[:5])


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
    versions.forget(session, [job_id])


def take_over_outputs(session: Session, job_id: int) -> None:
    """The files of this job belong to no earlier one."""
    written = select(OutputRow.path).where(OutputRow.job_id == job_id, OutputRow.current == 1).scalar_subquery()
    session.execute(
        update(OutputRow)
        .where(OutputRow.path.in_(written), OutputRow.job_id != job_id, OutputRow.current == 1)
        .values(current=0),
        execution_options={"synchronize_session": False},
    )
