"""One life of the engine process, from spawn to death: its messages routed to its jobs, its silence noticed.

Owns the channel's receiving end and the deadlines; knows nothing of queues, restarts or checkpoints.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from daemon.channel import ChannelClosed, ChannelTimeout
from daemon.child import Child
from daemon.engine.environment import cpu_flags, environment
from daemon.engine.protocol import (
    Cancel,
    Fatal,
    Heartbeat,
    Job,
    JobReport,
    ProtocolError,
    Ready,
    ServerSettings,
    parse_report,
    to_message,
)

_TICK_S: Final = 0.5  # how often deadlines are looked at

_EXIT_S: Final = 5.0  # between the end of the channel and the end of the process; then it is killed


@dataclass(frozen=True, slots=True)
class Limits:
    """When a process that still runs is given up.

    A heartbeat comes each second; *load_silence_s* holds until the model is loaded, which may take *load_s* (a large
    one over a slow line). While jobs are inside, some window of any of them must be finished within *window_s*, or
    *window_factor* times the longest such wait so far, or *warmup_factor* times the self-test (a window is retried at
    five temperatures, five samples each), whichever is most. One job, whose windows wait for those of others, may go
    without for *job_s*, or *job_factor* times the limit above for each *job_crowd* jobs inside, or *window_factor*
    times the longest such wait.
    """

    silence_s: float = 30.0
    load_silence_s: float = 120.0
    load_s: float = 1800.0
    window_s: float = 120.0
    window_factor: float = 10.0
    warmup_factor: float = 60.0
    job_s: float = 900.0
    job_factor: float = 5.0
    job_crowd: int = 4


@dataclass(frozen=True, slots=True)
class Death:
    """The last thing in a mailbox: the process is gone. *n_inside* jobs were in it.

    *by_others*: it was killed from outside, neither by us nor by the kernel for want of memory.
    """

    reason: str
    n_inside: int
    by_others: bool = False


@dataclass(slots=True)
class Mailbox:
    """What the process said about one job, in order; `Death` last, if it died."""

    reports: queue.SimpleQueue[JobReport | Death] = field(default_factory=queue.SimpleQueue)
    progress_at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Launch:
    """How an engine process is started."""

    module: str
    settings: ServerSettings
    limits: Limits
    on_output: Callable[[str, str], None]
    on_begun: Callable[[Ready | Fatal], None]
    on_death: Callable[[str], None]
    """Both are called from the reader's thread, once, before any job hears of it."""


