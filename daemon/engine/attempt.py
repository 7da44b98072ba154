"""One job in one engine process: its reports taken into the checkpoint, its end turned into a result or an error.

Owns what survives an engine's death; knows nothing of seats, restarts or other jobs.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from daemon.engine.gate import POLL_S
from daemon.engine.process import Death, EngineProcess, Mailbox
from daemon.engine.protocol import Done, Failed, Failure, Job, JobReport, LanguageFound, WindowDone
from daemon.errors import ConfigError, DeviceFull, EngineDied, EngineUnavailable, JobCancelled, RecordingError
from daemon.options import JobOptions
from daemon.transcript import SAMPLE_RATE_HZ, Segment, Span


@dataclass(frozen=True, slots=True)
class Request:
    """One recording to transcribe: a spool file (16 kHz, 16 bit, mono) and where in it there is speech.

    The model's time is shared between persons, by their *weight* (0.1 to 10), and a person's share between their
    recordings. One without a *person* has a share of its own.
    """

    job_id: int
    spool_path: Path
    n_samples: int
    spans: tuple[Span, ...]
    options: JobOptions
    person: str = ""
    weight: float = 1.0


@dataclass(slots=True)
class Checkpoint:
    """What is finished of a recording; it survives the engine's death. Everything before *next_sample* is in it."""

    segments: list[Segment] = field(default_factory=list[Segment])
    translation: list[Segment] = field(default_factory=list[Segment])
    next_sample: int = 0
    language: str | None = None
    language_probability: float = 0.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One job in one process."""

    process: EngineProcess
    request: Request
    checkpoint: Checkpoint
    progress: Callable[[float, float], None]

    def run(self, attempt_id: int, cancelled: threading.Event, stopped: threading.Event) -> None:
        """Feed the checkpoint until the job is done. Raises what `Engine.transcribe` does."""
        mailbox = self.process.submit(self._job(attempt_id))
        finished = asked = False
        try:
            while not finished:
                if cancelled.is_set() and not asked:
                    self.process.cancel(attempt_id)
                    asked = True
                report = _next(mailbox)
                if isinstance(report, Death):
                    raise _death_error(report, asked=asked, stopped=stopped.is_set(), job_id=self.request.job_id)
                finished = report is not None and self._take(report)
        finally:
            if not finished and not asked:
                self.process.cancel(attempt_id)
            self.process.forget(attempt_id)

    def _job(self, attempt_id: int) -> Job:
        request, checkpoint = self.request, self.checkpoint
        return Job(
            id=attempt_id,
            spool_path=str(request.spool_path),
            n_samples=request.n_samples,
            spans=request.spans,
            options=request.options,
            next_sample=checkpoint.next_sample,
            language=checkpoint.language,
            person=request.person,
            weight=request.weight,
        )

    def _take(self, report: JobReport) -> bool:
        """Whether *report* was the last. Raises for a job that failed."""
        checkpoint = self.checkpoint
        if isinstance(report, LanguageFound):
            if checkpoint.language is None:  # else it is only repeated
                checkpoint.language = report.language
                checkpoint.language_probability = report.probability
        elif isinstance(report, WindowDone):
            checkpoint.segments.extend(report.segments)
            checkpoint.translation.extend(report.translation)
            checkpoint.next_sample = report.next_sample
            self.progress(report.done_s, self.request.n_samples / SAMPLE_RATE_HZ)
        elif isinstance(report, Done):
            self.progress(self.request.n_samples / SAMPLE_RATE_HZ, self.request.n_samples / SAMPLE_RATE_HZ)
            return True
        else:
            raise _failure_error(report)
        return False


def _next(mailbox: Mailbox) -> JobReport | Death | None:
    try:
        return mailbox.reports.get(timeout=POLL_S)
    except queue.Empty:
        return None


def _death_error(death: Death, *, asked: bool, stopped: bool, job_id: int) -> Exception:
    if asked:
        return JobCancelled("cancelled")
    if stopped:
        return EngineUnavailable("the engine was stopped")
    message = f"the engine died during job {job_id}: {death.reason}"
    return EngineDied(message, n_inside=death.n_inside, by_others=death.by_others)


def _failure_error(failed: Failed) -> Exception:
    match failed.kind:
        case Failure.RECORDING:
            return RecordingError(failed.message)
        case Failure.CONFIG:
            return ConfigError(failed.message)
        case Failure.CANCELLED:
            return JobCancelled(failed.message)
        case Failure.OUT_OF_MEMORY:
            return DeviceFull(f"the device is out of memory: {failed.message}")
        case Failure.BUG:
            return RuntimeError(f"a bug in the engine:\n{failed.message}")
