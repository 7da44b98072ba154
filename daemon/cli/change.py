"""``transcribed retry`` and ``transcribed cancel``: through the daemon when it runs, else under its lock."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from daemon.cli import exits
from daemon.cli.common import database, loaded
from daemon.clock import iso, utc_now
from daemon.config import Config
from daemon.control import NoDaemon, ask
from daemon.errors import TranscribedError
from daemon.locks import STATE_LOCK, Lock, Owner
from storage.jobs import JobStore

Change = Literal["retry", "cancel"]


def retry(file: Path | None, job_ids: Sequence[int]) -> int:
    """Queue the jobs again; the exit code."""
    return _report("queued again", "cannot be retried in its state", job_ids, _change(file, "retry", job_ids))


def cancel(file: Path | None, job_ids: Sequence[int]) -> int:
    """Cancel the jobs; the exit code."""
    return _report("cancelled", "is not waiting, queued or running", job_ids, _change(file, "cancel", job_ids))


def _change(file: Path | None, change: Change, job_ids: Sequence[int]) -> list[int]:
    config = loaded(file).config
    try:
        changed: list[int] = ask(config.state_dir, change, jobs=list(job_ids))
    except NoDaemon:
        return _change_directly(config, change, job_ids)
    return changed


def _change_directly(config: Config, change: Change, job_ids: Sequence[int]) -> list[int]:
    if not database(config).exists():
        raise TranscribedError(f"{database(config)}: no job history yet; it is made by `transcribed run`")
    # The history has one writer: while we hold the lock, that is us.
    owner = Owner.this_process(uuid.uuid4().hex, config.state_dir, iso(utc_now()))
    lock = Lock.take(config.state_dir / STATE_LOCK, owner, f"the state folder {config.state_dir}")
    try:
        store = JobStore.open(database(config), owner.uuid)
        try:
            return store.retry(job_ids, utc_now()) if change == "retry" else store.cancel(job_ids, utc_now())
        finally:
            store.close()
    finally:
        lock.release()


def _report(did: str, could_not: str, asked: Sequence[int], changed: Sequence[int]) -> int:
    for job_id in changed:
        print(f"job {job_id}: {did}")
    refused = [job_id for job_id in dict.fromkeys(asked) if job_id not in changed]
    for job_id in refused:
        print(
            f"transcribed: job {job_id}: there is none, or it {could_not}; see `transcribed job {job_id}`",
            file=sys.stderr,
        )
    return exits.FAILED if refused else exits.OK
