"""The service's own figures: its queue, its pace, its inboxes, its engine, its loops. Sampled, never waited for.

Everything here is a count in memory or a few rows by an index; no folder is touched. Knows no rule and no alert.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from daemon.actor import Pulse
from daemon.clock import monotonic_s, utc_now
from daemon.ends import End
from daemon.engine.client import EngineStatus
from daemon.engine.seat import SeatStatus, Work
from daemon.health import HistoryHealth
from daemon.intake.inbox import Inbox
from daemon.outputs.kept import KeptDocuments
from daemon.pace import LONGEST, MOST, Forecast, Going, Pace, eta_s, overtime_ratio, pace
from daemon.workshop import Activity
from monitor.figures import Key
from monitor.sampling.machine import shown
from storage.errors import StorageError
from storage.jobs import JobStore
from storage.lately import Queued
from storage.records import JobState

log = logging.getLogger(__name__)

PACE_S: Final = 60.0
"""How often the pace is looked up anew where nothing ended meanwhile: what is long ago does not count any more."""

COUNTING_RATIO: Final = 2000.0
"""Ended jobs are counted anew after so many times as long as that took: of a million, it takes a while."""

EXACT_RATIO: Final = 200.0
"""The same for people who ask, every two seconds while a page is open: half a percent of a core."""

CHANGED_RATIO: Final = 20.0
"""The same once a person changed jobs: what they did just now is to show."""

MOST_BLOCKED: Final = 200
"""Kept transcripts that are asked for in one sample."""

MOST_REMEMBERED: Final = 10_000
"""Jobs whose company is known; those that were put back and never came again are among them."""

Told = tuple[Mapping[Key, float], Mapping[Key, str]]
"""Figures, and words about them."""

_TOLD_ELSEWHERE: Final = ("output_blocked", "incomplete")
"""Why jobs are held that other figures tell of, or that is over by itself: see `Told` of the errors."""

_SOON: Final = (JobState.WAITING, JobState.QUEUED, JobState.RUNNING, JobState.PUBLISHING)
_LATE: Final = tuple(state for state in JobState if state not in _SOON)


def _nothing() -> Told:
    return {}, {}


@dataclass(frozen=True, slots=True)
class Sources:
    """What of the service is asked. All of it may be asked from any thread, and touches no folder.

    *inboxes* are those of people, *hidden* is the one that they do not see (empty without one); *beside* gives figures
    that others count, the canary's.
    """

    store: JobStore
    kept: KeptDocuments
    health: HistoryHealth
    pulse: Pulse
    engine_status: Callable[[], EngineStatus]
    activities: Callable[[], Sequence[Activity]]
    inboxes: Callable[[], Collection[Inbox]]
    hidden: bytes = b""
    beside: Callable[[], Told] = _nothing
    on_gpu: Callable[[], bool] = lambda: False


@dataclass(slots=True)
class _Company:
    """How many jobs were in hand beside one, at the most."""

    most: int = 1


class _Draft:
    """Figures and words while they are gathered."""

    def __init__(self) -> None:
        self.figures: dict[Key, float] = {}
        self.words: dict[Key, str] = {}

    def put(self, name: str, value: float | None, subject: str = "", words: str = "") -> None:
        """What could not be told is left out."""
        if value is not None:
            key = Key(name, subject)
            self.figures[key] = float(value)
            if words:
                self.words[key] = words


class ServiceFigures:
    """Asked by the monitor for each sample (`read`), and by the control socket for people (`counts`, `etas`)."""

    def __init__(
        self, sources: Sources, *, clock: Callable[[], float] = monotonic_s, utc: Callable[[], datetime] = utc_now
    ) -> None:
        self._sources = sources
        self._clock = clock
        self._utc = utc
        self._lock = threading.Lock()
        self._ended: Counter[str] = Counter()
        self._last_failure = ""
        self._pace = Pace()
        self._pace_of = -1
        self._pace_at = float("-inf")
        self._late: dict[JobState, int] = {}
        self._counted_at = float("-inf")
        self._counting_s = 0.0
        self._changed = False
        self._queued_mean_s: float | None = None
        self._queued_mean_at = float("-inf")
        self._queued_mean_took_s = 0.0
        self._company: dict[int, _Company] = {}
        self._moved: object = None
        self._moved_at = clock()
        self._work: dict[str, Work] = {}

    def ended(self, end: End) -> None:
        """Take note of a job that ended. Safe from any thread."""
        with self._lock:
            self._company.pop(end.job.id, None)  # also of the canary: its number comes again
            if end.job.inbox == self._sources.hidden:
                return
            self._ended[end.outcome] += 1
            state = JobState(end.outcome) if end.outcome in _LATE else JobState.DONE
            self._late[state] = self._late.get(state, 0) + 1
            if end.outcome in (JobState.FAILED, JobState.QUARANTINED):
                self._last_failure = f"the last one: {shown(end.job.path)}: {end.reason}"

    def changed(self) -> None:
        """Take note that a person changed jobs that had ended, or ended some. Safe from any thread."""
        with self._lock:
            self._changed = True

    def read(self) -> Told:
        """All figures now. Only the monitor's thread may call it: some are since the last call."""
        draft = _Draft()
        now = self._clock()
        trouble = self._sources.health.trouble()
        try:
            self._jobs(draft, now)
        except StorageError as error:
            trouble = trouble or str(error)
        self._in_hand(draft, now)
        self._inboxes(draft)
        self._engine(draft)
        stuck = self._sources.pulse.stale(now)
        draft.put("loops_stuck", len(stuck), words=", ".join(stuck))
        draft.put("database_trouble", bool(trouble), words=trouble)
        figures, words = self._sources.beside()
        return draft.figures | dict(figures), draft.words | dict(words)

    # The queue, and how it goes.

    def counts(self, *, exact: bool = False) -> dict[JobState, int]:
        """People's jobs by state. Unless *exact*, changes of long ago may show late in a long history."""
        self._count_late(EXACT_RATIO if exact else COUNTING_RATIO)
        found = self._of_people(_SOON) | self._late
        return {state: found[state] for state in JobState}

    def _of_people(self, states: Collection[JobState]) -> dict[JobState, int]:
        store, hidden = self._sources.store, self._sources.hidden
        found = {state: store.count_of(state) for state in states}
        ours = store.counts_of(hidden) if hidden else {}
        return {state: max(0, n_jobs - ours.get(state, 0)) for state, n_jobs in found.items()}

    def _count_late(self, ratio: float) -> None:
        """Without the lock while it counts, so no job's end waits; one that ends meanwhile may be missed so long."""
        with self._lock:
            began = self._clock()
            ratio = min(ratio, CHANGED_RATIO) if self._changed else ratio
            if began - self._counted_at < ratio * self._counting_s:
                return
            self._changed = False
        late = self._of_people(_LATE)
        with self._lock:
            self._late, self._counted_at, self._counting_s = late, began, self._clock() - began

    def pace(self) -> Pace:
        """How it went lately."""
        with self._lock:
            n_ended, now = self._ended.total(), self._clock()
            if n_ended == self._pace_of and now - self._pace_at < PACE_S:
                return self._pace
        at = self._utc()
        found = pace(self._sources.store.ended_since(at - LONGEST, MOST, self._sources.hidden), at)
        with self._lock:
            self._pace, self._pace_of, self._pace_at = found, n_ended, now
        return found

    def _jobs(self, draft: _Draft, now: float) -> None:
        for state, n_jobs in self.counts().items():
            draft.put("jobs", n_jobs, state.value)
        for outcome, n_jobs in self._ended_now().items():
            draft.put("jobs_ended", n_jobs, outcome)
        found = self.pace()
        draft.put("recent_failed_ratio", found.failed_ratio, words=self._last_failure if found.failed_ratio else "")
        draft.put("recent_speed_ratio", found.comparable_speed)
        draft.put("real_time_factor", 1 / found.speed if found.speed else None)
        self._queue(draft, now)
        self._blocked(draft)

    def _ended_now(self) -> Counter[str]:
        with self._lock:
            return self._ended.copy()

    def _queue(self, draft: _Draft, now: float) -> None:
        """How long the first job waits, and how long nothing moves. Jobs of an inbox that is away wait for that."""
        oldest = self._oldest()
        moved = (
            self._ended_now().total(),
            sorted((one.job.id, one.job.lease, one.stage, one.done_s) for one in self._sources.activities()),
        )
        if oldest is None or moved != self._moved:
            self._moved, self._moved_at = moved, now
        wait_s, words = (self._wait_s(oldest), shown(oldest.path)) if oldest is not None else (0.0, "")
        draft.put("queue_oldest_wait_s", wait_s, words=words)
        draft.put("queue_still_s", now - self._moved_at)
        held = self._sources.store.oldest_held(self._ready(), _TOLD_ELSEWHERE)
        held_s = (self._utc() - held.since).total_seconds() if held is not None else 0.0
        draft.put("queue_held_s", max(0.0, held_s), words=held.reason if held is not None else "")

    def oldest_wait_s(self) -> float | None:
        """For how long the job waits that does so the longest; None where none has to."""
        oldest = self._oldest()
        return None if oldest is None else self._wait_s(oldest)

    def _oldest(self) -> Queued | None:
        return self._sources.store.oldest_queued(self._ready(), self._utc())

    def _ready(self) -> list[bytes]:
        return [inbox.path for inbox in self._sources.inboxes() if inbox.ready]

    def _wait_s(self, job: Queued) -> float:
        return max(0.0, (self._utc() - job.since).total_seconds())

    def _blocked(self, draft: _Draft) -> None:
        kept = self._sources.kept.present()[:MOST_BLOCKED]
        found = {one.inbox: one for one in self._sources.store.blocked(kept)} if kept else {}
        for inbox in self._sources.inboxes():
            one = found.get(inbox.path)
            draft.put("outputs_blocked", one.n_jobs if one else 0, _name(inbox), one.reason if one else "")

    # What is in hand.

    def _in_hand(self, draft: _Draft, now: float) -> None:
        for activity in self._people(self._sources.activities()):
            ratio = overtime_ratio(self._going(activity, now), self._usual_speed(activity))
            draft.put("job_overtime_ratio", ratio, str(activity.job.id), shown(activity.job.path))

    def etas(self) -> dict[int, float]:
        """Seconds until jobs in hand are transcribed, by job, as far as that can be told."""
        now = self._clock()
        activities = [one for one in self._sources.activities() if one.total_s]
        found = {one.job.id: eta_s(self._going(one, now), self._usual_speed(one)) for one in activities}
        return {job_id: left_s for job_id, left_s in found.items() if left_s is not None}

    def queue_eta_s(self, n_queued: int) -> float | None:
        """Seconds until what is in hand and so many queued jobs are done; None where none are, or nobody knows."""
        if not n_queued:
            return None
        forecast, mean_s = self.forecast(), self._mean_queued_s()
        if not forecast.speed or mean_s is None:
            return None
        return (sum(forecast.in_hand_s.values()) + n_queued * mean_s) / forecast.speed

    def _mean_queued_s(self) -> float | None:
        """The audio that a job of the queue may have. Of a long queue it is looked up now and then, as for `counts`."""
        with self._lock:
            began = self._clock()
            if began - self._queued_mean_at < EXACT_RATIO * self._queued_mean_took_s:
                return self._queued_mean_s or self._pace.mean_audio_s
        mean_s = self._sources.store.mean_expected_s(self._sources.hidden)
        with self._lock:
            self._queued_mean_s = mean_s
            self._queued_mean_at, self._queued_mean_took_s = began, self._clock() - began
            return mean_s or self._pace.mean_audio_s

    def forecast(self) -> Forecast:
        """When what waits will be done, as far as that can be told."""
        in_hand: dict[bytes, float] = {}
        for one in self._sources.activities():
            left_s = max(0.0, (one.total_s or one.job.audio_s or one.job.expected_s) - one.done_s)
            in_hand[one.job.person] = in_hand.get(one.job.person, 0.0) + left_s
        return Forecast(self._pace.usual_speed, in_hand)

    def _usual_speed(self, activity: Activity) -> float | None:
        """Of recordings with its model and quality."""
        options = activity.job.options
        return self._pace.usual_speeds.get((str(options.get("model") or ""), str(options.get("quality") or "")))

    def _going(self, activity: Activity, now: float) -> Going:
        n_beside = len([one for one in self._sources.activities() if one.stage == "engine"])
        with self._lock:
            if len(self._company) > MOST_REMEMBERED:
                self._company.clear()
            company = self._company.setdefault(activity.job.id, _Company())
            company.most = max(company.most, n_beside)
        in_engine_s = now - activity.stage_began if activity.stage == "engine" else 0.0
        return Going(now - activity.began, in_engine_s, activity.done_s, activity.total_s, company.most)

    def _people(self, activities: Sequence[Activity]) -> list[Activity]:
        hidden = self._sources.hidden
        return [one for one in activities if one.job.inbox != hidden and one.stage == "engine"]

    # The folders and the engine.

    def _inboxes(self, draft: _Draft) -> None:
        for inbox in self._sources.inboxes():
            name, offline = _name(inbox), inbox.offline
            draft.put("inbox_offline", bool(offline), name, offline)
            draft.put("inbox_watch_degraded", bool(inbox.degraded), name, inbox.degraded)
            draft.put("inbox_scan_s", inbox.scan_took_s, name)
            if (disk := inbox.disk) is not None:
                draft.put("folder_free_bytes", disk.free_bytes, name)
                draft.put("folder_free_ratio", disk.free_ratio, name)
                draft.put("folder_free_inodes_ratio", disk.free_inodes_ratio, name)

    def _engine(self, draft: _Draft) -> None:
        status = self._sources.engine_status()
        by_device: dict[str, list[SeatStatus]] = {}
        for seat in status.seats:
            by_device.setdefault(seat.wanted, []).append(seat)
        for device, seats in by_device.items():
            states = {seat.state for seat in seats}
            error = next((seat.last_error for seat in seats if seat.last_error), None) or ""
            if "ready" in states:
                draft.put("engine_up", 1, device)
            elif states & {"down", "starting"}:
                draft.put("engine_up", 0, device, error)
            draft.put("engine_restarts", sum(seat.n_restarts for seat in seats), device)
            draft.put("engine_restarts_in_row", max(seat.n_deaths for seat in seats), device, error)
            self._done(draft, device, [seat.work for seat in seats])
        self._spare(draft, status)

    def _done(self, draft: _Draft, device: str, seats: Sequence[Work]) -> None:
        work = Work(
            sum(one.n_windows for one in seats),
            sum(one.n_places for one in seats),
            sum(one.n_retries for one in seats),
            sum(one.n_flags for one in seats),
        )
        before, self._work[device] = self._work.get(device, Work()), work
        n_places = work.n_places - before.n_places
        fill = (work.n_windows - before.n_windows) / n_places if n_places > 0 else None
        draft.put("engine_batch_fill_ratio", fill, device)
        draft.put("engine_windows", work.n_windows, device)
        draft.put("engine_retries", work.n_retries, device)
        draft.put("engine_flags", work.n_flags, device)

    def _spare(self, draft: _Draft, status: EngineStatus) -> None:
        """Whether the CPU works in place of a GPU."""
        ready = [seat for seat in status.seats if seat.state == "ready"]
        # One that was given up because nobody needed it is able; one whose process died may not be.
        able = [seat for seat in status.seats if seat.state == "unloaded" and not seat.n_deaths]
        wanted = {seat.wanted for seat in status.seats}
        reason = next((seat.last_error for seat in status.seats if seat.last_error), None) or ""
        if len(wanted) > 1 and "cpu" in wanted:  # it is there for when no GPU can
            if ready:
                draft.put("engine_on_spare", all(seat.wanted == "cpu" for seat in ready + able), "cpu", reason)
        elif wanted == {"auto"} and ready:
            fell_back = any(seat.device == "cpu" for seat in ready) and self._sources.on_gpu()
            draft.put("engine_on_spare", fell_back, "auto", reason)


def _name(inbox: Inbox) -> str:
    return shown(inbox.path)
