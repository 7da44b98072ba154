import threading
import time
from collections.abc import Callable, Sequence

import pytest

from daemon.engine.gate import CROWDED, Gate, GateSettings, Ticket
from daemon.errors import EngineUnavailable, JobCancelled


class Clock:
    """A time that only tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


class Visitor(threading.Thread):
    """Enters, notes its name, stays until it is told to leave."""

    def __init__(self, gate: Gate, name: str, seen: list[str], model: str = "base", company: int | None = None) -> None:
        super().__init__(name=name, daemon=True)
        self.gate, self.seen, self.model, self.company = gate, seen, model, company
        self.may_leave = threading.Event()
        self.ticket: Ticket | None = None
        self.start()

    def run(self) -> None:
        """Inside until told to leave."""
        with self.gate.enter(self.model, company=self.company, cancelled=threading.Event()) as ticket:
            self.ticket = ticket
            self.seen.append(self.name)
            self.may_leave.wait(20)

    def leave(self) -> None:
        """Outside when this returns."""
        self.may_leave.set()
        self.join(20)

    @property
    def device(self) -> str | None:
        """Where its seat is; None while it waits."""
        return self.ticket.seat.device if self.ticket and self.ticket.seat else None


def make_gate(
    max_open: int = 2,
    devices: Sequence[str] = ("cpu",),
    n_per_device: int = 1,
    clock: Clock | None = None,
    spare: str | None = None,
) -> Gate:
    """A gate where no other model has to wait for its turn, unless there is a clock."""
    settings = GateSettings(devices, max_open, n_per_device, turn_s=10.0 if clock else 0.0, spare=spare)
    return Gate(settings, clock) if clock else Gate(settings)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


def inside(gate: Gate) -> list[tuple[str | None, int]]:
    """Each seat's model and how many are in it."""
    return [(seat.model, seat.n_jobs) for seat in gate.seats]


def test_first_come_first_served() -> None:
    """A later job never passes an earlier one, even where there is room for it and not for the other."""
    gate, seen = make_gate(2), list[str]()
    a = Visitor(gate, "a", seen)
    wait_until(lambda: seen == ["a"])
    b = Visitor(gate, "b", seen, company=1)
    wait_until(lambda: gate.n_waiting == 1)
    c = Visitor(gate, "c", seen)
    wait_until(lambda: gate.n_waiting == 2)
    assert seen == ["a"]
    a.leave()
    wait_until(lambda: seen == ["a", "b"])
    assert gate.n_inside == 1
    b.leave()
    wait_until(lambda: seen == ["a", "b", "c"])
    c.leave()
    assert gate.n_inside == 0


def test_one_model_at_a_time() -> None:
    """A job with another model waits until the last of the first is out, and keeps later ones of the first out."""
    gate, seen = make_gate(3), list[str]()
    a, b = Visitor(gate, "a", seen), Visitor(gate, "b", seen)
    wait_until(lambda: gate.n_inside == 2)
    c = Visitor(gate, "c", seen, "other")
    wait_until(lambda: gate.n_waiting == 1)
    d = Visitor(gate, "d", seen)
    wait_until(lambda: gate.n_waiting == 2)
    a.leave()
    assert sorted(seen) == ["a", "b"]
    b.leave()
    wait_until(lambda: seen[2:] == ["c"])
    c.leave()
    wait_until(lambda: seen[2:] == ["c", "d"])
    d.leave()


def test_jobs_of_the_loaded_model_pass_another_model_for_a_short_while_only() -> None:
    """Each change of models costs a load; but however many keep coming, the other model has its turn."""
    clock = Clock()
    gate, seen = make_gate(4, clock=clock), list[str]()
    a = Visitor(gate, "a", seen)
    wait_until(lambda: seen == ["a"])
    b = Visitor(gate, "b", seen, "other")
    wait_until(lambda: gate.n_waiting == 1)
    c = Visitor(gate, "c", seen)
    wait_until(lambda: seen == ["a", "c"])
    clock.now += 11
    d = Visitor(gate, "d", seen)
    wait_until(lambda: gate.n_waiting == 2)
    a.leave()
    c.leave()
    wait_until(lambda: seen == ["a", "c", "b"])
    b.leave()
    wait_until(lambda: seen == ["a", "c", "b", "d"])
    d.leave()


