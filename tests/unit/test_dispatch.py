from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon import dispatch
from daemon import shares as shares_module
from daemon.ahead import Ahead
from daemon.clock import monotonic_s
from daemon.dispatch import RETRY_S, Dispatcher
from daemon.ends import End
from daemon.errors import (
    ConfigError,
    DecodeFailed,
    DecoderKilled,
    EmptyRecording,
    EngineDied,
    EngineUnavailable,
    JobCancelled,
    OutputBlocked,
    Quarantined,
    RecordingIncomplete,
    RecordingTooLarge,
    SourceBlocked,
    SourceChanged,
    SourceVanished,
    SpoolBlocked,
    UnreadableRecording,
)
from daemon.held import BLOCKED_S, FOLDER_BLOCKED_S, KILLED_S
from daemon.outputs.kept import KeptDocuments
from daemon.workshop import Activity, Patiently, Workshop
from storage.errors import LostJob, StorageBusy, StorageFull
from storage.jobs import JobStore
from storage.records import Fingerprint, Job, JobState, NewJob, Outcome, Result, Told

AT = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
RESULT = Result(Outcome.OK, "", "en", 0.9, "base", "cpu", "int8", 2.0, 1, 2)
N_IN_HAND = 3

Work = Callable[[Activity, Workshop], Result]


class Office:
    """A dispatcher over a real history; how a job is done is up to the test."""

    def __init__(self, root: Path) -> None:
        self.store = JobStore.open(root / "history.db", "daemon-1")
        self.work: Work = finish
        self.looked_again: list[bytes] = []
        self.watched: set[bytes] = set()
        self.not_ready: list[bytes] = []
        self.blocked: list[bytes] = []
        self.ended: list[End] = []
        self.ahead = Ahead(1, 1)
        self.woken = threading.Semaphore(0)
        self._kept = KeptDocuments(root / "kept")
        self._root = root
        self.dispatcher = Dispatcher(
            self._shop,
            n_in_hand=N_IN_HAND,
            look_again=self.looked_again.append,
            watches=self.watched.__contains__,
            wake=self.woken.release,
            not_ready=lambda: self.not_ready,
            blocked=lambda path: self.blocked.append(path),
            on_end=lambda end: self.ended.append(end),
        )

    def _shop(self, patiently: Patiently) -> Workshop:
        nobody: Any = None
        return Workshop(self.store, nobody, self.ahead, nobody, self._kept, self._root, patiently)

    def perform(self, activity: Activity, shop: Workshop) -> Result:
        """In place of `daemon.transcription.perform`."""
        return self.work(activity, shop)

    def enqueue(self, n_jobs: int = 1, max_attempts: int = 3) -> list[int]:
        """The ids of new jobs."""
        return self.store.enqueue(
            [
                NewJob(f"/inbox/{n}.wav".encode(), b"/inbox", Fingerprint(1, 2, 3, 4, n), {}, "d", max_attempts)
                for n in range(n_jobs)
            ],
            AT,
        )

    def wait(self, n_jobs: int = 1) -> None:
        """Until so many jobs have left the hands of the dispatcher."""
        for _ in range(n_jobs):
            assert self.woken.acquire(timeout=20)

    def run(self) -> Job:
        """One new job, from its claim to its end."""
        (job_id,) = self.enqueue()
        self.dispatcher.step(0)
        self.wait()
        return self.job(job_id)

    def fail_with(self, error: Exception) -> None:
        """Every job ends so from now on."""

        def fail(activity: Activity, shop: Workshop) -> Result:
            raise error

        self.work = fail

    def job(self, job_id: int) -> Job:
        """The job as the history has it."""
        job = self.store.job(job_id)
        assert job is not None
        return job


def finish(activity: Activity, shop: Workshop) -> Result:
    activity.advance("publish", 60.0, 60.0)
    shop.patiently(lambda: shop.store.finish(activity.job, RESULT, AT))
    return RESULT


