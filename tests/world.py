"""A whole daemon inside a test, step by step: real intake, history, publishing and recovery; decoder and engine faked.

Nothing runs by itself: the test moves the clock, lets the inbox step, lets jobs be done, and ends the process where it
likes. What a recording holds decides what becomes of it, see `Fate`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Final

import pytest

from daemon import dispatch, recovery, transcription, versions
from daemon import rewriting as rewriting_module
from daemon.after import tidying
from daemon.after.names import goes
from daemon.after.tidying import Tidying
from daemon.ahead import Ahead
from daemon.config import InboxConfig
from daemon.corrections import Edit, Edits
from daemon.decode.pool import Decoded
from daemon.dispatch import Dispatcher
from daemon.engine.client import Checkpoint, Request
from daemon.errors import EngineDied, EngineUnavailable, UnreadableRecording
from daemon.history import open_history
from daemon.intake import admission
from daemon.intake import inbox as inbox_module
from daemon.intake.inbox import Inbox
from daemon.keeper import KeptHistory
from daemon.locks import STATE_LOCK, Lock, Owner
from daemon.outputs import publish
from daemon.outputs.kept import KeptDocuments
from daemon.rewriting import Rewriting
from daemon.shares import Touch
from daemon.sidecars import adopt
from daemon.transcript import Segment, Span, Transcript
from daemon.versions import Versions
from daemon.versions import adopt as adopt_versions
from daemon.workshop import Patiently, Workshop
from storage.jobs import JobStore
from storage.records import Job, Outcome
from tests.disk import Disk, Killed
from tests.invariants import Expected, broken_invariants

SETTLE_S: Final = 3.0
SCAN_S: Final = 5.0
LIVE: Final = {"waiting", "queued", "running", "publishing"}


class Fate(Enum):
    """What the first bytes of a recording do to whoever works on it."""

    GOOD = b"GOOD"
    UNREADABLE = b"JUNK"
    KILLER = b"KILL"

    @classmethod
    def of(cls, content: bytes) -> Fate:
        """The fate of a recording; what was appended does not count."""
        return cls(content[:4])


class _Thread:
    """In place of a thread of `daemon.dispatch`: its work waits until the test lets it happen."""

    def __init__(self, pending: list[Callable[[], object]], work: Callable[[], object]) -> None:
        self._pending = pending
        self._work = work

    def start(self) -> None:
        """It may happen from now on."""
        self._pending.append(self._work)


class _Threading:
    """In place of the module `threading` in `daemon.dispatch`."""

    Lock = staticmethod(threading.Lock)
    Condition = staticmethod(threading.Condition)
    Event = staticmethod(threading.Event)

    def __init__(self, pending: Callable[[], list[Callable[[], object]]]) -> None:
        self._pending = pending

    def Thread(self, *, target: Callable[..., object], args: tuple[Any, ...], **_: Any) -> _Thread:  # noqa: N802
        """As `threading.Thread`."""
        return _Thread(self._pending(), lambda: target(*args))


class FakeDecode:
    """Gives the hash of the recording as its audio, so that the words can say whose they are."""

    def decode(self, recording_fd: int, spool_fd: int, *, progress: Callable[[float], None], **_: Any) -> Decoded:
        """As `DecodePool.decode`."""
        content = os.pread(recording_fd, 1 << 20, 0)
        if content[:4] == Fate.UNREADABLE.value:
            raise UnreadableRecording("no audio in it")
        sha256 = hashlib.sha256(content).hexdigest()
        samples = (content[:4] + sha256.encode()).ljust(320, b"\0")
        os.write(spool_fd, samples)
        progress(1.0)
        return Decoded(
            source_sha256=sha256,
            n_samples=len(samples) // 2,
            decoded_s=1.0,
            declared_s=1.0,
            sample_rate_hz=16_000,
            channels=1,
            codec="pcm",
            reader="fake",
            n_damaged=0,
            spans=(Span(0, len(samples) // 2),),
        )

    def digest(self, fd: int, _cancelled: threading.Event | None = None) -> str:
        """As `DecodePool.digest`."""
        return hashlib.sha256(os.pread(fd, 1 << 20, 0)).hexdigest()


@dataclass
class FakeEngine:
    """Reads out the hash that the decoder put in the audio; *trouble* comes first."""

    trouble: list[Exception] = field(default_factory=list[Exception])
    n_calls: int = 0

    def transcribe(self, request: Request, checkpoint: Checkpoint, **_: Any) -> Transcript:
        """As `Engine.transcribe`."""
        self.n_calls += 1
        audio = request.spool_path.read_bytes()
        if self.trouble:
            raise self.trouble.pop(0)
        if audio[:4] == Fate.KILLER.value:
            raise EngineDied("the engine died", n_inside=1)
        words = audio[4:68].decode()
        return Transcript((Segment(0.0, 1.0, words, -0.1, 1.0, 0.0, 0.0),), "en", 0.9, "base", "cpu", "int8")


class World:
    """The folders, the clock, and the daemon, which may be dead (`up`)."""

    def __init__(self, root: Path, **inbox_settings: Any) -> None:
        self.folder = root / "inbox"
        self.state_dir = root / "state"
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("spool", "kept", "sidecars"):
            (self.state_dir / name).mkdir(parents=True, exist_ok=True)
        times = {"settle_s": SETTLE_S, "scan_interval_s": SCAN_S, "watch": "poll", "formats": ["txt", "srt"]}
        self.config = InboxConfig.model_validate({"path": self.folder} | times | inbox_settings)
        self.now = 1000.0
        self.at = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
        self.disk = Disk(root / "grave")
        self.engine = FakeEngine()
        self.foreign: set[Path] = set()
        """Transcripts that a person changed or removed."""
        self.pending: list[Callable[[], object]] = []
        """The jobs that were claimed and not begun."""
        self.frozen: list[Callable[[], object]] = []
        """Work of processes that others think dead."""
        self.up = False
        self.n_starts = 0
        self._patch = pytest.MonkeyPatch()
        self.disk.install(self._patch)
        for module in (dispatch, transcription, recovery, inbox_module, admission, tidying, versions, rewriting_module):
            self._patch.setattr(module, "utc_now", lambda: self.at)
        self._patch.setattr(dispatch, "threading", _Threading(lambda: self.pending))
        self._patch.setattr(dispatch, "STORAGE_RETRY_S", (0.0, 0.0))
        self._frozen_stores: list[JobStore] = []
        self._give_up: list[Callable[[], None]] = []
        self._stolen: list[str] = []

    def close(self) -> None:
        """The end of the test."""
        self.disk.revive()
        self.stop()
        for store in self._frozen_stores:
            store.close()
        self.disk.remove()
        self._patch.undo()

    # The process.

    def start(self) -> None:
        """What `daemon.service` does, in its order. May be killed on the way."""
        self.n_starts += 1
        self.owner = name = f"daemon-{os.getpid()}-{id(self)}-{self.n_starts}"
        with self._may_die():
            owner = Owner.this_process(name, self.state_dir, "now")
            lock = Lock.take(self.state_dir / STATE_LOCK, owner, "the state folder")
            self._give_up.append(lock.release)
            self.pending = []
            history = open_history(self.state_dir, name)
            self.store = history.store
            self._give_up.append(self.store.close)
            kept = KeptDocuments(self.state_dir / "kept")
            adopt(history.sidecars, self.store, kept)
            assert history.versions is not None
            adopt_versions(history.versions, self.store)
            self.versions = Versions(self.store, history.versions)
            unsettled = recovery.recover(self.store, self.state_dir / "spool", kept, self._goes)
            path = os.fsencode(self.folder)
            rewriting = Rewriting(self.store, path, path, history.versions)

            def settle(touch: Touch) -> None:
                unsettled.settle(path)
                rewriting.write_due(touch.aside)

            self.inbox = Inbox(self.config, self.store, max_attempts=3, on_new=lambda: None, settle=settle)
            self._give_up.append(self.inbox.close)
            self.inbox.open(owner)
            self.tidying = None
            if self.config.done_path is not None:
                self.tidying = Tidying(self.config, self.store, self.inbox, history.sidecars, history.versions)
            self.inbox.step(self.now)
            self.dispatcher = Dispatcher(
                lambda patiently: self._shop(history, kept, patiently),
                n_in_hand=2,
                look_again=self.inbox.forget,
                watches=lambda path: path.startswith(self.inbox.path),
                wake=lambda: None,
                not_ready=lambda: [] if self.inbox.ready else [self.inbox.path],
                blocked=lambda path: self.inbox.blocked(os.path.dirname(path)),
            )
            self.up = True

    def _shop(self, history: KeptHistory, kept: KeptDocuments, patiently: Patiently) -> Workshop:
        decode: Any = FakeDecode()  # as much of a pool as is called
        engine: Any = self.engine
        return Workshop(
            history.store,
            decode,
            Ahead(2, 1 << 30),
            engine,
            kept,
            self.state_dir / "spool",
            patiently,
            sidecars=history.sidecars,
            goes=self._goes,
        )

    def _goes(self, job: Job, outcome: Outcome) -> bool:
        return goes([self.config], job.path, job.inbox, outcome)

    @contextlib.contextmanager
    def _may_die(self) -> Any:
        self.disk.working = True
        try:
            yield
        except Killed:
            self.disk.working = False
            self._bury()
        finally:
            self.disk.working = False

    def kill(self, *, power_cut: bool = False) -> None:
        """The process is gone, this moment; with *power_cut* so is what was not synced."""
        self.disk.killed = True
        self._bury()
        if power_cut:
            self.disk.lose_power()

    def freeze(self) -> None:
        """The process is taken for dead by its machine, its locks are gone, and its work goes on with `thaw`."""
        self.frozen += self.pending
        self._frozen_stores.append(self.store)
        self._give_up.remove(self.store.close)
        self._bury()

    def thaw(self) -> None:
        """The jobs of frozen processes go on: what is in the hands of the present one is not theirs to change."""
        before = self._in_hand()
        with self._may_die():
            while self.frozen:
                self.frozen.pop(0)()
        if self.up and self._in_hand() != before:
            self._stolen.append("I1: a process that was taken for dead changed a job in other hands")

    def _in_hand(self) -> list[tuple[object, ...]]:
        if not self.up:
            return []
        jobs = [job for job in self.store.jobs(limit=1000) if job.owner == self.owner]
        return [(job.id, job.lease, job.attempt, job.state) for job in jobs if job.state in ("running", "publishing")]

    def _bury(self) -> None:
        self.up = False
        self.disk.revive()
        publish._staged.clear()  # pyright: ignore[reportPrivateUsage]  # the memory of the process
        while self._give_up:
            self._give_up.pop()()

    def stop(self) -> None:
        """An orderly end: what is in hand goes back."""
        if not self.up:
            return
        with self._may_die():
            while self.pending:
                self.pending.pop(0)()
            self.dispatcher.drain(0)
        self._bury()

    # Its work.

    def step(self, seconds: float = 1.0) -> None:
        """Time passes; the inbox looks, jobs are claimed."""
        self.now += seconds
        self.at += timedelta(seconds=seconds)
        if self.up:
            with self._may_die():
                self.inbox.step(self.now)
                self.dispatcher.step(self.now)
                if self.tidying is not None:
                    self.tidying.step(self.now)

    def correct(self, job_id: int, base: int, text: str, by: str = "Anna") -> None:
        """A person writes *text* for the first line of a transcript. It may be killed on the way."""
        if self.up:
            with self._may_die():
                self.versions.correct(job_id, base, Edits({0: Edit(text)}), by)

    def work(self) -> None:
        """The jobs in hand are done."""
        if self.up:
            with self._may_die():
                while self.pending:
                    self.pending.pop(0)()

    def settle(self, n_rounds: int = 40) -> None:
        """All trouble is over and much time passes: everything comes to its end."""
        self.disk.refuse = lambda _call, _path: None
        self.disk.kill_at = None
        self.engine.trouble.clear()
        self.thaw()
        if not self.up:
            self.start()
        quiet = 0
        for number in range(n_rounds):
            for seconds in (SCAN_S, SETTLE_S, SETTLE_S):
                self.step(seconds)
                self.work()
            quiet = quiet + 1 if not self.live() else 0
            if quiet >= 2 and number >= 2:
                return
            self.step(600.0)  # past every delay
            self.work()

    def live(self) -> list[str]:
        """The names of recordings that are not done with and not empty."""
        jobs = self.store.jobs(limit=10_000)
        return [
            os.fsdecode(job.path)
            for job in jobs
            if job.state in LIVE and (not os.path.exists(job.path) or os.path.getsize(job.path) > 0)
        ]

    def refuse_outputs(self, number: int) -> None:
        """The folder of the recordings takes no new file: *number* is ENOSPC, EROFS, ..."""
        inbox = str(self.folder)

        def refuse(call: str, path: str) -> OSError | None:
            new = call in ("create", "link", "rename") and path.startswith(inbox)
            return OSError(number, os.strerror(number)) if new else None

        self.disk.refuse = refuse

    # What is true.

    def broken(self, *, at_rest: bool = True) -> list[str]:
        """The promises that do not hold, one line each."""
        expected = Expected(at_rest=at_rest, foreign=self.foreign)
        broken = broken_invariants(self.folder, self.state_dir, None, expected)
        return broken + self._stolen + (self._wrong_ends() if at_rest else [])

    def _wrong_ends(self) -> list[str]:
        """I1 and I5, more sharply: each recording ended as its content deserves, and the words are its own."""
        broken: list[str] = []
        ends = {Fate.GOOD: "done", Fate.UNREADABLE: "failed", Fate.KILLER: "quarantined"}
        for path in self.recordings():
            content = path.read_bytes()
            job = self.store.newest(os.fsencode(path))
            if not content or job is None:
                continue
            if job.state != ends[Fate.of(content)]:
                broken.append(f"I1: {path} ended as {job.state}: {job.reason}")
            for output in job.outputs:
                place = Path(os.fsdecode(output.path))
                sha256 = hashlib.sha256(content).hexdigest()
                if place not in self.foreign and place.exists() and sha256 not in place.read_text():
                    broken.append(f"I5: {place} has the words of other bytes")
        return broken

    def recordings(self) -> list[Path]:
        """The recordings in the inbox, wherever they are."""
        return [path for path in sorted(self.folder.rglob("*.wav")) if path.is_file()]


def engine_trouble(kind: str) -> Exception:
    """What the engine may answer that is nobody's fault."""
    if kind == "died":
        return EngineDied("the engine died", n_inside=2)
    return EngineUnavailable("the engine cannot be started")


FULL: Final = errno.ENOSPC
READ_ONLY: Final = errno.EROFS
