from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.engine.batching import (
    HEAD_START_S,
    LEAST_WEIGHT,
    MOST_WEIGHT,
    NEAR_S,
    PATIENCE,
    BatchLimit,
    FairClock,
    Flow,
    Turns,
    choose,
)


@dataclass(eq=False)
class Item:
    """A window that waits."""

    key: str = "a"
    stamp: float = 0.0
    arrival: int = 0
    flow: Flow = field(default_factory=Flow)
    speech_s: float = 10.0
    n_frames: int = 1000
    cost_s: float = 10.0
    order: float = 0.0
    is_fresh: bool = True


class Line:
    """Windows that wait, stamped as they come; batches are taken from it one after the other."""

    def __init__(self, max_items: int = 8, max_frames: int = 9000) -> None:
        self.turns = Turns()
        self.waiting: list[Item] = []
        self.n_taken = 0
        self.max_items = max_items
        self.max_frames = max_frames

    def put(self, flow: Flow, key: str = "a", length_s: float = 10.0, n_frames: int = 1000) -> Item:
        """One more window of *flow*."""
        item = Item(key, flow=flow, speech_s=length_s, n_frames=n_frames, cost_s=length_s)
        self.turns.put(item, self.n_taken)
        self.waiting.append(item)
        return item

    def take(self) -> list[Item]:
        """The next batch."""
        self.turns.stamp(self.waiting)
        batch = choose(self.waiting, self.n_taken, self.max_items, self.max_frames)
        self.turns.take(batch, self.waiting)
        self.n_taken += 1
        self.waiting = [item for item in self.waiting if item not in batch]
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


N_ARCHIVE = 28
N_AHEAD = 24


def archive(line: Line, keys: Sequence[str], n_recordings: int = N_ARCHIVE, person: str = "archivist") -> list[Flow]:
    """The recordings of one person, all of them open, each with all the windows that it may have waiting."""
    flows = [line.turns.open(person) for _ in range(n_recordings)]
    for n in range(N_AHEAD):
        for m, flow in enumerate(flows):
            line.put(flow, keys[(7 * n + m) % len(keys)], 8.0 + (5 * n + 3 * m) % 7)
    return flows


@given(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=12),
    st.integers(0, 60),
    st.integers(1, 8),
    st.sampled_from("abcdxyz"),
    st.integers(1, 6),
)
def test_an_archive_of_somebody_else_delays_a_memo_by_one_batch_at_most(
    keys: list[str], n_before: int, max_items: int, key: str, n_windows: int
) -> None:
    """Though 28 of its recordings are open, however long it has been there, and whatever goes with whatever."""
    line = Line(max_items)
    archive(line, keys)
    for _ in range(n_before):
        line.take()
    memo = line.turns.open("somebody")
    wanted = [line.put(memo, key, 5.0 + n) for n in range(n_windows)]
    batches = [line.take() for _ in range(2)]
    assert any(item in batch for item in wanted for batch in batches)
    n = 2
    while any(item in line.waiting for item in wanted):
        line.take()
        n += 1
    assert n <= 2 * n_windows + 1


def test_recordings_without_a_person_are_each_their_own() -> None:
    """The memo has one turn in 29 then, as before there were persons."""
    line = Line(max_items=1)
    flows = [Flow() for _ in range(N_ARCHIVE)]
    for _ in range(3):
        for flow in flows:
            line.put(flow)
    memo = Flow()
    for _ in range(3):
        line.put(memo)
    taken = [line.take()[0].flow for _ in range(3 * (N_ARCHIVE + 1))]
    rounds = [taken[n : n + N_ARCHIVE + 1] for n in range(0, len(taken), N_ARCHIVE + 1)]
    assert [one.count(memo) for one in rounds] == [1, 1, 1]


@given(
    st.lists(st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0]), min_size=2, max_size=5),
    st.lists(st.integers(1, 6), min_size=5, max_size=5),
    st.integers(0, 30),
)
def test_persons_share_the_model_by_their_weights(weights: list[float], n_open: list[int], n_late: int) -> None:
    """Not by how many recordings they have; a late one shares from then on, but for its head start."""
    line = Line(max_items=1)
    length_s = 10.0
    flows = [
        [line.turns.open(f"p{n}", weight) for _ in range(n_recordings)]
        for n, (weight, n_recordings) in enumerate(zip(weights, n_open, strict=False))
    ]
    had_s = [0.0] * len(weights)

    def serve(persons: Sequence[int], n_batches: int) -> None:
        for _ in range(n_batches):
            for n in persons:
                for flow in flows[n]:
                    while sum(item.flow is flow for item in line.waiting) < 2:
                        line.put(flow, length_s=length_s)
            (item,) = line.take()
            owner = next(n for n, own in enumerate(flows) if item.flow in own)
            had_s[owner] += item.cost_s

    everybody = range(len(weights))
    serve(everybody[:-1], n_late)
    had_s = [0.0] * len(weights)
    serve(everybody, 80)
    shares = [had / weight for had, weight in zip(had_s, weights, strict=True)]
    in_model_s = length_s / sum(weights[:-1])  # the time that the late one comes at does not have it yet
    most_s = HEAD_START_S + 2 * length_s / min(weights) + length_s / max(weights) + in_model_s
    assert max(shares) - min(shares) <= most_s


@given(st.lists(st.integers(1, 20), min_size=2, max_size=6))
def test_the_recordings_of_one_person_take_turns(lengths: list[int]) -> None:
    """A memo beside a meeting of the same person is as soon as if they were two persons'."""
    line = Line(max_items=1)
    flows = [line.turns.open("somebody") for _ in lengths]
    for flow, n_windows in zip(flows, lengths, strict=True):
        for _ in range(n_windows):
            line.put(flow)
    taken: list[Flow] = []
    while line.waiting:
        taken.append(line.take()[0].flow)
    for flow, n_windows in zip(flows, lengths, strict=True):
        last = max(n for n, other in enumerate(taken) if other is flow)
        assert last < sum(min(n_windows, other) for other in lengths)


