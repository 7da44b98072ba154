from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from daemon.actor import STALE_S, Pulse
from daemon.clock import monotonic_s
from daemon.engine.client import EngineStatus
from daemon.health import HistoryHealth
from daemon.vitals import Vitals
from monitor.alert import Alert
from monitor.figures import Key
from storage.errors import StorageUnavailable
from storage.records import JobState

AT = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
READY = EngineStatus("ready", None, None, None, None, 0, 0, 0, None, ())


@dataclass
class FakeMonitoring:
    """As much of the monitor as is asked."""

    open_alerts: list[Alert] = field(default_factory=list[Alert])
    hangs: bool = False

    def stuck(self, now: float) -> bool:
        """As `Monitoring.stuck`."""
        return self.hangs


@dataclass
class FakeFigures:
    """As much of the figures as is asked."""

    trouble: str = ""
    n_done: int = 0

    def counts(self) -> dict[JobState, int]:
        """As `ServiceFigures.counts`."""
        if self.trouble:
            raise StorageUnavailable(self.trouble)
        return {JobState.QUEUED: 0, JobState.DONE: self.n_done}


class Patient:
    """Vitals, and what they are of."""

    def __init__(self) -> None:
        self.figures, self.monitoring = FakeFigures(), FakeMonitoring()
        self.health, self.pulse = HistoryHealth(), Pulse()
        self.status = READY
        figures, monitoring = cast("Any", self.figures), cast("Any", self.monitoring)
        self.vitals = Vitals(figures, monitoring, self.health, self.pulse, lambda: self.status, phase="")


@pytest.fixture
def patient() -> Patient:
    return Patient()


def alert(title: str) -> Alert:
    return Alert("a", Key("jobs"), "warning", title, "", "", 1.0, 2.0, 2.0, 2.0, AT, AT)


def test_a_daemon_whose_loops_get_on_is_well(patient: Patient) -> None:
    """One that is stuck is named, the monitor too."""
    patient.pulse.beat("dispatcher", monotonic_s())
    assert patient.vitals.sick() == ""
    patient.pulse.beat("dispatcher", monotonic_s() - STALE_S - 1)
    patient.monitoring.hangs = True
    assert patient.vitals.sick() == "dispatcher is stuck, monitor is stuck"


def test_it_is_ready_when_a_recording_would_be_done(patient: Patient) -> None:
    """Not before the start is over, not without an engine, not when its end could not be written."""
    vitals = patient.vitals
    assert vitals.not_ready() == ""
    vitals.phase = "starting"
    assert vitals.not_ready() == "starting"
    vitals.phase = ""
    patient.status = replace(READY, state="down", last_error="killed by SIGKILL")
    assert vitals.not_ready() == "the engine is down: killed by SIGKILL"
    patient.status = replace(READY, state="starting")
    assert vitals.not_ready() == "the engine is starting"
    patient.status = replace(READY, state="unloaded")  # it is loaded when it is needed
    assert vitals.not_ready() == ""
    vitals.spool_trouble = lambda: "cannot write spool/1-1.s16"
    assert vitals.not_ready() == "cannot write spool/1-1.s16"
    patient.health.lose("the file is gone")
    assert vitals.not_ready() == "the file is gone"


def test_a_line_tells_how_it_goes(patient: Patient) -> None:
    """The engine, the jobs, and the alerts with the title of the first."""
    assert patient.vitals.line() == "engine ready; jobs: none yet"
    patient.figures.n_done = 3
    patient.monitoring.open_alerts.append(alert("The disk is full"))
    assert patient.vitals.line() == "engine ready; jobs: done 3; alert: The disk is full"
    patient.monitoring.open_alerts.append(alert("The GPU is lost"))
    assert patient.vitals.line() == "engine ready; jobs: done 3; 2 alerts: The disk is full"
    patient.figures.trouble = "locked"
    assert patient.vitals.line() == "the history cannot be read: locked"
