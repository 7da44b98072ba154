"""The history over the life of a daemon: sidecars, the keeper, a full disk, and the start after a loss."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daemon import history as history_module
from daemon import keeper as keeper_module
from daemon import sidecars as sidecars_module
from daemon.config.schema import DatabaseConfig
from daemon.errors import ConfigError
from daemon.health import HistoryHealth
from daemon.history import DATABASE_NAME, close_history, open_history
from daemon.keeper import FIRST_SNAPSHOT_S, RETRY_SNAPSHOT_S, Keeper, KeptHistory, last_time
from daemon.options import JobOptions
from daemon.outputs import publish
from daemon.outputs.formats import Document
from daemon.outputs.kept import Kept, KeptDocuments
from daemon.recovery import recover
from daemon.shares import NoAnswer
from daemon.sidecars import Sidecar, adopt
from daemon.suspects import Suspect
from daemon.transcript import Segment, Transcript
from storage.errors import StorageDamaged, StorageError, StorageFull
from storage.jobs import JobStore
from storage.mending import Identity
from storage.records import Fingerprint, Job, JobState, NewJob, Outcome, Output, Result
from storage.reserve import Reserve
from storage.snapshots import Snapshots

AT = datetime(2025, 3, 1, 12, tzinfo=UTC)
RESULT = Result(Outcome.OK, "", "en", 0.9, "base", "cpu", "int8", 1.5, 1, 2)


class State:
    """A state folder, an inbox, and the history that is open."""

    def __init__(self, root: Path) -> None:
        self.inbox, self.dir = root / "inbox", root / "state"
        for folder in (self.inbox, self.dir, *(self.dir / name for name in ("kept", "sidecars", "spool"))):
            folder.mkdir()
        self.path = self.dir / DATABASE_NAME
        self.kept = KeptDocuments(self.dir / "kept")
        self.open()

    def open(self) -> None:
        """The start of a daemon, as far as the history goes."""
        self.history = open_history(self.dir, f"owner-{os.urandom(4).hex()}")
        self.store, self.sidecars = self.history.store, self.history.sidecars
        self.n_adopted = adopt(self.sidecars, self.store, self.kept)

    def settle(self) -> None:
        """What the start does next."""
        unsettled = recover(self.store, self.dir / "spool", self.kept)
        for folder in unsettled.inboxes():
            unsettled.settle(folder)

    def lose(self) -> None:
        """The database is gone, and the daemon starts again."""
        self.store.close()
        for file in self.dir.glob(f"{DATABASE_NAME}*"):
            file.unlink()
        self.open()

    def claim(self, name: str) -> Job:
        """A new recording, its job claimed."""
        recording = self.inbox / name
        recording.write_bytes(b"audio")
        fingerprint = Fingerprint.of(recording.stat())
        path = os.fsencode(recording)
        new = NewJob(path, os.fsencode(self.inbox), fingerprint, {"model": "base"}, "digest", origins=ORIGINS)
        self.store.enqueue([new], AT)
        job = self.store.claim(AT)
        assert job is not None
        return job

    def publish(self, name: str, until: str = "done") -> Job:
        """Bring a job as far as *until*: ``staged``, ``intended``, ``committed`` or ``done``."""
        job = self.claim(name)
        document = make_document(name)
        outputs = publish.stage(job.path, {"txt": b"hello there\n"}, {})
        self.sidecars.save(Sidecar(job, RESULT, outputs, Kept(document, job.fingerprint, "digest"), AT))
        if until == "staged":
            return job
        self.store.publishing(job, outputs, RESULT, AT)
        if until != "intended":
            publish.commit(outputs, {})
        if until == "done":
            self.store.finish(job, RESULT, AT)
        return job

    def state(self, job: Job) -> JobState:
        """Where *job* stands."""
        found = self.store.job(job.id)
        assert found is not None
        assert found.path == job.path
        return found.state


ORIGINS = {"model": "/inbox/transcribed.toml"}


def make_document(name: str) -> Document:
    line = Segment(
        start_s=0.0,
        end_s=1.0,
        text="hello there",
        avg_logprob=-0.1,
        no_speech_prob=0.0,
        compression_ratio=1.0,
        temperature=0.0,
        words=(),
    )
    transcript = Transcript(
        language="en",
        language_probability=0.9,
        segments=(line,),
        model="base",
        device="cpu",
        compute_type="int8",
    )
    return Document(
        transcript=transcript,
        options=JobOptions.from_dict({"model": "base", "formats": ["txt"]}),
        recording=name,
        source_sha256="5" * 64,
        audio_s=1.0,
        declared_s=1.0,
        outcome="ok",
        notice="",
        made_by="test",
        made_at="2025-03-01T12:00:00Z",
        suspects=(Suspect(0.0, 1.0, ("loop", "low_confidence"), 1, "hello there", 0.9, -0.1, None, 0.0),),
    )


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    made = State(tmp_path)
    yield made
    made.store.close()


def test_a_published_job_is_done_again_after_the_loss_of_the_database(state: State) -> None:
    """Its number, options, hashes, text and times are there, from its sidecar alone."""
    job = state.publish("caf\udce9.wav")
    before = state.store.job(job.id)
    state.lose()
    assert state.n_adopted == 1
    after = state.store.job(job.id)
    assert before is not None
    assert after is not None
    assert replace(after, source_sha256=None, audio_s=None, declared_s=None) == before
    assert (after.source_sha256, after.audio_s) == ("5" * 64, 1.0)
    assert state.store.claim(AT) is None
    connection = sqlite3.connect(state.path)
    assert connection.execute("SELECT text FROM segment").fetchall() == [("hello there",)]
    place = ("loop low_confidence", "hello there", 0.9, None)
    assert connection.execute("SELECT reasons, text, speech_s, compression_ratio FROM v_suspects").fetchall() == [place]
    connection.close()
    assert state.store.written(job.path)


@pytest.mark.fault(30, "the database lost at each step of a publication")
@pytest.mark.parametrize("until", ["staged", "intended", "committed", "done"])
def test_wherever_the_database_is_lost_in_a_publication_nothing_is_transcribed_again(state: State, until: str) -> None:
    """The recovery ends what the sidecar tells; one text, no temporary files."""
    job = state.publish("one.wav", until)
    state.lose()
    state.settle()
    assert state.state(job) is JobState.DONE
    assert sorted(os.listdir(state.inbox)) == ["one.txt", "one.wav"]


def test_with_neither_files_nor_temporary_files_the_document_is_kept(state: State) -> None:
    """It is queued, and its next claim publishes the document without decoding."""
    job = state.publish("one.wav", "staged")
    for leftover in state.inbox.glob(".tr-*"):
        leftover.unlink()
    state.lose()
    state.settle()
    assert state.state(job) is JobState.QUEUED
    kept = state.kept.load(job.id)
    assert kept is not None
    assert kept.document == make_document("one.wav")


def test_a_kill_before_the_intent_costs_no_second_transcription(state: State) -> None:
    """The sidecar is there, the database is sound, the job is running: it is published from what was staged."""
    job = state.publish("one.wav", "staged")
    state.store.close()
    state.open()
    state.settle()
    assert state.state(job) is JobState.DONE
    assert (state.inbox / "one.txt").read_text() == "hello there\n"


def test_sidecars_of_what_the_history_knows_change_nothing(state: State) -> None:
    """A job that is done, or was claimed again since, stays as it is."""
    done = state.publish("done.wav")
    again = state.publish("again.wav", "staged")
    state.store.requeue(again, "stopped", AT, refund=True)
    reclaimed = state.store.claim(AT)
    assert reclaimed is not None
    state.store.fail(reclaimed, "broken", AT)
    before = [state.store.events(job.id) for job in (done, again)]
    state.store.close()
    state.open()
    assert state.n_adopted == 0
    assert [state.store.events(job.id) for job in (done, again)] == before


def test_after_a_rebuild_what_the_snapshot_does_not_know_comes_from_sidecars(state: State) -> None:
    """Done before the snapshot, running in it, and made after it: all three are done, under their numbers."""
    first = state.publish("first.wav")
    second = state.publish("second.wav", "staged")
    keep(state).take_snapshot()
    assert state.sidecars.job_ids() == [second.id]
    state.store.publishing(second, (), RESULT, AT)
    third = state.publish("third.wav")
    state.lose()
    state.settle()
    assert [state.state(job) for job in (first, second, third)] == [JobState.DONE] * 3
    assert state.store.claim(AT) is None


def test_an_earlier_version_in_place_does_not_pass_for_the_new_one(state: State) -> None:
    """A new version that was staged over it is published; one that a person has edited since is left alone."""
    old = state.publish("one.wav")
    new = state.claim("one.wav")
    outputs = publish.stage(new.path, {"txt": b"second version\n"}, state.store.written(new.path))
    state.sidecars.save(Sidecar(new, RESULT, outputs, Kept(make_document("one.wav"), new.fingerprint, "digest"), AT))
    state.lose()
    state.settle()
    assert [state.state(job) for job in (old, new)] == [JobState.DONE] * 2
    assert (state.inbox / "one.txt").read_text() == "second version\n"
    (state.inbox / "one.txt").write_text("by hand\n")
    state.lose()
    state.settle()
    assert [state.state(job) for job in (old, new)] == [JobState.DONE] * 2
    assert (state.inbox / "one.txt").read_text() == "by hand\n"
    assert state.store.claim(AT) is None


def test_a_new_job_of_the_same_number_does_not_hide_a_sidecar(state: State) -> None:
    """Another recording has the number by now: the old one gets a new number."""
    old = state.publish("old.wav")
    state.store.close()
    for file in state.dir.glob(f"{DATABASE_NAME}*"):
        file.unlink()
    with_other = JobStore.open(state.path, "other")
    with_other.enqueue([NewJob(b"/inbox/other", b"/inbox", Fingerprint(1, 2, 3, 4, 5), {}, "d")], AT)
    with_other.close()
    state.open()
    adopted = state.store.newest(old.path)
    assert adopted is not None
    assert (adopted.id, adopted.state) == (2, JobState.DONE)


def test_a_sidecar_that_cannot_be_read_does_not_stop_the_start(state: State) -> None:
    """Half written, of another version, or rubbish: passed over, the others count."""
    job = state.publish("one.wav")
    folder = state.dir / "sidecars"
    (folder / "7.json").write_text("{")
    (folder / "8.json").write_text(json.dumps({"version": 99}))
    (folder / "9.part").write_text("{")
    state.lose()
    assert state.n_adopted == 1
    assert state.state(job) is JobState.DONE
    assert sorted(os.listdir(folder)) == ["1.json", "7.json", "8.json"]


def test_a_sidecar_that_cannot_be_written_stops_no_publication(state: State, caplog: pytest.LogCaptureFixture) -> None:
    """The database has it all the same."""
    os.rmdir(state.dir / "sidecars")
    assert state.state(state.publish("one.wav")) is JobState.DONE
    assert [record.__dict__["event"] for record in caplog.records] == ["sidecar_failed"]


def test_sidecars_go_once_a_snapshot_knows_the_end_of_their_job() -> None:
    """Not while it is in hand there, not when it is newer; one whose job was removed from the history goes too."""
    from daemon.sidecars import _is_settled  # pyright: ignore[reportPrivateUsage]  # its whole table

    standing = {
        1: (1, JobState.DONE),
        2: (1, JobState.RUNNING),
        3: (1, JobState.PUBLISHING),
        4: (2, JobState.RUNNING),
        5: (1, JobState.WAITING),
        7: (1, JobState.DONE),
    }
    assert {job_id for job_id in range(1, 10) if _is_settled(job_id, 1, standing)} == {1, 4, 5, 6, 7}
    assert not _is_settled(1, 2, standing)
    assert not _is_settled(1, 1, {})


def keep(state: State, **config: int | str) -> Keeper:
    database = DatabaseConfig.model_validate(config)
    return Keeper(state.history, HistoryHealth(), database, started=0.0, utc=lambda: AT)


def wait_copied(keeper: Keeper) -> None:
    keeper.close(60.0)


def test_a_snapshot_is_taken_when_it_is_due(state: State) -> None:
    """Not in the first minutes, then one; the next one on the next day; none where none are wanted."""
    now = FIRST_SNAPSHOT_S
    snapshots = Snapshots.beside(state.path)
    at = datetime.now(UTC)
    keeper = Keeper(state.history, HistoryHealth(), DatabaseConfig(), started=0.0, utc=lambda: at)
    keeper.step(now - 1)
    wait_copied(keeper)
    assert snapshots.all() == []
    keeper.step(now)
    wait_copied(keeper)
    assert len(snapshots.all()) == 1
    keeper.step(now + RETRY_SNAPSHOT_S)
    wait_copied(keeper)
    assert len(snapshots.all()) == 1
    at += timedelta(days=1)
    keeper.step(now + RETRY_SNAPSHOT_S)
    wait_copied(keeper)
    assert len(snapshots.all()) == 2
    at -= timedelta(days=400)  # a clock that was wrong, and is right again
    keeper.step(now + 2 * RETRY_SNAPSHOT_S)
    wait_copied(keeper)
    assert len(snapshots.all()) == 3
    never = keep(state, snapshots=0)
    never.step(now)
    wait_copied(never)
    assert len(snapshots.all()) == 3


def test_a_snapshot_is_noted_and_the_surplus_goes(state: State) -> None:
    """An event says where it is; as many stay as are configured."""
    for _ in range(3):
        keep(state, snapshots=2).take_snapshot()
    assert len(Snapshots.beside(state.path).all()) == 2
    connection = sqlite3.connect(state.path)
    assert connection.execute("SELECT count(*) FROM v_events WHERE kind = 'snapshot'").fetchone() == (3,)
    connection.close()


def test_a_snapshot_that_fails_is_tried_again_later(
    state: State, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a disk with too little room none is begun; the log says so, and an hour later it is tried again."""

    def nothing(folder: Path) -> int:
        return 0

    monkeypatch.setattr(keeper_module, "_free_bytes", nothing)
    keeper = keep(state)
    for now in (FIRST_SNAPSHOT_S, FIRST_SNAPSHOT_S + 3, FIRST_SNAPSHOT_S + RETRY_SNAPSHOT_S):
        keeper.step(now)
        wait_copied(keeper)
    assert [record.__dict__["event"] for record in caplog.records] == ["snapshot_failed"] * 2
    assert Snapshots.beside(state.path).all() == []


