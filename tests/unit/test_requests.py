"""Recordings that a program sends to have the words back: queued like others, and gone once they are answered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from daemon import requests
from daemon.options import JobOptions
from daemon.requests import Asked, Gone, Requests, TooMany
from daemon.sidecars import Sidecars
from storage.jobs import JobStore
from storage.records import Job, JobState
from tests.unit.history import AT, claim, lines, new, publish

OPTIONS = JobOptions(formats=())


@dataclass
class Desk:
    """Where requests come in."""

    root: Path
    in_hand: set[int] = field(default_factory=set[int])
    cancelled: list[int] = field(default_factory=list[int])

    def __post_init__(self) -> None:
        self.folder = self.root / "requests"
        self.folder.mkdir()
        (self.root / "sidecars").mkdir()
        self.store = JobStore.open(self.root / "jobs.db", "me")
        self.sidecars = Sidecars(self.root / "sidecars")
        self.requests = Requests(
            self.folder,
            self.store,
            self.sidecars,
            in_hand=lambda: self.in_hand,
            cancel=self.cancel,
            on_new=lambda: None,
        )

    def cancel(self, job_id: int) -> None:
        """As a dispatcher does for a job that waits."""
        self.cancelled.append(job_id)
        if job_id not in self.in_hand:
            self.store.cancel([job_id], AT)

    def ask(self, name: str = "memo.wav") -> Asked:
        """A request with its job."""
        asked = self.requests.begin(name, "anna", 10)
        asked.path.write_bytes(b"sound")
        return self.requests.submit(asked, OPTIONS.to_dict(), OPTIONS.digest(), 3)

    def transcribe(self, asked: Asked) -> None:
        """Its job is done, and a sidecar is there."""
        job = self.store.claim(AT)
        assert job is not None
        assert job.id == asked.job_id
        publish(self.store, job, lines("secret words"), AT)
        (self.root / "sidecars" / f"{job.id}.json").write_text("{}")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.store.close()


def test_nothing_is_left_of_an_answered_request(desk: Desk) -> None:
    """Neither sound nor words nor job nor sidecar; one event says who asked and what came of it."""
    asked = desk.ask()
    assert desk.requests.ended(asked) is None
    desk.transcribe(asked)
    job = desk.requests.ended(asked)
    assert job is not None
    assert job.state is JobState.DONE
    desk.requests.leave(asked)
    desk.requests.step(0.0)
    assert list(desk.folder.iterdir()) == []
    assert list((desk.root / "sidecars").iterdir()) == []
    assert desk.store.jobs() == []
    assert desk.store.search(["secret"]) == []


def test_a_request_that_nobody_waits_for_is_cancelled(desk: Desk) -> None:
    """One in hand stays until nobody works on it; then it goes like the others."""
    asked = desk.ask()
    assert asked.job_id is not None
    job = desk.store.claim(AT)
    assert job is not None
    desk.in_hand = {job.id}
    desk.requests.leave(asked)
    assert desk.requests.step(0.0) == 1.0
    assert desk.cancelled == [job.id]
    assert asked.path.exists()
    desk.store.cancelled(job, "a person cancelled it", AT)
    desk.in_hand = set()
    desk.requests.step(0.0)
    assert (desk.store.jobs(), asked.path.exists()) == ([], False)


def test_the_jobs_of_people_are_not_touched(desk: Desk) -> None:
    """Also where a request and a recording end at the same time."""
    publish(desk.store, claim(desk.store, b"/srv/inbox/a.wav", AT), lines("public words"), AT)
    asked = desk.ask()
    other = desk.ask()
    desk.transcribe(asked)
    desk.requests.leave(asked)
    desk.requests.step(0.0)
    paths = {job.path for job in desk.store.jobs()}
    assert paths == {b"/srv/inbox/a.wav", str(other.path).encode()}


def test_a_job_that_is_gone_is_told(desk: Desk) -> None:
    """Whoever waits is not left waiting, also where its number is that of another job by now."""
    asked = desk.ask()
    assert asked.job_id is not None
    desk.store.cancel([asked.job_id], AT)
    desk.store.forget_one(asked.job_id)
    with pytest.raises(Gone):
        desk.requests.ended(asked)
    claim(desk.store, b"/srv/inbox/b.wav", AT)
    with pytest.raises(Gone):
        desk.requests.ended(asked)


def test_a_live_job_is_never_forgotten(desk: Desk) -> None:
    """It would come back from nowhere."""
    asked = desk.ask()
    assert asked.job_id is not None
    assert not desk.store.forget_one(asked.job_id)
    assert not desk.store.forget_one(99)
    assert desk.store.job(asked.job_id) is not None


def test_there_are_only_so_many_requests(desk: Desk) -> None:
    """One sender cannot take all places; places come back with the answers."""
    begun = [desk.requests.begin("a.wav", "anna", 10) for _ in range(requests.MOST_EACH)]
    with pytest.raises(TooMany):
        desk.requests.begin("a.wav", "anna", 10)
    desk.requests.begin("a.wav", "ben", 10)
    desk.requests.leave(begun[0])
    desk.requests.step(0.0)
    desk.requests.begin("a.wav", "anna", 10)


def test_a_request_that_is_larger_than_the_disk_is_refused(desk: Desk) -> None:
    """Before it is received."""
    with pytest.raises(TooMany):
        desk.requests.begin("a.wav", "anna", 1 << 60)


def test_a_restart_forgets_what_was_asked(desk: Desk) -> None:
    """Nobody waits for it any more, so it is not transcribed for nothing, and its words stay nowhere."""
    done, queued = desk.ask(), desk.ask()
    desk.transcribe(done)
    publish(desk.store, claim_other(desk), lines("public words"), AT)
    requests.clear(desk.folder, desk.store, desk.sidecars)
    assert [job.path for job in desk.store.jobs()] == [b"/srv/inbox/c.wav"]
    assert list(desk.folder.iterdir()) == []
    assert not queued.path.exists()


def claim_other(desk: Desk) -> Job:
    """A running job of a recording of people, though others are queued."""
    (job_id,) = desk.store.enqueue([new(b"/srv/inbox/c.wav")], AT)
    while (job := desk.store.claim(AT)) is not None:
        if job.id == job_id:
            return job
    raise AssertionError
