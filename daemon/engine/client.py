"""The engine, seen from the daemon: many threads ask for transcripts, a process for each device and model makes them.

Owns which job goes to which process and what survives a death; imports no machine-learning library. The rest of the
daemon knows the engine through this module only.
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from daemon.engine.attempt import Attempt, Checkpoint, Request
from daemon.engine.gate import Gate, GateSettings, Ticket
from daemon.engine.process import EngineProcess, Limits
from daemon.engine.protocol import Ready, ServerSettings
from daemon.engine.restarts import RestartLimits
from daemon.engine.seat import SeatProcess, SeatSettings
from daemon.engine.settings import SPARE, STATES, EngineSettings, EngineStatus, devices_of
from daemon.errors import ConfigError, DeviceFull, EngineDied, EngineNotLoaded, EngineUnavailable
from daemon.options import JobOptions
from daemon.transcript import SAMPLE_RATE_HZ, Transcript

__all__ = [
    "Checkpoint",
    "Engine",
    "EngineSettings",
    "EngineStatus",
    "Limits",
    "Request",
    "RestartLimits",
    "company_after",
    "devices_of",
]

log = logging.getLogger(__name__)

_BARRED_S: Final = 600.0
"""How long a device that cannot run a model is passed over, while another one can."""

_FULL_S: Final = 60.0
"""How long a device without memory for a job is passed over, while another one is left."""

_PROOF_S: Final = 600.0
"""A suspect that has done so much audio since the death has passed what was in the model then.

