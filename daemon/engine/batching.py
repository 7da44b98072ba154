"""Which windows go to the model together, and whose turn it is. Pure: no threads, no clock, no model.

Turns are those of start-time fair queueing (Goyal, Vin, Cheng 1996), on two levels: a window's stamp is the audio that
its person has had before it, and among the windows of one person those come first whose recording has had the least.
So a memo that arrives behind a three-hour meeting is next, and so is one behind an archive of somebody else.

Who comes anew has a little in hand (`HEAD_START_S`): all of a memo goes before the archive, not every other window.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

PATIENCE: Final = 8
"""Batches that a window lets larger ones pass when its turn has come; then it goes, however few go with it."""

HEAD_START_S: Final = 120.0
"""How far before the average of those who wait somebody begins who has had less. A memo of that length has all of its
windows before an archive that has been there for long; whoever sends more has had it, and takes turns."""

NEAR_S: Final = 60.0
"""Windows whose turns are no further apart count as equals: about the audio of a batch."""

LEAST_WEIGHT: Final = 0.1
MOST_WEIGHT: Final = 10.0
"""Of persons. With more between them somebody would wait for so long that the engine would seem to have lost them."""

_GROW_AFTER: Final = 20  # clean batches before one more window is tried


class Waiting(Protocol):
    """A window that waits for the model. The first four are what `Turns` notes on it."""

    arrival: int
    """How many batches had been taken when it came."""

    order: float
    """Its place among the windows of its person: the lowest is first."""

    stamp: float
    """Its turn: the lowest is next."""

    is_fresh: bool
    """Whether it was in no batch yet."""

    @property
    def key(self) -> Hashable:
        """Equal for windows that one call of the model may hold."""
        ...

    @property
    def cost_s(self) -> float:
        """How much of the model it takes, in seconds of audio."""
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


@dataclass(slots=True, eq=False)
class Person:
    """Whose recordings have one turn together. Who has twice the *weight* gets twice the audio while both wait.

    *had_s* is the audio that they have had, over the weight; *n_fresh* are windows of theirs that were in no batch yet.
    """

    name: str = ""
    weight: float = 1.0
    had_s: float = 0.0
    n_flows: int = 0
    n_fresh: int = 0
    clock: FairClock = field(default_factory=FairClock)


@dataclass(slots=True, eq=False)
class Flow:
    """One recording's place among the others: whose it is, how much audio it was stamped for, whether it is over."""

    person: Person = field(default_factory=Person)
    stamped_s: float = 0.0
    is_over: bool = False