def test_a_job_in_small_company_bounds_those_who_come_after_it() -> None:
    """The smallest limit of all that are inside holds for each; with the suspicion gone, so is the limit."""
    gate, seen = make_gate(8), list[str]()
    a = Visitor(gate, "a", seen, company=2)
    wait_until(lambda: seen == ["a"])
    b = Visitor(gate, "b", seen)
    wait_until(lambda: seen == ["a", "b"])
    c = Visitor(gate, "c", seen)
    wait_until(lambda: gate.n_waiting == 1)
    assert seen == ["a", "b"]
    assert a.ticket is not None
    gate.relax(a.ticket)
    wait_until(lambda: seen == ["a", "b", "c"])
    for visitor in (a, b, c):
        visitor.leave()


def test_the_least_busy_seat_with_the_model_is_taken() -> None:
    """Two devices that both have it share the jobs."""
    gate, seen = make_gate(8, ["cuda:0", "cuda:1"]), list[str]()
    for seat in gate.seats:
        seat.model = "base"
    visitors: list[Visitor] = []
    for n in range(4):
        visitors.append(Visitor(gate, str(n), seen))
        wait_until(lambda: gate.n_inside == len(visitors))
    assert inside(gate) == [("base", 2), ("base", 2)]
    for visitor in visitors:
        visitor.leave()


def test_another_device_loads_the_model_once_the_first_is_crowded() -> None:
    """Not for every second job: loading costs time, too."""
    gate, seen = make_gate(32, ["cuda:0", "cuda:1"]), list[str]()
    visitors = [Visitor(gate, str(n), seen) for n in range(CROWDED)]
    wait_until(lambda: gate.n_inside == CROWDED)
    assert sorted(inside(gate), key=str) == [("base", CROWDED), (None, 0)]
    visitors.append(Visitor(gate, "next", seen))
    wait_until(lambda: gate.n_inside == CROWDED + 1)
    assert sorted(seat.n_jobs for seat in gate.seats) == [1, CROWDED]
    for visitor in visitors:
        visitor.leave()


def test_the_least_recently_used_model_makes_way() -> None:
    """Two models fit on the device: a third ends the one that was idle for longer."""
    clock = Clock()
    gate, seen = make_gate(4, n_per_device=2, clock=clock), list[str]()
    for name in ("first", "second"):
        visitor = Visitor(gate, name, seen, name)
        wait_until(lambda: gate.n_inside == 1)
        clock.now += 1
        visitor.leave()
    assert [seat.model for seat in gate.seats] == ["first", "second"]
    third = Visitor(gate, "third", seen, "third")
    wait_until(lambda: gate.n_inside == 1)
    assert inside(gate) == [("third", 1), ("second", 0)]
    third.leave()


def test_two_models_on_one_device_do_not_wait_for_each_other() -> None:
    """With room for two, a job for a third model keeps one seat for itself, and the other one goes on."""
    gate, seen = make_gate(4, n_per_device=2), list[str]()
    a, b1, b2 = (Visitor(gate, name, seen, name[0]) for name in ("a", "b1", "b2"))
    wait_until(lambda: gate.n_inside == 3)
    c = Visitor(gate, "c", seen, "c")
    wait_until(lambda: gate.n_waiting == 1)
    late = Visitor(gate, "b3", seen, "b")
    wait_until(lambda: "b3" in seen)
    a.leave()
    wait_until(lambda: "c" in seen)
    for visitor in (b1, b2, c, late):
        visitor.leave()