class EngineProcess:
    """A running engine process with one model. Any number of threads may use it."""

    def __init__(self, launch: Launch) -> None:
        self.model = launch.settings.model
        self._limits = launch.limits
        self._on_begun = launch.on_begun
        self._on_death = launch.on_death
        self._child = Child.spawn(
            launch.module,
            [launch.settings.to_json()],
            name="engine",
            on_output=launch.on_output,
            environment=environment(launch.settings, os.environ, cpu_flags()),
        )
        self._lock = threading.Lock()
        self._jobs: dict[int, Mailbox] = {}
        self._has_begun = threading.Event()
        self._begun: Ready | Fatal | Death | None = None
        self._started_at = time.monotonic()
        self._progress_at = self._started_at  # of all jobs; only of interest while there are any
        self._longest_wait_s = 0.0
        self._longest_job_wait_s = 0.0
        self._counts = Heartbeat()
        self._given_up: str | None = None
        self._closing = False
        self._death: str | None = None
        threading.Thread(target=self._read, name="engine-reader", daemon=True).start()

    @property
    def pid(self) -> int:
        """The process id, also after the end."""
        return self._child.pid

    @property
    def ready(self) -> Ready | None:
        """What it said when the model was loaded; None until then."""
        return self._begun if isinstance(self._begun, Ready) else None

    @property
    def counts(self) -> Heartbeat:
        """What it had done when it last said so."""
        return self._counts

    @property
    def failed(self) -> bool:
        """Whether nothing more is to be had from it: it is gone, or could not load the model."""
        return self.dead or isinstance(self._begun, Fatal | Death)

    @property
    def dead(self) -> bool:
        """Whether it is gone, by itself or by us, or about to be."""
        return self._death is not None or self._closing

    def begun(self, wait_s: float) -> Ready | Fatal | Death | None:
        """The result of loading; None if there is none after *wait_s*."""
        self._has_begun.wait(wait_s)
        return self._begun

    def submit(self, job: Job) -> Mailbox:
        """Start *job*; its reports come to the mailbox. A dead process shows there, too."""
        mailbox = Mailbox()
        with self._lock:
            if self._death is not None:
                mailbox.reports.put(Death(self._death, n_inside=0))  # it did not kill what it never reached
                return mailbox
            if not self._jobs:
                self._progress_at = mailbox.progress_at
            self._jobs[job.id] = mailbox
        self._send(to_message(job))
        return mailbox

    def cancel(self, job_id: int) -> None:
        """Ask for an end of the job; a `Failed` report follows."""
        self._send(to_message(Cancel(job_id)))

    def forget(self, job_id: int) -> None:
        """Route nothing more to this job's mailbox."""
        with self._lock:
            self._jobs.pop(job_id, None)

    def close(self, grace_s: float) -> None:
        """End the process; its memory is given back when this returns. Jobs still in it see its death."""
        self._closing = True
        self._child.close(grace_s)

    def _send(self, message: dict[str, object]) -> None:
        try:
            self._child.channel.send(message)
        except ChannelClosed:
            pass  # the reader sees the death and tells every job

    def _read(self) -> None:
        try:
            self._route_all()
        except (ChannelClosed, ProtocolError) as error:
            self._bury(error)

    def _route_all(self) -> None:
        heard_at = time.monotonic()
        while True:
            try:
                report = parse_report(self._child.channel.receive(_TICK_S).message)
            except ChannelTimeout:
                report = None
            now = time.monotonic()
            if report is not None:
                heard_at = now
                self._route(report, now)
            overdue = self._overdue(now, heard_at)
            if overdue and not self._closing:
                self._given_up = overdue
                self._child.kill()

    def _route(self, report: Ready | Fatal | Heartbeat | JobReport, now: float) -> None:
        if isinstance(report, Heartbeat):
            before, self._counts = self._counts, report
            if report.n_windows > before.n_windows:
                self._progressed(now)
            return
        if isinstance(report, Ready | Fatal):
            self._on_begun(report)
            self._begin(report)
            return
        with self._lock:
            mailbox = self._jobs.get(report.id)
            if mailbox is not None:
                if report.type == "window":
                    self._longest_job_wait_s = max(self._longest_job_wait_s, now - mailbox.progress_at)
                self._progressed(now)
                mailbox.progress_at = now
                mailbox.reports.put(report)

    def _begin(self, begun: Ready | Fatal | Death) -> None:
        if self._begun is None:
            self._begun = begun
            self._has_begun.set()

    def _progressed(self, now: float) -> None:
        if self._jobs:
            self._longest_wait_s = max(self._longest_wait_s, now - self._progress_at)
        self._progress_at = now

    def _overdue(self, now: float, heard_at: float) -> str | None:
        """Why this process is to be given up, in words; None while it is well."""
        limits, ready = self._limits, self.ready
        silence_s = limits.silence_s if ready else limits.load_silence_s
        if now - heard_at > silence_s:
            return f"no sign of life for {silence_s:.0f} s"
        if ready is None:
            late = now - self._started_at > limits.load_s
            return f"the model was not loaded in {limits.load_s:.0f} s" if late else None
        factor = limits.window_factor
        window_s = max(limits.window_s, factor * self._longest_wait_s, limits.warmup_factor * ready.warmup_s)
        with self._lock:
            # Shares are those of persons: one of many recordings of somebody, beside many others, has long to wait.
            crowd = max(1.0, len(self._jobs) / limits.job_crowd)
            job_s = max(limits.job_s, limits.job_factor * window_s * crowd, factor * self._longest_job_wait_s)
            if self._jobs and now - self._progress_at > window_s:
                return f"no window finished for {window_s:.0f} s"
            starving = any(now - mailbox.progress_at > job_s for mailbox in self._jobs.values())
        return f"a recording had no window finished for {job_s:.0f} s while others had" if starving else None

    def _bury(self, error: Exception) -> None:
        """Every job hears of the death, after all that the process said before."""
        ended = self._child.exit_reason(_EXIT_S)
        by_others = not self._given_up and not self._closing and self._child.killed_by_others
        self._child.kill()
        reason = self._given_up or (ended if isinstance(error, ChannelClosed) else str(error))
        with self._lock:
            jobs, self._jobs = self._jobs, {}
            self._death = reason
        if not self._closing and not isinstance(self._begun, Fatal):  # else it said why before it ended
            self._on_death(reason)
        for mailbox in jobs.values():
            mailbox.reports.put(Death(reason, len(jobs), by_others))
        self._begin(Death(reason, n_inside=0))
