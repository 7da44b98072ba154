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
from daemon.config import Config
from daemon.control import NoDaemon, Refused, ask
from daemon.errors import TranscribedError
from daemon.fairness import WORDS
from daemon.intake.folder_settings import told_settings
from daemon.log import escape
from storage.records import Event, Job, JobState
from storage.standing import MOST

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
        state = Text(_stands(job), style=_STYLES.get(job.state, ""))
        texts = (duration(job.audio_s), _seconds(job.wall_s), speed, job.language or "")
        name = Text(readable(job.path.rpartition(b"/")[2]), overflow="fold")
        table.add_row(str(job.id), state, *texts, name, Text(escape(job.reason), overflow="fold"))
    Console(soft_wrap=False).print(table)


def show_job(file: Path | None, number: int, *, as_json: bool) -> None:
    """Print one job and its events. Raises TranscribedError if there is none of this number."""
    config = loaded(file).config
    with glance(config) as history:
        job, events, stands = history.job(number), history.events(number), history.standing(number)
    if job is None:
        raise TranscribedError(f"job {number}: no such job; `transcribed jobs` lists them")
    if as_json:
        queue = {"n_before": stands.n_before if stands is not None else None}
        print_json(as_dict(job) | queue | {"events": [_event(event) for event in events]})
        return
    if stands is not None:
        print(f"{'queue':22} {in_the_queue(config, number, stands.n_before)}")
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


def _stands(job: Job) -> str:
    """Its state or its outcome, and its priority where it waits and that is not the usual one."""
    waits = job.priority and job.state in (JobState.WAITING, JobState.QUEUED)
    return f"{job.state}, {WORDS[job.priority]}" if waits else job.outcome or job.state


def in_the_queue(config: Config, number: int, n_before: int) -> str:
    """Where a job stands, in words, and when it is done, if a daemon runs that can tell."""
    words = "next" if not n_before else f"{n_before}{' or more' if n_before == MOST else ''} before it"
    try:
        told: dict[str, float | None] | None = ask(config.state_dir, "standing", job=number)
    except (NoDaemon, Refused):
        return words
    left_s = told["eta_s"] if told is not None else None
    return words if left_s is None else f"{words}, done in about {duration(left_s)}"


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
        "priority": WORDS[job.priority],
        "person": job.person.decode("utf-8", "backslashreplace"),
        "expected_s": round(job.expected_s, 1),
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
