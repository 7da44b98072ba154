"""Trouble with shares, on a real filesystem whose server hangs, dies or answers errors; decoder and engine are fakes.

Needs root and /dev/fuse; without them, what is here is skipped. Each test names the row of faults that it is for.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest

from daemon import actor, inboxes, parts, shares
from daemon.config import Config, Loaded
from daemon.control import ask
from daemon.doctor import examine
from daemon.engine.client import Checkpoint, Request
from daemon.errors import OutputBlocked
from daemon.folderpage.names import PAGE_NAMES
from daemon.intake import explain as explain_module
from daemon.intake.explain import explain
from daemon.locks import INBOX_MARKER
from daemon.outputs.leftovers import FolderTrial
from daemon.outputs.publish import stage
from daemon.service import Service
from daemon.transcript import Transcript
from storage.reading import JobReader
from tests import world
from tests.share import MNT_DETACH, Share

SILENT_S = 0.6
LIMIT_S = 8.0


class FakeDecode(world.FakeDecode):
    """As much of a pool as the service wants."""

    def pids(self) -> list[int]:
        """None."""
        return []

    def close(self, grace_s: float) -> None:
        """Nothing to end."""


class FakeEngine(world.FakeEngine):
    """Counts what it is asked; *meanwhile* happens before it answers."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def transcribe(self, request: Request, checkpoint: Checkpoint, **rest: Any) -> Transcript:
        """As `Engine.transcribe`."""
        self.meanwhile()
        return super().transcribe(request, checkpoint, **rest)

    def start(self, model: str) -> None:
        """Nothing to load."""

    def close(self, grace_s: float) -> None:
        """Nothing to end."""

    def status(self) -> Any:
        """Nothing to tell."""
        return _Status()


class _Status:
    seats: tuple[Any, ...] = ()
    state = "ready"
    __dataclass_fields__: ClassVar[dict[str, Any]] = {}


def files(folder: Path) -> list[str]:
    """What is in *folder* but what we tell people there."""
    return [path.name for path in folder.iterdir() if path.name not in PAGE_NAMES]


class Office(Service):
    """A whole service in this process, with one inbox on the share and one on a local disk."""

    def __init__(self, root: Path, share: Share) -> None:
        self.local = root / "local"
        self.local.mkdir(exist_ok=True)
        self.remote = share.folder
        self.state_dir = root / "state"
        inboxes = [
            {"path": folder, "settle_s": 0.1, "scan_interval_s": 0.2, "watch": "poll", "formats": ["txt"]}
            for folder in (self.remote, self.local)
        ]
        self.configured = Config.model_validate({"state_dir": self.state_dir, "inbox": inboxes})
        super().__init__(Loaded(self.configured, None, {}), {})

    def __enter__(self) -> Self:
        self._start()
        self._ready = True
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def status(self) -> dict[str, Any]:
        """What `transcribed status` gets."""
        answer: dict[str, Any] = ask(self.state_dir, "status")
        return answer

    def offline(self) -> str:
        """Why the inbox on the share is not searched."""
        return str(self.status()["inboxes"][0]["offline"])

    def jobs(self, folder: Path) -> list[Any]:
        """The jobs of one inbox, oldest first."""
        reader = JobReader.open(self.state_dir / "transcribed.db")
        try:
            return [job for job in reader.jobs(limit=100)[::-1] if job.inbox == os.fsencode(folder)]
        finally:
            reader.close()

    def states(self, folder: Path) -> list[str]:
        """The states of the jobs of one inbox, oldest first."""
        return [job.state.value for job in self.jobs(folder)]

    def events(self) -> list[str]:
        """The kinds of everything that was noted."""
        with sqlite3.connect(self.state_dir / "transcribed.db") as connection:
            return [kind for (kind,) in connection.execute("SELECT kind FROM event ORDER BY id")]


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for it."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {LIMIT_S:g} s for {what}")
        time.sleep(0.02)


