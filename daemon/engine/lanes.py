"""The threads that put batches to the model, and what becomes of each answer: written down, or asked again.

Owns the way of a window through its passes and what happens when memory runs out; knows nothing of recordings.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Final

from daemon.engine import guards
from daemon.engine.assembly import DecodedWindow, is_its_own_translation
from daemon.engine.batching import BatchLimit, Flow
from daemon.engine.board import Board, Task
from daemon.engine.decoding import Decoder, Listening, WindowRequest
from daemon.engine.passes import WHOLE_FRAMES, Attempt, best_of
from daemon.engine.protocol import Heartbeat
from daemon.engine.runtime import Encoded
from daemon.engine.writing import Draft, write

_SURE_LANGUAGE: Final = 0.6
"""A window's language that is less probable is asked for again with the whole 30 s: a German note of 2 s was Yiddish at
0.36 on a short encoder window, German at 0.71 on the whole one."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether CTranslate2's *error* means that the device's memory is full, which passes."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "alloc_failed" in text


class Lanes:
    """So many threads, each with one batch at a time in the model."""

    def __init__(self, decoder: Decoder, board: Board, limit: BatchLimit, n_lanes: int) -> None:
        self._decoder = decoder
        self._board = board
        self._limit = limit
        self.n_ahead = (n_lanes + 1) * limit.n
        """Windows of one recording that may wait or be in the model: a batch for each lane, and the next one ready."""
        self.n_batches = 0
        self._counting = threading.Lock()
        self._counts = Heartbeat()
        for n in range(n_lanes):
            threading.Thread(target=self.run, name=f"lane-{n}", daemon=True).start()

    @property
    def counts(self) -> Heartbeat:
        """What was done so far."""
        return self._counts

    @property
    def n_windows(self) -> int:
        """The windows that were done so far."""
        return self._counts.n_windows

    def listen(self, request: WindowRequest, flow: Flow) -> Future[Listening]:
        """Ask for the language of a window; what was encoded on the way comes with it."""
        task = Task(request, flow, (), self._decoder.features(request.samples), self._decoder.bucket_frames)
        self._board.put(task)
        return task.languages

    def decode(self, request: WindowRequest, flow: Flow, encoded: Encoded | None = None) -> Future[DecodedWindow]:
        """Ask for the text of a window; *encoded* is what `listen` made of it. Blocks while the board is full."""
        task = self._task(request, flow)
        if encoded is not None and encoded.shape[1] == task.n_frames // 2:
            task.encoded = encoded
        self._board.put(task)
        return task.decoded

    def hear(self, request: WindowRequest, flow: Flow) -> tuple[Future[Listening], Future[DecodedWindow]]:
        """Ask for the language of a window and then, in the same turn, for its text in that language."""
        task = self._task(replace(request, language=""), flow)
        self._board.put(task)
        return task.languages, task.decoded

    def _task(self, request: WindowRequest, flow: Flow) -> Task:
        return Task(request, flow, request.passes, self._decoder.features(request.samples), self._decoder.bucket_frames)

    def open(self, person: str, weight: float) -> Flow:
        """A place among the others for a recording of *person*; `drop` ends it."""
        return self._board.open(person, weight)

    def drop(self, flow: Flow) -> None:
        """Forget the windows of a recording that is over."""
        self._board.drop(flow)

    def run(self) -> None:
        """What each lane does: take batches until the board is closed and empty. Whatever happens, it goes on."""
        while batch := self._board.take():
            n_places = max(len(batch), self._board.n_places(batch[0]))
            try:
                n_retries, n_flags = self._work(batch)
            except BaseException as error:  # noqa: BLE001  # the lane lives; whoever waits hears of it
                self._trouble(batch, error)
            else:
                self._limit.worked()
                self._count(len(batch), n_places, n_retries, n_flags)

    def _count(self, n_windows: int, n_places: int, n_retries: int, n_flags: int) -> None:
        with self._counting:
            self.n_batches += 1
            counts = self._counts
            self._counts = Heartbeat(
                counts.n_windows + n_windows,
                counts.n_places + n_places,
                counts.n_retries + n_retries,
                counts.n_flags + n_flags,
            )

    def _work(self, batch: list[Task]) -> tuple[int, int]:
        """How many windows are asked again, and how many got a text that is not believed."""
        encoded = self._encode(batch)
        if batch[0].key.search is None:
            for task, listening in list(zip(batch, self._decoder.listen(encoded), strict=True)):
                self._heard(task, listening)
            return 0, 0
        attempts = self._decoder.attempt([task.ask for task in batch], encoded)
        accepted: list[Task] = []
        again: list[Task] = []
        for task, attempt in zip(batch, attempts, strict=True):
            (accepted if _enough(task, attempt) else again).append(task)
        results = write([self._draft(task) for task in accepted], self._decoder)
        # Only now, as nothing can fail any more: a window is asked again or finished, never both.
        for task in again:
            self._board.back(task)
        for task, result in zip(accepted, results, strict=True):
            if (whole := _whole(task, result)) is None:
                self._board.back(task)
            else:
                self._board.finished(task)
                task.decoded.set_result(whole)
        return len(again), sum(bool(result.suspect) for result in results)

    def _heard(self, task: Task, listening: Listening) -> None:
        """The language of a window is known, or doubtful: then the encoder is shown all that it was trained on."""
        probabilities, _ = listening
        language = max(probabilities, key=lambda code: probabilities[code])
        if probabilities[language] < _SURE_LANGUAGE and task.n_frames < WHOLE_FRAMES:
            task.listen_whole = True
            task.encoded = None
            self._board.back(task)
            return
        if not task.passes:
            self._board.finished(task)
            task.languages.set_result(listening)
            return
        task.languages.set_result(listening)
        n_heard = task.n_frames
        task.request = replace(task.request, language=language)
        if task.n_frames != n_heard:
            task.encoded = None
        self._board.back(task)

    def _draft(self, task: Task) -> Draft:
        request = task.request
        tokenizer = self._decoder.tokenizer(request.language, request.asked)
        assert task.encoded is not None
        return Draft.of(request, best_of(task.attempts), tokenizer, task.encoded)

    def _encode(self, batch: Sequence[Task]) -> list[Encoded]:
        missing = [task for task in batch if task.encoded is None]
        if missing:
            for task, encoded in zip(missing, self._decoder.encode([task.ask for task in missing]), strict=True):
                task.encoded = encoded
        return [task.encoded for task in batch if task.encoded is not None]

    def _trouble(self, batch: Sequence[Task], error: BaseException) -> None:
        """Memory that ran out passes: the windows are asked again, fewer at a time. Anything else is theirs to hear."""
        if not is_out_of_memory(error):
            for task in batch:
                self._end(task, error)
            return
        self._limit.failed(batch)
        for task in batch:
            if len(batch) == 1 and not _cheapen(task):
                self._end(task, MemoryError(str(error)))
            else:
                self._board.back(task)

    def _end(self, task: Task, error: BaseException) -> None:
        self._board.finished(task)
        task.fail(error)


