"""A job in hand, and what it needs to be done: the seams between the steps of `daemon.transcription`."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import Protocol, TypeVar

from daemon.ahead import Ahead
from daemon.clock import utc_now
from daemon.decode.pool import DecodePool
from daemon.engine.client import Engine
from daemon.errors import JobCancelled
from daemon.outputs.kept import KeptDocuments
from daemon.shares import Shares, Touch
from daemon.sidecars import Sidecars
from daemon.source import Source
from storage.jobs import JobStore
from storage.records import Job, Outcome


@dataclass(slots=True, eq=False)
class Activity:
    """A job in hand, for people to look at and to cancel. *stage* is ``decode``, ``engine`` or ``publish``.

    *unwanted*: a person cancelled it, *unwanted_by* says who. *deserted*: why it gives its decoder to others; its share
    does not answer. *outdated*: it is done, and its recording is already another one. *began* is when work on it began,
    after any wait for a decoder, *stage_began* when its stage did. *touch* is the call into its share that it is in.
    *same_as* is the job whose text it takes over, *same_what* says what is the same; *was_kept*: an earlier attempt
    made the text.
    """

    job: Job
    cancelled: Event = field(default_factory=Event)
    unwanted: bool = False
    unwanted_by: str = ""
    deserted: str = ""
    outdated: bool = False
    touch: Touch | None = None
    same_as: int | None = None
    same_what: str = "content"
    was_kept: bool = False
    began: float = field(default_factory=time.monotonic)
    stage: str = "decode"
    stage_began: float = field(default_factory=time.monotonic)
    done_s: float = 0.0
    total_s: float = 0.0
    _publishing: bool = False
    _lock: Lock = field(default_factory=Lock)

    def cancel(self, by: str = "") -> bool:
        """A person wants it to end; False where it is too late for that: the transcript is being published."""
        with self._lock:
            if not self._publishing:
                self.unwanted, self.unwanted_by = True, by
                self.cancelled.set()
            return not self._publishing

    def begin_publishing(self) -> None:
        """From here on it cannot be cancelled. Raises JobCancelled where it was."""
        with self._lock:
            if self.unwanted:
                raise JobCancelled("cancelled before it was published")
            self._publishing = True

    def hangs(self, now: float) -> bool:
        """Whether it is held by a share that does not answer."""
        touch = self.touch
        return touch is not None and touch.hangs(now)

    def advance(self, stage: str, done_s: float, total_s: float) -> None:
        """Take note of progress, in seconds of audio."""
        if stage != self.stage:
            self.stage_began = time.monotonic()
        self.stage, self.done_s, self.total_s = stage, done_s, total_s


T = TypeVar("T")


class Patiently(Protocol):
    """Does a write however long the history cannot take it."""

    def __call__(self, write: Callable[[], T]) -> T:
        """What *write* returns."""
        ...


@dataclass(frozen=True, slots=True)
class Workshop:
    """What a job needs to be done. *reuse*: whether the text of the same content may be used again.

    *goes*: whether the recording of a job that ends so is to go to another folder. *may_grow*: whether the rest of a
    recording of an inbox may still come.
    """

    store: JobStore
    decode: DecodePool
    ahead: Ahead
    engine: Engine
    kept: KeptDocuments
    spool_dir: Path
    patiently: Patiently
    shares: Shares = field(default_factory=Shares)
    incomplete_wait_s: float = 0.0
    sidecars: Sidecars | None = None
    reuse: Callable[[], bool] = lambda: True
    goes: Callable[[Job, Outcome], bool] = lambda _job, _outcome: False
    may_grow: Callable[[bytes], bool] = lambda _inbox: True

    @contextmanager
    def touching(self, activity: Activity) -> Generator[None]:
        """Inside the block the job may hang because the share of its recording is dead."""
        with self.shares.of(activity.job.inbox).touching() as touch:
            activity.touch = touch
            try:
                yield
            finally:
                activity.touch = None

    def check_unchanged(self, job: Job, source: Source, sha256: str) -> None:
        """The recording still has the bytes of this hash. Raises SourceChanged, SourceVanished, SourceBlocked."""
        fingerprint = source.check_unchanged(sha256, self.decode.digest)
        if fingerprint != job.fingerprint:
            self.patiently(lambda: self.store.refresh_fingerprint(job, fingerprint, utc_now()))
