"""How the work goes at present: what waits, what ended lately. A few rows each, whatever the length of the history.

Functions inside a transaction, on indexes only: they are asked every few seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, text
from sqlalchemy.orm import Session

from storage.records import JobState, Outcome
from storage.schema import CLAIMABLE
from storage.texts import utc_text

# A person may ask again for a job of long ago: it waits from then on. One that goes back to the queue by itself has
# waited all the time.
_QUEUED: Final = text(
    f"""
SELECT coalesce(
    (SELECT max(at) FROM event WHERE job_id = first.id AND kind = 'queued' AND reason = 'a person asked for it'),
    first.created_at
), file.path
FROM (
    SELECT id, created_at, file_id FROM job
    WHERE {CLAIMABLE} AND inbox = :inbox AND +state = 'queued' AND (not_before_at IS NULL OR not_before_at <= :at)
    ORDER BY id LIMIT 5
) AS first JOIN file ON file.id = first.file_id
"""  # noqa: S608  # our own words
)

# Of those that wait for their time; what the intake waits for has none.
_HELD: Final = text(
    """
SELECT coalesce(
    (SELECT max(at) FROM event WHERE job_id = first.id AND kind = 'queued' AND reason = 'a person asked for it'),
    first.created_at
), first.reason
FROM (
    SELECT id, created_at, reason FROM job INDEXED BY job_state
    WHERE state = 'waiting' AND not_before_at IS NOT NULL AND inbox IN :inboxes
        AND coalesce(json_extract(told, '$.key'), '') NOT IN :but
    ORDER BY id LIMIT 5
) AS first
"""
).bindparams(bindparam("inboxes", expanding=True), bindparam("but", expanding=True))

_ENDED: Final = text(
    """
SELECT state, outcome, audio_s, wall_s, finished_at, same_as, inbox,
    json_extract(options, '$.model'), json_extract(options, '$.quality') FROM job
WHERE state = :state AND finished_at >= :since
ORDER BY finished_at DESC LIMIT :limit
"""
)

_BLOCKED: Final = text(
    """
SELECT inbox, count(*), max(reason) FROM job
WHERE id IN :ids AND +state = 'waiting' AND inbox IS NOT NULL
GROUP BY inbox
"""
).bindparams(bindparam("ids", expanding=True))

_OF_INBOX: Final = text(
    "SELECT state, count(*) FROM file JOIN job ON job.file_id = file.id WHERE file.inbox = :inbox GROUP BY state"
)

# Some 20 ms for 100 000 jobs: their rows are looked at.
_EXPECTED: Final = text("SELECT avg(expected_s) FROM job WHERE state = 'queued' AND inbox IS NOT :but_not_in")

_OF_STATE: Final = text("SELECT count(*) FROM job WHERE state = :state")

Kind = tuple[str, str]
"""The model and the quality that were asked for: how fast a recording can be done depends on both."""

_ENDS: Final = (JobState.DONE, JobState.FAILED, JobState.QUARANTINED)


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that ended. *audio_s* and *wall_s* are None where it made no text of its own."""

    state: JobState
    finished_at: datetime
    audio_s: float | None
    wall_s: float | None
    kind: Kind = ("", "")


@dataclass(frozen=True, slots=True)
class Queued:
    """A job that waits for its turn."""

    since: datetime
    path: bytes


@dataclass(frozen=True, slots=True)
class Held:
    """A job that is put off until what it needs is there again."""

    since: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """Jobs of an inbox that wait; *reason* is that of one of them."""

    inbox: bytes
    n_jobs: int
    reason: str


def oldest_queued(session: Session, inboxes: Collection[bytes], at: datetime) -> Queued | None:
    """The one that waits the longest of the jobs that are due at *at* in *inboxes*; None where none is."""
    asked = [{"inbox": inbox, "at": utc_text(at)} for inbox in inboxes]
    found = [(since, path) for one in asked for since, path in session.execute(_QUEUED, one)]
    if not found:
        return None
    since, path = min(found)
    return Queued(datetime.fromisoformat(since), path)


def oldest_held(session: Session, inboxes: Collection[bytes], but_for: Collection[str]) -> Held | None:
    """The one that is held the longest in *inboxes*, for another reason than *but_for* (keys of what is told)."""
    found = session.execute(_HELD, {"inboxes": list(inboxes), "but": list(but_for)}).all()
    return min((Held(datetime.fromisoformat(since), reason) for since, reason in found), default=None, key=_since)


def _since(held: Held) -> datetime:
    return held.since


def ended_since(session: Session, since: datetime, limit: int, but_not_in: bytes) -> list[Ended]:
    """The newest jobs that ended since then, at most *limit* of each way to end, the newest first."""
    ended: list[Ended] = []
    for state in _ENDS:
        rows = session.execute(_ENDED, {"state": state.value, "since": utc_text(since), "limit": limit})
        for found, outcome, audio_s, wall_s, finished_at, same_as, inbox, model, quality in rows:
            if inbox == but_not_in:
                continue
            is_new = same_as is None and outcome in (Outcome.OK.value, Outcome.PARTIAL.value) and wall_s and audio_s
            at = datetime.fromisoformat(finished_at)
            kind = (model or "", quality or "")
            ended.append(Ended(JobState(found), at, audio_s if is_new else None, wall_s if is_new else None, kind))
    return sorted(ended, key=lambda one: one.finished_at, reverse=True)


def blocked(session: Session, job_ids: Sequence[int]) -> list[Blocked]:
    """Those of *job_ids* that wait, by inbox."""
    rows = session.execute(_BLOCKED, {"ids": list(job_ids)})
    return [Blocked(inbox, n_jobs, reason) for inbox, n_jobs, reason in rows]


def counts_of(session: Session, inbox: bytes) -> dict[JobState, int]:
    """The jobs of one inbox by state; one with few jobs."""
    return {JobState(state): n_jobs for state, n_jobs in session.execute(_OF_INBOX, {"inbox": inbox})}


def count_of(session: Session, state: JobState) -> int:
    """How many jobs are in *state*; takes as long as there are many."""
    return int(session.execute(_OF_STATE, {"state": state.value}).scalar_one())


def mean_expected_s(session: Session, but_not_in: bytes) -> float | None:
    """How much audio a queued job may have, on the average; None where none is. Takes as long as there are many."""
    mean_s: float | None = session.execute(_EXPECTED, {"but_not_in": but_not_in}).scalar_one()
    return mean_s
