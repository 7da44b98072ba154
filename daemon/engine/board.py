"""The board: every window of every open recording that waits for the model, and the threads that wait for windows.

Owns the locking and the bound on memory; which windows go together is decided in `daemon.engine.batching`.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Final

from daemon.engine.assembly import DecodedWindow
from daemon.engine.batching import BatchLimit, Flow, Turns, choose
from daemon.engine.decoding import Ask, Key, Listening, WindowRequest
from daemon.engine.passes import WHOLE_FRAMES, Attempt, Pass
from daemon.engine.runtime import Encoded, Mel

MAX_WAITING_BYTES: Final = 256 * 1024**2
"""Samples and features on the board; about 90 windows of 30 s. A recording without any there always gets one."""


@dataclass(slots=True, eq=False)
class Task:
    """One window on its way through its passes, to its languages, its text, the translation of it, or all of them."""

    request: WindowRequest
    flow: Flow
    passes: tuple[Pass, ...]  # those that are left; none: only the language is wanted
    mel: Mel  # of the window alone
    bucket_frames: int
    listen_whole: bool = False  # its language was doubtful on a short encoder window
    order: float = 0.0
    stamp: float = 0.0
    arrival: int = 0
    is_fresh: bool = True
    transcript: DecodedWindow | None = None  # its text, while the translation is asked for
    encoded: Encoded | None = None  # kept while the next pass can use it
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    decoded: Future[DecodedWindow] = field(default_factory=Future[DecodedWindow])
    languages: Future[Listening] = field(default_factory=Future[Listening])

    @property
    def key(self) -> Key:
        """What must be equal in one call."""
        return self.ask.key

    @property
    def ask(self) -> Ask:
        """The next thing to ask of the model: for the language, unless it is known."""
        way = self.passes[0] if self.passes and self.request.language else None
        return Ask(self.request, self.mel, self.n_frames, way, self.encoded)

    @property
    def speech_s(self) -> float:
        """How much is said in the window."""
        return self.request.speech_s

    @property
    def n_frames(self) -> int:
        """What the encoder sees of it in the next pass; for its language, what it sees in the first."""
        if self.listen_whole and not self.request.language:
            return WHOLE_FRAMES
        way = self.passes[0] if self.passes else self.request.passes[0]
        return way.n_frames(int(self.mel.shape[1]), self.bucket_frames)

    @property
    def cost_s(self) -> float:
        """How much of the model it takes, in seconds of audio that is only transcribed."""
        return self.request.cost_s

    @property
    def n_bytes(self) -> int:
        """What it holds in memory while it waits."""
        return int(self.request.samples.nbytes + self.mel.nbytes)

    def translate(self, transcript: DecodedWindow) -> None:
        """Go on with the translation of *transcript*, from what the encoder made of the window for it."""
        n_own, n_seen, padding_s = int(self.mel.shape[1]), self.n_frames, self.passes[0].padding_s
        original = " ".join(segment.text.strip() for segment in transcript.segments)
        self.request = replace(self.request, task="translate", original=original)
        first, *more = self.request.passes
        wider = (way for way in more if way.temperature or way.n_frames(n_own, self.bucket_frames) > n_seen)
        self.passes = (replace(first, padding_s=padding_s), *wider)
        self.attempts = []
        self.transcript = transcript

    def fail(self, error: BaseException) -> None:
        """Whoever waits for it gets *error*."""
        for future in (self.languages, self.decoded):
            if not future.done():
                future.set_exception(error)


class Board:
    """Windows in, batches out; any number of threads on both sides."""

    def __init__(self, limit: BatchLimit, max_frames: int, max_bytes: int = MAX_WAITING_BYTES) -> None:
        self._limit = limit
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._turns = Turns()
        self._changed = threading.Condition()
        self._waiting: list[Task] = []
        self._out: dict[Flow, int] = {}  # windows of each recording that are not finished yet
        self._n_bytes = 0
        self._n_taken = 0
        self._closed = False

    def open(self, person: str = "", weight: float = 1.0) -> Flow:
        """A place for a recording of *person*; without a name it is a person by itself. `drop` ends it."""
        with self._changed:
            return self._turns.open(person, weight)

    def put(self, task: Task) -> None:
        """Let *task* wait for its turn; blocks while the board is full, unless it is its recording's only window."""
        with self._changed:
            while self._n_bytes + task.n_bytes > self._max_bytes and self._out.get(task.flow):
                self._changed.wait()
            self._out[task.flow] = self._out.get(task.flow, 0) + 1
            self._n_bytes += task.n_bytes
            self._turns.put(task, self._n_taken)
            self._waiting.append(task)
            self._changed.notify_all()

    def back(self, task: Task) -> None:
        """Let *task* wait for its next pass; it keeps its turn, so it is soon."""
        with self._changed:
            if task.flow.is_over:
                self._forget(task)
            else:
                self._waiting.append(task)
            self._changed.notify_all()

    def take(self) -> list[Task]:
        """The next batch; blocks until there is one. Empty only when the board is closed."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return []
                self._changed.wait()
            self._turns.stamp(self._waiting)
            batch = choose(self._waiting, self._n_taken, self._limit.n, self._max_frames)
            self._turns.take(batch, self._waiting)
            self._n_taken += 1
            for task in batch:
                self._waiting.remove(task)
            return batch

    def n_places(self, head: Task) -> int:
        """How many windows a batch with *head* may hold at present."""
        return min(self._limit.n, max(1, self._max_frames // head.n_frames))

    def finished(self, task: Task) -> None:
        """*task* is over: its room is free."""
        with self._changed:
            self._release(task)
            self._changed.notify_all()

    def drop(self, flow: Flow) -> None:
        """Forget the windows of a recording that is over; those that the model has go through no further pass."""
        with self._changed:
            self._turns.close(flow)
            for task in [task for task in self._waiting if task.flow is flow]:
                self._waiting.remove(task)
                self._turns.forget(task)
                self._forget(task)
            self._changed.notify_all()

    def close(self) -> None:
        """`take` gives nothing more once the board is empty."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _forget(self, task: Task) -> None:
        self._release(task)
        task.fail(InterruptedError("the recording is over"))

    def _release(self, task: Task) -> None:
        self._n_bytes -= task.n_bytes
        self._out[task.flow] -= 1
        if not self._out[task.flow]:
            del self._out[task.flow]
