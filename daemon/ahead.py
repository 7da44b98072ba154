"""How far decoding may run ahead of the model: who is decoded next, and how much decoded audio may lie on the disk.

Owns turns and a count of bytes; knows nothing of decoders, files or jobs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from daemon.errors import JobCancelled

LONG_BYTES: Final = 8 * 1024**2
"""A recording of more bytes than this is a long one: its decoding may take seconds, not moments."""

LONG_WAITS_S: Final = 60.0
"""A long recording goes behind the short ones that come within this time, so it is never passed for ever."""

SHORT_EXTRA_RATIO: Final = 0.25
"""Where long recordings fill the disk, short ones may still take this much more of it."""

_POLL_S: Final = 0.2


@dataclass(slots=True, eq=False)
class Share:
    """One recording's part: *n_bytes* of decoded audio so far; *decoding* until all of it is there.

    *person* is whose it is, empty where nobody knows.
    """

    is_long: bool
    due_at: float
    person: bytes = b""
    n_bytes: int = 0
    decoding: bool = False

    def grew(self, n_bytes: int) -> None:
        """Decoding has come so far."""
        self.n_bytes = n_bytes


class Ahead:
    """Turns for *n_decoders* recordings at once, while fewer than *max_bytes* of decoded audio are kept.

    The limit is looked at when a recording begins, whose length nobody knows then: each one in the decoders may go
    over it. Long recordings leave one decoder to the short ones if there are two or more, and everybody goes ahead
    where nothing is kept at all. Who has fewer recordings in the decoders is next, then whose recording came first.
    """

    def __init__(self, n_decoders: int, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._n_decoders = n_decoders
        self._max_bytes = max_bytes
        self._clock = clock
        self._shares: set[Share] = set()
        self._waiting: list[Share] = []
        self._changed = threading.Condition()
        self._closed = False

    @contextmanager
    def admitted(self, source_bytes: int, cancelled: threading.Event, person: bytes = b"") -> Generator[Share]:
        """Inside the block a recording of *person* of so many bytes may be decoded and its audio kept.

        Raises JobCancelled while waiting once *cancelled* is set, or after `close`.
        """
        share = self.enter(source_bytes, person)
        try:
            self._wait_for_turn(share, cancelled)
            yield share
        finally:
            self.leave(share)

    def enter(self, source_bytes: int, person: bytes = b"") -> Share:
        """A recording waits for its turn, which has come when its share is *decoding*."""
        is_long = source_bytes > LONG_BYTES
        with self._changed:
            share = Share(is_long, self._clock() + (LONG_WAITS_S if is_long else 0.0), person)
            self._waiting.append(share)
            self._assign()
            return share

    def leave(self, share: Share) -> None:
        """It is over, or waits no longer; nothing of it is kept."""
        with self._changed:
            self._shares.discard(share)
            if share in self._waiting:
                self._waiting.remove(share)
            self._assign()

    def decoded(self, share: Share, n_bytes: int) -> None:
        """The decoder is free again; *n_bytes* are kept until the block ends."""
        with self._changed:
            share.n_bytes = n_bytes
            share.decoding = False
            self._assign()

    def close(self) -> None:
        """Send away those who wait, and let nobody begin any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def n_waiting(self) -> int:
        """How many recordings wait to be decoded."""
        return len(self._waiting)

    def _wait_for_turn(self, share: Share, cancelled: threading.Event) -> None:
        with self._changed:
            while not share.decoding:
                if self._closed or cancelled.is_set():
                    raise JobCancelled("cancelled before it was decoded")
                self._changed.wait(_POLL_S)

    def _assign(self) -> None:
        """Begin with everyone whose turn has come. Only with the lock."""
        if self._closed:
            return
        waiting = sorted(self._waiting, key=lambda share: share.due_at)
        while waiting:
            share = min(waiting, key=self._n_of_person)  # of equals the first
            waiting.remove(share)
            if self._may_begin(share):
                share.decoding = True
                self._shares.add(share)
                self._waiting.remove(share)
                self._changed.notify_all()

    def _n_of_person(self, share: Share) -> int:
        """How many recordings of the same person are in the decoders."""
        return sum(other.decoding and other.person == share.person for other in self._shares) if share.person else 0

    def _may_begin(self, share: Share) -> bool:
        if not self._shares:
            return True
        busy = [other for other in self._shares if other.decoding]
        n_long = sum(other.is_long for other in busy)
        if len(busy) >= self._n_decoders or (share.is_long and n_long >= max(1, self._n_decoders - 1)):
            return False
        limit = self._max_bytes if share.is_long else self._max_bytes * (1 + SHORT_EXTRA_RATIO)
        n_kept = sum(other.n_bytes for other in self._shares)
        own = sum(other.n_bytes for other in self._shares if other.person == share.person and share.person)
        # As with places: whoever has as much as is left waits, so there is always some for the next person.
        return n_kept < limit and not (share.is_long and own >= self._max_bytes - n_kept > 0)
