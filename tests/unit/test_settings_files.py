"""Settings dropped into folders of a real inbox with a real history: what the next job is made with, and the answer.

The time is a number that each test moves on, as in test_intake_inbox.py.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.clock import utc_now
from daemon.intake import settings_files
from daemon.intake.folder_settings import Said
from daemon.intake.scanner import scan
from daemon.intake.settings_files import read_settings
from daemon.intake.settings_mistakes import NOTE_NAME, Mistaken
from daemon.outputs.notes import write_note
from daemon.redo import redo
from storage.records import Fingerprint, Job, JobState
from tests.unit.test_intake_inbox import SCAN_S, Driven

MISTAKE = 'langauge = "de"\n'


class Folders(Driven):
    """An inbox with folders, and what people put there."""

    def folder_of(self, name: str) -> Path:
        """A folder of the inbox, made if it is not there."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def say(self, text: str, name: str = "anna") -> Path:
        """Put settings into a folder, as an editor does that writes in place."""
        path = self.folder_of(name) / "transcribed.toml"
        path.write_text(text, encoding="utf-8")
        return path

    def drop(self, name: str) -> bytes:
        """A new recording, complete at once."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 100)
        return os.fsencode(path)

    def job_of(self, name: str) -> Job:
        """The newest job of a recording, made by now."""
        path = self.drop(name) if not (self.folder / name).exists() else os.fsencode(self.folder / name)
        self.pass_time()
        job = self.store.newest(path)
        assert job is not None
        return job

    def language_of(self, name: str) -> object:
        """What the newest job of a recording has for its language."""
        return self.job_of(name).options["language"]

    def note(self, name: str = "anna") -> str | None:
        """What is told beside the settings of a folder."""
        path = self.folder / name / NOTE_NAME
        return path.read_text(encoding="utf-8") if path.exists() else None

    def scan(self) -> None:
        """One scan, whatever the time."""
        self.inbox.scan_now()
        self.step(SCAN_S)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Folders]]:
    made: list[Folders] = []

    def make(**settings: Any) -> Folders:
        made.append(Folders(tmp_path, **settings))
        return made[-1]

    yield make
    for folders in made:
        folders.end()


@pytest.fixture
def folders(make: Callable[..., Folders]) -> Folders:
    return make()


def test_a_changed_file_counts_for_the_next_recording_and_for_no_job_before(folders: Folders) -> None:
    """Neither for one that runs, nor for one that waits for its turn; within one scan, without a restart."""
    folders.say('language = "de"')
    running = folders.job_of("anna/1.wav")
    claimed = folders.claim()
    assert (claimed.id, claimed.options["language"]) == (running.id, "de")
    queued = folders.job_of("anna/2.wav")
    folders.say('language = "fr"')
    folders.scan()
    third = folders.job_of("anna/3.wav")
    assert third.options["language"] == "fr"
    for before in (running, queued):
        now = folders.store.job(before.id)
        assert now is not None
        assert (now.options, now.options_digest, now.origins) == (before.options, before.options_digest, before.origins)
    assert third.origins == {"language": str(folders.folder / "anna/transcribed.toml")}
    assert folders.language_of("ben/1.wav") is None


def test_settings_that_come_with_their_recordings_count_for_them(folders: Folders) -> None:
    """A whole folder is copied in at once."""
    folders.say('language = "de"', "new/deep")
    assert folders.language_of("new/deep/1.wav") == "de"
    assert folders.language_of("new/2.wav") is None


def test_a_deleted_file_counts_no_more(folders: Folders) -> None:
    """What is above it counts again, also after a restart; its note goes with it."""
    folders.say('language = "de"', ".")
    path = folders.say('language = "fr"')
    assert folders.language_of("anna/1.wav") == "fr"
    path.write_text(MISTAKE)
    folders.pass_time()
    assert folders.note() is not None
    path.unlink()
    folders.scan()
    assert folders.note() is None
    folders.restart()
    assert folders.language_of("anna/2.wav") == "de"
    assert set(folders.store.folder_settings(folders.inbox.path)) == {folders.inbox.path}


def test_a_mistake_is_answered_beside_it_and_what_was_said_before_stays(
    folders: Folders, caplog: pytest.LogCaptureFixture
) -> None:
    """Told once in the log; the note goes when it is mended, and what is new counts."""
    path = folders.say('language = "de"')
    assert folders.language_of("anna/1.wav") == "de"
    path.write_text(MISTAKE + 'task = "translate"')
    with caplog.at_level(logging.WARNING):
        job = folders.job_of("anna/2.wav")
        folders.pass_time(60)
    assert (job.options["language"], job.options["task"]) == ("de", "transcribe")
    note = folders.note()
    assert note is not None
    assert 'Line 1: langauge = "de": there is no such setting; is language meant?' in note
    assert "what the file said before still counts" in note
    assert len(caplog.records) == 1
    assert folders.states() == ["queued", "queued"]
    path.write_text('language = "fr"')
    folders.scan()
    assert folders.note() is None
    assert folders.language_of("anna/3.wav") == "fr"


def test_a_mistake_is_told_in_the_language_of_the_inbox(make: Callable[..., Folders]) -> None:
    """As everything else that people see in the folder."""
    folders = make(messages="de")
    folders.say(MISTAKE)
    folders.pass_time()
    assert [mistake.place for mistake in folders.inbox.mistakes[folders.inbox.path + b"/anna"]] == ['langauge = "de"']
    note = folders.note()
    assert note is not None
    assert note.startswith("Diese Datei ist vom Abschreibedienst, ")
    assert 'Zeile 1: langauge = "de": Diese Einstellung gibt es nicht; ist language gemeint?' in note


def test_another_mistake_is_another_note(folders: Folders) -> None:
    """The old one does not stay; a third look changes nothing."""
    path = folders.say(MISTAKE)
    folders.pass_time()
    assert "langauge" in (folders.note() or "")
    path.write_text("beam_size = 20")
    folders.pass_time()
    assert "langauge" not in (folders.note() or "langauge")
    before = (folders.folder / "anna" / NOTE_NAME).stat().st_mtime_ns
    folders.pass_time(60)
    assert (folders.folder / "anna" / NOTE_NAME).stat().st_mtime_ns == before


def test_a_file_that_is_being_written_is_no_mistake(folders: Folders) -> None:
    """Half of one, or an empty one, counts only once it has stayed so for a scan; nothing is told of it before."""
    path = folders.say('language = "de"')
    folders.scan()
    for half in ("", "langu", 'language = "f'):
        path.write_text(half)
        folders.scan()
        assert folders.note() is None
    path.write_text('language = "fr"')
    assert folders.language_of("anna/1.wav") == "fr"
    path.write_text("")
    assert folders.language_of("anna/2.wav") is None


def test_what_was_good_outlives_the_daemon(folders: Folders) -> None:
    """The file was spoilt while nobody looked: what it said at the last scan still counts, and it is told."""
    path = folders.say('language = "de"')
    folders.scan()
    folders.end()
    path.write_text(MISTAKE)
    folders.begin("second")
    assert folders.language_of("anna/1.wav") == "de"
    assert folders.note() is not None
    folders.restart()
    path.write_text('language = "fr"')
    assert folders.language_of("anna/2.wav") == "fr"
    assert folders.note() is None


def test_a_note_of_a_file_that_was_removed_meanwhile_goes(folders: Folders) -> None:
    """Nothing but the note itself remembers it."""
    path = folders.say(MISTAKE)
    folders.pass_time()
    folders.end()
    path.unlink()
    folders.begin("second")
    folders.scan()
    assert folders.note() is None


def test_a_folder_that_is_moved_takes_its_settings_along(folders: Folders) -> None:
    """With a mistake in it, what it said before, too; where it was, they count no more."""
    path = folders.say('language = "de"')
    folders.scan()
    path.write_text(MISTAKE)
    folders.pass_time()
    (folders.folder / "anna").rename(folders.folder / "berta")
    folders.folder_of("anna")
    folders.scan()
    assert folders.language_of("berta/1.wav") == "de"
    assert folders.note("berta") is not None
    assert folders.language_of("anna/1.wav") is None


@pytest.mark.parametrize("ours", [False, True], ids=["theirs", "ours, edited"])
def test_a_file_of_somebody_else_is_never_touched(
    folders: Folders, ours: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Under the name of the note: neither written over nor removed; the log says so."""
    path = folders.say(MISTAKE)
    if ours:
        folders.pass_time()
    note = folders.folder_of("anna") / NOTE_NAME
    theirs = (note.read_text() if ours else "") + "my own words"
    note.write_text(theirs)
    path.write_text("another = 1")
    folders.pass_time()
    assert note.read_text() == theirs
    assert "a file that is not ours is in the way" in caplog.text
    path.write_text("")
    folders.pass_time(30)
    assert note.read_text() == theirs


