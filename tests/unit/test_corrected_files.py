"""What becomes of a correction: in the history, beside the recording, after crashes, and when it is made again."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from daemon import failpoints, rewriting
from daemon.corrections import Edit, Edits
from daemon.errors import TextChanged
from daemon.outputs.kept import unpacked
from daemon.redo import Wish, redo
from daemon.versions import NotNow, NoTranscript, VersionFiles, Written
from storage.records import JobState, Outcome, Output
from storage.retention import OldJob
from storage.snapshots import Snapshots, newest_versions
from tests.world import READ_ONLY, SCAN_S, SETTLE_S, World

AT = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.start()
    yield made
    made.close()


def transcribed(world: World, name: str = "memo.wav", content: bytes = b"GOOD one") -> int:
    """The number of the done job of a new recording."""
    path = world.folder / name
    path.write_bytes(content)
    world.settle()
    job = world.store.newest(os.fsencode(path))
    assert job is not None
    assert job.state is JobState.DONE
    return job.id


def says(text: str) -> Edits:
    return Edits({0: Edit(text)})


def text_beside(world: World, name: str = "memo.txt") -> str:
    return (world.folder / name).read_text().strip()


def text_of(world: World, job_id: int) -> str:
    content = world.store.document(job_id)
    assert content is not None
    kept = unpacked(content)
    assert kept is not None
    return " ".join(line.text for line in kept.document.transcript.segments)


def look(world: World) -> None:
    """The inbox looks at its folder."""
    world.step(SCAN_S)
    world.step(SETTLE_S)


def test_a_correction_is_a_new_version_and_the_first_one_is_kept(world: World) -> None:
    """The history, its search and the files say the new text; nothing is overwritten."""
    job_id = transcribed(world)
    machine = text_of(world, job_id)
    assert world.store.versions(job_id) == []
    assert world.versions.correct(job_id, 1, says("Hello Rotterdam."), "Anna") == 2
    assert world.versions.correct(job_id, 2, says("Hello Amsterdam."), "Ben") == 3
    found = world.store.versions(job_id)
    assert [(one.number, one.author) for one in found] == [(1, ""), (2, "Anna"), (3, "Ben")]
    assert text_of(world, job_id) == "Hello Amsterdam."
    assert [hit.job_id for hit in world.store.search(["amsterdam"])] == [job_id]
    assert world.store.search([machine]) == world.store.search(["rotterdam"]) == []
    first = world.store.version(job_id, 1)
    kept = unpacked(first or b"")
    assert kept is not None
    assert kept.document.transcript.segments[0].text == machine
    look(world)
    assert text_beside(world) == "Hello Amsterdam."
    assert "Hello Amsterdam." in text_beside(world, "memo.srt")
    assert world.store.rewrites_due(os.fsencode(world.folder)) == []
    job = world.store.job(job_id)
    assert job is not None
    assert (job.state, job.n_words, len(job.outputs)) == (JobState.DONE, 2, 2)
    assert [line for line in world.broken() if not line.startswith("I5")] == []  # it has other words: a person's
    with closing(sqlite3.connect(world.state_dir / "transcribed.db")) as database:
        rows = database.execute("SELECT number, author, newest FROM v_versions ORDER BY number").fetchall()
    assert rows == [(1, "", 0), (2, "Anna", 0), (3, "Ben", 1)]


def test_who_corrects_what_somebody_else_corrected_meanwhile_is_told(world: World) -> None:
    """And nothing is lost: neither version."""
    job_id = transcribed(world)
    world.versions.correct(job_id, 1, says("Hello Rotterdam."), "Anna")
    with pytest.raises(TextChanged) as told:
        world.versions.correct(job_id, 1, says("Hello Amsterdam."), "Ben")
    assert told.value.newest == 2
    assert text_of(world, job_id) == "Hello Rotterdam."
    assert len(list((world.state_dir / "sidecars").glob("*.version"))) == 1
    assert world.versions.correct(job_id, 2, says("Hello Rotterdam."), "Ben") == 2  # nothing to change
    with pytest.raises(NoTranscript):
        world.versions.correct(999, 1, says("x"), "Ben")


def test_an_older_version_can_be_the_newest_again(world: World) -> None:
    """As a version of its own, by whoever wanted that."""
    job_id = transcribed(world)
    machine = text_of(world, job_id)
    world.versions.correct(job_id, 1, says("Nonsense."), "Anna")
    assert world.versions.restore(job_id, 2, 1, "Ben") == 3
    assert text_of(world, job_id) == machine
    assert world.store.versions(job_id)[-1].author == "Ben"


def test_a_file_that_a_person_changed_is_left_alone(world: World) -> None:
    """Its format goes to another one; the others are replaced, and it is known which was left."""
    job_id = transcribed(world)
    by_hand = world.folder / "memo.txt"
    by_hand.write_text("mine")
    world.foreign.add(by_hand)
    world.versions.correct(job_id, 1, says("Hello Rotterdam."), "Anna")
    look(world)
    assert by_hand.read_text() == "mine"
    assert text_beside(world, "memo.wav.txt") == "Hello Rotterdam."
    assert "Hello Rotterdam." in text_beside(world, "memo.srt")
    rewrite = world.store.rewrite_of(job_id)
    assert rewrite is not None
    assert (rewrite.due, rewrite.left_alone) == (None, (os.fsencode(by_hand),))
    world.versions.correct(job_id, 2, says("Hello Amsterdam."), "Anna")
    look(world)
    assert (by_hand.read_text(), text_beside(world, "memo.wav.txt")) == ("mine", "Hello Amsterdam.")
    assert sorted(path.name for path in world.folder.glob("memo*")) == [
        *("memo.srt", "memo.txt", "memo.wav", "memo.wav.txt")
    ]


def test_a_folder_that_cannot_be_written_holds_it_up(world: World) -> None:
    """It says why, and is written once that is mended; also if the service was started anew between."""
    job_id = transcribed(world)
    world.refuse_outputs(READ_ONLY)
    world.versions.correct(job_id, 1, says("Hello Rotterdam."), "Anna")
    look(world)
    rewrite = world.store.rewrite_of(job_id)
    assert rewrite is not None
    assert rewrite.due == 2
    assert "Read-only" in rewrite.reason
    world.stop()
    world.disk.refuse = lambda _call, _path: None
    world.start()
    look(world)
    assert text_beside(world) == "Hello Rotterdam."
    rewrite = world.store.rewrite_of(job_id)
    assert rewrite is not None
    assert (rewrite.due, rewrite.reason) == (None, "")


def test_a_recording_that_was_taken_away_gets_no_files(world: World) -> None:
    """Until it comes back."""
    job_id = transcribed(world)
    recording = world.folder / "memo.wav"
    away = world.folder.parent / "memo.wav"
    recording.rename(away)
    (world.folder / "memo.txt").unlink()
    world.versions.correct(job_id, 1, says("Hello Rotterdam."), "Anna")
    look(world)
    assert not (world.folder / "memo.txt").exists()
    away.rename(recording)
    look(world)
    assert text_beside(world) == "Hello Rotterdam."


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_crash_at_any_step_loses_neither_the_text_nor_a_file(tmp_path: Path, power_cut: bool) -> None:
    """Killed at every third call of the disk while it is taken and written; the next start ends it."""
    for kill_at in range(1 + power_cut, 200, 3):
        world = World(tmp_path / str(kill_at))
        try:
            world.start()
            job_id = transcribed(world)
            world.disk.kill_at = world.disk.n_calls + kill_at
            world.correct(job_id, 1, "Hello Rotterdam.")
            look(world)
            look(world)
            came_through = world.up
            if not came_through and power_cut:
                world.disk.lose_power()
            world.disk.kill_at = None
            world.settle()
            if world.store.versions(job_id):
                assert text_of(world, job_id) == "Hello Rotterdam."
            else:
                assert not came_through
            assert text_beside(world) == text_of(world, job_id)
            assert world.store.rewrites_due(os.fsencode(world.folder)) == []
            assert not list(world.folder.glob(".tr-*"))
            assert sorted(path.name for path in world.folder.glob("[!.]*")) == ["memo.srt", "memo.txt", "memo.wav"]
            assert [line for line in world.broken() if not line.startswith("I5")] == []
        finally:
            world.close()
        if came_through:
            assert kill_at > 20
            return
    pytest.fail("it never came through")


def lose_database(world: World) -> None:
    world.stop()
    for path in world.state_dir.glob("transcribed.db*"):
        path.unlink()
    world.start()


def test_a_correction_outlives_the_history(world: World) -> None:
    """Rebuilt of the sidecars, it has both versions, and takes the files for its own."""
    job_id = transcribed(world)
    machine = text_of(world, job_id)
    world.versions.correct(job_id, 1, says("Hello Rotterdam."), "Anna")
    look(world)
    lose_database(world)
    found = world.store.versions(job_id)
    assert [(one.number, one.author) for one in found] == [(1, ""), (2, "Anna")]
    first = unpacked(world.store.version(job_id, 1) or b"")
    assert first is not None
    assert first.document.transcript.segments[0].text == machine
    look(world)
    assert text_beside(world) == "Hello Rotterdam."
    assert sorted(path.name for path in world.folder.glob("memo*")) == ["memo.srt", "memo.txt", "memo.wav"]
    world.stop()
    world.start()  # and is not taken up twice
    assert len(world.store.versions(job_id)) == 2


def test_a_snapshot_that_has_a_version_makes_its_file_needless(world: World) -> None:
    """One that has it not, does not."""
    job_id = transcribed(world)
    world.versions.correct(job_id, 1, says("Hello Rotterdam."), "Anna")
    snapshot = Snapshots.beside(world.state_dir / "transcribed.db").take()
    world.versions.correct(job_id, 2, says("Hello Amsterdam."), "Anna")
    files = VersionFiles(world.state_dir / "sidecars")
    assert [path.name for path in files.all()] == [f"{job_id}-2.version", f"{job_id}-3.version"]
    assert files.drop_known(partial(newest_versions, snapshot)) == 1
    assert [path.name for path in files.all()] == [f"{job_id}-3.version"]


AS_BEFORE = Wish()


def redone(world: World, job_id: int, wish: Wish = AS_BEFORE) -> int | None:
    """The number of the job that does it again."""
    return redo(world.store, [job_id], [world.config], 3, world.at, wish)[job_id]


def test_what_a_person_corrected_is_not_made_again_unless_they_say_so(world: World) -> None:
    """Then the machine's text takes its place; the corrected one stays in the history with the earlier job."""
    job_id = transcribed(world)
    machine = text_of(world, job_id)
    world.versions.correct(job_id, 1, says("Hello Rotterdam."), "Anna")
    look(world)
    assert redone(world, job_id) is None
    again = redone(world, job_id, Wish(over_corrections=True))
    assert again is not None
    world.settle()
    assert text_of(world, again) == text_beside(world) == machine
    assert text_of(world, job_id) == "Hello Rotterdam."
    with pytest.raises(TextChanged) as told:
        world.versions.correct(job_id, 2, says("x"), "Anna")
    assert told.value.newest == 0
    assert world.versions.correct(again, 1, says("Hello Amsterdam."), "Anna") == 2


