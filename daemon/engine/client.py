"""The engine, seen from the daemon: many threads ask for transcripts, one process with one model makes them.

Owns slots, model changes, restarts and what survives a death; imports no machine-learning library. The rest of the
daemon knows the engine through this module only.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from daemon.engine.attempt import Attempt, Checkpoint, Request
from daemon.engine.gate import POLL_S, Gate
from daemon.engine.process import Death, EngineProcess, Launch, Limits
from daemon.engine.protocol import Failure, Fatal, Ready, ServerSettings
from daemon.engine.restarts import RestartLimits, Restarts
from daemon.errors import ConfigError, EngineUnavailable, JobCancelled
from daemon.options import JobOptions
from daemon.transcript import Transcript

__all__ = ["Checkpoint", "Engine", "EngineSettings", "EngineStatus", "Limits", "Request", "RestartLimits"]

log = logging.getLogger(__name__)

State = Literal["starting", "ready", "down", "stopped"]

_MODEL_CHANGE_GRACE_S = 5.0  # an engine without jobs ends at once; this is for one that does not


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the operator wants the engine. *threads* 0: as many as there are cores, shared among the *slots*."""

    models_dir: Path
    device: str = "auto"
    compute_type: str = "auto"
    slots: int = 2
    threads: int = 0
    allow_download: bool = False


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """The engine at one moment. *n_jobs* are in it; *n_restarts* counts starts after a death."""

    state: State
    pid: int | None
    model: str | None
    device: str | None
    compute_type: str | None
    n_jobs: int
    n_restarts: int
    last_error: str | None


