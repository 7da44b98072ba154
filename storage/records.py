"""What the job history takes and gives: plain frozen data. Knows no SQL.

Paths are bytes, as the file system has them (`os.fsencode`); times are aware UTC datetimes, cut to milliseconds when
stored; durations are seconds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final


class JobState(StrEnum):
    """Where a job stands. A state change is always an event row too."""

    WAITING = "waiting"
    """Cannot go on yet, the reason says why. With a time it is tried again by itself; else the intake moves it."""
    QUEUED = "queued"
    """Ready to be claimed, at once or from its time on."""
    RUNNING = "running"
    """Claimed by the daemon named in its owner."""
    PUBLISHING = "publishing"
    """The words are there; its output files are being put in place."""
    DONE = "done"
    FAILED = "failed"
    """The recording cannot be transcribed; the reason says why."""
    QUARANTINED = "quarantined"
    """It killed the engine too often."""
    CANCELLED = "cancelled"
    VANISHED = "vanished"
    """The recording went away before its turn."""


LIVE_STATES: Final = frozenset({JobState.WAITING, JobState.QUEUED, JobState.RUNNING, JobState.PUBLISHING})
"""States that a job leaves by itself. A file has at most one job in them."""


class Outcome(StrEnum):
    """How a done job ended."""

    OK = "ok"
    PARTIAL = "partial"
    """Less audio could be decoded than the recording declares."""
    NO_SPEECH = "no_speech"
    DUPLICATE = "duplicate"
    """The same content had been transcribed at the same path before, and its transcript stands: nothing was written."""


class MoveState(StrEnum):
    """Where the going of a done recording to another folder stands."""

    DUE = "due"
    BEGUN = "begun"
    """Some of its files may be there already; its plan says which."""
    MOVED = "moved"
    GIVEN_UP = "given_up"
    """It was not to go any more; the reason says why."""


def _as_int64(value: int) -> int:
    """*value* modulo 2**64 as a signed number: inodes use all 64 bits, time stamps in nanoseconds can need more."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What stat(2) says about a recording; unequal means that it may have changed. Each fits SQLite's integers."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    device: int
    inode: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Fingerprint:
        """The fingerprint of *stat*; equal stat results give equal fingerprints."""
        return cls(
            size_bytes=_as_int64(stat.st_size),
            mtime_ns=_as_int64(stat.st_mtime_ns),
            ctime_ns=_as_int64(stat.st_ctime_ns),
            device=_as_int64(stat.st_dev),
            inode=_as_int64(stat.st_ino),
        )

    def is_of(self, stat: os.stat_result) -> bool:
        """Whether it is the one of *stat*, said quicker than by making that. False for numbers beyond 63 bits."""
        return (
            self.mtime_ns == stat.st_mtime_ns
            and self.size_bytes == stat.st_size
            and self.ctime_ns == stat.st_ctime_ns
            and self.inode == stat.st_ino
            and self.device == stat.st_dev
        )


