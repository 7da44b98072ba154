"""What becomes of jobs when the history's disk is full or its file damaged, and what the doctor says of snapshots."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from daemon import dispatch, doctor
from daemon.ahead import Ahead
from daemon.clock import utc_now
from daemon.dispatch import Dispatcher
from daemon.doctor import Check, Grade
from daemon.health import MET_S, HistoryHealth
from daemon.outputs.kept import KeptDocuments
from daemon.workshop import Activity, Patiently, Workshop
from storage.errors import StorageDamaged, StorageFull
from storage.jobs import JobStore
from storage.records import Fingerprint, JobState, NewJob, Outcome, Result
from storage.reserve import Reserve
from storage.snapshots import Snapshots

AT = datetime(2025, 3, 1, 12, tzinfo=UTC)
RESULT = Result(Outcome.NO_SPEECH, "no speech detected", None, None, "base", "cpu", "int8", 1.0, 0, 0)
RESERVE_BYTES = 1 << 16


def finish(activity: Activity, shop: Workshop) -> Result:
    """In place of `daemon.transcription.perform`: only the commits."""
    shop.patiently(lambda: shop.store.publishing(activity.job, (), RESULT, AT))
    shop.patiently(lambda: shop.store.finish(activity.job, RESULT, AT))
    return RESULT


class Office:
    """A dispatcher over a history whose disk is as full as the test wants, until the reserve is given free."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = JobStore.open(root / "history.db", "me")
        self.reserve = Reserve(root / "reserve", RESERVE_BYTES)
        self.health = HistoryHealth(self.reserve)
        self.woken = threading.Semaphore(0)
        self.ahead = Ahead(1, 1)
        self.dispatcher = Dispatcher(
            self._shop,
            n_in_hand=1,
            look_again=lambda path: None,  # nobody to tell
            watches=lambda path: True,  # all are ours
            wake=self.woken.release,
            health=self.health,
        )

    def _shop(self, patiently: Patiently) -> Workshop:
        nobody: Any = None
        return Workshop(self.store, nobody, self.ahead, nobody, KeptDocuments(self.root / "kept"), self.root, patiently)

    def enqueue(self, n_jobs: int) -> list[int]:
        """The ids of new jobs."""
        jobs = [NewJob(b"/inbox/%d" % n, b"/inbox", Fingerprint(1, 2, 3, 4, n), {}, "d") for n in range(n_jobs)]
        return self.store.enqueue(jobs, AT)


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    monkeypatch.setattr(dispatch, "perform", finish)
    made = Office(tmp_path)
    yield made
    made.dispatcher.drain(5)
    made.store.close()


def test_on_a_full_disk_the_job_in_hand_ends_from_the_reserve_and_none_begins(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last commits find the room that was held back; the next job waits until there is room again."""
    monkeypatch.setattr(dispatch, "STORAGE_RETRY_S", (3600.0, 3600.0))
    first, second = office.enqueue(2)
    office.health.restock()
    really = office.store.finish

    def needs_room(*arguments: Any) -> None:
        if office.reserve.held:
            raise StorageFull("the disk is full")
        really(*arguments)

    monkeypatch.setattr(office.store, "finish", needs_room)
    office.dispatcher.step(0)
    assert office.woken.acquire(timeout=20)
    office.dispatcher.step(0)
    states = [job.state for job_id in (first, second) if (job := office.store.job(job_id))]
    assert states == [JobState.DONE, JobState.QUEUED]
    monkeypatch.setattr(office.store, "finish", really)
    office.health.restock()
    office.dispatcher.step(0)
    assert office.woken.acquire(timeout=20)
    done = office.store.job(second)
    assert done is not None
    assert done.state is JobState.DONE


@pytest.mark.parametrize("where", ["claim", "finish"])
def test_a_damaged_page_ends_the_claims(office: Office, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Whoever meets it says so, once; the daemon ends on it, and the next start mends the history."""
    office.enqueue(2)
    office.health.restock()

    def damaged(*arguments: Any) -> None:
        raise StorageDamaged("history.db is malformed")

    monkeypatch.setattr(office.store, where, damaged)
    office.dispatcher.step(0)
    if where == "finish":
        assert office.woken.acquire(timeout=20)
    assert "malformed" in office.health.lost
    monkeypatch.undo()
    office.dispatcher.step(0)
    assert office.store.counts()[JobState.QUEUED] == (2 if where == "claim" else 1)


def snapshot_check(database: Path) -> Check:
    return doctor._snapshot(database)  # pyright: ignore[reportPrivateUsage]  # the whole examination takes seconds


def test_the_doctor_reads_the_newest_snapshot_and_says_how_old_it_is(office: Office) -> None:
    """With its jobs; none, an old one and a damaged one are told apart."""
    office.enqueue(3)
    database = office.root / "history.db"
    assert snapshot_check(database).grade is Grade.NOTE
    snapshot = Snapshots.beside(database).take()
    check = snapshot_check(database)
    assert (check.grade, "of 0 h ago can be restored: 3 jobs" in check.finding) == (Grade.GOOD, True)
    old = snapshot.rename(snapshot.with_name("000001-20200101T000000Z-daily.db"))
    assert snapshot_check(database).grade is Grade.NOTE
    old.write_bytes(b"rubbish" * 1000)
    assert snapshot_check(database).grade is Grade.BAD
    assert utc_now() > AT


def test_trouble_is_told_for_as_long_as_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that failed for a minute, a missing reserve until it is made, a lost history for ever."""
    now = [1000.0]
    monkeypatch.setattr("daemon.health.monotonic_s", lambda: now[0])
    reserve = Reserve(tmp_path / "there" / "reserve", 1000)
    health = HistoryHealth(reserve)
    assert health.trouble() == ""
    health.restock()
    assert "reserve" in health.trouble()
    (tmp_path / "there").mkdir()
    health.restock()
    assert health.trouble() == ""
    health.met("database is locked")
    now[0] += MET_S - 1
    assert health.trouble() == "database is locked"
    now[0] += 1
    assert health.trouble() == ""
    health.lose("the file is gone")
    assert health.trouble() == "the file is gone"
