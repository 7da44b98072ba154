"""Whose turn it is: fairly between persons, short recordings first within a bound, high before normal before low."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.claims import Open
from storage.glance import Glance
from storage.jobs import JobStore
from storage.records import Fingerprint, Job, NewJob
from storage.turns import LONG_S, PASSED_S, PATIENCE, SHARE, Head, Turn, in_line, pick

AT = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
HOUR = 3600.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    with closing(JobStore.open(tmp_path / "history.db", "me")) as store:
        yield store


def new(person: str, name: str, expected_s: float = 60.0, priority: int = 0, inbox: str = "/in") -> NewJob:
    path = f"{inbox}/{person}/{name}.wav".encode()
    fingerprint = Fingerprint(1, 2, 3, 4, 5)
    options = {"model": "base"}
    whose = person.encode()
    return NewJob(
        path, inbox.encode(), fingerprint, options, "d", priority=priority, person=whose, expected_s=expected_s
    )


def put(store: JobStore, *jobs: NewJob, at: datetime = AT) -> list[int]:
    return store.enqueue(jobs, at)


def names(store: JobStore, n: int, door: Open | None = None, at: datetime = AT) -> list[str]:
    """The next *n* that are claimed."""
    found: list[str] = []
    for _ in range(n):
        job = store.claim(at, door or Open())
        if job is None:
            break
        found.append(name_of(job))
    return found


def name_of(job: Job) -> str:
    return os.path.basename(os.fsdecode(job.path)).removesuffix(".wav")


# Lines


def test_a_line_goes_on_where_its_last_one_ends() -> None:
    """Or where the queue has got to, if that is later: nobody saves up turns."""
    assert [turn.start_s for turn in in_line(100.0, 160.0, [10.0, 20.0])] == [160.0, 170.0]
    assert [turn.start_s for turn in in_line(500.0, 160.0, [10.0])] == [500.0]
    assert [turn.start_s for turn in in_line(100.0, None, [10.0])] == [100.0]


def test_of_two_that_start_together_the_shorter_is_next_up_to_a_bound() -> None:
    """For recordings of more than an hour the length does not count."""
    assert Turn(5.0, 30.0).key < Turn(5.0, 31.0).key
    assert Turn(5.0, PASSED_S).key == Turn(5.0, 9 * PASSED_S).key


_LENGTHS = st.lists(st.tuples(st.sampled_from("abcd"), st.floats(1.0, 500.0)), min_size=2, max_size=60)


@given(_LENGTHS)
@settings(max_examples=200, deadline=None)
def test_persons_who_wait_are_served_alike(arrivals: list[tuple[str, float]]) -> None:
    """Of two who both still wait, neither has had more than the other by over two recordings."""
    ends: dict[str, float] = {}
    queue: list[tuple[float, int, str, float]] = []
    for number, (person, length_s) in enumerate(arrivals):
        (turn,) = in_line(0.0, ends.get(person), [length_s])
        ends[person] = turn.end_s
        queue.append((turn.key, number, person, length_s))
    longest = max(length_s for _person, length_s in arrivals)
    queue.sort()
    had = dict.fromkeys("abcd", 0.0)
    for index, (_key, _number, person, length_s) in enumerate(queue):
        had[person] += length_s
        still = {one for _k, _n, one, _l in queue[index + 1 :]}
        waiting = [had[one] for one in still]
        assert not waiting or max(waiting) - min(waiting) <= 2 * longest + 1e-6


# Claims


def test_a_few_recordings_do_not_wait_for_the_many_of_another(store: JobStore) -> None:
    """Somebody who comes behind an archive has as much audio done as that, from then on."""
    put(store, *(new("archive", f"a{n}", 2 * HOUR) for n in range(10)))
    names(store, 2)
    put(store, *(new("ben", f"b{n}", HOUR) for n in range(3)))
    assert names(store, 5) == ["b0", "b1", "a2", "b2", "a3"]


def test_a_memo_goes_before_the_archive_of_its_own_person(store: JobStore) -> None:
    """The short and the long recordings of a person are two lines."""
    put(store, *(new("anna", f"a{n}", 2 * HOUR) for n in range(100)))
    names(store, 5)
    put(store, new("anna", "memo", 30.0))
    assert names(store, 2) == ["memo", "a5"]


def test_long_recordings_are_not_passed_for_ever(store: JobStore) -> None:
    """Shorts that keep coming have their share, and no more."""
    put(store, new("anna", "long", 2 * HOUR))
    turns = 0
    while True:
        put(store, new("anna", f"short{turns}", 500.0))
        turns += 1
        if names(store, 1) == ["long"]:
            break
    assert turns * 500.0 <= PASSED_S + 500.0


def test_a_long_recording_is_not_passed_for_ever_by_those_who_come_back(store: JobStore) -> None:
    """Though they come only when their last one is done, or are others each time, and no line is ever long."""
    for person in ("ben", ""):
        long = put(store, new("anna", f"long of {person}", 2 * HOUR))[0]
        passed_s = 0.0
        while True:
            put(store, new(person or f"p{passed_s}", f"short{passed_s}", 500.0))
            job = store.claim(AT)
            assert job is not None
            store.fail(job, "it has ended", AT)
            if job.id == long:
                break
            passed_s += 500.0
        assert passed_s <= 4 * PASSED_S  # of four persons, at the most


def test_of_one_drop_the_shortest_comes_first(store: JobStore) -> None:
    """What gets into a line together is in order of length."""
    put(store, new("anna", "c", 300.0), new("anna", "a", 10.0), new("anna", "b", 20.0))
    assert names(store, 3) == ["a", "b", "c"]


def test_high_is_before_all_and_low_after_all(store: JobStore) -> None:
    """Priority comes before fairness."""
    put(store, new("a", "low", priority=-1), new("b", "normal"), new("c", "high", 3 * HOUR, priority=1))
    assert names(store, 3) == ["high", "normal", "low"]


def test_low_does_not_wait_for_ever(store: JobStore) -> None:
    """After twelve hours it has every eighth turn."""
    put(store, *(new("a", f"low{n}", priority=-1) for n in range(2)))
    put(store, *(new("b", f"n{n}") for n in range(40)), at=AT + PATIENCE)
    found = names(store, 24, at=AT + PATIENCE)
    assert [index for index, name in enumerate(found) if name.startswith("low")] == [SHARE - 1, 2 * SHARE - 1]
    assert not any(name.startswith("low") for name in names(store, 15, at=AT + timedelta(hours=1)))


def test_the_choice_among_priorities_is_as_told() -> None:
    """The highest, unless a lower one has waited for long and was passed often enough."""
    high, low = Head(1, 1, AT, 0), Head(2, -1, AT - PATIENCE, SHARE - 2)
    assert pick([], AT) is None
    assert (found := pick([high, low], AT)) is not None
    assert (found.head, found.passed) == (high, (-1,))
    late = Head(2, -1, AT - PATIENCE, SHARE - 1)
    assert (found := pick([high, late], AT)) is not None
    assert (found.head, found.passed) == (late, ())
    fresh = Head(2, -1, AT, SHARE)
    assert (found := pick([high, fresh], AT)) is not None
    assert (found.head, found.passed) == (high, ())


def test_those_who_are_full_are_passed_over_however_many_they_have(store: JobStore) -> None:
    """Also where nobody else is among the first of the line."""
    put(store, *(new("full", f"f{n}", 0.001) for n in range(2500)))
    put(store, new("ben", "b", 500.0))
    assert names(store, 2, Open(but_not_of=[b"full"])) == ["b"]
    assert names(store, 1, Open(but_not_of=[b"ben"])) == ["f0"]


def test_who_has_enough_long_ones_may_still_begin_a_short_one(store: JobStore) -> None:
    """And where no long one may begin, somebody's short one does."""
    put(store, new("anna", "long", 2 * LONG_S), new("anna", "short"), new("ben", "b", 3 * LONG_S))
    assert names(store, 3, Open(but_no_long_of=[b"anna"])) == ["short", "b"]
    assert names(store, 1, Open(long_too=False)) == []
    assert names(store, 1, Open(but_not_in=[b"/in"])) == []
    assert names(store, 1) == ["long"]


