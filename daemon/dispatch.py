"""Claims jobs, keeps at most so many in hand, and decides what becomes of one that did not end well.

Knows nothing of how a job is done (`daemon.transcription`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Final

from daemon.clock import monotonic_s, utc_now
from daemon.ends import End, OnEnd, log_end, log_outcome
from daemon.errors import (
    ConfigError,
    DecoderKilled,
    EngineUnavailable,
    JobCancelled,
    OutputBlocked,
    Quarantined,
    RecordingError,
    RecordingIncomplete,
    SourceBlocked,
    SourceChanged,
    SourceVanished,
    SpoolBlocked,
    TranscribedError,
    TransientError,
)
from daemon.failpoints import reached
from daemon.fairness import Place, room
from daemon.health import HistoryHealth
from daemon.held import FOLDER_BLOCKED_S, KILLED_S, HeldJobs
from daemon.transcription import perform
from daemon.workshop import Activity, Patiently, T, Workshop
from storage.claims import Open
from storage.errors import LostJob, StorageBusy, StorageDamaged, StorageFull, StorageUnavailable
from storage.records import Job, JobState, Told
from storage.turns import is_long

log = logging.getLogger(__name__)

IDLE_S: Final = 5.0
"""How often the queue is looked at when nothing wakes us: jobs become due by time too."""

RETRY_S: Final = (30.0, 120.0, 480.0)
"""The wait after the first, second, third attempt that failed for a reason that may pass."""

CANCEL_S: Final = 15.0
"""How long a job may take to end once it is told to: the engine looks up after every window."""

SPOOL_TOLD_S: Final = 60.0
"""For how long after the next try of its job a spool that cannot be written is told."""

STORAGE_RETRY_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""The waits for a database that is locked or a disk that is full; the last is repeated."""