def _enough(task: Task, attempt: Attempt) -> bool:
    """Whether one of the attempts is to be kept; else the task is left with the passes that may do better."""
    task.attempts.append(attempt)
    n_own = int(task.mel.shape[1])
    if guards.Check.PROMPT_LEAK in attempt.failed and task.request.prompt:
        # Asked without it: what is said again then was spoken.
        task.request = replace(task.request, prompt=(), prompt_text="")
        return False
    while not task.attempts[-1].credible and len(task.passes) > 1:
        n_before = task.n_frames
        before, *left = task.passes
        task.passes = tuple(left)
        if not before.asks_the_same(left[0], n_own, task.bucket_frames):
            if task.n_frames != n_before:
                task.encoded = None
            return False
        task.attempts[-1] = task.attempts[-1].judged_by(left[0])
    return True


def _whole(task: Task, result: DecodedWindow) -> DecodedWindow | None:
    """The answer for *task* with all that was asked for; None: it goes on with the translation of *result*."""
    if task.transcript is not None:
        return replace(task.transcript, translation=result)
    if task.request.task != "both":
        return result
    if is_its_own_translation(result):
        return replace(result, translation=result)
    task.translate(result)
    return None


def _cheapen(task: Task) -> bool:
    """Whether there was something left to save for a window that is alone in its batch: the beam."""
    if not task.passes or task.passes[0].beam_size == 1:
        return False
    task.passes = tuple(replace(way, beam_size=1) for way in task.passes)
    return True
