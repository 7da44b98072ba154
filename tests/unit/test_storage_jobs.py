"""The life of a job in the history: filing, claiming, settling, recovery, and what a person may change."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.connection import open_reader
from storage.errors import LostJob
from storage.jobs import JobStore
from storage.reading import JobQueries
from storage.records import Fingerprint, Job, JobState, NewJob, Outcome, Output, Result, Told

AT = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
RESULT = Result(Outcome.OK, "", "de", 0.98, "base", "cpu", "int8", 4.0, 3, 40)


def seconds(n: float) -> datetime:
    return AT + timedelta(seconds=n)


def new(name: str = "a.wav", *, size: int = 100, formats: tuple[str, ...] = ("txt",)) -> NewJob:
    return NewJob(
        path=b"/inbox/" + os.fsencode(name),
        inbox=b"/inbox",
        fingerprint=Fingerprint(size_bytes=size, mtime_ns=1, ctime_ns=2, device=3, inode=4),
        options={"model": "base", "formats": list(formats)},
        options_digest="d1",
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
def store(path: Path) -> Iterator[JobStore]:
    store = JobStore.open(path, "daemon-1")
    yield store
    store.close()


def claimed(store: JobStore, at: datetime = AT) -> Job:
    job = store.claim(at)
    assert job is not None
    return job


def kinds(store: JobStore, job_id: int) -> list[str]:
    return [event.kind for event in store.events(job_id)]


def stored(store: JobStore, job_id: int) -> Job:
    job = store.job(job_id)
    assert job is not None
    return job


def output(name: str, sha256: str = "aa") -> Output:
    return Output("txt", os.fsencode(name), b"/inbox/.tr-0.part", sha256)


# Filing


def test_enqueued_jobs_come_back_as_they_were_given(store: JobStore) -> None:
    """Every field of a new job is stored, and the ids are in the order of the jobs."""
    ids = store.enqueue([new("b.wav"), new("a.wav")], AT)
    job = stored(store, ids[1])
    assert (job.path, job.inbox, job.fingerprint) == (b"/inbox/a.wav", b"/inbox", new().fingerprint)
    assert (job.options, job.options_digest) == ({"model": "base", "formats": ["txt"]}, "d1")
    assert (job.state, job.attempt, job.max_attempts, job.created_at) == (JobState.QUEUED, 0, 3, AT)
    assert kinds(store, job.id) == ["queued"]


def test_a_path_given_twice_becomes_one_job_of_the_last(store: JobStore) -> None:
    """Two jobs of one path in one call are one row, with the fingerprint of the later."""
    first, other, last = store.enqueue([new(size=1), new("b.wav"), new(size=2)], AT)
    assert first == last != other
    assert stored(store, last).fingerprint.size_bytes == 2


def test_nothing_to_enqueue_is_no_error(store: JobStore) -> None:
    """An empty list changes nothing."""
    assert store.enqueue([], AT) == []


def test_a_changed_recording_takes_over_its_queued_job(store: JobStore) -> None:
    """New content of a queued file updates the row, and tries at the old content count for nothing."""
    (job_id,) = store.enqueue([new()], AT)
    store.requeue(claimed(store), "engine died", AT, delay_s=60, refund=False)
    assert store.enqueue([new(size=7)], AT) == [job_id]
    job = stored(store, job_id)
    assert (job.fingerprint.size_bytes, job.attempt, job.not_before_at) == (7, 0, None)
    assert store.events(job_id)[-1].detail == {"reason": "the recording changed"}


def test_seeing_a_queued_file_again_changes_nothing(store: JobStore) -> None:
    """A second report of the same content neither adds an event nor shortens the delay of a retry."""
    (job_id,) = store.enqueue([new()], AT)
    store.requeue(claimed(store), "engine died", AT, delay_s=60, refund=False)
    before = (stored(store, job_id), store.events(job_id))
    assert store.enqueue([new()], AT) == [job_id]
    assert (stored(store, job_id), store.events(job_id)) == before


def test_new_options_alone_requeue_a_waiting_job(store: JobStore) -> None:
    """The options that count are those of the last call."""
    (job_id,) = store.enqueue([new()], AT)
    store.enqueue([new(formats=("txt", "srt"))], AT)
    assert stored(store, job_id).options["formats"] == ["txt", "srt"]


def test_a_running_job_is_left_alone(store: JobStore) -> None:
    """A report about a file whose job is in hand gives that job's id and changes nothing."""
    (job_id,) = store.enqueue([new()], AT)
    job = claimed(store)
    assert store.enqueue([new(size=9)], AT) == [job_id]
    assert store.wait(new(size=9), "still being written", AT) == job_id
    assert stored(store, job_id) == job