class Dispatcher:
    """An actor: each step claims as many jobs as there is room for."""

    def __init__(
        self,
        make_shop: Callable[[Patiently], Workshop],
        *,
        n_in_hand: int,
        look_again: Callable[[bytes], None],
        watches: Callable[[bytes], bool],
        wake: Callable[[], None],
        not_ready: Callable[[], Collection[bytes]] = tuple[bytes, ...],
        blocked: Callable[[bytes], None] = lambda _path: None,
        health: HistoryHealth | None = None,
        on_end: OnEnd = lambda _end: None,
        most_each: Callable[[], Mapping[bytes, int]] = dict[bytes, int],
    ) -> None:
        """*look_again* is told of recordings that changed, *watches* says whether a path is in an inbox of ours.

        *wake* is called when there is room for a job again. *not_ready* are the inboxes whose jobs may not begin now.
        *blocked* is told of recordings beside which no transcript could be written, *health* of trouble with the
        history, *on_end* of each job that ended. *most_each* is how many jobs of a person may be in hand, by inbox.
        """
        self._most_each = most_each
        self._on_end = on_end
        self._health = health or HistoryHealth()
        self._shop = make_shop(self._patiently)
        self._store = self._shop.store
        self._n_in_hand = n_in_hand
        self._look_again = look_again
        self._watches = watches
        self.wake: Final = wake
        """There may be a job to claim."""
        self._not_ready = not_ready
        self._blocked = blocked
        self._lock = threading.Lock()
        self._activities: list[Activity] = []
        self._ended = threading.Condition(self._lock)
        self._held = HeldJobs(self._store, self._shop.kept)
        self._draining = False
        self._hurried = False
        self._out_of_patience = threading.Event()
        self._spool_trouble = ""
        self._spool_tried_at = 0.0

    def step(self, now: float) -> float:
        """Claim what is due, as far as there is room, but no more than fits: the end of a job wakes the next step."""
        del now
        self._held.let_go()
        for _ in range(self._n_in_hand):
            if self._draining or self._n_busy() >= self._n_in_hand or not self._health.may_claim:
                break
            try:
                job = self._store.claim(utc_now(), self._open())
            except StorageDamaged as error:
                self._health.lose(str(error))
                break
            except (StorageBusy, StorageFull, StorageUnavailable) as error:
                self._health.met(str(error))
                log.warning("cannot claim a job: %s", error, extra={"event": "storage_trouble"})
                break
            if job is None:
                break
            reached("job.claimed")
            self._begin(job)
        return IDLE_S

    def _n_busy(self) -> int:
        """The jobs in hand that get on: one that hangs in a dead share takes no place from the others.

        No more of its inbox begin meanwhile, so at most as many hang as could be in hand.
        """
        now = monotonic_s()
        return sum(not activity.hangs(now) for activity in self.activities())

    def _open(self) -> Open:
        """Which jobs may begin beside those in hand that get on."""
        now = monotonic_s()
        in_hand = [
            Place(one.job.person, one.job.inbox, is_long(one.job.expected_s))
            for one in self.activities()
            if not one.hangs(now)
        ]
        left = room(in_hand, self._n_in_hand, self._most_each())
        return Open(self._not_ready(), left.full, left.full_of_long, left.long_too)

    def _begin(self, job: Job) -> None:
        activity = Activity(job)
        # A thread for each, and none that the end of the process waits for: it may hang in a dead share.
        thread = threading.Thread(target=self._work, args=(activity,), name=f"job-{job.id}", daemon=True)
        with self._lock:
            if not self._draining:
                try:
                    thread.start()
                except RuntimeError as error:
                    log.warning("no thread for job %d: %s", job.id, error, extra={"event": "no_thread"})
                else:
                    self._activities.append(activity)
                    return
        self._settle(activity, JobCancelled("claimed while the service was stopping"))

    def desert(self, inbox: bytes, reason: str) -> None:
        """The share that *inbox* is on does not answer, for *reason*: its jobs take no decoder from the others."""
        for activity in self.activities():
            if activity.job.inbox == inbox and activity.stage == "decode":
                activity.deserted = reason
                activity.cancelled.set()

    def activities(self) -> list[Activity]:
        """The jobs in hand."""
        with self._lock:
            return list(self._activities)

    def spool_trouble(self) -> str:
        """Why no audio could be decoded to the state folder lately; empty since a job was done, or none is tried."""
        return self._spool_trouble if monotonic_s() < self._spool_tried_at + SPOOL_TOLD_S else ""

    def forget(self, job_id: int) -> None:
        """The job leaves the history, and its number may come again: it has never been put off."""
        self._held.forget(job_id)

    def cancel(self, job_id: int, by: str = "") -> bool:
        """Ask a job in hand to end, because a person wants it; whether there is one, and it will."""
        return any(activity.cancel(by) for activity in self.activities() if activity.job.id == job_id)

    def drain(self, grace_s: float) -> bool:
        """Claim nothing more, let the jobs in hand end, after *grace_s* put them back. False if one would not end."""
        with self._lock:
            self._draining = True
        self._shop.ahead.close()  # what has not begun goes back at once, and leaves the grace to the rest
        self._wait_for_end(grace_s, lambda: self._hurried)
        self._out_of_patience.set()
        for activity in self.activities():
            activity.cancelled.set()
        return self._wait_for_end(CANCEL_S, lambda: False)

    def _wait_for_end(self, limit_s: float, enough: Callable[[], bool]) -> bool:
        deadline = monotonic_s() + limit_s
        with self._ended:
            while self._get_on() and not enough() and (left_s := deadline - monotonic_s()) > 0:
                self._ended.wait(min(left_s, 0.2))
            return not self._activities

    def _get_on(self) -> bool:
        """Whether a job in hand may still end. Only with the lock."""
        now = monotonic_s()
        return any(not activity.hangs(now) for activity in self._activities)

    def hurry(self) -> None:
        """End the grace of `drain` now. Takes no lock, not even that of an Event: signal handlers call it."""
        self._hurried = True

    def _work(self, activity: Activity) -> None:
        job = activity.job
        try:
            result = perform(activity, self._shop)
            self._spool_trouble = ""
            log_outcome(activity, result)
            self._tell(End(job, result.outcome.value, result.reason))
            if activity.outdated:
                self._look_again(job.path)
        except LostJob as error:
            log.warning("%s", error, extra={"event": "job_lost", "job_id": job.id})
        except StorageDamaged as error:  # the next start settles it, with a history that is mended
            self._health.lose(str(error))
        except Exception as error:  # noqa: BLE001  # the one place where a bug in a job ends: the worker lives on
            self._settle(activity, error)
        finally:
            with self._ended:
                self._activities.remove(activity)
                self._ended.notify_all()
            self.wake()

    def _tell(self, end: End) -> None:
        try:
            self._on_end(end)
        except Exception:  # the job has ended, whoever wants to know
            log.exception("job %d: its end could not be told", end.job.id, extra={"event": "bug"})

    def _settle(self, activity: Activity, error: Exception) -> None:
        try:
            state = self._patiently(lambda: self._decide(activity, error))
            if isinstance(error, OutputBlocked):
                self._blocked(activity.job.path)
            reached("job.settled")
            log_end(activity.job, error)
            if state is not None:
                self._tell(End(activity.job, state.value, str(error)))
            if isinstance(error, SourceChanged):
                self._look_again(activity.job.path)
        except LostJob as lost:
            log.warning("%s", lost, extra={"event": "job_lost", "job_id": activity.job.id})
        except Exception:
            # The row stays "running"; the next start queues it again.
            log.exception("job %d: its end could not be recorded", activity.job.id, extra={"event": "bug"})

    def _decide(self, activity: Activity, error: Exception) -> JobState | None:
        """What becomes of a job, by who can do something about the error; how it ended, None if it goes on."""
        job, at, reason = activity.job, utc_now(), str(error)
        told = error.told if isinstance(error, TranscribedError) else None
        store = self._store
        match error:
            case JobCancelled() | TransientError() | SourceChanged() | ConfigError() if activity.unwanted:
                store.cancelled(job, "a person cancelled it", at, activity.unwanted_by)
                return JobState.CANCELLED
            case JobCancelled() | TransientError() if activity.deserted and not self._draining:
                store.requeue(job, activity.deserted, at, refund=True)
            case JobCancelled():
                store.requeue(job, "the service was stopped", at, refund=True)
            case Quarantined():
                store.quarantine(job, reason, at, told)
                return JobState.QUARANTINED
            case RecordingError():
                store.fail(job, reason, at, told)
                return JobState.FAILED
            case SourceVanished() if not self._watches(job.path):
                store.vanish_running(job, reason, at)
                return JobState.VANISHED
            case SourceChanged() if (newest := store.newest(job.path)) is not None and newest.id > job.id:
                # What is there has a job of its own: nothing would ever bring back what this one was made for.
                store.vanish_running(job, f"{reason}; job {newest.id} is for what is there now", at)
                return JobState.VANISHED
            # One that is gone from an inbox waits too: the next scan tells a deleted file from a lost share.
            case OutputBlocked():  # the scans try the folder too, and hasten its jobs
                delay_s = self._held.put_off(job, FOLDER_BLOCKED_S)
                store.hold(job, reason, at, delay_s=delay_s, refund=True, told=told)
            case SourceChanged() | SourceBlocked() | SpoolBlocked() | ConfigError():
                delay_s = self._held.put_off(job)
                if isinstance(error, SpoolBlocked):
                    self._spool_trouble, self._spool_tried_at = reason, monotonic_s() + delay_s
                store.hold(job, reason, at, delay_s=delay_s, refund=True, told=told)
            case RecordingIncomplete(wait_s=wait_s):
                store.hold(job, reason, at, delay_s=wait_s, refund=True, told=told)
            case _ if self._draining:  # the processes under it are going: not its fault
                store.requeue(job, "the service was stopped", at, refund=True)
            case EngineUnavailable():
                store.hold(job, reason, at, delay_s=self._held.put_off(job), refund=True, told=told)
            case DecoderKilled():
                store.hold(job, reason, at, delay_s=self._held.put_off(job, KILLED_S), refund=True, told=Told("again"))
            case TransientError():
                return self._try_again(job, reason)
            case _:
                return self._try_again(job, f"internal error: {type(error).__name__}: {reason}")
        return None

    def _try_again(self, job: Job, reason: str) -> JobState | None:
        if job.attempt >= job.max_attempts:
            told = Told("gave_up", {"attempts": job.attempt})
            self._store.fail(job, f"{reason} (given up after {job.attempt} attempts)", utc_now(), told)
            return JobState.FAILED
        delay_s = RETRY_S[min(job.attempt, len(RETRY_S)) - 1]
        self._store.requeue(job, reason, utc_now(), delay_s=delay_s, refund=False, told=Told("again"))
        return None

    def _patiently(self, write: Callable[[], T]) -> T:
        """Do *write*, however long the database is locked or its disk full: finished work is worth the wait."""
        delays = list(STORAGE_RETRY_S)
        while True:
            try:
                return write()
            except StorageDamaged as error:
                self._health.lose(str(error))
                raise
            except (StorageBusy, StorageFull, StorageUnavailable) as error:
                if isinstance(error, StorageFull) and self._health.make_room():
                    continue
                self._health.met(str(error))
                delay_s = delays.pop(0) if len(delays) > 1 else delays[0]
                log.warning("%s; tried again in %.0f s", error, delay_s, extra={"event": "storage_trouble"})
                if self._out_of_patience.wait(delay_s):
                    raise
