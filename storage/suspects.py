"""Where a person should listen, in the newest transcripts. Reads only, whoever asks the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from storage.records import StoredSuspect
from storage.searching import Execute
from storage.texts import utc_text

ALL: Final = "suspect"

# Rows are numbered in the order of publication, so SQLite walks backwards and stops at the limit.
_QUERY: Final = """
SELECT job.id, file.path, job.finished_at, suspect.rank, suspect.start_s, suspect.end_s, suspect.reasons, suspect.text,
       suspect.speech_s, suspect.avg_logprob, suspect.compression_ratio, suspect.no_speech_prob
FROM {source} AS suspect
CROSS JOIN job ON job.id = suspect.job_id
CROSS JOIN file ON file.id = job.file_id
WHERE job.state = 'done'
  AND (:since IS NULL OR job.finished_at >= :since)
  AND (:folder IS NULL OR substr(file.path, 1, length(:folder)) = :folder)
  AND NOT EXISTS (
      SELECT 1 FROM job AS later
      WHERE later.file_id = job.file_id AND later.id > job.id AND +later.state = 'done' AND later.outcome <> 'duplicate'
  )
ORDER BY suspect.id DESC
LIMIT :limit
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch to listen to, and the recording that it is in."""

    job_id: int
    path: bytes
    finished_at: datetime
    suspect: StoredSuspect


def suspects(
    execute: Execute, limit: int, folder: bytes | None = None, since: datetime | None = None, source: str = ALL
) -> list[Place]:
    """The newest *limit*, the recording that was transcribed last first, those of a recording in order of time.

    *folder* and what is below it; transcripts done at *since* or later. *source* is the table, or a question for those
    of its rows that are looked at.
    """
    found = execute(
        _QUERY.format(source=source),
        {
            "folder": folder.rstrip(b"/") + b"/" if folder is not None else None,
            "since": utc_text(since) if since is not None else None,
            "limit": limit,
        },
    )
    places = [
        Place(job_id, path, datetime.fromisoformat(at), _suspect(rank, start_s, end_s, reasons, *rest))
        for job_id, path, at, rank, start_s, end_s, reasons, *rest in found
    ]
    order: dict[int, int] = {}
    for place in places:
        order.setdefault(place.job_id, len(order))
    return sorted(places, key=lambda place: (order[place.job_id], place.suspect.start_s))


def _suspect(
    rank: int, start_s: float, end_s: float, reasons: str, text: str, speech_s: float, *figures: float | None
) -> StoredSuspect:
    return StoredSuspect(rank, start_s, end_s, tuple(reasons.split()), text, speech_s, *figures)
