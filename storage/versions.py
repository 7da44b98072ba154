"""Versions of a transcript that people corrected, and which of its files are to be written anew. Inside a transaction.

Version 1 is the machine's, every later one a person's; none is ever changed. What the history says of a transcript
elsewhere (`document`, `segment`, `suspect`) is its newest version. That its files are to be written is committed with
the version, so no crash forgets it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, cast
from urllib.parse import quote_from_bytes, unquote_to_bytes

from sqlalchemy import delete, exists, func, insert, select, update
from sqlalchemy.orm import Session, aliased

from storage import joints
from storage.records import Correction, JobState, MoveState, Outcome, Output, Rewrite, Version
from storage.rows import output_values, record
from storage.schema import TO_WRITE, DocumentRow, JobRow, MoveRow, OutputRow, RewriteRow, VersionRow
from storage.segments import remove_segments, write_document, write_segments, write_suspects

_APART: Final = {"synchronize_session": False}


def of_job(session: Session, job_id: int) -> list[Version]:
    """The versions of the transcript of the job, the first first; none where nobody corrected it."""
    query = select(VersionRow.number, VersionRow.at, VersionRow.author).where(VersionRow.job_id == job_id)
    return [Version(*row) for row in session.execute(query.order_by(VersionRow.number))]


def content(session: Session, job_id: int, number: int) -> bytes | None:
    """The document of that version."""
    if number == 1 and _newest(session, job_id) == 0:
        return session.scalars(select(DocumentRow.content).where(DocumentRow.job_id == job_id)).one_or_none()
    query = select(VersionRow.content).where(VersionRow.job_id == job_id, VersionRow.number == number)
    return session.scalars(query).one_or_none()


def corrected_of(session: Session, job_ids: Sequence[int]) -> set[int]:
    """Those of *job_ids* whose text is a person's."""
    query = select(VersionRow.job_id).where(VersionRow.job_id.in_(job_ids), VersionRow.author != "").distinct()
    return set(session.scalars(query))


def begin(session: Session, job_id: int, version: Version, packed: bytes) -> None:
    """The transcript of the job begins with a text that a person wrote for another one."""
    session.execute(insert(VersionRow), [_values(job_id, version, packed)])


def add(session: Session, correction: Correction, talk: bytes = b"") -> int | None:
    """The number of the new version, whose files are to be written; None where *base* is not the newest one.

    Or where the job is not done, a later one of its recording has a transcript, or one is being put in place: that has
    looked for corrections already. *talk*: see `JobStore.finish`.
    """
    row = session.get(JobRow, correction.job_id)
    document = session.get(DocumentRow, correction.job_id)
    if row is None or document is None or not _is_newest(session, row):
        return None
    newest = _newest(session, row.id)
    if correction.base != max(1, newest) or _is_publishing(session, row.file_id):
        return None
    if not newest:
        first = Version(1, row.finished_at or correction.at, "")
        session.execute(insert(VersionRow), [_values(row.id, first, document.content)])
    number = correction.base + 1
    version = Version(number, correction.at, correction.author)
    session.execute(insert(VersionRow), [_values(row.id, version, correction.document)])
    _show(session, correction)
    _ask(session, row.id, row.file.inbox, number)
    if talk:
        joints.ask(session, talk, row.file.inbox, row.id)
    detail = {"version": number, "n_lines": correction.n_lines, "by": correction.author}
    record(session, "corrected", detail, correction.at, row.id)
    return number


def _show(session: Session, correction: Correction) -> None:
    """The history says it wherever it says the text."""
    job_id = correction.job_id
    session.expunge_all()
    remove_segments(session, job_id)
    write_segments(session, job_id, correction.segments)
    write_suspects(session, job_id, correction.suspects)
    write_document(session, job_id, correction.document)
    counts = {"n_segments": len(correction.segments), "n_words": correction.n_words}
    session.execute(update(JobRow).where(JobRow.id == job_id).values(**counts), execution_options=_APART)


def _is_newest(session: Session, row: JobRow) -> bool:
    if row.state != JobState.DONE or row.outcome == Outcome.DUPLICATE:
        return False
    later = aliased(JobRow)
    has_text = later.state == JobState.DONE, later.outcome != Outcome.DUPLICATE
    return not session.scalar(select(exists().where(later.file_id == row.file_id, later.id > row.id, *has_text)))


def _is_publishing(session: Session, file_id: int) -> bool:
    return bool(session.scalar(select(exists().where(JobRow.file_id == file_id, JobRow.state == JobState.PUBLISHING))))


