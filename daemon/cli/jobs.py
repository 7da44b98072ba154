"""``transcribed jobs`` and ``transcribed job``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from daemon.cli.common import duration, glance, loaded, print_json, readable
from daemon.errors import TranscribedError
from daemon.intake.folder_settings import told_settings
from daemon.log import escape
from storage.records import Event, Job, JobState

_STYLES = {
    JobState.DONE: "green",
    JobState.FAILED: "red",
    JobState.QUARANTINED: "red",
    JobState.RUNNING: "cyan",
    JobState.PUBLISHING: "cyan",
    JobState.WAITING: "yellow",
}


def list_jobs(file: Path | None, states: Sequence[JobState], limit: int, *, as_json: bool) -> None:
    """Print the newest jobs."""
    with glance(loaded(file).config) as history:
        jobs = history.jobs(states=states or None, limit=limit)
    if as_json:
        print_json([as_dict(job) for job in jobs])
        return
    table = Table(box=None, pad_edge=False)
    for column in ("job", "state", "audio", "took", "speed", "lang", "recording", "reason"):
        table.add_column(column, justify="right" if column in ("job", "audio", "took", "speed") else "left")
    for job in jobs:
        speed = f"{job.speed:.1f}x" if job.speed else ""
        state = Text(job.outcome or job.state, style=_STYLES.get(job.state, ""))
        texts = (duration(job.audio_s), _seconds(job.wall_s), speed, job.language or "")
        name = Text(readable(job.path.rpartition(b"/")[2]), overflow="fold")
        table.add_row(str(job.id), state, *texts, name, Text(escape(job.reason), overflow="fold"))
    Console(soft_wrap=False).print(table)


def show_job(file: Path | None, number: int, *, as_json: bool) -> None:
    """Print one job and its events. Raises TranscribedError if there is none of this number."""
    with glance(loaded(file).config) as history:
        job, events = history.job(number), history.events(number)
    if job is None:
        raise TranscribedError(f"job {number}: no such job; `transcribed jobs` lists them")
    if as_json:
        print_json(as_dict(job) | {"events": [_event(event) for event in events]})
        return
    for key, value in as_dict(job).items():
        if key == "options":
            for line in told_settings(job.options, job.origins):
                print(f"{'setting':22} {escape(line)}")
        elif key != "origins" and value not in (None, "", []):
            print(f"{key:22} {escape(str(value))}")
    print("events")
    for event in events:
        detail = ", ".join(f"{key} {value}" for key, value in event.detail.items() if value not in (None, ""))
        print(f"  {_time(event.at)}  {event.kind}  {escape(detail)}")


def as_dict(job: Job) -> dict[str, Any]:
    """A job as JSON types; the keys are a contract with scripts."""
    return {
        "id": job.id,
        "path": job.path.decode("utf-8", "backslashreplace"),
        "state": job.state.value,
        "outcome": job.outcome.value if job.outcome else None,
        "reason": job.reason,
        "audio_s": job.audio_s,
        "declared_s": job.declared_s,
        "speech_s": job.speech_s,
        "wall_s": job.wall_s,
        "speed": round(job.speed, 2) if job.speed else None,
        "language": job.language,
        "language_probability": job.language_probability,
        "model": job.model,
        "device": job.device,
        "compute_type": job.compute_type,
        "options": dict(job.options),
        "origins": dict(job.origins),
        "attempt": job.attempt,
        "engine_deaths": job.engine_deaths,
        "source_sha256": job.source_sha256,
        "outputs": [output.path.decode("utf-8", "backslashreplace") for output in job.outputs],
        "created_at": _time(job.created_at),
        "started_at": _time(job.started_at),
        "finished_at": _time(job.finished_at),
        "not_before_at": _time(job.not_before_at),
    }


def _event(event: Event) -> dict[str, Any]:
    return {"at": _time(event.at), "kind": event.kind, "detail": dict(event.detail)}


def _time(at: datetime | None) -> str | None:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None


def _seconds(seconds: float | None) -> str:
    return f"{seconds:.1f} s" if seconds is not None else ""
