"""What people find in a real folder: the page and the notes, kept true on a clock that the test turns."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from daemon.clock import utc_now
from daemon.config import InboxConfig
from daemon.folderpage import page
from daemon.folderpage.gathering import Hand, Live
from daemon.folderpage.keeping import BLOCKED_S, WRITE_S, FolderPages
from daemon.folderpage.names import PAGE_NAMES, note_name
from daemon.intake.inbox import Inbox
from daemon.intake.watcher import Watcher
from daemon.locks import Owner
from daemon.outputs import notes
from daemon.pace import Forecast
from storage.jobs import JobStore
from storage.records import Job, JobState, Outcome, Output, Result, Told

SETTLE_S = 3.0
SCAN_S = 5.0
RESULT = Result(Outcome.OK, "", "en", 0.9, "base", "cpu", "int8", 1.0, 1, 2)
TOLD = Told("unreadable")


class Desk:
    """An inbox with its page; the test does the jobs."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.root = root
        self.folder = root / "inbox"
        self.folder.mkdir(exist_ok=True)
        self.now = 1000.0
        self.at = utc_now()
        self.live = Live()
        self.begin(**settings)

    def begin(self, **settings: Any) -> None:
        """A daemon starts."""
        times = {"settle_s": SETTLE_S, "scan_interval_s": SCAN_S, "watch": "poll"}
        config = InboxConfig.model_validate({"path": self.folder} | times | settings)
        self.store = JobStore.open(self.root / "history.db", "me")
        pages = FolderPages(config, self.store, lambda: self.live, utc=lambda: self.at, clock=lambda: 0.0)
        self.inbox = Inbox(config, self.store, max_attempts=3, on_new=lambda: None, pages=pages)
        self.inbox.open(Owner.this_process("me", self.root, "now"))

    def end(self) -> None:
        """It ends."""
        self.inbox.close()
        self.store.close()

    def pass_time(self, seconds: float = 3 * WRITE_S) -> None:
        """One step a second."""
        for _ in range(int(seconds)):
            self.now += 1
            self.at += timedelta(seconds=1)
            self.inbox.step(self.now)

    def drop(self, name: str | bytes, content: bytes = b"x" * 100) -> bytes:
        """A recording comes, and its job is made."""
        path = os.path.join(os.fsencode(self.folder), os.fsencode(name))
        with open(path, "wb") as file:
            file.write(content)
        self.pass_time(SETTLE_S + SCAN_S + 2)
        return path

    def claim(self) -> Job:
        """The next job is in hand."""
        job = self.store.claim(utc_now())
        assert job is not None
        return job

    def fail(self, told: Told | None = TOLD, words: str = "no reader finds audio in it") -> Job:
        """The next job fails."""
        job = self.claim()
        self.store.fail(job, words, utc_now(), told)
        return job

    def done(self) -> Job:
        """The next job is done."""
        job = self.claim()
        text = Output("txt", job.path.rpartition(b".")[0] + b".txt", b"/t", "0" * 64)
        self.store.publishing(job, [text], RESULT, utc_now())
        self.store.finish(job, RESULT, utc_now())
        return job

    @property
    def html(self) -> Path:
        """The page."""
        return self.folder / PAGE_NAMES[0]

    @property
    def text(self) -> str:
        """The plain page."""
        return (self.folder / PAGE_NAMES[1]).read_text()

    def note(self, name: str) -> Path:
        """Where the note of a recording is."""
        return self.folder / f"{name}.error.txt"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """An inbox that nothing has come to."""
    desk = Desk(tmp_path)
    yield desk
    desk.end()