def _newest(session: Session, job_id: int) -> int:
    """Its number; 0 where nobody corrected it."""
    return session.scalars(select(func.max(VersionRow.number)).where(VersionRow.job_id == job_id)).one() or 0


def _values(job_id: int, version: Version, packed: bytes) -> dict[str, object]:
    return {
        "job_id": job_id,
        "number": version.number,
        "at": version.at,
        "author": version.author,
        "content": packed,
    }


# Files.


def _ask(session: Session, job_id: int, inbox: bytes, number: int) -> None:
    if session.get(RewriteRow, job_id) is None:
        session.execute(insert(RewriteRow), [{"job_id": job_id, "inbox": inbox, "due": number, "left_alone": {}}])
    else:
        _change(session, job_id, inbox=inbox, due=number, reason="")


def due(session: Session, inbox: bytes) -> list[Rewrite]:
    """The transcripts of recordings of *inbox* whose files are to be written."""
    query = select(RewriteRow).where(TO_WRITE, RewriteRow.inbox == inbox).order_by(RewriteRow.job_id)
    return [_rewrite_of(row) for row in session.scalars(query)]


def rewrite_of(session: Session, job_id: int) -> Rewrite | None:
    """How it stands with the files of a corrected transcript; None where nobody corrected it."""
    row = session.get(RewriteRow, job_id)
    return None if row is None else _rewrite_of(row)


def is_wanted(session: Session, job_id: int) -> bool:
    """Whether its files are still those of its recording, with nobody at work on that, and where they stay."""
    row = session.get(JobRow, job_id)
    if row is None or not _is_newest(session, row):
        return False
    live = JobRow.state.in_((JobState.RUNNING, JobState.PUBLISHING))
    going = exists().where(MoveRow.job_id == JobRow.id, MoveRow.state.in_((MoveState.DUE, MoveState.BEGUN)))
    return not session.scalar(select(exists().where(JobRow.file_id == row.file_id, live | going)))


def is_over(session: Session, job_id: int) -> bool:
    """Whether another transcript of its recording took its place."""
    row = session.get(JobRow, job_id)
    return row is None or not _is_newest(session, row)


def intend(session: Session, job_id: int, outputs: Sequence[Output]) -> None:
    """*outputs* are on disk before any of them has its final name; from now on they count as ours."""
    session.execute(insert(OutputRow), [output_values(job_id, output) | {"current": 0} for output in outputs])


def settle(session: Session, rewrite: Rewrite, outputs: Sequence[Output], at: datetime) -> None:
    """*outputs* have their names, and are the files of the job, beside those that *rewrite* left alone.

    It is due no more, unless a later version came since it was read.
    """
    job_id = rewrite.job_id
    if outputs:
        ours = OutputRow.job_id == job_id
        kept = OutputRow.path.not_in(rewrite.left_alone)
        session.execute(
            update(OutputRow).where(ours, OutputRow.current == 1, kept).values(current=0), execution_options=_APART
        )
        temp_paths = [output.temp_path for output in outputs]
        session.execute(
            update(OutputRow).where(ours, OutputRow.temp_path.in_(temp_paths)).values(current=1),
            execution_options=_APART,
        )
        left = [os.fsdecode(path) for path in rewrite.left_alone]
        files = [os.fsdecode(output.path) for output in outputs]
        record(session, "rewritten", {"version": rewrite.due, "files": files, "left_alone": left or ""}, at, job_id)
        _change(session, job_id, left_alone={"paths": [quote_from_bytes(path) for path in rewrite.left_alone]})
    _change(session, job_id, reason=rewrite.reason)
    session.execute(
        update(RewriteRow).where(RewriteRow.job_id == job_id, RewriteRow.due == rewrite.due).values(due=None),
        execution_options=_APART,
    )


def put_off(session: Session, job_id: int, reason: str) -> None:
    """Its files cannot be written at present, for *reason*."""
    _change(session, job_id, reason=reason)


def forget(session: Session, job_ids: Sequence[int]) -> None:
    """Nothing is known of versions of the transcripts of these jobs."""
    for row in (VersionRow, RewriteRow):
        session.execute(delete(row).where(row.job_id.in_(job_ids)), execution_options=_APART)


def _change(session: Session, job_id: int, **values: object) -> None:
    session.execute(update(RewriteRow).where(RewriteRow.job_id == job_id).values(**values), execution_options=_APART)


def _rewrite_of(row: RewriteRow) -> Rewrite:
    kept = cast("Mapping[str, Sequence[str]]", row.left_alone)
    return Rewrite(row.job_id, row.inbox, row.due, row.reason, tuple(map(unquote_to_bytes, kept.get("paths", ()))))
