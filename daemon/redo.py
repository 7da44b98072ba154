"""Jobs that are to be done again: with what is configured now, beside what was done before. Knows no SQL."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import datetime

from daemon.config import InboxConfig
from storage.jobs import JobStore
from storage.records import Job, NewJob


def redo(
    store: JobStore, job_ids: Iterable[int], inboxes: Sequence[InboxConfig], max_attempts: int, at: datetime
) -> dict[int, int | None]:
    """For each job that exists the number of the new one; None where its recording has a job that has not ended.

    The options are those of the inbox today; where the recording is in none of *inboxes*, those of its newest job.
    """
    wanted: dict[int, NewJob] = {}
    for job_id in dict.fromkeys(job_ids):
        job = store.job(job_id)
        newest = store.newest(job.path) if job is not None else None
        if newest is not None:
            wanted[job_id] = _new(newest, inboxes, max_attempts)
    return dict(zip(wanted, store.redo(list(wanted.values()), at), strict=True))


def _new(job: Job, inboxes: Sequence[InboxConfig], max_attempts: int) -> NewJob:
    inbox = next((one for one in inboxes if job.path.startswith(os.fsencode(one.path) + b"/")), None)
    if inbox is None:
        return NewJob(job.path, job.inbox, job.fingerprint, job.options, job.options_digest, max_attempts)
    options = inbox.job_options()
    return NewJob(job.path, os.fsencode(inbox.path), job.fingerprint, options.to_dict(), options.digest(), max_attempts)
