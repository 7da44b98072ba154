"""Whether the daemon lives, whether a recording would be done now, and how it goes: for those who watch it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from daemon.actor import Pulse
from daemon.clock import monotonic_s
from daemon.engine.client import EngineStatus
from daemon.figures import ServiceFigures
from daemon.health import HistoryHealth
from daemon.monitoring import Monitoring
from storage.errors import StorageError


@dataclass(slots=True)
class Vitals:
    """Asked from any thread; nothing in it waits. *phase* is ``starting`` or ``stopping``, empty in between."""

    figures: ServiceFigures
    monitoring: Monitoring
    health: HistoryHealth
    pulse: Pulse
    engine_status: Callable[[], EngineStatus]
    phase: str = "starting"
    spool_trouble: Callable[[], str] = str

    def sick(self) -> str:
        """Why the daemon does not live; empty if it does."""
        return ", ".join(f"{name} is stuck" for name in self.stuck())

    def stuck(self) -> list[str]:
        """The loops that do not get on."""
        now = monotonic_s()
        return self.pulse.stale(now) + (["monitor"] if self.monitoring.stuck(now) else [])

    def not_ready(self) -> str:
        """Why no recording would be done now; empty if it would."""
        if self.phase:
            return self.phase
        status = self.engine_status()
        if status.state in ("down", "starting", "stopped"):
            return f"the engine is {status.state}" + (f": {status.last_error}" if status.last_error else "")
        return self.health.trouble() or self.spool_trouble()

    def line(self) -> str:
        """How it goes, for ``systemctl status``."""
        try:
            counts = self.figures.counts()
        except StorageError as error:
            return f"the history cannot be read: {error}"
        jobs = ", ".join(f"{state} {count}" for state, count in counts.items() if count) or "none yet"
        alerts = self.monitoring.open_alerts
        many = f"{len(alerts)} alerts: " if len(alerts) > 1 else "alert: "
        told = f"; {many}{alerts[0].title}" if alerts else ""
        return f"engine {self.engine_status().state}; jobs: {jobs}{told}"