def test_a_correction_made_while_it_is_made_again_stays(world: World) -> None:
    """Whoever asked for it did not know of it."""
    job_id = transcribed(world)
    again = redone(world, job_id)
    assert again is not None
    world.step(1.0)
    world.versions.correct(job_id, 1, says("Hello Rotterdam."), "Anna")
    world.settle()
    job = world.store.job(again)
    assert job is not None
    assert (job.state, job.same_as) == (JobState.DONE, job_id)
    assert text_of(world, again) == text_beside(world) == "Hello Rotterdam."
    assert [one.author for one in world.store.versions(again)] == ["Anna"]
    assert redone(world, again) is None


def test_a_recording_that_is_only_touched_keeps_its_corrected_text(world: World) -> None:
    """Also where its options changed meanwhile, and where its files are gone."""
    job_id = transcribed(world)
    world.versions.correct(job_id, 1, says("Hello Rotterdam."), "Anna")
    look(world)
    recording = world.folder / "memo.wav"
    (world.folder / "memo.srt").unlink()
    recording.write_bytes(recording.read_bytes())
    os.utime(recording, ns=(5, 5))
    world.settle()
    newest = world.store.newest(os.fsencode(recording))
    assert newest is not None
    assert newest.id != job_id
    assert newest.outcome is Outcome.OK
    assert text_of(world, newest.id) == text_beside(world) == "Hello Rotterdam."
    assert world.engine.n_calls == 1


