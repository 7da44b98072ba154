"""What becomes of recordings after their success."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from daemon import doctor
from daemon.after import carrying
from daemon.after.carrying import Errand, Gone, Place, carry, new_temporary
from daemon.after.names import goes, numbered, place_of
from daemon.after.plan import Item, planned, unpacked
from daemon.config.schema import Config, InboxConfig
from daemon.folderpage.gathering import Live, Seen, gather
from daemon.intake.explain import explain
from daemon.redo import Wish, redo
from daemon.retention import Presence
from storage.records import Fingerprint, Job, MoveState, NewJob, Outcome
from storage.retention import OldJob
from tests.world import Fate, World

MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[MakeWorld]:
    """Makes a world whose recordings go, with their transcripts."""
    made: list[World] = []

    def make(**settings: Any) -> World:
        made.append(World(tmp_path, **{"after_success": "move_both"} | settings))
        return made[-1]

    yield make
    for world in made:
        world.close()


def drop(world: World, name: str = "a.wav", fate: Fate = Fate.GOOD, more: bytes = b"") -> Path:
    path = world.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(fate.value + name.encode() + more)
    return path


def names(folder: Path) -> list[str]:
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return sorted(str(path) for path in found if not path.name.startswith((".transcribed", "_transcribed")))


def newest(world: World, path: Path) -> Job:
    job = world.store.newest(os.fsencode(path))
    assert job is not None
    return job


def test_of_a_group_of_names_all_get_the_number() -> None:
    """Whoever looks for the transcript by the name of the recording still finds it, however long the names are."""
    assert numbered([b"talk.mp3", b"talk.en.srt", b"talk.mp3.txt"], 2) == [
        b"talk (2).mp3",
        b"talk (2).en.srt",
        b"talk (2).mp3.txt",
    ]
    assert numbered([b"talk.mp3", b"other~12345678.txt"], 3)[1] == b"other~12345678 (3).txt"
    long = "ü".encode() * 125 + b".mp3"
    (cut,) = numbered([long], 10)
    assert len(cut) <= 255
    assert cut.decode().endswith("ü (10).mp3")


def test_a_place_in_the_folder_is_that_in_the_inbox() -> None:
    """The folder has the tree of the inbox."""
    assert place_of(b"/in/a/b.wav", b"/in", b"/in/done") == b"/in/done/a/b.wav"


@pytest.mark.parametrize(
    ("path", "outcome", "expected"),
    [
        (b"/in/a.wav", Outcome.OK, True),
        (b"/in/a.wav", Outcome.NO_SPEECH, True),
        (b"/in/a.wav", Outcome.DUPLICATE, True),
        (b"/in/a.wav", Outcome.PARTIAL, False),
        (b"/in/done/a.wav", Outcome.OK, False),
    ],
)
def test_only_success_goes_and_only_once(path: bytes, outcome: Outcome, expected: bool) -> None:
    """A partial one stays where people see it; what is there stays there."""
    config = InboxConfig.model_validate({"path": "/in", "after_success": "move_recording"})
    assert goes([config], path, b"/in", outcome) is expected
    assert not goes([InboxConfig.model_validate({"path": "/in"})], path, b"/in", outcome)


def test_a_plan_is_read_as_it_was_written() -> None:
    """With any bytes in its paths."""
    plan = planned(
        (Item(b"/in/\xff.wav", b"/in/\xff.wav", b"", b"", Fingerprint(1, 2, 3, 4, 5)),), b"/in/done", 2, b"/in"
    )
    assert unpacked(plan.packed()) == plan
    assert plan.recording.target == b"/in/done/\xff (2).wav"


@pytest.mark.parametrize("folder", ["..", ".", "a/../b", "", "~/x", "/in", "/"])
def test_a_folder_that_cannot_be_meant_is_refused(folder: str) -> None:
    """Neither the inbox nor anything above it."""
    with pytest.raises(ValidationError):
        InboxConfig.model_validate({"path": "/in", "after_success": "move_both", "done_folder": folder})


@pytest.mark.parametrize("folder", ["/other", "/other/done", "/state", "/state/done"])
def test_what_is_done_goes_neither_to_another_inbox_nor_to_the_state_folder(folder: str) -> None:
    """It would come in again, or lie among files that come and go."""
    inboxes = [{"path": "/in", "after_success": "move_both", "done_folder": folder}, {"path": "/other"}]
    with pytest.raises(ValidationError, match="done_folder"):
        Config.model_validate({"state_dir": "/state", "inbox": inboxes})


def test_only_the_recording_goes_where_that_is_asked_for(make_world: MakeWorld) -> None:
    """The transcripts stay; the next recording of the name overwrites none of them."""
    world = make_world(after_success="move_recording")
    drop(world)
    world.start()
    world.settle()
    assert names(world.folder) == ["a.srt", "a.txt", "done/a.wav"]
    before = (world.folder / "a.txt").read_bytes()
    drop(world, more=b"another")
    world.settle()
    assert names(world.folder) == ["a.srt", "a.txt", "a.wav.srt", "a.wav.txt", "done/a (2).wav", "done/a.wav"]
    assert (world.folder / "a.txt").read_bytes() == before
    assert world.broken() == []


def test_transcripts_that_a_person_changed_go_as_they_are(make_world: MakeWorld) -> None:
    """And what they took away is no hindrance."""
    world = make_world()
    drop(world)
    world.start()
    (world.folder / "done").write_text("in the way")
    world.settle(3)
    (world.folder / "a.txt").write_text("corrected")
    (world.folder / "a.srt").unlink()
    (world.folder / "done").unlink()
    world.settle()
    assert names(world.folder) == ["done/a.txt", "done/a.wav"]
    assert (world.folder / "done/a.txt").read_text() == "corrected"


def test_what_comes_to_the_old_place_meanwhile_is_another_recording(make_world: MakeWorld) -> None:
    """Its job is not taken along with the one that goes."""
    world = make_world()
    path = drop(world)
    world.start()

    def intrude(call: str, _path: str) -> None:
        if call == "move.carried":
            world.disk.working = False
            drop(world, more=b"another")
            world.store.enqueue([_job_for(world, path)], world.at)
            world.disk.working = True
            world.disk.refuse = lambda _call, _path: None

    world.disk.refuse = intrude
    for _ in range(8):
        world.step(2.0)
        world.work()
    world.settle()
    moved = [world.store.jobs(path=os.fsencode(world.folder / "done" / name)) for name in ("a.wav", "a (2).wav")]
    assert [[job.id for job in jobs] for jobs in moved] == [[1], [2]]
    assert world.broken() == []


def _job_for(world: World, path: Path) -> NewJob:
    fingerprint = Fingerprint.of(path.lstat())
    options = world.config.job_options()
    return NewJob(os.fsencode(path), world.inbox.path, fingerprint, options.to_dict(), options.digest())


def test_a_recording_that_changed_since_stays(make_world: MakeWorld) -> None:
    """What lies there now was not transcribed; it gets its own job and then goes."""
    world = make_world()
    path = drop(world)
    world.start()
    (world.folder / "done").write_text("in the way")  # so that it waits
    world.settle(3)
    job = newest(world, path)
    move = world.store.move_of(job.id)
    assert move is not None
    assert (move.state, "is a link or a file" in move.reason) == (MoveState.BEGUN, True)
    (world.folder / "done").unlink()
    path.write_bytes(Fate.GOOD.value + b"something else")
    world.settle()
    later = world.store.move_of(job.id)
    assert later is not None
    assert later.state is MoveState.GIVEN_UP
    assert (world.folder / "done/a.wav").read_bytes() == Fate.GOOD.value + b"something else"


def test_a_link_in_the_place_of_the_folder_leads_nowhere(make_world: MakeWorld, tmp_path: Path) -> None:
    """Whoever can write to the share cannot let us put files elsewhere."""
    world = make_world()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (world.folder / "done").symlink_to(elsewhere)
    drop(world)
    world.start()
    world.settle()
    assert list(elsewhere.iterdir()) == []
    assert names(world.folder) == ["a.srt", "a.txt", "a.wav"]


def test_a_name_that_is_taken_on_the_way_is_another_for_all(make_world: MakeWorld) -> None:
    """Also for what had gone already by then."""
    world = make_world()
    drop(world)
    world.start()

    def intrude(call: str, _path: str) -> None:
        if call == "move.carried":
            (world.folder / "done/a.srt").write_text("not ours")
            world.foreign.add(world.folder / "done/a.srt")
            world.disk.refuse = lambda _call, _path: None

    world.disk.refuse = intrude
    for _ in range(8):
        world.step(2.0)
        world.work()
    world.settle()
    assert names(world.folder) == ["done/a (2).srt", "done/a (2).txt", "done/a (2).wav", "done/a.srt"]
    assert (world.folder / "done/a.srt").read_text() == "not ours"
    assert world.broken() == []


def test_a_folder_elsewhere_must_be_there(make_world: MakeWorld, tmp_path: Path) -> None:
    """It is never made; an empty one where recordings had gone is a disk that is not mounted."""
    archive = tmp_path / "archive"
    world = make_world(done_folder=str(archive))
    drop(world)
    world.start()
    world.settle()
    assert names(world.folder) == ["a.srt", "a.txt", "a.wav"]
    archive.mkdir()
    world.settle()
    assert names(archive) == ["a.srt", "a.txt", "a.wav"]
    os.rename(archive, tmp_path / "unmounted")
    archive.mkdir()
    drop(world, "b.wav")
    world.settle()
    assert names(world.folder) == ["b.srt", "b.txt", "b.wav"]
    assert names(archive) == []


def test_one_that_went_is_not_gone(make_world: MakeWorld, tmp_path: Path) -> None:
    """For retention it is where it went; a folder elsewhere may be away, so nothing in it counts as gone."""
    world = make_world()
    drop(world)
    world.start()
    world.settle()
    job = newest(world, world.folder / "done/a.wav")
    assert not Presence().gone(OldJob(job.id, job.path, job.inbox, needed=True))
    elsewhere = os.fsencode(tmp_path / "archive/a.wav")
    assert not Presence().gone(OldJob(job.id, elsewhere, job.inbox, needed=True))
    (world.folder / "done/a.wav").unlink()
    assert Presence().gone(OldJob(job.id, job.path, job.inbox, needed=True))


def test_one_that_went_can_be_asked_for_again(make_world: MakeWorld) -> None:
    """It is transcribed where it is, in place of its transcripts there, and stays."""
    world = make_world()
    drop(world)
    world.start()
    world.settle()
    job = newest(world, world.folder / "done/a.wav")
    (made,) = redo(world.store, [job.id], [world.config], 3, datetime.now(UTC), Wish()).values()
    assert made is not None
    world.settle()
    assert names(world.folder) == ["done/a.srt", "done/a.txt", "done/a.wav"]
    again = world.store.job(made)
    assert again is not None
    assert again.outcome is Outcome.OK
    assert world.store.move_of(made) is None


def test_the_history_that_is_rebuilt_knows_where_it_went(make_world: MakeWorld) -> None:
    """Its sidecar went along: nothing is transcribed again, nothing vanished."""
    world = make_world()
    drop(world)
    world.start()
    world.settle()
    world.stop()
    for path in world.state_dir.glob("transcribed.db*"):
        path.unlink()
    shutil.rmtree(world.state_dir / "snapshots", ignore_errors=True)
    n_calls = world.engine.n_calls
    world.start()
    world.settle()
    assert newest(world, world.folder / "done/a.wav").outcome is Outcome.OK
    assert [job.state for job in world.store.jobs()] == ["done"]
    assert world.engine.n_calls == n_calls


def test_the_questions_of_people_are_answered(make_world: MakeWorld) -> None:
    """Where it went, why what is there is left alone, and the page of the folder still names it."""
    world = make_world()
    path = drop(world)
    world.start()
    world.settle()
    target = world.folder / "done/a.wav"
    told = explain(path, [world.config], world.store, lambda _path: None)
    assert str(target) in told.rule
    there = explain(target, [world.config], world.store, lambda _path: None)
    assert there.rule.startswith("done: ")
    assert there.job_id == told.job_id
    seen = Seen({}, done_folder=os.fsencode(world.folder / "done"))
    state = gather(world.store, os.fsencode(world.folder), seen, Live(), ())
    assert [one.place for one in state.done] == [b"done/a.wav"]


def test_a_file_of_the_same_name_after_years_joins_the_one_that_was_there(make_world: MakeWorld) -> None:
    """A path in the folder from which people took the recording away is one path in the history."""
    world = make_world()
    drop(world)
    world.start()
    world.settle()
    for path in (world.folder / "done").iterdir():
        path.unlink()
    world.at += timedelta(days=800)
    drop(world, more=b"new")
    world.settle()
    assert names(world.folder) == ["done/a.srt", "done/a.txt", "done/a.wav"]
    jobs = world.store.jobs(path=os.fsencode(world.folder / "done/a.wav"))
    assert [job.state for job in jobs] == ["done", "done"]
    assert world.broken() == []


@pytest.mark.parametrize(
    ("folder", "made", "grade"), [("done", False, "ok"), ("archive", False, "bad"), ("archive", True, "ok")]
)
def test_the_doctor_looks_at_the_folder(tmp_path: Path, folder: str, made: bool, grade: str) -> None:
    """One in the inbox is made when it is needed, one elsewhere must be there."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    done = inbox / folder if folder == "done" else tmp_path / folder
    if made:
        done.mkdir()
    settings = {"path": inbox, "after_success": "move_both", "done_folder": str(done)}
    config = Config.model_validate({"state_dir": tmp_path / "state", "inbox": [settings]})
    (check,) = (check for check in doctor._inboxes(config) if check.name.startswith("done"))  # pyright: ignore[reportPrivateUsage]
    assert check.grade.value == grade


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no other filesystem at hand")
def test_on_another_disk_there_is_the_same_file(make_world: MakeWorld) -> None:
    """With its time, its mode and its attributes; the original is gone only then."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as archive:
        world = make_world(done_folder=archive)
        path = drop(world, "sub/a.wav", more=bytes(3_000_000))
        if path.stat().st_dev == Path(archive).stat().st_dev:
            pytest.skip("they are on one filesystem")
        path.chmod(0o640)
        path.parent.chmod(0o750)
        before, content = path.stat(), path.read_bytes()
        world.start()
        world.settle()
        target = Path(archive, "sub/a.wav")
        after = target.stat()
        assert target.read_bytes() == content
        assert (after.st_mtime_ns, after.st_mode, after.st_uid) == (before.st_mtime_ns, before.st_mode, before.st_uid)
        assert target.parent.stat().st_mode == path.parent.stat().st_mode
        assert names(world.folder) == []
        assert sorted(os.listdir(target.parent)) == ["a.srt", "a.txt", "a.wav"]
        job = newest(world, target)
        assert job.fingerprint == Fingerprint.of(target.lstat())


def test_a_folder_that_is_away_is_waited_for(make_world: MakeWorld, tmp_path: Path) -> None:
    """While the inbox is not there nothing goes, and nothing counts as gone; then it goes on."""
    world = make_world()
    drop(world)
    world.start()
    (world.folder / "done").write_text("in the way")
    world.settle(3)
    (world.folder / "done").unlink()
    os.rename(world.folder, tmp_path / "away")
    world.folder.mkdir()
    for _ in range(5):
        world.step(60.0)
    job = newest(world, world.folder / "a.wav")
    move = world.store.move_of(job.id)
    assert move is not None
    assert move.state is MoveState.BEGUN
    world.folder.rmdir()
    os.rename(tmp_path / "away", world.folder)
    world.settle()
    assert names(world.folder) == ["done/a.srt", "done/a.txt", "done/a.wav"]


def test_what_is_under_way_goes_where_it_was_to_go(make_world: MakeWorld, tmp_path: Path) -> None:
    """Though the configuration names another folder by now: part of it may be there."""
    world = make_world()
    drop(world, "sub/a.wav")
    world.start()
    (world.folder / "done").write_text("in the way")
    world.settle(3)
    move = world.store.move_of(newest(world, world.folder / "sub/a.wav").id)
    assert move is not None
    assert move.state is MoveState.BEGUN
    (world.folder / "done").unlink()
    (tmp_path / "archive").mkdir()
    world.config = world.config.model_copy(update={"done_folder": str(tmp_path / "archive")})
    world.stop()
    world.start()
    world.settle()
    assert names(world.folder) == ["done/sub/a.srt", "done/sub/a.txt", "done/sub/a.wav"]
    assert names(tmp_path / "archive") == []


def test_what_can_never_leave_is_not_copied_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that may not be written, and an archive on another disk."""
    _on_another_disk(monkeypatch)
    errand = _errand(tmp_path)

    def refuse(*_args: object, **_named: object) -> bool:
        return False

    monkeypatch.setattr(os, "access", refuse)  # root may write everywhere
    with pytest.raises(PermissionError):
        carry(errand, resumed=False)
    assert os.listdir(tmp_path / "out") == []


