from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from daemon.engine.batching import PATIENCE, BatchLimit, FairClock, Flow, choose


@dataclass(eq=False)
class Item:
    """A window that waits."""

    key: str = "a"
    stamp: float = 0.0
    arrival: int = 0
    flow: Flow = field(default_factory=Flow)
    speech_s: float = 10.0
    n_frames: int = 1000


class Line:
    """Windows that wait, stamped as they come; batches are taken from it one after the other."""

    def __init__(self, max_items: int = 8, max_frames: int = 9000) -> None:
        self.clock = FairClock()
        self.waiting: list[Item] = []
        self.n_taken = 0
        self.max_items = max_items
        self.max_frames = max_frames

    def put(self, flow: Flow, key: str = "a", length_s: float = 10.0, n_frames: int = 1000) -> Item:
        """One more window of *flow*."""
        item = Item(key, self.clock.stamp(flow, length_s), self.n_taken, flow, length_s, n_frames)
        self.waiting.append(item)
        return item

    def take(self) -> list[Item]:
        """The next batch."""
        batch = choose(self.waiting, self.n_taken, self.max_items, self.max_frames)
        self.n_taken += 1
        self.waiting = [item for item in self.waiting if item not in batch]
        self.clock.advance(batch[0].stamp)
        return batch


items = st.builds(
    Item,
    key=st.sampled_from("abc"),
    stamp=st.floats(0, 100),
    arrival=st.integers(0, 20),
    speech_s=st.floats(0.1, 30),
)


def test_nothing_waits() -> None:
    """No batch, then."""
    assert choose([], 3, 8, 9000) == []


@given(st.lists(items, min_size=1, max_size=40), st.integers(20, 30), st.integers(1, 10), st.integers(1, 20_000))
def test_a_batch_is_one_that_the_model_takes(
    waiting: list[Item], n_taken: int, max_items: int, max_frames: int
) -> None:
    """One key, at most so many windows, and at most so many frames but for the first window; nothing twice."""
    batch = choose(waiting, n_taken, max_items, max_frames)
    assert 1 <= len(batch) <= max_items
    assert len({item.key for item in batch}) == 1
    assert len(batch) == 1 or sum(item.n_frames for item in batch) <= max_frames
    assert len({id(item) for item in batch}) == len(batch)
    assert all(item in waiting for item in batch)


@given(st.lists(items, min_size=1, max_size=40), st.integers(1, 10))
def test_the_head_is_the_first_of_its_key(waiting: list[Item], max_items: int) -> None:
    """Whatever goes with it."""
    batch = choose(waiting, 0, max_items, 100_000)
    same = [item for item in waiting if item.key == batch[0].key]
    assert batch[0].stamp == min(item.stamp for item in same)


def test_a_batch_is_as_full_as_it_can_be() -> None:
    """Of one key none waits while there is room."""
    waiting = [Item() for _ in range(12)]
    assert len(choose(waiting, 0, 8, 9000)) == 8
    assert len(choose(waiting, 0, 32, 9000)) == 9
    assert len(choose(waiting, 0, 32, 500)) == 1


def test_the_fellows_of_a_window_have_about_as_much_speech() -> None:
    """A batch takes as long as its longest text."""
    waiting = [Item(speech_s=s, stamp=n) for n, s in enumerate([5.0, 14.0, 6.0, 1.0, 4.5, 5.0])]
    assert [item.speech_s for item in choose(waiting, 0, 4, 9000)] == [5.0, 5.0, 4.5, 6.0]


def test_the_key_of_most_recordings_is_next() -> None:
    """Recordings count, not windows: a meeting does not outnumber memos."""
    meeting = Flow()
    waiting = [Item("meeting", flow=meeting) for _ in range(20)] + [Item("memos", 5.0) for _ in range(2)]
    assert [item.key for item in choose(waiting, 0, 8, 9000)] == ["memos"] * 2


def test_a_window_lets_larger_batches_pass_only_so_often() -> None:
    """However many recordings there are of another key."""
    line = Line(max_items=2)
    rare = line.put(Flow(), "rare")
    taken: list[list[Item]] = []
    while not taken or rare not in taken[-1]:
        while len(line.waiting) < 9:
            line.put(Flow(), "common")
        taken.append(line.take())
    assert len(taken) == PATIENCE + 1


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abcd")), min_size=1, max_size=60), st.integers(1, 4))
def test_every_window_has_its_turn(arrivals: list[tuple[int, str]], max_items: int) -> None:
    """Whatever the order of arrival, each is taken once, and those of one recording and key in order of their turns."""
    line = Line(max_items)
    flows = [Flow() for _ in range(6)]
    put = [line.put(flows[n], key) for n, key in arrivals]
    heads: list[Item] = []
    taken: list[Item] = []
    while line.waiting:
        batch = line.take()
        heads.append(batch[0])
        taken.extend(batch)
    assert sorted(map(id, taken)) == sorted(map(id, put))
    for key in "abcd":
        stamps = [item.stamp for item in heads if item.key == key]
        assert stamps == sorted(stamps)


def meeting_and_memo(keys: Sequence[str], n_before: int) -> int:
    """How many batches come before a memo that arrives when *n_before* batches of a meeting have been taken."""
    line = Line(max_items=4)
    meeting = Flow()
    n_put = 0
    for _ in range(n_before):
        while len(line.waiting) < 32:
            line.put(meeting, keys[n_put % len(keys)], 15.0)
            n_put += 1
        line.take()
    memo = line.put(Flow(), "memo", 5.0)
    n = 0
    while memo not in line.take():
        n += 1
    return n


def test_a_memo_behind_a_meeting_is_in_the_next_batch() -> None:
    """Though the meeting's windows have waited for long, and are many."""
    assert meeting_and_memo(["same"], 20) == 0
    assert meeting_and_memo(["a", "b", "c", "d", "e", "f", "g"], 40) == 0


def test_recordings_of_one_length_take_turns() -> None:
    """Two meetings share the model by halves, though one had all its windows there first."""
    line = Line(max_items=1)
    first, second = Flow(), Flow()
    for flow in (first, second):
        for _ in range(6):
            line.put(flow, "a")
    taken = [line.take()[0].flow for _ in range(12)]
    assert [taken[n : n + 2].count(first) for n in range(0, 12, 2)] == [1] * 6


def test_a_recording_that_comes_late_is_not_ahead_of_time() -> None:
    """It begins where the others are: what it did not ask for is not saved up for it."""
    clock = FairClock()
    old, new = Flow(), Flow()
    for _ in range(10):
        clock.advance(clock.stamp(old, 10.0))
    assert clock.stamp(new, 10.0) == 90.0
    assert clock.stamp(new, 10.0) == 100.0
    assert clock.stamp(old, 10.0) == 100.0


def test_the_limit_is_halved_when_memory_runs_out() -> None:
    """From the batch that failed, which may have been smaller than the limit; never below one."""
    limit = BatchLimit(16)
    limit.failed([0] * 16)
    assert limit.n == 8
    limit.failed([0] * 3)
    assert limit.n == 1
    limit.failed([0])
    assert limit.n == 1


def test_the_limit_grows_one_by_one_up_to_where_it_was() -> None:
    """After twenty clean batches each; a failure begins the count anew."""
    limit = BatchLimit(4)
    limit.failed([0] * 4)
    for _ in range(19):
        limit.worked()
    assert limit.n == 2
    limit.failed([0] * 4)
    for _ in range(19):
        limit.worked()
    assert limit.n == 1
    for _ in range(200):
        limit.worked()
    assert limit.n == 4
