"""The lines of transcripts and what is doubtful in them, written with their publication.

`storage.scripts` says how the lines are indexed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from sqlalchemy import delete, insert, text
from sqlalchemy.orm import Session

from storage.records import StoredSegment, StoredSuspect
from storage.schema import DocumentRow, SegmentRow, SuspectRow
from storage.scripts import spaced

# By the driver itself: SQLAlchemy would look at every value of thousands of rows while it holds the writer.
_INSERT: Final = (
    "INSERT INTO segment (job_id, number, start_s, end_s, text, spaced, avg_logprob, suspect, speaker)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_INDEX: Final = text(
    "INSERT INTO segment_search (rowid, text)"
    " SELECT segment.id, segment_words.text FROM segment JOIN segment_words ON segment_words.id = segment.id"
    " WHERE segment.job_id = :job_id ORDER BY segment.id"
)
_UNINDEX: Final = text(
    "INSERT INTO segment_search (segment_search, rowid, text)"
    " SELECT 'delete', segment.id, segment_words.text"
    " FROM segment JOIN segment_words ON segment_words.id = segment.id WHERE segment.job_id = :job_id"
)


Rows = Sequence[tuple[object, ...]]


def rows_of(job_id: int, segments: Sequence[StoredSegment]) -> Rows:
    """*segments* as `write_rows` takes them, numbered from 1; made before the one writer is taken."""
    return [_values(job_id, *numbered) for numbered in enumerate(segments, start=1)]


def write_rows(session: Session, job_id: int, rows: Rows) -> None:
    """The transcript of the job is *rows* and can be searched; an earlier one of it is gone."""
    remove_segments(session, job_id)
    if rows:
        session.connection().exec_driver_sql(_INSERT, list(rows))
        session.execute(_INDEX, {"job_id": job_id})


def write_segments(session: Session, job_id: int, segments: Sequence[StoredSegment]) -> None:
    """Both of the above at once."""
    write_rows(session, job_id, rows_of(job_id, segments))


def write_suspects(session: Session, job_id: int, suspects: Sequence[StoredSuspect]) -> None:
    """The stretches to listen to of the job are *suspects*. After its segments, as its document."""
    if suspects:
        ordered = sorted(suspects, key=lambda suspect: suspect.start_s)
        values = [_suspect(job_id, *numbered) for numbered in enumerate(ordered, start=1)]
        session.execute(insert(SuspectRow), values)


def write_document(session: Session, job_id: int, content: bytes) -> None:
    """The document of the job is *content*. After its segments: those that were there go with an earlier one."""
    session.execute(insert(DocumentRow), [{"job_id": job_id, "content": content}])


def remove_segments(session: Session, job_id: int) -> None:
    """The history knows no text and no document of the job, and of nothing that is doubtful in them."""
    session.execute(_UNINDEX, {"job_id": job_id})
    for row in (SegmentRow, SuspectRow, DocumentRow):
        session.execute(delete(row).where(row.job_id == job_id), execution_options={"synchronize_session": False})


def _suspect(job_id: int, number: int, suspect: StoredSuspect) -> dict[str, object]:
    changed = {"reasons": " ".join(suspect.reasons), "text": _spoken(suspect.text)}
    return {**asdict(suspect), **changed, "job_id": job_id, "number": number}


def _spoken(text: str) -> str:
    """*text* without what SQLite cannot hold, and without the marks of a search."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\x02", "").replace("\x03", "")


def _values(job_id: int, number: int, segment: StoredSegment) -> tuple[object, ...]:
    spoken = _spoken(segment.text)
    indexed = spaced(spoken)
    return (
        *(job_id, number, segment.start_s, segment.end_s, spoken, None if indexed == spoken else indexed),
        # SQLite takes NaN for NULL; what a model is that unsure of has no probability.
        *(-math.inf if math.isnan(segment.avg_logprob) else segment.avg_logprob, " ".join(segment.suspect)),
        _spoken(segment.speaker),
    )