def until_cancelled(activity: Activity, shop: Workshop) -> Result:
    assert activity.cancelled.wait(20)
    raise JobCancelled("cancelled")


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    office = Office(tmp_path)
    monkeypatch.setattr(dispatch, "perform", office.perform)
    monkeypatch.setattr(dispatch, "STORAGE_RETRY_S", (0.01, 0.02))
    yield office
    office.dispatcher.hurry()
    assert office.dispatcher.drain(0)
    office.store.close()


def delay_s(job: Job) -> float:
    """In how many seconds the job is due."""
    assert job.not_before_at is not None
    return (job.not_before_at - datetime.now(UTC)) / timedelta(seconds=1)


def test_a_job_is_done(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """It is claimed and done, and leaves one line with its length, its time and its speed."""
    caplog.set_level(logging.INFO)
    job = office.run()
    assert (job.state, job.attempt) == (JobState.DONE, 1)
    (line,) = [record for record in caplog.records if getattr(record, "event", "") == "job_done"]
    assert (line.__dict__["audio_s"], line.__dict__["wall_s"], line.__dict__["speed"]) == (60.0, 2.0, 30.0)
    assert "/inbox/0.wav" in line.getMessage()
    assert office.looked_again == []


def test_an_idle_dispatcher_comes_again(office: Office) -> None:
    """Jobs become due by time too, so the queue is looked at without being woken."""
    assert 0 < office.dispatcher.step(0) <= 5


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (UnreadableRecording("no audio in it"), JobState.FAILED),
        (EmptyRecording("no audio in it"), JobState.FAILED),
        (RecordingTooLarge("no audio in it"), JobState.FAILED),
        (Quarantined("no audio in it"), JobState.QUARANTINED),
        (SourceVanished("no audio in it"), JobState.VANISHED),
    ],
)
def test_what_cannot_be_helped_ends_the_job(office: Office, error: Exception, state: JobState) -> None:
    """The recording is the reason: no second attempt, and the reason is in the job."""
    office.fail_with(error)
    job = office.run()
    assert (job.state, job.reason, job.not_before_at) == (state, "no audio in it", None)


@pytest.mark.parametrize(
    "error",
    [
        OutputBlocked("blocked"),
        SourceBlocked("blocked"),
        SpoolBlocked("blocked"),
        EngineUnavailable("blocked"),
        ConfigError("blocked"),
        SourceChanged("blocked"),
    ],
)
def test_what_lies_outside_of_the_job_is_waited_for(office: Office, error: Exception) -> None:
    """The attempt does not count, however often; the job waits, says why, and comes back by itself."""
    office.fail_with(error)
    job = office.run()
    assert (job.state, job.reason, job.attempt) == (JobState.WAITING, "blocked", 0)
    assert BLOCKED_S[0] - 20 < delay_s(job) <= BLOCKED_S[0]


def test_a_recording_is_not_to_blame_for_who_kills_its_decoder(office: Office) -> None:
    """However often: the attempt does not count, and the next one comes soon."""
    office.fail_with(DecoderKilled("killed by SIGKILL"))
    job = office.run()
    assert (job.state, job.attempt) == (JobState.WAITING, 0)
    assert delay_s(job) <= KILLED_S[0]


def test_an_incomplete_recording_waits_as_long_as_it_may_grow(office: Office) -> None:
    """Its attempt is refunded, and the reason says what is missing."""
    office.enqueue()
    office.fail_with(RecordingIncomplete("incomplete: only 3 s of 10 s", wait_s=200))
    job = office.run()
    assert (job.state, job.attempt, job.reason) == (JobState.WAITING, 0, "incomplete: only 3 s of 10 s")
    assert delay_s(job) == pytest.approx(200, abs=20)


def test_what_stays_blocked_is_tried_less_often(office: Office) -> None:
    """Each try is written down: a folder full of recordings that stays read-only must not fill the disk with it."""
    office.fail_with(OutputBlocked("read-only"))
    job = office.run()
    waits_s = [delay_s(job)]
    for _ in range(len(FOLDER_BLOCKED_S)):
        office.store.retry([job.id], datetime.now(UTC))
        office.dispatcher.step(0)
        office.wait()
        waits_s.append(delay_s(office.job(job.id)))
    assert waits_s == pytest.approx([*FOLDER_BLOCKED_S, FOLDER_BLOCKED_S[-1]], abs=20)
    assert list(FOLDER_BLOCKED_S) == sorted(FOLDER_BLOCKED_S)
    assert office.job(job.id).attempt == 0