def test_a_recording_with_other_bytes_is_another_one(world: World) -> None:
    """The text that was corrected is that of the earlier one, and stays in the history."""
    job_id = transcribed(world)
    world.versions.correct(job_id, 1, says("Hello Rotterdam."), "Anna")
    look(world)
    other = transcribed(world, content=b"GOOD two")
    assert other != job_id
    assert "Rotterdam" not in text_beside(world)
    assert text_of(world, job_id) == "Hello Rotterdam."


def test_a_copy_of_a_recording_gets_the_corrected_text(world: World) -> None:
    """It says whose it is, as the first version of its own."""
    job_id = transcribed(world)
    world.versions.correct(job_id, 1, says("Hello Rotterdam."), "Anna")
    copy = transcribed(world, "copy.wav")
    assert text_of(world, copy) == text_beside(world, "copy.txt") == "Hello Rotterdam."
    assert [(one.number, one.author) for one in world.store.versions(copy)] == [(1, "Anna")]
    assert world.versions.correct(copy, 1, says("Hello Amsterdam."), "Ben") == 2
    look(world)
    assert (text_beside(world, "copy.txt"), text_beside(world)) == ("Hello Amsterdam.", "Hello Rotterdam.")


def test_versions_stay_as_long_as_their_job(world: World) -> None:
    """A corrected text is none that goes because newer ones are there; with its job it goes."""
    job_id = transcribed(world)
    world.versions.correct(job_id, 1, says("Hello Rotterdam."), "Anna")
    look(world)
    for _ in range(3):
        newest = world.store.newest(os.fsencode(world.folder / "memo.wav"))
        assert newest is not None
        redone(world, newest.id, Wish(over_corrections=True))
        world.settle()
    assert job_id not in world.store.old_texts(1, 0, 10)
    world.store.remove_jobs([OldJob(job_id, b"", b"", needed=True)])
    assert world.store.versions(job_id) == []
    assert world.store.rewrite_of(job_id) is None


