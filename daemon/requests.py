"""Recordings that a program sends to have the words back: through the queue and the engine like every recording.

They lie in a folder of the state folder that nobody scans. While one is on its way the command line shows its job,
pages do not; once it is answered nothing is left of it but a line in the list of events: neither sound nor words nor
job. Knows no HTTP.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from daemon.clock import utc_now
from daemon.fairness import expected_s, sender
from daemon.outputs.kept import Kept, unpacked
from daemon.sidecars import Sidecars
from storage.errors import StorageError
from storage.jobs import JobStore
from storage.records import LIVE_STATES, Fingerprint, Job, JobState, NewJob

log = logging.getLogger(__name__)

FOLDER: Final = "requests"
"""In the state folder; one of OWN_FOLDERS."""

MOST: Final = 64
"""Requests at once, of everybody together."""

MOST_EACH: Final = 16
"""The same of one sender."""

MARGIN_BYTES: Final = 256 * 1024**2
"""What a request leaves free on the disk: the history needs room too."""

_TIDY_S: Final = 1.0
_REST_S: Final = 600.0


class TooMany(Exception):
    """Raised where no request can be taken at present; the message is fit for a person."""


class Gone(Exception):
    """Raised where the job of a request is no more."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: where its recording lies, who sent it, and the number of its job, once there is one."""

    path: Path
    by: str
    job_id: int | None = None


def clear(folder: Path, store: JobStore, sidecars: Sidecars) -> None:
    """Nobody waits for what an earlier daemon was asked: it is gone. Before any job begins."""
    inbox = os.fsencode(folder)
    sidecars.drop_of(inbox)
    store.forget(inbox, live=True)
    for path in folder.iterdir():
        path.unlink(missing_ok=True)


class Requests:
    """All requests. Call from any thread; an actor that removes what is answered."""

    def __init__(
        self,
        folder: Path,
        store: JobStore,
        sidecars: Sidecars,
        *,
        in_hand: Callable[[], Collection[int]],
        cancel: Callable[[int], object],
        on_new: Callable[[], None],
        on_forget: Callable[[int], None] = lambda _job_id: None,
    ) -> None:
        """*in_hand* says which jobs are worked on, *cancel* ends one, *on_new* is called when there is one.

        *on_forget* is called with the number of each job that is taken out of the history, as it may come again.
        """
        self._folder = folder
        self._inbox = os.fsencode(folder)
        self._store = store
        self._sidecars = sidecars
        self._in_hand = in_hand
        self._cancel = cancel
        self._on_new = on_new
        self._on_forget = on_forget
        self._lock = threading.Lock()
        self._open: dict[Path, str] = {}
        self._answered: list[Asked] = []
        self.wake: Callable[[], None] = lambda: None
        """Called when there is something to remove."""

    def begin(self, name: str, by: str, size_bytes: int) -> Asked:
        """A place for a recording of about *size_bytes*, which is not there yet. Raises TooMany."""
        path = self._folder / f"{secrets.token_hex(8)}-{name}"
        found = os.statvfs(self._folder)
        if size_bytes + MARGIN_BYTES > found.f_bavail * found.f_frsize:
            raise TooMany("there is too little room on the disk of the service")
        with self._lock:
            others = list(self._open.values())
            if len(others) >= MOST or others.count(by) >= MOST_EACH:
                raise TooMany("too many requests are on their way; try again later")
            self._open[path] = by
        return Asked(path, by)

    def submit(self, asked: Asked, options: Mapping[str, object], digest: str, max_attempts: int) -> Asked:
        """The recording lies at its path, and is queued. Raises OSError, StorageError."""
        path = os.fsencode(asked.path)
        fingerprint = Fingerprint.of(os.lstat(path))
        job = NewJob(
            path,
            self._inbox,
            fingerprint,
            options,
            digest,
            max_attempts,
            person=sender(asked.by),
            expected_s=expected_s(path, fingerprint.size_bytes),
        )
        (job_id,) = self._store.enqueue([job], utc_now(), asked.by)
        self._on_new()
        return Asked(asked.path, asked.by, job_id)

    def ended(self, asked: Asked) -> Job | None:
        """Its job, once that has ended and nobody works on it; None before. Raises Gone."""
        assert asked.job_id is not None
        job = self._store.job(asked.job_id)
        if job is None or job.path != os.fsencode(asked.path):
            raise Gone("its job was taken out of the history")
        return job if job.state not in LIVE_STATES and job.id not in self._in_hand() else None

    def document(self, job: Job) -> Kept | None:
        """What came of it."""
        content = self._store.document(job.id)
        return unpacked(content) if content is not None else None

    def leave(self, asked: Asked) -> None:
        """It is answered, or nobody waits for the answer any more: what is left of it goes, as soon as it can."""
        with self._lock:
            self._answered.append(asked)
        self.wake()

    def step(self, now: float) -> float:
        """Remove what is answered."""
        del now
        with self._lock:
            answered, self._answered = self._answered, []
        left = [asked for asked in answered if not self._removed(asked)]
        with self._lock:
            self._answered += left
        return _TIDY_S if left else _REST_S

    def _removed(self, asked: Asked) -> bool:
        try:
            if asked.job_id is not None and not self._forgotten(asked, asked.job_id):
                return False
            asked.path.unlink(missing_ok=True)
        except (OSError, StorageError) as error:
            log.warning("%s stays for now: %s", asked.path, error, extra={"event": "request_trouble"})
            return False
        with self._lock:
            self._open.pop(asked.path, None)
        return True

    def _forgotten(self, asked: Asked, job_id: int) -> bool:
        job = self._store.job(job_id)
        if job is None or job.path != os.fsencode(asked.path):
            return True
        if job.state in LIVE_STATES:
            self._cancel(job_id)
            job = self._store.job(job_id)
        if job is None or job.state in LIVE_STATES or job_id in self._in_hand():
            return False
        self._sidecars.drop(job_id)
        if self._store.forget_one(job_id):
            self._on_forget(job_id)
            self._store.note("request", _told(asked, job), utc_now())
        return True


def _told(asked: Asked, job: Job) -> dict[str, object]:
    outcome = job.outcome.value if job.state is JobState.DONE and job.outcome is not None else job.state.value
    return {"by": asked.by, "outcome": outcome, "audio_s": job.audio_s or 0.0, "wall_s": job.wall_s or 0.0}
