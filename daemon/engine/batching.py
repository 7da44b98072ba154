"""Which windows go to the model together, and whose turn it is. Pure: no threads, no clock, no model.

Turns are those of start-time fair queueing (Goyal, Vin, Cheng 1996): each recording's windows are stamped with the
audio that the recording has had, so a memo that arrives behind a three-hour meeting is next.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

PATIENCE: Final = 8
"""Batches that a window lets larger ones pass when its turn has come; then it goes, however few go with it."""

_GROW_AFTER: Final = 20  # clean batches before one more window is tried


class Waiting(Protocol):
    """A window that waits for the model."""

    @property
    def key(self) -> Hashable:
        """Equal for windows that one call of the model may hold."""
        ...

    @property
    def stamp(self) -> float:
        """Its turn: the lowest is next."""
        ...

    @property
    def arrival(self) -> int:
        """How many batches had been taken when it came."""
        ...

    @property
    def flow(self) -> Flow:
        """Its recording."""
        ...

    @property
    def speech_s(self) -> float:
        """How much is said in it: the number of tokens goes with it."""
        ...

    @property
    def n_frames(self) -> int:
        """Frames that the encoder sees of it."""
        ...


AnyWaiting = TypeVar("AnyWaiting", bound=Waiting)


@dataclass(slots=True, eq=False)
class Flow:
    """One recording's place among the others: how much audio it was stamped for, and whether it is over."""

    stamped_s: float = 0.0
    is_over: bool = False


class FairClock:
    """Stamps for windows, in seconds of audio that each recording has had of the model."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def stamp(self, flow: Flow, cost_s: float) -> float:
        """The stamp of *flow*'s next window, which is *cost_s* long."""
        stamp = max(self._now_s, flow.stamped_s)
        flow.stamped_s = stamp + cost_s
        return stamp

    def advance(self, stamp: float) -> None:
        """A window with *stamp* has its turn."""
        self._now_s = max(self._now_s, stamp)


def choose(waiting: Iterable[AnyWaiting], n_taken: int, max_items: int, max_frames: int) -> list[AnyWaiting]:
    """The next batch, when *n_taken* were taken before; empty if nothing waits.

    The windows of most recordings that can go together are next: full batches cost less. Where equally many recordings
    wait, the one whose turn it is goes first, and once it has waited for `PATIENCE` batches it goes before all. A
    batch takes as long as its longest text, so its fellows are those with about as much speech as its head. At most
    *max_items* and, but for the head, *max_frames* in all.
    """
    groups: dict[Hashable, list[AnyWaiting]] = {}
    for item in waiting:
        groups.setdefault(item.key, []).append(item)
    if not groups:
        return []
    heads = {key: min(group, key=_turn) for key, group in groups.items()}
    # Only the first in turn: the later windows of a meeting wait for long, and no memo is to wait for them.
    first = min(heads.values(), key=_turn)
    if n_taken - first.arrival >= PATIENCE:
        chosen = first.key
    else:
        n_flows = {key: min(max_items, len({id(item.flow) for item in group})) for key, group in groups.items()}
        chosen = min(groups, key=lambda key: (-n_flows[key], _turn(heads[key])))
    head = heads[chosen]
    fellows = [item for item in groups[chosen] if item is not head]
    fellows.sort(key=lambda item: (abs(item.speech_s - head.speech_s), _turn(item)))
    room = min(max_items, max(1, max_frames // head.n_frames))
    return [head, *fellows[: room - 1]]


def _turn(item: Waiting) -> tuple[float, int]:
    return item.stamp, item.arrival


class BatchLimit:
    """How many windows a batch may hold: halved when memory runs out, grown again while it does not."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._clean = 0
        self.n: int = most

    def failed(self, batch: Sequence[object]) -> None:
        """Memory ran out on *batch*."""
        self.n = max(1, min(self.n, len(batch)) // 2)
        self._clean = 0

    def worked(self) -> None:
        """A batch went through."""
        self._clean += 1
        if self._clean >= _GROW_AFTER and self.n < self._most:
            self.n += 1
            self._clean = 0