@pytest.mark.parametrize("where", ["inbox/done", "archive"])
def test_a_recording_that_went_to_another_folder_is_written_there(tmp_path: Path, where: str) -> None:
    """In the inbox or outside of it; nothing is left where it was."""
    done = tmp_path / where
    if where == "archive":
        done.mkdir()
    world = World(tmp_path, after_success="move_both", done_folder=str(done) if where == "archive" else "done")
    try:
        world.start()
        job_id = transcribed_there(world)
        assert (done / "memo.txt").exists()
        world.versions.correct(job_id, 1, says("Hello Rotterdam."), "Anna")
        look(world)
        assert (done / "memo.txt").read_text().strip() == "Hello Rotterdam."
        assert sorted(path.name for path in done.iterdir()) == ["memo.srt", "memo.txt", "memo.wav"]
        assert not list(world.folder.glob("memo*"))
    finally:
        world.close()


def transcribed_there(world: World) -> int:
    """As `transcribed`, of a recording that goes."""
    (world.folder / "memo.wav").write_bytes(b"GOOD one")
    world.settle()
    (job,) = world.store.jobs()
    return job.id


@pytest.fixture
def at_place() -> Iterator[dict[str, Callable[[], object]]]:
    """What is to happen, once, when the work comes to a place."""
    happens: dict[str, Callable[[], object]] = {}

    def reached(place: str) -> None:
        if (happening := happens.pop(place, None)) is not None:
            happening()

    failpoints.listen(reached)
    yield happens
    failpoints.listen(None)


def test_a_correction_made_while_it_is_put_in_place_anew_stays(
    world: World, at_place: dict[str, Callable[[], object]]
) -> None:
    """Until it is certain what is put in place; from then on it is told that it is too late."""
    job_id = transcribed(world)
    again = redone(world, job_id)
    assert again is not None

    def too_late() -> None:
        with pytest.raises(NotNow):
            world.versions.correct(job_id, 2, says("Hello Amsterdam."), "Ben")

    at_place["publish.staged"] = lambda: world.versions.correct(job_id, 1, says("Hello Rotterdam."), "Anna")
    at_place["publish.intended"] = too_late
    world.settle()
    assert not at_place
    assert text_of(world, again) == text_beside(world) == "Hello Rotterdam."
    assert [one.author for one in world.store.versions(again)] == ["Anna"]
    assert [path.name for path in (world.state_dir / "sidecars").glob("*.version")] == [f"{job_id}-2.version"]
    assert not list(world.folder.glob(".tr-*"))


def test_a_text_that_was_made_again_meanwhile_is_not_overwritten(
    world: World, at_place: dict[str, Callable[[], object]]
) -> None:
    """Where the share hung so long that a later job put its own in place."""
    job_id = transcribed(world)
    machine = text_of(world, job_id)
    world.versions.correct(job_id, 1, says("Hello Rotterdam."), "Anna")

    def overtaken() -> None:
        assert redone(world, job_id, Wish(over_corrections=True)) is not None
        world.work()

    at_place["rewrite.staged"] = overtaken
    look(world)
    world.settle()
    assert not at_place
    assert text_beside(world) == machine
    assert not list(world.folder.glob(".tr-*"))


