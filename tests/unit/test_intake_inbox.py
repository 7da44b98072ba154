"""An inbox on a real folder with a real history: every way in which a file arrives, changes and goes away.

The time is a number that each test moves on; the daemon's thread and events are not needed for any of it.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from daemon.clock import utc_now
from daemon.config import InboxConfig
from daemon.errors import AlreadyRunning
from daemon.intake import admission as admission_module
from daemon.intake import examine as examine_module
from daemon.intake import inbox as inbox_module
from daemon.intake import root as root_module
from daemon.intake import scanner
from daemon.intake import watch as watch_module
from daemon.intake.admission import BATCH, BLOCKED_RETRY_S, TELL_AFTER_S
from daemon.intake.disk import Disk
from daemon.intake.inbox import Inbox
from daemon.intake.rules import Verdict, judge_folder
from daemon.intake.watching import Watching
from daemon.intake.writers import Writers, writers_of
from daemon.locks import INBOX_MARKER, Owner
from daemon.shares import Share, Touch
from storage.errors import StorageBusy
from storage.jobs import JobStore
from storage.records import Fingerprint, Job, JobState, NewJob, Outcome, Output, Result

SETTLE_S = 3.0
SCAN_S = 5.0
RESULT = Result(Outcome.OK, "", "en", 0.9, "base", "cpu", "int8", 1.0, 1, 2)


class Driven:
    """An inbox, its history, and a clock that the test turns."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.folder = root / "inbox"
        self.folder.mkdir(exist_ok=True)
        self.database = root / "history.db"
        times = {"settle_s": SETTLE_S, "scan_interval_s": SCAN_S, "watch": "poll"}
        self.config = InboxConfig.model_validate({"path": self.folder} | times | settings)
        self.now = 1000.0
        self.n_told = 0
        self.share = Share()
        self.settle: Callable[[Touch], None] = lambda _touch: None
        self.begin("first")

    def begin(self, uuid: str) -> None:
        """What a daemon does at its start."""
        self.store = JobStore.open(self.database, uuid)
        self.inbox = Inbox(
            self.config, self.store, max_attempts=3, on_new=self._on_new, share=self.share, settle=self.settle
        )
        self.inbox.open(Owner.this_process(uuid, self.database.parent, "now"))
        self.store.recover(utc_now())

    def end(self) -> None:
        """What a daemon does at its end."""
        self.inbox.close()
        self.store.close()

    def restart(self) -> None:
        """Stop and start again, with nothing remembered but the history."""
        self.end()
        self.now += 100
        self.begin("second")

    def _on_new(self) -> None:
        self.n_told += 1

    def step(self, seconds: float = 0.0) -> float:
        """One step, *seconds* after the last one."""
        self.now += seconds
        return self.inbox.step(self.now)

    def pass_time(self, seconds: float = SETTLE_S + SCAN_S) -> None:
        """Let time pass as the thread would: one step a second, so that scans and second looks come in between."""
        for _ in range(int(seconds) + 1):
            self.step(1.0)

    def write(self, name: str, content: bytes = b"x" * 100) -> Path:
        """Put a file in the inbox, complete at once."""
        path = self.folder / name
        path.write_bytes(content)
        return path

    def jobs(self) -> list[Job]:
        """The whole history, oldest first."""
        return self.store.jobs(limit=1000)[::-1]

    def states(self) -> list[str]:
        """The states of all jobs, oldest first."""
        return [job.state.value for job in self.jobs()]

    def only(self) -> Job:
        """The one job that there is."""
        (job,) = self.jobs()
        return job

    def claim(self) -> Job:
        """Take the next job in hand."""
        job = self.store.claim(utc_now())
        assert job is not None
        return job

    def finish(self, outputs: Sequence[Path] = ()) -> Job:
        """Do the next job as a worker would."""
        job = self.claim()
        rows = [Output("txt", os.fsencode(path), b"/tmp/.tr-x.part", "aa") for path in outputs]
        self.store.publishing(job, rows, RESULT, utc_now())
        self.store.finish(job, RESULT, utc_now())
        return job


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Driven]]:
    made: list[Driven] = []

    def make(**settings: Any) -> Driven:
        made.append(Driven(tmp_path, **settings))
        return made[-1]

    yield make
    for driven in made:
        driven.end()


@pytest.fixture
def driven(make: Callable[..., Driven]) -> Driven:
    return make()


def fingerprint_of(path: Path) -> Fingerprint:
    return Fingerprint.of(path.lstat())


def be_on(monkeypatch: pytest.MonkeyPatch, filesystem: str) -> None:
    """Let inboxes be on *filesystem*."""

    def filesystem_of(folder: Path, *, follow: bool = True) -> str:
        return filesystem

    monkeypatch.setattr(watch_module, "filesystem_of", filesystem_of)


# Arriving


def test_a_still_file_becomes_one_job_with_its_options(make: Callable[..., Driven]) -> None:
    """Path, inbox, fingerprint and the effective options of the folder are in the row; the dispatcher is told."""
    driven = make(language="de", task="translate", formats=["txt", "json"], hotwords="Lindenstrasse")
    path = driven.write("a.wav")
    driven.pass_time()
    job = driven.only()
    assert (job.state, job.path, job.inbox) == (JobState.QUEUED, os.fsencode(path), os.fsencode(driven.folder))
    assert job.fingerprint == fingerprint_of(path)
    assert job.options == driven.config.job_options().to_dict()
    assert (job.options["language"], job.options["task"], job.options["formats"]) == (
        "de",
        "translate",
        ["txt", "json"],
    )
    assert job.max_attempts == 3
    assert driven.n_told == 2  # when the folder was first seen, and now


def test_at_start_up_a_file_waits_as_long_as_later(driven: Driven) -> None:
    """It may be in the middle of being copied just then."""
    path = driven.write("a.wav", b"x" * 10)
    driven.step()
    driven.step(SETTLE_S - 0.5)
    assert driven.jobs() == []
    path.write_bytes(b"x" * 20)
    driven.step(0.5)
    driven.step(SETTLE_S - 0.5)
    assert driven.jobs() == []
    driven.step(0.5)
    assert driven.only().fingerprint == fingerprint_of(path)


@pytest.mark.fault(1, "a writer that pauses")
@pytest.mark.parametrize("keep_open", [True, False])
@pytest.mark.parametrize("pause_s", [SETTLE_S / 2, SETTLE_S * 2])
def test_a_slow_copy_gives_one_job_for_its_last_bytes(driven: Driven, pause_s: float, keep_open: bool) -> None:
    """Whether the pauses are shorter or longer than the wait, whether the writer keeps it open or comes back."""
    path = driven.folder / "a.wav"
    file = path.open("wb", buffering=0)
    for chunk in range(6):
        if not keep_open:
            file.close()
            file = path.open("ab", buffering=0)
        file.write(bytes([chunk]) * 1000)
        if not keep_open:
            file.close()
        driven.pass_time(pause_s)
        assert len(driven.jobs()) <= 1
        if pause_s < SETTLE_S:
            assert driven.states() in ([], ["waiting"])
    file.close()
    driven.pass_time()
    job = driven.only()
    assert job.state is JobState.QUEUED
    assert job.fingerprint == fingerprint_of(path)
    assert job.fingerprint.size_bytes == 6000


@pytest.mark.fault(2, "the full size first, the content later")
def test_a_preallocated_file_waits_for_its_content(driven: Driven) -> None:
    """Explorer sets the final size first and the time of the original last; only ctime cannot be set back."""
    path = driven.folder / "a.wav"
    path.touch()
    os.truncate(path, 4096)
    os.utime(path, ns=(10**18, 10**18))
    driven.step()
    driven.step(SETTLE_S - 1)
    before = fingerprint_of(path)
    with path.open("r+b") as file:
        file.write(b"y" * 4096)
    os.utime(path, ns=(10**18, 10**18))
    after = fingerprint_of(path)
    assert replace(before, ctime_ns=0) == replace(after, ctime_ns=0)
    assert before != after
    driven.step(0.5)
    driven.step(SETTLE_S - 0.5)
    assert driven.jobs() == []
    driven.step(0.5)
    assert driven.only().fingerprint == after