def test_new_content_after_the_end_is_a_new_job(store: JobStore) -> None:
    """A done file that changed gets a second job; the newest one counts for the scan."""
    (first,) = store.enqueue([new()], AT)
    store.finish(claimed(store), RESULT, AT)
    (second,) = store.enqueue([new(size=5)], AT)
    assert second > first
    (known,) = store.known_files(b"/inbox")
    assert (known.job_id, known.state, known.fingerprint.size_bytes) == (second, JobState.QUEUED, 5)


def test_waiting_is_told_once(store: JobStore) -> None:
    """Repeated waits for the same reason follow the fingerprint and add no event; another reason adds one."""
    job_id = store.wait(new(size=1), "still being written", AT)
    assert store.wait(new(size=2), "still being written", AT) == job_id
    assert stored(store, job_id).fingerprint.size_bytes == 2
    assert kinds(store, job_id) == ["waiting"]
    store.wait(new(size=2), "cannot be read", AT)
    assert kinds(store, job_id) == ["waiting", "waiting"]
    assert store.claim(AT) is None


def test_a_waiting_job_is_queued_when_its_file_is_ready(store: JobStore) -> None:
    """The row that waited is the row that is claimed."""
    job_id = store.wait(new(), "still being written", AT)
    assert store.enqueue([new()], AT) == [job_id]
    assert claimed(store).id == job_id


def test_touching_changes_the_fingerprint_only(store: JobStore) -> None:
    """A file whose content stayed the same keeps its done job, with the new fingerprint."""
    (job_id,) = store.enqueue([new()], AT)
    store.finish(claimed(store), RESULT, AT)
    touched = replace(new().fingerprint, ctime_ns=99)
    store.touched(new().path, touched, AT)
    store.touched(new().path, touched, AT)
    assert stored(store, job_id).fingerprint == touched
    assert kinds(store, job_id)[-2:] == ["done", "touched"]


def test_only_a_job_before_its_turn_vanishes(store: JobStore) -> None:
    """A queued job of a removed file is vanished; unknown paths and jobs in hand are not."""
    (first, second) = store.enqueue([new("a.wav"), new("b.wav")], AT)
    claimed(store)
    assert store.vanished([b"/inbox/a.wav", b"/inbox/b.wav", b"/inbox/never.wav"], AT) == [b"/inbox/b.wav"]
    assert store.vanished([b"/inbox/b.wav"], AT) == []
    assert kinds(store, second)[-1] == "vanished"
    assert [stored(store, i).state for i in (first, second)] == [JobState.RUNNING, JobState.VANISHED]


def test_a_file_moves_with_its_inbox(store: JobStore) -> None:
    """A path that belongs to another inbox now is known there and no longer where it was."""
    store.enqueue([new()], AT)
    store.enqueue([replace(new(size=2), inbox=b"/inbox2")], AT)
    assert store.known_files(b"/inbox") == []
    assert [known.path for known in store.known_files(b"/inbox2")] == [b"/inbox/a.wav"]


def test_a_long_list_needs_no_long_statement(store: JobStore, path: Path) -> None:
    """However many jobs are asked for: SQLite takes so many values in a statement and no more (32,766 by default)."""
    ids = store.enqueue([new(str(n)) for n in range(600)], AT)
    engine = open_reader(path)
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        raw.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 550)
    with closing(JobQueries(path, engine)) as history:
        assert [job.id for job in history.jobs(limit=1000)] == ids[::-1]
        assert [job.id for job in history.jobs([JobState.QUEUED, JobState.DONE], limit=580)] == ids[:-581:-1]


# Claiming