def test_a_model_that_waits_takes_one_device_and_leaves_the_others() -> None:
    """One GPU is drained for it, the one with the fewest jobs; jobs of the first model go on at the other."""
    gate, seen = make_gate(8, ["cuda:0", "cuda:1"]), list[str]()
    for seat in gate.seats:
        seat.model = "a"
    visitors: list[Visitor] = []
    for n in range(3):
        visitors.append(Visitor(gate, f"a{n}", seen, "a"))
        wait_until(lambda: gate.n_inside == len(visitors))
    (lone,) = (visitor for visitor in visitors if visitor.device == "cuda:1")
    b = Visitor(gate, "b", seen, "b")
    wait_until(lambda: gate.n_waiting == 1)
    late = Visitor(gate, "late", seen, "a")
    wait_until(lambda: late.device == "cuda:0")
    lone.leave()
    wait_until(lambda: b.device == "cuda:1")
    for visitor in (*visitors, b, late):
        visitor.leave()


def test_a_barred_device_is_passed_over_until_its_time_is_up() -> None:
    """And used all the same where no other is left."""
    clock = Clock()
    gate, seen = make_gate(8, ["cuda:0", "cuda:1"], clock=clock), list[str]()
    gate.bar("cuda:0", "base", clock.now + 60)
    a = Visitor(gate, "a", seen)
    wait_until(lambda: a.device == "cuda:1")
    a.leave()
    gate.bar("cuda:1", "base", clock.now + 600)
    b = Visitor(gate, "b", seen)
    wait_until(lambda: b.device is not None)
    b.leave()
    clock.now += 61
    assert not gate.is_barred("cuda:0", "base")
    c = Visitor(gate, "c", seen)
    wait_until(lambda: c.device == "cuda:0")
    c.leave()


def test_the_spare_device_is_used_while_all_others_are_barred() -> None:
    """And no longer: jobs that come later go to the GPU again, however crowded it is."""
    clock = Clock()
    gate, seen = make_gate(4 * CROWDED, ["cuda:0", "cpu"], clock=clock, spare="cpu"), list[str]()
    crowd = [Visitor(gate, f"{n}", seen) for n in range(CROWDED + 1)]
    wait_until(lambda: len(seen) == len(crowd))
    assert {visitor.device for visitor in crowd} == {"cuda:0"}
    gate.bar("cuda:0", "base", clock.now + 60)
    moved = Visitor(gate, "moved", seen)
    wait_until(lambda: moved.device == "cpu")
    clock.now += 61
    back = Visitor(gate, "back", seen)
    wait_until(lambda: back.device == "cuda:0")
    for visitor in (*crowd, moved, back):
        visitor.leave()


def test_an_empty_seat_can_be_locked() -> None:
    """A job that comes meanwhile waits at the door; one that is inside keeps the seat from being locked."""
    clock = Clock()
    gate, seen = make_gate(4, clock=clock), list[str]()
    seat = gate.seats[0]
    a = Visitor(gate, "a", seen)
    wait_until(lambda: seen == ["a"])
    with gate.empty(seat, clock.now) as is_empty:
        assert not is_empty
    a.leave()
    with gate.empty(seat, clock.now - 1) as is_empty:
        assert not is_empty, "it was in use until now"
    with gate.empty(seat, clock.now) as is_empty:
        assert is_empty
        assert gate.n_inside == 0
        b = Visitor(gate, "b", seen)
        wait_until(lambda: gate.n_waiting == 1)
        assert seen == ["a"]
    wait_until(lambda: seen == ["a", "b"])
    b.leave()


def test_waiting_can_be_given_up() -> None:
    """A cancelled job leaves the queue, and those behind it move up."""
    gate, seen = make_gate(1), list[str]()
    a = Visitor(gate, "a", seen)
    wait_until(lambda: seen == ["a"])
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(JobCancelled), gate.enter("base", cancelled=cancelled):
        pass
    b = Visitor(gate, "b", seen)
    a.leave()
    wait_until(lambda: seen == ["a", "b"])
    b.leave()


def test_a_closed_gate_lets_nobody_in() -> None:
    """Those who wait are sent away."""
    gate = make_gate(1)
    gate.close()
    with pytest.raises(EngineUnavailable), gate.enter("base", cancelled=threading.Event()):
        pass