@pytest.mark.fault(3, "a hidden name, then a rename")
@pytest.mark.parametrize("name", ["a.wav.part", ".a.wav.Ab12Cd", "a.wav.filepart", "~syncthing~a.wav.tmp"])
def test_a_temporary_name_counts_once_it_is_renamed(driven: Driven, name: str) -> None:
    """Under the temporary name it is nobody's business; under the final one it settles like any other."""
    driven.write(name)
    driven.pass_time()
    assert driven.jobs() == []
    (driven.folder / name).rename(driven.folder / "a.wav")
    driven.pass_time()
    assert driven.only().path == os.fsencode(driven.folder / "a.wav")


@pytest.mark.fault(6, "a tree moved in")
def test_a_folder_that_is_moved_in_is_searched(driven: Driven, tmp_path: Path) -> None:
    """All of its levels, with everything in them."""
    tree = tmp_path / "tree"
    for place in ("a.wav", "one/b.mp3", "one/two/c.flac"):
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        (tree / place).write_bytes(b"x")
    driven.pass_time()
    tree.rename(driven.folder / "tree")
    driven.pass_time()
    found = {os.path.relpath(os.fsdecode(job.path), driven.folder) for job in driven.jobs()}
    assert found == {"tree/a.wav", "tree/one/b.mp3", "tree/one/two/c.flac"}
    assert set(driven.states()) == {"queued"}


def test_subfolders_are_left_alone_where_asked(make: Callable[..., Driven]) -> None:
    """An inbox that is not recursive takes only what lies directly in it."""
    driven = make(recursive=False)
    (driven.folder / "sub").mkdir()
    driven.write("sub/a.wav")
    driven.write("b.wav")
    driven.pass_time()
    assert driven.only().path == os.fsencode(driven.folder / "b.wav")


@pytest.mark.fault(5, "link()")
def test_a_hard_link_is_taken(driven: Driven, tmp_path: Path) -> None:
    """Some programs put files in place that way, so that nothing can be overwritten."""
    (tmp_path / "a.wav").write_bytes(b"x")
    os.link(tmp_path / "a.wav", driven.folder / "a.wav")
    driven.pass_time()
    assert driven.only().state is JobState.QUEUED


@pytest.mark.fault(11, "FIFO, socket, device, link and folder named .wav")
def test_what_is_no_regular_file_is_never_a_job(driven: Driven, tmp_path: Path) -> None:
    """And nothing hangs at it; a good file beside them goes through."""
    os.mkfifo(driven.folder / "fifo.wav")
    (driven.folder / "folder.wav").mkdir()
    (tmp_path / "real.wav").write_bytes(b"x")
    (driven.folder / "link.wav").symlink_to(tmp_path / "real.wav")
    (driven.folder / "zero.wav").symlink_to("/dev/zero")
    driven.write("good.wav")
    driven.pass_time(30)
    assert driven.only().path == os.fsencode(driven.folder / "good.wav")


@pytest.mark.fault(11, "a file that turns into a FIFO")
def test_a_file_that_becomes_something_else_while_it_settles(driven: Driven) -> None:
    """A FIFO or a link in its place is not opened by mistake; what had been told of the file is taken back."""
    path = driven.write("a.wav", b"")
    driven.pass_time()
    assert driven.states() == ["waiting"]
    path.unlink()
    os.mkfifo(path)
    driven.pass_time(10)
    assert driven.states() == ["vanished"]


@pytest.mark.fault(13, "names of odd bytes")
@pytest.mark.fault(14, "names of 255 bytes")
@pytest.mark.parametrize("name", [b"caf\xe9.wav", b"x" * 251 + b".wav", "語".encode() * 83 + b".wav", b"a\nb.wav"])
def test_any_name_that_a_disk_can_hold_gives_a_job(driven: Driven, name: bytes) -> None:
    """The path comes back from the history byte for byte, and after a restart it is known."""
    path = os.path.join(os.fsencode(driven.folder), name)
    with open(path, "wb") as file:
        file.write(b"x")
    driven.pass_time()
    assert driven.only().path == path
    driven.restart()
    driven.pass_time()
    assert driven.only().path == path


