"""How a job ended, for those who count and tell; and the lines of the log that say so."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

from daemon.errors import JobCancelled, SourceChanged, TranscribedError
from daemon.workshop import Activity
from storage.records import Job, Result

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class End:
    """A job that ended. *outcome* is that of one that is done, else its state; *reason* is empty if all is well."""

    job: Job
    outcome: str
    reason: str


OnEnd = Callable[[End], None]


def log_outcome(activity: Activity, result: Result) -> None:
    """A job that is done, and how fast."""
    job, audio_s, wall_s = activity.job, activity.total_s, result.wall_s
    speed = audio_s / wall_s if wall_s > 0 else 0.0
    log.info(
        "job %d %s: %s (%.1f s of audio in %.1f s, speed %.1f)%s",
        job.id,
        result.outcome,
        os.fsdecode(job.path),
        audio_s,
        wall_s,
        speed,
        f": {result.reason}" if result.reason else "",
        extra={
            "event": "job_done",
            "job_id": job.id,
            "outcome": result.outcome,
            "audio_s": round(audio_s, 3),
            "wall_s": round(wall_s, 3),
            "speed": round(speed, 2),
        },
    )


def log_end(job: Job, error: Exception) -> None:
    """A job that did not end well, or waits; an error that is none of ours is a bug."""
    if not isinstance(error, TranscribedError):
        log.error("job %d: unexpected error", job.id, exc_info=error, extra={"event": "bug", "job_id": job.id})
        return
    level = logging.INFO if isinstance(error, JobCancelled | SourceChanged) else logging.WARNING
    log.log(
        level,
        "job %d not done: %s: %s",
        job.id,
        os.fsdecode(job.path),
        error,
        extra={"event": "job_not_done", "job_id": job.id, "error": type(error).__name__},
    )
