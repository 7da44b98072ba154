"""Jobs that are to be done again: with what is configured now, beside what was done before. Knows no SQL."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from daemon.asked import REDO, BadChoice, Choices, chosen_before, with_choices
from daemon.config import InboxConfig
from daemon.fairness import expected_s
from daemon.intake.folder_settings import FolderSettings, Said, new_job, resolve
from storage.jobs import JobStore
from storage.records import Job, NewJob


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be different this time, checked by `daemon.asked`, and who wants it; empty where that is not known.

    *over_corrections*: also where the text is one that a person corrected.
    """

    choices: Choices = field(default_factory=dict[str, object])
    by: str = ""
    over_corrections: bool = False


def redo(
    store: JobStore,
    job_ids: Iterable[int],
    inboxes: Sequence[InboxConfig],
    max_attempts: int,
    at: datetime,
    wish: Wish = Wish(),
) -> dict[int, int | None]:
    """For each job that exists the number of the new one; None where there is none.

    That is so where its recording has a job that has not ended, or a text that a person corrected.
    The options are those of its folder today; where the recording is in none of *inboxes*, those of its newest job.
    What a person once chose for the recording stays, and what *wish* chooses comes before all. Raises BadChoice.
    """
    wanted: dict[int, NewJob] = {}
    refused: dict[int, int | None] = {}
    settings = [settings_of(store, inbox) for inbox in inboxes]
    for job_id in dict.fromkeys(job_ids):
        job = store.job(job_id)
        newest = store.newest(job.path) if job is not None else None
        if newest is not None and not wish.over_corrections and is_corrected(store, newest.id):
            refused[job_id] = None
        elif newest is not None:
            wanted[job_id] = with_choices(_new(newest, settings, max_attempts), wish.choices, REDO)
    made = store.redo(list(wanted.values()), at, wish.by)
    return refused | dict(zip(wanted, made, strict=True))


def is_corrected(store: JobStore, job_id: int) -> bool:
    """Whether the newest text of the recording of that job is one that a person corrected."""
    job = store.job(job_id)
    last = store.last_done(job.path) if job is not None else None
    return last is not None and bool(store.corrected([last.id]))


def settings_of(store: JobStore, inbox: InboxConfig) -> FolderSettings:
    """The settings of the folders of *inbox*, as its last scan left them."""
    good = store.folder_settings(os.fsencode(inbox.path)) if inbox.may_set else {}
    return resolve(inbox, {folder: Said(values) for folder, values in good.items()}, good).settings


def _new(job: Job, inboxes: Sequence[FolderSettings], max_attempts: int) -> NewJob:
    settings = next((one for one in inboxes if job.path.startswith(one.root + b"/")), None)
    if settings is not None:
        new = new_job(job.path, job.fingerprint, settings, max_attempts)
        if settings.fair_by == "owner" or os.path.dirname(job.path) == settings.root:  # by the owner
            new = replace(new, person=job.person or new.person)
        for origin, choices in chosen_before(job.options, job.origins).items():
            with suppress(BadChoice):  # it does not fit what is configured today
                new = with_choices(new, choices, origin)
        return new
    old = NewJob(job.path, job.inbox, job.fingerprint, job.options, job.options_digest, max_attempts, job.origins)
    length_s = job.expected_s or expected_s(job.path, job.fingerprint.size_bytes)
    return replace(old, priority=job.priority, person=job.person, expected_s=length_s)