def test_the_time_of_day_is_local_and_the_last_one_that_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it, that of yesterday; after it, that of today."""
    local = datetime(2025, 6, 10, 12, 0).astimezone()  # local on purpose
    assert last_time("03:30", local.astimezone(UTC)) == local.replace(hour=3, minute=30)
    assert last_time("23:00", local.astimezone(UTC)) == local.replace(day=9, hour=23)


@pytest.mark.fault(32, "unlink, and another file in its place")
@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_database_that_is_deleted_or_replaced_is_lost_within_a_step(state: State, how: str) -> None:
    """No job begins any more; all that was written, later too, is in the copy that the next start begins with."""
    health = HistoryHealth()
    keeper = Keeper(state.history, health, DatabaseConfig(), started=0.0)
    keeper.step(1.0)
    assert (health.may_claim, health.lost) == (True, "")
    if how == "deleted":
        state.path.unlink()
    else:
        other = state.dir / "other.db"
        JobStore.open(other, "other").close()
        other.rename(state.path)
    keeper.step(4.0)
    keeper.step(7.0)
    assert not health.may_claim
    assert "deleted or replaced" in health.lost
    job = state.publish("late.wav")
    close_history(state.history, health)
    state.open()
    assert state.state(job) is JobState.DONE
    (rescued,) = Snapshots.beside(state.path).all()
    assert rescued.kind == "rescue"
    assert state.n_adopted == (0 if how == "deleted" else 1)


def test_damage_that_the_check_at_the_start_does_not_see_is_not_met_again(state: State) -> None:
    """What was found in use is set aside at the end, and the next start begins with the copy that was made then."""
    job = state.publish("one.wav")
    health = HistoryHealth()
    health.lose("database disk image is malformed")
    close_history(state.history, health)
    assert not state.path.exists()
    assert [path.name.partition("-")[0] for path in state.dir.glob("*.damaged-*")] == [f"{DATABASE_NAME}.damaged"]
    state.open()
    assert state.state(job) is JobState.DONE
    assert state.n_adopted == 0


def test_a_history_that_cannot_be_copied_because_it_is_damaged_is_lost(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damage that only the nightly copy meets ends the daemon; trouble with the room does not."""
    health = HistoryHealth()
    keeper = Keeper(state.history, health, DatabaseConfig(), started=0.0, utc=lambda: AT)
    errors: list[StorageError] = [StorageFull("no room"), StorageDamaged("it is malformed")]

    def fail() -> None:
        raise errors.pop(0)

    monkeypatch.setattr(keeper, "take_snapshot", fail)
    for now, lost in ((FIRST_SNAPSHOT_S, ""), (FIRST_SNAPSHOT_S + RETRY_SNAPSHOT_S, "it is malformed")):
        keeper.step(now)
        wait_copied(keeper)
        assert health.lost == lost