def drop(folder: Path, name: str) -> Path:
    """A recording, complete at once; where its transcript will be."""
    (folder / f".{name}").write_bytes(b"GOOD" + name.encode() * 50)
    (folder / f".{name}").rename(folder / name)
    return folder / f"{name.rpartition('.')[0]}.txt"


def giving(made: object) -> Callable[..., object]:
    """What answers *made* whatever it is asked."""

    def give(*_: object) -> object:
        return made

    return give


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Share]:
    share = Share(tmp_path)
    if not share.mount():
        share.unmount()
        pytest.skip("a FUSE filesystem cannot be mounted here: needs root and /dev/fuse")
    yield share
    share.unmount()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def office(tmp_path: Path, share: Share, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Office:
    """Not started yet; with deadlines of a second instead of a minute, and room for one job at once."""
    monkeypatch.setattr(shares, "SILENT_S", SILENT_S)
    monkeypatch.setattr(shares, "LOOK_S", 0.05)
    monkeypatch.setattr(inboxes, "SEEN_S", 0.5)
    monkeypatch.setattr(inboxes, "ENDED_S", 1.0)
    monkeypatch.setattr(actor, "STALE_S", 1.5)
    monkeypatch.setattr(actor, "LONGEST_REST_S", 0.5)
    for name, made in {"n_in_hand": 1, "make_engine": engine, "make_decode_pool": FakeDecode()}.items():
        monkeypatch.setattr(parts, name, giving(made))
    return Office(tmp_path, share)


@pytest.mark.fault(27, "a FUSE share that hangs")
def test_row_27_a_hung_share_holds_up_nothing_else(office: Office, share: Share) -> None:
    """It is shown, noted once, and waited for; the other inbox, the commands and the watchdog go on."""
    with office:
        drop(office.remote, "before.wav")
        until(lambda: (office.remote / "before.txt").exists(), "a first transcript")
        drop(share.backing, "a.wav")
        share.hang()
        until(lambda: "not answering since" in office.offline(), "the share to be silent")
        text = drop(office.local, "b.wav")
        until(text.exists, "the other inbox")
        time.sleep(1.6)  # longer than a loop may be silent
        assert office.status()["stuck"] == []
        assert office.states(office.remote)[:1] == ["done"]
        share.answer()
        until((office.remote / "a.txt").exists, "the share to go on by itself")
        until(lambda: office.offline() == "", "the share to be shown as well")
        assert office.events().count("share_silent") == 1
        until(lambda: office.events().count("share_answers") == 1, "the note of the answer")


@pytest.mark.fault(27, "a job in a hung share")
def test_row_27_a_job_that_hangs_takes_no_place(office: Office, share: Share, engine: FakeEngine) -> None:
    """There is room for one job, which hangs when it is to be published: those of the other inbox are done."""
    with office:
        engine.meanwhile = share.hang
        text = share.backing / drop(office.remote, "a.wav").name
        until(lambda: "not answering since" in office.offline(), "the share to be silent")
        engine.meanwhile = lambda: None
        for number in range(3):
            until(drop(office.local, f"{number}.wav").exists, "the other inbox")
        assert not text.exists()
        job = office.jobs(office.remote)[0].id
        assert ask(office.state_dir, "cancel", jobs=[job]) == []  # too late, and it says so
        share.answer()
        until(text.exists, "the transcript")
        until(lambda: office.states(office.remote) == ["done"], "its job")
        assert engine.n_calls == 4
        assert sorted(files(share.backing)) == [INBOX_MARKER, "a.txt", "a.wav"]


@pytest.mark.fault(27, "a hung share at the start")
def test_row_27_a_share_that_hangs_at_the_start(office: Office, share: Share) -> None:
    """The start goes on without it, and takes it up when it answers."""
    drop(share.backing, "a.wav")
    share.hang()
    began = time.monotonic()
    with office:
        assert time.monotonic() - began < 3.0
        until(drop(office.local, "b.wav").exists, "the other inbox")
        share.answer()
        until((share.backing / "a.txt").exists, "the share to be taken up")
        assert (share.backing / INBOX_MARKER).exists()


@pytest.mark.fault(27, "a stop while a share hangs")
def test_row_27_a_stop_does_not_wait_for_a_hung_share(office: Office, share: Share, engine: FakeEngine) -> None:
    """Neither for its inbox nor for its job; the next start does what was left."""
    with office:
        engine.meanwhile = share.hang
        drop(office.remote, "a.wav")
        until(lambda: "not answering since" in office.offline(), "the share to be silent")
        engine.meanwhile = lambda: None
        began = time.monotonic()
    assert time.monotonic() - began < 4.0
    share.answer()


def test_row_27_a_process_with_a_thread_in_a_hung_share_ends(share: Share) -> None:
    """The interpreter does not wait for it, nor does the kernel."""
    share.hang()
    code = """if True:
        import os, sys
        from daemon.shares import NoAnswer, within
        try:
            within(0.2, "share", lambda: os.listdir(sys.argv[1]))
        except NoAnswer:
            print("left")
    """
    done = subprocess.run(
        [sys.executable, "-c", code, share.folder], capture_output=True, text=True, timeout=LIMIT_S, check=True
    )
    assert done.stdout == "left\n"
    share.answer()


@pytest.mark.fault(27, "commands while a share hangs")
def test_row_27_commands_answer_while_a_share_hangs(
    office: Office, share: Share, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`explain` and `doctor` look at the folder in their own process, and say what they cannot see."""
    monkeypatch.setattr(explain_module, "_SHARE_S", 0.2)
    monkeypatch.setattr("daemon.doctor.SHARE_S", 0.2)
    share.hang()
    found = explain(share.folder / "a.wav", office.configured.inbox, None, lambda _name: None)
    assert "on disk: the share does not answer within 0.2 s" in found.lines
    checks = (check for check in examine(office.configured, tmp_path / "none.db") if check.name.startswith("inbox"))
    assert "does not answer" in next(checks).finding
    share.answer()


@pytest.mark.fault(27, "the server of the share killed")
def test_row_27_a_share_whose_server_died(office: Office, share: Share) -> None:
    """Offline in words ("Transport endpoint ..."), nothing in it is gone, and all goes on when it is back."""
    with office:
        until(drop(office.remote, "a.wav").exists, "a first transcript")
        (share.backing / "empty.wav").touch()
        until(lambda: office.states(office.remote) == ["done", "waiting"], "a file that waits")
        share.die()
        until(lambda: "Transport endpoint" in office.offline(), "the share to be offline")
        time.sleep(1.0)
        assert office.states(office.remote) == ["done", "waiting"]
        share.unmount()  # and now the empty folder below it is seen
        until(lambda: "is the share mounted?" in office.offline(), "the lost mount to be seen")
        drop(share.backing, "b.wav")
        assert list(office.remote.iterdir()) == []
        assert share.mount()
        until((share.backing / "b.txt").exists, "the share to go on by itself")
        until(lambda: office.states(office.remote) == ["done", "waiting", "done"], "its job")


@pytest.mark.fault(27, "ESTALE, EIO and the like")
@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.EACCES])
def test_row_27_a_share_that_answers_errors(office: Office, share: Share, number: int) -> None:
    """Offline with the words of the system; nothing in it is gone."""
    with office:
        (share.backing / "empty.wav").touch()
        until(lambda: office.states(office.remote) == ["waiting"], "a file that waits")
        share.fail(number)
        until(lambda: os.strerror(number) in office.offline(), "the share to be offline")
        drop(share.backing, "a.wav")
        share.fail(0)
        until((share.backing / "a.txt").exists, "the share to go on by itself")
        until(lambda: office.states(office.remote) == ["waiting", "done"], "its job")


@pytest.mark.fault(16, "EROFS from the share")
@pytest.mark.fault(17, "ENOSPC from the share")
@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EIO, errno.ESTALE])
def test_row_16_and_17_a_folder_that_cannot_be_written(
    office: Office, share: Share, engine: FakeEngine, number: int
) -> None:
    """The transcript is kept, the job says why it waits, and it is published by itself without the model."""
    with office:
        until(lambda: office.offline() == "", "the share")
        engine.meanwhile = lambda: share.fail(number, only_writing=True)
        text = share.backing / drop(office.remote, "a.wav").name
        until(lambda: office.states(office.remote) == ["waiting"], "the job to wait")
        reason = office.jobs(office.remote)[0].reason
        assert os.strerror(number) in reason
        assert "the transcript is made and kept" in reason
        assert not text.exists()
        time.sleep(0.5)  # some scans that find it still so
        share.fail(0)
        until(text.exists, "the transcript, long before the next try by the clock")
        until(lambda: office.states(office.remote) == ["done"], "its job")
        assert engine.n_calls == 1
        until(lambda: len(files(share.backing)) == 3, "no leftovers")


@pytest.mark.fault(26, "a share that comes back")
def test_row_26_leftovers_go_when_a_share_comes_back(office: Office, share: Share) -> None:
    """It was away at the start, so that they could not be removed then. Files of others stay."""
    ours, theirs = ".tr-0123456789abcdef.part", ".tr-x.part"
    for name in (ours, theirs):
        (share.backing / name).touch()
    share.die()
    with office:
        until(lambda: "Transport endpoint" in office.offline(), "the share to be offline")
        share.unmount()
        assert share.mount()
        until(lambda: not (share.backing / ours).exists(), "the leftover to go")
        assert (share.backing / theirs).exists()


@pytest.mark.fault(26, "a share lost while publishing")
def test_row_26_what_was_being_published_when_the_share_was_lost(
    office: Office, share: Share, engine: FakeEngine, tmp_path: Path
) -> None:
    """The service stopped in the middle of it, the share is away at the next start: it is published when it is back."""
    with office:
        engine.meanwhile = share.hang
        drop(office.remote, "a.wav")
        until(lambda: "not answering since" in office.offline(), "the share to be silent")
        engine.meanwhile = lambda: None
    share.die()
    again = Office(tmp_path, share)
    with again:
        until(lambda: "Transport endpoint" in again.offline(), "the share to be offline")
        share.unmount()
        assert share.mount()
        until((share.backing / "a.txt").exists, "the transcript")
        until(lambda: again.states(again.remote) == ["done"], "its job")
        until(lambda: len(files(share.backing)) == 3, "no leftovers")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    libc = ctypes.CDLL(None)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"size=256k") != 0:
        pytest.skip("a tmpfs cannot be mounted here: needs root")
    yield folder
    libc.umount2(os.fsencode(folder), MNT_DETACH)


@pytest.mark.fault(17, "a tmpfs that is full")
def test_row_17_a_full_disk_is_told_from_one_with_room_again(small: Path) -> None:
    """By writing, not by asking: quotas and servers do not say. Nothing is left of it."""
    filler = small / "filler"
    filler.write_bytes(bytes(220 * 1024))
    trial = FolderTrial(os.fsencode(small))
    assert trial.over() is None
    filler.unlink()
    assert trial.over() is True
    assert list(small.iterdir()) == []
    assert FolderTrial(os.fsencode(small)).over() is False  # there was room all along: the trouble is another


@pytest.mark.fault(17, "a tmpfs that is full")
def test_row_17_no_half_transcript_on_a_full_disk(small: Path) -> None:
    """The temporary file goes too, and the words say what is missing."""
    (small / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(OutputBlocked, match="No space left on device"):
        stage(os.fsencode(small / "a.wav"), {"srt": b"x", "txt": bytes(400 * 1024)}, {})
    assert [path.name for path in small.iterdir()] == ["a.wav"]
