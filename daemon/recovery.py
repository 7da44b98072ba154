"""What the last daemon left: running jobs are queued again, those that were publishing are brought to an end."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from daemon.clock import utc_now
from daemon.errors import OutputBlocked, SourceVanished
from daemon.outputs import publish
from daemon.outputs.kept import KeptDocuments
from storage.jobs import JobStore
from storage.records import LIVE_STATES, Job

log = logging.getLogger(__name__)

BLOCKED_DELAY_S = 60.0


def recover(store: JobStore, spool_dir: Path, kept: KeptDocuments) -> int:
    """Settle every job of a dead daemon; how many of them were being published. Must run before jobs begin."""
    for leftover in spool_dir.iterdir():
        leftover.unlink()
    publishing = store.recover(utc_now())
    for job in publishing:
        _settle(job, store)
    for job_id in kept.job_ids():
        if (job_now := store.job(job_id)) is None or job_now.state not in LIVE_STATES:
            kept.drop(job_id)
    return len(publishing)


def _settle(job: Job, store: JobStore) -> None:
    name = os.fsdecode(job.path)
    result = job.result
    assert result is not None  # stored with the intent
    try:
        publish.commit(job.outputs, store.written(job.path), resumed=True)
    except (FileNotFoundError, publish.NameTaken, SourceVanished):
        publish.discard(job.outputs)
        store.requeue(job, "the service stopped while this was published", utc_now(), refund=True)
        log.info("job %d: %s is done again", job.id, name, extra={"event": "job_requeued", "job_id": job.id})
    except OutputBlocked as error:
        publish.discard(job.outputs)
        store.hold(job, str(error), utc_now(), delay_s=BLOCKED_DELAY_S, refund=True)
    else:
        store.finish(job, result, utc_now())
        log.info("job %d: %s was published", job.id, name, extra={"event": "job_recovered", "job_id": job.id})