def test_inboxes_share_one_queue(store: JobStore) -> None:
    """The turn counts, not the inbox."""
    put(store, new("a", "a0", 50.0, inbox="/x"), new("a", "a1", 50.0, inbox="/x"), new("b", "b0", 60.0, inbox="/y"))
    assert names(store, 3) == ["a0", "b0", "a1"]


def test_a_job_that_goes_back_keeps_its_turn(store: JobStore) -> None:
    """It has waited for it."""
    put(store, new("a", "a0"), new("a", "a1"), new("b", "b0"))
    job = store.claim(AT)
    assert job is not None
    store.requeue(job, "stopped", AT, refund=True)
    assert names(store, 1) == [name_of(job)]


def test_a_retry_gets_to_the_end_of_its_line(store: JobStore) -> None:
    """It counts as new."""
    put(store, *(new("a", f"a{n}") for n in range(3)))
    job = store.claim(AT)
    assert job is not None
    store.fail(job, "broken", AT)
    store.retry([job.id], AT)
    assert names(store, 3) == ["a1", "a2", "a0"]


# What a person changes


def test_a_person_can_put_a_job_before_the_others(store: JobStore) -> None:
    """Only one of the queue; the event says who did."""
    first, second, third = put(store, *(new("a", f"a{n}") for n in range(3)))
    assert names(store, 1) == ["a0"]
    assert store.prioritize([first, third, 99], 1, AT, "anna") == [third]
    assert store.prioritize([third], 1, AT) == []
    assert store.events(third)[-1].detail == {"priority": 1, "by": "anna"}
    assert names(store, 2) == ["a2", "a1"]
    job = store.job(third)
    assert job is not None
    assert job.priority == 1
    assert store.prioritize([second], 0, AT) == []