class Engine:
    """The one engine of a device. Every method may be called from any thread."""

    def __init__(
        self,
        settings: EngineSettings,
        on_output: Callable[[str, str], None],
        *,
        module: str = "daemon.engine.server",
        limits: Limits | None = None,
        restart_limits: RestartLimits | None = None,
    ) -> None:
        self._settings = settings
        self._on_output = on_output
        self._module = module
        self._limits = limits or Limits()
        self._gate = Gate(settings.slots)
        self._restarts = Restarts(restart_limits or RestartLimits())
        self._ids = itertools.count(1)
        self._starting = threading.Lock()
        self._stopped = threading.Event()
        self._process: EngineProcess | None = None
        self._died = False  # since the last start
        self._n_restarts = 0
        self._last_error: str | None = None

    def start(self, model: str) -> None:
        """Load *model* now. Raises ConfigError for what the operator must mend, EngineUnavailable if it dies."""
        with self._gate.enter(model, alone=True, cancelled=threading.Event()):
            self._running(model, threading.Event())

    def transcribe(
        self,
        request: Request,
        checkpoint: Checkpoint,
        *,
        progress: Callable[[float, float], None],
        cancelled: threading.Event,
        alone: bool = False,
    ) -> Transcript:
        """The transcript of *request*; blocks for a slot and for the work. *checkpoint* grows window by window.

        A call with the checkpoint of an earlier one goes on after it. *progress* gets the seconds done and the seconds
        in all. With *alone* no other job is in the engine meanwhile. Raises EngineDied, EngineUnavailable,
        JobCancelled, ConfigError, RecordingError, and RuntimeError for a bug in the engine.
        """
        if not request.spans:
            return self._silent(request.options)
        with self._gate.enter(request.options.model, alone=alone, cancelled=cancelled):
            process, ready = self._running(request.options.model, cancelled)
            attempt = Attempt(process, request, checkpoint, progress)
            attempt.run(next(self._ids), cancelled, self._stopped)
        return Transcript(
            segments=tuple(checkpoint.segments),
            language=checkpoint.language or "",
            language_probability=checkpoint.language_probability,
            model=ready.model,
            device=ready.device,
            compute_type=ready.compute_type,
        )

    def status(self) -> EngineStatus:
        """The engine now; never blocks."""
        process = self._process
        ready = process.ready if process else None
        return EngineStatus(
            state=self._state(process),
            pid=process.pid if process and not process.dead else None,
            model=process.model if process else None,
            device=ready.device if ready else None,
            compute_type=ready.compute_type if ready else None,
            n_jobs=self._gate.n_inside,
            n_restarts=self._n_restarts,
            last_error=self._last_error,
        )

    def close(self, grace_s: float) -> None:
        """Stop for good; jobs still inside raise EngineUnavailable. Safe to call again."""
        self._stopped.set()
        self._gate.close()
        if self._process is not None:
            self._process.close(grace_s)

    def _state(self, process: EngineProcess | None) -> State:
        if self._stopped.is_set() or process is None:
            return "stopped"
        if process.dead:
            return "down"
        return "ready" if process.ready else "starting"

    def _silent(self, options: JobOptions) -> Transcript:
        """The transcript of a recording without speech: the model would only invent words."""
        ready = self._process.ready if self._process else None
        return Transcript(
            segments=(),
            language=options.language or "",
            language_probability=1.0 if options.language else 0.0,
            model=options.model,
            device=ready.device if ready else "",
            compute_type=ready.compute_type if ready else "",
        )

    def _running(self, model: str, cancelled: threading.Event) -> tuple[EngineProcess, Ready]:
        """A process with *model*, started if need be. Only for a thread inside the gate: nobody uses another model."""
        while not self._starting.acquire(timeout=POLL_S):
            self._check(cancelled)
        try:
            process = self._process
            if process is not None and process.model == model and not process.dead and process.ready:
                return process, process.ready
            if process is not None:
                process.close(_MODEL_CHANGE_GRACE_S)
            return self._started(model, cancelled)
        finally:
            self._starting.release()

    def _started(self, model: str, cancelled: threading.Event) -> tuple[EngineProcess, Ready]:
        self._wait_out_backoff(cancelled)
        if self._died:
            self._n_restarts += 1
            log.info("Starting the engine again", extra={"event": "engine_restart", "n_restarts": self._n_restarts})
        self._died = False
        process = self._process = EngineProcess(
            Launch(self._module, self._server_settings(model), self._limits, self._on_output, self._on_death)
        )
        try:
            return process, self._loaded(process, cancelled)
        except BaseException:
            process.close(0.0)
            raise

    def _wait_out_backoff(self, cancelled: threading.Event) -> None:
        while (wait_s := self._restarts.wait_s(time.monotonic())) > 0:
            self._check(cancelled)
            cancelled.wait(min(wait_s, POLL_S))

    def _loaded(self, process: EngineProcess, cancelled: threading.Event) -> Ready:
        while True:
            self._check(cancelled)
            begun = process.begun(POLL_S)
            if isinstance(begun, Ready):
                log.info(
                    "The engine is ready: %s on %s, %s",
                    begun.model,
                    begun.device,
                    begun.compute_type,
                    extra={"event": "engine_ready", "engine_pid": begun.pid, "load_s": begun.load_s},
                )
                return begun
            if isinstance(begun, Fatal):
                self._last_error = begun.message
                if begun.kind is Failure.CONFIG:
                    raise ConfigError(begun.message)
                self._restarts.died(time.monotonic())  # it is tried again, but not at once
                raise EngineUnavailable(begun.message)
            if isinstance(begun, Death):
                raise EngineUnavailable(f"the engine ended while it loaded {process.model!r}: {begun.reason}")

    def _check(self, cancelled: threading.Event) -> None:
        if cancelled.is_set():
            raise JobCancelled("cancelled while the engine was starting")
        if self._stopped.is_set():
            raise EngineUnavailable("the engine is being stopped")

    def _on_death(self, reason: str) -> None:
        """Called by the process's reader before any job hears of it."""
        self._died = True
        self._last_error = reason
        self._restarts.died(time.monotonic())
        log.error("The engine died: %s", reason, extra={"event": "engine_died", "reason": reason})

    def _server_settings(self, model: str) -> ServerSettings:
        settings = self._settings
        return ServerSettings(
            model=model,
            device=settings.device,
            compute_type=settings.compute_type,
            slots=settings.slots,
            threads=settings.threads,
            models_dir=str(settings.models_dir),
            allow_download=settings.allow_download,
        )
