"""The one loop: it steps, rests, wakes, survives bugs, shows that it is alive, and ends when asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from daemon.actor import LONGEST_REST_S, STALE_S, ActorThread, Pulse

DEADLINE_S = 20.0
FOR_EVER_S = 1e6


class Steps:
    """An actor that counts its steps and lets a test wait for the n-th."""

    def __init__(self, rest_s: float = FOR_EVER_S, do: Callable[[int], None] = lambda n: None) -> None:
        self.rest_s = rest_s
        self.n_done = 0
        self._do = do
        self._changed = threading.Condition()

    def step(self, now: float) -> float:
        """Count, and do what the test wants done in this step."""
        del now
        with self._changed:
            self.n_done += 1
            self._changed.notify_all()
        self._do(self.n_done)
        return self.rest_s

    def wait_for(self, n: int) -> None:
        """Return once the *n*-th step has begun."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.n_done >= n, DEADLINE_S)


@pytest.fixture
def start() -> Iterator[Callable[..., ActorThread]]:
    threads: list[ActorThread] = []

    def start(actor: Steps, pulse: Pulse | None = None) -> ActorThread:
        thread = ActorThread("loop", actor, pulse or Pulse())
        thread.start()
        threads.append(thread)
        return thread

    yield start
    for thread in threads:
        thread.ask_to_stop()
        assert thread.join(DEADLINE_S)


def test_a_thread_steps_at_once_and_then_when_its_actor_said(start: Callable[..., ActorThread]) -> None:
    """The first step needs no wake-up."""
    actor = Steps(rest_s=0.0)
    start(actor)
    actor.wait_for(100)


def test_waking_cuts_a_rest_short(start: Callable[..., ActorThread]) -> None:
    """However long the actor wanted to rest."""
    actor = Steps()
    thread = start(actor)
    for n in range(1, 20):
        actor.wait_for(n)
        thread.wake()
    actor.wait_for(20)


def test_a_wake_up_in_the_middle_of_a_step_is_not_lost(start: Callable[..., ActorThread]) -> None:
    """What it is about may have come too late for that step."""
    woken: list[ActorThread] = []

    def wake_once(n: int) -> None:
        if n == 1:
            ready.wait(DEADLINE_S)
            woken[0].wake()

    ready = threading.Event()
    actor = Steps(do=wake_once)
    woken.append(start(actor))
    ready.set()
    actor.wait_for(2)


def test_a_bug_in_a_step_is_logged_and_the_loop_lives(
    start: Callable[..., ActorThread], caplog: pytest.LogCaptureFixture
) -> None:
    """The traceback is in the log, and the next step comes."""

    def fail_first(n: int) -> None:
        if n == 1:
            raise ValueError("a bug")

    actor = Steps(do=fail_first)
    thread = start(actor)
    actor.wait_for(1)
    thread.wake()
    actor.wait_for(2)
    (record,) = caplog.records
    assert "loop failed in a step" in record.getMessage()
    assert record.exc_info is not None


def test_stopping_ends_a_rest_and_is_no_stall() -> None:
    """Asking returns at once; a loop that ended on purpose is forgotten by the pulse."""
    pulse = Pulse()
    actor = Steps()
    thread = ActorThread("loop", actor, pulse)
    thread.start()
    actor.wait_for(1)
    thread.ask_to_stop()
    assert thread.join(DEADLINE_S)
    assert pulse.stale(1e12) == []


def test_stopping_before_the_first_step_is_heard() -> None:
    """However early it is asked, the loop does not rest before it ends."""
    for _ in range(50):
        thread = ActorThread("loop", Steps(), Pulse())
        thread.start()
        thread.ask_to_stop()
        assert thread.join(DEADLINE_S)


def test_a_stop_between_two_instructions_of_the_loop_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Just as it takes note of the wake-ups so far: it must not rest on that."""
    thread = ActorThread("loop", Steps(), Pulse())

    class Clearing(threading.Event):
        def clear(self) -> None:
            thread.ask_to_stop()
            super().clear()

    monkeypatch.setattr(thread, "_wake", Clearing())
    thread.start()
    assert thread.join(LONGEST_REST_S / 2)


def test_joining_a_thread_that_never_ran_is_no_error() -> None:
    """A start that fails half-way stops all threads, also those that were not started."""
    thread = ActorThread("loop", Steps(), Pulse())
    thread.ask_to_stop()
    assert thread.join(0.0)


def test_a_thread_in_a_step_is_waited_for_only_so_long() -> None:
    """The answer tells whether it ended."""
    release = threading.Event()
    actor = Steps(do=lambda n: assert_set(release))
    thread = ActorThread("loop", actor, Pulse())
    thread.start()
    actor.wait_for(1)
    thread.ask_to_stop()
    assert not thread.join(0.01)
    release.set()
    assert thread.join(DEADLINE_S)


def assert_set(event: threading.Event) -> None:
    assert event.wait(DEADLINE_S)


def test_a_loop_is_stale_when_no_step_ended_for_long() -> None:
    """One that rests shows itself more often than that."""
    pulse = Pulse()
    pulse.beat("a", 100.0)
    pulse.beat("b", 100.0 + STALE_S)
    assert pulse.stale(100.0 + STALE_S) == []
    assert pulse.stale(100.1 + STALE_S) == ["a"]
    pulse.beat("a", 101.0 + STALE_S)
    assert pulse.stale(101.0 + STALE_S) == []
    pulse.forget("a")
    pulse.forget("a")
    assert pulse.stale(1e12) == ["b"]
    assert LONGEST_REST_S < STALE_S / 2


def test_a_long_step_that_beats_is_not_stale() -> None:
    """What gets on, however slowly, is no hang."""
    now, pulse, beaten, done = [0.0], Pulse(), threading.Event(), threading.Event()

    def crawl(n: int) -> None:
        del n
        now[0] = STALE_S * 2
        thread.beat()
        beaten.set()
        assert done.wait(DEADLINE_S)

    thread = ActorThread("loop", Steps(do=crawl), pulse, clock=lambda: now[0])
    thread.start()
    assert beaten.wait(DEADLINE_S)
    assert pulse.stale(STALE_S * 2) == []
    assert pulse.stale(STALE_S * 4) == ["loop"]
    thread.ask_to_stop()
    done.set()
    assert thread.join(DEADLINE_S)


def test_a_loop_that_hangs_in_its_first_step_is_stale() -> None:
    """Its clock starts with the thread, not with the end of a step."""
    pulse = Pulse()
    release = threading.Event()
    actor = Steps(do=lambda n: assert_set(release))
    thread = ActorThread("loop", actor, pulse, clock=lambda: 100.0)
    thread.start()
    actor.wait_for(1)
    assert pulse.stale(101.0 + STALE_S) == ["loop"]
    thread.ask_to_stop()
    release.set()
    assert thread.join(DEADLINE_S)


def test_a_loop_that_is_away_does_not_count() -> None:
    """It is in the hands of a share, which is no fault of ours; from its next beat on it counts again."""
    pulse = Pulse()
    thread = ActorThread("inbox", Steps(), pulse, clock=lambda: 0.0)
    thread.beat()
    thread.away()
    assert pulse.stale(1000.0) == []
    thread.beat()
    assert pulse.stale(1000.0) == ["inbox"]