@pytest.mark.fault(33, "1,200 files, counted by transaction")
def test_many_files_at_once_are_queued_in_few_transactions(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three hundred in one, seen within one interval; more than fit go into the next in the same step."""
    sizes: list[int] = []
    real = driven.store.enqueue

    def enqueue(jobs: Sequence[NewJob], at: datetime) -> list[int]:
        sizes.append(len(jobs))
        return real(jobs, at)

    monkeypatch.setattr(driven.store, "enqueue", enqueue)
    for number in range(300):
        driven.write(f"{number}.wav")
    driven.pass_time()
    assert sizes == [300]
    monkeypatch.setattr(admission_module, "BATCH", 100)
    for number in range(300, 550):
        driven.write(f"{number}.wav")
    driven.pass_time()
    assert sizes == [300, 100, 100, 50]
    assert len(driven.jobs()) == 550
    assert BATCH == 500


def test_a_step_with_too_much_to_do_leaves_the_rest_to_the_next(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many files there are, the loop shows that it is alive; none of them is left out."""
    monkeypatch.setattr(admission_module, "BATCH", 10)
    monkeypatch.setattr(admission_module, "_WORK_S", -1.0)
    for number in range(35):
        driven.write(f"{number}.wav")
    driven.step()
    driven.step(SETTLE_S)
    assert len(driven.jobs()) == 10
    driven.pass_time()
    assert driven.states() == ["queued"] * 35
    for number in range(35):
        (driven.folder / f"{number}.wav").unlink()
    driven.pass_time(60)
    assert driven.states() == ["vanished"] * 35


# Not finished


@pytest.mark.fault(1, "a file held open for writing")
def test_a_file_that_somebody_has_open_for_writing_waits(driven: Driven) -> None:
    """It is still and complete by every time stamp; only the kernel knows. Closed, it needs no further wait."""
    path = driven.write("a.wav")
    writer = path.open("ab")
    with path.open("rb") as reader:
        if writers_of(reader.fileno()) is not Writers.SOME:
            writer.close()
            pytest.skip("no leases on this filesystem, or none for this user")
    driven.pass_time()
    job = driven.only()
    assert job.state is JobState.WAITING
    assert "open for writing" in job.reason
    assert "open for writing" in (driven.inbox.explain(job.path, driven.now) or "")
    writer.close()
    driven.pass_time(SETTLE_S)
    assert driven.only().state is JobState.QUEUED


def test_a_person_may_cancel_what_waits(driven: Driven) -> None:
    """The same bytes do not come back once the writer is gone; other bytes do."""
    path = driven.write("a.wav")
    with path.open("ab"):
        driven.pass_time(SETTLE_S + TELL_AFTER_S + SCAN_S)
        assert driven.store.cancel([driven.only().id], utc_now())
        driven.pass_time()
    driven.pass_time()
    assert driven.states() == ["cancelled"]
    driven.write("a.wav", b"y" * 200)
    driven.pass_time()
    assert driven.states() == ["cancelled", "queued"]


@pytest.mark.fault(1, "a file held open by another process")
def test_a_writer_in_another_process_counts_the_same(driven: Driven) -> None:
    """A copy by another program that pauses for long; when it is killed, the file is taken as it is."""
    path = driven.write("a.wav")
    program = "import sys; file = open(sys.argv[1], 'ab'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        with path.open("rb") as reader:
            known = writers_of(reader.fileno())
        driven.pass_time(60)
        states = driven.states()
        writer.kill()
    if known is not Writers.SOME:
        pytest.skip("no leases on this filesystem, or none for this user")
    assert states == ["waiting"]
    driven.pass_time()
    assert driven.states() == ["queued"]


def test_on_a_network_filesystem_a_refused_lease_says_nothing(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS and CIFS refuse leases for reasons of their own: such files would wait for ever."""
    be_on(monkeypatch, "nfs4")
    inbox = Inbox(driven.config, driven.store, max_attempts=3, on_new=lambda: None)
    on_a_network = inbox.watching
    assert not on_a_network.leases

    def watching(_inbox: Inbox) -> Watching:
        return on_a_network

    monkeypatch.setattr(Inbox, "watching", property(watching))

    def refused(fd: int) -> Writers:
        return Writers.SOME

    monkeypatch.setattr(examine_module, "writers_of", refused)
    driven.write("a.wav")
    driven.pass_time()
    assert driven.states() == ["queued"]


@pytest.mark.fault(34, "an empty file, filled later")
def test_an_empty_file_waits_with_a_reason_until_it_has_content(driven: Driven) -> None:
    """However long that takes; the same row becomes the job."""
    path = driven.write("a.wav", b"")
    driven.pass_time()
    job = driven.only()
    assert job.state is JobState.WAITING
    assert "empty (0 bytes)" in job.reason
    driven.pass_time(600)
    assert driven.only() == job
    assert [event.kind for event in driven.store.events(job.id)] == ["waiting"]
    path.write_bytes(b"x")
    driven.pass_time()
    assert (driven.only().id, driven.only().state) == (job.id, JobState.QUEUED)


@pytest.mark.fault(12, "EACCES from open")
def test_a_file_that_cannot_be_opened_waits_and_is_tried_again(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others go on meanwhile. Root may open everything, so the refusal is put in by hand."""
    path = driven.write("a.wav")
    real = examine_module.open_recording
    n_refused = 0

    def refuse(name: bytes) -> int:
        nonlocal n_refused
        if name == os.fsencode(path):
            n_refused += 1
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(name)

    monkeypatch.setattr(examine_module, "open_recording", refuse)
    driven.write("b.wav")
    driven.pass_time()
    assert sorted(driven.states()) == ["queued", "waiting"]
    blocked = driven.store.newest(os.fsencode(path))
    assert blocked is not None
    assert "cannot be opened: Permission denied" in blocked.reason
    driven.pass_time(BLOCKED_RETRY_S + 2)
    assert n_refused == 2
    monkeypatch.setattr(examine_module, "open_recording", real)
    driven.pass_time(BLOCKED_RETRY_S + 2)
    assert driven.states() == ["queued", "queued"]


@pytest.mark.fault(12, "mode 000")
@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_mode_000_waits_until_the_mode_changes(driven: Driven) -> None:
    """The change of its mode is seen by the next scan: nobody has to wait for the next try."""
    path = driven.write("a.wav")
    path.chmod(0)
    driven.pass_time()
    assert driven.states() == ["waiting"]
    path.chmod(0o600)
    driven.pass_time()
    assert driven.states() == ["queued"]


def test_a_change_of_mode_ends_the_wait_for_the_next_try(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, for any user: the mode is real, the refusal is put in by hand."""
    path = driven.write("a.wav")
    path.chmod(0)
    real = examine_module.open_recording

    def refuse(name: bytes) -> int:
        if not os.stat(name).st_mode & 0o400:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(name)

    monkeypatch.setattr(examine_module, "open_recording", refuse)
    driven.pass_time()
    assert driven.states() == ["waiting"]
    path.chmod(0o600)
    driven.pass_time()
    assert driven.states() == ["queued"]


@pytest.mark.fault(1, "a file that never rests")
def test_a_file_that_keeps_changing_is_told_of_and_never_given_up(driven: Driven) -> None:
    """A minute of writing with pauses: one row that says so, and at the end its job."""
    path = driven.folder / "a.wav"
    for second in range(60):
        path.write_bytes(b"x" * (second + 1))
        driven.step(1.0)
        if second < TELL_AFTER_S:
            assert driven.jobs() == []
    job = driven.only()
    assert (job.state, job.reason) == (JobState.WAITING, "still being written: it keeps changing")
    driven.pass_time()
    assert (driven.only().id, driven.only().state) == (job.id, JobState.QUEUED)
    assert driven.only().fingerprint.size_bytes == 60


def test_a_file_that_merely_settles_slowly_is_not_said_to_change(make: Callable[..., Driven]) -> None:
    """On a share the wait is longer than the time after which people are told of a file."""
    driven = make(settle_s=TELL_AFTER_S * 2)
    driven.write("a.wav")
    driven.pass_time(TELL_AFTER_S * 2 + 1)
    job = driven.only()
    assert [event.kind for event in driven.store.events(job.id)] == ["queued"]


def test_an_unfinished_file_that_goes_away_is_no_longer_waited_for(driven: Driven) -> None:
    """Also one that is put off and would not be looked at for a while."""
    path = driven.write("a.wav", b"")
    driven.pass_time()
    assert driven.states() == ["waiting"]
    path.unlink()
    driven.pass_time(SCAN_S)
    assert driven.states() == ["vanished"]


def test_explain_says_what_a_file_waits_for(driven: Driven) -> None:
    """While it settles, while it is put off, and nothing for what is done or unknown."""
    path = os.fsencode(driven.write("a.wav", b""))
    assert driven.inbox.explain(path, driven.now) is None
    driven.step()
    driven.step(1.0)
    assert driven.inbox.explain(path, driven.now) == "settling: unchanged for 1 s of 3 s"
    driven.pass_time()
    assert (driven.inbox.explain(path, driven.now) or "").startswith("waiting: the file is empty")
    Path(os.fsdecode(path)).write_bytes(b"x")
    driven.pass_time()
    assert driven.inbox.explain(path, driven.now) is None


# Changing


@pytest.mark.fault(7, "chmod at every state")
def test_a_chmod_never_makes_a_second_job(driven: Driven) -> None:
    """Not while it is queued, not while it is in hand, not after; the row keeps up with the fingerprint."""
    path = driven.write("a.wav")
    driven.pass_time()
    for mode in (0o600, 0o640):
        path.chmod(mode)
        driven.pass_time()
        assert driven.only().fingerprint == fingerprint_of(path)
    job = driven.claim()
    path.chmod(0o644)
    driven.pass_time()
    assert driven.only().state is JobState.RUNNING
    assert driven.only().fingerprint == fingerprint_of(path)
    driven.store.finish(job, RESULT, utc_now())
    path.chmod(0o600)
    driven.pass_time()
    assert driven.states() == ["done"]
    assert driven.only().fingerprint == fingerprint_of(path)


@pytest.mark.fault(7, "touch while queued")
def test_touching_a_queued_file_brings_its_job_up_to_date(driven: Driven) -> None:
    """An indexer or a virus scanner may do that over and over."""
    path = driven.write("a.wav")
    driven.pass_time()
    for second in range(5):
        os.utime(path, (second, second))
        driven.pass_time()
    assert driven.states() == ["queued"]
    assert driven.only().fingerprint == fingerprint_of(path)


def test_touching_a_done_file_asks_whether_its_content_is_the_same(driven: Driven) -> None:
    """One job, which compares the hash: a new time is how a copy of other content looks too."""
    path = driven.write("a.wav")
    driven.pass_time()
    driven.finish()
    os.utime(path, (1, 1))
    driven.pass_time(60)
    assert driven.states() == ["done", "queued"]


@pytest.mark.fault(8, "new content after the end")
def test_new_content_after_done_is_a_new_job(driven: Driven) -> None:
    """Written over in place, or another file renamed over it."""
    path = driven.write("a.wav")
    driven.pass_time()
    driven.finish()
    path.write_bytes(b"y" * 50)
    driven.pass_time()
    assert driven.states() == ["done", "queued"]
    driven.finish()
    os.replace(driven.write("b.tmp", b"z" * 70), path)
    driven.pass_time()
    assert driven.states() == ["done", "done", "queued"]
    assert driven.jobs()[-1].fingerprint == fingerprint_of(path)


def test_new_content_before_its_turn_is_the_same_job(driven: Driven) -> None:
    """The queued row takes the new fingerprint."""
    path = driven.write("a.wav")
    driven.pass_time()
    job = driven.only()
    path.write_bytes(b"y" * 50)
    driven.pass_time()
    assert driven.only().id == job.id
    assert driven.only().fingerprint == fingerprint_of(path)


@pytest.mark.parametrize("told_first", ["worker", "scan"])
def test_a_file_that_changes_while_it_is_transcribed_is_queued_again(driven: Driven, told_first: str) -> None:
    """Whether the worker finds out first or the scan; in the same row, with the new fingerprint, at once."""
    path = driven.write("a.wav")
    driven.pass_time()
    job = driven.claim()
    path.write_bytes(b"y" * 50)
    if told_first == "scan":
        driven.pass_time(20)
        assert driven.only().state is JobState.RUNNING
        assert "while it was transcribed" in (driven.inbox.explain(job.path, driven.now) or "")
    driven.store.hold(job, "the recording changed", utc_now(), delay_s=60.0, refund=True)
    driven.inbox.forget(job.path)
    driven.pass_time()
    found = driven.only()
    assert (found.id, found.state, found.attempt) == (job.id, JobState.QUEUED, 0)
    assert found.fingerprint == fingerprint_of(path)
    assert found.not_before_at is None


def test_new_content_is_not_lost_where_the_job_ends_without_noticing(driven: Driven) -> None:
    """The scan saw it while the job was in hand, and the job failed or was done with the old content."""
    path = driven.write("a.wav")
    driven.pass_time()
    for end in (driven.store.fail, driven.store.quarantine):
        job = driven.claim()
        path.write_bytes(path.read_bytes() + b"y")
        driven.pass_time(20)
        end(job, "no audio in it", utc_now())
        driven.pass_time()
        assert driven.jobs()[-1].state is JobState.QUEUED
        assert driven.jobs()[-1].fingerprint == fingerprint_of(path)
    assert driven.states() == ["failed", "quarantined", "queued"]


# Going away


@pytest.mark.fault(9, "unlink while queued")
def test_gone_before_its_turn_is_vanished_and_back_again_is_a_new_job(driven: Driven, tmp_path: Path) -> None:
    """Moved away and moved back: the very same file."""
    path = driven.write("a.wav")
    driven.pass_time()
    path.rename(tmp_path / "away.wav")
    driven.pass_time()
    assert driven.states() == ["vanished"]
    (tmp_path / "away.wav").rename(path)
    driven.pass_time()
    assert driven.states() == ["vanished", "queued"]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_folder_that_goes_and_comes_back_brings_new_jobs(driven: Driven, tmp_path: Path, restarted: bool) -> None:
    """Its files are the very same, time stamps and all, as with a share that was away; also across a restart."""
    (driven.folder / "sub").mkdir()
    path = driven.write("sub/a.wav")
    before = fingerprint_of(path)
    driven.pass_time()
    (driven.folder / "sub").rename(tmp_path / "sub")
    driven.pass_time()
    assert driven.states() == ["vanished"]
    if restarted:
        driven.end()
    (tmp_path / "sub").rename(driven.folder / "sub")
    if restarted:
        driven.begin("second")
    driven.pass_time()
    assert fingerprint_of(path) == before
    assert driven.states() == ["vanished", "queued"]


def test_a_renamed_file_moves_on_under_its_new_name(driven: Driven) -> None:
    """The old name is vanished, the new one is queued."""
    path = driven.write("a.wav")
    driven.pass_time()
    path.rename(driven.folder / "b.wav")
    driven.pass_time()
    assert [(os.path.basename(job.path), job.state.value) for job in driven.jobs()] == [
        (b"a.wav", "vanished"),
        (b"b.wav", "queued"),
    ]


def test_a_job_in_hand_is_not_vanished_by_the_scan(driven: Driven) -> None:
    """Its worker has the file open; what becomes of it is for the worker to say."""
    path = driven.write("a.wav")
    driven.pass_time()
    driven.claim()
    path.unlink()
    driven.pass_time(30)
    assert driven.states() == ["running"]


@pytest.mark.fault(9, "unlink before the worker opens it")
def test_a_recording_that_the_worker_did_not_find_is_vanished(driven: Driven) -> None:
    """The worker may also leave the verdict to the scan: it puts the job back and has the file looked for."""
    path = driven.write("a.wav")
    driven.pass_time()
    job = driven.claim()
    path.unlink()
    driven.store.hold(job, "the recording is gone", utc_now(), delay_s=60.0, refund=True)
    driven.inbox.forget(job.path)
    driven.pass_time(2)
    assert driven.states() == ["vanished"]


def test_a_done_file_may_go_and_come_back_with_its_transcript(driven: Driven, tmp_path: Path) -> None:
    """Nothing to do then; without its transcript it is transcribed again."""
    path = driven.write("a.wav")
    driven.pass_time()
    transcript = driven.folder / "a.txt"
    transcript.write_text("words")
    driven.finish([transcript])
    for is_there in (True, False):
        path.rename(tmp_path / "away.wav")
        driven.pass_time()
        if not is_there:
            transcript.unlink()
        (tmp_path / "away.wav").rename(path)
        driven.pass_time()
        assert driven.states() == (["done"] if is_there else ["done", "queued"])


def test_a_failed_file_that_is_dropped_again_is_tried_again(driven: Driven, tmp_path: Path) -> None:
    """The person means it, even where the copy keeps size and time. One that lies there is left alone."""
    path = driven.write("a.wav")
    driven.pass_time()
    driven.store.fail(driven.claim(), "no audio in it", utc_now())
    path.chmod(0o600)
    driven.pass_time(60)
    assert driven.states() == ["failed"]
    path.rename(tmp_path / "away.wav")
    driven.pass_time()
    (tmp_path / "away.wav").rename(path)
    driven.pass_time()
    assert driven.states() == ["failed", "queued"]


def refuse_listing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    real = os.scandir

    def scandir(path: bytes) -> Any:
        if path == os.fsencode(folder):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


def test_files_in_a_folder_that_cannot_be_read_are_not_gone(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither queued ones nor waiting ones; a folder whose name begins alike is another one."""
    for name in ("sub", "sub2"):
        (driven.folder / name).mkdir()
        driven.write(f"{name}/a.wav")
    driven.write("sub/empty.wav", b"")
    driven.pass_time()
    with monkeypatch.context() as patched:
        refuse_listing(patched, driven.folder / "sub")
        (driven.folder / "sub2" / "a.wav").unlink()
        driven.pass_time(30)
        assert sorted(driven.states()) == ["queued", "vanished", "waiting"]
    driven.pass_time(30)
    assert sorted(driven.states()) == ["queued", "vanished", "waiting"]
    assert len(driven.jobs()) == 3


def test_a_file_that_the_disk_cannot_read_about_is_not_gone(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error for one entry, on a damaged disk or a share, says nothing about the file."""
    path = os.fsencode(driven.write("a.wav"))
    driven.pass_time()

    def scan(root: bytes, *, recursive: bool, **_: object) -> scanner.Scan:
        found = scanner.scan(root, recursive=recursive)
        del found.recordings[path]
        found.unreadable[path] = "Input/output error"
        return found

    with monkeypatch.context() as patched:
        patched.setattr(inbox_module, "scan", scan)
        driven.pass_time(30)
    assert driven.states() == ["queued"]
    driven.pass_time()
    assert driven.states() == ["queued"]


# The folder itself


@pytest.mark.fault(26, "the folder renamed away")
def test_a_lost_folder_is_offline_and_nothing_in_it_is_gone(
    driven: Driven, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, and everything is as before when it is back."""
    driven.write("a.wav")
    driven.write("empty.wav", b"")
    driven.pass_time()
    before = driven.jobs()
    driven.folder.rename(tmp_path / "away")
    driven.pass_time(60)
    assert "No such file" in driven.inbox.offline
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.startswith(f"inbox {driven.folder} cannot be searched: No such file or directory; nothing in it")
    assert driven.jobs() == before
    (tmp_path / "away").rename(driven.folder)
    driven.write("b.wav")
    driven.pass_time()
    assert driven.inbox.offline == ""
    assert driven.states() == ["queued", "waiting", "queued"]


def test_a_folder_that_cannot_be_listed_is_offline(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for a share that is there and does not answer."""
    driven.write("a.wav")
    driven.pass_time()
    with monkeypatch.context() as patched:
        refuse_listing(patched, driven.folder)
        driven.pass_time(30)
        assert driven.inbox.offline == "Permission denied"
    driven.pass_time(SCAN_S)
    assert driven.inbox.offline == ""
    assert driven.states() == ["queued"]


@pytest.mark.fault(26, "the folder removed and made again")
def test_a_folder_made_anew_is_an_inbox_again(driven: Driven) -> None:
    """With our mark; what was in the old one is gone before its turn."""
    path = driven.write("a.wav")
    driven.pass_time()
    path.unlink()
    (driven.folder / INBOX_MARKER).unlink()
    driven.folder.rmdir()
    driven.pass_time(SCAN_S)
    assert driven.inbox.offline
    driven.folder.mkdir()
    driven.write("b.wav")
    driven.pass_time()
    assert driven.inbox.offline == ""
    assert (driven.folder / INBOX_MARKER).exists()
    assert driven.states() == ["vanished", "queued"]


def pretend_device(monkeypatch: pytest.MonkeyPatch, device: int) -> None:
    """Let the inbox be on another filesystem: only root can mount one."""

    def identity_of(folder: Path) -> tuple[int, int]:
        return device, folder.stat().st_ino

    monkeypatch.setattr(root_module, "_identity_of", identity_of)


@pytest.mark.fault(26, "an empty folder in its place")
def test_the_empty_folder_below_a_lost_share_is_offline(
    driven: Driven, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is on another filesystem and without our mark: nothing in it counts as deleted, nothing is written in it."""
    driven.write("a.wav")
    driven.pass_time()
    driven.folder.rename(tmp_path / "share")
    driven.folder.mkdir()
    with monkeypatch.context() as patched:
        pretend_device(patched, 12345)
        driven.pass_time(30)
        assert "is the share mounted?" in driven.inbox.offline
        assert list(driven.folder.iterdir()) == []
        assert driven.states() == ["queued"]
    driven.folder.rmdir()
    (tmp_path / "share").rename(driven.folder)
    driven.pass_time(SCAN_S)
    assert driven.inbox.offline == ""
    assert driven.states() == ["queued"]


def test_a_share_that_comes_back_under_another_number_is_known_by_its_mark(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS and CIFS get a new device number with every mount."""
    path = driven.write("a.wav")
    driven.pass_time()
    (driven.folder / INBOX_MARKER).unlink()
    (driven.folder / INBOX_MARKER).touch()  # as the kernel sees it: another file
    pretend_device(monkeypatch, 12345)
    driven.pass_time()
    assert driven.inbox.offline == ""
    assert driven.states() == ["queued"]
    assert path.exists()


@pytest.mark.fault(26, "no share at the start")
def test_a_share_that_is_missing_at_start_up_loses_nothing(driven: Driven, tmp_path: Path) -> None:
    """Recordings are known, the folder is empty and without our mark: that is a mount point without its share."""
    driven.write("a.wav")
    driven.pass_time()
    driven.end()
    driven.folder.rename(tmp_path / "share")
    driven.folder.mkdir()
    driven.begin("second")
    driven.pass_time(30)
    assert "is the share mounted?" in driven.inbox.offline
    assert list(driven.folder.iterdir()) == []
    assert driven.states() == ["queued"]
    driven.folder.rmdir()
    (tmp_path / "share").rename(driven.folder)
    driven.pass_time(SCAN_S)
    assert driven.inbox.offline == ""
    assert driven.states() == ["queued"]


def test_a_folder_made_anew_between_two_runs_is_taken_with_its_first_file(driven: Driven, tmp_path: Path) -> None:
    """A person may have deleted it with everything in it: whoever drops a file shows that it is in use."""
    driven.write("a.wav")
    driven.pass_time()
    driven.end()
    driven.folder.rename(tmp_path / "old")
    driven.folder.mkdir()
    driven.begin("second")
    driven.step()
    assert driven.inbox.offline
    driven.write("b.wav")
    driven.pass_time()
    assert driven.inbox.offline == ""
    assert driven.states() == ["vanished", "queued"]


def test_an_empty_folder_made_anew_is_not_taken_yet(driven: Driven, tmp_path: Path) -> None:
    """On the same disk it may be the mount point of a bind mount that is gone. A file in it shows that it is in use."""
    driven.write("a.wav")
    driven.pass_time()
    driven.folder.rename(tmp_path / "share")
    driven.folder.mkdir()
    driven.pass_time(30)
    assert "is the share mounted?" in driven.inbox.offline
    assert f"make an empty file {INBOX_MARKER} in it" in driven.inbox.offline
    assert list(driven.folder.iterdir()) == []
    assert driven.states() == ["queued"]
    (driven.folder / INBOX_MARKER).touch()  # a person says that it is right
    driven.pass_time()
    assert driven.inbox.offline == ""
    assert driven.states() == ["vanished"]


def test_a_folder_that_goes_away_while_it_is_searched(
    driven: Driven, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`umount -l` in the middle of a scan: what the rest of the scan does not find is not gone."""
    driven.write("a.wav")
    (driven.folder / "sub").mkdir()
    driven.write("sub/b.wav")
    driven.pass_time()

    def go_away(name: str) -> Verdict:
        driven.folder.rename(tmp_path / "share")
        driven.folder.mkdir()
        (driven.folder / "other.wav").touch()
        return judge_folder(name)

    with monkeypatch.context() as patched:
        patched.setattr(scanner, "judge_folder", go_away)
        driven.step(SCAN_S)
        assert driven.inbox.offline == "it went away while it was searched"
    assert driven.states() == ["queued", "queued"]
    (driven.folder / "other.wav").unlink()
    driven.folder.rmdir()
    (tmp_path / "share").rename(driven.folder)
    driven.pass_time()
    assert driven.inbox.offline == ""
    assert driven.states() == ["queued", "queued"]


def test_a_mark_that_a_person_removed_is_made_again(driven: Driven) -> None:
    """It is the same folder, empty or not: nothing speaks of a lost share."""
    driven.write("a.wav").unlink()
    driven.write("b.wav")
    driven.pass_time()
    (driven.folder / "b.wav").unlink()
    (driven.folder / INBOX_MARKER).unlink()
    driven.pass_time()
    assert driven.inbox.offline == ""
    assert (driven.folder / INBOX_MARKER).exists()
    assert driven.states() == ["vanished"]


def test_a_share_mounted_over_a_new_inbox_is_taken(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service was faster than the mount at boot; nothing is known of the folder below, so nothing can be lost."""
    driven.step()
    (driven.folder / INBOX_MARKER).unlink()
    pretend_device(monkeypatch, 12345)
    driven.write("a.wav")
    driven.pass_time()
    assert driven.inbox.offline == ""
    assert driven.states() == ["queued"]


def test_no_job_begins_before_the_inbox_is_seen(driven: Driven, tmp_path: Path) -> None:
    """What an earlier daemon was publishing is ended first, leftovers are removed, and only then is it ready."""
    driven.write("a.wav")
    driven.pass_time()
    driven.end()
    driven.folder.rename(tmp_path / "share")
    driven.folder.mkdir()
    (tmp_path / "share" / ".tr-0123456789abcdef.part").touch()
    settled: list[int] = []
    driven.settle = lambda _touch: settled.append(len(list(driven.folder.glob(".tr-*.part"))))
    driven.begin("second")
    driven.pass_time(10)
    assert driven.inbox.looked.is_set()
    assert (driven.inbox.ready, settled) == (False, [])
    driven.folder.rmdir()
    (tmp_path / "share").rename(driven.folder)
    driven.pass_time(SCAN_S)
    assert driven.inbox.ready
    assert settled[0] == 1  # it was still there then
    assert list(driven.folder.glob(".tr-*.part")) == []


def test_jobs_that_waited_for_a_lost_share_are_due_when_it_is_back(driven: Driven, tmp_path: Path) -> None:
    """Not only after the delay that they were put off by."""
    driven.write("a.wav")
    driven.pass_time()
    driven.store.hold(driven.claim(), "the recording is gone", utc_now(), delay_s=3600.0, refund=True)
    driven.folder.rename(tmp_path / "away")
    driven.pass_time(SCAN_S)
    assert driven.inbox.offline
    (tmp_path / "away").rename(driven.folder)
    driven.pass_time(SCAN_S)
    assert driven.claim().path.endswith(b"a.wav")


def test_a_blocked_folder_is_tried_at_each_scan(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its jobs are due once it can be written; where it always could be, they keep their longer and longer waits."""
    driven.write("a.wav")
    driven.pass_time()
    real_write = os.write

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    driven.store.hold(driven.claim(), "Disk quota exceeded", utc_now(), delay_s=3600.0, refund=True)
    driven.inbox.blocked(os.fsencode(driven.folder))
    monkeypatch.setattr(os, "write", full)
    driven.pass_time(30)
    assert driven.store.claim(utc_now()) is None
    monkeypatch.setattr(os, "write", real_write)
    driven.pass_time(SCAN_S)
    driven.store.hold(driven.claim(), "File name too long", utc_now(), delay_s=3600.0, refund=True)
    driven.inbox.blocked(os.fsencode(driven.folder))
    driven.pass_time(30)
    assert driven.store.claim(utc_now()) is None
    assert {path.name for path in driven.folder.iterdir()} == {"a.wav", INBOX_MARKER}


@pytest.mark.parametrize("call", ["scan", "lstat"])
def test_time_in_a_hung_share_is_no_time_of_stillness(
    driven: Driven, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A file that came while the share hung is seen once, by a step that began long before: it is not finished."""
    held_s = 0.0
    driven.step()
    driven.write("a.wav")
    if call == "lstat":
        driven.step(SCAN_S)
        driven.write("a.wav", b"y" * 200)

    def holding(real: Callable[..., Any]) -> Callable[..., Any]:
        def hold(*arguments: Any, **named: Any) -> Any:
            nonlocal held_s
            held_s = 100.0
            return real(*arguments, **named)

        return hold

    with monkeypatch.context() as patched:
        for module in (inbox_module, admission_module):
            patched.setattr(module, "monotonic_s", lambda: held_s)
        if call == "scan":
            patched.setattr(inbox_module, "scan", holding(scanner.scan))
        else:
            patched.setattr(os, "lstat", holding(os.lstat))
        driven.step(SCAN_S if call == "scan" else 1.0)
        driven.now += 100.0
    driven.step(1.0)
    driven.step(1.0)
    assert "queued" not in driven.states()
    driven.pass_time()
    assert driven.states() == ["queued"]


def test_the_loop_counts_as_stuck_only_outside_of_the_share(driven: Driven) -> None:
    """Before each call into the folder the loop says that it may hang, and after it that it lives."""
    told: list[str] = []
    driven.inbox.start_watching(lambda: None, lambda: told.append("alive"), lambda: told.append("away"))
    driven.write("a.wav")
    driven.pass_time()
    assert told[:2] == ["away", "alive"]
    assert told.count("away") == told.count("alive") > 5
    assert all(one != other for one, other in itertools.pairwise(told))


def test_a_folder_that_cannot_be_marked_is_used_all_the_same(
    make: Callable[..., Driven], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once: a share that is read-only for us. The mark is blocked here by a folder of its name."""
    (tmp_path / "inbox" / INBOX_MARKER).mkdir(parents=True)
    driven = make()
    driven.write("a.wav")
    driven.pass_time(60)
    assert driven.states() == ["queued"]
    assert [record.getMessage().split(":")[1] for record in caplog.records if record.levelno == logging.WARNING] == [
        " not marked as ours"
    ]


@pytest.mark.fault(22, "a second inbox object on the folder")
def test_a_second_daemon_on_the_same_folder_is_refused(driven: Driven, tmp_path: Path) -> None:
    """Also with a history of its own; the message names the first. Afterwards the folder is free."""
    (tmp_path / "other").mkdir()
    store = JobStore.open(tmp_path / "other" / "history.db", "other")
    second = Inbox(driven.config, store, max_attempts=3, on_new=lambda: None)
    owner = Owner.this_process("other", tmp_path / "other", "now")
    driven.step()
    second.open(owner)
    second.step(0.0)
    assert second.looked.is_set()
    assert isinstance(second.refused, AlreadyRunning)
    assert str(driven.folder) in str(second.refused)
    assert f"process {os.getpid()} " in str(second.refused)
    assert f"its state in {tmp_path}," in str(second.refused)
    assert not second.ready
    driven.inbox.close()
    second.step(SCAN_S)
    assert second.ready
    second.close()
    store.close()


def test_a_folder_that_another_daemon_took_meanwhile_is_left_to_it(driven: Driven, tmp_path: Path) -> None:
    """The folder was made anew, and the other one was faster."""
    driven.write("a.wav")
    driven.pass_time()
    driven.folder.rename(tmp_path / "old")
    driven.folder.mkdir()
    (tmp_path / "other").mkdir()
    store = JobStore.open(tmp_path / "other" / "history.db", "other")
    second = Inbox(driven.config, store, max_attempts=3, on_new=lambda: None)
    second.open(Owner.this_process("other", tmp_path / "other", "now"))
    (driven.folder / "theirs.txt").touch()
    second.step(0.0)
    driven.write("b.wav")
    driven.pass_time(30)
    assert "in use by another transcribed" in driven.inbox.offline
    assert driven.states() == ["queued"]
    second.close()
    store.close()
    driven.pass_time()
    assert driven.inbox.offline == ""
    assert driven.states() == ["vanished", "queued"]


# Restart


def test_a_restart_makes_no_second_job(driven: Driven) -> None:
    """Whatever state the file's job is in: queued, done, failed, cancelled, put off."""
    for name in ("done", "failed", "held", "cancelled", "queued"):
        driven.write(f"{name}.wav")
        driven.pass_time()
    driven.finish()
    driven.store.fail(driven.claim(), "no audio in it", utc_now())
    driven.store.hold(driven.claim(), "the folder is read-only", utc_now(), delay_s=60.0, refund=True)
    driven.store.cancel([driven.jobs()[3].id], utc_now())
    before = driven.jobs()
    assert [job.state.value for job in before] == ["done", "failed", "waiting", "cancelled", "queued"]
    driven.restart()
    driven.pass_time(60)
    assert driven.jobs() == before


def test_what_the_intake_waited_for_is_taken_up_again(driven: Driven) -> None:
    """The waiting row becomes the job once the file has content, or is vanished if it went away meanwhile."""
    for name in ("filled.wav", "gone.wav", "empty.wav"):
        driven.write(name, b"")
    driven.pass_time()
    assert driven.states() == ["waiting"] * 3
    driven.end()
    driven.write("filled.wav")
    (driven.folder / "gone.wav").unlink()
    driven.begin("second")
    driven.pass_time()
    found = {os.path.basename(job.path): job.state.value for job in driven.jobs()}
    assert found == {b"filled.wav": "queued", b"gone.wav": "vanished", b"empty.wav": "waiting"}
    assert len(driven.jobs()) == 3


def test_a_file_that_could_not_be_opened_is_tried_again_after_a_restart(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing about it changed: the history alone would take it for known."""

    def refuse(name: bytes) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    driven.write("a.wav")
    with monkeypatch.context() as patched:
        patched.setattr(examine_module, "open_recording", refuse)
        driven.pass_time()
        assert driven.states() == ["waiting"]
    driven.restart()
    driven.pass_time()
    assert driven.states() == ["queued"]


def test_what_happened_while_nobody_watched_is_seen(driven: Driven) -> None:
    """New files, changed ones and those that went away, found by the first scans after the start."""
    for name in ("changed.wav", "gone.wav"):
        driven.write(name)
    driven.pass_time()
    driven.end()
    driven.write("changed.wav", b"other")
    driven.write("new.wav")
    (driven.folder / "gone.wav").unlink()
    driven.begin("second")
    driven.pass_time()
    found = {os.path.basename(job.path): job.state.value for job in driven.jobs()}
    assert found == {b"changed.wav": "queued", b"gone.wav": "vanished", b"new.wav": "queued"}
    newest = driven.store.newest(os.fsencode(driven.folder / "changed.wav"))
    assert newest is not None
    assert newest.fingerprint == fingerprint_of(driven.folder / "changed.wav")


def test_a_vanished_file_that_came_back_meanwhile_is_a_new_job(driven: Driven, tmp_path: Path) -> None:
    """The history alone would take it for known."""
    path = driven.write("a.wav")
    driven.pass_time()
    path.rename(tmp_path / "away.wav")
    driven.pass_time()
    driven.end()
    (tmp_path / "away.wav").rename(path)
    driven.begin("second")
    driven.pass_time()
    assert driven.states() == ["vanished", "queued"]


def test_the_sweep_takes_only_our_own_temporary_files(driven: Driven) -> None:
    """Those of a daemon that was killed, wherever they are; nobody else's, however they are named."""
    (driven.folder / "sub").mkdir()
    ours = [".tr-0123456789abcdef.part", "sub/.tr-fedcba9876543210.part", ".tr-probe-0123456789abcdef"]
    theirs = [".tr-x.part", "a.wav", "a.part", ".tr-0123456789abcdef.part.bak", "sub/b.txt"]
    for name in ours + theirs:
        driven.write(name)
    driven.step()
    left = {str(path.relative_to(driven.folder)) for path in driven.folder.rglob("*") if path.is_file()}
    assert left == {*theirs, INBOX_MARKER}


# Trouble with the history


@pytest.mark.parametrize("method", ["enqueue", "newest_of"])
def test_a_file_is_not_lost_when_the_history_is_busy(
    driven: Driven, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    """It is queued by the step that comes after; until then it counts as unfinished."""

    def busy(*_: object) -> None:
        raise StorageBusy("the history is locked")

    path = driven.write("a.wav")
    with monkeypatch.context() as patched:
        patched.setattr(driven.store, method, busy)
        driven.pass_time()
        assert driven.jobs() == []
        assert driven.inbox.explain(os.fsencode(path), driven.now) is not None
    driven.pass_time(2)
    assert driven.states() == ["queued"]
    assert "the history is locked; tried again" in caplog.text


def test_an_inbox_may_begin_while_the_history_is_busy(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known is asked for again before anything is searched, so nothing is done twice."""
    driven.write("a.wav")
    driven.pass_time()
    job = driven.claim()
    driven.store.fail(job, "broken", utc_now())

    def busy(*_: object) -> None:
        raise StorageBusy("the history is locked")

    driven.end()
    with monkeypatch.context() as patched:
        patched.setattr(JobStore, "known_files", busy)
        driven.begin("second")
        driven.step(SCAN_S + 1)
        assert not driven.inbox.looked.is_set()
    driven.pass_time()
    assert driven.states() == ["failed"]


def test_a_vanished_file_is_not_forgotten_when_the_history_is_busy(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next scan comes back to it, also to one that had only been waited for."""

    def busy(*_: object) -> None:
        raise StorageBusy("the history is locked")

    paths = [driven.write("a.wav"), driven.write("empty.wav", b"")]
    driven.pass_time()
    with monkeypatch.context() as patched:
        patched.setattr(driven.store, "vanished", busy)
        for path in paths:
            path.unlink()
        driven.pass_time()
        assert sorted(driven.states()) == ["queued", "waiting"]
    driven.pass_time()
    assert driven.states() == ["vanished", "vanished"]


def test_a_reason_that_could_not_be_told_is_told_later(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nobody would learn why nothing happens to the file."""

    def busy(*_: object) -> None:
        raise StorageBusy("the history is locked")

    driven.write("a.wav", b"")
    with monkeypatch.context() as patched:
        patched.setattr(driven.store, "wait", busy)
        driven.pass_time()
        assert driven.jobs() == []
    driven.pass_time()
    assert driven.states() == ["waiting"]


# When to look


def test_an_idle_inbox_rests(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an hour as many scans as the interval asks for, and a step only every few seconds."""
    driven.write("a.wav")
    driven.pass_time()
    scans: list[bytes] = []
    real = scanner.scan

    def scan(root: bytes, *, recursive: bool, **_: object) -> scanner.Scan:
        scans.append(root)
        return real(root, recursive=recursive)

    monkeypatch.setattr(inbox_module, "scan", scan)
    until, n_steps = driven.now + 3600, 0
    while driven.now < until:
        driven.now += driven.inbox.step(driven.now)
        n_steps += 1
    assert 3600 / SCAN_S - 10 <= len(scans) <= 3600 / SCAN_S + 1
    assert n_steps <= len(scans) + 10


def test_files_that_are_put_off_do_not_keep_an_inbox_busy(driven: Driven) -> None:
    """Only what may be finished soon is looked at every second."""
    for number in range(10):
        driven.write(f"{number}.wav", b"")
    driven.pass_time()
    until, n_steps = driven.now + 600, 0
    while driven.now < until:
        driven.now += driven.inbox.step(driven.now)
        n_steps += 1
    assert n_steps < 400


@pytest.mark.fault(7, "thousands of events")
def test_a_storm_of_events_is_one_wake_up_and_no_storm_of_scans(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand events within a second ask for at most three scans, and wake the loop once for each."""
    wakes: list[int] = []
    driven.step()
    driven.inbox.start_watching(lambda: wakes.append(1))
    wakes.clear()
    n_scans = 0
    real = scanner.scan

    def scan(root: bytes, *, recursive: bool, **_: object) -> scanner.Scan:
        nonlocal n_scans
        n_scans += 1
        return real(root, recursive=recursive)

    monkeypatch.setattr(inbox_module, "scan", scan)
    for _ in range(1000):
        driven.inbox.scan_now()
        driven.step(0.001)
    assert 1 <= n_scans <= 3
    assert len(wakes) <= 3


def test_a_slow_share_is_not_searched_all_the_time(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan that takes longer than the interval gets at most a tenth of the time."""
    clock = [0.0]
    monkeypatch.setattr(inbox_module, "monotonic_s", lambda: clock[0])
    n_scans = 0

    def scan(root: bytes, *, recursive: bool, **_: object) -> scanner.Scan:
        nonlocal n_scans
        n_scans += 1
        clock[0] += 6.0
        return scanner.Scan()

    monkeypatch.setattr(inbox_module, "scan", scan)
    driven.pass_time(600)
    assert 9 <= n_scans <= 11


def test_a_long_step_shows_that_it_gets_on(driven: Driven) -> None:
    """On a slow share the walk, the second looks and the openings take a while each: none of it is a hang."""
    n_signs = 0

    def clock() -> float:
        nonlocal n_signs
        n_signs += 1  # each call into the share takes the time anew
        return 0.0

    driven.end()
    driven.share = Share(clock)
    driven.begin("second")
    for number in range(10):
        driven.write(f"{number}.wav")
    for seconds in (0.0, 1.0, SETTLE_S):  # a scan; a second look; that and the openings
        n_before = n_signs
        driven.step(seconds)
        assert n_signs >= n_before + 10
    assert driven.states() == ["queued"] * 10


def test_an_event_lets_a_file_be_seen_before_the_next_scan(make: Callable[..., Driven]) -> None:
    """The scan that events ask for comes at once, the one for what they lose much later."""
    driven = make(scan_interval_s=1000.0)
    driven.pass_time(1)
    driven.write("a.wav")
    driven.pass_time(30)
    assert driven.jobs() == []
    driven.inbox.scan_now()
    driven.pass_time()
    assert driven.states() == ["queued"]


# With real events


@pytest.fixture
def watched(make: Callable[..., Driven]) -> tuple[Driven, threading.Event]:
    """An inbox that listens to events and would not scan for an hour without."""
    driven = make(watch="auto", scan_interval_s=3600.0)
    woken = threading.Event()
    driven.inbox.start_watching(woken.set)
    if not driven.inbox.watching.events:
        pytest.skip("the temporary folder is on a network filesystem")
    return driven, woken


def heard(driven: Driven, woken: threading.Event) -> None:
    assert woken.wait(20.0)
    woken.clear()


@pytest.mark.fault(5, "each way into a watched folder")
def test_events_find_a_file(watched: tuple[Driven, threading.Event]) -> None:
    """From the drop to the job without a scan of its own accord."""
    driven, woken = watched
    driven.step()
    driven.step(1.0)
    woken.clear()
    driven.write("a.wav")
    heard(driven, woken)
    driven.pass_time()
    assert driven.states() == ["queued"]


def test_the_watch_begins_in_the_steps_of_the_loop(watched: tuple[Driven, threading.Event]) -> None:
    """What came before its first step is found by the scan, and the probe is gone when it is not needed any more."""
    driven, woken = watched
    assert woken.is_set()
    assert list(driven.folder.glob(".tr-probe-*")) == []
    driven.write("a.wav")
    driven.step()
    assert len(list(driven.folder.glob(".tr-probe-*"))) == 1
    driven.pass_time(30)
    assert driven.states() == ["queued"]
    assert list(driven.folder.glob(".tr-probe-*")) == []


@pytest.mark.fault(25, "rmdir and mkdir of the inbox")
def test_a_folder_made_anew_is_watched_anew(watched: tuple[Driven, threading.Event], tmp_path: Path) -> None:
    """Also when it was away for a while: losing it must not end in polling for ever."""
    driven, woken = watched
    driven.step()
    driven.folder.rename(tmp_path / "old")
    driven.pass_time(30)
    driven.inbox.scan_now()
    driven.step(10.0)
    assert driven.inbox.offline
    driven.folder.mkdir()
    driven.inbox.scan_now()
    driven.pass_time(4)
    assert driven.inbox.offline == ""
    assert driven.inbox.watching.events
    woken.clear()
    driven.write("a.wav")
    heard(driven, woken)
    driven.pass_time()
    assert driven.inbox.watching.events
    assert driven.states() == ["queued"]


class _Deaf:
    """A watcher of a folder whose filesystem sends no events."""

    proved = False

    def __init__(self, folder: Path, *, recursive: bool, wake: Callable[[], None]) -> None:
        self.closed = False

    def start(self) -> bool:
        return True

    def working(self) -> bool:
        return True

    def end_probe(self) -> None:
        return None

    def close(self) -> None:
        self.closed = True


class _Refused(_Deaf):
    def start(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("watcher", "reason"), [(_Deaf, "no event came within 5 s"), (_Refused, "the system refuses to watch it")]
)
def test_without_events_the_folder_is_polled(
    make: Callable[..., Driven], monkeypatch: pytest.MonkeyPatch, watcher: type, reason: str
) -> None:
    """Whether they were refused or simply do not come; every file is found all the same."""
    monkeypatch.setattr(watch_module, "Watcher", watcher)
    be_on(monkeypatch, "ext4")
    driven = make(watch="auto", scan_interval_s=None)
    driven.inbox.start_watching(lambda: None)
    driven.pass_time(10)
    assert driven.inbox.watching == Watching(False, reason, SETTLE_S, 5.0, leases=True)
    assert driven.inbox.degraded == reason
    driven.write("a.wav")
    driven.pass_time(10)
    assert driven.states() == ["queued"]


def test_forced_events_are_kept_without_proof(make: Callable[..., Driven], monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator knows better; the scan comes by all the same."""
    monkeypatch.setattr(watch_module, "Watcher", _Deaf)
    driven = make(watch="events")
    driven.inbox.start_watching(lambda: None)
    driven.pass_time(20)
    assert driven.inbox.watching.events
    driven.write("a.wav")
    driven.pass_time(10)
    assert driven.states() == ["queued"]


@pytest.mark.fault(25, "the inbox away and back")
def test_a_watch_is_begun_anew_after_the_folder_was_away(
    make: Callable[..., Driven], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A share that was unmounted and mounted again looks the same, but the old watch on it is blind."""
    begun: list[_Deaf] = []

    class Proved(_Deaf):
        proved = True

        def start(self) -> bool:
            begun.append(self)
            return True

    monkeypatch.setattr(watch_module, "Watcher", Proved)
    be_on(monkeypatch, "ext4")
    driven = make(watch="auto")
    driven.inbox.start_watching(lambda: None)
    driven.pass_time(30)
    assert len(begun) == 1
    driven.folder.rename(tmp_path / "away")
    driven.pass_time(SCAN_S)
    assert driven.inbox.offline
    (tmp_path / "away").rename(driven.folder)
    driven.pass_time(SCAN_S)
    assert driven.inbox.offline == ""
    assert [watcher.closed for watcher in begun] == [True, False]


def test_room_and_scan_are_known_while_the_folder_is_there(driven: Driven, tmp_path: Path) -> None:
    """Looked at by the thread of the inbox, so that whoever asks never hangs; not known of a folder that is away."""
    assert (driven.inbox.disk, driven.inbox.scan_took_s, driven.inbox.degraded) == (None, None, "")
    driven.pass_time()
    disk, scan_took_s = driven.inbox.disk, driven.inbox.scan_took_s
    assert disk is not None
    assert scan_took_s is not None
    free = os.statvfs(driven.folder)
    assert disk.free_bytes == pytest.approx(free.f_bavail * free.f_frsize, rel=0.2)
    assert 0 < disk.free_ratio <= 1
    assert scan_took_s > 0
    driven.folder.rename(tmp_path / "away")
    driven.pass_time()
    assert driven.inbox.disk is None


def test_a_filesystem_that_does_not_tell_has_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some count no inodes, some not even blocks."""
    assert Disk.of(b"/nowhere") is None
    plain = os.statvfs("/")
    fields = list(plain)

    def answer(**changed: int) -> None:
        names = ["f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail"]
        values = [changed.get(name, value) for name, value in zip(names, fields, strict=False)] + fields[8:]

        def told(_path: bytes) -> os.statvfs_result:
            return os.statvfs_result(values)

        monkeypatch.setattr(os, "statvfs", told)

    answer(f_frsize=10, f_blocks=100, f_bfree=60, f_bavail=40, f_files=0, f_favail=0)
    assert Disk.of(b"/") == Disk(400, 0.5, None)
    answer(f_files=100, f_favail=5)
    assert Disk.of(b"/").free_inodes_ratio == 0.05  # type: ignore[union-attr]
    answer(f_blocks=0, f_bfree=0, f_bavail=0)
    assert Disk.of(b"/") is None


def test_a_job_says_whose_it_is(driven: Driven) -> None:
    """That of a file at the top goes by the file's owner, others by their folder."""
    (driven.folder / "anna").mkdir()
    driven.write("anna/a.mp3", b"x" * 16_000)
    top = driven.write("b.mp3", b"x" * 32_000)
    driven.pass_time()
    jobs = {os.path.basename(job.path): job for job in driven.jobs()}
    folder = os.fsencode(driven.folder)
    assert (jobs[b"a.mp3"].person, jobs[b"a.mp3"].expected_s) == (folder + b"/anna", 1.0)
    assert (jobs[b"b.mp3"].person, jobs[b"b.mp3"].expected_s) == (b"owner:%d" % top.stat().st_uid, 2.0)
