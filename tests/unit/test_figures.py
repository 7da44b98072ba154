from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from daemon.actor import STALE_S, Pulse
from daemon.ends import End
from daemon.engine.client import EngineStatus
from daemon.engine.seat import SeatStatus, Work
from daemon.figures import ServiceFigures, Sources
from daemon.health import HistoryHealth
from daemon.intake.disk import Disk
from daemon.outputs.kept import KeptDocuments
from daemon.workshop import Activity
from monitor.figures import FIGURES, Key
from storage.errors import StorageUnavailable
from storage.jobs import JobStore
from storage.records import Job, JobState, Told
from tests.unit.history import AT, INBOX, claim, new, transcribe

OURS = b"/var/lib/transcribed/canary"
SEAT = SeatStatus("ready", "cuda:0", 7, "base", "cuda:0", "int8", n_jobs=0, n_restarts=0, last_error=None)


@dataclass
class FakeInbox:
    """As much of an inbox as is asked."""

    path: bytes = INBOX
    ready: bool = True
    offline: str = ""
    degraded: str = ""
    scan_took_s: float | None = 0.25
    disk: Disk | None = None


@dataclass
class Room:
    """The figures of a service over a real history; the rest is as the test says."""

    store: JobStore
    kept: KeptDocuments
    folder: Path
    now: float = 1000.0
    at: datetime = AT
    seats: tuple[SeatStatus, ...] = (SEAT,)
    activities: list[Activity] = field(default_factory=list[Activity])
    inboxes: list[FakeInbox] = field(default_factory=lambda: [FakeInbox()])
    on_gpu: bool = True
    canary: dict[Key, float] = field(default_factory=dict[Key, float])

    def __post_init__(self) -> None:
        self.health = HistoryHealth()
        self.pulse = Pulse()
        inboxes = cast("Any", self.inboxes)
        self.service = ServiceFigures(
            Sources(
                self.store,
                self.kept,
                self.health,
                self.pulse,
                engine_status=self.status,
                activities=lambda: self.activities,
                inboxes=lambda: inboxes,
                hidden=OURS,
                beside=lambda: (self.canary, {}),
                on_gpu=lambda: self.on_gpu,
            ),
            clock=lambda: self.now,
            utc=lambda: self.at,
        )

    def status(self) -> EngineStatus:
        """As `Engine.status`."""
        return EngineStatus("ready", None, None, None, None, 0, 0, 0, None, self.seats)

    def pass_time(self, seconds: float) -> None:
        """Both clocks go on."""
        self.now += seconds
        self.at += timedelta(seconds=seconds)

    def read(self) -> Mapping[Key, float]:
        """The figures."""
        return self.service.read()[0]

    def words(self) -> Mapping[Key, str]:
        """The words."""
        return self.service.read()[1]

    def of(self, name: str, subject: str = "") -> float | None:
        """One figure; None where it is left out."""
        return self.read().get(Key(name, subject))

    def begin(self, job: Job, *, stage: str = "engine", total_s: float = 100.0) -> Activity:
        """The job is in hand from now on."""
        activity = Activity(job, began=self.now, stage=stage, stage_began=self.now, total_s=total_s)
        self.activities.append(activity)
        return activity


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    (tmp_path / "kept").mkdir()
    with closing(JobStore.open(tmp_path / "history.db", "daemon-1")) as store:
        yield Room(store, KeptDocuments(tmp_path / "kept"), tmp_path)


def end(job: Job, outcome: str, reason: str = "") -> End:
    return End(job, outcome, reason)


def test_every_figure_is_in_the_catalogue(room: Room) -> None:
    """With a subject where the catalogue says so: the monitor would refuse the others."""
    room.begin(claim(room.store, b"/srv/inbox/a.wav", AT))
    room.inboxes[0].disk = Disk(10, 0.5, 0.25)
    transcribe(room.store, b"/srv/inbox/b.wav", "x")
    room.pass_time(70)
    room.service.read()
    for key in room.read():
        assert (FIGURES[key.name].subject is None) == (key.subject == ""), key