def test_a_note_that_a_person_removed_does_not_come_back(folders: Folders) -> None:
    """They have read it; another mistake is another matter."""
    path = folders.say(MISTAKE)
    folders.pass_time()
    (folders.folder / "anna" / NOTE_NAME).unlink()
    folders.pass_time(30)
    assert folders.note() is None
    path.write_text("again = 1")
    folders.pass_time()
    assert folders.note() is not None


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "large", "not text"])
def test_what_is_no_plain_small_file_is_refused(folders: Folders, tmp_path: Path, kind: str) -> None:
    """Nothing outside of the inbox is read through a link, and nothing of it is told; a pipe holds nobody up."""
    secret = tmp_path / "secret.toml"
    secret.write_text('language = "de"\npassword = "hunter2"')
    path = folders.folder_of("anna") / "transcribed.toml"
    match kind:
        case "link":
            path.symlink_to(secret)
        case "dangling":
            path.symlink_to(tmp_path / "nothing")
        case "pipe":
            os.mkfifo(path)
        case "large":
            path.write_text("# " + "x" * 17_000)
        case _:
            path.write_bytes(b"\xff\xfe\x00")
    assert folders.language_of("anna/1.wav") is None
    note = folders.note()
    assert note is not None
    assert "hunter2" not in note


def test_a_folder_that_becomes_a_link_after_the_scan_leads_nowhere(folders: Folders, tmp_path: Path) -> None:
    """What is read is the very file that the scan saw, or nothing; no note is left elsewhere."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "transcribed.toml").write_text("secret = 'hunter2'")
    folders.say(MISTAKE)
    found = scan(folders.inbox.path, recursive=True)
    (folders.folder / "anna").rename(tmp_path / "gone")
    (folders.folder / "anna").symlink_to(outside)
    files = settings_files.SettingsFiles(folders.config, folders.store)
    for _ in range(3):
        files.update(found, lambda: None)
    assert os.listdir(outside) == ["transcribed.toml"]
    anna = os.fsencode(folders.folder / "anna")
    assert read_settings(folders.inbox.path, anna) is None
    (folders.folder / "anna").unlink()
    folders.say("replaced = 1")
    assert read_settings(folders.inbox.path, anna, found.settings[anna]) is None
    assert isinstance(read_settings(folders.inbox.path, anna), Said)


def test_a_file_that_may_not_be_read_is_told(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as that is its own fault; a share in trouble is none, and is asked again."""
    folders.say('language = "de"')
    folders.scan()
    numbers = [5, 13]

    def refuse(*_: object, **__: object) -> int:
        raise OSError(numbers[0], os.strerror(numbers[0]))

    with monkeypatch.context() as patch:
        patch.setattr(settings_files, "_content", refuse)
        folders.say('language = "fr"')
        for number in (5, 116):
            numbers[0] = number
            folders.pass_time()
            assert folders.note() is None
        assert folders.language_of("anna/1.wav") == "de"
        numbers[0] = 13
        folders.say('language = "es"')
        folders.pass_time()
        assert "may not read the file" in (folders.note() or "")
    folders.say('language = "it"')
    assert folders.language_of("anna/2.wav") == "it"
    assert folders.note() is None


