"""An actor is an object with ``step(now)``; here is the one loop that turns it into a thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final, Protocol

from daemon.clock import monotonic_s

log = logging.getLogger(__name__)

STALE_S: Final = 45.0
"""A loop that has not finished a step for so long counts as stuck; systemd then restarts us (WatchdogSec=60s)."""


LONGEST_REST_S: Final = STALE_S / 3
"""However little there is to do, a loop shows often enough that it is alive."""


class Actor(Protocol):
    """Work in small steps. A test calls `step` itself, with a time of its own."""

    def step(self, now: float) -> float:
        """Do what is due at *now* (monotonic seconds); the answer is after how many seconds to come again."""
        ...


class Pulse:
    """When each loop last finished a step: what the watchdog of systemd is fed from."""

    def __init__(self) -> None:
        self._beats: dict[str, float] = {}

    def beat(self, name: str, now: float) -> None:
        """Loop *name* is alive at *now*."""
        self._beats[name] = now

    def forget(self, name: str) -> None:
        """Loop *name* ended on purpose."""
        self._beats.pop(name, None)

    def stale(self, now: float) -> list[str]:
        """The loops that have not finished a step for STALE_S."""
        return [name for name, at in dict(self._beats).items() if now - at > STALE_S]


class ActorThread:
    """Runs an actor until stopped, and lets `wake` cut its rest short."""

    def __init__(self, name: str, actor: Actor, pulse: Pulse, clock: Callable[[], float] = monotonic_s) -> None:
        self._name = name
        self._actor = actor
        self._pulse = pulse
        self._clock = clock
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self.beat()
        self._thread.start()

    def wake(self) -> None:
        """Let the next step begin at once."""
        self._wake.set()

    def beat(self) -> None:
        """A step that takes long gets on (called by the actor, from inside it)."""
        self._pulse.beat(self._name, self._clock())

    def away(self) -> None:
        """What comes until the next beat may hang, and is no fault of ours if it does: it is watched by others."""
        self._pulse.forget(self._name)

    def ask_to_stop(self) -> None:
        """Let the step in progress be the last; returns at once."""
        self._stopping = True
        self._wake.set()

    def join(self, timeout_s: float | None) -> bool:
        """Wait for the end; False if it has not come within *timeout_s*, None for no limit."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            self._wake.clear()  # before the question: a wake-up that comes after it cuts the rest short
            if self._stopping:
                break
            try:
                rest_s = self._actor.step(self._clock())
            except Exception:  # a bug in one step must not end the loop: logged, and tried again
                log.exception("%s failed in a step", self._name, extra={"event": "bug", "loop": self._name})
                rest_s = 1.0
            self.beat()
            self._wake.wait(min(rest_s, LONGEST_REST_S))
        self._pulse.forget(self._name)