@dataclass(frozen=True, slots=True)
class Told:
    """What a reason says in any language: a key of a catalogue, and the figures that its sentence has room for."""

    key: str
    figures: Mapping[str, str | float] = field(default_factory=dict[str, "str | float"])


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be made. *options* hold JSON types; *options_digest* is equal where they give the same words.

    *origins* say where options that are no defaults come from, in words. Of jobs with a higher *priority* (1, 0, -1)
    the first comes first; within it, *person* says whose turn it takes, *expected_s* how much audio it may have.
    """

    path: bytes
    inbox: bytes
    fingerprint: Fingerprint
    options: Mapping[str, object]
    options_digest: str
    max_attempts: int = 3
    origins: Mapping[str, object] = field(default_factory=dict[str, object])
    priority: int = 0
    person: bytes = b""
    expected_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Output:
    """One file of a transcript: where it goes, its name until then, and the hash of its content."""

    format: str
    path: bytes
    temp_path: bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """One line of a transcript, times in seconds of the recording. *suspect*: the checks that it failed, if any.

    *speaker*: who says it, empty where nobody could tell.
    """

    start_s: float
    end_s: float
    text: str
    avg_logprob: float
    suspect: tuple[str, ...] = ()
    speaker: str = ""


@dataclass(frozen=True, slots=True)
class StoredSuspect:
    """A stretch of a recording to listen to, times in seconds of it; *rank* 1 is the most doubtful of its transcript.

    *reasons* begin with the worst. The figures are the worst of its lines, None where it has none: NaN counts as that.
    """

    rank: int
    start_s: float
    end_s: float
    reasons: tuple[str, ...]
    text: str
    speech_s: float
    avg_logprob: float | None = None
    compression_ratio: float | None = None
    no_speech_prob: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a recording and what made it. *reason* is empty where there is nothing to explain.

    *same_as* is the job with the same content whose text was used again, or stands; None where the text is new.
    """

    outcome: Outcome
    reason: str
    language: str | None
    language_probability: float | None
    model: str
    device: str
    compute_type: str
    wall_s: float
    n_segments: int
    n_words: int
    same_as: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One job as it stood when it was read.

    *attempt* counts the claims that were not refunded. *lease* counts all claims: with *owner* it tells this claim
    from every other one, so what a forgotten worker writes is refused. *outputs* are those of its last publication.
    *again*: a person asked for it, so what was done before is no reason to do nothing. *told* is *reason* for any
    language, where that can be said. For *priority*, *person* and *expected_s* see `NewJob`.
    """

    id: int
    path: bytes
    inbox: bytes
    fingerprint: Fingerprint
    options: Mapping[str, object]
    options_digest: str
    state: JobState
    outcome: Outcome | None
    reason: str
    attempt: int
    max_attempts: int
    engine_deaths: int
    owner: str | None
    lease: int
    source_sha256: str | None
    audio_s: float | None
    declared_s: float | None
    speech_s: float | None
    wall_s: float | None
    language: str | None
    language_probability: float | None
    model: str | None
    device: str | None
    compute_type: str | None
    n_segments: int | None
    n_words: int | None
    outputs: tuple[Output, ...]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    not_before_at: datetime | None
    again: bool = False
    same_as: int | None = None
    origins: Mapping[str, object] = field(default_factory=dict[str, object])
    told: Told | None = None
    priority: int = 0
    person: bytes = b""
    expected_s: float = 0.0

    @property
    def speed(self) -> float | None:
        """Seconds of audio per second of work; None before the end."""
        if self.audio_s is None or not self.wall_s:
            return None
        return self.audio_s / self.wall_s

    @property
    def result(self) -> Result | None:
        """The result stored with the job, also while it is publishing; None before."""
        if self.outcome is None or self.wall_s is None:
            return None
        return Result(
            outcome=self.outcome,
            reason=self.reason,
            language=self.language,
            language_probability=self.language_probability,
            model=self.model or "",
            device=self.device or "",
            compute_type=self.compute_type or "",
            wall_s=self.wall_s,
            n_segments=self.n_segments or 0,
            n_words=self.n_words or 0,
            same_as=self.same_as,
        )


@dataclass(frozen=True, slots=True)
class Move:
    """A recording on its way to another folder. *reason* is why it is not there yet, or was given up.

    *source* is where it was when its job was done, *target* where it is to be; None while that is not known. *plan* is
    the mover's own, empty until it began.
    """

    job_id: int
    inbox: bytes
    state: MoveState
    source: bytes
    target: bytes | None = None
    plan: bytes = b""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StoredSound:
    """A fingerprint of sound: *content* is its maker's; the numbers find those that may be equal to it.

    *n_before* and *n_after* may differ a little between two of the same sound, *mark* may differ in each of its bytes.
    """

    n_before: int
    n_after: int
    mark: int
    content: bytes


@dataclass(frozen=True, slots=True)
class KnownFile:
    """The newest job of a path, as much of it as a scan needs."""

    path: bytes
    job_id: int
    state: JobState
    fingerprint: Fingerprint
    reason: str
    not_before_at: datetime | None


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the history. *kind* is the new state of the job, or the name of something that is no state."""

    id: int
    at: datetime
    job_id: int | None
    kind: str
    detail: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a transcript; 1 is the first. *author* is who corrected it, empty where the machine made it."""

    number: int
    at: datetime
    author: str


@dataclass(frozen=True, slots=True)
class Correction:
    """A new text of the transcript of a job, made from version *base*. *n_lines* of it were changed."""

    job_id: int
    base: int
    at: datetime
    author: str
    document: bytes
    segments: tuple[StoredSegment, ...]
    suspects: tuple[StoredSuspect, ...]
    n_words: int
    n_lines: int


@dataclass(frozen=True, slots=True)
class Rewrite:
    """How it stands with the files of a corrected transcript.

    *due* is the version that they are to be written of, None: they were. *reason* is why they are not yet.
    *left_alone* are files that a person had changed: the text is in others.
    """

    job_id: int
    inbox: bytes
    due: int | None
    reason: str = ""
    left_alone: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Joint:
    """A transcript of all recordings of *talk*, to be written since the job *due* is done.

    *talk* is a path without the number and the extension. *written* are the hashes of all that was ever meant for
    each path: a file there with one of them is ours.
    """

    talk: bytes
    inbox: bytes
    due: int
    written: Mapping[bytes, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class TrackJobs:
    """A recording at *path*, and its newest job with a transcript; None where it has none."""

    path: bytes
    told: int | None