def test_a_correction_outlives_the_history_of_a_recording_that_went_elsewhere(tmp_path: Path) -> None:
    """What is known of it followed; its files are still ours."""
    world = World(tmp_path, after_success="move_both", done_folder="done")
    try:
        world.start()
        job_id = transcribed_there(world)
        for n, name in enumerate(("Rotterdam", "Amsterdam"), start=1):
            world.versions.correct(job_id, n, says(f"Hello {name}."), "Anna")
        look(world)
        lose_database(world)
        look(world)
        (job,) = world.store.jobs()
        assert [one.author for one in world.store.versions(job.id)] == ["", "Anna", "Anna"]
        done = tmp_path / "inbox" / "done"
        assert (done / "memo.txt").read_text().strip() == "Hello Amsterdam."
        assert sorted(path.name for path in done.iterdir()) == ["memo.srt", "memo.txt", "memo.wav"]
    finally:
        world.close()


def test_files_of_versions_follow_a_recording(tmp_path: Path) -> None:
    """Those of other jobs are left as they are."""
    files = VersionFiles(tmp_path)
    output = Output("txt", b"/in/a.txt", b"/in/.tr-1.part", "0" * 64)
    for job_id in (7, 8):
        files.save(Written(job_id, 2, b"/in/a.wav", "5" * 64, AT, "Anna", 1, b"text", (output,)))
    files.relocate(7, {b"/in/a.wav": b"/in/done/a.wav", b"/in/a.txt": b"/in/done/a.txt"})
    moved, other = (files.load(path) for path in files.all())
    assert (moved.path, moved.outputs[0].path) == (b"/in/done/a.wav", b"/in/done/a.txt")
    assert (other.path, other.outputs[0].path) == (b"/in/a.wav", b"/in/a.txt")


def test_an_old_correction_is_not_taken_for_one_of_a_later_text(world: World) -> None:
    """Somebody had it made again over the correction; that one's file outlived its job."""
    job_id = transcribed(world)
    machine = text_of(world, job_id)
    world.versions.correct(job_id, 1, says("Hello Rotterdam."), "Anna")
    look(world)
    again = redone(world, job_id, Wish(over_corrections=True))
    assert again is not None
    world.settle()
    (world.state_dir / "sidecars" / f"{job_id}.json").unlink()
    world.store.remove_jobs([OldJob(job_id, b"", b"", needed=True)])
    world.stop()
    world.start()
    look(world)
    assert text_of(world, again) == text_beside(world) == machine


def test_a_text_that_cannot_be_written_keeps_nobody_from_work(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, and the inbox goes on."""
    job_id = transcribed(world)
    world.versions.correct(job_id, 1, says("Hello Rotterdam."), "Anna")

    def fails(_document: object) -> dict[str, bytes]:
        raise ValueError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(rewriting, "contents_of", fails)
        look(world)
        transcribed(world, "next.wav", b"GOOD two")
    rewrite = world.store.rewrite_of(job_id)
    assert rewrite is not None
    assert (rewrite.due, "a bug" in rewrite.reason) == (2, True)
    look(world)
    assert text_beside(world) == "Hello Rotterdam."


def test_names_that_are_no_text_are_corrected_as_others(world: World) -> None:
    """The name of a file is bytes."""
    path = os.path.join(os.fsencode(world.folder), b"m\xe9mo \xff.wav")
    with open(path, "wb") as file:
        file.write(b"GOOD one")
    world.settle()
    (job,) = world.store.jobs()
    by_hand = os.path.join(os.fsencode(world.folder), b"m\xe9mo \xff.txt")
    with open(by_hand, "wb") as file:
        file.write(b"mine")
    world.foreign.add(Path(os.fsdecode(by_hand)))
    world.versions.correct(job.id, 1, says("Hello \ud800\x00\u202eRotterdam."), "A\udcff\x07")
    look(world)
    rewrite = world.store.rewrite_of(job.id)
    assert rewrite is not None
    assert (rewrite.due, rewrite.left_alone) == (None, (by_hand,))
    lose_database(world)
    assert world.store.versions(job.id)[-1].author == "A\ufffd"
    assert text_of(world, job.id) == "Hello \ufffdRotterdam."
