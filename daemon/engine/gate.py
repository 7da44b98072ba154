"""Who may be in the engine: which job has its turn next, in which seat, and in what company.

A seat is room for one model on one device. Owns waiting and turns; knows nothing of the processes in the seats.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from daemon.errors import EngineUnavailable, JobCancelled

POLL_S: Final = 0.2
"""How often a waiting thread looks whether its job was cancelled."""

CROWDED: Final = 8
"""With so many jobs in a seat, another device is worth the time of loading the model there."""

_NOBODY: Final = 0  # the company of what is no job and lets none in

TURN_S: Final = 10.0
"""How long jobs may still come to a loaded model while a job for another one waits: each change costs a load."""


@dataclass(slots=True, eq=False)
class Ticket:
    """A job that waits or is inside. *company*: at most so many in its seat, itself counted."""

    model: str
    company: int
    came_at: float
    device: str | None = None
    seat: Seat | None = None


@dataclass(slots=True, eq=False)
class Seat:
    """Room for one model on one device. *model* is that of the last job; *left_at* is when the last one left."""

    number: int
    device: str
    model: str | None = None
    inside: set[Ticket] = field(default_factory=set[Ticket])
    left_at: float = 0.0

    @property
    def n_jobs(self) -> int:
        """How many jobs are inside."""
        return sum(ticket.company != _NOBODY for ticket in tuple(self.inside))

    def admits(self, ticket: Ticket) -> bool:
        """Whether *ticket* may come in, for the sake of those inside and of its own."""
        n_inside = len(self.inside) + 1
        return all(n_inside <= other.company for other in (ticket, *self.inside))


@dataclass(frozen=True, slots=True)
class GateSettings:
    """*max_open* jobs in a seat, *n_per_device* seats on each device; on *spare* only while all others are barred."""

    devices: Sequence[str]
    max_open: int
    n_per_device: int = 1
    spare: str | None = None
    turn_s: float = TURN_S


class Gate:
    """Turns in order of arrival. A job is passed only by jobs that take nothing that it waits for.

    A job that finds no place has one seat kept for it, which nobody behind it may enter: its own model's, or the one
    that is soonest empty. So neither a lone job nor another model waits for ever, while the other seats go on.
    """

    def __init__(self, settings: GateSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_open = settings.max_open
        self._turn_s = settings.turn_s
        self._spare = settings.spare
        self._clock = clock
        devices = [device for device in settings.devices for _ in range(settings.n_per_device)]
        self.seats: Final = tuple(Seat(number, device) for number, device in enumerate(devices))
        self._waiting: list[Ticket] = []
        self._barred: dict[tuple[str, str], float] = {}
        self._changed = threading.Condition()
        self._closed = False

    @contextmanager
    def enter(
        self, model: str, *, cancelled: threading.Event, company: int | None = None, device: str | None = None
    ) -> Generator[Ticket, None, None]:
        """Inside the block the job has a place in the ticket's seat, where all jobs are of one model.

        *company* limits how many are in the seat, this one counted; 1 means alone. *device* None means any. Raises
        JobCancelled while waiting once *cancelled* is set, EngineUnavailable once the gate is closed.
        """
        limit = self._max_open if company is None else min(company, self._max_open)
        ticket = Ticket(model, limit, self._clock(), device)
        self._wait_for_turn(ticket, cancelled)
        try:
            yield ticket
        finally:
            self._leave(ticket)

    @contextmanager
    def empty(self, seat: Seat, since: float) -> Generator[bool, None, None]:
        """Whether *seat* has been empty since *since* (or longer) and stays so inside the block."""
        lock = Ticket(seat.model or "", _NOBODY, self._clock(), seat=seat)
        with self._changed:
            is_empty = not seat.inside and seat.left_at <= since
            if is_empty:
                seat.inside.add(lock)
        try:
            yield is_empty
        finally:
            if is_empty:
                self._leave(lock, left_at=seat.left_at)

    def relax(self, ticket: Ticket) -> None:
        """Let this job be in any company from now on."""
        with self._changed:
            ticket.company = self._max_open
            self._assign()

    def bar(self, device: str, model: str, until: float) -> None:
        """Send no job for *model* to *device* until then, as long as another device is left."""
        with self._changed:
            self._barred[device, model] = until
            self._assign()

    def is_barred(self, device: str, model: str) -> bool:
        """Whether `bar` still holds."""
        return self._barred.get((device, model), 0.0) > self._clock()

    def close(self) -> None:
        """Let nobody in any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def n_inside(self) -> int:
        """How many jobs have a place."""
        return sum(seat.n_jobs for seat in self.seats)

    @property
    def n_waiting(self) -> int:
        """How many jobs wait for a place."""
        return len(self._waiting)

    def _leave(self, ticket: Ticket, left_at: float | None = None) -> None:
        with self._changed:
            assert ticket.seat is not None
            ticket.seat.inside.remove(ticket)
            ticket.seat.left_at = self._clock() if left_at is None else left_at
            self._assign()

    def _wait_for_turn(self, ticket: Ticket, cancelled: threading.Event) -> None:
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._assign()
                while ticket.seat is None:
                    if cancelled.is_set():
                        raise JobCancelled("cancelled while waiting for the engine")
                    if self._closed:
                        raise EngineUnavailable("the engine is being stopped")
                    self._changed.wait(POLL_S)
                    if self._waiting and self._waiting[0] is ticket:
                        self._assign()  # some turns come by time alone; one thread that looks is enough
            finally:
                if ticket.seat is None:
                    self._waiting.remove(ticket)
                    self._assign()

    def _assign(self) -> None:
        """Give a place to everyone whose turn has come. Only with the lock."""
        if self._closed:
            return
        kept: set[Seat] = set()
        for ticket in tuple(self._waiting):
            seat = self._choose(ticket, kept)
            if seat is not None:
                seat.model = ticket.model
                seat.inside.add(ticket)
                ticket.seat = seat
                self._waiting.remove(ticket)
                self._changed.notify_all()
            elif (mine := self._keep(ticket, kept)) is not None:
                kept.add(mine)
                if len(kept) == len(self.seats):
                    return

    def _candidates(self, ticket: Ticket, kept: set[Seat]) -> list[Seat]:
        """The seats that may be had in the end: the spare ones, then barred ones, only where nothing else is left."""
        named = [seat for seat in self.seats if ticket.device in (None, seat.device)]
        open_now = [seat for seat in named if not self.is_barred(seat.device, ticket.model)]
        usable = [seat for seat in open_now if seat.device != self._spare] or open_now or named
        return [seat for seat in usable if seat not in kept]

    def _without(self, model: str, seats: Sequence[Seat]) -> list[Seat]:
        """Those of *seats* on devices where no seat has the model: one copy on a device is enough."""
        with_it = {seat.device for seat in self.seats if seat.model == model}
        return [seat for seat in seats if seat.device not in with_it]

    def _choose(self, ticket: Ticket, kept: set[Seat]) -> Seat | None:
        """The seat to enter now: the least busy with the model, else one that is empty, the longest first."""
        seats = self._candidates(ticket, kept)
        admitting = [seat for seat in seats if seat.model == ticket.model and seat.admits(ticket)]
        best = min(admitting, key=lambda seat: len(seat.inside), default=None)
        if best is not None and len(best.inside) < CROWDED:
            return best
        empty = [seat for seat in self._without(ticket.model, seats) if not seat.inside]
        if best is not None:  # no model that was just in use makes way for more room
            now = self._clock()
            empty = [seat for seat in empty if seat.model is None or now - seat.left_at > self._turn_s]
        return min(empty, key=lambda seat: (seat.model is not None, seat.left_at), default=best)

    def _keep(self, ticket: Ticket, kept: set[Seat]) -> Seat | None:
        """The seat that nobody else may enter until *ticket* has it; None while others may pass."""
        seats = self._candidates(ticket, kept)
        same = [seat for seat in seats if seat.model == ticket.model]
        if not same and self._clock() - ticket.came_at < self._turn_s:
            return None
        others = self._without(ticket.model, seats)
        return min(same or others, key=lambda seat: len(seat.inside), default=None)