def test_jobs_are_counted_without_the_canary(room: Room) -> None:
    """People are told of their own."""
    transcribe(room.store, b"/srv/inbox/a.wav", "a")
    transcribe(room.store, OURS + b"/canary.flac", "c", inbox=OURS)
    room.store.enqueue([new(b"/srv/inbox/b.wav"), new(OURS + b"/d.flac", OURS)], AT)
    assert room.service.counts()[JobState.DONE] == 1
    assert room.of("jobs", "done") == 1
    assert room.of("jobs", "queued") == 1


def test_ends_are_counted_by_outcome(room: Room) -> None:
    """From the start of the daemon, and without the canary's."""
    job = claim(room.store, b"/srv/inbox/a.wav", AT)
    ours = claim(room.store, OURS + b"/c.flac", AT, OURS)
    for one in (end(job, "ok"), end(job, "ok"), end(job, "failed", "broken"), end(ours, "ok")):
        room.service.ended(one)
    assert room.of("jobs_ended", "ok") == 2
    assert room.of("jobs_ended", "failed") == 1


def test_the_share_of_failures_names_the_last_one(room: Room) -> None:
    """Its recording and the reason, so that the message does; half letters reach no database."""
    for number in range(19):
        transcribe(room.store, b"/srv/inbox/%d.wav" % number, "x")
    job = claim(room.store, b"/srv/inbox/b\xff.wav", AT)
    room.store.fail(job, "broken", AT)
    room.service.ended(end(job, "failed", "broken"))
    assert room.of("recent_failed_ratio") == pytest.approx(0.05)
    assert room.words()[Key("recent_failed_ratio")] == "the last one: /srv/inbox/b\\xff.wav: broken"


def test_the_speed_is_that_of_late(room: Room) -> None:
    """And left out when nothing ended in an hour, or so little that it says nothing."""
    for number in range(5):
        assert room.of("recent_speed_ratio") is None
        transcribe(room.store, b"/srv/inbox/%d.wav" % number, "a", at=room.at)
        room.pass_time(100)
    assert room.of("recent_speed_ratio") == pytest.approx(10.0)
    assert room.of("real_time_factor") == pytest.approx(0.1)
    room.pass_time(3700)
    assert room.of("recent_speed_ratio") is None


def test_the_queue_is_still_only_while_nothing_gets_on(room: Room) -> None:
    """A job that ends or a recording that gets on is movement; an empty queue is no standstill."""
    job = claim(room.store, b"/srv/inbox/b.wav", AT)
    assert room.of("queue_still_s") == 0
    room.pass_time(100)
    assert room.of("queue_still_s") == 0
    room.store.enqueue([new(b"/srv/inbox/a.wav")], room.at)
    assert room.of("queue_still_s") == 0
    room.pass_time(60)
    assert room.of("queue_still_s") == 60
    assert room.of("queue_oldest_wait_s") == 60
    assert room.words()[Key("queue_oldest_wait_s")] == "/srv/inbox/a.wav"
    activity = room.begin(job)
    assert room.of("queue_still_s") == 0
    room.pass_time(30)
    assert room.of("queue_still_s") == 30
    activity.advance("engine", 5.0, 100.0)
    assert room.of("queue_still_s") == 0


def test_a_job_that_is_held_is_seen(room: Room) -> None:
    """The queue is empty meanwhile, so nothing else would tell; not while its inbox is away."""
    assert room.of("queue_held_s") == 0
    job = claim(room.store, b"/srv/inbox/a.wav", AT)
    room.store.hold(job, "no room in the spool", AT, delay_s=60, refund=True, told=Told("server_trouble"))
    room.pass_time(30)
    assert room.of("queue_held_s") == 30
    assert room.words()[Key("queue_held_s")] == "no room in the spool"
    assert room.of("queue_oldest_wait_s") == 0
    room.inboxes[0].ready = False
    assert room.of("queue_held_s") == 0


def test_jobs_of_an_inbox_that_is_away_do_not_make_the_queue_old(room: Room) -> None:
    """They wait for their inbox, which is told by itself."""
    room.store.enqueue([new(b"/srv/inbox/a.wav")], AT)
    room.inboxes[0].ready, room.inboxes[0].offline = False, "not answering"
    room.pass_time(600)
    assert room.of("queue_oldest_wait_s") == 0
    assert room.of("inbox_offline", "/srv/inbox") == 1
    assert room.words()[Key("inbox_offline", "/srv/inbox")] == "not answering"