def test_the_page_goes_with_a_recording_from_its_coming_to_its_end(desk: Desk) -> None:
    """It is being copied, waits, is in hand with its progress, is done; the last page has its transcript."""
    desk.pass_time(1)
    assert "Nothing here yet" in desk.text
    (desk.folder / "memo.wav").write_bytes(b"x" * 100)
    desk.inbox.scan_now()
    desk.pass_time(1)
    assert "memo.wav" not in desk.text  # it was written a moment ago
    desk.pass_time()
    assert "== Waiting ==\n- memo.wav\n" in desk.text
    job = desk.claim()
    desk.live = Live((Hand(job.path, "engine", 30.0, 120.0, 61.0),), None)
    desk.pass_time()
    assert "== In progress ==\n- memo.wav\n    25 %, done in about 1 min\n" in desk.text
    assert "Waiting" not in desk.text
    desk.store.publishing(job, [Output("txt", job.path[:-4] + b".txt", b"/t", "0")], RESULT, desk.at)
    desk.store.finish(job, RESULT, desk.at)
    desk.live = Live()
    desk.pass_time()
    assert "== Done lately ==\n- memo.wav\n" in desk.text
    assert b'href="./memo.txt"' in desk.html.read_bytes()


def test_nothing_is_written_while_nothing_changes_and_rarely_while_something_does(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour of rest costs no write; ten minutes of progress at most one page in WRITE_S."""
    written: list[float] = []
    put = notes.put

    def count(*args: Any) -> bool:
        written.append(desk.now)
        return put(*args)

    monkeypatch.setattr(notes, "put", count)
    path = desk.drop("memo.wav")
    desk.pass_time()
    written.clear()
    desk.pass_time(3600)
    assert written == []
    for second in range(600):
        desk.live = Live((Hand(path, "engine", second / 2, 300.0, 600.0 - second),), None)
        desk.pass_time(1)
    assert 50 <= len(set(written)) <= 600 / WRITE_S
    assert all(later - sooner >= WRITE_S for sooner, later in pairwise(sorted(set(written))))


def test_a_failed_recording_has_a_note_until_it_is_done(desk: Desk) -> None:
    """In plain words with what to do; a later success takes it away, and the intake never takes it for a recording."""
    desk.drop("call.mp3")
    job = desk.fail()
    desk.pass_time()
    told = desk.note("call.mp3").read_text()
    assert "call.mp3" in told
    assert "No sound could be found in the file." in told
    assert "copy it here once more" in told
    assert f"job {job.id}" in told
    assert "== Not transcribed ==\n- call.mp3\n" in desk.text
    assert desk.store.retry([job.id], utc_now()) == [job.id]
    desk.done()
    desk.pass_time()
    assert not desk.note("call.mp3").exists()
    assert [job.path for job in desk.store.jobs()] == [job.path]


@pytest.mark.parametrize("away", ["removed", "renamed", "its folder"])
def test_a_note_goes_with_its_recording(desk: Desk, away: str) -> None:
    """Deleted, renamed, or moved with its folder: no note tells of what is not there."""
    (desk.folder / "sub").mkdir()
    path = Path(os.fsdecode(desk.drop("sub/call.mp3")))
    desk.fail()
    desk.pass_time()
    assert desk.note("sub/call.mp3").exists()
    if away == "removed":
        path.unlink()
    elif away == "renamed":
        path.rename(path.with_name("other.mp3"))
    else:
        (desk.folder / "sub").rename(desk.folder / "moved")
    desk.pass_time()
    assert list(desk.folder.rglob("call.mp3.error.txt")) == []


def test_a_file_of_a_person_is_never_written_over(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Neither where the page goes nor where a note goes, nor a link; it is said once, and the rest goes on."""
    caplog.set_level(logging.INFO)
    elsewhere = desk.root / "elsewhere.txt"
    elsewhere.write_text("mine")
    desk.html.write_text("<p>mine</p>")
    desk.note("call.mp3").write_text("mine")
    desk.note("other.mp3").symlink_to(elsewhere)
    desk.drop("call.mp3")
    desk.fail()
    desk.drop("other.mp3")
    desk.fail()
    desk.pass_time()
    assert desk.html.read_text() == "<p>mine</p>"
    assert desk.note("call.mp3").read_text() == "mine"
    assert elsewhere.read_text() == "mine"
    assert desk.note("other.mp3").is_symlink()
    assert "call.mp3" in desk.text
    said = [record.getMessage() for record in caplog.records if "not ours" in record.getMessage()]
    assert len(said) == len(set(said)) == 3


def test_a_note_that_a_person_wrote_into_is_theirs(desk: Desk) -> None:
    """It is neither removed nor written over, whatever becomes of the recording."""
    desk.drop("call.mp3")
    job = desk.fail()
    desk.pass_time()
    note = desk.note("call.mp3")
    mine = note.read_text() + "I asked Anna about it.\n"
    note.write_text(mine)
    desk.store.retry([job.id], utc_now())
    desk.done()
    desk.pass_time()
    assert note.read_text() == mine


def test_a_note_that_a_person_removed_comes_back_with_the_next_failure(desk: Desk) -> None:
    """It has been read; a new failure is news."""
    desk.drop("call.mp3")
    job = desk.fail()
    desk.pass_time()
    desk.note("call.mp3").unlink()
    desk.pass_time()
    assert not desk.note("call.mp3").exists()
    desk.drop("call.mp3", b"y" * 200)
    assert desk.fail(Told("no_sound")).id != job.id
    desk.pass_time()
    assert "nothing to hear" in desk.note("call.mp3").read_text()


def test_what_an_earlier_run_left_is_brought_up_to_date(desk: Desk) -> None:
    """A note of a recording that was done meanwhile goes, one that is still true stays as it is, in either language."""
    desk.drop("a.mp3")
    job = desk.fail()
    desk.drop("b.mp3")
    desk.fail()
    desk.pass_time()
    kept = desk.note("b.mp3").stat()
    desk.end()
    desk.begin()
    desk.store.retry([job.id], utc_now())
    desk.done()
    desk.pass_time()
    assert not desk.note("a.mp3").exists()
    assert desk.note("b.mp3").stat().st_ino == kept.st_ino
    desk.end()
    desk.begin(messages="de")
    desk.pass_time()
    assert "In der Datei wurde kein Ton gefunden." in desk.note("b.mp3").read_text()
    assert "Abschriften in inbox" in desk.text


def test_the_end_of_the_service_is_told(desk: Desk) -> None:
    """Nobody waits before a page that shows progress of yesterday."""
    path = desk.drop("memo.wav")
    desk.live = Live((Hand(path, "engine", 1.0, 2.0, None),), None)
    desk.claim()
    desk.pass_time()
    desk.inbox.close()
    assert "The service is stopped since" in desk.text
    assert "In progress" not in desk.text
    assert "== Waiting ==\n- memo.wav\n" in desk.text


def test_one_switch_turns_it_off_and_takes_it_away(desk: Desk) -> None:
    """Page and notes of before are gone; files of people stay."""
    desk.drop("call.mp3")
    desk.fail()
    desk.pass_time()
    desk.note("other.mp3").write_text("mine")
    desk.end()
    desk.begin(status_page=False)
    desk.pass_time()
    left = {path.name for path in desk.folder.iterdir()}
    assert left == {".transcribed-inbox", "call.mp3", "other.mp3.error.txt"}


def test_a_folder_that_cannot_be_written_is_no_trouble(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said once and tried again after a while; jobs are made all the same."""
    tried: list[float] = []

    def refuse(*_: object) -> bool:
        tried.append(desk.now)
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(notes, "put", refuse)
    desk.drop("memo.wav")
    desk.pass_time(10 * BLOCKED_S)
    assert [job.state for job in desk.store.jobs()] == [JobState.QUEUED]
    assert 8 <= len(tried) <= 12
    monkeypatch.undo()
    desk.pass_time(BLOCKED_S + WRITE_S)
    assert "memo.wav" in desk.text


def test_recordings_in_a_folder_that_not_everybody_may_list_are_not_named(desk: Desk) -> None:
    """The page is for whoever may list the inbox; a folder of one person's keeps its secrets, and counts."""
    desk.folder.chmod(0o755)
    (desk.folder / "board").mkdir(mode=0o700)
    (desk.folder / "open").mkdir(mode=0o755)
    desk.drop("board/dismissal.wav")
    desk.drop("open/lunch.wav")
    desk.pass_time()
    assert "dismissal" not in desk.text
    assert b"dismissal" not in desk.html.read_bytes()
    assert "lunch.wav" in desk.text
    assert "0 in progress, 2 waiting." in desk.text
    assert "and 1 more" in desk.text
    assert desk.html.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", [b"<b>\xff\n\x1b.wav", b"n" * 251 + b".wav", "‮gpj.wav".encode()])
def test_hostile_names_get_their_page_and_their_note(desk: Desk, name: bytes) -> None:
    """Whatever a disk takes for a name."""
    path = desk.drop(name)
    desk.fail()
    desk.pass_time()
    note = os.path.join(os.path.dirname(path), note_name(name, 255))
    assert os.path.exists(note)
    assert page.is_html(desk.html.read_bytes())
    os.unlink(path)
    desk.pass_time()
    assert not os.path.exists(note)


def test_what_waits_says_why_in_the_language_of_its_people(tmp_path: Path) -> None:
    """A file that is empty, and a job that waits for the service."""
    desk = Desk(tmp_path, messages="de")
    try:
        desk.drop("leer.wav", b"")
        desk.pass_time()
        assert "Die Datei ist leer (0 Bytes)." in desk.text
        desk.drop("memo.wav")
        later = desk.at + timedelta(days=1)
        told = Told("server_trouble")
        desk.store.hold(desk.claim(), "no model", later, delay_s=60, refund=True, told=told)
        desk.pass_time()
        assert "Der Dienst hat selbst eine Störung" in desk.text
        assert "no model" not in desk.text
    finally:
        desk.end()


def test_a_page_that_comes_wakes_no_scan(tmp_path: Path) -> None:
    """An event of a page or of a note is no news; one of a recording is."""
    woken: list[str] = []
    watcher = Watcher(tmp_path, recursive=True, wake=lambda: woken.append("woken"))
    for name in (*PAGE_NAMES, "call.mp3.error.txt", ".tr-0123456789abcdef.part"):
        watcher.heard(str(tmp_path / name))
    assert woken == []
    watcher.heard(str(tmp_path / "call.mp3"))
    assert woken == ["woken"]


def test_a_thousand_waiting_recordings_are_counted_and_few_are_named(desk: Desk) -> None:
    """The page stays small, whatever the queue."""
    for number in range(300):
        (desk.folder / f"{number:03}.wav").write_bytes(b"x")
    desk.pass_time(30)
    assert "0 in progress, 300 waiting." in desk.text
    assert desk.text.count(".wav") == 20
    assert "and 280 more" in desk.text


def test_the_time_is_told_as_people_there_have_it(desk: Desk) -> None:
    """Local time, not that of the database."""
    desk.pass_time(1)
    local: datetime = desk.at.astimezone()
    assert f"As of {local:%Y-%m-%d, %H:%M}." in desk.text


def test_nothing_is_written_below_a_mount_that_is_lost(desk: Desk) -> None:
    """The share goes away between two scans: its mount point stays as it is, and what was known stays known."""
    desk.drop("memo.wav")
    desk.pass_time()
    desk.folder.rename(desk.root / "share")
    desk.folder.mkdir()
    desk.claim()
    desk.live = Live((), None, "trouble")
    desk.inbox.step(desk.now + WRITE_S)
    assert list(desk.folder.iterdir()) == []
    (desk.folder / PAGE_NAMES[1]).write_text("written in the very moment")
    desk.pass_time()
    assert "is the share mounted?" in desk.inbox.offline
    assert [path.name for path in desk.folder.iterdir()] == [PAGE_NAMES[1]]


def test_what_waits_has_a_forecast_by_its_turn(desk: Desk) -> None:
    """Where a speed is known; the short one is before the long one, and both are there at last."""
    desk.live = Live(forecast=Forecast(10.0, {}))
    desk.drop("long.mp3", b"x" * 11_200_000)
    desk.drop("short.mp3", b"x" * 16_000)
    desk.pass_time()
    assert "== Waiting ==\n- short.mp3\n    done in about 10 s\n- long.mp3\n    done in about 1 min\n" in desk.text