def test_a_disk_may_keep_times_less_exactly(tmp_path: Path) -> None:
    """A crash after the original went and before that was written down: what is there is the recording."""
    errand = _errand(tmp_path)
    carry(errand, resumed=False)
    os.utime(errand.target.path, ns=(0, 1_699_999_998_000_000_000))
    carry(errand, resumed=True)
    os.utime(errand.target.path, ns=(0, 1_600_000_000_000_000_000))
    with pytest.raises(Gone):
        carry(errand, resumed=True)


def test_a_job_whose_recording_is_under_way_stays_in_the_history(make_world: MakeWorld) -> None:
    """However old it is: its plan is with it."""
    world = make_world()
    path = drop(world)
    world.start()
    (world.folder / "done").write_text("in the way")
    world.settle(3)
    job = newest(world, path)
    later = datetime.now(UTC) + timedelta(days=9000)
    assert world.store.old_jobs(later, 0, 10) == []
    (world.folder / "done").unlink()
    world.settle()
    assert [old.job_id for old in world.store.old_jobs(later, 0, 10)] == [job.id]


def _errand(folder: Path) -> Errand:
    """A recording of 2023 in one folder that goes to another one."""
    for name in ("in", "out"):
        (folder / name).mkdir()
    path = folder / "in/a.wav"
    path.write_bytes(b"sound")
    os.utime(path, ns=(0, 1_700_000_000_123_456_789 - 10**9))
    source = Place(os.fsencode(folder / "in"), os.fsencode(path))
    target = Place(os.fsencode(folder / "out"), os.fsencode(folder / "out/a.wav"))
    return Errand(source, target, new_temporary(), Fingerprint.of(path.lstat()))


def _on_another_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_old: tuple[int, bytes], _new: tuple[int, bytes]) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(carrying, "_rename_over_nothing", refuse)