def test_the_oldest_due_job_is_claimed_first(store: JobStore) -> None:
    """Jobs are claimed in the order in which they were made, delayed ones passed over."""
    ids = store.enqueue([new("a"), new("b"), new("c")], AT)
    store.requeue(claimed(store), "later", AT, delay_s=30, refund=True)
    assert claimed(store, seconds(1)).id == ids[1]
    assert claimed(store, seconds(30)).id == ids[0]
    assert claimed(store, seconds(30)).id == ids[2]
    assert store.claim(seconds(30)) is None


def test_a_claim_names_its_owner_and_counts(store: JobStore) -> None:
    """A claimed job is running, with attempt, owner and start, and the event says so."""
    store.enqueue([new()], AT)
    job = claimed(store, seconds(5))
    assert (job.state, job.attempt, job.owner, job.started_at) == (JobState.RUNNING, 1, "daemon-1", seconds(5))
    assert store.events(job.id)[-1].detail == {"attempt": 1, "owner": "daemon-1"}


def test_a_held_job_is_tried_again_by_itself(store: JobStore) -> None:
    """A job that waits with a time is claimed when the time has come, one without is left to the intake."""
    store.enqueue([new()], AT)
    job = claimed(store)
    store.hold(job, "the folder is read-only", AT, delay_s=60, refund=True)
    held = stored(store, job.id)
    assert (held.state, held.reason, held.attempt) == (JobState.WAITING, "the folder is read-only", 0)
    assert held.not_before_at == seconds(60)
    assert store.claim(seconds(59)) is None
    assert claimed(store, seconds(60)).attempt == 1


@pytest.mark.fault(28, "a due time in the far future")
def test_a_clock_that_was_wrong_strands_no_job(store: JobStore) -> None:
    """A job put off while the clock was a year ahead is due at once when the clock is right again."""
    store.enqueue([new()], AT)
    store.requeue(claimed(store), "later", AT + timedelta(days=365), delay_s=60, refund=True)
    assert store.claim(AT) is not None


def test_a_new_claim_forgets_what_the_last_one_measured(store: JobStore) -> None:
    """Durations and reasons of an earlier attempt do not stay in the row."""
    store.enqueue([new()], AT)
    job = claimed(store)
    store.decoded(job, source_sha256="s", audio_s=9.0, declared_s=9.5, speech_s=8.0, at=AT)
    assert stored(store, job.id).audio_s == 9.0
    store.requeue(job, "engine died", AT, refund=False)
    again = claimed(store)
    assert (again.attempt, again.reason, again.audio_s, again.source_sha256) == (2, "", None, None)


@pytest.mark.fault(7, "six threads that claim")
def test_six_threads_claim_300_jobs_once_each(store: JobStore) -> None:
    """Claims from many threads are distinct and raise nothing."""
    store.enqueue([new(f"{i}.wav") for i in range(300)], AT)
    taken: list[int] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while job := store.claim(AT):
                taken.append(job.id)
        except BaseException as error:  # noqa: BLE001  # shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(taken) == len(set(taken)) == 300


# In hand


def test_a_job_from_claim_to_done(store: JobStore) -> None:
    """Decoding, publishing and the end are stored, each with an event; speed is audio over work."""
    store.enqueue([new()], AT)
    job = claimed(store)
    store.decoded(job, source_sha256="s" * 64, audio_s=40.0, declared_s=None, speech_s=30.0, at=AT)
    out = Output("txt", b"/inbox/caf\xe9.txt", b"/inbox/.tr-1.part", "bb")
    store.publishing(job, [out], RESULT, AT)
    assert stored(store, job.id).state == JobState.PUBLISHING
    store.finish(job, RESULT, seconds(4))
    done = stored(store, job.id)
    assert (done.state, done.outcome, done.finished_at) == (JobState.DONE, Outcome.OK, seconds(4))
    assert (done.outputs, done.result, done.speed) == ((out,), RESULT, 10.0)
    assert kinds(store, job.id) == ["queued", "running", "decoded", "publishing", "done"]
    assert store.last_done(new().path) == done == store.newest(new().path)