def test_a_job_is_measured_by_what_is_expected_of_it(room: Room) -> None:
    """From the pace of late; the words name the recording. Without a pace nothing is said."""
    job = claim(room.store, b"/srv/inbox/long.wav", AT)
    room.begin(job, total_s=1000.0)
    room.pass_time(160)
    assert room.of("job_overtime_ratio", str(job.id)) is None
    transcribe(room.store, b"/srv/inbox/a.wav", "a", at=room.at)
    room.pass_time(61)
    room.service.read()
    key = Key("job_overtime_ratio", str(job.id))
    assert room.read()[key] == pytest.approx(221 / 160)
    assert room.words()[key] == "/srv/inbox/long.wav"
    assert room.service.etas()[job.id] == pytest.approx(100.0)


def test_a_large_model_is_not_measured_by_a_small_one(room: Room) -> None:
    """Nothing is expected of a job whose model and quality have done nothing of late."""
    transcribe(room.store, b"/srv/inbox/a.wav", "a")
    job = claim(room.store, b"/srv/inbox/long.wav", AT)
    room.begin(replace(job, options={"model": "large-v3"}), total_s=1000.0)
    room.pass_time(600)
    room.service.read()
    assert room.of("job_overtime_ratio", str(job.id)) is None


@pytest.mark.parametrize("asked", ["ended_since", "count_of"])
def test_a_job_that_ends_waits_for_no_query(room: Room, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    """Its thread goes on while the history is asked, however long that takes."""
    job = claim(room.store, b"/srv/inbox/a.wav", AT)
    query = getattr(room.store, asked)
    hung: list[bool] = []

    def slow(*arguments: object) -> object:
        thread = threading.Thread(target=lambda: room.service.ended(end(job, "ok")), daemon=True)
        thread.start()
        thread.join(5.0)
        hung.append(thread.is_alive())
        return query(*arguments)

    monkeypatch.setattr(room.store, asked, slow)
    room.read()
    assert hung
    assert not any(hung)


def test_the_time_that_a_queue_takes(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in hand and the audio that is queued, at the usual pace; of a long queue it is seldom looked up."""
    transcribe(room.store, b"/srv/inbox/memo.wav", "a")  # two minutes in 12 s
    room.service.pace()
    assert room.service.queue_eta_s(0) is None
    lengths = {b"/srv/inbox/long.wav": 7200.0, b"/srv/inbox/short.wav": 1200.0}
    room.store.enqueue([replace(new(path), expected_s=length_s) for path, length_s in lengths.items()], AT)
    room.store.enqueue([replace(new(b"/canary.wav", OURS), expected_s=9e9)], AT)
    assert room.service.queue_eta_s(2) == pytest.approx(840.0)
    job = room.store.claim(AT, [OURS])  # all but the canary: the short one
    assert job is not None
    room.begin(job, total_s=1100.0).done_s = 100.0
    assert room.service.queue_eta_s(1) == pytest.approx(820.0)
    asked: list[bytes] = []

    def slow(but_not_in: bytes) -> float:
        asked.append(but_not_in)
        room.now += 0.02
        return 600.0

    monkeypatch.setattr(room.store, "mean_expected_s", slow)
    assert [room.service.queue_eta_s(n) for n in (10, 20)] == pytest.approx([700.0, 1300.0])
    assert asked == [OURS]
    room.pass_time(4.1)
    room.service.queue_eta_s(10)
    assert len(asked) == 2


def test_the_time_of_a_queue_whose_lengths_nobody_knows(room: Room) -> None:
    """As many recordings of the usual length at the usual pace."""
    assert room.service.queue_eta_s(5) is None
    transcribe(room.store, b"/srv/inbox/a.wav", "a")
    room.service.pace()
    assert room.service.queue_eta_s(5) == pytest.approx(5 * 12.0)
    assert room.service.queue_eta_s(0) is None


def test_transcripts_that_wait_for_their_folder_are_counted(room: Room) -> None:
    """With the reason of one of them."""
    job = claim(room.store, b"/srv/inbox/a.wav", AT)
    (room.folder / "kept" / f"{job.id}.json").write_text("{}")
    (room.folder / "kept" / "9.json.part").touch()
    assert room.of("outputs_blocked", "/srv/inbox") == 0  # it is being published
    room.store.hold(job, "cannot write to /srv/inbox", AT, delay_s=60, refund=True)
    assert room.of("outputs_blocked", "/srv/inbox") == 1
    assert room.words()[Key("outputs_blocked", "/srv/inbox")] == "cannot write to /srv/inbox"
    assert (room.folder / "kept" / "9.json.part").exists()  # somebody may be writing it


def test_an_inbox_tells_of_its_disk_and_its_watch(room: Room) -> None:
    """What is not known is left out."""
    inbox = room.inboxes[0]
    assert room.of("folder_free_bytes", "/srv/inbox") is None
    inbox.disk, inbox.degraded = Disk(10_000, 0.5, None), "no event came"
    figures = room.read()
    assert figures[Key("folder_free_bytes", "/srv/inbox")] == 10_000
    assert figures[Key("folder_free_ratio", "/srv/inbox")] == 0.5
    assert Key("folder_free_inodes_ratio", "/srv/inbox") not in figures
    assert figures[Key("inbox_watch_degraded", "/srv/inbox")] == 1
    assert figures[Key("inbox_scan_s", "/srv/inbox")] == 0.25


@pytest.mark.parametrize(
    ("states", "up"),
    [(["ready", "stopped"], 1), (["down"], 0), (["starting"], 0), (["unloaded"], None), (["stopped"], None)],
)
def test_an_engine_is_up_unless_it_should_be_and_is_not(room: Room, states: list[Any], up: int | None) -> None:
    """One that nobody needs at present is neither."""
    room.seats = tuple(replace(SEAT, state=state) for state in states)
    assert room.of("engine_up", "cuda:0") == up


def test_deaths_restarts_and_work_are_told_by_device(room: Room) -> None:
    """Counts of all models on a device; how full batches were is since the last sample."""
    died = replace(SEAT, n_restarts=2, n_deaths=3, last_error="killed by signal 9", work=Work(10, 40, 1, 2))
    room.seats = (died, replace(SEAT, n_restarts=1, work=Work(5, 10, 0, 0)))
    figures, words = room.service.read()
    assert figures[Key("engine_restarts", "cuda:0")] == 3
    assert figures[Key("engine_restarts_in_row", "cuda:0")] == 3
    assert words[Key("engine_restarts_in_row", "cuda:0")] == "killed by signal 9"
    assert figures[Key("engine_windows", "cuda:0")] == 15
    assert figures[Key("engine_retries", "cuda:0")] == 1
    assert figures[Key("engine_flags", "cuda:0")] == 2
    assert figures[Key("engine_batch_fill_ratio", "cuda:0")] == pytest.approx(0.3)
    assert room.of("engine_batch_fill_ratio", "cuda:0") is None
    room.seats = (replace(SEAT, work=Work(31, 70, 0, 0)),)
    assert room.of("engine_batch_fill_ratio", "cuda:0") == pytest.approx(16 / 20)


def test_the_spare_works_when_no_gpu_is_ready(room: Room) -> None:
    """With a GPU at work it does not; without anything ready nobody knows."""
    spare = replace(SEAT, wanted="cpu", device="cpu", state="stopped")
    room.seats = (SEAT, spare)
    assert room.of("engine_on_spare", "cpu") == 0
    broken = replace(SEAT, state="down", last_error="CUDA failed")
    room.seats = (broken, spare)
    assert room.of("engine_on_spare", "cpu") is None
    room.seats = (broken, replace(spare, state="ready"))
    assert room.of("engine_on_spare", "cpu") == 1
    assert room.words()[Key("engine_on_spare", "cpu")] == "CUDA failed"


def test_a_gpu_that_nobody_needed_is_able(room: Room) -> None:
    """Its model was given up after the idle time while the CPU's is loaded; one whose process died is not able."""
    spare = replace(SEAT, wanted="cpu", device="cpu")
    room.seats = (replace(SEAT, state="unloaded"), spare)
    assert room.of("engine_on_spare", "cpu") == 0
    room.seats = (replace(SEAT, state="unloaded", n_deaths=1), spare)
    assert room.of("engine_on_spare", "cpu") == 1


@pytest.mark.parametrize(("device", "on_gpu", "spare"), [("cpu", True, 1), ("cpu", False, 0), ("cuda", True, 0)])
def test_a_device_that_was_chosen_by_itself_should_be_a_gpu_where_there_is_one(
    room: Room, device: str, on_gpu: bool, spare: int
) -> None:
    """``device = "auto"`` on a machine with a GPU, and the CPU works."""
    room.on_gpu = on_gpu
    room.seats = (replace(SEAT, wanted="auto", device=device),)
    assert room.of("engine_on_spare", "auto") == spare


def test_a_cpu_that_was_asked_for_is_no_spare(room: Room) -> None:
    """Whatever GPUs there are."""
    room.seats = (replace(SEAT, wanted="cpu", device="cpu"),)
    assert room.of("engine_on_spare", "cpu") is None


def test_a_loop_that_is_stuck_is_named(room: Room) -> None:
    """By what it is called."""
    room.pulse.beat("dispatcher", room.now)
    assert room.of("loops_stuck") == 0
    room.pass_time(STALE_S + 1)
    assert room.of("loops_stuck") == 1
    assert room.words()[Key("loops_stuck")] == "dispatcher"


def test_trouble_with_the_history_is_told_and_passes(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a write that failed a moment ago, of a read that fails now, of a history that is lost."""
    assert room.of("database_trouble") == 0
    room.health.met("the disk is full")
    assert room.of("database_trouble") == 1
    assert room.words()[Key("database_trouble")] == "the disk is full"
    monkeypatch.setattr("daemon.health.MET_S", 0.0)
    assert room.of("database_trouble") == 0

    def fail(*_: object) -> None:
        raise StorageUnavailable("locked")

    with monkeypatch.context() as patch:
        patch.setattr(room.store, "count_of", fail)
        figures, words = room.service.read()
    assert figures[Key("database_trouble")] == 1
    assert words[Key("database_trouble")] == "locked"
    assert Key("engine_up", "cuda:0") in figures  # all else is told
    room.health.lose("the file is gone")
    assert room.words()[Key("database_trouble")] == "the file is gone"


def test_the_number_of_a_canary_brings_no_company_to_the_next_job(room: Room) -> None:
    """It is given to a recording of people afterwards, which is alone."""
    canary = room.begin(claim(room.store, OURS + b"/canary.flac", AT))
    others = [room.begin(claim(room.store, b"/srv/inbox/%d.wav" % number, AT)) for number in range(3)]
    room.service.etas()
    room.activities.clear()
    for one in (canary, *others):
        room.service.ended(end(one.job, "ok"))
    assert room.service._company == {}  # pyright: ignore[reportPrivateUsage]  # nothing else shows it


def test_figures_of_others_come_with_it(room: Room) -> None:
    """The canary's."""
    room.canary[Key("canary_latency_s")] = 4.0
    assert room.of("canary_latency_s") == 4.0


def test_a_sample_takes_a_few_milliseconds(room: Room) -> None:
    """It is taken every ten seconds, all day."""
    for number in range(60):
        transcribe(room.store, b"/srv/inbox/%d.wav" % number, "x")
    room.read()
    began = time.process_time()
    for _ in range(10):
        room.read()
    assert (time.process_time() - began) / 10 < 0.05


def test_a_long_history_is_not_counted_each_time(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends meanwhile is added; what a person changed shows at once to whoever asks."""
    transcribe(room.store, b"/srv/inbox/a.wav", "a")
    count_of = room.store.count_of

    def slow(state: JobState) -> int:
        room.now += 0.01
        return count_of(state)

    monkeypatch.setattr(room.store, "count_of", slow)
    assert room.service.counts()[JobState.DONE] == 1
    transcribe(room.store, b"/srv/inbox/b.wav", "b")
    job = room.store.newest(b"/srv/inbox/b.wav")
    assert job is not None
    room.service.ended(end(job, "no_speech"))
    assert room.service.counts()[JobState.DONE] == 2
    transcribe(room.store, b"/srv/inbox/c.wav", "c")
    assert room.service.counts()[JobState.DONE] == 2
    room.pass_time(2.0)
    assert room.service.counts(exact=True)[JobState.DONE] == 2
    room.service.changed()
    assert room.service.counts(exact=True)[JobState.DONE] == 3
    transcribe(room.store, b"/srv/inbox/d.wav", "d")
    room.pass_time(200.0)
    assert room.service.counts()[JobState.DONE] == 4