def test_a_recording_that_changes_keeps_its_turn_unless_it_gets_another_length(store: JobStore) -> None:
    """The same content seen again changes nothing; other content gets in line again."""
    put(store, new("a", "a0"), new("a", "a1"))
    put(store, new("a", "a0"))
    assert names(store, 1) == ["a0"]


def test_where_a_job_stands_is_told_by_both_readers(store: JobStore, tmp_path: Path) -> None:
    """How many are before it, and how much audio that is; None for one that is not in the queue."""
    low, long, short, high = put(
        store,
        new("a", "low", priority=-1),
        new("b", "long", HOUR),
        new("c", "short", 60.0, inbox="/y"),
        new("d", "high", 90.0, priority=1),
    )
    with closing(Glance.open(tmp_path / "history.db")) as glance:
        for reader in (store, glance):
            found = [reader.standing(job_id) for job_id in (high, short, long, low)]
            told = [(one.n_before, one.before_s, one.own_s) for one in found if one is not None]
            assert told == [(0, 0.0, 90.0), (1, 90.0, 60.0), (2, 150.0, HOUR), (3, 150.0 + HOUR, 60.0)]
        assert glance.standing(99) is None
    claimed = store.claim(AT)
    assert claimed is not None
    assert store.standing(claimed.id) is None


def test_the_page_of_an_inbox_lists_them_in_that_order(store: JobStore) -> None:
    """The first few of both lines, by priority and turn."""
    put(store, new("a", "low", priority=-1), new("b", "long", HOUR), new("b", "short"), new("d", "high", priority=1))
    assert [name_of(job) for job in store.waiting_in(b"/in", 3)] == ["high", "short", "long"]
