import threading
import time
from collections.abc import Callable

import pytest

from daemon.engine.gate import Gate
from daemon.errors import EngineUnavailable, JobCancelled


class Visitor(threading.Thread):
    """Enters, notes its name, stays until it is told to leave."""

    def __init__(self, gate: Gate, name: str, seen: list[str], model: str = "base", *, alone: bool = False) -> None:
        super().__init__(name=name, daemon=True)
        self.gate, self.seen, self.model, self.alone = gate, seen, model, alone
        self.leave = threading.Event()
        self.start()

    def run(self) -> None:
        """Inside until told to leave."""
        with self.gate.enter(self.model, alone=self.alone, cancelled=threading.Event()):
            self.seen.append(self.name)
            self.leave.wait(20)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


def enter(gate: Gate, name: str, seen: list[str], model: str = "base", *, alone: bool = False) -> Visitor:
    """A visitor that is either inside or in the queue when this returns."""
    before = gate.n_inside + gate.n_waiting
    visitor = Visitor(gate, name, seen, model, alone=alone)
    wait_until(lambda: gate.n_inside + gate.n_waiting == before + 1)
    return visitor


def test_first_come_first_served() -> None:
    """A later job never passes an earlier one, even where there is room for it and not for the other."""
    gate, seen = Gate(2), list[str]()
    a = enter(gate, "a", seen)
    b = enter(gate, "b", seen, alone=True)
    c = enter(gate, "c", seen)
    assert seen == ["a"]
    a.leave.set()
    wait_until(lambda: seen == ["a", "b"])
    assert gate.n_inside == 1
    b.leave.set()
    wait_until(lambda: seen == ["a", "b", "c"])
    c.leave.set()
    c.join(20)
    assert gate.n_inside == 0


def test_one_model_at_a_time() -> None:
    """A job with another model waits until the last of the first is out."""
    gate, seen = Gate(3), list[str]()
    a, b = enter(gate, "a", seen), enter(gate, "b", seen)
    c = enter(gate, "c", seen, model="other")
    a.leave.set()
    a.join(20)
    assert sorted(seen) == ["a", "b"]
    b.leave.set()
    wait_until(lambda: "c" in seen)
    c.leave.set()


def test_waiting_can_be_given_up() -> None:
    """A cancelled job leaves the queue, and those behind it move up."""
    gate, seen = Gate(1), list[str]()
    a = enter(gate, "a", seen)
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(JobCancelled), gate.enter("base", alone=False, cancelled=cancelled):
        pass
    b = enter(gate, "b", seen)
    a.leave.set()
    wait_until(lambda: seen == ["a", "b"])
    b.leave.set()


def test_a_closed_gate_lets_nobody_in() -> None:
    """Those who wait are sent away."""
    gate = Gate(1)
    gate.close()
    with pytest.raises(EngineUnavailable), gate.enter("base", alone=False, cancelled=threading.Event()):
        pass
