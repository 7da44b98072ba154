"""The messages that wait for one address, and when it is tried again. Pure: it sends nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from monitor.notices.addresses import Address
from monitor.notices.messages import Message, together

RETRY_S: Final = (15.0, 60.0, 300.0, 900.0, 3600.0)
"""The waits after a message that did not go; the last is repeated."""

MOST_WAITING: Final = 20
KEPT_S: Final = 86_400.0
"""A message that could not be delivered for so long says nothing new any more."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message, since when it waits, and the alerts (their numbers in the history) that are told with it."""

    message: Message
    at: float
    alert_ids: tuple[int, ...] = ()


class Outbox:
    """First in, first out; what has waited goes as one message. Not for several threads."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.n_lost = 0
        """Messages given up: too many waited, or for too long."""
        self.n_failures = 0
        """In a row."""
        self._parcels: list[Parcel] = []
        self._not_before = float("-inf")

    def put(self, parcel: Parcel) -> None:
        """Let *parcel* wait; the oldest is given up if too many do."""
        self._parcels.append(parcel)
        if len(self._parcels) > MOST_WAITING:
            del self._parcels[0]
            self.n_lost += 1

    def due_in_s(self, now: float) -> float | None:
        """After how many seconds there is something to send; None if nothing waits."""
        fresh = [parcel for parcel in self._parcels if now - parcel.at <= KEPT_S]
        self.n_lost += len(self._parcels) - len(fresh)
        self._parcels = fresh
        return max(self._not_before - now, 0.0) if fresh else None

    def waiting(self) -> tuple[Parcel, ...]:
        """All that waits, the oldest first."""
        return tuple(self._parcels)

    def delivered(self, parcels: Sequence[Parcel]) -> None:
        """*parcels* went."""
        self._parcels = [parcel for parcel in self._parcels if parcel not in parcels]
        self.n_failures, self._not_before = 0, float("-inf")

    def failed(self, now: float) -> float:
        """They did not go; after how many seconds the address is tried again."""
        wait_s = RETRY_S[min(self.n_failures, len(RETRY_S) - 1)]
        self.n_failures += 1
        self._not_before = now + wait_s
        return wait_s


def message_of(parcels: Sequence[Parcel]) -> Message:
    """*parcels* as one message."""
    return together([parcel.message for parcel in parcels])
