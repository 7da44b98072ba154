from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from storage.jobs import JobStore
from storage.lately import Held, Queued
from storage.records import JobState, Outcome, Told
from tests.unit.history import AT, INBOX, claim, days, lines, new, publish, result, transcribe

OURS = b"/var/lib/transcribed/canary"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    with closing(JobStore.open(tmp_path / "history.db", "daemon-1")) as opened:
        yield opened


def test_the_oldest_that_waits_is_found_in_the_inboxes_that_are_asked_for(store: JobStore) -> None:
    """Not one that runs, not one of another inbox, and nothing where nothing waits."""
    assert store.oldest_queued([INBOX], AT) is None
    claim(store, b"/srv/inbox/first.wav", AT)
    store.enqueue([new(b"/srv/inbox/second.wav")], AT + timedelta(seconds=10))
    store.enqueue([new(b"/srv/other/third.wav", b"/srv/other")], AT + timedelta(seconds=5))
    later = AT + timedelta(minutes=1)
    assert store.oldest_queued([INBOX], later) == Queued(AT + timedelta(seconds=10), b"/srv/inbox/second.wav")
    both = store.oldest_queued([INBOX, b"/srv/other"], later)
    assert both == Queued(AT + timedelta(seconds=5), b"/srv/other/third.wav")


def test_a_job_that_a_person_asked_for_again_waits_from_then_on(store: JobStore) -> None:
    """A recording that failed a year ago does not make the queue a year old."""
    job = claim(store, b"/srv/inbox/a.wav", AT)
    store.fail(job, "broken", AT)
    store.retry([job.id], days(365))
    assert store.oldest_queued([INBOX], days(366)) == Queued(days(365), b"/srv/inbox/a.wav")


def test_a_job_that_came_back_by_itself_has_waited_all_the_time(store: JobStore) -> None:
    """But not while it may not begin."""
    job = claim(store, b"/srv/inbox/a.wav", AT)
    store.requeue(job, "again", AT + timedelta(minutes=5), delay_s=60, refund=False)
    assert store.oldest_queued([INBOX], AT + timedelta(minutes=5)) is None
    assert store.oldest_queued([INBOX], AT + timedelta(minutes=7)) == Queued(AT, b"/srv/inbox/a.wav")


def test_the_oldest_that_is_held_is_told_with_its_reason(store: JobStore) -> None:
    """Not what the intake waits for, nor what other figures tell of, nor what runs; from when a person asked again."""
    assert store.oldest_held([INBOX]) is None
    store.wait(new(b"/srv/inbox/busy.wav"), "open elsewhere", AT)
    blocked = claim(store, b"/srv/inbox/blocked.wav", AT)
    store.hold(blocked, "read-only", AT, delay_s=60, refund=True, told=Told("output_blocked"))
    job = claim(store, b"/srv/inbox/a.wav", AT + timedelta(seconds=5))
    assert store.oldest_held([INBOX], ["output_blocked"]) is None
    store.hold(job, "no room", AT + timedelta(seconds=9), delay_s=60, refund=True, told=Told("server_trouble"))
    assert store.oldest_held([INBOX], ["output_blocked"]) == Held(AT + timedelta(seconds=5), "no room")
    assert store.oldest_held([b"/srv/other"]) is None
    assert store.oldest_held([]) is None
    store.cancel([blocked.id], days(1))
    store.retry([job.id], days(1))
    again = store.claim(days(1))
    assert again is not None
    store.hold(again, "no room", days(1), delay_s=60, refund=True)
    assert store.oldest_held([INBOX], ["output_blocked"]) == Held(days(1), "no room")


def test_what_ended_since_is_told_with_its_audio(store: JobStore) -> None:
    """The newest first; a text that was used again took no work, and a failure has none."""
    transcribe(store, b"/srv/inbox/old.wav", "old", at=AT)
    transcribe(store, b"/srv/inbox/a.wav", "a", at=days(2))
    job = claim(store, b"/srv/inbox/b.wav", days(3))
    store.fail(job, "broken", days(3))
    again = claim(store, b"/srv/inbox/c.wav", days(4))
    publish(store, again, lines("c"), days(4), result(Outcome.DUPLICATE))
    ended = store.ended_since(days(1), 10)
    assert [(one.state, one.audio_s, one.wall_s) for one in ended] == [
        (JobState.DONE, None, None),
        (JobState.FAILED, None, None),
        (JobState.DONE, 120.0, 12.0),
    ]
    assert ended[0].finished_at == days(4)
    assert ended[0].kind == ("base", "")


def test_of_many_that_ended_the_newest_are_told(store: JobStore) -> None:
    """So the question takes as long as its limit, and not as long as the history."""
    for number in range(5):
        transcribe(store, b"/srv/inbox/%d.wav" % number, "x", at=AT + timedelta(minutes=number))
    ended = store.ended_since(AT, 2)
    assert [one.finished_at for one in ended] == [AT + timedelta(minutes=4), AT + timedelta(minutes=3)]


def test_an_inbox_of_our_own_is_left_out(store: JobStore) -> None:
    """People's pace is told, and how many jobs are ours."""
    transcribe(store, b"/srv/inbox/a.wav", "a")
    transcribe(store, OURS + b"/canary.flac", "c", inbox=OURS)
    assert len(store.ended_since(AT, 10, OURS)) == 1
    assert store.counts_of(OURS) == {JobState.DONE: 1}
    assert store.count_of(JobState.DONE) == 2


def test_jobs_that_wait_with_their_transcript_are_counted_by_inbox(store: JobStore) -> None:
    """Of those asked for, only the ones that wait; one of their reasons is told."""
    jobs = [claim(store, b"/srv/inbox/%d.wav" % number, AT) for number in range(3)]
    for job in jobs[:2]:
        store.hold(job, "the folder cannot be written", AT, delay_s=60, refund=True)
    (found,) = store.blocked([job.id for job in jobs])
    assert (found.inbox, found.n_jobs, found.reason) == (INBOX, 2, "the folder cannot be written")
    assert store.blocked([]) == []


def test_what_is_forgotten_was_never_there(store: JobStore) -> None:
    """Jobs, events, outputs, texts and files of that inbox, and of no other; live ones only where asked."""
    kept = transcribe(store, b"/srv/inbox/a.wav", "kept words")
    done = transcribe(store, OURS + b"/canary-1.flac", "canary words", inbox=OURS)
    running = claim(store, OURS + b"/canary-2.flac", AT, OURS)
    assert store.forget(OURS) == [done]
    assert store.job(done) is None
    assert store.events(done) == []
    assert [hit.job_id for hit in store.search(["words"])] == [kept]
    assert store.forget(OURS, live=True) == [running.id]
    assert store.counts_of(OURS) == {}
    assert store.known_files(OURS) == []
    assert store.newest(b"/srv/inbox/a.wav") is not None
