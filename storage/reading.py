"""Questions to the job history. Reads only, beside a running writer or without one."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Collection, Generator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Self

from sqlalchemy import Engine, Select, func, select, text
from sqlalchemy.orm import Session, aliased

from storage import (
    conditions,
    exporting,
    folder,
    folder_settings,
    joints,
    lately,
    moves,
    retention,
    searching,
    sounds,
    versions,
)
from storage.connection import open_reader, storage_errors
from storage.lately import Blocked, Ended, Held, Queued
from storage.records import (
    Event,
    Fingerprint,
    Job,
    JobState,
    Joint,
    KnownFile,
    Move,
    Outcome,
    Output,
    Rewrite,
    StoredSound,
    TrackJobs,
    Version,
)
from storage.retention import OldJob
from storage.rows import event_of, job_of, newest_row
from storage.schema import WITH_CONTENT, DocumentRow, EventRow, FileRow, JobRow, OutputRow
from storage.searching import Hit
from storage.standing import Standing, standing


class JobQueries:
    """What can be asked of a job history. Usable from many threads; each call sees one consistent state."""

    def __init__(self, path: Path, engine: Engine) -> None:
        self._path = path
        self._reader = engine

    def close(self) -> None:
        """End all connections. Safe to call again."""
        self._reader.dispose()

    @contextlib.contextmanager
    def _read(self) -> Generator[Session]:
        with storage_errors(self._path, "read"), Session(self._reader) as session:
            yield session

    def job(self, job_id: int) -> Job | None:
        """The job with this id."""
        with self._read() as session:
            row = session.get(JobRow, job_id)
            return None if row is None else job_of(row)

    def jobs(self, states: Collection[JobState] | None = None, limit: int = 50, path: bytes | None = None) -> list[Job]:
        """The newest *limit* jobs, newest first, of *states* and of *path* where given."""
        newest = select(JobRow).order_by(JobRow.id.desc()).limit(limit)
        if path is not None:
            newest = newest.join(JobRow.file).where(FileRow.path == path)
        # State by state: together, the planner would sort all that match (125 ms at 100 000).
        queries = [newest] if states is None else [newest.where(JobRow.state == state) for state in set(states)]
        with self._read() as session:
            rows = [row for query in queries for row in session.scalars(query)]
            rows.sort(key=lambda row: row.id, reverse=True)
            return [job_of(row) for row in rows[:limit]]

    def newest(self, path: bytes) -> Job | None:
        """The job of *path* that was made last."""
        with self._read() as session:
            row = newest_row(session, path)
            return None if row is None else job_of(row)

    def newest_of(self, paths: Sequence[bytes]) -> dict[bytes, Job]:
        """The job that was made last of each of *paths*, of a few hundred at most; those without one are left out."""
        any_job = aliased(JobRow)
        newest = select(func.max(any_job.id)).where(any_job.file_id == FileRow.id).correlate(FileRow)
        query = select(JobRow).join(JobRow.file).where(FileRow.path.in_(paths), JobRow.id == newest.scalar_subquery())
        with self._read() as session:
            return {row.file.path: job_of(row) for row in session.scalars(query)}

    def last_done(self, path: bytes) -> Job | None:
        """The newest job of *path* that made a transcript of its own: done, and no duplicate."""
        query = (
            select(JobRow)
            .join(JobRow.file)
            .where(FileRow.path == path, JobRow.state == JobState.DONE, JobRow.outcome != Outcome.DUPLICATE)
            .order_by(JobRow.id.desc())
            .limit(1)
        )
        with self._read() as session:
            row = session.scalars(query).one_or_none()
            return None if row is None else job_of(row)

    def has_size(self, size_bytes: int, options_digest: str) -> bool:
        """Whether any transcript with these options, whose `document` is there, is of a recording of *size_bytes*."""
        with self._read() as session:
            return session.scalars(_same(size_bytes, options_digest).limit(1)).one_or_none() is not None

    def transcript_of(self, source_sha256: str, size_bytes: int, options_digest: str) -> int | None:
        """The newest done job of this content with these options whose `document` is there."""
        query = _same(size_bytes, options_digest).where(JobRow.source_sha256 == source_sha256)
        with self._read() as session:
            return session.scalars(query.order_by(JobRow.id.desc()).limit(1)).one_or_none()

    def document(self, job_id: int) -> bytes | None:
        """The document of a job as it was stored."""
        with self._read() as session:
            return session.scalars(select(DocumentRow.content).where(DocumentRow.job_id == job_id)).one_or_none()

    def versions(self, job_id: int) -> list[Version]:
        """The versions of the transcript of the job, the first first; none where nobody corrected it."""
        with self._read() as session:
            return versions.of_job(session, job_id)

    def version(self, job_id: int, number: int) -> bytes | None:
        """The document of that version as it was stored."""
        with self._read() as session:
            return versions.content(session, job_id, number)

    def corrected(self, job_ids: Sequence[int]) -> set[int]:
        """Those of *job_ids*, a few hundred at most, whose text is a person's."""
        with self._read() as session:
            return versions.corrected_of(session, job_ids)

    def rewrites_due(self, inbox: bytes) -> list[Rewrite]:
        """The corrected transcripts of recordings of *inbox* whose files are to be written."""
        with self._read() as session:
            return versions.due(session, inbox)

    def rewrite_of(self, job_id: int) -> Rewrite | None:
        """How it stands with the files of the transcript of the job; None where nobody corrected that."""
        with self._read() as session:
            return versions.rewrite_of(session, job_id)

    def may_rewrite(self, job_id: int) -> bool | None:
        """Whether its files may be written now; None where another transcript of its recording took its place."""
        with self._read() as session:
            return None if versions.is_over(session, job_id) else versions.is_wanted(session, job_id)

    def joints_due(self, inbox: bytes) -> list[Joint]:
        """The transcripts of talks in *inbox* that are to be written anew."""
        with self._read() as session:
            return joints.due(session, inbox)

    def tracks(self, beginnings: Sequence[bytes]) -> list[TrackJobs]:
        """See `storage.joints.tracks`."""
        with self._read() as session:
            return joints.tracks(session, beginnings)

    def sounds_alike(self, options_digest: str, sound: StoredSound, *, ends: int, most: int, limit: int) -> list[int]:
        """See `storage.sounds.alike`."""
        with self._read() as session:
            return sounds.alike(session, options_digest, sound, ends=ends, most=most, limit=limit)

    def sound(self, job_id: int) -> bytes | None:
        """The fingerprint of the sound of a job as it was stored."""
        with self._read() as session:
            return sounds.content(session, job_id)

    def moves_waiting(self, inbox: bytes, limit: int, after: int = 0) -> list[Move]:
        """The first *limit* recordings of *inbox* that are to go to another folder, of jobs above *after*."""
        with self._read() as session:
            return moves.waiting(session, inbox, limit, after)

    def move_of(self, job_id: int) -> Move | None:
        """Where the recording of the job went or is to go, and whether; None where it stays."""
        with self._read() as session:
            return moves.of_job(session, job_id)

    def moved_from(self, path: bytes) -> Move | None:
        """The last recording that was at *path* and went to another folder."""
        with self._read() as session:
            return moves.gone_from(session, path)

    def has_moved_to(self, folder: bytes) -> bool:
        """Whether any recording went to *folder*."""
        with self._read() as session:
            return moves.any_in(session, folder)

    def may_move(self, job_id: int) -> bool:
        """Whether no later job is of the recording of the job."""
        with self._read() as session:
            return moves.is_newest(session, job_id)

    def transcripts_of(self, job_id: int) -> list[Output]:
        """The files that are transcripts of the recording of the job at present."""
        with self._read() as session:
            return moves.outputs_of(session, job_id)

    def events(self, job_id: int) -> list[Event]:
        """The events of one job, in the order in which they happened."""
        query = select(EventRow).where(EventRow.job_id == job_id).order_by(EventRow.id)
        with self._read() as session:
            return [event_of(row) for row in session.scalars(query)]

    def counts(self) -> dict[JobState, int]:
        """The number of jobs in every state; zero where there are none."""
        query = select(JobRow.state, func.count()).group_by(JobRow.state)
        with self._read() as session:
            return dict.fromkeys(JobState, 0) | dict(session.execute(query).all())

    def oldest_queued_at(self) -> datetime | None:
        """When the job that has been queued the longest was made."""
        query = select(JobRow.created_at).where(JobRow.state == JobState.QUEUED).order_by(JobRow.id).limit(1)
        with self._read() as session:
            return session.scalars(query).one_or_none()

    def oldest_queued(self, inboxes: Collection[bytes], at: datetime) -> Queued | None:
        """See `storage.lately.oldest_queued`."""
        with self._read() as session:
            return lately.oldest_queued(session, inboxes, at)

    def oldest_held(self, inboxes: Collection[bytes], but_for: Collection[str] = ()) -> Held | None:
        """See `storage.lately.oldest_held`."""
        with self._read() as session:
            return lately.oldest_held(session, inboxes, but_for)

    def ended_since(self, since: datetime, limit: int, but_not_in: bytes = b"") -> list[Ended]:
        """See `storage.lately.ended_since`."""
        with self._read() as session:
            return lately.ended_since(session, since, limit, but_not_in)

    def blocked(self, job_ids: Sequence[int]) -> list[Blocked]:
        """See `storage.lately.blocked`."""
        with self._read() as session:
            return lately.blocked(session, job_ids)

    def counts_of(self, inbox: bytes) -> dict[JobState, int]:
        """See `storage.lately.counts_of`."""
        with self._read() as session:
            return lately.counts_of(session, inbox)

    def count_of(self, state: JobState) -> int:
        """See `storage.lately.count_of`."""
        with self._read() as session:
            return lately.count_of(session, state)

    def mean_expected_s(self, but_not_in: bytes = b"") -> float | None:
        """See `storage.lately.mean_expected_s`."""
        with self._read() as session:
            return lately.mean_expected_s(session, but_not_in)

    def standing(self, job_id: int) -> Standing | None:
        """See `storage.standing.standing`."""
        with self._read() as session:
            return standing(lambda query, values: session.execute(text(query), values).all(), job_id)

    def waiting_in(self, inbox: bytes, limit: int) -> list[Job]:
        """See `storage.folder.waiting`."""
        with self._read() as session:
            return folder.waiting(session, inbox, limit)

    def n_waiting_in(self, inbox: bytes) -> int:
        """See `storage.folder.n_waiting`."""
        with self._read() as session:
            return folder.n_waiting(session, inbox)

    def done_lately_in(self, inbox: bytes, limit: int) -> list[Job]:
        """See `storage.folder.done_lately`."""
        with self._read() as session:
            return folder.done_lately(session, inbox, limit)

    def failed_in(self, inbox: bytes, limit: int) -> list[Job]:
        """See `storage.folder.failed`."""
        with self._read() as session:
            return folder.failed(session, inbox, limit)

    def folder_settings(self, inbox: bytes) -> dict[bytes, Mapping[str, object]]:
        """What the settings in folders of *inbox* said when they were last without a mistake, by folder."""
        with self._read() as session:
            return folder_settings.kept(session, inbox)

    def known_files(self, inbox: bytes) -> list[KnownFile]:
        """The newest job of every path of *inbox*."""
        any_job = aliased(JobRow)
        newest = select(func.max(any_job.id)).where(any_job.file_id == FileRow.id).correlate(FileRow)
        query = (
            select(
                FileRow.path,
                JobRow.id,
                JobRow.state,
                JobRow.size_bytes,
                JobRow.mtime_ns,
                JobRow.ctime_ns,
                JobRow.source_device,
                JobRow.source_inode,
                JobRow.reason,
                JobRow.not_before_at,
            )
            .join(JobRow, JobRow.id == newest.scalar_subquery())
            .where(FileRow.inbox == inbox)
        )
        with self._read() as session:
            return [
                KnownFile(path, job_id, state, Fingerprint(*stat), reason, not_before_at)
                for path, job_id, state, *stat, reason, not_before_at in session.execute(query)
            ]

    def written(self, recording: bytes) -> dict[bytes, frozenset[str]]:
        """Every path that was ever meant for a transcript of *recording*, with the SHA-256s meant for it.

        A file there with one of these hashes is ours, and nobody has edited it. Publications that were given up
        half-way count too: some of their files may be in place.
        """
        query = (
            select(OutputRow.path, OutputRow.sha256)
            .join(JobRow, JobRow.id == OutputRow.job_id)
            .join(JobRow.file)
            .where(FileRow.path == recording)
        )
        found: defaultdict[bytes, set[str]] = defaultdict(set)
        with self._read() as session:
            for path, sha256 in session.execute(query):
                found[path].add(sha256)
        return {path: frozenset(hashes) for path, hashes in found.items()}

    def search(
        self, words: Sequence[str], limit: int = 20, folder: bytes | None = None, since: datetime | None = None
    ) -> list[Hit]:
        """Lines of transcripts with all *words*; see `storage.searching.search`. Raises NothingToFind."""
        with self._read() as session:
            return searching.search(
                lambda query, values: session.execute(text(query), values), words, limit, folder, since
            )

    def matching(self, condition: str) -> list[int]:
        """The ended jobs that *condition*, SQL on v_jobs, is true of; see `storage.conditions`. Raises BadCondition."""
        with self._read() as session:
            return conditions.matching(session, condition)

    def view(self, name: str, since: datetime | None = None) -> Generator[tuple[object, ...]]:
        """The names of the columns of a view, then its rows, as they are read; from *since* on where given."""
        with self._read() as session:
            yield from exporting.rows(session, name, since)

    def old_events(self, before: datetime, limit: int) -> list[int]:
        """See `storage.retention.old_events`."""
        with self._read() as session:
            return retention.old_events(session, before, limit)

    def n_old_events(self, before: datetime) -> int:
        """See `storage.retention.n_old_events`."""
        with self._read() as session:
            return retention.n_old_events(session, before)

    def old_texts(self, keep: int, after: int, limit: int) -> list[int]:
        """See `storage.retention.old_texts`."""
        with self._read() as session:
            return retention.old_texts(session, keep, after, limit)

    def old_jobs(self, before: datetime, after: int, limit: int) -> list[OldJob]:
        """See `storage.retention.old_jobs`."""
        with self._read() as session:
            return retention.old_jobs(session, before, after, limit)


def _same(size_bytes: int, options_digest: str) -> Select[int]:
    return (
        select(JobRow.id)
        .join(DocumentRow, DocumentRow.job_id == JobRow.id)
        .where(WITH_CONTENT, JobRow.size_bytes == size_bytes, JobRow.options_digest == options_digest)
        .where(JobRow.state == JobState.DONE)
    )


class JobReader(JobQueries):
    """A job history opened read-only, while a service writes it or while none runs."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """A reader of the existing database *path*."""
        return cls(path, open_reader(path))
