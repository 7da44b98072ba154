"""Who may be in the engine: at most so many at once, first come first served, one model at a time.

Owns waiting and turns; knows nothing of the engine itself.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from daemon.errors import EngineUnavailable, JobCancelled

POLL_S: Final = 0.2
"""How often a waiting thread looks whether its job was cancelled."""


@dataclass(frozen=True, slots=True, eq=False)
class _Ticket:
    model: str
    alone: bool


class Gate:
    """Turns for *slots* jobs. Strictly in order, so that neither a lone job nor another model waits for ever."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._inside: set[_Ticket] = set()
        self._waiting: deque[_Ticket] = deque()
        self._changed = threading.Condition()
        self._closed = False

    @contextmanager
    def enter(self, model: str, *, alone: bool, cancelled: threading.Event) -> Generator[None, None, None]:
        """Inside the block the job has its slot; jobs inside are all of one model, and *alone* means the only one.

        Raises JobCancelled while waiting once *cancelled* is set, EngineUnavailable once the gate is closed.
        """
        ticket = _Ticket(model, alone)
        self._wait_for_turn(ticket, cancelled)
        try:
            yield
        finally:
            with self._changed:
                self._inside.remove(ticket)
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def n_inside(self) -> int:
        """How many jobs have a slot."""
        return len(self._inside)

    @property
    def n_waiting(self) -> int:
        """How many jobs wait for a slot."""
        return len(self._waiting)

    def _wait_for_turn(self, ticket: _Ticket, cancelled: threading.Event) -> None:
        with self._changed:
            self._waiting.append(ticket)
            try:
                while not (self._waiting[0] is ticket and self._may_enter(ticket)):
                    if cancelled.is_set():
                        raise JobCancelled("cancelled while waiting for the engine")
                    if self._closed:
                        raise EngineUnavailable("the engine is being stopped")
                    self._changed.wait(POLL_S)
                self._inside.add(ticket)
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _may_enter(self, ticket: _Ticket) -> bool:
        if self._closed:
            return False
        if not self._inside:
            return True
        other = next(iter(self._inside))
        return not (ticket.alone or other.alone) and other.model == ticket.model and len(self._inside) < self._slots