If not, the next death finds it farther on, and it is a suspect again.
"""

_IDLE_LOOK_S: Final = 5.0
"""How often to look for models that are not used, at the most."""


def company_after(died: EngineDied, n_deaths: int) -> int:
    """How many recordings may be in the engine with one that was in it at *n_deaths* deaths, the last being *died*.

    After the first death the suspects go in groups of about the root of their number, after the second each alone: a
    recording that kills the engine is found at the third death, and most of the others never have to be alone.
    """
    return 1 if n_deaths > 1 else max(1, math.isqrt(died.n_inside))


class Engine:
    """All engine processes. Every method may be called from any thread."""

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
        self._devices = devices_of(settings.device)
        self._spare = "cpu" if settings.device.endswith(SPARE) else None
        self._gate = Gate(GateSettings(self._devices, settings.max_open, settings.max_models, spare=self._spare))
        self._ids = itertools.count(1)
        self._stopped = threading.Event()

        def holder(device: str) -> SeatProcess:
            seat_settings = SeatSettings(
                device=device,
                module=module,
                limits=limits or Limits(),
                restart_limits=restart_limits or RestartLimits(),
                server_settings=self._server_settings,
                on_output=on_output,
                on_trouble=self._on_trouble,
            )
            return SeatProcess(seat_settings, self._stopped)

        self._holders = [holder(seat.device) for seat in self._gate.seats]
        if settings.idle_unload_s > 0:
            threading.Thread(target=self._watch_idle, name="engine-idle", daemon=True).start()

    def start(self, model: str) -> None:
        """Load *model* now, on every device at once; on the spare one only where no other can run it.

        Raises only where no device can run it: ConfigError where the operator must mend each, else EngineUnavailable.
        """
        wanted = [device for device in self._devices if device != self._spare]
        errors = self._start_all(wanted, model)
        if len(errors) == len(wanted) and self._spare is not None:
            wanted = [self._spare]
            errors = self._start_all(wanted, model)
        if len(errors) == len(wanted):
            raise next((error for error in errors if not isinstance(error, ConfigError)), errors[0])

    def _start_all(self, devices: Sequence[str], model: str) -> list[ConfigError | EngineUnavailable]:
        with ThreadPoolExecutor(len(devices), thread_name_prefix="engine-start") as pool:
            starts = [pool.submit(self._start_on, device, model) for device in devices]
        return [error for start in starts if (error := start.result())]

    def _start_on(self, device: str, model: str) -> ConfigError | EngineUnavailable | None:
        nobody = threading.Event()
        try:
            with self._gate.enter(model, cancelled=nobody, company=1, device=device) as ticket:
                self._running(ticket, nobody)
        except (ConfigError, EngineUnavailable) as error:
            self._pass_over(device, model, error)
            return error
        return None

    def transcribe(
        self,
        request: Request,
        checkpoint: Checkpoint,
        *,
        progress: Callable[[float, float], None],
        cancelled: threading.Event,
        company: int | None = None,
    ) -> Transcript:
        """The transcript of *request*; blocks for a place and for the work. *checkpoint* grows window by window.

        A call with the checkpoint of an earlier one goes on after it. *progress* gets the seconds done and the seconds
        in all. *company* limits how many jobs are in the process meanwhile (see `company_after`); 1 means alone. Raises
        EngineDied, EngineUnavailable, JobCancelled, ConfigError, RecordingError, and RuntimeError for a bug in the
        engine.
        """
        if not request.spans:
            return self._silent(request.options)
        while True:
            with self._gate.enter(request.options.model, cancelled=cancelled, company=company) as ticket:
                try:
                    process, ready = self._running(ticket, cancelled)
                except (ConfigError, EngineUnavailable) as error:
                    if self._stopped.is_set() or not self._goes_on(ticket, error):
                        raise
                    continue
                attempt = Attempt(process, request, checkpoint, self._proving(ticket, checkpoint, progress))
                try:
                    attempt.run(next(self._ids), cancelled, self._stopped)
                except DeviceFull as error:
                    self._gate.bar(_device(ticket), ticket.model, time.monotonic() + _FULL_S)
                    if not self._pass_over(_device(ticket), ticket.model, error):
                        raise
                    continue
                except EngineDied as error:
                    if error.n_inside:
                        raise
                    continue  # it was dead before this job was in it
                self._holder(ticket).worked(ticket.model)
            return _transcript(checkpoint, ready)

    def _proving(
        self, ticket: Ticket, checkpoint: Checkpoint, progress: Callable[[float, float], None]
    ) -> Callable[[float, float], None]:
        """*progress*, and an end of the suspicion against a job that went on for long enough."""
        enough = checkpoint.next_sample + _PROOF_S * SAMPLE_RATE_HZ

        def advance(done_s: float, total_s: float) -> None:
            if checkpoint.next_sample >= enough and ticket.company < self._settings.max_open:
                self._gate.relax(ticket)
            progress(done_s, total_s)

        return advance

    def status(self) -> EngineStatus:
        """The engine now; never blocks."""
        seats = tuple(holder.status(seat.n_jobs) for holder, seat in zip(self._holders, self._gate.seats, strict=True))
        first = min(seats, key=lambda seat: STATES.index(seat.state))
        return EngineStatus(
            state=first.state,
            pid=first.pid,
            model=first.model,
            device=first.device,
            compute_type=first.compute_type,
            n_jobs=sum(seat.n_jobs for seat in seats),
            n_waiting=self._gate.n_waiting,
            n_restarts=sum(seat.n_restarts for seat in seats),
            last_error=next((seat.last_error for seat in (first, *seats) if seat.last_error), None),
            seats=seats,
        )

    def close(self, grace_s: float) -> None:
        """Stop for good; jobs still inside raise EngineUnavailable. Safe to call again."""
        self._stopped.set()
        self._gate.close()
        with ThreadPoolExecutor(len(self._holders), thread_name_prefix="engine-close") as pool:
            for holder in self._holders:
                pool.submit(holder.close, grace_s)

    def unload_idle(self, idle_s: float) -> int:
        """End the processes that have had no job for *idle_s*; how many there were. The next job starts them again."""
        n_unloaded = 0
        for holder, seat in zip(self._holders, self._gate.seats, strict=True):
            if holder.process is None or holder.process.dead:
                continue
            with self._gate.empty(seat, time.monotonic() - idle_s) as is_empty:
                if is_empty and holder.unload():
                    n_unloaded += 1
                    log.info(
                        "No job for %.0f s: the model %s is given up on %s until it is needed",
                        idle_s,
                        seat.model,
                        seat.device,
                        extra={"event": "engine_unloaded", "model": seat.model, "device": seat.device},
                    )
        return n_unloaded

    def _watch_idle(self) -> None:
        idle_s = self._settings.idle_unload_s
        while not self._stopped.wait(min(_IDLE_LOOK_S, idle_s / 2)):
            self.unload_idle(idle_s)

    def _holder(self, ticket: Ticket) -> SeatProcess:
        assert ticket.seat is not None
        return self._holders[ticket.seat.number]

    def _running(self, ticket: Ticket, cancelled: threading.Event) -> tuple[EngineProcess, Ready]:
        return self._holder(ticket).running(ticket.model, cancelled)

    def _pass_over(self, device: str, model: str, error: ConfigError | EngineUnavailable) -> bool:
        """Send jobs for *model* elsewhere; whether there is another device that may have it."""
        if isinstance(error, ConfigError):
            self._gate.bar(device, model, time.monotonic() + _BARRED_S)
        # A death or a full device has barred it already, for as long as the next start has to wait.
        others = [other for other in self._devices if other != device]
        left = [other for other in others if not self._gate.is_barred(other, model)]
        if left:
            log.warning(
                "%s cannot run %r, going on with %s: %s",
                device,
                model,
                ", ".join(left),
                error,
                extra={"event": "device_passed_over", "device": device, "model": model},
            )
        return bool(left)

    def _goes_on(self, ticket: Ticket, error: ConfigError | EngineUnavailable) -> bool:
        """Whether a job may ask again: on another device, or here for as long as the process may be started again."""
        return self._pass_over(_device(ticket), ticket.model, error) or isinstance(error, EngineNotLoaded)

    def _on_trouble(self, device: str, model: str, rest_s: float) -> None:
        """A process died or could not load: others have the jobs until it may be started again."""
        self._gate.bar(device, model, time.monotonic() + rest_s)

    def _silent(self, options: JobOptions) -> Transcript:
        """The transcript of a recording without speech: the model would only invent words."""
        ready = next((holder.ready for holder in self._holders if holder.ready), None)
        return Transcript(
            segments=(),
            language=options.language or "",
            language_probability=1.0 if options.language else 0.0,
            model=options.model,
            device=ready.device if ready else "",
            compute_type=ready.compute_type if ready else "",
        )

    def _server_settings(self, device: str, model: str) -> ServerSettings:
        settings = self._settings
        return ServerSettings(
            model=model,
            device=device,
            compute_type=settings.compute_type,
            lanes=settings.lanes,
            threads=settings.threads,
            max_batch=settings.max_batch,
            profile=settings.profile,
            models_dir=str(settings.models_dir),
            allow_download=settings.allow_download,
        )


def _device(ticket: Ticket) -> str:
    assert ticket.seat is not None
    return ticket.seat.device


def _transcript(checkpoint: Checkpoint, ready: Ready) -> Transcript:
    return Transcript(
        segments=tuple(checkpoint.segments),
        language=checkpoint.language or "",
        language_probability=checkpoint.language_probability,
        model=ready.model,
        device=ready.device,
        compute_type=ready.compute_type,
        translation=tuple(checkpoint.translation),
    )