@pytest.mark.parametrize(
    ("settle", "state"),
    [
        (JobStore.fail, JobState.FAILED),
        (JobStore.quarantine, JobState.QUARANTINED),
        (JobStore.cancelled, JobState.CANCELLED),
        (JobStore.vanish_running, JobState.VANISHED),
    ],
)
def test_side_exits_keep_their_reason(store: JobStore, settle: object, state: JobState) -> None:
    """Each other end has its state, its reason and its time, and the file may get a new job."""
    (job_id,) = store.enqueue([new()], AT)
    job = claimed(store)
    assert callable(settle)
    settle(store, job, "no audio in it", seconds(1))
    ended = stored(store, job_id)
    assert (ended.state, ended.reason, ended.finished_at) == (state, "no audio in it", seconds(1))
    assert kinds(store, job_id)[-1] == state
    assert store.enqueue([new()], AT) != [job_id]


def test_engine_deaths_are_counted(store: JobStore) -> None:
    """Every death adds one, also across attempts."""
    store.enqueue([new()], AT)
    job = claimed(store)
    assert store.engine_death(job, AT) == 1
    store.requeue(job, "engine died", AT, refund=False)
    assert store.engine_death(claimed(store), AT) == 2


def test_a_refund_takes_the_attempt_back(store: JobStore) -> None:
    """An orderly stop does not use up tries."""
    store.enqueue([new()], AT)
    store.requeue(claimed(store), "the service stops", AT, refund=True)
    assert claimed(store).attempt == 1


@pytest.mark.fault(19, "a worker of a dead daemon writes")
def test_a_forgotten_worker_changes_nothing(store: JobStore) -> None:
    """A claim that was put back is void, even where the next one has the same attempt number and owner."""
    store.enqueue([new()], AT)
    old = claimed(store)
    store.requeue(old, "the service stops", AT, refund=True)
    with pytest.raises(LostJob):
        store.finish(old, RESULT, AT)
    now = claimed(store)
    assert (now.attempt, now.owner) == (old.attempt, old.owner)
    before = (stored(store, now.id), store.events(now.id))
    for write in (
        lambda: store.finish(old, RESULT, AT),
        lambda: store.fail(old, "x", AT),
        lambda: store.publishing(old, [output("/inbox/a.txt")], RESULT, AT),
        lambda: store.requeue(old, "x", AT, refund=True),
        lambda: store.hold(old, "x", AT, delay_s=1, refund=True),
        lambda: store.engine_death(old, AT),
        lambda: store.refresh_fingerprint(old, old.fingerprint, AT),
    ):
        with pytest.raises(LostJob, match=f"job {now.id} "):
            write()
    assert (stored(store, now.id), store.events(now.id)) == before


def test_a_settled_job_is_settled(store: JobStore) -> None:
    """The end of a job comes once."""
    store.enqueue([new()], AT)
    job = claimed(store)
    store.finish(job, RESULT, AT)
    with pytest.raises(LostJob):
        store.fail(job, "too late", AT)


# Outputs


def test_every_hash_that_was_ever_meant_for_a_path_is_ours(store: JobStore) -> None:
    """What lies at a path is known by hash, also that of an earlier publication; not for other recordings."""
    for size, sha256 in ((1, "old"), (2, "new")):
        store.enqueue([new(size=size)], AT)
        job = claimed(store)
        store.publishing(job, [output("/inbox/a.txt", sha256)], RESULT, AT)
        store.finish(job, RESULT, AT)
    assert store.written(b"/inbox/a.wav") == {b"/inbox/a.txt": {"old", "new"}}
    assert store.written(b"/inbox/a.mp3") == {}


def test_a_publication_that_was_given_up_stays_known_as_ours(store: JobStore) -> None:
    """After a put-back the job has no outputs, but a file that was already in place is recognised."""
    store.enqueue([new()], AT)
    job = claimed(store)
    store.publishing(job, [output("/inbox/a.txt", "half")], RESULT, AT)
    store.hold(job, "disk full", AT, delay_s=1, refund=True)
    assert stored(store, job.id).outputs == ()
    assert stored(store, job.id).outcome is None
    assert store.written(b"/inbox/a.wav") == {b"/inbox/a.txt": {"half"}}


# Recovery


@pytest.mark.fault(19, "running jobs of another owner")
def test_running_jobs_of_a_dead_daemon_are_queued(store: JobStore, path: Path) -> None:
    """After a restart what ran is queued with its attempt given back, and our own jobs are left alone."""
    store.enqueue([new("a"), new("b")], AT)
    lost = claimed(store)
    store.close()
    second = JobStore.open(path, "daemon-2")
    mine = claimed(second)
    assert second.recover(AT) == []
    assert (stored(second, lost.id).state, stored(second, lost.id).attempt) == (JobState.QUEUED, 0)
    assert stored(second, mine.id).state == JobState.RUNNING
    assert kinds(second, lost.id)[-1] == "queued"
    with pytest.raises(LostJob):
        second.finish(lost, RESULT, AT)
    second.close()


