"""Jobs that are to be done again: with what is configured now, beside what was done before. Knows no SQL."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import datetime

from daemon.config import InboxConfig
from daemon.intake.folder_settings import FolderSettings, Said, new_job, resolve
from storage.jobs import JobStore
from storage.records import Job, NewJob


def redo(
    store: JobStore, job_ids: Iterable[int], inboxes: Sequence[InboxConfig], max_attempts: int, at: datetime
) -> dict[int, int | None]:
    """For each job that exists the number of the new one; None where its recording has a job that has not ended.

    The options are those of its folder today; where the recording is in none of *inboxes*, those of its newest job.
    """
    wanted: dict[int, NewJob] = {}
    settings = [_settings(store, inbox) for inbox in inboxes]
    for job_id in dict.fromkeys(job_ids):
        job = store.job(job_id)
        newest = store.newest(job.path) if job is not None else None
        if newest is not None:
            wanted[job_id] = _new(newest, settings, max_attempts)
    return dict(zip(wanted, store.redo(list(wanted.values()), at), strict=True))


def _settings(store: JobStore, inbox: InboxConfig) -> FolderSettings:
    """The settings of the folders of *inbox*, as its last scan left them."""
    good = store.folder_settings(os.fsencode(inbox.path)) if inbox.may_set else {}
    return resolve(inbox, {folder: Said(values) for folder, values in good.items()}, good).settings


def _new(job: Job, inboxes: Sequence[FolderSettings], max_attempts: int) -> NewJob:
    settings = next((one for one in inboxes if job.path.startswith(one.root + b"/")), None)
    if settings is not None:
        return new_job(job.path, job.fingerprint, settings, max_attempts)
    return NewJob(job.path, job.inbox, job.fingerprint, job.options, job.options_digest, max_attempts, job.origins)
