"""The single writer of the job history: every change of a job, with its event, in one transaction."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Generator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from sqlalchemy import Engine, func, insert, select
from sqlalchemy.orm import Session

from storage import (
    adopting,
    claims,
    filing,
    folder_settings,
    forgetting,
    joints,
    moves,
    retention,
    sounds,
    versions,
    wishes,
)
from storage.adopting import Published
from storage.claims import Open
from storage.connection import open_reader, open_writer, storage_errors
from storage.reading import JobQueries
from storage.records import (
    Correction,
    Fingerprint,
    Job,
    JobState,
    Joint,
    Move,
    NewJob,
    Outcome,
    Output,
    Result,
    Rewrite,
    StoredSegment,
    StoredSound,
    StoredSuspect,
    Told,
    Version,
)
from storage.retention import OldJob
from storage.rows import fingerprint_values, output_values, record, result_values, told_values
from storage.schema import JobRow, OutputRow
from storage.segments import rows_of, write_document, write_rows, write_suspects
from storage.snapshots import RESCUE, Snapshots


class JobStore(JobQueries):
    """The job history, to read and to write. Open it once; call it from any thread.

    Writes come one after the other through one connection and are on disk when the call returns. What changes a job
    in hand takes the `Job` that `claim` or `recover` returned, and raises LostJob when it is no longer in that hand.
    """

    def __init__(self, path: Path, writer: Engine, reader: Engine, owner: str) -> None:
        super().__init__(path, reader)
        self._writer = writer
        self._owner = owner

    @classmethod
    def open(cls, path: Path, owner: str) -> Self:
        """The history at *path*, made when missing. *owner* names this process in the jobs that it claims.

        The caller makes sure that there is only one: a lock on the folder, say.
        """
        writer = open_writer(path)
        try:
            return cls(path, writer, open_reader(path), owner)
        except BaseException:
            writer.dispose()
            raise

    def close(self) -> None:
        """End all connections; the last one moves the log into the database file."""
        super().close()
        self._writer.dispose()

    @contextlib.contextmanager
    def _write(self) -> Generator[Session]:
        with (
            storage_errors(self._path, "write"),
            Session(self._writer, autoflush=False, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    # What the intake reports.

    def enqueue(self, jobs: Sequence[NewJob], at: datetime, by: str = "") -> list[int]:
        """Queue *jobs* in one transaction; the job id for each, in their order.

        A waiting or queued job of the same path takes the new fingerprint and options and is queued; one in hand is
        left alone; otherwise a new job is made. Of several jobs for one path the last counts. *by* here and below
        says who asked for it, for the event; empty where nobody did.
        """
        with self._write() as session:
            return filing.enqueue(session, jobs, at, by)

    def wait(self, job: NewJob, reason: str, at: datetime) -> int:
        """Like `enqueue` for one job that cannot be queued yet: it waits until the intake moves it. The job id."""
        with self._write() as session:
            return filing.wait(session, job, reason, at)

    def touched(self, path: bytes, fingerprint: Fingerprint, at: datetime) -> None:
        """The newest job of *path* has this fingerprint: the file changed, its content did not."""
        with self._write() as session:
            filing.touched(session, path, fingerprint, at)

    def vanished(
        self,
        paths: Sequence[bytes],
        at: datetime,
        reason: str = "the recording was removed or renamed before its turn",
    ) -> list[bytes]:
        """The waiting and queued jobs of *paths* are vanished for *reason*; the paths that had one."""
        with self._write() as session:
            return filing.vanished(session, paths, at, reason)

    def keep_settings(
        self, inbox: bytes, changed: Mapping[bytes, Mapping[str, object]], gone: Collection[bytes]
    ) -> None:
        """What folders of *inbox* said last without a mistake: *changed* is new, that of *gone* is forgotten."""
        with self._write() as session:
            folder_settings.keep(session, inbox, changed, gone)

    # A job in hand.

    def claim(self, at: datetime, door: Open | Collection[bytes] = ()) -> Job | None:
        """The job whose turn it is of those that are due at *at*, now running, its attempt counted; None if none is.

        Turns are those of `storage.turns`. Jobs that *door* keeps out are left where they are, or those of the inboxes
        that are named instead.
        """
        with self._write() as session:
            return claims.claim(session, self._owner, at, door if isinstance(door, Open) else Open(door))

    def decoded(
        self,
        job: Job,
        *,
        source_sha256: str,
        audio_s: float,
        declared_s: float | None,
        speech_s: float | None,
        at: datetime,
        sound: StoredSound | None = None,
        layout: str = "",
    ) -> None:
        """What decoding found out is stored with the running job; None for what is not known.

        *layout* says what its channels are, for the event.
        """
        measured = {"audio_s": audio_s, "declared_s": declared_s, "speech_s": speech_s}
        with self._write() as session:
            if sound is not None:
                sounds.keep(session, job.id, job.options_digest, sound)
            claims.change(session, job, measured | {"source_sha256": source_sha256})
            record(session, "decoded", measured | ({"channels": layout} if layout else {}), at, job.id)

    def publishing(
        self,
        job: Job,
        outputs: Sequence[Output],
        result: Result,
        at: datetime,
        segments: Sequence[StoredSegment] = (),
        document: bytes = b"",
        suspects: Sequence[StoredSuspect] = (),
        version: Version | None = None,
    ) -> None:
        """The job is publishing; *outputs* and *result* are on disk before any of the files has its final name.

        So are *segments*, *document* and *suspects*: a crash after this leaves nothing to be read again. They show once
        the job is done. *version*: the text is one that a person corrected.
        """
        lines = rows_of(job.id, segments)
        with self._write() as session:
            claims.change(session, job, result_values(result) | {"state": JobState.PUBLISHING})
            claims.give_up_outputs(session, job.id)
            write_rows(session, job.id, lines)
            write_suspects(session, job.id, suspects)
            if document:
                write_document(session, job.id, document)
            if document and version is not None:
                versions.begin(session, job.id, version, document)
            if outputs:
                session.execute(insert(OutputRow), [output_values(job.id, output) for output in outputs])
            record(session, JobState.PUBLISHING, {"n_outputs": len(outputs)}, at, job.id)

    def finish(self, job: Job, result: Result, at: datetime, *, goes: bool = False, talk: bytes = b"") -> None:
        """The job is done. Files that it wrote in place of those of earlier jobs are now its own alone.

        *goes*: its recording is to go to another folder. *talk*: what it is a recording of, whose transcript is to be
        written anew; empty for none.
        """
        with self._write() as session:
            if talk:
                joints.ask(session, talk, job.inbox, job.id)
            if goes:
                moves.ask(session, job.id, job.inbox, job.path)
            claims.change(session, job, result_values(result) | {"state": JobState.DONE, "finished_at": at})
            if result.outcome is not Outcome.DUPLICATE:
                claims.take_over_outputs(session, job.id)
            detail = {"outcome": result.outcome, "reason": result.reason, "wall_s": result.wall_s}
            record(session, JobState.DONE, detail, at, job.id)

    def joint_intended(self, joint: Joint, outputs: Sequence[Output]) -> None:
        """*outputs* of the transcript of a talk are on disk before any of them has its final name."""
        with self._write() as session:
            joints.intend(session, joint, outputs)

    def joint_done(self, joint: Joint) -> None:
        """It is written, unless another job of the talk was done since it was read."""
        with self._write() as session:
            joints.settle(session, joint)

    def fail(self, job: Job, reason: str, at: datetime, told: Told | None = None) -> None:
        """The job is failed: trying again cannot help. *told* here and below is *reason* for any language."""
        self._end(job, JobState.FAILED, reason, at, told)

    def quarantine(self, job: Job, reason: str, at: datetime, told: Told | None = None) -> None:
        """The job is quarantined: it is not tried again unless a person asks."""
        self._end(job, JobState.QUARANTINED, reason, at, told)

    def cancelled(self, job: Job, reason: str, at: datetime, by: str = "") -> None:
        """The job is cancelled while it was in hand."""
        self._end(job, JobState.CANCELLED, reason, at, by=by)

    def vanish_running(self, job: Job, reason: str, at: datetime) -> None:
        """The job is vanished: its recording went away or changed while it was in hand."""
        self._end(job, JobState.VANISHED, reason, at)

    def _end(
        self, job: Job, state: JobState, reason: str, at: datetime, told: Told | None = None, by: str = ""
    ) -> None:
        values: dict[str, object] = {"state": state, "outcome": None, "reason": reason, "finished_at": at}
        with self._write() as session:
            claims.change(session, job, values | told_values(told))
            claims.give_up_outputs(session, job.id)
            record(session, state, {"reason": reason, "attempt": job.attempt, "by": by}, at, job.id)

    def requeue(
        self, job: Job, reason: str, at: datetime, *, delay_s: float = 0, refund: bool, told: Told | None = None
    ) -> None:
        """The job is queued again, due after *delay_s* (under 2 h); with *refund* the attempt does not count."""
        later = at + timedelta(seconds=delay_s) if delay_s > 0 else None
        self._put_back(job, JobState.QUEUED, reason, at, {"not_before_at": later} | told_values(told), refund=refund)

    def hold(
        self, job: Job, reason: str, at: datetime, *, delay_s: float, refund: bool, told: Told | None = None
    ) -> None:
        """The job waits for something outside of it, and is claimed again after *delay_s* (under 2 h)."""
        later = at + timedelta(seconds=delay_s)
        self._put_back(job, JobState.WAITING, reason, at, {"not_before_at": later} | told_values(told), refund=refund)

    def _put_back(
        self, job: Job, state: JobState, reason: str, at: datetime, more: Mapping[str, object], *, refund: bool
    ) -> None:
        values: dict[str, object] = {"state": state, "reason": reason, "outcome": None, **more}
        if refund:
            values["attempt"] = func.max(JobRow.attempt - 1, 0)
        with self._write() as session:
            claims.change(session, job, values)
            claims.give_up_outputs(session, job.id)
            record(session, state, {"reason": reason, "attempt": job.attempt, "refunded": refund}, at, job.id)

    def engine_death(self, job: Job, at: datetime) -> int:
        """One more engine died with this job in it; how many so far."""
        with self._write() as session:
            claims.change(session, job, {"engine_deaths": JobRow.engine_deaths + 1})
            n_deaths = session.scalars(select(JobRow.engine_deaths).where(JobRow.id == job.id)).one()
            record(session, "engine_died", {"engine_deaths": n_deaths}, at, job.id)
            return n_deaths

    def refresh_fingerprint(self, job: Job, fingerprint: Fingerprint, at: datetime) -> None:
        """The job in hand has this fingerprint: the file changed, its content did not."""
        with self._write() as session:
            claims.change(session, job, fingerprint_values(fingerprint))
            record(session, "touched", {}, at, job.id)

    # What a person corrects in a transcript.

    def correct(self, correction: Correction, talk: bytes = b"") -> int | None:
        """The number of the new version, which the history shows and searches, and whose files are to be written.

        None where it was not made from the newest version, or that is no transcript that stands (any more).
        *talk* is as in `finish`.
        """
        with self._write() as session:
            return versions.add(session, correction, talk)

    def rewrite_intended(self, job_id: int, outputs: Sequence[Output]) -> None:
        """*outputs* of the corrected transcript are on disk before any of them has its final name."""
        with self._write() as session:
            versions.intend(session, job_id, outputs)

    def rewrite_done(self, rewrite: Rewrite, outputs: Sequence[Output], at: datetime) -> None:
        """They are in place, unless there are none. It is due no more, if no later version came since it was read."""
        with self._write() as session:
            versions.settle(session, rewrite, outputs, at)

    def put_off_rewrite(self, job_id: int, reason: str) -> None:
        """They cannot be written at present, for *reason*."""
        with self._write() as session:
            versions.put_off(session, job_id, reason)

    # The going of a recording that is done.

    def begin_move(self, job_id: int, target: bytes, plan: bytes) -> None:
        """What its mover is about to do is on disk: a crash after this leaves nothing between two folders."""
        with self._write() as session:
            moves.begin(session, job_id, target, plan)

    def put_off_move(self, job_id: int, reason: str, at: datetime) -> None:
        """It is tried again later, for *reason*."""
        with self._write() as session:
            moves.put_off(session, job_id, reason, at)

    def give_up_move(self, job_id: int, reason: str, at: datetime) -> None:
        """The recording stays where it is, for *reason*."""
        with self._write() as session:
            moves.give_up(session, job_id, reason, at)

    def end_move(self, move: Move, places: Mapping[bytes, bytes], fingerprint: Fingerprint, at: datetime) -> None:
        """The files of *move* are where *places* says, from each path to the new one; the history knows them there.

        *fingerprint* is that of the recording now.
        """
        with self._write() as session:
            moves.end(session, move, places, fingerprint, at)

    # Start, and what a person asks for.

    def recover(self, at: datetime) -> list[Job]:
        """Nothing is running for other owners any more; the jobs that they left publishing, for the caller to settle.

        Their running jobs are queued again, the attempt given back: what runs there runs in other processes, so the end
        of the service is no fault of theirs, and many wait in hand.
        """
        with self._write() as session:
            return claims.recover(session, self._owner, at)

    def retry(self, job_ids: Collection[int], at: datetime, by: str = "") -> list[int]:
        """Those of *job_ids* that are queued now, as new: failed, quarantined, cancelled, vanished or waiting before.

        A job whose recording has another live job, or a newer one that ended, is left as it is.
        """
        with self._write() as session:
            return wishes.retry(session, job_ids, at, by)

    def redo(self, jobs: Sequence[NewJob], at: datetime, by: str = "") -> list[int | None]:
        """A new job for each, which transcribes again even if nothing changed; None where its file has a live job.

        What the earlier jobs found stays in the history.
        """
        with self._write() as session:
            return filing.redo(session, jobs, at, by)

    def cancel(self, job_ids: Collection[int], at: datetime, by: str = "") -> list[int]:
        """Those of *job_ids* that are cancelled now; waiting or queued before."""
        with self._write() as session:
            return wishes.cancel(session, job_ids, at, by)

    def prioritize(self, job_ids: Collection[int], priority: int, at: datetime, by: str = "") -> list[int]:
        """Those of *job_ids* that have *priority* (1 high, 0 normal, -1 low) from now on; waiting or queued before.

        Each gets to the end of its line of that priority.
        """
        with self._write() as session:
            return wishes.prioritize(session, job_ids, priority, at, by)

    def hasten(self, inbox: bytes, at: datetime) -> int:
        """Jobs of *inbox* that wait for a time are due at *at*: what they waited for is there. How many."""
        with self._write() as session:
            return filing.hasten(session, inbox, at)

    # What the rules of retention let go.

    def remove_events(self, event_ids: Sequence[int]) -> None:
        """These events are gone."""
        with self._write() as session:
            retention.remove_events(session, event_ids)

    def remove_texts(self, job_ids: Sequence[int]) -> None:
        """These jobs have no text in the history any more; the files that they wrote are not touched."""
        with self._write() as session:
            retention.remove_texts(session, job_ids)

    def remove_jobs(self, jobs: Sequence[OldJob]) -> int:
        """See `storage.retention.remove_jobs`."""
        with self._write() as session:
            return retention.remove_jobs(session, jobs)

    def forget(self, inbox: bytes, *, live: bool = False) -> list[int]:
        """The jobs of *inbox* were never there; those in a live state only where asked. Their ids, which come again."""
        with self._write() as session:
            return forgetting.forget(session, inbox, live=live)

    def forget_one(self, job_id: int) -> bool:
        """That job was never there; False where it has not ended. Its number may come again."""
        with self._write() as session:
            return forgetting.forget_one(session, job_id)

    def adopt(self, published: Published, at: datetime, *, done: bool) -> int | None:
        """A job that this history does not know, or knows from before its publication, is *done* or publishing.

        The job id: its own, unless another job has that here. None where the history knows as much already, or where
        the recording has another live job.
        """
        with self._write() as session:
            return adopting.adopt(session, published, at, done=done)

    def rescue(self) -> Path:
        """A copy of the history through the connection that is open, whatever lies at its path now; its path."""
        raw = self._writer.raw_connection()
        try:
            connection = raw.driver_connection
            assert isinstance(connection, sqlite3.Connection)
            return Snapshots.beside(self._path).take(RESCUE, connection)
        finally:
            raw.close()

    def note(self, kind: str, detail: Mapping[str, object], at: datetime, job_id: int | None = None) -> None:
        """An event that is no state change."""
        with self._write() as session:
            record(session, kind, detail, at, job_id)