def test_recovery_never_leads_past_the_last_attempt(store: JobStore, path: Path) -> None:
    """A job that was in its last attempt has it again, and no more than its maximum are counted."""
    store.enqueue([new()], AT)
    for _ in range(2):
        store.requeue(claimed(store), "again", AT, refund=False)
    assert claimed(store).attempt == 3
    store.close()
    second = JobStore.open(path, "daemon-2")
    second.recover(AT)
    assert claimed(second).attempt == 3
    second.close()


def test_what_was_publishing_is_settled_by_the_next_daemon(store: JobStore, path: Path) -> None:
    """Publishing rows of a dead daemon come back with outputs and result, and can be finished or put back."""
    store.enqueue([new("a"), new("b")], AT)
    for name in ("a", "b"):
        store.publishing(claimed(store), [output(f"/inbox/{name}.txt")], RESULT, AT)
    store.close()
    second = JobStore.open(path, "daemon-2")
    complete, partial = second.recover(AT)
    assert (complete.result, complete.outputs) == (RESULT, (output("/inbox/a.txt"),))
    second.finish(complete, RESULT, AT)
    second.requeue(partial, "its files are gone", AT, refund=True)
    assert stored(second, complete.id).state == JobState.DONE
    assert stored(second, partial.id).state == JobState.QUEUED
    second.close()


# What a person asks for


def test_retry_makes_an_ended_job_new(store: JobStore) -> None:
    """A quarantined job is queued with no attempt and no engine death counted; done jobs are left alone."""
    first, second = store.enqueue([new("a"), new("b")], AT)
    job = claimed(store)
    store.engine_death(job, AT)
    store.quarantine(job, "killed the engine twice", AT)
    store.finish(claimed(store), RESULT, AT)
    assert store.retry([first, second, 999], AT) == [first]
    again = stored(store, first)
    assert (again.state, again.attempt, again.engine_deaths, again.reason) == (JobState.QUEUED, 0, 0, "")
    assert again.finished_at is None


def test_retry_moves_a_held_job_forward(store: JobStore) -> None:
    """A waiting job is due at once."""
    store.enqueue([new()], AT)
    job = claimed(store)
    store.hold(job, "blocked", AT, delay_s=3600, refund=True)
    assert store.retry([job.id], AT) == [job.id]
    assert claimed(store).id == job.id


def test_retry_refuses_where_the_recording_has_a_live_job(store: JobStore) -> None:
    """One live job per file: neither beside a newer one, nor two at once."""
    (old,) = store.enqueue([new()], AT)
    store.fail(claimed(store), "broken", AT)
    (newer,) = store.enqueue([new(size=2)], AT)
    assert store.retry([old], AT) == []
    store.cancel([newer], AT)
    assert store.retry([old, newer], AT) == [newer]


def test_retry_refuses_what_a_newer_job_has_done_since(store: JobStore) -> None:
    """The recording is not what the older job was made for: it would wait for that content for ever."""
    (old,) = store.enqueue([new()], AT)
    store.fail(claimed(store), "broken", AT)
    (newer,) = store.enqueue([new(size=2)], AT)
    store.finish(claimed(store), RESULT, AT)
    assert store.retry([old, newer], AT) == []
    assert stored(store, old).state is JobState.FAILED


def test_cancel_takes_jobs_before_their_turn(store: JobStore) -> None:
    """Queued and waiting jobs are cancelled, a running one is not."""
    running, queued = store.enqueue([new("a"), new("b")], AT)
    claimed(store)
    waiting = store.wait(new("c"), "still being written", AT)
    assert store.cancel([waiting, queued, running, 999], AT) == [queued, waiting]
    assert stored(store, queued).finished_at == AT
    assert kinds(store, waiting) == ["waiting", "cancelled"]