def test_a_share_that_does_not_answer_is_waited_for_once_at_a_rebuild(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many transcripts are on it: their jobs are publishing, and its thread ends them."""
    jobs = [state.publish(f"{n}.wav") for n in range(3)]
    n_asked: list[int] = []

    def silent(*_arguments: object) -> bool:
        n_asked.append(1)
        raise NoAnswer("no answer")

    monkeypatch.setattr(sidecars_module, "within", silent)
    state.lose()
    assert len(n_asked) == 1
    assert [state.state(job) for job in jobs] == [JobState.PUBLISHING] * 3
    state.settle()
    assert [state.state(job) for job in jobs] == [JobState.DONE] * 3


def test_a_disk_without_room_for_the_reserve_is_told_once(state: State, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing begins, and nobody would know why."""
    health = HistoryHealth(Reserve(state.dir / "reserve", 1 << 60))
    for _ in range(3):
        health.restock()
    assert not health.may_claim
    assert [record.__dict__["event"] for record in caplog.records] == ["reserve_missing"]


@pytest.mark.fault(18, "SQLITE_FULL with a reserve")
def test_the_reserve_is_given_free_once_and_held_again_when_there_is_room(state: State) -> None:
    """Between the two no job begins."""
    health = HistoryHealth(Reserve(state.dir / "reserve", 1 << 16))
    assert not health.may_claim  # before the first step of the keeper
    health.restock()
    assert health.may_claim
    assert health.make_room()
    assert not health.make_room()
    assert not health.may_claim
    Keeper(state.history, health, DatabaseConfig(), started=0.0).step(1.0)
    assert health.may_claim


@pytest.mark.fault(31, "each network filesystem by its name")
def test_a_state_folder_on_a_network_filesystem_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration error, with the filesystem and what to do, before any file is made."""
    found = ""

    def filesystem_of(folder: Path) -> str:
        return found

    monkeypatch.setattr(history_module, "filesystem_of", filesystem_of)
    for found in ("nfs4", "cifs", "smb3", "fuse.sshfs", "9p"):
        with pytest.raises(ConfigError, match=f"network filesystem \\({found}\\).*local disk"):
            open_history(tmp_path, "me")
    assert list(tmp_path.iterdir()) == []


def test_a_mended_history_says_so_loudly(state: State, caplog: pytest.LogCaptureFixture) -> None:
    """In the log as an alert, and as an event that the views show, with where the damaged file is."""
    state.store.close()
    state.path.write_bytes(b"rubbish" * 1000)
    state.open()
    (alert,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert alert.__dict__["event"] == "history_mended"
    connection = sqlite3.connect(state.path)
    ((detail, reason),) = connection.execute("SELECT detail, reason FROM v_events WHERE kind = 'history_mended'")
    connection.close()
    assert "no SQLite database" in reason
    assert Path(json.loads(detail)["set_aside"]).read_bytes() == b"rubbish" * 1000


def test_the_identity_of_a_history_is_that_of_its_files(state: State) -> None:
    """Of the database and its log; None where there is none."""
    assert Identity.of(state.path) == state.history.identity
    assert Identity.of(state.dir / "nothing").database is None
    assert isinstance(state.history, KeptHistory)
    assert isinstance(Output("txt", b"/a", b"/b", "0"), Output)