def test_nothing_is_kept_of_a_recording_that_was_deleted(office: Office, tmp_path: Path) -> None:
    """Its transcript was made and could not be published; once the scan knows that it is gone, so is the text."""
    office.fail_with(SourceVanished("the recording is gone"))
    office.watched.add(b"/inbox/0.wav")
    job = office.run()
    kept = tmp_path / "kept" / f"{job.id}.json"
    kept.write_text("{}")
    office.dispatcher.step(0)
    assert kept.exists()
    assert office.store.vanished([job.path], AT)
    office.dispatcher.step(0)
    assert not kept.exists()


def test_a_job_that_is_forgotten_leaves_no_wait_and_no_text(office: Office, tmp_path: Path) -> None:
    """Its number may come again, with another recording."""
    office.fail_with(OutputBlocked("read-only"))
    job = office.run()
    kept = tmp_path / "kept" / f"{job.id}.json"
    kept.write_text("{}")
    office.dispatcher.forget(job.id)
    assert not kept.exists()
    office.store.retry([job.id], datetime.now(UTC))
    office.dispatcher.step(0)
    office.wait()
    assert delay_s(office.job(job.id)) == pytest.approx(FOLDER_BLOCKED_S[0], abs=20)


def test_a_spool_that_cannot_be_written_is_known(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until a job is done, or the one that met it is not tried any more."""
    assert office.dispatcher.spool_trouble() == ""
    office.fail_with(SpoolBlocked("cannot write spool/1-1.s16: no room"))
    job = office.run()
    assert office.dispatcher.spool_trouble() == "cannot write spool/1-1.s16: no room"
    with monkeypatch.context() as later:
        later.setattr(dispatch, "monotonic_s", lambda: monotonic_s() + BLOCKED_S[0] + dispatch.SPOOL_TOLD_S)
        assert office.dispatcher.spool_trouble() == ""
    office.work = finish
    office.store.retry([job.id], datetime.now(UTC))
    office.dispatcher.step(0)
    office.wait()
    assert office.dispatcher.spool_trouble() == ""


def test_only_what_stayed_blocked_is_tried_less_often(office: Office) -> None:
    """A service that was started again and again while it was in hand is no reason for the job to wait for longer."""
    office.enqueue()
    for _ in range(len(BLOCKED_S)):
        job = office.store.claim(AT)
        assert job is not None
        office.store.requeue(job, "the service was stopped", AT, refund=True)
    office.fail_with(EngineUnavailable("it is left alone for a minute"))
    assert delay_s(office.run()) == pytest.approx(BLOCKED_S[0], abs=20)


@pytest.mark.parametrize("error", [DecodeFailed("died"), EngineDied("died", n_inside=2)])
def test_what_may_pass_is_tried_again(office: Office, error: Exception) -> None:
    """Later each time, and at most as often as configured; then the job is failed with the reason."""
    office.fail_with(error)
    (job_id,) = office.enqueue()
    for attempt in (1, 2):
        office.dispatcher.step(0)
        office.wait()
        job = office.job(job_id)
        assert (job.state, job.attempt, job.reason) == (JobState.QUEUED, attempt, "died")
        assert RETRY_S[attempt - 1] - 20 < delay_s(job) <= RETRY_S[attempt - 1]
        due(office, job)
    office.dispatcher.step(0)
    office.wait()
    job = office.job(job_id)
    assert (job.state, job.reason) == (JobState.FAILED, "died (given up after 3 attempts)")
    assert job.told == Told("gave_up", {"attempts": 3})


def due(office: Office, job: Job) -> None:
    """Let *job* be due now, its attempts kept."""
    claimed = office.store.claim(datetime.now(UTC) + timedelta(hours=1))
    assert claimed is not None
    office.store.requeue(claimed, job.reason, AT, refund=True)


def test_the_wait_does_not_grow_for_ever(office: Office) -> None:
    """From the third attempt on it stays the same."""
    office.fail_with(DecodeFailed("died"))
    (job_id,) = office.enqueue(max_attempts=9)
    for _ in range(5):
        office.dispatcher.step(0)
        office.wait()
        due(office, office.job(job_id))
    office.dispatcher.step(0)
    office.wait()
    assert office.job(job_id).attempt == 6
    assert RETRY_S[-1] - 20 < delay_s(office.job(job_id)) <= RETRY_S[-1]


def test_a_bug_is_logged_and_the_worker_lives(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """Its traceback is in the log once, the job is tried again, and the next job is done."""
    office.fail_with(ZeroDivisionError("division by zero"))
    job = office.run()
    assert (job.state, job.reason) == (JobState.QUEUED, "internal error: ZeroDivisionError: division by zero")
    bugs = [record for record in caplog.records if record.exc_info]
    assert len(bugs) == 1
    assert bugs[0].exc_info is not None
    assert bugs[0].exc_info[0] is ZeroDivisionError
    office.work = finish
    (_, job_id) = office.enqueue(2)
    office.dispatcher.step(0)
    office.wait()
    assert office.job(job_id).state is JobState.DONE


def test_a_recording_gone_from_an_inbox_waits_for_the_scan(office: Office) -> None:
    """Only the inbox can tell a deleted file from a lost share, so the job is not given up here."""
    office.watched.add(b"/inbox/0.wav")
    office.fail_with(SourceVanished("the recording is gone"))
    job = office.run()
    assert (job.state, job.attempt) == (JobState.WAITING, 0)
    assert office.looked_again == [b"/inbox/0.wav"]


@pytest.mark.parametrize(
    ("error", "n_looks"), [(SourceChanged("x"), 1), (SourceVanished("x"), 1), (SourceBlocked("x"), 0)]
)
def test_the_intake_hears_of_recordings_that_changed(office: Office, error: Exception, n_looks: int) -> None:
    """Only it can make a job of what is there now."""
    office.fail_with(error)
    office.run()
    assert office.looked_again == [b"/inbox/0.wav"] * n_looks


def test_a_job_for_what_a_newer_one_has_replaced_ends(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was made for does not come back: waiting for it would be for ever."""
    newest = office.store.newest
    monkeypatch.setattr(office.store, "newest", lambda path: replace(newest(path), id=7))  # type: ignore[type-var]
    office.fail_with(SourceChanged("it changed"))
    job = office.run()
    assert (job.state, job.reason) == (JobState.VANISHED, "it changed; job 7 is for what is there now")


def test_the_intake_hears_of_a_recording_replaced_at_the_end(office: Office) -> None:
    """A job that is done may be outdated already."""

    def outdated(activity: Activity, shop: Workshop) -> Result:
        activity.outdated = True
        return finish(activity, shop)

    office.work = outdated
    assert office.run().state is JobState.DONE
    assert office.looked_again == [b"/inbox/0.wav"]


def test_never_more_than_so_many_in_hand(office: Office) -> None:
    """Each end makes room for one more claim; what is not claimed is free to be cancelled."""
    go_on = threading.Semaphore(0)

    def slow(activity: Activity, shop: Workshop) -> Result:
        assert go_on.acquire(timeout=20)
        return finish(activity, shop)

    office.work = slow
    office.enqueue(N_IN_HAND + 4)
    for n_done in range(5):
        office.dispatcher.step(0)
        assert len(office.dispatcher.activities()) == N_IN_HAND
        assert office.store.counts()[JobState.RUNNING] == N_IN_HAND
        assert office.store.counts()[JobState.DONE] == n_done
        go_on.release()
        office.wait()
    for _ in range(N_IN_HAND - 1):
        go_on.release()
    office.wait(N_IN_HAND - 1)


def test_one_person_leaves_places_to_the_next(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive has half of them; whoever comes then begins at once, and an inbox may allow fewer."""
    monkeypatch.setattr(office.dispatcher, "_n_in_hand", 8)
    monkeypatch.setattr(office.dispatcher, "_most_each", lambda: {b"/few": 1})
    office.work = until_cancelled

    def drop(person: bytes, n_jobs: int, length_s: float, inbox: bytes = b"/inbox") -> None:
        jobs = [NewJob(person + b"/%d.wav" % n, inbox, Fingerprint(1, 2, 3, 4, n), {}, "d", 3) for n in range(n_jobs)]
        office.store.enqueue([replace(job, person=person, expected_s=length_s) for job in jobs], AT)
        office.dispatcher.step(0)

    def n_of(person: bytes) -> int:
        return sum(one.job.person == person for one in office.dispatcher.activities())

    drop(b"/archive", 20, 7200.0)
    assert n_of(b"/archive") == 4
    drop(b"/few", 3, 20.0, b"/few")
    assert n_of(b"/few") == 1
    drop(b"/anna", 1, 20.0)
    drop(b"/ben", 1, 3600.0)
    assert (n_of(b"/anna"), n_of(b"/ben"), n_of(b"/archive")) == (1, 1, 4)
    for activity in office.dispatcher.activities():
        activity.cancel()
    office.wait(7)
    assert {office.job(one.job.id).state for one in office.dispatcher.activities()} <= {JobState.CANCELLED}


def test_a_step_ends_however_soon_the_jobs_do(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue of thousands that end at once, of a share that is gone, say: the loop still shows that it is alive."""
    claim = office.store.claim
    n_claimed = 0

    def claim_when_the_last_has_ended(at: datetime, _but_not_in: Collection[bytes]) -> Job | None:
        nonlocal n_claimed
        if n_claimed:
            office.wait()
        n_claimed += 1
        return claim(at)

    monkeypatch.setattr(office.store, "claim", claim_when_the_last_has_ended)
    office.enqueue(N_IN_HAND + 4)
    office.dispatcher.step(0)
    assert n_claimed == N_IN_HAND
    office.wait()  # it wakes the loop, for the next step


def test_a_person_cancels_a_job_in_hand(office: Office) -> None:
    """The job is told to end, and is cancelled for good; a job that is not in hand is not ours to cancel."""
    office.work = until_cancelled
    (job_id,) = office.enqueue()
    office.dispatcher.step(0)
    assert office.dispatcher.cancel(job_id)
    assert not office.dispatcher.cancel(job_id + 1)
    office.wait()
    assert (office.job(job_id).state, office.job(job_id).reason) == (JobState.CANCELLED, "a person cancelled it")
    assert not office.dispatcher.cancel(job_id)


@pytest.mark.parametrize(
    "error",
    [DecodeFailed("died"), OutputBlocked("full"), SourceChanged("new"), SourceVanished("gone"), ConfigError("x")],
)
def test_a_cancelled_job_that_dies_first_is_cancelled(office: Office, error: Exception) -> None:
    """Whatever passing trouble it meets on the way out: the person does not want it again."""
    office.watched.add(b"/inbox/0.wav")

    def die(activity: Activity, shop: Workshop) -> Result:
        assert activity.cancelled.wait(20)
        raise error

    office.work = die
    (job_id,) = office.enqueue()
    office.dispatcher.step(0)
    office.dispatcher.cancel(job_id)
    office.wait()
    assert office.job(job_id).state is JobState.CANCELLED


def test_a_job_that_ends_within_the_grace_is_done(office: Office) -> None:
    """A stop lets it end; nothing more is claimed."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(activity: Activity, shop: Workshop) -> Result:
        begun.set()
        assert go_on.wait(20)
        return finish(activity, shop)

    office.work = slow
    job_ids = office.enqueue(N_IN_HAND + 1)
    office.dispatcher.step(0)
    assert begun.wait(20)
    drained: list[bool] = []
    thread = threading.Thread(target=lambda: drained.append(office.dispatcher.drain(20)))
    thread.start()
    go_on.set()
    thread.join(20)
    assert drained == [True]
    office.dispatcher.step(0)
    states = [office.job(job_id).state for job_id in job_ids]
    assert states == [JobState.DONE] * N_IN_HAND + [JobState.QUEUED]


@pytest.mark.fault(50, "a stop in the middle of a job")
@pytest.mark.parametrize(
    "error", [JobCancelled("cancelled"), DecodeFailed("ended"), EngineUnavailable("ended"), EngineDied("x", n_inside=1)]
)
def test_a_job_cut_off_by_a_stop_is_put_back(office: Office, error: Exception) -> None:
    """After the grace it is queued as if it had not been tried, due at once, and not blamed for its processes' end."""

    def cut_off(activity: Activity, shop: Workshop) -> Result:
        assert activity.cancelled.wait(20)
        raise error

    office.work = cut_off
    (job_id,) = office.enqueue()
    office.dispatcher.step(0)
    assert office.dispatcher.drain(0.05)
    job = office.job(job_id)
    assert (job.state, job.attempt, job.not_before_at) == (JobState.QUEUED, 0, None)
    assert job.reason == "the service was stopped"


def test_a_job_that_a_person_cancelled_stays_so_in_a_stop(office: Office) -> None:
    """The stop does not bring it back."""
    go_on = threading.Event()

    def slow(activity: Activity, shop: Workshop) -> Result:
        assert go_on.wait(20)
        raise JobCancelled("cancelled")

    office.work = slow
    (job_id,) = office.enqueue()
    office.dispatcher.step(0)
    office.dispatcher.cancel(job_id)
    thread = threading.Thread(target=office.dispatcher.drain, args=(20,))
    thread.start()
    go_on.set()
    thread.join(20)
    assert office.job(job_id).state is JobState.CANCELLED


@pytest.mark.fault(50, "a second signal")
def test_a_second_signal_ends_the_grace(office: Office) -> None:
    """However long the grace is; the call takes no lock, since a signal handler makes it."""
    office.work = until_cancelled
    (job_id,) = office.enqueue()
    office.dispatcher.step(0)
    drained = threading.Event()

    def drain() -> None:
        assert office.dispatcher.drain(3600)
        drained.set()

    thread = threading.Thread(target=drain)
    thread.start()
    office.dispatcher.hurry()
    assert drained.wait(20)
    thread.join(20)
    assert office.job(job_id).state is JobState.QUEUED


def test_a_job_that_would_not_end_is_told(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop does not hang on it; its row stays for the next start."""
    monkeypatch.setattr(dispatch, "CANCEL_S", 0.05)
    go_on = threading.Event()

    def stuck(activity: Activity, shop: Workshop) -> Result:
        assert go_on.wait(20)
        return finish(activity, shop)

    office.work = stuck
    (job_id,) = office.enqueue()
    office.dispatcher.step(0)
    assert not office.dispatcher.drain(0)
    assert office.job(job_id).state is JobState.RUNNING
    go_on.set()
    office.wait()


def test_a_job_claimed_while_a_stop_begins_goes_back(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim and the stop may meet: the job is not left running."""
    (job_id,) = office.enqueue()
    real = office.store.claim

    def claim_and_stop(at: datetime, _but_not_in: Collection[bytes]) -> Job | None:
        job = real(at)
        assert office.dispatcher.drain(0)
        return job

    monkeypatch.setattr(office.store, "claim", claim_and_stop)
    office.dispatcher.step(0)
    assert (office.job(job_id).state, office.job(job_id).attempt) == (JobState.QUEUED, 0)
    assert office.dispatcher.activities() == []


def failing(real: Callable[..., Any], errors: list[Exception]) -> Callable[..., Any]:
    """A method of the history that raises *errors*, one a call, before it works again."""

    def call(*arguments: Any, **named: Any) -> Any:
        if errors:
            raise errors.pop(0)
        return real(*arguments, **named)

    return call


@pytest.mark.fault(29, "SQLITE_BUSY from each write")
def test_a_locked_history_is_waited_out(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished work is not thrown away because of somebody's open transaction or a full disk."""
    errors: list[Exception] = [StorageBusy("locked"), StorageFull("full"), StorageBusy("locked")]
    monkeypatch.setattr(office.store, "finish", failing(office.store.finish, errors))
    assert office.run().state is JobState.DONE
    assert errors == []


def test_a_failure_is_recorded_however_long_it_takes(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The decision on a job that failed is written once the history takes it, and logged once."""
    monkeypatch.setattr(office.store, "fail", failing(office.store.fail, [StorageBusy("locked")] * 4))
    office.fail_with(UnreadableRecording("no audio"))
    assert office.run().state is JobState.FAILED
    assert sum("not done" in record.getMessage() for record in caplog.records) == 1


def test_a_history_that_cannot_be_claimed_from_is_tried_again(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop goes on."""
    monkeypatch.setattr(office.store, "claim", failing(office.store.claim, [StorageBusy("locked")]))
    (job_id,) = office.enqueue()
    assert office.dispatcher.step(0) > 0
    assert office.job(job_id).state is JobState.QUEUED
    office.dispatcher.step(0)
    office.wait()
    assert office.job(job_id).state is JobState.DONE


def test_a_stop_does_not_wait_for_a_locked_history(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the grace the job is left as it is, for the next start to settle."""
    monkeypatch.setattr(dispatch, "STORAGE_RETRY_S", (3600.0, 3600.0))
    tried = threading.Event()

    def locked(*_: Any, **__: Any) -> None:
        tried.set()
        raise StorageBusy("locked")

    monkeypatch.setattr(office.store, "finish", locked)
    monkeypatch.setattr(office.store, "requeue", locked)
    (job_id,) = office.enqueue()
    office.dispatcher.step(0)
    assert tried.wait(20)
    assert office.dispatcher.drain(0)
    assert office.job(job_id).state is JobState.RUNNING


def test_a_lost_job_is_harmless(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """What a forgotten worker brings is dropped with a warning, before its end or at it."""
    office.fail_with(LostJob("job 1 is in other hands"))
    office.run()
    assert "in other hands" in caplog.text

    def lose(activity: Activity, shop: Workshop) -> Result:
        shop.store.cancelled(activity.job, "", AT)
        raise DecodeFailed("died")

    office.work = lose
    (_, job_id) = office.enqueue(2)
    office.dispatcher.step(0)
    office.wait()
    assert office.job(job_id).state is JobState.CANCELLED
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_name_cannot_harm_the_log(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """The path goes to the log as it is; the log escapes it."""
    caplog.set_level(logging.INFO)
    path = b"/inbox/%s%d\n.wav"
    office.store.enqueue([NewJob(path, b"/inbox", Fingerprint(1, 2, 3, 4, 5), {}, "d")], AT)
    office.dispatcher.step(0)
    office.wait()
    assert os.fsdecode(path) in caplog.records[-1].getMessage()


def test_a_stop_sends_back_what_was_not_begun(office: Office) -> None:
    """A job that waits to be decoded does not use up the grace of the others."""
    entered = threading.Event()

    def wait_for_decoder(activity: Activity, shop: Workshop) -> Result:
        with shop.ahead.admitted(1, activity.cancelled):
            entered.set()
            assert activity.cancelled.wait(20)
            raise JobCancelled("cancelled")

    office.work = wait_for_decoder
    first, second = office.enqueue(2)
    office.dispatcher.step(0)
    assert entered.wait(20)
    with ThreadPoolExecutor(1) as pool:
        draining = pool.submit(office.dispatcher.drain, 60)
        office.wait(1)
        assert [activity.job.id for activity in office.dispatcher.activities()] == [first]
        assert (office.job(second).state, office.job(second).attempt) == (JobState.QUEUED, 0)
        office.dispatcher.hurry()
        assert draining.result(20)


def test_a_job_that_hangs_in_a_share_takes_no_place(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room for as many as before, the others go on, and a stop does not wait for those that hang."""
    monkeypatch.setattr(shares_module, "SILENT_S", 0.5)
    answers = threading.Event()

    def hang(activity: Activity, shop: Workshop) -> Result:
        with shop.touching(activity):
            assert answers.wait(20)
        return finish(activity, shop)

    office.work = hang
    hung = office.enqueue(N_IN_HAND)
    office.dispatcher.step(0)
    office.enqueue(N_IN_HAND + 1)  # those that hang keep their row; one more is new
    office.dispatcher.step(0)
    assert len(office.dispatcher.activities()) == N_IN_HAND
    while not all(activity.hangs(monotonic_s()) for activity in office.dispatcher.activities()):
        pass
    office.work = finish
    office.dispatcher.step(0)
    office.wait()
    assert len(office.dispatcher.activities()) == N_IN_HAND
    assert not office.dispatcher.drain(20)  # at once
    answers.set()
    office.wait(N_IN_HAND)
    assert {office.job(job_id).state for job_id in hung} == {JobState.DONE}


def test_a_job_of_a_silent_share_gives_its_decoder_to_others(office: Office) -> None:
    """It is queued again with its attempt refunded, and says why; one that is past decoding goes on."""
    office.work = until_cancelled
    (job_id,) = office.enqueue()
    office.dispatcher.step(0)
    office.dispatcher.desert(b"/other", "not answering")
    assert office.dispatcher.activities()[0].deserted == ""
    office.dispatcher.desert(b"/inbox", "not answering")
    office.wait()
    after = office.job(job_id)
    assert (after.state, after.reason, after.attempt) == (JobState.QUEUED, "not answering", 0)


def test_jobs_of_an_inbox_that_is_away_are_not_claimed(office: Office) -> None:
    """They stay as they are until it is there."""
    office.not_ready = [b"/inbox"]
    (job_id,) = office.enqueue()
    office.dispatcher.step(0)
    assert (office.job(job_id).state, office.job(job_id).lease) == (JobState.QUEUED, 0)
    office.not_ready = []
    office.dispatcher.step(0)
    office.wait()
    assert office.job(job_id).state is JobState.DONE


def test_a_job_that_is_published_already_cannot_be_cancelled(office: Office) -> None:
    """Whoever asks is told so, and the job is done; nobody hears "cancelled" of a transcript that then appears."""
    publishes, go_on = threading.Event(), threading.Event()

    def publish(activity: Activity, shop: Workshop) -> Result:
        activity.begin_publishing()
        publishes.set()
        assert go_on.wait(20)
        return finish(activity, shop)

    office.work = publish
    (job_id,) = office.enqueue()
    office.dispatcher.step(0)
    assert publishes.wait(20)
    assert not office.dispatcher.cancel(job_id)
    go_on.set()
    office.wait()
    assert office.job(job_id).state is JobState.DONE


def test_a_job_that_was_cancelled_is_not_published(office: Office) -> None:
    """Also one whose last window was ready before it looked up."""

    def publish(activity: Activity, shop: Workshop) -> Result:
        assert activity.cancelled.wait(20)
        activity.begin_publishing()
        return finish(activity, shop)

    office.work = publish
    (job_id,) = office.enqueue()
    office.dispatcher.step(0)
    assert office.dispatcher.cancel(job_id)
    office.wait()
    assert office.job(job_id).state is JobState.CANCELLED


def test_a_blocked_folder_is_told(office: Office) -> None:
    """The inbox looks when it can be written again."""
    office.fail_with(OutputBlocked("full"))
    office.run()
    assert office.blocked == [b"/inbox/0.wav"]


def test_the_end_of_a_job_is_told(office: Office) -> None:
    """Once it is in the history, with how it ended."""
    job = office.run()
    (end,) = office.ended
    assert (end.job.id, end.outcome, end.reason) == (job.id, "ok", "")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (UnreadableRecording("no audio"), "failed"),
        (Quarantined("it kills"), "quarantined"),
        (SourceVanished("it is gone"), "vanished"),
        (DecodeFailed("again"), None),
        (EngineUnavailable("not now"), None),
        (OutputBlocked("no room"), None),
    ],
)
def test_only_an_end_is_told(office: Office, error: Exception, outcome: str | None) -> None:
    """A job that is tried again, or waits, has not ended."""
    office.fail_with(error)
    office.run()
    assert [end.outcome for end in office.ended] == ([outcome] if outcome else [])


def test_the_last_attempt_is_an_end(office: Office) -> None:
    """Then it is failed, and that is told."""
    office.fail_with(DecodeFailed("again"))
    office.enqueue(max_attempts=1)
    office.dispatcher.step(0)
    office.wait()
    assert [(end.outcome, end.reason) for end in office.ended] == [("failed", "again")]


def test_who_is_told_cannot_harm_a_job(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """What it raises is a bug, and logged; the job is done all the same."""
    office.ended = None  # type: ignore[assignment]  # it cannot be appended to
    assert office.run().state is JobState.DONE
    assert "could not be told" in caplog.text
