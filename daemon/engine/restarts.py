"""How soon a dead engine may be started again: a backoff that doubles, and a breaker for one that keeps dying.

Pure; the time comes in as an argument.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from daemon.errors import EngineUnavailable


@dataclass(frozen=True, slots=True)
class RestartLimits:
    """After each death within *window_s* the wait doubles from *first_s* to *longest_s*.

    At *max_deaths* within *window_s* nothing is started until *pause_s* after the last one.
    """

    first_s: float = 1.0
    longest_s: float = 60.0
    max_deaths: int = 5
    window_s: float = 600.0
    pause_s: float = 60.0


class Restarts:
    """The deaths of an engine, and what they allow."""

    def __init__(self, limits: RestartLimits) -> None:
        self._limits = limits
        self._deaths: deque[float] = deque()

    def died(self, now: float) -> None:
        """Note a death."""
        self._deaths.append(now)
        self._forget(now)

    def worked(self) -> None:
        """A job ended well: take back the oldest death. An engine that works between its deaths is not left alone."""
        if self._deaths:
            self._deaths.popleft()

    def wait_s(self, now: float) -> float:
        """Seconds until the engine may be started. Raises EngineUnavailable while the breaker is open."""
        left_s = self.rest_s(now)
        if left_s > 0 and len(self._deaths) >= self._limits.max_deaths:
            raise EngineUnavailable(
                f"the engine died {len(self._deaths)} times in {self._limits.window_s:.0f} s and is left alone for "
                f"{left_s:.0f} s more; its last words are in the log"
            )
        return left_s

    def rest_s(self, now: float) -> float:
        """Seconds until the engine may be started, open breaker or not."""
        self._forget(now)
        if not self._deaths:
            return 0.0
        limits, n_deaths = self._limits, len(self._deaths)
        if n_deaths >= limits.max_deaths:
            rest_s = limits.pause_s
        else:
            rest_s = min(limits.longest_s, limits.first_s * 2.0 ** (n_deaths - 1))
        return max(0.0, rest_s - (now - self._deaths[-1]))

    def _forget(self, now: float) -> None:
        while self._deaths and now - self._deaths[0] > self._limits.window_s:
            self._deaths.popleft()