class Turns:
    """The turns of windows: between persons by what each has had, and inside a person between their recordings.

    Who comes anew begins HEAD_START_S before where those who wait stand on average; no more than that is saved up.
    """

    def __init__(self) -> None:
        self._now_s = 0.0
        self._in_model_s = 0.0  # what the last batch adds to the time once it is done
        self._n_open = 0
        self._persons: dict[str, Person] = {}

    def open(self, name: str, weight: float = 1.0) -> Flow:
        """A place for a recording of the person *name*; without a name it is a person by itself."""
        self._n_open += 1
        if not name:
            return Flow(Person(weight=_bounded(weight), n_flows=1))
        for other in [other for other in self._persons.values() if self._is_forgettable(other)]:
            del self._persons[other.name]
        person = self._persons.setdefault(name, Person(name))
        person.weight = _bounded(weight)
        person.n_flows += 1
        return Flow(person)

    def close(self, flow: Flow) -> None:
        """The recording is over."""
        if flow.is_over:
            return
        flow.is_over = True
        flow.person.n_flows -= 1
        self._n_open -= 1
        if not self._n_open:  # nobody is left to be fair to
            self._persons.clear()

    def put(self, item: Waiting, n_taken: int) -> None:
        """*item* waits from now on, when *n_taken* batches have been taken."""
        person = item.flow.person
        if not person.n_fresh:
            person.had_s = max(person.had_s, self._now_s - HEAD_START_S)
        person.n_fresh += 1
        item.arrival = n_taken
        item.order = person.clock.stamp(item.flow, item.cost_s)

    def forget(self, item: Waiting) -> None:
        """*item* waits no longer, and was not taken."""
        if item.is_fresh:
            item.flow.person.n_fresh -= 1

    def stamp(self, waiting: Iterable[Waiting]) -> None:
        """Note the turns on all of *waiting*; what has been in a batch keeps the turn that it had."""
        by_person: dict[int, list[Waiting]] = {}
        for item in waiting:
            if item.is_fresh:
                by_person.setdefault(id(item.flow.person), []).append(item)
        for items in by_person.values():
            person = items[0].flow.person
            stamp = person.had_s
            for item in sorted(items, key=lambda item: (item.order, item.arrival)):
                item.stamp = stamp
                stamp += item.cost_s / person.weight

    def take(self, batch: Sequence[Waiting], waiting: Iterable[Waiting]) -> None:
        """*batch* has its turn now; *waiting* are all that waited, with it."""
        fresh = [item for item in waiting if item.is_fresh]
        persons = {id(item.flow.person): item.flow.person for item in fresh}.values()
        # The time goes on by what each who waits has had on average, as in Bennett and Zhang 1996 (WF2Q+). Else those
        # who come anew again and again would hold up for ever who has been there for long.
        average_s = self._now_s + self._in_model_s
        self._now_s = max(average_s, min((person.had_s for person in persons), default=0.0))
        cost_s = sum(item.cost_s for item in batch if item.is_fresh)
        self._in_model_s = cost_s / sum(person.weight for person in persons) if persons else 0.0
        if all(person.had_s < self._now_s for person in persons):
            # They catch up with the head starts that they gave, else the next ones would be worth nothing. At half the
            # pace, not none: so whoever is there for long has half of a fair share at least, whoever comes anew.
            self._in_model_s /= 2
        first: dict[int, Waiting] = {}
        for item in fresh:
            before = first.setdefault(id(item.flow.person), item)
            if item.order < before.order:
                first[id(item.flow.person)] = item
        for item in batch:
            if item.is_fresh:
                person = item.flow.person
                person.clock.advance(first[id(person)].order)
                person.had_s += item.cost_s / person.weight
                person.n_fresh -= 1
                item.is_fresh = False

    def _is_forgettable(self, person: Person) -> bool:
        return not person.n_flows and person.had_s <= self._now_s - HEAD_START_S


def _bounded(weight: float) -> float:
    return min(MOST_WEIGHT, max(LEAST_WEIGHT, weight))


def choose(waiting: Iterable[AnyWaiting], n_taken: int, max_items: int, max_frames: int) -> list[AnyWaiting]:
    """The next batch, when *n_taken* were taken before; empty if nothing waits.

    The windows of most persons that can go together are next: full batches cost less. Only persons count whose turn is
    as near as that of the first. Of equally many persons those with the one whose turn it is, then of most recordings;
    and once a window has waited for `PATIENCE` batches after its turn has come, it goes before all. A batch takes as
    long as its longest text, so its fellows are, of those whose turn is near and then of the others, those with about
    as much speech as its head. At most *max_items* and, but for the head, *max_frames* in all.
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
        chosen = min(groups, key=lambda key: (*_claims(groups[key], first, max_items), _turn(heads[key])))
    head = heads[chosen]
    fellows = [item for item in groups[chosen] if item is not head]
    near_s = head.stamp + NEAR_S
    fellows.sort(key=lambda item: (item.stamp > near_s, abs(item.speech_s - head.speech_s), _turn(item)))
    room = min(max_items, max(1, max_frames // head.n_frames))
    return [head, *fellows[: room - 1]]


def _claims(group: Sequence[Waiting], first: Waiting, max_items: int) -> tuple[int, bool, int]:
    """What speaks for the windows of one key, the lowest most: persons, the one whose turn it is, recordings."""
    persons = {id(item.flow.person) for item in group if item.stamp <= first.stamp + NEAR_S}
    n_flows = len({id(item.flow) for item in group})
    return -min(max_items, len(persons)), id(first.flow.person) not in persons, -min(max_items, n_flows)


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
