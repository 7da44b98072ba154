"""Who waits for how long on a day on which somebody drops an archive: first come, first served against our queue.

    python -m benchmarks.fairness [--speed 20] [--archive-hours 200]

The day is written down: twelve people with memos, calls and meetings from eight to six, and an archive at half past
eight. Its time is simulated; who is next is decided by the parts that decide it in the service: the job history
(`storage.turns`), the places in hand (`daemon.fairness`), the decoders (`daemon.ahead`), the engine's batches
(`daemon.engine.batching`). What is not: decoders and the model, which take the time that they take on average.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import random
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from benchmarks import machine, results
from benchmarks.figures import percentile
from daemon.ahead import Ahead, Share
from daemon.engine.batching import Flow, Turns, choose
from daemon.fairness import Place, expected_s, person_of, room, weight_of
from storage.claims import Open
from storage.jobs import JobStore
from storage.records import Fingerprint, Job, NewJob, Outcome, Result
from storage.turns import is_long

INBOX: Final = b"/srv/inbox"
ARCHIVE: Final = "archive"
PEOPLE: Final = (
    *("anna", "ben", "carla", "dmitri", "elif", "farid"),
    *("greta", "hugo", "ines", "jonas", "kemal", "lena"),
)

DAY_S: Final = 10 * 3600.0
N_IN_HAND: Final = 34
"""As the service has it by default (`daemon.processes`)."""

_BYTES_A_SECOND: Final = 16_000
_SPOOL_BYTES_A_SECOND: Final = 32_000
_MAX_SPOOL_BYTES: Final = 4 * 1024**3
_N_DECODERS: Final = 2
_DECODING_SPEED: Final = 250.0
_MAX_OPEN: Final = 32
_LANES: Final = 2
_WINDOW_S: Final = 15.0
_MAX_WINDOWS: Final = 8
_MAX_FRAMES: Final = 5200
_AHEAD: Final = 9
"""Windows of one recording that wait at once."""

_FIXED: Final = 0.2
"""What a batch costs, of a full one, however little is in it."""

_BEGIN: Final = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
_RESULT: Final = Result(Outcome.OK, "", "en", 1.0, "base", "cpu", "int8", 1.0, 1, 1)


@dataclass(frozen=True, slots=True)
class Drop:
    """One recording: when it arrives, whose it is, what it is, how long."""

    at_s: float
    person: str
    kind: str
    audio_s: float


def day(archive_hours: float) -> list[Drop]:
    """The day, in order; the same at every call."""
    chance = random.Random(7)  # noqa: S311  # not for secrets
    drops: list[Drop] = []
    for person in PEOPLE:
        for _ in range(chance.randint(4, 8)):  # bursts of memos
            at_s = chance.uniform(0.0, DAY_S)
            drops += [
                Drop(at_s + 20.0 * n, person, "memo", chance.uniform(10.0, 90.0)) for n in range(chance.randint(1, 5))
            ]
        drops += [
            Drop(chance.uniform(0.0, DAY_S), person, "call", chance.uniform(90.0, 900.0))
            for _ in range(chance.randint(1, 4))
        ]
    for person in PEOPLE[::2]:  # half of them have a meeting, some two
        drops += [
            Drop(chance.uniform(3600.0, DAY_S), person, "meeting", chance.uniform(1800.0, 7200.0))
            for _ in range(chance.randint(1, 2))
        ]
    drops += [Drop(1800.0, ARCHIVE, "archive", 7200.0) for _ in range(round(archive_hours / 2))]
    return sorted(drops, key=lambda drop: drop.at_s)


@dataclass(frozen=True, slots=True)
class Done:
    """A recording and how long its text took."""

    drop: Drop
    wait_s: float


def first_come(drops: Sequence[Drop], speed: float) -> list[Done]:
    """One recording after the other, each at the full speed."""
    free_s, found = 0.0, list[Done]()
    for drop in drops:
        free_s = max(free_s, drop.at_s) + drop.audio_s / speed
        found.append(Done(drop, free_s - drop.at_s))
    return found


@dataclass(slots=True, eq=False)
class _Window:
    """As `daemon.engine.board.Task`, as far as its turn goes."""

    recording: _Recording
    flow: Flow
    cost_s: float
    order: float = 0.0
    arrival: int = 0
    stamp: float = 0.0
    is_fresh: bool = True

    @property
    def speech_s(self) -> float:
        return self.cost_s

    @property
    def n_frames(self) -> int:
        return math.ceil(self.cost_s) * 100

    @property
    def key(self) -> int:
        return self.n_frames


@dataclass(slots=True, eq=False)
class _Recording:
    """A job in hand."""

    job: Job
    drop: Drop
    share: Share
    decoding: bool = False
    flow: Flow | None = None
    left: deque[float] = field(default_factory=deque[float])  # windows that do not wait yet
    n_out: int = 0


class Service:
    """The parts that decide who is next, over a history at *path*; *fair*: they know the persons."""

    def __init__(self, path: Path, drops: Sequence[Drop], speed: float, *, fair: bool) -> None:
        self._store = JobStore.open(path, "simulated")
        self._drops = drops
        self._speed = speed
        self._fair = fair
        self._now_s = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._ahead = Ahead(_N_DECODERS, _MAX_SPOOL_BYTES, clock=lambda: self._now_s)
        self._in_hand: dict[int, _Recording] = {}
        self._gate: deque[_Recording] = deque()
        self._n_open = 0
        self._turns = Turns()
        self._waiting: list[_Window] = []
        self._n_taken = 0
        self._n_busy = 0
        self._by_path: dict[bytes, Drop] = {}
        self._done: list[Done] = []

    def run(self) -> list[Done]:
        """Until all are done."""
        with closing(self._store):
            for at_s, together in itertools.groupby(self._drops, key=lambda drop: drop.at_s):
                self._at(at_s, lambda drops=list(together): self._arrive(drops))  # type: ignore[misc]  # bound now
            while self._events:
                self._now_s, _number, happen = heapq.heappop(self._events)
                happen()
                self._begin_what_may()
        return self._done

    def _at(self, at_s: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at_s, next(self._numbers), happen))

    def _time(self) -> datetime:
        return _BEGIN + timedelta(seconds=self._now_s)

    def _arrive(self, drops: Sequence[Drop]) -> None:
        self._store.enqueue([self._new(drop) for drop in drops], self._time())

    def _new(self, drop: Drop) -> NewJob:
        number = len(self._by_path)
        path = INBOX + f"/{drop.person}/{number:05d} {drop.kind}.mp3".encode()
        self._by_path[path] = drop
        n_bytes = round(drop.audio_s * _BYTES_A_SECOND)
        job = NewJob(path, INBOX, Fingerprint(n_bytes, number, 0, 0, number), {"model": "base"}, "d")
        if not self._fair:
            return job
        person, length_s = person_of(path, INBOX), expected_s(path, n_bytes)
        return NewJob(path, INBOX, job.fingerprint, job.options, "d", person=person, expected_s=length_s)

    # As `daemon.dispatch`.

    def _begin_what_may(self) -> None:
        while len(self._in_hand) < N_IN_HAND:
            job = self._store.claim(self._time(), self._open())
            if job is None:
                break
            share = self._ahead.enter(job.fingerprint.size_bytes, job.person)
            self._in_hand[job.id] = _Recording(job, self._by_path[job.path], share)
        for one in list(self._in_hand.values()):
            if one.share.decoding and not one.decoding:
                one.decoding = True
                self._at(self._now_s + one.drop.audio_s / _DECODING_SPEED, lambda one=one: self._decoded(one))  # type: ignore[misc]  # bound now
        while self._n_busy < _LANES and self._waiting:
            self._take()

    def _open(self) -> Open:
        jobs = [one.job for one in self._in_hand.values()]
        left = room([Place(job.person, job.inbox, is_long(job.expected_s)) for job in jobs], N_IN_HAND, {})
        return Open((), left.full, left.full_of_long, left.long_too)

    # As `daemon.transcription` and the engine.

    def _decoded(self, one: _Recording) -> None:
        self._ahead.decoded(one.share, round(one.drop.audio_s * _SPOOL_BYTES_A_SECOND))
        self._gate.append(one)
        self._let_in()

    def _let_in(self) -> None:
        while self._gate and self._n_open < _MAX_OPEN:
            one = self._gate.popleft()
            self._n_open += 1
            one.flow = self._turns.open(one.job.person.hex(), weight_of(one.job.priority))
            n_whole = int(one.drop.audio_s // _WINDOW_S)
            one.left.extend([_WINDOW_S] * n_whole + [max(1.0, one.drop.audio_s - n_whole * _WINDOW_S)])
            self._put(one)

    def _put(self, one: _Recording) -> None:
        assert one.flow is not None
        while one.left and one.n_out < _AHEAD:
            window = _Window(one, one.flow, one.left.popleft())
            one.n_out += 1
            self._turns.put(window, self._n_taken)
            self._waiting.append(window)

    def _take(self) -> None:
        self._turns.stamp(self._waiting)
        batch = choose(self._waiting, self._n_taken, _MAX_WINDOWS, _MAX_FRAMES)
        self._turns.take(batch, self._waiting)
        self._n_taken += 1
        for window in batch:
            self._waiting.remove(window)
        full_s = _MAX_FRAMES / 100
        took_s = (_FIXED * full_s + (1 - _FIXED) * sum(window.cost_s for window in batch)) / (self._speed / _LANES)
        self._n_busy += 1
        self._at(self._now_s + took_s, lambda: self._finished(batch))

    def _finished(self, batch: Sequence[_Window]) -> None:
        self._n_busy -= 1
        for window in batch:
            one = window.recording
            one.n_out -= 1
            self._put(one)
            if not one.n_out:
                self._end(one)

    def _end(self, one: _Recording) -> None:
        assert one.flow is not None
        self._turns.close(one.flow)
        self._n_open -= 1
        self._let_in()
        self._ahead.leave(one.share)
        self._store.finish(one.job, _RESULT, self._time())
        del self._in_hand[one.job.id]
        self._done.append(Done(one.drop, self._now_s - one.drop.at_s))


@dataclass(frozen=True, slots=True)
class Waits:
    """How long the recordings of somebody waited for their texts, in seconds."""

    n: int
    median_s: float
    p95_s: float
    most_s: float


def waits(found: Sequence[Done]) -> Waits:
    """Those of all in *found*, at least one."""
    seconds = [one.wait_s for one in found]
    return Waits(len(seconds), *(percentile(seconds, percent) for percent in (50.0, 95.0, 100.0)))


def table(found: Sequence[Done]) -> dict[str, Waits]:
    """By person, then by kind."""
    groups: dict[str, list[Done]] = {person: [] for person in (*PEOPLE, ARCHIVE)}
    groups |= {kind: [] for kind in ("all memos", "all calls", "all meetings")}
    for one in found:
        groups[one.drop.person].append(one)
        if one.drop.kind != ARCHIVE:
            groups[f"all {one.drop.kind}s"].append(one)
    return {name: waits(of_group) for name, of_group in groups.items() if of_group}


def simulated(drops: Sequence[Drop], speed: float) -> Iterator[tuple[str, list[Done]]]:
    """Each way to serve them, and what came of it."""
    yield "first come", first_come(drops, speed)
    for name, fair in (("by recording", False), ("ours", True)):
        with tempfile.TemporaryDirectory(prefix="transcribed-fairness-") as folder:
            yield name, Service(Path(folder) / "history.db", drops, speed, fair=fair).run()


def delays(drops: Sequence[Drop], ours: Sequence[Done], speed: float) -> dict[str, Waits]:
    """By how much the archive delays the recordings of each kind: the day is done without it too."""
    alone = [drop for drop in drops if drop.person != ARCHIVE]
    with tempfile.TemporaryDirectory(prefix="transcribed-fairness-") as folder:
        without = {one.drop: one.wait_s for one in Service(Path(folder) / "history.db", alone, speed, fair=True).run()}
    later: dict[str, list[Done]] = {}
    for one in ours:
        if one.drop in without:
            later.setdefault(one.drop.kind, []).append(Done(one.drop, one.wait_s - without[one.drop]))
    return {kind: waits(found) for kind, found in later.items()}


def shown(data: Mapping[str, Any]) -> str:
    """The table as text."""
    names = list(data["waits"])
    lines = [f"{'':14}" + "".join(f"{name:>30}" for name in names)]
    for group in data["waits"][names[-1]]:
        cells = [data["waits"][name][group] for name in names]
        words = "".join(
            f"{one['median_s'] / 60:10.1f}{one['p95_s'] / 60:10.1f}{one['most_s'] / 60:10.1f}" for one in cells
        )
        lines.append(f"{group:14}{words}")
    return "\n".join(lines)


def main() -> int:
    """Simulate, print, write; 1 if a memo waited longer than five minutes with ours."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--speed", type=float, default=20.0, help="seconds of audio in a second, full batches")
    parser.add_argument("--archive-hours", type=float, default=200.0, help="audio in the archive")
    parser.add_argument("--results", type=Path, default=results.FOLDER, help="where the JSON goes")
    arguments = parser.parse_args()
    drops = day(arguments.archive_hours)
    found = dict(simulated(drops, arguments.speed))
    ways = {name: table(done) for name, done in found.items()}
    data: dict[str, Any] = {
        "benchmark": "fairness",
        "at": results.now(),
        "device": "cpu",
        "speed": arguments.speed,
        "archive_hours": arguments.archive_hours,
        "other_hours": sum(drop.audio_s for drop in drops if drop.person != ARCHIVE) / 3600,
        "n_recordings": len(drops),
        "machine": machine.describe("cpu"),
        "batch_s": _MAX_FRAMES / 100 / (arguments.speed / _LANES),
        "delays": {kind: asdict(one) for kind, one in delays(drops, found["ours"], arguments.speed).items()},
        "waits": {name: {group: asdict(one) for group, one in groups.items()} for name, groups in ways.items()},
    }
    results.save(data, arguments.results / "fairness-cpu.json")
    print("minutes from the drop to the text: median, 95 %, most\n")
    print(shown(data))
    late = "; ".join(
        f"{kind} {one['median_s']:.1f}, {one['p95_s']:.1f}, {one['most_s']:.1f}" for kind, one in data["delays"].items()
    )
    print(f"\nseconds by which the archive delays: {late}; a full batch takes {data['batch_s']:.1f}")
    return 1 if ways["ours"]["all memos"].most_s > 300.0 else 0


if __name__ == "__main__":
    sys.exit(main())