def test_a_new_recording_of_a_person_does_not_hold_up_their_others() -> None:
    """It begins where they stand, also where the person was always a fellow and never first."""
    line = Line(max_items=2)
    others, old = line.turns.open("other"), line.turns.open("somebody")
    for _ in range(40):
        line.put(others, length_s=5.0)
        line.put(old, length_s=5.0)
        line.take()
    new = line.turns.open("somebody")
    for _ in range(10):
        line.put(new, length_s=5.0)
    waiting = line.put(old, length_s=5.0)
    n = 0
    while waiting in line.waiting:
        line.take()
        n += 1
    assert n <= 2


def test_a_full_batch_is_made_of_one_archive_where_nobody_else_waits() -> None:
    """Its recordings count then: the key that most of them wait with is next."""
    line = Line(max_items=8)
    flows = [line.turns.open("archivist") for _ in range(6)]
    line.put(flows[0], "rare")
    for flow in flows[1:]:
        line.put(flow, "common")
    assert [item.key for item in line.take()] == ["common"] * 5


def test_those_who_come_anew_do_not_hold_up_who_has_been_there_for_long() -> None:
    """However many there are: each begins not far before where those who wait stand on average."""
    line = Line(max_items=1)
    archivist = line.turns.open("archivist")
    n_served = 0
    for n in range(200):
        while sum(item.flow is archivist for item in line.waiting) < 2:
            line.put(archivist)
        line.put(line.turns.open(f"memo {n}"))
        n_served += line.take()[0].flow is archivist
    assert n_served >= 5


def test_the_whole_of_a_memo_goes_before_what_has_been_there_for_long() -> None:
    """One after the other, though the archive is there all day: it catches up in between."""
    line = Line(max_items=3)
    flows = archive(line, "a", n_recordings=4)

    def take() -> list[Item]:
        for flow in flows:
            if sum(item.flow is flow for item in line.waiting) < 4:
                line.put(flow, "a", 15.0)
        return line.take()

    for n in range(20):
        for _ in range(12):
            take()
        memo = line.turns.open(f"memo {n}")
        wanted = [line.put(memo, "a" if m < 3 else "tail", 15.0) for m in range(6)]
        for _ in range(2):
            assert all(item in wanted for item in take())
        line.turns.close(memo)


def test_only_those_count_whose_turn_is_as_near() -> None:
    """The larger batch of two who have been there for long does not pass the window of somebody who comes anew."""
    others = [Item("many", NEAR_S + 1.0), Item("many", NEAR_S + 2.0)]
    assert [item.key for item in choose([*others, Item("one", 0.0)], 0, 8, 9000)] == ["one"]
    assert [item.key for item in choose([*others, Item("one", 5.0)], 0, 8, 9000)] == ["many"] * 2


def test_the_fellows_are_first_those_whose_turn_is_as_near() -> None:
    """Then those with about as much speech, so that the batch is full."""
    late = Item(speech_s=10.0, stamp=NEAR_S + 1.0)
    waiting = [Item(speech_s=10.0), late, Item(speech_s=3.0, stamp=1.0), Item(speech_s=4.0, stamp=2.0)]
    assert [item.speech_s for item in choose(waiting, 0, 3, 9000)] == [10.0, 4.0, 3.0]
    assert choose(waiting, 0, 4, 9000)[-1] is late


def test_a_person_who_comes_back_has_had_what_they_had() -> None:
    """An archive that is handed over one recording at a time is no newcomer each time."""
    line = Line(max_items=1)
    first = line.turns.open("archivist")
    other = line.turns.open("somebody")
    line.put(other)
    for _ in range(3):
        line.put(first)
    for _ in range(4):
        line.take()
    line.put(other)
    line.turns.close(first)
    again = line.turns.open("archivist")
    late = line.put(again)
    assert line.take()[0].flow is other
    assert line.take() == [late]


def test_persons_who_are_gone_are_forgotten() -> None:
    """Thousands of names are no leak, whether or not somebody is always there."""
    for n_always in (0, 1):
        line = Line(max_items=1)
        always = [line.turns.open("always") for _ in range(n_always)]
        for n in range(1000):
            flow = line.turns.open(f"person {n}")
            for one in (flow, *always):
                line.put(one)
            while any(item.flow is flow for item in line.waiting):
                line.take()
            line.turns.close(flow)
        assert len(line.turns._persons) < 40  # pyright: ignore[reportPrivateUsage]  # nothing else shows it


@pytest.mark.parametrize(
    ("weight", "kept"), [(0.0, LEAST_WEIGHT), (-1.0, LEAST_WEIGHT), (1e9, MOST_WEIGHT), (2.0, 2.0)]
)
def test_weights_stay_within_bounds(weight: float, kept: float) -> None:
    """So that nobody waits for so long that they seem forgotten."""
    turns = Turns()
    assert turns.open("somebody", weight).person.weight == kept
    assert turns.open("", weight).person.weight == kept


def test_a_window_that_is_asked_again_keeps_its_turn_and_is_not_counted_twice() -> None:
    """Its person has paid for it."""
    line = Line(max_items=1)
    flow = line.turns.open("somebody")
    item = line.put(flow)
    line.put(flow)
    assert line.take() == [item]
    had_s, stamp = flow.person.had_s, item.stamp
    line.waiting.append(item)
    assert line.take() == [item]
    assert (flow.person.had_s, item.stamp) == (had_s, stamp)


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
