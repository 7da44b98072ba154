"""Fingerprints of decoded sound, and which of them may be equal. Functions inside a transaction.

Knows of a fingerprint what `StoredSound` says; whether two are equal is for whoever made them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import delete, insert, select, text
from sqlalchemy.orm import Session

from storage.records import StoredSound
from storage.schema import SoundRow

_MARK_BYTES: Final = 6
_NEAR: Final = " AND ".join(
    f"abs(((mark >> {8 * number}) & 255) - ((:mark >> {8 * number}) & 255)) <= :most" for number in range(_MARK_BYTES)
)
# All of its first part is in the index, so of the many of equal length no other page is read.
_ALIKE: Final = text(
    f"""
SELECT sound.job_id FROM sound
WHERE options_digest = :digest AND n_after BETWEEN :n_after - :ends AND :n_after + :ends
  AND n_before BETWEEN :n_before - :ends AND :n_before + :ends AND {_NEAR}
  AND EXISTS (SELECT 1 FROM job WHERE job.id = sound.job_id AND job.state = 'done')
  AND EXISTS (SELECT 1 FROM document WHERE document.job_id = sound.job_id)
ORDER BY sound.job_id DESC LIMIT :limit
"""  # noqa: S608  # our own words
)


def keep(session: Session, job_id: int, options_digest: str, sound: StoredSound) -> None:
    """The sound of the job is *sound*, and no other."""
    forget(session, [job_id])
    values = {
        "job_id": job_id,
        "options_digest": options_digest,
        "n_before": sound.n_before,
        "n_after": sound.n_after,
        "mark": sound.mark,
        "content": sound.content,
    }
    session.execute(insert(SoundRow), [values])


def alike(session: Session, options_digest: str, sound: StoredSound, *, ends: int, most: int, limit: int) -> list[int]:
    """The newest *limit* done jobs with these options whose sound may be *sound* and whose document is there.

    Before and after their numbers differ by at most *ends*, in each byte of the mark by at most *most*.
    """
    asked = {"digest": options_digest, "n_after": sound.n_after, "n_before": sound.n_before, "mark": sound.mark}
    found = session.execute(_ALIKE, asked | {"ends": ends, "most": most, "limit": limit})
    return [int(job_id) for (job_id,) in found]


def content(session: Session, job_id: int) -> bytes | None:
    """The fingerprint of the job as its maker packed it."""
    return session.scalars(select(SoundRow.content).where(SoundRow.job_id == job_id)).one_or_none()


def forget(session: Session, job_ids: Sequence[int]) -> None:
    """These jobs have none."""
    session.execute(
        delete(SoundRow).where(SoundRow.job_id.in_(job_ids)), execution_options={"synchronize_session": False}
    )
