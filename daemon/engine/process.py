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
from pathlib import Path
from typing import Final

from daemon.channel import ChannelClosed, ChannelTimeout
from daemon.child import Child
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
    one over a slow line). A window may take *window_s*, or
    *window_factor* times the longest one so far, or *warmup_factor* times the self-test (a window is retried at five
    temperatures, five samples each), whichever is most.
    """

    silence_s: float = 30.0
    load_silence_s: float = 120.0
    load_s: float = 1800.0
    window_s: float = 120.0
    window_factor: float = 10.0
    warmup_factor: float = 60.0


@dataclass(frozen=True, slots=True)
class Death:
    """The last thing in a mailbox: the process is gone. *alone*: no other job was in it."""

    reason: str
    alone: bool


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
    on_death: Callable[[str], None]


class EngineProcess:
    """A running engine process with one model. Any number of threads may use it."""

    def __init__(self, launch: Launch) -> None:
        self.model = launch.settings.model
        self._limits = launch.limits
        self._on_death = launch.on_death
        self._child = Child.spawn(
            launch.module,
            [launch.settings.to_json()],
            name="engine",
            on_output=launch.on_output,
            environment=environment(launch.settings),
        )
        self._lock = threading.Lock()
        self._jobs: dict[int, Mailbox] = {}
        self._begun: queue.SimpleQueue[Ready | Fatal | Death] = queue.SimpleQueue()
        self._ready: Ready | None = None
        self._started_at = time.monotonic()
        self._longest_window_s = 0.0
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
        return self._ready

    @property
    def dead(self) -> bool:
        """Whether it is gone, by itself or by us."""
        return self._death is not None

    def begun(self, wait_s: float) -> Ready | Fatal | Death | None:
        """The result of loading, once; None if there is none after *wait_s*."""
        try:
            return self._begun.get(timeout=wait_s)
        except queue.Empty:
            return None

    def submit(self, job: Job) -> Mailbox:
        """Start *job*; its reports come to the mailbox. A dead process shows there, too."""
        mailbox = Mailbox()
        with self._lock:
            if self._death is not None:
                mailbox.reports.put(Death(self._death, alone=False))  # it did not kill what it never reached
                return mailbox
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
            return
        if isinstance(report, Ready | Fatal):
            self._ready = report if isinstance(report, Ready) else None
            self._begun.put(report)
            return
        with self._lock:
            mailbox = self._jobs.get(report.id)
            if mailbox is not None:
                if report.type == "window":
                    self._longest_window_s = max(self._longest_window_s, now - mailbox.progress_at)
                mailbox.progress_at = now
                mailbox.reports.put(report)

    def _overdue(self, now: float, heard_at: float) -> str | None:
        """Why this process is to be given up, in words; None while it is well."""
        limits = self._limits
        silence_s = limits.silence_s if self._ready else limits.load_silence_s
        if now - heard_at > silence_s:
            return f"no sign of life for {silence_s:.0f} s"
        if self._ready is None and now - self._started_at > limits.load_s:
            return f"the model was not loaded in {limits.load_s:.0f} s"
        warmup_s = self._ready.warmup_s if self._ready else 0.0
        window_s = max(limits.window_s, limits.window_factor * self._longest_window_s, limits.warmup_factor * warmup_s)
        with self._lock:
            late = any(now - mailbox.progress_at > window_s for mailbox in self._jobs.values())
        return f"no window finished for {window_s:.0f} s" if late else None

    def _bury(self, error: Exception) -> None:
        """Every job hears of the death, after all that the process said before."""
        ended = self._child.exit_reason(_EXIT_S)
        self._child.kill()
        reason = self._given_up or (ended if isinstance(error, ChannelClosed) else str(error))
        with self._lock:
            jobs, self._jobs = self._jobs, {}
            self._death = reason
        if not self._closing:
            self._on_death(reason)
        for mailbox in jobs.values():
            mailbox.reports.put(Death(reason, alone=len(jobs) == 1))
        self._begun.put(Death(reason, alone=False))


def environment(settings: ServerSettings) -> dict[str, str]:
    """The environment that the engine process needs from its first instruction on."""
    cores = settings.threads or len(os.sched_getaffinity(0))
    variables = {
        # OpenMP workers that spin between two calls take the cores from the other slots.
        "OMP_WAIT_POLICY": "PASSIVE",
        # For the libraries that do not take the number as an argument.
        "OMP_NUM_THREADS": str(max(1, cores // settings.slots)),
        # The tokenizer has no batch to share out; its thread pool would only be in the way.
        "TOKENIZERS_PARALLELISM": "false",
        # The hub library reports on its use otherwise.
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # A progress bar in a log is noise.
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        # Its cache would otherwise be under HOME, which a service does not have.
        "HF_HOME": str(Path(settings.models_dir) / "hub"),
        # What CUDA compiles for this GPU at the first start is kept for the next.
        "CUDA_CACHE_PATH": str(Path(settings.models_dir) / "cuda-cache"),
    }
    if not settings.allow_download:
        # No network, whatever a library would like to ask the hub.
        variables["HF_HUB_OFFLINE"] = "1"
    return variables