def test_notes_need_no_job(store: JobStore) -> None:
    """Events of the service itself, and notes on a job, are kept with their detail."""
    (job_id,) = store.enqueue([new()], AT)
    store.note("daemon_started", {"version": "0.1.0"}, AT)
    store.note("engine_died", {"reason": "SIGSEGV", "at": AT, "path": b"\xff"}, AT, job_id)
    assert store.events(job_id)[-1].detail == {"reason": "SIGSEGV", "at": str(AT), "path": "\\xff"}


# Questions


def test_jobs_are_listed_newest_first(store: JobStore) -> None:
    """The limit, the states and the path each narrow the list."""
    ids = store.enqueue([new("a"), new("b"), new("c")], AT)
    store.fail(claimed(store), "broken", AT)
    claimed(store)

    def listed(**chosen: object) -> list[int]:
        return [job.id for job in store.jobs(**chosen)]  # type: ignore[arg-type]  # keyword arguments of jobs

    assert listed() == ids[::-1]
    assert listed(limit=2) == ids[:0:-1]
    assert listed(states=[JobState.FAILED, JobState.QUEUED]) == [ids[2], ids[0]]
    assert listed(states=[JobState.FAILED, JobState.QUEUED], limit=1) == [ids[2]]
    assert listed(states=[]) == []
    assert listed(path=b"/inbox/b") == [ids[1]]
    assert listed(path=b"/inbox/b", states=[JobState.DONE]) == []


def test_counts_name_every_state(store: JobStore) -> None:
    """States without jobs are zero, and the oldest queued job is known."""
    assert set(store.counts().values()) == {0}
    assert store.oldest_queued_at() is None
    store.enqueue([new("a")], AT)
    store.enqueue([new("b")], seconds(1))
    claimed(store)
    counts = store.counts()
    assert set(counts) == set(JobState)
    assert (counts[JobState.QUEUED], counts[JobState.RUNNING]) == (1, 1)
    assert store.oldest_queued_at() == seconds(1)


def test_unknown_things_are_none(store: JobStore) -> None:
    """Asking for what is not there is no error."""
    assert store.job(1) is None
    assert store.newest(b"/inbox/x") is None
    assert store.last_done(b"/inbox/x") is None
    assert store.events(1) == []
    assert store.known_files(b"/inbox") == []


# Inboxes that are away


def test_jobs_of_an_inbox_that_is_away_are_left(store: JobStore) -> None:
    """Those of the others are claimed, the oldest first."""
    away, here = store.enqueue([new("a.wav"), replace(new("b.wav"), path=b"/other/b.wav", inbox=b"/other")], AT)
    job = store.claim(AT, [b"/inbox"])
    assert job is not None
    assert job.id == here
    assert store.claim(AT, [b"/inbox", b"/third"]) is None
    assert stored(store, away).state is JobState.QUEUED
    assert claimed(store).id == away


def test_what_an_inbox_waited_for_is_there(store: JobStore) -> None:
    """Its jobs are due now, those of other inboxes and those that the intake has to move are not."""
    store.enqueue([new("a.wav"), replace(new("b.wav"), path=b"/other/b.wav", inbox=b"/other")], AT)
    store.wait(new("c.wav"), "empty", AT)
    for _ in range(2):
        store.hold(claimed(store), "read-only", AT, delay_s=600, refund=True)
    assert store.claim(AT) is None
    assert store.hasten(b"/inbox", AT) == 1
    assert store.hasten(b"/inbox", AT) == 0
    assert claimed(store).path == b"/inbox/a.wav"
    assert store.claim(AT) is None


def test_what_a_reason_tells_in_any_language_goes_with_it(store: JobStore) -> None:
    """It comes with the reason, and nothing is left of it once the job has another reason, or none."""
    told = Told("too_long", {"limit_h": 12.0, "kind": "wav"})
    store.enqueue([new()], AT)

    def newest() -> Job:
        return store.jobs(limit=1)[0]

    for step in (0, 1, 2):
        job = claimed(store, seconds(step))
        assert job.told is None
        if step == 0:
            store.hold(job, "too long", AT, delay_s=0.5, refund=True, told=told)
        elif step == 1:
            store.requeue(job, "too long", AT, refund=True, told=told)
        else:
            store.fail(job, "too long", AT, told)
        assert newest().told == told
    assert store.retry([newest().id], AT) == [newest().id]
    assert newest().told is None
