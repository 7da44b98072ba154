"""A job history with transcripts in it, for tests of what people ask of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from storage.jobs import JobStore
from storage.records import Fingerprint, Job, NewJob, Outcome, Output, Result, StoredSegment, StoredSuspect

AT = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
INBOX = b"/srv/inbox"


def days(n: float) -> datetime:
    """*n* days after AT."""
    return AT + timedelta(days=n)


def new(path: bytes, inbox: bytes = INBOX) -> NewJob:
    """A job for *path*."""
    return NewJob(path, inbox, Fingerprint(1_000_000, 2, 3, 4, 5), {"model": "base"}, "d")


def result(outcome: Outcome = Outcome.OK, reason: str = "", model: str = "base") -> Result:
    """What came of a recording."""
    return Result(outcome, reason, "de", 0.97, model, "cpu", "int8", 12.0, 8, 200)


def lines(*texts: str, start_s: float = 0.0) -> tuple[StoredSegment, ...]:
    """A line every four seconds."""
    return tuple(
        StoredSegment(start_s + 4.0 * index, start_s + 4.0 * index + 3.5, text, -0.25)
        for index, text in enumerate(texts)
    )


def claim(store: JobStore, path: bytes, at: datetime, inbox: bytes = INBOX) -> Job:
    """A running job for *path*; nothing else may be queued."""
    store.enqueue([new(path, inbox)], at)
    job = store.claim(at)
    assert job is not None
    assert job.path == path
    return job


def publish(
    store: JobStore, job: Job, segments: Sequence[StoredSegment], at: datetime, told: Result | None = None
) -> None:
    """*job* is done at *at* with these lines, one text file, and its first line as the place to listen to."""
    told = told or result()
    store.decoded(job, source_sha256="5" * 64, audio_s=120.0, declared_s=130.0, speech_s=90.0, at=at)
    text = Output("txt", job.path.rpartition(b".")[0] + b".txt", b"/srv/inbox/.tr-0.part", f"{job.id:064d}")
    doubtful = [
        StoredSuspect(1, line.start_s, line.end_s, ("low_confidence",), line.text, 3.0, -0.7) for line in segments[:1]
    ]
    store.publishing(job, [text], told, at, segments, b"packed", doubtful)
    store.finish(job, told, at)


def transcribe(
    store: JobStore,
    path: bytes,
    *texts: str,
    at: datetime = AT,
    told: Result | None = None,
    inbox: bytes = INBOX,
) -> int:
    """The number of a new job for *path* that is done with these lines."""
    job = claim(store, path, at, inbox)
    publish(store, job, lines(*texts), at, told)
    return job.id
