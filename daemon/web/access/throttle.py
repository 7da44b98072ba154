"""How often somebody may do something: a bucket of tokens for each, which fills slowly. Pure."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

MAX_KEYS: Final = 20_000
"""Of so many is known what they did; the one that was quiet the longest is forgotten first."""


class Throttle:
    """*burst* at once, then one every *every_s*. Usable from many threads; *now* is monotonic."""

    def __init__(self, burst: int, every_s: float, max_keys: int = MAX_KEYS) -> None:
        self._burst = burst
        self._every_s = every_s
        self._max_keys = max_keys
        self._lock = threading.Lock()
        self._free_s: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, key: str, now: float) -> float:
        """How long *key* has to wait until it may; 0: now."""
        with self._lock:
            return max(0.0, self._free_s.get(key, now) - now - (self._burst - 1) * self._every_s)

    def take(self, key: str, now: float) -> float:
        """Do it, if it may: 0; else how long it has to wait, and nothing is taken."""
        with self._lock:
            free_s = max(self._free_s.get(key, now), now)  # when the bucket is full again
            wait_s = free_s - now - (self._burst - 1) * self._every_s
            if wait_s > 1e-9:
                return wait_s
            self._free_s[key] = free_s + self._every_s
            self._free_s.move_to_end(key)
            while len(self._free_s) > self._max_keys:
                self._free_s.popitem(last=False)
            return 0.0

    def forgive(self, key: str) -> None:
        """As if *key* had never done it."""
        with self._lock:
            self._free_s.pop(key, None)
