"""What the last daemon left: running jobs are queued again, those that were publishing are brought to an end."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from daemon.clock import utc_now
from daemon.errors import OutputBlocked, SourceVanished
from daemon.failpoints import reached
from daemon.options import JobOptions
from daemon.outputs import publish
from daemon.outputs.kept import KeptDocuments
from daemon.tracks import talk_of
from storage.jobs import JobStore
from storage.records import LIVE_STATES, Job, Outcome

log = logging.getLogger(__name__)

Goes = Callable[[Job, Outcome], bool]


def _stays(_job: Job, _outcome: Outcome) -> bool:
    return False


class Unsettled:
    """The jobs that the last daemon was publishing. They lie on shares, which may be away or hang by now."""

    def __init__(self, jobs: Sequence[Job], store: JobStore, kept: KeptDocuments, goes: Goes = _stays) -> None:
        """*goes*: whether the recording of a job that ends so is to go to another folder."""
        self._goes = goes
        self._store = store
        self._kept = kept
        self._jobs: dict[bytes, list[Job]] = {}
        for job in jobs:
            publish.adopt(job.outputs)
            self._jobs.setdefault(job.inbox, []).append(job)

    def inboxes(self) -> set[bytes]:
        """The folders that such jobs are in."""
        return {inbox for inbox, jobs in self._jobs.items() if jobs}

    def settle(self, inbox: bytes) -> None:
        """End those in *inbox*, which must be there; may hang with its share. Those that cannot be written stay."""
        jobs = self._jobs.get(inbox, [])
        for job in list(jobs):
            if _settle(job, self._store, self._goes):
                jobs.remove(job)
                if (now := self._store.job(job.id)) is None or now.state not in LIVE_STATES:
                    self._kept.drop(job.id)  # one that is queued again is published from it


def recover(store: JobStore, spool_dir: Path, kept: KeptDocuments, goes: Goes = _stays) -> Unsettled:
    """Queue the running jobs of a dead daemon again; what it was publishing, to be settled. Touches no share.

    Must run before jobs begin.
    """
    for leftover in spool_dir.iterdir():
        leftover.unlink()
    unsettled = Unsettled(store.recover(utc_now()), store, kept, goes)
    reached("recovery.requeued")
    for job_id in kept.job_ids():
        if (job_now := store.job(job_id)) is None or job_now.state not in LIVE_STATES:
            kept.drop(job_id)
    return unsettled


def _settle(job: Job, store: JobStore, goes: Goes) -> bool:
    """False where the folder cannot be written at present."""
    name = os.fsdecode(job.path)
    result = job.result
    assert result is not None  # stored with the intent
    try:
        publish.commit(job.outputs, store.written(job.path), resumed=True)
        reached("recovery.committed")
    except (FileNotFoundError, publish.NameTaken, SourceVanished):
        publish.discard(job.outputs)
        store.requeue(job, "the service stopped while this was published", utc_now(), refund=True)
        log.info("job %d: %s is done again", job.id, name, extra={"event": "job_requeued", "job_id": job.id})
    except OutputBlocked as error:
        log.info("job %d: not published yet: %s", job.id, error, extra={"event": "publish_blocked", "job_id": job.id})
        return False
    else:
        talk = talk_of(job.path, JobOptions.from_dict(job.options))
        store.finish(job, result, utc_now(), goes=goes(job, result.outcome), talk=talk)
        log.info("job %d: %s was published", job.id, name, extra={"event": "job_recovered", "job_id": job.id})
    reached("recovery.settled")
    return True
