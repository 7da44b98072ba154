"""The jobs that wait for something outside of them: how long each is put off, and what is kept of one that ended so."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from daemon.outputs.kept import KeptDocuments
from storage.errors import StorageError
from storage.jobs import JobStore
from storage.records import LIVE_STATES, Job

BLOCKED_S: Final = (60.0, 60.0, 120.0, 300.0, 600.0)
"""The wait for something outside of the job: a folder to be writable, a share to come back, the engine to start.

After the first, second, ... such end of the job since the service started; the last is repeated. Longer each time,
because each try is three events. An earlier service does not count: it may have been ended any number of times.
"""

FOLDER_BLOCKED_S: Final = (60.0, 300.0, 900.0, 3600.0)
"""The same for a folder that cannot be written: the scans try it too, and hasten its jobs."""

KILLED_S: Final = (5.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""The same for a decode process that others killed: no recording does that."""

_N_LOOKS: Final = 20
"""So many are looked at in turn each time."""


class HeldJobs:
    """Every method may be called from any thread."""

    def __init__(self, store: JobStore, kept: KeptDocuments) -> None:
        self._store = store
        self._kept = kept
        self._lock = threading.Lock()
        self._n_times: dict[int, int] = {}  # by job id; who was looked at goes to the end

    def put_off(self, job: Job, waits_s: Sequence[float] = BLOCKED_S) -> float:
        """The job is to wait for so many seconds."""
        with self._lock:
            n_times = self._n_times[job.id] = self._n_times.get(job.id, 0) + 1
        return waits_s[min(n_times, len(waits_s)) - 1]

    def forget(self, job_id: int) -> None:
        """Nothing is kept of the job: its number may come again."""
        with self._lock:
            self._n_times.pop(job_id, None)
        self._kept.drop(job_id)

    def let_go(self) -> None:
        """Look at some; keep nothing of those that have ended: their recordings were deleted, mostly."""
        with self._lock:
            job_ids = list(self._n_times)[:_N_LOOKS]
        for job_id in job_ids:
            try:
                job = self._store.job(job_id)
            except StorageError:
                return  # whoever writes next says so
            ended = job is None or job.state not in LIVE_STATES
            with self._lock:
                n_times = self._n_times.pop(job_id)
                if not ended:
                    self._n_times[job_id] = n_times
            if ended:
                self._kept.drop(job_id)
