"""What every part may know of the history's trouble: whether it is lost, and whether its disk is full."""

from __future__ import annotations

import logging

from daemon.clock import monotonic_s
from storage.reserve import Reserve

log = logging.getLogger(__name__)

MET_S = 60.0
"""For how long trouble that passed by itself is told: longer than the wait before the next try."""


class HistoryHealth:
    """Told by whoever meets the trouble, from any thread. Without a *reserve* a full disk is only waited for."""

    def __init__(self, reserve: Reserve | None = None) -> None:
        self._reserve = reserve
        self._lost = ""
        self._told = False
        self._met = ""
        self._met_at = float("-inf")

    @property
    def lost(self) -> str:
        """Why the open history is not the one at its path any more; empty while it is."""
        return self._lost

    @property
    def may_claim(self) -> bool:
        """Whether work may begin whose end could be written."""
        return not self._lost and (self._reserve is None or self._reserve.held)

    def lose(self, reason: str) -> None:
        """The history is lost: no job begins any more, and the daemon ends."""
        if not self._lost:
            self._lost = reason
            log.critical("The history is lost, ending: %s", reason, extra={"event": "history_lost"})

    def met(self, reason: str) -> None:
        """The history could not be read or written just now; it is tried again."""
        self._met, self._met_at = reason, monotonic_s()

    def trouble(self) -> str:
        """What is wrong with the history at present, or was a moment ago; empty if nothing is."""
        if self._lost:
            return self._lost
        if not self.may_claim and self._told:  # else nobody has tried to make it yet
            return "the disk of the state folder has too little room for the reserve: no job begins"
        return self._met if monotonic_s() - self._met_at < MET_S else ""

    def make_room(self) -> bool:
        """The disk is full: what is held back for that is given free; whether there was any."""
        if self._reserve is None or not self._reserve.release():
            return False
        self._told = True
        log.error(
            "The disk of the state folder is full; the reserve is given free to end the jobs in hand, and none begins "
            "until there is room: make some",
            extra={"event": "reserve_released"},
        )
        return True

    def restock(self) -> None:
        """The reserve is held again, if there is room; if not, that is said once."""
        if self._reserve is None or self._reserve.held:
            self._told = False
        elif self._reserve.make():
            log.info("The reserve for a full disk is there", extra={"event": "reserve_made"})
        elif not self._told:
            self._told = True
            log.error(
                "No job begins: the disk of the state folder has too little room for the reserve; make some, or lower "
                "database.reserve_bytes",
                extra={"event": "reserve_missing"},
            )
