"""How the service is at present, as the pages of its folders tell it. Asked from the threads of the inboxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from daemon.engine.client import EngineStatus
from daemon.figures import ServiceFigures
from daemon.folderpage.gathering import Hand, Live
from daemon.health import HistoryHealth
from daemon.workshop import Activity
from storage.reading import JobQueries
from storage.records import JobState


@dataclass(frozen=True, slots=True)
class LiveSource:
    """What is asked; none of it touches a folder. *begun*: whether the engine and the queue are there yet."""

    store: JobQueries
    figures: ServiceFigures
    health: HistoryHealth
    activities: Callable[[], Sequence[Activity]]
    engine_status: Callable[[], EngineStatus]
    begun: Callable[[], bool]

    def of(self, inbox: bytes) -> Live:
        """What concerns the people of *inbox*."""
        if not self.begun():
            return Live()
        etas = self.figures.etas()
        in_hand = [
            Hand(one.job.path, one.stage, one.done_s, one.total_s, etas.get(one.job.id))
            for one in self.activities()
            if one.job.inbox == inbox
        ]
        self.figures.pace()  # what it takes is looked up, where nobody else did
        left_s = self.figures.queue_eta_s(self.store.count_of(JobState.QUEUED))
        return Live(tuple(in_hand), left_s, self._trouble(), self.figures.forecast())

    def _trouble(self) -> str:
        status = self.engine_status()
        if status.state == "down":
            return f"the engine is down: {status.last_error}" if status.last_error else "the engine is down"
        return self.health.trouble()