def test_a_folder_that_takes_no_note_is_told_once_and_tried_again(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A read-only share is no trouble for anything else; when it can be written, the note is there."""

    def refuse(*_: object) -> bool:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(settings_files, "write_note", refuse)
        folders.say(MISTAKE)
        folders.job_of("anna/1.wav")
        folders.pass_time(60)
    assert len([record for record in caplog.records if "Read-only" in record.getMessage()]) == 1
    assert folders.note() is None
    folders.pass_time()
    assert folders.note() is not None


def test_files_are_read_and_answered_inside_a_touch_of_the_share(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a share that hangs there is seen to be silent, and nothing waits for it."""
    seen: list[bool] = []
    real_read, real_write = settings_files.read_settings, write_note

    def read(*arguments: Any) -> Said | Mistaken | None:
        seen.append(bool(folders.share._touches))  # pyright: ignore[reportPrivateUsage]  # what Shares looks at
        return real_read(*arguments)

    def write(*arguments: Any) -> bool:
        seen.append(bool(folders.share._touches))  # pyright: ignore[reportPrivateUsage]  # what Shares looks at
        return real_write(*arguments)

    monkeypatch.setattr(settings_files, "read_settings", read)
    monkeypatch.setattr(settings_files, "write_note", write)
    folders.say(MISTAKE)
    folders.pass_time()
    assert len(seen) == 2
    assert all(seen)


def test_a_folder_that_cannot_be_looked_at_keeps_its_settings(folders: Folders, tmp_path: Path) -> None:
    """Nor does a share that goes away take them back."""
    folders.say('language = "de"')
    folders.scan()
    found = scan(folders.inbox.path, recursive=True)
    files = settings_files.SettingsFiles(folders.config, folders.store)
    files.learn()
    anna = os.fsencode(folders.folder / "anna")
    del found.settings[anna]
    found.unreadable[anna] = "Input/output error"
    files.update(found, lambda: None)
    assert files.settings.of(anna).options()["language"] == "de"
    folders.folder.rename(tmp_path / "away")
    folders.scan()
    assert folders.inbox.offline
    (tmp_path / "away").rename(folders.folder)
    folders.scan()
    assert folders.language_of("anna/1.wav") == "de"


def test_an_ignored_folder_is_left_alone_and_passed_by(folders: Folders) -> None:
    """Its waiting jobs end with the reason, its running one goes on; nothing in it is looked at until it says else."""
    running = folders.job_of("anna/0.wav")
    folders.claim()
    queued = folders.job_of("anna/x/1.wav")
    path = folders.say("ignore = true")
    folders.drop("anna/x/2.wav")
    folders.pass_time(20)
    assert folders.states() == ["running", "vanished"]
    ended = folders.store.job(queued.id)
    assert ended is not None
    assert ended.reason == "the settings of its folder say that it is to be ignored"
    found = scan(folders.inbox.path, recursive=True, ignored=folders.inbox._settings.ignored())  # pyright: ignore[reportPrivateUsage]
    assert (found.passed_by, found.recordings) == ([os.fsencode(folders.folder / "anna")], {})
    path.unlink()
    folders.pass_time(20)
    assert [job.state for job in folders.jobs()] == [JobState.RUNNING, *[JobState.VANISHED, *[JobState.QUEUED] * 2]]
    assert folders.store.newest(running.path) == folders.store.job(running.id)


def test_ignored_names_are_not_transcribed(folders: Folders) -> None:
    """Whatever came before the settings or after; those below may say something else."""
    folders.say('ignore = ["*.mp4", "old"]')
    folders.say("ignore = false", "anna/b")
    for name in ("anna/1.mp4", "anna/old/2.wav", "anna/b/3.mp4", "anna/4.wav"):
        folders.drop(name)
    folders.pass_time(20)
    names = {os.fsdecode(os.path.basename(job.path)) for job in folders.jobs()}
    assert names == {"3.mp4", "4.wav"}
    folders.restart()
    folders.pass_time(20)
    assert len(folders.jobs()) == 2


def test_many_mistakes_neither_fill_the_log_nor_hold_up_the_inbox(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A step answers for a while, and the next one goes on; all are answered in the end."""
    monkeypatch.setattr(settings_files, "_WORK_S", 0.0)
    for number in range(30):
        folders.say(MISTAKE, f"{number}")
    folders.scan()
    assert sum(folders.note(f"{number}") is not None for number in range(30)) <= 1
    monkeypatch.setattr(settings_files, "_WORK_S", 60.0)
    folders.pass_time()
    assert all(folders.note(f"{number}") is not None for number in range(30))
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) <= 21


def test_an_inbox_may_forbid_it_all(make: Callable[..., Folders]) -> None:
    """Then no file of settings is looked at, and none is answered."""
    folders = make(may_set=[])
    folders.say('language = "de"')
    folders.say(MISTAKE, "ben")
    assert folders.language_of("anna/1.wav") is None
    assert folders.language_of("ben/1.wav") is None
    assert folders.note("ben") is None


def test_what_may_be_set_no_more_counts_no_more(make: Callable[..., Folders]) -> None:
    """After a change of the main configuration the same file has a mistake, and is told."""
    folders = make()
    folders.say('language = "de"\ntask = "translate"')
    assert folders.language_of("anna/1.wav") == "de"
    folders.end()
    folders.config = folders.config.model_copy(update={"may_set": ("task",)})
    folders.begin("second")
    job = folders.job_of("anna/2.wav")
    assert (job.options["language"], job.options["task"]) == (None, "translate")
    assert "cannot be set in a folder of this inbox" in (folders.note() or "")


HOSTILE = (
    b"\xff\xfe",
    b"<b>&amp;",
    b"a\nb",
    "\u202egpj.wav".encode(),
    b"x" * 255,
    b"%s{}",
    b"'; DROP TABLE folder; --",
)


def test_folders_with_hostile_names_have_settings_too(folders: Folders) -> None:
    """Bytes that are no text, HTML, line breaks, text that turns: the origin is readable, the rest is as everywhere."""
    root = folders.inbox.path
    for name in HOSTILE:
        os.mkdir(os.path.join(root, name))
        with open(os.path.join(root, name, b"transcribed.toml"), "w") as file:
            file.write('language = "de"' if name != b"a\nb" else MISTAKE)
        with open(os.path.join(root, name, b"1.wav"), "wb") as recording:
            recording.write(b"x" * 100)
    folders.pass_time(20)
    jobs = folders.jobs()
    assert len(jobs) == len(HOSTILE)
    for job in jobs:
        assert job.options["language"] == (None if b"a\nb" in job.path else "de")
    assert {str(job.origins.get("language")).isprintable() for job in jobs if b"\xff" in job.path} == {True}
    assert os.path.exists(os.path.join(root, b"a\nb", NOTE_NAME.encode()))
    folders.restart()
    assert len(folders.store.folder_settings(root)) == len(HOSTILE) - 1


def test_a_recording_done_again_has_the_settings_of_today(folders: Folders) -> None:
    """Those that its folder had at the last scan; the first job keeps its own."""
    folders.say('language = "de"')
    job = folders.job_of("anna/1.wav")
    folders.finish()
    folders.say('language = "fr"')
    folders.scan()
    (new_id,) = redo(folders.store, [job.id], [folders.config], 3, utc_now()).values()
    assert new_id is not None
    again = folders.store.job(new_id)
    assert again is not None
    assert (again.options["language"], list(again.origins)) == ("fr", ["language"])
    before = folders.store.job(job.id)
    assert before is not None
    assert before.options["language"] == "de"


def test_a_scan_looks_at_each_file_of_settings_once(tmp_path: Path) -> None:
    """They are no recordings, nor are notes of them; a folder of that name is a folder."""
    inbox = tmp_path / "inbox"
    (inbox / "a" / "transcribed.toml").mkdir(parents=True)
    (inbox / "a" / "transcribed.toml" / "1.wav").write_bytes(b"x")
    (inbox / "b").mkdir()
    (inbox / "b" / "transcribed.toml").write_text("")
    (inbox / "b" / NOTE_NAME).write_text("")
    found = scan(os.fsencode(inbox), recursive=True)
    b = os.fsencode(inbox / "b")
    assert found.settings == {b: Fingerprint.of((inbox / "b" / "transcribed.toml").lstat())}
    assert found.notes == {b}
    assert list(found.recordings) == [os.fsencode(inbox / "a" / "transcribed.toml" / "1.wav")]
