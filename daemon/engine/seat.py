"""The process in one seat: started when a job needs it, started again after a death, ended when it makes way.

Owns backoff, breaker and the words for what went wrong; knows nothing of turns (`daemon.engine.gate`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from daemon.engine.gate import POLL_S
from daemon.engine.process import Death, EngineProcess, Launch, Limits
from daemon.engine.protocol import Failure, Fatal, Ready, ServerSettings
from daemon.engine.restarts import RestartLimits, Restarts
from daemon.errors import ConfigError, EngineNotLoaded, EngineUnavailable, JobCancelled

log = logging.getLogger(__name__)

State = Literal["starting", "ready", "unloaded", "down", "stopped"]

_MODEL_CHANGE_GRACE_S: Final = 5.0
"""An engine without jobs ends at once; this is for one that does not."""

MANY_DEATHS: Final = 3
"""After so many without a job done between them, an engine is down also while nobody is inside."""


@dataclass(frozen=True, slots=True)
class Work:
    """What engine processes did since the daemon started; see `Heartbeat` for each count."""

    n_windows: int = 0
    n_places: int = 0
    n_retries: int = 0
    n_flags: int = 0

    def and_of(self, process: EngineProcess | None) -> Work:
        """What these and *process* did."""
        if process is None:
            return self
        done = process.counts
        return Work(
            self.n_windows + done.n_windows,
            self.n_places + done.n_places,
            self.n_retries + done.n_retries,
            self.n_flags + done.n_flags,
        )


@dataclass(frozen=True, slots=True)
class SeatStatus:
    """One seat at one moment. *wanted* is the device as configured, *device* the one that the process found.

    *n_deaths* are those with no job done since. *work* counts what all its processes did.
    """

    state: State
    wanted: str
    pid: int | None
    model: str | None
    device: str | None
    compute_type: str | None
    n_jobs: int
    n_restarts: int
    last_error: str | None
    n_deaths: int = 0
    work: Work = Work()


@dataclass(frozen=True, slots=True)
class SeatSettings:
    """How processes are started on *device*. *server_settings* are those for a model there.

    *on_trouble* hears of each death and failed start: the model, and the seconds until the next try.
    """

    device: str
    module: str
    limits: Limits
    restart_limits: RestartLimits
    server_settings: Callable[[str, str], ServerSettings]
    on_output: Callable[[str, str], None]
    on_trouble: Callable[[str, str, float], None]


class SeatProcess:
    """A seat's process. Jobs use it from many threads, all of them for one model at a time."""

    def __init__(self, settings: SeatSettings, stopped: threading.Event) -> None:
        self._settings = settings
        self._stopped = stopped
        self._starting = threading.Lock()
        self._lock = threading.Lock()  # of the restarts
        self._counting = threading.Lock()  # of the process and what those before it did
        self._process: EngineProcess | None = None
        self._restarts: dict[str, Restarts] = {}
        self._died = False  # since the last start
        self._unloaded = False
        self._n_restarts = 0
        self._n_deaths = 0  # since a job ended well
        self._work = Work()  # of the processes before this one
        self._last_error: str | None = None

    @property
    def process(self) -> EngineProcess | None:
        """The newest process, dead or alive."""
        return self._process

    @property
    def ready(self) -> Ready | None:
        """What the newest process said when its model was loaded."""
        process = self._process
        return process.ready if process else None

    def running(self, model: str, cancelled: threading.Event) -> tuple[EngineProcess, Ready]:
        """A process with *model*, started if need be; blocks until the model is loaded.

        Raises ConfigError for what the operator must mend, EngineUnavailable if it does not start, JobCancelled. A job
        that is cancelled leaves the process to load for the others.
        """
        process = self._launched(model, cancelled)
        while True:
            self._check(cancelled)
            begun = process.begun(POLL_S)
            if isinstance(begun, Ready):
                return process, begun
            if isinstance(begun, Fatal):
                process.close(0.0)
                raise (ConfigError if begun.kind is Failure.CONFIG else EngineUnavailable)(begun.message)
            if isinstance(begun, Death):
                self._check(cancelled)
                raise EngineNotLoaded(f"the engine ended while it loaded {model!r}: {begun.reason}")

    def worked(self, model: str) -> None:
        """A job with *model* ended well."""
        self._n_deaths = 0
        with self._lock:
            self._restarts_of(model).worked()

    def unload(self) -> bool:
        """End the process and give its memory back; whether there was one. Only while no job is inside."""
        with self._starting:
            process = self._process
            if process is None or process.dead:
                return False
            self._unloaded = True
            process.close(_MODEL_CHANGE_GRACE_S)
        return True

    def close(self, grace_s: float) -> None:
        """End the process for good; the engine's *stopped* is set before."""
        if self._process is not None:
            self._process.close(grace_s)

    def status(self, n_jobs: int) -> SeatStatus:
        """The seat now, with *n_jobs* inside; never blocks."""
        with self._counting:
            process, work = self._process, self._work
        ready = process.ready if process else None
        state = self._state(process)
        if state == "down" and ready is not None and not n_jobs and self._n_deaths < MANY_DEATHS:
            state = "unloaded"  # nobody needs it now: the next job starts it, and nothing is wrong with that
        return SeatStatus(
            state=state,
            wanted=self._settings.device,
            pid=process.pid if process and not process.dead else None,
            model=process.model if process else None,
            device=ready.device if ready else None,
            compute_type=ready.compute_type if ready else None,
            n_jobs=n_jobs,
            n_restarts=self._n_restarts,
            last_error=self._last_error,
            n_deaths=self._n_deaths,
            work=work.and_of(process),
        )

    def _state(self, process: EngineProcess | None) -> State:
        if self._stopped.is_set() or process is None:
            return "stopped"
        if self._unloaded:
            return "unloaded"
        if process.failed:
            return "down"
        return "ready" if process.ready else "starting"

    def _launched(self, model: str, cancelled: threading.Event) -> EngineProcess:
        """A process with *model*, perhaps still loading. The gate sees to it that nobody here uses another model."""
        while not self._starting.acquire(timeout=POLL_S):
            self._check(cancelled)
        try:
            process = self._process
            if process is not None and process.model == model and not process.failed:
                return process
            if process is not None:
                process.close(_MODEL_CHANGE_GRACE_S)
            return self._launch(model, cancelled)
        finally:
            self._starting.release()

    def _launch(self, model: str, cancelled: threading.Event) -> EngineProcess:
        self._wait_out_backoff(model, cancelled)
        if self._died:
            self._n_restarts += 1
            log.info("Starting the engine again", extra={"event": "engine_restart", "n_restarts": self._n_restarts})
        self._died = self._unloaded = False
        settings = self._settings
        launch = Launch(
            settings.module,
            settings.server_settings(settings.device, model),
            settings.limits,
            settings.on_output,
            on_begun=lambda begun: self._on_begun(model, begun),
            on_death=lambda reason: self._on_death(model, reason),
        )
        process = EngineProcess(launch)
        with self._counting:
            self._work, self._process = self._work.and_of(self._process), process
        if self._stopped.is_set():  # close() may have come before there was anything to close
            process.close(0.0)
        return process

    def _wait_out_backoff(self, model: str, cancelled: threading.Event) -> None:
        while True:
            self._check(cancelled)
            with self._lock:
                wait_s = self._restarts_of(model).wait_s(time.monotonic())
            if wait_s <= 0:
                return
            cancelled.wait(min(wait_s, POLL_S))

    def _restarts_of(self, model: str) -> Restarts:
        return self._restarts.setdefault(model, Restarts(self._settings.restart_limits))

    def _check(self, cancelled: threading.Event) -> None:
        if cancelled.is_set():
            raise JobCancelled("cancelled while the engine was starting")
        if self._stopped.is_set():
            raise EngineUnavailable("the engine is being stopped")

    def _on_begun(self, model: str, begun: Ready | Fatal) -> None:
        if isinstance(begun, Ready):
            log.info(
                "The engine is ready: %s on %s, %s",
                begun.model,
                begun.device,
                begun.compute_type,
                extra={"event": "engine_ready", "engine_pid": begun.pid, "load_s": begun.load_s},
            )
            return
        self._last_error = begun.message
        if begun.kind is not Failure.CONFIG:  # it is tried again, but not at once
            self._note_trouble(model)

    def _on_death(self, model: str, reason: str) -> None:
        self._died = True
        self._n_deaths += 1
        self._last_error = reason
        log.error("The engine died: %s", reason, extra={"event": "engine_died", "reason": reason})
        self._note_trouble(model)

    def _note_trouble(self, model: str) -> None:
        with self._lock:
            restarts, now = self._restarts_of(model), time.monotonic()
            restarts.died(now)
            rest_s = restarts.rest_s(now)
        self._settings.on_trouble(self._settings.device, model, rest_s)
